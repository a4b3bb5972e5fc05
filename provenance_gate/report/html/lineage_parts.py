"""What every page shows of a lineage: the tree, the comparisons, layers, the mix, licenses, and an excerpt of the BOM."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.lineage.interface import Ancestor, Declared, Detected, Lineage, Relation, Standing
from provenance_gate.lineage.merges.interface import Merge, Mixture
from provenance_gate.report.cyclonedx.components import model_entry
from provenance_gate.report.cyclonedx.identifiers import Refs
from provenance_gate.report.html.charts import Grid, heat_map, shares
from provenance_gate.report.html.frame import preformatted, section, table
from provenance_gate.report.html.markup import Markup, join, tag
from provenance_gate.report.interface import ArtifactResult, ReportOptions

MOST_LINEAGES = 4
"""Bases whose layers are drawn."""
MOST_LINES = 100
"""Lines of the BOM excerpt; the BOM itself is a report of its own."""
_LEFT_OUT = frozenset({"bom-ref", "methods", "properties", "tools"})
_EXCERPT = ("type", "name", "version", "supplier", "licenses", "purl", "pedigree", "modelCard")


def lineage_section(ancestry: Sequence[Ancestor], lineages: Sequence[Lineage]) -> Markup:
    """The tree, then one line for each comparison."""
    if not lineages:
        return section("Lineage", _tree(ancestry, lineages), tag("p", "No base was compared by weights."))
    rows = [(x.base.id, _relation(x), number(x.score), number(x.p_value), number(x.inheritance)) for x in lineages]
    headings = ("model", "relation", "score", "p-value", "inherited")
    compared = table("comparisons by weights", headings, rows, (2, 3, 4))
    reasons = tag("ul", *(tag("li", tag("strong", f"{x.base.id}: "), x.reason) for x in lineages))
    return section("Lineage", _tree(ancestry, lineages), tag("h3", "Compared by weights"), compared, reasons)


def layers_section(lineages: Sequence[Lineage], *more: Markup) -> Markup | None:
    """Correlation of each layer with the layer of the base that it comes from; None where no layer comes from one."""
    shown = [x for x in lineages if any(m.base_layer is not None for m in x.layers)][:MOST_LINEAGES]
    if not shown and not more:
        return None
    pictures = [_layer_map(x) for x in shown]
    return section("Layer by layer", *pictures, *more)


def mix_section(merge: Merge | NotMeasured) -> Markup | None:
    """Weights of the parents, overall and by layer; None where a single base was compared."""
    if isinstance(merge, NotMeasured) or not merge.mixtures:
        return None
    overall = ", ".join(f"{name} {weight:.3f}" for name, weight in sorted(merge.weights.items(), key=_by_weight))
    labels = [_place(m) for m in merge.mixtures]
    values = [[max(0.0, w) for w in m.weights] for m in merge.mixtures]
    says = f"Share of each parent by layer and component. Overall: {overall}."
    picture = shares("Mixing weights by layer and component", says, labels, merge.parents, values)
    return section("Mixing weights", tag("p", f"{merge.recipe}: {overall}. {merge.reason}"), picture)


def license_section(ancestry: Sequence[Ancestor]) -> Markup | None:
    """The way to every ancestor whose terms are known."""
    rows = [
        (
            " → ".join(node.path),
            ", ".join(term.id for term in node.licenses),
            ", ".join(dict.fromkeys(term.category for term in node.licenses)),
            node.rests_on.value,
        )
        for node in ancestry
        if node.licenses
    ]
    if not rows:
        return None
    return section(
        "License path", table("license path", ("from the artifact up", "license", "category", "rests on"), rows)
    )


def bom_section(result: ArtifactResult) -> Markup:
    """The model's component as CycloneDX has it, without files and properties."""
    entry = model_entry(result, ReportOptions(reproducible=True), Refs(), file_prefix="file:", first_ancestor=1)
    excerpt = {key: _without(entry.component[key]) for key in _EXCERPT if key in entry.component}
    text = json.dumps(excerpt, indent=2, ensure_ascii=True, allow_nan=False).splitlines()
    rest = [f"... {len(text) - MOST_LINES} more lines"] if len(text) > MOST_LINES else []
    note = "An excerpt; check --report cyclonedx=FILE writes the whole document, with the digest of every file."
    return section(
        "In the ML-BOM (CycloneDX 1.6)",
        tag("p", note, class_="dim small"),
        preformatted("BOM excerpt", [*text[:MOST_LINES], *rest]),
    )


