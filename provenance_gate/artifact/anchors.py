"""The anchor tokens of the embedding anchor similarity, by the reference system's definition.

Which 64 rows of an embedding table are compared depends on the tokenizer alone: digits and punctuation, frequent words of
the scripts that the vocabulary holds, then a fixed draw. The lists and the order are part of the definition: a change makes
stored values incomparable.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from provenance_gate.artifact.interface import TokenizerFacts

ANCHOR_COUNT: Final = 64
MARKS: Final = tuple("0123456789.,!?:;")
_WORD_LISTS: Final = {
    "Latin": "the of and to in is that for it was on are with as be at ing tion er al ed es re en",
    "CJK": "的 一 是 不 人 我 在 有 了 这 中 大",
    "Cyrillic": "и в не на я что он к",
    "Arabic": "من في على أن هذا الله إلى لا",
    "Devanagari": "के है का की यह से को पर",
}
WORDS: Final[Mapping[str, tuple[str, ...]]] = {script: tuple(words.split()) for script, words in _WORD_LISTS.items()}
ANCHOR_STRINGS: Final = (*MARKS, *(word for words in WORDS.values() for word in words))
"""Every string whose first id `select_anchors` may ask for."""

_ACTIVE_SHARE: Final = 0.05
_LEAST_WORDS: Final = 2
_POOL_ROWS: Final = 50_000
_SEED: Final = 42


def select_anchors(facts: TokenizerFacts, rows: int) -> tuple[int, ...]:
    """Token ids of the anchors, in the order of the definition.

    Parameters
    ----------
    facts
        Tokenizer, of which `first_ids` and `script_shares` are used.
    rows
        Rows of the embedding table; ids at or above it are passed over.

    Returns
    -------
    tuple of int
        Distinct ids in [0, rows), `ANCHOR_COUNT` of them, or `rows` when the table is smaller.
    """
    anchors: dict[int, None] = {}

    def take(string: str) -> None:
        token_id = facts.first_ids.get(string)
        if token_id is not None and token_id < rows:
            anchors.setdefault(token_id)

    for mark in MARKS:
        take(mark)
    for script, count in allocate_words(facts.script_shares, ANCHOR_COUNT - len(anchors)).items():
        for word in WORDS[script][:count]:
            take(word)
    chosen = list(anchors)[:ANCHOR_COUNT]
    pool = np.setdiff1d(np.arange(min(rows, _POOL_ROWS)), np.array(chosen, dtype=np.int64))
    size = min(ANCHOR_COUNT - len(chosen), len(pool))
    # The legacy generator: its stream is frozen by numpy, that of default_rng is not.
    drawn = np.random.RandomState(_SEED).choice(pool, size, replace=False) if size else pool[:0]
    return (*chosen, *(int(token_id) for token_id in drawn))


def allocate_words(shares: Mapping[str, float], budget: int) -> dict[str, int]:
    """How many words of each script to try, the script of the largest share first.

    Each active script gets ``max(2, round(budget * share / sum of active shares))``; the largest allocation takes up the
    difference to `budget`, but stays at 2 or more.
    """
    active = [script for script in WORDS if shares.get(script, 0.0) >= _ACTIVE_SHARE] or ["Latin"]
    active.sort(key=lambda script: -shares.get(script, 0.0))
    total = sum(shares.get(script, 0.0) for script in active)
    counts = {
        script: max(_LEAST_WORDS, round(budget * (shares.get(script, 0.0) / total if total else 1.0)))
        for script in active
    }
    largest = max(counts, key=lambda script: counts[script])
    counts[largest] = max(_LEAST_WORDS, counts[largest] + budget - sum(counts.values()))
    return counts
