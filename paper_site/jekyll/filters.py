"""Liquid's filters and Jekyll's.

A filter of `PLAIN` depends on its arguments alone; one of `SITED` is given the site first. `PURE` names those whose
result for a text never changes during a build, so that a template may remember it.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Protocol

from paper_site.jekyll import times
from paper_site.jekyll.values import (
    EMPTY,
    as_list,
    equal,
    inspect,
    integer,
    less,
    lookup,
    numeric,
    text_of,
    truthy,
)


class FilterError(Exception):
    """A filter was given what it cannot work on."""


class Site(Protocol):
    """What filters need to know of the site."""

    baseurl: Any
    url: Any
    zone: dt.tzinfo
    now: times.Time

    def markdown(self, text: str) -> str:
        """Markdown as HTML, block level."""

    def smart(self, text: str) -> str:
        """Typographic quotes, dashes and ellipses alone."""

    def sass(self, text: str, *, indented: bool) -> str:
        """Sass as CSS."""

    def condition(self, text: str) -> Callable[[str, Any, Any], Any]:
        """A condition of one variable, ready to be asked."""

    def expression(self, text: str) -> Callable[[str, Any, Any], Any]:
        """An expression of one variable, filters allowed."""


_T = text_of


# -- text


def _capitalize(value: Any) -> str:
    text = _T(value)
    return text[:1].upper() + text[1:].lower()


def _truncate(value: Any, length: Any = 50, ellipsis: Any = "...") -> Any:
    if value is None:
        return None
    text, mark = _T(value), _T(ellipsis)
    size = integer(length)
    keep = max(0, size - len(mark))
    return text[:keep] + mark if len(text) > size else text


def _truncatewords(value: Any, words: Any = 15, ellipsis: Any = "...") -> Any:
    if value is None:
        return None
    parts = _T(value).split()
    count = max(1, integer(words))
    return " ".join(parts[:count]) + _T(ellipsis) if len(parts) > count else _T(value)


def _split(value: Any, separator: Any) -> list[str]:
    text, mark = _T(value), _T(separator)
    if not text:
        return []
    if mark == " ":
        return text.split()
    parts = text.split(mark) if mark else list(text)
    while parts and parts[-1] == "":
        parts.pop()
    return parts


def _strip_html(value: Any) -> str:
    text = re.sub(r"<script.*?</script>|<!--.*?-->|<style.*?</style>", "", _T(value), flags=re.S)
    return re.sub(r"<.*?>", "", text, flags=re.S)


def _slice(value: Any, start: Any, length: Any = None) -> Any:
    first = integer(start)
    size = 1 if length is None else integer(length)
    data: Any = value if isinstance(value, list | tuple) else _T(value)
    nothing: Any = [] if isinstance(value, list | tuple) else ""
    if first < 0:
        first += len(data)
    if first < 0 or first > len(data) or size < 0:
        return nothing
    return data[first : first + size]


def _escape(value: Any) -> Any:
    if value is None:
        return None
    text = _T(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace('"', "&quot;").replace("'", "&#39;")


def _escape_once(value: Any) -> str:
    text = re.sub(r"&(?!(?:[a-zA-Z]+|#\d+|#[xX][0-9a-fA-F]+);)", "&amp;", _T(value))
    return text.replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;").replace("'", "&#39;")


def _xml_escape(value: Any) -> str:
    text = _T(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace('"', "&quot;").replace("'", "&apos;")


def _cgi_escape(value: Any) -> str:
    from urllib.parse import quote

    return quote(_T(value), safe=" -._~").replace(" ", "+")


def _url_encode(value: Any) -> Any:
    return None if value is None else _cgi_escape(value)


def _url_decode(value: Any) -> Any:
    from urllib.parse import unquote_plus

    return None if value is None else unquote_plus(_T(value))


def _uri_escape(value: Any) -> Any:
    from urllib.parse import quote

    return None if value is None else quote(_T(value), safe="-_.!~*'();/?:@&=+$,[]#")


_LATIN = {"ß": "ss", "æ": "ae", "Æ": "AE", "ø": "o", "Ø": "O", "đ": "d", "ł": "l", "œ": "oe", "Œ": "OE", "þ": "th"}


def _slugify(value: Any, mode: Any = None) -> Any:
    if value is None:
        return None
    text = _T(value)
    kind = _T(mode) if mode is not None else "default"
    if kind == "none":
        return text.lower()
    if kind == "latin":
        text = "".join(
            c
            for c in unicodedata.normalize("NFKD", "".join(_LATIN.get(c, c) for c in text))
            if not unicodedata.combining(c)
        )
    if kind == "raw":
        slug = re.sub(r"\s+", "-", text)
    elif kind == "pretty":
        slug = _dashes(text, lambda c: _letter(c) or c in "._~!$&'()+,;=@")
    elif kind in {"ascii", "latin"}:
        slug = re.sub(r"[^A-Za-z0-9]+", "-", text)
    elif kind == "default":
        slug = _dashes(text, _letter)
    else:
        return text
    return slug.strip("-").lower()


def _letter(char: str) -> bool:
    return unicodedata.category(char)[0] in "ML" or unicodedata.category(char) == "Nd"


def _dashes(text: str, keep: Callable[[str], bool]) -> str:
    out: list[str] = []
    for char in text:
        if keep(char):
            out.append(char)
        elif not out or out[-1] != "-":
            out.append("-")
    return "".join(out)


def _number_of_words(value: Any, mode: Any = None) -> int:
    text = _T(value)
    wide = r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\U00020000-\U0002fa1f]"
    if mode == "cjk" or (mode == "auto" and re.search(wide, text)):
        return len(re.findall(wide, text)) + len(re.sub(wide, " ", text).split())
    return len(text.split())


def _array_to_sentence(value: Any, connector: Any = "and") -> str:
    words = [_T(item) for item in (value if isinstance(value, list | tuple) else as_list(value))]
    if len(words) < 2:
        return "".join(words)
    if len(words) == 2:
        return f"{words[0]} {_T(connector)} {words[1]}"
    return f"{', '.join(words[:-1])}, {_T(connector)} {words[-1]}"


def _strip_index(value: Any) -> Any:
    return None if value is None else re.sub(r"/index\.html?\Z", "/", _T(value))


# -- numbers


def _plus(value: Any, other: Any) -> Any:
    return _tidy(_dec(value) + _dec(other), value, other)


def _minus(value: Any, other: Any) -> Any:
    return _tidy(_dec(value) - _dec(other), value, other)


def _times(value: Any, other: Any) -> Any:
    return _tidy(_dec(value) * _dec(other), value, other)


def _divided_by(value: Any, other: Any) -> Any:
    left, right = numeric(value), numeric(other)
    if right == 0:
        if isinstance(left, float) or isinstance(right, float):
            return math.nan if left == 0 else math.copysign(math.inf, left)
        raise FilterError("divided by 0")
    if isinstance(left, int) and isinstance(right, int):
        return left // right
    return float(_dec(value) / _dec(other)) if isinstance(left, float) else left / right


def _modulo(value: Any, other: Any) -> Any:
    left, right = numeric(value), numeric(other)
    if right == 0:
        raise FilterError("divided by 0")
    return left % right


def _dec(value: Any) -> Decimal:
    return Decimal(str(numeric(value)))


def _tidy(result: Decimal, *operands: Any) -> Any:
    if all(isinstance(numeric(operand), int) for operand in operands):
        return int(result)
    return float(result)


def _round(value: Any, digits: Any = None) -> Any:
    number = numeric(value)
    places = integer(digits) if digits is not None else 0
    if isinstance(number, int) or not math.isfinite(number):
        return number
    rounded = Decimal(str(number)).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
    return float(rounded) if places > 0 else int(rounded)


def _at_least(value: Any, other: Any) -> Any:
    left, right = numeric(value), numeric(other)
    return right if right > left else left


def _at_most(value: Any, other: Any) -> Any:
    left, right = numeric(value), numeric(other)
    return right if right < left else left


def _to_integer(value: Any) -> int:
    if value is True:
        return 1
    return int(numeric(value))


# -- lists and maps


def _first(value: Any) -> Any:
    return None if isinstance(value, str) else lookup(value, "first")


def _last(value: Any) -> Any:
    return None if isinstance(value, str) else lookup(value, "last")


def _size(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return 8
    return len(value) if hasattr(value, "__len__") else 0


def _join(value: Any, glue: Any = " ") -> str:
    return _T(glue).join(_T(item) for item in as_list(value))


def _elements(value: Any) -> list[Any]:
    """The input of Jekyll's own array filters: the values of a map, the elements of a list."""
    if isinstance(value, Mapping):
        return list(value.values())
    return list(value) if isinstance(value, list | tuple | range) else []


