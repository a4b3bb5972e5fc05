"""Weights of a mix from the Gram matrix of the artifact (index 0) and its candidates, in float64.

The Gram matrix of values kept in half precision is exact to 1e-15, so differences of a hundredth of a percent between
candidates survive its cancellations. Only then is least squares on raw values the same as on differences from a base.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

GAIN = 0.08
"""A candidate stays in a mix when leaving it out raises the unexplained rest by this share of itself. Fine-tunes of one base
resemble each other a little (a cosine of 0.25 between their changes is a gain of 0.06) without being mixed."""
_TINY = 1e-12


def non_negative(gram: Floats, allowed: Sequence[int]) -> tuple[Floats, float]:
    """Least squares with weights >= 0 on the `allowed` candidates, and the sum of squares left over (Lawson & Hanson 1974).

    `gram` has shape (1 + m, 1 + m). Weights have shape (m,); those not allowed are 0.
    """
    count = len(gram) - 1
    a, b = gram[1:, 1:], gram[1:, 0]
    weights = np.zeros(count)
    passive: list[int] = []
    scale = _TINY * max(float(gram[0, 0]), _TINY)
    for _ in range(4 * count + 4):
        slope = b - a @ weights
        open_ = [k for k in allowed if k not in passive and slope[k] > scale]
        if not open_:
            break
        steepest = slope / np.sqrt(np.maximum(np.diag(a), 1e-300))
        passive.append(max(open_, key=lambda k: float(steepest[k])))
        newest = passive[-1]
        while passive:
            solved = solve(a, b, passive)
            if solved.min() > 0:
                break
            step = min(
                (weights[k] / (weights[k] - s) for k, s in zip(passive, solved, strict=True) if s <= 0), default=0.0
            )
            weights[passive] += step * (solved - weights[passive])
            passive = [k for k, s in zip(passive, solved, strict=True) if s > 0 or weights[k] > _TINY]
            weights[[k for k in range(count) if k not in passive]] = 0.0
        if newest not in passive:
            break
        weights[passive] = solved
    return weights, left_over(gram, weights)


def solve(a: Floats, b: Floats, chosen: Sequence[int]) -> Floats:
    """Least squares of any sign on the chosen candidates; the shortest solution where they are not independent."""
    if len(chosen) == 1:
        only = chosen[0]
        return np.array([b[only] / a[only, only] if a[only, only] > 0 else 0.0])
    part = a[np.ix_(chosen, chosen)]
    if len(chosen) == 2:
        (p, q), (_, r) = part
        determinant = p * r - q * q
        if determinant > 1e-11 * p * r:
            x, y = b[list(chosen)]
            return np.asarray(np.array([r * x - q * y, p * y - q * x]) / determinant)
    scale = 1.0 / np.sqrt(np.maximum(np.diag(part), 1e-300))
    solved = np.linalg.lstsq(part * scale[:, None] * scale, b[list(chosen)] * scale, rcond=1e-13)[0]
    return np.asarray(solved * scale)


def left_over(gram: Floats, weights: Floats) -> float:
    """Sum of squares that the weights leave unexplained, at least 0."""
    full = np.concatenate([[1.0], -weights])
    return max(0.0, float(full @ gram @ full))


def sparse_fit(gram: Floats, available: Sequence[int], floor: float) -> tuple[Floats, float]:
    """Non-negative least squares on as few candidates as do: the least useful one leaves while the rest explains as much.

    `floor` is the sum of squares that rounding alone leaves.
    """
    support = list(available)
    weights, rest = non_negative(gram, support)
    support = [k for k in support if weights[k] > 0]
    while len(support) > 1:
        options = [(non_negative(gram, [j for j in support if j != k]), k) for k in reversed(support)]
        (fewer, more), out = min(options, key=lambda o: o[0][1])
        if (more - rest) / (more + floor + 1e-300) >= GAIN and weights[out] >= 0.005:
            break
        weights, rest = fewer, more
        support = [k for k in support if k != out and weights[k] > 0]
    return weights, rest


def deltas(gram: Floats, base: int) -> Floats:
    """The Gram matrix of all differences from candidate `base`, whose own row and column become 0."""
    size = len(gram)
    change = np.eye(size)
    change[:, base + 1] -= 1.0
    return np.asarray(change @ gram @ change.T)


def free_fit(gram: Floats, base: int, chosen: Sequence[int]) -> tuple[Floats, float, Floats]:
    """Factors of the task vectors from `base` (any sign), the sum of squares left over, and the inverse Gram's diagonal."""
    moved = deltas(gram, base)
    factors = np.zeros(len(gram) - 1)
    spread = np.zeros(len(gram) - 1)
    if chosen:
        factors[list(chosen)] = solve(moved[1:, 1:], moved[1:, 0], chosen)
        part = moved[1:, 1:][np.ix_(chosen, chosen)]
        spread[list(chosen)] = np.maximum(np.diag(np.linalg.pinv(part, rcond=1e-12, hermitian=True)), 0.0)
    return factors, left_over(moved, factors), spread


def cosine_of(gram: Floats, i: int, j: int) -> float:
    """Cosine of two of the Gram matrix's vectors, 0 where one is zero."""
    norm = float(np.sqrt(gram[i, i] * gram[j, j]))
    return float(np.clip(gram[i, j] / norm, -1.0, 1.0)) if norm > 0 else 0.0
