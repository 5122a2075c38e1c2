"""MelGAN: a fully convolutional vocoder from log-mel spectra, its discriminators and its training."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import is_parametrized

from models.checkpoint import load_weights
from models.layers import time_conv
from models.training.vocoder_task import VocoderRecipe, VocoderTask, VocoderTraining
from models.vocoder import HOP_SAMPLES, PRECISIONS, MelVocoder, VocoderConfig, vocoder_frontend

SLOPE = 0.2
RATES = (8, 8, 2, 2)
DILATIONS = (1, 3, 9)
# Frames on either side of a sample that it depends on.
CONTEXT_FRAMES = 6


@dataclasses.dataclass(frozen=True)
class MelGANConfig(VocoderConfig):
    """Size of generator and discriminators.

    Attributes:
        base_channels: Width of the generator before its output; the first layer has 16 times as many. Published: 32.
        conditioned: Whether the discriminators see the mel, beside their map at the rate nearest its own.
        discriminator_base: Width of the first layer of a discriminator. Published: 16.
        discriminator_channels: Greatest width of a discriminator. Published: 1,024.
        discriminator_scales: Discriminators, each at half the rate of the one before. Published: 3.
    """

    base_channels: int = 32
    conditioned: bool = False
    discriminator_base: int = 16
    discriminator_channels: int = 1024
    discriminator_scales: int = 3

    def __post_init__(self) -> None:
        for name in ("n_mels", "base_channels", "discriminator_scales"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("discriminator_base", "discriminator_channels"):
            value = getattr(self, name)
            if value < 4 or value % 4:
                raise ValueError(f"{name} must be a multiple of 4, got {value}")


def _conv(normed: bool, *sizes: int, **options: int) -> nn.Conv1d:
    conv = nn.Conv1d(*sizes, **options)  # type: ignore[arg-type]  # sizes and options are all whole numbers
    return weight_norm(conv) if normed else conv


def plain_forward(generator: Generator, mel: Tensor) -> Tensor:
    """Waveform of a log-mel as `Generator` gives it, by the layers as they are published: what a speed-up is measured
    against.
    """
    x = nn.functional.pad(generator.scaled(mel), (3, 3), mode="reflect")
    x = generator.input(x)
    for stage in generator.stages:
        assert isinstance(stage, Stage)
        x = stage.plain(x)
    x = nn.functional.pad(leaky_relu(x, SLOPE), (3, 3), mode="reflect")
    return torch.tanh(generator.output(x))[:, 0]


class ResidualBlock(nn.Module):
    """Dilated convolution and pointwise convolution beside a pointwise shortcut.

    Args:
        channels: Width.
        dilation: Distance of the three taps; the signal is mirrored by as much at both ends.
        normed: Whether weights are normalised.
    """

    def __init__(self, channels: int, dilation: int, *, normed: bool) -> None:
        super().__init__()
        self.dilation = dilation
        self.dilated = _conv(normed, channels, channels, 3, dilation=dilation)
        self.pointwise = _conv(normed, channels, channels, 1)
        self.shortcut = _conv(normed, channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Signal of the same shape ``(batch, channels, 1, time)``."""
        d = self.dilation
        h = time_conv.reflect(leaky_relu(x, SLOPE), d)
        h = time_conv.conv(h, self.dilated.weight, self.dilated.bias, dilation=d)
        h = time_conv.conv(leaky_relu(h, SLOPE), self.pointwise.weight, self.pointwise.bias)
        return time_conv.conv(x, self.shortcut.weight, self.shortcut.bias) + h

    def plain(self, x: Tensor) -> Tensor:
        """The same of ``(batch, channels, time)``, layer by layer as published."""
        h = nn.functional.pad(leaky_relu(x, SLOPE), (self.dilation, self.dilation), mode="reflect")
        out: Tensor = self.shortcut(x) + self.pointwise(leaky_relu(self.dilated(h), SLOPE))
        return out


