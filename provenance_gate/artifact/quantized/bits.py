"""Small integers packed in 32-bit words, as GPTQ, AWQ and compressed-tensors write them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.uint8]
WORD = 32


def unpack(words: NDArray[np.unsignedinteger[Any]], bits: int, *, dense: bool = True) -> Codes:
    """Integers of 1 to 8 bits along the last axis of little-endian 32-bit words.

    Parameters
    ----------
    words
        Shape (rows, n).
    dense
        Integer i starts at bit ``i * bits`` of the row (crossing words); else each word holds ``32 // bits`` integers from
        its lowest bit up, and the bits that remain are unused. The same thing for 1, 2, 4 and 8 bits.

    Returns
    -------
    array of uint8
        Shape (rows, n * 32 // bits) when dense, else (rows, n * (32 // bits)).
    """
    rows, count = words.shape
    data = np.ascontiguousarray(words, dtype="<u4")
    octets: Codes = data.view(np.uint8).reshape(rows, 4 * count)
    if bits == 8:
        return octets
    if bits in (1, 2, 4):
        shifts = np.arange(0, 8, bits, dtype=np.uint8)
        parts: Codes = (octets[:, :, None] >> shifts) & np.uint8((1 << bits) - 1)
        return parts.reshape(rows, -1)
    if not dense:
        shifts = np.arange(0, WORD // bits * bits, bits, dtype=np.uint32)
        small: Codes = ((data[:, :, None] >> shifts) & np.uint32((1 << bits) - 1)).astype(np.uint8)
        return small.reshape(rows, -1)
    each = np.unpackbits(octets, axis=1, bitorder="little")
    whole = WORD * count // bits
    table = each[:, : whole * bits].reshape(rows, whole, bits)
    out: Codes = table[:, :, 0].copy()
    for place in range(1, bits):
        out |= table[:, :, place] << np.uint8(place)
    return out


def words_for(count: int, bits: int, *, dense: bool = True) -> int:
    """32-bit words that hold `count` integers."""
    return -(-count * bits // WORD) if dense else -(-count // (WORD // bits))
