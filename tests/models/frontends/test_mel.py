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
    "bad", [{"scale": "bark"}, {"power": 3}, {"log": "log2"}, {"f_max_hz": 12_000.0}, {"f_min_hz": -1.0}]
)
def test_impossible_settings_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"must be|need"):
        MelConfig(**bad)  # type: ignore[arg-type]


# A change of any setting, or of how it is written down, makes every checkpoint of that front end refuse to load.
HASHES = {
    "melgan": "1c112de2eb5f",
    "hifigan": "77433b653ff4",
    "melreformer": "73ff87cf53b0",
    "librosa": "87d86e0962d9",
    "seungwonpark_melgan": "fdf259564130",
    "wmelonet": "b564755c8cb1",
    "featuresynth": "ed1f985eba73",
    "melgan_vc": "879c0a325871",
    "create_music_sweep_512": "50fc90ddc6a3",
    "create_music_autoencoder": "bf2560b98b1f",
    "create_music_peaks": "9f2e3d64979f",
}


def test_named_settings_keep_their_hashes() -> None:
    assert {name: config.sha256()[:12] for name, config in NAMED.items()} == HASHES
    assert "window" not in StftConfig().as_dict()
    assert StftConfig(window="hamming").as_dict()["window"] == "hamming"
    assert len(set(HASHES.values())) == len(NAMED)


def test_named_ranges_and_frame_counts() -> None:
    generator = torch.Generator().manual_seed(3)
    for config in NAMED.values():
        tone = 0.95 * torch.sin(torch.arange(config.sample_rate_hz * 2) * 0.2)
        noise = tone + 0.01 * torch.randn(tone.shape, generator=generator)
        mel = log_mel(noise[None], config)
        assert mel.shape[1:] == (config.n_mels, config.stft.frames(noise.numel()))
        assert torch.isfinite(mel).all()
    vc = log_mel(noise[None, :16_000], NAMED["melgan_vc"])
    assert float(vc.min()) >= -1.0
    assert float(vc.max()) <= 1.0
    assert log_mel(torch.zeros(1, 8000), NAMED["melgan_vc"]).unique().tolist() == [-1.0]


def test_decibels_equal_librosa_over_their_range() -> None:
    config = NAMED["melgan_vc"]
    power = torch.logspace(-3, 6, 40, dtype=torch.float64)
    level = librosa.power_to_db(power.numpy() / 432.0, amin=1e-10, top_db=None) - 20.0
    expected = np.clip((level + 100.0) / 50.0 - 1.0, -1.0, 1.0)
    np.testing.assert_allclose(compress(power, config).numpy(), expected, atol=2e-5)
    inside = power[(expected > -1.0) & (expected < 1.0)]
    torch.testing.assert_close(expand(compress(inside, config), config), inside)
    plain = MelConfig(log="db", power=1)
    assert float(compress(torch.tensor(0.1), plain)) == pytest.approx(-20.0)
    torch.testing.assert_close(expand(torch.tensor(-20.0), plain), torch.tensor(0.1))


def test_right_padding_leads_by_one_frame_and_a_half() -> None:
    click = torch.zeros(1, 8192)
    click[0, 4096] = 1.0
    energy = {name: log_mel(click, NAMED[name])[0].mean(0) for name in ("featuresynth", "wmelonet")}
    assert energy["featuresynth"].numel() == energy["wmelonet"].numel() - 2
    frames = {name: (value > -4.9).nonzero()[:, 0].float().mean() for name, value in energy.items()}
    assert float(frames["wmelonet"] - frames["featuresynth"]) == pytest.approx(1.5, abs=0.51)


@pytest.mark.parametrize("bad", [{"range_db": 100.0}, {"reference_db": 20.0}, {"log": "db", "range_db": -1.0}])
def test_decibel_settings_need_decibels(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"log='db'|at least 0"):
        MelConfig(**bad)  # type: ignore[arg-type]
