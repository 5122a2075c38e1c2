from pathlib import Path

import pytest
import torch

from eval.metrics.spectral import log_spectral_distance
from models.errors import InputError
from models.griffin_lim_vocoder import GriffinLimVocoder, GriffinLimVocoderConfig
from models.vocoder import vocoder_frontend
from tests.models.vocoder_checks import RATE_HZ, waveforms


@pytest.fixture(scope="module")
def system() -> GriffinLimVocoder:
    return GriffinLimVocoder()


def test_front_end_is_that_of_the_vocoders(system: GriffinLimVocoder) -> None:
    assert system.frontend == vocoder_frontend(128)


@pytest.mark.parametrize("samples", [1, 300, 4097])
def test_any_length_comes_back(system: GriffinLimVocoder, samples: int) -> None:
    x = waveforms(samples)
    assert system.reconstruct(x, sample_rate_hz=RATE_HZ, seeds=[0, 1, 2]).shape == x.shape


def test_level_and_spectrum_come_back(system: GriffinLimVocoder) -> None:
    x = waveforms(RATE_HZ)
    y = system.reconstruct(x, sample_rate_hz=RATE_HZ, seeds=[0, 1, 2])
    ratio = y.square().mean(1).sqrt() / x.square().mean(1).sqrt()
    assert bool(((ratio > 0.6) & (ratio < 1.3)).all())
    distance, silent = log_spectral_distance(y, x), log_spectral_distance(torch.zeros_like(x), x)
    assert bool((distance < 0.7 * silent).all())


def test_more_rounds_come_nearer() -> None:
    x = waveforms(RATE_HZ)[2:]
    distances = [
        GriffinLimVocoder(config=GriffinLimVocoderConfig(iterations=n)).reconstruct(
            x, sample_rate_hz=RATE_HZ, seeds=[0]
        )
        for n in (0, 32)
    ]
    spectra = [
        torch.stft(v, 1024, 256, window=torch.hann_window(1024), return_complex=True).abs() for v in (*distances, x)
    ]
    errors = [float((s - spectra[2]).square().sum()) for s in spectra[:2]]
    assert errors[1] < 0.7 * errors[0]


def test_seeds_and_rows(system: GriffinLimVocoder) -> None:
    x = waveforms(2000)
    together = system.reconstruct(x, sample_rate_hz=RATE_HZ, seeds=[4, 5, 6])
    alone = system.reconstruct(x[1:2], sample_rate_hz=RATE_HZ, seeds=[5])
    assert torch.equal(alone, together[1:2])
    assert not torch.equal(system.reconstruct(x[1:2], sample_rate_hz=RATE_HZ, seeds=[6]), alone)


def test_pseudo_inverse_is_an_option() -> None:
    quick = GriffinLimVocoder(config=GriffinLimVocoderConfig(inverse="pinv", iterations=2))
    assert quick.reconstruct(waveforms(2000), sample_rate_hz=RATE_HZ, seeds=[0, 1, 2]).shape == (3, 2000)
    with pytest.raises(ValueError, match="nnls, pinv"):
        GriffinLimVocoderConfig(inverse="lu")


def test_bad_input_is_refused(system: GriffinLimVocoder) -> None:
    with pytest.raises(InputError, match="no weights"):
        GriffinLimVocoder(checkpoint=Path("x"))
    with pytest.raises(InputError, match="mel must have shape"):
        system.vocode(torch.zeros(1, 80, 8))
    with pytest.raises(InputError, match="22050 Hz"):
        system.reconstruct(waveforms(500), sample_rate_hz=44_100, seeds=[0, 1, 2])
