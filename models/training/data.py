"""Training clips: read once from the corpus reader's stream, kept as 16-bit integers, drawn by step number.

The audio files themselves are read by another program, started as a child process. It writes one JSON line
per clip followed by its samples as little-endian float32, and a last line with ``"end": true`` that describes
the corpora. This module knows that format and nothing about files.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from models.errors import CorpusError


@dataclasses.dataclass(frozen=True)
class ClipStore:
    """Clips of equal length in memory.

    Attributes:
        pcm: Samples, int16, shape ``(clips, samples)``.
        clip_ids: Name of every clip.
        corpus_index: Which of ``corpora`` every clip comes from, int64, shape ``(clips,)``.
        corpora: What the stream says of each corpus: name, layout, split, rule, content hash, clips, licences.
        sample_rate_hz: Rate of all clips.
        labels: What the corpora say of each clip; empty where nothing was read.
        groups: Instrument, work or speaker of each clip; empty where nothing was read.
    """

    pcm: Tensor
    clip_ids: tuple[str, ...]
    corpus_index: Tensor
    corpora: tuple[dict[str, Any], ...]
    sample_rate_hz: int
    labels: tuple[dict[str, Any], ...] = ()
    groups: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.pcm.shape[0]

    def waveforms(self, rows: Tensor) -> Tensor:
        """Clips as float32, full scale 1, shape ``(rows, samples)``."""
        return self.pcm[rows].to(torch.float32) / 32767.0

    def split(self, share: float) -> tuple[ClipStore, ClipStore]:
        """(rest, validation): a clip is validation if the hash of its name says so, whatever its company."""
        marks = [int(hashlib.sha256(c.encode()).hexdigest()[:8], 16) / 2**32 < share for c in self.clip_ids]
        chosen = torch.tensor(marks, dtype=torch.bool)
        return self._rows(~chosen), self._rows(chosen)

    def _rows(self, mask: Tensor) -> ClipStore:
        kept = torch.nonzero(mask)[:, 0].tolist()
        return dataclasses.replace(
            self,
            pcm=self.pcm[mask],
            clip_ids=tuple(self.clip_ids[i] for i in kept),
            corpus_index=self.corpus_index[mask],
            labels=tuple(self.labels[i] for i in kept) if self.labels else (),
            groups=tuple(self.groups[i] for i in kept) if self.groups else (),
        )


def parse_stream(stream: IO[bytes], *, samples: int, progress: Callable[[int], None] | None = None) -> ClipStore:
    """Read a whole clip stream.

    Args:
        stream: Bytes in the format of the module text.
        samples: Length that every clip must have.
        progress: Called with the number of clips read so far.

    Raises:
        CorpusError: If the stream breaks off, breaks its format, holds no clip or clips of unequal rate.
    """
    ids: list[str] = []
    names: list[str] = []
    labels: list[dict[str, Any]] = []
    groups: list[str] = []
    rows: list[np.ndarray[Any, np.dtype[np.int16]]] = []
    rate: int | None = None
    while True:
        line = stream.readline()
        if not line:
            raise CorpusError(f"clip stream: broke off after {len(ids)} clips, without its last line")
        try:
            head = json.loads(line)
        except ValueError as error:
            raise CorpusError(f"clip stream: line after clip {len(ids)} is not JSON: {error}") from None
        if head.get("end"):
            break
        frames = int(head["frames"])
        if frames != samples:
            raise CorpusError(f"clip stream: {head['clip_id']!r} has {frames} samples, need {samples}")
        if rate is not None and rate != int(head["sample_rate_hz"]):
            raise CorpusError(f"clip stream: {head['clip_id']!r} has another sample rate than {rate} Hz")
        rate = int(head["sample_rate_hz"])
        data = stream.read(frames * 4)
        if len(data) != frames * 4:
            raise CorpusError(f"clip stream: broke off inside {head['clip_id']!r}")
        waveform = np.frombuffer(data, dtype="<f4")
        if not np.isfinite(waveform).all():
            raise CorpusError(f"clip stream: {head['clip_id']!r} has samples that are not numbers")
        rows.append(np.rint(np.clip(waveform, -1.0, 1.0) * 32767.0).astype(np.int16))
        ids.append(str(head["clip_id"]))
        names.append(str(head["corpus"]))
        labels.append(dict(head.get("labels", {})))
        groups.append(str(head.get("group", "")))
        if progress is not None:
            progress(len(ids))
    if not ids or rate is None:
        raise CorpusError("clip stream: no clip to train on")
    known = sorted(set(names))
    index = torch.tensor([known.index(n) for n in names])
    corpora = tuple(dict(c) for c in head.get("corpora", []))
    return ClipStore(torch.from_numpy(np.stack(rows)), tuple(ids), index, corpora, rate, tuple(labels), tuple(groups))


def stream_command(corpora: Sequence[Path], *, rule: str | None, sample_rate_hz: int, clip_s: float) -> list[str]:
    """Command line of the corpus reader for the training split of some corpora."""
    command = [sys.executable, "-m", "eval.corpora", "stream"]
    for path in corpora:
        command += ["--corpus", str(path)]
    command += ["--split", "train", "--sample-rate-hz", str(sample_rate_hz), "--clip-s", f"{clip_s:g}"]
    if rule is not None:
        command += ["--rule", rule]
    return command


def read_clips(
    corpora: Sequence[Path],
    *,
    sample_rate_hz: int,
    clip_s: float,
    rule: str | None = None,
    command: Sequence[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> ClipStore:
    """Load the training clips of some corpora into memory.

    Args:
        corpora: Corpus folders.
        sample_rate_hz: Rate to read at.
        clip_s: Length to cut or pad to.
        rule: Split rule; ``None`` takes each corpus's own default.
        command: Program to run instead of the corpus reader.
        progress: Called with the number of clips read so far.

    Raises:
        CorpusError: If the reader refuses a corpus or its stream is broken.
    """
    if command is None:
        command = stream_command(corpora, rule=rule, sample_rate_hz=sample_rate_hz, clip_s=clip_s)
    root = Path(__file__).resolve().parents[2]
    failure: CorpusError | None = None
    # A file takes the messages: a pipe that nobody empties would stop the child once it is full.
    with tempfile.TemporaryFile() as messages:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=messages, cwd=root) as child:
            assert child.stdout is not None
            try:
                store = parse_stream(child.stdout, samples=round(sample_rate_hz * clip_s), progress=progress)
            except CorpusError as error:
                failure = error
            except BaseException:
                child.terminate()
                raise
            if failure is not None:
                child.terminate()
        messages.seek(0)
        text = messages.read().decode(errors="replace").strip()
    if failure is None and child.returncode == 0:
        return store
    told = [line for line in text.splitlines() if line.startswith("error: ")]
    reason = told[-1].removeprefix("error: ") if told else str(failure or text[-200:])
    raise CorpusError(f"{reason} (corpus reader ended with status {child.returncode})")


def derived_seed(seed: int, step: int, purpose: str) -> int:
    """Seed for one purpose in one step; the same whether or not the run was interrupted before."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{step}/{purpose}".encode()).digest()[:7], "little")


