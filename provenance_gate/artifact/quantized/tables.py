"""Parts as tables of rows and columns, read piece by piece, and the reader that dequantizes block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.dtypes import BITS, decode
from provenance_gate.artifact.interface import Lies, StoredTensor
from provenance_gate.artifact.quantized.interface import RawReader, malformed, where
from provenance_gate.artifact.sources.ahead import Place, TellsSpans
from provenance_gate.artifact.sources.coalesce import PrefetchedSource
from provenance_gate.errors import ArtifactError

BLOCK = 1 << 19
"""Elements dequantized at a time: at most some 16 MB beside the result. Only saves memory, never changes a value."""

GRAIN = 32
"""Blocks of columns start at multiples of this, where every packing starts on a whole word."""

_CHUNK = 1 << 22
"""Bytes read at a time where only some columns of each row are wanted."""

_LONG = 1 << 16
"""From this many bytes on, a piece of a row is worth a read of its own."""

_RUNS = 8
"""More runs of rows than this are read as one band, with the rows between them."""

_E8M0 = np.append(np.ldexp(1.0, np.arange(-127, 128)), np.nan).astype(np.float32)
"""Power-of-two scales by their byte (OCP Microscaling Formats 1.0, section 5.4.1): 2 ** (byte - 127), 255 is NaN."""

Codes = NDArray[np.unsignedinteger[Any]]
"""Elements as stored, of 1, 2, 4 or 8 bytes."""

_WORDS: Mapping[int, np.dtype[np.unsignedinteger[Any]]] = {
    8: np.dtype("u1"),
    16: np.dtype("<u2"),
    32: np.dtype("<u4"),
    64: np.dtype("<u8"),
}


_foreseen: ContextVar[list[Place] | None] = ContextVar("foreseen", default=None)
"""While it holds a list, `raw` notes what it would read, and gives zeros."""


class _NothingToForeseeError(Exception):
    """Local files are read when they are needed."""


def raw(tensor: StoredTensor, start: int, count: int) -> bytes:
    """Stored bytes of elements [start, start + count). Raises ArtifactError when the weight format gives none."""
    if not isinstance(tensor.reader, RawReader):
        raise ArtifactError(f"{where(tensor)}: packed values cannot be read from this weight format")
    noted = _foreseen.get()
    if noted is not None:
        places = tensor.reader.spans(start, count) if isinstance(tensor.reader, TellsSpans) else ()
        if not places or not all(isinstance(source, PrefetchedSource) for source, _ in places):
            raise _NothingToForeseeError
        noted += places
        return bytes(BITS[tensor.dtype] * count // 8)
    data = tensor.reader.raw(start, count)
    if len(data) * 8 != BITS[tensor.dtype] * count:
        raise ArtifactError(f"{where(tensor)}: {len(data)} bytes for {count} elements of {tensor.dtype}")
    return data


def foreseeing() -> bool:
    """Whether reads are only noted now: values are zeros, and where to read on must be guessed."""
    return _foreseen.get() is not None


def _foresee(work: Callable[[], object]) -> tuple[Place, ...]:
    """What `work` reads of remote files, as far as that does not depend on what it finds there."""
    noted: list[Place] = []
    token = _foreseen.set(noted)
    try:
        with suppress(_NothingToForeseeError, ArtifactError):
            work()
    finally:
        _foreseen.reset(token)
    return tuple(noted)


def numbers(data: Codes, tensor: StoredTensor, *, exponents: bool = False) -> NDArray[np.float32]:
    """Stored codes of `tensor` as float32, of the same shape; `exponents`: bytes are powers of two."""
    if exponents or tensor.dtype == "F8_E8M0":
        return _E8M0[data]
    flat = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
    return decode(flat.data, tensor.dtype, tensor.name).reshape(data.shape)


@dataclass(frozen=True, slots=True)
class Table:
    """A stored tensor seen as (rows, columns), row-major, whatever its own shape.

    `dtype` must be of 8, 16, 32 or 64 bits.
    """

    tensor: StoredTensor
    rows: int
    columns: int

    def codes(self, rows: range, columns: range) -> Codes:
        """The stored codes as unsigned integers of the element's width, shape (len(rows), len(columns)).

        A narrow range of columns is cut from whole rows, `_CHUNK` bytes at a time: it costs the bytes of the whole rows, not
        one read per row.
        """
        word = _WORDS[BITS[self.tensor.dtype]]
        if len(columns) == self.columns:
            return self._read(rows.start * self.columns, len(rows) * self.columns, word).reshape(len(rows), -1)
        out = np.empty((len(rows), len(columns)), dtype=word)
        width = self.columns * word.itemsize
        if len(rows) == 1 or width > _CHUNK or len(columns) * word.itemsize >= _LONG:
            for at, row in enumerate(rows):
                out[at] = self._read(row * self.columns + columns.start, len(columns), word)
            return out
        step = max(1, _CHUNK // max(width, 1))
        for at in range(0, len(rows), step):
            count = min(step, len(rows) - at)
            block = self._read((rows.start + at) * self.columns, count * self.columns, word)
            out[at : at + count] = block.reshape(count, self.columns)[:, columns.start : columns.stop]
        return out

    def _read(self, start: int, count: int, word: np.dtype[np.unsignedinteger[Any]]) -> Codes:
        return np.frombuffer(raw(self.tensor, start, count), word)

    def picked(self, rows: NDArray[np.int64], columns: range) -> Codes:
        """Codes of the given sorted, distinct rows: one read per run of neighbors, or of all between where the runs are many."""
        cuts = np.flatnonzero(np.diff(rows) != 1) + 1
        if len(cuts) > _RUNS:
            band: Codes = self.codes(range(int(rows[0]), int(rows[-1]) + 1), columns)
            taken: Codes = np.take(band, rows - rows[0], axis=0)
            return taken
        runs = np.split(rows, cuts)
        parts = [self.codes(range(int(r[0]), int(r[-1]) + 1), columns) for r in runs if r.size]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def floats(self, rows: range, columns: range, *, exponents: bool = False) -> NDArray[np.float32]:
        """The values as float32, shape (len(rows), len(columns))."""
        return numbers(self.codes(rows, columns), self.tensor, exponents=exponents)


def group_indices(part: StoredTensor, columns: range, groups: int) -> NDArray[np.int64]:
    """The group of each column from a stored index (g_idx), shape (len(columns),).

    Raises MalformedFileError for a value outside [0, groups).
    """
    found = Table(part, 1, part.size).codes(range(1), columns)[0]
    signed: NDArray[np.int64] = found.view(f"<i{found.dtype.itemsize}").astype(np.int64)
    if signed.size and not (signed.min() >= 0 and signed.max() < groups):
        wrong = int(signed[(signed < 0) | (signed >= groups)][0])
        raise malformed(part, f"group {wrong}, expected 0 to {groups - 1}")
    return signed


class Decoder(Protocol):
    """Dequantizes a block of a matrix."""

    def block(self, rows: range, columns: range) -> NDArray[np.float32]:
        """Shape (len(rows), len(columns)). `columns` starts at a multiple of `GRAIN` and ends at one or at the last column."""
        ...


@dataclass(frozen=True, slots=True)
class DequantizingReader:
    """A `TensorReader` of a (rows, columns) matrix that dequantizes the blocks it is asked for.

    `lies`: not in ROWS where the file holds the matrix as (columns, rows), so that any row is spread over the whole part; blocks
    are then cut along the columns, and one pass over the part serves all rows that are asked for.
    """

    name: str
    rows: int
    columns: int
    decoder: Decoder
    lies: Lies = Lies.ROWS

    @property
    def _turned(self) -> bool:
        return self.lies is not Lies.ROWS

    def read(self, start: int, count: int) -> NDArray[np.float32]:
        if not 0 <= start <= start + count <= self.rows * self.columns:
            raise IndexError(f"elements {start} to {start + count} of {self.rows * self.columns}")
        if not count:
            return np.empty(0, np.float32)
        first, skipped = divmod(start, self.columns)
        last = -(-(start + count) // self.columns)
        if self._turned and self.columns <= BLOCK:
            whole = np.empty((last - first) * self.columns, np.float32)
            self._fill(whole, range(first, last), range(self.columns))
            return whole[skipped : skipped + count]
        out = np.empty(count, np.float32)
        at = 0
        for rows, columns in self._rectangles(start, start + count):
            size = len(rows) * len(columns)
            self._fill(out[at : at + size], rows, columns)
            at += size
        return out

    def read_block(self, rows: range, columns: range) -> NDArray[np.float32]:
        """Shape (len(rows), len(columns)); both within the matrix."""
        if not (0 <= rows.start <= rows.stop <= self.rows and 0 <= columns.start <= columns.stop <= self.columns):
            raise IndexError(f"rows {rows}, columns {columns} of {self.rows} x {self.columns}")
        out = np.empty(len(rows) * len(columns), np.float32)
        if out.size:
            self._fill(out, rows, columns)
        return out.reshape(len(rows), len(columns))

    def spans(self, start: int, count: int) -> tuple[Place, ...]:
        """Where `read(start, count)` reads of remote files, as far as it can be foreseen."""
        return _foresee(lambda: self.read(start, count))

    def block_spans(self, rows: range, columns: range) -> tuple[Place, ...]:
        """Where `read_block(rows, columns)` reads of remote files, as far as it can be foreseen."""
        return _foresee(lambda: self.read_block(rows, columns))

    def raw(self, start: int, count: int) -> bytes:
        """Always an ArtifactError: what is dequantized has no bytes of its own."""
        raise ArtifactError(f"tensor {self.name!r}: dequantized values have no stored bytes")

    def _rectangles(self, start: int, stop: int) -> Iterator[tuple[range, range]]:
        """The elements as a piece of a row, whole rows, and another piece, in their order."""
        first, skipped = divmod(start, self.columns)
        last, kept = divmod(stop, self.columns)
        if first == last:
            yield range(first, first + 1), range(skipped, kept)
            return
        if skipped:
            yield range(first, first + 1), range(skipped, self.columns)
            first += 1
        if first < last:
            yield range(first, last), range(self.columns)
        if kept:
            yield range(last, last + 1), range(kept)

    def _fill(self, out: NDArray[np.float32], rows: range, columns: range) -> None:
        table = out.reshape(len(rows), len(columns))
        low = columns.start // GRAIN * GRAIN
        width = columns.stop - low
        if self._turned:
            tall = min(len(rows), BLOCK // GRAIN)
            wide = max(1, BLOCK // (tall * GRAIN)) * GRAIN
        else:
            wide = min(-(-width // GRAIN) * GRAIN, BLOCK)
            tall = max(1, BLOCK // wide)
        for top in range(rows.start, rows.stop, tall):
            bottom = min(top + tall, rows.stop)
            for left in range(low, columns.stop, wide):
                right = min(left + wide, self.columns, -(-columns.stop // GRAIN) * GRAIN)
                block = self.decoder.block(range(top, bottom), range(left, right))
                begin, end = max(left, columns.start), min(right, columns.stop)
                table[top - rows.start : bottom - rows.start, begin - columns.start : end - columns.start] = block[
                    :, begin - left : end - left
                ]
