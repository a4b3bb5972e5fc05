"""First ids from a few pieces are those that the library gives for the whole file; hostile parts never reach it."""

from __future__ import annotations

import base64
import json
import struct
import subprocess
import sys
import time
from typing import Any

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from provenance_gate.artifact.anchors import ANCHOR_STRINGS
from provenance_gate.artifact.tokenizer import parse_tokenizer
from provenance_gate.errors import MalformedFileError, UnsafeFormatError

LLAMA_3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True}
BERT = {
    "type": "BertNormalizer",
    "clean_text": True,
    "handle_chinese_chars": True,
    "strip_accents": None,
    "lowercase": True,
}


def split(regex: str, behavior: str = "Isolated") -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": False}


def replace(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def normalizers(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "normalizers": list(steps)}


def splits(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": list(steps)}


FAMILIES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "llama 3": ("BPE", {"ignore_merges": True}, {"pre_tokenizer": splits(split(LLAMA_3), BYTES)}),
    "gpt-2": ("BPE", {}, {"pre_tokenizer": {**BYTES, "use_regex": True, "add_prefix_space": True}}),
    "clip": (
        "BPE",
        {"end_of_word_suffix": "</w>", "unk_token": "?"},
        {
            "normalizer": normalizers({"type": "NFC"}, replace({"Regex": r"\s+"}, " "), {"type": "Lowercase"}),
            "pre_tokenizer": splits(split(r"[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+", "Removed") | {"invert": True}, BYTES),
        },
    ),
    "gemma": (
        "BPE",
        {"unk_token": "?", "fuse_unk": True, "byte_fallback": True},
        {"normalizer": replace({"String": " "}, "▁"), "pre_tokenizer": split(" ", "MergedWithPrevious")},
    ),
    "llama 2": (
        "BPE",
        {"unk_token": "?", "fuse_unk": True, "byte_fallback": True},
        {"normalizer": normalizers({"type": "Prepend", "prepend": "▁"}, replace({"String": " "}, "▁"))},
    ),
    "prefixed": ("BPE", {"continuing_subword_prefix": "##", "unk_token": "?"}, {}),
    "bert": (
        "WordPiece",
        {"unk_token": "?", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100},
        {"normalizer": BERT, "pre_tokenizer": {"type": "BertPreTokenizer"}},
    ),
    "t5": ("Unigram", {"unk_id": 0}, {"pre_tokenizer": splits({"type": "WhitespaceSplit"}, METASPACE)}),
    "nmt": (
        "Unigram",
        {"unk_id": 1, "byte_fallback": True},
        {"normalizer": normalizers({"type": "Nmt"}, {"type": "NFKC"})},
    ),
    "words": ("WordLevel", {"unk_token": "?"}, {"pre_tokenizer": {"type": "Whitespace"}}),
}
SIGNS = st.sampled_from(
    [*"theofinad0123.,", "▁", "Ġ", "##", "</w>", "的", "и", "क", "在", "<0xE7>", "Ð", "¸", "T", "THE"]
)
PIECES = st.lists(st.lists(SIGNS, min_size=1, max_size=3).map("".join), min_size=1, max_size=40, unique=True)


def whole_file(family: str, pieces: list[str], data: st.DataObject) -> dict[str, Any]:
    kind, more, parts = FAMILIES[family]
    tokens = list(dict.fromkeys(["?", *pieces, *"theofinad0123"]))
    model: dict[str, Any] = {"type": kind, **more}
    if kind == "Unigram":
        model["vocab"] = [[t, -float(data.draw(st.integers(0, 9)))] for t in tokens]
    else:
        numbers = data.draw(st.permutations(range(len(tokens))))
        model["vocab"] = dict(zip(tokens, numbers, strict=True))
    if kind == "BPE":
        cut = len(more.get("continuing_subword_prefix", ""))
        # Cutting within a character, the library ends the process.
        pairs = [(a, b) for a in tokens for b in tokens if len(b) > cut and b[:cut].isascii() and a + b[cut:] in tokens]
        model["merges"] = data.draw(st.permutations(pairs))
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "special"), False)
    extra = data.draw(
        st.lists(st.sampled_from(["the", "h", "he", "<s>", "0", "的", "THE", "?", "in"]), max_size=4, unique=True)
    )
    added, free = [], len(tokens)
    for content in extra:
        listed = (
            model["vocab"] if isinstance(model["vocab"], dict) else {t: i for i, (t, _) in enumerate(model["vocab"])}
        )
        added.append(
            {"id": listed.get(content, free), "content": content, "normalized": data.draw(st.booleans()), **flags}
        )
        free += content not in listed
    return {"version": "1.0", "added_tokens": added, **parts, "model": model}


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=25, deadline=None)
@given(pieces=PIECES, data=st.data())
def test_first_ids_are_those_of_the_library_with_the_whole_file(
    family: str, pieces: list[str], data: st.DataObject
) -> None:
    text = json.dumps(whole_file(family, pieces, data))
    try:
        tokenizer = tokenizers.Tokenizer.from_str(text)
        encoded = {a: tokenizer.encode(a, add_special_tokens=False).ids for a in ANCHOR_STRINGS}
    except Exception:  # noqa: BLE001 (the library raises no subclass)
        with pytest.raises(MalformedFileError, match="refused by the tokenizers library"):
            parse_tokenizer(text.encode(), None)
        return
    found = parse_tokenizer(text.encode(), None).first_ids
    assert {a: unhashed(i, text) for a, i in found.items()} == {
        a: unhashed(ids[0], text) for a, ids in encoded.items() if ids
    }


