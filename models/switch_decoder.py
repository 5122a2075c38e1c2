"""Switches to spectrogram: a decoder that memorises clips, one switch for each song and each place in a song.

Turning on one song switch and one position switch gives the log-mel of that excerpt as the network remembers it;
turning on several gives a blend. Nothing is drawn and nothing is generalised: every excerpt is a training clip.

The switches select rows of a linear layer, the rows are small maps, convolutions make ``r * r`` channels of them at
``128 / r`` by ``512 / r``, and a pixel shuffle by ``r`` spreads these over 128 bands and 512 frames. The variants have
equal numbers of parameters within 1 %; what differs is how much of the upsampling the last shuffle has to do.

What differs from the published system
    * The pixel shuffle takes ``r * r`` channels, 4 to 4,096 for ``r`` from 2 to 64; the published table says ``r``.
      It is discussed there and never called.
    * Targets are log-mels, and the output is a line with the range of the targets. The published autoencoder ends in a
      sigmoid while its targets are raw powers without a bound, so that most of its loss could not be reached.
    * Two fixed places in a song, not a random one out of 4,096.
    * Maps are resized by two (nearest neighbour, then a convolution) up to the size that the shuffle asks for.
    * AdamW in place of plain gradient descent.

Source:
    create_music, a public repository (models 1 to 3 and the table of shuffle factors); Shi et al., "Real-Time Single
    Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural Network", 2016; Odena et al.,
    "Deconvolution and Checkerboard Artifacts", 2016 (resizing before convolving).
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.checkpoint import check_frontend, from_card, load_weights
from models.checkpoint import load as load_checkpoint
from models.errors import CheckpointError, InputError
from models.frontends.mel import MelConfig, log_mel
from models.training.data import ClipStore, step_generator
from models.training.task import Part, Recipe, TaskContext, TrainingSettings
from models.vocoder import vocoder_frontend

DECODERS = ("pixelshuffle", "transposed", "resize", "first")
FACTORS = (2, 4, 8, 16, 32, 64)


def shuffle_channels(r: int) -> int:
    """Channels that a pixel shuffle by ``r`` needs for one channel of output: ``r * r``."""
    return r * r


def shuffle_grid(r: int, n_mels: int = 128, frames: int = 512) -> tuple[int, int]:
    """Height and width that a pixel shuffle by ``r`` makes a spectrogram of.

    Raises:
        ValueError: If ``r`` does not divide both sides.
    """
    if n_mels % r or frames % r:
        raise ValueError(f"r = {r} must divide {n_mels} bands and {frames} frames")
    return n_mels // r, frames // r


@dataclasses.dataclass(frozen=True)
class SwitchConfig:
    """Size of the decoder and what its switches stand for.

    Attributes:
        decoder: ``"pixelshuffle"``, ``"transposed"`` or ``"resize"``, which double the size up to the end, or
            ``"first"``, the published first model, which cannot learn.
        r: Factor of the pixel shuffle, a power of two; the other decoders do not look at it.
        songs: Song switches.
        positions: Position switches.
        latent: Numbers that a switch turns on; they are reshaped to maps.
        width: Channels of the convolutions at the size of the small maps.
        groups: Of the convolutions on maps that are coarser than 8 x 32.
        speed: What the small maps are multiplied by: under Adam the switches learn so many times faster than the rest.
        gate: Where the position switches start: half of the numbers lie this much above zero, half below, others for
            every position.
        n_mels: Bands.
        frames: Frames of an excerpt.
        floor: Least value of the log-mel.
        centre: Log-mel that the last layer writes as 0.
        span: Log-mel distance that it writes as 1.
    """

    decoder: str = "pixelshuffle"
    r: int = 16
    songs: int = 32
    positions: int = 2
    latent: int = 16_384
    width: int = 64
    groups: int = 1
    speed: float = 50.0
    gate: float = 2.0
    n_mels: int = 128
    frames: int = 512
    floor: float = -5.0
    centre: float = -2.0
    span: float = 1.0

    def __post_init__(self) -> None:
        if self.decoder not in DECODERS:
            raise ValueError(f"decoder must be one of {', '.join(DECODERS)}, got {self.decoder!r}")
        for name in ("songs", "positions", "latent", "width", "groups"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.r < 2 or self.r & (self.r - 1):
            raise ValueError(f"r must be a power of two from 2 on, got {self.r}")
        shuffle_grid(self.r, self.n_mels, self.frames)
        height, width = self.map_size
        if self.latent % (height * width):
            raise ValueError(f"latent must be a multiple of {height * width}, the cells of a map, got {self.latent}")

    @property
    def n_switches(self) -> int:
        """Song switches, then position switches."""
        return self.songs + self.positions

    @property
    def map_size(self) -> tuple[int, int]:
        """Height and width of the small maps: a sixteenth of the spectrogram, or less where ``r`` asks for it."""
        factor = max(self.r, 16) if self.decoder == "pixelshuffle" else 16
        return self.n_mels // factor, self.frames // factor

    @property
    def doublings(self) -> int:
        """How often the maps are doubled before the last layer."""
        last = self.r if self.decoder == "pixelshuffle" else 1
        return (self.n_mels // self.map_size[0] // last).bit_length() - 1


class Doubling(nn.Module):
    """Maps of twice the size: nearest neighbour and a 3 x 3 convolution, or one transposed convolution of 4 x 4.

    Args:
        n_in: Channels that come in.
        n_out: Channels that go out.
        transposed: Which of the two.
    """

    def __init__(self, n_in: int, n_out: int, *, transposed: bool) -> None:
        super().__init__()
        self.transposed = transposed
        self.conv: nn.Module = (
            nn.ConvTranspose2d(n_in, n_out, 4, stride=2, padding=1)
            if transposed
            else nn.Conv2d(n_in, n_out, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(batch, n_out, 2 * height, 2 * width)``."""
        if not self.transposed:
            x = nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
        out: Tensor = self.conv(x)
        return out


