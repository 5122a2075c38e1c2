"""The only reader, writer and resampler of audio files.

Reading refuses what would otherwise turn into a plausible clip: files cut short, samples that are not finite
and files without samples. Writing quantises once and gives WAV and FLAC the same integers, because libsndfile
floors one and rounds the other; Ogg Vorbis files get a fixed stream serial, so that every format has the same
bytes on every run. Files are encoded in memory and appear under their name complete or not at all.

Waveforms are ``(channels, samples)``, full scale at 1.
"""

from __future__ import annotations

import hashlib
import io
import os
import secrets
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.errors import AudioError, OutputError, system_reason

BLOCK_FRAMES: Final = 65_536  # one Vorbis write of some two million frames crashes libsndfile 1.2
FORMATS: Final = ("ogg", "flac", "wav")
OGG_SERIAL: Final = 0x45415257
_LARGEST_UNKNOWN: Final = 0xFFFFFFFF  # size that streaming writers put where the length is not known


@dataclass(frozen=True)
class Audio:
    """A waveform and its rate.

    Attributes:
        waveform: float32, shape ``(channels, samples)``, full scale at 1.
        sample_rate_hz: Samples per second.
    """

    waveform: NDArray[np.float32]
    sample_rate_hz: int


@dataclass(frozen=True)
class AudioInfo:
    """What the header of a file says."""

    sample_rate_hz: int
    channels: int
    frames: int
    format: str
    subtype: str


@dataclass(frozen=True)
class WrittenFile:
    """A file that was written.

    Attributes:
        path: Where it lies.
        sha256: Hash of its bytes.
        bytes: Its size.
        pcm_sha256: `pcm_sha256` of what a reader gets from it.
        clipped_samples: Samples that were beyond full scale and were limited.
    """

    path: Path
    sha256: str
    bytes: int
    pcm_sha256: str
    clipped_samples: int


def probe(path: Path | str) -> AudioInfo:
    """Read a file's header.

    Raises:
        AudioError: If the file is missing, empty, of no known format, or holds no samples.
    """
    import soundfile

    path = Path(path)
    _check_there(path)
    try:
        # Not soundfile.info: it also words what it found, which takes as long again.
        with soundfile.SoundFile(os.fsencode(path)) as file:
            info = AudioInfo(file.samplerate, file.channels, file.frames, file.format, file.subtype)
    except (soundfile.SoundFileError, RuntimeError, OSError, TypeError) as error:
        raise AudioError(f"{_shown(path)}: not a readable audio file ({_reason(error)})") from None
    if info.frames >= 2**62:
        raise AudioError(f"{_shown(path)}: its header does not say how many samples it holds")
    if info.frames <= 0 or info.channels < 1 or info.sample_rate_hz < 1:
        raise AudioError(f"{_shown(path)}: holds no samples")
    return info


def read(path: Path | str, *, start_samples: int = 0, frames: int = -1, mono: bool = False) -> Audio:
    """Read a WAV, FLAC, Ogg or MP3 file.

    Args:
        path: The file.
        start_samples: First sample, at the file's rate.
        frames: How many samples per channel; -1 reads to the end.
        mono: Whether to average the channels.

    Returns:
        The samples; one channel when ``mono``.

    Raises:
        AudioError: If the file is missing, not audio, cut short, without samples, or holds NaN or infinite
            samples, or the wanted part lies outside it.
    """
    import soundfile

    path = Path(path)
    info = probe(path)
    _check_complete(path, info)
    wanted = info.frames - start_samples if frames < 0 else frames
    if start_samples < 0 or wanted <= 0 or start_samples + wanted > info.frames:
        raise AudioError(
            f"{_shown(path)}: samples {start_samples} to {start_samples + wanted} are not all in its {info.frames}"
        )
    try:
        with soundfile.SoundFile(os.fsencode(path)) as stream:
            if start_samples:
                stream.seek(start_samples)
            samples = stream.read(wanted, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError, OSError, AssertionError) as error:
        raise AudioError(f"{_shown(path)}: corrupt or cut short ({_reason(error)})") from None
    if len(samples) != wanted:
        raise AudioError(
            f"{_shown(path)}: cut short: {len(samples)} of {wanted} samples can be read, its header promises "
            f"{info.frames}"
        )
    waveform = np.ascontiguousarray(samples.T)
    _check_finite(waveform, _shown(path))
    if mono and waveform.shape[0] > 1:
        waveform = waveform.mean(axis=0, keepdims=True, dtype=np.float64).astype(np.float32)
    return Audio(waveform, info.sample_rate_hz)


