"""A smallest ONNX model, written field by field, so that no test needs the package that writes them."""

from __future__ import annotations

import struct


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        return _number(number << 3) + _number(value)
    data = value.encode() if isinstance(value, str) else value
    return _number(number << 3 | 2) + _number(len(data)) + data


def _tensor_info(name: str) -> bytes:
    shape = b"".join(_field(1, _field(2, axis)) for axis in ("batch", "time"))
    kind = _field(1, 1) + _field(2, shape)
    return _field(1, name) + _field(2, _field(1, kind))


def halving_model() -> bytes:
    """``y = 0.5 x`` over float32 ``(batch, time)``."""
    half = _field(2, 1) + _field(8, "half") + _field(9, struct.pack("<f", 0.5))
    node = _field(1, "x") + _field(1, "half") + _field(2, "y") + _field(4, "Mul")
    graph = _field(1, node) + _field(2, "g") + _field(5, half) + _field(11, _tensor_info("x"))
    graph += _field(12, _tensor_info("y"))
    return _field(1, 8) + _field(7, graph) + _field(8, _field(2, 13))