class Stage(nn.Module):
    """Transposed convolution and three residual blocks.

    Args:
        n_in: Channels that come in; half as many go out.
        rate: Samples made of one.
        normed: Whether weights are normalised.
    """

    def __init__(self, n_in: int, rate: int, *, normed: bool) -> None:
        super().__init__()
        padding, extra = rate // 2 + rate % 2, rate % 2
        up = nn.ConvTranspose1d(n_in, n_in // 2, 2 * rate, stride=rate, padding=padding, output_padding=extra)
        self.rate = rate
        self.up: nn.ConvTranspose1d = weight_norm(up) if normed else up
        self.blocks = nn.ModuleList(ResidualBlock(n_in // 2, d, normed=normed) for d in DILATIONS)

    def forward(self, x: Tensor) -> Tensor:
        """Signal ``(batch, channels / 2, 1, time * rate)``."""
        x = time_conv.upsample(leaky_relu(x, SLOPE), self.up.weight, self.up.bias, self.rate)
        for block in self.blocks:
            x = block(x)
        return x

    def plain(self, x: Tensor) -> Tensor:
        """The same of ``(batch, channels, time)``, layer by layer as published."""
        x = self.up(leaky_relu(x, SLOPE))
        for block in self.blocks:
            assert isinstance(block, ResidualBlock)
            x = block.plain(x)
        return x


class Generator(nn.Module):
    """Log-mel spectrum to waveform, 256 samples a frame.

    With 80 mels and the published width it has 4,266,050 parameters, 4,260,257 without weight norm; with 128 mels
    4,438,082 and 4,432,289. A sample depends on at most 6 frames on either side of its own (`CONTEXT_FRAMES`).

    What is first drawn stands: the published code draws weights from N(0, 0.02) after weight norm was applied, but
    weight norm rebuilds the weights from gain and direction at every call, so that the draw has no effect and the
    framework's own initialisation, used here, is the real one.

    Args:
        config: Sizes.
        normed: Whether weights are normalised, as in training; shipped weights are plain.

    Source:
        Kumar et al., "MelGAN: Generative Adversarial Networks for Conditional Waveform Synthesis", NeurIPS 2019.
    """

    def __init__(self, config: MelGANConfig, *, normed: bool = False) -> None:
        super().__init__()
        self.config = config
        widths = [config.base_channels * 2**i for i in range(len(RATES), -1, -1)]
        self.input = _conv(normed, config.n_mels, widths[0], 7)
        self.stages = nn.ModuleList(Stage(n, rate, normed=normed) for n, rate in zip(widths, RATES, strict=False))
        self.output = _conv(normed, widths[-1], 1, 7)

    def forward(self, mel: Tensor) -> Tensor:
        """Waveform ``(batch, frames * 256)`` of a log-mel ``(batch, n_mels, frames >= 4)``."""
        x = time_conv.reflect(time_conv.to_picture(self.scaled(mel)), 3)
        x = time_conv.conv(x, self.input.weight, self.input.bias)
        for stage in self.stages:
            x = stage(x)
        x = time_conv.conv(time_conv.reflect(leaky_relu(x, SLOPE), 3), self.output.weight, self.output.bias)
        return torch.tanh(x.float())[:, 0, 0]

    def scaled(self, mel: Tensor) -> Tensor:
        """The mel as the network sees it."""
        return (mel - self.config.mel_centre) / self.config.mel_range

    def plain_state(self) -> dict[str, Tensor]:
        """State of the same network without weight norm."""
        state: dict[str, Tensor] = {}
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
                assert module.bias is not None
                state[f"{name}.weight"] = module.weight.detach().clone()
                state[f"{name}.bias"] = module.bias.detach().clone()
        return state

    def load_plain_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over weights without weight norm; gains and directions follow from them.

        Raises:
            RuntimeError: If names or shapes differ.
        """
        wanted = self.plain_state()
        if set(wanted) != set(state):
            raise RuntimeError(f"other tensors than this network's: {sorted(set(wanted) ^ set(state))[:3]}")
        with torch.no_grad():
            for name, module in self.named_modules():
                if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
                    assert module.bias is not None
                    weight = state[f"{name}.weight"].to(module.weight)
                    if is_parametrized(module, "weight"):
                        module.weight = weight
                    else:
                        module.weight.copy_(weight)
                    module.bias.copy_(state[f"{name}.bias"])


class FastGenerator:
    """A generator packed for inference; weights are taken over as they are now.

    The scaling of the mel is folded into the first layer, transposed convolutions are products of matrices
    (`time_conv.upsample`), mirrored ends are written where the activation goes, the two pointwise convolutions of a
    block add up in place, and long clips go through in pieces that stay in the cache, with `CONTEXT_FRAMES` of overlap.

    In float32 the output is that of `plain_forward` up to 1e-5 of full scale. In bfloat16 it is about twice as fast
    where the processor multiplies such numbers, and the error is at most 3 % of the waveform's root mean square.

    Args:
        generator: What to pack; without weight norm or with it.
        dtype: float32 or bfloat16.
        piece_frames: Frames of a piece.
    """

    def __init__(self, generator: Generator, *, dtype: torch.dtype = torch.float32, piece_frames: int = 172) -> None:
        config = generator.config
        self.dtype, self.piece_frames = dtype, piece_frames
        with torch.no_grad():
            weight, bias = generator.input.weight.double(), generator.input.bias
            assert bias is not None
            weight = weight / config.mel_range
            self.input = self._packed(weight, bias.double() - config.mel_centre * weight.sum((1, 2)))
            self.stages = [self._stage(stage) for stage in generator.stages if isinstance(stage, Stage)]
            self.output = self._packed(generator.output.weight, generator.output.bias)

    def __call__(self, mel: Tensor) -> Tensor:
        """Waveform ``(batch, frames * 256)`` of a log-mel ``(batch, n_mels, frames >= 4)``, float32."""
        frames, size, context = mel.shape[2], self.piece_frames, CONTEXT_FRAMES
        pieces = []
        # A last piece of a few frames could not be mirrored; it goes with the one before.
        starts = [start for start in range(0, frames, size) if start == 0 or frames - start > context]
        for start, stop in zip(starts, [*starts[1:], frames], strict=True):
            low, high = max(0, start - context), min(frames, stop + context)
            piece = self._piece(mel[:, :, low:high])
            pieces.append(piece[:, (start - low) * HOP_SAMPLES : (stop - low) * HOP_SAMPLES])
        return torch.cat(pieces, 1)

    def _packed(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        assert bias is not None
        picture = weight.detach()[:, :, None].to(self.dtype).contiguous(memory_format=torch.channels_last)
        return picture, bias.detach().to(self.dtype)

    def _stage(self, stage: Stage) -> _FastStage:
        assert stage.up.bias is not None
        phases = time_conv.phases(stage.up.weight.detach(), stage.rate)
        return _FastStage(
            stage.rate,
            phases.to(self.dtype).contiguous(memory_format=torch.channels_last),
            stage.up.bias.detach().repeat(stage.rate).to(self.dtype),
            [self._block(block) for block in stage.blocks if isinstance(block, ResidualBlock)],
        )

    def _block(self, block: ResidualBlock) -> _FastBlock:
        a, b = block.pointwise, block.shortcut
        assert a.bias is not None and b.bias is not None
        return _FastBlock(
            block.dilation,
            *self._packed(block.dilated.weight, block.dilated.bias),
            a.weight.detach()[:, :, 0].T.to(self.dtype).contiguous(),
            b.weight.detach()[:, :, 0].T.to(self.dtype).contiguous(),
            (a.bias + b.bias).detach().to(self.dtype),
        )

    def _piece(self, mel: Tensor) -> Tensor:
        rows = mel.transpose(1, 2).to(self.dtype)
        x = self._conv(self._mirrored(rows, 3, 1.0), *self.input, 1)
        for stage in self.stages:
            x = self._raised(x, stage)
            for block in stage.blocks:
                h = self._conv(self._mirrored(x, block.dilation, SLOPE), block.weight, block.bias, block.dilation)
                h = nn.functional.leaky_relu_(h, SLOPE)
                n = x.shape[-1]
                flat = torch.addmm(block.last_bias, x.reshape(-1, n), block.shortcut)
                x = flat.addmm_(h.reshape(-1, n), block.pointwise).reshape(x.shape)
        x = self._conv(self._mirrored(x, 3, SLOPE), *self.output, 1)
        return torch.tanh(x[:, :, 0].float())

    def _raised(self, x: Tensor, stage: _FastStage) -> Tensor:
        batch, time, _ = x.shape
        picture = leaky_relu(x, SLOPE).transpose(1, 2)[:, :, None]
        blocks = nn.functional.conv2d(picture, stage.phases, stage.bias, padding=(0, 1))
        rows = blocks.permute(0, 2, 3, 1).reshape(batch, (time + 1) * stage.rate, -1)
        half = stage.rate // 2
        return rows[:, half : half + time * stage.rate]

    @staticmethod
    def _conv(rows: Tensor, weight: Tensor, bias: Tensor, dilation: int) -> Tensor:
        out = nn.functional.conv2d(rows.transpose(1, 2)[:, :, None], weight, bias, dilation=(1, dilation))
        return out[:, :, 0].transpose(1, 2)

    @staticmethod
    def _mirrored(rows: Tensor, samples: int, slope: float) -> Tensor:
        batch, time, channels = rows.shape
        out = rows.new_empty(batch, time + 2 * samples, channels)
        inside = out[:, samples : samples + time]
        if slope == 1.0:
            inside.copy_(rows)
        else:
            torch.ops.aten.leaky_relu.out(rows, slope, out=inside)
        out[:, :samples] = inside[:, 1 : samples + 1].flip(1)
        out[:, samples + time :] = inside[:, -samples - 1 : -1].flip(1)
        return out


@dataclasses.dataclass(frozen=True)
class _FastBlock:
    dilation: int
    weight: Tensor
    bias: Tensor
    pointwise: Tensor
    shortcut: Tensor
    last_bias: Tensor


@dataclasses.dataclass(frozen=True)
class _FastStage:
    rate: int
    phases: Tensor
    bias: Tensor
    blocks: list[_FastBlock]


class Discriminator(nn.Module):
    """Judge of windows of one waveform: six hidden maps and a score every 256 samples.

    Args:
        config: Sizes.
    """

    def __init__(self, config: MelGANConfig) -> None:
        super().__init__()
        width, most = config.discriminator_base, config.discriminator_channels
        layers: list[nn.Module] = [_conv(True, 1, width, 15)]
        for _ in range(4):
            before, width = width, min(4 * width, most)
            layers.append(_conv(True, before, width, 41, stride=4, padding=20, groups=before // 4))
        before, width = width, min(2 * width, most)
        self.conditioned = config.conditioned
        layers.append(_conv(True, before + (config.n_mels if config.conditioned else 0), width, 5, padding=2))
        layers.append(_conv(True, width, 1, 3, padding=1))
        self.layers = nn.ModuleList(layers)

    def forward(self, waveform: Tensor, mel: Tensor | None = None) -> list[Tensor]:
        """Hidden maps and, last, the scores, each ``(batch, channels, 1, time)``.

        Args:
            waveform: Shape ``(batch, 1, 1, time)``.
            mel: Scaled log-mel ``(batch, n_mels, frames)``; must be given if the discriminator is conditioned.
        """
        x = time_conv.reflect(waveform, 7)
        maps = []
        for i, layer in enumerate(self.layers):
            if i == 5 and self.conditioned:
                if mel is None:
                    raise ValueError("a conditioned discriminator needs the mel")
                condition = nn.functional.adaptive_avg_pool1d(mel, x.shape[-1]).to(x.dtype)
                x = torch.cat([x, time_conv.to_picture(condition)], 1)
            assert isinstance(layer, nn.Conv1d)
            x = time_conv.conv(
                x,
                layer.weight,
                layer.bias,
                stride=layer.stride[0],
                padding=int(layer.padding[0]),
                groups=layer.groups,
            )
            if i < len(self.layers) - 1:
                x = leaky_relu(x, SLOPE)
            maps.append(x)
        return maps


class MultiScaleDiscriminator(nn.Module):
    """Equal discriminators of the waveform at full, half and quarter rate; three of the published size have
    3 x 5,641,362 parameters.

    The published code also makes a copy at an eighth of the rate that nothing looks at; here it is left out.

    Args:
        config: Sizes.
    """

    def __init__(self, config: MelGANConfig) -> None:
        super().__init__()
        self.config = config
        self.scales = nn.ModuleList(Discriminator(config) for _ in range(config.discriminator_scales))

    def forward(self, waveform: Tensor, mel: Tensor) -> list[list[Tensor]]:
        """Maps of every scale, see `Discriminator`.

        Args:
            waveform: Shape ``(batch, time)``.
            mel: Log-mel ``(batch, n_mels, frames)``; only looked at by conditioned discriminators.
        """
        x = waveform[:, None]
        condition = (mel - self.config.mel_centre) / self.config.mel_range if self.config.conditioned else None
        out = []
        for i, scale in enumerate(self.scales):
            if i:
                x = nn.functional.avg_pool1d(x, 4, 2, 1, count_include_pad=False)
            out.append(scale(x[:, :, None], condition))
        return out


def discriminator_loss(real: list[list[Tensor]], fake: list[list[Tensor]]) -> Tensor:
    """Hinge loss, summed over scales."""
    terms = [
        (1.0 - r[-1].float()).relu().mean() + (1.0 + f[-1].float()).relu().mean()
        for r, f in zip(real, fake, strict=True)
    ]
    return torch.stack(terms).sum()


def generator_loss(fake: list[list[Tensor]]) -> Tensor:
    """Minus the mean scores, summed over scales."""
    return -torch.stack([f[-1].float().mean() for f in fake]).sum()


def feature_loss(real: list[list[Tensor]], fake: list[list[Tensor]]) -> Tensor:
    """Feature matching: mean absolute differences of the hidden maps, each with weight 4 / 5 over the scales.

    The published weight of a map is ``4 / (layers + 1) / scales`` with four strided layers.
    """
    weight = 4.0 / 5.0 / len(real)
    terms = [
        nn.functional.l1_loss(f.float(), r.detach().float())
        for reals, fakes in zip(real, fake, strict=True)
        for r, f in zip(reals[:-1], fakes[:-1], strict=True)
    ]
    return weight * torch.stack(terms).sum()


class MelGANTask(VocoderTask):
    """Training of MelGAN, see `VocoderTask`."""

    generator: Generator
    discriminator: MultiScaleDiscriminator

    def build(self, config: MelGANConfig) -> tuple[nn.Module, nn.Module]:
        """Generator and discriminator with normalised weights."""
        return Generator(config, normed=True), MultiScaleDiscriminator(config)

    def make(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Waveform, twice."""
        waveform = self.generator(mel)
        return waveform, waveform

    def prepare(self, waveform: Tensor) -> Tensor:
        """The waveform itself."""
        return waveform

    def detached(self, prepared: Tensor) -> Tensor:
        """The waveform without its history."""
        return prepared.detach()

    def adversarial(self, kind: str, real: list[list[Tensor]], fake: list[list[Tensor]]) -> Tensor:
        """Hinge losses and feature matching."""
        if kind == "discriminator":
            return discriminator_loss(real, fake)
        return generator_loss(fake) if kind == "scores" else feature_loss(real, fake)

    def export(self) -> dict[str, Tensor]:
        """The generator without weight norm."""
        return self.generator.plain_state()

    def initialise(self, tensors: Mapping[str, Tensor]) -> None:
        """Start the generator from shipped weights.

        Raises:
            CheckpointError: If they are of another size.
        """
        try:
            self.generator.load_plain_state(tensors)
        except RuntimeError as error:
            raise self.unfit(error) from None


class MelGANSystem(MelVocoder):
    """MelGAN between its front end and clips at 22,050 Hz; see `MelVocoder`.

    Differs from the published system: 128 bands by default, for which a recipe with a spectral loss exists (`RECIPE`),
    in place of 80; clips are vocoded between frames of silence, where the published one clicks at the end; the recipe's
    generator and discriminators are narrower.
    """

    name = "melgan"
    title = "MelGAN"
    config_class = MelGANConfig
    context_frames = CONTEXT_FRAMES

    def build(self, tensors: Mapping[str, Tensor], folder: Path) -> int:
        """The generator, without weight norm."""
        assert isinstance(self.config, MelGANConfig)
        self.generator = Generator(self.config)
        load_weights(self.generator, tensors, folder)
        self.generator.to(self.device).requires_grad_(False).train(False)
        self.packed = FastGenerator(self.generator, dtype=PRECISIONS[self.precision])
        return sum(p.numel() for p in self.generator.parameters())

    def generate(self, mel: Tensor) -> Tensor:
        """Waveform of a log-mel."""
        return self.packed(mel) if self.fast else plain_forward(self.generator, mel)


RECIPE = VocoderRecipe(
    config=MelGANConfig(base_channels=16, conditioned=True, discriminator_channels=256, mel_centre=-2.0, mel_range=1.5),
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
    task=MelGANTask,
)
