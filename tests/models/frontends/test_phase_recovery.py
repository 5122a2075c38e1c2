import librosa
import numpy as np
import pytest
import torch

from models.frontends.mel import MelConfig, mel_filterbank
from models.frontends.phase_recovery import (
    griffin_lim,
    mel_to_magnitude_nnls,
    mel_to_magnitude_pinv,
    random_phase,
)
from models.frontends.stft import PADDINGS, StftConfig, stft

CONFIG = StftConfig(512, 128, 512)
CHIRP = torch.sin(torch.linspace(0, 120, 8000, dtype=torch.float64) ** 1.5)[None] * 0.5


def convergence_db(waveform: torch.Tensor, magnitude: torch.Tensor) -> float:
    error = (stft(waveform, CONFIG).abs() - magnitude).norm() / magnitude.norm()
    return 20.0 * float(error.log10())


@pytest.mark.parametrize("momentum", [0.0, 0.99])
def test_equals_librosa_from_phase_zero(momentum: float) -> None:
    magnitude = stft(CHIRP, CONFIG).abs()
    theirs = librosa.griffinlim(
        magnitude[0].numpy(),
        n_iter=10,
        hop_length=128,
        momentum=momentum,
        init=None,
        length=8000,
        pad_mode="constant",
    )
    ours = griffin_lim(magnitude, CONFIG, length=8000, iterations=10, momentum=momentum)[0].numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-9)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("sizes", [(512, 128, 512), (512, 120, 400)], ids=str)
def test_the_loop_in_buffers_equals_the_transforms_one_by_one(padding: str, sizes: tuple[int, int, int]) -> None:
    config = StftConfig(*sizes, padding=padding)
    magnitude = stft(torch.cat([CHIRP, CHIRP.flip(1)]), config).abs()
    start = random_phase(tuple(magnitude.shape), [1, 2], torch.float64)
    buffered = griffin_lim(magnitude, config, length=8000, iterations=4, start=start)
    # Where a gradient is wanted, the transforms run one after the other.
    plain = griffin_lim(magnitude.clone().requires_grad_(True), config, length=8000, iterations=4, start=start)
    assert plain.requires_grad
    torch.testing.assert_close(buffered, plain.detach(), atol=1e-9, rtol=1e-9)
    alone = griffin_lim(magnitude[1:], config, length=8000, iterations=4, start=start[1:])
    assert torch.equal(alone, buffered[1:])


def test_right_phase_is_kept() -> None:
    spectrum = stft(CHIRP, CONFIG)
    start = torch.polar(torch.ones_like(spectrum.real), spectrum.angle())
    out = griffin_lim(spectrum.abs(), CONFIG, length=8000, iterations=5, start=start)
    torch.testing.assert_close(out, CHIRP, atol=1e-9, rtol=0)


def test_more_rounds_and_momentum_come_nearer() -> None:
    magnitude = stft(CHIRP, CONFIG).abs()
    start = random_phase((1, 257, magnitude.shape[-1]), [3], torch.float64)

    def run(iterations: int, momentum: float) -> float:
        out = griffin_lim(magnitude, CONFIG, length=8000, iterations=iterations, momentum=momentum, start=start)
        return convergence_db(out, magnitude)

    assert run(32, 0.0) < run(4, 0.0) - 2.0
    assert run(32, 0.99) < run(32, 0.0) - 2.0


def test_seeds_belong_to_rows() -> None:
    both = random_phase((2, 5, 7), [1, 2], torch.float32)
    torch.testing.assert_close(both[1:], random_phase((1, 5, 7), [2], torch.float32), atol=0, rtol=0)
    assert not torch.equal(both[0], both[1])
    torch.testing.assert_close(both.abs(), torch.ones(2, 5, 7))


def test_silence_stays_silent_and_finite() -> None:
    out = griffin_lim(torch.zeros(1, 257, 63), CONFIG, length=8000, iterations=4)
    assert out.shape == (1, 8000)
    assert not out.any()


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        griffin_lim(torch.zeros(1, 257, 60), CONFIG, length=8000)
    with pytest.raises(ValueError, match="momentum"):
        griffin_lim(torch.zeros(1, 257, 63), CONFIG, length=8000, momentum=1.0)
    with pytest.raises(ValueError, match="one seed per row"):
        random_phase((2, 5, 7), [1], torch.float32)


@pytest.mark.parametrize("power", [1, 2])
def test_nnls_is_as_exact_as_librosa(power: int) -> None:
    config = MelConfig(16_000, CONFIG, 64, power=power, log="none")
    bands = mel_filterbank(config)
    mel = bands @ stft(CHIRP, CONFIG).abs() ** power

    def residual(magnitude: torch.Tensor) -> float:
        return float((bands @ magnitude**power - mel).norm() / mel.norm())

    theirs = torch.from_numpy(librosa.util.nnls(bands.numpy(), mel[0].numpy())[None].astype(np.float64) ** (1 / power))
    nnls = mel_to_magnitude_nnls(mel, config)
    assert float(nnls.min()) >= 0.0
    assert residual(nnls) < max(0.003, 1.1 * residual(theirs))
    assert residual(nnls) < 0.2 * residual(mel_to_magnitude_pinv(mel, config))


def test_pinv_equals_numpy() -> None:
    config = MelConfig(16_000, CONFIG, 40, log="none")
    mel = mel_filterbank(config) @ stft(CHIRP, CONFIG).abs()
    theirs = np.maximum(np.linalg.pinv(mel_filterbank(config).numpy()) @ mel[0].numpy(), 0.0)
    np.testing.assert_allclose(mel_to_magnitude_pinv(mel, config)[0].numpy(), theirs, atol=1e-9)
