"""The integrated phase: known answers for tones, clicks and sweeps, and how near Griffin-Lim comes from it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from models.frontends.phase_integration import integrated_phase
from models.frontends.phase_recovery import griffin_lim, initial_phase, random_phase
from models.frontends.stft import StftConfig, istft, stft
from tests.signals import harmonic, noise

CONFIG = StftConfig(1024, 256, 1024)
SAMPLES = 16_000
TIME = torch.arange(SAMPLES, dtype=torch.float64)


def error_db(waveform: Tensor, magnitude: Tensor, config: StftConfig = CONFIG) -> float:
    error = (stft(waveform, config).abs() - magnitude).norm() / magnitude.norm()
    return 20.0 * float(error.log10())


def rebuilt(waveform: Tensor, config: StftConfig = CONFIG, iterations: int = 0) -> tuple[Tensor, float]:
    magnitude = stft(waveform, config).abs()
    out = griffin_lim(
        magnitude,
        config,
        length=waveform.shape[1],
        iterations=iterations,
        start=integrated_phase(magnitude, config),
    )
    return out, error_db(out, magnitude, config)


@pytest.mark.parametrize("cycles_per_frame", [40.0, 40.5, 200.3])
def test_the_phase_of_a_tone_advances_by_its_frequency(cycles_per_frame: float) -> None:
    frequency = 2 * torch.pi * cycles_per_frame / CONFIG.n_fft
    magnitude = stft(torch.sin(frequency * TIME)[None], CONFIG).abs()
    phase = integrated_phase(magnitude, CONFIG)[0]
    peak = int(magnitude[0, :, 20].argmax())
    advance = (phase[peak, 11:40] / phase[peak, 10:39]).angle()
    expected = np.angle(np.exp(1j * frequency * CONFIG.hop_length))
    np.testing.assert_allclose(advance.numpy(), expected, atol=0.05)


def test_the_phase_of_a_click_falls_by_its_delay() -> None:
    click = torch.zeros(1, SAMPLES, dtype=torch.float64)
    at = 20 * CONFIG.hop_length + 100
    click[0, at] = 1.0
    spectrum = stft(click, CONFIG)
    frame = 20
    phase = integrated_phase(spectrum.abs(), CONFIG)[0, 100:400, frame]
    # The frame begins half a window before its time.
    delay = 100 + CONFIG.n_fft // 2
    slope = (phase[1:] / phase[:-1]).angle()
    expected = np.angle(np.exp(-2j * np.pi * delay / CONFIG.n_fft))
    assert float((slope - expected).abs().median()) < 0.2


def test_tones_and_sweeps_come_back_without_any_round() -> None:
    tone = torch.sin(0.21 * TIME)[None]
    sweep = torch.sin(0.05 * TIME + 1e-5 * TIME.square())[None]
    for signal in (tone, sweep, tone + torch.sin(0.9 * TIME + 1)[None]):
        _, error = rebuilt(signal)
        magnitude = stft(signal, CONFIG).abs()
        start = random_phase((1, *magnitude.shape[1:]), [0], torch.float64)
        by_chance = error_db(griffin_lim(magnitude, CONFIG, length=SAMPLES, iterations=0, start=start), magnitude)
        assert error < -24.0
        assert error < by_chance - 15.0


@pytest.mark.parametrize("window", ["hann", "hamming"])
@pytest.mark.parametrize("sizes", [(1024, 256, 1024), (1024, 200, 800)], ids=str)
def test_eight_rounds_from_it_beat_32_from_noise(window: str, sizes: tuple[int, int, int]) -> None:
    config = StftConfig(*sizes, window=window)
    music = torch.from_numpy(harmonic(220.0, 1.0) + harmonic(330.0, 1.0) + noise(1.0, amplitude=0.003))[None].double()
    _, integrated = rebuilt(music, config, iterations=8)
    magnitude = stft(music, config).abs()
    start = random_phase((1, *magnitude.shape[1:]), [0], torch.float64)
    out = griffin_lim(magnitude, config, length=music.shape[1], iterations=32, start=start)
    assert integrated < error_db(out, magnitude, config)


def test_rows_do_not_depend_on_each_other() -> None:
    pair = torch.stack([torch.sin(0.3 * TIME), torch.from_numpy(noise(1.0)).double()])
    magnitude = stft(pair.float(), CONFIG).abs()
    both = integrated_phase(magnitude, CONFIG)
    assert both.dtype == torch.complex64
    assert torch.equal(both[1:], integrated_phase(magnitude[1:], CONFIG))
    torch.testing.assert_close(both.abs(), torch.ones_like(magnitude), atol=1e-6, rtol=0)


@pytest.mark.parametrize("frames", [0, 1, 2])
def test_silence_and_very_few_frames_give_finite_phases(frames: int) -> None:
    for magnitude in (torch.zeros(2, 513, frames), torch.rand(2, 513, frames)):
        phase = integrated_phase(magnitude, CONFIG)
        assert phase.shape == magnitude.shape
        assert bool(torch.isfinite(phase.abs()).all())


def test_impossible_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(batch, 513, frames\)"):
        integrated_phase(torch.zeros(513, 4), CONFIG)
    with pytest.raises(ValueError, match="random, integrated"):
        initial_phase(torch.zeros(1, 513, 4), CONFIG, kind="zero", seeds=[0])
    with pytest.raises(ValueError, match="one seed per row"):
        initial_phase(torch.zeros(2, 513, 4), CONFIG, kind="random", seeds=[0])


def test_the_kinds_are_what_they_say() -> None:
    magnitude = stft(torch.sin(0.3 * TIME)[None].float(), CONFIG).abs()
    integrated = initial_phase(magnitude, CONFIG, kind="integrated", seeds=[5])
    assert torch.equal(integrated, integrated_phase(magnitude, CONFIG))
    drawn = initial_phase(magnitude, CONFIG, kind="random", seeds=[5])
    assert torch.equal(drawn, random_phase((1, *magnitude.shape[1:]), [5], torch.float32))


def test_level_of_a_tone_is_kept() -> None:
    tone = 0.25 * torch.sin(0.21 * TIME)[None]
    out, _ = rebuilt(tone)
    assert float(out[:, 2000:-2000].square().mean().sqrt()) == pytest.approx(0.25 / 2**0.5, rel=0.02)
    magnitude = stft(tone, CONFIG).abs()
    direct = istft(magnitude * integrated_phase(magnitude, CONFIG), CONFIG, length=SAMPLES)
    torch.testing.assert_close(out, direct, atol=1e-9, rtol=0)
