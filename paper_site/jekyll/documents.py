"""Front matter, YAML and data files, with the types that Ruby gives them."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any

from paper_site.errors import ContentError, DataError

MAX_EXPANDED = 1_000_000
MAX_NESTED = 200
_FRONT = re.compile(r"\A---[ \t]*\r?\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.S | re.M)
_OPENS = re.compile(rb"---[ \t]*\r?\n")
_PLAIN_LINE = re.compile(
    r"([A-Za-z_][A-Za-z0-9_]*): (?!(?:y|Y|yes|Yes|YES|no|No|NO|n|N|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off"
    r"|OFF|null|Null|NULL|nan|inf)\r?\n)([A-Za-z][A-Za-z0-9_./ -]*[A-Za-z0-9_./-]|[A-Za-z])\r?\n"
)


class KeyMap(dict[Any, Any]):
    """A map that stands as the key of another one."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple((k, repr(v)) for k, v in self.items()))


def has_front_matter(head: bytes) -> bool:
    """Whether a file begins with a line of three dashes."""
    return _OPENS.match(head) is not None


def plain_front_matter(text: str) -> dict[str, Any] | None:
    """Front matter of nothing but ``key: words``, read without a YAML parser; None for any other."""
    found: dict[str, Any] = {}
    position = 0
    while position < len(text):
        line = _PLAIN_LINE.match(text, position)
        if line is None or line[1] in found:
            return None
        if line[1] in {"y", "n", "Y", "N", "yes", "no", "on", "off", "true", "false", "null"} or line[1].lower() in {
            "yes",
            "no",
            "on",
            "off",
            "true",
            "false",
            "null",
        }:
            return None
        found[line[1]] = line[2]
        position = line.end()
    return found


def split_plain(text: str) -> tuple[dict[str, Any], str, int] | None:
    """Front matter, body and lines before the body of a page whose front matter is plain; None for any other."""
    end = text.find("\n---\n", 3)
    if end < 0 or text[3] != "\n":
        return None
    front = text[4 : end + 1]
    data = plain_front_matter(front)
    if data is None or "..." in front:
        return None
    return data, text[end + 5 :], front.count("\n") + 2


def split_front_matter(
    text: str, path: Path, zone: dt.tzinfo, *, strict: bool = True
) -> tuple[dict[str, Any], str, int]:
    """Front matter, body, and the lines before the body.

    Raises:
        ContentError: If the front matter cannot be read and ``strict`` is true.
    """
    found = _FRONT.match(text)
    if not found:
        raise ContentError("the front matter is never closed; end it with a line of three dashes", path=path, line=1)
    data = plain_front_matter(found[1])
    if data is None:
        try:
            loaded = load_yaml(found[1], path, zone, first_line=2, error=ContentError)
        except ContentError:
            if strict:
                raise
            loaded = {}
        if loaded is None:
            loaded = {}
        if not isinstance(loaded, dict):
            if strict:
                raise ContentError("the front matter is no map; write key: value", path=path, line=2)
            loaded = {}
        data = loaded
    return data, text[found.end() :], text.count("\n", 0, found.end())


def _loader() -> Any:
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc]
        zone: dt.tzinfo = dt.UTC

    keep: dict[str, list[Any]] = {}
    for first, resolvers in base.yaml_implicit_resolvers.items():
        keep[first] = [
            (tag, pattern)
            for tag, pattern in resolvers
            if tag.rsplit(":", 1)[1] not in {"timestamp", "float", "int", "value"}
        ]
    Loader.yaml_implicit_resolvers = keep
    stamp = re.compile(
        r"\d{4}-\d{1,2}-\d{1,2}(?:(?:[Tt]|[ \t]+)\d{1,2}:\d\d:\d\d(?:\.\d*)?(?:[ \t]*(?:Z|[-+]\d{1,2}:?(?:\d\d)?))?)?\Z"
    )
    whole = re.compile(
        r"(?:[-+]?0[0-7_,]+|[-+]?0|[-+]?[1-9](?:[0-9]|,[0-9]|_[0-9])*|[-+]?0x[0-9a-fA-F_,]+|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9]){1,2}|0b[01_,]+)\Z"
    )
    # An exponent needs its point and its sign.
    real = re.compile(
        r"(?:[-+]?[0-9][0-9_,]*\.[0-9]*(?:[eE][-+][0-9]+)?|[-+]?\.[0-9]+(?:[eE][-+][0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
    )
    prefix = "tag:yaml.org,2002:"
    Loader.add_implicit_resolver(prefix + "timestamp", stamp, list("0123456789"))
    Loader.add_implicit_resolver(prefix + "int", whole, list("-+0123456789"))
    Loader.add_implicit_resolver(prefix + "float", real, list("-+0123456789."))
    Loader.add_constructor(prefix + "int", lambda loader, node: _int(node.value))
    Loader.add_constructor(prefix + "float", lambda loader, node: _float(node.value))
    Loader.add_constructor(prefix + "timestamp", lambda loader, node: _stamp(node.value, loader.zone))
    Loader.add_constructor(prefix + "map", _construct_map)
    return Loader


def _int(text: str) -> int:
    clean = text.replace("_", "").replace(",", "")
    sign = -1 if clean.startswith("-") else 1
    digits = clean.lstrip("+-")
    if ":" in digits:
        total = 0
        parts = digits.split(":")
        for power, part in enumerate(reversed(parts)):
            total += int(part) * 60 ** (power + (1 if len(parts) == 2 else 0))
        return sign * total
    if digits.startswith("0x"):
        return sign * int(digits, 16)
    if digits.startswith("0b"):
        return sign * int(digits, 2)
    if digits.startswith("0") and len(digits) > 1:
        return sign * int(digits, 8)
    return sign * int(digits)


