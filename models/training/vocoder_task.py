"""What one training step of a vocoder is, whatever its networks."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from models.errors import CheckpointError, InputError
from models.frontends.mel import log_mel
from models.training.data import draw_segments, step_generator
from models.training.spectral_loss import MultiResolutionSTFTLoss
from models.training.task import Part, Recipe, TaskContext, TrainingSettings
from models.vocoder import HOP_SAMPLES, vocoder_frontend

_VALIDATION_CLIPS = 4
_VALIDATION_SAMPLES = 44_032


@dataclasses.dataclass(frozen=True)
class VocoderTraining(TrainingSettings):
    """How a vocoder learns; the defaults are MelGAN's published ones.

    The spectral term and a late start of the discriminator are ours: with them a short training gets to a usable
    sound, which an adversarial one alone takes days for.

    Attributes:
        segment_samples: Length of a training segment, a multiple of 256.
        gain_low: Least random gain of a segment.
        gain_high: Greatest one; none makes a sample exceed full scale.
        spectral_weight: Weight of the multi-resolution STFT loss, of the whole signal; published: 0.
        adversarial_from: Step from which there is a discriminator; published: 0. Less than 0: never.
        adversarial_weight: Weight of the scores.
        feature_weight: Weight of feature matching.
        discriminator_learning_rate: Peak rate of the discriminator, which follows no cosine.
        beta1: First moment's decay of both optimisers.
        beta2: Second moment's.
        schedule: ``"constant"`` or ``"cosine"``, of the generator.
        clip_norm: Largest gradient norm; 0 clips nothing.
    """

    batch_size: int = 16
    learning_rate: float = 1e-4
    warmup_steps: int = 0
    segment_samples: int = 8192
    gain_low: float = 0.3
    gain_high: float = 1.0
    spectral_weight: float = 0.0
    adversarial_from: int = 0
    adversarial_weight: float = 1.0
    feature_weight: float = 10.0
    discriminator_learning_rate: float = 1e-4
    beta1: float = 0.5
    beta2: float = 0.9
    schedule: str = "constant"
    clip_norm: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.segment_samples < 8 * HOP_SAMPLES or self.segment_samples % HOP_SAMPLES:
            raise InputError(
                f"training: segment_samples must be a multiple of 256 from 2048 on, got {self.segment_samples}"
            )
        if not 0 < self.gain_low <= self.gain_high:
            raise InputError(f"training: need 0 < gain_low <= gain_high, got {self.gain_low} and {self.gain_high}")
        if self.schedule not in ("constant", "cosine"):
            raise InputError(f"training: schedule must be constant or cosine, got {self.schedule!r}")
        if self.spectral_weight <= 0 and self.adversarial_from < 0:
            raise InputError("training: with adversarial_from below 0 and spectral_weight 0 there is nothing to learn")


class VocoderRecipe(Recipe):
    """A recipe whose front end follows the number of mel bands of the network."""

    def changed(self, changes: Mapping[str, str]) -> Self:
        """As `Recipe.changed`."""
        recipe = super().changed(changes)
        return dataclasses.replace(recipe, frontend=vocoder_frontend(recipe.config.n_mels))  # type: ignore[return-value]


class VocoderTask(abc.ABC):
    """Losses of a step, validation and export of a vocoder.

    A step draws segments, makes their mel, and vocodes it. Once there is a discriminator, it takes its step on real and
    made segments first, and then the generator on the same ones.

    Args:
        context: Sizes, settings, clips and device.
    """

    def __init__(self, context: TaskContext) -> None:
        self.context, self.device = context, context.device
        self.settings: VocoderTraining = context.settings
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed)
            self.generator, self.discriminator = self.build(context.config)
        self.generator.to(self.device)
        self.discriminator.to(self.device)
        self.spectral = MultiResolutionSTFTLoss().to(self.device)
        self.latest: dict[str, float] = {}

    @abc.abstractmethod
    def build(self, config: Any) -> tuple[nn.Module, nn.Module]:
        """Generator and discriminator."""

    @abc.abstractmethod
    def make(self, mel: Tensor) -> tuple[Tensor, Any]:
        """Waveform ``(batch, time)`` of a log-mel, and it in the form that the discriminator takes."""

    @abc.abstractmethod
    def prepare(self, waveform: Tensor) -> Any:
        """A recorded waveform in the form that the discriminator takes."""

    @abc.abstractmethod
    def detached(self, prepared: Any) -> Any:
        """What `make` gave for the discriminator, without its history."""

    @abc.abstractmethod
    def adversarial(self, kind: str, real: Any, fake: Any) -> Tensor:
        """Loss of a ``kind``: ``"discriminator"``, ``"scores"`` (of the generator) or ``"features"``."""

    @abc.abstractmethod
    def export(self) -> dict[str, Tensor]:
        """The generator as it is shipped."""

    @abc.abstractmethod
    def initialise(self, tensors: Mapping[str, Tensor]) -> None:
        """Start the generator from shipped weights."""

    def modules(self) -> Mapping[str, nn.Module]:
        """Both networks."""
        return {"generator": self.generator, "discriminator": self.discriminator}

    def parts(self) -> Mapping[str, Part]:
        """An optimiser for each network."""
        s = self.settings
        betas, clip = (s.beta1, s.beta2), s.clip_norm or None
        rate = s.discriminator_learning_rate
        return {
            "generator": Part(list(self.generator.parameters()), None, betas, 0.0, clip, s.schedule),
            "discriminator": Part(list(self.discriminator.parameters()), rate, betas, 0.0, clip, "constant"),
        }

    def segments(self, step: int) -> Tensor:
        """Segments ``(batch, segment_samples)`` of a step, each with a random gain."""
        s, seed = self.settings, self.context.seed
        waveform = draw_segments(
            self.context.training, batch_size=s.batch_size, samples=s.segment_samples, seed=seed, step=step
        )
        draws = torch.rand(waveform.shape[0], 1, generator=step_generator(seed, step, "gain"))
        gain = s.gain_low + (s.gain_high - s.gain_low) * draws
        most = 1.0 / waveform.abs().amax(1, keepdim=True).clamp_min(1e-9)
        return (waveform * torch.minimum(gain, most)).to(self.device)

    def losses(self, step: int) -> Iterator[tuple[str, Tensor]]:
        """The discriminator's loss, where it is due, then the generator's."""
        s = self.settings
        waveform = self.segments(step)
        with torch.no_grad():
            mel = log_mel(waveform, self.context.frontend)
        with self.autocast():
            made, candidate = self.make(mel)
        terms: dict[str, Tensor] = {}
        total = torch.zeros((), device=self.device)
        if s.spectral_weight > 0:
            terms["spectral"] = self.spectral(made, waveform).mean()
            total = total + s.spectral_weight * terms["spectral"]
        if 0 <= s.adversarial_from <= step:
            real = self.prepare(waveform)
            with self.autocast():
                judged = self.discriminator(real, mel)
                loss = self.adversarial("discriminator", judged, self.discriminator(self.detached(candidate), mel))
            terms["discriminator"] = loss
            yield "discriminator", loss
            with self.autocast():
                fake = self.discriminator(candidate, mel)
                terms["scores"] = self.adversarial("scores", judged, fake)
                terms["features"] = self.adversarial("features", judged, fake)
            total = total + s.adversarial_weight * terms["scores"] + s.feature_weight * terms["features"]
        self.latest = {"loss": float(total.detach()), **{k: float(v.detach()) for k, v in terms.items()}}
        yield "generator", total

    def autocast(self) -> torch.autocast:
        """Half precision where it pays."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.context.bfloat16)

    def report(self) -> dict[str, float]:
        """Terms of the latest step."""
        return self.latest

    def validate(self) -> dict[str, float]:
        """Multi-resolution STFT loss of the first seconds of some validation clips."""
        clips = self.context.validation
        if len(clips) == 0:
            return {}
        waveform = clips.waveforms(torch.arange(min(len(clips), _VALIDATION_CLIPS)))
        samples = min(waveform.shape[1], _VALIDATION_SAMPLES) // HOP_SAMPLES * HOP_SAMPLES
        waveform = waveform[:, :samples].to(self.device)
        with self.autocast():
            made, _ = self.make(log_mel(waveform, self.context.frontend))
        return {"spectral": float(self.spectral(made, waveform).mean().detach())}

    @staticmethod
    def unfit(error: RuntimeError) -> CheckpointError:
        """What to say of weights of another size."""
        return CheckpointError(f"--init: weights do not fit: {str(error).splitlines()[0]}")
