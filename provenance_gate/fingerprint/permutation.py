"""The exact null of a weight comparison: permuting hidden units of one model.

Training treats the hidden units of one layer alike, so under independence every order of them in one model is equally
likely [1]_. For the matrix that writes a layer's output (``down_proj`` and its kin, rows over the FFN neurons; ``o_proj``,
rows over the dimensions of each head) the statistic is ``T = sum(X * Y)`` over sampled rows. Its mean and variance over all
permutations of Y's columns are known exactly [2]_, so no permutation is ever drawn::

    mean = sum_r(sum_c X_rc * sum_c Y_rc) / C
    var  = sum((Xc Xc^T) * (Yc Yc^T)) / (C - 1)        Xc, Yc row-centered

Rows are scaled to unit norm, then columns too (both scalings commute with a permutation, so the null stays exact). The
second step is ours: without it one huge neuron in each model, at the same place by chance (1 in C), would dominate T, and a
normal tail would call that certain. With it every neuron adds at most 1.

References
----------
.. [1] Zhu et al., "Independence Tests for Language Models", ICML 2025, arXiv:2502.12292.
.. [2] Hoeffding, "A Combinatorial Central Limit Theorem", Ann. Math. Statist. 22 (1951), theorem 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Writer = NDArray[np.float32]
"""Sampled rows of one output-writing matrix, shape (S, R, D): S strata (1 for an FFN, the heads, the experts) of D units."""


class LaterWriter(Protocol):
    """A writer that takes memory only while it is looked at."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Writer: ...


_TOGETHER = 8
"""Writers of the artifact that are compared with all of the base at a time. Only saves memory."""

LOG10_FLOOR = -300.0
"""p-values are reported no smaller than 1e-300."""


@dataclass(frozen=True, slots=True)
class PairStatistics:
    """T and its exact moments for every pair of layers; arrays of shape (layers of the artifact, layers of the base).

    `units` is the number of columns that are not zero in both, which is the largest value T can take. `response` is by how
    much T rises per unit of a small correlation between corresponding values (`mean_cosine`).
    """

    statistic: NDArray[np.float64]
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    units: NDArray[np.float64]
    response: NDArray[np.float64]

    @property
    def z(self) -> NDArray[np.float64]:
        """(T - mean) / sd, 0 where the variance is 0 (a matrix of zeros or of equal columns shows nothing)."""
        deviation = np.sqrt(np.maximum(self.variance, 0.0))
        return np.divide(self.statistic - self.mean, deviation, out=np.zeros_like(deviation), where=deviation > 1e-9)


def pair_statistics(artifact: Sequence[Writer | LaterWriter], base: Sequence[Writer | LaterWriter]) -> PairStatistics:
    """All pairs of writers of one shape.

    Parameters
    ----------
    artifact, base
        Writers of shape (S, R, D), finite, all of the same shape, D >= 2. At least one each.

    Raises
    ------
    ValueError
        Shapes differ, or D < 2.
    """
    shapes = {w.shape for w in (*artifact, *base)}
    if len(shapes) != 1 or len(next(iter(shapes))) != 3 or next(iter(shapes))[2] < 2:
        raise ValueError(f"writers of shapes {sorted(shapes)}")
    units = next(iter(shapes))[2]
    found = PairStatistics(*(np.empty((len(artifact), len(base))) for _ in range(5)))
    y = _profiles(base)
    for first in range(0, len(artifact), _TOGETHER):
        x = _profiles(artifact[first : first + _TOGETHER])
        at = slice(first, first + _TOGETHER)
        found.statistic[at] = x.values @ y.values.T
        found.mean[at] = (x.sums @ y.sums.T) / units
        found.variance[at] = (x.products @ y.products.T) / (units - 1)
        found.units[at] = _both(x.active, y.active)
        # Rows of zeros tell nothing.
        filled = np.minimum(x.filled[:, None], y.filled[None, :])
        found.response[at] = found.units[at] * np.array([mean_cosine(int(n)) for n in filled.flat]).reshape(
            filled.shape
        )
    return found


def mean_cosine(rows: int) -> float:
    """Expected cosine of two columns of `rows` normal values per unit of a small correlation between the values, in (0.63, 1).

    E|x| E[1/|y|] (1 - 1/R) for R rows, which is (2 / R) (Gamma((R + 1) / 2) / Gamma(R / 2))**2: 2 / pi for one row (the cosine
    is a sign then), 0.88 for four.
    """
    return 2.0 / rows * math.exp(2.0 * (math.lgamma((rows + 1) / 2.0) - math.lgamma(rows / 2.0)))


