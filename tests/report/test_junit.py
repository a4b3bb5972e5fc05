"""JUnit XML: the XSD of Jenkins, and which cases fail, are skipped or pass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from provenance_gate.policy.interface import Severity, Status, Undecided
from provenance_gate.report import junit
from provenance_gate.report.interface import Report, ReportOptions

from . import build, pipelines

XSD = Path(__file__).parent / "schemas" / "junit-10.xsd"


def parsed(report: Report) -> ET.Element:
    return ET.fromstring(junit.render(report, ReportOptions()))


@pytest.fixture(scope="module")
def schema() -> Any:
    return pytest.importorskip("xmlschema").XMLSchema(XSD)


@pytest.mark.parametrize("name", build.REPORTS)
def test_every_report_fits_the_xsd(name: str, schema: Any) -> None:
    schema.validate(junit.render(build.REPORTS[name](), ReportOptions()))


def test_the_xsd_can_refuse(schema: Any) -> None:
    text = (
        junit.render(build.impostor(), ReportOptions())
        .replace("<failure", "<verdict")
        .replace("</failure", "</verdict")
    )
    assert not schema.is_valid(text)


@pytest.mark.parametrize("name", build.REPORTS)
def test_counts_are_those_of_the_cases(name: str) -> None:
    root = parsed(build.REPORTS[name]())
    for suite in root.iter("testsuite"):
        assert int(suite.get("tests", "")) == len(suite.findall("testcase"))
        assert int(suite.get("failures", "")) == len(suite.findall("testcase/failure"))
        assert int(suite.get("skipped", "")) == len(suite.findall("testcase/skipped"))
    assert int(root.get("tests", "")) == len(root.findall("testsuite/testcase"))


def test_a_case_stands_for_a_rule_and_an_artifact() -> None:
    root = parsed(build.two_artifacts())
    names = [(case.get("classname"), case.get("name")) for case in root.iter("testcase")]
    assert names == [
        ("acme/support-bot-8b", "PG201 declared-base-is-real"),
        ("acme/support-bot-8b", "PG101 no-restricted-license"),
        ("vendor/own-12b", "PG201 declared-base-is-real"),
        ("vendor/own-12b", "PG101 no-restricted-license"),
    ]
    (failure,) = root.iter("failure")
    assert "Correct base_model" in (failure.text or "")


def test_several_findings_of_a_rule_are_one_case_and_the_worst_decides() -> None:
    root = parsed(pipelines.with_findings(replace(build.finding()), pipelines.failed(1), pipelines.failed(2)))
    (case,) = root.iter("testcase")
    (failure,) = case.findall("failure")
    assert failure.get("message") == "Matter 1." and len((failure.text or "").splitlines()) == 3


def test_a_waived_rule_is_skipped_and_says_by_whom() -> None:
    (skipped,) = parsed(build.waived()).iter("skipped")
    assert "legal@acme.example" in (skipped.get("message") or "")


def test_a_waiver_does_not_hide_what_it_does_not_cover() -> None:
    waived = replace(pipelines.failed(1), status=Status.WAIVED, waiver=build.WAIVER)
    root = parsed(pipelines.with_findings(waived, pipelines.failed(2)))
    assert len(list(root.iter("failure"))) == 1 and not list(root.iter("skipped"))


@pytest.mark.parametrize(("severity", "failures"), [(Severity.ERROR, 1), (Severity.WARNING, 0), (Severity.NOTE, 0)])
def test_what_does_not_fail_the_run_fails_no_case(severity: Severity, failures: int) -> None:
    root = parsed(pipelines.with_findings(pipelines.failed(0, severity)))
    assert len(list(root.iter("failure"))) == failures
    if not failures:
        assert f"fail ({severity.value}): Matter 0." in (root.findtext(".//system-out") or "")


def test_an_open_question_fails_its_case_only_where_it_counts() -> None:
    against = parsed(pipelines.with_findings(pipelines.undecided(Undecided.FAIL)))
    assert [failure.get("type") for failure in against.iter("failure")] == ["undecided"]
    assert not list(parsed(pipelines.with_findings(pipelines.undecided(Undecided.WARN))).iter("failure"))


def test_a_run_that_could_not_judge_is_an_error(schema: Any) -> None:
    text = junit.render_error("model.safetensors: header cut off ]]> \x1b")
    schema.validate(text)
    (error,) = ET.fromstring(text).iter("error")
    assert error.text == "model.safetensors: header cut off ]]> \\u001b"