def _property(item: Any, key: Any) -> Any:
    """A property of an item, with dots for the properties of properties."""
    if isinstance(item, Mapping) and key in item:
        return item[key]
    value = item
    for part in _T(key).split("."):
        value = lookup(value, part)
        if value is None:
            return None
    return value


def _where(value: Any, key: Any, target: Any) -> Any:
    if not isinstance(value, list | tuple | Mapping | range):
        return value
    return [item for item in _elements(value) if _matches(item, key, target)]


def _matches(item: Any, key: Any, target: Any) -> bool:
    found = _property(item, key)
    if target is None:
        return found is None
    if target is EMPTY:
        return found is None or equal(found, EMPTY)
    if isinstance(found, list | tuple):
        return any(_T(one) == _T(target) for one in found)
    if found is None:
        return False
    if isinstance(found, str):
        return found == _T(target)
    if isinstance(found, Mapping):
        return bool(found == target)
    return _T(found) == _T(target)


def _find(value: Any, key: Any, target: Any) -> Any:
    return next((item for item in _elements(value) if _matches(item, key, target)), None)


def _group_by(value: Any, key: Any) -> Any:
    if not isinstance(value, list | tuple | Mapping | range):
        return value
    return _groups([(_T(_property(item, key)), item) for item in _elements(value)])


