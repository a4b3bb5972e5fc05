"""The token list gives the facts that the original tokenizer.json gives."""

from __future__ import annotations

import hashlib
import json
import re
import tracemalloc
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenance_gate.artifact.gguf.merges import merges_by_score
from provenance_gate.artifact.gguf.strings import Strings
from provenance_gate.artifact.interface import NotMeasured, TokenizerFacts
from provenance_gate.artifact.tokenizer import parse_tokenizer
from provenance_gate.errors import MalformedFileError

from .build import ARRAY, STRING, Typed, gguf, opened

AT = "tokenizer.ggml."
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,!?:;"


def original(model: Mapping[str, object], **parts: object) -> TokenizerFacts:
    return parse_tokenizer(json.dumps({"version": "1.0", "added_tokens": [], "model": model, **parts}).encode(), None)


def listed(model: str, tokens: Sequence[str | bytes], **more: object) -> TokenizerFacts | NotMeasured:
    metadata = {f"{AT}model": model, f"{AT}tokens": Typed(ARRAY, list(tokens), STRING)}
    return opened(gguf(None, metadata | {AT + key: value for key, value in more.items()})).tokenizer


def floats(*values: float) -> Typed:
    return Typed(ARRAY, list(values), 6)


def integers(*values: int) -> Typed:
    return Typed(ARRAY, list(values), 5)


def same(found: TokenizerFacts | NotMeasured, wanted: TokenizerFacts) -> None:
    assert isinstance(found, TokenizerFacts)
    for name in ("model", "vocab_size", "vocabulary_sha256", "num_merges", "first_merges_sha256", "merges_sha256",
                 "mean_token_length", "space_mark_share", "script_shares", "has_byte_tokens", "first_ids"):  # fmt: skip
        assert getattr(found, name) == getattr(wanted, name), name
    np.testing.assert_array_equal(found.tokens, wanted.tokens)
    np.testing.assert_array_equal(found.token_ids, wanted.token_ids)


MERGES = ["t h", "th e", "o f", "Ġ the", "i n", "Ð ¸", "ç ļ", "çļ Ħ", "à ¤"]
BYTES = [*LETTERS, "Ġ", *"Ð¸çļĦà¤ķ"]
BYTE_LEVEL = {t: i for i, t in enumerate(dict.fromkeys([*BYTES, *(m.replace(" ", "") for m in MERGES), "<|end|>"]))}


def test_byte_level_bpe() -> None:
    split = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    wanted = original({"type": "BPE", "vocab": BYTE_LEVEL, "merges": MERGES}, pre_tokenizer=split)
    same(listed("gpt2", list(BYTE_LEVEL), pre="gpt-2", merges=MERGES), wanted)
    assert wanted.first_ids["the"] == BYTE_LEVEL["the"]
    assert wanted.first_ids["的"] == BYTE_LEVEL["çļĦ"]
    assert wanted.first_ids["that"] == BYTE_LEVEL["th"]


