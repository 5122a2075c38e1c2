"""Spectrograms, waveforms, differences and code maps as small palette PNGs, in a light and a dark form.

A picture is a plane of palette indices: 224 steps of the colour map and 32 steps of ink. The light and the dark form
are the same plane, compressed once, with two palettes, so that they cannot show different data. Nothing in the files
depends on the time or the machine.
"""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Drawn for a place some 280 pixels wide on a page, where the text is still ten pixels high.
WIDTH, HEIGHT = 600, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 92, 102, 16, 64
_STEPS = 224
_INKS = 32
_TEXT_PX = 22

RANGE_DB = 80.0
"""Decibels from the top of a row's colour scale to its bottom."""

DIFFERENCE_DB = 40.0
"""Decibels at either end of the colour scale of a difference."""

_DIFFERENCE_STEP_DB = 2.5
_BODY, _CORE = 104, 184
_SEQUENTIAL, _DIVERGING = "sequential", "diverging"


@dataclass(frozen=True)
class Spectrogram:
    """Levels of a sound over time and frequency.

    Attributes:
        level_db: Level, dB relative to a full-scale sine, shape ``(frequencies, frames)``, low frequencies first.
        frequency_hz: Frequency of every row.
        duration_s: Length of the sound.
    """

    level_db: NDArray[np.float32]
    frequency_hz: NDArray[np.float64]
    duration_s: float

    @property
    def peak_db(self) -> float:
        """The highest level."""
        return float(self.level_db.max())


