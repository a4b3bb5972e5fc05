"""Units in which candidates cannot be told apart: a fine-tune of some matrices left the others as they were in its base.

There only the sum of their weights is known. It is shared out as in the units that do tell them apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from provenance_gate.lineage.merges.fit import Floats
from provenance_gate.lineage.merges.tensors import Unit

_ALIKE = 4.0
"""Two candidates are alike in a unit when they differ by no more than this many times the rounding, in squares."""


def alike(unit: Unit, gram: Floats, floor: float) -> tuple[tuple[int, ...], ...]:
    """Groups of two or more candidates that are alike."""
    groups: list[set[int]] = []
    for i in unit.candidates:
        near = {
            j
            for j in unit.candidates
            if gram[i + 1, i + 1] + gram[j + 1, j + 1] - 2.0 * gram[i + 1, j + 1] <= _ALIKE * floor
        } | {i}
        for group in [g for g in groups if g & near]:
            groups.remove(group)
            near |= group
        groups.append(near)
    return tuple(tuple(sorted(g)) for g in groups if len(g) > 1)


def share_out(
    weights: Floats, groups: Sequence[Sequence[Sequence[int]]], sizes: Floats, base: int | None = None
) -> Floats:
    """Weights (U, m) with the sums of groups shared out by the mean weights where candidates stand alone.

    A candidate that never does gets what the others leave.

    With a `base`, weights are factors of task vectors: those of candidates like the base are not known at all.
    """
    alone = np.ones(weights.shape, dtype=bool)
    for i, found in enumerate(groups):
        for group in found:
            alone[i, list(group)] = False
    measured = (alone * sizes[:, None]).sum(axis=0)
    mean = (weights * alone * sizes[:, None]).sum(axis=0) / np.where(measured > 0, measured, 1.0)
    shared = weights.copy()
    for i, found in enumerate(groups):
        for group in found:
            chosen = [k for k in group if k != base]
            usual = mean[chosen]
            if base in group:
                shared[i, chosen] = usual
                continue
            total = float(weights[i, chosen].sum())
            unknown = [k for k in chosen if not measured[k] > 0]
            if unknown:
                usual = usual * min(1.0, total / max(float(usual.sum()), 1e-300))
                shared[i, chosen] = usual
                shared[i, unknown[0]] = total - float(usual.sum())
            elif usual.sum() > 0:
                shared[i, chosen] = total * usual / usual.sum()
    return np.asarray(shared)
