"""The token list of a GGUF file to `TokenizerFacts`, equal where possible to those of the original tokenizer.json.

The list, the merges and the scores are put back into the form of a tokenizer.json, and `parse_tokenizer` reads that, under its
own bounds: digests, shares and the first ids of anchor strings mean the same for both files. Put back are

- the model: gpt2 is byte-level BPE; llama (SentencePiece BPE) has no merges in the file, they are rebuilt from the pieces in
  the order of their scores, as transformers does; t5 is Unigram; bert is WordPiece, whose pieces the converter has
  respelled (a word start gained U+2581, a continuation lost its ``##``);
- the splitting into words, as far as it touches one word alone: a SentencePiece word is preceded by U+2581 unless
  ``add_space_prefix`` says no; byte-level models split by GPT-2's rule, those of `_WHOLE_WORDS` keep combining marks;
- the rows that the converter fills up with ``[PAD123]`` are left out.

So a word's first id is that of the whole word where the list holds it in the form that starts a text, else of its first piece.
Lost is what the file does not carry: the class name, and normalizers that change a word (none of the anchors is).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.gguf.metadata import Metadata
from provenance_gate.artifact.interface import NotMeasured, TokenizerFacts
from provenance_gate.artifact.tokenizer import MAX_CHARACTERS, parse_tokenizer
from provenance_gate.errors import ArtifactError, MalformedFileError, one_line

_AT: Final = "tokenizer.ggml."
_SPECIAL: Final = {
    "bos": "bos_token_id",
    "eos": "eos_token_id",
    "pad": "padding_token_id",
    "unk": "unknown_token_id",
    "mask": "mask_token_id",
}
_CONTROL: Final = 3
_UNUSED: Final = 5
_SPACE: Final = "▁"
_WHOLE_WORDS: Final = frozenset({"gpt-4o", "llama4", "tekken", "kimi-k2", "superbpe"})
_WORDS_FIRST: Final = frozenset({"llama-bpe", "llama-v3", "llama3", "tekken"})
"""Pre-tokenizers of models that look a whole word up before they merge."""

MAX_LISTED: Final = 600_000
"""Tokens in a list: more than twice the largest vocabularies."""

_LONGEST_MERGED: Final = 32
_MOST_CHARACTERS: Final = 4_000_000
_MOST_MERGES: Final = 1_000_000
"""Characters of one piece and of all for which merges are rebuilt, and merges: real lists have half; it bounds the work."""


def read_vocabulary(metadata: Metadata) -> TokenizerFacts | NotMeasured:
    """Facts of the tokenizer; NotMeasured when the file has no token list, or one that no tokenizer could use.

    Raises
    ------
    MalformedFileError
        A value has the wrong type, or scores or types are not one per token.
    """
    model = metadata.text(_AT + "model")
    tokens = metadata.strings(_AT + "tokens")
    if not tokens:
        return NotMeasured("no tokenizer.ggml.tokens in the GGUF metadata")
    if len(tokens) > MAX_LISTED or sum(map(len, tokens)) > 4 * MAX_CHARACTERS:
        raise MalformedFileError(f"{metadata.file}: {_AT}tokens: {len(tokens)} tokens, more than are read")
    kinds, scores = _one_per_token(metadata, "token_type", len(tokens)), _one_per_token(metadata, "scores", len(tokens))
    special = {name: metadata.token_id(_AT + key) for name, key in _SPECIAL.items()}
    try:
        pieces = [token.decode() for token in tokens]
        merges = [rule.decode() for rule in metadata.strings(_AT + "merges") or ()]
    except UnicodeDecodeError:
        return NotMeasured("a token or merge rule of the GGUF metadata is not UTF-8")
    vocabulary = _vocabulary(pieces, kinds, respelled=model == "bert")
    rebuilt = _tokenizer(metadata, model, vocabulary, scores, merges, special)
    if rebuilt is None:
        return NotMeasured(f"tokenizer.ggml.model {one_line(repr(model), 40)} is not known")
    text = json.dumps(rebuilt, ensure_ascii=False, separators=(",", ":")).encode()
    try:
        facts = parse_tokenizer(text, None)
    except ArtifactError as error:
        return NotMeasured(f"vocabulary in the GGUF metadata: {str(error).removeprefix('tokenizer.json: ')}")
    known = {
        name: None if token_id is None or token_id >= len(tokens) else token_id for name, token_id in special.items()
    }
    return replace(facts, special_ids=known)


def _one_per_token(metadata: Metadata, name: str, count: int) -> NDArray[np.generic] | None:
    values = metadata.numbers(_AT + name)
    if values is not None and len(values) != count:
        raise MalformedFileError(f"{metadata.file}: {_AT}{name}: {len(values)} values for {count} tokens")
    return values


def _vocabulary(pieces: Sequence[str], kinds: NDArray[np.generic] | None, respelled: bool) -> dict[str, int]:
    """Token to id in the original spelling, the first of equal ones, without filled-up rows."""
    types = [1] * len(pieces) if kinds is None else kinds.tolist()
    vocabulary: dict[str, int] = {}
    for token_id, (piece, kind) in enumerate(zip(pieces, types, strict=True)):
        if kind == _UNUSED and piece == f"[PAD{token_id}]":
            continue
        vocabulary.setdefault(_word_piece(piece, kind) if respelled else piece, token_id)
    return vocabulary


def _word_piece(piece: str, kind: object) -> str:
    if kind == _CONTROL or (piece.startswith("[") and piece.endswith("]")):
        return piece
    return piece[1:] if piece.startswith(_SPACE) else "##" + piece


def _tokenizer(
    metadata: Metadata,
    model: str | None,
    vocabulary: Mapping[str, int],
    scores: NDArray[np.generic] | None,
    merges: Sequence[str],
    special: Mapping[str, int | None],
) -> dict[str, object] | None:
    """The tokenizer.json; None for a kind of tokenizer that has none."""
    pre = metadata.text(_AT + "pre")
    prefix = metadata.flag(_AT + "add_space_prefix") is not False
    unknown = next((t for t, i in vocabulary.items() if i == special["unk"]), None)
    match model:
        case "gpt2":
            bpe = {"type": "BPE", "vocab": vocabulary, "merges": merges, "ignore_merges": pre in _WORDS_FIRST}
            split = {
                "type": "ByteLevel",
                "add_prefix_space": False,
                "trim_offsets": True,
                "use_regex": pre not in _WHOLE_WORDS,
            }
            return {"pre_tokenizer": split, "model": bpe}
        case "llama" | "gemma4":
            rules = list(merges) or _merges_by_score(vocabulary, scores)
            steps: list[dict[str, object]] = [{"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}]
            if prefix and model == "llama":
                steps.insert(0, {"type": "Prepend", "prepend": _SPACE})
            spm = {
                "type": "BPE",
                "vocab": vocabulary,
                "merges": rules,
                "unk_token": unknown,
                "fuse_unk": True,
                "byte_fallback": True,
            }
            return {"normalizer": {"type": "Sequence", "normalizers": steps}, "model": spm}
        case "t5":
            return _unigram(vocabulary, scores, unknown, prefix)
        case "bert":
            cased = any(piece != piece.lower() for piece in vocabulary if not piece.startswith("["))
            normalizer = {
                "type": "BertNormalizer",
                "clean_text": True,
                "handle_chinese_chars": True,
                "strip_accents": None,
                "lowercase": not cased,
            }
            pieces = {
                "type": "WordPiece",
                "vocab": vocabulary,
                "unk_token": unknown or "[UNK]",
                "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100,
            }
            return {"normalizer": normalizer, "pre_tokenizer": {"type": "BertPreTokenizer"}, "model": pieces}
        case _:
            return None


def _unigram(
    vocabulary: Mapping[str, int], scores: NDArray[np.generic] | None, unknown: str | None, prefix: bool
) -> dict[str, object]:
    """Unigram pieces are a list whose index is the id: ids that have no piece are filled with names that no text holds."""
    pieces: list[list[object]] = [[f"\x00{i}", -1e9] for i in range(max(vocabulary.values(), default=-1) + 1)]
    for piece, token_id in vocabulary.items():
        score = 0.0 if scores is None else float(scores[token_id])
        pieces[token_id] = [piece, score if abs(score) < 1e9 else -1e9]
    split = {
        "type": "Metaspace",
        "replacement": _SPACE,
        "prepend_scheme": "always" if prefix else "never",
        "split": True,
    }
    unk_id = None if unknown is None else vocabulary[unknown]
    return {"pre_tokenizer": split, "model": {"type": "Unigram", "vocab": pieces, "unk_id": unk_id}}


def _merges_by_score(vocabulary: Mapping[str, int], scores: NDArray[np.generic] | None) -> list[str]:
    """Every way to put a piece together from two others, the piece of the highest score first, then by id.

    Within a piece by the ids of its halves: the order in which transformers writes the merges of a SentencePiece model. Empty
    when there are more than the bounds above.
    """
    if sum(map(len, vocabulary)) > _MOST_CHARACTERS:
        return []
    values = None if scores is None else np.nan_to_num(scores.astype(np.float64)).tolist()
    rules: list[tuple[float, int, int, int]] = []
    for piece, token_id in vocabulary.items():
        if 1 < len(piece) <= _LONGEST_MERGED and " " not in piece:
            rank = 0.0 if values is None else -values[token_id]
            for cut in range(1, len(piece)):
                left, right = vocabulary.get(piece[:cut]), vocabulary.get(piece[cut:])
                if left is not None and right is not None:
                    rules.append((rank, token_id, left, right))
            if len(rules) > _MOST_MERGES:
                return []
    rules.sort()
    pieces = {token_id: piece for piece, token_id in vocabulary.items()}
    return [f"{pieces[left]} {pieces[right]}" for _, _, left, right in rules]
