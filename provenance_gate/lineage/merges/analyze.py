"""The order of the questions: copies of layers, a linear mix, SLERP, task vectors, sparse task vectors, and what is left over.

Every answer rests on how much it leaves unexplained, against what rounding to the artifact's format leaves. A recipe that is
a special case of another is named by the simpler one: task vectors with factors that sum to one are a linear mix of the
fine-tunes ("Task arithmetic", Ilharco et al. 2022, arXiv:2212.04089).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.errors import FingerprintError
from provenance_gate.fingerprint.interface import Fingerprint, SignalValue
from provenance_gate.fingerprint.measure import compare_signal
from provenance_gate.fingerprint.rows import on_common_blocks
from provenance_gate.fingerprint.signals.weight_correlation import WeightCorrelation, rows_of
from provenance_gate.lineage.merges.config import configuration
from provenance_gate.lineage.merges.family import STRANGE, USED, Family, fit_unit
from provenance_gate.lineage.merges.fit import Floats, deltas, free_fit, left_over, non_negative
from provenance_gate.lineage.merges.interface import REPORTED, Merge, Mixture, Parent
from provenance_gate.lineage.merges.slerp import two_parents
from provenance_gate.lineage.merges.sparse import Sparse, find_sparse
from provenance_gate.lineage.merges.tensors import Rows, Unit, units_of
from provenance_gate.lineage.merges.unchanged import alike, share_out

SHARP = 4.0
"""A fit is exact when it leaves at most this many times what rounding does."""
CLOSE = 0.05
"""... and nearly so when it leaves this share of the artifact's distance from its nearest candidate."""
BETTER = 0.9
"""Factors of any sign are taken when they leave less than this share of what non-negative weights do."""
SCATTERED = 0.5
"""Above this share a mix is not credible: of siblings without their base, each is as well explained by the mean of the others."""
NEARER = 0.6
"""Squared distance of the nearest candidate over that of the next, below which it alone is named where no mix is credible."""
CERTAIN = 0.95
"""Share of the elements that a sparse recipe must explain when its base is not the likely ancestor."""
WHOLE = 0.03
"""How far from one the weight of a layer's only source may be."""
FAITHFUL = 0.9
"""Smallest weight (and inverse of the greatest) of the only parent of an artifact that is called "single"."""


def analyze_merge(artifact: Fingerprint, parents: Sequence[Parent]) -> Merge | NotMeasured:
    """How the artifact was mixed from the candidates, or why that cannot be said.

    Weights are least-squares estimates over the sampled values of each component of each layer; their standard error is the
    root of (unexplained second moment x inverse Gram matrix), 1e-3 and less for exact mixes of thousands of values. Parents
    that are not among the candidates show as `residual`. Norm gains and biases are not looked at.
    """
    if len(parents) < 2:
        return NotMeasured("a mix needs at least two candidate parents")
    if len({p.id for p in parents}) < len(parents):
        return NotMeasured("two candidate parents have the same id")
    ours = _rows(artifact)
    if isinstance(ours, NotMeasured):
        return NotMeasured(f"artifact: {ours.reason}")
    candidates: list[Rows] = []
    reasons: list[str] = []
    for parent in parents:
        theirs = _comparable(artifact, parent)
        candidates.append({} if isinstance(theirs, NotMeasured) else theirs)
        reasons += [f"{parent.id}: {theirs.reason}"] if isinstance(theirs, NotMeasured) else []
    if not any(candidates):
        return NotMeasured("; ".join(reasons))
    shared, *others = on_common_blocks(ours, *candidates)
    units = units_of(shared, others)
    if not units:
        return NotMeasured("no matrix that varies has the same shape and rows in the artifact and a candidate")
    return _Analysis(tuple(p.id for p in parents), units, tuple(reasons)).merge()


def _rows(fingerprint: Fingerprint) -> Rows | NotMeasured:
    value = fingerprint.signals.get(WeightCorrelation.name)
    if not isinstance(value, SignalValue):
        return value if isinstance(value, NotMeasured) else NotMeasured("the fingerprint holds no sampled rows")
    try:
        return rows_of(value)
    except (FingerprintError, KeyError) as error:
        return NotMeasured(str(error))


