"""The bounded reader of GGUF headers: what it refuses, and that nothing a stranger writes takes it far."""

from __future__ import annotations

import struct
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenance_gate.artifact.gguf import cursor
from provenance_gate.artifact.gguf.header import NotKept, read_header
from provenance_gate.artifact.gguf.strings import Strings
from provenance_gate.artifact.ranges import RangeSource
from provenance_gate.errors import ArtifactError, MalformedFileError

from .build import ARRAY, STRING, Bytes, Typed, entry, gguf, head, info, opened, pad, permuted, text, values

F32, Q4_0, Q4_K = 0, 2, 12
DATA = bytes(32)


def refused(data: bytes, *words: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        opened(data)
    assert type(caught.value) is MalformedFileError
    assert str(caught.value).startswith("m.gguf: ")
    for word in words:
        assert word in str(caught.value)


def with_entry(data: bytes) -> bytes:
    return head(data, values=1)


def with_info(data: bytes, after: bytes = DATA) -> bytes:
    return pad(head(b"", data, tensors=1)) + after


def raw_entry(kind: int, data: bytes, key: str = "some.key") -> bytes:
    return text(key) + struct.pack("<I", kind) + data


# Magic, version, counts


@pytest.mark.parametrize("data", [b"", b"G", b"GGU", b"GGML" + bytes(20), b"gguf" + bytes(20), b"FUGG" + bytes(20)])
def test_other_first_bytes_are_refused(data: bytes) -> None:
    refused(data, "magic", "GGUF")


@pytest.mark.parametrize("version", [0, 1, 4, 2**31 + 7])
def test_other_versions_are_refused(version: int) -> None:
    refused(head(version=version), "version", str(version), "expected 2 or 3")


def test_big_endian_files_are_refused_as_such() -> None:
    refused(b"GGUF" + struct.pack(">IQQ", 3, 1, 1), "version", "big endian")


@pytest.mark.parametrize("size", range(4, 24))
def test_a_file_that_ends_within_its_counts_is_refused(size: int) -> None:
    refused(head()[:size], "is it cut?")


@pytest.mark.parametrize("count", [65_537, 2**32, 2**63, 2**64 - 1])
def test_too_many_tensors_are_refused_at_once(count: int) -> None:
    refused(head(tensors=count), "tensor count", str(count))


@pytest.mark.parametrize("count", [16_385, 2**32, 2**64 - 1])
def test_too_many_entries_are_refused_at_once(count: int) -> None:
    refused(head(values=count), "metadata count", str(count))


def test_counts_without_content_are_refused() -> None:
    refused(head(values=3), "metadata key", "cut")
    refused(head(tensors=3), "tensor name", "cut")


@pytest.mark.parametrize("version", [2, 3])
def test_both_versions_are_read(version: int) -> None:
    (tensor,) = opened(gguf({"a": np.arange(3, dtype="f4")}, version=version)).tensors
    assert values(tensor).tolist() == [0.0, 1.0, 2.0]


def test_a_file_of_metadata_alone_is_read() -> None:
    assert opened(gguf(None, {"a": 1})).tensors == ()


# Metadata


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (struct.pack("<Q", 2**64 - 1) + b"x", ("metadata key", str(2**64 - 1))),
        (struct.pack("<Q", 1025) + b"x" * 1025, ("metadata key", "1025")),
        (struct.pack("<Q", 900) + b"x", ("metadata key", "cut")),
        (text(b"\xff\xfe") + struct.pack("<II", 4, 0), ("metadata key", "UTF-8")),
        (raw_entry(13, b""), ("some.key", "type 13")),
        (raw_entry(2**32 - 1, b""), ("some.key", "type 4294967295")),
        (raw_entry(4, b"\0"), ("some.key", "cut")),
        (raw_entry(12, bytes(7)), ("some.key",)),
        (raw_entry(STRING, struct.pack("<Q", 2**63)), ("some.key", "cut")),
        (raw_entry(STRING, struct.pack("<Q", 2**64 - 1)), ("some.key", "cut")),
        (raw_entry(STRING, struct.pack("<Q", 70_000) + b"x"), ("some.key", "cut")),
        (raw_entry(STRING, text(b"\xc3\x28")), ("some.key", "UTF-8")),
        (raw_entry(ARRAY, struct.pack("<IQ", 4, 2**62)), ("some.key", "cut")),
        (raw_entry(ARRAY, struct.pack("<IQ", 0, 2**64 - 1)), ("some.key", "cut")),
        (raw_entry(ARRAY, struct.pack("<IQ", 12, 100) + bytes(100)), ("some.key", "cut")),
        (raw_entry(ARRAY, struct.pack("<IQ", STRING, 2**61)), ("some.key", "cut")),
        (raw_entry(ARRAY, struct.pack("<IQ", STRING, 2) + text("a")), ("some.key", "cut")),
        (
            raw_entry(ARRAY, struct.pack("<IQ", STRING, 1) + struct.pack("<Q", 2**64 - 1)),
            ("some.key", "expected at most"),
        ),
        (raw_entry(ARRAY, struct.pack("<IQ", ARRAY, 2**60)), ("some.key", "cut")),
        (raw_entry(ARRAY, struct.pack("<IQ", 13, 1)), ("some.key", "type 13")),
        (raw_entry(ARRAY, struct.pack("<IQ", ARRAY, 1) * 200 + bytes(64)), ("some.key", "nested deeper than 4")),
    ],
)
def test_broken_metadata_is_refused(data: bytes, words: tuple[str, ...]) -> None:
    refused(with_entry(data), *words)


