"""Bits set in each word of an array."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]

_BITS, _PAIRS, _NIBBLES, _BYTES = (
    np.uint64(mask) for mask in (0x5555555555555555, 0x3333333333333333, 0x0F0F0F0F0F0F0F0F, 0x0101010101010101)
)
_ONE, _TWO, _FOUR, _TOP = (np.uint64(shift) for shift in (1, 2, 4, 56))


def popcount(words: Words) -> NDArray[np.uint8]:
    """Bits set in each word, in [0, 64]."""
    if not hasattr(np, "bitwise_count"):
        return popcount_by_sums(words)
    counts: NDArray[np.uint8] = np.bitwise_count(words)
    return counts


def popcount_by_sums(words: Words) -> NDArray[np.uint8]:
    """The same for numpy 1: sums of neighboring bits, pairs, nibbles and bytes."""
    pairs = words - ((words >> _ONE) & _BITS)
    nibbles = (pairs & _PAIRS) + ((pairs >> _TWO) & _PAIRS)
    counts: NDArray[np.uint8] = ((((nibbles + (nibbles >> _FOUR)) & _NIBBLES) * _BYTES) >> _TOP).astype(np.uint8)
    return counts
