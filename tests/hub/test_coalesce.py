"""Which reads become one request, what is kept, and that a fetched byte is the byte of the file."""

from __future__ import annotations

import itertools
from threading import Lock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenance_gate.artifact.sources.coalesce import (
    LARGEST,
    Fetch,
    PrefetchedSource,
    RangeCache,
    Span,
    plan,
    prefetch,
)
from provenance_gate.errors import ArtifactError

spans = st.lists(st.builds(Span, st.integers(0, 5000), st.integers(0, 300)), max_size=40)


class Memory:
    """A source that remembers its reads."""

    def __init__(self, size: int = 6000, name: str = "m.safetensors") -> None:
        self.name, self.size = name, size
        self.data = bytes(i * 31 % 251 for i in range(size))
        self.reads: list[tuple[int, int]] = []
        self._lock = Lock()

    def read(self, start: int, size: int) -> bytes:
        with self._lock:
            self.reads.append((start, size))
        if start + size > self.size:
            raise ArtifactError(f"{self.name}: ends")
        return self.data[start : start + size]


def test_reads_closer_than_the_gap_become_one_request() -> None:
    assert plan([Span(0, 10), Span(110, 10), Span(221, 10)], gap=100) == (
        Fetch(0, 120, (Span(0, 10), Span(110, 10))),
        Fetch(221, 10, (Span(221, 10),)),
    )


def test_a_request_stays_below_the_largest_unless_one_read_is_larger() -> None:
    found = plan([Span(0, 60), Span(60, 60), Span(120, 500)], gap=100, largest=120)
    assert [(f.start, f.size) for f in found] == [(0, 120), (120, 500)]


def test_overlapping_repeated_and_empty_reads_are_fetched_once() -> None:
    found = plan([Span(5, 10), Span(0, 10), Span(5, 10), Span(100, 0)], gap=0)
    assert found == (Fetch(0, 15, (Span(0, 15),)),)
    assert plan([]) == ()


@given(spans, st.integers(0, 400), st.integers(1, 1000))
def test_a_plan_covers_every_wanted_byte_once_and_nothing_beyond_the_gaps(
    wanted: list[Span], gap: int, largest: int
) -> None:
    found = plan(wanted, gap, largest)
    asked = {b for s in wanted for b in range(s.start, s.stop)}
    parts = [b for f in found for p in f.parts for b in range(p.start, p.stop)]
    assert sorted(parts) == sorted(asked)
    assert all(a.start + a.size <= b.start for a, b in itertools.pairwise(found))
    for fetch in found:
        assert (fetch.start, fetch.start + fetch.size) == (fetch.parts[0].start, fetch.parts[-1].stop)
        assert all(b.start - a.stop <= gap for a, b in zip(fetch.parts, fetch.parts[1:], strict=False))
        assert fetch.size <= largest or len(fetch.parts) == 1


@given(spans, spans, st.integers(0, 2000))
@settings(max_examples=60, deadline=None)
def test_what_is_read_through_a_cache_is_what_the_file_holds(
    ahead: list[Span], read: list[Span], capacity: int
) -> None:
    memory = Memory()
    source = PrefetchedSource(memory, RangeCache(capacity))
    prefetch([(source, s) for s in ahead], gap=50, parallel=2)
    for span in [*ahead, *read]:
        assert source.read(span.start, span.size) == memory.data[span.start : span.stop]
        assert 0 <= source.cache.held <= capacity


def test_fetched_rows_are_not_read_again() -> None:
    memory = Memory()
    source = PrefetchedSource(memory)
    assert prefetch([(source, Span(0, 100)), (source, Span(150, 100)), (source, Span(5000, 10))], gap=64) == 2
    assert sorted(memory.reads) == [(0, 250), (5000, 10)]
    for start, size in [(0, 100), (150, 100), (5000, 10), (10, 5), (160, 90)]:
        assert source.read(start, size) == memory.data[start : start + size]
    assert len(memory.reads) == 2
    assert prefetch([(source, Span(0, 100))]) == 0
    assert source.read(90, 20) == memory.data[90:110]
    assert memory.reads[-1] == (90, 20)


def test_the_gap_between_two_rows_is_not_kept() -> None:
    source = PrefetchedSource(Memory())
    prefetch([(source, Span(0, 10)), (source, Span(1000, 10))], gap=2000)
    assert source.cache.held == 20


def test_files_share_a_cache_without_mixing() -> None:
    cache = RangeCache()
    one, two = Memory(name="a"), Memory(name="b")
    two.data = bytes(6000)
    sources = [PrefetchedSource(m, cache) for m in (one, two)]
    prefetch([(s, Span(7, 50)) for s in sources])
    assert [s.read(7, 50) for s in sources] == [one.data[7:57], bytes(50)]


def test_more_than_the_cache_holds_is_left_for_later() -> None:
    memory = Memory()
    source = PrefetchedSource(memory, RangeCache(capacity=250))
    prefetch([(source, Span(n * 1000, 100)) for n in range(5)], gap=0)
    assert sorted(memory.reads) == [(0, 100), (1000, 100)]


def test_local_sources_and_large_reads_are_not_fetched_ahead() -> None:
    memory = Memory()
    assert prefetch([(memory, Span(0, 100))]) == 0
    large = PrefetchedSource(Memory())
    assert prefetch([(large, Span(0, LARGEST + 1)), (large, Span(5990, 100)), (large, Span(3, 0))]) == 0


def test_a_range_that_cannot_be_fetched_is_an_error_at_once() -> None:
    memory = Memory()
    memory.size = 10_000
    source = PrefetchedSource(memory)
    memory.size = 6000
    source.source = type("Shrunk", (), {"name": "m", "size": 10_000, "read": lambda _, a, b: memory.read(a, b)})()
    with pytest.raises(ArtifactError, match="ends"):
        prefetch([(source, Span(9000, 10))])


def test_the_block_used_least_recently_goes_first() -> None:
    cache = RangeCache(30)
    cache.put("f", 0, b"a" * 10)
    cache.put("f", 10, b"b" * 10)
    cache.put("f", 20, b"c" * 10)
    assert cache.get("f", 0, 10)
    cache.put("f", 30, b"d" * 10)
    assert cache.get("f", 10, 10) is None
    assert (cache.get("f", 0, 10), cache.get("f", 32, 3)) == (b"a" * 10, b"ddd")
    cache.put("f", 0, b"e" * 5)
    assert cache.get("f", 0, 10) == b"a" * 10, "a shorter block does not take the place of a longer one"
    cache.put("f", 0, b"e" * 20)
    assert (cache.get("f", 0, 20), cache.held) == (b"e" * 20, 30)
    cache.put("f", 50, b"x" * 31)
    assert cache.held == 30
