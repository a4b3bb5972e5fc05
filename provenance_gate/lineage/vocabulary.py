"""What embeddings matched by token string add to a lineage: the table of an extended, cut or reordered vocabulary."""

from __future__ import annotations

from dataclasses import replace

from provenance_gate.alignment.interface import VocabularyFacts
from provenance_gate.artifact.interface import Component, NotMeasured
from provenance_gate.lineage.components import OUTSIDE_DEPENDENT, OUTSIDE_SILENT
from provenance_gate.lineage.interface import ComponentEvidence, Lineage, Relation

REBUILT = 0.9
"""A vocabulary that shares less of the smaller one than this was rebuilt, not extended or truncated."""


def lacks_embeddings(lineage: Lineage) -> bool:
    """Whether rows matched by token string could tell more of the embeddings than rows matched by number did."""
    found = lineage.components.get(Component.EMBEDDINGS.value)
    return lineage.relation in (Relation.DERIVED, Relation.PARTIAL) and (
        found is None or found.relation is not Relation.DERIVED
    )


def with_vocabulary(lineage: Lineage, facts: VocabularyFacts | NotMeasured) -> Lineage:
    """`lineage`, its embeddings compared token by token."""
    if isinstance(facts, NotMeasured):
        return lineage
    relation = Relation.DERIVED if facts.agreement >= OUTSIDE_DEPENDENT else Relation.UNDECIDED
    if abs(facts.agreement) < OUTSIDE_SILENT:
        relation = Relation.INDEPENDENT
    absent = NotMeasured("embeddings have no unit that can be permuted by itself")
    components = {
        **lineage.components,
        Component.EMBEDDINGS.value: ComponentEvidence(relation, facts.agreement, absent),
    }
    kinds = set(lineage.kinds)
    if lineage.relation is Relation.DERIVED:
        kinds |= set(_vocabulary_kinds(facts))
    return replace(lineage, components=dict(sorted(components.items())), kinds=tuple(sorted(kinds)))


def _vocabulary_kinds(facts: VocabularyFacts) -> list[str]:
    if facts.shared < REBUILT * min(facts.ours, facts.theirs):
        return ["vocabulary rebuilt"]
    resized = [
        name
        for name, is_so in (("extended", facts.ours > facts.theirs), ("truncated", facts.ours < facts.theirs))
        if is_so
    ]
    return [f"vocabulary {name}" for name in [*resized, *(["reordered"] if facts.reordered else [])]]
