"""Whatever a name, path, rule, license or message holds: every format stays valid, shows it as it is, and does nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from provenance_gate.policy.interface import Severity, Status
from provenance_gate.report import checksums, codequality, github, intoto, junit, markdown, sarif
from provenance_gate.report.escaping import clean
from provenance_gate.report.interface import Report, ReportOptions

from . import build, pipelines
from .pipelines import ANY_TEXT, NASTY, any_report
from .test_codequality import DOCUMENTED
from .test_github import command_of
from .test_intoto import STATEMENT
from .test_sarif import VALIDATOR

FORMATS: tuple[Callable[[Report, ReportOptions], str], ...] = (
    sarif.render,
    junit.render,
    codequality.render,
    markdown.render,
    github.render,
    intoto.render,
    intoto.render_predicate,
    checksums.render,
)
OPEN = st.sampled_from((Status.FAIL, Status.UNDECIDED))
TRIGGER = re.compile(r"@\w|#\w|\bwww\.|\w:/|:\w+:|\$\w|\bgh-\d", re.IGNORECASE)


def strings(value: Any) -> list[str]:
    """Every string of a JSON value, keys included."""
    if isinstance(value, dict):
        return [s for key, item in value.items() for s in (key, *strings(item))]
    if isinstance(value, list):
        return [s for item in value for s in strings(item)]
    return [value] if isinstance(value, str) else []


@settings(deadline=None, max_examples=60)
@given(ANY_TEXT, st.sampled_from(tuple(Status)), st.sampled_from(tuple(Severity)))
def test_no_format_lets_a_control_character_or_a_log_command_through(
    text: str, status: Status, severity: Severity
) -> None:
    report = any_report(text, status, severity)
    for render in FORMATS:
        made = render(report, ReportOptions())
        made.encode("utf-8")
        assert made.endswith("\n") and made == render(report, ReportOptions())
        # `sha256sum` escapes line ends and backslashes only: the file is no log.
        if render is not checksums.render:
            assert all(c.isprintable() or c == "\n" for c in made.replace("\u200b", ""))
        if render not in (checksums.render, github.render):
            assert "##" not in made.replace("\n## ", "\n").replace("\n### ", "\n").removeprefix("## ")
            assert all(command_of(line) is None for line in made.splitlines())


@settings(deadline=None, max_examples=60)
@given(ANY_TEXT, OPEN)
def test_sarif_gives_the_text_back(text: str, status: Status) -> None:
    document = json.loads(sarif.render(any_report(text, status), ReportOptions()))
    VALIDATOR.validate(document)
    run = document["runs"][0]
    message = run["results"][0]["message"]["text"]
    plain = re.sub(r"\\([\\\[\]])", r"\1", message)
    shown = clean(text, 200)[:150]
    assert plain.startswith(shown)
    assert re.search(r"(?<!\\)(?:\\\\)*\[", message) is None
    assert run["results"][0]["properties"]["evidence"] == {clean(text): clean(text)}
    uri = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    parts = urlsplit(uri)
    assert not parts.scheme and not parts.netloc and ".." not in uri.split("/")
    assert all(s.isprintable() for s in strings(document))


@settings(deadline=None, max_examples=60)
@given(ANY_TEXT, st.sampled_from(tuple(Status)))
def test_junit_gives_the_text_back(text: str, status: Status) -> None:
    root = ET.fromstring(junit.render(any_report(text, status), ReportOptions()))
    (case,) = root.iter("testcase")
    assert case.get("classname") == clean(text) and case.get("name") == clean(f"PG201 {text}")
    (told,) = [*case.iter("failure"), *case.iter("system-out")]
    assert clean(text, 200)[:150] in (told.text or "")
    assert {element.tag for element in root.iter()} <= {
        *("testsuites", "testsuite", "testcase", "failure", "skipped", "system-out"),
    }


@pytest.mark.parametrize("text", NASTY)
def test_junit_of_hostile_text_fits_the_xsd(text: str) -> None:
    xmlschema = pytest.importorskip("xmlschema")
    from .test_junit import XSD

    schema = xmlschema.XMLSchema(XSD)
    for status in Status:
        schema.validate(junit.render(any_report(text, status), ReportOptions()))


@settings(deadline=None, max_examples=60)
@given(ANY_TEXT, OPEN)
def test_code_quality_gives_the_text_back(text: str, status: Status) -> None:
    issues = json.loads(codequality.render(any_report(text, status), ReportOptions()))
    jsonschema.validate(issues, DOCUMENTED)
    (issue,) = issues
    assert issue["description"].startswith(clean(text, 200)[:150])
    assert issue["check_name"] == clean(f"PG201-{text}")
    assert all(s.isprintable() for s in strings(issues))


@settings(deadline=None, max_examples=100)
@given(ANY_TEXT, OPEN, st.sampled_from(tuple(Severity)))
def test_an_annotation_is_one_command_with_the_text_in_it(text: str, status: Status, severity: Severity) -> None:
    lines = github.render(any_report(text, status, severity), ReportOptions()).split("\n")
    assert len(lines) == 3 and command_of(lines[1]) is None and lines[2] == ""
    command = command_of(lines[0])
    assert command is not None
    level = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}[severity]
    assert command.name == level and set(command.properties) == {"title"}
    assert command.properties["title"].strip() == clean(f"PG201 {text}", 200).strip()
    assert command.data.startswith(clean(clean(text, 200), 200)[:150])


@settings(deadline=None, max_examples=60)
@given(ANY_TEXT, st.sampled_from(tuple(Status)))
def test_markdown_shows_the_text_and_makes_nothing_of_it(text: str, status: Status) -> None:
    made = markdown.render(any_report(text, status), ReportOptions())
    plain_one = markdown.render(any_report("x" if text else "", status), ReportOptions())
    assert all(made.count(c) == plain_one.count(c) for c in "<>|`[]*_\\")
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(made)
    inline = [child for token in tokens for child in token.children or ()]
    assert {child.type for child in inline} <= {"text", "text_special", "strong_open", "strong_close", "html_inline"}
    assert [child.content for child in inline if child.type == "html_inline"] == ["<sub>", "</sub>"]
    assert {token.tag for token in tokens} <= {
        *("h2", "p", "table", "thead", "tbody", "tr", "th", "td", "ul", "li", "")
    }
    shown = ["".join(c.content for c in token.children or ()) for token in tokens if token.type == "inline"]
    assert not any(TRIGGER.search(line) for line in shown)
    plain = [line.replace("\u200b", "") for line in shown]
    assert any(clean(text).strip() in line for line in plain)


@settings(deadline=None, max_examples=60)
@given(ANY_TEXT, st.sampled_from(tuple(Status)))
def test_a_verification_summary_stays_a_statement(text: str, status: Status) -> None:
    report = any_report(text, status)
    statement = json.loads(intoto.render(report, ReportOptions()))
    jsonschema.validate(statement, STATEMENT)
    files = report.results[0].artifact.files
    assert {s["digest"]["sha256"] for s in statement["subject"]} == {f.sha256 for f in files}
    assert len({s["name"] for s in statement["subject"]}) == len({f.path for f in files})
    assert statement["predicate"]["policy"]["name"] == clean(text)
    assert all(s.isprintable() for s in strings(statement))


@settings(deadline=None, max_examples=60)
@given(ANY_TEXT)
def test_a_checksum_line_stays_one_line_and_gives_the_name_back(text: str) -> None:
    report = any_report(text)
    lines = checksums.render(report, ReportOptions()).split("\n")
    assert len(lines) == 3 and lines[-1] == ""
    names = set()
    for line in lines[:-1]:
        name = line.partition("  ")[2]
        if line.startswith("\\"):
            name = re.sub(r"\\(.)", lambda m: {"n": "\n", "r": "\r"}.get(m[1], m[1]), name)
        names.add(name)
    paths = {str(f.path) for f in report.results[0].artifact.files}
    assert names == {p.encode("utf-8", "backslashreplace").decode() for p in paths}


def test_long_texts_do_not_make_long_reports() -> None:
    for render in FORMATS[:-2]:
        assert len(render(any_report("\x00" * 100_000), ReportOptions())) < 1_000_000 + 700_000 * (
            render is intoto.render
        )


def test_twenty_thousand_findings_take_bounded_room() -> None:
    report = pipelines.with_findings(*(pipelines.failed(n) for n in range(20_000)))
    assert len(sarif.render(report, ReportOptions())) < 20_000_000
    assert len(markdown.render(report, ReportOptions()).encode()) <= 1 << 20
    assert len(github.render(report, ReportOptions()).splitlines()) == 11


@pytest.mark.parametrize("name", build.REPORTS)
def test_every_format_renders_every_report(name: str) -> None:
    for render in FORMATS:
        assert render(build.REPORTS[name](), ReportOptions()).endswith("\n")
