"""What an audio file says of itself: container, coding, rate, length, texts; for WAV files also their levels.

The one place of the site builder where bytes of audio are read. Nothing is decoded but linear samples of WAV files, and
nothing is written. Formats as specified: RIFF/WAVE with WAVE_FORMAT_EXTENSIBLE and RF64, FLAC (RFC 9639), Ogg (RFC
3533) with Vorbis I, Opus (RFC 7845) or FLAC inside.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

SUFFIXES = frozenset((".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac", ".aiff", ".aif"))
"""Endings of audio files."""

CONTAINERS = {".wav": "wav", ".flac": "flac", ".ogg": "ogg", ".oga": "ogg", ".opus": "ogg", ".mp3": "mp3"}
LFS = b"version https://git-lfs.github.com/spec/"


class HeaderError(ValueError):
    """The bytes are not those of a whole audio file."""


@dataclass(frozen=True)
class AudioFacts:
    """What the bytes of a file say.

    Attributes:
        sha256: Of the whole file.
        container: ``wav``, ``flac``, ``ogg``, ``mp3``, ``lfs`` for a Git LFS pointer, ``unknown``.
        coding: ``pcm``, ``float``, ``flac``, ``vorbis``, ``opus``, ``mp3`` or another name; empty when unknown.
        sample_rate_hz: Rate; 0 when unknown.
        channels: Number of channels.
        bits: Bits of a sample; 0 where the coding has none.
        frames: Length in samples of one channel; None when unknown.
        peak: Largest magnitude, full scale at 1; None where samples were not read.
        at_full_scale: Number of samples at either end of the scale.
        mean: Mean of all samples, the direct component; the largest over channels.
        problem: Why the header could not be read; empty when it could.
    """

    sha256: str
    container: str
    coding: str = ""
    sample_rate_hz: int = 0
    channels: int = 0
    bits: int = 0
    frames: int | None = None
    peak: float | None = None
    at_full_scale: int | None = None
    mean: float | None = None
    problem: str = ""

    @property
    def duration_s(self) -> float | None:
        """Length in seconds."""
        return self.frames / self.sample_rate_hz if self.frames is not None and self.sample_rate_hz else None


def sniff(data: bytes) -> str:
    """Name the container by the first bytes."""
    if data.startswith(LFS):
        return "lfs"
    if data[:4] in {b"RIFF", b"RF64"} and data[8:12] == b"WAVE":
        return "wav"
    if data.startswith(b"fLaC"):
        return "flac"
    if data.startswith(b"OggS"):
        return "ogg"
    if data.startswith(b"ID3") or (len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0):
        return "mp3"
    return "unknown"


def facts_of(data: bytes) -> AudioFacts:
    """Say what bytes are."""
    digest = hashlib.sha256(data).hexdigest()
    container = sniff(data)
    try:
        match container:
            case "wav":
                values = _wav(data)
            case "flac":
                values = _flac(data)
            case "ogg":
                values = _ogg(data)
            case _:
                values = {}
    except (struct.error, IndexError, HeaderError, ZeroDivisionError) as wrong:
        return AudioFacts(digest, container, problem=str(wrong) or "the header is cut short")
    return AudioFacts(digest, container, **values)


# --- RIFF


def wav_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The chunks of a RIFF file as (name, begin of the body, end of the body)."""
    long_size = None
    place = 12
    while place + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, place)
        if name == b"ds64":
            long_size = struct.unpack_from("<Q", data, place + 16)[0]
        if name == b"data" and size == 0xFFFFFFFF and long_size is not None:
            size = long_size
        yield name, place + 8, min(place + 8 + size, len(data))
        place += 8 + size + size % 2


def _wav(data: bytes) -> dict[str, Any]:
    form: tuple[int, ...] | None = None
    for name, begin, end in wav_chunks(data):
        if name == b"fmt ":
            tag, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", data, begin)
            if tag == 0xFFFE and end - begin >= 26:
                tag = struct.unpack_from("<H", data, begin + 24)[0]
            form = (tag, channels, rate, block, bits)
        if name == b"data":
            if form is None:
                raise HeaderError("no format stands before the samples")
            tag, channels, rate, block, bits = form
            if not (channels and rate and block):
                raise HeaderError("the format has no channels, rate or block size")
            coding = {1: "pcm", 3: "float", 6: "a-law", 7: "mu-law"}.get(tag, f"format {tag}")
            known = {
                "coding": coding,
                "sample_rate_hz": rate,
                "channels": channels,
                "bits": bits,
                "frames": (end - begin) // block,
            }
            return known | _levels(data[begin : end - (end - begin) % block], coding, bits, channels)
    raise HeaderError("it holds no samples")


