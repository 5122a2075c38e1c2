"""Generation and inpainting of notes: codemap transformers over the code maps of the VQ-VAE-2.

A note is made by drawing a top map, then the bottom map under it, and decoding both. Inpainting draws some tokens
anew and leaves the others as they are; what is drawn in the top map is drawn anew beneath it, too.

Every row draws from a generator of its own, by one uniform number a token, and rows are computed in groups of one
size: a row comes out the same whatever stands beside it.

Different from the published system:

* guidance: logits can be moved away from those without classes (1 leaves them as they are, as published);
* maps longer than four seconds are not slid over.

Source:
    Bazin et al., "Spectrogram Inpainting for Interactive Generation of Instrument Sounds", 2020;
    Holtzman et al., "The Curious Case of Neural Text Degeneration", 2020 (nucleus sampling);
    Ho and Salimans, "Classifier-Free Diffusion Guidance", 2021.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from models import registry
from models.batching import check_waveform, cut, in_fixed_groups
from models.checkpoint import check_frontend, from_card, load_weights
from models.checkpoint import load as load_checkpoint
from models.codemap_masks import beneath
from models.codemap_transformer import (
    FAMILIES,
    PITCHES,
    CodemapConfig,
    CodemapTransformer,
    check_maps,
    to_map,
    to_sequence,
)
from models.errors import CheckpointError, InputError
from models.vqvae2 import VQVAE2System


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How tokens are drawn.

    Attributes:
        temperature: Divides the logits; above 0.
        top_p: The likeliest tokens that make up this share are drawn from; 1 draws from all. Published: 0.8.
        top_k: At most so many tokens are drawn from; 0 sets no limit.
        guidance: How far logits go from those without classes to those with them; 1 is with them, as published.
    """

    temperature: float = 1.0
    top_p: float = 0.8
    top_k: int = 0
    guidance: float = 1.0

    def __post_init__(self) -> None:
        if not self.temperature > 0.0 or not 0.0 < self.top_p <= 1.0 or self.top_k < 0 or self.guidance < 0.0:
            raise InputError(
                f"sampling: need temperature > 0, 0 < top_p <= 1, top_k >= 0 and guidance >= 0, got {self.temperature},"
                f" {self.top_p}, {self.top_k} and {self.guidance}"
            )


def draw_tokens(logits: Tensor, uniforms: Tensor, sampling: Sampling) -> Tensor:
    """Tokens ``(batch,)`` drawn by logits ``(batch, codes)`` and one uniform number in [0, 1) a row ``(batch,)``."""
    probability = torch.softmax(logits.double() / sampling.temperature, -1)
    probability, order = torch.sort(probability, dim=-1, descending=True, stable=True)
    before = probability.cumsum(-1) - probability
    out = before >= sampling.top_p
    if sampling.top_k:
        out[:, sampling.top_k :] = True
    # The likeliest stays whatever rounding does.
    out[:, 0] = False
    reach = probability.masked_fill(out, 0.0).cumsum(-1)
    place = torch.searchsorted(reach, (uniforms[:, None] * reach[:, -1:]).contiguous(), right=True)
    last = (~out).sum(-1, keepdim=True) - 1
    return order.gather(1, torch.minimum(place, last))[:, 0]


