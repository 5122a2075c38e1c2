"""Numbers to text: units, intervals, durations, names of notes. A value that is not there never becomes a number."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping
from typing import Any

MINUS = "\u2212"
THIN = "\u202f"
NOTE_NAMES = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")
_STATUS = {"undefined": "undefined", "failed": "failed", "skipped": "not computed"}


def fixed(value: float, decimals: int) -> str:
    """Print with a set number of decimals and a true minus sign; no minus zero.

    >>> fixed(-0.0004, 2)
    '0.00'
    """
    text = f"{abs(value):.{decimals}f}"
    negative = value < 0 and float(text) != 0
    return f"{MINUS}{text}" if negative else text


def decimals_for(value: float, digits: int = 3) -> int:
    """Count the decimals with which a value shows the given number of significant digits, at most 6."""
    if not math.isfinite(value) or value == 0:
        return digits - 1
    return max(0, min(6, digits - 1 - math.floor(math.log10(abs(value)))))


def number(value: float | int | None, digits: int = 3) -> str:
    """Print a number with the given significant digits; very small and very large ones with a power of ten.

    >>> number(0.04567), number(-12.345), number(0)
    ('0.0457', '−12.3', '0')
    """
    if value is None:
        return "—"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else f"{MINUS if value < 0 else ''}∞"
    if value == 0:
        return "0"
    if isinstance(value, int):
        return count(value)
    if abs(value) < 1e-4 or abs(value) >= 1e6:
        mantissa, exponent = f"{abs(value):.{digits - 1}e}".split("e")
        sign = MINUS if value < 0 else ""
        power = "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(c)] if c.isdigit() else "⁻" for c in str(int(exponent)))
        return f"{sign}{mantissa}{THIN}×{THIN}10{power}"
    return fixed(value, decimals_for(value, digits))


def count(value: int | None) -> str:
    r"""Print a whole number with thin spaces between thousands.

    >>> count(64000)
    '64\u202f000'
    """
    if value is None:
        return "—"
    text = f"{abs(value):,}".replace(",", THIN) if abs(value) >= 10_000 else str(abs(value))
    return f"{MINUS}{text}" if value < 0 else text


def interval_decimals(mean: float, low: float | None, high: float | None) -> int:
    """Count the decimals that an interval deserves: two significant digits of its half width."""
    if low is None or high is None or not math.isfinite(high - low) or high <= low:
        return decimals_for(mean)
    half = (high - low) / 2
    return max(0, min(6, 1 - math.floor(math.log10(half))))


def mean_text(row: Any) -> str:
    """Print the mean of an aggregate with the decimals that its interval deserves, or a dash."""
    if row is None or row.mean is None:
        return "—"
    if 0 < abs(row.mean) < 1e-4 or abs(row.mean) >= 1e6:
        return number(row.mean)
    return fixed(row.mean, interval_decimals(row.mean, row.low, row.high))


def interval_text(row: Any) -> str:
    """Print the interval of an aggregate or a difference as ``[low, high]``, or nothing where there is none."""
    if row is None or row.mean is None or row.low is None or row.high is None:
        return ""
    if 0 < abs(row.mean) < 1e-4 or abs(row.mean) >= 1e6:
        return f"[{number(row.low)}, {number(row.high)}]"
    decimals = interval_decimals(row.mean, row.low, row.high)
    return f"[{fixed(row.low, decimals)}, {fixed(row.high, decimals)}]"


def median_text(row: Any) -> str:
    """Print a median with the decimals that its interval deserves."""
    if row.median is None:
        return "—"
    if 0 < abs(row.median) < 1e-4 or abs(row.median) >= 1e6:
        return number(row.median)
    return fixed(row.median, interval_decimals(row.median, row.median_low, row.median_high))


def median_interval_text(row: Any) -> str:
    """Print the interval of a median as ``[low, high]``, or nothing where there is none."""
    if row.median is None or row.median_low is None or row.median_high is None:
        return ""
    if 0 < abs(row.median) < 1e-4 or abs(row.median) >= 1e6:
        return f"[{number(row.median_low)}, {number(row.median_high)}]"
    decimals = interval_decimals(row.median, row.median_low, row.median_high)
    return f"[{fixed(row.median_low, decimals)}, {fixed(row.median_high, decimals)}]"


def rank_text(value: float | None) -> str:
    """Print a rank; ranks that systems share may lie between whole numbers.

    >>> rank_text(2.0), rank_text(1.5)
    ('2', '1.5')
    """
    return "—" if value is None else f"{value:g}"


def score_text(score: Any, digits: int = 3) -> str:
    """Print a score: its value when its status is ok, else the status in words."""
    if score is None:
        return "not computed"
    if score.status != "ok" or score.value is None:
        return _STATUS.get(score.status, "undefined")
    return number(float(score.value), digits)


def signed(value: float | None, decimals: int = 1) -> str:
    """Print with a plus or minus sign.

    >>> signed(1.26), signed(-3.0)
    ('+1.3', '−3.0')
    """
    if value is None:
        return "—"
    text = fixed(value, decimals)
    return text if text.startswith(MINUS) or float(text) == 0 else f"+{text}"


def duration(seconds: float | None) -> str:
    """Print a time span.

    >>> duration(4.0), duration(0.0312), duration(754)
    ('4.00 s', '31 ms', '12 min 34 s')
    """
    if seconds is None:
        return "—"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms" if seconds >= 0.001 or seconds == 0 else f"{seconds * 1e6:.0f} µs"
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"


def size(count_bytes: int | None) -> str:
    """Print a file size.

    >>> size(950), size(41234), size(7_380_000)
    ('950 B', '41 kB', '7.4 MB')
    """
    if count_bytes is None:
        return "—"
    if count_bytes < 1000:
        return f"{count_bytes} B"
    if count_bytes < 1_000_000:
        return f"{count_bytes / 1000:.0f} kB"
    return f"{count_bytes / 1e6:.1f} MB" if count_bytes < 1e9 else f"{count_bytes / 1e9:.2f} GB"


def note(pitch: Any) -> str:
    """Name a MIDI pitch, 60 being C4.

    >>> note(60), note(69), note("x")
    ('C4', 'A4', '')
    """
    if isinstance(pitch, bool) or not isinstance(pitch, int) or not 0 <= pitch <= 127:
        return ""
    return f"{NOTE_NAMES[pitch % 12]}{pitch // 12 - 1}"


def words(name: Any) -> str:
    """Make a label of an identifier: underscores become blanks, the first letter a capital.

    >>> words("synth_lead")
    'Synth lead'
    """
    text = str(name).replace("_", " ").strip()
    return text[:1].upper() + text[1:]


def short_hash(value: Any) -> str:
    """Show the first twelve digits of a hash, enough to compare by eye."""
    return str(value)[:12]


def plain(value: Any) -> str:
    """Print any plain value in one line: lists with commas, mappings as ``key: value``."""
    if value is None:
        return "—"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return count(value)
    if isinstance(value, float):
        return number(value, 4)
    if isinstance(value, Mapping):
        return ", ".join(f"{words(k)}: {plain(v)}" for k, v in value.items()) or "—"
    if isinstance(value, list | tuple):
        return ", ".join(plain(v) for v in value) or "—"
    return str(value)


def percent(share: float) -> str:
    """Print a share as a percentage.

    >>> percent(0.95), percent(0.999)
    ('95', '99.9')
    """
    return f"{100 * share:.4g}"


def command(value: Any) -> str:
    """Print a command line that was recorded as a text or as a list of arguments."""
    if isinstance(value, list | tuple):
        return shlex.join(str(part) for part in value)
    return plain(value)


def slug_id(name: Any) -> str:
    """Make an element id of a name.

    >>> slug_id("log mel/l1")
    'log-mel-l1'
    """
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", str(name))


FILTERS = {
    "command": command,
    "count": count,
    "decimals_for": decimals_for,
    "duration": duration,
    "interval_text": interval_text,
    "mean_text": mean_text,
    "median_interval_text": median_interval_text,
    "median_text": median_text,
    "note": note,
    "number": number,
    "percent": percent,
    "plain": plain,
    "rank_text": rank_text,
    "score_text": score_text,
    "short_hash": short_hash,
    "signed": signed,
    "size": size,
    "slug": slug_id,
    "slug_id": slug_id,
    "words": words,
}
