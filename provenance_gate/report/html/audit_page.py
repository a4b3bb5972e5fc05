"""The page of one audit: verdict, tells, pictures, claims, licenses, and how to get it again."""

from __future__ import annotations

import shlex

from provenance_gate.artifact.interface import Artifact, NotMeasured
from provenance_gate.policy.interface import Verdict
from provenance_gate.report.audit import READER, Audit
from provenance_gate.report.html.frame import folded, page, paragraphs, preformatted, section, table, word
from provenance_gate.report.html.lineage_parts import (
    bom_section,
    layers_section,
    license_section,
    lineage_section,
    mix_section,
)
from provenance_gate.report.html.markup import Child, Markup, join, tag
from provenance_gate.report.html.tell_pictures import change_maps, cosine_histogram, diff_lines, norm_p_values, partings
from provenance_gate.report.human import cost_line
from provenance_gate.report.interface import ArtifactResult
from provenance_gate.tells.interface import Standing, TellGroup, TellResult, TellStatus
from provenance_gate.tells.verdict import Answer, is_declared

_TONE = {Answer.DERIVED: "bad", Answer.NOT_DERIVED: "good", Answer.NOT_SHOWN: "open"}
_STATUS = {
    TellStatus.FIRED: ("fired", "bad"),
    TellStatus.QUIET: ("quiet", "good"),
    TellStatus.NOT_MEASURED: ("not measured", "open"),
}
_STANDING = {Standing.AGREES: "good", Standing.CONTRADICTS: "bad", Standing.CANNOT_BE_SEEN: "open"}
COSINES, CHANGES, NORMS, TEMPLATE = 11, 12, 13, 10


def render_audit(audit: Audit) -> str:
    """One self-contained document; no clock, no address, no script."""
    parts = (
        _head(audit),
        lineage_section(audit.ancestry, audit.lineages),
        _tells(audit),
        _withheld(audit),
        _claims(audit),
        _layers(audit),
        _pictures(audit),
        mix_section(audit.merge),
        license_section(audit.ancestry),
        _bom(audit),
        _nominated(audit),
        _reproduce(audit),
    )
    return page(f"Audit of {audit.artifact.name}", *(p for p in parts if p is not None))


def _head(audit: Audit) -> Markup:
    verdict = audit.verdict
    declared = all(is_declared(x) for x in audit.lineages if x.base.id in verdict.bases)
    tone = "good" if verdict.answer is Answer.DERIVED and declared else _TONE[verdict.answer]
    box = tag(
        "div",
        tag("p", word(verdict.answer.value, tone)),
        tag("p", tag("strong", verdict.sentence)),
        tag("ul", *(tag("li", why) for why in verdict.why)),
        class_=f"verdict {tone}",
    )
    return join([tag("h1", f"Audit of {audit.artifact.name}"), box, tag("p", READER, class_="dim small")])


def _tells(audit: Audit) -> Markup:
    fired = sum(t.status is TellStatus.FIRED for t in audit.tells)
    groups = []
    for group in TellGroup:
        tells = [t for t in audit.tells if t.group is group]
        if tells:
            groups += [tag("h3", group.value.capitalize()), tag("ol", *(_tell_item(t) for t in tells), class_="tells")]
    summary = f"{fired} of {len(audit.tells)} fired. {audit.cluster.text}"
    return section("The fourteen tells", tag("p", summary), *groups)


def _tell_item(tell: TellResult) -> Markup:
    answer, tone = _STATUS[tell.status]
    strength = f", strength {tell.strength:.2f}" if tell.status is TellStatus.FIRED else ""
    rows = [
        ("Expected of a model of its own", tell.expected),
        ("Points to", tell.base or ""),
        ("By hand", tell.reproduce),
    ]
    more: list[Child] = [tag("p", tag("strong", f"{name}: "), value) for name, value in rows if value]
    diff = diff_lines(tell)
    if diff:
        more.append(preformatted(f"difference seen by tell {tell.id}", diff))
    parted = partings(tell)
    if parted is not None:
        more.append(parted)
    return tag(
        "li",
        tag("p", word(answer, tone), tag("strong", f" {tell.id}. {tell.title}"), tag("span", strength, class_="dim")),
        tag("p", tell.seen),
        folded(f"Tell {tell.id}: expected, and how to check it by hand", *more) if more else "",
        class_=tone,
    )


