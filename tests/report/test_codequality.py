"""GitLab Code Quality, by the fields that its documentation asks for."""

from __future__ import annotations

import json

import jsonschema
import pytest

from provenance_gate.policy.interface import Severity
from provenance_gate.report import codequality
from provenance_gate.report.interface import Report, ReportOptions

from . import build, pipelines

DOCUMENTED = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["description", "check_name", "fingerprint", "severity", "location"],
        "properties": {
            "description": {"type": "string", "minLength": 1},
            "check_name": {"type": "string", "minLength": 1},
            "fingerprint": {"type": "string", "minLength": 1},
            "severity": {"enum": ["info", "minor", "major", "critical", "blocker"]},
            "location": {
                "type": "object",
                "required": ["path", "lines"],
                "properties": {
                    "path": {"type": "string", "pattern": r"^(?!/|\./|.*(^|/)\.\.(/|$)).+"},
                    "lines": {
                        "type": "object",
                        "required": ["begin"],
                        "properties": {"begin": {"type": "integer", "minimum": 1}},
                    },
                },
            },
        },
    },
}


def parsed(report: Report) -> list[dict[str, object]]:
    text = codequality.render(report, ReportOptions())
    assert not text.startswith("\ufeff")
    issues: list[dict[str, object]] = json.loads(text)
    jsonschema.validate(issues, DOCUMENTED)
    assert len({issue["fingerprint"] for issue in issues}) == len(issues)
    return issues


@pytest.mark.parametrize("name", build.REPORTS)
def test_every_report_has_the_documented_fields_and_unique_fingerprints(name: str) -> None:
    parsed(build.REPORTS[name]())


def test_a_failed_rule_is_an_issue_where_its_claim_stands() -> None:
    (issue,) = parsed(build.impostor())
    assert issue["severity"] == "critical" and issue["check_name"] == "PG201-declared-base-is-real"
    assert issue["location"] == {"path": "vendor/own-12b/README.md", "lines": {"begin": 3}}


@pytest.mark.parametrize("name", ["passing", "waived"])
def test_nothing_open_is_an_empty_array(name: str) -> None:
    assert codequality.render(build.REPORTS[name](), ReportOptions()) == "[]\n"


def test_severities_are_gitlabs_words_and_the_heaviest_come_first() -> None:
    findings = [pipelines.failed(n, s) for n, s in enumerate((Severity.NOTE, Severity.ERROR, Severity.WARNING))]
    issues = parsed(pipelines.with_findings(*findings))
    assert [issue["severity"] for issue in issues] == ["critical", "minor", "info"]


def test_findings_of_one_fingerprint_stay_apart() -> None:
    assert len(parsed(pipelines.with_findings(pipelines.failed(), pipelines.failed()))) == 2