def codec_versions() -> dict[str, str]:
    """Versions of the libraries that decide the bytes of what is written."""
    import soundfile
    import soxr

    return {"libsndfile": str(soundfile.__libsndfile_version__), "soxr": str(soxr.__version__)}


def _shown(path: Path) -> str:
    """A path for messages; bytes of it that are not UTF-8 become escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _reason(error: BaseException) -> str:
    text = getattr(error, "error_string", None) or str(error) or type(error).__name__
    return " ".join(str(text).split()).rstrip(".")


def _check_there(path: Path) -> None:
    try:
        if path.is_dir():
            raise AudioError(f"{_shown(path)}: is a folder, not an audio file")
        if path.stat().st_size == 0:
            raise AudioError(f"{_shown(path)}: the file is empty")
        with path.open("rb"):
            pass
    except OSError as error:
        raise AudioError(f"{_shown(path)}: {system_reason(error)}") from None
    except ValueError:
        raise AudioError(f"{str(path)!r}: not a file name") from None


def _check_finite(waveform: NDArray[Any], name: str) -> None:
    # A sum is finite only if every term is; it needs no temporary of the waveform's size
    if waveform.size and not np.isfinite(waveform.sum(dtype=np.float64)):
        bad = np.argwhere(~np.isfinite(waveform))
        if bad.size:
            raise AudioError(f"{name}: {len(bad)} samples are NaN or infinite, the first at sample {int(bad[0][-1])}")


def _check_complete(path: Path, info: AudioInfo) -> None:
    """Find files that end before their own header says; FLAC and MP3 show it when they are decoded."""
    with path.open("rb") as stream:
        head = stream.read(12)
        if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
            missing = _missing_wav_bytes(stream, path.stat().st_size)
            if missing > 0:
                raise AudioError(f"{_shown(path)}: cut short: {missing} bytes of its samples are missing")
        elif head[:4] == b"OggS" and not _ends_with_last_page(stream, path.stat().st_size):
            raise AudioError(f"{_shown(path)}: cut short: the last page of the Ogg stream is missing")


def _missing_wav_bytes(stream: Any, size: int) -> int:
    place, long_data = 12, None
    while place + 8 <= size:
        stream.seek(place)
        name, length = struct.unpack("<4sI", stream.read(8))
        if name == b"ds64":
            long_data = struct.unpack("<Q", stream.read(16)[8:16])[0]
        if name == b"data":
            if length == _LARGEST_UNKNOWN:
                length = long_data if long_data is not None else 0
            return int(place + 8 + length - size)
        place += 8 + length + (length & 1)
    return 0


def _ends_with_last_page(stream: Any, size: int) -> bool:
    stream.seek(max(0, size - 2 * 65_536))
    tail = stream.read()
    place = tail.rfind(b"OggS")
    while place >= 0:
        header = tail[place : place + 27]
        if len(header) == 27:
            table = tail[place + 27 : place + 27 + header[26]]
            if len(table) == header[26] and place + 27 + header[26] + sum(table) <= len(tail):
                return bool(header[5] & 4)
        return False
    return False


def pcm_sha256(waveform: NDArray[Any], sample_rate_hz: int) -> str:
    """Hash of what is heard: channel count, rate and float32 little-endian samples, channel after channel."""
    rows = np.atleast_2d(np.asarray(waveform))
    digest = hashlib.sha256(f"{rows.shape[0]} {sample_rate_hz} ".encode())
    digest.update(np.ascontiguousarray(rows, dtype="<f4").tobytes())
    return digest.hexdigest()


def resample(waveform: NDArray[Any], from_hz: int, to_hz: int) -> NDArray[np.float32]:
    """Change the sample rate with the SoX resampler at its very high quality.

    Args:
        waveform: Shape ``(..., samples)``.
        from_hz: Its rate.
        to_hz: The rate that is wanted.

    Returns:
        float32, shape ``(..., ceil(samples * to_hz / from_hz))``.

    Raises:
        AudioError: If a rate is not positive or a sample is not finite.
    """
    if from_hz < 1 or to_hz < 1:
        raise AudioError(f"cannot resample from {from_hz} Hz to {to_hz} Hz: rates are positive")
    waveform = np.asarray(waveform, dtype=np.float32)
    if from_hz == to_hz or waveform.size == 0:
        frames = -(-waveform.shape[-1] * to_hz // from_hz)
        return waveform if from_hz == to_hz else np.zeros((*waveform.shape[:-1], frames), np.float32)
    _check_finite(waveform, "resample")
    import soxr

    frames = -(-waveform.shape[-1] * to_hz // from_hz)
    rows = waveform.reshape(-1, waveform.shape[-1])
    out = np.empty((rows.shape[0], frames), np.float32)
    margin = np.zeros(2 * -(-from_hz // to_hz), np.float32)  # soxr rounds the length to the nearest sample
    for row, target in zip(rows, out, strict=True):
        target[:] = soxr.resample(np.concatenate((row, margin)), from_hz, to_hz, quality="VHQ")[:frames]
    return out.reshape(*waveform.shape[:-1], frames)


def _integers(waveform: NDArray[Any], bits: int) -> tuple[NDArray[Any], int]:
    if bits not in (16, 24):
        raise AudioError(f"{bits} bits cannot be written: 16 or 24")
    _check_finite(np.asarray(waveform), "waveform")
    top = 2 ** (bits - 1)
    scaled = np.rint(np.asarray(waveform, np.float64) * top)
    clipped = int(np.count_nonzero((scaled < -top) | (scaled > top - 1)))
    limited = np.clip(scaled, -top, top - 1)
    return limited.astype(np.int16 if bits == 16 else np.int32), clipped


def quantise(waveform: NDArray[Any], bits: int) -> NDArray[Any]:
    """Round to integers, halves to even, limited to full scale.

    Args:
        waveform: Any shape, full scale at 1.
        bits: 16 or 24.

    Returns:
        int16, or int32 with values of 24 bits; the same shape.

    Raises:
        AudioError: If a sample is not finite.
    """
    return _integers(waveform, bits)[0]


def clipped_samples(waveform: NDArray[Any], bits: int) -> int:
    """How many samples `quantise` limits."""
    return _integers(waveform, bits)[1]


def _encode(samples: NDArray[Any], sample_rate_hz: int, *, bits: int, kind: str, vorbis_quality: float) -> bytes:
    """The bytes of a file from integer samples, shape ``(channels, frames)``."""
    import soundfile

    options: dict[str, Any] = {"subtype": f"PCM_{bits}", "format": kind.upper()}
    data: NDArray[Any] = samples if bits == 16 else samples.astype(np.int32) << 8
    if kind == "ogg":
        options = {"subtype": "VORBIS", "format": "OGG", "compression_level": 1.0 - vorbis_quality}
        data = samples.astype(np.float32) / np.float32(2 ** (bits - 1))
    frames_first = np.ascontiguousarray(data.T)
    sink = io.BytesIO()
    try:
        with soundfile.SoundFile(sink, "w", samplerate=sample_rate_hz, channels=samples.shape[0], **options) as stream:
            for start in range(0, len(frames_first), BLOCK_FRAMES):
                stream.write(frames_first[start : start + BLOCK_FRAMES])
    except (soundfile.SoundFileError, RuntimeError, AssertionError) as error:
        raise AudioError(f"cannot encode {kind} at {sample_rate_hz} Hz ({_reason(error)})") from None
    encoded = sink.getvalue()
    return _with_fixed_serial(encoded) if kind == "ogg" else encoded


def write_set(
    stem: Path,
    waveform: NDArray[Any],
    sample_rate_hz: int,
    *,
    bits: int = 16,
    formats: Sequence[str] = FORMATS,
    vorbis_quality: float = 0.6,
) -> dict[str, WrittenFile]:
    """Write one sound in several formats.

    The samples are quantised once: WAV and FLAC hold the same integers and Vorbis is made from them. The
    bytes are the same on every run with the same libsndfile.

    Args:
        stem: Path without suffix; the suffix is appended, dots in the name stay.
        waveform: Shape ``(channels, samples)`` or ``(samples,)``, full scale at 1.
        sample_rate_hz: Its rate.
        bits: 16 or 24, for WAV and FLAC.
        formats: Of ``ogg``, ``flac``, ``wav``.
        vorbis_quality: 0 to 1.

    Returns:
        The files by format.

    Raises:
        AudioError: If the waveform is empty, not finite, or a format or rate is not possible.
        OutputError: If a file cannot be written.
    """
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown:
        raise AudioError(f"{stem}: unknown audio format {unknown[0]!r}: one of {', '.join(FORMATS)}")
    rows = np.atleast_2d(np.asarray(waveform))
    if rows.ndim != 2 or rows.size == 0:
        raise AudioError(f"{stem}: a waveform of shape {rows.shape} cannot be written: (channels, samples)")
    samples, clipped = _integers(rows, bits)
    exact = samples.astype(np.float32) / np.float32(2 ** (bits - 1))
    written: dict[str, WrittenFile] = {}
    for kind in formats:
        data = _encode(samples, sample_rate_hz, bits=bits, kind=kind, vorbis_quality=vorbis_quality)
        heard = exact if kind != "ogg" else _decode(data)
        path = stem.with_name(f"{stem.name}.{kind}")
        write_bytes(path, data)
        written[kind] = WrittenFile(
            path, hashlib.sha256(data).hexdigest(), len(data), pcm_sha256(heard, sample_rate_hz), clipped
        )
    return written


def _decode(data: bytes) -> NDArray[np.float32]:
    import soundfile

    samples, _ = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    return np.ascontiguousarray(samples.T)


def write_integers(path: Path, samples: NDArray[Any], sample_rate_hz: int, *, bits: int, kind: str) -> None:
    """Write integer samples, as `quantise` gives them, to a WAV or FLAC file.

    Raises:
        AudioError: If they cannot be encoded.
        OutputError: If the file cannot be written.
    """
    rows = np.atleast_2d(samples)
    write_bytes(path, _encode(rows, sample_rate_hz, bits=bits, kind=kind, vorbis_quality=0.0))


def write_float(path: Path, waveform: NDArray[Any], sample_rate_hz: int) -> None:
    """Write a 32-bit float WAV file, without the time stamp that libsndfile puts into one.

    Args:
        path: The file.
        waveform: Shape ``(channels, samples)`` or ``(samples,)``; values beyond 1 are kept.
        sample_rate_hz: Its rate.

    Raises:
        AudioError: If the waveform is empty or not finite.
        OutputError: If the file cannot be written.
    """
    rows = np.atleast_2d(np.asarray(waveform))
    if rows.ndim != 2 or rows.size == 0:
        raise AudioError(f"{path}: a waveform of shape {rows.shape} cannot be written: (channels, samples)")
    _check_finite(rows, str(path))
    channels, frames = rows.shape
    data = np.ascontiguousarray(rows.T, dtype="<f4").tobytes()
    layout = struct.pack("<HHIIHHH", 3, channels, sample_rate_hz, sample_rate_hz * 4 * channels, 4 * channels, 32, 0)
    chunks = (
        struct.pack("<4sI", b"fmt ", len(layout)) + layout
        + struct.pack("<4sII", b"fact", 4, frames)
        + struct.pack("<4sI", b"data", len(data))
    )  # fmt: skip
    total = 4 + len(chunks) + len(data)
    if total >= _LARGEST_UNKNOWN:
        raise AudioError(f"{path}: {len(data)} bytes are too many for one WAV file")
    write_bytes(path, struct.pack("<4sI4s", b"RIFF", total, b"WAVE") + chunks + data)


def make_folder(path: Path) -> Path:
    """Make a folder, and those above it, where they are missing; returns it.

    Raises:
        OutputError: If it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be made ({system_reason(error)})") from None
    return path


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all.

    Raises:
        OutputError: If the folder is missing or cannot be written, or the disk is full.
    """
    partial = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with partial.open("xb") as stream:
            stream.write(data)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OutputError(f"{path}: cannot be written ({system_reason(error)})") from None
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all.

    Raises:
        OutputError: If it cannot be written.
    """
    write_bytes(path, text.encode())


