"""Is the artifact the base itself, or the base in another number format?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from provenance_gate.artifact.dtypes import quantized_bits
from provenance_gate.artifact.interface import Role
from provenance_gate.fingerprint.interface import Evidence, Fingerprint
from provenance_gate.lineage.components import Pair, Rows
from provenance_gate.lineage.interface import Relation

_HALF_ULP = {"F64": 2.0**-53, "F32": 2.0**-24, "F16": 2.0**-11, "BF16": 2.0**-8, "F8_E4M3": 2.0**-4, "F8_E5M2": 2.0**-3}
"""Largest relative error of rounding to a format (normal numbers)."""
_QUANTIZED = {2: 0.55, 3: 0.30, 4: 0.17, 5: 0.08, 6: 0.05, 7: 0.04, 8: 0.04}
"""Largest relative error, root mean square, of quantizing to so many bits in groups. Measured on Gaussian weights over formats:
0.09 to 0.15 at 4 bits, 0.005 to 0.03 at 8; a change of the weights below that cannot be told from rounding."""
_KEPT = 2.0**-11
"""Both sides were rounded to 11 bits when their rows were kept, 2**-12 each."""
_NEARLY_ALL = 0.99
"""Loaders ignore buffers such as position ids, so a copy may lack them."""
_SMALLEST = {"F16": 2.0**-24, "F8_E4M3": 2.0**-9, "F8_E5M2": 2.0**-16}
"""Smallest positive number of the formats whose underflow matters."""


@dataclass(frozen=True, slots=True)
class Sameness:
    """`relation` is IDENTICAL, REFORMATTED or None; `tier` the tier that tells (4: every byte was read)."""

    relation: Relation | None
    reason: str
    tier: int


def sameness(
    artifact: Fingerprint,
    base: Fingerprint,
    content: Evidence,
    rows: Rows,
    pairs: tuple[Pair, ...],
    *,
    whole: bool,
) -> Sameness:
    """IDENTICAL needs every value read; REFORMATTED that all sampled values agree to the rounding of the coarser format, and that
    `whole` models are compared: as many layers, and a counterpart for what has no name.
    """
    if content.value == 1.0 and content.detail.get("parameters") == content.detail.get("base_parameters"):
        if content.method == "exact" and artifact.parameters == base.parameters:
            return Sameness(Relation.IDENTICAL, "every tensor is bit-equal", 4)
        if content.method == "sampled":
            return Sameness(
                Relation.REFORMATTED, "all sampled values are bit-equal; --exact would compare every value", 2
            )
    if content.value == 1.0 and content.method == "exact" and _held(content) >= _NEARLY_ALL:
        return Sameness(
            Relation.REFORMATTED, "every tensor is bit-equal to one of the base; names or buffers differ", 4
        )
    matrices = [r for k, r in rows.items() if k.role is not Role.OTHER]
    if (
        matrices
        and whole
        and len(pairs) >= len(matrices)
        and any(p.ours.dtype != p.theirs.dtype for p in pairs)
        and all(map(_rounds, pairs))
    ):
        dtypes = sorted({f"{p.theirs.dtype} to {p.ours.dtype}" for p in pairs if p.ours.dtype != p.theirs.dtype})
        widths = [w for p in pairs for d in (p.ours.dtype, p.theirs.dtype) if (w := quantized_bits(d)) is not None]
        seen = f"; a relative change below {_QUANTIZED.get(min(widths), 0.0):g} would not be seen" if widths else ""
        return Sameness(Relation.REFORMATTED, f"all sampled values agree to rounding, {', '.join(dtypes[:3])}{seen}", 2)
    return Sameness(None, "", 2)


def _held(content: Evidence) -> float:
    """Parameters of the artifact over those of the base, constant tensors aside."""
    ours, theirs = content.detail.get("parameters"), content.detail.get("base_parameters")
    return ours / theirs if isinstance(ours, int) and isinstance(theirs, int) and theirs else 0.0


def _rounds(pair: Pair) -> bool:
    """Whether one side is the other, rounded to its format (or exactly equal, when the formats are)."""
    count = min(pair.ours.count, pair.theirs.count)
    a, b = pair.ours.top(count), pair.theirs.top(count)
    dtypes = {pair.ours.dtype, pair.theirs.dtype}
    widths = [w for d in dtypes if (w := quantized_bits(d)) is not None]
    if widths:
        return _left(a, b) <= _QUANTIZED.get(min(widths), 0.0)
    if len(dtypes) == 1:
        return bool(np.array_equal(a, b))
    if not dtypes <= _HALF_ULP.keys():
        return False
    largest = np.maximum(np.abs(a), np.abs(b))
    relative = max(_HALF_ULP[d] for d in dtypes) + _KEPT
    floor = max(_SMALLEST.get(d, 0.0) for d in dtypes) + 2.0**-23 * largest.max(axis=1, keepdims=True)
    return bool((np.abs(a - b) <= relative * largest + floor).all())


def _left(
    a: np.ndarray[tuple[int, ...], np.dtype[np.float32]], b: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
) -> float:
    """Root mean square of a - b over that of b."""
    size = float(np.sqrt(np.einsum("ij,ij->", b, b, dtype=np.float64)))
    off = a - b
    return float(np.sqrt(np.einsum("ij,ij->", off, off, dtype=np.float64))) / size if size > 0 else float("inf")
