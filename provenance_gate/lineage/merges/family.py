"""Which candidates are kin of the artifact, which of them is the others' ancestor, and whose task vectors count."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from provenance_gate.lineage.merges.fit import Floats, cosine_of, deltas, free_fit, sparse_fit
from provenance_gate.lineage.merges.tensors import Unit

RELATED = 0.5
"""Cosine to the artifact of a candidate that can be its ancestor."""
UNLIKE, STRANGE = 0.42, 0.15
"""Mean cosine of the task vectors from an ancestor stays below the first; siblings see each other's at 0.5. Below the second it
is an ancestor even where a linear mix of all would do, as a sibling that changed little passes the first."""
USED = 0.02
"""Smallest weight, overall, of a candidate that counts."""
_SURE = 6.0
_FAINT, _FAINT_OUTSIDE = 0.05, 0.3
"""A candidate alone in a unit explains nothing below this cosine: strangers' embeddings and heads reach 0.27, bodies 0.01."""


class Family:
    """Candidates that have counterparts in all of `units` (one component of one layer each), at a cosine of RELATED or more.

    `gram`: of the artifact and all candidates, over all units. `related`: indices of candidates.
    """

    def __init__(self, units: Sequence[Unit], grams: Sequence[Floats], candidates: int) -> None:
        self.gram: Floats = np.asarray(sum(grams))
        self._count = sum(u.count for u in units)
        self.related = tuple(
            k
            for k in range(candidates)
            if all(k in u.candidates for u in units) and cosine_of(self.gram, 0, k + 1) >= RELATED
        )

    def ancestor(self, among: Sequence[int] | None = None, most: float = UNLIKE) -> int | None:
        """The candidate from which the changes to the others are least alike; None of fewer than three, or of siblings."""
        chosen = [k for k in (self.related if among is None else among) if k in self.related]
        found = []
        for k in chosen:
            others = [o for o in chosen if o != k]
            moved = deltas(self.gram, k)
            cosines = [abs(cosine_of(moved, i + 1, j + 1)) for i in others for j in others if i < j]
            if cosines:
                found.append((float(np.mean(cosines)), k))
        return min(found)[1] if found and min(found)[0] <= most else None

    def left_behind(self) -> int | None:
        """The one candidate that the artifact moves away from: weights that sum to one need it with a negative sign, because
        the factors of the task vectors from it sum to more than one. None when there is none, or several.
        """
        if len(self.related) < 2:
            return None
        origin, *others = self.related
        factors, rest, spread = free_fit(self.gram, origin, others)
        errors = np.sqrt(np.maximum(spread * rest / self._count, 1e-300))
        weights = {k: (float(factors[k]), float(errors[k])) for k in others}
        weights[origin] = (1.0 - sum(w for w, _ in weights.values()), float(np.sqrt((errors[others] ** 2).sum())))
        negative = [k for k, (weight, error) in weights.items() if weight < -max(USED, _SURE * error)]
        return negative[0] if len(negative) == 1 else None

    def significant(self, base: int) -> list[int]:
        """Those whose task vector has a factor above USED and six standard errors, all together, the greatest factor first."""
        chosen = [k for k in self.related if k != base]
        while chosen:
            factors, rest, spread = free_fit(self.gram, base, chosen)
            errors = np.sqrt(np.maximum(spread * rest / self._count, 1e-300))
            strength = {k: abs(float(factors[k] / errors[k])) for k in chosen}
            weak = [k for k in chosen if strength[k] < _SURE or abs(factors[k]) < USED]
            if not weak:
                return sorted(chosen, key=lambda k: -abs(factors[k]))
            chosen.remove(min(weak, key=lambda k: strength[k]))
        return chosen


def fit_unit(unit: Unit, gram: Floats, floor: float) -> tuple[Floats, float]:
    """Weights of a unit; none where a single candidate explains no more than strangers do."""
    weights, rest = sparse_fit(gram, unit.candidates, floor)
    own = float(gram[0, 0])
    faint = _FAINT if unit.layer is not None else _FAINT_OUTSIDE
    if (weights > 0).sum() <= 1 and own - rest < faint**2 * own:
        return np.zeros_like(weights), own
    return weights, rest