def _comparable(artifact: Fingerprint, parent: Parent) -> Rows | NotMeasured:
    ours, theirs = (f.signals.get(WeightCorrelation.name) for f in (artifact, parent.fingerprint))
    alike = isinstance(ours, SignalValue) and isinstance(theirs, SignalValue) and ours.parameters == theirs.parameters
    if artifact.method != parent.fingerprint.method or not alike:
        absent = compare_signal(WeightCorrelation(), artifact, parent.fingerprint).value
        return absent if isinstance(absent, NotMeasured) else NotMeasured("measured with different parameters")
    return _rows(parent.fingerprint)


@dataclass(frozen=True, slots=True)
class _Reading:
    """Weights (U, m) of the units, what they leave of each, and the name for it."""

    recipe: str
    weights: Floats
    rest: Floats
    reason: str
    base: int | None = None
    origin: int | None = None
    t: tuple[float | None, ...] | None = None
    change_left: float | None = None
    parameters: dict[str, float] = field(default_factory=dict)
    overall: Floats | None = None


class _Analysis:
    """Units and their fits, on the way to a merge."""

    def __init__(self, ids: tuple[str, ...], units: tuple[Unit, ...], notes: tuple[str, ...]) -> None:
        self.ids, self.units, self.notes = ids, units, notes
        self.grams = [u.gram for u in units]
        self.floors = np.array([u.floor for u in units])
        self.sizes = np.array([u.size for u in units])
        fits = [fit_unit(u, g, f) for u, g, f in zip(units, self.grams, self.floors, strict=True)]
        self.groups = [alike(u, g, f) for u, g, f in zip(units, self.grams, self.floors, strict=True)]
        self.weights = share_out(np.stack([w for w, _ in fits]), self.groups, self.sizes)
        self.rest = np.array([r for _, r in fits])
        inside = np.array([u.layer is not None for u in units])
        self.body = np.flatnonzero(inside if inside.any() else ~inside)
        self.family = Family([units[i] for i in self.body], [self.grams[i] for i in self.body], len(ids))
        self.change, self.away = self._nearest()

    def _nearest(self) -> tuple[float, list[float]]:
        """Squared distance of the body from its nearest candidate, layers as mapped, or from nothing; at least the rounding."""
        away = [float(sum(self.grams[i][0, 0] for i in self.body))]
        for k in range(len(self.ids)):
            pick = np.zeros(len(self.ids))
            pick[k] = 1.0
            away.append(sum(left_over(self.grams[i], pick) for i in self.body))
        return max(min(away), float(self.floors[self.body].sum()), 1e-300), away[1:]

    def overall(self, weights: Floats) -> Floats:
        return np.asarray(self.sizes @ weights / self.sizes.sum())

    def left(self, rest: Floats) -> float:
        return float(min(1.0, rest[self.body].sum() / self.change))

    def sharp(self, rest: Floats) -> bool:
        return bool(rest[self.body].sum() <= SHARP * self.floors[self.body].sum())

    def merge(self) -> Merge:
        return self._report(self._reading())

    def _reading(self) -> _Reading:
        free = self._free()
        if free is not None and free.rest[self.body].sum() > BETTER * self.rest[self.body].sum():
            free = None
        if free is not None and self.sharp(free.rest):
            return free
        if self.sharp(self.rest):
            return self._dense()
        sparse = self._sparse()
        if sparse is not None:
            return sparse
        if self.left(self.rest) <= CLOSE:
            return self._dense()
        if free is not None and self.left(free.rest) <= CLOSE:
            return free
        return self._loose()

    def _dense(self) -> _Reading:
        """Non-negative weights explain the artifact."""
        left = self.left(self.rest)
        copies = self._copies()
        if copies is not None:
            return copies
        overall = self.overall(self.weights)
        used = [int(k) for k in np.argsort(-overall) if overall[k] >= USED]
        body = self.overall_body()
        if len(used) == 2 and all(body[k] < USED for k in range(len(self.ids)) if k not in used):
            first, second = sorted(used)
            pair = two_parents(self.units, first, second)
            if pair.is_slerp:
                weighted = [(t, s) for t, s in zip(pair.t, self.sizes, strict=True) if t is not None]
                t = float(np.average([t for t, _ in weighted], weights=[s for _, s in weighted]))
                reason = f"spherical interpolation from {self.ids[first]} to {self.ids[second]}, t {t:.3f} overall"
                return _Reading("slerp", self.weights, self.rest, reason, origin=first, t=pair.t, parameters={"t": t})
            sums = self.weights[self.body].sum(axis=1)
            if pair.same and abs(float(np.median(sums)) - 1.0) < WHOLE:
                reason = f"a linear mix of {self._names(used)}; SLERP with t equal to the second weight gives the same"
                ts = tuple(float(w[second] / max(1e-9, w[first] + w[second])) for w in self.weights)
                return _Reading("linear", self.weights, self.rest, reason, t=ts)
        if len(used) >= 3:
            ancestor = self.family.ancestor(used, STRANGE)
            free = self._free(ancestor) if ancestor is not None and ancestor == self.family.ancestor() else None
            if free is not None and free.recipe == "task_arithmetic" and self.left(free.rest) <= left + CLOSE:
                return free
        return _Reading("linear", self.weights, self.rest, f"a linear mix of {self._names(used)}")

    def overall_body(self) -> Floats:
        return np.asarray(self.sizes[self.body] @ self.weights[self.body] / self.sizes[self.body].sum())

    def _copies(self) -> _Reading | None:
        """Every layer is one candidate's layer."""
        sources: dict[tuple[str, int | None], set[tuple[int, int | None]]] = {}
        for i in self.body:
            unit, weights = self.units[i], self.weights[i]
            best = int(weights.argmax())
            if abs(weights[best] - 1.0) > WHOLE or weights.sum() - weights[best] > USED:
                return None
            sources.setdefault((unit.stack, unit.layer), set()).add((best, unit.layers[best]))
        flat = {s for found in sources.values() for s in found}
        used = sorted({k for k, _ in flat})
        unmoved = all(layer == mine for (_, mine), found in sources.items() for _, layer in found)
        nearest = int(np.argmin(self.away))
        if unmoved and len(used) > 1 and self.away[nearest] <= SHARP * self.floors[self.body].sum():
            return self._alone(nearest, f"to rounding, the weights are those of {self.ids[nearest]}")
        if len(used) == 1 and unmoved:
            exact = self.sharp(self.rest)
            how = "the weights are those of" if exact else "the weights are near those of"
            return _Reading("single", self.weights, self.rest, f"{how} {self.ids[used[0]]}, of no other candidate")
        reason = f"each layer is one layer of {self._names(used)}"
        return _Reading("passthrough", self.weights, self.rest, reason)

    def _names(self, chosen: Sequence[int]) -> str:
        return " and ".join(self.ids[k] for k in chosen) or "no candidate"

    def _free(self, base: int | None = None) -> _Reading | None:
        """Task vectors of any factor from an ancestor. None without one, or when non-negative weights say the same."""
        if base is None:
            base = self.family.left_behind()
        if base is None:
            base = self.family.ancestor()
        if base is None:
            return None
        chosen = self.family.significant(base)
        if not chosen:
            return None
        fits = [
            free_fit(g, base, chosen) if base in u.candidates else None
            for u, g in zip(self.units, self.grams, strict=True)
        ]
        weights = np.stack([self.weights[i] if f is None else f[0] for i, f in enumerate(fits)])
        weights = share_out(weights, self.groups, self.sizes, base)
        rest = np.array([self.rest[i] if f is None else f[1] for i, f in enumerate(fits)])
        left_to_base = 1.0 - float((self.sizes @ weights / self.sizes.sum()).sum())
        if abs(left_to_base) < USED or (len(chosen) < 2 and left_to_base > -USED):
            return None
        reason = f"{self.ids[base]} plus task vectors of {self._names(chosen)}"
        return _Reading(
            "task_arithmetic",
            np.maximum(weights, 0.0),
            rest,
            reason,
            base=base,
            parameters={"normalize": 0.0, "lambda": 1.0},
        )

    def _sparse(self) -> _Reading | None:
        found: list[Sparse] = []
        ancestor, sure = self.family.ancestor(), self.family.ancestor(most=STRANGE)
        for base in self.family.related:
            # What is not linear lends a factor to a task vector that resembles those that were used, so fewer are tried too.
            chosen = self.family.significant(base)
            for n in range(len(chosen), 0, -1):
                one = find_sparse(self.units, base, chosen[:n])
                exact = (
                    one is not None and len(one.weights) > 1 and one.explained >= CERTAIN and one.change_left <= 0.05
                )
                if one is not None and (exact or base == (ancestor if sure is None else sure)):
                    found.append(one)
                    break
        if not found:
            return None
        # Readings that explain about as much: the one with fewer task vectors.
        best = max(found, key=lambda f: (round(f.explained, 1), -len(f.weights), f.explained))
        weights = np.zeros_like(self.weights)
        rest = np.zeros_like(self.rest)
        for i, gram in enumerate(self.grams):
            for k, value in best.by_unit.get(i, best.weights).items():
                weights[i, k] = max(0.0, value)
            rest[i] = best.change_left * deltas(gram, best.base)[0, 0]
        overall = np.zeros(len(self.ids))
        overall[list(best.weights)] = list(best.weights.values())
        parameters = {"normalize": float(best.normalize), "lambda": best.scale, "explained": best.explained}
        parameters["density"] = float(np.mean(list(best.densities.values())))
        parameters |= {f"density:{self.ids[k]}": d for k, d in best.densities.items()}
        kind = "the largest" if best.recipe == "ties" else "random"
        reason = (
            f"{self.ids[best.base]} plus {kind} elements of the task vectors of {self._names(list(best.weights))}: "
            f"{best.explained:.0%} of the visible elements have a value of that recipe"
        )
        return _Reading(
            best.recipe,
            weights,
            rest,
            reason,
            base=best.base,
            change_left=best.change_left,
            parameters=parameters,
            overall=overall,
        )

    def _loose(self) -> _Reading:
        """Something is left over."""
        overall = self.overall_body()
        used = [int(k) for k in np.argsort(-overall) if overall[k] >= USED]
        left = self.left(self.rest)
        share = float(self.rest[self.body].sum() / max(sum(self.grams[i][0, 0] for i in self.body), 1e-300))
        over = f"{share:.1%} of the variance ({left:.0%} of the distance from the nearest candidate) is left over"
        missing = "a parent may be missing among the candidates, or it was trained further"
        if not used:
            return _Reading("unknown", self.weights, self.rest, f"no candidate explains the weights; {over}")
        copies = self._copies()
        if copies is not None:
            reason = f"{copies.reason}; {over}: {missing}" if left > CLOSE else copies.reason
            return _Reading(copies.recipe, self.weights, self.rest, reason)
        if len(used) == 1:
            recipe = "single" if FAITHFUL <= overall[used[0]] <= 1.0 / FAITHFUL else "unknown"
            reason = f"{self.ids[used[0]]} with weight {overall[used[0]]:.2f} and no other candidate; {over}: {missing}"
            return _Reading(recipe, self.weights, self.rest, reason)
        if left > SCATTERED and self.family.ancestor() is None:
            nearest, second = sorted(used, key=lambda k: self.away[k])[:2]
            if self.away[nearest] <= NEARER * self.away[second]:
                reason = f"{self.ids[nearest]} is much the nearest candidate, and no mix is shown; {over}: {missing}"
                return self._alone(nearest, reason)
            reason = f"{self._names(used)} explain it no better than siblings do; {over}: no mix of them is shown"
            return _Reading("unknown", self.weights, self.rest, reason)
        reason = f"a mix of {self._names(used)}; {over}: {missing}"
        return _Reading("linear", self.weights, self.rest, reason)

    def _alone(self, nearest: int, reason: str) -> _Reading:
        fits = [
            non_negative(g, [nearest]) if nearest in u.candidates else (np.zeros(len(self.ids)), float(g[0, 0]))
            for u, g in zip(self.units, self.grams, strict=True)
        ]
        return _Reading("single", np.stack([w for w, _ in fits]), np.array([r for _, r in fits]), reason)

    def _error(self, weights: Floats, rest: Floats) -> float:
        """Largest standard error of an overall weight."""
        variance = np.zeros(len(self.ids))
        for i, unit in enumerate(self.units):
            chosen = [k for k in unit.candidates if weights[i, k] > 0]
            if not chosen:
                continue
            part = self.grams[i][1:, 1:][np.ix_(chosen, chosen)]
            inverse = np.maximum(np.diag(np.linalg.pinv(part, rcond=1e-12, hermitian=True)), 0.0)
            variance[chosen] += (self.sizes[i] / self.sizes.sum()) ** 2 * inverse * rest[i] / unit.count
        return float(np.sqrt(variance.max()))

    def _report(self, reading: _Reading) -> Merge:
        mean = self.overall(reading.weights) if reading.overall is None else reading.overall
        overall = np.clip(mean, 0.0, 1.0)
        by_candidate = overall.copy()
        if reading.base is not None:
            by_candidate[reading.base] = float(np.clip(1.0 - mean.sum(), 0.0, 1.0))
        alone = {int(reading.weights[i].argmax()) for i in self.body} if reading.recipe == "passthrough" else set()
        order = sorted(range(len(self.ids)), key=lambda k: -overall[k])
        shown = [k for k in order if k != reading.base and (overall[k] >= REPORTED or k in alone)]
        moments = np.array([g[0, 0] for g in self.grams])
        shares = np.clip(reading.rest / np.maximum(moments, 1e-300), 0.0, 1.0)
        mixtures = tuple(self._mixture(i, reading, shown, float(shares[i])) for i in range(len(self.units)))
        parameters = dict(reading.parameters)
        if reading.recipe == "linear":
            sums = reading.weights[self.body].sum(axis=1)
            parameters["normalize"] = float(abs(float(np.median(sums)) - 1.0) <= WHOLE)
            if reading.t is not None:
                known = [t for t in reading.t if t is not None]
                parameters |= {"t": float(np.mean(known))} if known else {}
        parameters |= {f"weight:{self.ids[k]}": float(mean[k]) for k in shown}
        parameters["weight_error"] = self._error(reading.weights, reading.rest)
        left = reading.change_left
        parameters["change_left"] = self.left(reading.rest) if left is None else float(min(1.0, left))
        ids = tuple(self.ids[k] for k in shown)
        base = None if reading.base is None else self.ids[reading.base]
        dtype = Counter(s.dtype for u in self.units for s in u.samples).most_common(1)[0][0]
        start = base if reading.origin is None else self.ids[reading.origin]
        reason = "; ".join([reading.reason, *(f"left out {n}" for n in self.notes)])
        return Merge(
            parents=ids,
            weights={name: float(by_candidate[k]) for k, name in enumerate(self.ids)},
            base=base,
            recipe=reading.recipe,
            parameters=parameters,
            residual=float(np.average(shares, weights=self.sizes)),
            mixtures=mixtures,
            reason=reason,
            mergekit=configuration(reading.recipe, ids, start, parameters, mixtures, dtype),
        )

    def _mixture(self, i: int, reading: _Reading, shown: Sequence[int], residual: float) -> Mixture:
        unit, weights = self.units[i], reading.weights[i]
        order = sorted((k for k in shown if weights[k] >= USED), key=lambda k: -weights[k])
        return Mixture(
            component=unit.component,
            stack=unit.stack,
            layer=unit.layer,
            sources=tuple((self.ids[k], unit.layers[k]) for k in order),
            weights=tuple(float(weights[k]) for k in shown),
            residual=residual,
            t=None if reading.t is None else reading.t[i],
        )