def unhashed(token_id: int, text: str) -> int:
    """The smallest id of the normalized added tokens that the normalizer makes equal to this one.

    Of such tokens the library finds now one, now another, in the order of a hash table.
    """
    normalizer = tokenizers.Tokenizer.from_str(text).normalizer
    normal = {
        t["id"]: normalizer.normalize_str(t["content"]) if normalizer else t["content"]
        for t in json.loads(text)["added_tokens"]
        if t["normalized"]
    }
    return min(i for i, content in normal.items() if content == normal[token_id]) if token_id in normal else token_id


def test_added_tokens_that_are_normalized_alike_give_the_smallest_id_always() -> None:
    tokens = {"?": 0, "a": 1, "the": 3, "THE": 2}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "special"), False) | {"normalized": True}
    whole = {
        "version": "1.0",
        "added_tokens": [{"id": tokens[c], "content": c, **flags} for c in ("the", "THE")],
        "normalizer": BERT,
        "model": {"type": "WordLevel", "unk_token": "?", "vocab": tokens},
    }
    found = {parse_tokenizer(json.dumps(whole).encode(), None).first_ids["the"] for _ in range(32)}
    assert found == {2}


def test_a_character_that_the_list_lacks_lets_its_neighbors_meet() -> None:
    tokens = ["ae", "a", "e", *"theofind0123"]
    model = {"type": "BPE", "vocab": {t: i for i, t in enumerate(dict.fromkeys(tokens))}, "merges": [["a", "e"]]}
    text = json.dumps({"version": "1.0", "added_tokens": [], "model": model})
    wanted = tokenizers.Tokenizer.from_str(text).encode("are", add_special_tokens=False).ids[0]
    assert wanted == 0
    assert parse_tokenizer(text.encode(), None).first_ids["are"] == wanted


def tokenizer_json(model: dict[str, Any], **parts: Any) -> bytes:
    return json.dumps({"version": "1.0", "added_tokens": [], **parts, "model": model}).encode()


def words(**parts: Any) -> bytes:
    return tokenizer_json({"type": "WordLevel", "vocab": {"?": 0, "the": 1}, "unk_token": "?"}, **parts)


@pytest.mark.parametrize("right", ["的", "b", "#"])
def test_a_merge_that_the_library_would_cut_within_a_character_never_reaches_it(right: str) -> None:
    vocab = {t: n for n, t in enumerate(dict.fromkeys(["?", "a", right, f"a{right}"]))}
    model = {
        "type": "BPE",
        "continuing_subword_prefix": "##",
        "unk_token": "?",
        "vocab": vocab,
        "merges": [["a", right]],
    }
    with pytest.raises(MalformedFileError, match=r"model\.merges"):
        parse_tokenizer(tokenizer_json(model), None)


def charsmap(units: list[int], texts: bytes = b"") -> str:
    return base64.b64encode(struct.pack("<I", 4 * len(units)) + struct.pack(f"<{len(units)}I", *units) + texts).decode()


SOME = [0] * 256


def of_t(value: int, texts: bytes) -> str:
    """A map of "t" alone, to the text at `value`."""
    units = [0] * 512
    units[ord("t")] = ord("t") | 1 << 8 | 256 << 10
    units[ord("t") ^ 256] = 1 << 31 | value
    return charsmap(units, texts)


MAPS = {
    "empty": base64.b64encode(b"").decode(),
    "no trie": charsmap([]),
    "size beyond the blob": base64.b64encode(b"\xff\xff\xff\xff").decode(),
    "offset out of the array": charsmap([(1 << 20) << 10, *SOME]),
    "short array": charsmap([1 << 10]),
    "value behind the end": of_t(200, b"a\0"),
    "value within a character": of_t(1, "é\0".encode()),
    "long replacement": charsmap(SOME, b"x" * 70_000),
    "not UTF-8": charsmap(SOME, b"\xff\0"),
    "not base64": "~",
}


@pytest.mark.parametrize("blob", MAPS.values(), ids=MAPS)
def test_a_character_map_that_leads_out_of_itself_is_refused(blob: str) -> None:
    with pytest.raises(MalformedFileError, match="normalizer: precompiled_charsmap"):
        parse_tokenizer(words(normalizer={"type": "Precompiled", "precompiled_charsmap": blob}), None)


