"""A tokenizer.json of the few pieces that anchor strings can meet, put back from the token list of a GGUF file.

Only first ids of the anchor strings are asked of a tokenizer, so only pieces that are part of such a string, in the form that
the model splits, and rules between them can matter: some hundreds of a list of any length. Put back is the splitting into words
as far as it touches one word alone: a SentencePiece word is preceded by U+2581 unless ``add_space_prefix`` says no; byte-level
models split by GPT-2's rule, those of `_WHOLE_WORDS` keep combining marks. So a word's first id is that of the whole word where
the list holds it in the form that starts a text, else of its first piece.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.anchors import ANCHOR_STRINGS
from provenance_gate.artifact.tokenizer import parse_tokenizer

KINDS: Final[Mapping[str, str]] = {
    "gpt2": "BPE",
    "llama": "BPE",
    "gemma4": "BPE",
    "t5": "Unigram",
    "bert": "WordPiece",
}
"""Type of the model in a tokenizer.json, by ``tokenizer.ggml.model``."""

_SPACE: Final = "▁"
_WHOLE_WORDS: Final = frozenset({"gpt-4o", "llama4", "tekken", "kimi-k2", "superbpe"})
_WORDS_FIRST: Final = frozenset({"llama-bpe", "llama-v3", "llama3", "tekken"})
"""Pre-tokenizers of models that look a whole word up before they merge."""

_WORST_SCORE: Final = -1e9


def first_ids_of(
    model: str,
    vocabulary: Mapping[bytes, int],
    scores: NDArray[np.generic] | None,
    rules: Sequence[bytes],
    unknown: bytes | None,
    pre: str | None,
    prefix: bool,
) -> dict[str, int]:
    """First id of each anchor string that has one.

    Parameters
    ----------
    model
        A key of `KINDS`.
    vocabulary
        Token to id, all of them, at least one.
    scores
        One per id, or None.
    rules
        The merge rules whose result is in `wanted_pieces`, in order.
    unknown
        The token for what is not in the vocabulary.
    pre, prefix
        ``tokenizer.ggml.pre`` and ``add_space_prefix``.

    Raises
    ------
    ArtifactError
        The tokenizers library cannot use it.
    """
    # Never empty: a list that knows no anchor is encoded like any other.
    kept = {
        token: vocabulary[token] for token in (next(iter(vocabulary)), *wanted_pieces(model)) if token in vocabulary
    }
    if unknown is not None:
        kept[unknown] = vocabulary[unknown]
    name = None if unknown is None else unknown.decode()
    match KINDS[model]:
        case "Unigram":
            return _unigram(vocabulary, kept, scores, name, prefix)
        case "WordPiece":
            built = _word_pieces(vocabulary, kept, name)
        case _:
            built = _byte_pairs(model, kept, rules, name, pre, prefix)
    return _encoded(built)


@cache
def wanted_pieces(model: str) -> frozenset[bytes]:
    """Every piece that an encoding of an anchor string can hold, and the byte tokens."""
    pieces = {f"<0x{byte:02X}>" for byte in range(256)}
    for anchor in ANCHOR_STRINGS:
        for form in _forms(model, anchor):
            pieces |= {form[i:j] for i in range(len(form)) for j in range(i + 1, len(form) + 1)}
    if model == "bert":
        pieces |= {f"##{piece}" for piece in pieces}
    return frozenset(piece.encode() for piece in pieces)


def _forms(model: str, anchor: str) -> Iterator[str]:
    """The anchor as the model's normalizers may leave it, with the mark of a word's start."""
    if model == "gpt2":
        yield "".join(_byte_alphabet()[byte] for byte in anchor.encode())
        return
    if model == "bert":
        bare = "".join(c for c in unicodedata.normalize("NFD", anchor) if unicodedata.category(c) != "Mn")
        yield from (anchor, anchor.lower(), bare, bare.lower())
        return
    yield _SPACE + anchor


@cache
def _byte_alphabet() -> tuple[str, ...]:
    """The character that byte-level models write for each byte: itself where it prints, else one from U+0100 on."""
    printed = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printed]
    return tuple(chr(b) if b in printed else chr(0x100 + others.index(b)) for b in range(256))


def _encoded(built: Mapping[str, object]) -> dict[str, int]:
    text = json.dumps(built, ensure_ascii=False, separators=(",", ":")).encode()
    return dict(parse_tokenizer(text, None).first_ids)


def _texts(kept: Mapping[bytes, int]) -> dict[str, int]:
    return {token.decode(): token_id for token, token_id in kept.items()}


def _byte_pairs(
    model: str, kept: Mapping[bytes, int], rules: Sequence[bytes], unknown: str | None, pre: str | None, prefix: bool
) -> dict[str, object]:
    bpe: dict[str, object] = {"type": "BPE", "vocab": _texts(kept), "merges": [rule.decode() for rule in rules]}
    if model == "gpt2":
        split = {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": True,
            "use_regex": pre not in _WHOLE_WORDS,
        }
        return {"pre_tokenizer": split, "model": bpe | {"ignore_merges": pre in _WORDS_FIRST}}
    steps: list[dict[str, object]] = [{"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}]
    if prefix and model == "llama":
        steps.insert(0, {"type": "Prepend", "prepend": _SPACE})
    bpe |= {"unk_token": unknown, "fuse_unk": True, "byte_fallback": True}
    return {"normalizer": {"type": "Sequence", "normalizers": steps}, "model": bpe}


def _word_pieces(vocabulary: Mapping[bytes, int], kept: Mapping[bytes, int], unknown: str | None) -> dict[str, object]:
    cased = any(_has_capital(token) for token in vocabulary if not token.startswith(b"["))
    normalizer = {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": True,
        "strip_accents": None,
        "lowercase": not cased,
    }
    name = unknown or "[UNK]"
    pieces = {
        "type": "WordPiece",
        "vocab": _texts({**kept, **{t: vocabulary[t] for t in (name.encode(),) if t in vocabulary}}),
        "unk_token": name,
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
    }
    return {"normalizer": normalizer, "pre_tokenizer": {"type": "BertPreTokenizer"}, "model": pieces}


def _has_capital(token: bytes) -> bool:
    text = token.decode()
    return text != text.lower()


def _unigram(
    vocabulary: Mapping[bytes, int],
    kept: Mapping[bytes, int],
    scores: NDArray[np.generic] | None,
    unknown: str | None,
    prefix: bool,
) -> dict[str, int]:
    """A Unigram model is a list whose index is the id, so the pieces are numbered anew and the numbers turned back.

    What is unknown costs ten more than the worst piece of the list, so that one is kept whatever it is.
    """
    ids = np.fromiter(vocabulary.values(), dtype=np.int64, count=len(vocabulary))
    values = np.zeros(int(ids.max()) + 1, np.float32) if scores is None else scores.astype(np.float64)
    # Not a number compares as false, too.
    values = np.where(np.abs(values) < -_WORST_SCORE, values, _WORST_SCORE)
    worst = int(ids[int(values[ids].argmin())])
    token_of_worst = next(token for token, token_id in vocabulary.items() if token_id == worst)
    pieces = sorted({**kept, token_of_worst: worst}.items(), key=lambda item: item[1])
    listed = [[token.decode(), float(values[token_id])] for token, token_id in pieces]
    split = {
        "type": "Metaspace",
        "replacement": _SPACE,
        "prepend_scheme": "always" if prefix else "never",
        "split": True,
    }
    unk_id = next((n for n, (token, _) in enumerate(listed) if token == unknown), None)
    built = {"pre_tokenizer": split, "model": {"type": "Unigram", "vocab": listed, "unk_id": unk_id}}
    return {anchor: pieces[number][1] for anchor, number in _encoded(built).items()}