@torch.no_grad()
def draw_sequences(
    network: CodemapTransformer,
    source: Tensor,
    target: Tensor,
    hidden: Tensor,
    pitch: Tensor,
    family: Tensor,
    uniforms: Tensor,
    sampling: Sampling,
    *,
    cached: bool = True,
) -> Tensor:
    """Target tokens with the hidden ones drawn one after the other, the others as they are.

    Args:
        network: Prior of the target map.
        source: Source tokens, shape ``(batch, source tokens)``.
        target: Target tokens, shape ``(batch, n)``; as many are drawn, which may be fewer than the map has.
        hidden: Which of them are drawn, Boolean, same shape.
        pitch: Pitches or none, shape ``(batch,)``.
        family: Family numbers or none, shape ``(batch,)``.
        uniforms: One number in [0, 1) a token, shape of ``target``.
        sampling: How to draw.
        cached: Keep keys and values of the tokens before; without, every token runs the decoder over all of them again.
    """
    target = target.clone()
    guided = sampling.guidance != 1.0
    if guided:
        # The second half of the batch is the same notes without classes.
        source = torch.cat([source, source])
        pitch = torch.cat([pitch, torch.full_like(pitch, PITCHES)])
        family = torch.cat([family, torch.full_like(family, len(FAMILIES))])
    cache = None
    for i in range(target.shape[1]):
        if not cached:
            before = target[:, :i]
            logits = network(source, torch.cat([before, before]) if guided else before, pitch, family)[:, -1]
        elif cache is None:
            logits, cache = network.begin(source, pitch, family)
        else:
            token = target[:, i - 1]
            logits = network.step(torch.cat([token, token]) if guided else token, cache)
        if guided:
            with_class, without = logits.chunk(2)
            logits = without + sampling.guidance * (with_class - without)
        drawn = draw_tokens(logits, uniforms[:, i], sampling)
        target[:, i] = torch.where(hidden[:, i], drawn, target[:, i])
    return target


class Prior:
    """One trained codemap transformer.

    Args:
        checkpoint: Folder with ``model.safetensors`` and ``card.json``.
        device: Where to compute.

    Raises:
        CheckpointError: If the weights or the card cannot be used.
    """

    name = ""
    title = ""
    level = ""

    def __init__(self, *, checkpoint: Path | None, device: str = "cpu") -> None:
        if checkpoint is None:
            raise CheckpointError(f"{self.name}: needs a checkpoint folder, got none")
        loaded = load_checkpoint(checkpoint, name=self.name)
        self.folder = checkpoint
        self.card, self.file_sha256 = loaded.card, loaded.file_sha256
        self.config = from_card(CodemapConfig, loaded.card, "config", checkpoint)
        if self.config.level != self.level:
            raise CheckpointError(
                f"{checkpoint / 'card.json'}: config.level is {self.config.level!r}, need {self.level!r}"
            )
        self.device = torch.device(device)
        self.network = CodemapTransformer(self.config)
        load_weights(self.network, loaded.tensors, checkpoint)
        self.network.to(self.device).requires_grad_(False).train(False)
        self.parameters = sum(p.numel() for p in self.network.parameters())

    def check(self, vqvae: VQVAE2System, folder: Path) -> None:
        """Refuse codes of another VQ-VAE-2 than the one that this was trained on.

        Args:
            vqvae: The coder at hand.
            folder: Where it comes from.

        Raises:
            CheckpointError: Naming both.
        """
        check_frontend(self.folder, self.card, vqvae.frontend.config.sha256())
        stated = self.card.get("vqvae")
        trained_on = str(stated.get("codes_sha256")) if isinstance(stated, dict) else "none"
        if trained_on != vqvae.codes_sha256:
            raise CheckpointError(
                f"{self.folder / 'card.json'}: vqvae.codes_sha256 is {trained_on[:16]}, but that of the VQ-VAE-2 in"
                f" {folder} is {vqvae.codes_sha256[:16]}; use the one it was trained on, or train the prior anew with"
                f" --set vqvae={folder}"
            )
        try:
            check_maps(self.config, vqvae)
        except InputError as error:
            raise CheckpointError(f"{self.folder / 'card.json'}: config does not fit: {error}") from None

    @torch.no_grad()
    def token_nll(self, source: Tensor, target: Tensor, pitch: Tensor, family: Tensor) -> Tensor:
        """Negative log-likelihood of every target token, nats, shape ``(batch, tokens)``, given those before it.

        Args:
            source: Source tokens, shape ``(batch, bins * frames)``.
            target: Target tokens, shape ``(batch, tokens)``.
            pitch: MIDI pitches or none, shape ``(batch,)``.
            family: Family numbers or none, shape ``(batch,)``.
        """
        source, target, pitch, family = (part.to(self.device) for part in (source, target, pitch, family))
        logits = self.network(source, target[:, :-1], pitch, family)
        return torch.nn.functional.cross_entropy(logits.transpose(1, 2), target, reduction="none").cpu()

    def describe(self) -> dict[str, object]:
        """Configuration, checkpoint, VQ-VAE-2 and size."""
        return {
            "name": self.name,
            "config": dataclasses.asdict(self.config),
            "frontend": self.card["frontend"],
            "vqvae": self.card.get("vqvae"),
            "checkpoint": {
                "sha256": self.card["tensors_sha256"],
                "file_sha256": self.file_sha256,
                "step": self.card.get("step"),
                "trained_on": self.card.get("trained_on"),
            },
            "parameters": self.parameters,
        }


