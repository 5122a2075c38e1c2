import io
import os
import stat
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from eval import audio_io
from eval.audio_io import Audio
from models.errors import AudioError, OutputError
from tests.signals import chirp, noise, silence, tone


def test_read_gives_channels_first_float32(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    stereo = np.stack((tone(440), tone(660, amplitude=0.25)), axis=1)
    soundfile.write(path, stereo, 16_000, subtype="FLOAT")
    audio = audio_io.read(path)
    assert audio.waveform.dtype == np.float32
    assert audio.sample_rate_hz == 16_000
    np.testing.assert_array_equal(audio.waveform, stereo.T)
    mono = audio_io.read(path, mono=True)
    np.testing.assert_allclose(mono.waveform, stereo.mean(axis=1)[None], atol=1e-7)


@pytest.mark.parametrize(
    ("suffix", "subtype", "rate", "step"),
    [
        (".wav", "PCM_U8", 8_000, 2**-7),
        (".wav", "PCM_16", 8_000, 2**-15),
        (".wav", "PCM_24", 96_000, 2**-23),
        (".wav", "PCM_32", 192_000, 2**-23),
        (".wav", "FLOAT", 96_000, 0.0),
        (".wav", "DOUBLE", 44_100, 2**-24),
        (".flac", "PCM_16", 22_050, 2**-15),
        (".flac", "PCM_24", 48_000, 2**-23),
    ],
)
def test_lossless_formats_and_rates(tmp_path: Path, suffix: str, subtype: str, rate: int, step: float) -> None:
    path = tmp_path / f"a{suffix}"
    signal = chirp(50, 3_000, 0.5, rate)
    soundfile.write(path, signal, rate, subtype=subtype)
    info = audio_io.probe(path)
    assert (info.sample_rate_hz, info.channels, info.frames, info.subtype) == (rate, 1, signal.size, subtype)
    np.testing.assert_allclose(audio_io.read(path).waveform[0], signal, atol=step, rtol=0)


@pytest.mark.parametrize("suffix", [".ogg", ".mp3"])
def test_lossy_formats(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    signal = tone(500, 1.0, 22_050)
    soundfile.write(path, signal, 22_050)
    audio = audio_io.read(path)
    assert abs(audio.waveform.shape[1] - signal.size) <= 2_400
    spectrum = np.abs(np.fft.rfft(audio.waveform[0][4_000:18_000] * np.hanning(14_000)))
    assert abs(int(spectrum.argmax()) * 22_050 / 14_000 - 500) < 2


def test_a_part_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    signal = chirp(duration_s=0.3)
    soundfile.write(path, signal, 16_000)
    whole = audio_io.read(path).waveform
    np.testing.assert_array_equal(audio_io.read(path, start_samples=100, frames=50).waveform, whole[:, 100:150])
    np.testing.assert_array_equal(audio_io.read(path, start_samples=4_700).waveform, whole[:, 4_700:])
    for start, frames in ((-1, 5), (4_800, -1), (4_790, 11), (0, 0)):
        with pytest.raises(AudioError, match="are not all in its 4800"):
            audio_io.read(path, start_samples=start, frames=frames)


def test_names_with_spaces_quotes_and_unicode(tmp_path: Path) -> None:
    path = tmp_path / "a 'b' \"c\" <i>ü 音.flac"
    soundfile.write(path, tone(), 16_000)
    assert audio_io.read(path).waveform.shape == (1, 16_000)


def test_missing_empty_and_foreign_files(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.flac").write_text("this is no audio file, whatever its name says")
    (tmp_path / "random.mp3").write_bytes(np.random.default_rng(0).bytes(4_000))
    with pytest.raises(AudioError, match="no such file"):
        audio_io.read(tmp_path / "missing.wav")
    with pytest.raises(AudioError, match="is a folder"):
        audio_io.read(tmp_path)
    with pytest.raises(AudioError, match="the file is empty"):
        audio_io.probe(tmp_path / "empty.wav")
    for name in ("text.flac", "random.mp3"):
        with pytest.raises(AudioError, match=r"not a readable audio file|corrupt|holds no samples"):
            audio_io.read(tmp_path / name)
    with pytest.raises(AudioError, match="not a file name"):
        audio_io.read("a\0b.wav")


def test_a_file_without_samples(tmp_path: Path) -> None:
    for name in ("a.wav", "a.ogg"):
        soundfile.write(tmp_path / name, np.zeros(0), 16_000)
        with pytest.raises(AudioError, match=r"holds no samples|the file is empty|not a readable audio file"):
            audio_io.read(tmp_path / name)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
@pytest.mark.parametrize("kept", [0.3, 0.7, 0.97])
def test_a_file_cut_short_is_an_error(tmp_path: Path, suffix: str, kept: float) -> None:
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, noise(3.0), 16_000)
    data = path.read_bytes()
    audio_io.read(path)
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(AudioError, match=r"cut short|holds no samples"):
        audio_io.read(path)


def test_a_wav_file_one_byte_short_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(), 16_000)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(AudioError, match="1 bytes of its samples are missing"):
        audio_io.read(path)


def test_a_damaged_flac_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(1.0), 16_000)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2_000] = bytes(2_000)
    path.write_bytes(data)
    with pytest.raises(AudioError, match=r"corrupt or cut short|cut short"):
        audio_io.read(path)


