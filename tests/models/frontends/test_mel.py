import dataclasses

import librosa
import numpy as np
import pytest
import torch

from models.frontends.mel import NAMED, MelConfig, compress, expand, log_mel, mel_filterbank
from models.frontends.stft import StftConfig


@pytest.mark.parametrize("scale", ["slaney", "htk"])
@pytest.mark.parametrize("norm", ["slaney", "none"])
@pytest.mark.parametrize(("n_mels", "low", "high"), [(80, 0.0, None), (128, 40.0, 7000.0)])
def test_bands_equal_librosa(scale: str, norm: str, n_mels: int, low: float, high: float | None) -> None:
    config = MelConfig(16_000, StftConfig(1024, 256, 1024), n_mels, low, high, scale, norm)
    theirs = librosa.filters.mel(
        sr=16_000,
        n_fft=1024,
        n_mels=n_mels,
        fmin=low,
        fmax=high,
        htk=scale == "htk",
        norm=None if norm == "none" else norm,
        dtype=np.float64,
    )
    np.testing.assert_allclose(mel_filterbank(config).numpy(), theirs, atol=1e-12)


def test_named_librosa_equals_librosa() -> None:
    x = np.random.default_rng(1).standard_normal(22_050)
    theirs = librosa.feature.melspectrogram(y=x, sr=22_050, pad_mode="constant", dtype=np.float64)
    ours = log_mel(torch.from_numpy(x)[None], NAMED["librosa"])[0].numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize(("log", "logarithm"), [("ln", np.log), ("log10", np.log10)])
def test_sine_of_known_level(power: int, log: str, logarithm: np.ufunc) -> None:
    # A full-scale sine on a bin of a periodic Hann window of 1,024 has magnitude 256, and 128 beside it.
    sine = torch.sin(2 * torch.pi * 64 * torch.arange(16_000, dtype=torch.float64) / 1024)[None]
    config = MelConfig(16_000, StftConfig(1024, 256, 1024, padding="none"), 80, power=power, log=log)
    bands = mel_filterbank(config)
    around = torch.zeros(513, dtype=torch.float64)
    around[63:66] = torch.tensor([128.0, 256.0, 128.0], dtype=torch.float64) ** power
    expected = logarithm(np.maximum((bands @ around).numpy(), 1e-5))
    np.testing.assert_allclose(log_mel(sine, config)[0, :, 10].numpy(), expected, atol=1e-4)


def test_silence_lies_on_the_floor() -> None:
    silent = torch.zeros(1, 8192)
    assert log_mel(silent, NAMED["melgan"]).unique().tolist() == [-5.0]
    assert log_mel(silent, NAMED["hifigan"]).unique().item() == pytest.approx(-11.5129, abs=1e-4)
    assert log_mel(silent, NAMED["melgan"]).shape == (1, 80, 32)


@pytest.mark.parametrize("mode", ["clamp", "add"])
@pytest.mark.parametrize("log", ["ln", "log10", "none"])
def test_expand_undoes_compress(mode: str, log: str) -> None:
    config = MelConfig(log=log, floor_mode=mode)
    mel = torch.logspace(-4, 2, 20, dtype=torch.float64)
    torch.testing.assert_close(expand(compress(mel, config), config), mel)


def test_every_setting_changes_the_hash() -> None:
    base = MelConfig()
    changed = [
        dataclasses.replace(base, **{key: value})
        for key, value in {
            "sample_rate_hz": 16_000,
            "n_mels": 128,
            "f_max_hz": 8000.0,
            "scale": "htk",
            "norm": "none",
            "power": 2,
            "log": "log10",
            "floor": 1e-7,
            "floor_mode": "add",
            "stft": StftConfig(),
        }.items()
    ]
    assert len({c.sha256() for c in [base, *changed]}) == 11
    assert MelConfig().sha256() == base.sha256()


@pytest.mark.parametrize(
    "bad", [{"scale": "bark"}, {"power": 3}, {"log": "db"}, {"f_max_hz": 12_000.0}, {"f_min_hz": -1.0}]
)
def test_impossible_settings_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"must be|need"):
        MelConfig(**bad)  # type: ignore[arg-type]
