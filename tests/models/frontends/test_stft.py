import librosa
import numpy as np
import pytest
import torch

from models.frontends.stft import StftConfig, istft, stft

NOISE = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 5000)))


@pytest.mark.parametrize(("n_fft", "hop", "win"), [(512, 128, 512), (1024, 240, 600)])
@pytest.mark.parametrize(("padding", "mode"), [("zeros", "constant"), ("reflect", "reflect")])
def test_equals_librosa(n_fft: int, hop: int, win: int, padding: str, mode: str) -> None:
    config = StftConfig(n_fft, hop, win, padding=padding)
    theirs = librosa.stft(
        NOISE.numpy(), n_fft=n_fft, hop_length=hop, win_length=win, pad_mode=mode, dtype=np.complex128
    )
    np.testing.assert_allclose(stft(NOISE, config).numpy(), theirs, atol=1e-10)


@pytest.mark.parametrize(
    ("padding", "samples", "frames"),
    [("zeros", 64_000, 251), ("reflect", 64_001, 251), ("frame", 64_000, 250), ("none", 1024, 1), ("right", 8192, 30)],
)
def test_frame_counts(padding: str, samples: int, frames: int) -> None:
    config = StftConfig(1024, 256, 1024, padding=padding)
    assert config.frames(samples) == frames
    assert stft(torch.zeros(1, samples), config).shape == (1, 513, frames)


@pytest.mark.parametrize("padding", ["zeros", "reflect", "frame"])
@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("win", [512, 400])
def test_inverse_returns_the_signal(padding: str, periodic: bool, win: int) -> None:
    config = StftConfig(512, 128, win, periodic=periodic, padding=padding)
    x = NOISE[:, :4992]
    torch.testing.assert_close(istft(stft(x, config), config, length=4992), x, atol=1e-10, rtol=0)


def test_length_beyond_the_frames_is_zero() -> None:
    config = StftConfig(512, 128, 512)
    longer = istft(stft(NOISE, config), config, length=9000)
    assert longer.shape == (2, 9000)
    assert not longer[:, 6000:].any()


def test_symmetric_window_differs_from_periodic() -> None:
    periodic, symmetric = StftConfig(512, 128, 512), StftConfig(512, 128, 512, periodic=False)
    assert periodic.sha256() != symmetric.sha256()
    assert not torch.allclose(stft(NOISE, periodic), stft(NOISE, symmetric))


@pytest.mark.parametrize(
    "bad",
    [
        {"n_fft": 511, "win_length": 511},
        {"win_length": 4096},
        {"hop_length": 0},
        {"padding": "same"},
        {"window": "kaiser"},
    ],
)
def test_impossible_settings_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"need|must"):
        StftConfig(**bad)  # type: ignore[arg-type]


def test_short_signals_are_refused_where_padding_mirrors() -> None:
    assert stft(torch.zeros(1, 1), StftConfig(512, 128, 512)).shape[-1] == 1
    with pytest.raises(ValueError, match="too short"):
        stft(torch.zeros(1, 256), StftConfig(512, 128, 512, padding="reflect"))


def test_hamming_window_equals_librosa() -> None:
    config = StftConfig(512, 128, 512, window="hamming")
    theirs = librosa.stft(
        NOISE.numpy(), n_fft=512, hop_length=128, window="hamming", pad_mode="constant", dtype=np.complex128
    )
    np.testing.assert_allclose(stft(NOISE, config).numpy(), theirs, atol=1e-10)
    torch.testing.assert_close(istft(stft(NOISE, config), config, length=4992), NOISE[:, :4992], atol=1e-10, rtol=0)


def test_right_padding_starts_at_the_first_sample() -> None:
    right, none = StftConfig(512, 128, 512, padding="right"), StftConfig(512, 128, 512, padding="none")
    ours, plain = stft(NOISE, right), stft(NOISE, none)
    torch.testing.assert_close(ours[..., : plain.shape[-1]], plain)
    back = istft(ours, right, length=4608)
    torch.testing.assert_close(back[:, 512:4400], NOISE[:, 512:4400], atol=1e-10, rtol=0)