def test_wav_of_unknown_length_from_a_pipe_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(), 16_000)
    data = bytearray(path.read_bytes())
    place = data.index(b"data")
    data[4:8] = data[place + 4 : place + 8] = struct.pack("<I", 0xFFFFFFFF)
    path.write_bytes(data)
    assert audio_io.read(path).waveform.shape == (1, 16_000)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite(tmp_path: Path, bad: float) -> None:
    path = tmp_path / "a.wav"
    signal = tone()
    signal[[77, 99]] = bad
    soundfile.write(path, signal, 16_000, subtype="FLOAT")
    with pytest.raises(AudioError, match="2 samples are NaN or infinite, the first at sample 77"):
        audio_io.read(path)
    for write in (
        lambda: audio_io.quantise(signal, 16),
        lambda: audio_io.write_set(tmp_path / "b", signal, 16_000),
        lambda: audio_io.write_float(tmp_path / "b.wav", signal, 16_000),
        lambda: audio_io.resample(signal, 16_000, 8_000),
        lambda: audio_io.loudness_lufs(signal, 16_000),
    ):
        with pytest.raises(AudioError, match="NaN or infinite"):
            write()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.wav"]


def test_silence_is_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", silence(), 16_000)
    assert not audio_io.read(tmp_path / "a.wav").waveform.any()


def test_audio_is_frozen() -> None:
    with pytest.raises(AttributeError):
        Audio(np.zeros((1, 1), np.float32), 8_000).sample_rate_hz = 9  # type: ignore[misc]


# --- hashes, quantising, resampling


def test_pcm_hash_tells_samples_rate_and_channels_apart() -> None:
    signal = tone()
    first = audio_io.pcm_sha256(signal, 16_000)
    assert first == audio_io.pcm_sha256(signal[None].astype(np.float64), 16_000)
    others = {
        audio_io.pcm_sha256(signal, 22_050),
        audio_io.pcm_sha256(signal.reshape(2, -1), 16_000),
        audio_io.pcm_sha256(np.nextafter(signal, 2, dtype=np.float32), 16_000),
    }
    assert first not in others
    assert len(others) == 3


def test_quantise_rounds_halves_to_even_and_limits() -> None:
    values = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 32_767, 32_768, -32_768, -32_769]) / 32_768
    got = audio_io.quantise(values, 16)
    assert got.dtype == np.int16
    assert got.tolist() == [0, 2, 2, 0, -2, 32_767, 32_767, -32_768, -32_768]
    assert audio_io.clipped_samples(values, 16) == 2
    assert audio_io.quantise(np.array([1.0, 2**-23]), 24).tolist() == [2**23 - 1, 1]
    with pytest.raises(AudioError, match="16 or 24"):
        audio_io.quantise(values, 20)


