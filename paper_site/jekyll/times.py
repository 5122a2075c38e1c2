"""Times and dates as Ruby writes them, in the site's time zone."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_TEXT = re.compile(
    r"(?P<date>\d{4}-\d{1,2}-\d{1,2})"
    r"(?:(?:[Tt]|[ \t]+)(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.(?P<fraction>\d*))?)?"
    r"(?:[ \t]*(?P<zone>Z|UTC|[-+]\d{1,2}(?::?\d\d)?))?)?\Z"
)


class Time(dt.datetime):
    """A time with an offset; prints like Ruby's."""

    def __str__(self) -> str:
        zone = "UTC" if self.tzinfo is dt.UTC else self.strftime("%z")
        return self.strftime("%Y-%m-%d %H:%M:%S ") + zone


def of(moment: dt.datetime) -> Time:
    """The same moment as a `Time`."""
    return Time(
        moment.year,
        moment.month,
        moment.day,
        moment.hour,
        moment.minute,
        moment.second,
        moment.microsecond,
        moment.tzinfo,
        fold=moment.fold,
    )


def zone(name: str | None) -> dt.tzinfo:
    """The site's time zone; UTC when the configuration names none, so that every machine builds the same site."""
    if not name:
        return ZoneInfo("UTC")
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")


def local(moment: dt.datetime, site_zone: dt.tzinfo) -> Time:
    """A moment in the site's zone."""
    return of(moment.astimezone(site_zone))


def read(text: str, site_zone: dt.tzinfo) -> Time | None:
    """A time or a date from text; without an offset it is in the site's zone."""
    found = _TEXT.match(text.strip())
    if not found:
        return None
    try:
        year, month, day = map(int, found["date"].split("-"))
        micro = int((found["fraction"] or "0").ljust(6, "0")[:6])
        offset: dt.tzinfo = site_zone
        if found["zone"]:
            offset = offset_of(found["zone"])
        return Time(
            year,
            month,
            day,
            int(found["hour"] or 0),
            int(found["minute"] or 0),
            int(found["second"] or 0),
            micro,
            offset,
        )
    except ValueError:
        return None


def offset_of(text: str) -> dt.tzinfo:
    """A fixed offset such as ``-0500``; ``Z`` is UTC."""
    if text in {"Z", "UTC"}:
        return dt.UTC
    sign = -1 if text[0] == "-" else 1
    digits = text[1:].replace(":", "")
    hours, minutes = (int(digits[:-2]), int(digits[-2:])) if len(digits) > 2 else (int(digits), 0)
    return dt.timezone(sign * dt.timedelta(hours=hours, minutes=minutes))


def any_time(value: Any, site_zone: dt.tzinfo) -> Time | None:
    """A time from a time, a date, seconds since 1970, ``now`` is not one; None when it is none."""
    if isinstance(value, Time):
        return value
    if isinstance(value, dt.datetime):
        return of(value if value.tzinfo else value.replace(tzinfo=site_zone))
    if isinstance(value, dt.date):
        return Time(value.year, value.month, value.day, tzinfo=site_zone)
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return local(dt.datetime.fromtimestamp(value, dt.UTC), site_zone)
    if isinstance(value, str):
        if value.isdigit():
            return local(dt.datetime.fromtimestamp(int(value), dt.UTC), site_zone)
        return read(value, site_zone) or _spoken(value, site_zone)
    return None


def _spoken(text: str, site_zone: dt.tzinfo) -> Time | None:
    """A date in words, such as ``5 April 2020``."""
    if not re.search(r"\d", text) or not re.search(r"[A-Za-z]{3}|\d[/-]\d", text):
        return None
    from dateutil import parser

    try:
        moment = parser.parse(text, default=dt.datetime(2000, 1, 1))
    except (ValueError, OverflowError, TypeError):
        return None
    return of(moment if moment.tzinfo else moment.replace(tzinfo=site_zone))


_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_DIRECTIVE = re.compile(r"%([-0^#_:]*)(\d*)([a-zA-Z%+])")


