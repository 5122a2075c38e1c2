import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from models.checkpoint import from_card, load, load_weights, save, tensors_sha256
from models.errors import CheckpointError
from models.frontends.mel_if import MelIFConfig

TENSORS = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor(3), "flag": torch.tensor(True)}
FRONTEND = MelIFConfig()
CARD: dict[str, Any] = {
    "name": "toy",
    "frontend": {"settings": FRONTEND.as_dict(), "sha256": FRONTEND.sha256()},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path / "ck", TENSORS, CARD)
    return tmp_path / "ck"


def change_card(folder: Path, **changes: object) -> None:
    path = folder / "card.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_round_trip(folder: Path) -> None:
    found = load(folder, name="toy", frontend_sha256=FRONTEND.sha256())
    assert found.tensors.keys() == TENSORS.keys()
    assert all(torch.equal(found.tensors[name], value) for name, value in TENSORS.items())
    assert found.card["tensors_sha256"] == tensors_sha256(TENSORS)
    assert sorted(p.name for p in folder.iterdir()) == ["card.json", "model.safetensors"]


def test_hash_is_of_content() -> None:
    same = {name: TENSORS[name].clone() for name in sorted(TENSORS)}
    assert tensors_sha256(same) == tensors_sha256(TENSORS)
    transposed = {"x": TENSORS["b"].T}
    assert tensors_sha256(transposed) == tensors_sha256({"x": TENSORS["b"].T.contiguous()})
    for other in (
        {**TENSORS, "b": TENSORS["b"].reshape(3, 2)},
        {**TENSORS, "b": TENSORS["b"].double()},
        {**TENSORS, "b": TENSORS["b"] + 1e-7},
        {"c" if n == "b" else n: v for n, v in TENSORS.items()},
    ):
        assert tensors_sha256(other) != tensors_sha256(TENSORS)


def test_missing_files(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere/card\.json: missing"):
        load(tmp_path / "nowhere", name="toy")
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors: missing"):
        load(folder, name="toy")


@pytest.mark.parametrize("where", [100, -1])
def test_altered_bytes(folder: Path, where: int) -> None:
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[where] ^= 0xFF
    path.write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match=r"altered|not a whole") as caught:
        load(folder, name="toy")
    assert "\n" not in str(caught.value)


def test_replaced_weights(folder: Path) -> None:
    save_file({**TENSORS, "a": torch.tensor(4)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="altered"):
        load(folder, name="toy")


@pytest.mark.parametrize("keep", [0, 4, 60, -3])
def test_truncated(folder: Path, keep: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load(folder, name="toy")


class Trap:
    """Would make a file if it were ever unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_a_pickle_is_never_loaded(folder: Path, tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    (folder / "model.safetensors").write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(CheckpointError, match="pickle"):
        load(folder, name="toy")
    torch.save(TENSORS, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="pickle"):
        load(folder, name="toy")
    assert not sprung.exists()


def test_wrong_cards(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="name is 'toy', need 'other'"):
        load(folder, name="other")
    with pytest.raises(CheckpointError, match=r"frontend\.sha256"):
        load(folder, name="toy", frontend_sha256=MelIFConfig(break_hz=700.0).sha256())
    change_card(folder, schema_version=99)
    with pytest.raises(CheckpointError, match="schema_version"):
        load(folder, name="toy")
    (folder / "card.json").write_text("{")
    with pytest.raises(CheckpointError, match="JSON"):
        load(folder, name="toy")


def test_settings_from_card(tmp_path: Path) -> None:
    settings = FRONTEND.as_dict()
    assert from_card(MelIFConfig, {"settings": settings}, "settings", tmp_path) == FRONTEND
    for wrong in (
        None,
        {**settings, "extra": 1},
        {k: v for k, v in settings.items() if k != "floor"},
        {**settings, "n_fft": "2048"},
        {**settings, "n_fft": True},
        {**settings, "floor": None},
    ):
        with pytest.raises(CheckpointError, match="settings"):
            from_card(MelIFConfig, {"settings": wrong}, "settings", tmp_path)


def test_weights_must_fit(tmp_path: Path) -> None:
    network = torch.nn.Linear(3, 2)
    good = {name: value.clone() + 1 for name, value in network.state_dict().items()}
    load_weights(network, good, tmp_path)
    assert torch.equal(network.weight.detach(), good["weight"])
    for wrong in (
        {"weight": good["weight"]},
        {**good, "more": good["bias"]},
        {**good, "bias": torch.zeros(3)},
        {**good, "bias": good["bias"].double()},
    ):
        with pytest.raises(CheckpointError, match="config"):
            load_weights(network, wrong, tmp_path)
    assert torch.equal(network.weight.detach(), good["weight"])


def test_a_header_whose_length_looks_like_a_pickle_is_read(tmp_path: Path) -> None:
    # Names of growing length move the header's length, a multiple of 8, through every low byte that it can have.
    first = set()
    for n in range(1, 270, 8):
        folder = tmp_path / str(n)
        save(folder, {"x" * n: torch.zeros(1)}, {"name": "m"})
        first.add((folder / "model.safetensors").read_bytes()[0])
        assert load(folder, name="m").tensors["x" * n].shape == (1,)
    assert 0x80 in first
