"""Which matrices of the candidates each matrix of the artifact is compared with, and what rounding alone would leave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.dtypes import quantized_bits
from provenance_gate.artifact.interface import COMPONENT_OF_ROLE, Role, TensorKey
from provenance_gate.fingerprint.rows import KeptRows
from provenance_gate.lineage.merges.fit import Floats

Rows = Mapping[TensorKey, KeptRows]
Place = tuple[str, int]
Values = NDArray[np.float32]

INTEGERS = frozenset({"I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64"})
MANTISSA = {"F64": 10, "F32": 10, "F16": 10, "BF16": 7, "F8_E4M3": 3, "F8_E5M2": 2}
"""Bits after the point that survive in kept rows, which hold at most 10."""


def mantissa(dtype: str) -> int:
    """Bits that a value keeps: of a quantized format one less than its width, since a group shares its scale."""
    bits = quantized_bits(dtype)
    return MANTISSA.get(dtype, 10) if bits is None else max(1, bits - 1)


_ALIGNED_VALUES = 8192
"""Values of each matrix that decide which layers correspond."""
_LARGE_VALUES = 8192
"""Values of each matrix of a large model: it has hundreds of matrices, and all of all candidates are held at once."""
_APART, _FEWEST = 4.0, 100
_SURE = 4.0
"""Standard errors by which another layer must fit better than the one of the same number."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows of one matrix and of its counterparts, each (R, C) of equal shape; `candidates` says whose `others` are.

    `gram`: shape (1 + m, 1 + m), zero where a candidate has no counterpart, over the `count` values that tell the candidates
    apart (`_telling`); `whole`: the same over all values. `step`: grid of an integer format, a row each
    (R, 1), or 0. `size`: elements of the whole matrix.
    """

    key: TensorKey
    size: float
    dtype: str
    dtypes: tuple[str, ...]
    candidates: tuple[int, ...]
    values: Values
    others: tuple[Values, ...]
    gram: Floats
    whole: Floats
    count: int
    step: Values

    def rounding(self) -> Floats:
        """Largest rounding error of each value of the artifact and its candidates together, float32 of shape (R, C)."""
        half = 2.0 ** -(mantissa(self.dtype) + 1)
        kept = [2.0 ** -(mantissa(d) + 1) if d in ("F32", "F64") else 0.0 for d in self.dtypes]
        own = half * np.abs(self.values) + 0.5 * self.step
        return np.asarray(own + sum(e * np.abs(o) for e, o in zip(kept, self.others, strict=True) if e), dtype=float)

    def floor(self) -> float:
        """Sum of squares that rounding leaves, twice that of one rounding: merges are computed in the format as well."""
        own = float(self.gram[0, 0])
        variance = 2.0 * _relative_variance(self.dtype) + sum(
            _relative_variance(d) for d in set(self.dtypes) if d in ("F32", "F64")
        )
        steps = float(np.square(self.step).sum()) / 12.0 * self.values.shape[1]
        return float(own * variance + steps)


def _relative_variance(dtype: str) -> float:
    """Of rounding, relative to the value: steps of 2**-p, uniform error, mantissas uniform in logarithm."""
    return float(0.541 * 4.0 ** -mantissa(dtype) / 12.0)


@dataclass(frozen=True, slots=True)
class Unit:
    """One component of one layer: samples that share their candidates. `layers` has each candidate's layer."""

    component: str
    stack: str
    layer: int | None
    candidates: tuple[int, ...]
    layers: tuple[int | None, ...]
    samples: tuple[Sample, ...]

    @property
    def gram(self) -> Floats:
        return np.asarray(sum(s.gram for s in self.samples))

    @property
    def floor(self) -> float:
        return sum(s.floor() for s in self.samples)

    @property
    def size(self) -> float:
        return sum(s.size for s in self.samples)

    @property
    def count(self) -> int:
        return sum(s.count for s in self.samples)


