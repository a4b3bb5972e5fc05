"""Little-endian values read one after the other from the head of a file, within bounds.

Every length is checked against what the file still holds, and against the bounds below, before memory is taken for it.
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.gguf.strings import Strings
from provenance_gate.artifact.ranges import RangeSource
from provenance_gate.errors import MalformedFileError, one_line

MAX_HEADER: Final = 256 << 20
"""Bytes of metadata and tensor infos: the largest vocabularies take a tenth of it."""

MAX_VALUES: Final = 10_000_000
"""Strings and nested lists in one header: each costs time of its own."""

MAX_STRINGS: Final = 1_000_000
"""Strings in a list that is kept: the longest lists of tokens in use have 0.9 million, of merge rules 0.6."""

MAX_KEPT: Final = 32 << 20
"""Bytes of memory for the values of one header, about; vocabulary and merges of the largest models take half of it."""

MAX_TEXT: Final = 1 << 16
"""Bytes of a string that is kept."""

_OBJECT: Final = 40
"""Bytes that a small object takes beside its content."""

_END: Final = 4
"""Bytes for the place of one string among many."""

_CHUNK: Final = 1 << 20


class Cursor:
    """A position in the head of `source`. Values come from a window of about a megabyte, refilled as it moves on."""

    def __init__(self, source: RangeSource) -> None:
        self._source = source
        self._limit = min(source.size, MAX_HEADER)
        self._window = b""
        self._base = 0
        self._at = 0
        self._values = 0
        self._kept = 0

    @property
    def position(self) -> int:
        """Bytes from the start of the file."""
        return self._base + self._at

    @property
    def name(self) -> str:
        return self._source.name

    def error(self, field: str, fault: str) -> MalformedFileError:
        """An error that names the file and the field."""
        return MalformedFileError(f"{self._source.name}: {field}: {fault}")

    def check(self, size: int, field: str) -> None:
        """Raise MalformedFileError unless `size` more bytes lie within the header's bounds."""
        left = self._limit - self.position
        if size <= left:
            return
        if self._limit < self._source.size:
            raise self.error(field, f"{size} bytes at {self.position}, past the {MAX_HEADER:,} that a header may take")
        raise self.error(field, f"{size} bytes at {self.position}, the file has {left} left; is it cut?")

    def count_values(self, count: int, field: str) -> None:
        """Add to the number of values met so far; more than `MAX_VALUES` are an error."""
        self._values += count
        if self._values > MAX_VALUES:
            raise self.error(field, f"more than {MAX_VALUES:,} strings and lists in one header")

    def keep(self, size: int, field: str) -> None:
        """Add to the bytes of memory taken so far; more than `MAX_KEPT` are an error."""
        self._kept += size + _OBJECT
        if self._kept > MAX_KEPT:
            raise self._kept_too_much(field)

    def take(self, size: int, field: str) -> bytes:
        """The next `size` bytes."""
        end = self._at + size
        if end > len(self._window):
            self.check(size, field)
            self._fill(size)
            end = self._at + size
        piece = self._window[self._at : end]
        self._at = end
        return piece

    def skip(self, size: int, field: str) -> None:
        """Move on by `size` bytes without reading them."""
        self.check(size, field)
        if self._at + size <= len(self._window):
            self._at += size
        else:
            self._base, self._at, self._window = self.position + size, 0, b""

    def u32(self, field: str) -> int:
        return int.from_bytes(self.take(4, field), "little")

    def u64(self, field: str) -> int:
        return int.from_bytes(self.take(8, field), "little")

    def bytes_with_length(self, field: str, longest: int) -> bytes:
        """A length of 8 bytes and that many bytes."""
        length = self.u64(field)
        if length > longest:
            raise self.error(field, f"{length} bytes long, expected at most {longest:,}")
        return self.take(length, field)

    def text(self, field: str, longest: int) -> str:
        """A length of 8 bytes and that many bytes of UTF-8."""
        raw = self.bytes_with_length(field, longest)
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise self.error(field, f"not UTF-8: {one_line(repr(raw[:40]))}") from error

    def strings(self, count: int, field: str, keep: bool) -> Strings | None:
        """`count` strings, each with its length before it; None when they are not to be kept.

        The window is walked in place, without an object that lasts per string.
        """
        self.check(8 * count, field)
        self.count_values(count, field)
        if keep and count > MAX_STRINGS:
            raise self.error(field, f"{count} strings, expected at most {MAX_STRINGS:,}")
        if keep:
            self.keep(_END * count, field)
        texts, lengths = [], [np.zeros(0, np.int64)]
        kept = done = 0
        while done < count:
            starts = self._walk(count - done)
            if starts:
                done += len(starts)
                if keep:
                    text, sizes = _texts(self._window, np.array(starts), self._at)
            else:
                done += 1
                length = self.u64(field)
                if not keep:
                    self.skip(length, field)
                    continue
                text = self.take(self._short(length, field), field)
                sizes = np.array([length], np.int64)
            if keep:
                self._short(int(sizes.max()), field)
                kept += len(text)
                if self._kept + kept > MAX_KEPT:
                    raise self._kept_too_much(field)
                texts.append(text)
                lengths.append(sizes)
        self._kept += kept
        return Strings(b"".join(texts), np.cumsum(np.concatenate(lengths)).astype(np.uint32)) if keep else None

    def _walk(self, count: int) -> list[int]:
        """Pass over at most `count` strings that lie in the window as a whole; where in it each begins."""
        window, at, size = self._window, self._at, len(self._window)
        unpack = struct.Struct("<Q").unpack_from
        starts = []
        for _ in range(count):
            end = at + 8
            if end > size:
                break
            end += unpack(window, at)[0]
            if end > size:
                break
            starts.append(at)
            at = end
        self._at = at
        return starts

    def _short(self, length: int, field: str) -> int:
        if length > MAX_TEXT:
            raise self.error(field, f"a string of {length} bytes, expected at most {MAX_TEXT:,}")
        return length

    def numbers(self, count: int, dtype: str, field: str) -> NDArray[np.generic]:
        """`count` numbers of a numpy dtype, shape (count,)."""
        size = count * np.dtype(dtype).itemsize
        self.check(size, field)
        self.keep(size, field)
        return np.frombuffer(self.take(size, field), dtype)

    def _kept_too_much(self, field: str) -> MalformedFileError:
        return self.error(field, f"metadata of more than {MAX_KEPT:,} bytes")

    def _fill(self, size: int) -> None:
        """Load a window that starts here and holds at least `size` bytes, which `check` has found to be there."""
        start = self.position
        wanted = min(max(size, _CHUNK), self._limit - start)
        self._window, self._base, self._at = self._source.read(start, wanted), start, 0


def _texts(window: bytes, starts: NDArray[np.int64], end: int) -> tuple[bytes, NDArray[np.int64]]:
    """Strings that lie one after the other from `starts` to `end`, without the 8 bytes of length before each; their lengths."""
    first = int(starts[0])
    part = np.frombuffer(window, np.uint8)[first:end]
    is_text = np.ones(len(part), np.bool_)
    is_text[((starts - first)[:, None] + np.arange(8)).reshape(-1)] = False
    return part[is_text].tobytes(), np.diff(starts, append=end) - 8
