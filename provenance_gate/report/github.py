"""Workflow commands of GitHub Actions: annotations, for stdout of a step.

GitHub shows ten of a level per step; so the worst nine are printed and then how many more there are.
"""

from __future__ import annotations

from provenance_gate.policy.interface import Severity
from provenance_gate.report.escaping import clean, command_message, command_property
from provenance_gate.report.findings import OpenFinding, count_answers, message_of, open_findings
from provenance_gate.report.interface import Report, ReportOptions

SHOWN = 9
_COMMAND = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}
_TITLE = command_property("provenance-gate")


def render(report: Report, options: ReportOptions) -> str:
    """Annotations, the heaviest first, and a last line for the log that no program acts on."""
    found = open_findings(report, options)
    lines = []
    for level, command in _COMMAND.items():
        mine = [one for one in found if one.level is level]
        lines += [_annotation(command, one) for one in mine[:SHOWN]]
        if len(mine) > SHOWN:
            more = f"{len(mine) - SHOWN} more like this; the step summary and the other reports list them"
            lines.append(f"::{command} title={_TITLE}::{command_message(more)}")
    answers = count_answers(finding for result in report.results for finding in result.findings)
    lines.append(f"provenance-gate: {report.verdict.value}, {answers}")
    return "\n".join(lines) + "\n"


def _annotation(command: str, found: OpenFinding) -> str:
    finding, place = found.finding, found.place
    title = command_property(f"{finding.number} {finding.rule_id}", 200)
    message = command_message(f"{clean(found.label, 200)}: {message_of(finding)}")
    where = f"file={command_property(place.path)},line={place.line}," if place.in_repository else ""
    return f"::{command} {where}title={title}::{message}"
