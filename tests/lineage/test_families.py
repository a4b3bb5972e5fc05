"""Family trees over matches, on made-up bodies whose line of descent is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from provenance_gate.lineage.families import Family, families

SIZE = 20_000


class Bodies:
    """Vectors that stand for weights: children are parents plus an independent change."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.values: dict[str, np.ndarray] = {}

    def root(self, name: str) -> None:
        self.values[name] = self.rng.standard_normal(SIZE)

    def child(self, name: str, parent: str, change: float) -> None:
        self.values[name] = self.values[parent] + change * self.rng.standard_normal(SIZE)

    def share(self, one: str, other: str) -> float:
        a, b = self.values[one], self.values[other]
        return float(np.dot(a, b) ** 2 / (np.dot(a, a) * np.dot(b, b)))

    def found(self, matches: Sequence[str], records: Mapping[str, Sequence[str]]) -> tuple[Family, ...]:
        return families({m: self.share("artifact", m) for m in matches}, self.share, lambda m: records.get(m))


@pytest.mark.parametrize("change", [0.003, 0.03, 0.3])
def test_the_second_hop_lies_between_the_artifact_and_the_root(change: float) -> None:
    bodies = Bodies()
    bodies.root("base")
    bodies.child("instruct", "base", change)
    bodies.child("artifact", "instruct", change)
    records = {"base": (), "instruct": ("base",)}
    assert bodies.found(["base", "instruct"], records) == (Family("instruct", ("base", "instruct"), "base", ()),)


def test_a_sibling_that_learned_the_same_is_no_step_in_between() -> None:
    bodies = Bodies()
    bodies.root("base")
    lesson = 0.1 * bodies.rng.standard_normal(SIZE)
    bodies.values["sibling"] = bodies.values["base"] + lesson
    bodies.values["artifact"] = bodies.values["base"] + lesson + 0.15 * bodies.rng.standard_normal(SIZE)
    (family,) = bodies.found(["base", "sibling"], {"base": (), "sibling": ("base",)})
    assert (family.nearest, family.line, family.root) == ("base", ("base",), "base")
    assert family.unclear == family.relatives == ("sibling",)


@pytest.mark.parametrize("change", [0.003, 0.03, 0.3])
def test_a_sibling_is_a_relative_and_no_ancestor(change: float) -> None:
    bodies = Bodies()
    bodies.root("base")
    bodies.child("sibling", "base", change)
    bodies.child("artifact", "base", change)
    assert bodies.found(["base", "sibling"], {"base": ()}) == (Family("base", ("base",), "base", ("sibling",)),)


def test_two_strangers_that_were_mixed_are_two_families() -> None:
    bodies = Bodies()
    bodies.root("one")
    bodies.root("two")
    bodies.values["artifact"] = 0.6 * bodies.values["one"] + 0.4 * bodies.values["two"]
    found = bodies.found(["one", "two"], {"one": (), "two": ()})
    assert [family.nearest for family in found] == ["one", "two"]
    assert [family.root for family in found] == ["one", "two"]


def test_without_records_no_root_is_named() -> None:
    bodies = Bodies()
    bodies.root("base")
    bodies.child("instruct", "base", 0.1)
    bodies.child("artifact", "instruct", 0.1)
    (family,) = bodies.found(["base", "instruct"], {})
    assert family.root is None
    assert family.nearest == "instruct"


def test_two_candidates_for_a_root_leave_it_open() -> None:
    bodies = Bodies()
    bodies.root("base")
    bodies.child("copy", "base", 0.01)
    bodies.child("artifact", "base", 0.1)
    assert bodies.found(["base", "copy"], {"base": (), "copy": ()})[0].root is None


def test_an_exact_copy_of_the_base_makes_no_second_family() -> None:
    bodies = Bodies()
    bodies.root("base")
    bodies.values["copy"] = bodies.values["base"].copy()
    bodies.child("artifact", "base", 0.1)
    (family,) = bodies.found(["base", "copy"], {"base": (), "copy": ("base",)})
    assert family.root == "base"


def test_the_order_of_the_matches_changes_nothing() -> None:
    bodies = Bodies()
    bodies.root("base")
    for name in ("a", "b", "c"):
        bodies.child(name, "base", 0.1)
    bodies.child("artifact", "b", 0.1)
    records = {"base": (), "a": ("base",), "b": ("base",), "c": ("base",)}
    forward = bodies.found(["base", "a", "b", "c"], records)
    assert forward == bodies.found(["c", "b", "a", "base"], records)
    assert forward[0].line == ("base", "b")
    assert set(forward[0].relatives) == {"a", "c"}


def test_no_matches_make_no_family() -> None:
    assert families({}, lambda a, b: None, lambda m: None) == ()
