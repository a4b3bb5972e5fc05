"""TIES and DARE: merges whose differences from the base are sparse or elected by sign, which no linear fit describes.

Both write ``artifact = base + sum_k a_k m_k d_k`` with task vectors ``d_k`` (candidate minus base) and masks ``m_k`` in {0, 1}.

- TIES [1]_ keeps of each task vector the share `density` of the largest magnitude in each tensor, elects a sign for every
  element by the weighted sum, and drops what disagrees; mergekit then divides by the weights that are left (`normalize`).
- DARE [2]_ keeps elements at random with probability `density` and divides by it; "dare_ties" elects signs as well.

Which it was is read off single elements, so the claim is made only where most elements equal one of the values that their
masks allow, to rounding; rounding to a coarse format blurs them, and nothing is claimed.

References
----------
.. [1] Yadav et al., "TIES-Merging: Resolving Interference When Merging Models", 2023, arXiv:2306.01708.
.. [2] Yu et al., "Language Models are Super Mario", 2023, arXiv:2311.03099.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from provenance_gate.lineage.merges.fit import Floats
from provenance_gate.lineage.merges.tensors import Sample, Unit

Mask = NDArray[np.bool_]

ELEMENTS, FIRST_ELEMENTS = 200_000, 60_000
"""Elements looked at in all, and before it is clear that a reading exists; a share of them has a standard error of 0.001."""
EXPLAINED = 0.75
"""Share of the elements that must equal a value the recipe allows, beyond those that do so by chance."""
_VISIBLE = 6.0
"""A change is visible when it is this many times the rounding error."""
_FEWEST = 300
_LAST, _ZEROS = 0.998, 200
"""Quantile of the zeros where trimming ends, since some elements are zero by cancellation; and zeros that a tensor must have to
tell by itself."""
_MOST_PARENTS = 4
_RANDOM, _TRIMMED = 0.5, 0.2
"""Zeros among the largest (and the smallest visible) changes, over zeros among all: 1 for random drops, 0 for trimming.
What lies around zero anyway is taken off, by the count in a ring of the same width."""


@dataclass(frozen=True, slots=True)
class Sparse:
    """One reading. `weights`, `densities`: by candidate; `by_unit`: weights in each unit, its number in the tuple of units.

    `explained`: share of visible elements that the reading gives to rounding; `change_left`: share of the squared changes left.
    """

    recipe: str
    base: int
    weights: Mapping[int, float]
    densities: Mapping[int, float]
    normalize: bool
    scale: float
    explained: float
    change_left: float
    by_unit: Mapping[int, Mapping[int, float]]


@dataclass(frozen=True, slots=True)
class _Elements:
    """N elements: the artifact's change from the base, the task vectors (K, N) and their ranks within the tensor in [0, 1]."""

    change: Floats
    tasks: Floats
    ranks: Floats
    error: Floats
    unit: NDArray[np.int64]
    sample: NDArray[np.int64]

    def at(self, chosen: Mask) -> _Elements:
        return _Elements(
            self.change[chosen],
            self.tasks[:, chosen],
            self.ranks[:, chosen],
            self.error[chosen],
            self.unit[chosen],
            self.sample[chosen],
        )


def find_sparse(units: Sequence[Unit], base: int, used: Sequence[int]) -> Sparse | None:
    """The reading with this base and these task vectors, or None when the elements do not support one."""
    if not 0 < len(used) <= _MOST_PARENTS or _find(units, base, used, FIRST_ELEMENTS) is None:
        return None
    return _find(units, base, used, ELEMENTS)


def _find(units: Sequence[Unit], base: int, used: Sequence[int], count: int) -> Sparse | None:
    elements = _elements(units, base, used, count)
    if elements is None:
        return None
    large = np.any(np.abs(elements.tasks) > _VISIBLE * elements.error, axis=0)
    seen = elements.at(np.asarray(large))
    if len(seen.change) < _FEWEST:
        return None
    zero = np.abs(seen.change) <= seen.error
    ring = (np.abs(seen.change) > seen.error) & (np.abs(seen.change) <= 2.0 * seen.error)
    order = seen.ranks.max(axis=0)
    low, high = order <= np.quantile(order, 0.1), order >= np.quantile(order, 0.96)
    overall, among_low, among_top = (float(zero[w].mean() - ring[w].mean()) for w in (order >= 0, low, high))
    found = []
    if among_top <= _TRIMMED * overall or overall < 0.01:
        found.append(_ties(seen, zero, base, used))
    if overall < 0.01 or min(among_top, among_low) >= _RANDOM * overall:
        found.append(_dare(seen, base, used))
    return max((f for f in found if f is not None), key=lambda f: f.explained, default=None)


