"""A judge of notes: which of the 128 MIDI pitches, and which of the eleven instrument families, a clip holds.

Its answers make pitch accuracy, pitch entropy and the inception score of a set of generated notes; the layer before its
answers is an embedding for distances between sets. It is trained on the training split alone, and its card says how
often it is right, because no such score can be better than its judge.

The level of a clip does not matter: the log-mel is measured from its own peak.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from models.batching import check_waveform, in_fixed_groups
from models.checkpoint import check_frontend, from_card, load_weights
from models.checkpoint import load as load_checkpoint
from models.codemap_transformer import FAMILIES, PITCHES, class_numbers
from models.errors import CheckpointError, InputError
from models.frontends.mel import MelConfig, compress, log_mel, mel_filterbank
from models.frontends.stft import StftConfig, stft
from models.training.data import ClipStore, draw_rows, step_generator
from models.training.task import Part, Recipe, TaskContext, TrainingSettings

# Long windows and many bands: two neighbouring low notes differ in partials a few Hz apart.
FRONTEND = MelConfig(sample_rate_hz=16_000, stft=StftConfig(4096, 1024, 4096), n_mels=320, f_max_hz=7_000.0)
_SEMITONES = (-2, -1, 0, 1, 2)
_DETUNINGS = (-0.2, 0.0, 0.2)

Value = TypeVar("Value")


@dataclasses.dataclass(frozen=True)
class NoteClassifierConfig:
    """Size of the network.

    Attributes:
        n_mels: Bands of the front end, a multiple of 4.
        channels: Width of the first layers; the later ones are half as wide again and twice as wide.
        mixed: Numbers that a frame is summed up in.
        embedding: Numbers that a clip is summed up in, the layer before the answers.
        range_np: Log-mel values this far under the loudest one of the clip, and all below, are silence.
    """

    n_mels: int = 320
    channels: int = 16
    mixed: int = 192
    embedding: int = 64
    range_np: float = 9.0

    def __post_init__(self) -> None:
        if min(self.n_mels, self.channels, self.mixed, self.embedding) < 1 or self.range_np <= 0:
            raise ValueError("sizes and range_np must be above 0")
        if self.n_mels % 4 or self.channels % 2:
            raise ValueError(f"need n_mels in fours and even channels, got {self.n_mels} and {self.channels}")


def _block(n_in: int, n_out: int, kernel: tuple[int, int], stride: tuple[int, int]) -> nn.Sequential:
    padding = (kernel[0] // 2, kernel[1] // 2)
    conv = nn.Conv2d(n_in, n_out, kernel, stride=stride, padding=padding, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(n_out), nn.ReLU())


class NoteNetwork(nn.Module):
    """Log-mel to the embedding and the two answers of a clip; 293,259 parameters as configured by default.

    Four convolutions keep a quarter of the bands, one layer over all bands at once sums up a frame, and mean and
    maximum over time sum up a clip, whatever its length.

    Args:
        config: Sizes.
    """

    def __init__(self, config: NoteClassifierConfig) -> None:
        super().__init__()
        self.config = config
        narrow, middle, wide = config.channels, config.channels * 3 // 2, config.channels * 2
        self.layers = nn.Sequential(
            _block(1, narrow, (5, 3), (1, 2)),
            _block(narrow, narrow, (3, 3), (2, 1)),
            _block(narrow, middle, (3, 3), (2, 2)),
            _block(middle, wide, (3, 3), (1, 1)),
            _block(wide, narrow, (1, 1), (1, 1)),
        )
        self.mix = nn.Conv1d(narrow * config.n_mels // 4, config.mixed, 1)
        self.embed = nn.Linear(2 * config.mixed, config.embedding)
        self.pitch = nn.Linear(config.embedding, PITCHES)
        self.family = nn.Linear(config.embedding, len(FAMILIES))

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Embedding ``(batch, embedding)`` and logits of pitch and family of log-mels ``(batch, n_mels, frames)``."""
        peak = mel.amax((1, 2), keepdim=True)
        x = 1.0 + (mel - peak).clamp_min(-self.config.range_np) / self.config.range_np
        x = self.layers(x[:, None])
        x = torch.relu(self.mix(x.flatten(1, 2))).float()
        embedding = torch.relu(self.embed(torch.cat([x.mean(-1), x.amax(-1)], 1))).float()
        return embedding, self.pitch(embedding).float(), self.family(embedding).float()


