"""SLERP told from a linear mix of two parents.

On unit vectors at an angle theta, ``s0 = sin((1 - t) theta) / sin(theta)`` and ``s1 = sin(t theta) / sin(theta)``, which
mergekit applies to the plain tensors (Shoemake 1985). The weights sum to more than one, by theta**2 / 8 at t = 0.5: 0.1 % for a
cosine of 0.996, and the sum is known to the rounding error over the root of the number of values, a few 1e-5. mergekit falls
back to linear above a cosine of 0.9995, so there the two agree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from provenance_gate.lineage.merges.fit import Floats, cosine_of, left_over, solve
from provenance_gate.lineage.merges.tensors import Sample, Unit

PARALLEL = 0.9995
"""mergekit's DOT_THRESHOLD."""
_BETTER = 4.0
_SURE = 25.0
"""Gain in log-likelihood (twice) a matrix that SLERP must have over a linear mix."""

_AMISS = 2e-4
"""Mean share of the second moment that SLERP may miss: the angle of the sampled rows is not quite that of the whole tensors."""


@dataclass(frozen=True, slots=True)
class TwoParents:
    """`is_slerp`; `same`: the two readings cannot be told apart; `t` of each unit in order, None where a parent is missing."""

    is_slerp: bool
    same: bool
    t: tuple[float | None, ...]


def two_parents(units: Sequence[Unit], first: int, second: int) -> TwoParents:
    """Which of the two readings fits the matrices of all units better."""
    over_linear, over_slerp, matrices, amiss = 0.0, 0.0, 0, 0.0
    ts: list[float | None] = []
    for unit in units:
        both = [s for s in unit.samples if {first, second} <= set(s.candidates)]
        tried = [(f, s.values.size) for s in both if (f := _one(s, first, second)) is not None]
        if not tried:
            ts.append(None)
            continue
        found, counts = [f for f, _ in tried], [n for _, n in tried]
        ts.append(float(np.average([f[0] for f in found], weights=counts)))
        over_linear += sum(f[1] for f in found)
        over_slerp += sum(f[2] for f in found)
        matrices += len(found)
        amiss += sum(f[3] for f in found)
    clear = over_linear > _SURE * max(1, matrices)
    is_slerp = clear and over_linear > _BETTER * over_slerp and amiss <= _AMISS * matrices
    same = max(over_linear, over_slerp) <= _SURE * max(1, matrices)
    return TwoParents(is_slerp, same, tuple(ts))


def _one(sample: Sample, first: int, second: int) -> tuple[float, float, float, float] | None:
    """t, what each reading costs against free weights in units of the noise, and SLERP as a share of the second moment."""
    at = [0, first + 1, second + 1]
    gram = sample.whole[np.ix_(at, at)]
    if min(gram[1, 1], gram[2, 2]) <= 0:
        return None
    weights = solve(gram[1:, 1:], gram[1:, 0], [0, 1])
    cosine = cosine_of(gram, 1, 2)
    t = parameter(float(weights[0]), float(weights[1]), cosine)
    free = left_over(gram, weights)
    noise = (free + 0.5 * sample.floor()) / sample.values.size
    linear = (left_over(gram, _on_the_line(gram)) - free) / noise
    curved = (left_over(gram, np.array(slerp_weights(t, cosine))) - free) / noise
    return t, max(0.0, linear), max(0.0, curved), max(0.0, curved) * noise / float(gram[0, 0])


def _on_the_line(gram: Floats) -> Floats:
    """Best weights that sum to one."""
    along = gram[1, 1] + gram[2, 2] - 2.0 * gram[1, 2]
    toward = gram[0, 2] - gram[0, 1] - gram[1, 2] + gram[1, 1]
    t = toward / along if along > 0 else 0.0
    return np.array([1.0 - t, t])


def slerp_weights(t: float, cosine: float) -> tuple[float, float]:
    """mergekit's weights of the two tensors."""
    if abs(cosine) > PARALLEL:
        return 1.0 - t, t
    theta = math.acos(cosine)
    return math.sin((1.0 - t) * theta) / math.sin(theta), math.sin(t * theta) / math.sin(theta)


def parameter(first: float, second: float, cosine: float) -> float:
    """The t whose direction the weights have, in [0, 1]."""
    if abs(cosine) > PARALLEL:
        total = first + second
        return min(1.0, max(0.0, second / total)) if total > 0 else 0.5
    theta = math.acos(cosine)
    t = math.atan2(second * math.sin(theta), first + second * cosine) / theta
    return min(1.0, max(0.0, t))
