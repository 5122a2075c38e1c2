"""Sounds of a generator as files, with a description of what made them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval import manifest
from eval.runner import pick_device
from eval.studies.context import model_facts
from models import registry
from models.errors import InputError

__all__ = ["Generated", "generate"]

_GROUP = 8


@dataclass(frozen=True)
class Generated:
    """What was written.

    Attributes:
        sounds: The audio files, one a seed.
        description: The JSON file beside them.
    """

    sounds: tuple[Path, ...]
    description: Path


def generate(
    name: str, *, checkpoint: Path | None = None, count: int, seed: int, device: str = "auto", output: Path
) -> Generated:
    """Let a generator make sounds with the seeds ``seed``, ``seed + 1`` and so on.

    Args:
        name: Name in the table of models.
        checkpoint: Folder of weights in place of the shipped ones.
        count: Number of sounds.
        seed: Seed of the first one.
        device: ``auto``, ``cpu`` or ``cuda``.
        output: Folder for ``NAME-SEED.wav`` (32-bit float) and ``NAME.json``.

    Raises:
        InputError: If the model is unknown or generates nothing by itself, or the seed is below 0.
        CheckpointError: If its weights cannot be used.
        OutputError: If a file cannot be written.
    """
    from eval import audio_io

    if seed < 0:
        raise InputError(f"seed {seed}: 0 or more is needed")
    line = registry.entry(name)
    if line.kind != "generator":
        known = [other.name for other in registry.MODELS.values() if other.kind == "generator"]
        raise InputError(f"model {name!r} turns sounds into sounds and makes none; generators: {', '.join(known)}")
    facts = model_facts(name, checkpoint)
    model: Any = registry.load(name, checkpoint=checkpoint, device=pick_device(device))
    # A generator with classes makes sounds without any, where it can.
    make = getattr(model, "generate_unconditional", None) or getattr(model, "generate", None)
    if not callable(make) or not _takes_seeds_alone(make):
        raise InputError(f"model {name!r} ({line.title}) makes no sound from a seed alone")
    rate = int(model.sample_rate_hz)
    seeds = list(range(seed, seed + count))
    audio_io.make_folder(output)
    sounds: list[Path] = []
    entries: list[dict[str, Any]] = []
    for start in range(0, count, _GROUP):
        group = seeds[start : start + _GROUP]
        for made_with, wave in zip(group, _waves(make(seeds=group)), strict=True):
            path = output / f"{name}-{made_with}.wav"
            audio_io.write_float(path, wave, rate)
            sounds.append(path)
            entries.append({"file": path.name, "seed": made_with, "pcm_sha256": audio_io.pcm_sha256(wave, rate)})
    description = output / f"{name}.json"
    document = {
        "model": name,
        "title": facts["title"],
        "checkpoint_sha256": facts["checkpoint_sha256"],
        "sample_rate_hz": rate,
        "sounds": entries,
    }
    audio_io.write_text(description, json.dumps(manifest.plain(document), indent=1, ensure_ascii=False) + "\n")
    return Generated(tuple(sounds), description)


def _takes_seeds_alone(make: Callable[..., Any]) -> bool:
    try:
        inspect.signature(make).bind(seeds=[0])
    except TypeError:
        return False
    return True


def _waves(made: Sequence[Any]) -> list[Any]:
    """One mono waveform a seed, shape ``(samples,)``, float32."""
    import numpy as np

    waves = []
    for one in made:
        wave = one.detach().cpu().numpy() if hasattr(one, "detach") else np.asarray(one)
        waves.append(np.ascontiguousarray(wave.reshape(-1), dtype=np.float32))
    return waves
