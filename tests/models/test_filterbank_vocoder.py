import dataclasses
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from models import filterbank_vocoder
from models.errors import CheckpointError, InputError
from models.filterbank_vocoder import (
    RECIPE,
    Discriminator,
    FilterBank,
    FilterBankConfig,
    FilterBankSystem,
    Generator,
    Judgement,
    morlet_bank,
    plain_forward,
)
from models.frontends.band_split import split_bands
from models.frontends.mel import log_mel
from models.vocoder import vocoder_frontend
from tests.models.vocoder_checks import RATE_HZ, task, train, waveforms, write_checkpoint

SMALL = FilterBankConfig(n_mels=20, channels=8, mel_centre=-2.0, mel_range=1.5, weight_std=0.04)


def seeded() -> Generator:
    torch.manual_seed(1)
    return Generator(SMALL).train(False)


def mels(rows: int, frames: int) -> torch.Tensor:
    return torch.randn(rows, 20, frames, generator=torch.Generator().manual_seed(2)) - 2.0


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("filterbank"), "filterbank", SMALL, seeded().state_dict())


@pytest.fixture(scope="module")
def system(folder: Path) -> FilterBankSystem:
    return FilterBankSystem(checkpoint=folder, level_rounds=0)


def test_published_size() -> None:
    generator, judges = Generator(FilterBankConfig()), Discriminator(FilterBankConfig())
    assert [count(band) for band in generator.bands] == [639_104, 573_568, 508_032, 442_496, 376_960]
    assert count(generator) == 2_540_160
    assert [count(band) for band in judges.bands] == 5 * [656_641]
    assert count(judges.fusion) == 2_755_585
    assert count(judges) == 6_038_790


def test_filters_are_not_learned_and_not_shipped() -> None:
    generator = seeded()
    assert not any("bank" in name for name in generator.state_dict())
    assert all(not buffer.requires_grad for buffer in generator.buffers())


@pytest.mark.parametrize("low", [0.0, 0.5])
def test_filters_lie_where_they_should(low: float) -> None:
    bank = morlet_bank(low)
    assert torch.allclose(bank.square().sum(1), torch.ones(128, dtype=torch.float64))
    peaks = torch.fft.rfft(bank, n=4096).abs().argmax(1) / 2048
    expected = low + (1 - low) * (torch.arange(128) + 0.5) / 128
    # A filter of 128 taps resolves a sixty-fourth of the range at best; mirror images shift those at the ends.
    assert float((peaks - expected)[4:-4].abs().max()) < 0.01


def test_blockwise_bank_is_a_convolution() -> None:
    bank, x = FilterBank(0.5), torch.randn(2, 96)
    filters = bank.filters[:, None]
    analysed = nn.functional.conv1d(x[:, None], filters, padding=64)[:, :, :96]
    assert torch.allclose(bank.analyse(x)[:, :, 0], analysed, atol=1e-5)
    maps = torch.randn(2, 128, 96)
    made = nn.functional.conv_transpose1d(nn.functional.pad(maps, (0, 1)), filters, padding=64)[:, 0]
    assert torch.allclose(bank.synthesise(maps[:, :, None]), made, atol=1e-4)


def test_quick_way_agrees_with_the_published_layers() -> None:
    generator, mel = seeded(), mels(2, 12)
    with torch.no_grad():
        expected = plain_forward(generator, mel)
        assert torch.allclose(generator(mel), expected, atol=1e-5 * float(expected.abs().max()))


def test_shapes() -> None:
    bands = seeded().make_bands(mels(2, 32))
    assert [tuple(b.shape) for b in bands] == [(2, 8192 >> i) for i in range(5)]
    judged = Discriminator(SMALL)(bands, mels(2, 32))
    assert [len(group) for group in judged.maps] == [7, 7, 7, 7, 7, 3]
    assert [tuple(s.shape) for s in judged.scores] == 6 * [(2, 1, 1, 32)]


def test_frames_lie_under_their_samples() -> None:
    # The published front end was 384 samples early; here a click is loudest in the frame that it falls into.
    x = torch.zeros(1, 8192)
    x[0, 256 * 16 + 128] = 1.0
    assert int(log_mel(x, vocoder_frontend(128))[0].sum(0).argmax()) == 16


