"""Liquid's values: how they are looked up, compared and printed, as Ruby does it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any


class Marker:
    """``empty`` or ``blank``; as in Ruby without Rails, nothing but ``blank`` itself equals ``blank``."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def matches(self, value: Any) -> bool:
        """Whether a text, a list or a map has nothing in it; nil is not empty."""
        return self.name == "empty" and isinstance(value, str | list | tuple | Mapping) and len(value) == 0


EMPTY = Marker("empty")
BLANK = Marker("blank")


def lookup(value: Any, key: Any) -> Any:
    """``value.key`` or ``value[key]``; None where there is no such thing."""
    kind = type(value)
    if kind is dict:
        # What most lookups are.
        try:
            if key in value:
                return value[key]
        except TypeError:
            return None
    elif (kind is list or kind is tuple) and type(key) is int:
        return value[key] if -len(value) <= key < len(value) else None
    if isinstance(value, Mapping):
        try:
            return value[key]
        except (KeyError, TypeError):
            pass
        if key == "size":
            return len(value)
        if key == "first":
            return next(([k, v] for k, v in value.items()), None)
        return None
    if isinstance(value, list | tuple):
        if isinstance(key, int) and not isinstance(key, bool):
            return value[key] if -len(value) <= key < len(value) else None
        if key == "size":
            return len(value)
        if key == "first":
            return value[0] if value else None
        if key == "last":
            return value[-1] if value else None
        return None
    if isinstance(value, str):
        return len(value) if key == "size" else None
    if isinstance(value, range):
        if key == "size":
            return len(value)
        if key == "first":
            return value[0] if len(value) else None
        if key == "last":
            return value[-1] if len(value) else None
    if isinstance(value, int) and not isinstance(value, bool) and key == "size":
        return 8
    return None


def items(value: Any) -> Any:
    """What a loop runs over: pairs of a map, the elements of a list, a non-empty string itself."""
    if isinstance(value, Mapping):
        return [[k, v] for k, v in value.items()]
    if isinstance(value, list | tuple | range):
        return value
    if isinstance(value, str):
        return [value] if value else []
    return []


def number_text(value: float) -> str:
    """A float as Ruby prints it."""
    if value != value or value in (float("inf"), float("-inf")):
        return "NaN" if value != value else ("Infinity" if value > 0 else "-Infinity")
    if value == int(value) and abs(value) < 1e16:
        return f"{int(value)}.0" if value or str(value)[0] != "-" else "-0.0"
    text = repr(value)
    if "e" in text:
        digits, exponent = text.split("e")
        power = int(exponent)
        if -4 <= power < 16:
            return f"{value:.{max(1, 17 - power)}f}".rstrip("0")
        if "." not in digits:
            digits += ".0"
        return f"{digits}e{'+' if power > 0 else '-'}{abs(power):02d}"
    return text


def text_of(value: Any) -> str:
    """What ``{{ value }}`` prints."""
    if type(value) is str:
        return value
    if value is None:
        return ""
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, int | str):
        return str(value)
    if isinstance(value, float):
        return number_text(value)
    if isinstance(value, list | tuple):
        return "".join([text_of(item) for item in value])
    if isinstance(value, Mapping):
        return getattr(value, "printed", None) or inspect(value)
    if isinstance(value, range):
        return f"{value.start}..{value.stop - 1}"
    if isinstance(value, Marker):
        return ""
    return str(value)


def inspect(value: Any) -> str:
    """Ruby's form of a value for programmers."""
    if isinstance(value, str):
        out = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
        out = out.replace("\r", "\\r").replace("#{", "\\#{")
        return f'"{out}"'
    if value is None:
        return "nil"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(inspect, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{inspect(k)}=>{inspect(v)}" for k, v in value.items()) + "}"
    return text_of(value)


def truthy(value: Any) -> bool:
    """Only nil and false are false."""
    return value is not None and value is not False


def equal(left: Any, right: Any) -> bool:
    """``==`` of Liquid."""
    if isinstance(left, Marker):
        return left is right or left.matches(right)
    if isinstance(right, Marker):
        return right.matches(left)
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return bool(left == right)


def less(left: Any, right: Any, *, or_equal: bool = False) -> bool:
    """``<`` of Liquid; false when the two cannot be compared."""
    if left is None or right is None or isinstance(left, bool) or isinstance(right, bool):
        return False
    try:
        return bool(left <= right if or_equal else left < right)
    except TypeError:
        return False


def contains(left: Any, right: Any) -> bool:
    """Whether a text holds a text, a list an element, a map a key."""
    if left is None or right is None:
        return False
    if isinstance(left, str):
        return text_of(right) in left
    if isinstance(left, Mapping):
        return right in left
    if isinstance(left, list | tuple):
        return any(equal(item, right) for item in left)
    return False


def numeric(value: Any) -> int | float:
    """A number from whatever stands before an arithmetic filter; 0 where there is none."""
    if isinstance(value, bool) or value is None:
        return 0
    if isinstance(value, int | float):
        return value
    if isinstance(value, str):
        text = value.strip()
        if re.fullmatch(r"-?\d+\.\d+", text):
            return float(text)
        leading = re.match(r"[+-]?\d+(?:_\d+)*", text)
        return int(leading[0].replace("_", "")) if leading else 0
    return 0


def integer(value: Any) -> int:
    """A whole number for a limit or an offset."""
    return int(numeric(value))


def make_range(start: Any, stop: Any) -> range:
    """``(start..stop)``, both ends included."""
    return range(integer(start), integer(stop) + 1)


def as_list(value: Any) -> list[Any]:
    """The input of an array filter: maps become a list of one, nested lists are flattened."""
    if value is None:
        return []
    if isinstance(value, list | tuple):
        out: list[Any] = []
        for item in value:
            out += as_list(item) if isinstance(item, list | tuple) else [item]
        return out
    if isinstance(value, range):
        return list(value)
    if isinstance(value, Mapping | str):
        return [value]
    return list(value) if isinstance(value, Iterable) else [value]