@pytest.mark.parametrize(("from_hz", "to_hz"), [(16_000, 22_050), (48_000, 16_000), (44_100, 16_000), (8_000, 96_000)])
def test_resample_length_and_tone(from_hz: int, to_hz: int) -> None:
    for frames in (1, 7, 1_001, from_hz):
        got = audio_io.resample(np.zeros((2, frames)), from_hz, to_hz)
        assert got.shape == (2, -(-frames * to_hz // from_hz))
    made = audio_io.resample(tone(997, 1.0, from_hz), from_hz, to_hz)
    wanted = tone(997, 1.0, to_hz)[: made.size]
    middle = slice(to_hz // 10, -to_hz // 10)
    assert np.abs(made[middle] - wanted[middle]).max() < 1e-5


def test_resample_is_soxr_at_very_high_quality() -> None:
    signal = noise(0.5, 48_000)
    np.testing.assert_allclose(
        audio_io.resample(signal, 48_000, 16_000), soxr.resample(signal, 48_000, 16_000, "VHQ"), atol=1e-6
    )
    same = audio_io.resample(signal, 48_000, 48_000)
    np.testing.assert_array_equal(same, signal)
    with pytest.raises(AudioError, match="rates are positive"):
        audio_io.resample(signal, 48_000, 0)


# --- writing


def test_wav_and_flac_hold_the_same_integers_and_bytes_repeat(tmp_path: Path) -> None:
    signal = np.stack((noise(1.0, amplitude=0.4), chirp()))
    for bits in (16, 24):
        first = audio_io.write_set(tmp_path / f"one.v{bits}", signal, 16_000, bits=bits)
        again = audio_io.write_set(tmp_path / f"two.v{bits}", signal, 16_000, bits=bits)
        assert {k: f.sha256 for k, f in first.items()} == {k: f.sha256 for k, f in again.items()}
        wanted = audio_io.quantise(signal, bits).T
        for kind in ("wav", "flac"):
            file = first[kind]
            assert file.path.name == f"one.v{bits}.{kind}"
            assert file.bytes == file.path.stat().st_size
            got = soundfile.read(file.path, dtype="int32")[0] >> (32 - bits)
            np.testing.assert_array_equal(got, wanted)
            read = audio_io.read(file.path)
            assert file.pcm_sha256 == audio_io.pcm_sha256(read.waveform, 16_000)
        assert audio_io.probe(first["wav"].path).subtype == f"PCM_{bits}"
        ogg = audio_io.read(first["ogg"].path)
        assert ogg.waveform.shape == signal.shape
        assert first["ogg"].pcm_sha256 == audio_io.pcm_sha256(ogg.waveform, 16_000)


def test_clipped_samples_are_counted(tmp_path: Path) -> None:
    written = audio_io.write_set(tmp_path / "a", tone(amplitude=1.5), 16_000, formats=["wav"])
    limited = int(np.count_nonzero(np.abs(tone(amplitude=1.5)) > 1))
    assert written["wav"].clipped_samples == pytest.approx(limited, abs=2)
    assert list(written) == ["wav"]


def _pages(data: bytes) -> list[bytes]:
    pages, place = [], 0
    while place < len(data):
        segments = data[place + 26]
        length = 27 + segments + sum(data[place + 27 : place + 27 + segments])
        pages.append(data[place : place + length])
        place += length
    return pages


def test_ogg_pages_have_the_fixed_serial_and_right_checksums(tmp_path: Path) -> None:
    signal = noise(20.0, 22_050)
    path = audio_io.write_set(tmp_path / "a", signal, 22_050, formats=["ogg"])["ogg"].path
    pages = _pages(path.read_bytes())
    assert len(pages) > 10
    for page in pages:
        assert int.from_bytes(page[14:18], "little") == audio_io.OGG_SERIAL
        bare = page[:22] + bytes(4) + page[26:]
        assert audio_io.ogg_crc(bare) == int.from_bytes(page[22:26], "little")
    # The same encoder without our serial decodes to the same samples
    plain = io.BytesIO()
    exact = audio_io.quantise(signal, 16).astype(np.float32) / 2**15
    with soundfile.SoundFile(plain, "w", 22_050, 1, subtype="VORBIS", format="OGG", compression_level=0.4) as stream:
        for start in range(0, exact.size, 65_536):
            stream.write(exact[start : start + 65_536])
    decoded = soundfile.read(io.BytesIO(plain.getvalue()), dtype="float32")[0]
    np.testing.assert_array_equal(audio_io.read(path).waveform[0], decoded)


def test_long_vorbis_is_written_in_blocks(tmp_path: Path) -> None:
    frames = 2_200_000  # one write of this many frames ends the process
    path = audio_io.write_set(tmp_path / "a", np.zeros(frames), 44_100, formats=["ogg"])["ogg"].path
    assert audio_io.probe(path).frames == frames


def test_write_float_keeps_every_bit_and_repeats(tmp_path: Path) -> None:
    signal = np.stack((noise(0.3, amplitude=2.0), tone(duration_s=0.3)))
    for name in ("a.wav", "b.wav"):
        audio_io.write_float(tmp_path / name, signal, 44_100)
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()
    assert audio_io.probe(tmp_path / "a.wav").subtype == "FLOAT"
    np.testing.assert_array_equal(audio_io.read(tmp_path / "a.wav").waveform, signal)


def test_what_cannot_be_written(tmp_path: Path) -> None:
    for waveform in (np.zeros(0), np.zeros((1, 2, 3))):
        with pytest.raises(AudioError, match="cannot be written"):
            audio_io.write_set(tmp_path / "a", waveform, 16_000)
        with pytest.raises(AudioError, match="cannot be written"):
            audio_io.write_float(tmp_path / "a.wav", waveform, 16_000)
    with pytest.raises(AudioError, match="unknown audio format 'opus'"):
        audio_io.write_set(tmp_path / "a", tone(), 16_000, formats=["wav", "opus"])
    with pytest.raises(OutputError, match="no such file or directory"):
        audio_io.write_set(tmp_path / "missing" / "a", tone(), 16_000)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.wav"
    audio_io.write_float(path, tone(), 16_000)
    before = path.read_bytes()

    def full(self: Path, target: Path) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match="no space left on device"):
        audio_io.write_float(path, noise(), 16_000)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]


def test_written_files_have_ordinary_permissions(tmp_path: Path) -> None:
    mask = os.umask(0o022)
    try:
        audio_io.write_text(tmp_path / "a.txt", "ü\n")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o644
    assert (tmp_path / "a.txt").read_bytes() == b"\xc3\xbc\n"


# --- loudness


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000])
def test_loudness_of_a_full_scale_sine(rate: int) -> None:
    signal = np.sin(2 * np.pi * 997 * np.arange(3 * rate) / rate)
    assert audio_io.loudness_lufs(signal, rate) == pytest.approx(-3.0103, abs=0.005)
    # The recommendation adds the powers of channels
    assert audio_io.loudness_lufs(np.stack((signal, signal)), rate) == pytest.approx(0.0, abs=0.005)
    assert audio_io.loudness_lufs(signal / 10, rate) == pytest.approx(-23.0103, abs=0.005)