def test_a_character_map_that_stays_within_itself_is_used() -> None:
    blob = of_t(2, b"a\0THE\0")
    model = {"type": "WordLevel", "vocab": {"?": 0, "THEhe": 1}, "unk_token": "?"}
    normalizer = {"type": "Precompiled", "precompiled_charsmap": blob}
    assert parse_tokenizer(tokenizer_json(model, normalizer=normalizer), None).first_ids["the"] == 1


CATASTROPHES = [
    r"(a*)*b",
    r"(h|he|e|t|th)+$c",
    r"(?:.?){40}x",
    r"(\w+\s?)+$",
    ".*" * 12 + "x",
    r"(?=(.+)+)x",
    "(" * 500 + ")" * 500,
]


@pytest.mark.parametrize("regex", CATASTROPHES, ids=range(len(CATASTROPHES)))
def test_a_split_by_a_regular_expression_without_bound_is_left_out(regex: str) -> None:
    assert parse_tokenizer(words(pre_tokenizer=split(regex)), None).first_ids["the"] == 1
    steps = normalizers(replace({"String": "0"}, "a" * 20), replace({"Regex": regex}, "x"))
    with pytest.raises(UnsafeFormatError, match="normalizer: the regular expression"):
        parse_tokenizer(words(normalizer=steps), None)


def test_a_bounded_one_is_used() -> None:
    assert parse_tokenizer(words(pre_tokenizer=split(LLAMA_3)), None).first_ids["the"] == 1
    assert parse_tokenizer(words(pre_tokenizer=split("t")), None).first_ids["the"] == 0


GROWING = [
    {"pre_tokenizer": splits(*[BYTES] * 60)},
    {"pre_tokenizer": splits({**METASPACE, "replacement": "▁", "prepend_scheme": "always"}, *[BYTES] * 40)},
    {"normalizer": normalizers(*[{"type": "Prepend", "prepend": "xx"}] * 60)},
    {"normalizer": replace({"String": "e"}, "x" * 10**6)},
    {"normalizer": replace({"String": "x" * 10**6}, "e")},
    {"normalizer": replace({"String": ""}, "e")},
    {"normalizer": normalizers(*[{"type": "NFC"}] * 70_000)},
]


@pytest.mark.parametrize("parts", GROWING, ids=range(len(GROWING)))
def test_steps_that_could_take_memory_are_refused(parts: dict[str, Any]) -> None:
    with pytest.raises((UnsafeFormatError, MalformedFileError), match=r"normalizer|pre_tokenizer"):
        parse_tokenizer(words(**parts), None)


@pytest.mark.parametrize("length", [0, -1, 1.5, None, True])
def test_pieces_of_no_length_are_refused(length: object) -> None:
    with pytest.raises(MalformedFileError, match="FixedLength"):
        parse_tokenizer(words(pre_tokenizer={"type": "FixedLength", "length": length}), None)


@pytest.mark.parametrize("part", ["normalizer", "pre_tokenizer"])
@pytest.mark.parametrize(
    "step", [{"type": "New"}, {"type": "a\nb"}, {"type": []}, {}, [], "NFC", 1, {"type": "Sequence"}]
)
def test_an_unknown_step_is_an_error_on_one_line(part: str, step: object) -> None:
    with pytest.raises(MalformedFileError, match=f"^tokenizer.json: {part}") as caught:
        parse_tokenizer(words(**{part: step}), None)
    assert str(caught.value).isprintable()


def test_dropout_does_not_reach_the_library() -> None:
    model = {"type": "BPE", "dropout": 1.0, "vocab": {"t": 0, "h": 1, "th": 2}, "merges": ["t h"]}
    assert parse_tokenizer(tokenizer_json(model), None).first_ids["that"] == 2


def test_many_added_tokens_within_words_are_refused() -> None:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    many = [{"id": 1, "content": "the", **flags}] * 5000
    with pytest.raises(UnsafeFormatError, match="added_tokens"):
        parse_tokenizer(words(added_tokens=many), None)


HOSTILE = """
import json, sys, time
from provenance_gate.artifact.tokenizer import parse_tokenizer
from provenance_gate.errors import ArtifactError
for text in json.load(sys.stdin):
    start = time.process_time()
    try:
        parse_tokenizer(text.encode(), None)
    except ArtifactError:
        pass
    assert time.process_time() - start < 2, text[:500]
"""


def test_hostile_parts_leave_no_trace_on_the_error_stream() -> None:
    files = [words(pre_tokenizer=split(regex)) for regex in CATASTROPHES]
    files += [words(normalizer=replace({"Regex": regex}, "x")) for regex in CATASTROPHES]
    files += [words(normalizer={"type": "Precompiled", "precompiled_charsmap": blob}) for blob in MAPS.values()]
    files += [words(**parts) for parts in GROWING]
    files += [words(pre_tokenizer={"type": "FixedLength", "length": 0})]
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", HOSTILE],
        input=json.dumps([f.decode() for f in files]),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert time.monotonic() - start < 30
