"""VQ-VAE-2 on Mel-IF pictures: the two-level discrete autoencoder of NOTONO."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from models.batching import check_waveform, cut, in_fixed_groups
from models.checkpoint import check_frontend, from_card, load_weights, tensors_sha256
from models.checkpoint import load as load_checkpoint
from models.errors import CheckpointError, InputError
from models.frontends.mel_if import MelIF, MelIFConfig, MelIFInverseConfig, band_centres_hz, wrap
from models.layers.quantize import Codebook, Quantized
from models.layers.residual import ResidualBlock


@dataclasses.dataclass(frozen=True)
class VQVAE2Config:
    """Size of the network.

    Attributes:
        channels: Width; the published model has 128, and 1,778,242 parameters beside its codes.
        residual_blocks: Residual blocks at the end of each encoder and the start of each decoder.
        factor_bottom: Reduction from the picture to the bottom map, a power of two.
        factor_top: Further reduction to the top map, a power of two.
        codebook_size: Codes per level.
        codebook_dim: Length of a code vector.
        decay: Moving-average weight of the codebooks.
        codebook_delay: Training steps before quantisation sets in.
        commitment: Weight of the commitment term.
        bottom_dropout: Share of the training pictures that are decoded from the top map alone. Without it the bottom
            map, which comes first in training, says everything and the top map nothing.
        level_weight: Weight of the log-mel term of the loss.
        loud_weight: How much more the loudest cells of a picture count in that term than the quiet ones.
        phase_weight: Weight of the phase term of the loss.
        log_mel_centre: Log-mel value that the network sees as 0.
        log_mel_range: Log-mel distance that the network sees as 1; with the centre it maps the front end's
            range of about -13.1 to 12 onto [-1, 1].
        silence_margin: Decoded log-mel less than this above the front end's threshold counts as silence.
        phase_range_db: Phase matters fully at the loudest cell of a picture, not at all this far below it.
    """

    channels: int = 128
    residual_blocks: int = 2
    factor_bottom: int = 16
    factor_top: int = 2
    codebook_size: int = 512
    codebook_dim: int = 64
    decay: float = 0.99
    codebook_delay: int = 500
    commitment: float = 0.1
    bottom_dropout: float = 0.2
    level_weight: float = 6.0
    loud_weight: float = 3.0
    phase_weight: float = 0.12
    log_mel_centre: float = -1.0
    log_mel_range: float = 12.2
    silence_margin: float = 0.15
    phase_range_db: float = 50.0

    def __post_init__(self) -> None:
        if self.channels < 16 or self.channels % 16:
            raise ValueError(f"channels must be a multiple of 16, got {self.channels}")


def _widths(channels: int, factor: int) -> list[int]:
    """Channels after each halving: 32, 64, 96, 128 for factor 16 and width 128; 64 for factor 2."""
    halvings = factor.bit_length() - 1
    if factor < 2 or 2**halvings != factor:
        raise ValueError(f"a reduction factor must be a power of two, got {factor}")
    if halvings == 1:
        return [channels // 2]
    return [channels * (i + 1) // halvings for i in range(halvings)]


def _encoder(n_in: int, config: VQVAE2Config, factor: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in _widths(config.channels, factor):
        layers += [nn.Conv2d(n_in, width, 4, stride=2, padding=1), nn.ReLU()]
        n_in = width
    layers.append(nn.Conv2d(n_in, config.channels, 3, padding=1))
    layers += [ResidualBlock(config.channels, config.channels // 4) for _ in range(config.residual_blocks)]
    layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def _decoder(n_in: int, n_out: int, config: VQVAE2Config, factor: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(n_in, config.channels, 3, padding=1)]
    layers += [ResidualBlock(config.channels, config.channels // 4) for _ in range(config.residual_blocks)]
    layers.append(nn.ReLU())
    widths = [config.channels, *reversed(_widths(config.channels, factor)[:-1]), n_out]
    for i, (a, b) in enumerate(itertools.pairwise(widths)):
        layers.append(nn.ConvTranspose2d(a, b, 4, stride=2, padding=1))
        if i < len(widths) - 2:
            layers.append(nn.ReLU())
    return nn.Sequential(*layers)


class VQVAE2(nn.Module):
    """Two-level vector-quantised autoencoder of two-channel pictures.

    Args:
        config: Sizes.

    Source:
        Bazin et al., "Spectrogram Inpainting for Interactive Generation of Instrument Sounds", 2020, after
        Razavi et al., "Generating Diverse High-Fidelity Images with VQ-VAE-2", 2019.
    """

    def __init__(self, config: VQVAE2Config) -> None:
        super().__init__()
        c, d = config.channels, config.codebook_dim
        self.config = config
        self.encoder_bottom = _encoder(2, config, config.factor_bottom)
        self.encoder_top = _encoder(c, config, config.factor_top)
        self.to_top = nn.Conv2d(c, d, 1)
        self.codebook_top = Codebook(config.codebook_size, d, decay=config.decay, delay=config.codebook_delay)
        self.decoder_top = _decoder(d, d, config, config.factor_top)
        self.to_bottom = nn.Conv2d(c + d, d, 1)
        self.codebook_bottom = Codebook(config.codebook_size, d, decay=config.decay, delay=config.codebook_delay)
        steps: list[nn.Module] = []
        for _ in range(config.factor_top.bit_length() - 1):
            steps.append(nn.ConvTranspose2d(d, d, 4, stride=2, padding=1))
        self.upsample_top = nn.Sequential(*steps)
        self.decoder = _decoder(2 * d, 2, config, config.factor_bottom)

    def coding_modules(self) -> tuple[nn.Module, ...]:
        """What decides the codes of a picture; the rest only decodes."""
        return (
            self.encoder_bottom,
            self.encoder_top,
            self.to_top,
            self.codebook_top,
            self.decoder_top,
            self.to_bottom,
            self.codebook_bottom,
        )

    def codes_sha256(self) -> str:
        """Hash of the tensors that decide the codes: equal hashes, equal codes."""
        tensors = {
            f"{i}.{name}": value
            for i, module in enumerate(self.coding_modules())
            for name, value in module.state_dict().items()
            if name not in ("counts", "sums", "calls")
        }
        return tensors_sha256(tensors)

    def encode(self, picture: Tensor, generator: torch.Generator | None = None) -> tuple[Quantized, Quantized]:
        """Quantise a normalised picture ``(batch, 2, bins, frames)`` into (top, bottom)."""
        bottom = self.encoder_bottom(picture)
        top = self.codebook_top(self.to_top(self.encoder_top(bottom)), generator)
        hint = self.decoder_top(top.vectors)
        return top, self.codebook_bottom(self.to_bottom(torch.cat([hint, bottom], 1)), generator)

    def decode(self, top: Tensor, bottom: Tensor) -> Tensor:
        """Picture ``(batch, 2, bins, frames)`` of code vectors of both levels."""
        picture: Tensor = self.decoder(torch.cat([self.upsample_top(top), bottom], 1))
        return picture

    def forward(self, picture: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Quantized, Quantized]:
        """Reconstruction with the quantiser reports of the top and the bottom level."""
        top, bottom = self.encode(picture, generator)
        vectors = bottom.vectors
        if self.training and self.config.bottom_dropout > 0:
            kept = torch.rand(picture.shape[0], generator=generator) >= self.config.bottom_dropout
            vectors = vectors * kept.to(vectors)[:, None, None, None]
        return self.decode(top.vectors, vectors), top, bottom


class PictureScale(nn.Module):
    """Mel-IF pictures as the network sees them, and back.

    The log-mel is shifted and scaled to about [-1, 1]. The phase advance is taken relative to that of the
    band's centre frequency: around a partial it then falls through zero with the same slope at any pitch, so
    that convolutions can read it off the shape of the peak. It fades to 0 with the level, and the first
    column, the phase at the start, is not coded: reconstructions start every partial at phase zero.

    Args:
        config: Constants of the scaling.
        frontend: Settings that the pictures were made with.
    """

    advance: Tensor

    def __init__(self, config: VQVAE2Config, frontend: MelIFConfig) -> None:
        super().__init__()
        self.config = config
        self.floor = math.log(frontend.threshold)
        self.filled = 1 + frontend.n_samples // frontend.hop_length
        centre_hz = band_centres_hz(frontend)
        advance = wrap(2.0 * centre_hz * frontend.hop_length / frontend.sample_rate_hz)
        self.register_buffer("advance", advance[:, None], persistent=False)

    def silent(self, picture: Tensor) -> Tensor:
        """Cells at the front end's threshold, ``(batch, bins, frames)``."""
        return picture[:, 0] <= self.floor + 1e-3

    def phase_importance(self, picture: Tensor) -> Tensor:
        """How much the phase of each cell matters, 0 to 1, shape ``(batch, bins, frames)``."""
        log_mel = picture[:, 0]
        span = self.config.phase_range_db * math.log(10.0) / 10.0
        peak = log_mel.amax((1, 2), keepdim=True)
        weight = ((log_mel - peak) / span + 1.0).clamp_min(0.0)
        weight = weight * ~self.silent(picture)
        columns = torch.arange(picture.shape[-1], device=picture.device)
        return weight * ((columns > 0) & (columns < self.filled))

    def relative_phase(self, picture: Tensor) -> Tensor:
        """Phase advance over that of the band centre, in [-1, 1), shape ``(batch, bins, frames)``."""
        return wrap(picture[:, 1] - self.advance.to(picture.dtype))

    def forward(self, picture: Tensor) -> Tensor:
        """Network input of a picture ``(batch, 2, bins, frames)``."""
        log_mel = (picture[:, 0] - self.config.log_mel_centre) / self.config.log_mel_range
        return torch.stack([log_mel, self.relative_phase(picture) * self.phase_importance(picture)], 1)

    def inverse(self, output: Tensor) -> Tensor:
        """Picture of a network output."""
        log_mel = output[:, 0] * self.config.log_mel_range + self.config.log_mel_centre
        # A network hovers about the floor that silence lies on; half of that hovering would sound.
        log_mel = log_mel.masked_fill(log_mel < self.floor + self.config.silence_margin, self.floor)
        phase = wrap(output[:, 1] + self.advance.to(output.dtype))
        phase = torch.cat([torch.zeros_like(phase[..., :1]), phase[..., 1:]], -1)
        return torch.stack([log_mel, phase], 1)


