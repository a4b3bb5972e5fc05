"""Partial reads equal slices of the whole, and touch no more of the file than they need."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from provenance_gate.artifact.gguf.readers import BlockReader, RotaryOrderReader, ShiftedReader
from provenance_gate.artifact.gguf.types import TYPES
from provenance_gate.errors import ArtifactError

from .build import Bytes, permuted

KINDS = {kind.name: kind for kind in TYPES.values()}


class Kept:
    """A `TensorReader` over an array that remembers what was asked of it."""

    def __init__(self, values: NDArray[np.float32]) -> None:
        self.values = values.reshape(-1)
        self.reads: list[tuple[int, int]] = []

    def read(self, start: int, count: int) -> NDArray[np.float32]:
        assert 0 <= start <= start + count <= len(self.values)
        self.reads.append((start, count))
        return self.values[start : start + count]


def block_reader(name: str, blocks: int, front: int = 96) -> tuple[BlockReader, Bytes]:
    kind = KINDS[name]
    source = Bytes(bytes(front) + np.random.default_rng(3).bytes(blocks * kind.size))
    return BlockReader(source, "t", kind, name, front, blocks * kind.block), source


@pytest.mark.parametrize("name", ["F32", "BF16", "Q4_0", "Q8_0", "MXFP4", "Q3_K", "Q6_K", "IQ4_XS"])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_part_is_a_slice_of_the_whole(name: str, data: st.DataObject) -> None:
    reader, source = block_reader(name, 5)
    whole = reader.read(0, reader.count)
    start = data.draw(st.integers(0, reader.count))
    count = data.draw(st.integers(0, reader.count - start))
    source.reads.clear()
    np.testing.assert_array_equal(reader.read(start, count), whole[start : start + count])
    kind = KINDS[name]
    touched = -(-(start + count) // kind.block) - start // kind.block
    assert sum(size for _, size in source.reads) <= touched * kind.size


@pytest.mark.parametrize("name", ["F16", "Q4_K", "IQ4_NL"])
def test_reading_in_chunks_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, source = block_reader(name, 9)
    whole = reader.read(0, reader.count)
    monkeypatch.setattr("provenance_gate.artifact.gguf.readers._CHUNK", KINDS[name].block * 2)
    source.reads.clear()
    np.testing.assert_array_equal(reader.read(0, reader.count), whole)
    assert len(source.reads) == 5
    np.testing.assert_array_equal(reader.read(1, reader.count - 2), whole[1:-1])


@pytest.mark.parametrize(("start", "count"), [(-1, 1), (0, -1), (0, 161), (160, 1), (161, 0)])
def test_elements_outside_are_refused(start: int, count: int) -> None:
    reader, _ = block_reader("Q4_0", 5)
    for each in (reader, RotaryOrderReader(reader, 160, 32, 1), RotaryOrderReader(reader, 160, 1, 2)):
        with pytest.raises(IndexError):
            each.read(start, count)


def test_types_that_are_not_decoded_are_refused_with_file_and_tensor() -> None:
    reader, _ = block_reader("Q8_K", 2)
    with pytest.raises(ArtifactError, match=r"m\.gguf: tensor 't': values of type Q8_K"):
        reader.read(0, 1)


def test_reading_takes_little_more_memory_than_the_values() -> None:
    reader, source = block_reader("Q4_K", 1 << 15)
    tracemalloc.start()
    values = reader.read(0, reader.count)
    assert tracemalloc.get_traced_memory()[1] < values.nbytes + 30e6
    tracemalloc.stop()
    assert values.nbytes == 32 << 20
    assert len(source.reads) == 8


@pytest.mark.parametrize(
    ("heads", "half", "columns"), [(1, 1, 1), (2, 3, 4), (3, 4, 1), (4, 1, 5), (1, 8, 2), (5, 2, 3)]
)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_rows_come_back_in_the_original_order(heads: int, half: int, columns: int, data: st.DataObject) -> None:
    rows = heads * 2 * half
    original = np.arange(rows * columns, dtype=np.float32).reshape(rows, columns)
    stored = Kept(permuted(original, heads))
    reader = RotaryOrderReader(stored, rows * columns, columns, half)
    start = data.draw(st.integers(0, rows * columns))
    count = data.draw(st.integers(0, rows * columns - start))
    np.testing.assert_array_equal(reader.read(start, count), original.reshape(-1)[start : start + count])
    assert sum(n for _, n in stored.reads) <= 2 * count


def test_one_row_costs_one_row_and_a_head_one_read() -> None:
    original = np.arange(4 * 16 * 8, dtype=np.float32).reshape(64, 8)
    stored = Kept(permuted(original, 4))
    reader = RotaryOrderReader(stored, original.size, 8, 8)
    reader.read(5 * 8, 8)
    assert stored.reads == [(2 * 5 * 8, 8)]
    stored.reads.clear()
    reader.read(16 * 8, 16 * 8)
    assert stored.reads == [(16 * 8, 16 * 8)]
    stored.reads.clear()
    reader.read(0, original.size)
    assert stored.reads == [(head * 16 * 8, 16 * 8) for head in range(4)]


def test_large_heads_are_read_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    original = np.arange(32 * 8, dtype=np.float32).reshape(32, 8)
    stored = Kept(permuted(original, 1))
    monkeypatch.setattr("provenance_gate.artifact.gguf.readers._CHUNK", 64)
    reader = RotaryOrderReader(stored, original.size, 8, 16)
    for low, high in ((0, 32), (3, 29), (0, 16), (16, 32), (15, 17)):
        stored.reads.clear()
        np.testing.assert_array_equal(reader.read(low * 8, (high - low) * 8).reshape(-1, 8), original[low:high])
        assert max(n for _, n in stored.reads) <= 64


def test_a_shift_is_taken_off() -> None:
    gains = np.array([0.0, -1.0, 0.25, 1e-3], dtype=np.float32)
    reader = ShiftedReader(Kept(gains + np.float32(1)), 1.0)
    np.testing.assert_allclose(reader.read(0, 4), gains, atol=2.0**-24)
    assert reader.read(1, 2).tolist() == [-1.0, 0.25]
