"""Text of data documents in, plain values out, and the line on which a value stands.

YAML is read in the manner of YAML 1.2: ``no`` is a word, ``2026-11-21`` is a text and ``12:30`` is one too. Map order
is kept, a key given twice is refused, and so are aliases, with which a few bytes can stand for gigabytes.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from paper_site.cache import active, digest
from paper_site.errors import ContentError, DataError, SiteError
from paper_site.plain_yaml import parse_plain

MAX_BYTES = 64 * 1024 * 1024
MAX_DEPTH = 100
# Characters from which on a manifest is read, and remembered, entry by entry.
LONG = 200_000
_BaseLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_BaseLoader):  # type: ignore[misc]
    """A safe loader with the scalar types of YAML 1.2 and without aliases."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (PyYAML's own form)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        mapping: dict[Hashable, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a text", key_node.start_mark)
            if key in mapping:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {str(key)!r} stands twice in one mapping", key_node.start_mark
                )
            mapping[key] = self.construct_object(value_node, deep=deep)
        return mapping


def _construct_map(loader: _Loader, node: Any) -> Iterable[dict[Hashable, Any]]:
    mapping: dict[Hashable, Any] = {}
    yield mapping
    mapping.update(loader.construct_mapping(node))


def _add(tag: str, pattern: str, first: str) -> None:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), list(first))


