"""Tensor readers over GGUF files: block ranges, rows in the order of the original checkpoint, norms without their shift."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.gguf.blocks import decode_blocks, is_decodable, why_not
from provenance_gate.artifact.gguf.types import GgmlType
from provenance_gate.artifact.interface import TensorReader
from provenance_gate.artifact.ranges import RangeSource
from provenance_gate.artifact.sources.ahead import Place, TellsSpans
from provenance_gate.artifact.sources.coalesce import Span
from provenance_gate.errors import ArtifactError

_CHUNK: Final = 1 << 20
"""Elements decoded at a time: only saves memory, never changes a value."""


@dataclass(frozen=True, slots=True)
class BlockReader:
    """Elements of one tensor, dequantized; implements `TensorReader`.

    Attributes
    ----------
    source, begin
        The file, and where in it the first block lies.
    name
        The tensor's, safe to print.
    kind
        None for a type number whose layout is not known.
    type_name, count
        What messages call the type, and the number of elements.
    """

    source: RangeSource
    name: str
    kind: GgmlType | None
    type_name: str
    begin: int
    count: int

    def read(self, start: int, count: int) -> NDArray[np.float32]:
        """Elements [start, start + count). Reads the blocks that hold them and no others."""
        _check_range(start, count, self.count)
        kind = self.kind
        if kind is None or not is_decodable(kind.name):
            raise ArtifactError(
                f"{self.source.name}: tensor {self.name!r}: values of type {self.type_name} cannot be read"
                f"{why_not(self.type_name)}"
            )
        stop = start + count
        if stop - start <= _CHUNK:
            return self._decode(kind, start, stop)
        out = np.empty(count, dtype=np.float32)
        for low in range(start, stop, _CHUNK):
            high = min(low + _CHUNK, stop)
            out[low - start : high - start] = self._decode(kind, low, high)
        return out

    def spans(self, start: int, count: int) -> tuple[Place, ...]:
        """Where `read(start, count)` reads."""
        kind = self.kind
        if kind is None:
            return ()
        first, last = start // kind.block, -(-(start + count) // kind.block)
        return ((self.source, Span(self.begin + first * kind.size, (last - first) * kind.size)),)

    def _decode(self, kind: GgmlType, start: int, stop: int) -> NDArray[np.float32]:
        first, last = start // kind.block, -(-stop // kind.block)
        raw = self.source.read(self.begin + first * kind.size, (last - first) * kind.size)
        values = decode_blocks(raw, kind)
        return values[start - first * kind.block : stop - first * kind.block]


@dataclass(frozen=True, slots=True)
class RotaryOrderReader:
    """Rows of a q or k matrix (or bias) in the order of the original checkpoint.

    llama.cpp's converter stores the rows of a head so that the two of each rotary pair are neighbors: original row
    ``p * half + i`` of a head stands at ``2 * i + p``, with p in {0, 1} and half of the head's rows.

    Attributes
    ----------
    stored
        Reader of the rows as the file has them.
    columns
        Width of a row; 1 for a bias.
    half
        Half the rows of a head.
    """

    stored: TensorReader
    count: int
    columns: int
    half: int

    def read(self, start: int, count: int) -> NDArray[np.float32]:
        """Elements [start, start + count) in the original order; reads at most about twice as many stored ones."""
        _check_range(start, count, self.count)
        out = np.empty(count, dtype=np.float32)
        at, stop = start, start + count
        while at < stop:
            row, column = divmod(at, self.columns)
            whole = (stop - at) // self.columns
            if column or not whole:
                taken = min(self.columns - column, stop - at)
                out[at - start : at - start + taken] = self.stored.read(self._place(row) * self.columns + column, taken)
            else:
                whole = min(whole, 2 * self.half - row % (2 * self.half))
                taken = whole * self.columns
                self._read_rows(row, whole, out[at - start : at - start + taken].reshape(whole, self.columns))
            at += taken
        return out

    def spans(self, start: int, count: int) -> tuple[Place, ...]:
        """Where `read(start, count)` reads; nothing unless these are whole rows."""
        if start % self.columns or count % self.columns or not isinstance(self.stored, TellsSpans):
            return ()
        found: list[Place] = []
        row, stop = start // self.columns, (start + count) // self.columns
        while row < stop:
            rows = min(stop - row, 2 * self.half - row % (2 * self.half))
            for first, last, _, _ in self._bands(row, rows):
                found += self.stored.spans(first * self.columns, (last - first) * self.columns)
            row += rows
        return tuple(found)

    def _place(self, row: int) -> int:
        head, within = divmod(row, 2 * self.half)
        part, index = divmod(within, self.half)
        return head * 2 * self.half + 2 * index + part

    def _read_rows(self, row: int, rows: int, out: NDArray[np.float32]) -> None:
        """Rows of one head into `out`."""
        within = row % (2 * self.half)
        for first, last, low, parts in self._bands(row, rows):
            block = self.stored.read(first * self.columns, (last - first) * self.columns)
            block = block.reshape(last - first, self.columns)
            for part in parts:
                at = part * self.half + low - within
                values = block[part - parts[0] :: 2]
                out[at : at + len(values)] = values

    def _bands(self, row: int, rows: int) -> Iterator[tuple[int, int, int, list[int]]]:
        """Stored rows [first, last) to read for rows of one head, the first pair of them, and which of each pair are wanted.

        Pair by pair: runs of pairs whose both rows are wanted are read once.
        """
        within = row % (2 * self.half)
        head = row - within
        wanted = [
            (
                max(within, part * self.half) - part * self.half,
                min(within + rows, (part + 1) * self.half) - part * self.half,
            )
            for part in (0, 1)
        ]
        step = max(1, _CHUNK // (2 * self.columns))
        edges = sorted({edge for low, high in wanted if low < high for edge in (low, high)})
        for begin, end in pairwise(edges):
            parts = [part for part, (low, high) in enumerate(wanted) if low <= begin and end <= high]
            for low in range(begin, end if parts else begin, step):
                high = min(low + step, end)
                yield head + 2 * low + parts[0], head + 2 * (high - 1) + parts[-1] + 1, low, parts


@dataclass(frozen=True, slots=True)
class ShiftedReader:
    """Values of which the converter has added `shift`: gives them without it, to float32 rounding."""

    stored: TensorReader
    shift: float

    def read(self, start: int, count: int) -> NDArray[np.float32]:
        """Elements [start, start + count) minus the shift."""
        values: NDArray[np.float32] = self.stored.read(start, count) - np.float32(self.shift)
        return values

    def spans(self, start: int, count: int) -> tuple[Place, ...]:
        """Where `read(start, count)` reads."""
        return self.stored.spans(start, count) if isinstance(self.stored, TellsSpans) else ()


def _check_range(start: int, count: int, size: int) -> None:
    if not 0 <= start <= start + count <= size:
        raise IndexError(f"elements {start} to {start + count} of {size}")