def units_of(artifact: Rows, candidates: Sequence[Rows]) -> tuple[Unit, ...]:
    """All comparable matrices of the artifact by layer and component, those outside of the layers first."""
    maps = [layer_map(artifact, rows) for rows in candidates]
    groups: dict[tuple[str, int, str], list[Sample]] = {}
    for key, ours in artifact.items():
        component = COMPONENT_OF_ROLE.get(key.role)
        name = component.value if component is not None else Role.OTHER.value
        sample = _sample(key, ours, candidates, maps)
        if sample is not None:
            groups.setdefault((key.stack, -1 if key.layer is None else key.layer, name), []).append(sample)
    units = []
    for (stack, number, name), samples in sorted(groups.items()):
        shared = _shared(samples)
        kept = tuple(s for s in samples if set(shared) <= set(s.candidates))
        if not shared or not kept:
            continue
        place = (stack, number)
        layers = tuple(None if number < 0 else m.get(place, place)[1] for m in maps)
        units.append(Unit(name, stack, None if number < 0 else number, shared, layers, kept))
    return tuple(units)


def _shared(samples: Sequence[Sample]) -> tuple[int, ...]:
    """Candidates that most of the group, by size, has counterparts in; fewer until some matrix has them all."""
    total = sum(s.size for s in samples)
    held = {k: sum(s.size for s in samples if k in s.candidates) for s in samples for k in s.candidates}
    shared = sorted((k for k, size in held.items() if size >= 0.5 * total), key=lambda k: (-held[k], k))
    while shared and not any(set(shared) <= set(s.candidates) for s in samples):
        shared.pop()
    return tuple(sorted(shared))


