"""The step summary: what it says, and that it fits."""

from __future__ import annotations

from dataclasses import replace

import pytest
from markdown_it import MarkdownIt

from provenance_gate.policy.interface import Severity
from provenance_gate.report import markdown
from provenance_gate.report.interface import Report, ReportOptions

from . import build, pipelines

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def cells(report: Report) -> list[list[str]]:
    """The rows of all tables, as text that a reader sees."""
    rows: list[list[str]] = []
    for token in PARSER.parse(markdown.render(report, ReportOptions())):
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and rows and token.level == 4:
            rows[-1].append("".join(child.content for child in token.children or ()).replace("\u200b", ""))
    return rows


def test_a_failure_says_what_where_and_what_to_do() -> None:
    text = markdown.render(build.impostor(), ReportOptions())
    assert text.startswith("## ❌ Fail: vendor&#47;own-12b\n")
    assert "1 failed, 1 passed" in text and "**What to do**" in text
    rows = cells(build.impostor())
    assert rows[1] == [
        "❌ fail",
        "PG201 declared-base-is-real",
        "The declared base is not in the weights: score 0.02, asked for 0.7.",
    ]
    assert ["meta-llama/Llama-3.1-8B", "independent", "0.02", "0.42", "README.md:3"] in rows


def test_licenses_are_listed_along_the_path_to_each_ancestor() -> None:
    rows = cells(build.passing())
    assert ["acme/support-bot-8b", "self", "Apache-2.0"] in rows
    path = "acme/support-bot-8b → meta-llama/Llama-3.1-8B → meta-llama/Llama-3-8B"
    assert [path, "catalog", "LicenseRef-llama3"] in rows


def test_a_pass_asks_for_nothing() -> None:
    text = markdown.render(build.passing(), ReportOptions())
    assert text.startswith("## ✅ Pass") and "What to do" not in text


def test_a_waived_finding_is_shown_with_who_why_and_until_when() -> None:
    row = next(row for row in cells(build.waived()) if row[0] == "☑️ waived")
    assert row[2].endswith("Waived until 2026-06-30 by legal@acme.example: Accepted by legal (LEGAL-42)")


def test_a_lighter_finding_says_how_light() -> None:
    rows = cells(pipelines.with_findings(pipelines.failed(0, Severity.WARNING), verdict=build.Verdict.PASS))
    assert rows[1][0] == "❌ fail (warning)"


def test_several_artifacts_have_a_heading_each() -> None:
    text = markdown.render(build.two_artifacts(), ReportOptions())
    assert text.startswith("## ❌ Fail: 2 artifacts\n")
    assert "### ✅ Pass: acme&#47;support-bot-8b" in text and "### ❌ Fail: vendor&#47;own-12b" in text


@pytest.mark.parametrize(("count", "cut"), [(100, False), (2_000, True)])
def test_a_long_summary_is_cut_at_a_line_with_a_note(count: int, cut: bool) -> None:
    finding = replace(pipelines.failed(), message="漢" * 1000)
    text = markdown.render(pipelines.with_findings(*[finding] * count), ReportOptions())
    assert len(text.encode()) <= 1 << 20
    assert text.endswith("_Cut here: a step summary may have 1 MiB. The JSON report has all._\n") is cut
    if cut:
        assert len(text.encode()) > 1_000_000 and text.splitlines()[-3].endswith("|")
