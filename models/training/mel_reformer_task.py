"""What one training step of the MelReformer variants is: L1, L1 with a discriminator, flow matching."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from models.errors import InputError
from models.frontends.fold import pad_to_multiple, unfold
from models.frontends.mel import MelConfig, log_mel
from models.frontends.time_resize import stretch
from models.mel_reformer import FRONTEND, Blocks, MelReformer, MelReformerConfig, Memory, floor_of, row_noise
from models.training.data import ClipStore, draw_rows, step_generator
from models.training.task import Part, Recipe, TaskContext, TrainingSettings


@dataclasses.dataclass(frozen=True)
class MelReformerSettings(TrainingSettings):
    """How the L1 model learns.

    Attributes:
        weight_decay: Of AdamW.
        gain_db: Clips are made louder or softer by up to this much.
        band_shift: Half of the clips are moved up or down by up to so many bands.
        input_noise: Standard deviation of the noise on the past, in units of ``span``; 0 as published.
        own_past: Share of clips whose past is what the network wrote itself in a first pass; 0 as published.
        cut: Share of clips that end at a random place inside the window, for the stop head.
        stop_weight: Weight of the stop head's loss.
    """

    batch_size: int = 16
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    gain_db: float = 6.0
    band_shift: int = 3
    input_noise: float = 0.1
    own_past: float = 0.5
    cut: float = 0.3
    stop_weight: float = 0.02

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 <= self.own_past <= 1 and 0 <= self.cut <= 1):
            raise InputError("training: own_past and cut are shares and must lie in [0, 1]")


@dataclasses.dataclass(frozen=True)
class AdversarialSettings(MelReformerSettings):
    """How the L1 model goes on with a discriminator.

    Attributes:
        critic_rate: Learning rate of the discriminator.
        critic_channels: Width of its first layer.
        critic_frames: Columns of the pieces that it judges; they cross block borders.
        l1_weight: Weight of the L1 term beside an adversarial weight of 1.
        feature_weight: Weight of the feature matching term.
    """

    batch_size: int = 8
    learning_rate: float = 3e-4
    warmup_steps: int = 50
    critic_rate: float = 3e-4
    critic_channels: int = 32
    critic_frames: int = 128
    l1_weight: float = 5.0
    feature_weight: float = 1.0


class PatchCritic(nn.Module):
    """Judges patches of a mel, knowing the stretched condition and the band; least-squares outputs.

    Args:
        channels: Width of the first layer; the next ones have two and three times as many.

    Source:
        Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", 2017;
        Mao et al., "Least Squares Generative Adversarial Networks", 2017.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = [3, channels, 2 * channels, 3 * channels]
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in itertools.pairwise(widths))
        self.out = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def forward(self, mel: Tensor, base: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Patch scores and inner features of scaled mels ``(batch, n_mels, frames)``."""
        band = torch.linspace(-1.0, 1.0, mel.shape[1], device=mel.device)[:, None].expand_as(mel)
        x = torch.stack([mel, base, band], 1).contiguous(memory_format=torch.channels_last)
        features = []
        for layer in self.layers:
            x = nn.functional.leaky_relu(layer(x), 0.2)
            features.append(x)
        return self.out(x), features


@dataclasses.dataclass(frozen=True)
class Batch:
    """Clips of one step.

    Attributes:
        mel: In front-end units, ``(batch, n_mels, window_frames)``; the floor beyond the end.
        lengths: Frames before the end; ``window_frames + 1`` where the clip goes on beyond the window.
    """

    mel: Tensor
    lengths: Tensor


class MelReformerTask:
    """L1 on log-mel blocks, with a past that may be noisy or the network's own, and the stop head.

    Mels of all clips are computed once, here.

    Args:
        context: What the trainer gives.
    """

    network: MelReformer
    settings: MelReformerSettings

    def __init__(self, context: TaskContext) -> None:
        self.context, self.settings = context, context.settings
        self.config: MelReformerConfig = context.config
        self.device = context.device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed)
            self.network = MelReformer(self.config).to(self.device)
        self.frontend: MelConfig = context.frontend
        if not math.isclose(self.config.floor, floor_of(self.frontend), abs_tol=1e-6):
            raise InputError(f"config.floor is {self.config.floor}, the front end's is {floor_of(self.frontend)}")
        self.training = stored_mels(context.training, self.frontend)
        self.validation = stored_mels(context.validation, self.frontend)[:16]
        self._report: dict[str, float] = {}

    def modules(self) -> Mapping[str, nn.Module]:
        """The network."""
        return {"network": self.network}

    def parts(self) -> Mapping[str, Part]:
        """One optimiser."""
        return {"network": Part(list(self.network.parameters()), weight_decay=self.settings.weight_decay)}

    def export(self) -> dict[str, Tensor]:
        """The network's state."""
        return dict(self.network.state_dict())

    def report(self) -> dict[str, float]:
        """Loss terms of the latest step, the L1 in front-end units."""
        return self._report

    def losses(self, step: int) -> Iterator[tuple[str, Tensor]]:
        """L1 and the stop head's loss."""
        batch = self.batch(step)
        with self._autocast():
            written, target, _ = self._written(batch, step)
        loss, self._report = self._regression(written, target, batch)
        yield "network", loss

    def batch(self, step: int) -> Batch:
        """Augmented windows of one step."""
        config, settings = self.config, self.settings
        rows = draw_rows(
            self.context.training, batch_size=settings.batch_size, seed=self.context.seed, step=step
        ).tolist()
        draws = torch.rand(len(rows), 6, generator=step_generator(self.context.seed, step, "window")).tolist()
        per_db = self.frontend.power * (1.0 if self.frontend.log == "log10" else math.log(10.0)) / 20.0
        frames = config.window_frames
        mels, lengths = [], []
        for row, (where, gain, moved, bands, cut, end) in zip(rows, draws, strict=True):
            whole = self.training[row]
            start = int(where * (max(0, whole.shape[-1] - frames) + 1))
            mel = pad_to_multiple(whole[:, start : start + frames].float()[None], frames, floor=config.floor)[0]
            silent = mel <= config.floor + 1e-3
            mel = (mel + (2 * gain - 1) * settings.gain_db * per_db).clamp_min(config.floor)
            mel = mel.masked_fill(silent, config.floor)
            if moved < 0.5:
                mel = shifted_bands(mel, round((2 * bands - 1) * settings.band_shift))
            length = frames + 1
            if cut < settings.cut:
                length = 1 + int(end * frames)
                mel[:, length:] = config.floor
            mels.append(mel)
            lengths.append(length)
        return Batch(torch.stack(mels).to(self.device), torch.tensor(lengths, device=self.device))

    def validate(self) -> dict[str, float]:
        """Log-mel L1 teacher-forced and free-running beside stretching, and sharpness against the real mels."""
        if not len(self.validation):
            return {}
        mel = self._validation_windows()
        memory = self.network.remember(self.network.condition(mel))
        teacher = self.network.mel(self.network.teacher_forced(self.network.scaled(mel), memory).tokens)
        free = self.network.mel(self.network.free_running(memory).tokens)
        return {"l1_teacher_forced": mean_l1(teacher, mel), **self._compared(free, mel)}

    def _compared(self, estimate: Tensor, mel: Tensor) -> dict[str, float]:
        condition = self.network.condition(mel)
        return {
            "l1": mean_l1(estimate, mel),
            **{f"l1_{kind}": mean_l1(stretch(condition, mel.shape[-1], kind), mel) for kind in ("linear", "cubic")},
            "sharpness": float(edge_energy(estimate).mean() / edge_energy(mel).mean()),
        }

    def _validation_windows(self) -> Tensor:
        frames = self.config.window_frames
        mel = self.validation[..., :frames].float()
        return pad_to_multiple(mel, frames, floor=self.config.floor).to(self.device)

    def _written(self, batch: Batch, step: int) -> tuple[Blocks, Tensor, Memory]:
        """What the network writes for a batch, the true tokens, and the memory."""
        network, settings, seed = self.network, self.settings, self.context.seed
        target = network.scaled(batch.mel)
        memory = network.remember(network.condition(batch.mel))
        past = target
        if settings.own_past > 0:
            with torch.no_grad():
                own = network.teacher_forced(past, memory).tokens.to(past.dtype)
            chosen = torch.rand(target.shape[0], 1, 1, generator=step_generator(seed, step, "own past"))
            past = torch.where((chosen < settings.own_past).to(past.device), own, past)
        if settings.input_noise > 0:
            noise = torch.randn(past.shape, generator=step_generator(seed, step, "input noise"))
            past = past + settings.input_noise * noise.to(past)
        return network.teacher_forced(past, memory), target, memory

    def _regression(self, written: Blocks, target: Tensor, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        starts = torch.arange(target.shape[1], device=target.device) * self.config.fold
        inside = (starts < batch.lengths[:, None]).float()
        gap = (written.tokens.float() - target).abs().mean(-1)
        l1 = (gap * inside).sum() / inside.sum()
        report = {"l1": float(l1.detach()) * self.config.span}
        if written.stop is None:
            return l1, report
        stop = self._stop_loss(written.stop.float(), starts, inside, batch.lengths)
        report["stop"] = float(stop.detach())
        return l1 + self.settings.stop_weight * stop, report

    def _stop_loss(self, stop: Tensor, starts: Tensor, inside: Tensor, lengths: Tensor) -> Tensor:
        filled = (lengths[:, None] - starts) / self.config.fold
        last = ((filled > 0) & (filled <= 1)).float()
        ends = nn.functional.binary_cross_entropy_with_logits(stop[..., 0], last, reduction="none")
        share = (torch.sigmoid(stop[..., 1]) - filled).abs() * last
        return (ends * inside).sum() / inside.sum() + share.sum() / last.sum().clamp_min(1.0)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.context.bfloat16)


class AdversarialTask(MelReformerTask):
    """The L1 model with a patch discriminator; meant to start from the weights of the L1 model."""

    settings: AdversarialSettings

    def __init__(self, context: TaskContext) -> None:
        super().__init__(context)
        if context.settings.critic_frames > context.config.window_frames or context.settings.critic_frames < 16:
            raise InputError(f"critic_frames must lie in 16..window_frames, got {context.settings.critic_frames}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed + 1)
            self.critic = PatchCritic(context.settings.critic_channels).to(self.device)
        self.critic.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # valid, but not in torch's stubs

    def modules(self) -> Mapping[str, nn.Module]:
        """The network and its discriminator."""
        return {"network": self.network, "discriminator": self.critic}

    def parts(self) -> Mapping[str, Part]:
        """One optimiser each, with the low momentum that adversarial training needs."""
        return {
            "discriminator": Part(
                list(self.critic.parameters()),
                learning_rate=self.settings.critic_rate,
                betas=(0.5, 0.9),
                weight_decay=0.0,
                schedule="constant",
            ),
            "network": Part(list(self.network.parameters()), betas=(0.5, 0.9), weight_decay=self.settings.weight_decay),
        }

    def losses(self, step: int) -> Iterator[tuple[str, Tensor]]:
        """First the discriminator's loss, then the network's against the discriminator that has learned from it."""
        settings = self.settings
        batch = self.batch(step)
        with self._autocast():
            written, target, memory = self._written(batch, step)
        assert memory.base is not None
        fake, real, base = (self._pieces(x, step) for x in (written.tokens.float(), target, memory.base.detach()))
        with self._autocast():
            real_score, _ = self.critic(real, base)
            fake_score, _ = self.critic(fake.detach(), base)
        critic_loss = (real_score.float() - 1.0).square().mean() + fake_score.float().square().mean()
        yield "discriminator", critic_loss
        with self._autocast():
            score, features = self.critic(fake, base)
            with torch.no_grad():
                _, wanted = self.critic(real, base)
        adversarial = (score.float() - 1.0).square().mean()
        pairs = zip(features, wanted, strict=True)
        matching = torch.stack([(a.float() - b.float()).abs().mean() for a, b in pairs]).mean()
        regression, terms = self._regression(written, target, batch)
        self._report = {
            **terms,
            "discriminator": float(critic_loss.detach()),
            "adversarial": float(adversarial.detach()),
            "features": float(matching.detach()),
        }
        yield "network", settings.l1_weight * regression + adversarial + settings.feature_weight * matching

    def _pieces(self, tokens: Tensor, step: int) -> Tensor:
        """The same random stretch of columns of scaled tokens, as ``(batch, n_mels, critic_frames)``."""
        mel = unfold(tokens, self.config.fold)
        room = mel.shape[-1] - self.settings.critic_frames
        start = int(torch.randint(room + 1, (), generator=step_generator(self.context.seed, step, "piece")))
        return mel[..., start : start + self.settings.critic_frames]


class FlowTask(MelReformerTask):
    """Flow matching: the clean window from one that is partly noise, with some leading tokens known."""

    def losses(self, step: int) -> Iterator[tuple[str, Tensor]]:
        """Mean squared error of the clean blocks."""
        batch = self.batch(step)
        network, config, seed = self.network, self.config, self.context.seed
        draw = step_generator(seed, step, "flow")
        with self._autocast():
            memory = network.remember(network.condition(batch.mel))
            assert memory.base is not None
            target, base = network.scaled(batch.mel), memory.base
            memory = dataclasses.replace(memory, base=base.detach())
            clean = (target - base.detach()) / config.flow_scale
            rows, tokens, _ = clean.shape
            time = torch.rand(rows, 1, generator=draw).expand(rows, tokens).clone()
            primed = torch.randint(tokens // 4 + 1, (rows, 1), generator=draw)
            primed = primed * (torch.rand(rows, 1, generator=draw) < 0.5)
            known = torch.arange(tokens)[None] < primed
            time = torch.where(known, 1.0, time).to(self.device)
            noise = torch.randn(clean.shape, generator=draw).to(self.device)
            mixed = (1.0 - time[..., None]) * noise + time[..., None] * clean
            guess = network.decode(mixed, memory, time=time)[0].tokens
        starts = torch.arange(tokens, device=self.device) * config.fold
        inside = (starts < batch.lengths[:, None]).float()
        counted = inside * (~known.to(self.device)).float()
        error = (guess.float() - clean).square().mean(-1)
        squared = (error * counted).sum() / counted.sum().clamp_min(1.0)
        # What the noise is added to must be learned on its own: through the noise it would only learn to hide.
        base_l1 = ((base.float() - target).abs().mean(-1) * inside).sum() / inside.sum()
        self._report = {
            "squared_error": float(squared.detach()),
            "base_l1": float(base_l1.detach()) * config.span,
            "spread": float(clean.detach().float().square().mean().sqrt()),
        }
        yield "network", squared + base_l1

    def validate(self) -> dict[str, float]:
        """Log-mel L1 of samples beside stretching, and sharpness against the real mels."""
        if not len(self.validation):
            return {}
        mel = self._validation_windows()
        memory = self.network.remember(self.network.condition(mel))
        noise = row_noise(range(mel.shape[0]), self.config.tokens, self.config.token_size).to(self.device)
        return self._compared(self.network.mel(self.network.flow(memory, noise).tokens), mel)


def stored_mels(store: ClipStore, frontend: MelConfig) -> Tensor:
    """Log-mels ``(clips, n_mels, frames)`` of all clips, float16."""
    if not len(store):
        return torch.zeros(0, frontend.n_mels, 0, dtype=torch.float16)
    rows = torch.arange(len(store))
    return torch.cat([log_mel(store.waveforms(part), frontend).half() for part in torch.split(rows, 16)])


def shifted_bands(mel: Tensor, bands: int) -> Tensor:
    """Mel ``(n_mels, frames)`` moved up by so many bands; the outermost band fills the gap."""
    index = (torch.arange(mel.shape[0]) - bands).clamp(0, mel.shape[0] - 1)
    return mel[index]


def mean_l1(estimate: Tensor, reference: Tensor) -> float:
    """Mean absolute difference, in front-end units."""
    return float((estimate - reference).abs().mean())


def edge_energy(mel: Tensor) -> Tensor:
    """Mean absolute step to the next band and to the next column, ``(batch,)``; blur lowers it."""
    return mel.diff(dim=-1).abs().mean((-2, -1)) + mel.diff(dim=-2).abs().mean((-2, -1))


def small_config(fold: int, width: int, **changes: bool | int | str) -> MelReformerConfig:
    """A trained size: about two million parameters, windows of 512 frames, 5.9 s."""
    values: dict[str, bool | int | str] = {"stop": True, **changes}
    return MelReformerConfig(
        width=width,
        heads=4,
        encoder_layers=3,
        decoder_layers=3,
        feedforward=2 * width,
        fold=fold,
        window_frames=512,
        shrink_kind="area",
        centre=-2.0,
        span=1.5,
        floor=floor_of(FRONTEND),
        base="cubic",
        aligned=True,
        refine=32,
        **values,  # type: ignore[arg-type]  # checked by the dataclass's own users
    )


RECIPE = Recipe(small_config(32, 128), FRONTEND, MelReformerSettings(), 22_050, 10.0, MelReformerTask)
GAN_RECIPE = dataclasses.replace(RECIPE, settings=AdversarialSettings(), task=AdversarialTask)
# Narrower tokens, so that less of the noise is lost on the way in; the width makes up for the parameters.
FLOW_CONFIG = small_config(8, 164, stop=False, objective="flow", detail=24)
FLOW_SETTINGS = MelReformerSettings(batch_size=8)
FLOW_RECIPE = dataclasses.replace(RECIPE, config=FLOW_CONFIG, settings=FLOW_SETTINGS, task=FlowTask)
# Other fold widths at an equal number of parameters.
RECIPE_N8 = dataclasses.replace(RECIPE, config=small_config(8, 168))
RECIPE_N16 = dataclasses.replace(RECIPE, config=small_config(16, 152))
RECIPE_N64 = dataclasses.replace(RECIPE, config=small_config(64, 92))
