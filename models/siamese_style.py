"""A siamese encoder of musical style: excerpts of one ensemble lie near each other, of different ones far apart.

The encoder hears a log-mel spectrum and gives one vector per clip, from means and deviations over time, so that when
something sounds does not matter. It is differentiable from the samples on, and serves style transfer as a loss.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from models.batching import check_waveform, in_fixed_groups
from models.checkpoint import check_frontend, from_card, load_weights
from models.checkpoint import load as load_checkpoint
from models.errors import CheckpointError, InputError
from models.frontends.mel import NAMED, MelConfig, log_mel
from models.training.data import ClipStore, step_generator
from models.training.task import Part, Recipe, TaskContext, TrainingSettings

SLOPE = 0.2
LABEL = "ensemble"
LEAST_SAMPLES = 8_192
FRONTEND = dataclasses.replace(NAMED["melgan"], n_mels=128)


@dataclasses.dataclass(frozen=True)
class SiameseConfig:
    """Size of the encoder and shape of its loss.

    Attributes:
        n_mels: Bands of the front end.
        channels: Width of the first layer; the later ones have half as many again.
        embedding: Numbers that describe a clip.
        margin: Distance beyond which clips of different ensembles no longer repel.
        mel_centre: Log-mel value that the network sees as 0.
        mel_range: Log-mel distance that the network sees as 1.
    """

    n_mels: int = 128
    channels: int = 128
    embedding: int = 64
    margin: float = 2.0
    mel_centre: float = -2.0
    mel_range: float = 1.5

    def __post_init__(self) -> None:
        if min(self.n_mels, self.channels, self.embedding) < 1 or self.margin <= 0 or self.mel_range <= 0:
            raise ValueError("sizes, margin and mel_range must be above 0")


class StyleEncoder(nn.Module):
    """Log-mel to a vector that says how a clip sounds; 373,440 parameters as configured by default.

    Three strided convolutions over time with the bands as channels, mean and standard deviation over time, two
    linear layers.

    Args:
        config: Sizes.
    """

    def __init__(self, config: SiameseConfig) -> None:
        super().__init__()
        self.config = config
        width, wide = config.channels, config.channels * 3 // 2
        self.layers = nn.ModuleList(
            [
                nn.Conv1d(config.n_mels, width, 5, stride=2, padding=2),
                nn.Conv1d(width, wide, 5, stride=2, padding=2),
                nn.Conv1d(wide, wide, 3, stride=2, padding=1),
            ]
        )
        self.hidden = nn.Linear(2 * wide, width)
        self.output = nn.Linear(width, config.embedding)

    def forward(self, mel: Tensor) -> Tensor:
        """Embedding ``(batch, embedding)`` of a log-mel ``(batch, n_mels, frames)``."""
        x = (mel - self.config.mel_centre) / self.config.mel_range
        for layer in self.layers:
            x = nn.functional.leaky_relu(layer(x), SLOPE)
        x = x.float()
        deviation = (x.var(-1, correction=0) + 1e-4).sqrt()
        x = nn.functional.leaky_relu(self.hidden(torch.cat([x.mean(-1), deviation], 1)), SLOPE)
        out: Tensor = self.output(x)
        return out.float()


def pairwise_distance(embedding: Tensor) -> Tensor:
    """Euclidean distances ``(batch, batch)`` between rows; the diagonal is about 0 and has a gradient of 0."""
    gap = embedding[:, None] - embedding[None]
    return (gap.square().sum(-1) + 1e-8).sqrt()


def contrastive_loss(embedding: Tensor, groups: Tensor, margin: float) -> Tensor:
    """Half the squared distance of pairs of a group, half of ``clamp(margin - distance)`` squared of the others.

    Both kinds are averaged apart, so that the many unlike pairs do not outweigh the few alike ones. A batch with
    only one kind has the other term at 0.

    Args:
        embedding: Shape ``(batch, size)``.
        groups: Group of each row, whole numbers, shape ``(batch,)``.
        margin: Distance beyond which unlike pairs cost nothing.

    Source:
        Hadsell, Chopra and LeCun, "Dimensionality reduction by learning an invariant mapping", 2006.

    >>> contrastive_loss(torch.tensor([[0.0], [3.0]]), torch.tensor([0, 1]), 2.0)
    tensor(0.)
    """
    distance = pairwise_distance(embedding)
    same = groups[:, None] == groups[None]
    upper = torch.ones_like(same).triu(1)
    alike, unlike = same & upper, ~same & upper
    near = 0.5 * distance.square()
    far = 0.5 * (margin - distance).clamp_min(0.0).square()
    return (near * alike).sum() / alike.sum().clamp_min(1) + (far * unlike).sum() / unlike.sum().clamp_min(1)


@dataclasses.dataclass(frozen=True)
class SiameseTraining(TrainingSettings):
    """How the encoder learns.

    Attributes:
        batch_size: Excerpts in a step, a multiple of 4: two excerpts of each of two clips of an ensemble.
        samples: Length of an excerpt.
        gain_db: Range of the random level of an excerpt, either way.
        noise: Standard deviation of the noise added to the log-mel; without it the loss has needless slopes that
            waveform optimisation finds.
    """

    batch_size: int = 32
    learning_rate: float = 1e-3
    samples: int = 49_152
    gain_db: float = 12.0
    noise: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size % 4 or self.samples < LEAST_SAMPLES:
            raise InputError(f"training: batch_size must be a multiple of 4 and samples at least {LEAST_SAMPLES}")


def group_numbers(store: ClipStore) -> Tensor:
    """Number of each clip's ensemble in the sorted list of them, shape ``(clips,)``."""
    names = [str(labels[LABEL]) for labels in store.labels]
    known = {name: i for i, name in enumerate(sorted(set(names)))}
    return torch.tensor([known[name] for name in names])