def test_rows_that_the_converter_adds_are_left_out() -> None:
    tokens = [*BYTE_LEVEL, f"[PAD{len(BYTE_LEVEL)}]", f"[PAD{len(BYTE_LEVEL) + 1}]"]
    types = integers(*[1] * len(BYTE_LEVEL), 5, 5)
    found = listed("gpt2", tokens, merges=MERGES, token_type=types)
    same(found, original({"type": "BPE", "vocab": BYTE_LEVEL, "merges": MERGES},
         pre_tokenizer={"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}))  # fmt: skip
    # A token of that name that is in use stays.
    kept = listed("gpt2", tokens, merges=MERGES)
    assert isinstance(kept, TokenizerFacts)
    assert kept.vocab_size == len(tokens)


def test_sentencepiece_bpe() -> None:
    pieces = ["<unk>", "<s>", "</s>", "<0x0A>", "▁t", "he", "▁the", "of", "▁of", "▁", *LETTERS, "的"]
    scores = [0.0] * 4 + [-float(n) for n in range(len(pieces) - 4)]
    vocabulary = {t: i for i, t in enumerate(pieces)}
    merges = ["▁ t", "h e", "▁t he", "o f", "▁ of"]
    steps = [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]
    model = {
        "type": "BPE",
        "vocab": vocabulary,
        "merges": merges,
        "unk_token": "<unk>",
        "fuse_unk": True,
        "byte_fallback": True,
    }
    wanted = original(model, normalizer={"type": "Sequence", "normalizers": steps})
    found = listed("llama", pieces, scores=floats(*scores), unknown_token_id=0)
    same(found, wanted)
    assert wanted.first_ids["the"] == vocabulary["▁the"]
    assert wanted.first_ids["0"] == vocabulary["▁"]
    bare = listed("llama", pieces, scores=floats(*scores), unknown_token_id=0, add_space_prefix=False)
    assert isinstance(bare, TokenizerFacts)
    assert bare.first_ids["of"] == vocabulary["of"]
    assert bare.first_ids["0"] == vocabulary["0"]
    assert bare.first_ids["的"] == vocabulary["的"]


def test_unigram() -> None:
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁the", -3.0), ("▁", -4.0), ("▁o", -5.0)]
    pieces += [(letter, -9.0 - n) for n, letter in enumerate(LETTERS)]
    split = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    wanted = original({"type": "Unigram", "vocab": pieces, "unk_id": 2}, pre_tokenizer=split)
    found = listed("t5", [p for p, _ in pieces], scores=floats(*(s for _, s in pieces)), unknown_token_id=2)
    same(found, wanted)
    assert wanted.first_ids["the"] == 3
    assert wanted.first_ids["of"] == 5


@pytest.mark.parametrize("cased", [False, True])
def test_word_pieces_get_their_marks_back(cased: bool) -> None:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "the", "##ing", "that", "th", "##at", *LETTERS, *(["The"] if cased else [])]
    types = [3, 3, 3] + [1] * (len(pieces) - 3)
    vocabulary = {t: i for i, t in enumerate(pieces)}
    model = {"type": "WordPiece", "vocab": vocabulary, "unk_token": "[UNK]", "continuing_subword_prefix": "##",
             "max_input_chars_per_word": 100}  # fmt: skip
    normalizer = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
                  "lowercase": not cased}  # fmt: skip
    wanted = original(model, normalizer=normalizer, pre_tokenizer={"type": "BertPreTokenizer"})
    stored = [p if t == 3 else p[2:] if p.startswith("##") else "▁" + p for p, t in zip(pieces, types, strict=True)]
    same(listed("bert", stored, token_type=integers(*types), unknown_token_id=1), wanted)
    assert wanted.first_ids["that"] == 5


def test_special_ids() -> None:
    found = listed("gpt2", list(BYTE_LEVEL), merges=MERGES, bos_token_id=3, eos_token_id=4, padding_token_id=10**6,
                   mask_token_id=Typed(5, -1), unknown_token_id=2**32 - 1)  # fmt: skip
    assert isinstance(found, TokenizerFacts)
    assert found.special_ids == {"bos": 3, "eos": 4, "pad": None, "unk": None, "mask": None}
    assert found.class_name is None


def test_equal_tokens_count_once() -> None:
    found = listed("gpt2", ["a", "b", "a"])
    assert isinstance(found, TokenizerFacts)
    assert found.vocab_size == 2
    assert sorted(found.token_ids.tolist()) == [0, 1]


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (lambda: opened(gguf(None, {"a": 1})).tokenizer, "no tokenizer.ggml.tokens"),
        (lambda: listed("gpt2", []), "no tokenizer.ggml.tokens"),
        (lambda: listed("gpt2", [b"\xff"]), "UTF-8"),
        (lambda: listed("gpt2", ["a"], merges=[b"\xff a"]), "UTF-8"),
        (lambda: listed("rwkv", ["a"]), "'rwkv'"),
        (lambda: listed("a\nb", ["a"]), "is not known"),
        (lambda: listed("gpt2", ["a"], merges=["b c"]), "merge rule 0, b'b c', is not of tokens that are listed"),
        (lambda: listed("gpt2", ["a", "b", "ab"], merges=["a b", "b a"]), "merge rule 1, b'b a'"),
        (lambda: listed("gpt2", ["a"], merges=["a"]), "merge rule 0"),
        (lambda: listed("llama", ["a"], merges=["\n"]), "merge rule 0"),
        (lambda: listed("bert", ["the"]), "tokenizers library"),
        (lambda: listed("t5", ["a"]), "tokenizers library"),
        (lambda: listed("gpt2", ["[PAD0]"], token_type=integers(5)), "empty"),
    ],
)
def test_what_no_tokenizer_could_use_is_not_measured(found, word: str) -> None:  # type: ignore[no-untyped-def]
    facts = found()
    assert isinstance(facts, NotMeasured)
    assert word in facts.reason
    assert "\n" not in facts.reason


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("tokens", "abc", "a list of strings"),
        ("tokens", [1, 2], "a list of strings"),
        ("merges", 3, "a list of strings"),
        ("scores", floats(1.0), "1 values for 2 tokens"),
        ("scores", ["a", "b"], "a list of numbers"),
        ("token_type", integers(1, 1, 1), "3 values for 2 tokens"),
        ("model", 3, "a string"),
        ("bos_token_id", "x", "an integer"),
        ("eos_token_id", Typed(5, -2), "an integer"),
        ("add_space_prefix", 1, "true or false"),
    ],
)
def test_values_of_the_wrong_type_are_refused(key: str, value: object, words: str) -> None:
    metadata = {f"{AT}model": "llama", f"{AT}tokens": ["a", "b"], AT + key: value}
    with pytest.raises(MalformedFileError, match=rf"^m\.gguf: {re.escape(AT + key)}: .*{words}"):
        opened(gguf(None, metadata))


