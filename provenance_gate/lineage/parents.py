"""Several bases at once: which of them the artifact was mixed from, and how much of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.fingerprint.interface import Fingerprint
from provenance_gate.lineage.interface import ONE_BASE, Lineage, Relation
from provenance_gate.lineage.merges import Merge, Parent

_UNRELATED = NotMeasured("none of the candidate parents is related to the artifact")
_MERGED = "merged"
MOST_LEFT = 0.5
"""Share of the artifact's distance from its nearest candidate that a mix may leave, to count as one: exact merges leave 0, a
merge that was trained on leaves what the training changed, and siblings that learned the same leave 0.85 and more."""


def mixed(
    artifact: Fingerprint, lineages: Sequence[Lineage], bases: Sequence[Fingerprint]
) -> tuple[tuple[Lineage, ...], Merge | NotMeasured]:
    """The lineages with their base's share of the mix, and the mix. `bases` in the order of `lineages`.

    Bases are told apart by id; of two with one id the first is taken.
    """
    parents = {x.base.id: Parent(x.base.id, base) for x, base in reversed(list(zip(lineages, bases, strict=True)))}
    if len(parents) < 2:
        return tuple(lineages), ONE_BASE
    if all(x.relation is Relation.INDEPENDENT for x in lineages):
        return tuple(lineages), _UNRELATED
    from provenance_gate.lineage.merges.analyze import analyze_merge  # most runs have one base

    merge = analyze_merge(artifact, tuple(parents[x] for x in sorted(parents)))
    return tuple(_with_weight(x, merge) for x in lineages), merge


def is_mix(merge: Merge | NotMeasured) -> bool:
    """Whether several parents explain the artifact, and not just that it learned what a relative learned."""
    if isinstance(merge, NotMeasured) or merge.recipe in ("single", "unknown") or len(merge.parents) < 2:
        return False
    return merge.parameters.get("change_left", 0.0) <= MOST_LEFT


def _with_weight(lineage: Lineage, merge: Merge | NotMeasured) -> Lineage:
    if isinstance(merge, NotMeasured):
        return replace(lineage, mixing_weight=merge)
    weight = merge.weights.get(lineage.base.id)
    if weight is None or merge.recipe == "unknown":
        return replace(lineage, mixing_weight=NotMeasured(merge.reason))
    kinds = lineage.kinds
    if len(merge.parents) > 1 and lineage.base.id in merge.parents and lineage.relation is Relation.DERIVED:
        kinds = tuple(sorted({*kinds, _MERGED}))
    return replace(lineage, kinds=kinds, mixing_weight=weight)
