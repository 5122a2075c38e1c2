"""Compatibility modes against the libraries, or against plain implementations where these do not install."""

from __future__ import annotations

import math

import auraloss
import librosa
import numpy as np
import pytest
import torch
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio, signal_noise_ratio

from eval.metrics import metric
from eval.metrics.compat import (
    audiocraft_multi_resolution_stft,
    audiocraft_multi_resolution_stft_batch,
    audiocraft_si_snr_loss,
    auraloss_multi_resolution_stft_batch,
    auraloss_stft,
    auraloss_stft_batch,
    dac_multi_scale_stft,
    hifigan_mel,
    vocos_mel,
)
from eval.metrics.waveform import si_sdr, snr
from tests.signals import harmonic, noise

RATE = 24_000


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    reference = torch.stack(
        [torch.from_numpy(level * harmonic(110.0 * k, 0.3, RATE)).double() for k, level in ((1, 1.0), (3, 0.01))]
    )
    gap = torch.stack([torch.from_numpy(noise(0.3, RATE, amplitude=0.02, seed=k)).double() for k in (1, 2)])
    return reference + gap, reference


def magnitude(signal: torch.Tensor, n_fft: int, hop: int, win: int) -> torch.Tensor:
    window = torch.hann_window(win, dtype=torch.float64)
    return torch.stft(signal, n_fft, hop, win, window, return_complex=True).abs()


def test_auraloss_mixes_the_batch_and_so_does_its_mode() -> None:
    estimate, reference = batch()
    one, many = auraloss.freq.STFTLoss(), auraloss.freq.MultiResolutionSTFTLoss()
    for part in (one, *many.stft_losses):
        part.window = torch.hann_window(part.win_length, dtype=torch.float64)
    expected = [loss(estimate[:, None], reference[:, None]) for loss in (one, many)]
    torch.testing.assert_close(auraloss_stft_batch(estimate, reference), expected[0], rtol=1e-10, atol=0)
    torch.testing.assert_close(
        auraloss_multi_resolution_stft_batch(estimate, reference), expected[1], rtol=1e-10, atol=0
    )
    single = torch.stack([one(e[None, None], r[None, None]) for e, r in zip(estimate, reference, strict=True)])
    torch.testing.assert_close(auraloss_stft(estimate, reference), single, rtol=1e-10, atol=0)
    assert abs(float(single.mean() - expected[0])) > 1e-3
    linear = auraloss.freq.STFTLoss(w_sc=0.0, w_log_mag=0.0, w_lin_mag=1.0)
    linear.window = torch.hann_window(1024, dtype=torch.float64)
    ours = auraloss_stft_batch(estimate, reference, convergence_weight=0.0, log_weight=0.0, linear_weight=1.0)
    torch.testing.assert_close(ours, linear(estimate[:, None], reference[:, None]), rtol=1e-10, atol=0)


def test_a_batch_is_needed_for_a_number_of_a_batch() -> None:
    estimate, reference = batch()
    with pytest.raises(ValueError, match="batch, time"):
        auraloss_stft_batch(estimate[0], reference[0])


def test_dac_stft_equals_plain_torch() -> None:
    estimate, reference = batch()
    for made, wanted in zip(estimate, reference, strict=True):
        expected = 0.0
        for window in (2048, 512):
            pair = [magnitude(signal, window, window // 4, window) for signal in (made, wanted)]
            logs = [m.clamp(min=1e-5).pow(2).log10() for m in pair]
            expected += float((logs[0] - logs[1]).abs().mean() + (pair[0] - pair[1]).abs().mean())
        assert float(dac_multi_scale_stft(made, wanted)) == pytest.approx(expected, rel=1e-9)


def test_audiocraft_stft_equals_plain_torch() -> None:
    estimate, reference = batch()
    eps = float(np.finfo(np.float32).eps)

    def plain(made: torch.Tensor, wanted: torch.Tensor) -> float:
        convergence = log = 0.0
        for n_fft, hop, win in ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240)):
            x, y = (torch.sqrt(magnitude(s, n_fft, hop, win).square().clamp(min=1e-7)) for s in (made, wanted))
            convergence += float(torch.linalg.norm((y - x).flatten()) / (torch.linalg.norm(y.flatten()) + eps))
            log += float((torch.log(eps + y) - torch.log(eps + x)).abs().mean())
        return 0.1 * convergence / 3 + 0.1 * log / 3

    whole = plain(estimate, reference)
    assert float(audiocraft_multi_resolution_stft_batch(estimate, reference)) == pytest.approx(whole, rel=1e-9)
    each = [plain(e[None], r[None]) for e, r in zip(estimate, reference, strict=True)]
    assert audiocraft_multi_resolution_stft(estimate, reference).tolist() == pytest.approx(each, rel=1e-9)


