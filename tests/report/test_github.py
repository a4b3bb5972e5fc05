"""Annotations, read back by the rules of the Actions runner."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from provenance_gate.policy.interface import Severity
from provenance_gate.report import github
from provenance_gate.report.interface import Report, ReportOptions

from . import build, pipelines

KNOWN = {
    "error",
    "warning",
    "notice",
    "debug",
    "group",
    "endgroup",
    "add-mask",
    "stop-commands",
    "set-output",
    "save-state",
}


@dataclass
class Command:
    """What the runner acts on."""

    name: str
    data: str
    properties: dict[str, str] = field(default_factory=dict)


def unescape(text: str, tokens: tuple[tuple[str, str], ...]) -> str:
    for token, character in tokens:
        text = text.replace(token, character)
    return text


def command_of(line: str) -> Command | None:
    """A line of a step's output as the runner reads it: ``::name k=v,k=v::data`` at its start, else ``##[name]`` anywhere."""
    data_tokens = (("%0D", "\r"), ("%0A", "\n"), ("%25", "%"))
    trimmed = line.lstrip()
    if trimmed.startswith("::") and "::" in trimmed[2:]:
        head, _, data = trimmed[2:].partition("::")
        name, _, rest = head.partition(" ")
        if name in KNOWN:
            pairs = [pair.split("=", 1) for pair in rest.strip().split(",") if "=" in pair]
            tokens = (*data_tokens[:2], ("%3A", ":"), ("%2C", ","), ("%25", "%"))
            return Command(name, unescape(data, data_tokens), {key: unescape(value, tokens) for key, value in pairs})
    _, found, rest = line.partition("##[")
    name = rest.partition("]")[0].partition(" ")[0]
    return Command(name, rest) if found and "]" in rest and name in KNOWN else None


def commands(report: Report, options: ReportOptions | None = None) -> list[Command]:
    lines = github.render(report, options or ReportOptions()).split("\n")
    assert lines.pop() == ""
    found = [command_of(line) for line in lines]
    assert found.pop() is None, "the last line is for people"
    return [command for command in found if command is not None]


def test_a_failed_rule_is_an_error_with_its_rule_as_title() -> None:
    (command,) = commands(build.impostor())
    assert command.name == "error" and command.properties == {"title": "PG201 declared-base-is-real"}
    assert command.data.startswith(
        "vendor/own-12b: The declared base is not in the weights: score 0.02, asked for 0.7."
    )


@pytest.mark.parametrize("name", ["passing", "waived"])
def test_nothing_open_is_no_annotation(name: str) -> None:
    assert commands(build.REPORTS[name]()) == []
    assert github.render(build.REPORTS[name](), ReportOptions()).startswith("provenance-gate: pass, ")


@pytest.mark.parametrize(("count", "shown"), [(9, 9), (10, 10), (40, 10)])
def test_the_worst_nine_of_a_level_are_shown_and_how_many_more(count: int, shown: int) -> None:
    report = pipelines.with_findings(*(pipelines.failed(n, Severity.WARNING) for n in range(count)))
    found = commands(report)
    assert [command.name for command in found] == ["warning"] * shown
    more = found[-1].data.startswith(f"{count - 9} more")
    assert more is (count > 9)


def test_levels_are_counted_apart_and_notes_are_notices() -> None:
    findings = [pipelines.failed(n, severity) for severity in Severity for n in range(12)]
    names = [command.name for command in commands(pipelines.with_findings(*findings))]
    assert names == ["error"] * 10 + ["warning"] * 10 + ["notice"] * 10


def test_properties_keep_their_colons_commas_and_percent_signs() -> None:
    finding = replace(pipelines.failed(), rule_id="a:b,c=d%2C", message="100 % of %0A")
    (command,) = commands(pipelines.with_findings(finding))
    assert command.properties["title"] == "PG201 a:b,c=d%2C"
    assert "100 % of %0A" in command.data