def _float(text: str) -> float:
    clean = text.replace("_", "").replace(",", "").lower()
    if clean.endswith("inf"):
        return float("-inf") if clean.startswith("-") else float("inf")
    return float("nan") if clean.endswith("nan") else float(clean)


def _stamp(text: str, zone: dt.tzinfo) -> Any:
    from paper_site.jekyll import times

    if len(text) <= 10:
        try:
            return dt.date(*map(int, text.split("-")))
        except ValueError:
            return text
    # A time without an offset is one of UTC, shown in the site's zone.
    moment = times.read(text, dt.UTC)
    if moment is None:
        return text
    return moment if re.search(r"(?:Z|[-+]\d{1,2}:?(?:\d\d)?)\Z", text[10:]) else times.local(moment, zone)


def _construct_map(loader: Any, node: Any) -> Any:
    data: dict[Any, Any] = {}
    yield data
    loader.flatten_mapping(node)
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, dict):
            key = KeyMap(key)
        elif isinstance(key, list):
            key = tuple(key)
        data[key] = loader.construct_object(value_node, deep=True)


def _expanded(node: Any, known: dict[int, int]) -> int:
    """The number of nodes when every alias is written out."""
    mark = id(node)
    if mark in known:
        return known[mark]
    known[mark] = MAX_EXPANDED + 1
    total = 1
    if isinstance(node.value, list):
        for part in node.value:
            for inner in part if isinstance(part, tuple) else (part,):
                total += _expanded(inner, known)
                if total > MAX_EXPANDED:
                    break
    known[mark] = total
    return total


_LOADER: Any = None


def load_yaml(text: str, path: Path, zone: dt.tzinfo, *, first_line: int = 1, error: type[Any] = DataError) -> Any:
    """Read YAML.

    Raises:
        error: If it cannot be read, or its aliases would grow beyond a million values.
    """
    global _LOADER
    import yaml

    if _LOADER is None:
        _LOADER = _loader()
    try:
        if _could_be_deep(text):
            _check_depth(text)
        loader = _LOADER(text)
        loader.zone = zone
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            if "*" in text and _expanded(node, {}) > MAX_EXPANDED:
                raise error(
                    f"the aliases grow to more than {MAX_EXPANDED} values; write the values out",
                    path=path,
                    line=first_line,
                )
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as wrong:
        mark = getattr(wrong, "problem_mark", None) or getattr(wrong, "context_mark", None)
        problem = getattr(wrong, "problem", None) or str(wrong)
        line = first_line + mark.line if mark is not None else first_line
        hint = (
            "; quote a value that holds ': ' or begins with a special character" if "mapping values" in problem else ""
        )
        raise error(f"this is not YAML: {problem}{hint}", path=path, line=line) from None
    except RecursionError:
        raise error("the values are nested too deep", path=path, line=first_line) from None
    except (ValueError, TypeError, OverflowError) as wrong:
        raise error(f"this is not YAML that can be read: {wrong}", path=path, line=first_line) from None


def _could_be_deep(text: str) -> bool:
    return len(text) > MAX_NESTED and (
        max(text.count(mark) for mark in ("[", "{", "- ", "? ")) > MAX_NESTED or " " * MAX_NESTED in text
    )


def _check_depth(text: str) -> None:
    """Follow the events before anything recursive sees the text: deep nesting would end the process."""
    import yaml

    depth = 0
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_NESTED:
                raise RecursionError
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def data_key(name: str) -> str:
    """A data file's key: word characters, blanks and hyphens of its name, blanks as underscores."""
    return re.sub(r"\s+", "_", re.sub(r"[^\w\s-]+", "", name).strip())


def read_data_file(path: Path, zone: dt.tzinfo) -> Any:
    """One file of ``_data``.

    Raises:
        DataError: If it cannot be read.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        raise DataError(f"not UTF-8 at byte {wrong.start}; save the file as UTF-8", path=path) from None
    except OSError as wrong:
        raise DataError(f"cannot be read: {wrong.strerror}", path=path) from None
    if path.suffix == ".json":
        import json

        try:
            return json.loads(text) if text.strip() else None
        except json.JSONDecodeError as wrong:
            raise DataError(f"this is not JSON: {wrong.msg}", path=path, line=wrong.lineno) from None
        except RecursionError:
            raise DataError("the values are nested too deep", path=path) from None
    if path.suffix in {".csv", ".tsv"}:
        return _rows(text, "," if path.suffix == ".csv" else "\t")
    return load_yaml(text, path, zone)


def _rows(text: str, separator: str) -> list[dict[str, str | None]]:
    import csv
    import io

    rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if row]
    if not rows:
        return []
    head = rows[0]
    return [
        {name: (row[i] if i < len(row) and row[i] != "" else None) for i, name in enumerate(head)} for row in rows[1:]
    ]


def read_data(folder: Path, zone: dt.tzinfo) -> dict[str, Any]:
    """All of ``_data``, folders nested, links left out."""
    found: dict[str, Any] = {}
    if not folder.is_dir() or folder.is_symlink():
        return found
    for entry in sorted(folder.iterdir(), key=lambda p: p.name):
        if entry.is_symlink() or entry.name.startswith((".", "_", "#", "~")) or entry.name.endswith("~"):
            continue
        if entry.is_dir():
            inner = read_data(entry, zone)
            key = data_key(entry.name)
            found[key] = {**found[key], **inner} if isinstance(found.get(key), dict) else inner
        elif entry.suffix in {".yml", ".yaml", ".json", ".csv", ".tsv"}:
            value = read_data_file(entry, zone)
            found[data_key(entry.stem)] = value
    return found