def test_a_key_that_stands_twice_is_refused() -> None:
    refused(pad(head(entry("twin", 1) + entry("twin", 1), values=2)), "twin", "twice")


def test_names_from_the_file_print_on_one_line() -> None:
    refused(with_entry(raw_entry(99, b"", "a\nb\x1b[31m\u202e")), "a\\u000ab\\u001b[31m\\u202e")


def test_all_kinds_of_values_are_read() -> None:
    kinds = {
        "u8": Typed(0, 255), "i8": Typed(1, -128), "u16": Typed(2, 65535), "i16": Typed(3, -32768),
        "u32": Typed(4, 2**32 - 1), "i32": Typed(5, -(2**31)), "f32": Typed(6, 1.5), "bool": Typed(7, True),
        "u64": Typed(10, 2**64 - 1), "i64": Typed(11, -(2**63)), "f64": Typed(12, 0.1), "text": "text",
    }  # fmt: skip
    found = read_header(Bytes(gguf(None, kinds))).metadata
    assert found == {key: kind.value if isinstance(kind, Typed) else kind for key, kind in kinds.items()}
    assert isinstance(found["bool"], bool)


def test_lists_are_read_and_lists_of_lists_are_passed_over() -> None:
    inner = Typed(ARRAY, [Typed(ARRAY, [1, 2], 4), Typed(ARRAY, [], 4)], ARRAY)
    metadata = {"i": [1, 2], "s": ["a", ""], "e": [], "n": inner, "d": Typed(ARRAY, [inner], ARRAY), "last": 7}
    found = read_header(Bytes(gguf(None, metadata))).metadata
    assert isinstance(found["i"], np.ndarray)
    assert found["i"].tolist() == [1, 2]
    assert isinstance(found["s"], Strings)
    assert list(found["s"]) == [b"a", b""]
    assert found["n"] == NotKept(2)
    assert found["d"] == NotKept(1)
    assert found["last"] == 7


def test_long_values_that_nobody_asks_for_are_not_kept() -> None:
    long = Typed(ARRAY, ["x" * 100] * 5000, STRING)
    numbers = Typed(ARRAY, list(range(70_000)), 4)
    found = read_header(Bytes(gguf(None, {"a": long, "b": numbers, "c": "y" * 70_000, "d": 1}))).metadata
    assert found == {"a": NotKept(5000), "b": NotKept(70_000), "c": NotKept(70_000), "d": 1}


