import math
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch

from models.frontends.mel_if import (
    MelIF,
    MelIFConfig,
    MelIFInverseConfig,
    band_centres_hz,
    hz_to_mel,
    inverse_mel_matrix,
    mel_matrix,
    mel_to_hz,
    unwrap,
    wrap,
)

NOTES = Path(__file__).resolve().parents[4] / "shared" / "corpora" / "notes" / "valid" / "audio"
TIME_S = torch.arange(64_000, dtype=torch.float64) / 16_000


def tone(frequency_hz: float, amplitude: float = 0.5) -> torch.Tensor:
    return amplitude * torch.sin(2 * math.pi * frequency_hz * TIME_S)[None].float()


def log_spectral_error(estimate: torch.Tensor, reference: torch.Tensor) -> float:
    """Mean gap of natural-log magnitudes over 80 mel bands of a window unlike the front end's."""
    bands = torch.from_numpy(librosa.filters.mel(sr=16_000, n_fft=1024, n_mels=80))

    def features(x: torch.Tensor) -> torch.Tensor:
        spectrum = torch.stft(x.float(), 1024, 256, window=torch.hann_window(1024), return_complex=True)
        return (bands @ spectrum.abs()).clamp_min(1e-5).log()

    return float((features(estimate) - features(reference)).abs().mean())


def test_scale_has_its_stated_constants() -> None:
    config = MelIFConfig()
    assert config.quality == pytest.approx(608.93, abs=0.005)
    assert float(hz_to_mel(torch.tensor(1000.0), config)) == pytest.approx(1000.0, abs=1e-3)
    assert float(mel_to_hz(torch.tensor(1000.0), config)) == pytest.approx(1000.0, abs=1e-2)
    assert MelIFConfig(break_hz=700.0).quality == pytest.approx(1127.0, abs=0.02)


def test_bands_lie_where_the_reference_counts_them() -> None:
    centres = band_centres_hz(MelIFConfig())
    counts = [int((centres < edge).sum()) for edge in (500, 1000, 2000, 4000)]
    assert counts == pytest.approx([326, 476, 647, 832], abs=1)


def test_matrix_shape_width_and_blur() -> None:
    matrix = mel_matrix(MelIFConfig())
    assert matrix.shape == (1024, 1024)
    assert not matrix[:, 0].any()
    assert float(matrix.min()) >= 0.0
    assert float(matrix.max()) <= 1.0 + 1e-12
    assert int((matrix.sum(1) == 0).sum()) == 2
    diagonal = (inverse_mel_matrix(matrix) @ matrix).diagonal()
    hz = torch.arange(1024) * 8000 / 1024
    assert float(diagonal[(hz >= 2000) & (hz < 4000)].mean()) == pytest.approx(0.473, abs=0.005)
    assert float(diagonal[(hz >= 6000) & (hz < 8000)].mean()) == pytest.approx(0.210, abs=0.005)


def test_unwrap_equals_numpy() -> None:
    phase = torch.from_numpy(np.random.default_rng(0).uniform(-math.pi, math.pi, (3, 50)))
    np.testing.assert_allclose(unwrap(phase).numpy(), np.unwrap(phase.numpy()), atol=1e-9)
    assert wrap(torch.tensor([1.0, -1.0, 1.5, -3.25])).tolist() == [-1.0, -1.0, -0.5, 0.75]


def test_picture_form() -> None:
    front = MelIF()
    picture = front(tone(440.0))
    assert picture.shape == (1, 2, 1024, 128)
    assert float(picture[:, 0].min()) == pytest.approx(math.log(2e-6), abs=1e-5)
    assert float(picture[:, 1].abs().max()) <= 1.0
    # 64,000 samples make 126 frames; the last two columns repeat the last of them.
    torch.testing.assert_close(picture[:, 0, :, 126], picture[:, 0, :, 125])
    torch.testing.assert_close(picture[:, 0, :, 127], picture[:, 0, :, 125])


@pytest.mark.parametrize("mix", ["energy", "unwrapped"])
def test_tone_of_known_frequency_and_level(mix: str) -> None:
    frequency_hz = 442.0
    picture = MelIF(MelIFConfig(phase_mix=mix))(tone(frequency_hz))[0].double()
    column = 60
    band = int(picture[0, :, column].argmax())
    assert float(band_centres_hz(MelIFConfig())[band]) == pytest.approx(frequency_hz, abs=8.0)
    if mix == "energy":
        advance = math.remainder(2 * frequency_hz * 512 / 16_000, 2.0)
        torch.testing.assert_close(
            picture[1, band - 3 : band + 4, column], torch.full((7,), advance).double(), atol=2e-3, rtol=0
        )
    # Power of a Hann line of amplitude one half: at most (N / 8)^2 per bin and a band holds about one bin.
    assert float(picture[0, band, column]) == pytest.approx(2 * math.log(2048 / 8), abs=0.5)


