"""The token list of a GGUF file to `TokenizerFacts`, equal where possible to those of the original tokenizer.json.

Tokens, merges and scores stay the bytes that they are; facts are taken from them (`tokenfacts`) as `parse_tokenizer` would from
the original. Put back are

- the model: gpt2 is byte-level BPE; llama (SentencePiece BPE) has no merges in the file, they are rebuilt from the pieces in
  the order of their scores, as transformers does; t5 is Unigram; bert is WordPiece, whose pieces the converter has
  respelled (a word start gained U+2581, a continuation lost its ``##``);
- the splitting into words, as far as it touches one word alone (`anchortokenizer`);
- the rows that the converter fills up with ``[PAD123]`` are left out.

Lost is what the file does not carry: the class name, and normalizers that change a word (none of the anchors is).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import repeat
from typing import Final

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.gguf.anchortokenizer import KINDS, first_ids_of, wanted_pieces
from provenance_gate.artifact.gguf.merges import lines_of, merges_by_score, rules_of
from provenance_gate.artifact.gguf.metadata import Metadata
from provenance_gate.artifact.gguf.strings import NO_STRINGS, Strings
from provenance_gate.artifact.interface import NotMeasured, TokenizerFacts
from provenance_gate.artifact.tokenfacts import FIRST_MERGES, NO_MERGES, MergeRules, facts_of
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
_SPACE: Final = "▁".encode()


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
    merges = metadata.strings(_AT + "merges") or NO_STRINGS
    kinds, scores = _one_per_token(metadata, "token_type", len(tokens)), _one_per_token(metadata, "scores", len(tokens))
    special = {name: metadata.token_id(_AT + key) for name, key in _SPECIAL.items()}
    pre, prefix = metadata.text(_AT + "pre"), metadata.flag(_AT + "add_space_prefix") is not False
    if model is None or model not in KINDS:
        return NotMeasured(f"tokenizer.ggml.model {one_line(repr(model), 40)} is not known")
    if not tokens.is_utf8() or not merges.is_utf8():
        return NotMeasured("a token or merge rule of the GGUF metadata is not UTF-8")
    vocabulary = _vocabulary(tokens, kinds, respelled=model == "bert")
    if not vocabulary:
        return NotMeasured("vocabulary in the GGUF metadata: it is empty")
    unknown = next((token for token, token_id in vocabulary.items() if token_id == special["unk"]), None)
    try:
        rules, few = _rules(model, tokens, vocabulary, merges, scores)
        first_ids = first_ids_of(model, vocabulary, scores, few, unknown, pre, prefix)
    except ArtifactError as error:
        return NotMeasured(f"vocabulary in the GGUF metadata: {str(error).removeprefix('tokenizer.json: ')}")
    known = {
        name: None if token_id is None or token_id >= len(tokens) else token_id for name, token_id in special.items()
    }
    return facts_of(None, KINDS[model], vocabulary, rules, known, first_ids)


def _one_per_token(metadata: Metadata, name: str, count: int) -> NDArray[np.generic] | None:
    values = metadata.numbers(_AT + name)
    if values is not None and len(values) != count:
        raise MalformedFileError(f"{metadata.file}: {_AT}{name}: {len(values)} values for {count} tokens")
    return values


def _vocabulary(tokens: Strings, kinds: NDArray[np.generic] | None, respelled: bool) -> dict[bytes, int]:
    """Token to id in the original spelling, the first of equal ones, without filled-up rows; in the order of the ids."""
    if not respelled and (kinds is None or not (kinds == _UNUSED).any()):
        plain = dict(zip(tokens, range(len(tokens)), strict=True))
        if len(plain) == len(tokens):
            return plain
    types = repeat(1) if kinds is None else iter(kinds.tolist())
    vocabulary: dict[bytes, int] = {}
    for token_id, (piece, kind) in enumerate(zip(tokens, types, strict=False)):
        if kind == _UNUSED and piece == b"[PAD%d]" % token_id:
            continue
        vocabulary.setdefault(_word_piece(piece, kind) if respelled else piece, token_id)
    return vocabulary


def _word_piece(piece: bytes, kind: object) -> bytes:
    if kind == _CONTROL or (piece.startswith(b"[") and piece.endswith(b"]")):
        return piece
    return piece[len(_SPACE) :] if piece.startswith(_SPACE) else b"##" + piece


def _rules(
    model: str,
    tokens: Strings,
    vocabulary: Mapping[bytes, int],
    merges: Strings,
    scores: NDArray[np.generic] | None,
) -> tuple[MergeRules, list[bytes]]:
    """All merge rules, and those that an anchor string can meet. Raises ArtifactError for one that no tokenizer could use."""
    wanted = wanted_pieces(model)
    if KINDS[model] != "BPE":
        return NO_MERGES, []
    if not len(merges) and model != "gpt2":
        rebuilt = merges_by_score(tokens, vocabulary, scores)
        ids = [vocabulary[piece] for piece in wanted if piece in vocabulary]
        first = rules_of(rebuilt[:FIRST_MERGES], tokens)
        return MergeRules.of_lines(len(rebuilt), first, lines_of(rebuilt, tokens)), rules_of(
            rebuilt[np.isin(rebuilt[:, 0], ids)], tokens
        )
    few = []
    for number, rule in enumerate(merges):
        left, _, right = rule.partition(b" ")
        whole = left + right
        # The tokenizers library passes over the line that starts a merges.txt.
        if rule.startswith(b"#version"):
            continue
        if left not in vocabulary or right not in vocabulary or whole not in vocabulary:
            raise ArtifactError(f"merge rule {number}, {one_line(repr(rule), 60)}, is not of tokens that are listed")
        if whole in wanted:
            few.append(rule)
    return MergeRules.of(merges), few