@dataclasses.dataclass(frozen=True)
class NoteTraining(TrainingSettings):
    """How the classifier learns.

    Attributes:
        family_weight: Weight of the loss of the families; that of the pitches has 1.
        samples: Length of the excerpts that are learned from.
        latest_start_s: Latest start of an excerpt; early ones are drawn more often, since many notes die away.
        noise_db: Loudest noise that is added to half of the clips, relative to the peak of the clip.
        tilt_np: Range of the random slope of the spectrum from the lowest to the highest band, either way.
        transposed: Share of the clips that are transposed by up to two semitones, with their label.
    """

    batch_size: int = 32
    learning_rate: float = 2e-3
    warmup_steps: int = 30
    family_weight: float = 0.5
    samples: int = 32_768
    latest_start_s: float = 1.5
    noise_db: float = -35.0
    tilt_np: float = 1.0
    transposed: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.transposed <= 1.0 or self.samples < 1 or self.latest_start_s < 0:
            raise InputError("training: need transposed in 0…1, samples of at least 1, latest_start_s of at least 0")


def transposing_filters(config: MelConfig, semitones: float) -> Tensor:
    """Mel filters ``(n_mels, bins)``, float64, that see all frequencies higher by ``semitones``."""
    rate = round(config.sample_rate_hz * 2.0 ** (semitones / 12.0))
    return mel_filterbank(dataclasses.replace(config, sample_rate_hz=rate))