# --- Ogg pages: the serial is replaced and each page's checksum moved along, RFC 3533 section 6


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = ((value << 1) ^ 0x04C11DB7) & 0xFFFFFFFF if value & 0x80000000 else value << 1
        table.append(value)
    return table


_CRC_TABLE: Final = _crc_table()


def ogg_crc(data: bytes) -> int:
    """The checksum of an Ogg page whose checksum field is zero."""
    value = 0
    for byte in data:
        value = (value << 8 & 0xFFFFFFFF) ^ _CRC_TABLE[value >> 24 ^ byte]
    return value


def _times_x(value: int) -> int:
    return (value << 1 & 0xFFFFFFFF) ^ (0x04C11DB7 if value & 0x80000000 else 0)


def _product(left: int, right: int) -> int:
    """Product of two polynomials modulo the checksum's polynomial."""
    total = 0
    while right:
        if right & 1:
            total ^= left
        left, right = _times_x(left), right >> 1
    return total


@lru_cache(maxsize=4096)
def _power_of_x(exponent: int) -> int:
    result, base = 1, 2
    while exponent:
        if exponent & 1:
            result = _product(result, base)
        base, exponent = _product(base, base), exponent >> 1
    return result


def _with_fixed_serial(data: bytes) -> bytes:
    """Replace the serial of every page.

    The checksum is linear, so that the change of the serial, moved past the bytes that follow it, is the
    change of the checksum; the page itself need not be read again.
    """
    out = bytearray(data)
    serial = OGG_SERIAL.to_bytes(4, "little")
    place = 0
    while place + 27 <= len(out) and out[place : place + 4] == b"OggS":
        segments = out[place + 26]
        length = 27 + segments + sum(out[place + 27 : place + 27 + segments])
        change = bytes(a ^ b for a, b in zip(out[place + 14 : place + 18], serial, strict=True))
        moved = _product(ogg_crc(change), _power_of_x(8 * (length - 18)))
        checksum = int.from_bytes(out[place + 22 : place + 26], "little") ^ moved
        out[place + 14 : place + 18] = serial
        out[place + 22 : place + 26] = checksum.to_bytes(4, "little")
        place += length
    if place != len(out):
        raise AudioError("the Ogg encoder left an incomplete page")
    return bytes(out)


# --- Loudness


def loudness_lufs(waveform: NDArray[Any], sample_rate_hz: int) -> float | None:
    """Integrated loudness of ITU-R BS.1770-4, as the metric of loudness defines it.

    A sine of 997 Hz at full scale in one channel reads -3.01 LUFS at every rate.

    Args:
        waveform: Shape ``(channels, samples)`` or ``(samples,)``, full scale at 1.
        sample_rate_hz: Its rate, at least 4,000.

    Returns:
        LUFS; None where it is not defined: shorter than 0.4 s, silent, or nothing above -70 LUFS.

    Raises:
        AudioError: If a sample is not finite, the rate is too low, or there are more than five channels.
    """
    from eval.metrics.bs1770 import integrated_loudness

    rows = np.atleast_2d(np.asarray(waveform, dtype=np.float64))
    _check_finite(rows, "loudness")
    try:
        level = integrated_loudness(rows, sample_rate_hz)
    except ValueError as error:
        raise AudioError(str(error)) from None
    return level if np.isfinite(level) else None
