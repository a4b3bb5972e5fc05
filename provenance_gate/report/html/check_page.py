"""The page of one `check`: verdict, findings, what to do, and per artifact its lineage, layers, mix, licenses and BOM excerpt."""

from __future__ import annotations

import shlex

from provenance_gate.policy.interface import Finding, Severity, Status, Verdict
from provenance_gate.report.findings import count_answers, labels, level_of, source_of, waiver_text
from provenance_gate.report.html.frame import folded, page, preformatted, section, table, word
from provenance_gate.report.html.lineage_parts import (
    bom_section,
    layers_section,
    license_section,
    lineage_section,
    mix_section,
)
from provenance_gate.report.html.markup import Child, Markup, join, tag
from provenance_gate.report.human import cost_line
from provenance_gate.report.interface import ArtifactResult, Report, ReportOptions

_TONE = {Verdict.PASS: "good", Verdict.FAIL: "bad", Verdict.UNDECIDED: "open"}
_STATUS = {Status.PASS: "good", Status.WAIVED: "good", Status.FAIL: "bad", Status.UNDECIDED: "open"}
_ORDER = {Status.FAIL: 0, Status.UNDECIDED: 1, Status.WAIVED: 2, Status.PASS: 3}


def render(report: Report, options: ReportOptions) -> str:
    """One self-contained document as a `ReportFormat` has it; no option changes it."""
    names = labels(report)
    findings = [f for result in report.results for f in result.findings]
    several = len(report.results) > 1
    name = f"{len(report.results)} artifacts" if several else names[0]
    tone = _TONE[report.verdict]
    head = tag(
        "div",
        tag("p", word(report.verdict.value, tone)),
        tag("p", tag("strong", f"{name}, policy {report.policy.name}: {count_answers(findings)}")),
        class_=f"verdict {tone}",
    )
    parts = [tag("h1", f"Provenance of {name}"), head]
    for result, label in zip(report.results, names, strict=True):
        parts += [tag("h1", label)] if several else []
        parts += _artifact(result)
    parts.append(_reproduce(report, names))
    return page(f"Provenance of {name}", *parts)


def _artifact(result: ArtifactResult) -> list[Markup]:
    parts = (
        _findings(result),
        lineage_section(result.ancestry, result.lineages),
        layers_section(result.lineages),
        mix_section(result.merge),
        license_section(result.ancestry),
        bom_section(result),
        section("Notes", tag("ul", *(tag("li", n) for n in result.artifact.notes))) if result.artifact.notes else None,
    )
    return [p for p in parts if p is not None]


def _findings(result: ArtifactResult) -> Markup:
    findings = sorted(result.findings, key=lambda f: (_ORDER[f.status], f.severity is not Severity.ERROR))
    rows = [(f"{f.number} {f.rule_id}", word(_answer(f), _tone(f)), _why(f)) for f in findings]
    todo = [
        tag("li", tag("strong", f"{f.number} {f.rule_id}: "), f.remedy) for f in findings if _is_open(f) and f.remedy
    ]
    more = [tag("h3", "What to do"), tag("ul", *todo)] if todo else []
    return section("Rules", table("rules and answers", ("rule", "answer", "why"), rows), *more)


def _is_open(finding: Finding) -> bool:
    return finding.status in (Status.FAIL, Status.UNDECIDED)


def _answer(finding: Finding) -> str:
    level = level_of(finding)
    if level is None or level is Severity.ERROR:
        return finding.status.value
    return f"{finding.status.value} ({level.value})"


def _tone(finding: Finding) -> str:
    heavy = level_of(finding) in (None, Severity.ERROR)
    return _STATUS[finding.status] if heavy else "open"


def _why(finding: Finding) -> Markup:
    place = finding.location
    more: list[Child] = []
    if place is not None:
        more.append(tag("div", f"{place.path}:{place.line} ({place.field})", class_="dim small"))
    waived = waiver_text(finding)
    if waived:
        more.append(tag("div", waived, class_="dim small"))
    if finding.evidence:
        items = (tag("li", tag("strong", f"{name}: "), value) for name, value in finding.evidence)
        more.append(folded(f"Evidence of {finding.number} {finding.rule_id}", tag("ul", *items, class_="small")))
    return join([finding.message, *more])


def _reproduce(report: Report, names: list[str]) -> Markup:
    sources = [source_of(r) or label for r, label in zip(report.results, names, strict=True)]
    command = shlex.join(["provenance-gate", "check", *sources, "--policy", report.policy.file])
    digests = [(label, r.digest, cost_line(r.cost)) for r, label in zip(report.results, names, strict=True)]
    time = f" Dated {report.timestamp.isoformat()}." if report.timestamp is not None else ""
    return section(
        "How to reproduce",
        preformatted("command", [command]),
        tag("p", f"provenance-gate {report.tool_version}, policy SHA-256 {report.policy.sha256}.{time}"),
        table("digests of the artifacts", ("artifact", "SHA-256 of the manifest", "read"), digests),
    )
