"""A lineage looked at twice: where the standard rows show descent, rows that nobody could foresee must show it too."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from provenance_gate.artifact.interface import COMPONENT_OF_ROLE, Artifact, BaseClaim, NotMeasured
from provenance_gate.fingerprint.signals.weight_correlation import BODY, WeightCorrelation
from provenance_gate.fingerprint.spot import expert_numbers, has_windows, measure_spot
from provenance_gate.lineage.interface import INDEPENDENT_SCORE, BaseRef, Lineage, Relation
from provenance_gate.reading import Model, Reading, is_far, lineage_of
from provenance_gate.searching import DESCENT

SPOT_SHARE = 0.5
"""Least share of the inheritance in the standard rows that the spot-check rows must show. Both estimate the same share of
variance from different rows of the same matrices; in honest models they differ by a few percent."""
THIN_SHARE = 0.75
"""The same where layers were passed over: of a few matrices some could be right by luck, which can be tried for."""
TRACED_TIER = 3
"""Of a lineage whose neurons were looked up in the base: rows at equal places show nothing then."""


def confirmed(lineage: Lineage, spot: Lineage, sizes: Mapping[str, float] | None = None) -> Lineage:
    """A descent seen in the standard rows, if rows that nobody could foresee show it too; else PARTIAL, and no pass.

    `sizes`: parameters of each kind of matrix in the body, by role. A second look at few matrices sees more of one kind than of
    another, so the inheritance of each kind counts as much as the kind does in the model.
    """
    looks = [(lineage.inheritance, spot.inheritance), _as_in_the_body(lineage, spot, sizes or {})]
    thin = bool(spot.signals[WeightCorrelation.name].detail.get("layers_passed_over"))
    share = THIN_SHARE if thin else SPOT_SHARE
    if spot.relation in DESCENT and all(_is_shown(standard, other, share) for standard, other in looks):
        return lineage
    score = min(spot.score, INDEPENDENT_SCORE) if isinstance(spot.score, float) else INDEPENDENT_SCORE
    reason = f"the standard rows come from the base, rows chosen by the artifact's digest do not: {spot.reason}"
    return replace(spot, score=score, relation=Relation.PARTIAL, kinds=(), reason=reason)


def _is_shown(standard: float | NotMeasured, other: float | NotMeasured, share: float) -> bool:
    return isinstance(standard, float) and isinstance(other, float) and other >= share * standard


def _as_in_the_body(lineage: Lineage, spot: Lineage, sizes: Mapping[str, float]) -> tuple[float, float]:
    """The inheritance of both looks over the kinds of matrices that the second one saw; (0, 0) where neurons had to be traced.

    Of a kind that the standard rows have not, they are taken to show what they show of all.
    """
    if TRACED_TIER in (lineage.tier, spot.tier) or not isinstance(lineage.inheritance, float):
        return 0.0, 0.0
    standard, other = (_inherited(x) for x in (lineage, spot))
    weights = {role: sizes[role] for role in other if role in sizes}
    total = sum(weights.values()) or 1.0
    shown = sum(weight * standard.get(role, lineage.inheritance) for role, weight in weights.items())
    return shown / total, sum(weight * other[role] for role, weight in weights.items()) / total


def _inherited(lineage: Lineage) -> dict[str, float]:
    """The inheritance of each kind of matrix, by role."""
    kinds = lineage.signals[WeightCorrelation.name].detail.get("inherited")
    return {role: value for role, value in kinds.items() if isinstance(value, float)} if isinstance(kinds, dict) else {}


def _sizes(artifact: Artifact) -> dict[str, float]:
    """Parameters of the body by role."""
    found: dict[str, float] = defaultdict(float)
    for tensor in artifact.canonical:
        if COMPONENT_OF_ROLE.get(tensor.key.role) in BODY and len(tensor.shape) == 2:
            found[tensor.key.role.value] += float(tensor.shape[0]) * tensor.shape[1]
    return found


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
    experts = expert_numbers(ours.opened.artifact) & expert_numbers(base.opened.artifact)
    again, other = (_look_again(m, digest, reading, few=few, tall=tall, experts=experts) for m in (ours, base))
    spot = lineage_of(again, other, lineage.base, lineage.claims, reading, digest)
    return confirmed(lineage, spot, _sizes(ours.opened.artifact))


def _look_again(model: Model, seed: str, reading: Reading, *, few: bool, tall: bool, experts: frozenset[int]) -> Model:
    if model.opened is None:
        return model
    steps = reading.steps(f"confirming {model.opened.artifact.name}")
    artifact = model.opened.artifact
    spot = measure_spot(artifact, seed, few=few, tall=tall, experts=experts or None, jobs=reading.jobs, progress=steps)
    return Model(spot, model.opened)