@dataclasses.dataclass(frozen=True)
class Loss:
    """Terms of the training loss, each a scalar tensor.

    Attributes:
        total: What is minimised.
        level: Weighted squared error of the scaled log-mel.
        log_mel: The same without weights, for the log.
        phase: ``1 - cos`` of the phase advance error, weighted by importance.
        commitment: Of both levels.
        perplexity_top: Codes in use in the top map of this batch.
        perplexity_bottom: The same for the bottom map.
    """

    total: Tensor
    level: Tensor
    log_mel: Tensor
    phase: Tensor
    commitment: Tensor
    perplexity_top: Tensor
    perplexity_bottom: Tensor

    def report(self) -> dict[str, float]:
        """Terms as numbers."""
        return {f.name: float(getattr(self, f.name).detach()) for f in dataclasses.fields(self)}


def training_loss(
    network: VQVAE2, scale: PictureScale, picture: Tensor, generator: torch.Generator | None = None
) -> Loss:
    """Loss of a batch of pictures.

    Squared error of the scaled log-mel, loud cells counting more and silent ones only where the output is too
    loud, plus ``1 - cos`` of the phase advance error averaged with the weights
    of ``phase_importance`` (a phase error of a whole turn costs nothing), plus the commitment terms.
    """
    config = network.config
    inputs = scale(picture)
    output, top, bottom = network(inputs, generator)
    output = output.float()
    gap = output[:, 0] - inputs[:, 0]
    # Under the threshold there is nothing to hit: any value below it means silence.
    gap = torch.where(scale.silent(picture), gap.clamp_min(0.0), gap).square()
    weight = scale.phase_importance(picture)
    level = (gap * (1.0 + config.loud_weight * weight)).mean()
    error = 1.0 - torch.cos(math.pi * (output[:, 1] - scale.relative_phase(picture)))
    phase = (weight * error).sum((1, 2)) / weight.sum((1, 2)).clamp_min(1.0)
    commitment = top.commitment + bottom.commitment
    total = config.level_weight * level + config.phase_weight * phase.mean() + config.commitment * commitment
    return Loss(total, level, gap.mean(), phase.mean(), commitment, top.perplexity, bottom.perplexity)


