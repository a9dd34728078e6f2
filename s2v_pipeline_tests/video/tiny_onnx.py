"""ONNX files of two or three operations, written byte by byte: real models, small enough to check by hand.

Belongs here: writing them. Does not belong here: reading them (OpenCV does).

Field numbers are those of onnx/onnx.proto.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_FLOAT, _INTS, _IR_VERSION, _OPSET = 1, 7, 8, 13


def write_doubler(path: Path) -> Path:
    """Each pixel four times: (1, 3, h, w) -> (1, 3, 2h, 2w)."""
    kernel = np.zeros((3, 3, 2, 2), np.float32)
    kernel[range(3), range(3)] = 1
    node = _node("ConvTranspose", ["x", "w"], "y", [_ints("strides", [2, 2]), _ints("kernel_shape", [2, 2])])
    inputs, outputs = _value("x", [1, 3, "h", "v"]), _value("y", [1, 3, "h2", "v2"])
    return _write(path, [node], [_tensor("w", kernel)], inputs, outputs)


def write_mean_colour(path: Path) -> Path:
    """An embedding that knows colours alone: (1, 3, 112, 112) -> (1, 3)."""
    nodes = [_node("GlobalAveragePool", ["x"], "p"), _node("Flatten", ["p"], "y")]
    return _write(path, nodes, [], _value("x", [1, 3, 112, 112]), _value("y", [1, 3]))


def _write(path: Path, nodes: Sequence[bytes], tensors: Sequence[bytes], inputs: bytes, outputs: bytes) -> Path:
    graph = b"".join(_field(1, node) for node in nodes) + _field(2, b"g")
    graph += b"".join(_field(5, tensor) for tensor in tensors) + _field(11, inputs) + _field(12, outputs)
    path.write_bytes(_field(1, _IR_VERSION) + _field(7, graph) + _field(8, _field(1, b"") + _field(2, _OPSET)))
    return path


def _field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _tensor(name: str, values: NDArray[np.float32]) -> bytes:
    sides = b"".join(_field(1, side) for side in values.shape)
    return sides + _field(2, _FLOAT) + _field(8, name.encode()) + _field(9, values.astype("<f4").tobytes())


def _value(name: str, shape: Sequence[int | str]) -> bytes:
    sides = [_field(1, side) if isinstance(side, int) else _field(2, side.encode()) for side in shape]
    tensor = _field(1, _FLOAT) + _field(2, b"".join(_field(1, side) for side in sides))
    return _field(1, name.encode()) + _field(2, _field(1, tensor))


def _ints(name: str, values: Sequence[int]) -> bytes:
    return _field(1, name.encode()) + b"".join(_field(8, value) for value in values) + _field(20, _INTS)


def _node(operation: str, inputs: Sequence[str], output: str, attributes: Sequence[bytes] = ()) -> bytes:
    asked = b"".join(_field(1, name.encode()) for name in inputs)
    given = b"".join(_field(5, attribute) for attribute in attributes)
    return asked + _field(2, output.encode()) + _field(4, operation.encode()) + given