def _groups(pairs: list[tuple[Any, Any]]) -> list[dict[str, Any]]:
    groups: dict[Any, list[Any]] = {}
    names: dict[Any, Any] = {}
    for name, item in pairs:
        key = inspect(name)
        names.setdefault(key, name)
        groups.setdefault(key, []).append(item)
    return [{"name": names[key], "items": group, "size": len(group)} for key, group in groups.items()]


class _Order:
    """Sorts what Ruby's ``<=>`` can compare, and tells what it cannot."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __lt__(self, other: _Order) -> bool:
        try:
            return bool(self.value < other.value)
        except TypeError:
            raise FilterError(f"{inspect(self.value)} and {inspect(other.value)} cannot be sorted") from None


def _sort(value: Any, key: Any = None, nils: Any = "first") -> Any:
    if value is None:
        raise FilterError("nil cannot be sorted")
    if isinstance(value, Mapping):
        data: list[Any] = [[k, v] for k, v in value.items()]
    elif isinstance(value, list | tuple | range):
        data = list(value)
    else:
        return value
    if key is None:
        return sorted(data, key=_Order)
    named = [(_property(item[1] if isinstance(value, Mapping) else item, key), item) for item in data]
    without = [item for found, item in named if found is None]
    ordered = [item for _, item in sorted(((f, i) for f, i in named if f is not None), key=lambda p: _Order(p[0]))]
    return ordered + without if nils == "last" else without + ordered


def _sort_natural(value: Any, key: Any = None) -> list[Any]:
    def low(item: Any) -> tuple[bool, str]:
        found = item if key is None else lookup(item, key)
        return found is None, _T(found).lower()

    return sorted(as_list(value), key=low)


def _reverse(value: Any) -> list[Any]:
    return as_list(value)[::-1]


def _concat(value: Any, other: Any) -> list[Any]:
    if not isinstance(other, list | tuple | range):
        raise FilterError("concat needs a list")
    return as_list(value) + as_list(other)


def _map(value: Any, key: Any) -> list[Any]:
    return [_property(item, key) if isinstance(item, Mapping) else lookup(item, key) for item in as_list(value)]


def _uniq(value: Any, key: Any = None) -> list[Any]:
    seen: set[str] = set()
    out = []
    for item in as_list(value):
        mark = inspect(item if key is None else lookup(item, key))
        if mark not in seen:
            seen.add(mark)
            out.append(item)
    return out


def _compact(value: Any, key: Any = None) -> list[Any]:
    return [item for item in as_list(value) if (item if key is None else lookup(item, key)) is not None]


def _reject(value: Any, key: Any, target: Any = None) -> list[Any]:
    def hit(item: Any) -> bool:
        found = lookup(item, key)
        return truthy(found) if target is None else equal(found, target)

    return [item for item in as_list(value) if not hit(item)]


def _sum(value: Any, key: Any = None) -> Any:
    total: Any = 0
    for item in as_list(value):
        total = _plus(total, item if key is None else lookup(item, key))
    return total


def _listed(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list | tuple | range):
        raise FilterError(f"{name} needs a list")
    return list(value)


def _push(value: Any, item: Any) -> list[Any]:
    return [*_listed(value, "push"), item]


def _unshift(value: Any, item: Any) -> list[Any]:
    return [item, *_listed(value, "unshift")]


def _pop(value: Any, count: Any = 1) -> list[Any]:
    data = _listed(value, "pop")
    return data[: max(0, len(data) - integer(count))]


def _shift(value: Any, count: Any = 1) -> list[Any]:
    return _listed(value, "shift")[integer(count) :]


def _sample(value: Any, count: Any = 1) -> Any:
    """Elements that look drawn but depend on the list alone, so that every build gives the same ones."""
    data = as_list(value)
    if not data:
        return None
    import hashlib

    order = sorted(
        range(len(data)), key=lambda i: hashlib.sha256(f"{i}:{len(data)}:{inspect(data[i])}".encode()).digest()
    )
    wanted = integer(count)
    return data[order[0]] if wanted <= 1 else [data[i] for i in order[:wanted]]


def _jsonable(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {_T(k): _jsonable(v) for k, v in value.items()}
    if isinstance(value, list | tuple | range):
        return [_jsonable(item) for item in value]
    return _T(value)


def _jsonify(value: Any) -> str:
    return json.dumps(_jsonable(value), ensure_ascii=False, separators=(",", ":"))


def _inspect(value: Any) -> str:
    return _xml_escape(inspect(value))


def _default(value: Any, other: Any = "", **options: Any) -> Any:
    if truthy(options.get("allow_false")) and value is False:
        return value
    return other if value is None or value is False or equal(value, EMPTY) else value


# -- what needs the site


def _normal_path(path: str) -> str:
    if path.isascii():
        return path.replace(" ", "%20")
    from urllib.parse import quote

    return quote(path, safe="-_.~!$&'()*+,;=:@/%?#[]")


def _is_absolute(text: str) -> bool:
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", text) is not None


def relative_url(site: Site, value: Any) -> Any:
    """A path below the site's ``baseurl``; absolute addresses and nil stay what they are."""
    if value is None:
        return None
    text = _T(value)
    if _is_absolute(text):
        return text
    base = _T(site.baseurl)
    base = base[:-1] if base.endswith("/") else base
    parts = [part if part.startswith("/") else "/" + part for part in (base, text) if part]
    return _normal_path("".join(parts)) if base or text else ""


