"""Severity, undecided, waivers, verdict."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from provenance_gate.lineage.interface import Relation
from provenance_gate.policy.evaluate import counts, evaluate, verdict
from provenance_gate.policy.interface import FailOn, Finding, Policy, Severity, Status, Subject, Verdict
from provenance_gate.policy.load import load_policy
from tests.policy.build import BASE, artifact, lineage, subject

TODAY = date(2027, 1, 31)
FALSE = subject(artifact(BASE), (lineage(0.01, Relation.INDEPENDENT),))
OPEN = subject(artifact(BASE))
TRUE = subject(artifact(BASE), (lineage(),))


def policy(tmp_path: Path, rule: str = "", head: str = "", tail: str = "") -> Policy:
    path = tmp_path / "policy.yaml"
    path.write_text(f"version: 1\n{head}rules:\n  - id: claim\n    rule: declared-base\n{rule}{tail}")
    return load_policy(str(path))


def run(policy: Policy, of: Subject, today: date = TODAY) -> tuple[Finding, ...]:
    return evaluate(policy, of, today)


def waiver(expires: str = "2027-01-31", artifact: str = "child", rule: str = "claim") -> str:
    return (
        f'waivers:\n  - rule: {rule}\n    artifact: "{artifact}"\n    reason: LR-1\n'
        f"    approved_by: legal@acme.example\n    expires: {expires}\n"
    )


@pytest.mark.parametrize(("of", "expected"), [(TRUE, Verdict.PASS), (FALSE, Verdict.FAIL), (OPEN, Verdict.UNDECIDED)])
def test_the_verdict_follows_the_findings(tmp_path: Path, of: Subject, expected: Verdict) -> None:
    assert verdict(run(policy(tmp_path), of)) is expected


@pytest.mark.parametrize(("severity", "fail_on", "fails"), [
    ("error", "error", True), ("warning", "error", False), ("warning", "warning", True),
    ("note", "warning", False), ("note", "note", True), ("error", "never", False),
])  # fmt: skip
def test_fail_on(tmp_path: Path, severity: str, fail_on: str, fails: bool) -> None:
    findings = run(policy(tmp_path, f"    severity: {severity}\n"), FALSE)
    assert findings[0].severity is Severity(severity)
    assert counts(findings[0], FailOn(fail_on)) is fails
    assert (verdict(findings, FailOn(fail_on)) is Verdict.FAIL) is fails


@pytest.mark.parametrize(("head", "rule", "expected"), [
    ("", "", Verdict.UNDECIDED),
    ("undecided: warn\n", "", Verdict.PASS),
    ("undecided: pass\n", "", Verdict.PASS),
    ("undecided: pass\n", "    undecided: fail\n", Verdict.UNDECIDED),
    ("", "    undecided: warn\n", Verdict.PASS),
])  # fmt: skip
def test_what_undecided_means(tmp_path: Path, head: str, rule: str, expected: Verdict) -> None:
    assert verdict(run(policy(tmp_path, rule, head), OPEN)) is expected


def test_undecided_as_a_warning_fails_a_strict_run(tmp_path: Path) -> None:
    findings = run(policy(tmp_path, "    undecided: warn\n"), OPEN)
    assert verdict(findings, FailOn.WARNING) is Verdict.UNDECIDED
    assert verdict(run(policy(tmp_path, "    undecided: pass\n"), OPEN), FailOn.NOTE) is Verdict.PASS


@pytest.mark.parametrize("of", [FALSE, OPEN])
def test_a_waiver_holds_through_its_last_day(tmp_path: Path, of: Subject) -> None:
    findings = run(policy(tmp_path, tail=waiver()), of)
    assert [f.status for f in findings] == [Status.WAIVED]
    assert findings[0].waiver is not None and findings[0].waiver.approved_by == "legal@acme.example"
    assert verdict(findings) is Verdict.PASS


def test_an_expired_waiver_fails_and_says_so(tmp_path: Path) -> None:
    findings = run(policy(tmp_path, tail=waiver()), FALSE, date(2027, 2, 1))
    assert [f.number for f in findings] == ["PG201", "PG901"]
    assert findings[0].status is Status.FAIL
    assert "expired on 2027-01-31" in findings[1].message
    assert verdict(findings) is Verdict.FAIL


def test_an_unused_waiver_is_a_note(tmp_path: Path) -> None:
    findings = run(policy(tmp_path, tail=waiver()), TRUE)
    assert [(f.number, f.severity) for f in findings] == [("PG201", Severity.ERROR), ("PG902", Severity.NOTE)]
    assert findings[0].status is Status.PASS
    assert verdict(findings) is Verdict.PASS


@pytest.mark.parametrize(("glob", "status"), [("chi*", Status.WAIVED), ("other", Status.FAIL)])
def test_waivers_name_artifacts_by_glob(tmp_path: Path, glob: str, status: Status) -> None:
    assert run(policy(tmp_path, tail=waiver(artifact=glob)), FALSE)[0].status is status


def test_a_finding_keeps_its_fingerprint_when_numbers_change(tmp_path: Path) -> None:
    first = run(policy(tmp_path), FALSE)[0]
    again = run(
        policy(tmp_path, "    min_score: 0.9\n"), subject(artifact(BASE), (lineage(0.02, Relation.INDEPENDENT),))
    )[0]
    other = run(policy(tmp_path), subject(artifact("acme/other")))[0]
    assert first.message != again.message
    assert first.fingerprint == again.fingerprint != other.fingerprint
