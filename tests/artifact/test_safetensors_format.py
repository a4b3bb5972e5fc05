"""The bounded safetensors reader: what it refuses, and that it reads what the public library reads."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, load_file
from safetensors.numpy import save as to_bytes

from provenance_gate.artifact.inventory import list_files
from provenance_gate.artifact.ranges import ReadCounter
from provenance_gate.artifact.safetensors_format import MAX_HEADER, open_weights
from provenance_gate.artifact.sources import LocalStore
from provenance_gate.errors import (
    ArtifactError,
    ChangedFileError,
    MalformedFileError,
    PathEscapeError,
    UnsafeFormatError,
)

from .build import Array, entry, opened_file, opened_folder, raw_file, save, save_shards, values, write_index

EIGHT = b"\0" * 8
TWO = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.arange(4, dtype=np.float16)}


def refused(path: Path, error: type[ArtifactError], *words: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        opened_file(path)
    assert type(caught.value) is error
    assert str(caught.value).startswith(path.name)
    for word in words:
        assert word in str(caught.value)


def refused_folder(folder: Path, error: type[ArtifactError], *words: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        opened_folder(folder)
    assert type(caught.value) is error
    for word in words:
        assert word in str(caught.value)


# Headers


@pytest.mark.parametrize("size", range(8))
def test_a_file_too_short_for_a_length_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"\0" * size)
    refused(path, MalformedFileError, f"{size} bytes", "header")


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, MAX_HEADER + 1])
def test_a_header_longer_than_the_limit_is_refused_without_reading_it(tmp_path: Path, length: int) -> None:
    path = raw_file(tmp_path / "m.safetensors", {"a": entry()}, EIGHT, length)
    refused(path, MalformedFileError, f"header of {length} bytes")


def test_a_header_that_ends_past_the_file_is_refused(tmp_path: Path) -> None:
    path = raw_file(tmp_path / "m.safetensors", {"a": entry()}, b"", 5000)
    refused(path, MalformedFileError, "header of 5000 bytes", "cut")


@pytest.mark.parametrize(
    ("header", "word"),
    [
        (b"", "header starts with"),
        (b' {"a": 1}', "header starts with"),
        (b"[]", "header starts with"),
        (b"\xef\xbb\xbf{}", "header starts with"),
        (b'{"a\xff": 1}', "UTF-8"),
        (b"{", "not JSON"),
        (b"{}x", "not JSON"),
        (b"{}\0", "not JSON"),
        (b'{"a":' * 100_000, "nested deeper than 128"),
        (b'{"a":' + b"9" * 5000 + b"}", "5000 digits"),
        (b'{"a": NaN}', "NaN"),
    ],
)
def test_a_header_that_is_no_json_object_is_refused(tmp_path: Path, header: bytes, word: str) -> None:
    refused(raw_file(tmp_path / "m.safetensors", header), MalformedFileError, "header", word)


def test_a_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    one = json.dumps(entry()).encode()
    header = b'{"twin": ' + one + b', "twin": ' + one + b"}"
    refused(raw_file(tmp_path / "m.safetensors", header, EIGHT), MalformedFileError, "header", "'twin'", "twice")


def test_spaces_after_the_header_are_padding(tmp_path: Path) -> None:
    header = json.dumps({"a": entry()}).encode() + b" " * 11
    (tensor,) = opened_file(raw_file(tmp_path / "m.safetensors", header, EIGHT))
    assert values(tensor).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("metadata", [{"format": 1}, {"a": None}, {"a": {}}, [], "pt", 3])
def test_metadata_that_is_not_strings_is_refused(tmp_path: Path, metadata: object) -> None:
    path = raw_file(tmp_path / "m.safetensors", {"__metadata__": metadata, "a": entry()}, EIGHT)
    refused(path, MalformedFileError, "__metadata__")


def test_metadata_of_strings_is_no_tensor(tmp_path: Path) -> None:
    path = raw_file(tmp_path / "m.safetensors", {"__metadata__": {"format": "pt"}, "a": entry()}, EIGHT)
    assert [t.name for t in opened_file(path)] == ["a"]


# Entries


@pytest.mark.parametrize("dtype", ["F33", "f32", "", "F8_E4M3FN", 32, None, ["F32"], {"F32": 1}])
def test_an_unknown_dtype_is_refused(tmp_path: Path, dtype: object) -> None:
    path = raw_file(tmp_path / "m.safetensors", {"layer.w": entry(dtype)}, EIGHT)
    refused(path, MalformedFileError, "'layer.w'", "dtype")


@pytest.mark.parametrize(
    "shape", [[True, 2], [2.0], [-2], [-1, -2], ["2"], [None], 2, None, {"0": 2}, [1] * 16 + [2], [2**63]]
)
def test_a_shape_that_is_no_list_of_sizes_is_refused(tmp_path: Path, shape: object) -> None:
    path = raw_file(tmp_path / "m.safetensors", {"layer.w": entry(shape=shape)}, EIGHT)
    refused(path, MalformedFileError, "'layer.w'", "shape")


@pytest.mark.parametrize("shape", [[2**32, 2**32], [2**62, 2], [2**21, 2**21, 2**21, 2], [2**40, 2**40, 0]])
def test_a_shape_with_too_many_elements_is_refused(tmp_path: Path, shape: list[int]) -> None:
    path = raw_file(tmp_path / "m.safetensors", {"layer.w": entry(shape=shape)}, EIGHT)
    refused(path, MalformedFileError, "'layer.w'", "shape")


@pytest.mark.parametrize("shape", [[2**62, 0], [0, 2**62], [2**40, 0, 4]])
def test_an_empty_tensor_cannot_claim_rows_without_end(tmp_path: Path, shape: list[int]) -> None:
    path = raw_file(tmp_path / "m.safetensors", {"layer.w": entry(shape=shape, offsets=[0, 0])})
    refused(path, MalformedFileError, "'layer.w'", "shape")


@pytest.mark.parametrize(
    "offsets", [[0], [0, 8, 8], [0.0, 8.0], [False, 8], [-8, 0], ["0", "8"], None, 8, [0, 2**64], {"0": 0}]
)
def test_offsets_that_are_no_two_sizes_are_refused(tmp_path: Path, offsets: object) -> None:
    path = raw_file(tmp_path / "m.safetensors", {"layer.w": entry(offsets=offsets)}, EIGHT)
    refused(path, MalformedFileError, "'layer.w'", "data_offsets")


@pytest.mark.parametrize("offsets", [[8, 0], [0, 4], [0, 7], [4, 8], [0, 12]])
def test_offsets_that_do_not_fit_the_shape_are_refused(tmp_path: Path, offsets: list[int]) -> None:
    path = raw_file(tmp_path / "m.safetensors", {"layer.w": entry(offsets=offsets)}, EIGHT)
    refused(path, MalformedFileError, "'layer.w'", "data_offsets", "ask for 8")


def test_elements_that_end_within_a_byte_are_refused(tmp_path: Path) -> None:
    path = raw_file(tmp_path / "m.safetensors", {"layer.w": entry("F4", [3], [0, 2])}, b"\0\0")
    refused(path, MalformedFileError, "'layer.w'", "whole number of")


@pytest.mark.parametrize("value", [[], "x", None, 1, {}, {"dtype": "F32", "shape": [2]}, entry(extra=1)])
def test_an_entry_of_other_fields_is_refused(tmp_path: Path, value: object) -> None:
    path = raw_file(tmp_path / "m.safetensors", {"layer.w": value}, EIGHT)
    refused(path, MalformedFileError, "'layer.w'", "dtype, shape and data_offsets")


def test_a_name_that_has_no_utf8_form_is_refused(tmp_path: Path) -> None:
    header = b'{"a\\ud800": ' + json.dumps(entry()).encode() + b"}"
    refused(raw_file(tmp_path / "m.safetensors", header, EIGHT), MalformedFileError, "header", "surrogate")


def test_a_name_longer_than_the_limit_is_refused_in_one_short_line(tmp_path: Path) -> None:
    path = raw_file(tmp_path / "m.safetensors", {"n" * 1025: entry()}, EIGHT)
    refused(path, MalformedFileError, "1025 characters")


def test_a_hostile_name_is_printed_on_one_harmless_line(tmp_path: Path) -> None:
    path = raw_file(tmp_path / "m.safetensors", {"a\n\x1b[2J\u202e": entry("F33")}, EIGHT)
    with pytest.raises(MalformedFileError) as caught:
        opened_file(path)
    assert str(caught.value).isprintable()


# Spans


def test_tensors_that_overlap_are_refused(tmp_path: Path) -> None:
    path = raw_file(tmp_path / "m.safetensors", {"a": entry(), "b": entry(offsets=[4, 12])}, b"\0" * 12)
    refused(path, MalformedFileError, "'b'", "data_offsets", "overlaps")


def test_two_names_for_the_same_bytes_are_refused(tmp_path: Path) -> None:
    path = raw_file(tmp_path / "m.safetensors", {"a": entry(), "b": entry()}, EIGHT)
    refused(path, MalformedFileError, "'b'", "overlaps")


@pytest.mark.parametrize("offsets", [[4, 12], [12, 20]])
def test_a_hole_before_a_tensor_is_refused(tmp_path: Path, offsets: list[int]) -> None:
    path = raw_file(tmp_path / "m.safetensors", {"b": entry(offsets=offsets)}, b"\0" * offsets[1])
    refused(path, MalformedFileError, "'b'", "data_offsets", f"a hole of {offsets[0]} bytes")


def test_bytes_after_the_last_tensor_are_refused(tmp_path: Path) -> None:
    path = raw_file(tmp_path / "m.safetensors", {"a": entry()}, EIGHT + b"hidden")
    refused(path, MalformedFileError, "6 bytes too many")


def test_a_file_without_tensors_has_no_tensors(tmp_path: Path) -> None:
    assert opened_file(raw_file(tmp_path / "m.safetensors", {})) == ()


@pytest.mark.parametrize("lost", [1, 8, 25])
def test_a_cut_file_is_refused(tmp_path: Path, lost: int) -> None:
    path = save(tmp_path / "m.safetensors", TWO)
    path.write_bytes(path.read_bytes()[:-lost])
    refused(path, MalformedFileError, f"{lost} bytes missing", "cut")


def test_a_file_cut_after_it_was_opened_is_noticed(tmp_path: Path) -> None:
    path = save(tmp_path / "m.safetensors", TWO)
    tensor = opened_file(path)[0]
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ChangedFileError, match=r"m\.safetensors: changed"):
        values(tensor)


# What is read


def test_a_scalar_and_empty_tensors_are_read(tmp_path: Path) -> None:
    tensors = {"scalar": np.float32(7).reshape(()), "empty": np.zeros((0, 3), np.float32), "z": np.ones(2, np.float32)}
    found = {t.name: t for t in opened_file(save(tmp_path / "m.safetensors", tensors))}
    assert [found[n].size for n in ("scalar", "empty", "z")] == [1, 0, 2]
    for name, array in tensors.items():
        assert found[name].shape == array.shape
        np.testing.assert_array_equal(values(found[name]), array)


def test_tensors_come_in_the_order_of_their_offsets(tmp_path: Path) -> None:
    header = {"first": entry(offsets=[8, 16]), "second": entry(offsets=[0, 8])}
    assert [t.name for t in opened_file(raw_file(tmp_path / "m.safetensors", header, EIGHT * 2))] == ["second", "first"]


@pytest.mark.parametrize(("start", "count"), [(-1, 1), (0, 7), (6, 1), (3, -1), (7, 0)])
def test_a_range_outside_of_the_tensor_is_an_index_error(tmp_path: Path, start: int, count: int) -> None:
    tensor = next(t for t in opened_file(save(tmp_path / "m.safetensors", TWO)) if t.name == "a")
    with pytest.raises(IndexError):
        tensor.reader.read(start, count)


def test_a_range_reads_only_its_own_bytes(tmp_path: Path) -> None:
    save(tmp_path / "model.safetensors", {"w": np.arange(100_000, dtype=np.float32)})
    counter = ReadCounter()
    ((tensor,), _) = open_weights(LocalStore(tmp_path, counter), list_files(tmp_path))
    before = counter.bytes_read
    assert tensor.reader.read(50_000, 3).tolist() == [50_000.0, 50_001.0, 50_002.0]
    assert counter.bytes_read - before == 12
    assert before < 1000


def test_values_without_a_meaning_as_numbers_are_an_error_that_names_the_tensor(tmp_path: Path) -> None:
    (tensor,) = opened_file(raw_file(tmp_path / "m.safetensors", {"layer.w": entry("F4", [4], [0, 2])}, b"\0\0"))
    with pytest.raises(ArtifactError, match=r"'layer\.w'.*F4"):
        tensor.reader.read(0, 2)
    with pytest.raises(ArtifactError, match=r"m\.safetensors.*'layer\.w'.*start on a byte"):
        tensor.reader.read(1, 2)


NAMES = st.text(st.sampled_from("abw._é字"), min_size=1, max_size=8)
DTYPES = st.sampled_from([np.float32, np.float16, np.float64, np.int64, np.int8, np.uint8, np.uint16])


@st.composite
def models(draw: st.DrawFn) -> dict[str, Array]:
    tensors = {}
    for name in draw(st.lists(NAMES, min_size=1, max_size=4, unique=True)):
        shape = tuple(draw(st.lists(st.integers(0, 4), max_size=3)))
        dtype = np.dtype(draw(DTYPES))
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        tensors[name] = np.frombuffer(draw(st.binary(min_size=size, max_size=size)), dtype).reshape(shape)
    return tensors


def as_float32(array: Array) -> Array:
    with np.errstate(all="ignore"):
        return array.astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(models(), st.data())
def test_any_range_is_the_same_slice_of_the_whole(tensors: dict[str, Array], data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        path = save(Path(folder) / "m.safetensors", tensors)
        whole = load_file(path)
        found = opened_file(path)
        assert {t.name for t in found} == whole.keys()
        for tensor in found:
            start = data.draw(st.integers(0, tensor.size))
            stop = data.draw(st.integers(start, tensor.size))
            expected = as_float32(whole[tensor.name]).reshape(-1)[start:stop]
            read = tensor.reader.read(start, stop - start)
            assert read.dtype == np.float32
            np.testing.assert_array_equal(read, expected)


VALID = to_bytes({**TWO, "head": np.arange(3, dtype=np.int64)}, metadata={"format": "pt"})


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), min_size=1, max_size=3),
    st.sampled_from([0, 0, 0, -1, -8, 1, 8]),
)
def test_a_damaged_file_is_refused_or_read_as_the_library_reads_it(changes: list[tuple[int, int]], grow: int) -> None:
    data = bytearray(VALID)
    for place, value in changes:
        data[place] = value
    damaged = bytes(data[:grow]) if grow < 0 else bytes(data) + b"\0" * grow
    with TemporaryDirectory() as folder:
        path = Path(folder) / "m.safetensors"
        path.write_bytes(damaged)
        try:
            found = {t.name: values(t) for t in opened_file(path)}
        except ArtifactError as error:
            assert str(error).isprintable()
            return
        # Nothing that the library refuses gets here.
        expected = load(damaged)
        assert found.keys() == expected.keys()
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], as_float32(array))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "m.safetensors"
        path.write_bytes(data)
        try:
            assert opened_file(path) == ()
        except ArtifactError as error:
            assert type(error) is MalformedFileError


# Shards and their index


def halves() -> list[dict[str, Array]]:
    return [{"a": np.arange(6, dtype=np.float32)}, {"b": np.arange(3, dtype=np.float32)}]


SECOND = "model-00002-of-00002.safetensors"
FIRST = "model-00001-of-00002.safetensors"


def test_shards_are_read_as_one_model_sorted_by_name(tmp_path: Path) -> None:
    found = opened_folder(save_shards(tmp_path, list(reversed(halves()))))
    assert [(t.name, str(t.path)) for t in found] == [("a", SECOND), ("b", FIRST)]


def test_shards_without_an_index_are_all_read(tmp_path: Path) -> None:
    save_shards(tmp_path, halves())
    (tmp_path / "model.safetensors.index.json").unlink()
    assert [t.name for t in opened_folder(tmp_path)] == ["a", "b"]


@pytest.mark.parametrize(
    "shard",
    ["../x.safetensors", "/etc/passwd", "/", "..", ".", "", "sub/x.safetensors", "..\\x.safetensors", "C:\\x", "a\0b"],
)
def test_a_shard_outside_of_the_folder_is_an_escape(tmp_path: Path, shard: str) -> None:
    save(tmp_path / "x.safetensors", {"b": np.zeros(1, np.float32)})
    folder = save_shards(tmp_path / "model", halves(), {"a": FIRST, "b": shard})
    refused_folder(folder, PathEscapeError, "model.safetensors.index.json", "weight_map")


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    save_shards(tmp_path, halves())
    (tmp_path / SECOND).unlink()
    refused_folder(tmp_path, ArtifactError, "model.safetensors.index.json", SECOND, "missing")


def test_a_shard_that_is_a_pickle_is_not_read(tmp_path: Path) -> None:
    save_shards(tmp_path, halves())
    (tmp_path / SECOND).write_bytes(b"\x80\x02}q\x00.")
    refused_folder(tmp_path, ArtifactError, SECOND, "not a safetensors file")


def test_a_truncated_shard_is_refused(tmp_path: Path) -> None:
    save_shards(tmp_path, halves())
    (tmp_path / SECOND).write_bytes((tmp_path / SECOND).read_bytes()[:-4])
    refused_folder(tmp_path, MalformedFileError, SECOND, "4 bytes missing")


def test_a_tensor_that_lies_in_another_shard_than_the_index_says_is_refused(tmp_path: Path) -> None:
    folder = save_shards(tmp_path, halves(), {"a": SECOND, "b": FIRST})
    refused_folder(folder, MalformedFileError, "model.safetensors.index.json", "'a'", FIRST, SECOND)


def test_a_tensor_of_the_index_that_no_shard_has_is_refused(tmp_path: Path) -> None:
    folder = save_shards(tmp_path, halves(), {"a": FIRST, "b": SECOND, "ghost": SECOND})
    refused_folder(folder, MalformedFileError, "model.safetensors.index.json", "'ghost'", SECOND)


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    folder = save_shards(tmp_path, [{"a": np.zeros(1, np.float32)}, {"a": np.ones(1, np.float32), **halves()[1]}])
    write_index(folder, {"a": FIRST, "b": SECOND})
    refused_folder(folder, MalformedFileError, "'a'", FIRST, SECOND)


@pytest.mark.parametrize(
    ("weight_map", "kind"),
    [([FIRST], "a list"), ({}, "an object"), (None, "null"), ("x", "a string"), (1, "an integer")],
)
def test_a_weight_map_that_is_no_object_is_refused(tmp_path: Path, weight_map: object, kind: str) -> None:
    save_shards(tmp_path, halves())
    write_index(tmp_path, weight_map)
    refused_folder(tmp_path, MalformedFileError, "model.safetensors.index.json", "weight_map", kind)


@pytest.mark.parametrize("shard", [None, 1, [FIRST], {"file": FIRST}])
def test_a_shard_name_that_is_no_string_is_refused(tmp_path: Path, shard: object) -> None:
    folder = save_shards(tmp_path, halves(), {"a": FIRST, "b": shard})
    refused_folder(folder, MalformedFileError, "model.safetensors.index.json", "'b'", "file name")


@pytest.mark.parametrize("text", ["[]", "{", "{}", '{"weight_map": {"a": "x", "a": "y"}}'])
def test_an_index_that_is_no_index_is_refused(tmp_path: Path, text: str) -> None:
    save_shards(tmp_path, halves())
    (tmp_path / "model.safetensors.index.json").write_text(text)
    refused_folder(tmp_path, MalformedFileError, "model.safetensors.index.json")


def test_a_git_lfs_pointer_is_no_weights(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_text(
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 12\n"
    )
    refused_folder(tmp_path, ArtifactError, "model.safetensors", "Git LFS pointer", "git lfs pull")


@pytest.mark.parametrize(
    "other", ["consolidated.safetensors", "consolidated-00001-of-00001.safetensors", "z.safetensors"]
)
def test_a_second_set_of_files_is_passed_over_with_a_note(tmp_path: Path, other: str) -> None:
    save(tmp_path / "model.safetensors", {"a": np.zeros(1, np.float32)})
    save(tmp_path / other, {"b": np.zeros(1, np.float32)})
    tensors, notes = open_weights(LocalStore(tmp_path), list_files(tmp_path))
    assert [t.name for t in tensors] == ["a"]
    assert len(notes) == 1
    assert other in notes[0]


def test_shards_beside_the_consolidated_layout_are_read_alone(tmp_path: Path) -> None:
    save_shards(tmp_path, halves())
    save(tmp_path / "consolidated.safetensors", {"c": np.zeros(1, np.float32)})
    tensors, notes = open_weights(LocalStore(tmp_path), list_files(tmp_path))
    assert [t.name for t in tensors] == ["a", "b"]
    assert "consolidated.safetensors" in notes[0]


def test_the_consolidated_layout_alone_is_the_model(tmp_path: Path) -> None:
    save(tmp_path / "consolidated.safetensors", {"c": np.zeros(1, np.float32)})
    assert [t.name for t in opened_folder(tmp_path)] == ["c"]


def test_weights_in_a_subfolder_are_not_the_model(tmp_path: Path) -> None:
    save(tmp_path / "model.safetensors", {"a": np.zeros(1, np.float32)})
    save(tmp_path / "unet" / "model.safetensors", {"b": np.zeros(1, np.float32)})
    assert [t.name for t in opened_folder(tmp_path)] == ["a"]


def test_a_missing_shard_is_noticed_without_an_index(tmp_path: Path) -> None:
    save_shards(tmp_path, halves())
    (tmp_path / "model.safetensors.index.json").unlink()
    (tmp_path / FIRST).unlink()
    refused_folder(tmp_path, ArtifactError, FIRST, "missing", SECOND)


def test_an_index_that_names_other_weights_than_the_file_beside_it_is_refused(tmp_path: Path) -> None:
    # One loader would take the single file, another the shards.
    save_shards(tmp_path, halves())
    save(tmp_path / "model.safetensors", {"a": np.ones(1, np.float32)})
    refused_folder(tmp_path, ArtifactError, "model.safetensors.index.json", "model.safetensors beside it")


def test_an_index_of_the_single_file_is_fine(tmp_path: Path) -> None:
    save(tmp_path / "model.safetensors", {"a": np.ones(1, np.float32)})
    write_index(tmp_path, {"a": "model.safetensors"})
    assert [t.name for t in opened_folder(tmp_path)] == ["a"]


@pytest.mark.parametrize("content", [b"\x80\x02}q\x00.", b"PK\x03\x04" + b"archive/data.pkl", b"GGUF\3\0\0\0"])
def test_weights_that_only_call_themselves_safetensors_are_unsafe(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    refused_folder(tmp_path, UnsafeFormatError, "model.safetensors")


def test_an_index_of_another_name_does_not_decide(tmp_path: Path) -> None:
    save(tmp_path / "model.safetensors", {"a": np.ones(1, np.float32)})
    write_index(tmp_path, {"a": "gone.safetensors"}, "unet.safetensors.index.json")
    assert [t.name for t in opened_folder(tmp_path)] == ["a"]
