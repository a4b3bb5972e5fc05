"""What searching costs a lineage."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.lineage.interface import BaseRef, Lineage, Relation
from provenance_gate.lineage.searched import corrected

DERIVED = Lineage(
    base=BaseRef("org/base", "registry"),
    score=0.9,
    relation=Relation.DERIVED,
    kinds=("fine-tuned",),
    p_value=1e-9,
    test="a test",
    inheritance=0.8,
    components={},
    layers=(),
    signals={},
    identity_score=NotMeasured("not here"),
    claims=(),
    reason="the body depends on the base",
    tier=2,
)


def test_a_p_value_pays_for_every_model_searched() -> None:
    assert corrected(DERIVED, 100).p_value == pytest.approx(1e-7)
    assert corrected(DERIVED, 100).relation is Relation.DERIVED


def test_what_a_thousand_tries_could_have_made_is_undecided() -> None:
    found = corrected(DERIVED, 10_000)
    assert found.relation is Relation.UNDECIDED
    assert isinstance(found.score, float)
    assert found.score < 0.70
    assert "10,000" in found.reason


def test_a_single_model_costs_nothing() -> None:
    assert corrected(DERIVED, 1) == DERIVED


def test_p_values_stay_probabilities() -> None:
    assert corrected(replace(DERIVED, relation=Relation.INDEPENDENT, p_value=0.3), 1000).p_value == 1.0


def test_copies_found_without_a_test_stay_copies() -> None:
    copy = replace(DERIVED, relation=Relation.IDENTICAL, p_value=NotMeasured("equal content"))
    assert corrected(copy, 1_000_000) == copy
