"""How many public models share what a tell looks at: the figures that docs/tells.md gives, counted again."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from provenance_gate.registry.catalog import ModelRecord
from provenance_gate.registry.layers import open_registries
from provenance_gate.tells import equal_shape, known_tokenizer, rope_story, vocabulary_story

DOCS = Path(__file__).resolve().parents[2] / "docs" / "tells.md"
Facts = Mapping[str, Any]
TOLERANCE = 12
"""Models by which a figure of the documentation may lag behind the catalog."""


def same_shape(a: Facts, b: Facts) -> bool:
    one, other = (equal_shape._shape(f["config"], equal_shape._SIZES) for f in (a, b))
    return equal_shape._agree(one, other, ())


def same_positions(a: Facts, b: Facts) -> bool:
    one, other = (rope_story._setting(f["config"], rope_story._original(f["config"])) for f in (a, b))
    return one is not None and one == other


def same_ids(a: Facts, b: Facts) -> bool:
    one = vocabulary_story._Ids.of(a["config"], a["tokenizer"])
    return one is not None and one == vocabulary_story._Ids.of(b["config"], b["tokenizer"], one.names)


def same_first_merges(a: Facts, b: Facts) -> bool:
    one, other = a["tokenizer"], b["tokenizer"]
    return bool(one["num_merges"]) and one["merge_rule_hash"] == other["merge_rule_hash"]


def same_counts(a: Facts, b: Facts) -> bool:
    return same_first_merges(a, b) and known_tokenizer._agree(
        a["tokenizer"], b["tokenizer"], ("vocab_size", "num_merges")
    )


SHARED: dict[str, Callable[[Facts, Facts], bool]] = {
    "3": same_shape,
    "4": same_positions,
    "5": same_ids,
    "8": same_counts,
    "9": same_first_merges,
}


@pytest.fixture(scope="module")
def described() -> list[ModelRecord]:
    return [r for r in open_registries(()).catalog.records() if r.facts.get("config")]


def ancestors(record: ModelRecord, records: Mapping[str, ModelRecord]) -> set[str]:
    found, open_ones = {record.id}, [record.id]
    while open_ones:
        step = records.get(open_ones.pop())
        fresh = [p for p in (step.parents if step is not None else ()) if p not in found]
        found.update(fresh)
        open_ones += fresh
    return found


@pytest.mark.parametrize("tell", SHARED)
def test_the_documented_share_of_strangers_is_that_of_the_catalog(tell: str, described: list[ModelRecord]) -> None:
    records = {r.id: r for r in open_registries(()).catalog.records()}
    lines = {r.id: ancestors(r, records) for r in described}
    share = SHARED[tell]
    count = sum(
        any(
            b.family != a.family and not lines[a.id] & lines[b.id] and share(a.facts, b.facts)
            for b in described
            if b is not a
        )
        for a in described
    )
    row = re.search(rf"^\| {tell} \|.*?(\d+) of (\d+) \|$", DOCS.read_text("utf-8"), re.MULTILINE)
    assert row is not None
    assert abs(int(row.group(1)) - count) <= TOLERANCE and abs(int(row.group(2)) - len(described)) <= TOLERANCE
