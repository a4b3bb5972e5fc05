"""Text of `audit` for people: one sentence of verdict, three of why, then tells, claims and lineage."""

from __future__ import annotations

import shlex

from provenance_gate.lineage.interface import Ancestor, Standing
from provenance_gate.report.audit import READER, Audit
from provenance_gate.report.graph import render_tree
from provenance_gate.report.human import cost_line, number_text, write_merge
from provenance_gate.report.interface import ReportOptions
from provenance_gate.report.page import Page
from provenance_gate.tells.interface import TellResult, TellStatus

STATUS_WORDS = {TellStatus.FIRED: "FIRED", TellStatus.QUIET: "quiet", TellStatus.NOT_MEASURED: "not measured"}


def render_audit(audit: Audit, options: ReportOptions) -> str:
    """The human text of one `audit`; every line fits `options.width`."""
    page = Page(options)
    page.line(audit.verdict.sentence, style="bold")
    for sentence in audit.verdict.why:
        page.line(sentence, indent=2)
    page.section("The fourteen tells")
    page.table(("", "tell", "answer", "what was seen"), [_row(t) for t in audit.tells])
    page.line(audit.cluster.text)
    if options.verbose:
        _write_tells(page, audit)
    if audit.withheld:
        page.section("Withheld")
        for absent in audit.withheld:
            page.line(f"{absent.what}: {absent.seen}; {absent.consequence}", indent=2)
    if audit.claims:
        page.section("Claims against evidence")
        checks = [(c.topic, c.standing.value, f"{c.claim} ({c.source})", c.shown) for c in audit.claims]
        page.table(("about", "answer", "claimed", "shown"), checks)
    if audit.lineages:
        page.section("Weights")
        rows = [
            (x.base.id, x.relation.value, number_text(x.score), number_text(x.p_value), number_text(x.inheritance))
            for x in audit.lineages
        ]
        page.table(("model", "relation", "score", "p-value", "inherited"), rows)
    write_merge(page, audit.merge, options)
    _write_ancestry(page, audit)
    if audit.nominated:
        page.section("Nominated, not measured")
        for nominated in audit.nominated:
            page.line(f"{nominated.id}: {'; '.join(nominated.reasons[:3])}", indent=2)
        page.line("None of these is a match: config files, tokenizers and names can be copied.", indent=2)
    for base, reason in audit.untested.items():
        page.line(f"declared and not read: {base}: {reason}")
    for fault in audit.damaged:
        page.line(f"left out: {fault}")
    page.blank()
    page.line(f"Again: {shlex.join(audit.command)}")
    page.line(cost_line(audit.cost))
    page.line(READER)
    return page.text()


def license_paths(ancestry: tuple[Ancestor, ...] | list[Ancestor]) -> list[tuple[str, str, str]]:
    """Of every ancestor with known terms: the way to it, its licenses, and what the way rests on."""
    return [
        (
            " > ".join(node.path[1:]),
            ", ".join(f"{term.id} ({term.category})" for term in node.licenses),
            node.rests_on.value,
        )
        for node in ancestry
        if node.standing is not Standing.SELF and node.licenses
    ]


def _row(tell: TellResult) -> tuple[str, str, str, str]:
    answer = STATUS_WORDS[tell.status]
    strength = f" {tell.strength:.2f}" if tell.status is TellStatus.FIRED else ""
    return str(tell.id), tell.title, f"{answer}{strength}", tell.seen


def _write_tells(page: Page, audit: Audit) -> None:
    for tell in audit.tells:
        page.blank()
        page.line(f"{tell.id} {tell.name}: {STATUS_WORDS[tell.status]}", style="bold")
        page.line(f"seen: {tell.seen}", indent=2)
        if tell.expected:
            page.line(f"expected: {tell.expected}", indent=2)
        if tell.base:
            page.line(f"points to: {tell.base}", indent=2)
        if tell.reproduce:
            page.line(f"by hand: {tell.reproduce}", indent=2)


def _write_ancestry(page: Page, audit: Audit) -> None:
    tree = render_tree(audit.ancestry, audit.lineages)
    if len(tree) > 1:
        page.section("Ancestry")
        for line in tree:
            page.line(line, indent=2)
    paths = license_paths(list(audit.ancestry))
    if paths:
        page.section("Licenses that come along")
        for way, names, rests_on in paths:
            page.line(f"{way}: {names}; {rests_on}", indent=2)