def test_scores_may_be_any_number() -> None:
    for model in ("llama", "t5"):
        found = listed(model, ["<unk>", "a", "b", "ab"], scores=floats(0.0, float("nan"), float("inf"), -float("inf")))
        assert isinstance(found, TokenizerFacts | NotMeasured)


@pytest.mark.parametrize(("name", "least"), [("MOST_MERGES", 6), ("MOST_BYTES", 16)])
@pytest.mark.parametrize("below", [0, 1])
def test_rebuilding_merges_has_bounds(name: str, least: int, below: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"provenance_gate.artifact.gguf.merges.{name}", least - below)
    found = listed("llama", ["<unk>", "a", "aa", "aaa", "aaaa", "b"])
    assert isinstance(found, TokenizerFacts)
    assert found.num_merges == (0 if below else 6)


# What the whole tokenizer.json would give

_ALPHABET = st.sampled_from([*"theof 0.,", "▁", "的", "и", "के"[0], "के"[1], "Ġ", "Ð", "¸", "##", "\n", "😀"])
_PIECES = st.lists(st.lists(_ALPHABET, min_size=1, max_size=4).map("".join), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(pieces=_PIECES, scores=st.lists(st.sampled_from([0.0, -1.0, -2.5, 3.0]), min_size=40, max_size=40))
def test_rebuilt_merges_are_those_of_the_plain_definition(pieces: list[str], scores: list[float]) -> None:
    ids = {}
    for token_id, piece in enumerate(pieces):
        ids.setdefault(piece, token_id)
    rules = [
        (-scores[token_id], token_id, ids[piece[:cut]], ids[piece[cut:]])
        for piece, token_id in ids.items()
        for cut in range(1, len(piece))
        if " " not in piece and piece[:cut] in ids and piece[cut:] in ids
    ]
    lines = [f"{pieces[left]} {pieces[right]}" for _, _, left, right in sorted(rules)]
    found = listed("llama", pieces, scores=floats(*scores[: len(pieces)]))
    assert isinstance(found, TokenizerFacts)
    assert found.num_merges == len(lines)
    assert found.merges_sha256 == hashlib.sha256("\n".join(lines).encode()).hexdigest()
    assert found.first_merges_sha256 == hashlib.sha256("\n".join(lines[:50]).encode()).hexdigest()


@pytest.mark.parametrize("kind", ["gpt2", "t5", "bert"])
@settings(max_examples=60, deadline=None)
@given(pieces=_PIECES, data=st.data())
def test_facts_are_those_of_the_whole_file(kind: str, pieces: list[str], data: st.DataObject) -> None:
    pieces = list(dict.fromkeys(["<unk>", *pieces, *"theof", *"的иके"]))
    vocabulary = {piece: token_id for token_id, piece in enumerate(pieces)}
    if kind == "gpt2":
        pairs = [f"{p[:c]} {p[c:]}" for p in pieces for c in range(1, len(p)) if " " not in p and "\n" not in p]
        rules = [r for r in pairs if all(half in vocabulary for half in r.split(" "))]
        rules = data.draw(st.permutations(rules))
        split = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
        wanted = original({"type": "BPE", "vocab": vocabulary, "merges": rules}, pre_tokenizer=split)
        found = listed("gpt2", pieces, merges=Typed(ARRAY, rules, STRING))
    elif kind == "t5":
        scores = data.draw(st.lists(st.integers(-20, 2), min_size=len(pieces), max_size=len(pieces)))
        split = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
        listing = [[p, float(s)] for p, s in zip(pieces, scores, strict=True)]
        wanted = original({"type": "Unigram", "vocab": listing, "unk_id": 0}, pre_tokenizer=split)
        found = listed("t5", pieces, scores=floats(*scores), unknown_token_id=0)
    else:
        # A continuation that begins with the mark of a word's start is lost on the way.
        vocabulary = {p: n for n, p in enumerate(p for p in pieces if not p.startswith("##▁"))}
        pieces = list(vocabulary)
        model = {"type": "WordPiece", "vocab": vocabulary, "unk_token": "<unk>", "continuing_subword_prefix": "##",
                 "max_input_chars_per_word": 100}  # fmt: skip
        bert = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
                "lowercase": all(p == p.lower() for p in pieces)}  # fmt: skip
        wanted = original(model, normalizer=bert, pre_tokenizer={"type": "BertPreTokenizer"})
        stored = [p if t == 0 else p[2:] if p.startswith("##") else "▁" + p for t, p in enumerate(pieces)]
        types = integers(3, *[1] * (len(pieces) - 1))
        found = listed("bert", stored, token_type=types, unknown_token_id=0)
    same(found, wanted)


def test_a_line_that_starts_a_list_of_merges_is_passed_over() -> None:
    found = listed("gpt2", ["a", "b", "ab"], merges=["#version: 0.2", "a b"])
    same(found, original({"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["#version: 0.2", "a b"]},
         pre_tokenizer={"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}))  # fmt: skip


def test_pieces_of_one_hash_are_not_merged() -> None:
    tokens = Strings(b"abab", np.array([1, 2, 4], np.uint32))
    ids = {b"a": 0, b"b": 1, b"ab": 2}
    assert merges_by_score(tokens, ids, None).tolist() == [[2, 0, 1]]
    again = Strings(b"aab", np.array([1, 2, 3], np.uint32))
    assert merges_by_score(again, {b"a": 0, b"other": 1, b"b": 2}, None).tolist() == []


def test_long_lists_take_little_memory() -> None:
    tokens = [f"{n:x}" for n in range(200_000)]
    data = gguf(None, {f"{AT}model": "llama", f"{AT}tokens": Typed(ARRAY, tokens, STRING)})
    tracemalloc.start()
    model = opened(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(model.tokenizer, TokenizerFacts)
    assert model.tokenizer.vocab_size == 200_000
    assert peak < 500 * len(tokens)
