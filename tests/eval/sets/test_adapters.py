import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from eval.sets import Undefined
from eval.sets.adapters import FileEmbedding
from eval.sets.embeddings import open_embedding
from models.errors import InputError


class Levels(nn.Module):
    """Mean and peak of pieces of 100 samples, (1, rows, 2)."""

    def forward(self, waveform: Tensor) -> Tensor:
        pieces = waveform[:, : waveform.shape[1] // 100 * 100].reshape(1, -1, 100)
        return torch.stack([pieces.mean(-1), pieces.amax(-1)], -1)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "levels.ts"
    with warnings.catch_warnings():
        # Some versions of torch announce that TorchScript will go; files made with it stay readable.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(Levels()).save(str(path))
    describe(path)
    return path


def describe(path: Path, **facts: object) -> None:
    path.with_suffix(".json").write_text(json.dumps({"name": "levels", "sample_rate_hz": 16_000, **facts}))


def test_rows_are_averaged(network: Path) -> None:
    embedding = open_embedding(str(network))
    clip = np.random.default_rng(0).standard_normal(1_000).astype(np.float32)
    vector = embedding.embed(clip, 16_000).values
    wanted = [clip.mean(), clip.reshape(10, 100).max(1).mean()]
    np.testing.assert_allclose(vector, wanted, rtol=1e-5)
    assert vector.dtype == np.float64
    facts = embedding.describe()
    assert (facts["name"], embedding.sample_rate_hz) == ("levels", 16_000)
    assert len(str(facts["file_sha256"])) == len(str(facts["sha256"])) == 64


def test_the_description_is_followed(network: Path) -> None:
    describe(network, scale=32768.0, minimum_samples=500)
    embedding = FileEmbedding(network)
    clip = np.full(600, 0.5)
    np.testing.assert_allclose(embedding.embed(clip, 16_000).values, [16384.0, 16384.0])
    with pytest.raises(Undefined, match="needs 500"):
        embedding.embed(clip[:400], 16_000)
    with pytest.raises(Undefined, match="silent"):
        embedding.embed(0.0 * clip, 16_000)
    with pytest.raises(ValueError, match="needs 16000 Hz"):
        embedding.embed(clip, 22_050)


def test_files_that_cannot_be_used(network: Path, tmp_path: Path) -> None:
    for facts, message in (
        ({"name": ""}, "name is ''"),
        ({"sample_rate_hz": "16k"}, "sample_rate_hz is '16k'"),
        ({"input": "mel"}, "input is 'mel', need one of batch_time"),
        ({"scale": 0}, "scale is 0"),
    ):
        describe(network, **facts)
        with pytest.raises(InputError, match=message):
            FileEmbedding(network)
    network.with_suffix(".json").write_text("[")
    with pytest.raises(InputError, match="cannot be read as JSON"):
        FileEmbedding(network)
    network.with_suffix(".json").unlink()
    with pytest.raises(InputError, match=r"levels\.json: missing"):
        FileEmbedding(network)
    broken = tmp_path / "broken.ts"
    broken.write_bytes(b"no network")
    describe(broken)
    with pytest.raises(InputError, match="is no TorchScript file"):
        FileEmbedding(broken)
    with pytest.raises(InputError, match="suffix"):
        FileEmbedding(tmp_path / "weights.pkl")


def test_onnx_needs_its_package(tmp_path: Path) -> None:
    path = tmp_path / "levels.onnx"
    path.write_bytes(b"no network")
    describe(path)
    with pytest.raises(InputError, match=r"needs the package onnxruntime|is no ONNX file"):
        FileEmbedding(path)
