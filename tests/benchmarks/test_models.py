"""Networks beside their plain eager loops: the layers as published, in float32. The baseline holds each ratio."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from eval.studies import speed as study
from eval.studies.speed import Contest, run_contest
from models.mel_streaming import measure_streaming
from tests.benchmarks import references
from tests.benchmarks.plugin import Speed

pytestmark = pytest.mark.benchmark

FRAMES = 86
CONTESTS: dict[str, tuple[Callable[[], Contest], tuple[str, ...]]] = {
    "melgan": (lambda: study.melgan(frames=FRAMES), ("float32", "bfloat16")),
    "filterbank": (lambda: study.filterbank(frames=FRAMES), ("float32", "bfloat16")),
    "vqvae2_decoder": (study.vqvae2_decoder, ("float32", "bfloat16")),
    "codemap_sampling": (lambda: study.codemap_sampling(notes=8, tokens=32), ("key/value cache",)),
}
PAIRS = [(name, way) for name, (_, ways) in CONTESTS.items() for way in ways]


@pytest.mark.parametrize(("name", "way"), PAIRS, ids=[f"{name}-{way.replace('/', '_')}" for name, way in PAIRS])
def test_beside_the_plain_loop(speed: Speed, name: str, way: str) -> None:
    contest = CONTESTS[name][0]()
    with torch.inference_mode():
        speed(contest.ours[way], contest.plain, audio_s=contest.audio_s, rounds=3)
    found = next(result for result in run_contest(contest, rounds=1) if result.way == way)
    assert found.counts, f"{name}, {way}: {found.deviation_db:.1f} dB from the plain loop"


def test_time_to_first_audio(speed: Speed) -> None:
    chain = study.streaming_chain()
    condition = torch.full((1, chain.frontend.n_mels, 16), -4.0)

    def first_chunk() -> None:
        # Two windows' worth of columns would stream in many chunks; the first needs two blocks.
        measure_streaming(chain, condition, frames=2 * chain.network_expander.config.fold)

    speed(first_chunk, references.network, rounds=5)