class TopPrior(Prior):
    """Prior of the top map."""

    name, title, level = "codemap_top", "Codemap transformer, top", "top"


class BottomPrior(Prior):
    """Prior of the bottom map under a top map."""

    name, title, level = "codemap_bottom", "Codemap transformer, bottom", "bottom"


def class_tensors(pitches: Sequence[int | None], families: Sequence[str | None]) -> tuple[Tensor, Tensor]:
    """Numbers ``(batch,)`` of pitches and families, ``None`` being no class.

    Raises:
        InputError: If there are not as many of both, or one is unknown.
    """
    if len(pitches) != len(families):
        raise InputError(f"codemaps: {len(pitches)} pitches for {len(families)} families, need one each")
    for pitch in pitches:
        if pitch is not None and not 0 <= pitch < PITCHES:
            raise InputError(f"codemaps: pitch is {pitch}, need a MIDI number from 0 to {PITCHES - 1}, or none")
    for family in families:
        if family is not None and family not in FAMILIES:
            raise InputError(f"codemaps: family {family!r} is unknown; known: {', '.join(FAMILIES)}")
    return (
        torch.tensor([PITCHES if p is None else p for p in pitches], dtype=torch.int64),
        torch.tensor([len(FAMILIES) if f is None else FAMILIES.index(f) for f in families], dtype=torch.int64),
    )


def draw_uniforms(seeds: Sequence[int], count: int) -> Tensor:
    """Numbers in [0, 1), float64, shape ``(seeds, count)``, every row from its own seed."""
    rows = [torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) for seed in seeds]
    return torch.stack(rows) if rows else torch.zeros(0, count, dtype=torch.float64)


def draw_map(
    prior: Prior,
    source: Tensor,
    codes: Tensor,
    masks: Tensor,
    pitch: Tensor,
    family: Tensor,
    uniforms: Tensor,
    sampling: Sampling,
    *,
    group: int,
) -> Tensor:
    """Maps ``(batch, bins, frames)`` with the masked tokens drawn anew, the others bit-identical.

    Args:
        prior: Of the level of ``codes``.
        source: Top maps, ``codebook_size`` where they are masked, shape ``(batch, bins, frames)``.
        codes: Maps to change.
        masks: True where a token is drawn, shape of ``codes``.
        pitch: Pitches or none, shape ``(batch,)``.
        family: Family numbers or none, shape ``(batch,)``.
        uniforms: Numbers in [0, 1), shape ``(batch, tokens)``.
        sampling: How to draw.
        group: Rows that are computed together.
    """
    patch, tokens = prior.config.target_patch, prior.config.tokens
    given = to_sequence(source, 1)
    widths = [given.shape[1], tokens, tokens, 1, 1, tokens]
    parts = [given, to_sequence(codes, patch), to_sequence(masks, patch), pitch[:, None], family[:, None], uniforms]

    def work(rows: Tensor) -> Tensor:
        source_part, target, hidden, pitch_part, family_part, chance = torch.split(rows, widths, 1)
        if not bool(hidden.any()):
            return target
        drawn = draw_sequences(
            prior.network,
            source_part.long(),
            target.long(),
            hidden.bool(),
            pitch_part.long()[:, 0],
            family_part.long()[:, 0],
            chance,
            sampling,
        )
        return drawn.double()

    if codes.shape[0] == 0:
        return codes.clone()
    rows = torch.cat([part.double() for part in parts], 1).to(prior.device)
    drawn = in_fixed_groups(rows, group, work).long().cpu()
    return to_map(drawn, prior.config.shape, patch)