def spectrogram(waveform: NDArray[Any], sample_rate_hz: int, *, rows: int = 320, columns: int = 406) -> Spectrogram:
    """Spectrogram with a logarithmic frequency axis from 30 Hz to half the sample rate.

    Args:
        waveform: Shape ``(samples,)``, full scale at 1.
        sample_rate_hz: Its rate.
        rows: Frequencies.
        columns: Frames at most.
    """
    n_fft = 1 << max(8, round(math.log2(0.093 * sample_rate_hz)))
    n = len(waveform)
    hop = max(n_fft // 8, -(-n // columns))
    window = np.hanning(n_fft + 1)[:-1]
    padded = np.pad(np.asarray(waveform, dtype=np.float64), (n_fft // 2, n_fft))
    starts = np.arange(0, max(1, n), hop)
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[starts]
    power = np.abs(np.fft.rfft(frames * window, axis=-1)) ** 2 * (4.0 / window.sum() ** 2)
    bins_hz = np.fft.rfftfreq(n_fft, 1.0 / sample_rate_hz)
    low_hz, high_hz = min(30.0, sample_rate_hz / 8), sample_rate_hz / 2
    edges = np.geomspace(low_hz, high_hz, rows + 1)
    centre = np.sqrt(edges[:-1] * edges[1:])
    # Narrow rows interpolate between bins; wide rows take the loudest bin, so that a thin partial is never lost.
    position = centre / bins_hz[1]
    below = np.clip(np.floor(position).astype(int), 0, power.shape[1] - 2)
    share = (position - below)[:, None]
    by_bin = np.ascontiguousarray(power.T)
    level = by_bin[below] * (1.0 - share) + by_bin[below + 1] * share
    first, last = np.searchsorted(bins_hz, edges[:-1]), np.searchsorted(bins_hz, edges[1:])
    wide = first < last
    loudest = np.maximum.reduceat(by_bin[: last[-1]], np.minimum(first, last[-1] - 1), axis=0)
    level[wide] = np.maximum(level[wide], loudest[wide])
    decibels = 10.0 * np.log10(np.maximum(level, 1e-20))
    return Spectrogram(decibels.astype(np.float32), centre, n / sample_rate_hz)


def describe_spectrogram(picture: Spectrogram, what: str) -> str:
    """Text alternative, from the same numbers as the picture."""
    power = 10.0 ** (picture.level_db.astype(np.float64) / 10.0)
    by_band, by_frame = power.mean(axis=1), power.mean(axis=0)
    if by_frame.max() < 1e-12:
        return f"Spectrogram of {what}: silence for {picture.duration_s:.2f} s."
    loudest_hz = picture.frequency_hz[int(by_band.argmax())]
    above = np.flatnonzero(by_frame > by_frame.max() * 1e-4)
    step = picture.duration_s / len(by_frame)
    top = picture.frequency_hz[np.flatnonzero(by_band > by_band.max() * 1e-5).max()]
    return (
        f"Spectrogram of {what}, {picture.duration_s:.2f} s: loudest near {_hertz(float(loudest_hz))}, energy up to"
        f" {_hertz(float(top))} within 50 dB of it;"
        f" sounds from {above[0] * step:.1f} s to {(above[-1] + 1) * step:.1f} s."
    )


def _hertz(value: float) -> str:
    return f"{value / 1000:.1f} kHz" if value >= 1000 else f"{value:.0f} Hz"


def draw_spectrogram(picture: Spectrogram, *, top_db: float, title: str = "") -> dict[str, bytes]:
    """PNG files of a spectrogram.

    Args:
        picture: What to draw.
        top_db: Upper end of the colour scale; the lower end is ``RANGE_DB`` below. One value serves a whole row.
        title: Printed at the top left of the plot.

    Returns:
        ``light`` and ``dark``.
    """
    share = (picture.level_db - (top_db - RANGE_DB)) / RANGE_DB
    cells = np.clip(np.rint(share * (_STEPS - 1)), 0, _STEPS - 1).astype(np.uint8)
    canvas = _Canvas()
    canvas.cells(cells[::-1])
    _frequency_axis(canvas, picture)
    canvas.x_axis("Time, s", _time_ticks(picture.duration_s))
    bar = [(i / 4, f"{top_db - RANGE_DB * (1 - i / 4):.0f}") for i in range(5)]
    canvas.bar("dB FS", bar)
    canvas.title(title)
    return canvas.files()


@dataclass(frozen=True)
class Envelope:
    """A waveform, column by column.

    Attributes:
        low: Smallest sample of every column, shape ``(columns,)``.
        high: Largest sample.
        rms: Root mean square.
        duration_s: Length of the sound.
    """

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    rms: NDArray[np.float32]
    duration_s: float

    @property
    def peak(self) -> float:
        """The largest magnitude."""
        return float(max(self.high.max(), -self.low.min()))


def envelope(waveform: NDArray[Any], sample_rate_hz: int, *, columns: int = WIDTH - _LEFT - _RIGHT) -> Envelope:
    """Extremes and power of a waveform in equal parts of its time.

    Args:
        waveform: Shape ``(samples,)``, full scale at 1.
        sample_rate_hz: Its rate.
        columns: Parts; fewer where there are fewer samples.
    """
    wave = np.asarray(waveform, dtype=np.float32)
    n = len(wave)
    starts = np.arange(min(columns, n)) * n // min(columns, n)
    counts = np.diff(np.append(starts, n))
    power = np.add.reduceat(wave.astype(np.float64) ** 2, starts) / counts
    return Envelope(
        np.minimum.reduceat(wave, starts),
        np.maximum.reduceat(wave, starts),
        np.sqrt(power).astype(np.float32),
        n / sample_rate_hz,
    )


def describe_waveform(picture: Envelope, what: str) -> str:
    """Text alternative, from the same numbers as the picture."""
    peak = picture.peak
    if peak <= 0.0:
        return f"Waveform of {what}: silence for {picture.duration_s:.2f} s."
    step = picture.duration_s / len(picture.rms)
    power = picture.rms.astype(np.float64) ** 2
    loudest = int(power.argmax())
    after = np.flatnonzero(power[loudest:] < power[loudest] * 1e-2)
    falls = (
        f"falls 20 dB below that at {(loudest + after[0]) * step:.1f} s"
        if len(after)
        else "never falls 20 dB below that"
    )
    return (
        f"Waveform of {what}, {picture.duration_s:.2f} s: peak {20 * math.log10(peak):.1f} dB FS, RMS"
        f" {10 * math.log10(max(power.mean(), 1e-20)):.1f} dB FS; loudest at {(loudest + 0.5) * step:.1f} s, {falls}."
    )


def draw_waveform(picture: Envelope, *, top: float, title: str = "") -> dict[str, bytes]:
    """PNG files of a waveform: its extremes, and its root mean square darker inside them.

    Args:
        picture: What to draw.
        top: Upper end of the amplitude axis, the lower end is its negative. One value serves a whole row.
        title: Printed at the bottom left.

    Returns:
        ``light`` and ``dark``.
    """
    canvas = _Canvas()
    rows = canvas.bottom - canvas.top
    # A row of cells is shaded where it lies between the extremes; the row that holds them always is.
    place = (0.5 - np.arange(rows)[:, None] / (rows - 1)) * 2 * top
    half = top / (rows - 1)
    low, high, rms = picture.low[None], picture.high[None], picture.rms[None]
    cells = np.zeros((rows, picture.low.size), dtype=np.uint8)
    cells[(place >= low - half) & (place <= high + half)] = _BODY
    cells[np.abs(place) <= np.minimum(rms, np.maximum(high, -low)) + half] = _CORE
    canvas.cells(cells)
    canvas.y_axis(
        "Amplitude, 1 = full scale",
        [(0.0, f"{-top:g}"), (0.25, f"{-top / 2:g}"), (0.5, "0"), (0.75, f"{top / 2:g}"), (1.0, f"{top:g}")],
    )
    canvas.x_axis("Time, s", _time_ticks(picture.duration_s))
    canvas.key((("peaks", _BODY), ("RMS", _CORE)))
    canvas.title(title)
    return canvas.files()


def amplitude_top(peak: float) -> float:
    """A round upper end for an amplitude axis that holds a peak: 1, 2 or 5 times a power of ten, 0.01 at least."""
    if peak <= 0.01:
        return 0.01
    power = 10.0 ** math.floor(math.log10(peak))
    return float(next(round(step * power, 9) for step in (1.0, 2.0, 5.0, 10.0) if peak <= step * power * (1 + 1e-6)))


def level_difference(picture: Spectrogram, reference: Spectrogram, *, top_db: float) -> NDArray[np.float32]:
    """Levels of a sound less those of another, dB, both floored at the lower end of the row's colour scale.

    Args:
        picture: The sound.
        reference: What it is held against, of the same shape.
        top_db: Upper end of the row's colour scale.

    Returns:
        Shape ``(frequencies, frames)``; 0 where both lie under the floor.

    Raises:
        ValueError: If the shapes differ.
    """
    if picture.level_db.shape != reference.level_db.shape:
        raise ValueError(f"shapes {picture.level_db.shape} and {reference.level_db.shape} differ")
    floor = np.float32(top_db - RANGE_DB)
    return np.asarray(np.maximum(picture.level_db, floor) - np.maximum(reference.level_db, floor), np.float32)


def describe_difference(picture: Spectrogram, reference: Spectrogram, what: str, *, top_db: float) -> str:
    """Text alternative of a difference, from the same numbers as the picture."""
    gap = level_difference(picture, reference, top_db=top_db)
    heard = np.maximum(picture.level_db, reference.level_db) > top_db - 60.0
    if not heard.any():
        return f"Level of {what}, less that of the original: both are silent."
    inside = gap[heard].astype(np.float64)
    # The bands that differ most in all; what is printed is the mean where they are heard.
    total, cells = np.where(heard, gap, 0.0).sum(axis=1, dtype=np.float64), np.maximum(1, heard.sum(axis=1))
    most, least = int(total.argmax()), int(total.argmin())
    by_band = total / cells
    parts = [f"mean {inside.mean():+.1f} dB, median size {np.median(np.abs(inside)):.1f} dB"]
    if by_band[most] > 0.05:
        parts.append(f"most too loud near {_hertz(float(picture.frequency_hz[most]))} ({by_band[most]:+.1f} dB)")
    if by_band[least] < -0.05:
        parts.append(f"most too quiet near {_hertz(float(picture.frequency_hz[least]))} ({by_band[least]:+.1f} dB)")
    return f"Level of {what}, less that of the original, where either is heard: {'; '.join(parts)}."


def draw_difference(
    picture: Spectrogram, reference: Spectrogram, *, top_db: float, title: str = ""
) -> dict[str, bytes]:
    """PNG files of `level_difference`: one hue where the sound is louder than the reference, another where quieter.

    Args:
        picture: The sound.
        reference: What it is held against.
        top_db: Upper end of the row's colour scale.
        title: Printed at the bottom left.

    Returns:
        ``light`` and ``dark``.
    """
    # Whole steps of the colour bar: finer ones cannot be told apart and make the file twice as large.
    gap = np.rint(level_difference(picture, reference, top_db=top_db) / _DIFFERENCE_STEP_DB) * _DIFFERENCE_STEP_DB
    share = gap / (2 * DIFFERENCE_DB) + 0.5
    cells = np.clip(np.rint(share * (_STEPS - 1)), 0, _STEPS - 1).astype(np.uint8)
    canvas = _Canvas(_DIVERGING)
    canvas.cells(cells[::-1])
    _frequency_axis(canvas, picture)
    canvas.x_axis("Time, s", _time_ticks(picture.duration_s))
    canvas.bar("dB", [(i / 4, f"{DIFFERENCE_DB * (i / 2 - 1):+.0f}" if i != 2 else "0") for i in range(5)])
    canvas.title(title)
    return canvas.files()


def draw_codemap(codes: NDArray[Any], *, codebook_size: int, duration_s: float, title: str = "") -> dict[str, bytes]:
    """PNG files of a map of code indices.

    The colour only tells indices apart; neighbouring indices need not sound alike.

    Args:
        codes: Indices, shape ``(bins, frames)``, low frequencies first.
        codebook_size: Number of codes.
        duration_s: Time that the map covers.
        title: Printed at the top left of the plot.

    Returns:
        ``light`` and ``dark``.
    """
    cells = np.rint(codes.astype(np.float64) * ((_STEPS - 1) / max(1, codebook_size - 1))).astype(np.uint8)
    canvas = _Canvas()
    canvas.cells(cells[::-1])
    bins = codes.shape[0]
    canvas.y_axis("Frequency bin", [((i + 0.5) / bins, str(i)) for i in range(0, bins, max(1, bins // 4))])
    canvas.x_axis("Time, s", _time_ticks(duration_s))
    canvas.bar("Code", [(i / 4, str(round(i * (codebook_size - 1) / 4))) for i in range(5)])
    canvas.title(title)
    return canvas.files()


def describe_codemap(codes: NDArray[Any], *, level: str, what: str, codebook_size: int) -> str:
    """Text alternative of a code map, from its indices."""
    bins, frames = codes.shape
    used = len(np.unique(codes))
    return (
        f"Map of the {level} codes of {what}: {bins} frequency bins by {frames} time steps, {used} different codes of"
        f" {codebook_size}."
    )


def plot_span() -> dict[str, float]:
    """Where the time axis begins and ends, as fractions of the picture's width."""
    return {"left": round(_LEFT / WIDTH, 6), "right": round((WIDTH - _RIGHT) / WIDTH, 6)}


def _time_ticks(duration_s: float) -> list[tuple[float, str]]:
    if duration_s <= 0:
        return []
    step = 10.0 ** math.floor(math.log10(duration_s))
    for divisor in (5.0, 2.0, 1.0):
        if duration_s / (step / divisor) <= 5:
            step /= divisor
            break
    return [(i * step / duration_s, f"{i * step:g}") for i in range(int(duration_s / step + 1e-9) + 1)]


def _frequency_axis(canvas: _Canvas, picture: Spectrogram) -> None:
    low, high = float(picture.frequency_hz[0]), float(picture.frequency_hz[-1])
    span = math.log(high / low)
    ticks = [hz for hz in (50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000) if low <= hz <= high]
    canvas.y_axis(
        "Frequency, Hz", [(math.log(hz / low) / span, f"{hz / 1000:g}k" if hz >= 1000 else str(hz)) for hz in ticks]
    )


class _Canvas:
    """A plane of palette indices with axes round it."""

    def __init__(self, colours: str = _SEQUENTIAL) -> None:
        self.colours = colours
        self.plane: NDArray[np.uint8] = np.full((HEIGHT, WIDTH), _STEPS, dtype=np.uint8)
        self.left, self.right, self.top, self.bottom = _LEFT, WIDTH - _RIGHT, _TOP, HEIGHT - _BOTTOM

    def cells(self, cells: NDArray[np.uint8]) -> None:
        height, width = self.bottom - self.top, self.right - self.left
        y = np.arange(height) * cells.shape[0] // height
        x = np.arange(width) * cells.shape[1] // width
        self.plane[self.top : self.bottom, self.left : self.right] = cells[y][:, x]

    def _ink(self, y: slice | int, x: slice | int, strength: float = 0.55) -> None:
        self.plane[y, x] = _STEPS + round(strength * (_INKS - 1))

    def text(self, text: str, x: float, y: float, *, anchor: tuple[float, float], turn: bool = False) -> None:
        """Print text; ``anchor`` says which part of it (0 to 1 across, 0 to 1 down) lies at the point."""
        mask = _text_mask(text)
        if turn:
            mask = np.rot90(mask)
        height, width = mask.shape
        top, left = round(y - anchor[1] * height), round(x - anchor[0] * width)
        top, left = max(0, min(top, HEIGHT - height)), max(0, min(left, WIDTH - width))
        area = self.plane[top : top + height, left : left + width]
        ink = (_STEPS + np.rint(mask.astype(np.float64) / 255 * (_INKS - 1))).astype(np.uint8)
        np.copyto(area, np.maximum(area, ink), where=(mask > 0) & (area >= _STEPS))

    def x_axis(self, label: str, ticks: Sequence[tuple[float, str]]) -> None:
        for share, name in ticks:
            x = min(self.right - 1, self.left + round(share * (self.right - self.left)))
            self._ink(slice(self.bottom, self.bottom + 5), x)
            self.text(name, x, self.bottom + 6, anchor=(0.5, 0.0))
        self.text(label, (self.left + self.right) / 2, HEIGHT - 3, anchor=(0.5, 1.0))

    def y_axis(self, label: str, ticks: Sequence[tuple[float, str]]) -> None:
        for share, name in ticks:
            y = max(self.top, self.bottom - 1 - round(share * (self.bottom - self.top)))
            self._ink(y, slice(self.left - 5, self.left))
            self.text(name, self.left - 8, y, anchor=(1.0, 0.5))
        self.text(label, 4, (self.top + self.bottom) / 2, anchor=(0.0, 0.5), turn=True)

    def bar(self, label: str, ticks: Sequence[tuple[float, str]]) -> None:
        left = self.right + 16
        height = self.bottom - self.top
        steps = np.arange(height)[::-1] * (_STEPS - 1) // (height - 1)
        self.plane[self.top : self.bottom, left : left + 14] = steps.astype(np.uint8)[:, None]
        for share, name in ticks:
            y = self.bottom - 1 - round(share * (height - 1))
            self._ink(y, slice(left + 14, left + 19))
            self.text(name, left + 23, y, anchor=(0.0, 0.5))
        self.text(label, WIDTH - 3, HEIGHT - 3, anchor=(1.0, 1.0))

    def key(self, entries: Sequence[tuple[str, int]]) -> None:
        """Say what the shades of a picture without a colour bar mean."""
        for number, (name, shade) in enumerate(entries):
            top = self.top + 34 * number
            self.plane[top + 4 : top + 20, self.right + 14 : self.right + 26] = shade
            self.text(name, self.right + 31, top, anchor=(0.0, 0.0))

    def title(self, text: str) -> None:
        if text:
            self.text(text, 4, HEIGHT - 3, anchor=(0.0, 1.0))

    def files(self) -> dict[str, bytes]:
        from PIL import Image

        image = Image.fromarray(self.plane)
        palettes = _palettes(self.colours)
        image.putpalette(palettes["light"])
        sink = io.BytesIO()
        image.save(sink, "PNG", compress_level=6)
        data = sink.getvalue()
        return {theme: data if theme == "light" else _with_palette(data, palettes[theme]) for theme in palettes}


def _with_palette(data: bytes, palette: bytes) -> bytes:
    """The same PNG with other colours: the palette is a chunk of its own, and the pixels need not be packed again."""
    start = data.index(b"PLTE")
    end = start + 4 + int.from_bytes(data[start - 4 : start], "big")
    chunk = b"PLTE" + palette.ljust(end - start - 4, b"\0")
    return data[:start] + chunk + zlib.crc32(chunk).to_bytes(4, "big") + data[end + 4 :]


@lru_cache(maxsize=512)
def _text_mask(text: str) -> NDArray[np.uint8]:
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(_TEXT_PX)
    box = font.getbbox(text)
    image = Image.new("L", (math.ceil(box[2]) + 1, _TEXT_PX + 4))
    ImageDraw.Draw(image).text((0, 1), text, fill=255, font=font)
    return np.asarray(image)


# Colours are mixed in Oklab (B. Ottosson, 2020), where equal steps look equally large.
# Stops are (lightness, chroma, hue in degrees).
_DARK_PATH = (
    (0.16, 0.02, 285.0),
    (0.34, 0.13, 290.0),
    (0.52, 0.17, 350.0),
    (0.70, 0.16, 45.0),
    (0.86, 0.13, 85.0),
    (0.985, 0.04, 105.0),
)
_LIGHT_PATH = (
    (0.985, 0.005, 100.0),
    (0.89, 0.07, 85.0),
    (0.74, 0.13, 50.0),
    (0.57, 0.17, 10.0),
    (0.39, 0.15, 320.0),
    (0.20, 0.08, 285.0),
)
# Blue where a sound is too quiet, orange where it is too loud, and the paper between them: told apart with every common
# kind of colour vision, and by lightness from the paper with none.
_LIGHT_ENDS = (
    (0.40, 0.13, 262.0),
    (0.66, 0.12, 245.0),
    (0.985, 0.004, 100.0),
    (0.70, 0.14, 60.0),
    (0.44, 0.13, 42.0),
)
_DARK_ENDS = (
    (0.86, 0.09, 225.0),
    (0.58, 0.14, 250.0),
    (0.20, 0.012, 285.0),
    (0.60, 0.14, 50.0),
    (0.88, 0.11, 80.0),
)
_PAPER_AND_INK: Mapping[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "light": ((255, 255, 255), (38, 40, 48)),
    "dark": ((23, 25, 31), (222, 224, 230)),
}
_PATHS: Mapping[str, Mapping[str, Any]] = {
    _SEQUENTIAL: {"light": _LIGHT_PATH, "dark": _DARK_PATH},
    _DIVERGING: {"light": _LIGHT_ENDS, "dark": _DARK_ENDS},
}


def _oklab_to_rgb(lab: NDArray[np.float64]) -> NDArray[np.float64]:
    to_lms = np.array(
        [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
    )
    to_rgb = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip((lab @ to_lms.T) ** 3 @ to_rgb.T, 0.0, 1.0)
    mixed: NDArray[np.float64] = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return mixed


@lru_cache(maxsize=2)
def _palettes(colours: str) -> dict[str, bytes]:
    palettes = {}
    for theme, path in _PATHS[colours].items():
        paper, ink = _PAPER_AND_INK[theme]
        stops = np.array([(lt, c * math.cos(math.radians(h)), c * math.sin(math.radians(h))) for lt, c, h in path])
        if colours == _DIVERGING:
            at = np.linspace(0.0, 1.0, len(stops))
            lab = np.stack([np.interp(np.linspace(0.0, 1.0, _STEPS), at, stops[:, k]) for k in range(3)], axis=1)
        else:
            # Steps are equal in lightness, which is what carries the level.
            wanted = np.linspace(stops[0, 0], stops[-1, 0], _STEPS)
            order = np.argsort(stops[:, 0])
            lab = np.stack([np.interp(wanted, stops[order, 0], stops[order, k]) for k in range(3)], axis=1)
        mix = np.linspace(0.0, 1.0, _INKS)[:, None]
        inks = np.array(paper) * (1 - mix) + np.array(ink) * mix
        table = np.concatenate([np.rint(_oklab_to_rgb(lab) * 255), np.rint(inks)]).astype(np.uint8)
        palettes[theme] = table.tobytes()
    return palettes