def _withheld(audit: Audit) -> Markup | None:
    if not audit.withheld:
        return None
    items = [tag("li", tag("strong", f"{w.what}: "), f"{w.seen}; {w.consequence}") for w in audit.withheld]
    return section("Withheld", tag("ul", *items))


def _claims(audit: Audit) -> Markup:
    if not audit.claims:
        return section("Claims against evidence", tag("p", "The files make no claim that could be held against them."))
    items = [
        tag(
            "li",
            tag("p", word(c.standing.value, _STANDING[c.standing]), tag("strong", f" {c.topic}")),
            tag("p", "claimed: ", c.claim, tag("span", f" ({c.source})", class_="dim")),
            tag("p", "shown: ", c.shown),
            class_=_STANDING[c.standing],
        )
        for c in audit.claims
    ]
    return section("Claims against evidence", tag("ol", *items, class_="tells"))


def _layers(audit: Audit) -> Markup | None:
    maps = change_maps(_tell(audit, CHANGES))
    return layers_section(audit.lineages, *([tag("h3", "By role"), *maps] if maps else []))


def _pictures(audit: Audit) -> Markup | None:
    found = [
        ("Embedding rows", cosine_histogram(_tell(audit, COSINES))),
        ("Norm vectors", norm_p_values(_tell(audit, NORMS))),
    ]
    shown = [join([tag("h3", title), picture]) for title, picture in found if picture is not None]
    return section("Tables and norms", *shown) if shown else None


def _bom(audit: Audit) -> Markup | None:
    if not isinstance(audit.artifact, Artifact) or isinstance(audit.digest, NotMeasured):
        return None
    result = ArtifactResult(
        artifact=audit.artifact,
        digest=audit.digest,
        purl=audit.purl,
        lineages=audit.lineages,
        ancestry=audit.ancestry,
        findings=(),
        verdict=Verdict.UNDECIDED,
        cost=audit.cost,
        merge=audit.merge,
    )
    return bom_section(result)


def _nominated(audit: Audit) -> Markup | None:
    if not audit.nominated and not audit.untested:
        return None
    rows = [(n.id, "; ".join(n.reasons[:3]), n.absent) for n in audit.nominated]
    rows += [(i, "declared by the artifact", reason) for i, reason in audit.untested.items()]
    note = "None of these is a match: config files, tokenizers and names can be copied."
    return section(
        "Nominated, not measured", tag("p", note), table("nominated models", ("model", "because", "not measured"), rows)
    )


def _reproduce(audit: Audit) -> Markup:
    digest = audit.digest.reason if isinstance(audit.digest, NotMeasured) else audit.digest
    sentences = [
        f"provenance-gate {audit.tool_version}; the same files, bases and registries give the same page, byte for byte.",
        f"SHA-256 of the artifact's manifest (sorted lines of digest, two spaces, path): {digest}",
        f"Searched: {audit.stored} stored fingerprints and {audit.records} catalog records. {cost_line(audit.cost)}",
    ]
    bases = [(x.base.id, x.base.source, x.base.revision or "", f"tier {x.tier}") for x in audit.lineages]
    rows = table("bases compared", ("base", "read from", "revision", "decided by"), bases) if bases else Markup("")
    return section(
        "How to reproduce", preformatted("command", [shlex.join(audit.command)]), paragraphs(sentences), rows
    )


def _tell(audit: Audit, number: int) -> TellResult | None:
    return next((t for t in audit.tells if t.id == number), None)
