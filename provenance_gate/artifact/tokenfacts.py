"""`TokenizerFacts` of a vocabulary in bounded memory, whatever file it comes from.

What lasts per token is an entry of a dict and its bytes; digests, texts and code points are taken in pieces.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.interface import Sha256, TokenizerFacts

MAX_TOKENS: Final = 1_000_000
"""Of one vocabulary. The longest in use, XLM-V's, has 901,629."""

FIRST_MERGES: Final = 50
SPACE_MARKS: Final = ("▁", "Ġ", " ")
SCRIPTS: Final[Mapping[str, tuple[str, ...]]] = {
    "Latin": ("LATIN",),
    "CJK": ("CJK", "HANGUL", "HIRAGANA", "KATAKANA", "BOPOMOFO"),
    "Cyrillic": ("CYRILLIC",),
    "Arabic": ("ARABIC",),
    "Devanagari": ("DEVANAGARI",),
}
"""Scripts by words in the Unicode names of their characters, first hit wins; what matches none is Other."""

_AT_ONCE: Final = 1 << 14
"""Tokens or merge rules handled at a time: only saves memory."""

_BYTES_AT_ONCE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class MergeRules:
    """Merge rules "left right": how many, and the SHA-256 of the first `FIRST_MERGES` and of all, a line feed between two."""

    count: int
    first_sha256: Sha256
    sha256: Sha256

    @staticmethod
    def of(rules: Iterable[bytes]) -> MergeRules:
        """Of rules one by one."""
        lines = MergeLines()
        for some in portions(rules):
            lines.add(some)
        return lines.rules()

    @staticmethod
    def of_lines(count: int, first: list[bytes], lines: Iterable[bytes]) -> MergeRules:
        """Of the first `FIRST_MERGES` and the text of all in pieces, line feeds included."""
        digest = hashlib.sha256()
        for piece in lines:
            digest.update(piece)
        return MergeRules(count, MergeRules.of(first).sha256, Sha256(digest.hexdigest()))


class MergeLines:
    """`MergeRules` of rules that are met some at a time."""

    def __init__(self) -> None:
        self.count = 0
        self._first: list[bytes] = []
        self._digest = hashlib.sha256()

    def add(self, rules: list[bytes]) -> None:
        """The next rules."""
        if rules:
            self._digest.update(b"\n" if self.count else b"")
            self._digest.update(b"\n".join(rules))
            self._first += rules[: max(0, FIRST_MERGES - self.count)]
            self.count += len(rules)

    def rules(self) -> MergeRules:
        """Of all that were added."""
        first = hashlib.sha256(b"\n".join(self._first)).hexdigest()
        return MergeRules(self.count, Sha256(first), Sha256(self._digest.hexdigest()))


NO_MERGES: Final = MergeLines().rules()


def facts_of(
    class_name: str | None,
    model: str | None,
    vocabulary: Mapping[bytes, int],
    merges: MergeRules,
    special_ids: Mapping[str, int | None],
    first_ids: Mapping[str, int],
) -> TokenizerFacts:
    """Facts of a vocabulary.

    Parameters
    ----------
    class_name, model
        Class of the tokenizer and type of the model as tokenizer_config.json and tokenizer.json spell them.
    vocabulary
        Token in UTF-8 to id, at least one.
    """
    characters = _characters(vocabulary)
    tokens, token_ids = _digests(vocabulary)
    marks = tuple(mark.encode() for mark in SPACE_MARKS)
    return TokenizerFacts(
        class_name=class_name,
        model=model,
        vocab_size=len(vocabulary),
        tokens=tokens,
        token_ids=token_ids,
        vocabulary_sha256=_vocabulary_sha256(vocabulary, characters),
        special_ids=special_ids,
        num_merges=merges.count,
        first_merges_sha256=merges.first_sha256,
        merges_sha256=merges.sha256,
        mean_token_length=int(characters.sum()) / len(vocabulary),
        space_mark_share=sum(token.startswith(marks) for token in vocabulary) / len(vocabulary),
        script_shares=_script_shares(vocabulary),
        has_byte_tokens=any(f"<0x{byte:02X}>".encode() in vocabulary for byte in range(256)),
        first_ids=first_ids,
    )


def portions(values: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Lists of at most `_AT_ONCE` values, none empty."""
    rest = iter(values)
    for first in rest:
        yield list(chain((first,), islice(rest, _AT_ONCE - 1)))


def _characters(vocabulary: Iterable[bytes]) -> NDArray[np.int64]:
    """Number of characters of each token."""
    parts = [[len(token) if token.isascii() else len(token.decode()) for token in p] for p in portions(vocabulary)]
    return np.concatenate([np.array(part, dtype="<i8") for part in parts])


def _digests(vocabulary: Mapping[bytes, int]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Digests of the tokens, sorted and unique, and their ids in the same order."""
    blake2b = hashlib.blake2b
    digests = bytearray()
    for some in portions(vocabulary):
        digests += b"".join([blake2b(token, digest_size=8).digest() for token in some])
    tokens, first = np.unique(np.frombuffer(digests, dtype="<u8").astype(np.uint64), return_index=True)
    ids = np.fromiter(vocabulary.values(), dtype=np.int64, count=len(vocabulary))[first]
    # Facts are shared by every artifact with this tokenizer.
    tokens.setflags(write=False)
    ids.setflags(write=False)
    return tokens, ids


def _vocabulary_sha256(vocabulary: Mapping[bytes, int], characters: NDArray[np.int64]) -> Sha256:
    """SHA-256 over lengths, ids and text of the tokens, by id, and by token where some share an id."""
    ids = np.fromiter(vocabulary.values(), dtype="<i8", count=len(vocabulary))
    tokens: Iterable[bytes] = vocabulary
    if not (np.diff(ids) > 0).all():
        listed = list(vocabulary)
        order = _order(ids, listed)
        ids, characters = ids[order], characters[order]
        tokens = (listed[at] for part in np.array_split(order, 1 + len(order) // _AT_ONCE) for at in part.tolist())
    # The lengths make it one-to-one: a token that holds a separator cannot pass for two.
    digest = hashlib.sha256(characters.tobytes())
    digest.update(ids.tobytes())
    for some in portions(tokens):
        digest.update(b"".join(some))
    return Sha256(digest.hexdigest())


def _order(ids: NDArray[np.int64], tokens: list[bytes]) -> NDArray[np.int64]:
    """Places by id, then by token: in UTF-8 that is the order of the characters."""
    order = np.argsort(ids, kind="stable")
    changes = np.flatnonzero(np.diff(ids[order])) + 1
    starts, stops = np.concatenate(([0], changes)), np.concatenate((changes, [len(ids)]))
    shared = stops - starts > 1
    for start, stop in zip(starts[shared].tolist(), stops[shared].tolist(), strict=True):
        order[start:stop] = sorted(order[start:stop].tolist(), key=tokens.__getitem__)
    return order


def _script_shares(vocabulary: Iterable[bytes]) -> dict[str, float]:
    """Share of the alphabetic characters per script, rounded to 4 digits; all zero when there are none."""
    frequencies = np.zeros(0x110000, dtype=np.int64)
    for text in _joined(vocabulary):
        codes = np.frombuffer(text.decode().encode("utf-32-le"), dtype="<u4")
        # Counting code points in numpy takes a tenth of collections.Counter's time.
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
    for some in portions(tokens):
        step = len(some) if sum(map(len, some)) < _BYTES_AT_ONCE else 1
        for first in range(0, len(some), step):
            yield b"".join(some[first : first + step])
