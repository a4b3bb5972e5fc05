"""Tell 13: are the norm gains the base's? Few numbers, near 1 in every model, and yet no two trainings end at the same ones.

Two questions to each vector: is it bit-equal, or equal to the rounding of the coarser format (in place, or in another order, as
after a reordering of the residual stream); and do its values have the base's distribution (Kolmogorov-Smirnov)?
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.interface import Artifact, CanonicalTensor, NotMeasured, Role, TensorKey
from provenance_gate.errors import one_line
from provenance_gate.fingerprint.interface import Fingerprint, Json, SignalValue
from provenance_gate.fingerprint.observe import VECTOR_LIMIT
from provenance_gate.fingerprint.signals.nlf import NormGains
from provenance_gate.lineage.interface import Lineage
from provenance_gate.tells.interface import Case, Side, TellGroup, TellResult
from provenance_gate.tells.public import names_disclosed
from provenance_gate.tells.statistics import kolmogorov_smirnov
from provenance_gate.tells.wording import answer, not_measured

Array = NDArray[np.float32]

EQUAL = 0.50
"""Share of the vectors that must be equal for the tell to fire: `docs/tells.md` has the ROC."""
FEWEST = 2
"""Vectors that must be equal, at least."""
ROUNDING = {"F32": 2.0**-22, "F64": 2.0**-22, "F16": 2.0**-11, "BF16": 2.0**-8}
"""Relative error of a value stored in the format."""
STORED_ROUNDING = 2.0**-8
"""The same where the format is not known: bfloat16's, the coarsest that norms are kept in."""
SHORTEST = 8
MOST_VECTORS, MOST_VALUES = 4096, 1 << 23
STRENGTH = 0.8
"""No stranger has it; an honest fine-tune stored in bfloat16, whose steps were smaller than its rounding, can."""
EXPECTED = "a model of its own has no norm vector equal to the base's"
CONSTANT = "all norm vectors are constant on one side, as after folding them into the matrices or before training"
REPRODUCE = "load each norm weight of both models: numpy.array_equal(a, b), and scipy.stats.ks_2samp(a, b)"


@dataclass(frozen=True, slots=True)
class NormPair:
    """One vector against its counterpart.

    `place`: role and layer, or its number among those that a fingerprint keeps; `layer` in the artifact, None outside of the
    layers; `bit_equal`, `equal` (to rounding), `same_values` (equal to rounding once both are sorted); `distance` in [0, 1] and
    `p_value` of the Kolmogorov-Smirnov test; `constant`: all of either side's values are equal, so that it says nothing.
    """

    place: str
    layer: int | None
    bit_equal: bool
    equal: bool
    same_values: bool
    distance: float
    p_value: float
    constant: bool


@dataclass(frozen=True, slots=True)
class NormVectors:
    """All pairs. Shares are over those that are not constant, in [0, 1]."""

    pairs: tuple[NormPair, ...]
    method: str

    @property
    def telling(self) -> tuple[NormPair, ...]:
        """Pairs that are not constant."""
        return tuple(p for p in self.pairs if not p.constant)

    def share(self, name: str) -> float:
        """Of the telling pairs of which `name` (bit_equal, equal, same_values) holds; 0 of none."""
        return float(np.mean([getattr(p, name) for p in self.telling])) if self.telling else 0.0

    def numbers(self) -> dict[str, Json]:
        """Everything for JSON and pictures."""
        p_values = [p.p_value for p in self.telling]
        vectors: list[Json] = [
            {
                "place": p.place,
                "layer": p.layer,
                "bit_equal": p.bit_equal,
                "equal_to_rounding": p.equal,
                "same_values": p.same_values,
                "ks_distance": p.distance,
                "ks_p_value": p.p_value,
                "constant": p.constant,
            }
            for p in self.pairs
        ]
        return {
            "method": self.method,
            "vectors": vectors,
            "telling_vectors": len(self.telling),
            "share_bit_equal": self.share("bit_equal"),
            "share_equal_to_rounding": self.share("equal"),
            "share_same_values": self.share("same_values"),
            "median_ks_p_value": float(np.median(p_values)) if p_values else None,
            "share_ks_p_above_0.5": float(np.mean([p > 0.5 for p in p_values])) if p_values else None,
        }


def measure_norms(ours: Side, base: Side, lineage: Lineage | None = None) -> NormVectors | NotMeasured:
    """Vectors of equal role and part, layers as the lineage maps them; of fingerprints those that they keep, by number."""
    if ours.artifact is None or base.artifact is None:
        return _stored_norms(ours.fingerprint, base.fingerprint)
    mine, theirs = _norms(ours.artifact), _norms(base.artifact)
    if not mine or not theirs:
        return NotMeasured(f"no norm vector was recognized in the {'artifact' if not mine else 'base'}")
    layers = {(m.stack, m.layer): m.base_layer for m in (lineage.layers if lineage else ()) if m.base_layer is not None}
    pairs = []
    for key, tensor in mine.items():
        layer = None if key.layer is None else layers.get((key.stack, key.layer), key.layer)
        other = theirs.get(TensorKey(key.role, key.stack, layer, key.part))
        if other is None or other.shape != tensor.shape:
            continue
        limit = max(ROUNDING.get(t.stored.dtype, STORED_ROUNDING) for t in (tensor, other))
        size = tensor.shape[0]
        pair = _pair(one_line(str(key), 80), key.layer, tensor.read_rows(0, size), other.read_rows(0, size), limit)
        pairs += [pair] if pair is not None else []
    if not pairs:
        return NotMeasured("no norm vector has a counterpart of the same length with finite values")
    return NormVectors(tuple(pairs), "norm vectors of the files")