@pytest.mark.parametrize("segment_s", [0.1, 0.25, 20.0])
def test_audiocraft_si_snr_equals_its_definition(segment_s: float) -> None:
    estimate, reference = batch()
    made, wanted = estimate[0].numpy(), reference[0].numpy()
    frame = int(segment_s * RATE)
    stride = int(frame * 0.5)
    pieces = math.ceil(len(wanted) / stride)
    room = np.zeros((2, (pieces - 1) * stride + frame))
    room[:, : len(wanted)] = made, wanted
    values = []
    for index in range(pieces):
        x, y = room[:, index * stride : index * stride + frame]
        x, y = x - x.mean(), y - y.mean()
        eps = float(np.finfo(np.float32).eps) * frame
        projection = (x @ y) * y / (eps + y @ y)
        rest = x - projection
        values.append(10 * (np.log10(eps + projection @ projection) - np.log10(eps + rest @ rest)))
    ours = audiocraft_si_snr_loss(estimate[0], reference[0], sample_rate_hz=RATE, segment_s=segment_s)
    assert float(ours) == pytest.approx(-np.mean(values), rel=1e-9)


def test_hifigan_mel_equals_plain_torch() -> None:
    estimate, reference = batch()
    filters = torch.from_numpy(librosa.filters.mel(sr=RATE, n_fft=1024, n_mels=80, dtype=np.float64))
    window = torch.hann_window(1024, dtype=torch.float64)
    logs = []
    for signal in (estimate, reference):
        padded = torch.nn.functional.pad(signal[:, None], (384, 384), mode="reflect")[:, 0]
        spectrum = torch.stft(padded, 1024, 256, 1024, window, center=False, return_complex=True)
        power = torch.view_as_real(spectrum).pow(2).sum(-1)
        logs.append((filters @ torch.sqrt(power + 1e-9)).clamp(min=1e-5).log())
    expected = (logs[0] - logs[1]).abs().mean((-1, -2))
    torch.testing.assert_close(hifigan_mel(estimate, reference, sample_rate_hz=RATE), expected, rtol=1e-9, atol=0)


def test_vocos_mel_equals_plain_torch() -> None:
    estimate, reference = batch()
    filters = torch.from_numpy(
        librosa.filters.mel(sr=RATE, n_fft=1024, n_mels=100, htk=True, norm=None, dtype=np.float64)
    )
    logs = [(filters @ magnitude(s, 1024, 256, 1024)).clamp(min=1e-7).log() for s in (estimate, reference)]
    expected = (logs[0] - logs[1]).abs().mean((-1, -2))
    torch.testing.assert_close(vocos_mel(estimate, reference, sample_rate_hz=RATE), expected, rtol=1e-9, atol=0)


def test_ratios_equal_torchmetrics_as_it_is_used() -> None:
    estimate, reference = batch()
    for ours, theirs, name in (
        (snr, signal_noise_ratio, "torchmetrics_snr"),
        (si_sdr, scale_invariant_signal_distortion_ratio, "torchmetrics_si_sdr"),
    ):
        found = ours(estimate, reference, **metric(name).parameters)  # type: ignore[operator]
        # Its float32 sums are right to six digits.
        torch.testing.assert_close(found.float(), theirs(estimate.float(), reference.float()), rtol=1e-5, atol=1e-4)
