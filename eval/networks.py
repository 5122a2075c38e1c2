"""Networks in files that need no code of their authors': TorchScript and ONNX.

Both come back as one function of a float32 array, so that callers need not know which it is. Like any program, a
TorchScript file does what it likes when it is opened: open those that you trust.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import InputError

TORCHSCRIPT = (".pt", ".ts", ".torchscript")
ONNX = ".onnx"


@dataclass(frozen=True)
class Network:
    """A network from a file.

    Attributes:
        run: From a float32 array of the shape that the network takes to what its first output is.
        parameters: Learned numbers as far as the file tells; 0 where it does not.
    """

    run: Callable[[NDArray[np.float32]], NDArray[Any]]
    parameters: int


def open_torchscript(path: Path, device: str = "cpu") -> Network:
    """A file of `torch.jit.save`.

    Raises:
        InputError: If it is none.
    """
    import torch

    try:
        with warnings.catch_warnings():
            # Newer versions announce that TorchScript will go; the files that people have are made with it.
            warnings.simplefilter("ignore", DeprecationWarning)
            module = torch.jit.load(str(path), map_location=device).train(False)  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError, OSError) as error:
        raise InputError(f"{path}: is no TorchScript file: {_first_line(error)}") from None

    def run(samples: NDArray[np.float32]) -> NDArray[Any]:
        with torch.no_grad():
            made = module(torch.from_numpy(samples).to(device))
        out: NDArray[Any] = made.detach().float().cpu().numpy()
        return out

    return Network(run, sum(p.numel() for p in module.parameters()))


def open_onnx(path: Path, device: str = "cpu") -> Network:
    """An ONNX file; its first input is what it is called with. On one thread, so that its numbers repeat.

    Raises:
        InputError: If it cannot be run, or the package onnxruntime is missing.
    """
    try:
        import onnxruntime
    except ImportError:
        raise InputError(f"{path}: needs the package onnxruntime; pip install '.[onnx]'") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    wanted = ["CUDAExecutionProvider"] if device.startswith("cuda") else []
    known = [name for name in wanted if name in onnxruntime.get_available_providers()]
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=[*known, "CPUExecutionProvider"])
    except Exception as error:
        raise InputError(f"{path}: is no ONNX file that can be run: {_first_line(error)}") from None
    name = session.get_inputs()[0].name

    def run(samples: NDArray[np.float32]) -> NDArray[Any]:
        out: NDArray[Any] = session.run(None, {name: samples})[0]
        return out

    return Network(run, 0)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
