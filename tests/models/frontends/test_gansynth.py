import dataclasses
import math

import pytest
import torch

from models.frontends.gansynth import GANSynthConfig, GANSynthPicture
from models.frontends.mel_if import MelIFConfig

TIME_S = torch.arange(64_000, dtype=torch.float64) / 16_000
NOTE = sum(torch.sin(2 * torch.pi * 441.0 * k * TIME_S) / k for k in range(1, 13))[None] * 0.2 * torch.exp(-TIME_S)
# Without an edge anywhere, so that no frame has energy at DC.
SMOOTH = NOTE * torch.exp(TIME_S) * torch.sin(torch.pi * TIME_S / 4.0).square()
EXACT = GANSynthConfig(mel=False, clip=False)


def snr_db(estimate: torch.Tensor, reference: torch.Tensor) -> float:
    # The window hardly touches the last samples: nothing comes after the sound.
    gap = (estimate - reference)[:, :-16]
    return 10.0 * math.log10(float(reference.square().sum() / gap.square().sum()))


def test_published_shape_padding_and_scale() -> None:
    config = GANSynthConfig()
    assert config.pad_front_samples == 3072
    assert MelIFConfig(break_hz=700.0).quality == pytest.approx(1127.0, abs=0.1)
    picture = GANSynthPicture(config)(NOTE)
    assert picture.shape == (1, 2, 1024, 128)
    assert float(picture.abs().max()) <= 1.0
    silence = GANSynthPicture(config)(torch.zeros(1, 64_000))
    # ln 1e-6 is brought to -0.8, as far as the published margin goes.
    torch.testing.assert_close(silence[0, 0], torch.full_like(silence[0, 0], -0.8), atol=2e-3, rtol=0)


def test_way_back_is_exact_without_mel() -> None:
    frontend = GANSynthPicture(EXACT)
    assert snr_db(frontend.inverse(frontend(SMOOTH)), SMOOTH) > 80.0
    assert snr_db(frontend.inverse(frontend(NOTE)), NOTE) > 45.0
    noise = torch.randn(1, 64_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.1
    # White noise has energy at DC, which the picture has no row for.
    assert 20.0 < snr_db(frontend.inverse(frontend(noise)), noise) < 60.0


def test_clipping_and_scaling_cost_nothing_at_full_scale() -> None:
    frontend = GANSynthPicture(dataclasses.replace(EXACT, clip=True))
    loud = SMOOTH / SMOOTH.abs().max()
    assert snr_db(frontend.inverse(frontend(loud)), loud) > 80.0


def test_mel_keeps_the_magnitudes_of_low_partials() -> None:
    frontend = GANSynthPicture()
    back = frontend.inverse(frontend(NOTE))
    before, after = torch.fft.rfft(NOTE[0]).abs(), torch.fft.rfft(back[0]).abs()
    at = [round(441.0 * k * 4) for k in (1, 2, 3)]
    for bin_number in at:
        near = slice(bin_number - 8, bin_number + 9)
        ratio = float(after[near].square().sum() / before[near].square().sum())
        assert 0.3 < ratio < 1.5


def test_first_sample_has_a_frame_of_its_own() -> None:
    click = torch.zeros(1, 64_000, dtype=torch.float64)
    click[0, 0] = 1.0
    level = GANSynthPicture(EXACT)(click)[0, 0].mean(0)
    assert (level > -0.7).nonzero()[:, 0].tolist() == [3, 4, 5]


def test_end_does_not_blow_up() -> None:
    frontend = GANSynthPicture()
    back = frontend.inverse(frontend(NOTE.flip(1)))
    assert float(back[:, -64:].abs().max()) < 2.0 * float(NOTE.abs().max())


def test_pictures_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        GANSynthConfig(n_samples=80_000)
    with pytest.raises(ValueError, match="waveform must have shape"):
        GANSynthPicture()(torch.zeros(1, 100))
    with pytest.raises(ValueError, match="picture must have shape"):
        GANSynthPicture().inverse(torch.zeros(1, 2, 3, 4))


def test_rows_do_not_depend_on_each_other() -> None:
    frontend = GANSynthPicture(dtype=torch.float32)
    both = frontend(torch.cat([NOTE, NOTE.flip(1)]))
    torch.testing.assert_close(both[1:], frontend(NOTE.flip(1)), atol=1e-4, rtol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_devices_agree() -> None:
    ours, theirs = GANSynthPicture(EXACT)(NOTE), GANSynthPicture(EXACT).cuda()(NOTE.cuda()).cpu()
    torch.testing.assert_close(ours[:, 0], theirs[:, 0], atol=1e-6, rtol=0)
