"""Decoders of ggml's blocks of 256 elements (k-quants and IQ4_XS), and the bit work that all block types share.

Such a block is 8 groups of 32 (or 16 of 16) with small integer scales of their own, over one or two float16 scales. See
`blocks` for shapes and source.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

LOW: Final = np.uint8(15)
_TWO_BITS: Final = np.array([0, 2, 4, 6], dtype=np.uint8)[:, None]
_NONLINEAR: Final = np.array(
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], dtype=np.float32
)
"""The 16 levels of IQ4_NL and IQ4_XS (kvalues_iq4nl)."""


def half(blocks: Bytes, at: int) -> Floats:
    """The float16 at byte `at` of every block, shape (n, 1)."""
    return np.ascontiguousarray(blocks[:, at : at + 2]).view("<f2").astype(np.float32)


def nibbles(packed: Bytes) -> Bytes:
    """Low and high four bits: (..., m) bytes to (..., 2, m)."""
    return np.stack((packed & LOW, packed >> 4), axis=-2)


def nonlinear(codes: Bytes) -> Floats:
    """Levels of four-bit codes."""
    return _NONLINEAR[codes]


def _quarters(packed: Bytes) -> Bytes:
    """Two-bit codes: (..., m) bytes to (..., 4, m), lowest bits first."""
    quarters: Bytes = (packed[..., None, :] >> _TWO_BITS) & np.uint8(3)
    return quarters


def decode_q2_k(blocks: Bytes) -> Floats:
    """16 bytes of scale and minimum (4 bits each, per 16 elements), 64 bytes of codes, scale, scale of minima."""
    steps = half(blocks, 80) * (blocks[:, :16] & LOW).astype(np.float32)
    minima = half(blocks, 82) * (blocks[:, :16] >> 4).astype(np.float32)
    codes = _quarters(blocks[:, 16:80].reshape(-1, 2, 32)).reshape(-1, 16, 16).astype(np.float32)
    values: Floats = steps[..., None] * codes - minima[..., None]
    return values.reshape(-1, 256)


def decode_q3_k(blocks: Bytes) -> Floats:
    """32 bytes of third bits, 64 bytes of codes, 12 bytes of 16 six-bit scales, scale.

    Byte l of the third bits serves the elements l of all eight groups of 32, group by bit; a bit that is clear means minus 4.
    """
    bits = np.unpackbits(blocks[:, :32, None], axis=2, bitorder="little").transpose(0, 2, 1)
    codes = _quarters(blocks[:, 32:96].reshape(-1, 2, 32)).reshape(-1, 8, 32)
    levels = codes.view(np.int8) - ((bits ^ np.uint8(1)) << 2).view(np.int8)
    packed = blocks[:, 96:108]
    low = nibbles(packed[:, :8]).reshape(-1, 16)
    high = _quarters(packed[:, 8:]).reshape(-1, 16)
    scales = (low | (high << 4)).astype(np.float32) - np.float32(32)
    steps = half(blocks, 108) * scales
    values: Floats = steps[..., None] * levels.reshape(-1, 16, 16).astype(np.float32)
    return values.reshape(-1, 256)


def _scales_and_minima(packed: Bytes) -> tuple[Floats, Floats]:
    """Eight six-bit scales and eight six-bit minima out of 12 bytes, each (n, 8).

    Bytes 0 to 3 hold scales 0 to 3, bytes 4 to 7 minima 0 to 3; their top two bits go to 4 to 7, whose low four bits are
    the halves of bytes 8 to 11.
    """
    first, second, third = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = np.concatenate((first & np.uint8(63), (third & LOW) | ((first >> 6) << 4)), axis=1)
    minima = np.concatenate((second & np.uint8(63), (third >> 4) | ((second >> 6) << 4)), axis=1)
    return scales.astype(np.float32), minima.astype(np.float32)


def _affine(blocks: Bytes, codes: Bytes) -> Floats:
    """Values of Q4_K and Q5_K: scale, scale of minima, 12 bytes of group scales; `codes` is (n, 8, 32)."""
    scales, minima = _scales_and_minima(blocks[:, 4:16])
    steps, offsets = half(blocks, 0) * scales, half(blocks, 2) * minima
    values: Floats = steps[..., None] * codes.astype(np.float32) - offsets[..., None]
    return values.reshape(-1, 256)


def decode_q4_k(blocks: Bytes) -> Floats:
    """Header of 16 bytes (see `_affine`), 128 bytes of codes: 32 bytes hold two groups of 32."""
    return _affine(blocks, nibbles(blocks[:, 16:].reshape(-1, 4, 32)).reshape(-1, 8, 32))


def decode_q5_k(blocks: Bytes) -> Floats:
    """As Q4_K, with 32 bytes of fifth bits before the codes: byte l serves element l of all groups, group by bit."""
    top = np.unpackbits(blocks[:, 16:48, None], axis=2, bitorder="little").transpose(0, 2, 1)
    low = nibbles(blocks[:, 48:].reshape(-1, 4, 32)).reshape(-1, 8, 32)
    return _affine(blocks, low | (top << 4))


def decode_q6_k(blocks: Bytes) -> Floats:
    """128 bytes of low four bits, 64 of high two bits, 16 signed scales (per 16 elements), scale; codes are minus 32."""
    low = nibbles(blocks[:, :128].reshape(-1, 2, 64)).reshape(-1, 2, 4, 32)
    high = _quarters(blocks[:, 128:192].reshape(-1, 2, 32))
    codes = (low | (high << 4)).reshape(-1, 16, 16).view(np.int8) - np.int8(32)
    scales = np.ascontiguousarray(blocks[:, 192:208]).view(np.int8).astype(np.float32)
    steps = half(blocks, 208) * scales
    values: Floats = steps[..., None] * codes.astype(np.float32)
    return values.reshape(-1, 256)


def decode_iq4_xs(blocks: Bytes) -> Floats:
    """Scale, 16 bits of high and 4 bytes of low bits of eight six-bit scales (minus 32), 128 bytes of codes into the levels."""
    high = _quarters(blocks[:, 2:4, None]).reshape(-1, 8)
    low = np.stack((blocks[:, 4:8] & LOW, blocks[:, 4:8] >> 4), axis=-1).reshape(-1, 8)
    steps = half(blocks, 0) * ((low | (high << 4)).astype(np.float32) - np.float32(32))
    codes = nibbles(blocks[:, 8:].reshape(-1, 8, 16)).reshape(-1, 8, 32)
    values: Floats = steps[..., None] * nonlinear(codes)
    return values.reshape(-1, 256)
