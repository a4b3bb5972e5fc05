"""The policy rule `tells`, on values and through the gate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import provenance_gate
from provenance_gate.errors import PolicyError
from provenance_gate.policy.interface import Outcome, Status
from provenance_gate.policy.load import load_policy
from provenance_gate.policy.rules.tells import Tells
from provenance_gate.tells.interface import NAMES, TellGroup, TellResult, TellStatus
from tests import models as tiny
from tests.policy.build import subject
from tests.tells.build import write

RULE = Tells()
FIRED, QUIET, NOT_MEASURED = TellStatus.FIRED, TellStatus.QUIET, TellStatus.NOT_MEASURED


def results(fired: int, *, absent: int = 0, disclosed: bool = False) -> tuple[TellResult, ...]:
    """The first seven: `fired` of them fired, then `absent` not measured, the others quiet."""
    found = []
    for number in range(1, 8):
        status = FIRED if number <= fired else NOT_MEASURED if number <= fired + absent else QUIET
        numbers = {"disclosed": disclosed}
        base = "acme/a" if status is FIRED else None
        found.append(
            TellResult(number, NAMES[number], TellGroup.CONFIG, "", status, "seen", "", 0.5, "", base, numbers)
        )
    return tuple(found)


def evaluate(tells: tuple[TellResult, ...], **options: object) -> Outcome:
    (outcome,) = RULE.evaluate(options, replace(subject(), tells=tells))
    return outcome


@pytest.mark.parametrize("fired, status", [(0, Status.PASS), (2, Status.PASS), (3, Status.FAIL), (7, Status.FAIL)])
def test_more_than_two_of_the_first_seven_fail(fired: int, status: Status) -> None:
    outcome = evaluate(results(fired))
    assert outcome.status is status
    if status is Status.FAIL:
        assert "acme/a" in outcome.message and outcome.remedy and len(outcome.evidence) == fired


def test_max_and_ids_are_options() -> None:
    assert evaluate(results(3), max=3).status is Status.PASS
    assert evaluate(results(1), max=0).status is Status.FAIL
    assert evaluate(results(3), ids=[1, 2, 5, 6, 7]).status is Status.PASS


def test_weights_count_instead_of_one() -> None:
    assert evaluate(results(2), weights={"leftover-name": 1.5}).status is Status.FAIL
    assert evaluate(results(3), weights={"leftover-name": 0}).status is Status.PASS


def test_a_declared_base_is_not_held_against_the_artifact() -> None:
    assert evaluate(results(7, disclosed=True)).status is Status.PASS
    assert evaluate(results(7, disclosed=True), count_disclosed=True).status is Status.FAIL


@pytest.mark.parametrize(
    "fired, absent, status", [(2, 0, Status.PASS), (2, 1, Status.UNDECIDED), (0, 2, Status.PASS), (3, 4, Status.FAIL)]
)
def test_what_was_not_measured_might_have_fired(fired: int, absent: int, status: Status) -> None:
    assert evaluate(results(fired, absent=absent)).status is status


def test_tells_that_were_not_run_are_not_quiet() -> None:
    assert evaluate(()).status is Status.UNDECIDED
    assert evaluate(results(0), ids=[1, 11, 12, 13]).status is Status.UNDECIDED


def policy(tmp_path: Path, options: str = "") -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(f"version: 1\nrules:\n- id: not-a-relabeled-copy\n  rule: tells\n{options}")
    return path


@pytest.mark.parametrize(
    "options, place",
    [
        ("  max: -1\n", ":5"),
        ("  ids: [0]\n", ":5"),
        ("  ids: []\n", ":5"),
        ("  ids: [15]\n", ":5"),
        ("  weights: {nonsense: 1}\n", ":5"),
        ("  weights: {leftover-name: -1}\n", ":5"),
    ],
)
def test_nonsense_in_a_policy_is_refused_with_its_place(tmp_path: Path, options: str, place: str) -> None:
    with pytest.raises(PolicyError, match=place):
        load_policy(str(policy(tmp_path, options)))


def test_the_gate_runs_the_tells_that_a_policy_counts(tmp_path: Path) -> None:
    base = write(tmp_path / "base", seed=1, config={"transformers_version": "4.43.0.dev0", "rope_theta": 3e5})
    disguised = write(
        tmp_path / "own",
        config={"_name_or_path": "acme/base", "transformers_version": "4.43.0.dev0", "rope_theta": 3e5},
        card="# Own\n\nTrained from scratch in our own architecture.\n",
    )
    honest = write(tmp_path / "honest", card=tiny.card("acme/base"))
    rules = str(policy(tmp_path))
    report = provenance_gate.check(str(disguised), policy=rules, bases=[f"acme/base={base}"])
    (finding,) = report.results[0].findings
    assert (finding.number, finding.status) == ("PG204", Status.FAIL)
    assert "1 leftover-name, 2 public-architecture, 3 equal-shape" in finding.message
    report = provenance_gate.check(str(honest), policy=rules, bases=[f"acme/base={base}"])
    (finding,) = report.results[0].findings
    assert finding.status is not Status.FAIL
    # All ten run in a check, too, when a policy asks for them.
    rules = str(policy(tmp_path, "  ids: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\n  max: 10\n"))
    report = provenance_gate.check(str(disguised), policy=rules, bases=[f"acme/base={base}"])
    (finding,) = report.results[0].findings
    assert finding.status is Status.PASS and "1 leftover-name" in finding.message
