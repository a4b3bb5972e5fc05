"""Number formats of safetensors, and their values as float32."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from provenance_gate.errors import ArtifactError

BITS: Mapping[str, int] = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
    "I64": 64, "I32": 32, "I16": 16, "I8": 8,
    "U64": 64, "U32": 32, "U16": 16, "U8": 8,
    "BOOL": 8, "C64": 64,
}  # fmt: skip
"""Bits per element of every format that safetensors 0.8 knows."""

_NUMPY = {
    "F64": "<f8", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "u1",
}  # fmt: skip


_QUANTIZED = re.compile(r"(?:GPTQ|AWQ|INT|NF|NVFP|MXFP|FP|IQ|TQ|Q|W)([1-8])")


def quantized_bits(dtype: str) -> int | None:
    """Bits per value of a quantized format, by its name (``GPTQ4``, ``NF4``, ``Q4_K``, ``FP8_E4M3``); None for plain ones."""
    found = None if dtype in BITS else _QUANTIZED.match(dtype)
    return int(found.group(1)) if found else None


def byte_size(dtype: str, count: int) -> int | None:
    """Bytes that `count` elements take, or None when they end within a byte. `dtype` must be in `BITS`."""
    whole, rest = divmod(BITS[dtype] * count, 8)
    return None if rest else whole


def is_decodable(dtype: str) -> bool:
    """Whether `decode` has values for a format."""
    return dtype in _NUMPY or dtype in ("F32", "BF16", "F8_E4M3", "F8_E5M2")


def decode(raw: bytes | memoryview, dtype: str, name: str) -> NDArray[np.float32]:
    """The values as float32, shape (n,): exact for F32, F16, BF16 and both fp8 formats, else rounded to nearest.

    Raises ArtifactError, naming the tensor `name`, for a format without a plain numeric meaning here (C64, F4 ...).
    """
    if dtype == "F32":
        return np.frombuffer(raw, "<f4").astype(np.float32, copy=False)
    if dtype == "BF16":
        wide = np.frombuffer(raw, "<u2").astype(np.uint32)
        return np.left_shift(wide, 16, out=wide).view(np.float32)
    if dtype in _FP8:
        return _FP8[dtype][np.frombuffer(raw, np.uint8)]
    if dtype in _NUMPY:
        # A signaling NaN raises the invalid flag on its way to float32.
        with np.errstate(over="ignore", invalid="ignore"):
            return np.frombuffer(raw, _NUMPY[dtype]).astype(np.float32)
    raise ArtifactError(f"tensor {name!r}: values of type {dtype} cannot be read")


def _fp8_table(exponent_bits: int, mantissa_bits: int, finite_only: bool) -> NDArray[np.float32]:
    """All 256 values of an 8-bit float (Micikevicius et al., "FP8 Formats for Deep Learning", arXiv:2209.05433, table 1)."""
    bias = 2 ** (exponent_bits - 1) - 1
    top = 2**exponent_bits - 1
    values = []
    for code in range(256):
        sign = -1.0 if code & 0x80 else 1.0
        exponent = (code >> mantissa_bits) & top
        mantissa = code & (2**mantissa_bits - 1)
        if exponent == top and not finite_only:
            magnitude = float("inf") if mantissa == 0 else float("nan")
        elif exponent == top and mantissa == 2**mantissa_bits - 1:
            magnitude = float("nan")
        elif exponent == 0:
            magnitude = mantissa * 2.0 ** (1 - bias - mantissa_bits)
        else:
            magnitude = (1.0 + mantissa / 2**mantissa_bits) * 2.0 ** (exponent - bias)
        values.append(sign * magnitude)
    return np.array(values, dtype=np.float32)


_FP8 = {"F8_E4M3": _fp8_table(4, 3, finite_only=True), "F8_E5M2": _fp8_table(5, 2, finite_only=False)}