def _elements(units: Sequence[Unit], base: int, used: Sequence[int], count: int) -> _Elements | None:
    wanted = {base, *used}
    held = [(n, s) for n, u in enumerate(units) for s in u.samples if wanted <= set(s.candidates)]
    total = sum(s.values.size for _, s in held)
    if not total:
        return None
    share = min(1.0, count / total)
    parts = [_part(n, s, base, used, share) for n, s in held]
    return _Elements(
        np.concatenate([p.change for p in parts]),
        np.concatenate([p.tasks for p in parts], axis=1),
        np.concatenate([p.ranks for p in parts], axis=1),
        np.concatenate([p.error for p in parts]),
        np.concatenate([p.unit for p in parts]),
        np.repeat(np.arange(len(parts)), [len(p.change) for p in parts]),
    )


def _part(number: int, sample: Sample, base: int, used: Sequence[int], share: float) -> _Elements:
    step = max(1, round(1.0 / share))

    def thin(values: NDArray[np.floating]) -> Floats:
        return np.asarray(values.reshape(-1)[::step], dtype=np.float64)

    origin = thin(sample.others[sample.candidates.index(base)])
    tasks = np.stack([thin(sample.others[sample.candidates.index(k)]) - origin for k in used])
    ranks = np.empty_like(tasks)
    steps = (np.arange(tasks.shape[1]) + 0.5) / tasks.shape[1]
    for line, task in zip(ranks, np.abs(tasks), strict=True):
        line[task.argsort()] = steps
    change = thin(sample.values) - origin
    return _Elements(
        change, tasks, ranks, 1.02 * thin(sample.rounding()), np.full(len(change), number), np.zeros(0, np.int64)
    )


def _ties(e: _Elements, zero: Mask, base: int, used: Sequence[int]) -> Sparse | None:
    """Thresholds are where zeros end; weights come from elements that every task vector adds to."""
    kept, densities = _kept(e, zero)
    agreeing = kept.all(axis=0) & ((e.tasks > 0).all(axis=0) | (e.tasks < 0).all(axis=0))
    if agreeing.sum() < 20 * len(used):
        return None
    weights = _least_squares(e.tasks[:, agreeing], e.change[agreeing])
    if weights.min() <= 0:
        return None
    elected = np.where((weights[:, None] * kept * e.tasks).sum(axis=0) >= 0, 1.0, -1.0)
    mask = kept & (np.sign(e.tasks) == elected)
    added = (weights[:, None] * mask * e.tasks).sum(axis=0)
    present = (weights[:, None] * mask).sum(axis=0)
    mean = np.where(present > 0, added * weights.sum() / np.where(present > 0, present, 1.0), 0.0)
    rest = [float(np.square(e.change - value).sum()) for value in (added, mean)]
    normalize = rest[1] <= rest[0]
    value = mean if normalize else added
    right = np.abs(e.change - value) <= 1.5 * e.error + 0.02 * np.abs(value)
    plain = weights @ e.tasks
    linear = _least_squares(e.tasks, e.change) @ e.tasks
    for other in (plain, linear):
        alike = np.abs(e.change - other) <= 1.5 * e.error + 0.02 * np.abs(other)
        if float(right.mean()) < EXPLAINED or float(right.mean()) - float(alike.mean()) < 0.003:
            return None
    by_unit = {}
    for number in np.unique(e.unit):
        here = agreeing & (e.unit == number)
        if here.sum() >= 20 * len(used):
            by_unit[int(number)] = dict(
                zip(used, map(float, _least_squares(e.tasks[:, here], e.change[here])), strict=True)
            )
    return Sparse(
        "ties",
        base,
        dict(zip(used, map(float, weights), strict=True)),
        dict(zip(used, map(float, densities), strict=True)),
        normalize,
        float(weights.sum()) if normalize else 1.0,
        float(right.mean()),
        min(rest) / float(np.square(e.change).sum()),
        by_unit,
    )


def _kept(e: _Elements, zero: Mask) -> tuple[Mask, Floats]:
    """Which elements (K, N) were not trimmed, and the density of each task vector (K,).

    What is trimmed ends at one rank in all tensors; but sampled rows need not be typical of their tensor, so where a tensor has
    zeros enough, it ends at their largest magnitude.
    """
    if zero.sum() <= 5:
        return np.ones(e.tasks.shape, dtype=bool), np.ones(len(e.tasks))
    usual = np.quantile(e.ranks[:, zero], _LAST, axis=1)
    kept = e.ranks > usual[:, None]
    size = np.abs(e.tasks)
    ends = []
    for number in np.unique(e.sample):
        here = e.sample == number
        trimmed = here & zero
        if trimmed.sum() >= _ZEROS:
            kept[:, here] = size[:, here] > np.quantile(size[:, trimmed], _LAST, axis=1)[:, None]
            ends.append(np.quantile(e.ranks[:, trimmed], _LAST, axis=1))
    return kept, 1.0 - (np.mean(ends, axis=0) if ends else usual)