def step_generator(seed: int, step: int, purpose: str) -> torch.Generator:
    """Generator, on the CPU, for one purpose in one step."""
    return torch.Generator().manual_seed(derived_seed(seed, step, purpose))


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Random changes of a training clip.

    Attributes:
        gain_db: Level is changed by a uniform value in ``[-gain_db, gain_db]``, without clipping.
        shift_s: The clip starts up to this much earlier or later.
        semitones: Half of the clips are resampled by up to this much either way.
    """

    gain_db: float = 6.0
    shift_s: float = 0.03
    semitones: float = 1.0

    def __call__(self, waveform: Tensor, sample_rate_hz: int, generator: torch.Generator) -> Tensor:
        """Changed copy of clips ``(batch, samples)``, same shape; every row draws its own values."""
        rows = []
        draws = torch.rand(waveform.shape[0], 4, generator=generator).tolist()
        for row, (a, b, c, d) in zip(waveform, draws, strict=True):
            if a < 0.5 and self.semitones > 0:
                row = _resample(row, 2.0 ** ((2 * b - 1) * self.semitones / 12))
            row = _shift(row, round((2 * c - 1) * self.shift_s * sample_rate_hz))
            gain = 10.0 ** ((2 * d - 1) * self.gain_db / 20)
            rows.append(row * min(gain, 1.0 / max(float(row.abs().max()), 1e-9)))
        return torch.stack(rows)


def _shift(row: Tensor, offset: int) -> Tensor:
    out = torch.zeros_like(row)
    n = row.shape[0]
    if offset >= 0:
        out[offset:] = row[: n - offset]
    else:
        out[:offset] = row[-offset:]
    return out


def _resample(row: Tensor, factor: float) -> Tensor:
    """Play ``factor`` times as fast, band-limited, cut or padded to the old length."""
    n = row.shape[0]
    # Lengths that are multiples of 500 keep the transform fast.
    target = round(n / factor / 500) * 500
    spectrum = torch.fft.rfft(row)
    bins = target // 2 + 1
    fitted = torch.zeros(bins, dtype=spectrum.dtype)
    keep = min(bins, spectrum.shape[0])
    fitted[:keep] = spectrum[:keep]
    changed = torch.fft.irfft(fitted, n=target) * (target / n)
    out = torch.zeros_like(row)
    out[: min(n, target)] = changed[: min(n, target)]
    return out


def draw_rows(store: ClipStore, *, batch_size: int, seed: int, step: int) -> Tensor:
    """Clip numbers ``(batch_size,)`` of one training step.

    Every corpus is drawn equally often, whatever its size, and a clip within its corpus likewise.
    """
    return _rows(store, batch_size, step_generator(seed, step, "batch"))


def _rows(store: ClipStore, batch_size: int, generator: torch.Generator) -> Tensor:
    members = [torch.nonzero(store.corpus_index == i)[:, 0] for i in range(int(store.corpus_index.max()) + 1)]
    members = [m for m in members if m.numel()]
    rows = []
    for _ in range(batch_size):
        pool = members[int(torch.randint(len(members), (), generator=generator))]
        rows.append(pool[int(torch.randint(pool.numel(), (), generator=generator))])
    return torch.stack(rows)


def draw_batch(
    store: ClipStore, *, batch_size: int, seed: int, step: int, augmentation: Augmentation | None = None
) -> Tensor:
    """Waveforms ``(batch_size, samples)`` of one training step, whole clips drawn as by `draw_rows`."""
    generator = step_generator(seed, step, "batch")
    waveform = store.waveforms(_rows(store, batch_size, generator))
    if augmentation is not None:
        waveform = augmentation(waveform, store.sample_rate_hz, generator)
    return waveform


def draw_segments(store: ClipStore, *, batch_size: int, samples: int, seed: int, step: int) -> Tensor:
    """Waveforms ``(batch_size, samples)`` of one training step, cut at random places out of clips drawn as above.

    A segment that is silent throughout is drawn again, up to four times.

    Raises:
        ValueError: If the clips are shorter than a segment.
    """
    room = store.pcm.shape[1] - samples
    if room < 0:
        raise ValueError(f"clips of {store.pcm.shape[1]} samples are shorter than segments of {samples}")
    generator = step_generator(seed, step, "batch")
    rows = _rows(store, batch_size, generator)
    out = []
    for row in rows:
        for _ in range(5):
            start = int(torch.randint(room + 1, (), generator=generator))
            piece = store.pcm[row, start : start + samples]
            if int(piece.max()) > int(piece.min()):
                break
        out.append(piece)
    return torch.stack(out).to(torch.float32) / 32767.0