def test_losses_are_the_published_ones() -> None:
    def judgement(bands: float, fusion: float, score: float) -> Judgement:
        maps = [[torch.full((1, 2, 1, 4), bands)] * 7] * 5 + [[torch.full((1, 2, 1, 4), fusion)] * 3]
        return Judgement(maps, [torch.full((1, 1, 1, 4), score)] * 6)

    real, fake = judgement(1.0, 1.0, 0.5), judgement(0.0, 4.0, 0.2)
    assert float(filterbank_vocoder.discriminator_loss(real, fake)) == pytest.approx(6 * 0.5 * (0.25 + 0.04))
    assert float(filterbank_vocoder.generator_loss(fake)) == pytest.approx(6 * 0.5 * 0.64)
    assert float(filterbank_vocoder.feature_loss(real, fake)) == pytest.approx((5 * 1.0 + 3.0) / 6)


def test_a_few_steps_learn_a_batch() -> None:
    made = task(
        RECIPE,
        n_mels=40,
        channels=8,
        batch_size=2,
        segment_samples=2048,
        gain_low=1.0,
        adversarial_from=9,
    )
    reports = train(made, 10, 3e-3)
    assert reports[8]["spectral"] < 0.8 * reports[0]["spectral"]
    assert set(reports[9]) == {"loss", "spectral", "discriminator", "scores", "features"}
    assert math.isfinite(made.validate()["spectral"])


def test_export_fits_the_system(tmp_path: Path) -> None:
    made = task(RECIPE, n_mels=20, channels=8, adversarial_from=-1)
    half = {k: v.half() if v.ndim > 1 else v for k, v in made.export().items()}
    config = made.context.config  # type: ignore[attr-defined]  # a vocoder's task has it
    loaded = FilterBankSystem(checkpoint=write_checkpoint(tmp_path, "filterbank", config, half))
    assert loaded.parameters == count(seeded())


@pytest.mark.parametrize("samples", [1, 4097])
def test_any_length_comes_back(system: FilterBankSystem, samples: int) -> None:
    x = waveforms(samples)
    assert system.reconstruct(x, sample_rate_hz=RATE_HZ, seeds=[0, 1, 2]).shape == x.shape


def test_a_row_does_not_depend_on_the_others(system: FilterBankSystem) -> None:
    x = waveforms(3000)
    together = system.reconstruct(x, sample_rate_hz=RATE_HZ, seeds=[0, 1, 2])
    for i in range(3):
        assert torch.equal(system.reconstruct(x[i : i + 1], sample_rate_hz=RATE_HZ, seeds=[7]), together[i : i + 1])


def test_blocks_come_out_as_the_whole(system: FilterBankSystem) -> None:
    mel = mels(1, 40)
    whole = system.vocode(mel)
    streamed = torch.cat(list(system.stream(mel.split((12, 20, 8), 2))), 1)
    assert whole.shape == (1, 40 * 256)
    assert float((streamed - whole).abs().max()) < 1e-5 * float(whole.abs().max())


def test_precision_and_plain_way(folder: Path, system: FilterBankSystem) -> None:
    mel = mels(1, 8)
    whole = system.vocode(mel)
    plain = FilterBankSystem(checkpoint=folder, fast=False, level_rounds=0).vocode(mel)
    half = FilterBankSystem(checkpoint=folder, precision="bfloat16", level_rounds=0).vocode(mel)
    assert torch.allclose(plain, whole, atol=1e-5 * float(whole.abs().max()))
    assert float((half - whole).square().mean()) < 0.03**2 * float(whole.square().mean())


def test_bad_input_is_refused(system: FilterBankSystem) -> None:
    with pytest.raises(InputError, match="mel must have shape"):
        system.vocode(torch.zeros(1, 21, 8))
    with pytest.raises(InputError, match="not finite"):
        system.reconstruct(torch.full((1, 100), float("nan")), sample_rate_hz=RATE_HZ, seeds=[0])


def test_another_front_end_is_refused(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, "filterbank", SMALL, seeded().state_dict(), frontend={"sha256": "0" * 64})
    with pytest.raises(CheckpointError, match=r"frontend\.sha256"):
        FilterBankSystem(checkpoint=folder)


def test_published_bands_are_an_option() -> None:
    config = dataclasses.replace(SMALL, exact_bands=False)
    assert not config.split.exact
    assert [b.shape[1] for b in split_bands(torch.zeros(1, 64), config.split)] == [64, 32, 16, 8, 4]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_devices_agree(system: FilterBankSystem, folder: Path) -> None:
    mel = mels(2, 20)
    whole = system.vocode(mel)
    there = FilterBankSystem(checkpoint=folder, device="cuda", level_rounds=0).vocode(mel)
    assert float((there - whole).abs().max()) < 1e-3 * float(whole.abs().max())