@dataclass(frozen=True, slots=True)
class _Profiles:
    """Writers, each a row: scaled values, sums of the rows, products of the centered rows, units and rows that are not zero."""

    values: NDArray[np.float32]
    sums: NDArray[np.float64]
    products: NDArray[np.float64]
    active: NDArray[np.bool_]
    filled: NDArray[np.int64]


def _profiles(writers: Sequence[Writer | LaterWriter]) -> _Profiles:
    count, (strata, rows, units) = len(writers), writers[0].shape
    # Filled in place: of a 70B model in 80 layers each copy of these is 20 to 40 MB.
    found = _Profiles(
        np.empty((count, strata * rows * units), np.float32),
        np.empty((count, strata * rows)),
        np.empty((count, strata * rows * rows)),
        np.empty((count, strata * units), np.bool_),
        np.empty(count, np.int64),
    )
    for n, writer in enumerate(writers):
        scaled = unit_columns(unit_rows(np.asarray(writer)))
        total = scaled.sum(axis=2, dtype=np.float64)
        centered = scaled - (total / units)[:, :, None].astype(np.float32)
        found.values[n] = scaled.reshape(-1)
        found.sums[n] = total.reshape(-1)
        found.products[n] = (centered @ centered.transpose(0, 2, 1)).reshape(-1)
        found.active[n] = (np.abs(scaled).max(axis=1) > 0).reshape(-1)
        found.filled[n] = max(1, int((np.abs(scaled).max(axis=(0, 2)) > 0).sum()))
    return found


def _both(x: NDArray[np.bool_], y: NDArray[np.bool_]) -> NDArray[np.float32] | int:
    """How many units are not zero in both, for each pair of writers."""
    if x.all() and y.all():
        return int(x.shape[1])
    found: NDArray[np.float32] = x.astype(np.float32) @ y.astype(np.float32).T  # exact: sums of fewer than 2**24 ones
    return found


def unit_rows(writer: Writer) -> Writer:
    """Rows (over all strata together) scaled to unit norm; rows of zeros stay."""
    norms = np.sqrt(np.einsum("srd,srd->r", writer, writer, dtype=np.float64))
    return (writer * _reciprocal(norms)[None, :, None]).astype(np.float32)


def unit_columns(writer: Writer) -> Writer:
    """Columns scaled to unit norm; columns of zeros stay."""
    norms = np.sqrt(np.einsum("srd,srd->sd", writer, writer, dtype=np.float64))
    return (writer * _reciprocal(norms)[:, None, :]).astype(np.float32)


def _reciprocal(norms: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 1e-30)


@dataclass(frozen=True, slots=True)
class PermutationTest:
    """The test over chosen pairs of layers together.

    Attributes
    ----------
    z
        (sum T - sum mean) / sqrt(sum variance): layers permute independently.
    log10_p
        One-sided, normal tail, corrected for `log10_tried` alternatives; at most 0, not floored.
    effect
        (T - mean) / units in [-1, 1]: mean cosine of corresponding hidden units above chance.
    detectable
        Smallest correlation of values that this test would call at 1e-6 in 9 cases out of 10.
    """

    z: float
    log10_p: float
    effect: float
    detectable: float

    @property
    def p_value(self) -> float:
        """Floored at 1e-300."""
        return float(10.0 ** max(self.log10_p, LOG10_FLOOR))


def combined_test(
    pairs: PairStatistics, chosen: Sequence[tuple[int, int]], log10_tried: float = 0.0
) -> PermutationTest | None:
    """Test the `chosen` (artifact, base) pairs as one; None when their variance is zero.

    `log10_tried` is the logarithm of how many choices could have been made (union bound).
    """
    rows = [i for i, _ in chosen]
    columns = [j for _, j in chosen]
    variance = float(pairs.variance[rows, columns].sum())
    units = float(pairs.units[rows, columns].sum())
    if not variance > 1e-18 or not units > 0:
        return None
    excess = float((pairs.statistic - pairs.mean)[rows, columns].sum())
    deviation = math.sqrt(variance)
    z = excess / deviation
    return PermutationTest(
        z=z,
        log10_p=min(0.0, log10_normal_tail(z) + log10_tried),
        effect=excess / units,
        detectable=(4.753 + 1.282) * deviation / float(pairs.response[rows, columns].sum()),
    )


def log10_normal_tail(z: float) -> float:
    """log10 of P(Z > z) for a standard normal Z; accurate for any z, where erfc underflows too.

    Beyond z = 30 the first terms of the asymptotic series are exact to 1e-5 relative.
    """
    if z < 30.0:
        return math.log10(max(math.erfc(z / math.sqrt(2.0)) / 2.0, 5e-324))
    series = 1.0 - 1.0 / z**2 + 3.0 / z**4
    return (-z * z / 2.0 + math.log(series / (z * math.sqrt(2.0 * math.pi)))) / math.log(10.0)
