"""Idea model: invents small mels of fixed size and how long each is to last.

A U-Net learns the flow that takes noise to log-mels of passages of five to ten seconds, shrunk to 64 columns, and with
the same flow takes one more number from noise to the stretch factor: frames of the passage per column. Picture and
factor are drawn together, so that the length fits what is to be heard. Nothing conditions it.

What differs from the published system
    The source proposes this stage and has no code for it: an image generator, StyleGAN or diffusion, whose factor is
    read off the style code by a head and judged by the discriminator. Here the factor is a variable of the flow. Any
    generator of pictures would learn nothing about absolute pitch from convolutions alone, which treat all bands
    alike; this one starts from a learned map that says where each band lies.

Source:
    MelReformer, a public repository (the proposal); Lipman et al., "Flow Matching for Generative Modeling", 2023;
    Ronneberger et al., "U-Net", 2015; Esser et al., "Scaling Rectified Flow Transformers", 2024 (times from a
    logistic-normal).
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from models.batching import in_fixed_groups
from models.checkpoint import check_frontend, from_card, load_weights
from models.checkpoint import load as load_checkpoint
from models.errors import CheckpointError, InputError
from models.frontends.mel import log_mel
from models.frontends.time_resize import shrink
from models.training.data import ClipStore, draw_rows, step_generator
from models.training.task import Part, Recipe, TaskContext, TrainingSettings
from models.vocoder import vocoder_frontend


@dataclasses.dataclass(frozen=True)
class IdeaConfig:
    """Size of the network and what it draws.

    Attributes:
        n_mels: Bands of a picture.
        columns: Columns of a picture.
        patch_bands: Bands that are taken together as channels.
        patch_columns: Columns that are taken together as channels.
        widths: Channels of the levels, each at half the size of the one before.
        embedding: Width of the embedding of time and stretch factor.
        heads: Of the attention at the coarsest level.
        least_frames: Shortest passage.
        most_frames: Longest passage.
        grain_frames: Lengths are multiples of this.
        floor: Least log-mel.
        centre: Log-mel that the network sees as 0.
        span: Log-mel distance that it sees as 1.
        steps: Steps of the sampler, each with two passes of the network.
    """

    n_mels: int = 128
    columns: int = 64
    patch_bands: int = 2
    patch_columns: int = 4
    widths: tuple[int, ...] = (40, 80, 120)
    embedding: int = 128
    heads: int = 4
    least_frames: int = 320
    most_frames: int = 832
    grain_frames: int = 32
    floor: float = -5.0
    centre: float = -1.9
    span: float = 1.0
    steps: int = 24

    def __post_init__(self) -> None:
        if not self.widths or any(width < 8 or width % 8 for width in self.widths):
            raise ValueError(f"widths must be multiples of 8, got {self.widths}")
        times = 2 ** (len(self.widths) - 1)
        for name, size, patch in (
            ("n_mels", self.n_mels, self.patch_bands),
            ("columns", self.columns, self.patch_columns),
        ):
            if patch < 1 or size % (patch * times):
                raise ValueError(f"{name} must be a multiple of {patch * times}, got {size}")
        if self.grain_frames < 1 or not self.columns <= self.least_frames < self.most_frames:
            raise ValueError(
                f"need columns <= least_frames < most_frames, got {self.columns}, {self.least_frames},"
                f" {self.most_frames}"
            )
        if self.least_frames % self.grain_frames or self.most_frames % self.grain_frames:
            raise ValueError(f"least_frames and most_frames must be multiples of {self.grain_frames}")
        if self.widths[-1] % self.heads or self.embedding % 2 or self.steps < 1:
            raise ValueError("heads must divide the last width, embedding must be even, steps at least 1")

    @property
    def stretch_centre(self) -> float:
        """Stretch factor that the network sees as 0: that of a passage of middling length."""
        return 0.5 * (self.least_frames + self.most_frames) / self.columns

    @property
    def stretch_span(self) -> float:
        """Difference of stretch factors that it sees as 1: the standard deviation of the training ones."""
        return (self.most_frames - self.least_frames) / self.columns / math.sqrt(12.0)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions that know the time, beside a shortcut; starts as the shortcut alone."""

    def __init__(self, n_in: int, n_out: int, embedding: int) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(8, n_in)
        self.conv_in = nn.Conv2d(n_in, n_out, 3, padding=1)
        self.modulate = nn.Linear(embedding, 2 * n_out)
        self.norm_out = nn.GroupNorm(8, n_out)
        self.conv_out = nn.Conv2d(n_out, n_out, 3, padding=1)
        self.shortcut = nn.Conv2d(n_in, n_out, 1) if n_in != n_out else nn.Identity()
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)  # type: ignore[arg-type]  # there is a bias

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Maps ``(batch, n_out, height, width)`` of maps and an embedding ``(batch, embedding)``."""
        h = self.conv_in(nn.functional.silu(self.norm_in(x)))
        scale, shift = self.modulate(embedding)[..., None, None].chunk(2, 1)
        h = self.norm_out(h) * (1.0 + scale) + shift
        out: Tensor = self.shortcut(x) + self.conv_out(nn.functional.silu(h))
        return out


class MapAttention(nn.Module):
    """Self-attention between all cells of small maps; starts as the identity."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(8, channels)
        self.query_key_value = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]  # there is a bias

    def forward(self, x: Tensor) -> Tensor:
        """Maps of the same shape."""
        parts = self.query_key_value(self.norm(x)).flatten(2).unflatten(1, (3, self.heads, -1)).transpose(-1, -2)
        gathered = nn.functional.scaled_dot_product_attention(parts[:, 0], parts[:, 1], parts[:, 2])
        out: Tensor = x + self.out(gathered.transpose(-1, -2).reshape(x.shape))
        return out


