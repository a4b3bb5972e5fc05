"""The bands of the score, as arithmetic."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.fingerprint.permutation import PermutationTest
from provenance_gate.lineage.decide import BodyEvidence, decide, format_p
from provenance_gate.lineage.interface import Relation

TEST = PermutationTest(z=80.0, log10_p=-1400.0, effect=0.9, detectable=0.01)
CHILD = BodyEvidence(
    TEST,
    correlation=0.9,
    attention=0.9,
    feed_forward=0.9,
    layers=1.0,
    dependent=8,
    bulk=0.9,
    coverage=1.0,
    norms=0.95,
    learned=None,
    grafted=(),
)
STRANGER = replace(
    CHILD,
    test=PermutationTest(0.3, -0.4, 0.0, 0.01),
    correlation=0.002,
    attention=0.0,
    feed_forward=0.002,
    layers=0.0,
    dependent=0,
    bulk=0.0,
    norms=0.0,
)

shares = st.floats(0, 1)
bodies = st.builds(
    BodyEvidence,
    test=st.builds(PermutationTest, st.floats(-10, 500), st.floats(-5e4, 0), st.floats(-1, 1), st.floats(0, 2)),
    correlation=st.floats(-1, 1),
    attention=st.none() | st.floats(-1, 1),
    feed_forward=st.floats(-1, 1),
    layers=shares,
    dependent=st.integers(0, 80),
    bulk=st.floats(-1, 1),
    coverage=shares,
    norms=st.none() | st.floats(-1, 1),
    learned=st.none() | st.floats(-1, 1),
    grafted=st.sampled_from([(), ("embeddings",)]),
)


@given(bodies)
def test_scores_stay_in_the_band_of_their_relation(body: BodyEvidence) -> None:
    found = decide(body)
    assert isinstance(found.score, float)
    assert 0.0 <= found.score <= 1.0
    match found.relation:
        case Relation.DERIVED:
            assert found.score >= 0.70
        case Relation.INDEPENDENT:
            assert found.score <= 0.30
        case Relation.PARTIAL:
            assert found.score < 0.70
        case _:
            assert 0.30 < found.score < 0.70


@given(bodies)
def test_nothing_is_derived_above_a_false_positive_rate_of_one_in_a_million(body: BodyEvidence) -> None:
    if decide(body).relation is Relation.DERIVED:
        assert body.test.log10_p <= -6.0
        assert body.feed_forward >= 0.10


def test_child_and_stranger() -> None:
    assert decide(CHILD).relation is Relation.DERIVED
    assert decide(STRANGER).relation is Relation.INDEPENDENT


@pytest.mark.parametrize(
    ("change", "relation"),
    [
        ({"attention": 0.01}, Relation.PARTIAL),
        ({"layers": 0.3}, Relation.PARTIAL),
        ({"coverage": 0.4}, Relation.PARTIAL),
        ({"correlation": 0.3, "bulk": 0.3, "norms": 0.3}, Relation.SHARED_INITIALIZATION),
        ({"correlation": 0.3, "norms": 0.8}, Relation.DERIVED),
        ({"correlation": 0.8, "norms": 0.3}, Relation.DERIVED),
        ({"attention": None}, Relation.DERIVED),
    ],
)
def test_what_a_child_may_lack(change: dict[str, float], relation: Relation) -> None:
    assert decide(replace(CHILD, **change)).relation is relation  # type: ignore[arg-type]


def test_a_test_without_power_never_says_independent() -> None:
    weak = replace(STRANGER, test=replace(STRANGER.test, detectable=0.2))
    found = decide(weak)
    assert found.relation is Relation.UNDECIDED
    assert "too small" in found.reason


def test_a_weak_but_certain_dependence_is_undecided() -> None:
    faint = replace(STRANGER, test=replace(STRANGER.test, log10_p=-9.0), feed_forward=0.04)
    assert decide(faint).relation is Relation.UNDECIDED


def test_no_body_no_score() -> None:
    found = decide(NotMeasured("no matrices"))
    assert found.score == NotMeasured("no matrices")
    assert found.relation is Relation.UNDECIDED


@pytest.mark.parametrize(("log10_p", "text"), [(-400.0, "<= 1e-300"), (-6.0, "1.0e-06"), (-0.3, "0.50")])
def test_p_values_are_short(log10_p: float, text: str) -> None:
    assert format_p(log10_p) == text
