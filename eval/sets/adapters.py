"""Embeddings by networks that a user has on disk: VGGish, PANNs, CLAP, OpenL3 or any other.

Nothing is downloaded. The user exports the network once, where it is installed, to a file that needs no other code:

* TorchScript (``.pt``, ``.ts``, ``.torchscript``), by ``torch.jit.trace(network, example).save("vggish.ts")``;
* ONNX (``.onnx``), by ``torch.onnx.export``; it needs the package ``onnxruntime``.

and lays a JSON file of the same name beside it, ``vggish.json`` for ``vggish.ts``::

    {
      "name": "vggish",
      "sample_rate_hz": 16000,
      "input": "batch_time",
      "minimum_samples": 15600,
      "licence": "Apache-2.0",
      "source": "where the weights are from"
    }

``name`` and ``sample_rate_hz`` are needed. ``input`` is the shape that the network takes for a clip of float32 samples
with full scale at 1: ``"batch_time"`` (1, samples), the default, ``"time"`` (samples) or ``"batch_channel_time"``
(1, 1, samples). What it makes is a vector or rows of them, of shape ``(d)``, ``(rows, d)`` or ``(1, rows, d)``; rows
are averaged, because clips are what sets are made of. ``"scale"`` (1 by default) is multiplied onto the samples first,
for networks that want 16-bit ones.

A TorchScript file can hold any computation: open those that you trust.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval import networks
from eval.sets.embeddings import Vector, _with_hash, check_clip
from models.errors import InputError

INPUTS = ("batch_time", "time", "batch_channel_time")


class FileEmbedding:
    """A network in a file, with a JSON file beside it that says how to call it.

    Args:
        path: The network.

    Raises:
        InputError: If a file is missing or unreadable, a field of the description is missing or wrong, or the package
            that runs the file is not installed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        facts = _description(path)
        self.name = str(facts["name"])
        self.sample_rate_hz: int | None = int(facts["sample_rate_hz"])
        self.input = str(facts.get("input", INPUTS[0]))
        self.minimum_samples = int(facts.get("minimum_samples", 1))
        self.scale = float(facts.get("scale", 1.0))
        try:
            data = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); the file of a network is needed") from None
        self.facts = {**facts, "file_sha256": hashlib.sha256(data).hexdigest()}
        opener = networks.open_torchscript if path.suffix in networks.TORCHSCRIPT else networks.open_onnx
        self._run = opener(path).run

    def embed(self, waveform: NDArray[Any], sample_rate_hz: int) -> Vector:
        """Mean vector of one clip; see `eval.sets.embeddings.Embedding`."""
        if sample_rate_hz != self.sample_rate_hz:
            raise ValueError(f"{self.name} needs {self.sample_rate_hz} Hz, got {sample_rate_hz} Hz")
        clip = (self.scale * check_clip(waveform, self.minimum_samples)).astype(np.float32)
        shape = {"time": (-1,), "batch_time": (1, -1), "batch_channel_time": (1, 1, -1)}[self.input]
        made = np.asarray(self._run(clip.reshape(shape)), dtype=np.float64)
        if made.ndim == 3 and made.shape[0] == 1:
            made = made[0]
        if made.ndim not in (1, 2) or not made.size:
            raise ValueError(
                f"{self.path}: made an array of shape {made.shape}; (d), (rows, d) or (1, rows, d) is needed"
            )
        return Vector(made if made.ndim == 1 else made.mean(axis=0))

    def describe(self) -> dict[str, object]:
        """The description beside the file, and the hash of the file."""
        return _with_hash(dict(self.facts))


def _description(path: Path) -> dict[str, Any]:
    if path.suffix not in (*networks.TORCHSCRIPT, networks.ONNX):
        raise InputError(f"{path}: a network of suffix {', '.join(networks.TORCHSCRIPT)} or .onnx is needed")
    if not path.is_file():
        raise InputError(f"{path}: no such file; the exported network is needed")
    beside = path.with_suffix(".json")
    try:
        facts = json.loads(beside.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{beside}: missing; it says the network's name and sample_rate_hz") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{beside}: cannot be read as JSON: {error}") from None
    if not isinstance(facts, dict):
        raise InputError(f"{beside}: an object with name and sample_rate_hz is needed")
    if not isinstance(facts.get("name"), str) or not facts["name"]:
        raise InputError(f"{beside}: name is {facts.get('name')!r}, need a text")
    rate = facts.get("sample_rate_hz")
    if not isinstance(rate, int) or isinstance(rate, bool) or rate < 1:
        raise InputError(f"{beside}: sample_rate_hz is {rate!r}, need a whole number above 0")
    if facts.get("input", INPUTS[0]) not in INPUTS:
        raise InputError(f"{beside}: input is {facts['input']!r}, need one of {', '.join(INPUTS)}")
    for field, default in (("minimum_samples", 1), ("scale", 1.0)):
        value = facts.get(field, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
            raise InputError(f"{beside}: {field} is {value!r}, need a number above 0")
    return facts