def absolute_url(site: Site, value: Any) -> Any:
    """The same with the site's ``url`` before it."""
    if value is None:
        return None
    text = _T(value)
    if _is_absolute(text):
        return text
    path = relative_url(site, value)
    url = _T(site.url)
    if not url:
        return path
    return _normal_path(url + path)


def _date(site: Site, value: Any, pattern: Any) -> Any:
    if pattern is None or _T(pattern) == "":
        return value
    if value in ("now", "today"):
        return times.strftime(site.now, _T(pattern))
    moment = times.any_time(value, site.zone) if value is not None else None
    return value if moment is None else times.strftime(moment, _T(pattern))


def _moment(site: Site, value: Any) -> times.Time:
    moment = times.any_time(value, site.zone)
    if moment is None:
        raise FilterError(f"{inspect(value)} is no date")
    return times.local(moment, site.zone)


def _ordinal(day: int) -> str:
    if 11 <= day % 100 <= 13:
        return f"{day}th"
    return f"{day}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(day % 10, 'th') }"


def _worded(site: Site, value: Any, month: str, kind: Any, style: Any) -> Any:
    if value is None or value == "":
        return value
    moment = _moment(site, value)
    if _T(kind) == "ordinal":
        day = _ordinal(moment.day)
        pattern = f"{month} {day}, %Y" if _T(style) == "US" else f"{day} {month} %Y"
    else:
        pattern = f"%d {month} %Y"
    return times.strftime(moment, pattern)


def _date_to_string(site: Site, value: Any, kind: Any = None, style: Any = None) -> Any:
    return _worded(site, value, "%b", kind, style)


def _date_to_long_string(site: Site, value: Any, kind: Any = None, style: Any = None) -> Any:
    return _worded(site, value, "%B", kind, style)


def _date_to_xmlschema(site: Site, value: Any) -> Any:
    return value if value is None or value == "" else times.xml_schema(_moment(site, value))


def _date_to_rfc822(site: Site, value: Any) -> Any:
    return value if value is None or value == "" else times.strftime(_moment(site, value), "%a, %d %b %Y %H:%M:%S %z")


def _where_exp(site: Site, value: Any, name: Any, text: Any) -> Any:
    if not isinstance(value, list | tuple | Mapping | range):
        return value
    holds = site.condition(_T(text))
    return [item for item in _elements(value) if holds(_T(name), item, None)]


def _find_exp(site: Site, value: Any, name: Any, text: Any) -> Any:
    holds = site.condition(_T(text))
    return next((item for item in _elements(value) if holds(_T(name), item, None)), None)


