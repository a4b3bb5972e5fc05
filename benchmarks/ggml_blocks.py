"""Float matrices to ggml's block types, as llama.cpp's quantizer would choose the type of each row width.

Q4_0 to Q8_0, MXFP4, TQ1_0 and TQ2_0 are encoded by the ``gguf`` package; Q4_K, Q6_K and IQ4_NL, which it only decodes, by plain
encoders written from the block structures (largest value of a group sets its scale, no search for the best one).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import gguf
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_LEVELS: Final = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32)
_SMALLER: Final = {"Q4_K": "Q5_0", "Q6_K": "Q8_0"}
"""What llama.cpp takes for rows that no block of 256 divides; where no block of 32 does it takes F16."""

PLAIN: Final = ("F32", "F16", "BF16")


def stored_type(kind: str, width: int) -> str:
    """The type in which a matrix with rows of `width` is stored in a file of type `kind`."""
    if kind in PLAIN:
        return kind
    if kind in ("Q4_K", "Q6_K", "TQ1_0", "TQ2_0") and width % 256:
        kind = _SMALLER.get(kind, "Q4_0")
    return "F16" if width % 32 else kind


def encode(values: NDArray[np.float32], kind: str) -> bytes:
    """Blocks of all rows; the last axis is divided by the block size of `kind`."""
    own = _OWN.get(kind)
    if own is not None:
        size = 32 if kind == "IQ4_NL" else 256
        return own(np.ascontiguousarray(values, np.float32).reshape(-1, size)).tobytes()
    number = gguf.GGMLQuantizationType[kind]
    return np.ascontiguousarray(gguf.quants.quantize(np.ascontiguousarray(values, np.float32), number)).tobytes()


def _inverse(scale: Array) -> Array:
    return np.divide(1, scale, out=np.zeros_like(scale, np.float32), where=scale != 0)


def _half(values: Array) -> tuple[Array, Array]:
    """Values as float16 bytes, (n, 2), and as they read back, (n,)."""
    stored = values.astype("<f2")
    return stored.view(np.uint8).reshape(-1, 2), stored.astype(np.float32)


def _q4_k(blocks: Array) -> Array:
    groups = blocks.reshape(-1, 8, 32)
    low = np.maximum(0, -groups.min(axis=2))
    steps = (groups.max(axis=2) + low) / 15
    scale_bytes, scale = _half(steps.max(axis=1) / 63)
    low_bytes, low_scale = _half(low.max(axis=1) / 63)
    s = np.clip(np.round(steps * _inverse(scale)[:, None]), 0, 63).astype(np.uint8)
    m = np.clip(np.round(low * _inverse(low_scale)[:, None]), 0, 63).astype(np.uint8)
    step, offset = scale[:, None] * s, low_scale[:, None] * m
    codes = np.clip(np.round((groups + offset[:, :, None]) * _inverse(step)[:, :, None]), 0, 15).astype(np.uint8)
    scales = np.concatenate(
        (s[:, :4] | (s[:, 4:] >> 4 << 6), m[:, :4] | (m[:, 4:] >> 4 << 6), (s[:, 4:] & 15) | ((m[:, 4:] & 15) << 4)), 1
    )
    pairs = codes.reshape(-1, 4, 2, 32)
    packed = (pairs[:, :, 0] | (pairs[:, :, 1] << 4)).reshape(-1, 128)
    return np.concatenate((scale_bytes, low_bytes, scales, packed), axis=1)


def _q6_k(blocks: Array) -> Array:
    groups = blocks.reshape(-1, 16, 16)
    steps = np.abs(groups).max(axis=2) / 31
    scale_bytes, scale = _half(steps.max(axis=1) / 127)
    s = np.clip(np.round(steps * _inverse(scale)[:, None]), -128, 127).astype(np.int8)
    step = scale[:, None] * s.astype(np.float32)
    codes = np.clip(np.round(groups * _inverse(step)[:, :, None]), -32, 31).astype(np.int8) + np.int8(32)
    quarters = codes.view(np.uint8).reshape(-1, 2, 4, 32)
    low, high = quarters & 15, quarters >> 4
    lower = np.concatenate((low[:, :, 0] | (low[:, :, 2] << 4), low[:, :, 1] | (low[:, :, 3] << 4)), axis=2)
    upper = high[:, :, 0] | (high[:, :, 1] << 2) | (high[:, :, 2] << 4) | (high[:, :, 3] << 6)
    return np.concatenate((lower.reshape(-1, 128), upper.reshape(-1, 64), s.view(np.uint8), scale_bytes), axis=1)


def _iq4_nl(blocks: Array) -> Array:
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=1)[:, None], 1)[:, 0]
    scale_bytes, scale = _half(largest / _LEVELS[0])
    divided = blocks * _inverse(scale)[:, None]
    codes = np.searchsorted((_LEVELS[1:] + _LEVELS[:-1]) / 2, divided).astype(np.uint8)
    return np.concatenate((scale_bytes, codes[:, :16] | (codes[:, 16:] << 4)), axis=1)


_OWN: Final[dict[str, Callable[[Array], Array]]] = {"Q4_K": _q4_k, "Q6_K": _q6_k, "IQ4_NL": _iq4_nl}
