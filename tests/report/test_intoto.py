"""The verification summary: its format, and what it may say."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import jsonschema
import pytest

from provenance_gate.errors import UsageError
from provenance_gate.policy.interface import FailOn, Severity, Status, Undecided, Verdict
from provenance_gate.report import intoto
from provenance_gate.report.interface import Report, ReportOptions

from . import build, pipelines

DIGEST = {
    "type": "object",
    "required": ["sha256"],
    "properties": {"sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"}},
}
DESCRIPTOR = {"type": "object", "properties": {"digest": DIGEST, "uri": {"type": "string"}, "name": {"type": "string"}}}
PREDICATE = {
    "type": "object",
    "required": ["verifier", "timeVerified", "resourceUri", "policy", "verificationResult", "verifiedLevels"],
    "additionalProperties": False,
    "properties": {
        "verifier": {
            "type": "object",
            "required": ["id"],
            "properties": {
                "id": {"type": "string", "pattern": "^[a-z]+:"},
                "version": {"type": "object", "additionalProperties": {"type": "string"}},
            },
        },
        "timeVerified": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"},
        "resourceUri": {"type": "string", "pattern": r"^pkg:[^\s]+$"},
        "policy": {**DESCRIPTOR, "required": ["uri", "digest"]},
        "inputAttestations": {"type": "array", "items": {**DESCRIPTOR, "required": ["uri", "digest"]}},
        "verificationResult": {"enum": ["PASSED", "FAILED"]},
        "verifiedLevels": {
            "type": "array",
            "minItems": 1,
            "uniqueItems": True,
            "items": {"type": "string", "pattern": "^(FAILED|PROVENANCE_GATE_[A-Z0-9_]+)$"},
        },
    },
}
STATEMENT = {
    "type": "object",
    "required": ["_type", "subject", "predicateType", "predicate"],
    "additionalProperties": False,
    "properties": {
        "_type": {"const": "https://in-toto.io/Statement/v1"},
        "predicateType": {"const": "https://slsa.dev/verification_summary/v1"},
        "subject": {"type": "array", "minItems": 1, "items": {**DESCRIPTOR, "required": ["name", "digest"]}},
        "predicate": PREDICATE,
    },
}


def predicate(report: Report, options: ReportOptions | None = None) -> dict[str, Any]:
    statement = json.loads(intoto.render(report, options or ReportOptions()))
    jsonschema.validate(statement, STATEMENT)
    names = [subject["name"] for subject in statement["subject"]]
    assert len(set(names)) == len(names)
    assert statement["predicate"] == json.loads(intoto.render_predicate(report, options or ReportOptions()))
    summary: dict[str, Any] = statement["predicate"]
    return summary


@pytest.mark.parametrize("name", build.REPORTS)
def test_every_report_is_a_statement(name: str) -> None:
    predicate(build.REPORTS[name]())


def test_a_pass_names_what_was_met() -> None:
    found = predicate(build.passing())
    assert found["verificationResult"] == "PASSED"
    assert found["verifiedLevels"] == [
        "PROVENANCE_GATE_PASSED",
        "PROVENANCE_GATE_NO_WAIVERS",
        "PROVENANCE_GATE_RULE_DECLARED_BASE",
        "PROVENANCE_GATE_RULE_LICENSE",
    ]
    assert found["resourceUri"] == build.PURL and found["timeVerified"] == "2026-01-15T10:00:00Z"


def test_a_waived_rule_is_not_among_those_met() -> None:
    found = predicate(build.waived())
    assert found["verificationResult"] == "PASSED"
    assert found["verifiedLevels"] == ["PROVENANCE_GATE_PASSED", "PROVENANCE_GATE_RULE_DECLARED_BASE"]


@pytest.mark.parametrize("name", ["impostor", "undecided", "two artifacts"])
def test_a_failed_or_undecided_run_attests_failure_and_no_level(name: str) -> None:
    found = predicate(build.REPORTS[name]())
    assert (found["verificationResult"], found["verifiedLevels"]) == ("FAILED", ["FAILED"])


@pytest.mark.parametrize(
    ("finding", "result"),
    [
        (pipelines.failed(), "FAILED"),
        (pipelines.undecided(Undecided.FAIL), "FAILED"),
        (pipelines.undecided(Undecided.WARN), "PASSED"),
        (pipelines.failed(0, Severity.WARNING), "PASSED"),
    ],
)
def test_a_run_told_to_tolerate_failures_does_not_attest_them_away(finding: Any, result: str) -> None:
    tolerated = pipelines.with_findings(finding, verdict=Verdict.PASS)
    assert predicate(tolerated)["verificationResult"] == result


def test_a_strict_run_that_failed_on_a_warning_attests_failure() -> None:
    assert FailOn.WARNING in FailOn
    report = pipelines.with_findings(pipelines.failed(0, Severity.WARNING), verdict=Verdict.FAIL)
    assert predicate(report)["verificationResult"] == "FAILED"


def test_a_rule_kind_is_met_only_if_it_is_met_everywhere() -> None:
    warned = pipelines.failed(0, Severity.WARNING)
    levels = predicate(pipelines.with_findings(build.finding(), warned, verdict=Verdict.PASS))["verifiedLevels"]
    assert levels == ["PROVENANCE_GATE_PASSED", "PROVENANCE_GATE_NO_WAIVERS"]
    waived = replace(warned, status=Status.WAIVED)
    levels = predicate(pipelines.with_findings(waived, verdict=Verdict.PASS))["verifiedLevels"]
    assert levels == ["PROVENANCE_GATE_PASSED"]


def test_the_machines_time_zone_does_not_reach_the_bytes() -> None:
    berlin = datetime(2026, 1, 15, 11, 0, tzinfo=timezone(timedelta(hours=1)))
    reports = [replace(build.passing(), timestamp=moment) for moment in (berlin, build.TIMESTAMP)]
    assert intoto.render(reports[0], ReportOptions()) == intoto.render(reports[1], ReportOptions())


def test_without_any_time_there_is_no_summary() -> None:
    with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH"):
        intoto.render(replace(build.passing(), timestamp=None), ReportOptions())


def test_a_digest_that_was_only_declared_says_so() -> None:
    result = build.passing_result()
    files = tuple(replace(f, declared=f.path.name == "model.safetensors") for f in result.artifact.files)
    report = build.report(replace(result, artifact=replace(result.artifact, files=files)))
    subjects = json.loads(intoto.render(report, ReportOptions()))["subject"]
    assert [s["name"] for s in subjects if "annotations" in s] == ["model.safetensors"]


def test_several_artifacts_are_one_release_named_by_their_digests() -> None:
    options = ReportOptions(release_name="acme/suite", release_version="2026.1")
    uri = predicate(build.two_artifacts(), options)["resourceUri"]
    assert uri.startswith("pkg:generic/acme%2Fsuite@2026.1?checksum=sha256:")


def test_a_builtin_policy_keeps_its_name() -> None:
    report = build.passing()
    report = replace(report, policy=replace(report.policy, file="builtin:release"))
    assert predicate(report)["policy"]["uri"] == "builtin:release"
