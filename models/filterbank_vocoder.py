"""Multiscale filter-bank vocoder: five octave bands, each made at its own rate through a frozen bank of filters."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from models.checkpoint import load_weights
from models.frontends.band_split import BandSplitConfig, join_bands, join_locally, split_bands
from models.layers import time_conv
from models.training.vocoder_task import VocoderRecipe, VocoderTask, VocoderTraining
from models.vocoder import MelVocoder, VocoderConfig, vocoder_frontend

SLOPE = 0.2
# Upsampling of each band from frames to samples, the highest band first.
RATES = ((4, 4, 4, 4), (4, 4, 4, 2), (4, 4, 2, 2), (4, 2, 2, 2), (2, 2, 2, 2))
FILTERS = 128
TAPS = 128
_BLOCK = 16
# Frames on either side of a sample that it depends on: 9 in its band, 8 through the filters between the bands.
CONTEXT_FRAMES = 17


@dataclasses.dataclass(frozen=True)
class FilterBankConfig(VocoderConfig):
    """Size of generator and discriminator.

    Attributes:
        exact_bands: Whether the bands are cut so that their sum is the waveform; the published cut counts the bins
            between two bands twice and scales every band differently.
        channels: Width of the band discriminators; that of the fusion is four times it. Published: 128.
        weight_std: Standard deviation of the first weights. Published: 0.02.
    """

    exact_bands: bool = True
    channels: int = 128
    weight_std: float = 0.02

    def __post_init__(self) -> None:
        if self.n_mels < 1 or self.channels < 1 or self.weight_std <= 0:
            raise ValueError("n_mels and channels must be at least 1, weight_std above 0")

    @property
    def split(self) -> BandSplitConfig:
        """How waveforms are cut into bands."""
        return BandSplitConfig(len(RATES), self.exact_bands)


@functools.lru_cache(maxsize=4)
def morlet_bank(low: float) -> Tensor:
    """Real parts of Morlet wavelets ``(128, 128)``, unit norm, float64; do not write into them.

    Centre frequencies are spaced evenly from ``low`` to 1, in units of half the sample rate. The envelope is so wide
    that it only falls to 0.952 at the ends.

    Args:
        low: 0.5 for an octave below half the rate, 0 for all frequencies.

    Source:
        Vinyard, "zounds", 2020.
    """
    width = 0.05
    step = (1.0 - low) / FILTERS
    centres = low + step * (torch.arange(FILTERS, dtype=torch.float64) + 0.5)
    place = torch.linspace(-1.0, 1.0, TAPS, dtype=torch.float64) * (2.0 * math.pi * width)
    frequency = centres * TAPS / (4.0 * width)
    # The second term takes the mean out of slow wavelets.
    wave = torch.cos(frequency[:, None] * place) - torch.exp(-0.5 * frequency.square())[:, None]
    bank = wave * torch.exp(-0.5 * place.square())
    return bank / bank.square().sum(1, keepdim=True).sqrt()


class FilterBank(nn.Module):
    """A frozen bank of filters, as analysis and as synthesis.

    Both are computed on blocks of samples, as products of matrices; the numbers are those of a convolution and of a
    transposed convolution with padding 64, of which the last sample is left out.

    Args:
        low: See `morlet_bank`.
    """

    filters: Tensor
    analysis: Tensor
    synthesis: Tensor

    def __init__(self, low: float) -> None:
        super().__init__()
        bank = morlet_bank(low)
        span = TAPS + _BLOCK
        toeplitz = torch.zeros(_BLOCK, FILTERS, span, dtype=torch.float64)
        backwards = torch.zeros(_BLOCK, span, FILTERS, dtype=torch.float64)
        for j in range(_BLOCK):
            toeplitz[j, :, j : j + TAPS] = bank
            backwards[j, j + 1 : j + TAPS + 1] = bank.flip(1).T
        blocks = span // _BLOCK
        analysis = toeplitz.reshape(_BLOCK * FILTERS, blocks, _BLOCK).transpose(1, 2)[:, :, None]
        synthesis = backwards.reshape(_BLOCK, blocks, _BLOCK * FILTERS).transpose(1, 2)[:, :, None]
        self.register_buffer("filters", bank.float(), persistent=False)
        self.register_buffer("analysis", analysis.float().contiguous(), persistent=False)
        self.register_buffer("synthesis", synthesis.float().contiguous(), persistent=False)

    def analyse(self, waveform: Tensor) -> Tensor:
        """Filtered copies ``(batch, 128, 1, time)`` of a waveform ``(batch, time)``, time a multiple of 16."""
        batch, time = waveform.shape
        padded = nn.functional.pad(waveform, (TAPS // 2, TAPS // 2))
        blocks = padded.reshape(batch, -1, 1, _BLOCK).permute(0, 3, 2, 1)
        out = nn.functional.conv2d(blocks, self.analysis.to(waveform.dtype))
        return out.permute(0, 2, 3, 1).reshape(batch, 1, time, FILTERS).permute(0, 3, 1, 2)

    def synthesise(self, maps: Tensor) -> Tensor:
        """Waveform ``(batch, time)``, the sum of maps ``(batch, 128, 1, time)`` each through its filter."""
        batch, _, _, time = maps.shape
        rows = nn.functional.pad(maps.permute(0, 2, 3, 1), (0, 0, TAPS // 2, TAPS // 2))
        blocks = rows.reshape(batch, 1, -1, _BLOCK * FILTERS).permute(0, 3, 1, 2)
        out = nn.functional.conv2d(blocks, self.synthesis.to(maps.dtype))
        return out.permute(0, 2, 3, 1).reshape(batch, time)


class BandGenerator(nn.Module):
    """Mel to one band: a convolution, four transposed convolutions, the filter bank.

    Args:
        n_mels: Bands of the mel.
        rates: Upsampling of the four.
        low: See `morlet_bank`.
    """

    def __init__(self, n_mels: int, rates: Sequence[int], low: float) -> None:
        super().__init__()
        self.rates = tuple(rates)
        self.input = nn.Conv1d(n_mels, FILTERS, 7, padding=3)
        self.ups = nn.ModuleList(
            nn.ConvTranspose1d(FILTERS, FILTERS, 2 * rate, stride=rate, padding=rate // 2, bias=False) for rate in rates
        )
        self.bank = FilterBank(low)

    def forward(self, mel: Tensor) -> Tensor:
        """Band ``(batch, time)`` of a scaled log-mel ``(batch, n_mels, 1, frames)``."""
        assert isinstance(self.input, nn.Conv1d)
        x = leaky_relu(time_conv.conv(mel, self.input.weight, self.input.bias, padding=3), SLOPE)
        for up, rate in zip(self.ups, self.rates, strict=True):
            assert isinstance(up, nn.ConvTranspose1d)
            x = leaky_relu(time_conv.upsample(x, up.weight, None, rate), SLOPE)
        return self.bank.synthesise(x)

    def plain(self, mel: Tensor) -> Tensor:
        """The same from ``(batch, n_mels, frames)`` by the convolutions as they are published, for comparison."""
        x = leaky_relu(self.input(mel), SLOPE)
        for up in self.ups:
            x = leaky_relu(up(x), SLOPE)
        filters = self.bank.filters[:, None].to(x.dtype)
        x = nn.functional.conv_transpose1d(nn.functional.pad(x, (0, 1)), filters, padding=TAPS // 2)
        return x[:, 0]


class Generator(nn.Module):
    """Log-mel spectrum to five bands and their sum, 256 samples a frame; 2,540,160 learned parameters at 128 mels.

    Args:
        config: Sizes.

    Source:
        Vinyard, "music-synthesis", 2020.
    """

    def __init__(self, config: FilterBankConfig) -> None:
        super().__init__()
        self.config = config
        self.bands = nn.ModuleList(BandGenerator(config.n_mels, rates, _low(i)) for i, rates in enumerate(RATES))
        _initialise(self, config.weight_std)

    def make_bands(self, mel: Tensor) -> list[Tensor]:
        """Bands ``(batch, frames * 256 / 2**i)``, the highest first, of a log-mel ``(batch, n_mels, frames)``."""
        x = time_conv.to_picture((mel - self.config.mel_centre) / self.config.mel_range)
        return [band(x).float() for band in self.bands]

    def forward(self, mel: Tensor) -> Tensor:
        """Waveform ``(batch, frames * 256)``."""
        return join_bands(self.make_bands(mel), self.config.split)


def plain_bands(generator: Generator, mel: Tensor) -> list[Tensor]:
    """Bands as `Generator.make_bands` gives them, by the convolutions as they are published."""
    x = (mel - generator.config.mel_centre) / generator.config.mel_range
    return [band.plain(x) for band in generator.bands if isinstance(band, BandGenerator)]


def plain_forward(generator: Generator, mel: Tensor) -> Tensor:
    """Waveform as `Generator` gives it, by the convolutions as they are published: what a speed-up is measured
    against.
    """
    return join_bands(plain_bands(generator, mel), generator.config.split)


def _low(band: int) -> float:
    return 0.0 if band == len(RATES) - 1 else 0.5


def _initialise(module: nn.Module, std: float) -> None:
    for part in module.modules():
        if isinstance(part, nn.Conv1d | nn.ConvTranspose1d):
            nn.init.normal_(part.weight, std=std)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


class BandDiscriminator(nn.Module):
    """Judge of one band that hears it through the filter bank and sees the mel.

    Args:
        n_mels: Bands of the mel.
        channels: Width.
        strides: Steps of the four convolutions down to frames.
        low: See `morlet_bank`.
    """

    def __init__(self, n_mels: int, channels: int, strides: Sequence[int], low: float) -> None:
        super().__init__()
        self.bank = FilterBank(low)
        self.strides = tuple(strides)
        widths = [FILTERS, *[channels] * len(self.strides)]
        self.down = nn.ModuleList(
            nn.Conv1d(a, b, 7, stride=s, padding=3)
            for a, b, s in zip(widths[:-1], widths[1:], self.strides, strict=True)
        )
        self.judge = Judge(channels + n_mels, channels)

    def forward(self, band: Tensor, mel: Tensor) -> tuple[list[Tensor], Tensor]:
        """Seven hidden maps, of which the last has ``channels`` channels and one column a frame, and the scores.

        Args:
            band: Shape ``(batch, time)``.
            mel: Scaled log-mel ``(batch, n_mels, 1, frames)``.
        """
        x = self.bank.analyse(band)
        maps = []
        for layer, stride in zip(self.down, self.strides, strict=True):
            assert isinstance(layer, nn.Conv1d)
            x = leaky_relu(time_conv.conv(x, layer.weight, layer.bias, stride=stride, padding=3), SLOPE)
            maps.append(x)
        more, scores = self.judge(torch.cat([x, mel.to(x.dtype)], 1))
        return [*maps, *more], scores


class Judge(nn.Module):
    """Three convolutions and a score for every column.

    Args:
        n_in: Channels that come in.
        channels: Width.
    """

    def __init__(self, n_in: int, channels: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv1d(n, channels, 3, padding=1) for n in (n_in, channels, channels))
        self.score = nn.Conv1d(channels, 1, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Three hidden maps and the scores, of ``(batch, n_in, 1, frames)``."""
        maps = []
        for layer in self.layers:
            assert isinstance(layer, nn.Conv1d)
            x = leaky_relu(time_conv.conv(x, layer.weight, layer.bias, padding=1), SLOPE)
            maps.append(x)
        return maps, time_conv.conv(x, self.score.weight, self.score.bias, padding=1)