def test_the_token_list_is_kept_whatever_its_length() -> None:
    tokens = [f"token{n}" for n in range(70_000)]
    found = read_header(Bytes(gguf(None, {"tokenizer.ggml.tokens": Typed(ARRAY, tokens, STRING)}))).metadata
    kept = found["tokenizer.ggml.tokens"]
    assert isinstance(kept, Strings)
    assert list(kept) == [t.encode() for t in tokens]


def test_a_token_without_end_is_refused() -> None:
    refused(with_entry(entry("tokenizer.ggml.tokens", ["x" * 70_000])), "tokenizer.ggml.tokens", "65,536")


# Alignment and tensor infos


@pytest.mark.parametrize("value", [0, 3, 48, 2**21, 2**31, "32", 32.0, True, Typed(5, -32), [32]])
def test_an_alignment_that_is_no_power_of_two_is_refused(value: object) -> None:
    refused(with_entry(entry("general.alignment", value)), "general.alignment")


@pytest.mark.parametrize("alignment", [1, 8, 64, 4096])
def test_other_alignments_are_read(alignment: int) -> None:
    tensors = {"a": np.arange(3, dtype="f4"), "b": np.arange(5, dtype="f2")}
    found = opened(gguf(tensors, alignment=alignment)).tensors
    assert [values(t).tolist() for t in found] == [[0, 1, 2], [0, 1, 2, 3, 4]]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (struct.pack("<Q", 2**64 - 1), ("tensor name",)),
        (info("x" * 257, (1,), F32, 0), ("tensor name", "257")),
        (info(b"\xff", (1,), F32, 0), ("tensor name", "UTF-8")),
        (info("a", (1, 1, 1, 1, 1), F32, 0), ("'a'", "5 dimensions")),
        (text("a") + struct.pack("<I", 2**32 - 1), ("'a'", "4294967295 dimensions")),
        (info("a", (2**32, 2**32), F32, 0), ("'a'", "2**63")),
        (info("a", (2**63, 1), F32, 0), ("'a'", "2**63")),
        (info("a", (2**63, 0), F32, 0), ("'a'", "2**63")),
        (info("a", (0, 2**63), F32, 0), ("'a'", "2**63")),
        (info("a", (0, 2**40), F32, 0), ("'a'", "empty tensor")),
        (info("a", (2**40, 0), F32, 0), ("'a'", "empty tensor")),
        (info("a", (9,), F32, 0), ("'a'", "cut")),
        (info("a", (2**60,), F32, 0), ("'a'", "cut")),
        (info("a", (1,), F32, 64), ("'a'", "cut")),
        (info("a", (1,), F32, 2**63), ("'a'", "cut")),
        (info("a", (1,), F32, 2**64 - 32), ("'a'", "cut")),
        (info("a", (1,), F32, 4), ("'a'", "multiple of 32")),
        (info("a", (31,), Q4_0, 0), ("'a'", "Q4_0", "multiples of 32")),
        (info("a", (32,), Q4_K, 0), ("'a'", "Q4_K", "multiples of 256")),
        (info("a", (), Q4_0, 0), ("'a'", "Q4_0")),
        (info("a", (8,), 999, 64), ("'a'", "cut")),
    ],
)
def test_broken_tensor_infos_are_refused(data: bytes, words: tuple[str, ...]) -> None:
    refused(with_info(data), *words)


def two(first: tuple[str, int, int, int], second: tuple[str, int, int, int], size: int = 96) -> bytes:
    infos = b"".join(info(name, (count,), number, offset) for name, count, number, offset in (first, second))
    return pad(head(b"", infos, tensors=2)) + bytes(size)


def test_overlapping_tensors_are_refused() -> None:
    refused(two(("a", 16, F32, 0), ("b", 8, F32, 32)), "'b'", "overlaps")
    refused(two(("b", 8, F32, 32), ("a", 16, F32, 0)), "'b'", "overlaps")
    refused(two(("a", 8, F32, 0), ("b", 8, F32, 0)), "overlaps")
    refused(two(("a", 16, F32, 0), ("b", 8, 999, 32)), "'b'", "overlaps")


