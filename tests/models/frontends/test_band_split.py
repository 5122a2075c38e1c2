import math

import pytest
import torch

from models.frontends.band_split import REACH_SAMPLES, BandSplitConfig, join_bands, join_locally, split_bands

EXACT, PUBLISHED = BandSplitConfig(), BandSplitConfig(exact=False)


def white(rows: int, samples: int) -> torch.Tensor:
    return torch.randn(rows, samples, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def error_db(x: torch.Tensor, y: torch.Tensor) -> float:
    return 10.0 * math.log10(float(x.square().sum() / (x - y).square().sum()))


def test_bands_are_octaves() -> None:
    assert [b.shape[1] for b in split_bands(torch.zeros(2, 8192), EXACT)] == [8192, 4096, 2048, 1024, 512]


@pytest.mark.parametrize("samples", [1, 31, 32, 8192, 10_001])
def test_exact_bands_add_up_at_any_length(samples: int) -> None:
    x = white(2, samples)
    assert error_db(x, join_bands(split_bands(x, EXACT), EXACT, length=samples)) > 200


def test_published_bands_count_edges_twice() -> None:
    x = white(64, 8192)
    y = join_bands(split_bands(x, PUBLISHED), PUBLISHED)
    # Four of 4,097 bins gain the real half of their own value.
    assert error_db(x, y) == pytest.approx(10 * math.log10(4096 / 2), abs=1.0)
    wrong = torch.fft.rfft(x - y).abs() > 1e-9
    assert torch.nonzero(wrong.any(0))[:, 0].tolist() == [256, 512, 1024, 2048]


def test_a_tone_lies_in_one_band() -> None:
    x = torch.sin(2 * math.pi * 371 * torch.arange(8192, dtype=torch.float64) / 8192)[None]
    energies = [float(b.square().mean()) for b in split_bands(x, EXACT)]
    assert energies == pytest.approx([0.0, 0.0, 0.0, 0.5, 0.0], abs=1e-12)


@pytest.mark.parametrize(("config", "growth"), [(EXACT, 1.0), (PUBLISHED, 4.0)])
def test_level_of_a_low_tone(config: BandSplitConfig, growth: float) -> None:
    x = torch.sin(2 * math.pi * 40 * torch.arange(8192, dtype=torch.float64) / 8192)[None]
    lowest = split_bands(x, config)[-1]
    assert float(lowest.square().mean().sqrt()) == pytest.approx(growth * math.sqrt(0.5), rel=1e-6)


def test_joining_is_linear_and_differentiable() -> None:
    bands = [b.requires_grad_() for b in split_bands(white(1, 128), EXACT)]
    join_bands(bands, EXACT).square().sum().backward()
    assert all(b.grad is not None and bool(b.grad.abs().sum() > 0) for b in bands)


@pytest.mark.parametrize("config", [EXACT, PUBLISHED])
@pytest.mark.parametrize("bin_number", [40, 371, 700, 1500, 3000])
def test_joining_locally_gives_tones_back(config: BandSplitConfig, bin_number: int) -> None:
    x = torch.sin(2 * math.pi * bin_number * torch.arange(8192, dtype=torch.float64) / 8192)[None]
    y = join_locally(split_bands(x, config), config)
    inside = slice(REACH_SAMPLES, -REACH_SAMPLES)
    assert error_db(x[:, inside], y[:, inside]) > 70


def test_joining_locally_is_local() -> None:
    bands = [white(1, 12_288 >> i) for i in range(5)]
    changed = [band.clone() for band in bands]
    for i, band in enumerate(changed):
        band[:, 6144 >> i] += 1.0
    differs = torch.nonzero((join_locally(changed, EXACT) - join_locally(bands, EXACT))[0].abs() > 1e-12)[:, 0]
    assert 6144 - REACH_SAMPLES <= int(differs.min()) < 6144 < int(differs.max()) <= 6144 + REACH_SAMPLES


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="waveform must have shape"):
        split_bands(torch.zeros(8), EXACT)
    with pytest.raises(ValueError, match="need 5 bands"):
        join_bands(split_bands(torch.zeros(1, 64), EXACT)[:4], EXACT)
    with pytest.raises(ValueError, match="bands must be"):
        BandSplitConfig(bands=0)


def test_settings_have_hashes() -> None:
    assert EXACT.sha256() != PUBLISHED.sha256()
