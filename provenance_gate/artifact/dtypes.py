"""The dtypes of safetensors: how many bits an element takes, and what its bits mean as float32.

Every 16-bit and narrower float is exact in float32. F64, and integers beyond 2**24, are rounded to nearest; a F64 beyond the
range of float32 becomes infinite.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from math import ldexp
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from provenance_gate.errors import ArtifactError

Bytes: TypeAlias = "bytes | bytearray | memoryview"

BITS: Final[Mapping[str, int]] = {
    "BOOL": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "C64": 64,
    "F64": 64,
    "I64": 64,
    "U64": 64,
}
"""Bits of one element, for each dtype that safetensors 0.8 names."""

_NUMPY: Final[Mapping[str, str]] = {
    "U8": "u1",
    "I8": "i1",
    "I16": "<i2",
    "U16": "<u2",
    "F16": "<f2",
    "I32": "<i4",
    "U32": "<u4",
    "F64": "<f8",
    "I64": "<i8",
    "U64": "<u8",
}

_FLOAT8: Final = ("F8_E4M3", "F8_E5M2", "F8_E8M0")

DECODABLE: Final = frozenset({"BOOL", "F32", "BF16", *_NUMPY, *_FLOAT8})
"""The dtypes that `decode` reads. Tensors of the others can be listed and hashed, not measured."""


def stored_bytes(dtype: str, count: int) -> int | None:
    """Bytes that `count` elements of `dtype` (a key of `BITS`) take; None when they do not fill whole bytes."""
    whole, rest = divmod(BITS[dtype] * count, 8)
    return whole if rest == 0 else None


def decode(raw: Bytes, dtype: str, count: int) -> NDArray[np.float32]:
    """`count` stored elements as float32.

    Parameters
    ----------
    raw
        Exactly the bytes of the elements, little-endian.
    dtype
        The safetensors spelling.

    Returns
    -------
    array of shape (count,)
        Always writable. For F32 it shares memory with `raw` when `raw` is writable, and is a copy otherwise.

    Raises
    ------
    ArtifactError
        `dtype` is not in `DECODABLE`, or `raw` has another length than `count` elements take.

    Notes
    -----
    F8_E4M3 is the "fn" form [1]_: no infinities, NaN only at 0x7f and 0xff, largest value 448. F8_E5M2 follows IEEE 754.
    F8_E8M0 is a bare exponent [2]_, 2**(bits - 127), NaN at 0xff. A BOOL other than 0 counts as 1.

    References
    ----------
    .. [1] Micikevicius et al., "FP8 Formats for Deep Learning", arXiv:2209.05433.
    .. [2] Open Compute Project, "Microscaling Formats (MX) Specification", version 1.0.
    """
    if dtype not in DECODABLE:
        raise ArtifactError(f"dtype {dtype} cannot be read as numbers; readable are {', '.join(sorted(DECODABLE))}")
    expected = count * BITS[dtype] // 8
    found = memoryview(raw).nbytes
    if found != expected:
        raise ArtifactError(f"{count} elements of {dtype} take {expected} bytes, found {found}")
    if dtype == "F32":
        values = np.frombuffer(raw, dtype="<f4").astype(np.float32, copy=False)
        return values if values.flags.writeable else values.copy()
    if dtype == "BF16":
        # A BF16 is the upper half of the float32 of the same value.
        bits = np.frombuffer(raw, dtype="<u2").astype(np.uint32)
        bits <<= 16
        return bits.view(np.float32)
    if dtype == "BOOL":
        return (np.frombuffer(raw, dtype=np.uint8) != 0).astype(np.float32)
    if dtype in _FLOAT8:
        return _float8_table(dtype)[np.frombuffer(raw, dtype=np.uint8)]
    with np.errstate(over="ignore", invalid="ignore"):
        return np.frombuffer(raw, dtype=_NUMPY[dtype]).astype(np.float32)


@cache
def _float8_table(dtype: str) -> NDArray[np.float32]:
    """The value of each of the 256 bit patterns."""
    match dtype:
        case "F8_E4M3":
            values = [_small_float(bits, mantissa_bits=3, bias=7) for bits in range(256)]
            values[0x7F] = values[0xFF] = float("nan")
        case "F8_E5M2":
            values = [_small_float(bits, mantissa_bits=2, bias=15) for bits in range(256)]
            for sign, infinity in ((0x00, float("inf")), (0x80, float("-inf"))):
                values[sign | 0x7C] = infinity
                values[sign | 0x7D : (sign | 0x7F) + 1] = [float("nan")] * 3
        case _:
            values = [ldexp(1.0, bits - 127) for bits in range(255)] + [float("nan")]
    return np.array(values, dtype=np.float32)


def _small_float(bits: int, mantissa_bits: int, bias: int) -> float:
    """Sign, exponent and mantissa of an 8-bit float, as if every exponent were an ordinary one."""
    exponent = (bits & 0x7F) >> mantissa_bits
    mantissa = bits & ((1 << mantissa_bits) - 1)
    if exponent == 0:
        magnitude = ldexp(mantissa, 1 - bias - mantissa_bits)
    else:
        magnitude = ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits)
    return -magnitude if bits & 0x80 else magnitude
