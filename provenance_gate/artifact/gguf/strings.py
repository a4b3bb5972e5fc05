"""Many short strings in little memory: one buffer and where each string ends in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

_AT_ONCE: Final = 1 << 14
"""Strings between two look-ups of their ends: only saves memory."""


@dataclass(frozen=True, slots=True, eq=False)
class Strings:
    """A list of byte strings. One takes its own length and 4 bytes, where an object of its own would take 40 more.

    Attributes
    ----------
    text
        All strings, one after the other; below 2**32 bytes.
    ends
        Where each ends in `text`, shape (n,), dtype uint32, not decreasing.
    """

    text: bytes
    ends: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> bytes:
        """String `index`, counted from 0. Raises IndexError outside."""
        if not 0 <= index < len(self.ends):
            raise IndexError(f"string {index} of {len(self.ends)}")
        return self.text[int(self.ends[index - 1]) if index else 0 : int(self.ends[index])]

    def __iter__(self) -> Iterator[bytes]:
        text, start = self.text, 0
        for first in range(0, len(self.ends), _AT_ONCE):
            for end in self.ends[first : first + _AT_ONCE].tolist():
                yield text[start:end]
                start = end

    def places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where each string starts in `text`, and its length; shape (n,) each."""
        ends = self.ends.astype(np.int64)
        starts = np.concatenate((np.zeros(1, np.int64), ends[:-1]))[: len(ends)]
        return starts, ends - starts

    def is_utf8(self) -> bool:
        """Whether every string is valid UTF-8 by itself."""
        try:
            for start in range(0, len(self.text), 1 << 20):
                _whole_characters(self.text, start, start + (1 << 20)).decode()
        except UnicodeDecodeError:
            return False
        # Valid as a whole, so each is valid when none starts within a character.
        starts = self.ends[:-1][self.ends[:-1] < len(self.text)]
        first_bytes = np.frombuffer(self.text, np.uint8)[starts]
        return not bool(((first_bytes & 0xC0) == 0x80).any())


NO_STRINGS: Final = Strings(b"", np.zeros(0, np.uint32))


def gather(text: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Bytes of several ranges, one range after the other. Takes 17 bytes of memory for each."""
    before = np.cumsum(lengths) - lengths
    return text[np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))]


def _whole_characters(text: bytes, start: int, stop: int) -> bytes:
    """Bytes [start, stop), both edges moved right to the start of a character, by at most 3."""
    return text[_character(text, start) : _character(text, stop)]


def _character(text: bytes, at: int) -> int:
    for ahead in range(min(4, max(0, len(text) - at)) if at else 0):
        if text[at + ahead] & 0xC0 != 0x80:
            return at + ahead
    return at