class Codemaps:
    """Both priors and the VQ-VAE-2 under them: notes from pitch and family, notes from nothing, inpainting.

    Args:
        checkpoint: Folder of the top prior.
        device: Where to compute.
        bottom: Folder of the bottom prior; the shipped one when ``None``.
        vqvae: Folder of the VQ-VAE-2; the shipped one when ``None``.

    Raises:
        CheckpointError: If weights or cards cannot be used, or a prior was trained on another VQ-VAE-2.
    """

    name = "codemaps"
    title = "Codemap transformers"
    deterministic = True

    def __init__(
        self, *, checkpoint: Path | None, device: str = "cpu", bottom: Path | None = None, vqvae: Path | None = None
    ) -> None:
        vqvae = vqvae or registry.SHIPPED / "vqvae2"
        self.vqvae = VQVAE2System(checkpoint=vqvae, device=device)
        self.top = TopPrior(checkpoint=checkpoint, device=device)
        self.bottom = BottomPrior(checkpoint=bottom or registry.SHIPPED / "codemap_bottom", device=device)
        for prior in (self.top, self.bottom):
            prior.check(self.vqvae, vqvae)
        self.sample_rate_hz = self.vqvae.sample_rate_hz
        self.parameters = self.top.parameters + self.bottom.parameters + self.vqvae.parameters
        self.shape_top, self.shape_bottom = self.top.config.shape, self.bottom.config.shape
        self.patch = self.bottom.config.patch
        # Small batches cost nearly as much as one row; a fixed number makes rows independent of each other.
        self.group = 8 if self.vqvae.device.type == "cpu" else 64

    def generate(
        self,
        pitches: Sequence[int | None],
        families: Sequence[str | None],
        *,
        seeds: Sequence[int],
        sampling: Sampling | None = None,
    ) -> Tensor:
        """Notes ``(batch, n_samples)`` of pitches and families; ``None`` leaves either to chance.

        Raises:
            InputError: If a class is unknown or the numbers of rows differ.
        """
        return self.vqvae.decode_codes(*self.generate_codes(pitches, families, seeds=seeds, sampling=sampling))

    def generate_codes(
        self,
        pitches: Sequence[int | None],
        families: Sequence[str | None],
        *,
        seeds: Sequence[int],
        sampling: Sampling | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Top and bottom maps of notes; see `generate`."""
        batch = len(seeds)
        return self.inpaint(
            torch.zeros(batch, *self.shape_top, dtype=torch.int64),
            torch.zeros(batch, *self.shape_bottom, dtype=torch.int64),
            mask_top=torch.ones(self.shape_top, dtype=torch.bool),
            pitches=pitches,
            families=families,
            seeds=seeds,
            sampling=sampling,
        )

    def generate_unconditional(self, *, seeds: Sequence[int], sampling: Sampling | None = None) -> Tensor:
        """Notes ``(batch, n_samples)`` from nothing but their seeds."""
        none = [None] * len(seeds)
        return self.generate(none, none, seeds=seeds, sampling=sampling)

    def inpaint(
        self,
        codes_top: Tensor,
        codes_bottom: Tensor,
        *,
        mask_top: Tensor | None = None,
        mask_bottom: Tensor | None = None,
        pitches: Sequence[int | None],
        families: Sequence[str | None],
        seeds: Sequence[int],
        sampling: Sampling | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Top and bottom maps with the masked tokens drawn anew and the others bit-identical.

        Bottom tokens under a masked top token are drawn anew, whatever ``mask_bottom`` says of them.

        Args:
            codes_top: Shape ``(batch, bins, frames)``, integers.
            codes_bottom: Shape ``(batch, bins * patch, frames * patch)``.
            mask_top: True where to redraw, one for all rows or one a row; nothing when ``None``.
            mask_bottom: The same for the bottom map.
            pitches: MIDI pitch of every row, or ``None`` to leave it to chance.
            families: Instrument family of every row, or ``None``.
            seeds: One a row.
            sampling: How to draw; as published when ``None``.

        Raises:
            InputError: If shapes or numbers of rows differ, or a class or code is unknown.
        """
        sampling = sampling or Sampling()
        batch = len(seeds)
        pitch, family = class_tensors(pitches, families)
        if pitch.shape[0] != batch:
            raise InputError(f"codemaps: {batch} seeds for {pitch.shape[0]} pitches, need one each")
        codes_top = self._codes(codes_top, self.shape_top, batch, "codes_top")
        codes_bottom = self._codes(codes_bottom, self.shape_bottom, batch, "codes_bottom")
        redraw_top = self._mask(mask_top, self.shape_top, batch, "mask_top")
        redraw_bottom = self._mask(mask_bottom, self.shape_bottom, batch, "mask_bottom")
        redraw_bottom = redraw_bottom | beneath(redraw_top, self.patch)
        uniforms = draw_uniforms(seeds, self.top.config.tokens + self.bottom.config.tokens)
        for_top, for_bottom = uniforms[:, : self.top.config.tokens], uniforms[:, self.top.config.tokens :]
        masked = codes_top.masked_fill(redraw_top, self.top.config.codebook_size)
        top = draw_map(self.top, masked, codes_top, redraw_top, pitch, family, for_top, sampling, group=self.group)
        bottom = draw_map(
            self.bottom, top, codes_bottom, redraw_bottom, pitch, family, for_bottom, sampling, group=self.group
        )
        return top, bottom

    def encode(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Top and bottom maps of four-second notes ``(batch, n_samples)``; shorter ones are filled up with silence.

        Raises:
            InputError: If a waveform is longer than a picture, empty or holds what is no number.
        """
        length = self.vqvae.frontend.config.n_samples
        if waveform.ndim == 2 and waveform.shape[1] > length:
            raise InputError(f"codemaps: a note has at most {length} samples, got {waveform.shape[1]}")
        codes = self.vqvae.codes(waveform, sample_rate_hz=self.vqvae.frontend.config.sample_rate_hz)
        return codes["top"], codes["bottom"]

    def decode(self, codes_top: Tensor, codes_bottom: Tensor) -> Tensor:
        """Notes ``(batch, n_samples)`` of code maps.

        Raises:
            InputError: If shapes or codes are impossible.
        """
        return self.vqvae.decode_codes(codes_top, codes_bottom)

    def describe(self) -> dict[str, object]:
        """The three networks."""
        return {
            "name": self.name,
            "top": self.top.describe(),
            "bottom": self.bottom.describe(),
            "vqvae2": self.vqvae.describe(),
            "parameters": self.parameters,
        }

    def _codes(self, codes: Tensor, shape: tuple[int, int], batch: int, what: str) -> Tensor:
        if tuple(codes.shape) != (batch, *shape):
            raise InputError(f"codemaps: {what} must have shape {(batch, *shape)}, got {tuple(codes.shape)}")
        size = self.top.config.codebook_size
        if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < size:
            raise InputError(f"codemaps: {what} must lie in 0..{size - 1}")
        return codes.to("cpu", torch.int64)

    def _mask(self, mask: Tensor | None, shape: tuple[int, int], batch: int, what: str) -> Tensor:
        if mask is None:
            return torch.zeros(batch, *shape, dtype=torch.bool)
        if mask.dtype != torch.bool or tuple(mask.shape) not in (shape, (batch, *shape)):
            raise InputError(
                f"codemaps: {what} must be Boolean of shape {shape} or {(batch, *shape)}, got {mask.dtype} of shape"
                f" {tuple(mask.shape)}"
            )
        return mask.to("cpu").expand(batch, *shape)


class CodemapRedraw:
    """Codes a clip, keeps the top map, draws the bottom map anew without being told pitch or family, and decodes.

    What of a note is in its top map is heard in how much of it comes back. Clips of any length go through in pictures
    of four seconds, each by itself.

    Args:
        checkpoint: Folder of the bottom prior.
        device: Where to compute.
        vqvae: Folder of the VQ-VAE-2; the shipped one when ``None``.
        sampling: How to draw; as published when ``None``.

    Raises:
        CheckpointError: If weights or cards cannot be used, or the prior was trained on another VQ-VAE-2.
    """

    name = "codemap_redraw"
    title = "VQ-VAE-2, bottom map redrawn"
    deterministic = True

    def __init__(
        self,
        *,
        checkpoint: Path | None,
        device: str = "cpu",
        vqvae: Path | None = None,
        sampling: Sampling | None = None,
    ) -> None:
        vqvae = vqvae or registry.SHIPPED / "vqvae2"
        self.vqvae = VQVAE2System(checkpoint=vqvae, device=device)
        self.prior = BottomPrior(checkpoint=checkpoint, device=device)
        self.prior.check(self.vqvae, vqvae)
        self.sampling = sampling or Sampling()
        self.sample_rate_hz = self.vqvae.sample_rate_hz
        self.parameters = self.prior.parameters + self.vqvae.parameters
        self.group = 4 if self.vqvae.device.type == "cpu" else 64

    def reconstruct(self, waveform: Tensor, *, sample_rate_hz: int, seeds: Sequence[int]) -> Tensor:
        """Waveform ``(batch, time)`` with its bottom codes drawn anew, by one seed a row.

        Raises:
            InputError: If shape, rate or seeds are impossible, or a sample is not finite.
        """
        check_waveform(
            waveform, sample_rate_hz=sample_rate_hz, seeds=seeds, expected_hz=self.sample_rate_hz, name=self.name
        )
        if waveform.shape[0] == 0:
            return waveform.clone()
        config, length = self.prior.config, self.vqvae.frontend.config.n_samples
        pieces = cut(waveform, length)
        flat = pieces.flatten(0, 1)
        top = self.vqvae.codes(flat, sample_rate_hz=sample_rate_hz)["top"]
        uniforms = draw_uniforms(seeds, pieces.shape[1] * config.tokens).reshape(-1, config.tokens)
        none = class_tensors([None] * len(flat), [None] * len(flat))
        bottom = draw_map(
            self.prior,
            top,
            torch.zeros(len(flat), *config.shape, dtype=torch.int64),
            torch.ones(len(flat), *config.shape, dtype=torch.bool),
            *none,
            uniforms,
            self.sampling,
            group=self.group,
        )
        rebuilt = self.vqvae.decode_codes(top, bottom).reshape(waveform.shape[0], -1)
        return rebuilt[:, : waveform.shape[1]].to(waveform).contiguous()

    def codes(self, waveform: Tensor, *, sample_rate_hz: int) -> dict[str, Tensor]:
        """Code maps of the clip before anything is redrawn; see `VQVAE2System.codes`."""
        return self.vqvae.codes(waveform, sample_rate_hz=sample_rate_hz)

    def describe(self) -> dict[str, object]:
        """Prior, VQ-VAE-2 and sampling."""
        prior = self.prior.describe()
        return {
            "name": self.name,
            "config": {**dataclasses.asdict(self.prior.config), "sampling": dataclasses.asdict(self.sampling)},
            "frontend": prior["frontend"],
            "checkpoint": prior["checkpoint"],
            "vqvae2": self.vqvae.describe(),
            "parameters": self.parameters,
        }
