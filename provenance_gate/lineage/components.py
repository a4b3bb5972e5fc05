"""Dependence by component: embeddings, attention, feed-forward, experts, norms, head, each on its own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from provenance_gate.artifact.interface import COMPONENT_OF_ROLE, Component, NotMeasured, TensorKey
from provenance_gate.errors import UndefinedSignalError
from provenance_gate.fingerprint.interface import SignalResult, SignalValue
from provenance_gate.fingerprint.permutation import PermutationTest
from provenance_gate.fingerprint.rows import KeptRows
from provenance_gate.fingerprint.signals.arithmetic import along_strongest
from provenance_gate.fingerprint.signals.weight_correlation import BODY, pair_cosine
from provenance_gate.lineage.interface import ComponentEvidence, Relation
from provenance_gate.lineage.layers import LayerAlignment, Place

Rows = Mapping[TensorKey, KeptRows]

DEPENDENT = 0.10
"""Smallest mean correlation that counts as an effect. Strangers in the trials of DESIGN 3.3 stayed below 0.01, undisguised
children above 0.29."""
SILENT = 0.05
"""Correlations below this, seen with enough values, count as none (DESIGN 3.4)."""
OUTSIDE_DEPENDENT, OUTSIDE_SILENT = 0.5, 0.2
"""The same for embeddings, head and centered norm gains. They have no null: in our trials heads and embeddings of strangers
reached 0.11 in magnitude, and 0.27 for a head trained on a borrowed embedding table."""


_FLAT = 1e-8
"""Standard deviation below which norm vectors are constant."""
FEWEST_ROWS = 16
"""Sampled rows that a matrix must have to tell its strongest directions from the bulk."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Rows of corresponding matrices, the cosine between them, and the size of the whole matrix."""

    ours: KeptRows
    theirs: KeptRows
    correlation: float
    size: float


def aligned_pairs(artifact: Rows, base: Rows, alignment: LayerAlignment | None) -> tuple[Pair, ...]:
    """Corresponding matrices of equal shape, layers as aligned. Pairs without a cosine (a zero matrix) are left out."""
    pairs = []
    for key, ours in artifact.items():
        theirs = base.get(corresponding(key, alignment))
        correlation = None if theirs is None else pair_cosine(ours, theirs)
        if theirs is not None and correlation is not None:
            pairs.append(Pair(ours, theirs, correlation, float(ours.shape[0]) * ours.shape[1]))
    return tuple(pairs)


def corresponding(key: TensorKey, alignment: LayerAlignment | None) -> TensorKey:
    """The base's tensor that a tensor of the artifact is compared with."""
    if key.layer is None or alignment is None:
        return key
    place: Place = alignment.mapping.get((key.stack, key.layer), (key.stack, key.layer))
    return replace(key, stack=place[0], layer=place[1])


def body_coverage(artifact: Rows, pairs: tuple[Pair, ...]) -> float:
    """Share of the artifact's body parameters that have a counterpart, in [0, 1]; 0 without a body."""
    total = sum(float(r.shape[0]) * r.shape[1] for k, r in artifact.items() if COMPONENT_OF_ROLE.get(k.role) in BODY)
    paired = sum(p.size for p in pairs if COMPONENT_OF_ROLE.get(p.ours.key.role) in BODY)
    return paired / total if total else 0.0


def weighted_correlation(pairs: list[Pair]) -> float | None:
    """Size-weighted mean cosine; None of no pairs."""
    return float(np.average([p.correlation for p in pairs], weights=[p.size for p in pairs])) if pairs else None


def learned_agreement(pairs: list[Pair]) -> float | None:
    """Mean cosine, in [-1, 1], of corresponding rows along the base's four strongest directions: what training made strong.

    Models that share only their random start agree in the bulk of directions and not in these. Taken over matrices of which
    enough rows were sampled; None without any.
    """
    found = [_along_strongest(p) for p in pairs if min(p.ours.count, p.theirs.count) >= FEWEST_ROWS]
    values = [v for v in found if v is not None]
    return float(np.mean(values)) if values else None


def _along_strongest(pair: Pair) -> float | None:
    if pair.ours.window is not None:
        return None  # what is strong in a few columns was not calibrated
    count = min(pair.ours.count, pair.theirs.count)
    return along_strongest(pair.ours.top(count), pair.theirs.top(count))