def _levels(body: bytes, coding: str, bits: int, channels: int) -> dict[str, Any]:
    # Imported late: a build whose files are known already needs no arrays.
    import numpy as np

    whole: Any
    if coding == "float" and bits in {32, 64}:
        values = np.frombuffer(body, dtype=f"<f{bits // 8}").astype(np.float64)
        low, high = -1.0, 1.0
    elif coding == "pcm" and bits in {8, 16, 32}:
        whole = np.frombuffer(body, dtype={8: "u1", 16: "<i2", 32: "<i4"}[bits]).astype(np.float64)
        scale = float(2 ** (bits - 1))
        values = (whole - 128 if bits == 8 else whole) / scale
        low, high = -1.0, 1 - 1 / scale
    elif coding == "pcm" and bits == 24:
        octets = np.frombuffer(body, dtype="u1").reshape(-1, 3).astype(np.int32)
        whole = octets[:, 0] | octets[:, 1] << 8 | octets[:, 2] << 16
        values = (whole - ((whole & 0x800000) << 1)) / float(2**23)
        low, high = -1.0, 1 - 2.0**-23
    else:
        return {}
    if not values.size:
        return {"peak": 0.0, "at_full_scale": 0, "mean": 0.0}
    if not np.isfinite(values).all():
        raise HeaderError("it holds samples that are not numbers")
    means = values[: values.size // channels * channels].reshape(-1, channels).mean(axis=0)
    return {
        "peak": float(np.abs(values).max()),
        "at_full_scale": int(((values >= high) | (values <= low)).sum()),
        "mean": float(means[np.abs(means).argmax()]),
    }


# --- FLAC


def flac_blocks(data: bytes, place: int = 4) -> Iterator[tuple[int, int, int]]:
    """The metadata blocks of a FLAC file as (type, begin, end)."""
    last = False
    while not last and place + 4 <= len(data):
        last, kind = bool(data[place] & 0x80), data[place] & 0x7F
        size = int.from_bytes(data[place + 1 : place + 4], "big")
        yield kind, place + 4, place + 4 + size
        place += 4 + size


def _stream_info(block: bytes) -> dict[str, Any]:
    if len(block) < 34:
        raise HeaderError("the stream's description is cut short")
    bits = int.from_bytes(block[10:18], "big")
    return {
        "coding": "flac",
        "sample_rate_hz": bits >> 44,
        "channels": (bits >> 41 & 7) + 1,
        "bits": (bits >> 36 & 31) + 1,
        "frames": bits & (1 << 36) - 1 or None,
    }


def _flac(data: bytes) -> dict[str, Any]:
    for kind, begin, end in flac_blocks(data):
        if kind == 0:
            return _stream_info(data[begin:end])
    raise HeaderError("it describes no stream")


# --- Ogg


@dataclass(frozen=True)
class OggPage:
    """A page: its place, the part of its body, and what its head says."""

    begin: int
    body: int
    end: int
    flags: int
    granule: int
    serial: int
    lacing: bytes


def ogg_pages(data: bytes) -> Iterator[OggPage]:
    """The pages of an Ogg file.

    Raises:
        HeaderError: Where a page does not begin as it should, or is cut short.
    """
    place = 0
    while place < len(data):
        if data[place : place + 4] != b"OggS" or place + 27 > len(data):
            raise HeaderError(f"no page begins at byte {place}")
        flags = data[place + 5]
        granule, serial = struct.unpack_from("<qI", data, place + 6)
        count = data[place + 26]
        lacing = data[place + 27 : place + 27 + count]
        body = place + 27 + count
        end = body + sum(lacing)
        if end > len(data):
            raise HeaderError("the last page is cut short")
        yield OggPage(place, body, end, flags, granule, serial, lacing)
        place = end


def ogg_packets(data: bytes, count: int) -> list[bytes]:
    """The first packets of the first stream of an Ogg file."""
    packets: list[bytes] = []
    part = b""
    serial = None
    for page in ogg_pages(data):
        serial = page.serial if serial is None else serial
        if page.serial != serial:
            continue
        place = page.body
        for size in page.lacing:
            part += data[place : place + size]
            place += size
            if size < 255:
                packets.append(part)
                part = b""
                if len(packets) == count:
                    return packets
    return packets


def _ogg(data: bytes) -> dict[str, Any]:
    first = ogg_packets(data, 1)
    head = first[0] if first else b""
    granules = [page.granule for page in ogg_pages(data) if page.granule >= 0]
    length = granules[-1] if granules else None
    if head.startswith(b"\x01vorbis"):
        return {
            "coding": "vorbis",
            "channels": head[11],
            "sample_rate_hz": struct.unpack_from("<I", head, 12)[0],
            "frames": length,
        }
    if head.startswith(b"OpusHead"):
        skip = struct.unpack_from("<H", head, 10)[0]
        return {
            "coding": "opus",
            "channels": head[9],
            "sample_rate_hz": 48000,
            "frames": None if length is None else max(0, length - skip),
        }
    if head.startswith(b"\x7fFLAC"):
        return _stream_info(head[17:]) | {"frames": length}
    raise HeaderError("it holds no Vorbis, Opus or FLAC stream")
