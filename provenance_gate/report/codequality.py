"""GitLab Code Quality: an array of issues, one per open finding. Waived findings are left out: the format cannot say so."""

from __future__ import annotations

from typing import Any

from provenance_gate.policy.interface import Severity
from provenance_gate.report.escaping import clean, json_document
from provenance_gate.report.findings import OpenFinding, message_of, open_findings, rule_key
from provenance_gate.report.interface import Report, ReportOptions

_SEVERITY = {Severity.ERROR: "critical", Severity.WARNING: "minor", Severity.NOTE: "info"}


def render(report: Report, options: ReportOptions) -> str:
    """The report as a Code Quality array, with a line end. Fingerprints are unique in it."""
    return json_document([_issue(found) for found in open_findings(report, options)])


def _issue(found: OpenFinding) -> dict[str, Any]:
    finding, place = found.finding, found.place
    return {
        "description": clean(f"{found.label}: {message_of(finding)}"),
        "check_name": clean(rule_key(finding.number, finding.rule_id)),
        "fingerprint": clean(found.identity),
        "severity": _SEVERITY[found.level],
        "location": {"path": clean(place.path), "lines": {"begin": place.line}},
    }
