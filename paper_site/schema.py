"""Hold data documents against their JSON Schema, and say what is wrong: file, line, field, value, remedy."""

from __future__ import annotations

import difflib
import json
import marshal
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from paper_site.cache import active, digest
from paper_site.documents import line_of, parse_json, read_text
from paper_site.errors import DataError
from paper_site.quick_schema import Check, UnknownKeywordError, compile_schema

SCHEMA_FOLDER = Path(__file__).resolve().parent.parent / "_data" / "schema"


@cache
def _schema(kind: str) -> Any:
    path = SCHEMA_FOLDER / f"{kind}.json"
    return parse_json(read_text(path), path)


@cache
def _quick(kind: str) -> Check:
    try:
        return compile_schema(_schema(kind))
    except UnknownKeywordError:
        return lambda _: False


def _rows_hold(document: Any, path: Path) -> bool:
    """Whether every row of a manifest certainly holds the schema; rows that did so before are not looked at again."""
    schema = _schema("collection")
    if type(document) is not dict or schema.keys() - {
        "$schema",
        "title",
        "description",
        "type",
        "additionalProperties",
    }:
        return _quick("collection")(document)
    key = digest(f"{path}".encode())
    known = active().get("valid", key) or {}
    check, held = _quick_row(), {}
    for row in document.values():
        try:
            row_key = digest(active().tools + marshal.dumps(row, 2))
        except ValueError:
            return False
        if row_key not in known and not check(row):
            return False
        held[row_key] = True
    if held.keys() != known.keys():
        active().put("valid", key, held)
    return True


@cache
def _quick_row() -> Check:
    try:
        return compile_schema(_schema("collection")["additionalProperties"])
    except UnknownKeywordError:
        return lambda _: False


@cache
def _validator(kind: str) -> Any:
    # Imported late: it takes longer to load than all the rest of a small build.
    import jsonschema

    schema = _schema(kind)
    validator = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    return validator(schema)


def field_name(pointer: Sequence[str | int]) -> str:
    """Print the way to a value: ``authors[0].name``."""
    text = ""
    for step in pointer:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text or "the document"


def did_you_mean(word: Any, known: Iterable[Any]) -> str:
    """Suggest the nearest known word: ``; did you mean 'title'?``, or nothing."""
    near = difflib.get_close_matches(str(word), [str(k) for k in known], n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


_TYPE_NAMES = {
    "object": "a mapping",
    "array": "a list",
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "empty",
}


def _explain(error: Any) -> tuple[list[str | int], bool, str]:
    """Turn one finding into (pointer, whether the key is meant, words)."""
    pointer = list(error.absolute_path)
    name, rule, value = error.validator, error.validator_value, error.instance
    where = field_name(pointer)
    if name == "required":
        missing = [key for key in rule if key not in value]
        given = [key for key in value if key not in error.schema.get("properties", {})]
        hint = did_you_mean(given[0], missing) if given else ""
        hint = hint and f" ({given[0]!r} is not known{hint})"
        return pointer, True, f"{where}: the field {missing[0]!r} is missing{hint}"
    if name in {"additionalProperties", "unevaluatedProperties"} and isinstance(value, Mapping):
        known = list(error.schema.get("properties", {}))
        extra = [key for key in value if key not in known]
        if extra:
            hint = did_you_mean(extra[0], known) or f"; known are {', '.join(known)}"
            return [*pointer, extra[0]], True, f"{field_name([*pointer, extra[0]])}: this field is not known{hint}"
    if name == "type":
        kinds = [rule] if isinstance(rule, str) else rule
        wanted = " or ".join(_TYPE_NAMES.get(kind, kind) for kind in kinds)
        return pointer, False, f"{where}: {_shown(value)} must be {wanted}"
    if name == "enum":
        allowed = ", ".join(_shown(v) for v in rule)
        return pointer, False, f"{where}: {_shown(value)} must be one of {allowed}{did_you_mean(value, rule)}"
    if name == "const":
        return pointer, False, f"{where}: {_shown(value)} must be {_shown(rule)}"
    if name in {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}:
        word = {
            "minimum": "at least",
            "maximum": "at most",
            "exclusiveMinimum": "more than",
            "exclusiveMaximum": "less than",
        }[name]
        return pointer, False, f"{where}: {_shown(value)} must be {word} {rule}"
    if name == "pattern":
        if error.parent is not None and error.parent.validator == "propertyNames":
            return pointer, True, f"{where}: the key {_shown(value)} is not allowed (it must match {rule})"
        return pointer, False, f"{where}: {_shown(value)} does not have the form {rule}"
    if name in {"minItems", "minLength", "minProperties"}:
        return pointer, False, f"{where}: {_shown(value)} is too short (at least {rule})"
    return pointer, False, f"{where}: {' '.join(str(error.message).split())[:200]}"


def _deepest(error: Any) -> Any:
    """Follow alternatives (anyOf, oneOf) to the finding that says most."""
    while error.context:
        error = max(error.context, key=lambda e: len(e.absolute_path))
    return error


def validate(document: Any, kind: str, path: Path) -> None:
    """Hold a document against the schema of its kind.

    Args:
        document: Plain values as read from the file.
        kind: Name of a file in ``_data/schema``, without ``.json``.
        path: The document's file.

    Raises:
        DataError: For the first thing that is wrong, with line, field, value and remedy.
    """
    if _rows_hold(document, path) if kind == "collection" else _quick(kind)(document):
        return
    errors = sorted(_validator(kind).iter_errors(document), key=lambda e: [str(p) for p in e.absolute_path])
    if not errors:
        return
    pointer, key, message = _explain(_deepest(errors[0]))
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    line = line_of(read_text(path), pointer, key=key)
    raise DataError(message + more, path=path, line=line)
