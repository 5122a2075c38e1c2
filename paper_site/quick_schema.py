"""A quick answer to whether a document holds its schema; what is wrong with it, the full validator has to say.

A schema becomes nested functions that say yes or no. That is twenty times as fast as collecting errors, and nearly all
documents are right. Only the keywords that our schemas use are known; a schema with another one has no quick check.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any], bool]

_SILENT = frozenset(("$schema", "title", "description", "then", "else"))


class UnknownKeywordError(Exception):
    """The schema says something that only the full validator understands."""


def _is_integer(value: Any) -> bool:
    kind = type(value)
    return kind is int or (kind is float and value.is_integer())


_TYPES: Mapping[str, Check] = {
    "object": lambda value: type(value) is dict,
    "array": lambda value: type(value) is list,
    "string": lambda value: type(value) is str,
    "integer": _is_integer,
    "number": lambda value: type(value) in {int, float},
    "boolean": lambda value: type(value) is bool,
    "null": lambda value: value is None,
}


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def _type(rule: Any) -> Check:
    checks = [_TYPES[name] for name in ([rule] if isinstance(rule, str) else rule)]
    if len(checks) == 1:
        return checks[0]
    return lambda value: any(check(value) for check in checks)


def _enum(rule: Any) -> Check:
    if all(isinstance(entry, str) for entry in rule):
        words = frozenset(rule)
        return lambda value: type(value) is str and value in words
    return lambda value: any(_same(value, entry) for entry in rule)


def _pattern(rule: str) -> Check:
    search = re.compile(rule).search
    return lambda value: type(value) is not str or search(value) is not None


def _number(holds: Callable[[Any, Any], bool]) -> Callable[[Any], Check]:
    return lambda rule: lambda value: type(value) not in {int, float} or holds(value, rule)


def _length(kind: type[str] | type[list[Any]] | type[dict[str, Any]], *, most: bool = False) -> Callable[[int], Check]:
    if most:
        return lambda rule: lambda value: type(value) is not kind or len(value) <= rule
    return lambda rule: lambda value: type(value) is not kind or len(value) >= rule


def _unique(rule: Any) -> Check:
    # Lists of anything but texts are left to the full validator.
    return lambda value: (
        not rule
        or type(value) is not list
        or (all(type(entry) is str for entry in value) and len(set(value)) == len(value))
    )


def _any_of(rule: Any) -> Check:
    checks = [compile_schema(inner) for inner in rule]
    return lambda value: any(check(value) for check in checks)


def _all_of(rule: Any) -> Check:
    checks = [compile_schema(inner) for inner in rule]
    return lambda value: all(check(value) for check in checks)


def _items(rule: Any) -> Check:
    check = compile_schema(rule)
    return lambda value: type(value) is not list or all(check(entry) for entry in value)


def _names(rule: Any) -> Check:
    check = compile_schema(rule)
    return lambda value: type(value) is not dict or all(check(key) for key in value)


def _object(schema: Mapping[str, Any]) -> Check:
    properties = {name: compile_schema(inner) for name, inner in schema.get("properties", {}).items()}
    others = compile_schema(schema.get("additionalProperties", True))
    required = schema.get("required", ())

    def check(value: Any) -> bool:
        if type(value) is not dict:
            return True
        return all(name in value for name in required) and all(
            properties.get(name, others)(inner) for name, inner in value.items()
        )

    return check


def _conditional(schema: Mapping[str, Any]) -> Check:
    condition = compile_schema(schema["if"])
    then, otherwise = compile_schema(schema.get("then", True)), compile_schema(schema.get("else", True))
    return lambda value: then(value) if condition(value) else otherwise(value)


_KEYWORDS: Mapping[str, Callable[[Any], Check]] = {
    "type": _type,
    "enum": _enum,
    "const": lambda rule: lambda value: _same(value, rule),
    "pattern": _pattern,
    "minimum": _number(lambda value, rule: value >= rule),
    "maximum": _number(lambda value, rule: value <= rule),
    "exclusiveMinimum": _number(lambda value, rule: value > rule),
    "exclusiveMaximum": _number(lambda value, rule: value < rule),
    "minLength": _length(str),
    "minItems": _length(list),
    "minProperties": _length(dict),
    "maxLength": _length(str, most=True),
    "maxItems": _length(list, most=True),
    "maxProperties": _length(dict, most=True),
    "uniqueItems": _unique,
    "allOf": _all_of,
    "anyOf": _any_of,
    "items": _items,
    "propertyNames": _names,
}
_OBJECT = frozenset(("properties", "additionalProperties", "required"))


def compile_schema(schema: Any) -> Check:
    """Turn a schema into a function that says whether a value certainly holds it.

    Args:
        schema: A JSON Schema, true or false.

    Returns:
        True for a value that holds the schema; False for one that does not, or that is left to the full validator.

    Raises:
        UnknownKeywordError: For a keyword that is not known here.
    """
    if isinstance(schema, bool):
        return lambda _: schema
    checks: list[Check] = []
    for name, rule in schema.items():
        if name in _KEYWORDS:
            checks.append(_KEYWORDS[name](rule))
        elif name not in _SILENT and name not in _OBJECT and name != "if":
            raise UnknownKeywordError(name)
    if not _OBJECT.isdisjoint(schema):
        checks.append(_object(schema))
    if "if" in schema:
        checks.append(_conditional(schema))
    if len(checks) == 1:
        return checks[0]
    if len(checks) == 2:
        first, second = checks
        return lambda value: first(value) and second(value)
    return lambda value: all(check(value) for check in checks)