def time_features(time: Tensor, width: int) -> Tensor:
    """Sines and cosines ``(batch, width)`` of times ``(batch,)`` between 0 and 1."""
    rate = torch.exp(torch.linspace(0.0, math.log(1000.0), width // 2, device=time.device))
    angle = time.float()[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], -1)


class IdeaNetwork(nn.Module):
    """Velocity of the flow, in scaled units.

    The network is told the noisy picture, the noisy stretch factor and the time.

    Args:
        config: Sizes.
    """

    def __init__(self, config: IdeaConfig) -> None:
        super().__init__()
        self.config = config
        widths, e = config.widths, config.embedding
        self.patch = (config.patch_bands, config.patch_columns)
        depth = config.patch_bands * config.patch_columns
        self.time = nn.Sequential(nn.Linear(e, e), nn.SiLU(), nn.Linear(e, e))
        self.factor = nn.Sequential(nn.Linear(1, e), nn.SiLU(), nn.Linear(e, e))
        self.input = nn.Conv2d(depth, widths[0], 3, padding=1)
        self.place_of_bands = nn.Parameter(0.02 * torch.randn(1, widths[0], config.n_mels // config.patch_bands, 1))
        before = [widths[0], *widths[:-1]]
        self.down = nn.ModuleList(ResidualBlock(a, b, e) for a, b in zip(before, widths, strict=True))
        self.middle_in = ResidualBlock(widths[-1], widths[-1], e)
        self.attention = MapAttention(widths[-1], config.heads)
        self.middle_out = ResidualBlock(widths[-1], widths[-1], e)
        self.up = nn.ModuleList(
            ResidualBlock(2 * b, a, e) for a, b in zip(reversed(before), reversed(widths), strict=True)
        )
        self.norm = nn.GroupNorm(8, widths[0])
        self.output = nn.Conv2d(widths[0], depth, 3, padding=1)
        self.head = nn.Sequential(nn.Linear(widths[-1] + e, e), nn.SiLU(), nn.Linear(e, 1))

    def forward(self, picture: Tensor, factor: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """Velocities of picture and factor.

        Args:
            picture: Shape ``(batch, n_mels, columns)``.
            factor: Shape ``(batch,)``.
            time: Shape ``(batch,)``, 0 for noise, 1 for data.

        Returns:
            Shapes of picture and factor.
        """
        a, b = self.patch
        batch, height, width = picture.shape
        x = picture.reshape(batch, height // a, a, width // b, b).permute(0, 2, 4, 1, 3).flatten(1, 2)
        embedding = self.time(time_features(time, self.config.embedding)) + self.factor(factor[:, None])
        embedding = nn.functional.silu(embedding)
        x = self.input(x.contiguous(memory_format=torch.channels_last)) + self.place_of_bands
        kept = []
        for i, block in enumerate(self.down):
            if i:
                x = nn.functional.avg_pool2d(x, 2)
            x = block(x, embedding)
            kept.append(x)
        x = self.middle_out(self.attention(self.middle_in(x, embedding)), embedding)
        speed: Tensor = self.head(torch.cat([x.mean((2, 3)), embedding], 1))
        for i, block in enumerate(self.up):
            if i:
                x = nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(torch.cat([x, kept.pop()], 1), embedding)
        x = self.output(nn.functional.silu(self.norm(x)))
        x = x.unflatten(1, (a, b)).permute(0, 3, 1, 4, 2).flatten(3, 4).flatten(1, 2)
        return x.float(), speed[:, 0].float()


Velocity = Callable[[Tensor, Tensor], Tensor]


def integrate(velocity: Velocity, noise: Tensor, steps: int) -> Tensor:
    """Follow a flow from noise at time 0 to data at time 1, by Heun's method.

    Args:
        velocity: Of states ``(batch, size)`` at times ``(batch,)``.
        noise: Standard normal, ``(batch, size)``.
        steps: Equal steps, each with two calls; the last one makes one, for velocities need not exist at time 1.

    Returns:
        Same shape.

    Source:
        Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models", 2022 (Heun's method for
        sampling).
    """
    x = noise
    for i in range(steps):
        now = velocity(x, x.new_full(x.shape[:1], i / steps))
        if i == steps - 1:
            return x + now / steps
        ahead = velocity(x + now / steps, x.new_full(x.shape[:1], (i + 1) / steps))
        x = x + 0.5 * (now + ahead) / steps
    return x


@dataclasses.dataclass(frozen=True)
class IdeaTraining(TrainingSettings):
    """How the idea model learns.

    Attributes:
        gain_db: Passages are made louder or softer by up to this much.
        factor_weight: Weight of the stretch factor's error beside the picture's.
        average: Share of itself that the averaged network, the one that is shipped, keeps in a step.
    """

    batch_size: int = 16
    learning_rate: float = 1e-3
    gain_db: float = 4.0
    factor_weight: float = 0.1
    average: float = 0.998

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.average < 1:
            raise InputError(f"training: average must lie in [0, 1), got {self.average}")


class Passages:
    """Shrunk passages of the clips of a store.

    Args:
        store: Clips.
        config: Lengths and columns.

    Raises:
        InputError: If the clips are shorter than the longest passage.
    """

    def __init__(self, store: ClipStore, config: IdeaConfig) -> None:
        self.store, self.config = store, config
        frontend = vocoder_frontend(config.n_mels)
        frames = store.pcm.shape[1] // frontend.stft.hop_length
        if len(store) and frames < config.most_frames:
            raise InputError(f"clips have {frames} frames, the longest passage {config.most_frames}; use longer clips")
        rows = [log_mel(store.waveforms(torch.tensor([i])), frontend)[0].half() for i in range(len(store))]
        self.mels = torch.stack(rows) if rows else torch.zeros(0, config.n_mels, frames).half()

    def draw(self, rows: Tensor, generator: torch.Generator, gain_db: float = 0.0) -> tuple[Tensor, Tensor]:
        """A passage of each clip: its length is any multiple of the grain with equal chance, likewise its place.

        Returns:
            Shrunk log-mels ``(rows, n_mels, columns)`` and stretch factors ``(rows,)``.
        """
        config = self.config
        draws = torch.rand(len(rows), 3, generator=generator).tolist()
        pictures, factors = [], []
        for row, (length, place, gain) in zip(rows.tolist(), draws, strict=True):
            least, grain = config.least_frames, config.grain_frames
            frames = least + grain * int(length * ((config.most_frames - least) // grain + 1))
            start = int(place * (self.mels.shape[2] - frames + 1))
            piece = self.mels[row : row + 1, :, start : start + frames].float() + gain_db / 20.0 * (2.0 * gain - 1.0)
            pictures.append(shrink(piece.clamp_min(config.floor), config.columns)[0])
            factors.append(frames / config.columns)
        return torch.stack(pictures), torch.tensor(factors)


class IdeaTask:
    """Losses of a step and validation of the idea model.

    Args:
        context: Sizes, settings, clips and device.

    Raises:
        InputError: If the clips are too short.
    """

    def __init__(self, context: TaskContext) -> None:
        self.context = context
        self.config: IdeaConfig = context.config
        self.settings: IdeaTraining = context.settings
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed)
            self.network = IdeaNetwork(self.config)
        self.network.to(context.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # valid, but not in torch's stubs
        self.averaged = copy.deepcopy(self.network).requires_grad_(False)
        self.training = Passages(context.training, self.config)
        self.validation = Passages(context.validation, self.config)
        self.latest: dict[str, float] = {}

    def modules(self) -> Mapping[str, nn.Module]:
        """The network that learns and the one that is shipped, its running mean."""
        return {"network": self.network, "averaged": self.averaged}

    def parts(self) -> Mapping[str, Part]:
        """One optimiser."""
        return {"network": Part(list(self.network.parameters()))}

    def losses(self, step: int) -> Iterator[tuple[str, Tensor]]:
        """The loss of step number ``step``."""
        settings, seed = self.settings, self.context.seed
        rows = draw_rows(self.context.training, batch_size=settings.batch_size, seed=seed, step=step)
        generator = step_generator(seed, step, "passages")
        picture, factor = self.training.draw(rows, generator, settings.gain_db)
        time = torch.sigmoid(torch.randn(len(rows), generator=generator))
        loss, self.latest = self._loss(self.network, picture, factor, time, generator)
        yield "network", loss
        self._average(step)

    @torch.no_grad()
    def _average(self, step: int) -> None:
        # Short memory at first: the weights of the start are worth nothing.
        keep = min(self.settings.average, (1.0 + step) / (10.0 + step))
        mine = self.network.state_dict()
        for name, value in self.averaged.state_dict().items():
            value.lerp_(mine[name], 1.0 - keep)

    def _loss(
        self, network: nn.Module, picture: Tensor, factor: Tensor, time: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        config, device = self.config, self.context.device
        picture = (picture - config.centre) / config.span
        factor = (factor - config.stretch_centre) / config.stretch_span
        noise = torch.randn(picture.shape, generator=generator)
        noise_factor = torch.randn(factor.shape, generator=generator)
        mixed = torch.lerp(noise, picture, time[:, None, None]).to(device)
        mixed_factor = torch.lerp(noise_factor, factor, time).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.context.bfloat16):
            speed, speed_factor = network(mixed, mixed_factor, time.to(device))
        of_picture = (speed - (picture - noise).to(device)).square().mean()
        of_factor = (speed_factor - (factor - noise_factor).to(device)).square().mean()
        loss = of_picture + self.settings.factor_weight * of_factor
        return loss, {"picture": float(of_picture.detach()), "factor": float(of_factor.detach())}

    def report(self) -> dict[str, float]:
        """Squared errors of the velocities of the latest step."""
        return self.latest

    def validate(self) -> dict[str, float]:
        """Squared errors of the averaged network on passages of at most 16 clips, at evenly spread times."""
        n = min(16, len(self.context.validation))
        if n == 0:
            return {}
        generator = step_generator(0, 0, "validation")
        picture, factor = self.validation.draw(torch.arange(n), generator)
        time = (torch.arange(n) + 0.5) / n
        return self._loss(self.averaged, picture, factor, time, generator)[1]

    def export(self) -> dict[str, Tensor]:
        """The averaged network."""
        return self.averaged.state_dict()

    def initialise(self, tensors: Mapping[str, Tensor]) -> None:
        """Start both networks from shipped weights.

        Raises:
            CheckpointError: If they are of another size.
        """
        try:
            for network in (self.network, self.averaged):
                network.load_state_dict({k: v.float() for k, v in tensors.items()})
        except RuntimeError as error:
            raise CheckpointError(f"--init: weights do not fit: {str(error).splitlines()[0]}") from None


_FRONTEND = vocoder_frontend(IdeaConfig().n_mels)

RECIPE = Recipe(
    config=IdeaConfig(),
    frontend=_FRONTEND,
    settings=IdeaTraining(),
    sample_rate_hz=_FRONTEND.sample_rate_hz,
    clip_s=10.0,
    task=IdeaTask,
)


class IdeaModel:
    """The trained flow.

    Args:
        checkpoint: Folder with ``model.safetensors`` and ``card.json``.
        device: Where to compute.

    Raises:
        CheckpointError: If the weights or the card cannot be used.
    """

    name = "idea"
    title = "Idea model"
    deterministic = True

    def __init__(self, *, checkpoint: Path | None, device: str = "cpu") -> None:
        if checkpoint is None:
            raise CheckpointError(f"{self.name}: needs a checkpoint folder, got none")
        loaded = load_checkpoint(checkpoint, name=self.name)
        self.card, self.file_sha256 = loaded.card, loaded.file_sha256
        self.config = from_card(IdeaConfig, loaded.card, "config", checkpoint)
        self.frontend = vocoder_frontend(self.config.n_mels)
        check_frontend(checkpoint, loaded.card, self.frontend.sha256())
        self.network = IdeaNetwork(self.config)
        load_weights(self.network, loaded.tensors, checkpoint)
        self.device = torch.device(device)
        self.network.to(self.device).requires_grad_(False).train(False)
        self.sample_rate_hz = self.frontend.sample_rate_hz
        self.parameters = sum(p.numel() for p in self.network.parameters())
        # Two pictures at a time on a CPU, where larger batches gain little; a fixed number elsewhere.
        self.group = 2 if self.device.type == "cpu" else 32

    @torch.no_grad()
    def sample(self, seeds: Sequence[int], steps: int | None = None) -> tuple[Tensor, Tensor]:
        """Draw ideas.

        Args:
            seeds: One an idea; equal seeds give equal ideas, whatever stands beside them.
            steps: Steps of the sampler; those of the configuration when None.

        Returns:
            Shrunk log-mels ``(batch, n_mels, columns)``, base 10, and stretch factors ``(batch,)``, frames per column.

        Raises:
            InputError: If there is not at least one step.
        """
        config = self.config
        steps = config.steps if steps is None else steps
        if steps < 1:
            raise InputError(f"{self.name}: {steps} steps asked for, need at least 1")
        size = config.n_mels * config.columns + 1
        if not seeds:
            return torch.zeros(0, config.n_mels, config.columns), torch.zeros(0)
        noise = torch.stack([torch.randn(size, generator=torch.Generator().manual_seed(seed)) for seed in seeds])

        def work(rows: Tensor) -> Tensor:
            return integrate(self._velocity, rows.to(self.device), steps).to(rows)

        states = in_fixed_groups(noise, self.group, work)
        picture = states[:, :-1].reshape(-1, config.n_mels, config.columns) * config.span + config.centre
        factor = states[:, -1] * config.stretch_span + config.stretch_centre
        least, most = config.least_frames / config.columns, config.most_frames / config.columns
        return picture.clamp_min(config.floor), factor.clamp(0.5 * least, 1.5 * most)

    def _velocity(self, states: Tensor, time: Tensor) -> Tensor:
        config = self.config
        picture = states[:, :-1].reshape(-1, config.n_mels, config.columns)
        speed, speed_factor = self.network(picture, states[:, -1], time)
        return torch.cat([speed.flatten(1), speed_factor[:, None]], 1)

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
