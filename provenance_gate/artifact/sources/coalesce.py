"""Many small reads of remote files as few requests: which reads to merge, and a source that keeps what was fetched ahead.

A request costs a round trip, whatever its size; the bytes between two reads cost only bytes. Reads closer than a gap
become one request. What lies between is dropped as soon as it has arrived.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import NamedTuple

from provenance_gate.artifact.ranges import RangeSource

GAP = 64 << 10
"""Bytes. At 100 Mbit/s they take 5 ms, less than any round trip."""
WIDE_GAP = 256 << 10
"""Bytes. For work that reads whole matrices anyway: there a request costs more than the bytes between two rows."""
LARGEST = 4 << 20
"""Bytes of a merged request. With `PARALLEL` of them under way and a full cache, memory stays below 50 MB."""
PARALLEL = 8
CAPACITY = 16 << 20
"""Bytes that one cache keeps."""


class Span(NamedTuple):
    """Bytes [start, start + size) of a file."""

    start: int
    size: int

    @property
    def stop(self) -> int:
        return self.start + self.size


class Fetch(NamedTuple):
    """One request, and the parts of it that were asked for: sorted, without overlap."""

    start: int
    size: int
    parts: tuple[Span, ...]


def plan(spans: Iterable[Span], gap: int = GAP, largest: int = LARGEST) -> tuple[Fetch, ...]:
    """The requests that cover `spans`, sorted by offset.

    Parameters
    ----------
    spans
        In any order; may overlap or repeat. Empty ones are dropped.
    gap
        Two reads are merged when at most this many bytes lie between them.
    largest
        No merged request is larger; a single read (or overlapping ones) above it stays one request.

    Notes
    -----
    Merging is greedy from the lowest offset. It never asks for a byte before the first or after the last wanted one.
    """
    fetches: list[Fetch] = []
    current: list[Span] = []
    for span in _united(spans):
        if current and (span.start - current[-1].stop > gap or span.stop - current[0].start > largest):
            fetches.append(_fetch(current))
            current = []
        current.append(span)
    if current:
        fetches.append(_fetch(current))
    return tuple(fetches)


def _united(spans: Iterable[Span]) -> list[Span]:
    """Overlapping spans as one, sorted."""
    united: list[Span] = []
    for span in sorted(s for s in spans if s.size > 0):
        if united and span.start < united[-1].stop:
            first = united[-1].start
            united[-1] = Span(first, max(united[-1].stop, span.stop) - first)
        else:
            united.append(span)
    return united


def _fetch(parts: Sequence[Span]) -> Fetch:
    return Fetch(parts[0].start, parts[-1].stop - parts[0].start, tuple(parts))


class RangeCache:
    """Bytes fetched ahead, of all files of one store; the ones used least recently go first. Thread safe."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.capacity = capacity
        self.held = 0
        self._lock = Lock()
        self._blocks: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._starts: dict[str, list[int]] = {}

    def put(self, key: str, start: int, data: bytes) -> None:
        """Keep `data`, the bytes of file `key` from `start`; more than the whole capacity is not kept."""
        if not data or len(data) > self.capacity:
            return
        with self._lock:
            known = self._blocks.get((key, start))
            if known is not None:
                if len(known) >= len(data):
                    return
                self._drop(key, start)
            while self.held + len(data) > self.capacity:
                self._drop(*next(iter(self._blocks)))
            self._blocks[key, start] = data
            insort(self._starts.setdefault(key, []), start)
            self.held += len(data)

    def get(self, key: str, start: int, size: int) -> bytes | None:
        """Bytes [start, start + size) of file `key`, if one kept block holds all of them."""
        with self._lock:
            starts = self._starts.get(key, ())
            at = bisect_right(starts, start) - 1
            if at < 0:
                return None
            first = starts[at]
            block = self._blocks[key, first]
            if start + size > first + len(block):
                return None
            self._blocks.move_to_end((key, first))
            if (first, len(block)) == (start, size):
                return block
            return block[start - first : start - first + size]

    def clear(self) -> None:
        """Keep nothing."""
        with self._lock:
            self._blocks.clear()
            self._starts.clear()
            self.held = 0

    def _drop(self, key: str, start: int) -> None:
        self.held -= len(self._blocks.pop((key, start)))
        starts = self._starts[key]
        del starts[bisect_right(starts, start) - 1]


class PrefetchedSource:
    """A `RangeSource` that answers from a cache where it can, and from the source else.

    `cache` may be shared by the files of one store; `key` tells them apart. Names do not: shown ones are cut to a length.
    """

    def __init__(self, source: RangeSource, cache: RangeCache | None = None, key: str | None = None) -> None:
        self.source = source
        self.cache = cache or RangeCache()
        self.key = source.name if key is None else key

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def size(self) -> int:
        return self.source.size

    def read(self, start: int, size: int) -> bytes:
        """Exactly `size` bytes from `start`, or an ArtifactError."""
        if not size:
            return b""
        kept = self.cache.get(self.key, start, size)
        return self.source.read(start, size) if kept is None else kept

    def keep(self, start: int, data: bytes) -> None:
        """Put bytes that were read otherwise into the cache."""
        self.cache.put(self.key, start, data)

    def fetch(self, wanted: Fetch) -> None:
        """Read one planned request and keep its parts."""
        data = memoryview(self.source.read(wanted.start, wanted.size))
        for part in wanted.parts:
            at = part.start - wanted.start
            self.cache.put(self.key, part.start, bytes(data[at : at + part.size]))


def prefetch(wanted: Iterable[tuple[RangeSource, Span]], *, gap: int = GAP, parallel: int = PARALLEL) -> int:
    """Fetch ahead what will be read, in parallel; the number of requests.

    Sources without a cache (local files), spans of more than `LARGEST` bytes, spans that are kept already, and what would
    not fit the cache are left to be read when they are needed: the order of `wanted` decides.

    Raises
    ------
    ArtifactError
        A range cannot be read. What had been fetched is kept.
    """
    by_source: dict[int, tuple[PrefetchedSource, list[Span]]] = {}
    room: dict[int, int] = {}
    for source, span in wanted:
        if not isinstance(source, PrefetchedSource) or not 0 < span.size <= LARGEST:
            continue
        if span.start < 0 or span.stop > source.size or source.cache.get(source.key, span.start, span.size):
            continue
        left = room.setdefault(id(source.cache), source.cache.capacity)
        if span.size <= left:
            room[id(source.cache)] = left - span.size
            by_source.setdefault(id(source), (source, []))[1].append(span)
    work = [(source, fetch) for source, spans in by_source.values() for fetch in plan(spans, gap)]
    if work:
        with ThreadPoolExecutor(max_workers=min(parallel, len(work))) as pool:
            futures = [pool.submit(source.fetch, fetch) for source, fetch in work]
            try:
                for future in futures:
                    future.result()
            finally:
                for future in futures:
                    future.cancel()
    return len(work)
