"""GitHub-flavored Markdown: the step summary of a pipeline, or a comment.

Every string of an artifact or a policy goes through `markdown_text`, so that it shows as it is written and does nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from provenance_gate.lineage.interface import Ancestor, Lineage, Standing
from provenance_gate.policy.interface import Finding, Severity, Status, Verdict
from provenance_gate.report.escaping import markdown_text
from provenance_gate.report.findings import count_answers, labels, level_of, sentences, waiver_text
from provenance_gate.report.human import cost_line, number_text
from provenance_gate.report.interface import ArtifactResult, Report, ReportOptions

MAX_BYTES = 1 << 20
"""GitHub refuses a step summary beyond 1 MiB."""

_CUT = "\n_Cut here: a step summary may have 1 MiB. The JSON report has all._\n"
_VERDICT = {Verdict.PASS: "✅ Pass", Verdict.FAIL: "❌ Fail", Verdict.UNDECIDED: "❔ Undecided"}
_ANSWER = {Status.PASS: "✅ pass", Status.WAIVED: "☑️ waived", Status.FAIL: "❌ fail", Status.UNDECIDED: "❔ undecided"}
_ORDER = {Status.FAIL: 0, Status.UNDECIDED: 1, Status.WAIVED: 2, Status.PASS: 3}
_HEAVIEST_FIRST = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}
_ID_LIMIT = 200


def render(report: Report, options: ReportOptions) -> str:
    """The report as Markdown of at most `MAX_BYTES` bytes of UTF-8, cut at a line with a note if need be."""
    findings = [finding for result in report.results for finding in result.findings]
    names = labels(report)
    what = _id(names[0]) if len(names) == 1 else f"{len(names)} artifacts"
    lines = [
        f"## {_VERDICT[report.verdict]}: {what}",
        "",
        f"Policy **{_id(report.policy.name)}**: {count_answers(findings)}.",
    ]
    for result, name in zip(report.results, names, strict=True):
        if len(names) > 1:
            lines += ["", f"### {_VERDICT[result.verdict]}: {_id(name)}", "", f"{count_answers(result.findings)}."]
        lines += _result_lines(result)
    lines += ["", f"<sub>provenance-gate {_id(report.tool_version)}, policy SHA-256 {_id(report.policy.sha256)}</sub>"]
    return _fit(lines)


def _result_lines(result: ArtifactResult) -> list[str]:
    findings = sorted(result.findings, key=lambda f: (_ORDER[f.status], _HEAVIEST_FIRST[f.severity]))
    lines = ["", *_table(("Answer", "Rule", "Why"), [(_answer(f), _rule(f), _why(f)) for f in findings])]
    open_ones = [f for f in findings if level_of(f) is not None and f.remedy]
    if open_ones:
        lines += ["", "**What to do**", "", *(f"- {_rule(f)}: {markdown_text(f.remedy)}" for f in open_ones)]
    if result.lineages:
        heads = ("Base", "Relation", "Score", "p-value", "Declared")
        lines += ["", "**Lineage, from the weights**", "", *_table(heads, [_lineage(x) for x in result.lineages])]
    ancestors = [node for node in result.ancestry if node.licenses or node.standing is not Standing.SELF]
    if ancestors:
        lines += ["", "**Licenses along the ancestry**", ""]
        lines += _table(("Path", "Known from", "Licenses"), [_ancestor(node) for node in ancestors])
    if result.artifact.notes:
        lines += ["", "**Notes**", "", *(f"- Note: {markdown_text(note)}" for note in result.artifact.notes)]
    return [*lines, "", f"{_id(result.purl)}. {markdown_text(cost_line(result.cost))}"]


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [_row(headings), _row(["---"] * len(headings)), *(_row(row) for row in rows)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _answer(finding: Finding) -> str:
    lighter = finding.severity is not Severity.ERROR and finding.status in (Status.FAIL, Status.UNDECIDED)
    return _ANSWER[finding.status] + (f" ({finding.severity.value})" if lighter else "")


def _rule(finding: Finding) -> str:
    return f"{_id(finding.number)} {_id(finding.rule_id)}"


def _why(finding: Finding) -> str:
    return markdown_text(sentences(finding.message, waiver_text(finding)))


def _lineage(lineage: Lineage) -> tuple[str, ...]:
    kinds = f" ({', '.join(lineage.kinds)})" if lineage.kinds else ""
    places = ", ".join(f"{claim.source.path}:{claim.source.line}" for claim in lineage.claims)
    return (
        _id(lineage.base.id),
        markdown_text(f"{lineage.relation.value}{kinds}"),
        markdown_text(number_text(lineage.score)),
        markdown_text(number_text(lineage.p_value)),
        markdown_text(places) if places else "no",
    )


def _ancestor(node: Ancestor) -> tuple[str, ...]:
    licenses = ", ".join(markdown_text(term.spdx or term.id, _ID_LIMIT) for term in node.licenses)
    return " → ".join(_id(step) for step in node.path), node.standing.value, licenses or "unknown"


def _id(text: str) -> str:
    return markdown_text(text, _ID_LIMIT)


def _fit(lines: Sequence[str]) -> str:
    kept: list[str] = []
    size = 0
    for line in lines:
        size += len(line.encode()) + 1
        if size > MAX_BYTES - len(_CUT.encode()):
            return "\n".join(kept) + "\n" + _CUT
        kept.append(line)
    return "\n".join(kept) + "\n"
