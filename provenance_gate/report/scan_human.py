"""Text of `scan` for people: what the artifact is in one line, then the matches, their tree, and what was not measured."""

from __future__ import annotations

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.lineage.interface import Lineage, Standing
from provenance_gate.report.human import cost_line, number_text, write_merge
from provenance_gate.report.interface import ReportOptions, Scan
from provenance_gate.report.page import Page


def render_scan(scan: Scan, options: ReportOptions) -> str:
    """The human text of one `scan`; every line fits `options.width`."""
    page = Page(options)
    page.line(_headline(scan), style="bold")
    page.line(
        f"Searched {scan.stored} stored fingerprints and {scan.records} catalog records. "
        + ("Only weights make a match." if scan.matches or scan.nominated else "")
    )
    if scan.matches:
        page.section("Matches, the nearest first")
        page.table(("model", "relation", "score", "inherited", "p-value"), [_row(match) for match in scan.matches])
        if options.verbose:
            for match in scan.matches:
                page.line(f"{match.base.id} was looked at because: {scan.reasons.get(match.base.id, '')}", indent=2)
    if scan.families:
        page.section("Family")
        for line in tree_lines(scan):
            page.line(line, indent=2)
    write_merge(page, scan.merge, options)
    terms = [n for n in scan.ancestry if n.standing is not Standing.SELF and n.licenses]
    if terms:
        page.section("Licenses that come along")
        for node in terms:
            names = ", ".join(f"{term.id} ({term.category})" for term in node.licenses)
            page.line(f"{' > '.join(node.path[1:])}: {names}; {node.rests_on.value}", indent=2)
    if scan.contradicted:
        page.section("Declared, but the weights are independent of it")
        for lineage in scan.contradicted:
            page.line(f"{lineage.base.id}: {_where(lineage)}, score {number_text(lineage.score)}", indent=2)
            page.line(lineage.reason, indent=4)
    if scan.unclear:
        page.section("Related, but no descent shown")
        for lineage in scan.unclear:
            page.line(f"{lineage.base.id}: {lineage.relation.value}, score {number_text(lineage.score)}", indent=2)
            page.line(lineage.reason, indent=4)
    if scan.nominated:
        page.section("Nominated, not measured")
        for nominated in scan.nominated:
            page.line(f"{nominated.id}: {'; '.join(nominated.reasons[:3])}", indent=2)
            if options.verbose:
                page.line(nominated.absent, indent=4)
        page.line("None of these is a match: config files, tokenizers and names can be copied.", indent=2)
    for fault in scan.damaged:
        page.line(f"left out: {fault}")
    page.blank()
    page.line(cost_line(scan.cost))
    return page.text()


def _headline(scan: Scan) -> str:
    name = scan.artifact.name
    if len(scan.families) > 1:
        return f"{name} comes from {len(scan.families)} families: {', '.join(f.nearest for f in scan.families)}"
    if scan.matches:
        root = scan.families[0].root if scan.families else None
        nearest = scan.families[0].nearest if scan.families else scan.matches[0].base.id
        return f"{name} comes from {nearest}" + (f", whose root is {root}" if root not in (None, nearest) else "")
    if scan.contradicted:
        return f"{name} declares {scan.contradicted[0].base.id}, but its weights are independent of it"
    if scan.unclear:
        return f"{name}: related to {scan.unclear[0].base.id}, but no descent is shown"
    if scan.nominated:
        return f"{name}: no match by weights; {len(scan.nominated)} models nominated, none of them measured"
    return f"{name}: no known model is related to it"


def tree_lines(scan: Scan) -> list[str]:
    """The families as indented text, the root first, the artifact last in its line."""
    lines = []
    for family in scan.families:
        depth = 0
        for member in family.line:
            lines.append(f"{'   ' * max(depth - 1, 0)}{'└─ ' if depth else ''}{member}")
            depth += 1
        lines.append(f"{'   ' * (depth - 1)}└─ {scan.artifact.name} (this artifact)")
        if family.unclear:
            lines.append(
                f"nearer still, siblings that learned the same or steps in between: {', '.join(family.unclear)}"
            )
        others = [member for member in family.relatives if member not in family.unclear]
        if others:
            lines.append(f"relatives, direction not shown by weights: {', '.join(others)}")
        if family.root is None:
            lines.append("no record says where this family starts")
    return lines


def _where(lineage: Lineage) -> str:
    return ", ".join(f"{c.source.path}:{c.source.line} ({c.source.field})" for c in lineage.claims)


def _row(lineage: Lineage) -> tuple[str, ...]:
    kinds = f" ({', '.join(lineage.kinds)})" if lineage.kinds else ""
    return (
        lineage.base.id,
        f"{lineage.relation.value}{kinds}",
        _short(lineage.score),
        _short(lineage.inheritance),
        _short(lineage.p_value),
    )


def _short(value: float | NotMeasured) -> str:
    return "not measured" if isinstance(value, NotMeasured) else f"{value:.3g}"
