"""Baselines: what they accept, what they never accept, and files that are none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from provenance_gate.errors import PolicyError, UsageError
from provenance_gate.policy.baseline import RESOLVED, Baseline, apply_baseline, load_baseline, write_baseline
from provenance_gate.policy.evaluate import verdict
from provenance_gate.policy.interface import FailOn, Finding, Severity, Status, Verdict
from tests.report.build import HOSTILE, digest, finding

NAME = "acme/support-bot-8b"
FAILED = finding(status=Status.FAIL, message="Not in the weights.")
OPEN = finding("PG101", "license-known", Status.UNDECIDED, "The license is not known.", key="x")


def kept(tmp_path: Path, *findings: Finding, name: str = NAME) -> Baseline:
    path = tmp_path / f"baseline-{len(list(tmp_path.iterdir()))}.json"
    write_baseline(path, [(name, findings)])
    return load_baseline(path)


def judged(baseline: Baseline, *findings: Finding, name: str = NAME) -> tuple[Finding, ...]:
    (result,) = apply_baseline(baseline, [(name, findings)])
    return result


def test_what_stood_before_is_accepted_and_what_is_new_is_not(tmp_path: Path) -> None:
    baseline = kept(tmp_path, FAILED, OPEN, finding())
    assert len(baseline.entries) == 2
    new = finding(status=Status.FAIL, key="another base")
    found = judged(baseline, FAILED, OPEN, new)
    assert [f.status for f in found] == [Status.WAIVED, Status.WAIVED, Status.FAIL]
    assert verdict(found[:2]) is Verdict.PASS and verdict(found) is Verdict.FAIL
    assert found[0].message.endswith(f"Accepted by the baseline {baseline.file}.")


def test_an_open_question_that_becomes_a_failure_counts_again(tmp_path: Path) -> None:
    found = judged(kept(tmp_path, OPEN), replace(OPEN, status=Status.FAIL))
    assert [f.status for f in found if f.number != RESOLVED] == [Status.FAIL]


@pytest.mark.parametrize(
    ("then", "now", "status"),
    [
        (Severity.ERROR, Severity.WARNING, Status.WAIVED),
        (Severity.ERROR, Severity.ERROR, Status.WAIVED),
        (Severity.WARNING, Severity.ERROR, Status.FAIL),
        (Severity.NOTE, Severity.WARNING, Status.FAIL),
    ],
)
def test_a_finding_that_got_heavier_counts_again(tmp_path: Path, then: Severity, now: Severity, status: Status) -> None:
    found = judged(kept(tmp_path, replace(FAILED, severity=then)), replace(FAILED, severity=now))
    assert found[0].status is status


def test_a_reworded_finding_is_still_the_same(tmp_path: Path) -> None:
    found = judged(kept(tmp_path, FAILED), replace(FAILED, message="Score 0.03.", policy_line=80))
    assert found[0].status is Status.WAIVED


def test_one_entry_accepts_one_finding(tmp_path: Path) -> None:
    baseline = kept(tmp_path, FAILED)
    results = apply_baseline(baseline, [(NAME, (FAILED,)), (NAME, (FAILED,))])
    assert [f.status for findings in results for f in findings] == [Status.WAIVED, Status.FAIL]


def test_an_entry_that_nothing_needs_is_reported_as_a_note(tmp_path: Path) -> None:
    found = judged(kept(tmp_path, FAILED), finding())
    assert [(f.number, f.severity) for f in found[1:]] == [(RESOLVED, Severity.NOTE)]
    assert verdict(found) is Verdict.PASS and verdict(found, FailOn.NOTE) is Verdict.FAIL


def test_entries_of_artifacts_that_were_not_checked_are_left_alone(tmp_path: Path) -> None:
    assert judged(kept(tmp_path, FAILED), finding(), name="another") == (finding(),)


@pytest.mark.parametrize("number", ["PG901", "PG902", RESOLVED])
def test_what_the_gate_says_of_waivers_and_baselines_is_never_accepted(tmp_path: Path, number: str) -> None:
    own = replace(FAILED, number=number)
    baseline = kept(tmp_path, own)
    assert baseline.entries == ()
    forged = json.dumps({"schema": "provenance-gate-baseline/1", "findings": [entry(number=number)]})
    (tmp_path / "forged.json").write_text(forged)
    with pytest.raises(PolicyError, match=rf"forged\.json: findings\[0\]\.number: '{number}' cannot be accepted"):
        load_baseline(tmp_path / "forged.json")


def test_waived_and_passed_findings_are_not_written(tmp_path: Path) -> None:
    assert kept(tmp_path, finding(), replace(FAILED, status=Status.WAIVED)).entries == ()


def test_a_baseline_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    path.write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        write_baseline(path, [(NAME, (FAILED,))])
    assert path.read_text() == "mine"


def test_the_order_of_findings_does_not_reach_the_bytes(tmp_path: Path) -> None:
    write_baseline(tmp_path / "one.json", [(NAME, (FAILED, OPEN))])
    write_baseline(tmp_path / "two.json", [(NAME, (OPEN, FAILED))])
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_hostile_names_and_messages_survive_the_way_there_and_back(tmp_path: Path) -> None:
    hostile = replace(FAILED, rule_id=HOSTILE, message=HOSTILE)
    found = judged(kept(tmp_path, hostile, name=HOSTILE), hostile, name=HOSTILE)
    assert [f.status for f in found] == [Status.WAIVED]
    found = judged(kept(tmp_path, hostile, name=HOSTILE), name=HOSTILE)
    assert [f.number for f in found] == [RESOLVED]


def entry(**changes: object) -> dict[str, object]:
    good: dict[str, object] = {
        "fingerprint": digest("x"),
        "number": "PG201",
        "rule": "declared-base",
        "artifact": NAME,
        "severity": "error",
        "status": "fail",
        "message": "Not in the weights.",
    }
    return {**good, **changes}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "not JSON"),
        ("[]", "expected an object"),
        ('{"schema": "provenance-gate-baseline/2", "findings": []}', "schema: expected 'provenance-gate-baseline/1'"),
        ('{"schema": "provenance-gate-baseline/1"}', "expected the keys schema and findings"),
        ('{"schema": "provenance-gate-baseline/1", "findings": [], "x": 1}', "expected the keys"),
        ('{"schema": "provenance-gate-baseline/1", "findings": {}}', "findings: expected a list"),
        ('{"schema": "provenance-gate-baseline/1", "findings": [], "findings": []}', "appears twice"),
        (entry(fingerprint="abc"), r"findings\[0\]\.fingerprint: expected 64 hexadecimal digits"),
        (entry(fingerprint="A" * 64), r"findings\[0\]\.fingerprint"),
        (entry(severity="fatal"), r"findings\[0\]\.severity: 'fatal'; accepted: error, warning, note"),
        (entry(status="pass"), r"findings\[0\]\.status: 'pass'; accepted: fail, undecided"),
        (entry(message=3), r"findings\[0\]: expected strings"),
        (entry(extra="x"), r"findings\[0\]: expected strings"),
    ],
)
def test_a_malformed_baseline_is_one_error_with_file_and_field(tmp_path: Path, text: object, fault: str) -> None:
    path = tmp_path / "baseline.json"
    findings = {"schema": "provenance-gate-baseline/1", "findings": [text]}
    path.write_text(text if isinstance(text, str) else json.dumps(findings))
    with pytest.raises(PolicyError, match=fault) as caught:
        load_baseline(path)
    assert caught.value.exit_code == 2 and str(path) in str(caught.value)


def test_a_baseline_that_is_not_there_is_a_usage_fault(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(PolicyError, match="cannot read the baseline") as caught:
            load_baseline(path)
        assert caught.value.exit_code == 2


def test_an_endless_baseline_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(PolicyError, match="more than 16777216 bytes"):
        load_baseline(path)
