"""Merge rules of a SentencePiece BPE model, rebuilt from pieces and scores: the file has none, its tokenizer.json has.

All cuts of many pieces are looked up at once, by a polynomial hash of the two halves modulo 2**64. A hash only nominates, the
bytes decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.gguf.strings import Strings, gather

LONGEST_MERGED: Final = 32
MOST_BYTES: Final = 5_000_000
MOST_MERGES: Final = 1_000_000
"""Characters of one piece and bytes of all for which merges are rebuilt, and merges: real lists have half; it bounds the work."""

_LONGEST: Final = 4 * LONGEST_MERGED
_AT_ONCE: Final = 1 << 13
"""Pieces, cuts or rules handled at a time: only saves memory."""

_BASE: Final = 0x9E3779B97F4A7C15
"""Any odd number has an inverse modulo 2**64; this one has bits everywhere."""

_BITS: Final = 22

Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]


def merges_by_score(
    tokens: Strings, vocabulary: Mapping[bytes, int], scores: NDArray[np.generic] | None
) -> NDArray[np.int32]:
    """Every way to put a piece together from two others, as ids (piece, left, right), shape (n, 3).

    The piece of the highest score comes first, then by id; within a piece by the ids of its halves: the order in which
    transformers writes the merges of a SentencePiece model. Pieces that hold a space take no part. No rows when there are more
    than the bounds above, or when two pieces were made to share a hash.

    Parameters
    ----------
    tokens
        By id, valid UTF-8 each.
    vocabulary
        Token to id: which of `tokens` count. Its tokens are distinct.
    """
    none = np.zeros((0, 3), np.int32)
    if len(tokens.text) > MOST_BYTES:
        return none
    pieces = _Pieces(tokens, np.fromiter(vocabulary.values(), dtype=np.int64, count=len(vocabulary)))
    if (pieces.hashes[1:] == pieces.hashes[:-1]).any():
        return none
    found = []
    count = 0
    for portion in pieces.merges():
        found.append(portion)
        count += len(portion)
        if count > MOST_MERGES:
            return none
    merges = np.concatenate([none, *found])
    whole = merges[:, 0]
    rank = np.zeros(len(whole)) if scores is None else -np.nan_to_num(scores[whole].astype(np.float64))
    return merges[np.lexsort((merges[:, 2], merges[:, 1], whole, rank))]


def rules_of(merges: NDArray[np.int32], tokens: Strings) -> list[bytes]:
    """The rules of `merges_by_score` as "left right"."""
    return [b"%b %b" % (tokens[left], tokens[right]) for _, left, right in merges.tolist()]


def lines_of(merges: NDArray[np.int32], tokens: Strings) -> Iterator[bytes]:
    """What `rules_of` gives, with a line feed between two, in pieces."""
    text = np.frombuffer(tokens.text + b" \n", np.uint8)
    starts, lengths = tokens.places()
    space, line_feed = len(text) - 2, len(text) - 1
    for first in range(0, len(merges), _AT_ONCE):
        _, left, right = merges[first : first + _AT_ONCE].T
        one = np.ones(len(left), np.int64)
        places = np.stack((one * line_feed, starts[left], one * space, starts[right]), axis=1)
        sizes = np.stack((one, lengths[left], one, lengths[right]), axis=1)
        lines = gather(text, places.reshape(-1), sizes.reshape(-1)).tobytes()
        yield lines if first else lines[1:]


class _Pieces:
    """The pieces that may take part, in the order of their hashes.

    A hash is the sum of (byte + 1) * base**place: what two of them tell apart, differing bytes tell apart too.
    """

    def __init__(self, tokens: Strings, ids: Ints) -> None:
        starts, lengths = tokens.places()
        ids = ids[(lengths[ids] > 0) & (lengths[ids] <= _LONGEST)]
        self.text = np.frombuffer(tokens.text, np.uint8)
        self.starts, self.lengths = starts[ids], lengths[ids]
        self.powers, self.inverse = _powers(_BASE), _powers(pow(_BASE, -1, 2**64))
        parts = [self._sums(np.arange(n, min(n + _AT_ONCE, len(ids)))) for n in range(0, len(ids), _AT_ONCE)]
        hashes = np.concatenate([np.zeros(0, np.uint64), *(sums[last] - sums[first] for sums, first, last in parts)])
        order = np.argsort(hashes, kind="stable")
        self.hashes, self.ids = hashes[order], ids[order]
        self.starts, self.lengths = self.starts[order], self.lengths[order]
        self.seen = np.zeros(1 << _BITS, np.bool_)
        self.seen[self.hashes >> np.uint64(64 - _BITS)] = True

    def merges(self) -> Iterator[NDArray[np.int32]]:
        """(piece, left, right) of every cut of a piece into two others, shape (n, 3) each."""
        for first in range(0, len(self.ids), _AT_ONCE):
            wholes = np.arange(first, min(first + _AT_ONCE, len(self.ids)))
            owners, cuts, left, right = self._cuts(wholes)
            for at in range(0, len(owners), _AT_ONCE):
                some = slice(at, at + _AT_ONCE)
                yield self._confirmed(owners[some], cuts[some], left[some], right[some])

    def _sums(self, which: Ints) -> tuple[Hashes, Ints, Ints]:
        """Running sums over the bytes of some pieces, and where in them each piece begins and ends."""
        lengths = self.lengths[which]
        last = np.cumsum(lengths)
        first = last - lengths
        place = np.arange(int(last[-1])) - np.repeat(first, lengths)
        terms = (self.text[np.repeat(self.starts[which], lengths) + place].astype(np.uint64) + np.uint64(1)) * (
            self.powers[place]
        )
        return np.concatenate((np.zeros(1, np.uint64), np.cumsum(terms, dtype=np.uint64))), first, last

    def _cuts(self, wholes: Ints) -> tuple[Ints, Ints, Ints, Ints]:
        """Cuts whose halves have the hashes of pieces: piece, bytes before the cut, left and right piece, by place."""
        wholes = wholes[self._may_be_merged(wholes)]
        if not len(wholes):
            return wholes, wholes, wholes, wholes
        sums, first, last = self._sums(wholes)
        count = self.lengths[wholes] - 1
        owner = np.repeat(np.arange(len(wholes)), count)
        cut = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count) + 1
        left = sums[first[owner] + cut] - sums[first[owner]]
        right = (sums[last[owner]] - sums[first[owner] + cut]) * self.inverse[cut]
        top = np.uint64(64 - _BITS)
        likely = self.seen[left >> top] & self.seen[right >> top]
        owner, cut, left, right = owner[likely], cut[likely], left[likely], right[likely]
        at_left, at_right = self._find(left), self._find(right)
        known = (self.hashes[at_left] == left) & (self.hashes[at_right] == right)
        return wholes[owner[known]], cut[known], at_left[known], at_right[known]

    def _find(self, hashes: Hashes) -> Ints:
        return np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)

    def _may_be_merged(self, wholes: Ints) -> NDArray[np.bool_]:
        """Pieces of 2 to `LONGEST_MERGED` characters without a space. (A cut within a character leaves no UTF-8, so no piece.)"""
        owner = np.repeat(np.arange(len(wholes)), self.lengths[wholes])
        text = gather(self.text, self.starts[wholes], self.lengths[wholes])
        characters = np.bincount(owner[(text & 0xC0) != 0x80], minlength=len(wholes))
        spaces = np.bincount(owner[text == 0x20], minlength=len(wholes))
        fits: NDArray[np.bool_] = (self.lengths[wholes] > 1) & (characters <= LONGEST_MERGED) & (spaces == 0)
        return fits

    def _confirmed(self, wholes: Ints, cuts: Ints, left: Ints, right: Ints) -> NDArray[np.int32]:
        """Those whose halves are the same bytes."""
        fits = (self.lengths[left] == cuts) & (self.lengths[right] == self.lengths[wholes] - cuts)
        wholes, left, right = wholes[fits], left[fits], right[fits]
        halves = np.stack((left, right), axis=1).reshape(-1)
        owner = np.repeat(np.arange(len(wholes)), self.lengths[wholes])
        differs = gather(self.text, self.starts[wholes], self.lengths[wholes]) != (
            gather(self.text, self.starts[halves], self.lengths[halves])
        )
        same = np.bincount(owner[differs], minlength=len(wholes)) == 0
        chosen: NDArray[np.int32] = self.ids[np.stack((wholes, left, right), axis=1)[same]].astype(np.int32)
        return chosen


def _powers(base: int) -> Hashes:
    """base**0 to base**_LONGEST modulo 2**64."""
    return np.array([pow(base, exponent, 2**64) for exponent in range(_LONGEST + 1)], np.uint64)