def _dare(e: _Elements, base: int, used: Sequence[int]) -> Sparse | None:
    """Factors are the commonest ratios of change to task vector; masks the choice that gives the element's value."""
    factors = np.array([_common_ratio(e, k) for k in range(len(used))])
    if not (factors > 0).all():
        return None
    e = e.at(np.asarray(np.all(np.abs(factors[:, None] * e.tasks) > _VISIBLE * e.error, axis=0)))
    if len(e.change) < _FEWEST:
        return None
    choices = np.array(list(product((False, True), repeat=len(used))))
    for relative in (0.1, 0.03, 0.005):
        chosen, right, chance, clear = _masks(e, factors, choices, relative)
        mask = choices[chosen].T
        if right.sum() >= _FEWEST:
            factors = _least_squares((mask * e.tasks)[:, right], e.change[right])
    explained = (float(right.mean()) - chance) / max(1.0 - chance, 1e-9)
    if explained < EXPLAINED:
        return None
    same = (e.tasks > 0).all(axis=0) | (e.tasks < 0).all(axis=0)
    counted = right & clear & same
    if counted.sum() < _FEWEST // 3:
        return None
    density = mask[:, counted].mean(axis=1)
    if density.min() < 0.01 or density.max() > 0.99:
        return None
    empty, expected_empty = float((~mask[:, counted]).all(axis=0).mean()), float(np.prod(1.0 - density))
    if expected_empty * counted.sum() > 30 and not 0.3 < empty / expected_empty < 3.0:
        return None
    mixed = np.flatnonzero(right & clear & ~same)
    elects = False
    if len(mixed) >= _FEWEST // 3:
        # Masks of elements without a conflict of signs show how often masks meet.
        usual = mask[:, np.resize(np.flatnonzero(counted), len(mixed))]
        seen, expected = (_conflicts(m, e.tasks[:, mixed]) for m in (mask[:, mixed], usual))
        elects = seen < 0.3 * expected
        density = density if elects else mask[:, right & clear].mean(axis=1)
    value = (factors[:, None] * mask * e.tasks).sum(axis=0)
    by_unit = {}
    for number in np.unique(e.unit):
        here = right & (e.unit == number)
        if (mask[:, here].sum(axis=1) >= 20).all():
            solved = _least_squares((mask * e.tasks)[:, here], e.change[here]) * density
            by_unit[int(number)] = dict(zip(used, map(float, solved), strict=True))
    return Sparse(
        "dare_ties" if elects else "dare_linear",
        base,
        dict(zip(used, map(float, factors * density), strict=True)),
        dict(zip(used, map(float, density), strict=True)),
        False,
        1.0,
        explained,
        float(np.square(e.change - value).sum() / max(float(np.square(e.change).sum()), 1e-300)),
        by_unit,
    )


def _conflicts(mask: Mask, tasks: Floats) -> float:
    """Share of the elements to which task vectors of both signs add."""
    return float(((mask & (tasks > 0)).any(axis=0) & (mask & (tasks < 0)).any(axis=0)).mean())


def _masks(
    e: _Elements, factors: Floats, choices: Mask, relative: float
) -> tuple[NDArray[np.int64], Mask, float, Mask]:
    """The nearest choice of each element, whether it is right to rounding, the share right by chance, and whether the values
    of all choices are well apart.
    """
    values = choices.astype(float) @ (factors[:, None] * e.tasks)
    near = np.abs(e.change - values)
    chosen = near.argmin(axis=0)
    allowed = 1.5 * e.error + relative * np.abs(values)
    right = near[chosen, np.arange(len(chosen))] <= allowed[chosen, np.arange(len(chosen))]
    ordered = np.sort(values, axis=0)
    span = ordered[-1] - ordered[0]
    chance = float(np.minimum(1.0, 2.0 * allowed.sum(axis=0) / np.maximum(span, 1e-300)).mean())
    gap = np.diff(ordered, axis=0).min(axis=0)
    return chosen, right, chance, gap > 2.0 * allowed.max(axis=0)


def _common_ratio(e: _Elements, k: int) -> float:
    """The commonest positive ratio of change to task vector k, where the other ones are small beside it; 0 without one."""
    task = np.abs(e.tasks[k])
    clear = (task > _VISIBLE * e.error) & (np.abs(e.change) > 2.0 * e.error) & (e.change * e.tasks[k] > 0)
    beside = (np.abs(e.tasks).sum(axis=0) - task) / np.maximum(task, 1e-300)
    for most in (0.1, 0.2, 0.4, np.inf):
        chosen = clear & (beside <= most)
        if chosen.sum() >= 200:
            break
    if chosen.sum() < 50:
        return 0.0
    ratio = np.log(e.change[chosen] / e.tasks[k][chosen])
    width = 0.02
    counts, edges = np.histogram(ratio, bins=np.arange(-4.0, 4.0 + width, width))
    smooth = np.convolve(counts, [1.0, 2.0, 3.0, 2.0, 1.0], mode="same")
    middle = edges[int(smooth.argmax())] + 0.5 * width
    close = np.abs(ratio - middle) < 0.05
    return float(np.exp(np.median(ratio[close]))) if close.any() else 0.0


def _least_squares(tasks: Floats, change: Floats) -> Floats:
    """Factors of the tasks (K, N) that give the change (N,)."""
    return np.asarray(np.linalg.lstsq(tasks @ tasks.T, tasks @ change, rcond=1e-12)[0])
