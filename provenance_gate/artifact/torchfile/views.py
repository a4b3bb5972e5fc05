"""Tensor descriptors put on the bytes of their storages: checked, and read range by range."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import PurePosixPath
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.dtypes import decode, is_decodable
from provenance_gate.artifact.interface import StoredTensor, TensorReader
from provenance_gate.artifact.ranges import RangeSource
from provenance_gate.artifact.sources.ahead import Place
from provenance_gate.artifact.sources.coalesce import Span
from provenance_gate.artifact.torchfile.layouts import byte_length
from provenance_gate.artifact.torchfile.values import ITEM_BYTES, TensorView
from provenance_gate.errors import ArtifactError, MalformedFileError, one_line

MAX_NAME = 1024
LARGEST_EMPTY = 2**31 - 1
_BLOCK = 4 << 20
"""Bytes read at a time of a transposed matrix: only saves memory."""
_SKIP = 64 << 10
"""A gap of this many bytes is stepped over; a smaller one is cheaper to read."""


def place(name: str, view: TensorView, begin: int, source: RangeSource, path: PurePosixPath) -> StoredTensor:
    """The tensor `view` over the storage that starts at byte `begin`.

    A view that is neither row-major nor a transposed matrix, or whose numbers have no plain meaning, is listed; reading it
    raises ArtifactError. Raises MalformedFileError when the view does not fit its storage.
    """
    where = f"{source.name}: tensor {one_line(name, 80)!r}"
    if len(name) > MAX_NAME:
        raise MalformedFileError(f"{where}: name of {len(name)} characters, expected at most {MAX_NAME}")
    size = ITEM_BYTES[view.dtype]
    room = byte_length(view.storage) // size
    count = prod(view.shape)
    # No bytes stand behind the other extents of an empty tensor: nothing else would bound the work per row.
    if not count and prod(n for n in view.shape if n) > LARGEST_EMPTY:
        raise MalformedFileError(f"{where}: shape of an empty tensor, expected extents whose product is below 2**31")
    last = (
        view.offset + sum((n - 1) * step for n, step in zip(view.shape, view.stride, strict=True)) + 1 if count else 0
    )
    if last > room or count > room:
        raise MalformedFileError(
            f"{where}: {count} elements up to {last} of a storage of {room}; offset, shape or stride lie"
        )
    first = begin + view.offset * size
    problem = view.problem or ("" if is_decodable(view.dtype) else f"values of type {view.dtype} cannot be read")
    reader: TensorReader
    if problem:
        reader = RefusedReader(f"{where}: {problem}")
    elif not count or _is_row_major(view):
        reader = RowMajorReader(source, one_line(name), view.dtype, first, count)
    elif len(view.shape) == 2 and view.stride == (1, view.shape[0]):
        reader = TransposedReader(source, one_line(name), view.dtype, first, view.shape[0], view.shape[1])
    else:
        reader = RefusedReader(
            f"{where}: strides {view.stride} are those of a cut-out or expanded view, which is not read"
        )
    return StoredTensor(name, view.dtype, view.shape, count * size, path, reader)


def _is_row_major(view: TensorView) -> bool:
    expected = 1
    for extent, step in zip(reversed(view.shape), reversed(view.stride), strict=True):
        if extent != 1 and step != expected:
            return False
        expected *= extent
    return True


@dataclass(frozen=True, slots=True)
class RefusedReader:
    """A tensor that is known to be there, and why it cannot be read."""

    fault: str

    def read(self, start: int, count: int) -> NoReturn:
        raise ArtifactError(self.fault)


@dataclass(frozen=True, slots=True)
class RowMajorReader:
    """Elements that lie in the file in their order."""

    source: RangeSource
    name: str
    dtype: str
    begin: int
    count: int

    def read(self, start: int, count: int) -> NDArray[np.float32]:
        return decode(self.raw(start, count), self.dtype, self.name)

    def raw(self, start: int, count: int) -> bytes:
        """The bytes of elements [start, start + count), as stored (little-endian)."""
        _check_range(start, count, self.count)
        size = ITEM_BYTES[self.dtype]
        return self.source.read(self.begin + start * size, count * size)

    def spans(self, start: int, count: int) -> tuple[Place, ...]:
        """Where `read(start, count)` reads."""
        size = ITEM_BYTES[self.dtype]
        return ((self.source, Span(self.begin + start * size, count * size)),)


@dataclass(frozen=True, slots=True)
class TransposedReader:
    """A (rows, columns) matrix that lies column by column."""

    source: RangeSource
    name: str
    dtype: str
    begin: int
    rows: int
    columns: int

    def read(self, start: int, count: int) -> NDArray[np.float32]:
        _check_range(start, count, self.rows * self.columns)
        if not count:
            return np.empty(0, np.float32)
        top, bottom = start // self.columns, (start + count - 1) // self.columns + 1
        out = self._read_rows(top, bottom).reshape(-1)
        skipped = start - top * self.columns
        return out[skipped : skipped + count]

    def _read_rows(self, top: int, bottom: int) -> NDArray[np.float32]:
        """Rows [top, bottom), shape (bottom - top, columns)."""
        size, height = ITEM_BYTES[self.dtype], bottom - top
        out = np.empty((height, self.columns), np.float32)
        together = 1 if (self.rows - height) * size >= _SKIP else max(1, _BLOCK // (self.rows * size))
        for column in range(0, self.columns, together):
            width = min(together, self.columns - column)
            # From the first wanted element of the first column to the last wanted one of the last.
            length = (width - 1) * self.rows + height
            raw = self.source.read(self.begin + (column * self.rows + top) * size, length * size)
            found = np.zeros(width * self.rows, np.float32) if width > 1 else np.empty(height, np.float32)
            found[:length] = decode(raw, self.dtype, self.name)
            out[:, column : column + width] = found.reshape(width, -1)[:, :height].T
        return out


def _check_range(start: int, count: int, total: int) -> None:
    if not 0 <= start <= start + count <= total:
        raise IndexError(f"elements {start} to {start + count} of {total}")
