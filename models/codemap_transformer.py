"""Codemap transformers: the priors of NOTONO over the code maps of its VQ-VAE-2.

The top model writes the 32 x 4 top map token by token. Its source is the same map with the tokens to be redrawn
replaced by a "masked" symbol, so that a token depends on all tokens before it and on the kept ones after it. The
bottom model writes the 64 x 8 bottom map; its source is the whole top map. Pitch and instrument family go with every
token.

The order is time first, then frequency from low to high; a bottom map follows the same order of the top cells above
it, and within the patch of a top cell again time first, then frequency (zig-zag).

Different from the published system:

* The decoder's input at a step is the token before it with the position of the token to be predicted; the original
  gives each token its own position and leaves it to the network to work out the next one.
* Shipped sizes are narrow (``SHIPPED_TOP``, ``SHIPPED_BOTTOM``); the published ones are ``PUBLISHED_TOP`` and
  ``PUBLISHED_BOTTOM``.
* ``relative="grid"`` learns one number for each head and offset in bins and frames, and starts from slopes that
  favour what is near; ``"sequence"`` learns, as published, a vector for each head and offset along the sequence.
* ``norm_first`` normalises before each sublayer, which learns faster at high rates; the published order is behind it.
* Masks of a training batch are by default a mixture with the contiguous zones that users paint, drawn row by row; the
  original draws independent tokens with one probability a batch. The loss covers redrawn tokens only; ``loss="all"``
  is the published one, in which most of a row can be copied from the source.
* A class is withheld from some rows in training, so that one network makes notes with and without it.
* Some training notes are transposed by whole semitones, with their pitch label.
* With ``comb``, every token is told where in its band of the picture the partials of the asked pitch lie: an embedding
  of the pitch alone leaves the network to learn that for every pitch and bin by itself.

Source:
    Bazin et al., "Spectrogram Inpainting for Interactive Generation of Instrument Sounds", 2020.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from models import registry
from models.checkpoint import write_atomically
from models.codemap_masks import draw_masks, full
from models.errors import CorpusError, InputError
from models.frontends.mel_if import MelIFConfig, band_centres_hz
from models.layers.attention import (
    OffsetBias,
    OffsetVectors,
    RelativeAttention,
    grid_offsets,
    sequence_offsets,
)
from models.training.data import Augmentation, ClipStore, draw_rows, step_generator
from models.training.task import Part, Recipe, TaskContext, TrainingSettings
from models.vqvae2 import VQVAE2System

FAMILIES: tuple[str, ...] = (
    "bass",
    "brass",
    "flute",
    "guitar",
    "keyboard",
    "mallet",
    "organ",
    "reed",
    "string",
    "synth_lead",
    "vocal",
)
PITCHES = 128


@dataclasses.dataclass(frozen=True)
class CodemapConfig:
    """Size of a codemap transformer.

    Attributes:
        level: ``"top"`` or ``"bottom"``: which map it writes.
        d_model: Width.
        encoder_layers: Layers over the source.
        decoder_layers: Layers over the target.
        heads: Attention heads.
        feedforward: Hidden width of the feed-forward sublayers.
        dropout: Share dropped from inputs and after each sublayer.
        inner_dropout: Share dropped from attention weights and inside the feed-forward sublayers.
        token_dim: Length of a token's embedding.
        position_dim: Length of a position's embedding; half for the bin, half for the frame.
        class_dim: Length of each of the two class embeddings.
        codebook_size: Codes of the VQ-VAE-2, of both levels.
        bins: Bins of the top map.
        frames: Frames of the top map.
        patch: Bottom bins, and bottom frames, for each of the top map.
        encoder_mask: ``"anticausal"``: a source token sees itself and what comes after it; ``"full"``: it sees all.
        relative: ``"sequence"`` or ``"grid"``, see the module text.
        norm_first: Normalise before a sublayer rather than after it.
        aligned: Replace attention to the source by a small network on the one source token that belongs to the target
            token.
        comb: Tell each token where the partials of the pitch lie, see `partial_comb`.
    """

    level: str = "top"
    d_model: int = 192
    encoder_layers: int = 3
    decoder_layers: int = 4
    heads: int = 4
    feedforward: int = 768
    dropout: float = 0.1
    inner_dropout: float = 0.0
    token_dim: int = 32
    position_dim: int = 16
    class_dim: int = 16
    codebook_size: int = 512
    bins: int = 32
    frames: int = 4
    patch: int = 2
    encoder_mask: str = "anticausal"
    relative: str = "grid"
    norm_first: bool = True
    aligned: bool = False
    comb: bool = False

    def __post_init__(self) -> None:
        for name, known in (
            ("level", ("top", "bottom")),
            ("encoder_mask", ("anticausal", "full")),
            ("relative", ("sequence", "grid")),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
        if self.d_model % self.heads or self.d_model <= self.position_dim + 2 * self.class_dim:
            raise ValueError(f"d_model {self.d_model} must be a multiple of heads and wider than positions and classes")

    @property
    def shape_top(self) -> tuple[int, int]:
        """Bins and frames of the top map."""
        return self.bins, self.frames

    @property
    def target_patch(self) -> int:
        """Target cells for each top cell along either axis."""
        return 1 if self.level == "top" else self.patch

    @property
    def shape(self) -> tuple[int, int]:
        """Bins and frames of the map that is written."""
        return self.bins * self.target_patch, self.frames * self.target_patch

    @property
    def tokens(self) -> int:
        """Tokens of that map."""
        return self.shape[0] * self.shape[1]

    @property
    def starts(self) -> int:
        """Start symbols before the first token: one patch."""
        return self.target_patch**2


SHIPPED_TOP = CodemapConfig(comb=True)
SHIPPED_BOTTOM = CodemapConfig(
    level="bottom", encoder_layers=2, decoder_layers=3, heads=4, dropout=0.0, encoder_mask="full"
)
PUBLISHED_TOP = CodemapConfig(
    d_model=512,
    encoder_layers=6,
    decoder_layers=8,
    heads=8,
    feedforward=2048,
    inner_dropout=0.1,
    relative="sequence",
    norm_first=False,
)
PUBLISHED_BOTTOM = dataclasses.replace(PUBLISHED_TOP, level="bottom", heads=16, encoder_mask="full")


def cells(bins: int, frames: int, patch: int) -> Tensor:
    """Cells in the order in which they are written, (bin, frame), shape ``(bins * frames * patch**2, 2)``.

    Args:
        bins: Bins of the top map.
        frames: Frames of the top map.
        patch: Cells for each top cell along either axis; 1 gives the order of the top map itself.
    """
    order = [
        (f * patch + df, t * patch + dt)
        for t, f, dt, df in itertools.product(range(frames), range(bins), range(patch), range(patch))
    ]
    return torch.tensor(order, dtype=torch.int64)


def to_sequence(codes: Tensor, patch: int) -> Tensor:
    """Tokens ``(batch, tokens)``, in the order in which they are written, of maps ``(batch, bins, frames)``."""
    _, bins, frames = codes.shape
    order = cells(bins // patch, frames // patch, patch).to(codes.device)
    return codes[:, order[:, 0], order[:, 1]]


def to_map(sequence: Tensor, shape: tuple[int, int], patch: int) -> Tensor:
    """Maps ``(batch, bins, frames)`` of tokens ``(batch, tokens)``: the inverse of `to_sequence`."""
    order = cells(shape[0] // patch, shape[1] // patch, patch).to(sequence.device)
    codes = torch.zeros(sequence.shape[0], *shape, dtype=sequence.dtype, device=sequence.device)
    codes[:, order[:, 0], order[:, 1]] = sequence
    return codes


def partial_comb(bins: int) -> Tensor:
    """Where the partials of each pitch lie in each band of a Mel-IF picture, shape ``(PITCHES + 1, bins, rows)``.

    A band is a ``bins``-th of the picture's rows, with a quarter of its neighbours on either side; each row holds
    ``exp(-d^2 / 2)``, where ``d`` is the distance in rows to the nearest partial. All 0 where there is no pitch.
    """
    config = MelIFConfig()
    centres_hz = band_centres_hz(config)
    rows = config.n_bins // bins
    spacing_hz = torch.gradient(centres_hz)[0]
    pitch_hz = 440.0 * 2.0 ** ((torch.arange(PITCHES, dtype=torch.float64) - 69.0) / 12.0)
    partial = (centres_hz / pitch_hz[:, None]).round().clamp_min(1.0)
    distance = (partial * pitch_hz[:, None] - centres_hz) / spacing_hz
    near = nn.functional.pad(torch.exp(-0.5 * distance**2), (rows // 4, rows // 4))
    comb = near.unfold(1, rows + 2 * (rows // 4), rows)
    return torch.cat([comb, torch.zeros_like(comb[:1])]).float()


class _Sublayer(nn.Module):
    """Normalisation, dropout and the residual path around one operation."""

    def __init__(self, config: CodemapConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.d_model)
        self.dropout = nn.Dropout(config.dropout)
        self.first = config.norm_first

    def before(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.norm(x)) if self.first else x

    def after(self, x: Tensor, change: Tensor) -> Tensor:
        x = x + self.dropout(change)
        return x if self.first else torch.as_tensor(self.norm(x))


def _feedforward(config: CodemapConfig) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(config.d_model, config.feedforward),
        nn.ReLU(),
        nn.Dropout(config.inner_dropout),
        nn.Linear(config.feedforward, config.d_model),
    )


@dataclasses.dataclass(frozen=True)
class _Places:
    """Where tokens stand: index in the sequence (in target steps) and cell, shapes ``(n,)`` and ``(n, 2)``."""

    steps: Tensor
    cells: Tensor


def _attention(config: CodemapConfig, queries: _Places, keys: _Places, hidden: Tensor | None) -> RelativeAttention:
    relative: OffsetVectors | OffsetBias
    if config.relative == "sequence":
        index, offsets = sequence_offsets(queries.steps, keys.steps)
        if hidden is not None:
            # Only offsets that are ever seen get a vector.
            seen = torch.unique(index[~hidden])
            number = torch.zeros(offsets, dtype=torch.int64)
            number[seen] = torch.arange(seen.numel())
            index, offsets = number[index], seen.numel()
        relative = OffsetVectors(index, offsets, heads=config.heads, head_dim=config.d_model // config.heads)
    else:
        index, _, distance = grid_offsets(queries.cells, keys.cells)
        relative = OffsetBias(index, distance, heads=config.heads)
    return RelativeAttention(
        config.d_model, config.heads, relative=relative, hidden=hidden, dropout=config.inner_dropout
    )


class _EncoderLayer(nn.Module):
    def __init__(self, config: CodemapConfig, source: _Places) -> None:
        super().__init__()
        n = source.steps.numel()
        hidden = torch.ones(n, n, dtype=torch.bool).tril(-1) if config.encoder_mask == "anticausal" else None
        self.attention = _attention(config, source, source, hidden)
        self.around_attention = _Sublayer(config)
        self.feedforward = _feedforward(config)
        self.around_feedforward = _Sublayer(config)

    def forward(self, x: Tensor) -> Tensor:
        y = self.around_attention.before(x)
        x = self.around_attention.after(x, self.attention(y, *self.attention.memory(y)))
        return self.around_feedforward.after(x, self.feedforward(self.around_feedforward.before(x)))


class _DecoderLayer(nn.Module):
    def __init__(self, config: CodemapConfig, target: _Places, source: _Places, cross: _Places) -> None:
        super().__init__()
        n = target.steps.numel()
        self.attention = _attention(config, target, target, torch.ones(n, n, dtype=torch.bool).triu(1))
        self.around_attention = _Sublayer(config)
        self.aligned = config.aligned
        if config.aligned:
            width = config.d_model
            self.from_source: nn.Module = nn.Sequential(
                nn.Linear(width, 2 * width), nn.ELU(), nn.Linear(2 * width, width * config.starts)
            )
        else:
            self.from_source = _attention(config, cross, source, None)
        self.around_source = _Sublayer(config)
        self.feedforward = _feedforward(config)
        self.around_feedforward = _Sublayer(config)

    def source_memory(self, encoded: Tensor) -> tuple[Tensor, ...]:
        """What of the source all steps share."""
        if not self.aligned:
            return self.from_source.memory(encoded)  # type: ignore[operator, no-any-return]  # a RelativeAttention here
        out = self.from_source(encoded)
        return (out.reshape(encoded.shape[0], -1, encoded.shape[2]),)

    def forward(
        self,
        x: Tensor,
        source: tuple[Tensor, ...],
        rows: slice,
        cache: tuple[Tensor, Tensor] | None = None,
        aligned: Tensor | None = None,
    ) -> Tensor:
        """One layer over the steps ``rows``; a cache holds keys and values of earlier steps and gets these."""
        y = self.around_attention.before(x)
        keys, values = self.attention.memory(y)
        if cache is not None:
            cache[0][:, :, rows], cache[1][:, :, rows] = keys, values
            keys, values = cache[0][:, :, : rows.stop], cache[1][:, :, : rows.stop]
        x = self.around_attention.after(x, self.attention(y, keys, values, rows))
        if self.aligned:
            change = source[0][:, aligned]
        else:
            change = self.from_source(self.around_source.before(x), *source, rows)
        x = self.around_source.after(x, change)
        return self.around_feedforward.after(x, self.feedforward(self.around_feedforward.before(x)))


@dataclasses.dataclass(frozen=True)
class _Classes:
    """What is asked for: embeddings ``(batch, 1, 2 * class_dim)``, combs ``(batch, bins, d_model)`` or none."""

    vectors: Tensor
    source_comb: Tensor | None
    target_comb: Tensor | None


@dataclasses.dataclass
class Cache:
    """What a decoder keeps from step to step.

    Attributes:
        steps: Steps taken.
        classes: Embeddings and combs of the classes.
        source: What each layer needs of the source.
        layers: Keys and values of each layer, room for all steps.
    """

    steps: int
    classes: _Classes
    source: list[tuple[Tensor, ...]]
    layers: list[tuple[Tensor, Tensor]]


class CodemapTransformer(nn.Module):
    """Encoder over the source map, decoder over the target map, both as sequences of tokens.

    Source tokens run from 0 to ``codebook_size``, the last of which means masked. Classes are numbers; ``PITCHES`` and
    ``len(FAMILIES)`` stand for none.

    Args:
        config: Sizes.
    """

    source_cells: Tensor
    target_cells: Tensor
    aligned_rows: Tensor
    source_partials: Tensor
    target_partials: Tensor

    def __init__(self, config: CodemapConfig) -> None:
        super().__init__()
        self.config = config
        c, patch = config, config.target_patch
        self.masked = c.codebook_size
        top = cells(c.bins, c.frames, 1)
        written = cells(c.bins, c.frames, patch)
        # Start symbols but the last predict nothing; they stand where the first token does.
        predicted = (torch.arange(c.starts + c.tokens - 1) - (c.starts - 1)).clamp_min(0)
        self.register_buffer("source_cells", top, persistent=False)
        self.register_buffer("target_cells", written[predicted], persistent=False)
        self.register_buffer("aligned_rows", predicted, persistent=False)
        steps = torch.arange(predicted.numel())
        source = _Places(torch.arange(top.shape[0]) * patch**2 + c.starts - 1, top)
        target = _Places(steps, written[predicted])
        cross = _Places(steps, written[predicted] // patch)
        width = c.d_model - c.position_dim - 2 * c.class_dim
        half = c.position_dim // 2
        self.source_token = nn.Embedding(c.codebook_size + 1, c.token_dim)
        self.target_token = nn.Embedding(c.codebook_size + c.starts, c.token_dim)
        self.source_project = nn.Linear(c.token_dim, width)
        self.target_project = nn.Linear(c.token_dim, width)
        self.source_bin = nn.Embedding(c.bins, half)
        self.source_frame = nn.Embedding(c.frames, c.position_dim - half)
        self.target_bin = nn.Embedding(c.shape[0], half)
        self.target_frame = nn.Embedding(c.shape[1], c.position_dim - half)
        self.pitch = nn.Embedding(PITCHES + 1, c.class_dim)
        self.family = nn.Embedding(len(FAMILIES) + 1, c.class_dim)
        if c.comb:
            self.register_buffer("source_partials", partial_comb(c.bins), persistent=False)
            self.register_buffer("target_partials", partial_comb(c.shape[0]), persistent=False)
            self.source_comb = nn.Linear(self.source_partials.shape[-1], c.d_model)
            self.target_comb = nn.Linear(self.target_partials.shape[-1], c.d_model)
        self.dropout = nn.Dropout(c.dropout)
        self.encoder = nn.Sequential(*(_EncoderLayer(c, source) for _ in range(c.encoder_layers)))
        self.decoder = nn.ModuleList(_DecoderLayer(c, target, source, cross) for _ in range(c.decoder_layers))
        self.encoder_norm = nn.LayerNorm(c.d_model) if c.norm_first else nn.Identity()
        self.decoder_norm = nn.LayerNorm(c.d_model) if c.norm_first else nn.Identity()
        self.to_logits = nn.Linear(c.d_model, c.codebook_size)

    def forward(self, source: Tensor, target: Tensor, pitch: Tensor, family: Tensor) -> Tensor:
        """Logits ``(batch, tokens, codebook_size)`` of every target token, given the source and the target tokens
        before it.

        Args:
            source: Source tokens, shape ``(batch, bins * frames)``.
            target: Target tokens, shape ``(batch, n)``; logits come back for them and the next one, as far as there
                is one.
            pitch: MIDI pitches or none, shape ``(batch,)``.
            family: Family numbers or none, shape ``(batch,)``.
        """
        classes = self._classes(pitch, family)
        encoded = self._encode(source, classes)
        starts = torch.arange(self.config.starts, device=target.device) + self.config.codebook_size
        inputs = torch.cat([starts.expand(target.shape[0], -1), target], 1)
        inputs = inputs[:, : self.config.starts + self.config.tokens - 1]
        rows = slice(0, inputs.shape[1])
        x = self.dropout(self._embed_target(inputs, rows, classes))
        for layer in self._layers():
            x = layer(x, layer.source_memory(encoded), rows, None, self.aligned_rows[rows])
        x = self.decoder_norm(x[:, self.config.starts - 1 :])
        return torch.as_tensor(self.to_logits(x)).float()

    def begin(self, source: Tensor, pitch: Tensor, family: Tensor) -> tuple[Tensor, Cache]:
        """Logits ``(batch, codebook_size)`` of the first token, and the cache to go on with."""
        c = self.config
        classes = self._classes(pitch, family)
        encoded = self._encode(source, classes)
        room = (source.shape[0], c.heads, c.starts + c.tokens - 1, c.d_model // c.heads)
        layers = [(encoded.new_zeros(room), encoded.new_zeros(room)) for _ in self.decoder]
        memories = [tuple(part.contiguous() for part in layer.source_memory(encoded)) for layer in self._layers()]
        cache = Cache(0, classes, memories, layers)
        starts = torch.arange(c.starts, device=source.device) + c.codebook_size
        return self._advance(starts.expand(source.shape[0], -1), cache), cache

    def step(self, token: Tensor, cache: Cache) -> Tensor:
        """Logits ``(batch, codebook_size)`` of the token after ``token`` ``(batch,)``; the cache moves on."""
        return self._advance(token[:, None], cache)

    def _advance(self, inputs: Tensor, cache: Cache) -> Tensor:
        rows = slice(cache.steps, cache.steps + inputs.shape[1])
        x = self._embed_target(inputs, rows, cache.classes)
        for layer, source, kept in zip(self.decoder, cache.source, cache.layers, strict=True):
            x = layer(x, source, rows, kept, self.aligned_rows[rows])
        cache.steps = rows.stop
        return torch.as_tensor(self.to_logits(self.decoder_norm(x[:, -1]))).float()

    def _layers(self) -> list[_DecoderLayer]:
        return [layer for layer in self.decoder if isinstance(layer, _DecoderLayer)]

    def _classes(self, pitch: Tensor, family: Tensor) -> _Classes:
        vectors = torch.cat([self.pitch(pitch), self.family(family)], -1)[:, None]
        if not self.config.comb:
            return _Classes(vectors, None, None)
        # One row a bin; tokens pick theirs.
        return _Classes(
            vectors, self.source_comb(self.source_partials[pitch]), self.target_comb(self.target_partials[pitch])
        )

    def _encode(self, source: Tensor, classes: _Classes) -> Tensor:
        batch, n = source.shape
        place = torch.cat([self.source_bin(self.source_cells[:, 0]), self.source_frame(self.source_cells[:, 1])], -1)
        x = torch.cat(
            [
                self.source_project(self.source_token(source)),
                place.expand(batch, -1, -1),
                classes.vectors.expand(-1, n, -1),
            ],
            -1,
        )
        if classes.source_comb is not None:
            x = x + classes.source_comb[:, self.source_cells[:, 0]]
        return torch.as_tensor(self.encoder_norm(self.encoder(self.dropout(x))))

    def _embed_target(self, inputs: Tensor, rows: slice, classes: _Classes) -> Tensor:
        batch, n = inputs.shape
        where = self.target_cells[rows]
        place = torch.cat([self.target_bin(where[:, 0]), self.target_frame(where[:, 1])], -1)
        tokens = self.target_project(self.target_token(inputs))
        x = torch.cat([tokens, place.expand(batch, -1, -1), classes.vectors.expand(-1, n, -1)], -1)
        return x if classes.target_comb is None else x + classes.target_comb[:, where[:, 0]]


@dataclasses.dataclass(frozen=True)
class PriorTraining(TrainingSettings):
    """How a codemap transformer learns.

    Attributes:
        vqvae: Folder of the VQ-VAE-2 whose codes are learned; the shipped one when empty.
        cache: File that keeps the codes of the clips between runs; none when empty.
        variants: Codings of each clip; all but the first have another level, start and transposition.
        semitones: Farthest transposition of those, either way.
        masks: Strategy of the masks that the top model learns with.
        loss: ``"masked"``: over redrawn tokens; ``"all"``: over all of them.
        class_dropout: Share of rows that learn without any class; half as many miss only the pitch, as many only the
            family.
    """

    batch_size: int = 16
    learning_rate: float = 1e-3
    warmup_steps: int = 150
    vqvae: str = ""
    cache: str = ""
    variants: int = 2
    semitones: int = 2
    masks: str = "mixture"
    loss: str = "masked"
    class_dropout: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.variants < 1 or self.semitones < 0 or not 0.0 <= self.class_dropout <= 0.5:
            raise InputError("training: need variants >= 1, semitones >= 0 and class_dropout between 0 and 0.5")
        if self.loss not in ("masked", "all"):
            raise InputError(f"training: loss must be masked or all, got {self.loss!r}")


@dataclasses.dataclass(frozen=True)
class CodedClips:
    """Clips as code maps.

    Attributes:
        top: Top maps, int16, shape ``(clips, variants, bins, frames)``.
        bottom: Bottom maps, int16, shape ``(clips, variants, bins * patch, frames * patch)``.
        semitones: Transposition of every variant, int64, shape ``(clips, variants)``.
        pitch: MIDI pitch of every clip before that, int64, shape ``(clips,)``.
        family: Number of its family, int64, shape ``(clips,)``.
    """

    top: Tensor
    bottom: Tensor
    semitones: Tensor
    pitch: Tensor
    family: Tensor

    def __len__(self) -> int:
        return self.top.shape[0]


def class_numbers(labels: Mapping[str, Any], clip_id: str) -> tuple[int, int]:
    """Pitch and family number of a clip.

    Raises:
        CorpusError: If the clip has no such labels.
    """
    pitch, family = labels.get("pitch"), labels.get("instrument_family_str")
    if not isinstance(pitch, int) or not 0 <= pitch < PITCHES:
        raise CorpusError(f"clip {clip_id!r}: pitch is {pitch!r}, need a MIDI number from 0 to {PITCHES - 1}")
    if family not in FAMILIES:
        raise CorpusError(f"clip {clip_id!r}: instrument_family_str is {family!r}; known: {', '.join(FAMILIES)}")
    return pitch, FAMILIES.index(family)


def encode_clips(
    clips: ClipStore, vqvae: VQVAE2System, *, variants: int, semitones: int, seed: int, cache: Path | None = None
) -> CodedClips:
    """Code maps of clips, each in some variants.

    Args:
        clips: Four-second notes with labels ``pitch`` and ``instrument_family_str``.
        vqvae: The coder.
        variants: Codings of each clip; the first is of the clip as it is.
        semitones: Farthest transposition of the others.
        seed: Seed of level, start and transposition.
        cache: File to read the codes from if it holds those of this very call, and to write them to if not.

    Raises:
        CorpusError: If a clip lacks a label.
    """
    numbers = [class_numbers(label, clip) for label, clip in zip(clips.labels, clips.clip_ids, strict=True)]
    pitch, family = torch.tensor(numbers, dtype=torch.int64).reshape(-1, 2).unbind(1)
    key = hashlib.sha256(f"{vqvae.codes_sha256}/{variants}/{semitones}/{seed}".encode())
    key.update("\0".join(clips.clip_ids).encode())
    key.update(clips.pcm.numpy().tobytes())
    coded = _read_codes(cache, key.hexdigest())
    if coded is None:
        coded = _encode(clips, vqvae, variants, semitones, seed)
        if cache is not None:
            cache.parent.mkdir(parents=True, exist_ok=True)
            data = save_tensors(coded, {"key": key.hexdigest()})
            write_atomically(cache, lambda path: path.write_bytes(data))
    return CodedClips(coded["top"], coded["bottom"], coded["semitones"], pitch, family)


def _read_codes(cache: Path | None, key: str) -> dict[str, Tensor] | None:
    if cache is None or not cache.is_file():
        return None
    try:
        with safe_open(cache, "pt") as kept:
            if (kept.metadata() or {}).get("key") != key:
                return None
            return {name: kept.get_tensor(name) for name in kept.keys()}  # noqa: SIM118  # no mapping
    except SafetensorError as error:
        raise CorpusError(f"{cache}: not a whole file of codes: {error}; delete it") from None


def _encode(clips: ClipStore, vqvae: VQVAE2System, variants: int, semitones: int, seed: int) -> dict[str, Tensor]:
    rate = clips.sample_rate_hz
    generator = step_generator(seed, 0, "variants")
    shift = torch.randint(-semitones, semitones + 1, (len(clips), variants), generator=generator)
    shift[:, 0] = 0
    change = Augmentation(semitones=0.0)
    maps = {
        level: torch.zeros(len(clips), variants, *shape, dtype=torch.int16)
        for level, shape in vqvae.map_shapes().items()
    }
    for start in range(0, len(clips), 16):
        rows = torch.arange(start, min(len(clips), start + 16))
        versions = [clips.waveforms(rows)]
        for variant in range(1, variants):
            moved = [transposed(wave, n) for wave, n in zip(versions[0], shift[rows, variant].tolist(), strict=True)]
            versions.append(change(torch.stack(moved), rate, generator))
        codes = vqvae.codes(torch.stack(versions, 1).flatten(0, 1), sample_rate_hz=rate)
        for level, found in codes.items():
            maps[level][rows] = found.reshape(len(rows), variants, *found.shape[1:]).to(torch.int16)
    return {**maps, "semitones": shift}


def transposed(waveform: Tensor, semitones: int) -> Tensor:
    """A waveform ``(time,)`` played faster or slower, band-limited, cut or filled up with silence to its length."""
    n = waveform.shape[0]
    if semitones == 0:
        return waveform
    # Lengths that are multiples of 100 keep the transform fast; the pitch is off by less than 3 cents.
    length = round(n * 2.0 ** (-semitones / 12) / 100) * 100
    spectrum = torch.fft.rfft(waveform)
    fitted = torch.zeros(length // 2 + 1, dtype=spectrum.dtype)
    kept = min(fitted.numel(), spectrum.numel())
    fitted[:kept] = spectrum[:kept]
    played = torch.fft.irfft(fitted, n=length) * (length / n)
    return nn.functional.pad(played, (0, max(0, n - length)))[:n]


def withheld_classes(pitch: Tensor, family: Tensor, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Classes ``(batch,)``, some replaced by none: both in ``share`` of the rows, either alone in half of it."""
    draw = torch.rand(pitch.shape[0], generator=generator)
    no_pitch = draw < 1.5 * share
    no_family = (draw < share) | ((draw >= 1.5 * share) & (draw < 2.0 * share))
    return pitch.masked_fill(no_pitch, PITCHES), family.masked_fill(no_family, len(FAMILIES))