class NoteClassifierTask:
    """Losses of a step and validation of the classifier.

    Args:
        context: Sizes, settings, clips and device.

    Raises:
        CorpusError: If a clip lacks pitch or family.
    """

    def __init__(self, context: TaskContext) -> None:
        self.context, self.device = context, context.device
        self.settings: NoteTraining = context.settings
        self.answers = class_tensor(context.training)
        self.validation_answers = class_tensor(context.validation)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed)
            self.network = NoteNetwork(context.config)
        self.network.to(self.device)
        self.filters = {
            (s, d): transposing_filters(context.frontend, s + d).to(self.device, torch.float32)
            for s in _SEMITONES
            for d in _DETUNINGS
        }
        self.terms: dict[str, float] = {}

    def modules(self) -> Mapping[str, nn.Module]:
        """The network."""
        return {"network": self.network}

    def parts(self) -> Mapping[str, Part]:
        """One optimiser."""
        return {"network": Part(list(self.network.parameters()), weight_decay=1e-2)}

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Changed log-mels ``(batch, n_mels, frames)`` of a step and their pitches and families ``(batch, 2)``."""
        store, settings, config = self.context.training, self.settings, self.context.frontend
        rows = draw_rows(store, batch_size=settings.batch_size, seed=self.context.seed, step=step)
        generator = step_generator(self.context.seed, step, "classifier")
        draws = torch.rand(len(rows), 7, generator=generator)
        room = max(0, store.pcm.shape[1] - settings.samples)
        latest = min(room, round(settings.latest_start_s * store.sample_rate_hz))
        starts = (draws[:, 0].square() * latest).round().int().tolist()
        excerpts = [store.pcm[r, at : at + settings.samples] for r, at in zip(rows.tolist(), starts, strict=True)]
        waveform = torch.stack(excerpts).to(torch.float32) / 32767.0
        noise = torch.randn(waveform.shape, generator=generator)
        level_db = settings.noise_db - 45.0 * draws[:, 1:2]
        peak = waveform.abs().amax(1, keepdim=True)
        loud = peak * torch.pow(10.0, level_db / 20.0) * (draws[:, 2:3] < 0.5)
        magnitude = stft((waveform + loud * noise).to(self.device), config.stft).abs()
        steps = [_pick(_SEMITONES, float(d)) if move < settings.transposed else 0 for d, move in draws[:, 3:5].tolist()]
        detunings = [_pick(_DETUNINGS, float(d)) for d in draws[:, 5].tolist()]
        bands = [self.filters[s, d] @ m for m, s, d in zip(magnitude, steps, detunings, strict=True)]
        mel = compress(torch.stack(bands), config)
        tilt = ((2.0 * draws[:, 6] - 1.0) * settings.tilt_np)[:, None, None].to(mel)
        mel = mel + tilt * torch.linspace(-0.5, 0.5, mel.shape[1]).to(mel)[None, :, None]
        answers = self.answers[rows].clone()
        answers[:, 0] = (answers[:, 0] + torch.tensor(steps)).clamp(0, PITCHES - 1)
        return mel, answers.to(self.device)

    def losses(self, step: int) -> Iterator[tuple[str, Tensor]]:
        """Cross-entropy of both answers in step number ``step``."""
        with torch.no_grad():
            mel, answers = self.batch(step)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.context.bfloat16):
            _, pitch, family = self.network(mel)
        loss_pitch = nn.functional.cross_entropy(pitch.float(), answers[:, 0])
        loss_family = nn.functional.cross_entropy(family.float(), answers[:, 1])
        self.terms = {"pitch": float(loss_pitch.detach()), "family": float(loss_family.detach())}
        yield "network", loss_pitch + self.settings.family_weight * loss_family

    def report(self) -> dict[str, float]:
        """The losses of the latest step."""
        return self.terms

    def validate(self) -> dict[str, float]:
        """Losses and shares of right answers over the validation clips, as they are."""
        store, n = self.context.validation, len(self.context.validation)
        if n == 0:
            return {}
        found = []
        for start in range(0, n, 32):
            rows = torch.arange(start, min(n, start + 32))
            found.append(self.network(log_mel(store.waveforms(rows).to(self.device), self.context.frontend))[1:])
        pitch, family = (torch.cat(parts).float().cpu() for parts in zip(*found, strict=True))
        wanted = self.validation_answers
        gap = (pitch.argmax(1) - wanted[:, 0]).abs()
        return {
            "pitch": float(nn.functional.cross_entropy(pitch, wanted[:, 0])),
            "family": float(nn.functional.cross_entropy(family, wanted[:, 1])),
            "pitch_accuracy": float((gap == 0).float().mean()),
            "pitch_class_accuracy": float((gap % 12 == 0).float().mean()),
            "family_accuracy": float((family.argmax(1) == wanted[:, 1]).float().mean()),
        }

    def export(self) -> dict[str, Tensor]:
        """The network as it stands."""
        return self.network.state_dict()


def _pick(values: Sequence[Value], draw: float) -> Value:
    return values[min(len(values) - 1, int(draw * len(values)))]


def class_tensor(store: ClipStore) -> Tensor:
    """Pitch and family number of every clip, int64, shape ``(clips, 2)``.

    Raises:
        CorpusError: If a clip lacks one.
    """
    numbers = [class_numbers(labels, clip) for labels, clip in zip(store.labels, store.clip_ids, strict=True)]
    return torch.tensor(numbers, dtype=torch.int64).reshape(-1, 2)


@dataclasses.dataclass(frozen=True)
class Judgement:
    """What the classifier says of some clips.

    Attributes:
        pitch: Probability of each MIDI number, float64, shape ``(batch, 128)``.
        family: Probability of each family, in the order of ``FAMILIES``, float64, shape ``(batch, 11)``.
        embedding: The layer before the answers, float64, shape ``(batch, embedding)``.
    """

    pitch: Tensor
    family: Tensor
    embedding: Tensor


class NoteClassifier:
    """The trained classifier behind its front end.

    Args:
        checkpoint: Folder with ``model.safetensors`` and ``card.json``.
        device: Where to compute.

    Raises:
        CheckpointError: If the weights or the card cannot be used.
    """

    name = "note_classifier"
    title = "Note classifier"
    deterministic = True
    families = FAMILIES

    def __init__(self, *, checkpoint: Path | None, device: str = "cpu") -> None:
        if checkpoint is None:
            raise CheckpointError(f"{self.name}: needs a checkpoint folder, got none")
        loaded = load_checkpoint(checkpoint, name=self.name)
        self.card, self.file_sha256 = loaded.card, loaded.file_sha256
        check_frontend(checkpoint, loaded.card, FRONTEND.sha256())
        self.config = from_card(NoteClassifierConfig, loaded.card, "config", checkpoint)
        self.network = NoteNetwork(self.config)
        load_weights(self.network, loaded.tensors, checkpoint)
        self.device = torch.device(device)
        self.network.to(self.device).requires_grad_(False).train(False)
        self.sample_rate_hz = FRONTEND.sample_rate_hz
        self.parameters = sum(p.numel() for p in self.network.parameters())

    @torch.no_grad()
    def judge(self, waveform: Tensor, *, sample_rate_hz: int) -> Judgement:
        """Probabilities and embeddings; a row does not depend on the others, nor on its level.

        Silence has no pitch and no family, yet gets an answer like everything else: the caller leaves it out.

        Args:
            waveform: Shape ``(batch, time)``.
            sample_rate_hz: Rate of the waveform, 16,000.

        Raises:
            InputError: If shape or rate are impossible, or a sample is not finite.
        """
        check_waveform(
            waveform, sample_rate_hz=sample_rate_hz, seeds=None, expected_hz=self.sample_rate_hz, name=self.name
        )
        sizes = (self.config.embedding, PITCHES, len(FAMILIES))
        if waveform.shape[0] == 0:
            joined = torch.zeros(0, sum(sizes), dtype=torch.float64)
        else:
            joined = in_fixed_groups(waveform.to(self.device, torch.float32), 1, self._answers).cpu()
        first, second = sizes[0], sizes[0] + sizes[1]
        return Judgement(joined[:, first:second], joined[:, second:], joined[:, :first])

    def _answers(self, waveform: Tensor) -> Tensor:
        embedding, pitch, family = self.network(log_mel(waveform, FRONTEND))
        return torch.cat([embedding.double(), pitch.double().softmax(1), family.double().softmax(1)], 1)

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
    config=NoteClassifierConfig(),
    frontend=FRONTEND,
    settings=NoteTraining(),
    sample_rate_hz=FRONTEND.sample_rate_hz,
    clip_s=4.0,
    task=NoteClassifierTask,
    labels=("pitch", "instrument_family_str"),
)
