"""Sets of a results store: measured once for what is there, and again for what changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eval import audio_io, manifest
from eval.results import ClipRow, OutputRow, ResultsStore
from eval.sets.definition import EMBEDDING_NAMES
from eval.sets.embeddings import CLASSIFIER, STATISTICS
from eval.sets.publishing import MeasuredSets, SetSettings, document, drawn, fact_hash, measure_sets
from models.errors import AudioError
from tests.eval.sets.test_comparing import RATE_HZ, Coder, sound

SETTINGS = SetSettings(metrics=("kernel_distance", "coverage", "codes"), permutations=19, splits=5)
COUNT = 20


@dataclass
class Clip:
    clip_id: str
    waveform: np.ndarray | None

    def load(self) -> audio_io.Audio:
        if self.waveform is None:
            raise AudioError(f"{self.clip_id}: cannot be read")
        return audio_io.Audio(self.waveform[None], RATE_HZ)


class Silent(Coder):
    """Has no codes."""

    sample_rate_hz = None

    def codes(self, waveform: torch.Tensor, *, sample_rate_hz: int) -> dict[str, torch.Tensor]:
        return {}


class Coding(Coder):
    sample_rate_hz = RATE_HZ


def clips(*, broken: int | None = None) -> list[Clip]:
    return [Clip(f"clip_{i:02d}", None if i == broken else sound(i, 2.0)) for i in range(COUNT)]


def fill(store: ResultsStore, made: list[Clip], models: dict[str, float]) -> None:
    """Outputs that are the clips with some noise on them."""
    for model, level in models.items():
        for i, clip in enumerate(made):
            row = ClipRow(clip.clip_id, "key", "x", RATE_HZ, 6_400, "g", {}, pcm_sha256=f"{i:064x}")
            if clip.waveform is None:
                output = OutputRow(clip.clip_id, model, "key", "failed", error="it broke", run_id="r")
            else:
                output = put(store, model, clip, level, i)
            store.add([row], [output])


def put(store: ResultsStore, model: str, clip: Clip, level: float, seed: int) -> OutputRow:
    assert clip.waveform is not None
    noise = np.random.default_rng(seed).standard_normal(len(clip.waveform)).astype(np.float32)
    wave = (clip.waveform + level * noise)[None]
    relative = f"outputs/{model}/{clip.clip_id}.wav"
    audio_io.make_folder((store.folder / relative).parent)
    audio_io.write_float(store.folder / relative, wave, RATE_HZ)
    pcm = audio_io.pcm_sha256(wave, RATE_HZ)
    return OutputRow(clip.clip_id, model, "key", "ok", path=relative, pcm_sha256=pcm, run_id="r")


def measure(
    store: ResultsStore,
    made: list[Clip],
    settings: SetSettings = SETTINGS,
    workers: int = 2,
    key: str = "1",
    **seen: Any,
) -> MeasuredSets:
    systems = {"near": Silent(), "far": Coding()}

    def system(name: str) -> Any:
        seen.get("loaded", []).append(name)
        return systems[name]

    def read() -> Iterator[Clip]:
        seen.get("read", []).append(1)
        return iter(made)

    return measure_sets(
        store, read, [clip.clip_id for clip in made], ["near", "far"], settings, system=system,
        system_key=lambda name: f"{name} {key}", codebook_size=lambda name: 16, workers=workers,
    )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ResultsStore]:
    with ResultsStore(tmp_path / "s") as opened:
        yield opened


def of(measured: MeasuredSets, model: str, metric: str) -> dict[str, Any]:
    return next(dict(row) for row in measured.rows if (row["model"], row["metric"]) == (model, metric))


def test_outputs_stand_against_their_own_clips(store: ResultsStore) -> None:
    fill(store, clips(), {"near": 0.0, "far": 0.2})
    found = measure(store, clips())
    near, far = (of(found, model, "kernel_distance") for model in ("near", "far"))
    assert near["p_value"] == 1.0 and far["p_value"] == pytest.approx(1 / 20)
    assert near["floor"]["at_floor_size"] == pytest.approx(near["floor"]["mean"])
    assert far["floor"]["at_floor_size"] > far["floor"]["high"]
    assert {row["model"] for row in found.rows if "level" in row} == {"far"}
    assert of(found, "far", "code_rate")["value"] > 0
    part = document(found, SETTINGS, {"near": "reconstruction", "far": "far"})
    json.dumps(part, allow_nan=False)
    schema = json.loads((manifest.SCHEMA_FOLDER / "results.json").read_text(encoding="utf-8"))
    import jsonschema

    jsonschema.validate(part, schema["properties"]["sets"])


def test_nothing_is_measured_twice_and_what_changed_is(store: ResultsStore) -> None:
    made = clips()
    fill(store, made, {"near": 0.0, "far": 0.2})
    first = measure(store, made)
    loaded: list[str] = []
    read: list[int] = []
    again = measure(store, made, workers=1, loaded=loaded, read=read)
    assert again.rows == first.rows and loaded == read == []
    store.add([], [put(store, "far", made[3], 0.5, 99)])
    other = measure(store, made, loaded=loaded)
    assert of(other, "near", "kernel_distance") == of(first, "near", "kernel_distance")
    assert of(other, "far", "kernel_distance")["key"] != of(first, "far", "kernel_distance")["key"]
    assert loaded == []
    measure(store, made, key="2", loaded=loaded)
    assert set(loaded) == {"near", "far"}


def test_no_number_depends_on_the_number_of_workers(tmp_path: Path) -> None:
    rows = []
    for workers in (1, 3):
        with ResultsStore(tmp_path / str(workers)) as store:
            fill(store, clips(), {"near": 0.0, "far": 0.2})
            rows.append(measure(store, clips(), workers=workers).rows)
    assert rows[0] == rows[1]


def test_clips_without_an_output_are_left_out_on_both_sides_and_counted(store: ResultsStore) -> None:
    made = clips(broken=4)
    fill(store, made, {"near": 0.0, "far": 0.2})
    row = of(measure(store, made), "near", "kernel_distance")
    assert row["n_estimate"] == row["n_reference"] == COUNT - 1
    assert sum(row["left_out_estimate"].values()) == sum(row["left_out_reference"].values()) == 1


def test_old_measurements_are_forgotten(store: ResultsStore) -> None:
    fill(store, clips(), {"near": 0.0, "far": 0.2})
    first = measure(store, clips())
    measure(store, clips(), SetSettings(metrics=("coverage",), permutations=9, splits=5))
    keys = {row["key"] for row in first.rows}
    assert keys and all(store.set_rows(key) is None for key in keys)


def test_large_sets_are_drawn_by_their_ids() -> None:
    names = [f"c{i:03d}" for i in range(200)]
    some = drawn(names, 1, most=50)
    assert len(some) == 50 and some == sorted(some) and some == sorted(drawn(names[::-1], 1, most=50))
    assert drawn(names, 2, most=50) != some and drawn(names, 1) == names


def test_the_names_of_embeddings_are_those_there_are() -> None:
    assert (*STATISTICS, CLASSIFIER) == EMBEDDING_NAMES


def test_a_key_is_the_hash_of_its_facts() -> None:
    assert fact_hash({"a": 1, "b": 2}) == fact_hash({"b": 2, "a": 1}) != fact_hash({"a": 1, "b": 3})
