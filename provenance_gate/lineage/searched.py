"""A lineage that was found by searching pays for the search: the best of many strangers looks better than one stranger."""

from __future__ import annotations

from dataclasses import replace

from provenance_gate.lineage.decide import DERIVED_LOG10_P
from provenance_gate.lineage.interface import DERIVED_SCORE, Lineage, Relation

LARGEST_UNDECIDED = DERIVED_SCORE - 0.01


def corrected(lineage: Lineage, searched: int) -> Lineage:
    """`lineage` with its p-value times the number of models that it was picked from, in (0, 1] (Bonferroni).

    The candidate was chosen by looking at the same rows that test it, so every model of the registry counts as tried. What is no
    longer certain at 1e-6 becomes undecided.
    """
    if searched <= 1 or not isinstance(lineage.p_value, float):
        return lineage
    p_value = min(1.0, lineage.p_value * searched)
    if lineage.relation is not Relation.DERIVED or p_value <= 10.0**DERIVED_LOG10_P:
        return replace(lineage, p_value=p_value)
    score = min(lineage.score, LARGEST_UNDECIDED) if isinstance(lineage.score, float) else lineage.score
    reason = f"not certain enough for the best of {searched:,} models searched: {lineage.reason}"
    return replace(lineage, p_value=p_value, relation=Relation.UNDECIDED, kinds=(), score=score, reason=reason)
