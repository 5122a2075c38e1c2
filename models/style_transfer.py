"""Style transfer by optimising a waveform against the features of a vocoder's discriminator.

As in image style transfer: the clip whose content is wanted is the start, and its samples are moved until the features
of a frozen network keep the content and take on the style of another clip. What "style" is, is a choice:

``"positional"``
    the features themselves, at the same instants. This is what was published, and why both songs were heard at once:
    pulling towards another track's features at fixed times adds that track.
``"gram"``
    products of all pairs of channels, averaged over time.
``"moments"``
    mean and standard deviation of every channel over time.
``"siamese"``
    the vector that a siamese style encoder gives, see `models.siamese_style`.

Source:
    Gatys, Ecker and Bethge, "Image style transfer using convolutional neural networks", 2016; the public repository
    wmelonet-melgan_style_transfer.
"""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.card import read_card
from models.checkpoint import from_card, load_weights, save
from models.checkpoint import load as load_checkpoint
from models.errors import CheckpointError, InputError
from models.siamese_style import SiameseStyle

SLOPE = 0.2
METHODS = ("positional", "gram", "moments", "siamese")
OPTIMISERS = ("adam", "lbfgs")
LEAST_SAMPLES = 4_096
_FOUR_STRIDED = 4


@dataclasses.dataclass(frozen=True)
class FeatureConfig:
    """Size of the feature network: the first hidden layers of one MelGAN discriminator.

    Attributes:
        base: Width of the first layer. Published: 16.
        channels: Greatest width. Published: 1,024.
        depth: Layers, 1 to 6; the sixth sees the mel in a conditioned discriminator and is then no use here.
    """

    base: int = 16
    channels: int = 256
    depth: int = 5

    def __post_init__(self) -> None:
        if not 1 <= self.depth <= 6 or self.base < 4 or self.base % 4 or self.channels < self.base:
            raise ValueError(f"need depth 1 to 6 and base a multiple of 4 up to channels, got {self}")


