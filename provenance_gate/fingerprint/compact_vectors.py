"""The vectors that a sketch is made of, from a stored fingerprint alone.

``feed_forward``
    First rows of the matrices that write the FFN's output, experts included, scaled to one size, clipped at three standard
    deviations and summed over layers. The sum does not know the order of layers, so dropping, repeating or reordering some
    keeps a correlation of the root of the share that is left, and copying an FFN to experts keeps all of it.
``attention``
    The same of q, k, v and o.
``geometry``
    Inverse cosines of the anchor embeddings. A rotation or permutation of the residual stream, another width and all that is
    done behind the table leave them; whoever takes over the table shares them too. Cosines themselves agree between strangers
    of one language (0.5 and more); their regularized inverse, the partial correlations, at 0.2 to 0.5.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.anchors import ANCHOR_COUNT
from provenance_gate.artifact.interface import Role
from provenance_gate.errors import FingerprintError
from provenance_gate.fingerprint.interface import Fingerprint, SignalValue
from provenance_gate.fingerprint.plan import MAX_ROWS
from provenance_gate.fingerprint.rows import window_of

Vector = NDArray[np.float64]

_LIMIT = 3.76
"""Values are clipped at so many times the mean magnitude of their row, three standard deviations of a normal one: a huge neuron
at the same place in two models would make them agree."""
_ROUNDS = 3
_OUTPUT_VALUES, _ATTENTION_VALUES = 8192, 4096
"""Values taken of each matrix: the sampling plan reads no fewer, of experts neither."""
_ANCHORS = 32
"""The first ones are digits, marks and words, found by their strings: other ids or a longer table keep them. Later ones are a
draw of ids."""
_RIDGE = 0.03
"""Added to the anchors' cosine matrix before it is inverted. Chosen on the benchmark's fit split, flat from 0.01 to 0.1."""
_OUTPUT = (Role.FFN_DOWN, Role.EXPERT_DOWN)
_ATTENTION = (Role.ATTENTION_Q, Role.ATTENTION_K, Role.ATTENTION_V, Role.ATTENTION_O)
_ROWS = "weight_correlation"


def part_vectors(fingerprint: Fingerprint) -> dict[str, tuple[str, Vector]]:
    """By part, the form of the vector and its values, finite; those of unequal form are not comparable. Nothing, or zeros, where
    the model has no such weights.

    Raises
    ------
    FingerprintError
        A stored value is not of the form that `measure` writes.
    """
    vectors = {}
    rows = fingerprint.signals.get(_ROWS)
    if isinstance(rows, SignalValue):
        plan = f"{rows.parameters.get('plan')}:{rows.parameters.get('seed')}"
        stored = list(_stored_rows(rows))
        vectors["feed_forward"] = _pooled([_feed_forward(stored)], _OUTPUT_VALUES, plan)
        attention = [[r for r in stored if r.role is role] for role in _ATTENTION]
        vectors["attention"] = _pooled(attention, _ATTENTION_VALUES, plan)
    anchors = fingerprint.signals.get("eas")
    if isinstance(anchors, SignalValue):
        vectors["geometry"] = _geometry(anchors)
    return vectors


@dataclass(frozen=True, slots=True)
class _Rows:
    """First rows of one matrix as stored, or a window of their columns: each in a scale of its own, float16."""

    role: Role
    shape: tuple[int, int]
    first: int
    values: NDArray[np.float16]
    window: range | None

    @property
    def form(self) -> tuple[int, ...]:
        """What two matrices must have in common to be compared."""
        return (*self.shape, self.first, *((self.window.start, self.window.stop) if self.window else ()))

    def cut(self, wanted: int) -> NDArray[np.float64] | None:
        """About `wanted` values from the beginning; None where the fingerprint holds fewer rows than that takes."""
        count = min(MAX_ROWS, self.shape[0], -(-wanted // self.values.shape[1]))
        return self.values[:count, :wanted].astype(np.float64) if len(self.values) >= count else None


def _stored_rows(signal: SignalValue) -> Iterator[_Rows]:
    """The rows of matrices that a part may need. Exponents are passed over: rows are brought to one size anyway."""
    values, table = signal.arrays.get("values"), signal.facts.get("tensors")
    if values is None or values.dtype != np.float16 or values.ndim != 1 or not isinstance(table, list):
        raise FingerprintError(f"{_ROWS}: expected a table of tensors and their rows in half precision")
    wanted = {r.value: r for r in (*_OUTPUT, *_ATTENTION, Role.OTHER)}
    at = 0
    for entry in table:
        match entry:
            case {"role": str(role), "shape": [int(rows), int(columns)], "first": int(first), "rows": int(count)} if (
                0 < count <= min(rows, MAX_ROWS) and columns > 0 and 0 <= first <= rows - count
            ):
                window = window_of(entry, (rows, columns))
                size = count * (columns if window is None else len(window))
            case _:
                raise FingerprintError(f"{_ROWS}: an entry of the tensor table is malformed")
        if at + size > len(values):
            raise FingerprintError(f"{_ROWS}: the table lists more rows than are stored")
        if role in wanted:
            yield _Rows(wanted[role], (rows, columns), first, values[at : at + size].reshape(count, -1), window)
        at += size


def _feed_forward(stored: Sequence[_Rows]) -> list[_Rows]:
    """The matrices that write the FFN's output. Where no name tells which: the unnamed ones with more columns than rows, of
    which `_pooled` takes those of the form that most parameters have.
    """
    named = [r for r in stored if r.role in _OUTPUT]
    return named or [r for r in stored if r.role is Role.OTHER and r.shape[0] < r.shape[1]]


def _pooled(groups: Sequence[Sequence[_Rows]], wanted: int, plan: str) -> tuple[str, Vector]:
    """Sum of the matrices of each group, one after the other; of one form a group, that which most parameters have."""
    forms, vectors = [plan], []
    for group in groups:
        by_form: dict[tuple[int, ...], list[_Rows]] = {}
        for rows in group:
            by_form.setdefault(rows.form, []).append(rows)
        form = max(by_form, key=lambda f: (len(by_form[f]) * f[0] * f[1], f), default=None)
        held = [cut for r in by_form[form] if (cut := r.cut(wanted)) is not None] if form else []
        forms.append("x".join(map(str, form)) if form and held else "-")
        if held:
            vectors.append(_unit(_sum(held).reshape(-1)))
    return ",".join(forms), np.concatenate(vectors) if vectors else np.empty(0)


def _sum(matrices: Sequence[Vector]) -> Vector:
    """Of rows brought to one size and clipped.

    The size is the mean of magnitudes, of which those beyond the limit count as the limit, found in `_ROUNDS` steps: a standard
    deviation would follow one huge value, and clipping in its terms would leave nothing but that.
    """
    total = np.zeros(matrices[0].shape)
    for rows in matrices:
        if not np.isfinite(rows).all():
            raise FingerprintError(f"{_ROWS}: a stored row holds NaN or infinity")
        sizes = np.abs(rows)
        limit = _LIMIT * sizes.mean(axis=1, keepdims=True)
        for _ in range(_ROUNDS):
            limit = _LIMIT * np.minimum(sizes, limit).mean(axis=1, keepdims=True)
        total += np.divide(np.clip(rows, -limit, limit), limit, out=np.zeros_like(rows), where=limit > 0)
    return total


def _unit(vector: Vector) -> Vector:
    size = float(np.sqrt((vector * vector).sum()))
    return vector / size if size > 0 else vector


def _geometry(anchors: SignalValue) -> tuple[str, Vector]:
    """Partial correlations of the first 32 anchors without the mean of each, shape (496,). Empty for fewer anchors."""
    cosines = anchors.arrays.get("similarity")
    if cosines is None or cosines.ndim != 2 or cosines.shape[0] != cosines.shape[1] or len(cosines) > ANCHOR_COUNT:
        raise FingerprintError(f"eas: expected a square matrix of the cosines of at most {ANCHOR_COUNT} anchors")
    if not np.isfinite(cosines).all():
        raise FingerprintError("eas: a stored cosine is NaN or infinite")
    form, count = str(_ANCHORS), _ANCHORS
    if len(cosines) < count:
        return form, np.empty(0)
    matrix = cosines[:count, :count].astype(np.float64)
    strengths, directions = np.linalg.eigh((matrix + matrix.T) / 2.0)
    inverse = (directions / (np.maximum(strengths, 0.0) + _RIDGE)) @ directions.T
    scale = np.sqrt(np.diag(inverse))
    partial = -inverse / scale / scale[:, None]
    np.fill_diagonal(partial, 0.0)
    mean = partial.sum() / (count * (count - 1))
    effects = (partial.sum(axis=1) - (count - 1) * mean) / (count - 2)
    residual = (partial - mean - effects - effects[:, None])[np.triu_indices(count, 1)]
    # An empty table has partial correlations of rounding error.
    return form, residual if float(np.abs(residual).max()) > 1e-9 else np.empty(0)