class SwitchDecoder(nn.Module):
    """Switches ``(batch, n_switches)`` to log-mels ``(batch, n_mels, frames)``.

    Args:
        config: Sizes.
    """

    def __init__(self, config: SwitchConfig) -> None:
        super().__init__()
        self.config = config
        height, width = config.map_size
        channels = config.latent // (height * width)
        self.shape = (channels, height, width)
        self.maps = nn.Linear(config.n_switches, config.latent, bias=False)
        with torch.no_grad():
            self.maps.weight.normal_(0.0, 0.5)
            unit = torch.arange(config.latent)
            for i in range(config.positions if config.positions > 1 else 0):
                side = (unit % config.positions == i).float() * 2.0 - 1.0
                self.maps.weight[:, config.songs + i] = config.gate * side
            self.maps.weight /= config.speed
        # Maps as coarse as those for r = 32 and 64 have no neighbours worth a kernel.
        kernel, groups = (3, 1) if height >= config.n_mels // 16 else (1, config.groups)
        options: dict[str, int] = {"padding": kernel // 2, "groups": groups}
        n = config.width
        layers: list[nn.Module] = [nn.ELU(), nn.Conv2d(channels, n, kernel, **options), nn.ELU()]  # type: ignore[arg-type]
        for _ in range(config.doublings):
            half = max(8, n // 2)
            layers += [Doubling(n, half, transposed=config.decoder == "transposed"), nn.ELU()]
            n = half
        shuffled = config.decoder == "pixelshuffle"
        layers.append(nn.Conv2d(n, shuffle_channels(config.r) if shuffled else 1, kernel, **options))  # type: ignore[arg-type]
        if shuffled:
            layers.append(nn.PixelShuffle(config.r))
        self.layers = nn.Sequential(*layers)
        if groups == 1:
            self.layers.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # valid, but not in torch's stubs

    def forward(self, switches: Tensor) -> Tensor:
        """Log-mels before the floor."""
        maps = (self.maps(switches) * self.config.speed).unflatten(1, self.shape)
        out: Tensor = self.layers(maps)[:, 0]
        return out.float() * self.config.span + self.config.centre


class FirstModel(nn.Module):
    """The published first model, fitted to log-mels of this size; it cannot learn.

    Switches make one map of 16 x 16, two convolutions and a pooling make 2 x 2 cells of it, and a 1 x 1 convolution
    with a padding of 63 and 255 cells makes these the size of the spectrogram. A 1 x 1 convolution of padding is its
    bias, so that 4 cells out of 65,536 know of the switches and all others hold one number.

    Args:
        config: Sizes.
    """

    def __init__(self, config: SwitchConfig) -> None:
        super().__init__()
        self.config = config
        self.maps = nn.Linear(config.n_switches, 256)
        self.layers = nn.Sequential(
            nn.Conv2d(1, 64, 4, stride=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(64, 128, 2),
            nn.ReLU(),
            nn.Conv2d(128, 1, 1, padding=((config.n_mels - 2) // 2, (config.frames - 2) // 2)),
        )

    def forward(self, switches: Tensor) -> Tensor:
        """Log-mels before the floor."""
        out: Tensor = self.layers(self.maps(switches).unflatten(1, (1, 16, 16)))[:, 0]
        return out.float() * self.config.span + self.config.centre


def build_decoder(config: SwitchConfig) -> nn.Module:
    """The network of a configuration."""
    return FirstModel(config) if config.decoder == "first" else SwitchDecoder(config)


@dataclasses.dataclass(frozen=True)
class Memorised:
    """The excerpts that are learned.

    Attributes:
        targets: Log-mels ``(songs * positions, n_mels, frames)``, the positions of a song beside each other.
        switches: What turns each on, ``(songs * positions, n_switches)``.
        labels: Song, position, clip, first sample and hash of the samples of each, ready for JSON.
    """

    targets: Tensor
    switches: Tensor
    labels: tuple[dict[str, Any], ...]


def switch_pairs(config: SwitchConfig) -> Tensor:
    """Switches of every song at every position ``(songs * positions, n_switches)``."""
    switches = torch.zeros(config.songs * config.positions, config.n_switches)
    for row, (song, position) in enumerate(itertools.product(range(config.songs), range(config.positions))):
        switches[row, song] = switches[row, config.songs + position] = 1.0
    return switches


def excerpt_starts(config: SwitchConfig, clip_samples: int, hop_samples: int) -> tuple[int, ...]:
    """First sample of every position: spread over the clip from its start to its end.

    Raises:
        InputError: If the clip is shorter than an excerpt.
    """
    room = clip_samples - config.frames * hop_samples
    if room < 0:
        raise InputError(
            f"clips of {clip_samples} samples are shorter than excerpts of {config.frames * hop_samples};"
            " train on longer ones"
        )
    return tuple(room * i // max(1, config.positions - 1) for i in range(config.positions))


def chosen_rows(clip_ids: Sequence[str], songs: int) -> list[int]:
    """The songs that are learned: those whose names have the least hashes.

    Raises:
        InputError: If there are too few clips.
    """
    order = sorted(range(len(clip_ids)), key=lambda i: hashlib.sha256(clip_ids[i].encode()).hexdigest())
    if len(order) < songs:
        raise InputError(
            f"{songs} song switches need as many training clips, got {len(order)}; use --set songs={len(order)}"
        )
    return order[:songs]


def memorise(store: ClipStore, config: SwitchConfig, frontend: MelConfig) -> Memorised:
    """The excerpts of some clips that a decoder is to learn.

    Raises:
        InputError: If there are too few clips or they are too short.
    """
    rows = chosen_rows(store.clip_ids, config.songs)
    hop = frontend.stft.hop_length
    starts = excerpt_starts(config, store.pcm.shape[1], hop)
    length = config.frames * hop
    targets, labels = [], []
    for song, row in enumerate(rows):
        waveform = store.waveforms(torch.tensor([row]))
        for position, start in enumerate(starts):
            piece = store.pcm[row, start : start + length]
            targets.append(log_mel(waveform[:, start : start + length], frontend)[0])
            labels.append(
                {
                    "song": song,
                    "position": position,
                    "clip_id": store.clip_ids[row],
                    "start_sample": start,
                    "pcm_sha256": hashlib.sha256(piece.numpy().astype("<i2").tobytes()).hexdigest(),
                }
            )
    return Memorised(torch.stack(targets), switch_pairs(config), tuple(labels))


def reconstruction_loss(output: Tensor, target: Tensor, floor: float) -> Tensor:
    """Mean absolute log-mel difference; where the target is at the floor, only outputs above it count."""
    gap = output - target
    return torch.where(target <= floor + 1e-3, gap.clamp_min(0.0), gap).abs().mean()


@dataclasses.dataclass(frozen=True)
class SwitchTraining(TrainingSettings):
    """How the decoder learns."""

    batch_size: int = 8
    learning_rate: float = 4e-3
    warmup_steps: int = 20


class SwitchTask:
    """Losses of a step of the switch decoder; there is nothing to validate, for nothing is generalised.

    Args:
        context: Sizes, settings, clips and device.

    Raises:
        InputError: If there are too few clips or they are too short.
    """

    def __init__(self, context: TaskContext) -> None:
        self.context = context
        self.config: SwitchConfig = context.config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed)
            self.network = build_decoder(self.config)
        self.network.to(context.device)
        self.memorised = memorise(context.training, self.config, context.frontend)
        self.targets = self.memorised.targets.to(context.device)
        self.switches = self.memorised.switches.to(context.device)
        # Relative to this, errors mean the same for every selection of clips.
        self.baseline = float((self.targets - self.targets.mean(0)).abs().mean())
        self.latest: float | None = None

    def modules(self) -> Mapping[str, nn.Module]:
        """The network."""
        return {"network": self.network}

    def parts(self) -> Mapping[str, Part]:
        """One optimiser; memorising wants no decay."""
        return {"network": Part(list(self.network.parameters()), betas=(0.9, 0.99), weight_decay=0.0, clip_norm=None)}

    def losses(self, step: int) -> Iterator[tuple[str, Tensor]]:
        """The loss of step number ``step``: some of the excerpts, every one equally often."""
        rows = self.rows(step).to(self.targets.device)
        with torch.autocast(self.targets.device.type, torch.bfloat16, enabled=self.context.bfloat16):
            output = self.network(self.switches[rows])
        loss = reconstruction_loss(output, self.targets[rows], self.config.floor)
        self.latest = float(loss.detach())
        yield "network", loss

    def rows(self, step: int) -> Tensor:
        """Excerpts of a step: the next ones of an order drawn anew for every round."""
        n, size = len(self.targets), min(self.context.settings.batch_size, len(self.targets))
        per_round = n // size
        order = torch.randperm(n, generator=step_generator(self.context.seed, step // per_round, "order"))
        at = step % per_round * size
        return order[at : at + size]

    def report(self) -> dict[str, float]:
        """Mean absolute log-mel error, and that in units of the mean spectrogram's."""
        if self.latest is None:
            return {}
        return {"log_mel_l1": self.latest, "to_mean_spectrogram": self.latest / max(self.baseline, 1e-9)}

    def validate(self) -> dict[str, float]:
        """Error over all excerpts that are learned; there are no others to ask for."""
        output = torch.cat([self.network(part) for part in torch.split(self.switches, 8)]).clamp_min(self.config.floor)
        error = float((output - self.targets).abs().mean())
        return {"learned_log_mel_l1": error, "learned_to_mean_spectrogram": error / max(self.baseline, 1e-9)}

    def export(self) -> dict[str, Tensor]:
        """The network as it stands."""
        return self.network.state_dict()

    def card(self) -> dict[str, Any]:
        """Which excerpts are learned, and what the mean spectrogram of them all would get."""
        return {"memorised": list(self.memorised.labels), "mean_spectrogram_log_mel_l1": self.baseline}


_FRONTEND = vocoder_frontend(128)


def _recipe(**sizes: Any) -> Recipe:
    return Recipe(
        config=SwitchConfig(**sizes),
        frontend=_FRONTEND,
        settings=SwitchTraining(),
        sample_rate_hz=_FRONTEND.sample_rate_hz,
        clip_s=10.0,
        task=SwitchTask,
    )


# Widths that make the numbers of parameters equal within 1 %.
RECIPE_R2 = _recipe(r=2, width=135)
RECIPE_R4 = _recipe(r=4, width=135)
RECIPE_R8 = _recipe(r=8, width=128)
RECIPE_R16 = _recipe(r=16, width=64)
RECIPE_R32 = _recipe(r=32, width=143)
RECIPE_R64 = _recipe(r=64, width=1120, groups=32)
RECIPE_TRANSPOSED = _recipe(decoder="transposed", width=108)
RECIPE_RESIZE = _recipe(decoder="resize", width=134)
RECIPE_FIRST = _recipe(decoder="first")


class SwitchGenerator:
    """A trained decoder; what comes out for one song and one position is a training clip as it is remembered.

    Args:
        checkpoint: Folder with ``model.safetensors`` and ``card.json``.
        device: Where to compute.

    Raises:
        CheckpointError: If the weights or the card cannot be used.
    """

    name = "switch_r16"
    title = "Switches, pixel shuffle by 16"
    deterministic = True

    def __init__(self, *, checkpoint: Path | None, device: str = "cpu") -> None:
        if checkpoint is None:
            raise CheckpointError(f"{self.name}: needs a checkpoint folder, got none")
        loaded = load_checkpoint(checkpoint, name=self.name)
        self.card, self.file_sha256 = loaded.card, loaded.file_sha256
        self.config = from_card(SwitchConfig, loaded.card, "config", checkpoint)
        self.frontend = vocoder_frontend(self.config.n_mels)
        check_frontend(checkpoint, loaded.card, self.frontend.sha256())
        self.network = build_decoder(self.config)
        load_weights(self.network, loaded.tensors, checkpoint)
        self.device = torch.device(device)
        self.network.to(self.device).requires_grad_(False).train(False)
        self.sample_rate_hz = self.frontend.sample_rate_hz
        self.parameters = sum(p.numel() for p in self.network.parameters())
        self.memorised: tuple[dict[str, Any], ...] = tuple(loaded.card.get("memorised", ()))

    def switches(self, song: int, position: int, weight: float = 1.0) -> Tensor:
        """Switches ``(1, n_switches)`` with one song and one position turned on; sums of such rows are blends.

        Raises:
            InputError: If there is no such song or position.
        """
        for what, value, n in (("song", song, self.config.songs), ("position", position, self.config.positions)):
            if not 0 <= value < n:
                raise InputError(f"{self.name}: {what} {value} is unknown, there are 0 to {n - 1}")
        row = torch.zeros(1, self.config.n_switches)
        row[0, song] = row[0, self.config.songs + position] = weight
        return row

    @torch.no_grad()
    def spectrogram(self, switches: Tensor) -> Tensor:
        """Log-mel ``(batch, n_mels, frames)``, base 10, of switches ``(batch, n_switches)``.

        Any number of switches may be on, each by any amount.

        Raises:
            InputError: If the shape is another one or a switch is no finite number.
        """
        if switches.ndim != 2 or switches.shape[1] != self.config.n_switches:
            raise InputError(
                f"{self.name}: switches must have shape (batch, {self.config.n_switches}), got {tuple(switches.shape)}"
            )
        if not bool(torch.isfinite(switches).all()):
            raise InputError(f"{self.name}: switches hold values that are not finite numbers")
        # One row at a time, so that a row comes out the same whatever stands beside it.
        rows = [self.network(row.to(self.device)) for row in torch.split(switches.float(), 1)]
        if not rows:
            return switches.new_zeros(0, self.config.n_mels, self.config.frames)
        return torch.cat(rows).clamp_min(self.config.floor).to(switches.device)

    def blend(self, first: tuple[int, int], second: tuple[int, int], share: float) -> Tensor:
        """Switches ``(1, n_switches)`` between two excerpts, each named by song and position.

        Args:
            first: What is on at ``share`` 0.
            second: What is on at ``share`` 1.
            share: Between 0 and 1.

        Raises:
            InputError: If there is no such excerpt.
        """
        return self.switches(*first, weight=1.0 - share) + self.switches(*second, weight=share)

    def describe(self) -> dict[str, object]:
        """Configuration, front end, checkpoint and size."""
        card = self.card
        return {
            "name": self.name,
            "config": dataclasses.asdict(self.config),
            "frontend": card["frontend"],
            "checkpoint": {
                "sha256": card["tensors_sha256"],
                "file_sha256": self.file_sha256,
                "step": card.get("step"),
                "trained_on": card.get("trained_on"),
            },
            "parameters": self.parameters,
        }


class SwitchR2(SwitchGenerator):
    """Pixel shuffle by 2."""

    name, title = "switch_r2", "Switches, pixel shuffle by 2"


class SwitchR4(SwitchGenerator):
    """Pixel shuffle by 4."""

    name, title = "switch_r4", "Switches, pixel shuffle by 4"


class SwitchR8(SwitchGenerator):
    """Pixel shuffle by 8."""

    name, title = "switch_r8", "Switches, pixel shuffle by 8"


class SwitchR16(SwitchGenerator):
    """Pixel shuffle by 16."""


class SwitchR32(SwitchGenerator):
    """Pixel shuffle by 32."""

    name, title = "switch_r32", "Switches, pixel shuffle by 32"


class SwitchR64(SwitchGenerator):
    """Pixel shuffle by 64."""

    name, title = "switch_r64", "Switches, pixel shuffle by 64"


class SwitchTransposed(SwitchGenerator):
    """Transposed convolutions up to the end."""

    name, title = "switch_transposed", "Switches, transposed convolutions"


class SwitchResize(SwitchGenerator):
    """Resizing and convolving up to the end."""

    name, title = "switch_resize", "Switches, resizing and convolving"


class SwitchFirst(SwitchGenerator):
    """The published first model."""

    name, title = "switch_first", "Switches, published first model"