class PriorTask:
    """Losses of a step and validation of a codemap transformer.

    Clips are coded once, when the task is made.

    Args:
        context: Sizes, settings, clips and device.

    Raises:
        InputError: If the VQ-VAE-2 makes other maps than the configuration says.
        CheckpointError: If the VQ-VAE-2 cannot be used.
        CorpusError: If a clip lacks a label.
    """

    def __init__(self, context: TaskContext) -> None:
        self.context, self.device = context, context.device
        self.config: CodemapConfig = context.config
        self.settings: PriorTraining = context.settings
        s = self.settings
        draw_masks(s.masks, 1, self.config.shape_top, torch.Generator())
        folder = Path(s.vqvae) if s.vqvae else registry.SHIPPED / "vqvae2"
        vqvae = VQVAE2System(checkpoint=folder, device=str(context.device))
        self.vqvae = {
            "name": vqvae.card["name"],
            "codes_sha256": vqvae.codes_sha256,
            "tensors_sha256": vqvae.card["tensors_sha256"],
            "step": vqvae.card.get("step"),
        }
        check_maps(self.config, vqvae)
        caches = [Path(f"{s.cache}.{part}") if s.cache else None for part in ("train", "valid")]
        self.training = encode_clips(
            context.training, vqvae, variants=s.variants, semitones=s.semitones, seed=0, cache=caches[0]
        )
        self.validation = encode_clips(context.validation, vqvae, variants=1, semitones=0, seed=0, cache=caches[1])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed)
            self.network = CodemapTransformer(self.config)
        self.network.to(self.device)
        self.latest: dict[str, Tensor] = {}

    def modules(self) -> Mapping[str, nn.Module]:
        """The network."""
        return {"network": self.network}

    def parts(self) -> Mapping[str, Part]:
        """One optimiser for all of it."""
        return {"network": Part(list(self.network.parameters()), betas=(0.9, 0.98), weight_decay=1e-2)}

    def losses(self, step: int) -> Iterator[tuple[str, Tensor]]:
        """The loss of step number ``step``, in nats a token."""
        seed, s = self.context.seed, self.settings
        rows = draw_rows(self.context.training, batch_size=s.batch_size, seed=seed, step=step)
        generator = step_generator(seed, step, "maps")
        variant = torch.randint(self.training.top.shape[1], (len(rows),), generator=generator)
        pitch = (self.training.pitch[rows] + self.training.semitones[rows, variant]).clamp(0, PITCHES - 1)
        pitch, family = withheld_classes(pitch, self.training.family[rows], s.class_dropout, generator)
        masks = draw_masks(s.masks, len(rows), self.config.shape_top, generator)
        loss, hits = self._loss(
            self.training.top[rows, variant], self.training.bottom[rows, variant], pitch, family, masks
        )
        self.latest = {"nll": loss.detach(), "hits": hits}
        yield "network", loss

    def _loss(self, top: Tensor, bottom: Tensor, pitch: Tensor, family: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Mean negative log-likelihood and share of tokens that are the likeliest."""
        tokens, source, counted = (
            part.to(self.device) for part in model_inputs(self.config, top.long(), bottom.long(), masks)
        )
        if self.settings.loss == "all":
            counted = torch.ones_like(counted)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.context.bfloat16):
            logits = self.network(source, tokens[:, :-1], pitch.to(self.device), family.to(self.device))
        nll = nn.functional.cross_entropy(logits.transpose(1, 2), tokens, reduction="none")
        total = counted.sum().clamp_min(1)
        hits = ((logits.argmax(-1) == tokens) & counted).sum() / total
        return (nll * counted).sum() / total, hits.detach()

    def report(self) -> dict[str, float]:
        """Terms of the latest loss."""
        return {name: float(value) for name, value in self.latest.items()}

    def export(self) -> dict[str, Tensor]:
        """The network as it stands."""
        return self.network.state_dict()

    def card(self) -> Mapping[str, Any]:
        """Which VQ-VAE-2 the codes are of; no other may be used with the trained network."""
        return {"vqvae": self.vqvae}

    def validate(self) -> dict[str, float]:
        """Loss over the first 64 validation clips: all redrawn with classes, without, and under training masks."""
        coded = self.validation
        n = min(len(coded), 64)
        if n == 0:
            return {}
        top, bottom = coded.top[:n, 0], coded.bottom[:n, 0]
        pitch, family = coded.pitch[:n], coded.family[:n]
        generator = step_generator(0, 0, "validation")
        everything = full(n, self.config.shape_top, generator)
        loss, hits = self._loss(top, bottom, pitch, family, everything)
        terms = {"nll": float(loss), "hits": float(hits)}
        none = torch.full_like(pitch, PITCHES), torch.full_like(family, len(FAMILIES))
        terms["nll_no_class"] = float(self._loss(top, bottom, *none, everything)[0])
        if self.config.level == "top":
            masks = draw_masks(self.settings.masks, n, self.config.shape_top, generator)
            terms["nll_masked"] = float(self._loss(top, bottom, pitch, family, masks)[0])
        return terms


def check_maps(config: CodemapConfig, vqvae: VQVAE2System) -> None:
    """Refuse a configuration for other code maps than those of the VQ-VAE-2.

    Raises:
        InputError: With the settings that would fit.
    """
    shapes = vqvae.map_shapes()
    own = {"top": config.shape_top, "bottom": (config.bins * config.patch, config.frames * config.patch)}
    if shapes != own or vqvae.config.codebook_size != config.codebook_size:
        bins, frames = shapes["top"]
        raise InputError(
            f"codemap transformer: made for maps {own} of {config.codebook_size} codes, the VQ-VAE-2 has {shapes} of"
            f" {vqvae.config.codebook_size}; set bins={bins} frames={frames} patch={shapes['bottom'][0] // bins}"
            f" codebook_size={vqvae.config.codebook_size}"
        )


def model_inputs(config: CodemapConfig, top: Tensor, bottom: Tensor, masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What a codemap transformer learns from.

    Args:
        config: Of the network.
        top: Top maps, int64, shape ``(batch, bins, frames)``.
        bottom: Bottom maps, int64, shape ``(batch, bins * patch, frames * patch)``.
        masks: Top tokens to redraw, shape of ``top``; the bottom model redraws everything.

    Returns:
        Target tokens ``(batch, tokens)``, source tokens ``(batch, bins * frames)``, and which targets are redrawn.
    """
    tokens_top = to_sequence(top, 1)
    if config.level == "bottom":
        tokens = to_sequence(bottom, config.patch)
        return tokens, tokens_top, torch.ones_like(tokens, dtype=torch.bool)
    hidden = to_sequence(masks, 1)
    return tokens_top, tokens_top.masked_fill(hidden, config.codebook_size), hidden


_FRONTEND = MelIFConfig()
RECIPE_TOP = Recipe(
    config=SHIPPED_TOP,
    frontend=_FRONTEND,
    settings=PriorTraining(),
    sample_rate_hz=_FRONTEND.sample_rate_hz,
    clip_s=_FRONTEND.n_samples / _FRONTEND.sample_rate_hz,
    task=PriorTask,
    labels=("pitch", "instrument_family_str"),
)
RECIPE_BOTTOM = dataclasses.replace(RECIPE_TOP, config=SHIPPED_BOTTOM, settings=PriorTraining(batch_size=8))
