"""SARIF: the public schema, what GitHub asks for beyond it, and places."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from provenance_gate.policy.interface import Severity, Undecided
from provenance_gate.report import sarif
from provenance_gate.report.interface import Report, ReportOptions

from . import build, pipelines

SCHEMA = json.loads((Path(__file__).parent / "schemas" / "sarif-2.1.0.schema.json").read_text("utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)


def parsed(report: Report, options: ReportOptions | None = None) -> dict[str, Any]:
    document = json.loads(sarif.render(report, options or ReportOptions()))
    VALIDATOR.validate(document)
    run: dict[str, Any] = document["runs"][0]
    return run


@pytest.mark.parametrize("name", build.REPORTS)
def test_every_report_fits_the_schema_and_what_github_asks_for(name: str) -> None:
    run = parsed(build.REPORTS[name]())
    rules = run["tool"]["driver"]["rules"]
    assert run["automationDetails"]["id"].startswith("provenance-gate/")
    assert run["automationDetails"]["id"].endswith("/")
    assert len({rule["id"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["shortDescription"]["text"] and rule["fullDescription"]["text"] and rule["help"]["text"]
        assert float(rule["properties"]["security-severity"]) > 0 and "security" in rule["properties"]["tags"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["message"]["text"] and result["partialFingerprints"]["primaryLocationLineHash"]
        (location,) = result["locations"]
        region = location["physicalLocation"]["region"]
        assert region["startLine"] >= 1 and region["endColumn"] > region["startColumn"]
        assert not location["physicalLocation"]["artifactLocation"]["uri"].startswith("/")


def test_the_schema_can_refuse() -> None:
    document = json.loads(sarif.render(build.impostor(), ReportOptions()))
    document["runs"][0]["results"][0]["level"] = "fatal"
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(document)


def test_a_rule_that_passed_is_listed_without_a_result() -> None:
    run = parsed(build.passing())
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == [
        "PG201-declared-base-is-real",
        "PG101-no-restricted-license",
    ]
    assert run["results"] == []


def test_a_waived_finding_is_left_out_and_a_failed_one_is_not() -> None:
    assert parsed(build.waived())["results"] == []
    assert [result["ruleId"] for result in parsed(build.impostor())["results"]] == ["PG201-declared-base-is-real"]


@pytest.mark.parametrize(
    ("meaning", "severity", "level"),
    [
        (Undecided.FAIL, Severity.ERROR, "error"),
        (Undecided.WARN, Severity.ERROR, "warning"),
        (Undecided.WARN, Severity.NOTE, "note"),
        (Undecided.PASS, Severity.ERROR, "note"),
    ],
)
def test_an_open_question_is_shown_as_heavy_as_it_weighs(meaning: Undecided, severity: Severity, level: str) -> None:
    run = parsed(pipelines.with_findings(pipelines.undecided(meaning, severity)))
    assert [result["level"] for result in run["results"]] == [level]


def test_results_are_the_heaviest_first_and_no_more_than_github_shows() -> None:
    notes = [pipelines.failed(n, Severity.NOTE) for n in range(sarif.MAX_RESULTS)]
    text = sarif.render(pipelines.with_findings(*notes, pipelines.failed(-1)), ReportOptions())
    run = json.loads(text)["runs"][0]
    assert len(run["results"]) == sarif.MAX_RESULTS and run["results"][0]["level"] == "error"
    assert "1 lighter findings" in run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"]
    assert len(gzip.compress(text.encode())) < 10_000_000


def test_two_findings_never_share_a_fingerprint() -> None:
    twice = pipelines.failed(1)
    results = parsed(pipelines.with_findings(twice, twice))["results"]
    assert len({result["partialFingerprints"]["primaryLocationLineHash"] for result in results}) == 2


def test_the_fingerprint_does_not_move_with_message_line_or_time() -> None:
    one = build.impostor()
    finding = one.results[0].findings[0]
    moved = replace(finding, message="Worded anew.", policy_line=99, location=None)
    other = replace(one, results=(replace(one.results[0], findings=(moved,)),), timestamp=None)
    hashes = [parsed(report)["results"][0]["partialFingerprints"] for report in (one, other)]
    assert hashes[0] == hashes[1]


def test_brackets_of_a_message_make_no_link() -> None:
    finding = replace(pipelines.failed(), message="see [here](http://evil.example)")
    text = parsed(pipelines.with_findings(finding))["results"][0]["message"]["text"]
    assert "\\[here\\](http://evil.example)" in text
