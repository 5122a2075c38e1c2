"""Clips for training as a byte stream, so that ``models`` need not read audio or know corpora.

For every clip: one line of JSON, then its samples as little-endian float32 mono. The last line is a JSON
object with ``"end": true``, a summary and what was refused. Held-out material is refused: any split but a
training split, and every clip whose samples, instrument or work the held-out set lists.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from eval import audio_io
from eval.corpora import HELD_OUT, open_corpus
from eval.corpora.base import Clip
from eval.corpora.held_out import read_held_out
from models.errors import AudioError, CorpusError, InputError

TRAINING_SPLIT: Final = "train"
_LONGEST_WHOLE_S: Final = 60
_LICENCE: Final = re.compile(
    r"\bCC0(?:[- ]1\.0)?|\bCC[- ]BY(?:[- ](?:SA|NC|ND))*(?:[- ][1-4]\.0)?|\bpublic domain", re.IGNORECASE
)


@dataclass(frozen=True)
class StreamSettings:
    """What is streamed.

    Attributes:
        corpora: Corpus folders, in order.
        split: Must be the training split.
        rule: Rule of splitting; each corpus's default when None.
        layout: Layout of all of them; found out when None.
        sample_rate_hz: Rate of the stream.
        clip_s: Length that every clip is cut or padded to.
        limit: At most so many clips of each corpus; all when None.
    """

    corpora: Sequence[Path]
    split: str
    rule: str | None
    layout: str | None
    sample_rate_hz: int
    clip_s: float
    limit: int | None = None


class _Files:
    """Whole short files, the latest kept: the clips of one file come one after the other."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._audio: audio_io.Audio | None = None
        self._hash: str | None = None

    def clip(self, clip: Clip) -> tuple[NDArray[np.float32], str | None]:
        """Samples of a clip, and the hash of its whole file where that is short enough to be held out."""
        if clip.path != self._path:
            self._path, self._audio, self._hash = clip.path, None, None
            info = audio_io.probe(clip.path)
            if info.frames <= _LONGEST_WHOLE_S * info.sample_rate_hz:
                self._audio = audio_io.read(clip.path, mono=True)
                self._hash = audio_io.pcm_sha256(self._audio.waveform, self._audio.sample_rate_hz)
        if self._audio is None:
            return clip.load().waveform, None
        end = clip.start_samples + clip.frames
        return self._audio.waveform[:, clip.start_samples : end], self._hash


def licences(root: Path) -> list[str]:
    """Licences that the licence file of a corpus names, sorted; for what our own renderer made, its sound font's."""
    found: set[str] = set()
    for path in sorted(root.glob("LICEN[CS]E*")):
        text = path.read_text(encoding="utf-8", errors="replace")
        found |= {name.replace(" ", "-").upper() for name in _LICENCE.findall(text)}
    if (root / "render.json").is_file():
        found.add("MIT (sound font FluidR3; public-domain scores)")
    return sorted(found)


def stream_clips(
    settings: StreamSettings, sink: BinaryIO, *, progress: Callable[[int], None] = lambda done: None
) -> int:
    """Write the clips of training splits.

    Returns:
        How many clips were written.

    Raises:
        InputError: If the split is not a training split or a setting makes no sense.
        CorpusError: If a corpus cannot be used, or is the held-out set.
    """
    if settings.split != TRAINING_SPLIT:
        raise InputError(f"--split {settings.split}: only the split {TRAINING_SPLIT!r} is streamed for training")
    if settings.sample_rate_hz < 1 or settings.clip_s <= 0:
        raise InputError(f"--sample-rate-hz {settings.sample_rate_hz} --clip-s {settings.clip_s}: both must be above 0")
    held_out = read_held_out()
    frames = round(settings.clip_s * settings.sample_rate_hz)
    summaries: list[dict[str, Any]] = []
    refused: list[dict[str, str]] = []
    total = 0
    for root in settings.corpora:
        if root.resolve().is_relative_to(HELD_OUT):
            raise CorpusError(f"{root}: is the held-out set; it is never trained on")
        corpus = open_corpus(root, layout=settings.layout, clip_s=settings.clip_s)
        rule = settings.rule or corpus.default_rule
        files, count = _Files(), 0
        for clip in corpus.clips(split=settings.split, rule=rule):
            if count == settings.limit:
                break
            try:
                waveform, file_hash = files.clip(clip)
                reason = held_out.reason(clip, file_hash)
            except AudioError as error:
                waveform, reason = np.zeros((1, 0), np.float32), str(error)
            if reason is not None:
                refused.append({"corpus": corpus.name, "clip_id": clip.clip_id, "reason": reason})
                continue
            samples = audio_io.resample(waveform, clip.sample_rate_hz, settings.sample_rate_hz)[0, :frames]
            samples = np.pad(samples, (0, frames - samples.size)).astype("<f4")
            head = {
                "clip_id": clip.clip_id,
                "group": clip.group,
                "sample_rate_hz": settings.sample_rate_hz,
                "frames": frames,
                "pcm_sha256": audio_io.pcm_sha256(samples[None], settings.sample_rate_hz),
                "corpus": corpus.name,
                "labels": {key: value for key, value in clip.labels.items() if isinstance(value, str | int | float)},
            }
            sink.write(json.dumps(head).encode() + b"\n" + samples.tobytes())
            count += 1
            progress(total + count)
        total += count
        summaries.append(
            {
                "root_name": corpus.name,
                "layout": corpus.layout,
                "split": settings.split,
                "rule": rule,
                "content_sha256": corpus.content_sha256(split=settings.split, rule=rule),
                "clips": count,
                "licences": licences(root),
            }
        )
    end = {"end": True, "clips": total, "corpora": summaries, "refused": refused}
    sink.write(json.dumps(end).encode() + b"\n")
    sink.flush()
    return total
