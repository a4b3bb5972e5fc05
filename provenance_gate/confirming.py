"""A lineage looked at twice: where the standard rows show descent, rows that nobody could foresee must show it too."""

from __future__ import annotations

from dataclasses import replace

from provenance_gate.artifact.interface import BaseClaim
from provenance_gate.fingerprint.spot import has_windows, measure_spot
from provenance_gate.lineage.interface import INDEPENDENT_SCORE, BaseRef, Lineage, Relation
from provenance_gate.reading import Model, Reading, is_far, lineage_of
from provenance_gate.searching import DESCENT

SPOT_SHARE = 0.5
"""Least share of the inheritance in the standard rows that the spot-check rows must show. Both estimate the same share of
variance from different rows of the same matrices; in honest models they differ by a few percent."""


def confirmed(lineage: Lineage, spot: Lineage) -> Lineage:
    """A descent seen in the standard rows, if rows that nobody could foresee show it too; else PARTIAL, and no pass."""
    match lineage.inheritance, spot.inheritance:
        case float(standard), float(other) if other >= SPOT_SHARE * standard and spot.relation in DESCENT:
            return lineage
    score = min(spot.score, INDEPENDENT_SCORE) if isinstance(spot.score, float) else INDEPENDENT_SCORE
    reason = f"the standard rows come from the base, rows chosen by the artifact's digest do not: {spot.reason}"
    return replace(spot, score=score, relation=Relation.PARTIAL, kinds=(), reason=reason)


def confirmed_lineage(
    ours: Model, base: Model, ref: BaseRef, named: tuple[BaseClaim, ...], reading: Reading, digest: str
) -> Lineage:
    """`lineage_of`, and once more on rows chosen by `digest` (hex, of the artifact) where both models are at hand."""
    return confirm(lineage_of(ours, base, ref, named, reading), ours, base, reading, digest)


def confirm(lineage: Lineage, ours: Model, base: Model, reading: Reading, digest: str) -> Lineage:
    """The second look at a lineage that was measured already."""
    if lineage.relation not in DESCENT or base.opened is None or ours.opened is None:
        return lineage
    # Everybody can compute the standard plan and prepare just those rows. These rows move with any byte of the artifact.
    # Every matrix once more, but of large remote models only some, unless their layers do not stand at equal places.
    in_order = all(m.layer == m.base_layer for m in lineage.layers)
    few = in_order and (is_far(ours.opened) or is_far(base.opened))
    tall = any(has_windows(o.artifact) for o in (ours.opened, base.opened))
    again, other = (_look_again(m, digest, reading, few=few, tall=tall) for m in (ours, base))
    return confirmed(lineage, lineage_of(again, other, lineage.base, lineage.claims, reading, digest))


def _look_again(model: Model, seed: str, reading: Reading, *, few: bool, tall: bool) -> Model:
    if model.opened is None:
        return model
    steps = reading.steps(f"confirming {model.opened.artifact.name}")
    spot = measure_spot(model.opened.artifact, seed, few=few, tall=tall, jobs=reading.jobs, progress=steps)
    return Model(spot, model.opened)
