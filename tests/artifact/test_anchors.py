"""Anchor selection against the reference definition and its published values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenance_gate.artifact.anchors import ANCHOR_COUNT, ANCHOR_STRINGS, MARKS, WORDS, allocate_words, select_anchors
from provenance_gate.artifact.interface import Sha256, TokenizerFacts

LATIN = {"Latin": 0.9, "Other": 0.1}


def facts_with(first_ids: dict[str, int], shares: dict[str, float]) -> TokenizerFacts:
    return TokenizerFacts(
        class_name=None,
        model=None,
        vocab_size=1000,
        tokens=np.zeros(0, dtype=np.uint64),
        token_ids=np.zeros(0, dtype=np.int64),
        vocabulary_sha256=Sha256("0" * 64),
        special_ids={},
        num_merges=0,
        first_merges_sha256=Sha256("0" * 64),
        merges_sha256=Sha256("0" * 64),
        mean_token_length=1.0,
        space_mark_share=0.0,
        script_shares=shares,
        has_byte_tokens=False,
        first_ids=first_ids,
    )


def test_the_lists_have_the_lengths_of_the_definition() -> None:
    assert len(MARKS) == 16
    assert [len(words) for words in WORDS.values()] == [24, 12, 8, 8, 8]
    assert len(set(ANCHOR_STRINGS)) == len(ANCHOR_STRINGS) == 76


def test_marks_come_first_then_words_then_the_fixed_draw() -> None:
    first_ids = {mark: 100 + i for i, mark in enumerate(MARKS)} | {
        word: 200 + i for i, word in enumerate(WORDS["Latin"])
    }
    anchors = select_anchors(facts_with(first_ids, LATIN), 1000)
    assert anchors[:40] == (*range(100, 116), *range(200, 224))
    pool = [i for i in range(1000) if i not in anchors[:40]]
    assert anchors[40:] == tuple(np.random.RandomState(42).choice(pool, 24, replace=False).tolist())


def test_an_id_is_taken_once_and_only_below_the_number_of_rows() -> None:
    anchors = select_anchors(facts_with({"0": 5, "1": 5, "2": 990, "the": 6}, LATIN), 900)
    assert anchors[:2] == (5, 6)
    assert 990 not in anchors
    assert len(set(anchors)) == ANCHOR_COUNT


def test_a_small_table_gives_all_of_its_rows() -> None:
    assert sorted(select_anchors(facts_with({"0": 3}, LATIN), 10)) == list(range(10))
    assert select_anchors(facts_with({"0": 3}, LATIN), 0) == ()


def test_the_draw_stays_below_fifty_thousand() -> None:
    assert max(select_anchors(facts_with({}, LATIN), 200_000)) < 50_000


@pytest.mark.parametrize(
    ("shares", "budget", "expected"),
    [
        (LATIN, 48, {"Latin": 48}),
        ({"Other": 1.0}, 48, {"Latin": 48}),
        # 48 * 0.6 / 0.9 = 32 and 48 * 0.3 / 0.9 = 16; 0.04 is not active.
        ({"Latin": 0.6, "CJK": 0.3, "Arabic": 0.04}, 48, {"Latin": 32, "CJK": 16}),
        ({"Latin": 0.3, "Cyrillic": 0.6}, 48, {"Cyrillic": 32, "Latin": 16}),
        # 10 * 0.9 / 0.95 = 9.47 -> 9 and 10 * 0.05 / 0.95 = 0.53 -> 2; the larger gives up one.
        ({"Latin": 0.9, "CJK": 0.05}, 10, {"Latin": 8, "CJK": 2}),
        # Five scripts of two each are ten; the first of the largest cannot go below two.
        (dict.fromkeys(WORDS, 0.2), 3, dict.fromkeys(WORDS, 2)),
    ],
)
def test_words_are_split_by_share(shares: dict[str, float], budget: int, expected: dict[str, int]) -> None:
    counts = allocate_words(shares, budget)
    assert counts == expected
    assert list(counts) == list(expected)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.sampled_from(ANCHOR_STRINGS), st.integers(0, 2000)),
    st.dictionaries(st.sampled_from([*WORDS, "Other"]), st.floats(0, 1)),
    st.integers(0, 1500),
)
def test_anchors_are_distinct_rows(first_ids: dict[str, int], shares: dict[str, float], rows: int) -> None:
    anchors = select_anchors(facts_with(first_ids, shares), rows)
    assert len(anchors) == len(set(anchors)) == min(rows, ANCHOR_COUNT)
    assert all(0 <= token_id < rows for token_id in anchors)
