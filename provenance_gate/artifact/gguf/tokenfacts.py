"""`TokenizerFacts` of a token list that is kept as bytes: what `parse_tokenizer` gives for the tokenizer.json, in bounded memory.

The definitions are those of `artifact.tokenizer`; the tests hold both to the same values. What lasts per token is an entry of a
dict and its bytes; digests, texts and code points are taken in pieces.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.gguf.strings import Strings
from provenance_gate.artifact.interface import Sha256, TokenizerFacts
from provenance_gate.artifact.tokenizer import FIRST_MERGES, SCRIPTS, SPACE_MARKS

_AT_ONCE: Final = 1 << 14
"""Tokens or merge rules handled at a time: only saves memory."""

_BYTES_AT_ONCE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class MergeRules:
    """Merge rules "left right": how many, the first `FIRST_MERGES` of them, and all with a line feed between two, in pieces."""

    count: int
    first: Sequence[bytes]
    lines: Iterable[bytes]

    @staticmethod
    def of(rules: Strings) -> MergeRules:
        """Of a list that the file has."""
        return MergeRules(len(rules), tuple(islice(rules, FIRST_MERGES)), _lines(rules))


def facts_of(
    model: str,
    vocabulary: Mapping[bytes, int],
    merges: MergeRules,
    special_ids: Mapping[str, int | None],
    first_ids: Mapping[str, int],
) -> TokenizerFacts:
    """Facts of a vocabulary.

    Parameters
    ----------
    model
        Type of the model as tokenizer.json spells it.
    vocabulary
        Token in UTF-8 to id, at least one, in the order of the ids.
    """
    characters = _characters(vocabulary)
    tokens, token_ids = _digests(vocabulary)
    marks = tuple(mark.encode() for mark in SPACE_MARKS)
    return TokenizerFacts(
        class_name=None,
        model=model,
        vocab_size=len(vocabulary),
        tokens=tokens,
        token_ids=token_ids,
        vocabulary_sha256=_vocabulary_sha256(vocabulary, characters),
        special_ids=special_ids,
        num_merges=merges.count,
        first_merges_sha256=_sha256((b"\n".join(merges.first),)),
        merges_sha256=_sha256(merges.lines),
        mean_token_length=int(characters.sum()) / len(vocabulary),
        space_mark_share=sum(token.startswith(marks) for token in vocabulary) / len(vocabulary),
        script_shares=_script_shares(vocabulary),
        has_byte_tokens=any(f"<0x{byte:02X}>".encode() in vocabulary for byte in range(256)),
        first_ids=first_ids,
    )


def _characters(vocabulary: Iterable[bytes]) -> NDArray[np.int64]:
    """Number of characters of each token."""
    parts = [[len(token) if token.isascii() else len(token.decode()) for token in p] for p in _portions(vocabulary)]
    return np.concatenate([np.array(part, dtype="<i8") for part in parts])


def _digests(vocabulary: Mapping[bytes, int]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Digests of the tokens, sorted and unique, and their ids in the same order."""
    blake2b = hashlib.blake2b
    digests = bytearray()
    for some in _portions(vocabulary):
        digests += b"".join([blake2b(token, digest_size=8).digest() for token in some])
    tokens, first = np.unique(np.frombuffer(digests, dtype="<u8").astype(np.uint64), return_index=True)
    ids = np.fromiter(vocabulary.values(), dtype=np.int64, count=len(vocabulary))[first]
    # Facts are shared by every artifact with this tokenizer.
    tokens.setflags(write=False)
    ids.setflags(write=False)
    return tokens, ids


def _vocabulary_sha256(vocabulary: Mapping[bytes, int], characters: NDArray[np.int64]) -> Sha256:
    digest = hashlib.sha256(characters.tobytes())
    digest.update(np.fromiter(vocabulary.values(), dtype="<i8", count=len(vocabulary)).tobytes())
    for some in _portions(vocabulary):
        digest.update(b"".join(some))
    return Sha256(digest.hexdigest())


def _sha256(pieces: Iterable[bytes]) -> Sha256:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return Sha256(digest.hexdigest())


def _lines(rules: Strings) -> Iterator[bytes]:
    separator = b""
    for some in _portions(rules):
        yield separator + b"\n".join(some)
        separator = b"\n"


def _script_shares(vocabulary: Iterable[bytes]) -> dict[str, float]:
    """Share of the alphabetic characters per script, rounded to 4 digits; all zero when there are none."""
    frequencies = np.zeros(0x110000, dtype=np.int64)
    for text in _joined(vocabulary):
        codes = np.frombuffer(text.decode().encode("utf-32-le"), dtype="<u4")
        found = np.bincount(codes)
        frequencies[: len(found)] += found
    counts = dict.fromkeys((*SCRIPTS, "Other"), 0)
    for code in np.flatnonzero(frequencies).tolist():
        if chr(code).isalpha():
            counts[_script(chr(code))] += int(frequencies[code])
    total = sum(counts.values())
    return {script: round(count / total, 4) if total else 0.0 for script, count in counts.items()}


def _script(character: str) -> str:
    name = unicodedata.name(character, "")
    return next((script for script, words in SCRIPTS.items() if any(word in name for word in words)), "Other")


def _joined(tokens: Iterable[bytes]) -> Iterator[bytes]:
    """All tokens joined, in pieces of some hundred kilobytes, or one token, that end with a token."""
    for some in _portions(tokens):
        step = len(some) if sum(map(len, some)) < _BYTES_AT_ONCE else 1
        for first in range(0, len(some), step):
            yield b"".join(some[first : first + step])


def _portions(values: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Lists of at most `_AT_ONCE` values, none empty."""
    rest = iter(values)
    for first in rest:
        yield list(chain((first,), islice(rest, _AT_ONCE - 1)))
