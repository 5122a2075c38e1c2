"""Shipped weights: ``model.safetensors`` and ``card.json`` in one folder.

The only file of ``models`` that reads or writes shipped weights. Nothing here unpickles anything.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from models.card import CARD, CARD_VERSION, WEIGHTS, read_card
from models.errors import CheckpointError

Settings = TypeVar("Settings")


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Tensors and their card.

    Attributes:
        tensors: Name to tensor, on the CPU.
        card: Contents of ``card.json``.
        file_sha256: Hash of the bytes of the weights file.
    """

    tensors: dict[str, Tensor]
    card: dict[str, Any]
    file_sha256: str


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` make a file beside ``path``, then put it in its place in one step."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Hash of tensors by content: sorted names, each with dtype, shape and little-endian bytes."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{str(value.dtype).removeprefix('torch.')}\0{list(value.shape)}\0".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    return digest.hexdigest()


def halved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors with the float32 ones of two or more dimensions as float16, as far as its range reaches."""
    limit = torch.finfo(torch.float16).max
    return {
        name: value.half()
        if value.dtype == torch.float32 and value.ndim > 1 and value.numel() and float(value.abs().max()) < limit
        else value
        for name, value in tensors.items()
    }


def save(folder: Path, tensors: Mapping[str, Tensor], card: Mapping[str, Any]) -> str:
    """Write weights and card; returns the canonical hash of the tensors, which goes into the card."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    sha256 = tensors_sha256(plain)
    full = {"schema_version": CARD_VERSION, **card, "tensors_sha256": sha256}
    text = json.dumps(full, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    data = save_tensors(plain)
    write_atomically(folder / WEIGHTS, lambda path: path.write_bytes(data))
    write_atomically(folder / CARD, lambda path: path.write_text(text, encoding="utf-8"))
    return sha256


def load(folder: Path, *, name: str, frontend_sha256: str | None = None) -> Checkpoint:
    """Read and check a checkpoint folder.

    Args:
        folder: Where weights and card lie.
        name: Model that the card must be of.
        frontend_sha256: Hash that the card's front end must have; ``None`` leaves that to the caller.

    Raises:
        CheckpointError: If a file is missing, is no safetensors file, was altered, or is of another model or
            front end.
    """
    card = read_card(folder)
    if card.get("name") != name:
        raise CheckpointError(f"{folder / CARD}: name is {card.get('name')!r}, need {name!r}")
    if frontend_sha256 is not None:
        check_frontend(folder, card, frontend_sha256)
    path = folder / WEIGHTS
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"{path}: missing") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
    # A safetensors file may begin with these bytes too, as part of its header's length; its header does not.
    if data[8:9] != b"{" and (data[:2] == b"PK" or data[:1] == b"\x80"):
        raise CheckpointError(f"{path}: is a pickle, not a safetensors file; pickles are never loaded")
    try:
        tensors = load_tensors(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path}: not a whole safetensors file: {error}") from None
    found = tensors_sha256(tensors)
    if found != card.get("tensors_sha256"):
        stated = str(card.get("tensors_sha256"))
        raise CheckpointError(f"{path}: altered: hash {found[:16]} is not the card's {stated[:16]}")
    return Checkpoint(tensors, card, hashlib.sha256(data).hexdigest())


def check_frontend(folder: Path, card: Mapping[str, Any], frontend_sha256: str) -> None:
    """Refuse a card whose front end is not the given one."""
    found = card.get("frontend", {}).get("sha256") if isinstance(card.get("frontend"), dict) else None
    if found != frontend_sha256:
        raise CheckpointError(f"{folder / CARD}: frontend.sha256 is {str(found)[:16]}, need {frontend_sha256[:16]}")


def from_card(kind: type[Settings], card: Mapping[str, Any], field: str, folder: Path) -> Settings:
    """Settings dataclass out of a card field.

    Raises:
        CheckpointError: If the field is missing or has other entries than the dataclass.
    """
    where = f"{folder / CARD}: {field}"
    values = card.get(field) if isinstance(card, Mapping) else None
    if not isinstance(values, Mapping):
        raise CheckpointError(f"{where} is missing, need the settings of {kind.__name__}")
    values = {key: value for key, value in values.items() if key != "kind"}
    names = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if set(values) != set(names):
        wrong = sorted(set(values) ^ set(names))
        raise CheckpointError(f"{where}: entries {', '.join(wrong)} do not fit {kind.__name__}")
    for key, value in list(values.items()):
        default = names[key].default
        if isinstance(default, tuple) and isinstance(value, list):
            values[key] = value = tuple(value)
        kinds: tuple[type, ...] = (int, float) if isinstance(default, float) else (type(default),)
        if not isinstance(value, kinds) or isinstance(value, bool) != isinstance(default, bool):
            raise CheckpointError(f"{where}.{key} is {value!r}, need a value like {default!r}")
    try:
        return kind(**values)
    except ValueError as error:
        raise CheckpointError(f"{where}: {error}") from None


def load_weights(network: nn.Module, tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Put tensors into a network, every one in its place and none left over; half precision becomes single.

    Raises:
        CheckpointError: If names, shapes or kinds of number differ.
    """
    own = network.state_dict()
    wrong = sorted(set(own) ^ set(tensors))
    if wrong:
        names = ", ".join(wrong[:3])
        raise CheckpointError(f"{folder / WEIGHTS}: tensors {names} do not fit the card's config")
    for name, value in own.items():
        halved_one = (tensors[name].dtype, value.dtype) == (torch.float16, torch.float32)
        if tensors[name].shape != value.shape or not (halved_one or tensors[name].dtype == value.dtype):
            raise CheckpointError(
                f"{folder / WEIGHTS}: {name} is {tensors[name].dtype} {list(tensors[name].shape)}, the card's"
                f" config needs {value.dtype} {list(value.shape)}"
            )
    network.load_state_dict(dict(tensors), strict=True)