def _without(value: Any) -> Any:
    """JSON values without the parts that repeat what the page shows elsewhere."""
    if isinstance(value, Mapping):
        return {k: _without(v) for k, v in value.items() if k not in _LEFT_OUT}
    return [_without(v) for v in value] if isinstance(value, list) else value


def number(value: float | NotMeasured) -> str:
    """Three digits, or that it was not measured."""
    return "not measured" if isinstance(value, NotMeasured) else f"{value:.3g}"


def _tree(ancestry: Sequence[Ancestor], lineages: Sequence[Lineage]) -> Markup:
    itself = next((n for n in ancestry if n.standing is Standing.SELF), None)
    if itself is None:
        return tag("p", "Nothing is known of its ancestry.")
    below: dict[tuple[str, ...], list[Ancestor]] = {}
    for node in ancestry:
        if node is not itself:
            below.setdefault(node.path[:-1], []).append(node)
    refuted = [
        tag(
            "li",
            tag("strong", x.base.id),
            tag("span", f": declared, and the weights contradict it (score {number(x.score)})", class_="bad-text"),
        )
        for x in lineages
        if x.claims and x.relation is Relation.INDEPENDENT
    ]
    above = join([_branch(itself.path, below), tag("ul", *refuted) if refuted else ""])
    if not below and not refuted:
        above = tag("ul", tag("li", "no ancestor is shown or declared", class_="dim"))
    return tag(
        "ul", tag("li", tag("strong", itself.id), f" (this artifact): {_licenses(itself)}", above), class_="tree"
    )


def _branch(path: tuple[str, ...], below: Mapping[tuple[str, ...], Sequence[Ancestor]]) -> Markup:
    # Paths are at most 17 models long, so this does not go deep.
    nodes = below.get(path, ())
    if not nodes:
        return Markup("")
    return tag(
        "ul",
        *(
            tag(
                "li",
                tag("strong", node.id),
                f": {node.standing.value}, {_licenses(node)}",
                tag("span", _statements(node), class_="dim small"),
                _branch(node.path, below),
            )
            for node in nodes
        ),
    )


def _statements(node: Ancestor) -> str:
    words = []
    for edge in node.edges:
        match edge.evidence:
            case Declared(source, relation):
                words.append(f"declared{f' as {relation}' if relation else ''} in {source.path}:{source.line}")
            case Detected(relation, score, _):
                words.append(f"{relation.value} by weights, score {number(score)}")
            case recorded:
                words.append(f"recorded for {recorded.record}")
    return f" ({'; '.join(dict.fromkeys(words))})" if words else ""


def _layer_map(lineage: Lineage) -> Markup:
    stacks = sorted({m.stack for m in lineage.layers})
    deepest = max(m.layer for m in lineage.layers)
    columns = [str(i) for i in range(min(deepest, 1023) + 1)]
    at = {(m.stack, m.layer): m for m in lineage.layers}
    values: list[list[float | None]] = []
    for stack in stacks:
        found = [at.get((stack, i)) for i in range(len(columns))]
        values.append([None if m is None or m.base_layer is None else m.correlation for m in found])
    mapped = sum(m.base_layer is not None for m in lineage.layers)
    in_order = all(m.base_layer == m.layer for m in lineage.layers if m.base_layer is not None)
    says = f"{mapped} of {len(lineage.layers)} layers correspond to a layer of {lineage.base.id}" + (
        ", in the same order." if mapped and in_order else "." if not mapped else ", in another order or spread."
    )
    caption = f"Correlation of each layer with the layer of {lineage.base.id} that it comes from."
    grid = Grid(stacks, columns, values, 0.0, 1.0)
    return join([tag("p", says), heat_map(caption, says, grid, row_name="stack")])


def _relation(lineage: Lineage) -> str:
    kinds = f" ({', '.join(lineage.kinds)})" if lineage.kinds else ""
    kin = f"; of the family of {lineage.kin_of}" if lineage.kin_of else ""
    return f"{lineage.relation.value}{kinds}{kin}"


def _licenses(node: Ancestor) -> str:
    return ", ".join(term.id for term in node.licenses) or "license unknown"


def _place(mixture: Mixture) -> str:
    return mixture.component if mixture.layer is None else f"{mixture.layer} {mixture.component}"


def _by_weight(item: tuple[str, float]) -> tuple[float, str]:
    return -item[1], item[0]