def _norms(artifact: Artifact) -> dict[TensorKey, CanonicalTensor]:
    found: dict[TensorKey, CanonicalTensor] = {}
    total = 0
    for tensor in artifact.canonical:
        if tensor.key.role is not Role.NORM or len(tensor.shape) != 1:
            continue
        if SHORTEST <= tensor.shape[0] <= VECTOR_LIMIT and len(found) < MOST_VECTORS:
            total += tensor.shape[0]
            if total > MOST_VALUES:
                break
            found[tensor.key] = tensor
    return found


def _stored_norms(ours: Fingerprint, base: Fingerprint) -> NormVectors | NotMeasured:
    a, b = _vectors(ours), _vectors(base)
    if isinstance(a, NotMeasured):
        return a
    if isinstance(b, NotMeasured):
        return NotMeasured(f"base: {b.reason}")
    if a.shape != b.shape:
        return NotMeasured("fingerprints keep norm vectors by number, and the models differ in number or length")
    found = (_pair(f"norm {i}", None, x, y, STORED_ROUNDING) for i, (x, y) in enumerate(zip(a, b, strict=True)))
    pairs = tuple(p for p in found if p is not None)
    if not pairs:
        return NotMeasured("no norm vector is finite in both models")
    return NormVectors(pairs, "norm vectors kept in the fingerprints")


def _vectors(fingerprint: Fingerprint) -> Array | NotMeasured:
    """Shape (tensors, length)."""
    value = fingerprint.signals.get(NormGains.name)
    if not isinstance(value, SignalValue):
        return value if isinstance(value, NotMeasured) else NotMeasured("the fingerprint keeps no norm vectors")
    count, vector = value.facts.get("tensors"), value.arrays.get("vector")
    if (
        vector is None
        or not isinstance(count, int)
        or count < 1
        or len(vector) % count
        or not value.facts.get("direct")
    ):
        return NotMeasured("the fingerprint keeps only a summary of norm vectors of several lengths")
    if not SHORTEST <= len(vector) // count <= VECTOR_LIMIT or vector.size > MOST_VALUES:
        return NotMeasured("the norm vectors of the fingerprint are too short or too long to compare")
    return np.asarray(vector, np.float32).reshape(count, -1)


def _pair(place: str, layer: int | None, x: Array, y: Array, rounding: float) -> NormPair | None:
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return None
    distance, p_value = kolmogorov_smirnov(x, y)
    constant = bool(x.min() == x.max() or y.min() == y.max())
    equal = _equal(x, y, rounding)
    same = equal or _equal(np.sort(x), np.sort(y), rounding)
    return NormPair(place, layer, bool(np.array_equal(x, y)), equal, same, distance, p_value, constant)


def _equal(x: Array, y: Array, rounding: float) -> bool:
    return bool((np.abs(x - y) <= rounding * np.maximum(np.abs(x), np.abs(y))).all())


class NormVectorTell:
    """Fires where norm vectors are the base's own: see `docs/tells.md`, section 13."""

    id = 13
    name = "norm-vectors"
    group = TellGroup.WEIGHTS
    title = "Norm gains"

    def measure(self, case: Case) -> TellResult:
        """Against the likeliest base. Raises ArtifactError when a vector cannot be read as declared."""
        if not case.bases:
            return not_measured(self, "no base is at hand or nominated to compare with", EXPECTED, REPRODUCE)
        base, lineage = case.bases[0]
        found = measure_norms(case.ours, base, lineage)
        if isinstance(found, NotMeasured):
            return not_measured(self, found.reason, EXPECTED, REPRODUCE)
        telling = found.telling
        if not telling:
            return not_measured(self, CONSTANT, EXPECTED, REPRODUCE)
        fired = found.share("same_values") >= EQUAL and _count(p.same_values for p in telling) >= FEWEST
        seen = (
            f"{_count(p.same_values for p in telling)} of {len(telling)} norm vectors hold the values of {one_line(base.name)}"
            f" ({_count(p.bit_equal for p in telling)} bit-equal, {_count(p.equal for p in telling)} to rounding in place); "
            f"median Kolmogorov-Smirnov p {np.median([p.p_value for p in telling]):.2g}"
        )
        numbers = found.numbers()
        numbers["disclosed"] = fired and names_disclosed(case, [base.name])
        return answer(
            self,
            seen=seen,
            expected=EXPECTED,
            reproduce=REPRODUCE,
            strength=STRENGTH if fired else 0.0,
            base=base.name if fired else None,
            numbers=numbers,
        )


def _count(values: Iterable[bool]) -> int:
    return sum(values)
