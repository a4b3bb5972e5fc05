"""Rows that will be read, fetched ahead: one batch of tensors at a time, so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.interface import CanonicalTensor
from provenance_gate.artifact.ranges import RangeSource
from provenance_gate.artifact.sources.coalesce import CAPACITY, GAP, LARGEST, PrefetchedSource, Span, prefetch

WINDOW = 4
"""Pieces of one block of rows that are fetched at a time."""
Place = tuple[RangeSource, Span]
"""Bytes of one file."""


@runtime_checkable
class TellsRowSpans(Protocol):
    """A canonical tensor that knows which bytes some of its rows need; those that do not are read when they are needed."""

    def row_spans(self, start: int, stop: int) -> tuple[Place, ...]:
        """Where `read_rows(start, stop)` reads; empty when it cannot tell."""
        ...

    def block_spans(self, rows: range, columns: range) -> tuple[Place, ...]:
        """Where `read_block(rows, columns)` reads; empty when it cannot tell."""
        ...


@runtime_checkable
class TellsSpans(Protocol):
    """A `TensorReader` that knows which bytes some of its elements need."""

    def spans(self, start: int, count: int) -> tuple[Place, ...]:
        """Where `read(start, count)` reads."""
        ...


class Rows(NamedTuple):
    """Rows [start, stop) of a tensor, or only some columns of them."""

    tensor: CanonicalTensor
    start: int
    stop: int
    columns: range | None = None

    def places(self) -> tuple[Place, ...]:
        """Bytes of a remote file that are worth fetching ahead; none for local files."""
        if not isinstance(self.tensor, TellsRowSpans):
            return ()
        if self.columns is None:
            found = self.tensor.row_spans(self.start, self.stop)
        else:
            found = self.tensor.block_spans(range(self.start, self.stop), self.columns)
        sizes = [span.size for _, span in found]
        return found if max(sizes, default=0) <= LARGEST and sum(sizes) <= CAPACITY // 2 else ()


def batches(wanted: Sequence[Rows], limit: int = CAPACITY, *, gap: int = GAP) -> Iterator[tuple[Rows, ...]]:
    """`wanted` in its order, in batches whose bytes are at hand when they are yielded; `gap` as in `coalesce.plan`.

    Local rows cost nothing and split no batch. Raises ArtifactError when a range cannot be read.
    """
    batch: list[Rows] = []
    places: list[Place] = []
    held = 0
    for rows in wanted:
        found = [p for p in rows.places() if isinstance(p[0], PrefetchedSource)]
        size = sum(span.size for _, span in found)
        if batch and held + size > limit:
            prefetch(places, gap=gap)
            yield tuple(batch)
            batch, places, held = [], [], 0
        batch.append(rows)
        places += found
        held += size
    if batch:
        prefetch(places, gap=gap)
        yield tuple(batch)


def rows_ahead(tensor: CanonicalTensor, rows: Sequence[int], *, gap: int = GAP) -> None:
    """Fetch single rows of a table ahead, as far as they fit. Raises ArtifactError."""
    prefetch([place for row in rows for place in Rows(tensor, row, row + 1).places()], gap=gap)


def blocks(tensor: CanonicalTensor, first: int, stop: int, step: int) -> Iterator[NDArray[np.float32]]:
    """Rows [first, stop) in blocks of `step` rows, the last one shorter; remote ones are fetched several pieces at a time.

    Raises ArtifactError when a range cannot be read.
    """
    piece = _rows_of_a_request(tensor, first) if stop > first else None
    if piece is None:
        for at in range(first, stop, step):
            yield tensor.read_rows(at, min(at + step, stop))
        return
    for at in range(first, stop, step):
        yield np.concatenate(list(_side_by_side(tensor, at, min(at + step, stop), piece)))


def _side_by_side(tensor: CanonicalTensor, first: int, stop: int, piece: int) -> Iterator[NDArray[np.float32]]:
    # Not through the cache of what was fetched ahead: several matrices read at a time would drive each other out of it.
    with ThreadPoolExecutor(max_workers=WINDOW) as pool:
        futures = [pool.submit(tensor.read_rows, at, min(at + piece, stop)) for at in range(first, stop, piece)]
        try:
            for future in futures:
                yield future.result()
        finally:
            for future in futures:
                future.cancel()


def _rows_of_a_request(tensor: CanonicalTensor, row: int) -> int | None:
    """How many rows of a remote tensor one request holds; None for local ones, and where a row needs more than a request."""
    places = Rows(tensor, row, row + 1).places()
    size = sum(span.size for source, span in places if isinstance(source, PrefetchedSource))
    return max(1, LARGEST // 2 // size) if size else None
