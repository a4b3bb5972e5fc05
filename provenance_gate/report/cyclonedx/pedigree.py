"""Ancestors of a model: those it declares, in its order, then those that only its weights show.

An entry joins up to three facts about one model: the claim that names it, the lineage that tested it, and its node in the
ancestry graph, which brings licenses and its own parents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from provenance_gate.artifact.interface import BaseClaim, NotMeasured
from provenance_gate.lineage.interface import Ancestor, Cataloged, Declared, Detected, Lineage, Relation, Standing
from provenance_gate.report.cyclonedx.identifiers import TOOL_REF, Body, Refs, clean, model_purl, parse_purl, properties
from provenance_gate.report.cyclonedx.licenses import ancestor_licenses
from provenance_gate.report.interface import ArtifactResult

SHOWN_RELATIONS = frozenset({Relation.DERIVED, Relation.IDENTICAL, Relation.REFORMATTED})
_STATUS = {
    Relation.DERIVED: "verified",
    Relation.IDENTICAL: "verified",
    Relation.REFORMATTED: "verified",
    Relation.INDEPENDENT: "contradicted",
    Relation.PARTIAL: "contradicted",
    Relation.SHARED_INITIALIZATION: "undecided",
    Relation.UNDECIDED: "undecided",
}
_DECLARABLE = ("finetune", "adapter", "merge", "quantized")
_RELATION_OF_KIND = (
    ("adapter", "adapter"),
    ("merged", "merge"),
    ("quantized", "quantized"),
    ("fine-tuned", "finetune"),
    ("continued pretraining", "finetune"),
)
_RECORDED = {relation: relation for relation in _DECLARABLE} | {"continued-pretraining": "finetune"}


@dataclass(frozen=True, slots=True)
class _Recorded:
    """A statement about the step from one ancestor to the next."""

    child: str | None
    evidence: Declared | Cataloged


@dataclass(slots=True)
class Parent:
    """One ancestor, with what is known of it. `children` are the ancestors behind it."""

    id: str
    claims: tuple[BaseClaim, ...] = ()
    lineage: Lineage | None = None
    node: Ancestor | None = None
    children: list[Parent] = field(default_factory=list)
    ref: str = ""

    @property
    def purl(self) -> str:
        """With the revision that was tested, else the claimed one."""
        revision = None if self.lineage is None else self.lineage.base.revision
        for claim in self.claims:
            revision = revision or claim.revision
        return model_purl(self.id, revision)

    @property
    def source(self) -> str:
        """How this ancestor came to be listed: declared, detected or catalog."""
        if self.claims or (self.node is not None and self.node.declared):
            return "declared"
        if self.lineage is not None or (self.node is not None and self.node.standing is Standing.SHOWN):
            return "detected"
        return "catalog"

    @property
    def status(self) -> str:
        """verified, contradicted, undecided or declared-only."""
        if self.lineage is not None:
            return _STATUS[self.lineage.relation]
        if self.node is not None and self.node.standing is Standing.SHOWN:
            return "verified"
        return "declared-only"

    @property
    def relation(self) -> str:
        """As claimed, else as the kinds of the lineage have it, else as a record says, else unknown."""
        for claim in self.claims:
            if claim.relation in _DECLARABLE:
                return claim.relation
        kinds = () if self.lineage is None else self.lineage.kinds
        seen = next((relation for kind, relation in _RELATION_OF_KIND if kind in kinds), None)
        stated = (_RECORDED.get(e.evidence.relation or "") for e in self.recorded)
        return seen or next((relation for relation in stated if relation), "unknown")

    @property
    def recorded(self) -> list[_Recorded]:
        """What catalog records and the cards of models in between say of the step that leads here."""
        if self.node is None or len(self.node.path) < 3:
            return []
        steps = (_Recorded(e.child, e.evidence) for e in self.node.edges if not isinstance(e.evidence, Detected))
        return [step for step in steps if step.child == self.node.path[-2]]


def collect_parents(result: ArtifactResult) -> list[Parent]:
    """The direct ancestors of one artifact, each with those behind it."""
    nodes = {node.id: node for node in sorted(result.ancestry, key=lambda node: (-len(node.path), node.path))}
    lineages = {lineage.base.id: lineage for lineage in reversed(result.lineages)}
    parents = _declared(result.artifact.claims.bases, result.lineages, nodes)
    listed = {parent.id for parent in parents}
    listed |= {parent.lineage.base.id for parent in parents if parent.lineage is not None}
    for node in result.ancestry:
        is_parent = len(node.path) == 2 and (node.declared or node.standing is Standing.SHOWN)
        if is_parent and node.id not in listed:
            lineage = lineages.get(node.id)
            parents.append(Parent(node.id, () if lineage is None else lineage.claims, lineage, node))
            listed.add(node.id)
    listed |= _attach_grandparents(parents, result.ancestry, lineages)
    # A relative of a declared base is no ancestor; it stays among what was tested.
    for lineage in (x for x in result.lineages if x.kin_of is None):
        model = lineage.base.id
        if model not in listed and (_is_shown(lineage) or lineage.claims):
            parents.append(Parent(model, lineage.claims, lineage, nodes.get(model)))
            listed.add(model)
    return sorted(parents, key=lambda parent: parent.source != "declared")


def ancestor_component(parent: Parent, number: str, refs: Refs) -> Body:
    """The component of an ancestor, those behind it nested; sets `parent.ref`."""
    purl = parent.purl
    parent.ref = refs.take(f"ancestor:{number}:{purl}")
    parts = parse_purl(purl)
    component: Body = {"type": "machine-learning-model", "bom-ref": parent.ref}
    if parts is not None and parts.group:
        component["group"] = parts.group
    component["name"] = parts.name if parts is not None else clean(parent.id)
    if parts is not None and parts.version:
        component["version"] = parts.version
    if parent.node is not None and parent.node.publisher:
        component["supplier"] = {"name": clean(parent.node.publisher)}
    licenses = [] if parent.node is None else ancestor_licenses(parent.node.licenses)
    if licenses:
        component["licenses"] = licenses
    component["purl"] = purl
    if parent.children:
        component["pedigree"] = {
            "ancestors": [
                ancestor_component(child, f"{number}.{position}", refs)
                for position, child in enumerate(parent.children, start=1)
            ]
        }
    if parent.lineage is not None:
        component["evidence"] = {"identity": [_identity(parent.lineage)]}
    component["properties"] = properties(_facts(parent))
    return component


def pedigree_notes(parents: Sequence[Parent]) -> str:
    """One sentence per direct ancestor: where it is declared, and what the weights say."""
    return " ".join(_note(parent) for parent in parents)


def _declared(claims: Sequence[BaseClaim], lineages: Sequence[Lineage], nodes: dict[str, Ancestor]) -> list[Parent]:
    by_id: dict[str, list[BaseClaim]] = {}
    for claim in claims:
        by_id.setdefault(claim.id, []).append(claim)
    parents = []
    for model, same in by_id.items():
        lineage = next((one for one in lineages if one.base.id == model), None) or next(
            (one for one in lineages if any(claim in one.claims for claim in same)), None
        )
        parents.append(Parent(model, tuple(same), lineage, nodes.get(model)))
    return parents


def _is_shown(lineage: Lineage) -> bool:
    return lineage.relation in SHOWN_RELATIONS


def _attach_grandparents(
    parents: Sequence[Parent], ancestry: Sequence[Ancestor], lineages: dict[str, Lineage]
) -> set[str]:
    attached = set()
    by_path: dict[tuple[str, ...], Parent] = {}
    for node in ancestry:
        for parent in parents:
            if len(node.path) == 2 and node.id == parent.id:
                by_path[node.path] = parent
    for node in sorted(ancestry, key=lambda node: (len(node.path), node.path)):
        if len(node.path) <= 2 or node.path in by_path:
            continue
        prefixes = [node.path[:length] for length in range(len(node.path) - 1, 1, -1)]
        nearest = next((by_path[prefix] for prefix in prefixes if prefix in by_path), None)
        if nearest is not None:
            by_path[node.path] = child = Parent(node.id, (), lineages.get(node.id), node)
            nearest.children.append(child)
            attached.add(node.id)
    return attached


def _identity(lineage: Lineage) -> Body:
    identity: Body = {"field": "purl"}
    if not isinstance(lineage.score, NotMeasured):
        identity["confidence"] = _confidence(lineage.score)
    if _is_shown(lineage):
        # A tool that ignores the confidence would read a concluded value as an answer, so only an answer gets one.
        identity["concludedValue"] = model_purl(lineage.base.id, lineage.base.revision)
    methods = _methods(lineage)
    if methods:
        identity["methods"] = methods
    identity["tools"] = [TOOL_REF]
    return identity


def _methods(lineage: Lineage) -> list[Body]:
    weights = f"weights: {lineage.relation.value}" + (f"; {lineage.test}" if lineage.test else "")
    found = [
        ("manifest-analysis", _signal_value(lineage, "mfi"), "config: architecture match"),
        ("other", _signal_value(lineage, "voa"), "tokenizer: vocabulary overlap"),
        ("binary-analysis", lineage.score, weights),
        ("hash-comparison", _equal_share(lineage), "digests: share of parameters that are bit-equal"),
    ]
    return [
        {"technique": technique, "confidence": _confidence(value), "value": clean(text)}
        for technique, value, text in found
        if not isinstance(value, NotMeasured)
    ]


def _signal_value(lineage: Lineage, name: str) -> float | NotMeasured:
    evidence = lineage.signals.get(name)
    return NotMeasured("not compared") if evidence is None else evidence.value


def _equal_share(lineage: Lineage) -> float | NotMeasured:
    share = _signal_value(lineage, "content_identity")
    return NotMeasured("no digest is equal") if share == 0 else share


def _confidence(value: float) -> float:
    return float(f"{min(1.0, max(0.0, value)):.6g}")


def _facts(parent: Parent) -> list[tuple[str, str]]:
    facts = [
        ("provenance-gate:lineage:relation", parent.relation),
        ("provenance-gate:lineage:status", parent.status),
        ("provenance-gate:lineage:source", parent.source),
    ]
    facts += [("provenance-gate:lineage:claim", _place(claim)) for claim in parent.claims]
    if parent.node is not None:
        facts.append(("provenance-gate:lineage:rests-on", parent.node.rests_on.value))
    facts += [
        (
            "provenance-gate:lineage:record",
            f"{step.evidence.record}, {step.evidence.confidence or 'confidence not said'}",
        )
        for step in parent.recorded
        if isinstance(step.evidence, Cataloged)
    ]
    lineage = parent.lineage
    if lineage is not None:
        facts.append(("provenance-gate:lineage:reason", lineage.reason))
        facts.append(("provenance-gate:lineage:tier", str(lineage.tier)))
        facts += [("provenance-gate:lineage:kind", kind) for kind in lineage.kinds]
        facts += [
            (f"provenance-gate:lineage:{name}", f"{value:.3g}")
            for name, value in (("p-value", lineage.p_value), ("inheritance", lineage.inheritance))
            if not isinstance(value, NotMeasured)
        ]
    return facts


def _note(parent: Parent) -> str:
    places = ", ".join(_place(claim) for claim in parent.claims)
    origin = f"declared in {places}" if places else parent.source
    shown = "not tested" if parent.lineage is None else f"weights say {parent.lineage.relation.value}"
    return clean(f"{parent.id}: {origin}; {shown}.")


def _place(claim: BaseClaim) -> str:
    return f"{claim.source.path}:{claim.source.line} {claim.source.field}"