@dataclasses.dataclass(frozen=True)
class Judgement:
    """What a discriminator says of one signal.

    Attributes:
        maps: Hidden maps in groups: one group a band, the last of the fusion.
        scores: One tensor a group.
    """

    maps: list[list[Tensor]]
    scores: list[Tensor]


class Discriminator(nn.Module):
    """Five band discriminators and one that sees all their last maps and the mel: six judgements.

    At the published width 6,038,790 learned parameters, 5 x 656,641 and 2,755,585.

    Args:
        config: Sizes.
    """

    def __init__(self, config: FilterBankConfig) -> None:
        super().__init__()
        self.config = config
        c, n = config.channels, config.n_mels
        self.bands = nn.ModuleList(BandDiscriminator(n, c, rates, _low(i)) for i, rates in enumerate(RATES))
        self.fusion = Judge(len(RATES) * c + n, 4 * c)
        _initialise(self, config.weight_std)

    def forward(self, bands: Sequence[Tensor], mel: Tensor) -> Judgement:
        """Judgement of bands ``(batch, time / 2**i)`` under a log-mel ``(batch, n_mels, frames)``."""
        condition = time_conv.to_picture((mel - self.config.mel_centre) / self.config.mel_range)
        groups, scores = [], []
        for judge, band in zip(self.bands, bands, strict=True):
            maps, score = judge(band, condition)
            groups.append(maps)
            scores.append(score)
        last = [maps[-1] for maps in groups]
        maps, score = self.fusion(torch.cat([*last, condition.to(last[0].dtype)], 1))
        return Judgement([*groups, maps], [*scores, score])


