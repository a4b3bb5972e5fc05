"""Several bases at once: which of them the artifact was mixed from, and how much of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.fingerprint.interface import Fingerprint
from provenance_gate.lineage.interface import ONE_BASE, Lineage, Relation
from provenance_gate.lineage.merges import Merge, Parent, analyze_merge

_UNRELATED = NotMeasured("none of the candidate parents is related to the artifact")
_MERGED = "merged"


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
    merge = analyze_merge(artifact, tuple(parents[x] for x in sorted(parents)))
    return tuple(_with_weight(x, merge) for x in lineages), merge


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
