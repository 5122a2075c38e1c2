"""Speed of every shipped model, and of the networks beside their plain eager loops: the layers as published."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from eval.studies import speed as study
from eval.studies.speed import Contest, run_contest
from models import registry
from models.mel_streaming import measure_streaming
from tests.benchmarks import references
from tests.benchmarks.generators import JOBS
from tests.benchmarks.plugin import Speed
from tests.signals import harmonic, noise

pytestmark = pytest.mark.benchmark

FRAMES = 43
CLIP_S = 1.0
CONTESTS: dict[str, tuple[Callable[[], Contest], tuple[str, ...]]] = {
    "melgan": (lambda: study.melgan(frames=FRAMES), ("float32", "bfloat16")),
    "filterbank": (lambda: study.filterbank(frames=FRAMES), ("float32", "bfloat16")),
    "vqvae2_decoder": (study.vqvae2_decoder, ("float32", "bfloat16")),
    "codemap_sampling": (lambda: study.codemap_sampling(notes=2, tokens=16), ("key/value cache",)),
}
PAIRS = [(name, way) for name, (_, ways) in CONTESTS.items() for way in ways]


@pytest.mark.parametrize("name", list(registry.MODELS))
def test_model(speed: Speed, name: str) -> None:
    """A second of sound through a system; what the others do stands in `tests.benchmarks.generators`."""
    model = registry.load(name)
    with torch.no_grad():
        if registry.MODELS[name].kind != "system":
            speed(JOBS[name].work(model), references.network)
            return
        rate = model.sample_rate_hz or 16_000
        waveform = torch.from_numpy(harmonic(220.0, CLIP_S, rate) + noise(CLIP_S, rate, amplitude=0.01))[None].float()
        reference = references.network if model.parameters else references.torch_transforms
        speed(lambda: model.reconstruct(waveform, sample_rate_hz=rate, seeds=[0]), reference, audio_s=CLIP_S)


@pytest.mark.parametrize(("name", "way"), PAIRS, ids=[f"{name}-{way.replace('/', '_')}" for name, way in PAIRS])
def test_beside_the_plain_loop(speed: Speed, name: str, way: str) -> None:
    contest = CONTESTS[name][0]()
    with torch.inference_mode():
        speed(contest.ours[way], contest.plain, audio_s=contest.audio_s)
    found = next(result for result in run_contest(contest, rounds=1) if result.way == way)
    assert found.counts, f"{name}, {way}: {found.deviation_db:.1f} dB from the plain loop"


def test_model_time_to_first_audio(speed: Speed) -> None:
    chain = study.streaming_chain()
    condition = torch.full((1, chain.frontend.n_mels, 16), -4.0)

    def first_chunk() -> None:
        # Two windows' worth of columns would stream in many chunks; the first needs two blocks.
        measure_streaming(chain, condition, frames=2 * chain.network_expander.config.fold)

    speed(first_chunk, references.network)