def test_loudness_gates_out_the_pause() -> None:
    loud, pause = tone(997, 5.0, 16_000, amplitude=0.5), silence(5.0, 16_000)
    alone = audio_io.loudness_lufs(loud, 16_000)
    with_pause = audio_io.loudness_lufs(np.concatenate((loud, pause)), 16_000)
    assert alone is not None and with_pause is not None
    assert abs(alone - with_pause) < 0.2
    quiet = tone(997, 5.0, 16_000, amplitude=0.005)  # 40 dB lower: below the relative gate
    with_quiet = audio_io.loudness_lufs(np.concatenate((loud, quiet)), 16_000)
    assert with_quiet == pytest.approx(with_pause, abs=0.01)


def test_loudness_agrees_with_pyloudnorm() -> None:
    pyloudnorm = pytest.importorskip("pyloudnorm")
    rate = 48_000
    signal = np.concatenate((chirp(60, 2_000, 4.0, rate), 0.1 * chirp(60, 2_000, 4.0, rate), silence(2.0, rate)))
    wanted = pyloudnorm.Meter(rate).integrated_loudness(signal)
    assert audio_io.loudness_lufs(signal, rate) == pytest.approx(wanted, abs=0.1)


def test_loudness_that_is_not_defined() -> None:
    assert audio_io.loudness_lufs(tone(997, 0.399), 16_000) is None
    assert audio_io.loudness_lufs(silence(2.0), 16_000) is None
    assert audio_io.loudness_lufs(tone(997, 2.0, amplitude=1e-5), 16_000) is None
    with pytest.raises(AudioError, match="up to five channels"):
        audio_io.loudness_lufs(np.zeros((6, 16_000)), 16_000)
