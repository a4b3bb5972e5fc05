"""Quantized parts as stored tensors over bytes in memory, and plain slow formulas to hold the readers to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.dtypes import BITS, decode
from provenance_gate.artifact.interface import StoredTensor
from provenance_gate.artifact.quantized import dequantized

Array = NDArray[Any]
Part = Array | tuple[str, Array]
PATH = PurePosixPath("model.safetensors")
_DTYPES = {"f4": "F32", "f2": "F16", "i4": "I32", "i8": "I64", "i1": "I8", "u1": "U8", "u4": "U32", "f8": "F64"}


class Bytes:
    """A reader over bytes in memory that counts what is asked of it: stands for the one of a weight format."""

    def __init__(self, dtype: str, data: bytes) -> None:
        self.dtype, self.data = dtype, data
        self.bytes_read = self.requests = 0

    def raw(self, start: int, count: int) -> bytes:
        width = BITS[self.dtype] // 8
        assert 0 <= start <= start + count <= len(self.data) // width
        self.bytes_read += count * width
        self.requests += 1
        return self.data[start * width : (start + count) * width]

    def read(self, start: int, count: int) -> NDArray[np.float32]:
        return decode(self.raw(start, count), self.dtype, "test")


def part(name: str, value: Part, path: PurePosixPath = PATH) -> StoredTensor:
    """A stored tensor; `value` is an array, or the safetensors dtype and an array of the codes."""
    dtype, array = value if isinstance(value, tuple) else (_DTYPES[value.dtype.str[1:]], value)
    data = np.ascontiguousarray(array).tobytes()
    return StoredTensor(name, dtype, array.shape, len(data), path, Bytes(dtype, data))


def parts(values: Mapping[str, Part]) -> tuple[StoredTensor, ...]:
    return tuple(part(name, value) for name, value in values.items())


def opened(values: Mapping[str, Part], config: object = None) -> tuple[tuple[StoredTensor, ...], tuple[str, ...]]:
    return dequantized(parts(values), config)


def values_of(values: Mapping[str, Part], config: object = None) -> NDArray[np.float32]:
    """The values of the one tensor that `values` make, whole."""
    (tensor,), _ = opened(values, config)
    return whole(tensor)


def whole(tensor: StoredTensor) -> NDArray[np.float32]:
    return tensor.reader.read(0, tensor.size).reshape(tensor.shape)


def bfloat16(values: Array) -> tuple[str, Array]:
    """Exact bfloat16 of values that have one."""
    codes = (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return "BF16", codes


def pack(integers: Array, bits: int, *, dense: bool = True) -> NDArray[np.int32]:
    """Unsigned integers along the last axis of (rows, n) into 32-bit words: bit by bit, from the definition."""
    rows, count = integers.shape
    per = 32 // bits
    words = -(-count * bits // 32) if dense else -(-count // per)
    out = [[0] * words for _ in range(rows)]
    for row in range(rows):
        number = 0
        for i in range(count):
            at = i * bits if dense else i // per * 32 + i % per * bits
            number |= int(integers[row, i]) << at
        out[row] = [number >> 32 * w & 0xFFFFFFFF for w in range(words)]
    return np.array(out, dtype=np.uint32).reshape(rows, words).view(np.int32)


def gptq(
    rng: np.random.Generator, out: int, columns: int, groups: int, bits: int, index: Sequence[int] | None = None
) -> tuple[dict[str, Part], NDArray[np.float32]]:
    """Parts of a GPTQ module (version 1) and the values that they stand for."""
    top = 1 << bits
    codes = rng.integers(0, top, (out, columns))
    zeros = rng.integers(1, top + 1, (groups, out))
    scales = rng.uniform(0.001, 0.1, (groups, out)).astype(np.float16)
    size = group_size(columns, groups)
    place = np.arange(columns) // size if index is None else np.asarray(index)
    values = scales.T.astype(np.float32)[:, place] * (codes - zeros.T[:, place]).astype(np.float32)
    made: dict[str, Part] = {
        "m.qweight": np.ascontiguousarray(pack(codes, bits).T),
        "m.qzeros": pack(zeros - 1, bits),
        "m.scales": scales,
    }
    if index is not None:
        made["m.g_idx"] = np.asarray(index, dtype=np.int32)
    return made, values


def awq(rng: np.random.Generator, out: int, columns: int, groups: int) -> tuple[dict[str, Part], NDArray[np.float32]]:
    """Parts of an AWQ module and the values that they stand for."""
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    codes = rng.integers(0, 16, (columns, out))
    zeros = rng.integers(0, 16, (groups, out))
    scales = rng.uniform(0.001, 0.1, (groups, out)).astype(np.float16)
    place = np.arange(columns) // group_size(columns, groups)
    values = (scales.astype(np.float32)[place] * (codes - zeros[place]).astype(np.float32)).T

    def packed(table: Array) -> NDArray[np.int32]:
        return pack(table.reshape(len(table), -1, 8)[:, :, order].reshape(len(table), -1), 4)

    return {"m.qweight": packed(codes), "m.qzeros": packed(zeros), "m.scales": scales}, values


def compressed(
    rng: np.random.Generator,
    shape: tuple[int, int],
    groups: int,
    bits: int,
    *,
    dense: bool = True,
    zeros: bool = False,
    index: Sequence[int] | None = None,
) -> tuple[dict[str, Part], NDArray[np.float32]]:
    """Parts of a compressed-tensors module and the values that they stand for."""
    out, columns = shape
    half = 1 << (bits - 1)
    codes = rng.integers(-half, half, shape)
    scales = rng.uniform(0.001, 0.1, (out, groups)).astype(np.float16)
    zero = rng.integers(-half, half, (out, groups)) if zeros else np.zeros((out, groups), dtype=np.int64)
    place = np.arange(columns) // group_size(columns, groups) if index is None else np.asarray(index)
    values = (codes - zero[:, place]).astype(np.float32) * scales.astype(np.float32)[:, place]
    made: dict[str, Part] = {
        "m.weight_packed": pack(codes + half, bits, dense=dense),
        "m.weight_scale": scales,
        "m.weight_shape": np.array(shape, dtype=np.int64),
    }
    if zeros:
        made["m.weight_zero_point"] = np.ascontiguousarray(pack(zero.T + half, bits, dense=dense).T)
    if index is not None:
        made["m.weight_g_idx"] = np.asarray(index, dtype=np.int32)
    return made, values


def group_size(columns: int, groups: int) -> int:
    """128 where that gives as many groups, the last one partial, else the quotient."""
    return 128 if -(-columns // 128) == groups > 1 else columns // groups
