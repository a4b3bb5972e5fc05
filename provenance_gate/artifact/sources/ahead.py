"""Rows that will be read, fetched ahead: one batch of tensors at a time, so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from provenance_gate.artifact.interface import CanonicalTensor
from provenance_gate.artifact.ranges import RangeSource
from provenance_gate.artifact.sources.coalesce import CAPACITY, LARGEST, PrefetchedSource, Span, prefetch

Place = tuple[RangeSource, Span]
"""Bytes of one file."""


@runtime_checkable
class TellsRowSpans(Protocol):
    """A canonical tensor that knows which bytes some of its rows need; those that do not are read when they are needed."""

    def row_spans(self, start: int, stop: int) -> tuple[Place, ...]:
        """Where `read_rows(start, stop)` reads; empty when it cannot tell."""
        ...


@runtime_checkable
class TellsSpans(Protocol):
    """A `TensorReader` that knows which bytes some of its elements need."""

    def spans(self, start: int, count: int) -> tuple[Place, ...]:
        """Where `read(start, count)` reads."""
        ...


class Rows(NamedTuple):
    """Rows [start, stop) of a tensor."""

    tensor: CanonicalTensor
    start: int
    stop: int

    def places(self) -> tuple[Place, ...]:
        """Bytes of a remote file that are worth fetching ahead; none for local files."""
        if not isinstance(self.tensor, TellsRowSpans):
            return ()
        found = self.tensor.row_spans(self.start, self.stop)
        return found if sum(span.size for _, span in found) <= LARGEST else ()


def batches(wanted: Sequence[Rows], limit: int = CAPACITY) -> Iterator[tuple[Rows, ...]]:
    """`wanted` in its order, in batches whose bytes are at hand when they are yielded.

    Local rows cost nothing and split no batch. Raises ArtifactError when a range cannot be read.
    """
    batch: list[Rows] = []
    places: list[Place] = []
    held = 0
    for rows in wanted:
        found = [p for p in rows.places() if isinstance(p[0], PrefetchedSource)]
        size = sum(span.size for _, span in found)
        if batch and held + size > limit:
            prefetch(places)
            yield tuple(batch)
            batch, places, held = [], [], 0
        batch.append(rows)
        places += found
        held += size
    if batch:
        prefetch(places)
        yield tuple(batch)


def rows_ahead(tensor: CanonicalTensor, rows: Sequence[int]) -> None:
    """Fetch single rows of a table ahead, as far as they fit. Raises ArtifactError."""
    prefetch([place for row in rows for place in Rows(tensor, row, row + 1).places()])
