"""SARIF 2.1.0 (OASIS), with what GitHub code scanning asks for beyond the standard.

Waived findings are left out: GitHub ignores `suppressions` and would open an alert for each. All rules that ran are listed,
so that an alert closes when its finding is gone. Binary weights have no lines; `findings.place_of` says where a finding is shown.
"""

from __future__ import annotations

from typing import Any

from provenance_gate.policy.interface import Severity
from provenance_gate.report.escaping import clean, json_document, sarif_text, slug, uri_path
from provenance_gate.report.findings import (
    OpenFinding,
    RuleEntry,
    labels,
    message_of,
    open_findings,
    rule_key,
    rules_of,
)
from provenance_gate.report.interface import Report, ReportOptions

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
MAX_RESULTS = 5000
"""GitHub takes 25,000 results of a run and shows 5,000; together with `TEXT_LIMIT` this keeps a file under 10 MB gzipped."""

_SECURITY_SEVERITY = {Severity.ERROR: "8.0", Severity.WARNING: "5.0", Severity.NOTE: "2.0"}
_PROBLEM_SEVERITY = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "recommendation"}
_TAGS = ("security", "supply-chain", "model-provenance")


def render(report: Report, options: ReportOptions) -> str:
    """The report as one SARIF run, with a line end."""
    rules = rules_of(report)
    index = {rule.key: position for position, rule in enumerate(rules)}
    found = open_findings(report, options)
    run: dict[str, Any] = {
        "tool": {
            "driver": {
                "name": "provenance-gate",
                "version": clean(report.tool_version),
                "rules": [_rule(rule) for rule in rules],
            }
        },
        "automationDetails": {"id": f"provenance-gate/{_category(report)}/"},
        "invocations": [_invocation(report, len(found))],
        "columnKind": "unicodeCodePoints",
        "results": [_result(one, index) for one in found[:MAX_RESULTS]],
        "properties": {
            "verdict": report.verdict.value,
            "policy": clean(report.policy.name),
            "policySha256": clean(report.policy.sha256),
        },
    }
    return json_document({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]})


def _category(report: Report) -> str:
    """GitHub replaces the alerts of a category by those of the next upload of it, so one artifact's do not replace another's."""
    names = labels(report)
    return slug("-".join((report.policy.name, *names))) if len(names) == 1 else slug(report.policy.name)


def _invocation(report: Report, count: int) -> dict[str, Any]:
    invocation: dict[str, Any] = {"executionSuccessful": True, "exitCode": report.exit_code}
    if report.timestamp is not None:
        invocation["endTimeUtc"] = report.timestamp.strftime("%Y-%m-%dT%H:%M:%SZ")
    if count > MAX_RESULTS:
        left = f"{count - MAX_RESULTS} lighter findings of {count} are left out here; the JSON report has all."
        invocation["toolExecutionNotifications"] = [{"level": "warning", "message": {"text": left}}]
    return invocation


def _rule(rule: RuleEntry) -> dict[str, Any]:
    return {
        "id": clean(rule.key),
        "name": "".join(word.capitalize() for word in slug(rule.id).replace(".", "-").replace("_", "-").split("-")),
        "shortDescription": {"text": sarif_text(rule.title, 1000) or "A rule of the policy"},
        "fullDescription": {"text": sarif_text(rule.description, 1000) or "A rule of the policy"},
        "help": {"text": sarif_text(f"{rule.description} Each finding says what to do about it.")},
        "defaultConfiguration": {"level": rule.severity.value},
        "properties": {
            "tags": list(_TAGS),
            "precision": "high",
            "problem.severity": _PROBLEM_SEVERITY[rule.severity],
            "security-severity": _SECURITY_SEVERITY[rule.severity],
        },
    }


def _result(found: OpenFinding, index: dict[str, int]) -> dict[str, Any]:
    finding, place = found.finding, found.place
    key = rule_key(finding.number, finding.rule_id)
    return {
        "ruleId": clean(key),
        "ruleIndex": index[key],
        "level": found.level.value,
        "message": {"text": sarif_text(f"{found.label}: {message_of(finding)}")},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": uri_path(place.path)},
                    "region": {"startLine": place.line, "startColumn": 1, "endLine": place.line, "endColumn": 2},
                }
            }
        ],
        "partialFingerprints": {"primaryLocationLineHash": f"{clean(found.identity)}:1"},
        "properties": {
            "artifact": clean(found.label),
            "purl": clean(found.result.purl),
            "status": finding.status.value,
            "evidence": {clean(name): clean(value) for name, value in finding.evidence},
        },
    }