def _group_by_exp(site: Site, value: Any, name: Any, text: Any) -> Any:
    if not isinstance(value, list | tuple | Mapping | range):
        return value
    of = site.expression(_T(text))
    return _groups([(of(_T(name), item, None), item) for item in _elements(value)])


PLAIN: dict[str, Callable[..., Any]] = {
    "abs": lambda v: abs(numeric(v)),
    "append": lambda v, o: _T(v) + _T(o),
    "array_to_sentence_string": _array_to_sentence,
    "at_least": _at_least,
    "at_most": _at_most,
    "capitalize": _capitalize,
    "ceil": lambda v: math.ceil(numeric(v)),
    "cgi_escape": _cgi_escape,
    "compact": _compact,
    "concat": _concat,
    "default": _default,
    "divided_by": _divided_by,
    "downcase": lambda v: _T(v).lower(),
    "escape": _escape,
    "escape_once": _escape_once,
    "find": _find,
    "first": _first,
    "floor": lambda v: math.floor(numeric(v)),
    "group_by": _group_by,
    "h": _escape,
    "inspect": _inspect,
    "join": _join,
    "jsonify": _jsonify,
    "last": _last,
    "lstrip": lambda v: _T(v).lstrip(),
    "map": _map,
    "minus": _minus,
    "modulo": _modulo,
    "newline_to_br": lambda v: re.sub(r"\r?\n", "<br />\n", _T(v)),
    "normalize_whitespace": lambda v: " ".join(_T(v).split()),
    "number_of_words": _number_of_words,
    "plus": _plus,
    "pop": _pop,
    "prepend": lambda v, o: _T(o) + _T(v),
    "push": _push,
    "reject": _reject,
    "remove": lambda v, o: _T(v).replace(_T(o), ""),
    "remove_first": lambda v, o: _T(v).replace(_T(o), "", 1),
    "remove_last": lambda v, o: "".join(_T(v).rsplit(_T(o), 1)) if _T(o) else _T(v),
    "replace": lambda v, o, n="": _T(v).replace(_T(o), _T(n)),
    "replace_first": lambda v, o, n="": _T(v).replace(_T(o), _T(n), 1),
    "replace_last": lambda v, o, n="": _T(n).join(_T(v).rsplit(_T(o), 1)) if _T(o) else _T(v) + _T(n),
    "reverse": _reverse,
    "round": _round,
    "rstrip": lambda v: _T(v).rstrip(),
    "sample": _sample,
    "shift": _shift,
    "size": _size,
    "slice": _slice,
    "slugify": _slugify,
    "sort": _sort,
    "sort_natural": _sort_natural,
    "split": _split,
    "strip": lambda v: _T(v).strip(),
    "strip_html": _strip_html,
    "strip_index": _strip_index,
    "strip_newlines": lambda v: re.sub(r"\r?\n", "", _T(v)),
    "sum": _sum,
    "times": _times,
    "to_integer": _to_integer,
    "truncate": _truncate,
    "truncatewords": _truncatewords,
    "uniq": _uniq,
    "unshift": _unshift,
    "upcase": lambda v: _T(v).upper(),
    "uri_escape": _uri_escape,
    "url_decode": _url_decode,
    "url_encode": _url_encode,
    "where": _where,
    "xml_escape": _xml_escape,
}

SITED: dict[str, Callable[..., Any]] = {
    "absolute_url": absolute_url,
    "date": _date,
    "date_to_long_string": _date_to_long_string,
    "date_to_rfc822": _date_to_rfc822,
    "date_to_string": _date_to_string,
    "date_to_xmlschema": _date_to_xmlschema,
    "find_exp": _find_exp,
    "group_by_exp": _group_by_exp,
    "markdownify": lambda site, v: site.markdown(_T(v)),
    "relative_url": relative_url,
    "sassify": lambda site, v: site.sass(_T(v), indented=True),
    "scssify": lambda site, v: site.sass(_T(v), indented=False),
    "smartify": lambda site, v: site.smart(_T(v)),
    "where_exp": _where_exp,
}

PURE = frozenset(
    [
        "append",
        "capitalize",
        "cgi_escape",
        "downcase",
        "escape",
        "escape_once",
        "prepend",
        "remove",
        "replace",
        "slugify",
        "strip",
        "strip_html",
        "truncate",
        "truncatewords",
        "upcase",
        "uri_escape",
        "url_encode",
        "xml_escape",
        "relative_url",
        "absolute_url",
    ]
)

__all__ = ["PLAIN", "PURE", "SITED", "FilterError", "Site", "absolute_url", "less", "relative_url"]