def _sample(
    key: TensorKey, ours: KeptRows, candidates: Sequence[Rows], maps: Sequence[Mapping[Place, Place]]
) -> Sample | None:
    found = []
    for index, rows in enumerate(candidates):
        stack, layer = key.stack, key.layer
        if layer is not None:
            stack, layer = maps[index].get((stack, layer), (stack, layer))
        theirs = rows.get(TensorKey(key.role, stack, layer, key.part))
        if theirs is not None and theirs.shape == ours.shape and theirs.first == ours.first:
            found.append((index, theirs))
    if not found:
        return None
    count = min(ours.count, *(t.count for _, t in found))
    columns = max(1, _LARGE_VALUES // count) if any(r.is_large for r in (ours, *(t for _, t in found))) else None
    values = ours.top(count, columns)
    others = tuple(t.top(count, columns) for _, t in found)
    if ours.dtype in INTEGERS:
        values = _to_scale(values, others)
    if not values.min() < values.max():
        return None
    stacked = np.empty((1 + len(found), values.size))
    for line, source in zip(stacked, (values, *others), strict=True):
        line[:] = source.reshape(-1)
    at = [0, *(index + 1 for index, _ in found)]
    whole = np.zeros((len(candidates) + 1, len(candidates) + 1))
    whole[np.ix_(at, at)] = stacked @ stacked.T
    if not np.isfinite(whole).all():
        return None
    gram, used = whole, values.size
    telling = _telling(ours.dtype, others)
    if telling is not None:
        part, used = stacked[:, telling], len(telling)
        gram = np.zeros_like(whole)
        gram[np.ix_(at, at)] = part @ part.T
    dtypes = tuple(t.dtype for _, t in found)
    size = float(ours.shape[0]) * ours.shape[1]
    indices = tuple(i for i, _ in found)
    return Sample(key, size, ours.dtype, dtypes, indices, values, others, gram, whole, used, _grid(values))


def _telling(dtype: str, others: Sequence[Values]) -> NDArray[np.intp] | None:
    """Values at which candidates lie _APART steps of the artifact's format apart, where those are a minority but not too few.

    A mix of values that are one step apart is rounded to one of them, which pulls weights to the greater one. Which values
    are looked at depends on the candidates alone, so the choice itself pulls nothing.
    """
    bits = mantissa(dtype)
    if bits >= 10 or len(others) < 2:
        return None
    low, high = others[0], others[0]
    for other in others[1:]:
        low, high = np.minimum(low, other), np.maximum(high, other)
    clear = np.flatnonzero(high - low >= _APART * 2.0**-bits * np.maximum(np.abs(low), np.abs(high)))
    return clear if _FEWEST <= len(clear) < 0.5 * low.size else None


def _to_scale(codes: Values, others: Sequence[Values]) -> Values:
    """Integer codes without their scales: each row scaled so that its weights sum to one; zeros where that cannot be."""
    stacked = np.stack(others).astype(np.float64)
    gram = np.einsum("irc,jrc->rij", stacked, stacked)
    toward = np.einsum("irc,rc->ri", stacked, codes.astype(np.float64))
    total = np.einsum("rij,rj->r", np.linalg.pinv(gram, rcond=1e-10, hermitian=True), toward)[:, None]
    return np.asarray(np.where(total > 0, codes / np.where(total > 0, total, 1.0), 0.0), dtype=np.float32)


def _grid(values: Values) -> Values:
    """Step of an 8-bit or coarser integer grid, a row each, or zeros: no value between 0 and a 130th of its row's largest."""
    if len(values) > 1 and not _grid(values[:1]).any():
        return np.zeros((len(values), 1), dtype=np.float32)
    sizes = np.abs(values)
    largest = sizes.max(axis=1, keepdims=True)
    smallest = float(np.where(sizes > 0, sizes / np.where(largest > 0, largest, 1.0), np.inf).min())
    return np.asarray(largest * np.float32(smallest if 1.0 / 130.0 <= smallest < 1.0 else 0.0), dtype=np.float32)


def layer_map(artifact: Rows, candidate: Rows) -> dict[Place, Place]:
    """The candidate's layer that each layer of the artifact resembles most, by mean cosine of matrices of equal shape.

    The layer of the same number is taken unless another is better by more than chance; the one after the last layer's
    goes before other equals.
    """
    ours, theirs = _by_form(artifact), _by_form(candidate)
    places = sorted({p for form in ours.values() for p in form})
    others = sorted({p for form in theirs.values() for p in form})
    if not places or not others:
        return {}
    total = np.zeros((len(places), len(others)))
    count = np.zeros_like(total)
    for form, mine in ours.items():
        if form not in theirs:
            continue
        a, b = _units(mine), _units(theirs[form])
        width = min(a.shape[1], b.shape[1])
        at = np.ix_([places.index(p) for p in mine], [others.index(p) for p in theirs[form]])
        total[at] += width * (a[:, :width] @ b[:, :width].T)
        count[at] += width
    chosen: dict[Place, Place] = {}
    last: Place | None = None
    for i, place in enumerate(places):
        allowed = [j for j, other in enumerate(others) if other[0] == place[0] and count[i, j] > 0]
        if not allowed:
            continue
        cosine = total[i, allowed] / count[i, allowed]
        fit = np.arctanh(np.clip(cosine, -0.9999999, 0.9999999))
        margin = _SURE / np.sqrt(count[i, allowed].max())
        close = [allowed[n] for n in np.flatnonzero(fit >= fit.max() - margin)]
        wanted = [place] if last is None else [place, (last[0], last[1] + 1)]
        best = next((w for w in wanted if any(others[j] == w for j in close)), others[allowed[int(fit.argmax())]])
        chosen[place] = last = best
    return chosen


def _by_form(rows: Rows) -> dict[tuple[object, ...], dict[Place, KeptRows]]:
    """Rows in layers by role, part, shape and first row: what can be compared across layers."""
    forms: dict[tuple[object, ...], dict[Place, KeptRows]] = {}
    for key, kept in rows.items():
        if key.layer is not None:
            form = (key.role, key.stack, key.part, kept.shape, kept.first)
            forms.setdefault(form, {})[key.stack, key.layer] = kept
    return forms


def _units(rows: Mapping[Place, KeptRows]) -> Values:
    """Whole rows of each matrix in one line, (L, n), scaled to unit norm; zero where the matrix is."""
    lines = []
    shared = min(r.count for r in rows.values())
    for kept in rows.values():
        line = kept.top(min(shared, max(1, _ALIGNED_VALUES // kept.width))).reshape(-1)
        norm = float(np.sqrt(np.einsum("i,i->", line, line, dtype=np.float64)))
        lines.append(line / np.float32(norm) if norm > 0 and np.isfinite(norm) else np.zeros_like(line))
    return np.stack(lines)