@pytest.mark.parametrize("mix", ["energy", "unwrapped"])
def test_silence_is_silence(mix: str) -> None:
    front = MelIF(MelIFConfig(phase_mix=mix))
    picture = front(torch.zeros(2, 64_000))
    assert not picture[:, 1].any()
    assert picture[:, 0].unique().tolist() == pytest.approx([math.log(2e-6)])
    assert not front.inverse(picture).any()


def test_threshold_masks_phase_and_level_together() -> None:
    front = MelIF()
    picture = front(tone(300.0, amplitude=1e-3))
    picture[0, 0, 500, 50], picture[0, 1, 500, 50] = -20.0, 0.7
    masked = front.mask(picture)
    assert float(masked[0, 1, 500, 50]) == 0.0
    assert float(masked[0, 0, 500, 50]) == pytest.approx(math.log(2e-6))
    assert float(picture[0, 1, 500, 50]) == pytest.approx(0.7)


@pytest.mark.parametrize("frequency_hz", [110.0, 443.3, 1234.5, 3000.0])
def test_tone_comes_back(frequency_hz: float) -> None:
    front = MelIF()
    x = tone(frequency_hz)
    y = front.inverse(front(x))
    assert y.shape == x.shape
    middle = slice(8000, 56_000)
    # Only the pitch and the level must hold: the phase at the start is not exact after averaging over bands.
    for signal in (x, y):
        peak = torch.fft.rfft(signal[0, middle].double()).abs().argmax()
        assert float(peak) * 16_000 / 48_000 == pytest.approx(frequency_hz, abs=0.4)
    level = float(y[0, middle].norm() / x[0, middle].norm())
    assert 20 * math.log10(level) == pytest.approx(0.0, abs=0.6)


def test_published_inverse_is_the_worse_one() -> None:
    x = sum((tone(220.0 * k, 0.3 / k) for k in range(1, 12)), torch.zeros(1, 64_000))
    x = x * torch.exp(-TIME_S.float())
    errors = {}
    for name, inverse in {
        "plain": MelIFInverseConfig(0, 0),
        "sharpened": MelIFInverseConfig(10, 0),
        "full": MelIFInverseConfig(),
    }.items():
        front = MelIF(None, inverse)
        errors[name] = log_spectral_error(front.inverse(front(x)), x)
    assert errors["full"] < errors["sharpened"] <= errors["plain"] * 1.02
    assert errors["full"] < 0.25


@pytest.mark.skipif(not NOTES.is_dir(), reason="the development recordings are not here")
def test_recorded_notes_come_back() -> None:
    import soundfile

    rows = []
    for path in sorted(NOTES.glob("*.flac"))[::40]:
        samples, rate = soundfile.read(path, dtype="float32")
        assert rate == 16_000
        rows.append(np.pad(samples, (0, 64_000 - len(samples)))[:64_000])
    x = torch.from_numpy(np.stack(rows))
    front = MelIF()
    ours = log_spectral_error(front.inverse(front(x)), x)
    published = MelIF(MelIFConfig(phase_mix="unwrapped"), MelIFInverseConfig(0, 0))
    assert ours < 0.2
    assert ours < 0.6 * log_spectral_error(published.inverse(published(x)), x)


def test_float32_agrees_with_float64() -> None:
    x = tone(500.0) + tone(1500.0, 0.1)
    single, double = MelIF()(x), MelIF(dtype=torch.float64)(x)
    # Beside a partial, and away from the mirrored ends, where bins do not cancel.
    single, double = single[..., 4:122], double[..., 4:122]
    loud = double[:, 0] > double[:, 0].max() - 7.0
    assert int(loud.sum()) > 1000
    assert float((single[:, 0] - double[:, 0])[loud].abs().max()) < 1e-3
    assert float(wrap((single[:, 1] - double[:, 1])[loud]).abs().max()) < 1e-3


def test_hash_follows_the_picture_not_the_inverse() -> None:
    assert MelIFConfig().sha256() == MelIFConfig().sha256()
    assert len({MelIFConfig(break_hz=b, phase_mix=m).sha256() for b in (240.0, 700.0) for m in "ab"}) == 4


def test_bad_shapes_and_settings_are_refused() -> None:
    front = MelIF()
    with pytest.raises(ValueError, match="64000"):
        front(torch.zeros(1, 63_999))
    with pytest.raises(ValueError, match="picture"):
        front.inverse(torch.zeros(1, 2, 1024, 126))
    with pytest.raises(ValueError, match="phase_mix"):
        MelIF(MelIFConfig(phase_mix="mean"))
    with pytest.raises(ValueError, match="do not fit"):
        MelIF(MelIFConfig(n_samples=65_536))