_add("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF")
_add("int", r"^[-+]?(?:0|[1-9][0-9]*)$", "-+0123456789")
# A number with an exponent needs its point: a hash such as 12e4 is a text, as for the writer of the manifests.
_add(
    "float",
    r"^(?:[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
    "-+0123456789.",
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Loader.add_constructor("tag:yaml.org,2002:map", _construct_map)


# Aliases, or an indentation so deep that nesting could exhaust the stack of the C parser.
_SUSPECT = re.compile(r"\*\w|^ {128}|(?:[-?:] +){32}", re.MULTILINE)
_MANY_BRACKETS = 64


def _is_suspect(text: str) -> bool:
    if _SUSPECT.search(text):
        return True
    depth = 0
    for bracket in re.finditer(r"[\[{\]}]", text):
        depth += 1 if bracket[0] in "[{" else -1
        if depth > _MANY_BRACKETS:
            return True
    return False


def _check_events(text: str) -> None:
    depth = 0
    events: Any = yaml.parse(text, Loader=_Loader)
    for event in events:
        wrong = None
        if isinstance(event, yaml.AliasEvent):
            wrong = f"the alias *{event.anchor} is not allowed here: write the value out"
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            wrong = "nested too deeply"
        if wrong:
            mark: Any = event.start_mark
            raise yaml.constructor.ConstructorError(None, None, wrong, mark)


def read_text(path: Path, error: type[SiteError] = DataError) -> str:
    """Read a UTF-8 text file.

    Raises:
        SiteError: Of the given kind, if the file is missing, too large or not UTF-8.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise error(f"the file is larger than {MAX_BYTES // 2**20} MB", path=path)
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise error("there is no such file", path=path) from None
    except UnicodeDecodeError as wrong:
        line = path.read_bytes()[: wrong.start].count(b"\n") + 1
        raise error("the text is not UTF-8; save it as UTF-8", path=path, line=line) from None
    except OSError as wrong:
        raise error(f"cannot be read: {wrong.strerror}", path=path) from None


def parse_yaml(text: str, path: Path, *, first_line: int = 1, error: type[SiteError] = DataError) -> Any:
    """Turn YAML text into plain values.

    Args:
        text: One YAML document.
        path: Named in errors.
        first_line: Line of the file on which the text begins.
        error: Kind of error to raise.

    Returns:
        Mappings as dicts in file order, lists, texts, numbers, booleans, None.

    Raises:
        SiteError: Of the given kind, with the line, for broken YAML, a key given twice or an alias.
    """
    quick = parse_plain(text)
    if quick is not None:
        return quick
    try:
        if _is_suspect(text):
            _check_events(text)
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as wrong:
        mark = wrong.problem_mark or wrong.context_mark
        reason = wrong.problem or wrong.context or "broken YAML"
        raise error(f"broken YAML: {reason}", path=path, line=first_line + mark.line if mark else None) from None
    except yaml.reader.ReaderError as wrong:
        line = text[: wrong.position].count("\n") + first_line
        raise error(f"broken YAML: {wrong.reason}", path=path, line=line) from None
    except yaml.YAMLError as wrong:
        raise error(f"broken YAML: {wrong}", path=path) from None
    except RecursionError:
        raise error("broken YAML: nested too deeply", path=path) from None
    except ValueError as wrong:  # int() of thousands of digits
        raise error(f"broken YAML: {wrong}", path=path) from None


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {key!r} stands twice in one mapping")
            seen.add(key)
    return mapping


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def parse_json(text: str, path: Path) -> Any:
    """Turn JSON text into plain values.

    Raises:
        DataError: For broken JSON, a key given twice, NaN or Infinity.
    """
    try:
        return json.loads(text, object_pairs_hook=_pairs, parse_constant=_constant)
    except json.JSONDecodeError as wrong:
        raise DataError(f"broken JSON: {wrong.msg}", path=path, line=wrong.lineno) from None
    except ValueError as wrong:
        found = re.search(r"the key '(.*)' stands twice", str(wrong))
        line = None
        if found:
            hits = [text[: m.start()].count("\n") + 1 for m in re.finditer(re.escape(json.dumps(found[1])), text)]
            line = hits[1] if len(hits) == 2 else None
        raise DataError(f"broken JSON: {wrong}", path=path, line=line) from None
    except RecursionError:
        raise DataError("broken JSON: nested too deeply", path=path) from None


def read_document(path: Path) -> Any:
    """Read a YAML, JSON, CSV or TSV file, by its extension; rows of a table become mappings of texts."""
    text = read_text(path)
    suffix = path.suffix.lower()
    if suffix in {".yml", ".yaml"} and len(text) > LONG:
        rows = _read_rows(text, path)
        if rows is not None:
            return rows
    return active().made_from("document", f"{suffix}\n{text}".encode(), lambda: _parse(text, suffix, path))


_NEXT_ROW = re.compile(r"\n(?=[^ \n-])")


def _read_rows(text: str, path: Path) -> dict[str, Any] | None:
    """Read a long mapping entry by entry, so that of an edited one only what was edited is read again."""
    key = digest(f"{path}".encode())
    before = active().get("rows", key)
    known = before[1] if isinstance(before, tuple) and before[0] == active().tools else {}
    found: dict[bytes, Any] = {}
    document: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for part in _NEXT_ROW.split(text):
        row_key = digest(part.encode())
        row = known.get(row_key)
        if row is None:
            row = parse_plain(part, values)
            if row is None or len(row) != 1:
                return None
        name = next(iter(row))
        if name in document:
            return None
        found[row_key] = row
        document[name] = row[name]
    if found.keys() != known.keys():
        active().put("rows", key, (active().tools, found))
    return document


def _parse(text: str, suffix: str, path: Path) -> Any:
    if suffix == ".json":
        return parse_json(text, path)
    if suffix in {".csv", ".tsv"}:
        return list(csv.DictReader(io.StringIO(text), delimiter="\t" if suffix == ".tsv" else ","))
    return parse_yaml(text, path)


def line_of(text: str, pointer: Sequence[str | int], *, key: bool = False) -> int | None:
    """Find the line on which a value of a YAML or JSON text stands.

    Args:
        text: The document.
        pointer: Keys and indices from the root to the value.
        key: Find the line of the last key instead of its value.

    Returns:
        The line, counted from 1; that of the nearest parent where the value is missing; None for unreadable text.
    """
    try:
        node = yaml.compose(text, Loader=_Loader)
    except (yaml.YAMLError, RecursionError):
        return None
    if node is None:
        return None
    line = int(node.start_mark.line) + 1
    for step in pointer:
        if isinstance(node, yaml.MappingNode):
            for key_node, value_node in node.value:
                if key_node.value == str(step):
                    node = value_node
                    line = (
                        int(
                            (
                                key_node
                                if key or value_node.start_mark.line != key_node.start_mark.line
                                else value_node
                            ).start_mark.line
                        )
                        + 1
                    )
                    break
            else:
                return line
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = int(node.start_mark.line) + 1
        else:
            return line
    return line


_FENCE = re.compile(r"---[ \t]*\r?\n")
_END = re.compile(r"^(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.MULTILINE)


def split_front_matter(text: str, path: Path) -> tuple[dict[str, Any], str, int] | None:
    """Part a page into its front matter and its body, by Jekyll's rule.

    Args:
        text: The whole file.
        path: Named in errors.

    Returns:
        The front matter, the body and the line on which the body begins, or None for a file without front matter.

    Raises:
        ContentError: If the front matter does not end, is broken or is no mapping.
    """
    start = _FENCE.match(text)
    if not start:
        return None
    end = _END.search(text, start.end())
    if not end:
        raise ContentError("the front matter does not end: a line of three dashes is missing", path=path, line=1)
    values = parse_yaml(text[start.end() : end.start()], path, first_line=2, error=ContentError)
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise ContentError("the front matter must be a mapping (key: value)", path=path, line=2)
    body_line = text[: end.end()].count("\n") + 1
    return {str(key): value for key, value in values.items()}, text[end.end() :], body_line
