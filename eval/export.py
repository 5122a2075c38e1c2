"""Published samples: audio in three formats and pictures, with the hash of every file.

All files of a clip form a row: the recording and every system's output for it. One gain serves the whole row, so that
the row's levels stay what the systems made them; loudness is measured on the stored samples, which lets a player match
it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval import audio_io, pictures
from eval.runner import safe_name
from models.errors import InputError

CEILING_DBFS = -0.3
ORIGINAL = "original"
VIEWS = ("spectrogram", "waveform", "difference", "codemap")
"""What is drawn of a sound; a difference only where the row has an original, code maps where there are codes."""


@dataclass(frozen=True)
class LevelPolicy:
    """How levels are treated on the way into files.

    Attributes:
        name: As in ``site.yml``.
        text: The policy in words, for readers.
    """

    name: str
    text: str


POLICIES: Mapping[str, LevelPolicy] = {
    policy.name: policy
    for policy in (
        LevelPolicy(
            "row_gain",
            "Levels are stored as they are. Only where a version of a clip would go beyond full scale, all versions of"
            f" that clip are turned down by one common gain, so that the loudest peaks at {CEILING_DBFS:g} dBFS."
            " Loudness (ITU-R BS.1770) is measured on every stored file; the player matches it unless told not to.",
        ),
    )
}


def level_policy(name: str) -> LevelPolicy:
    """A policy by name.

    Raises:
        InputError: If it is not known.
    """
    if name not in POLICIES:
        raise InputError(f"level policy {name!r} is not known: {', '.join(POLICIES)}")
    return POLICIES[name]


@dataclass(frozen=True)
class Version:
    """The recording or one output of a row.

    Attributes:
        category: ``original``, ``reconstruction`` or a model's name; part of the file names.
        title: For readers.
        waveform: Shape ``(samples,)``, full scale at 1.
        codes: Code maps by level, each ``(bins, frames)``.
        codebook_size: Number of codes per level.
        codes_s: Seconds that the code maps cover; more than the clip has where it was filled up with silence.
    """

    category: str
    title: str
    waveform: NDArray[np.float32]
    codes: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    codebook_size: int = 512
    codes_s: float = 0.0


@dataclass(frozen=True)
class ExportedRow:
    """What the manifest says of a row, keyed by category."""

    files: dict[str, dict[str, dict[str, Any]]]
    loudness_lufs: dict[str, float | None]
    peak_dbfs: dict[str, float | None]
    gain_db: dict[str, float]
    pictures: dict[str, dict[str, dict[str, Any]]]
    paths: list[str]


def row_gain(versions: Sequence[Version]) -> float:
    """The common gain of a row: 1 unless a version would go beyond the ceiling."""
    peak = max(float(np.abs(v.waveform).max(initial=0.0)) for v in versions)
    ceiling = 10.0 ** (CEILING_DBFS / 20)
    return ceiling / peak if peak > ceiling and peak > 1.0 else 1.0


def export_row(
    clip_id: str,
    versions: Sequence[Version],
    *,
    sample_rate_hz: int,
    collection: str,
    folder: Path,
    bits: int,
    label: str,
    views: Collection[str] = VIEWS,
    reference: bool | None = None,
) -> ExportedRow:
    """Write all files of a row below ``folder/assets``.

    Args:
        clip_id: Sample id; made safe before it becomes part of a name.
        versions: The recording first.
        sample_rate_hz: Rate of all versions.
        collection: Name of the collection, a plain identifier.
        folder: The companion's folder.
        bits: 16 or 24.
        label: What the sound is, for text alternatives.
        views: What to draw, of `VIEWS`.
        reference: Whether the first version is what the others are held against; told from its category when ``None``.

    Raises:
        OutputError: If a file cannot be written.
        AudioError: If a waveform cannot be encoded.
    """
    stem = safe_name(clip_id)
    gain = row_gain(versions)
    audio_folder = audio_io.make_folder(folder / "assets" / "audio" / collection)
    image_folder = audio_io.make_folder(folder / "assets" / "images" / collection)
    row = ExportedRow({}, {}, {}, {}, {}, [])
    drawn: dict[str, pictures.Spectrogram] = {}
    outlines: dict[str, pictures.Envelope] = {}
    for version in versions:
        written = audio_io.write_set(
            audio_folder / f"{stem}-{version.category}", version.waveform * np.float32(gain), sample_rate_hz, bits=bits
        )
        row.files[version.category] = {
            form: {
                "path": file.path.relative_to(folder).as_posix(),
                "sha256": file.sha256,
                "bytes": file.bytes,
                "pcm_sha256": file.pcm_sha256,
            }
            for form, file in written.items()
        }
        # What is measured and drawn is what a listener gets.
        stored = audio_io.read(written["flac"].path).waveform
        loudness = audio_io.loudness_lufs(stored, sample_rate_hz) if sample_rate_hz >= 4000 else None
        peak = float(np.abs(stored).max())
        row.loudness_lufs[version.category] = None if loudness is None else round(loudness, 3)
        row.peak_dbfs[version.category] = round(20 * float(np.log10(peak)), 3) if peak > 0 else None
        row.gain_db[version.category] = round(20 * float(np.log10(gain)), 4)
        drawn[version.category] = pictures.spectrogram(stored[0], sample_rate_hz)
        outlines[version.category] = pictures.envelope(stored[0], sample_rate_hz)
    top_db = 5.0 * np.ceil(max(s.peak_db for s in drawn.values()) / 5.0)
    top_db = float(np.clip(top_db, -100.0, 0.0))
    top = pictures.amplitude_top(max(outline.peak for outline in outlines.values()))
    first = versions[0].category
    compared = first == ORIGINAL if reference is None else reference
    for version in versions:
        name = f"{stem}-{version.category}"
        what = f"{label}, {version.title}"
        parts: dict[str, tuple[dict[str, bytes], str]] = {}
        shown, against, outline = drawn[version.category], drawn[first], outlines[version.category]
        if "spectrogram" in views:
            parts["spectrogram"] = (
                pictures.draw_spectrogram(shown, top_db=top_db),
                pictures.describe_spectrogram(shown, what),
            )
        if "waveform" in views:
            parts["waveform"] = pictures.draw_waveform(outline, top=top), pictures.describe_waveform(outline, what)
        if "difference" in views and compared and version is not versions[0] and _alike(shown, against):
            parts["difference"] = (
                pictures.draw_difference(shown, against, top_db=top_db),
                pictures.describe_difference(shown, against, what, top_db=top_db),
            )
        for level, codes in version.codes.items() if "codemap" in views else ():
            duration_s = shown.duration_s
            step_s = (version.codes_s or duration_s) / codes.shape[1]
            codes = codes[:, : max(1, int(np.ceil(duration_s / step_s - 1e-9)))]
            seconds = codes.shape[1] * step_s
            parts[f"codemap_{level}"] = (
                pictures.draw_codemap(codes, codebook_size=version.codebook_size, duration_s=seconds),
                pictures.describe_codemap(codes, level=level, what=what, codebook_size=version.codebook_size),
            )
        row.pictures[version.category] = {}
        for kind, (themes, alt) in parts.items():
            entry: dict[str, Any] = {}
            for theme, data in themes.items():
                path = image_folder / f"{name}-{kind.replace('_', '-')}-{theme}.png"
                audio_io.write_bytes(path, data)
                entry[theme] = path.relative_to(folder).as_posix()
                row.paths.append(entry[theme])
            row.pictures[version.category][kind] = {**entry, "alt": alt, "plot": pictures.plot_span()}
        row.paths.extend(file["path"] for file in row.files[version.category].values())
    return row


def _alike(one: pictures.Spectrogram, other: pictures.Spectrogram) -> bool:
    return one.level_db.shape == other.level_db.shape