class SiameseTask:
    """Losses of a step and validation of the encoder.

    Args:
        context: Sizes, settings, clips and device.

    Raises:
        InputError: If all clips are of one ensemble, or shorter than an excerpt.
    """

    def __init__(self, context: TaskContext) -> None:
        self.context, self.device = context, context.device
        self.settings: SiameseTraining = context.settings
        self.config: SiameseConfig = context.config
        self.groups = group_numbers(context.training)
        if int(self.groups.max()) < 1:
            raise InputError("siamese_style: all clips are of one ensemble, need at least two; add a corpus")
        if context.training.pcm.shape[1] < self.settings.samples:
            raise InputError(
                f"siamese_style: clips have {context.training.pcm.shape[1]} samples, an excerpt needs"
                f" {self.settings.samples}; lower --set samples"
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed)
            self.network = StyleEncoder(context.config)
        self.network.to(self.device)
        self.terms: dict[str, float] = {}

    def modules(self) -> Mapping[str, nn.Module]:
        """The encoder."""
        return {"network": self.network}

    def parts(self) -> Mapping[str, Part]:
        """One optimiser."""
        return {"network": Part(list(self.network.parameters()))}

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Excerpts ``(batch, samples)`` and their groups ``(batch,)``: every ensemble as often, whatever its size."""
        store, settings = self.context.training, self.settings
        generator = step_generator(self.context.seed, step, "siamese")
        places = settings.batch_size // 4
        n = int(self.groups.max()) + 1
        order = torch.cat([torch.randperm(n, generator=generator) for _ in range(-(-places // n))])[:places]
        waveforms, groups = [], []
        room = store.pcm.shape[1] - settings.samples
        for group in order.tolist():
            members = torch.nonzero(self.groups == group)[:, 0]
            for place in torch.randint(members.numel(), (2,), generator=generator).tolist():
                for start in torch.randint(room + 1, (2,), generator=generator).tolist():
                    waveforms.append(store.pcm[members[place], start : start + settings.samples])
                    groups.append(group)
        out = torch.stack(waveforms).to(torch.float32) / 32767.0
        draw = 2.0 * torch.rand(out.shape[0], 1, generator=generator) - 1.0
        return out * torch.pow(10.0, draw * (settings.gain_db / 20.0)), torch.tensor(groups)

    def losses(self, step: int) -> Iterator[tuple[str, Tensor]]:
        """The contrastive loss of step number ``step``."""
        waveform, groups = self.batch(step)
        with torch.no_grad():
            mel = log_mel(waveform.to(self.device), self.context.frontend)
            generator = step_generator(self.context.seed, step, "noise")
            mel = mel + self.settings.noise * torch.randn(mel.shape, generator=generator).to(mel)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.context.bfloat16):
            embedding = self.network(mel)
        loss = contrastive_loss(embedding.float(), groups.to(self.device), self.config.margin)
        self.terms = {"contrastive": float(loss.detach())}
        yield "network", loss

    def report(self) -> dict[str, float]:
        """The loss of the latest step."""
        return self.terms

    def validate(self) -> dict[str, float]:
        """Loss and pairs told apart at half the margin, over the first 48 validation clips."""
        store = self.context.validation
        if len(store) < 2:
            return {}
        rows = torch.arange(min(48, len(store)))
        mel = log_mel(store.waveforms(rows)[:, : self.settings.samples].to(self.device), self.context.frontend)
        embedding = self.network(mel)
        groups = group_numbers(store)[rows].to(self.device)
        distance = pairwise_distance(embedding)
        upper = torch.ones_like(distance, dtype=torch.bool).triu(1)
        same = groups[:, None] == groups[None]
        right = (distance < 0.5 * self.config.margin) == same
        means = {"contrastive": float(contrastive_loss(embedding, groups, self.config.margin))}
        for name, pairs in (("alike_told", same & upper), ("unlike_told", ~same & upper)):
            if bool(pairs.any()):
                means[name] = float(right[pairs].float().mean())
        return means

    def export(self) -> dict[str, Tensor]:
        """The encoder as it stands."""
        return self.network.state_dict()


class SiameseStyle:
    """The trained encoder behind its front end.

    What its author left to be done: the published notebooks take a map per position for the embedding and pairs of
    layers of one discriminator for excerpts. Here a clip has one vector, and the pairs are excerpts.

    Args:
        checkpoint: Folder with ``model.safetensors`` and ``card.json``.
        device: Where to compute.

    Raises:
        CheckpointError: If the weights or the card cannot be used.
    """

    name = "siamese_style"
    title = "Siamese style encoder"
    deterministic = True

    def __init__(self, *, checkpoint: Path | None, device: str = "cpu") -> None:
        if checkpoint is None:
            raise CheckpointError(f"{self.name}: needs a checkpoint folder, got none")
        loaded = load_checkpoint(checkpoint, name=self.name)
        self.card, self.file_sha256 = loaded.card, loaded.file_sha256
        check_frontend(checkpoint, loaded.card, FRONTEND.sha256())
        self.frontend: MelConfig = FRONTEND
        self.config = from_card(SiameseConfig, loaded.card, "config", checkpoint)
        self.network = StyleEncoder(self.config)
        load_weights(self.network, loaded.tensors, checkpoint)
        self.device = torch.device(device)
        self.network.to(self.device).requires_grad_(False).train(False)
        self.sample_rate_hz = FRONTEND.sample_rate_hz
        self.parameters = sum(p.numel() for p in self.network.parameters())

    def features(self, waveform: Tensor) -> Tensor:
        """Embedding ``(batch, embedding)`` of a waveform ``(batch, time)`` on the model's device, with gradient."""
        short = LEAST_SAMPLES - waveform.shape[1]
        if short > 0:
            waveform = nn.functional.pad(waveform, (0, short))
        out: Tensor = self.network(log_mel(waveform, self.frontend))
        return out

    @torch.no_grad()
    def embed(self, waveform: Tensor, *, sample_rate_hz: int) -> Tensor:
        """Embedding ``(batch, embedding)``; a row does not depend on the others.

        Raises:
            InputError: If shape or rate are impossible, or a sample is not finite.
        """
        check_waveform(
            waveform, sample_rate_hz=sample_rate_hz, seeds=None, expected_hz=self.sample_rate_hz, name=self.name
        )
        if waveform.shape[0] == 0:
            return torch.zeros(0, self.config.embedding)
        return in_fixed_groups(waveform.to(self.device, torch.float32), 1, self.features).to(waveform)

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


RECIPE = Recipe(
    config=SiameseConfig(),
    frontend=FRONTEND,
    settings=SiameseTraining(),
    sample_rate_hz=FRONTEND.sample_rate_hz,
    clip_s=9.0,
    task=SiameseTask,
    labels=(LABEL,),
)
