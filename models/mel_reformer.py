"""MelReformer: a transformer that writes a full-length mel from one that was shrunk in time.

The encoder reads the shrunk mel (the condition), the decoder writes blocks of ``fold`` columns, each folded into
one token. The defaults of `MelReformerConfig` are the published network: 77,310,464 parameters.

What differs from the published system
    * A prime comes after the start token. The original leaves the start token out when it is given a prime, so
      that every primed token sits one position earlier than in training.
    * The rest is off in the published configuration and on in the trained ones. ``shrink_kind="area"``: a low-pass
      before the shrinking, which published linear interpolation lacks. ``centre`` and ``span``: the mel is scaled
      to about [-1, 1]. ``base``: the head gives the difference to the stretched condition, so that an untrained
      network already equals stretching and capacity goes to what stretching cannot know. ``aligned``: the decoder
      position that writes a block also gets the encoder states over that block, which cross-attention has to find
      out otherwise. ``refine``: 25 thousand of the two million parameters stretch the condition by a small
      convolution that all bands share, and learn within minutes what the wide linear layers learn slowly.
      ``stop``: a learned end, which the original leaves to the caller.
    * The trainer can put noise or the model's own output into the past, because tokens are continuous: nothing
      snaps a slightly wrong past back, and a network that only ever saw a perfect past drifts away.

``objective="flow"`` is the generative variant: the same encoder, decoder blocks and head, without the causal mask.
All blocks of a window start as noise and are moved to the data in a few Euler steps; tokens of time 1 are known
(the prime). The network predicts the clean block, not the velocity, because a token is wider than the network and
noise does not fit through it; ``detail`` looks at the noisy columns themselves.

Source:
    MelReformer, a public repository; Vaswani et al., "Attention Is All You Need", 2017;
    Lipman et al., "Flow Matching for Generative Modeling", 2023.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from models.frontends.fold import fold, unfold
from models.frontends.mel import NAMED, MelConfig
from models.frontends.time_resize import SHRINKS, STRETCHES, shrink, stretch

# What all trained variants share with the vocoders, so that one vocoder serves them all.
FRONTEND: MelConfig = dataclasses.replace(NAMED["melgan"], n_mels=128)
# Of the published model, whose vocoder is not public.
PUBLISHED_FRONTEND: MelConfig = NAMED["melreformer"]
OBJECTIVES = ("regression", "flow")


def floor_of(frontend: MelConfig) -> float:
    """Log-mel value of silence: -5 for a floor of 1e-5 and decimal logarithms."""
    return math.log10(frontend.floor) if frontend.log == "log10" else math.log(frontend.floor)


@dataclasses.dataclass(frozen=True)
class MelReformerConfig:
    """Size and variant of the network; the defaults are the published ones.

    Attributes:
        n_mels: Bands.
        width: Length of a state.
        heads: Attention heads.
        encoder_layers: Blocks of the encoder.
        decoder_layers: Blocks of the decoder.
        feedforward: Inner width of the feed-forward layers; twice the width, not the usual four times.
        fold: Columns in a token.
        shrink: Output columns per condition column. 32 puts one condition column under every published token; the
            published class default would be 8 (256 columns for 2,048).
        window_frames: Columns that are worked on at once; longer mels go through in overlapping windows.
        dropout: On embeddings, attention output and in feed-forward layers.
        shrink_kind: How the condition is made: ``"linear"`` (published, aliases) or ``"area"`` (low-pass).
        centre: Log-mel value that the network sees as 0.
        span: Log-mel distance that the network sees as 1.
        floor: Log-mel value of silence, in front-end units; fills what lies beyond the end.
        base: ``"none"`` or what the head's output is added to: the condition stretched ``"linear"`` or ``"cubic"``.
        aligned: Whether a decoder position also gets the encoder states over the block that it writes.
        refine: Channels of the convolution that corrects the base; 0 for none.
        detail: Channels of the convolution that sees the noisy columns of a flow at full resolution; 0 for none.
        stop: Whether there is a head for the end of the clip.
        objective: ``"regression"`` or ``"flow"``.
        flow_steps: Euler steps of a flow.
        flow_scale: Standard deviation of the noise a flow starts from, in units of ``span``.
    """

    n_mels: int = 128
    width: int = 768
    heads: int = 8
    encoder_layers: int = 6
    decoder_layers: int = 6
    feedforward: int = 1536
    fold: int = 32
    shrink: int = 32
    window_frames: int = 2048
    dropout: float = 0.1
    shrink_kind: str = "linear"
    centre: float = 0.0
    span: float = 1.0
    floor: float = math.log(1e-5)
    base: str = "none"
    aligned: bool = False
    refine: int = 0
    detail: int = 0
    stop: bool = False
    objective: str = "regression"
    flow_steps: int = 12
    flow_scale: float = 0.25

    def __post_init__(self) -> None:
        if self.width % self.heads or self.width % 2:
            raise ValueError(f"width must be even and a multiple of heads, got {self.width} and {self.heads}")
        if self.fold < 1 or self.shrink < 1 or self.window_frames % math.lcm(self.fold, self.shrink):
            raise ValueError(
                f"window_frames must be a multiple of fold and shrink, got {self.window_frames}, {self.fold}"
                f" and {self.shrink}"
            )
        allowed = {"shrink_kind": SHRINKS, "base": ("none", *STRETCHES), "objective": OBJECTIVES}
        for field, values in allowed.items():
            if getattr(self, field) not in values:
                raise ValueError(f"{field} must be one of {', '.join(values)}, got {getattr(self, field)!r}")
        if self.objective == "flow" and (self.base == "none" or self.stop or self.flow_steps < 1):
            raise ValueError("a flow needs a base to start from and at least one step, and has no stop head")
        if self.detail and (self.n_mels % 2 or self.fold % 2):
            raise ValueError(f"detail works on pairs of bands and columns, got {self.n_mels} and {self.fold}")
        if (self.refine and self.base == "none") or (self.detail and self.objective != "flow"):
            raise ValueError("refine needs a base to correct, and detail needs objective='flow'")

    @property
    def token_size(self) -> int:
        """Numbers in a token: 4,096 for 128 bands and 32 columns."""
        return self.n_mels * self.fold

    @property
    def tokens(self) -> int:
        """Tokens in a window: 64 in the published model."""
        return self.window_frames // self.fold

    @property
    def columns(self) -> int:
        """Condition columns of a window: 64 in the published model."""
        return self.window_frames // self.shrink


def sinusoidal_positions(positions: Tensor, width: int) -> Tensor:
    """Sines and cosines ``(..., width)`` of positions, interleaved, base 10,000."""
    rate = torch.exp(torch.arange(0, width, 2, device=positions.device) * (-math.log(10_000.0) / width))
    angle = positions[..., None].float() * rate
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(-2)


class Attention(nn.Module):
    """Scaled dot-product attention; self-attention and cross-attention differ in what the keys are made of.

    Args:
        width: Length of a state.
        heads: Number of heads.
        dropout: On the output; the weights have none.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def keys_values(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values, each ``(batch, heads, n, width / heads)``, of states ``(batch, n, width)``."""
        keys, values = self.key_value(source).chunk(2, -1)
        return self._split(keys), self._split(values)

    def forward(self, x: Tensor, keys_values: tuple[Tensor, Tensor], *, causal: bool = False) -> Tensor:
        """What the states ``(batch, n, width)`` gather from the keys and values."""
        gathered = nn.functional.scaled_dot_product_attention(
            self._split(self.query(x)), *keys_values, is_causal=causal
        )
        out: Tensor = self.dropout(self.out(gathered.transpose(1, 2).flatten(2)))
        return out

    def _split(self, x: Tensor) -> Tensor:
        batch, n, width = x.shape
        return x.reshape(batch, n, self.heads, width // self.heads).transpose(1, 2)


def _feedforward(config: MelReformerConfig) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(config.width, config.feedforward),
        nn.ReLU(),
        nn.Dropout(config.dropout),
        nn.Linear(config.feedforward, config.width),
        nn.Dropout(config.dropout),
    )


class EncoderBlock(nn.Module):
    """Pre-norm self-attention and feed-forward layer."""

    def __init__(self, config: MelReformerConfig) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(config.width)
        self.attention = Attention(config.width, config.heads, config.dropout)
        self.norm_feedforward = nn.LayerNorm(config.width)
        self.feedforward = _feedforward(config)

    def forward(self, x: Tensor) -> Tensor:
        """States ``(batch, n, width)`` to the same shape."""
        normed = self.norm_attention(x)
        x = x + self.attention(normed, self.attention.keys_values(normed))
        out: Tensor = x + self.feedforward(self.norm_feedforward(x))
        return out


def _zeroed(layer: nn.Conv2d | nn.Linear) -> None:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class LearnedStretch(nn.Module):
    """Convolution from condition columns to the columns between them, the same for all bands.

    Args:
        shrink: Output columns per condition column.
        channels: Inner width.
    """

    def __init__(self, shrink: int, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, channels, (5, 3), padding=(2, 1))
        self.second = nn.Conv2d(channels, channels, (5, 3), padding=(2, 1))
        self.last = nn.Conv2d(channels, shrink, 3, padding=1)
        _zeroed(self.last)

    def forward(self, condition: Tensor) -> Tensor:
        """Scaled condition ``(batch, n_mels, columns)`` to a correction ``(batch, n_mels, columns * shrink)``."""
        x = nn.functional.gelu(self.first(condition[:, None]))
        phases: Tensor = self.last(nn.functional.gelu(self.second(x)))
        return phases.permute(0, 2, 3, 1).flatten(2)


class Detail(nn.Module):
    """Convolution over the noisy mel of a flow, in patches of two bands and two columns.

    A token is wider than the network, so the transformer cannot see or write fine texture; this part can.

    Args:
        channels: Inner width.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(14, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.last = nn.Conv2d(channels, 4, 3, padding=1)
        _zeroed(self.last)

    def forward(self, noisy: Tensor, written: Tensor, base: Tensor, time: Tensor) -> Tensor:
        """Correction ``(batch, n_mels, frames)`` of what the transformer wrote; both axes must be even.

        Args:
            noisy: Shape ``(batch, n_mels, frames)``.
            written: Of the transformer, same shape.
            base: Same shape.
            time: Of every frame, ``(batch, frames)``.
        """
        patches = nn.functional.pixel_unshuffle(torch.stack([noisy, written, base], 1), 2)
        like = patches[:, 0]
        band = torch.linspace(-1.0, 1.0, like.shape[1], device=like.device, dtype=like.dtype)[:, None].expand_as(like)
        hints = torch.stack([time[:, None, ::2].expand_as(like).to(like), band], 1)
        x = torch.cat([patches, hints], 1).contiguous(memory_format=torch.channels_last)
        x = nn.functional.gelu(self.first(x))
        correction: Tensor = nn.functional.pixel_shuffle(self.last(nn.functional.gelu(self.second(x))), 2)
        return correction[:, 0]


# Keys and values of the self-attention of every decoder block so far.
Cache = list[tuple[Tensor, Tensor]]


class DecoderBlock(nn.Module):
    """Pre-norm self-attention, cross-attention and feed-forward layer."""

    def __init__(self, config: MelReformerConfig) -> None:
        super().__init__()
        self.causal = config.objective == "regression"
        self.norm_attention = nn.LayerNorm(config.width)
        self.attention = Attention(config.width, config.heads, config.dropout)
        self.norm_cross = nn.LayerNorm(config.width)
        self.cross = Attention(config.width, config.heads, config.dropout)
        self.norm_feedforward = nn.LayerNorm(config.width)
        self.feedforward = _feedforward(config)

    def forward(
        self, x: Tensor, memory: tuple[Tensor, Tensor], past: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """States ``(batch, n, width)`` to the same shape, and the keys and values of all positions so far.

        Args:
            x: States; one position at a time when there is a past.
            memory: Keys and values of the encoder for this block's cross-attention.
            past: What an earlier call gave for the positions before.
        """
        normed = self.norm_attention(x)
        keys, values = self.attention.keys_values(normed)
        if past is not None:
            keys, values = torch.cat([past[0], keys], 2), torch.cat([past[1], values], 2)
        x = x + self.attention(normed, (keys, values), causal=self.causal and past is None)
        x = x + self.cross(self.norm_cross(x), memory)
        return x + self.feedforward(self.norm_feedforward(x)), (keys, values)


@dataclasses.dataclass(frozen=True)
class Memory:
    """What the decoder knows of a condition.

    Attributes:
        keys_values: For the cross-attention of every decoder block.
        aligned: What is added to the decoder's embeddings, ``(batch, tokens, width)``, or None.
        base: What the head's output is added to, scaled and folded, ``(batch, tokens, token_size)``, or None.
        tokens: Tokens that the condition stands for.
    """

    keys_values: tuple[tuple[Tensor, Tensor], ...]
    aligned: Tensor | None
    base: Tensor | None
    tokens: int


@dataclasses.dataclass(frozen=True)
class Blocks:
    """What the decoder wrote.

    Attributes:
        tokens: Scaled and folded, ``(batch, n, token_size)``.
        stop: Logit of the clip ending in each token and logit of the share of it that is filled,
            ``(batch, n, 2)``; None without a stop head.
    """

    tokens: Tensor
    stop: Tensor | None


class MelReformer(nn.Module):
    """The network; mels go in and out in front-end units, tokens are scaled and folded.

    Args:
        config: Size and variant.
    """

    start: nn.Parameter

    def __init__(self, config: MelReformerConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.encoder_embed = nn.Linear(config.n_mels, width)
        self.encoder = nn.ModuleList(EncoderBlock(config) for _ in range(config.encoder_layers))
        self.encoder_norm = nn.LayerNorm(width)
        self.decoder_embed = nn.Linear(config.token_size, width)
        self.decoder = nn.ModuleList(DecoderBlock(config) for _ in range(config.decoder_layers))
        self.decoder_norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, config.token_size)
        self.dropout = nn.Dropout(config.dropout)
        if config.objective == "flow":
            self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        else:
            self.start = nn.Parameter(torch.randn(config.token_size))
        if config.aligned:
            self.align = nn.Linear(width, width)
        if config.stop:
            self.stop_head = nn.Linear(width, 2)
        if config.refine:
            self.refine = LearnedStretch(config.shrink, config.refine)
        if config.detail:
            self.detail = Detail(config.detail)
        if config.base != "none":
            _zeroed(self.head)

    def condition(self, mel: Tensor) -> Tensor:
        """Shrunk mel ``(batch, n_mels, frames / shrink)`` of a mel whose frames are a multiple of ``shrink``."""
        return shrink(mel, mel.shape[-1] // self.config.shrink, self.config.shrink_kind)

    def scaled(self, mel: Tensor) -> Tensor:
        """Tokens ``(batch, n, token_size)`` of a mel in front-end units."""
        config = self.config
        return (fold(mel, config.fold, floor=config.floor) - config.centre) / config.span

    def mel(self, tokens: Tensor) -> Tensor:
        """Mel ``(batch, n_mels, frames)`` in front-end units of tokens; nothing falls under the floor."""
        config = self.config
        return (unfold(tokens, config.fold) * config.span + config.centre).clamp_min(config.floor)

    def remember(self, condition: Tensor) -> Memory:
        """Read a condition ``(batch, n_mels, columns)`` of at most a window.

        Raises:
            ValueError: If the condition has another number of bands, is longer than a window or ends inside a token.
        """
        config = self.config
        columns, frames = condition.shape[-1], condition.shape[-1] * config.shrink
        if condition.ndim != 3 or condition.shape[1] != config.n_mels or not 1 <= columns <= config.columns:
            raise ValueError(
                f"condition must have shape (batch, {config.n_mels}, 1 to {config.columns}),"
                f" got {tuple(condition.shape)}"
            )
        if frames % config.fold:
            raise ValueError(f"{columns} columns stand for {frames} frames, not a multiple of fold={config.fold}")
        tokens = frames // config.fold
        x = self.encoder_embed(((condition - config.centre) / config.span).transpose(1, 2))
        x = self.dropout(x + self._positions(columns, x))
        for block in self.encoder:
            x = block(x)
        states = self.encoder_norm(x)
        keys_values = tuple(block.cross.keys_values(states) for block in self.decoder)  # type: ignore[union-attr,operator]
        aligned = self.align(_resized(states, tokens)) if config.aligned else None
        return Memory(keys_values, aligned, self._base(condition), tokens)

    def decode(
        self, inputs: Tensor, memory: Memory, *, time: Tensor | None = None, cache: Cache | None = None, at: int = 0
    ) -> tuple[Blocks, Cache]:
        """One pass of the decoder.

        Args:
            inputs: Tokens ``(batch, n, token_size)``: the past, shifted by one, or the noisy blocks of a flow.
            memory: Of the condition.
            time: Of a flow, ``(batch, n)``, 0 for noise to 1 for data.
            cache: What the last call gave; then ``inputs`` is the one next position.
            at: Position of the first input.

        Returns:
            What was written at the positions of ``inputs``, and the cache for the next position. A flow's tokens
            are in units of its noise, relative to the base.
        """
        n = inputs.shape[1]
        x = self.decoder_embed(inputs) + self._positions(n, inputs, at)
        if memory.aligned is not None:
            x = x + memory.aligned[:, at : at + n]
        if time is not None:
            x = x + self.time(sinusoidal_positions(1000.0 * time, self.config.width))
        x = self.dropout(x)
        grown: Cache = []
        for i, block in enumerate(self.decoder):
            x, kept = block(x, memory.keys_values[i], None if cache is None else cache[i])
            grown.append(kept)
        states = self.decoder_norm(x)
        tokens = self.head(states)
        if memory.base is not None:
            base = memory.base[:, at : at + n]
            tokens = tokens + base if time is None else self._denoised(inputs, tokens, base, time)
        return Blocks(tokens, self.stop_head(states) if self.config.stop else None), grown

    def teacher_forced(self, past: Tensor, memory: Memory) -> Blocks:
        """Every token ``(batch, n, token_size)`` from the true ones before it; ``past`` holds the true tokens."""
        first = self.start.expand(past.shape[0], 1, -1).to(past)
        return self.decode(torch.cat([first, past[:, :-1]], 1), memory)[0]

    def blocks(
        self, memory: Memory, *, prime: Tensor | None = None, tokens: int | None = None, cached: bool = True
    ) -> Iterator[Blocks]:
        """Token after token from the network's own ones before it, as soon as each is there.

        Args:
            memory: Of the condition.
            prime: Tokens ``(batch, k, token_size)`` that come before the first written one; they follow the start
                token and are not given back.
            tokens: Where to end, counted with the prime; at the memory's end when None.
            cached: Keep keys and values; without, everything is computed anew for each token (for comparison).
        """
        wanted = memory.tokens if tokens is None else tokens
        inputs = self.start.expand(memory.keys_values[0][0].shape[0], 1, -1)
        if prime is not None:
            inputs = torch.cat([inputs.to(prime), prime], 1)
        if inputs.shape[1] > wanted:
            return
        written, cache = self.decode(inputs, memory)
        for at in range(inputs.shape[1], wanted + 1):
            last = Blocks(written.tokens[:, -1:], None if written.stop is None else written.stop[:, -1:])
            yield last
            if at == wanted:
                return
            if cached:
                written, cache = self.decode(last.tokens, memory, cache=cache, at=at)
            else:
                inputs = torch.cat([inputs, last.tokens], 1)
                written, _ = self.decode(inputs, memory)

    def free_running(
        self, memory: Memory, *, prime: Tensor | None = None, tokens: int | None = None, cached: bool = True
    ) -> Blocks:
        """All of `blocks` in one, after the prime; the stop logits are those of the written tokens only."""
        written = list(self.blocks(memory, prime=prime, tokens=tokens, cached=cached))
        first = [] if prime is None else [prime]
        stops = [block.stop for block in written if block.stop is not None]
        joined = torch.cat([*first, *(block.tokens for block in written)], 1)
        return Blocks(joined, torch.cat(stops, 1) if stops else None)

    def flow(self, memory: Memory, noise: Tensor, *, prime: Tensor | None = None, steps: int | None = None) -> Blocks:
        """All tokens at once, by Euler steps from noise to data.

        Args:
            memory: Of the condition.
            noise: Standard normal, ``(batch, tokens, token_size)``.
            prime: Known tokens that the result starts with.
            steps: In place of the configuration's.
        """
        assert memory.base is not None
        config = self.config
        n = config.flow_steps if steps is None else steps
        known = 0 if prime is None else prime.shape[1]
        x = noise
        for i in range(n):
            at = i / n
            time = x.new_full(x.shape[:2], at)
            if prime is not None:
                x = torch.cat([(prime - memory.base[:, :known]) / config.flow_scale, x[:, known:]], 1)
                time[:, :known] = 1.0
            clean = self.decode(x, memory, time=time)[0].tokens
            x = x + (clean - x) / (n - i)
        tokens = memory.base + config.flow_scale * x
        return Blocks(tokens if prime is None else torch.cat([prime, tokens[:, known:]], 1), None)

    def _base(self, condition: Tensor) -> Tensor | None:
        config = self.config
        if config.base == "none":
            return None
        base = self.scaled(stretch(condition, condition.shape[-1] * config.shrink, config.base))
        if not config.refine:
            return base
        return base + fold(self.refine((condition - config.centre) / config.span), config.fold, floor=0.0)

    def _denoised(self, noisy: Tensor, written: Tensor, base: Tensor, time: Tensor) -> Tensor:
        """Clean tokens: what the best estimate would be if all cells were independent, plus what is known better."""
        config = self.config
        share = (time / (time.square() + (1.0 - time).square()))[..., None]
        clean = share * noisy + written
        if not config.detail:
            return clean
        pictures = [unfold(x, config.fold) for x in (noisy, written, base)]
        fine = self.detail(*pictures, time.repeat_interleave(config.fold, 1))
        return clean + fold(fine, config.fold, floor=0.0)

    def _positions(self, n: int, like: Tensor, at: int = 0) -> Tensor:
        return sinusoidal_positions(torch.arange(at, at + n, device=like.device), self.config.width).to(like)


def _resized(states: Tensor, tokens: int) -> Tensor:
    """States ``(batch, columns, width)`` as ``(batch, tokens, width)``, by stretching or cell means."""
    turned = states.transpose(1, 2)
    columns = states.shape[1]
    turned = shrink(turned, tokens) if tokens < columns else stretch(turned, tokens)
    return turned.transpose(1, 2)


def stop_frame(stop: Tensor, config: MelReformerConfig) -> list[int | None]:
    """Length in frames that the stop head gives each row of ``(batch, n, 2)``; None where it sees no end.

    The clip ends in the first token whose probability of being the last exceeds one half.
    """
    lengths: list[int | None] = []
    for row in stop:
        ends = torch.nonzero(row[:, 0] > 0.0)[:, 0]
        if not len(ends):
            lengths.append(None)
            continue
        token = int(ends[0])
        share = float(torch.sigmoid(row[token, 1]))
        lengths.append(token * config.fold + max(1, round(share * config.fold)))
    return lengths


def row_noise(seeds: Sequence[int], tokens: int, size: int) -> Tensor:
    """Standard normal noise ``(batch, tokens, size)``, every row from its own seed."""
    rows = [torch.randn(tokens, size, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(rows)