class FeatureNetwork(nn.Module):
    """Waveform to hidden maps; of the published size and depth 6 it has 5,634,880 parameters without weight norm.

    Args:
        config: Sizes.
    """

    def __init__(self, config: FeatureConfig) -> None:
        super().__init__()
        self.config = config
        width = config.base
        layers: list[nn.Module] = [nn.Conv1d(1, width, 15)]
        for _ in range(_FOUR_STRIDED):
            before, width = width, min(4 * width, config.channels)
            layers.append(nn.Conv1d(before, width, 41, stride=4, padding=20, groups=before // 4))
        before, width = width, min(2 * width, config.channels)
        layers.append(nn.Conv1d(before, width, 5, padding=2))
        self.layers = nn.ModuleList(layers[: config.depth])

    def forward(self, waveform: Tensor) -> list[Tensor]:
        """Maps ``(batch, channels, time)``, one a layer, of a waveform ``(batch, time >= 8)``."""
        x = nn.functional.pad(waveform[:, None], (7, 7), mode="reflect")
        maps = []
        for layer in self.layers:
            x = nn.functional.leaky_relu(layer(x), SLOPE)
            maps.append(x)
        return maps


def gram(features: Tensor) -> Tensor:
    """Products of channels averaged over time, ``(batch, channels, channels)`` of ``(batch, channels, time)``."""
    return features @ features.transpose(1, 2) / features.shape[-1]


def moments(features: Tensor) -> Tensor:
    """Means and standard deviations over time, ``(batch, 2 * channels)`` of ``(batch, channels, time)``."""
    deviation = (features.var(-1, correction=0) + 1e-10).sqrt()
    return torch.cat([features.mean(-1), deviation], 1)


_STATISTICS: dict[str, Callable[[Tensor], Tensor]] = {
    "positional": lambda features: features,
    "gram": gram,
    "moments": moments,
}


def relative_error(estimate: Tensor, reference: Tensor) -> Tensor:
    """Squared distance over the squared size of the reference, a scalar."""
    return (estimate - reference).square().sum() / reference.square().sum().clamp_min(1e-12)


def content_error(estimate: Tensor, reference: Tensor) -> Tensor:
    """Squared distance of maps over the variance of the reference in time: 1 if only its means are kept."""
    moving = reference - reference.mean(-1, keepdim=True)
    return (estimate - reference).square().sum() / moving.square().sum().clamp_min(1e-12)


class Shape:
    """A filter like the long-term spectra of two clips, and its inverse.

    Args:
        content: Shape ``(time,)``.
        style: Shape ``(time,)``, any length.
        flat: Makes the filter do nothing but scale.
    """

    def __init__(self, content: Tensor, style: Tensor, *, flat: bool = False) -> None:
        self.samples = content.shape[0]
        # A fast length, and room for the filter's ends to wrap into.
        self.size = -(-(self.samples + 2048) // 4096) * 4096
        power = torch.zeros(self.size // 2 + 1, dtype=content.dtype, device=content.device)
        for clip in (content, style):
            spectrum = torch.fft.rfft(nn.functional.pad(clip[: self.size], (0, max(0, self.size - clip.shape[0]))))
            power = power + spectrum.abs().square() / 2.0
        width = 2 * (self.size // 512) + 1
        smooth = nn.functional.avg_pool1d(power[None, None], width, 1, width // 2, count_include_pad=False)[0, 0]
        gain = (smooth / smooth.mean().clamp_min(1e-12)).sqrt().clamp_min(1e-3)
        level = content.square().mean().sqrt().clamp_min(1e-4)
        self.gain = level * (torch.ones_like(gain) if flat else gain)

    def inverse(self, waveform: Tensor) -> Tensor:
        """Free numbers ``(size,)`` that stand for a waveform ``(time,)``."""
        padded = nn.functional.pad(waveform, (0, self.size - self.samples))
        free: Tensor = torch.fft.irfft(torch.fft.rfft(padded) / self.gain, n=self.size)
        return free

    def __call__(self, free: Tensor) -> Tensor:
        """Waveform ``(time,)`` of free numbers."""
        waveform: Tensor = torch.fft.irfft(torch.fft.rfft(free) * self.gain, n=self.size)
        return waveform[: self.samples]


@dataclasses.dataclass(frozen=True)
class TransferConfig:
    """What is optimised and how.

    Both losses have a scale that does not depend on the method: the content loss is the squared error of the features
    over their own variance in time, the style loss is what is left of the gap to the style that there was at the start.

    Attributes:
        method: One of ``METHODS``.
        style_weight: Weight of the style loss; 0 leaves the content as it is.
        content_weight: Weight of the content loss.
        content_layers: Layers whose maps are the content.
        style_layers: Layers whose statistics are the style; not looked at by ``"siamese"``.
        steps: Updates.
        optimiser: ``"lbfgs"`` as published, or ``"adam"``.
        learning_rate: Of Adam in units of a fiftieth of the clip's root mean square; of L-BFGS a factor on its steps.
        shaped: Whether updates are filtered like the spectra of both clips. Published: no. Without it the cheapest way
            to change the features is noise where neither clip has any sound.
    """

    method: str = "gram"
    style_weight: float = 1.0
    content_weight: float = 1.0
    content_layers: tuple[int, ...] = (2, 3, 4)
    style_layers: tuple[int, ...] = (0, 1, 2, 3, 4)
    steps: int = 60
    optimiser: str = "lbfgs"
    learning_rate: float = 1.0
    shaped: bool = True

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, got {self.method!r}")
        if self.optimiser not in OPTIMISERS:
            raise ValueError(f"optimiser must be one of {', '.join(OPTIMISERS)}, got {self.optimiser!r}")
        if self.steps < 0 or self.learning_rate <= 0 or min(self.style_weight, self.content_weight) < 0:
            raise ValueError("steps and weights must be at least 0 and learning_rate above 0")
        if not self.content_layers or not self.style_layers:
            raise ValueError("content_layers and style_layers must name layers")


@dataclasses.dataclass(frozen=True)
class Transfer:
    """What came of an optimisation.

    Attributes:
        waveform: Shape ``(time,)``, brought back to full scale 1 where it went beyond.
        content_loss: At the end; 0 at the start.
        style_loss: At the end; 1 at the start.
        losses: Total loss of every evaluation.
    """

    waveform: Tensor
    content_loss: float
    style_loss: float
    losses: tuple[float, ...]


class StyleObjective:
    """The two losses between one content and one style clip.

    Args:
        content: Waveform ``(time,)`` whose content is kept.
        style: Waveform ``(time,)`` whose style is wanted; any length, but for ``"positional"`` that of the content
            counts, cut or filled up with silence.
        network: Feature network.
        config: Method, layers and weights.
        siamese: Style encoder; needed by ``"siamese"``.

    Raises:
        InputError: If the encoder is missing, a layer does not exist or a clip is too short.
    """

    def __init__(
        self,
        content: Tensor,
        style: Tensor,
        network: FeatureNetwork,
        config: TransferConfig,
        siamese: SiameseStyle | None = None,
    ) -> None:
        if config.method == "siamese" and siamese is None:
            raise InputError("style transfer: method 'siamese' needs a siamese_style model, got none")
        depth = network.config.depth
        wrong = [i for i in (*config.content_layers, *config.style_layers) if not 0 <= i < depth]
        if wrong:
            raise InputError(f"style transfer: layers {wrong} do not exist, the network has 0 to {depth - 1}")
        for name, clip in (("content", content), ("style", style)):
            if clip.ndim != 1 or clip.shape[0] < LEAST_SAMPLES:
                raise InputError(
                    f"style transfer: {name} must have shape (time >= {LEAST_SAMPLES},), got {tuple(clip.shape)}"
                )
            if not bool(torch.isfinite(clip).all()):
                raise InputError(f"style transfer: {name} holds samples that are not finite numbers")
        self.network, self.config, self.siamese = network, config, siamese
        if config.method == "positional":
            style = nn.functional.pad(style, (0, max(0, content.shape[0] - style.shape[0])))[: content.shape[0]]
        with torch.no_grad():
            maps = network(content[None])
            self.content = [maps[i] for i in config.content_layers]
            self.style = self._statistics(style[None], None)
            self.start_gap = self._gap(self._statistics(content[None], maps)).clamp_min(1e-8)

    def _statistics(self, waveform: Tensor, maps: Sequence[Tensor] | None) -> list[Tensor]:
        if self.config.method == "siamese":
            assert self.siamese is not None
            return [self.siamese.features(waveform)]
        maps = self.network(waveform) if maps is None else maps
        return [_STATISTICS[self.config.method](maps[i]) for i in self.config.style_layers]

    def _gap(self, statistics: Sequence[Tensor]) -> Tensor:
        gaps = [relative_error(mine, theirs) for mine, theirs in zip(statistics, self.style, strict=True)]
        return torch.stack(gaps).mean()

    def losses(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Content and style loss of a waveform ``(time,)``, both scalars without their weights."""
        maps = self.network(waveform[None])
        content = torch.stack(
            [content_error(maps[i], kept) for i, kept in zip(self.config.content_layers, self.content, strict=True)]
        ).mean()
        return content, self._gap(self._statistics(waveform[None], maps)) / self.start_gap


def transfer(
    content: Tensor,
    style: Tensor,
    network: FeatureNetwork,
    config: TransferConfig | None = None,
    *,
    siamese: SiameseStyle | None = None,
) -> Transfer:
    """Move the samples of one clip towards the style of another; nothing is drawn at random.

    Args:
        content: Waveform ``(time,)`` at 22,050 Hz, full scale 1.
        style: Waveform ``(time,)`` at the same rate.
        network: Feature network, frozen.
        config: Method, weights and length.
        siamese: Style encoder; needed by the method ``"siamese"``.

    Raises:
        InputError: See `StyleObjective`.
    """
    config = config or TransferConfig()
    objective = StyleObjective(content, style, network, config, siamese)
    # In units of the clip's own level, so that steps fit soft and loud clips alike.
    shape = Shape(content, style, flat=not config.shaped)
    free = shape.inverse(content).detach().clone().requires_grad_(True)
    losses: list[float] = []
    latest = (0.0, 1.0)

    def closure() -> Tensor:
        nonlocal latest
        optimiser.zero_grad()
        kept, styled = objective.losses(shape(free))
        total = config.content_weight * kept + config.style_weight * styled
        total.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        losses.append(float(total.detach()))
        latest = (float(kept.detach()), float(styled.detach()))
        return total

    optimiser: torch.optim.Optimizer
    if config.optimiser == "adam":
        optimiser = torch.optim.Adam([free], lr=0.02 * config.learning_rate)
        for _ in range(config.steps):
            optimiser.step(closure)
    elif config.steps:
        optimiser = torch.optim.LBFGS(
            [free],
            lr=config.learning_rate,
            max_iter=config.steps,
            max_eval=config.steps + config.steps // 4,
            history_size=20,
            tolerance_grad=0.0,
            tolerance_change=0.0,
            line_search_fn="strong_wolfe",
        )
        optimiser.step(closure)  # type: ignore[no-untyped-call]  # torch has no types here
    with torch.no_grad():
        out = shape(free.detach()) if config.steps else content.clone()
        if config.steps:
            kept, styled = objective.losses(out)
            latest = (float(kept), float(styled))
        peak = float(out.abs().max())
        out = out / peak if peak > 1.0 else out
    return Transfer(out, *latest, tuple(losses))


class DiscriminatorFeatures:
    """The first hidden layers of a trained MelGAN discriminator, scale 0, as features of sound.

    Args:
        checkpoint: Folder with ``model.safetensors`` and ``card.json``, as made by `export_discriminator`.
        device: Where to compute.

    Raises:
        CheckpointError: If the weights or the card cannot be used.
    """

    name = "melgan_discriminator"
    title = "MelGAN discriminator, as features"
    deterministic = True
    sample_rate_hz = 22_050

    def __init__(self, *, checkpoint: Path | None, device: str = "cpu") -> None:
        if checkpoint is None:
            raise CheckpointError(f"{self.name}: needs a checkpoint folder, got none")
        loaded = load_checkpoint(checkpoint, name=self.name)
        self.card, self.file_sha256 = loaded.card, loaded.file_sha256
        self.config = from_card(FeatureConfig, loaded.card, "config", checkpoint)
        self.network = FeatureNetwork(self.config)
        load_weights(self.network, loaded.tensors, checkpoint)
        self.device = torch.device(device)
        self.network.to(self.device).requires_grad_(False).train(False)
        self.parameters = sum(p.numel() for p in self.network.parameters())

    def untrained(self, seed: int) -> FeatureNetwork:
        """A network of the same size with weights that were never trained, as a baseline."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = FeatureNetwork(self.config)
        return network.to(self.device).requires_grad_(False).train(False)

    def describe(self) -> dict[str, object]:
        """Configuration, checkpoint and size."""
        card = self.card
        return {
            "name": self.name,
            "config": dataclasses.asdict(self.config),
            "frontend": card.get("frontend"),
            "checkpoint": {
                "sha256": card["tensors_sha256"],
                "file_sha256": self.file_sha256,
                "step": card.get("step"),
                "trained_on": card.get("trained_on"),
            },
            "parameters": self.parameters,
        }


def export_discriminator(run: Path, folder: Path, *, scale: int = 0, depth: int = 5) -> str:
    """Make a checkpoint of features out of the state of a MelGAN training run.

    Args:
        run: Folder of the run, with ``state.pt`` and ``checkpoint/card.json``.
        folder: Where the new checkpoint goes.
        scale: Which of the discriminators.
        depth: How many of its hidden layers.

    Returns:
        Hash of the tensors.

    Raises:
        CheckpointError: If the state holds no such discriminator.
    """
    path = run / "state.pt"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        found: dict[str, Any] = state["modules"]["discriminator"]
        step = int(state["step"])
        tensors: dict[str, Tensor] = {}
        for i in range(depth):
            at = f"scales.{scale}.layers.{i}"
            gain, direction = (found[f"{at}.parametrizations.weight.original{part}"] for part in (0, 1))
            norm = direction.flatten(1).norm(dim=1).reshape(-1, 1, 1)
            tensors[f"layers.{i}.weight"] = (direction * (gain / norm)).reshape(direction.shape).float()
            tensors[f"layers.{i}.bias"] = found[f"{at}.bias"].float()
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path}: holds no discriminator {scale} of {depth} layers: {reason}") from None
    widths = [tensors[f"layers.{i}.bias"].numel() for i in range(depth)]
    config = FeatureConfig(base=widths[0], channels=max(widths), depth=depth)
    try:
        FeatureNetwork(config).load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: discriminator {scale} does not fit: {str(error).splitlines()[0]}") from None
    card = dict(read_card(run / "checkpoint"))
    card.pop("tensors_sha256", None)
    facts = {
        "name": DiscriminatorFeatures.name,
        "config": dataclasses.asdict(config),
        "made_from": {"name": card.get("name"), "scale": scale, "depth": depth},
        "step": step,
        "shipped_numbers": sum(value.numel() for value in tensors.values()),
        "parameters": {"network": sum(value.numel() for value in tensors.values())},
    }
    return save(folder, tensors, {**card, **facts})
