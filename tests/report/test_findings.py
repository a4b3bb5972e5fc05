"""Where findings are shown, and what the run's own settings do to the reports."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone
from xml.etree import ElementTree as ET

from provenance_gate.policy.interface import FailOn, Severity
from provenance_gate.report import codequality, github, intoto, junit, sarif
from provenance_gate.report.findings import labels, place_of
from provenance_gate.report.interface import ArtifactResult, Report, ReportOptions

from . import build, pipelines
from .test_github import command_of

PATHS = {"./own": "models/own", "policies/release.yaml": "ci/policies/release.yaml"}
OPTIONS = ReportOptions(repository_paths=PATHS)


def located(source: str = "./own") -> tuple[Report, ArtifactResult]:
    result = replace(build.impostor_result(), source=source)
    return build.report(result), result


def shown(result: ArtifactResult, options: ReportOptions = OPTIONS, *, claim: bool = True) -> tuple[str, int, bool]:
    finding = result.findings[0] if claim else replace(result.findings[0], location=None)
    place = place_of(finding, result, "own", options)
    return place.path, place.line, place.in_repository


def test_the_claim_goes_before_the_policy_and_the_policy_before_the_weights() -> None:
    _, result = located()
    assert shown(result) == ("models/own/README.md", 3, True)
    assert shown(result, claim=False) == ("ci/policies/release.yaml", 7, True)
    only_model = ReportOptions(repository_paths={"./own": "models/own"})
    assert shown(result, only_model, claim=False) == ("models/own/model.safetensors", 1, True)


def test_what_lies_elsewhere_is_shown_at_the_policy_or_under_the_artifacts_name() -> None:
    _, result = located("org/name")
    assert shown(result) == ("ci/policies/release.yaml", 7, True)
    assert shown(result, ReportOptions()) == ("own/README.md", 3, False)
    assert shown(result, ReportOptions(), claim=False) == ("own/model.safetensors", 1, False)


def test_a_model_at_the_root_of_the_repository_has_plain_paths() -> None:
    _, result = located()
    assert shown(result, ReportOptions(repository_paths={"./own": "."})) == ("README.md", 3, True)


def test_all_formats_show_one_place() -> None:
    report, _ = located()
    physical = json.loads(sarif.render(report, OPTIONS))["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert physical["artifactLocation"]["uri"] == "models/own/README.md" and physical["region"]["startLine"] == 3
    (issue,) = json.loads(codequality.render(report, OPTIONS))
    assert issue["location"] == {"path": "models/own/README.md", "lines": {"begin": 3}}
    command = command_of(github.render(report, OPTIONS).splitlines()[0])
    assert command is not None
    assert (command.properties["file"], command.properties["line"]) == ("models/own/README.md", "3")


def test_an_odd_path_is_escaped_as_each_format_asks() -> None:
    report, _ = located()
    options = ReportOptions(repository_paths={"./own": "a b,c:d%0A\udcff"})
    physical = json.loads(sarif.render(report, options))["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert physical["artifactLocation"]["uri"] == "a%20b%2Cc%3Ad%250A%FF/README.md"
    command = command_of(github.render(report, options).splitlines()[0])
    assert command is not None and command.properties["file"] == "a b,c:d%0A\\udcff/README.md"


def test_artifacts_of_one_name_are_told_apart_by_where_they_came_from() -> None:
    one = build.passing_result()
    two = build.report(replace(one, source="a/model"), replace(one, source="b/model"))
    assert labels(two) == ["a/model", "b/model"]
    assert labels(build.report(replace(one, source="a/model"))) == ["acme/support-bot-8b"]
    assert labels(build.same_twice()) == ["acme/support-bot-8b", "acme/support-bot-8b (2)"]


def test_a_case_of_junit_fails_exactly_where_the_run_does() -> None:
    report = pipelines.with_findings(pipelines.failed(0, Severity.WARNING))
    counts = {
        level: len(list(ET.fromstring(junit.render(replace(report, fail_on=level), ReportOptions())).iter("failure")))
        for level in FailOn
    }
    assert counts == {FailOn.ERROR: 0, FailOn.WARNING: 1, FailOn.NOTE: 1, FailOn.NEVER: 0}


def test_the_time_of_the_run_serves_where_the_report_has_none() -> None:
    report = replace(build.passing(), timestamp=None)
    moment = datetime(2026, 2, 3, 4, 5, 6, tzinfo=timezone.utc)
    found = json.loads(intoto.render_predicate(report, ReportOptions(now=moment)))
    assert found["timeVerified"] == "2026-02-03T04:05:06Z"
    found = json.loads(intoto.render_predicate(build.passing(), ReportOptions(now=moment)))
    assert found["timeVerified"] == "2026-01-15T10:00:00Z"


def test_the_other_reports_are_named_by_digest() -> None:
    options = ReportOptions(written=(("bom.cdx.json", build.digest("bom")), ("a b.json", build.digest("other"))))
    found = json.loads(intoto.render_predicate(build.passing(), options))
    assert found["inputAttestations"] == [
        {"uri": "a%20b.json", "digest": {"sha256": build.digest("other")}},
        {"uri": "bom.cdx.json", "digest": {"sha256": build.digest("bom")}},
    ]


def test_the_policy_is_named_from_the_root_of_the_repository() -> None:
    found = json.loads(intoto.render_predicate(build.passing(), OPTIONS))
    assert found["policy"]["uri"] == "ci/policies/release.yaml"
