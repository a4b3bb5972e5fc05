"""From a checkpoint to tensors: values, views, partial reads, and which of the saved values is the model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenance_gate.artifact.torchfile.open import MAX_SHARING, open_torch
from provenance_gate.artifact.torchfile.views import RowMajorReader
from provenance_gate.errors import ArtifactError, MalformedFileError

from .build import (
    NONE,
    SIX,
    Memory,
    by_name,
    listed,
    mapping,
    members,
    modern,
    name,
    number,
    opened,
    ordered,
    program,
    storage,
    tensor,
    text,
    values,
    zipped,
)
from .vectors import LAYOUTS, LISTED, READABLE, WRAPPED


def refused(data: bytes, error: type[ArtifactError], *words: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        opened(data)
    assert type(caught.value) is error, caught.value
    for word in ("m.bin", *words):
        assert word in str(caught.value)


@pytest.mark.parametrize("data", LAYOUTS.values(), ids=LAYOUTS)
def test_files_of_torch_are_read_as_torch_reads_them(data: bytes) -> None:
    found = by_name(data)
    assert sorted(found) == sorted([*READABLE, *LISTED]) == [t.name for t in opened(data).tensors]
    for key, (dtype, shape, expected) in READABLE.items():
        assert (found[key].dtype, found[key].shape) == (dtype, shape)
        got = found[key].reader.read(0, found[key].size)
        assert got.dtype == np.float32
        assert got.tolist() == np.array(expected, np.float32).tolist()
    for key, (dtype, shape, nbytes, word) in LISTED.items():
        assert (found[key].dtype, found[key].shape, found[key].nbytes) == (dtype, shape, nbytes)
        with pytest.raises(ArtifactError, match=r"^m\.bin: tensor") as caught:
            found[key].reader.read(0, 1)
        assert word in str(caught.value)


def test_a_trainers_checkpoint_is_read_by_its_model_key() -> None:
    result = opened(WRAPPED)
    assert [(t.name, t.dtype, t.shape) for t in result.tensors] == [("a.weight", "F16", (2, 2))]
    assert values(result.tensors[0]).tolist() == [[1, 1], [1, 1]]
    (note,) = result.notes
    assert "under 'model'" in note


# Views

BIG = np.arange(24, dtype=np.float32)


def view(shape: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> bytes:
    return modern(mapping({"w": tensor(storage("0", 24), shape, stride, offset)}), {"0": BIG.tobytes()})


@pytest.mark.parametrize(
    ("shape", "stride", "offset"),
    [
        ((24,), (1,), 0),
        ((4,), (1,), 20),
        ((4, 6), (6, 1), 0),
        ((2, 3, 4), (12, 4, 1), 0),
        ((2, 3), (3, 1), 5),
        ((1, 6), (99, 1), 0),
        ((6, 1), (1, 99), 0),
        ((1, 1), (7, 9), 23),
        ((), (), 23),
        ((6, 4), (1, 6), 0),
        ((2, 3), (1, 2), 18),
        ((1, 4), (1, 1), 3),
    ],
)
def test_row_major_and_transposed_views_are_read(shape: tuple[int, ...], stride: tuple[int, ...], offset: int) -> None:
    (found,) = opened(view(shape, stride, offset)).tensors
    steps = tuple(4 * s for s in stride)
    expected = np.lib.stride_tricks.as_strided(BIG[offset:], shape, steps)
    assert values(found).tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("shape", "stride"),
    [
        ((4, 3), (6, 1)),
        ((12,), (2,)),
        ((2, 3, 4), (4, 8, 1)),
        ((3, 4), (0, 1)),
        ((2, 2, 2), (1, 2, 4)),
        ((3, 2), (1, 4)),
    ],
)
def test_other_views_are_listed_and_not_read(shape: tuple[int, ...], stride: tuple[int, ...]) -> None:
    (found,) = opened(view(shape, stride)).tensors
    assert found.shape == shape
    with pytest.raises(ArtifactError, match="cut-out or expanded"):
        found.reader.read(0, 0)


@pytest.mark.parametrize(
    ("shape", "stride", "offset"),
    [
        ((25,), (1,), 0),
        ((24,), (1,), 1),
        ((1,), (1,), 24),
        ((), (), 24),
        ((4, 6), (7, 1), 0),
        ((2,), (24,), 0),
        ((5, 5), (0, 1), 0),
        ((2**62,), (0,), 0),
        ((2**31, 2**31), (0, 0), 0),
        ((2, 2), (2**62, 2**62), 2**62),
    ],
)
def test_a_view_that_leaves_its_storage_is_refused(
    shape: tuple[int, ...], stride: tuple[int, ...], offset: int
) -> None:
    refused(view(shape, stride, offset), MalformedFileError, "tensor 'w'", "of a storage of 24")


def test_an_empty_tensor_needs_no_bytes_and_claims_no_rows() -> None:
    (found,) = opened(view((0, 4), (4, 1), 24)).tensors
    assert found.reader.read(0, 0).shape == (0,)
    refused(view((2**40, 0), (1, 1)), MalformedFileError, "empty tensor")


@pytest.mark.parametrize("stride", [(6, 1), (1, 4)])
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_part_is_the_slice_of_the_whole(stride: tuple[int, ...], data: st.DataObject) -> None:
    (found,) = opened(view((4, 6), stride)).tensors
    whole = found.reader.read(0, 24)
    start = data.draw(st.integers(0, 24))
    count = data.draw(st.integers(0, 24 - start))
    assert found.reader.read(start, count).tolist() == whole[start : start + count].tolist()


@pytest.mark.parametrize("span", [(-1, 1), (0, 25), (24, 1), (3, -1)])
@pytest.mark.parametrize("stride", [(6, 1), (1, 4)])
def test_elements_outside_are_an_index_error(stride: tuple[int, ...], span: tuple[int, int]) -> None:
    (found,) = opened(view((4, 6), stride)).tensors
    with pytest.raises(IndexError):
        found.reader.read(*span)


def _source(
    rows: int, columns: int, stride: tuple[int, ...]
) -> tuple[Memory, np.ndarray[tuple[int], np.dtype[np.float16]]]:
    numbers = (np.arange(rows * columns) % 2000).astype(np.float16)
    stored = tensor(storage("0", rows * columns, "HalfStorage"), (rows, columns), stride)
    return Memory(modern(mapping({"w": stored}), {"0": numbers.tobytes()})), numbers


def test_a_part_of_a_row_major_tensor_reads_no_more_bytes() -> None:
    source, numbers = _source(300, 70, (70, 1))
    (found,) = open_torch(source, PurePosixPath("m.bin"))
    source.reads.clear()
    assert found.reader.read(140, 70).tolist() == numbers[140:210].tolist()
    assert [size for _, size in source.reads] == [140]


def test_the_bytes_of_a_row_major_tensor_can_be_had() -> None:
    (found,) = opened(view((4, 6), (6, 1))).tensors
    assert isinstance(found.reader, RowMajorReader)
    assert found.reader.raw(5, 3) == BIG[5:8].tobytes()
    with pytest.raises(IndexError):
        found.reader.raw(20, 5)


def test_a_part_of_a_tall_transposed_tensor_steps_over_the_rest() -> None:
    source, numbers = _source(100_000, 5, (1, 100_000))
    (found,) = open_torch(source, PurePosixPath("m.bin"))
    source.reads.clear()
    assert found.reader.read(12, 8).tolist() == numbers.reshape(5, 100_000).T.reshape(-1)[12:20].tolist()
    assert sum(size for _, size in source.reads) == 5 * 2 * 2


def test_a_wide_transposed_tensor_is_read_in_blocks() -> None:
    source, numbers = _source(1000, 3000, (1, 1000))
    (found,) = open_torch(source, PurePosixPath("m.bin"))
    source.reads.clear()
    expected = numbers.reshape(3000, 1000).T.astype(np.float32)
    np.testing.assert_array_equal(values(found), expected)
    assert max(size for _, size in source.reads) <= 4 << 20
    np.testing.assert_array_equal(found.reader.read(7 * 3000 + 5, 6000), expected.reshape(-1)[21_005:27_005])


# Which value is the model


def holding(items: Mapping[str, bytes]) -> bytes:
    return modern(mapping(items))


def test_tied_tensors_are_listed_under_each_name() -> None:
    found = opened(holding({"b": tensor(), "a": tensor()})).tensors
    assert [t.name for t in found] == ["a", "b"]
    assert [t.nbytes for t in found] == [24, 24]


def test_values_that_are_no_tensors_are_left_out() -> None:
    data = holding(
        {"w": tensor(), "epoch": number(3), "note": text("x"), "none": NONE, "args": mapping({"lr": number(1)})}
    )
    result = opened(data)
    assert [t.name for t in result.tensors] == ["w"]
    assert result.notes == ()


@pytest.mark.parametrize("key", ["state_dict", "model", "module", "model_state_dict"])
def test_one_level_of_nesting_is_opened_with_a_note(key: str) -> None:
    result = opened(holding({key: ordered({"w": tensor()}), "optimizer": mapping({"m": tensor()})}))
    assert [t.name for t in result.tensors] == ["w"]
    assert key in result.notes[0]


def test_a_step_counter_beside_a_nested_model_is_no_model() -> None:
    data = holding({"model": mapping({"w": tensor()}), "step": tensor(shape=(), stride=())})
    assert [t.name for t in opened(data).tensors] == ["w"]


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ({"model": mapping({"w": tensor()}), "state_dict": mapping({"w": tensor()})}, ("'state_dict'", "'model'")),
        ({"model": mapping({"w": tensor()}), "v": tensor()}, ("at the top and under 'model'",)),
    ],
)
def test_two_models_in_one_file_are_not_guessed_between(items: Mapping[str, bytes], words: tuple[str, ...]) -> None:
    refused(holding(items), ArtifactError, "not clear", *words)


def test_tensors_in_other_places_are_noted() -> None:
    (note,) = opened(holding({"w": tensor(), "ema": mapping({"w": tensor()})})).notes
    assert "'ema'" in note


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (tensor(), "one tensor"),
        (listed(tensor()), "a list"),
        (NONE, "no dict"),
        (text("x"), "no dict"),
        (mapping({}), "without tensors"),
        (mapping({"w": number(1)}), "without tensors"),
        (mapping({"net": mapping({"w": tensor()})}), "without tensors"),
    ],
)
def test_a_file_without_a_state_dict_is_refused(value: bytes, word: str) -> None:
    refused(modern(value), ArtifactError, word)


def test_a_name_without_end_is_refused() -> None:
    refused(holding({"x" * 1025: tensor()}), MalformedFileError, "name of 1025 characters")


def test_a_hostile_name_is_shown_on_one_line() -> None:
    data = holding({"w\x1b[2J\n\u202e": tensor(storage(), (7,), (1,))})
    with pytest.raises(MalformedFileError) as caught:
        opened(data)
    assert str(caught.value).isprintable()


def test_one_storage_under_names_without_end_is_refused() -> None:
    raw = bytes(400_000)
    one = tensor(storage("0", 100_000), (100_000,), (1,))
    for count in (2, MAX_SHARING * 2):
        data = zipped(members(program(mapping({str(n): one for n in range(count)})), {"0": raw}))
        if count == 2:
            assert len(opened(data).tensors) == 2
        else:
            refused(data, MalformedFileError, "shared more than 64 times")


@pytest.mark.parametrize(
    ("kind", "dtype", "numbers"),
    [
        ("DoubleStorage", "F64", np.array([1.5, -2], "<f8")),
        ("FloatStorage", "F32", np.array([1e-45, 3e38, -0.0], "<f4")),
        ("HalfStorage", "F16", np.array([6e-8, 65504], "<f2")),
        ("LongStorage", "I64", np.array([-(2**40), 3], "<i8")),
        ("IntStorage", "I32", np.array([-(2**20), 3], "<i4")),
        ("ShortStorage", "I16", np.array([-300, 3], "<i2")),
        ("CharStorage", "I8", np.array([-128, 127], "i1")),
        ("ByteStorage", "U8", np.array([0, 255], "u1")),
        ("BoolStorage", "BOOL", np.array([0, 1], "u1")),
    ],
)
def test_every_storage_class_has_its_number_format(kind: str, dtype: str, numbers: np.ndarray) -> None:
    count = len(numbers)
    (found,) = opened(
        modern(mapping({"w": tensor(storage("0", count, kind), (count,), (1,))}), {"0": numbers.tobytes()})
    ).tensors
    assert (found.dtype, found.nbytes) == (dtype, numbers.nbytes)
    assert values(found).tolist() == numbers.astype(np.float32).tolist()


def test_a_dtype_on_untyped_bytes_is_read() -> None:
    stored = tensor(
        storage("0", 24, "UntypedStorage"), (12,), (1,), 0, name("torch", "uint16"), function="_rebuild_tensor_v3"
    )
    (found,) = opened(modern(mapping({"w": stored}))).tensors
    assert (found.dtype, found.nbytes) == ("U16", 24)
    assert values(found).tolist() == np.frombuffer(SIX, "<u2").tolist()