def discriminator_loss(real: Judgement, fake: Judgement) -> Tensor:
    """Half the squared distances of the scores from 1 and 0, summed over the judgements."""
    terms = [
        0.5 * ((r.float() - 1.0).square().mean() + f.float().square().mean())
        for r, f in zip(real.scores, fake.scores, strict=True)
    ]
    return torch.stack(terms).sum()


def generator_loss(fake: Judgement) -> Tensor:
    """Half the squared distances of the scores from 1, summed over the judgements."""
    return torch.stack([0.5 * (f.float() - 1.0).square().mean() for f in fake.scores]).sum()


def feature_loss(real: Judgement, fake: Judgement) -> Tensor:
    """Feature matching: mean absolute difference of the hidden maps, mean over a group's layers, then over groups."""
    groups = [
        torch.stack(
            [nn.functional.l1_loss(f.float(), r.detach().float()) for r, f in zip(reals, fakes, strict=True)]
        ).mean()
        for reals, fakes in zip(real.maps, fake.maps, strict=True)
    ]
    return torch.stack(groups).mean()


class FilterBankTask(VocoderTask):
    """Training of the filter-bank vocoder, see `VocoderTask`."""

    generator: Generator
    discriminator: Discriminator

    def build(self, config: FilterBankConfig) -> tuple[nn.Module, nn.Module]:
        """Generator and discriminator."""
        return Generator(config), Discriminator(config)

    def make(self, mel: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Waveform and bands."""
        bands = self.generator.make_bands(mel)
        return join_bands(bands, self.generator.config.split), bands

    def prepare(self, waveform: Tensor) -> list[Tensor]:
        """The waveform's bands."""
        return split_bands(waveform, self.generator.config.split)

    def detached(self, prepared: list[Tensor]) -> list[Tensor]:
        """The bands without their history."""
        return [band.detach() for band in prepared]

    def adversarial(self, kind: str, real: Judgement, fake: Judgement) -> Tensor:
        """Least-squares losses and feature matching."""
        if kind == "discriminator":
            return discriminator_loss(real, fake)
        return generator_loss(fake) if kind == "scores" else feature_loss(real, fake)

    def export(self) -> dict[str, Tensor]:
        """The learned weights of the generator."""
        return self.generator.state_dict()

    def initialise(self, tensors: Mapping[str, Tensor]) -> None:
        """Start the generator from shipped weights.

        Raises:
            CheckpointError: If they are of another size.
        """
        try:
            self.generator.load_state_dict(tensors)
        except RuntimeError as error:
            raise self.unfit(error) from None


class FilterBankSystem(MelVocoder):
    """The filter-bank vocoder between its front end and clips at 22,050 Hz; see `MelVocoder`.

    Differs from the published system: frames are mirrored at both ends as MelGAN's are, where the published ones were
    1.5 frames early for want of padding on the left; the bands add up to the waveform (`FilterBankConfig.exact_bands`);
    the recipe has a loss of the recomposed signal and narrower discriminators.

    In training the bands are put together by one transform of a segment; here by filters of finite length, so that a
    sample depends on `CONTEXT_FRAMES` frames on either side and a clip can be vocoded block by block.
    """

    name = "filterbank"
    title = "Filter-bank vocoder"
    config_class = FilterBankConfig
    context_frames = CONTEXT_FRAMES

    def build(self, tensors: Mapping[str, Tensor], folder: Path) -> int:
        """The generator."""
        assert isinstance(self.config, FilterBankConfig)
        self.generator = Generator(self.config)
        load_weights(self.generator, tensors, folder)
        self.generator.to(self.device).requires_grad_(False).train(False)
        return sum(p.numel() for p in self.generator.parameters())

    def generate(self, mel: Tensor) -> Tensor:
        """Waveform of a log-mel."""
        if self.fast:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
                bands = self.generator.make_bands(mel)
        else:
            bands = plain_bands(self.generator, mel)
        return join_locally(bands, self.generator.config.split)


RECIPE = VocoderRecipe(
    config=FilterBankConfig(channels=64, mel_centre=-2.0, mel_range=1.5, weight_std=0.04),
    frontend=vocoder_frontend(128),
    settings=VocoderTraining(
        batch_size=4,
        learning_rate=1e-3,
        warmup_steps=100,
        spectral_weight=1.0,
        adversarial_from=20_000,
        beta1=0.8,
        beta2=0.99,
        schedule="cosine",
        clip_norm=5.0,
    ),
    sample_rate_hz=22_050,
    clip_s=10.0,
    task=FilterBankTask,
)