def test_a_name_that_stands_twice_is_refused() -> None:
    refused(two(("a", 8, F32, 0), ("a", 8, F32, 32)), "'a'", "twice")


def test_tensors_in_any_order_and_with_gaps_are_read() -> None:
    found = opened(two(("b", 8, F32, 64), ("a", 8, F32, 0))).tensors
    assert [(t.name, t.shape, t.nbytes) for t in found] == [("a", (8,), 32), ("b", (8,), 32)]


def test_unknown_types_are_listed_and_refused_when_read() -> None:
    model = opened(two(("a", 8, 999, 0), ("b", 8, F32, 64)))
    unknown, known = model.tensors
    assert (unknown.dtype, unknown.shape, unknown.nbytes) == ("GGML_TYPE_999", (8,), 64)
    assert values(known).tolist() == [0.0] * 8
    with pytest.raises(ArtifactError, match=r"m\.gguf: tensor 'a': values of type GGML_TYPE_999"):
        unknown.reader.read(0, 1)
    assert any("GGML_TYPE_999 (1)" in note for note in model.notes)


def test_a_scalar_and_an_empty_tensor_are_read() -> None:
    data = (
        pad(head(b"", info("s", (), F32, 0) + info("e", (0, 7), F32, 32), tensors=2))
        + struct.pack("<f", 2.5)
        + bytes(28)
    )
    empty, scalar = opened(data).tensors
    assert (scalar.shape, values(scalar).tolist()) == ((), 2.5)
    assert (empty.shape, values(empty).size) == ((7, 0), 0)


# Bounds


class Endless:
    """A file of any size whose bytes are made up when they are asked for."""

    name = "m.gguf"

    def __init__(self, front: bytes, size: int, filler: bytes = b"\0") -> None:
        self.front, self.size, self.filler = front, size, filler
        self.largest = 0

    def read(self, start: int, size: int) -> bytes:
        self.largest = max(self.largest, size)
        return (self.front[start : start + size] + self.filler * size)[:size]


def bounded(source: RangeSource, seconds: float, word: str) -> None:
    tracemalloc.start()
    begun = time.monotonic()
    with pytest.raises(MalformedFileError, match=word):
        read_header(source)
    assert time.monotonic() - begun < seconds
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()


def test_a_header_past_the_limit_is_refused() -> None:
    size = cursor.MAX_HEADER + 1000
    source = Endless(head(raw_entry(ARRAY, struct.pack("<IQ", 0, size - 200)), values=2), size)
    bounded(source, 1, "past the 268,435,456")


def test_strings_without_number_are_refused_before_they_are_walked() -> None:
    source = Endless(head(raw_entry(ARRAY, struct.pack("<IQ", STRING, 20_000_000)), values=1), 2**40)
    bounded(source, 1, "more than 10,000,000 strings")


def test_tokens_are_kept_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cursor, "MAX_KEPT", 4 << 20)
    list_of = struct.pack("<IQ", STRING, 900_000)
    front = head(raw_entry(ARRAY, list_of, "tokenizer.ggml.tokens"), values=1)
    bounded(Endless(front + text("x" * 999) * 5_000, 2**40), 5, "metadata of more than")


def test_a_list_of_more_tokens_than_any_model_has_is_refused_before_it_is_walked() -> None:
    list_of = struct.pack("<IQ", STRING, cursor.MAX_STRINGS + 1)
    source = Endless(head(raw_entry(ARRAY, list_of, "tokenizer.ggml.tokens"), values=1), 2**40)
    bounded(source, 1, r"tokenizer\.ggml\.tokens: 1000001 strings, expected at most 1,000,000")
    assert source.largest <= 1 << 20


