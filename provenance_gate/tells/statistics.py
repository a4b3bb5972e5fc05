"""Two-sample Kolmogorov-Smirnov and Hartigan's dip, without scipy.

References
----------
.. [1] Hodges, "The significance probability of the Smirnov two-sample test", Ark. Mat. 3 (1958): the exact tail for equal sizes.
.. [2] Stephens, "Use of the Kolmogorov-Smirnov, Cramér-von Mises and related statistics without extensive tables",
   J. R. Stat. Soc. B 32 (1970): the effective sample size of the asymptotic tail.
.. [3] Hartigan & Hartigan, "The dip test of unimodality", Ann. Stat. 13 (1985).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FEWEST, MOST = 4, 200
"""Values that the dip test needs, and the most it looks at; of more, evenly spaced order statistics are taken."""
TAILS = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.001)
DIPS: Mapping[int, tuple[float, ...]] = {
    4: (0.2500, 0.3165, 0.3758, 0.4141, 0.4458, 0.4616, 0.4727, 0.4877),
    5: (0.2719, 0.3601, 0.3946, 0.4170, 0.4327, 0.4400, 0.4433, 0.4463),
    6: (0.3019, 0.3660, 0.3897, 0.4035, 0.4388, 0.4695, 0.5005, 0.5380),
    8: (0.3137, 0.3551, 0.4010, 0.4354, 0.4708, 0.4891, 0.5055, 0.5564),
    10: (0.3096, 0.3771, 0.4131, 0.4421, 0.4807, 0.5113, 0.5345, 0.5794),
    12: (0.3148, 0.3802, 0.4132, 0.4465, 0.4862, 0.5137, 0.5344, 0.5864),
    16: (0.3247, 0.3887, 0.4286, 0.4625, 0.5010, 0.5305, 0.5552, 0.6058),
    20: (0.3286, 0.3943, 0.4342, 0.4688, 0.5118, 0.5397, 0.5635, 0.6231),
    28: (0.3350, 0.4035, 0.4435, 0.4819, 0.5235, 0.5538, 0.5798, 0.6414),
    40: (0.3419, 0.4111, 0.4528, 0.4895, 0.5312, 0.5575, 0.5902, 0.6714),
    60: (0.3479, 0.4194, 0.4638, 0.5028, 0.5458, 0.5787, 0.6057, 0.6649),
    100: (0.3549, 0.4269, 0.4707, 0.5079, 0.5570, 0.5882, 0.6181, 0.6833),
    200: (0.3619, 0.4359, 0.4812, 0.5203, 0.5706, 0.6051, 0.6362, 0.7027),
}
"""sqrt(n) times the dip of n uniform values that a share TAILS of samples exceeds: ``python -m benchmarks.tells --dip``."""


def kolmogorov_smirnov(a: NDArray[np.floating], b: NDArray[np.floating]) -> tuple[float, float]:
    """Largest distance of two empirical distributions, in [0, 1], and its two-sided p-value.

    The p-value is exact [1]_ for samples of one size without ties (with ties it is too large, never too small), else
    asymptotic [2]_. Raises ValueError for an empty or non-finite sample.
    """
    x, y = np.sort(np.asarray(a, np.float64).reshape(-1)), np.sort(np.asarray(b, np.float64).reshape(-1))
    if not len(x) or not len(y) or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("two samples of finite values are needed")
    points = np.concatenate([x, y])
    ours = np.searchsorted(x, points, side="right") / len(x)
    theirs = np.searchsorted(y, points, side="right") / len(y)
    distance = float(np.abs(ours - theirs).max())
    if len(x) == len(y):
        return distance, _exact_tail(len(x), round(distance * len(x)))
    root = math.sqrt(len(x) * len(y) / (len(x) + len(y)))
    return distance, _kolmogorov_tail((root + 0.12 + 0.11 / root) * distance)


def _exact_tail(size: int, steps: int) -> float:
    """P(D >= steps / size) for two samples of one size: paths of 2 n steps that leave a band, by reflection."""
    if steps <= 0:
        return 1.0
    total, sign = 0.0, 1.0
    middle = 2.0 * math.lgamma(size + 1)
    for k in range(1, size // steps + 1):
        at = k * steps
        total += sign * math.exp(middle - math.lgamma(size - at + 1) - math.lgamma(size + at + 1))
        sign = -sign
    return min(1.0, max(0.0, 2.0 * total))


def _kolmogorov_tail(value: float) -> float:
    if value < 0.2:
        return 1.0
    terms = ((-1.0) ** (k - 1) * math.exp(-2.0 * k * k * value * value) for k in range(1, 101))
    return min(1.0, max(0.0, 2.0 * sum(terms)))


def dip(values: NDArray[np.floating]) -> float:
    """Distance of the empirical distribution from the nearest unimodal one, in [1 / 2n, 1/4] [3]_.

    The modal interval is narrowed until the convex hull before it and the concave one after it are as far from the sample as
    the two are from each other within it. Raises ValueError for an empty or non-finite sample.
    """
    x = np.sort(np.asarray(values, np.float64).reshape(-1))
    count = len(x)
    if not count or not np.isfinite(x).all():
        raise ValueError("a sample of finite values is needed")
    if x[0] == x[-1]:
        return 1.0 / (2 * count)
    # Equal values become a cluster as narrow as rounding allows: hulls need a slope everywhere.
    x = (x - x[0]) / (x[-1] - x[0]) + np.arange(count) * 1e-12
    ranks = np.arange(count, dtype=np.float64)
    low, high, found = 0, count - 1, 1.0
    while True:
        below = _hull(x, ranks, low, high)
        above = _hull(x, -ranks, low, high)
        knots = np.union1d(below, above)
        gap = np.interp(x[knots], x[above], ranks[above]) - np.interp(x[knots], x[below], ranks[below])
        widest = len(knots) - 1 - int(gap[::-1].argmax())
        if gap[widest] + 1.0 <= found:
            break
        # Both hulls are straight between knots, so they are farthest apart at one.
        at = knots[widest]
        left, right = int(below[below <= at].max()), int(above[above >= at].min())
        convex, concave = below[below <= left], above[above >= right]
        before, after = slice(low, left + 1), slice(right, high + 1)
        excess = ranks[before] - np.interp(x[before], x[convex], ranks[convex])
        lack = np.interp(x[after], x[concave], ranks[concave]) - ranks[after]
        found = max(found, float(excess.max()) + 1.0, float(lack.max()) + 1.0)
        if (left, right) == (low, high):
            break
        low, high = left, right
    return found / (2 * count)


def _hull(x: Floats, y: Floats, low: int, high: int) -> NDArray[np.int64]:
    """Indices of the lower convex hull of the points (x, y) from `low` to `high`, both included."""
    kept = [low]
    for i in range(low + 1, high + 1):
        while len(kept) > 1:
            a, b = kept[-2], kept[-1]
            if (y[b] - y[a]) * (x[i] - x[a]) < (y[i] - y[a]) * (x[b] - x[a]):
                break
            kept.pop()
        kept.append(i)
    return np.array(kept, dtype=np.int64)


def dip_test(values: NDArray[np.floating]) -> tuple[float, float] | None:
    """Dip and its p-value against the uniform distribution, the hardest unimodal one; None of fewer than `FEWEST` values.

    The p-value lies between 0.001 and 1, by interpolation in `DIPS`; 1 where the dip is below its median.
    """
    x = np.sort(np.asarray(values, np.float64).reshape(-1))
    if len(x) < FEWEST:
        return None
    if len(x) > MOST:
        x = x[np.linspace(0, len(x) - 1, MOST).round().astype(np.int64)]
    found = dip(x)
    sizes = sorted(DIPS)
    table = np.array([DIPS[n] for n in sizes])
    limits = [float(np.interp(len(x), sizes, column)) for column in table.T]
    scaled = found * math.sqrt(len(x))
    if scaled < limits[0]:
        return found, 1.0
    return found, float(np.exp(np.interp(scaled, limits, np.log(TAILS))))