def strftime(moment: dt.datetime, pattern: str) -> str:
    """Ruby's ``strftime``; the names of days and months are English whatever the locale."""

    def one(found: re.Match[str]) -> str:
        flags, width, letter = found[1], found[2], found[3]
        padded, fill, size = _directive(moment, letter, flags)
        if padded is None:
            return found[0]
        if "-" in flags:
            padded = padded.lstrip("0 ") or "0" if fill != "" else padded
        else:
            if "_" in flags and fill:
                padded = (padded.lstrip("0") or "0").rjust(size)
            elif "0" in flags and fill:
                padded = padded.strip().rjust(size, "0")
            if width:
                padded = padded.rjust(int(width), "0" if fill == "0" and "_" not in flags else " ")
        if "^" in flags:
            padded = padded.upper()
        if "#" in flags:
            padded = padded.lower() if letter == "p" else padded.upper()
        return padded

    return _DIRECTIVE.sub(one, pattern)


def _directive(moment: dt.datetime, letter: str, flags: str) -> tuple[str | None, str, int]:
    """Text of one directive, its padding character and its width."""
    day, month = _DAYS[moment.weekday()], _MONTHS[moment.month - 1]
    twelve = moment.hour % 12 or 12
    simple: dict[str, tuple[str, str, int]] = {
        "Y": (str(moment.year), "0", 4),
        "C": (f"{moment.year // 100:02d}", "0", 2),
        "y": (f"{moment.year % 100:02d}", "0", 2),
        "m": (f"{moment.month:02d}", "0", 2),
        "d": (f"{moment.day:02d}", "0", 2),
        "e": (f"{moment.day:2d}", " ", 2),
        "j": (f"{moment.timetuple().tm_yday:03d}", "0", 3),
        "H": (f"{moment.hour:02d}", "0", 2),
        "k": (f"{moment.hour:2d}", " ", 2),
        "I": (f"{twelve:02d}", "0", 2),
        "l": (f"{twelve:2d}", " ", 2),
        "M": (f"{moment.minute:02d}", "0", 2),
        "S": (f"{moment.second:02d}", "0", 2),
        "L": (f"{moment.microsecond // 1000:03d}", "0", 3),
        "N": (f"{moment.microsecond:06d}000", "0", 9),
        "u": (str(moment.isoweekday()), "0", 1),
        "w": (str(moment.isoweekday() % 7), "0", 1),
        "G": (str(moment.isocalendar()[0]), "0", 4),
        "V": (f"{moment.isocalendar()[1]:02d}", "0", 2),
        "U": (f"{(moment.timetuple().tm_yday + 6 - moment.isoweekday() % 7) // 7:02d}", "0", 2),
        "W": (f"{(moment.timetuple().tm_yday + 6 - moment.weekday()) // 7:02d}", "0", 2),
        "B": (month, "", 0),
        "b": (month[:3], "", 0),
        "h": (month[:3], "", 0),
        "A": (day, "", 0),
        "a": (day[:3], "", 0),
        "p": ("AM" if moment.hour < 12 else "PM", "", 0),
        "P": ("am" if moment.hour < 12 else "pm", "", 0),
        "n": ("\n", "", 0),
        "t": ("\t", "", 0),
        "%": ("%", "", 0),
    }
    if letter in simple:
        return simple[letter]
    if letter == "z":
        text = moment.strftime("%z") or "+0000"
        return (f"{text[:3]}:{text[3:5]}" if ":" in flags else text), "", 0
    if letter == "Z":
        name = moment.tzname() or ""
        # An offset without a name has none to show.
        return ("" if name.startswith("UTC") and name != "UTC" else name), "", 0
    if letter == "s":
        return str(int(moment.timestamp())), "", 0
    longer = {
        "F": "%Y-%m-%d",
        "T": "%H:%M:%S",
        "X": "%H:%M:%S",
        "R": "%H:%M",
        "r": "%I:%M:%S %p",
        "D": "%m/%d/%y",
        "x": "%m/%d/%y",
        "c": "%a %b %e %H:%M:%S %Y",
        "v": "%e-%^b-%Y",
    }
    if letter in longer:
        return strftime(moment, longer[letter]), "", 0
    return None, "", 0


def xml_schema(moment: dt.datetime) -> str:
    """``2020-04-01T08:00:00-04:00``."""
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    offset = moment.strftime("%z") or "+0000"
    return text + ("Z" if moment.tzinfo is dt.UTC else f"{offset[:3]}:{offset[3:5]}")