class VQVAE2System:
    """The trained network between its front end and that front end's inverse.

    Clips of any length go through in pictures of four seconds, the last one filled up with silence.

    Args:
        checkpoint: Folder with ``model.safetensors`` and ``card.json``.
        device: Where to compute.
        inverse: Settings of the way back from picture to waveform.

    Raises:
        CheckpointError: If the weights or the card cannot be used.
    """

    name = "vqvae2"
    title = "VQ-VAE-2"
    deterministic = True

    def __init__(
        self, *, checkpoint: Path | None, device: str = "cpu", inverse: MelIFInverseConfig | None = None
    ) -> None:
        if checkpoint is None:
            raise CheckpointError(f"{self.name}: needs a checkpoint folder, got none")
        loaded = load_checkpoint(checkpoint, name=self.name)
        self.card, self.file_sha256 = loaded.card, loaded.file_sha256
        self.config = from_card(VQVAE2Config, loaded.card, "config", checkpoint)
        frontend = from_card(MelIFConfig, loaded.card.get("frontend", {}), "settings", checkpoint)
        check_frontend(checkpoint, loaded.card, frontend.sha256())
        self.network = VQVAE2(self.config)
        load_weights(self.network, loaded.tensors, checkpoint)
        self.device = torch.device(device)
        self.network.to(self.device).requires_grad_(False).train(False)
        self.frontend = MelIF(frontend, inverse).to(self.device)
        self.scale = PictureScale(self.config, frontend).to(self.device)
        self.sample_rate_hz: int | None = frontend.sample_rate_hz
        self.parameters = sum(p.numel() for p in self.network.parameters()) + sum(
            book.codes.numel() for book in (self.network.codebook_top, self.network.codebook_bottom)
        )
        self.codes_sha256 = self.network.codes_sha256()
        # One picture at a time on a CPU, where batches are no faster; a fixed number elsewhere.
        self.group = 1 if self.device.type == "cpu" else 16

    @torch.no_grad()
    def reconstruct(self, waveform: Tensor, *, sample_rate_hz: int, seeds: Sequence[int]) -> Tensor:
        """Waveform ``(batch, time)`` after coding and decoding; the seeds are not used.

        Raises:
            InputError: If shape, rate or seeds are impossible, or a sample is not finite.
        """
        check_waveform(
            waveform,
            sample_rate_hz=sample_rate_hz,
            seeds=seeds,
            expected_hz=self.sample_rate_hz,
            name=self.name,
        )
        if waveform.shape[0] == 0:
            return waveform.clone()
        length = self.frontend.config.n_samples
        pieces = cut(waveform, length)
        rebuilt = in_fixed_groups(pieces.reshape(-1, length), self.group, self._pictures_and_back)
        return rebuilt.reshape(waveform.shape[0], -1)[:, : waveform.shape[1]].contiguous()

    @torch.no_grad()
    def codes(self, waveform: Tensor, *, sample_rate_hz: int) -> dict[str, Tensor]:
        """Code maps ``{"top": (batch, bins, frames), "bottom": (batch, bins, frames)}``, int64.

        Four seconds give 32 x 4 and 64 x 8; longer clips go on to the right.
        """
        check_waveform(
            waveform,
            sample_rate_hz=sample_rate_hz,
            seeds=None,
            expected_hz=self.sample_rate_hz,
            name=self.name,
        )
        pieces = cut(waveform, self.frontend.config.n_samples)
        rows = in_fixed_groups(pieces.flatten(0, 1), self.group, self._flat_codes).cpu()
        maps: dict[str, Tensor] = {}
        start = 0
        for level, (bins, frames) in self.map_shapes().items():
            part = rows[:, start : start + bins * frames]
            start += bins * frames
            by_clip = part.reshape(pieces.shape[0], pieces.shape[1], bins, frames)
            maps[level] = by_clip.permute(0, 2, 1, 3).reshape(pieces.shape[0], bins, -1)
        return maps

    @torch.no_grad()
    def decode_codes(self, top: Tensor, bottom: Tensor) -> Tensor:
        """Waveforms ``(batch, n_samples)`` of the code maps of one picture a row: the second half of `reconstruct`.

        Args:
            top: Codes, integers, shape ``(batch, bins, frames)``; 32 x 4 in the published size.
            bottom: Codes, shape ``(batch, bins, frames)``; 64 x 8.

        Raises:
            InputError: If the maps have other shapes, or a code is not in the codebook.
        """
        shapes, size = self.map_shapes(), self.config.codebook_size
        for level, codes in (("top", top), ("bottom", bottom)):
            if codes.ndim != 3 or tuple(codes.shape[1:]) != shapes[level] or codes.shape[0] != top.shape[0]:
                raise InputError(
                    f"{self.name}: {level} codes must have shape (batch, {shapes[level][0]}, {shapes[level][1]}),"
                    f" got {tuple(codes.shape)}"
                )
            if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < size:
                raise InputError(f"{self.name}: {level} codes must lie in 0..{size - 1}")
        if top.shape[0] == 0:
            return torch.zeros(0, self.frontend.config.n_samples)
        rows = torch.cat([top.flatten(1), bottom.flatten(1)], 1).to(self.device)
        return in_fixed_groups(rows, self.group, self._waveforms_of_codes).cpu()

    def describe(self) -> dict[str, object]:
        """Configuration, front end, checkpoint and size."""
        card = self.card
        return {
            "name": self.name,
            "config": {
                **dataclasses.asdict(self.config),
                "inverse": dataclasses.asdict(self.frontend.inverse_config),
            },
            "frontend": card["frontend"],
            "checkpoint": {
                "sha256": card["tensors_sha256"],
                "file_sha256": self.file_sha256,
                "step": card.get("step"),
                "trained_on": card.get("trained_on"),
            },
            "parameters": self.parameters,
        }

    def _input(self, waveform: Tensor) -> Tensor:
        network_input: Tensor = self.scale(self.frontend(waveform.to(self.device)))
        return network_input

    def map_shapes(self) -> dict[str, tuple[int, int]]:
        """Bins and frames of both code maps of one picture."""
        picture = (self.frontend.config.n_bins, self.frontend.config.n_frames)
        bottom = self.config.factor_bottom
        top = bottom * self.config.factor_top
        return {
            "top": (picture[0] // top, picture[1] // top),
            "bottom": (picture[0] // bottom, picture[1] // bottom),
        }

    def _flat_codes(self, waveform: Tensor) -> Tensor:
        levels = self.network.encode(self._input(waveform))
        return torch.cat([level.codes.flatten(1) for level in levels], 1)

    def _waveforms_of_codes(self, rows: Tensor) -> Tensor:
        shapes = self.map_shapes()
        n_top = shapes["top"][0] * shapes["top"][1]
        top = self.network.codebook_top.lookup(rows[:, :n_top].reshape(-1, *shapes["top"]))
        bottom = self.network.codebook_bottom.lookup(rows[:, n_top:].reshape(-1, *shapes["bottom"]))
        waveform: Tensor = self.frontend.inverse(self.scale.inverse(self.network.decode(top, bottom)))
        return waveform.float()

    def _pictures_and_back(self, waveform: Tensor) -> Tensor:
        output, _, _ = self.network(self._input(waveform))
        return self.frontend.inverse(self.scale.inverse(output)).to(waveform)


class VQVAE2FineSystem(VQVAE2System):
    """The variant with reduction factors 8 and 4: bottom maps of 128 x 16 codes, top maps of 32 x 4."""

    name = "vqvae2_8x4"
    title = "VQ-VAE-2, finer maps"
