"""From the mel of one ensemble to the mel of another: a generator held to its source by a siamese network.

The generator may change a piece of mel into anything that a critic takes for the target domain, as long as the vector
between two converted pieces is the vector between the two originals, in the eyes of a siamese network that learns
along (transformation vector learning, TraVeL). Three neighbouring pieces are converted apart, laid side by side and
judged as one, so that joins must not be heard. A vocoder turns the mel into sound.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from models.batching import check_waveform, in_fixed_groups
from models.checkpoint import check_frontend, from_card, load_weights
from models.checkpoint import load as load_checkpoint
from models.errors import CheckpointError, CorpusError, InputError
from models.frontends.mel import NAMED, log_mel
from models.training.data import ClipStore, step_generator
from models.training.task import Part, Recipe, TaskContext, TrainingSettings

SLOPE = 0.2
LABEL = "ensemble"
PIECES = 3
FRONTEND = dataclasses.replace(NAMED["melgan"], n_mels=128)
_FLOOR = -5.0
_KERNELS = (3, 9, 7)


@dataclasses.dataclass(frozen=True)
class TravelConfig:
    """Size of the networks, scaling of the mel, and the two domains.

    Attributes:
        n_mels: Bands of the front end. Published: 192 (MelGAN-VC), 128 (wmelonet).
        frames: Columns of a piece, a multiple of 4; the critic sees three pieces. Published: 24.
        generator_channels: Width of the generator. Published: 256.
        siamese_channels: Width of the siamese network. Published: 256.
        critic_channels: Width of the critic. Published: 512.
        embedding: Numbers that describe a piece. Published: 128.
        mel_top: Log-mel value that lies as far above 0 as the floor lies below.
        reach: Where floor and top lie in the network's range, below 1 because a tanh never reaches its ends.
        source: Ensembles that are converted.
        target: Ensembles that they are converted to.
    """

    n_mels: int = 128
    frames: int = 24
    generator_channels: int = 96
    siamese_channels: int = 64
    critic_channels: int = 128
    embedding: int = 64
    mel_top: float = 1.5
    reach: float = 0.95
    source: tuple[str, ...] = ("Solo Piano",)
    target: tuple[str, ...] = ("String Quartet", "String Orchestra")

    def __post_init__(self) -> None:
        for name in ("n_mels", "frames", "generator_channels", "siamese_channels", "critic_channels", "embedding"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.frames % 4:
            raise ValueError(f"frames must be a multiple of 4, got {self.frames}")
        if self.mel_top <= _FLOOR or not 0.0 < self.reach < 1.0:
            raise ValueError(f"need mel_top above {_FLOOR} and reach between 0 and 1")
        if not self.source or not self.target or set(self.source) & set(self.target):
            raise ValueError("source and target must each name ensembles, and no ensemble twice")


def scaled(mel: Tensor, config: TravelConfig) -> Tensor:
    """Log-mel as the networks see it: the floor at ``-reach``, ``mel_top`` and all above at ``reach``."""
    share = (mel.clamp(_FLOOR, config.mel_top) - _FLOOR) / (config.mel_top - _FLOOR)
    return (2.0 * share - 1.0) * config.reach


def unscaled(picture: Tensor, config: TravelConfig) -> Tensor:
    """Log-mel of what the generator gives, never under the floor."""
    share = 0.5 * (picture / config.reach + 1.0)
    return (_FLOOR + share * (config.mel_top - _FLOOR)).clamp_min(_FLOOR)


def _conv(normed: bool, n_in: int, n_out: int, kernel: int, *, stride: int = 1, padding: int = 0) -> nn.Module:
    conv = nn.Conv1d(n_in, n_out, kernel, stride=stride, padding=padding, bias=False)
    return spectral_norm(conv) if normed else conv


class Generator(nn.Module):
    """Piece of mel to piece of mel: bands as channels, two halvings of the time axis and two doublings with skips.

    At the published size (192 bands, 256 channels) it has 2,934,785 parameters, with the default ones 440,065.

    Args:
        config: Sizes.
        normed: Whether weights are kept at spectral norm 1, as in training; shipped weights are plain.
    """

    def __init__(self, config: TravelConfig, *, normed: bool = False) -> None:
        super().__init__()
        width = config.generator_channels
        self.input = _conv(normed, config.n_mels, width, 3, padding=1)
        self.down = nn.ModuleList(_conv(normed, width, width, k, stride=2, padding=k // 2) for k in _KERNELS[1:])
        self.up = nn.ModuleList(
            [_conv(normed, width, width, 7, padding=3), _conv(normed, 2 * width, width, 9, padding=4)]
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(4))
        self.output = _conv(normed, 2 * width, config.n_mels, 1)
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, mel: Tensor) -> Tensor:
        """Converted piece, in (-1, 1), of a scaled piece ``(batch, n_mels, frames)``, frames a multiple of 4."""
        skips = [nn.functional.leaky_relu(self.norms[0](self.input(mel)), SLOPE)]
        for conv, norm in zip(self.down, [self.norms[1], self.norms[2]], strict=True):
            skips.append(nn.functional.leaky_relu(norm(conv(skips[-1])), SLOPE))
        x = skips.pop()
        for i, conv in enumerate(self.up):
            x = conv(nn.functional.interpolate(x, scale_factor=2.0, mode="nearest"))
            x = nn.functional.leaky_relu(self.norms[3](x) if i == 0 else x, SLOPE)
            x = torch.cat([x, skips.pop()], 1)
        return torch.tanh(self.output(x).float() + self.bias)

    def plain_state(self) -> dict[str, Tensor]:
        """State of the same network without spectral norm."""
        state: dict[str, Tensor] = {"bias": self.bias.detach().clone()}
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv1d):
                state[f"{name}.weight"] = module.weight.detach().clone()
            elif isinstance(module, nn.BatchNorm1d):
                state |= {f"{name}.{key}": value.detach().clone() for key, value in module.state_dict().items()}
        return state


def _reduced(frames: int) -> int:
    """Columns left of a piece after the three convolutions of siamese network and critic."""
    return (frames + 1) // 4


class Siamese(nn.Module):
    """Piece of mel to one vector; 1,394,304 parameters at the published size (192 bands, 256 channels, 128 numbers).

    Args:
        config: Sizes.
    """

    def __init__(self, config: TravelConfig) -> None:
        super().__init__()
        width = config.siamese_channels
        sizes = [config.n_mels, width, width]
        self.layers = nn.ModuleList(
            _conv(False, n, width, k, stride=1 if i == 0 else 2, padding=0 if i == 0 else k // 2)
            for i, (n, k) in enumerate(zip(sizes, _KERNELS, strict=True))
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in sizes)
        self.output = nn.Linear(width * _reduced(config.frames), config.embedding)

    def forward(self, mel: Tensor) -> Tensor:
        """Vectors ``(batch, embedding)`` of scaled pieces ``(batch, n_mels, frames)``."""
        for layer, norm in zip(self.layers, self.norms, strict=True):
            mel = nn.functional.leaky_relu(norm(layer(mel)), SLOPE)
        out: Tensor = self.output(mel.flatten(1))
        return out.float()


class Critic(nn.Module):
    """Score of three pieces side by side; 4,498,433 parameters at the published size (192 bands, 512 channels).

    Args:
        config: Sizes.
    """

    def __init__(self, config: TravelConfig) -> None:
        super().__init__()
        width = config.critic_channels
        sizes = [config.n_mels, width, width]
        self.layers = nn.ModuleList(
            _conv(True, n, width, k, stride=1 if i == 0 else 2, padding=0 if i == 0 else k // 2)
            for i, (n, k) in enumerate(zip(sizes, _KERNELS, strict=True))
        )
        self.output = spectral_norm(nn.Linear(width * _reduced(PIECES * config.frames), 1))

    def forward(self, mel: Tensor) -> Tensor:
        """Scores ``(batch,)`` of scaled mels ``(batch, n_mels, 3 * frames)``; above 0 for the target domain."""
        for layer in self.layers:
            mel = nn.functional.leaky_relu(layer(mel), SLOPE)
        out: Tensor = self.output(mel.flatten(1))[:, 0]
        return out.float()


def converted(generator: nn.Module, picture: Tensor, frames: int) -> Tensor:
    """Convert each piece of ``(batch, n_mels, pieces * frames)`` apart from the others, same shape."""
    batch, n_mels, total = picture.shape
    pieces = picture.reshape(batch, n_mels, total // frames, frames).transpose(1, 2).reshape(-1, n_mels, frames)
    out = generator(pieces).reshape(batch, total // frames, n_mels, frames)
    joined: Tensor = out.transpose(1, 2).reshape(batch, n_mels, total)
    return joined


def _differences(vectors: Tensor) -> Tensor:
    """Differences of all pairs of rows, each pair once, shape ``(pairs, size)``."""
    first, second = torch.triu_indices(vectors.shape[0], vectors.shape[0], 1, device=vectors.device)
    return vectors[first] - vectors[second]


def travel_loss(source: Tensor, output: Tensor) -> Tensor:
    """How far the vectors between converted pieces are from those between their sources.

    Mean squared difference plus one minus the mean cosine; 0 if every difference is kept, whatever is common to all.

    Args:
        source: Siamese vectors of the sources, shape ``(batch >= 2, size)``.
        output: Those of their conversions, same shape.

    Source:
        Amodio and Krishnaswamy, "TraVeLGAN: image-to-image translation by transformation vector learning", 2019.

    >>> travel_loss(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[6.0, 5.0], [5.0, 6.0]])).abs() < 1e-6
    tensor(True)
    """
    before, after = _differences(source), _differences(output)
    return (before - after).square().mean() + 1.0 - nn.functional.cosine_similarity(before, after, dim=1).mean()


def margin_loss(vectors: Tensor, margin: float) -> Tensor:
    """Mean square of what pairs of vectors lack to a distance of ``margin``; keeps the siamese network from silence."""
    distance = (_differences(vectors).square().sum(1) + 1e-8).sqrt()
    return (margin - distance).clamp_min(0.0).square().mean()


@dataclasses.dataclass(frozen=True)
class TravelTraining(TrainingSettings):
    """How the networks learn.

    Attributes:
        batch_size: Excerpts of three pieces in a step, of each domain.
        learning_rate: Of generator and siamese network. Published: 2e-4.
        critic_learning_rate: Of the critic. Published: 2e-4.
        travel_weight: Weight of the TraVeL loss. Published: 10.
        margin_weight: Weight of the siamese network's margin loss. Published: 10.
        margin: Least distance of siamese vectors. Published: 10 (wmelonet), 2 (MelGAN-VC).
        identity_weight: Weight of the mean absolute change of the target's own pieces. Published: 0.5 (MelGAN-VC).
        gain_db: Range of the random level of an excerpt, either way.
    """

    batch_size: int = 12
    learning_rate: float = 4e-4
    critic_learning_rate: float = 2e-4
    travel_weight: float = 10.0
    margin_weight: float = 10.0
    margin: float = 2.0
    identity_weight: float = 0.5
    gain_db: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size < 2:
            raise InputError(f"training: batch_size is {self.batch_size}, TraVeL compares at least 2 excerpts")


def domain_rows(store: ClipStore, ensembles: tuple[str, ...]) -> Tensor:
    """Clips of some ensembles, shape ``(clips,)``."""
    marks = [labels.get(LABEL) in ensembles for labels in store.labels]
    return torch.nonzero(torch.tensor(marks, dtype=torch.bool))[:, 0]


class TravelTask:
    """Losses of a step and validation.

    The critic's step and the generator's take the same source and the same target excerpts.

    Args:
        context: Sizes, settings, clips and device.

    Raises:
        CorpusError: If a domain has no clips.
    """

    def __init__(self, context: TaskContext) -> None:
        self.context, self.device = context, context.device
        self.config: TravelConfig = context.config
        self.settings: TravelTraining = context.settings
        self.rows = {}
        for name, ensembles in (("source", self.config.source), ("target", self.config.target)):
            self.rows[name] = domain_rows(context.training, ensembles)
            if self.rows[name].numel() == 0:
                raise CorpusError(
                    f"travel_gan: no clip to train on of {name} ensembles {', '.join(ensembles)}; add a corpus that has"
                    f" them or change --set {name}"
                )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed)
            self.generator = Generator(self.config, normed=True)
            self.siamese = Siamese(self.config)
            self.critic = Critic(self.config)
        for module in self.modules().values():
            module.to(self.device)
        self.terms: dict[str, float] = {}

    def modules(self) -> Mapping[str, nn.Module]:
        """All three networks."""
        return {"generator": self.generator, "siamese": self.siamese, "critic": self.critic}

    def parts(self) -> Mapping[str, Part]:
        """The critic has its own optimiser, generator and siamese network share one."""
        betas = (0.5, 0.999)
        critic_rate = self.settings.critic_learning_rate
        together = [*self.generator.parameters(), *self.siamese.parameters()]
        return {
            "critic": Part(list(self.critic.parameters()), critic_rate, betas, weight_decay=0.0, clip_norm=None),
            "generator": Part(together, betas=betas, weight_decay=0.0, clip_norm=None),
        }

    def excerpts(self, domain: str, step: int) -> Tensor:
        """Scaled mels ``(batch, n_mels, 3 * frames)`` of one domain."""
        store, generator = self.context.training, step_generator(self.context.seed, step, domain)
        samples = PIECES * self.config.frames * FRONTEND.stft.hop_length
        room = store.pcm.shape[1] - samples
        if room < 0:
            raise InputError(f"travel_gan: clips have {store.pcm.shape[1]} samples, three pieces need {samples}")
        out = []
        for _ in range(self.settings.batch_size):
            row = self.rows[domain][int(torch.randint(self.rows[domain].numel(), (), generator=generator))]
            for _ in range(5):
                start = int(torch.randint(room + 1, (), generator=generator))
                piece = store.pcm[row, start : start + samples]
                if int(piece.max()) > int(piece.min()):
                    break
            out.append(piece)
        waveform = torch.stack(out).to(torch.float32) / 32767.0
        draw = 2.0 * torch.rand(waveform.shape[0], 1, generator=generator) - 1.0
        waveform = waveform * torch.pow(10.0, draw * (self.settings.gain_db / 20.0))
        with torch.no_grad():
            return scaled(log_mel(waveform.to(self.device), self.context.frontend), self.config)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.context.bfloat16)

    def losses(self, step: int) -> Iterator[tuple[str, Tensor]]:
        """The critic's loss, then that of generator and siamese network."""
        settings, frames = self.settings, self.config.frames
        source, target = self.excerpts("source", step), self.excerpts("target", step)
        with self._autocast():
            # Both domains go through together, so that running statistics are those of the batches seen in training.
            both = converted(self.generator, torch.cat([source, target]), frames)
            output, same = both.chunk(2)
            real, fake = self.critic(target), self.critic(output.detach())
        critic_loss = (1.0 - real).relu().mean() + (1.0 + fake).relu().mean()
        self.terms = {"critic": float(critic_loss.detach())}
        yield "critic", critic_loss
        with self._autocast():
            adversarial = -self.critic(output).mean()
            vectors = self.siamese(torch.cat([source[..., :frames], output[..., :frames]]))
        before, after = vectors.chunk(2)
        travel = travel_loss(before, after)
        margin = margin_loss(before, settings.margin)
        identity = (same - target).abs().mean()
        loss = adversarial + settings.travel_weight * travel + settings.margin_weight * margin
        loss = loss + settings.identity_weight * identity
        named = {"adversarial": adversarial, "travel": travel, "margin": margin, "identity": identity}
        self.terms |= {name: float(value.detach()) for name, value in named.items()}
        yield "generator", loss

    def report(self) -> dict[str, float]:
        """Loss terms of the latest step."""
        return self.terms

    def validate(self) -> dict[str, float]:
        """TraVeL loss of eight source clips, and gap of mean spectra to the target's before and after conversion."""
        store = self.context.validation
        pictures = {}
        samples = PIECES * self.config.frames * FRONTEND.stft.hop_length
        for name, ensembles in (("source", self.config.source), ("target", self.config.target)):
            rows = domain_rows(store, ensembles)[:8] if len(store) else torch.zeros(0)
            if rows.numel() < 2:
                return {}
            start = (store.pcm.shape[1] - samples) // 2
            waveform = store.waveforms(rows)[:, start : start + samples].to(self.device)
            pictures[name] = scaled(log_mel(waveform, self.context.frontend), self.config)
        frames = self.config.frames
        source, target = pictures["source"], pictures["target"]
        output = converted(self.generator, source, frames)
        mean = target.mean((0, 2))
        return {
            "travel": float(travel_loss(self.siamese(source[..., :frames]), self.siamese(output[..., :frames]))),
            "score": float(self.critic(output).mean()),
            "gap_before": float((source.mean((0, 2)) - mean).abs().mean()),
            "gap_after": float((output.mean((0, 2)) - mean).abs().mean()),
        }

    def export(self) -> dict[str, Tensor]:
        """The generator without spectral norm."""
        return self.generator.plain_state()


