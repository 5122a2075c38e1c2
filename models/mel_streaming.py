"""Audio while the mel is still being written: blocks of columns go to the vocoder as they come.

The decoder's blocks are final as soon as they are out, and the vocoder's ``stream`` works on them with overlap, so
the joined chunks are the audio of the whole mel. Only the decoder side streams: the encoder reads the shrunk mel of a
whole window first. A flow writes a window at once, so its audio comes in bursts.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from models.mel_expansion import MelReformerSystem


def stream_clip(
    system: MelReformerSystem, condition: Tensor, *, seeds: Sequence[int], frames: int | None = None
) -> Iterator[Tensor]:
    """Audio chunks ``(batch, samples)`` of a shrunk mel ``(batch, n_mels, columns)``.

    Args:
        system: A MelReformer with its vocoder.
        condition: As made by the expander's ``condition``.
        seeds: One a row.
        frames: Columns to write; when None, the learned stop ends the one clip.

    Raises:
        InputError: If the length is left open for several rows, or exceeds the condition's.
    """
    with torch.no_grad():
        yield from system.vocoder.stream(system.network_expander.stream(condition, seeds=seeds, frames=frames))


@dataclasses.dataclass(frozen=True)
class Latency:
    """How fast a stream was.

    Attributes:
        first_audio_s: Time from the condition to the first chunk.
        first_chunk_s: Length of that chunk.
        total_s: Time to the last chunk.
        audio_s: Length of all chunks.
        chunks: Their number.
        least_margin_s: Least head start of the audio over its playback, which begins with the first chunk; below 0
            the playback runs dry.
    """

    first_audio_s: float
    first_chunk_s: float
    total_s: float
    audio_s: float
    chunks: int
    least_margin_s: float

    @property
    def real_time_factor(self) -> float:
        """Compute seconds per second of audio; below 1 is faster than real time."""
        return self.total_s / self.audio_s


def measure_streaming(
    system: MelReformerSystem,
    condition: Tensor,
    *,
    seed: int = 0,
    frames: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Latency:
    """Time a stream of one clip.

    Args:
        system: A MelReformer with its vocoder.
        condition: Shrunk mel, ``(1, n_mels, columns)``.
        seed: Of a flow.
        frames: Columns to write.
        clock: Seconds.
    """
    rate = system.frontend.sample_rate_hz
    began = clock()
    first_s = first_chunk_s = now = played_s = 0.0
    margin, chunks = float("inf"), 0
    for chunk in stream_clip(system, condition, seeds=[seed], frames=frames):
        chunk.cpu()  # waits for the device
        now = clock() - began
        if chunks == 0:
            first_s, first_chunk_s = now, chunk.shape[1] / rate
        else:
            margin = min(margin, first_s + played_s - now)
        played_s += chunk.shape[1] / rate
        chunks += 1
    return Latency(first_s, first_chunk_s, now, played_s, chunks, margin if chunks > 1 else 0.0)