@pytest.mark.parametrize("window", [64, 100, 1 << 20])
def test_strings_that_cross_a_window_are_whole(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cursor, "_CHUNK", window)
    tokens = ["", "a" * 55, "b" * 56, "c" * 57, "", "d" * 500, *(str(n) for n in range(50)), ""]
    values = {"tokenizer.ggml.tokens": Typed(ARRAY, tokens, STRING), "last": 7}
    found = read_header(Bytes(gguf(None, values))).metadata
    kept = found["tokenizer.ggml.tokens"]
    assert isinstance(kept, Strings)
    assert [token.decode() for token in kept] == tokens
    assert found["last"] == 7


def test_a_header_is_read_in_windows() -> None:
    tokens = Typed(ARRAY, [f"token{n:06}" for n in range(200_000)], STRING)
    source = Bytes(gguf({"a": np.zeros(2**20, "f4")}, {"tokenizer.ggml.tokens": tokens}))
    read_header(source)
    assert len(source.reads) < 10
    assert sum(size for _, size in source.reads) < 6_000_000


# Anything at all

RNG = np.random.default_rng(5)
Q = RNG.standard_normal((8, 32)).astype(np.float32)
SEED = gguf(
    {
        "token_embd.weight": RNG.standard_normal((6, 32)).astype(np.float32),
        "blk.0.attn_q.weight": permuted(Q, 2),
        "blk.0.ffn_up.weight": ("Q4_0", (4, 32), RNG.bytes(72)),
        "blk.0.attn_norm.weight": np.ones(32, np.float32),
    },
    {
        "general.architecture": "llama",
        "general.license": "mit",
        "general.base_model.count": 1,
        "general.base_model.0.repo_url": "https://huggingface.co/a/b",
        "llama.block_count": 1,
        "llama.attention.head_count": 2,
        "llama.rope.freq_base": 10000.0,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": ["<unk>", "▁", "a", "b", "ab", "▁ab"],
        "tokenizer.ggml.scores": [0.0, -1.0, -2.0, -3.0, -4.0, -5.0],
        "tokenizer.ggml.token_type": Typed(ARRAY, [2, 1, 1, 1, 1, 1], 5),
        "tokenizer.ggml.unknown_token_id": 0,
        "nested": Typed(ARRAY, [Typed(ARRAY, [1], 4)], ARRAY),
    },
)  # fmt: skip


def survives(data: bytes) -> None:
    begun = time.monotonic()
    try:
        model = opened(data)
        for tensor in model.tensors:
            assert all(n >= 0 for n in tensor.shape)
            if tensor.size < 10_000:
                assert values(tensor).dtype == np.float32
    except ArtifactError as error:
        assert "\n" not in str(error)
        assert len(str(error)) <= 600
    assert time.monotonic() - begun < 5


def test_the_seed_is_a_true_file() -> None:
    found = {t.name: t for t in opened(SEED).tensors}
    np.testing.assert_array_equal(values(found["blk.0.attn_q.weight"]), Q)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(SEED) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_a_mutated_file_is_read_or_refused(changes: list[tuple[int, int]]) -> None:
    data = bytearray(SEED)
    for at, value in changes:
        data[at % 1200 if at % 3 else at] = value
    survives(bytes(data))


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, len(SEED) - 4),
    st.sampled_from([0, 1, 255, 2**16, 2**31, 2**32 - 1, 2**63, 2**64 - 1]),
    st.booleans(),
)
def test_a_number_replaced_is_read_or_refused(at: int, value: int, wide: bool) -> None:
    at %= 1200
    size = 8 if wide else 4
    survives(SEED[:at] + (value % 2 ** (8 * size)).to_bytes(size, "little") + SEED[at + size :])


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(SEED)))
def test_a_cut_file_is_refused_or_read(size: int) -> None:
    survives(SEED[:size])


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 3), st.integers(0, 3))
def test_any_bytes_are_read_or_refused(data: bytes, tensors: int, entries: int) -> None:
    survives(data)
    survives(head(data, tensors=tensors, values=entries))