class TravelGAN:
    """The trained generator behind its front end: clips in, converted mels out.

    What differs from the published systems (the networks are MelGAN-VC's, the use of 128 bands and of a vocoder is
    wmelonet's):

    * critic and generator are told the same source and target; in wmelonet's generator update the two are swapped;
    * the mel is scaled into the range of the generator's tanh; there, raw log10 mel down to -5 met an output in
      [-1, 1], so that silence could not be written;
    * the siamese network gives one vector a piece; there, its head was a map and cosines were taken by position;
    * narrower networks, and one direction only, from piano to strings unless configured otherwise;
    * the generator takes a step for each of the critic's, not for every third.

    Args:
        checkpoint: Folder with ``model.safetensors`` and ``card.json``.
        device: Where to compute.

    Raises:
        CheckpointError: If the weights or the card cannot be used.

    Source:
        Pasini, "MelGAN-VC: voice conversion and audio style transfer on arbitrarily long samples using
        spectrograms", 2019; the public repository wmelonet-melgan_style_transfer.
    """

    name = "travel_gan"
    title = "TraVeL generator"
    deterministic = True

    def __init__(self, *, checkpoint: Path | None, device: str = "cpu") -> None:
        if checkpoint is None:
            raise CheckpointError(f"{self.name}: needs a checkpoint folder, got none")
        loaded = load_checkpoint(checkpoint, name=self.name)
        self.card, self.file_sha256 = loaded.card, loaded.file_sha256
        check_frontend(checkpoint, loaded.card, FRONTEND.sha256())
        self.frontend = FRONTEND
        self.config = from_card(TravelConfig, loaded.card, "config", checkpoint)
        self.network = Generator(self.config)
        load_weights(self.network, loaded.tensors, checkpoint)
        self.device = torch.device(device)
        self.network.to(self.device).requires_grad_(False).train(False)
        self.sample_rate_hz = FRONTEND.sample_rate_hz
        self.parameters = sum(p.numel() for p in self.network.parameters())

    @torch.no_grad()
    def convert(self, waveform: Tensor, *, sample_rate_hz: int) -> Tensor:
        """Log-mel ``(batch, n_mels, ceil(time / 256))`` in the target's style of a waveform ``(batch, time)``.

        Pieces are converted one by one, so that a row depends neither on the others nor on its own later part.

        Raises:
            InputError: If shape or rate are impossible, or a sample is not finite.
        """
        check_waveform(
            waveform, sample_rate_hz=sample_rate_hz, seeds=None, expected_hz=self.sample_rate_hz, name=self.name
        )
        hop, frames = self.frontend.stft.hop_length, self.config.frames
        wanted = -(-waveform.shape[1] // hop)
        pieces = -(-wanted // frames)
        padded = nn.functional.pad(waveform, (0, pieces * frames * hop - waveform.shape[1])).to(self.device)
        batch, n_mels = waveform.shape[0], self.config.n_mels
        if batch == 0:
            return waveform.new_zeros(0, n_mels, wanted)
        mels = [log_mel(row[None].to(torch.float32), self.frontend) for row in padded]
        mel = scaled(torch.cat(mels), self.config)
        rows = mel.reshape(batch, n_mels, pieces, frames).transpose(1, 2).reshape(-1, n_mels, frames)
        out = in_fixed_groups(rows, 16, self.network).reshape(batch, pieces, n_mels, frames).transpose(1, 2)
        return unscaled(out.reshape(batch, n_mels, -1)[..., :wanted], self.config).to(waveform)

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
    config=TravelConfig(),
    frontend=FRONTEND,
    settings=TravelTraining(),
    sample_rate_hz=FRONTEND.sample_rate_hz,
    clip_s=9.0,
    task=TravelTask,
    labels=(LABEL,),
)