def component_evidence(
    artifact: Rows,
    pairs: tuple[Pair, ...],
    tests: Mapping[Component, PermutationTest | None],
    norms: ComponentEvidence | None,
) -> dict[str, ComponentEvidence]:
    """Evidence per component that the artifact has, sorted by name."""
    found: dict[str, ComponentEvidence] = {}
    for component in sorted({c for k in artifact if (c := COMPONENT_OF_ROLE.get(k.role))}, key=lambda c: c.value):
        mine = [p for p in pairs if COMPONENT_OF_ROLE.get(p.ours.key.role) is component]
        found[component.value] = _evidence(mine, tests.get(component))
    if norms is not None:
        found[Component.NORMS.value] = norms
    return dict(sorted(found.items()))


def _evidence(pairs: list[Pair], test: PermutationTest | None) -> ComponentEvidence:
    correlation = weighted_correlation(pairs)
    if correlation is None:
        reason = "no matrix of this component has a counterpart of the same shape in the base"
        return ComponentEvidence(Relation.UNDECIDED, NotMeasured(reason), NotMeasured(reason))
    count = sum(min(p.ours.count, p.theirs.count) * p.ours.width for p in pairs)
    p_value = test.p_value if test else NotMeasured("no unit of this component can be permuted by itself")
    noise = 1.0 / math.sqrt(count)
    in_body = COMPONENT_OF_ROLE.get(pairs[0].ours.key.role) in BODY
    dependent, silent = (DEPENDENT, SILENT) if in_body else (OUTSIDE_DEPENDENT, OUTSIDE_SILENT)
    if correlation >= max(dependent, 5.0 * noise) and (test is None or test.log10_p <= -6.0):
        relation = Relation.DERIVED
    elif abs(correlation) < silent and 4.0 * noise <= silent:
        relation = Relation.INDEPENDENT
    else:
        relation = Relation.UNDECIDED
    return ComponentEvidence(relation, correlation, p_value)


def norm_evidence(artifact: SignalResult, base: SignalResult) -> ComponentEvidence | None:
    """Correlation of norm gains and biases, each tensor centered first. None when the artifact has none."""
    if isinstance(artifact, NotMeasured):
        return None
    absent = NotMeasured("norm gains have no unit that can be permuted by itself")
    try:
        correlation = _centered_correlation(artifact, base)
    except UndefinedSignalError as error:
        return ComponentEvidence(Relation.UNDECIDED, NotMeasured(str(error)), absent)
    if correlation >= OUTSIDE_DEPENDENT:
        return ComponentEvidence(Relation.DERIVED, correlation, absent)
    relation = Relation.INDEPENDENT if abs(correlation) < OUTSIDE_SILENT else Relation.UNDECIDED
    return ComponentEvidence(relation, correlation, absent)


def _centered_correlation(artifact: SignalValue, base: SignalResult) -> float:
    if isinstance(base, NotMeasured):
        raise UndefinedSignalError(f"base: {base.reason}")
    if artifact.facts != base.facts or not artifact.facts["direct"]:
        raise UndefinedSignalError("the norm vectors of the two models differ in number or length")
    tensors = artifact.facts["tensors"]
    a, b = artifact.arrays["vector"], base.arrays["vector"]
    if not isinstance(tensors, int) or tensors < 1 or len(a) != len(b) or len(a) % tensors:
        raise UndefinedSignalError("the norm vectors of the two models differ in number or length")
    # Vector by vector: of large models all of them in double precision would take a hundred megabytes.
    products = np.zeros(3)
    for x, y in zip(a.reshape(tensors, -1), b.reshape(tensors, -1), strict=True):
        ours, theirs = (v.astype(np.float64) - v.mean(dtype=np.float64) for v in (x, y))
        products += [np.einsum("i,i->", u, v) for u, v in ((ours, ours), (theirs, theirs), (ours, theirs))]
    deviations = np.sqrt(products[:2] / len(a))
    if not (deviations >= _FLAT).all() or not np.isfinite(products).all():
        raise UndefinedSignalError("the correlation of a constant or non-finite vector has no value")
    return float(np.clip(products[2] / (deviations.prod() * len(a)), -1.0, 1.0))
