"""JUnit XML as Jenkins and GitLab read it: a suite per artifact, a test case per rule that was asked about it.

A case fails when one of its findings stands against the run, and is skipped when waivers or a baseline accepted all that is
open. JUnit knows no warnings: a finding too light to fail the run is told in the case's output.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from provenance_gate.policy.evaluate import counts
from provenance_gate.policy.interface import FailOn, Finding, Status
from provenance_gate.report.escaping import clean
from provenance_gate.report.findings import labels, message_of, rule_key, sentences, waiver_text
from provenance_gate.report.interface import ArtifactResult, Report, ReportOptions

_SUITES = "provenance-gate"
_WORST_FIRST = {Status.FAIL: 0, Status.UNDECIDED: 1, Status.WAIVED: 2, Status.PASS: 3}


def render(report: Report, options: ReportOptions) -> str:
    """The report as JUnit XML, with a line end."""
    suites = [
        _suite(result, label, report.fail_on) for result, label in zip(report.results, labels(report), strict=True)
    ]
    return _document(suites)


def render_error(message: str) -> str:
    """JUnit XML of a run that could not judge (exit code 3): one test case with an error."""
    suite = ET.Element("testsuite", name=_SUITES)
    case = ET.SubElement(suite, "testcase", name="run", classname=_SUITES, time="0")
    ET.SubElement(case, "error", message=clean(message), type="error").text = clean(message)
    return _document([_counted(suite)])


def _suite(result: ArtifactResult, label: str, fail_on: FailOn) -> ET.Element:
    suite = ET.Element("testsuite", name=clean(label))
    cases: dict[str, list[Finding]] = {}
    for finding in result.findings:
        cases.setdefault(rule_key(finding.number, finding.rule_id), []).append(finding)
    for findings in cases.values():
        _case(suite, label, sorted(findings, key=lambda f: _WORST_FIRST[f.status]), fail_on)
    return _counted(suite)


def _case(suite: ET.Element, label: str, findings: Sequence[Finding], fail_on: FailOn) -> None:
    first = findings[0]
    name = clean(f"{first.number} {first.rule_id}")
    case = ET.SubElement(suite, "testcase", name=name, classname=clean(label), time="0")
    against = [finding for finding in findings if counts(finding, fail_on)]
    text = "\n".join(_told(finding) for finding in findings)
    if against:
        word = clean(against[0].message)
        failure = ET.SubElement(case, "failure", message=word, type=against[0].status.value)
        failure.text = text
    elif first.status is Status.WAIVED:
        ET.SubElement(case, "skipped", message=clean(waiver_text(first) or first.message))
        ET.SubElement(case, "system-out").text = text
    else:
        ET.SubElement(case, "system-out").text = text


def _told(finding: Finding) -> str:
    waived = waiver_text(finding)
    word = f"{finding.status.value} ({finding.severity.value})" if finding.status is not Status.PASS else "pass"
    told = sentences(finding.message, waived) if waived else message_of(finding)
    return clean(f"{word}: {told}")


def _counted(suite: ET.Element) -> ET.Element:
    suite.set("tests", str(len(suite.findall("testcase"))))
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(attribute, str(len(suite.findall(f"testcase/{tag}"))))
    suite.set("time", "0")
    return suite


def _document(suites: Sequence[ET.Element]) -> str:
    root = ET.Element("testsuites", name=_SUITES)
    for attribute in ("tests", "failures", "errors"):
        root.set(attribute, str(sum(int(suite.get(attribute, "0")) for suite in suites)))
    root.set("time", "0")
    root.extend(suites)
    ET.indent(root)
    text = ET.tostring(root, encoding="unicode")
    # Two number signs start a command in the logs of Azure Pipelines and GitHub, wherever they stand.
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + text.replace("##", "#&#35;") + "\n"
