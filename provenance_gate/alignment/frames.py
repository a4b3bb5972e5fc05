"""Frames: coordinates in which rows of the artifact and of the base can be compared, whatever was done to the residual stream.

The embeddings of shared tokens show what was done. If each coordinate of one table correlates with one coordinate of the
other, the stream was permuted (and some signs flipped). If not, an orthogonal map may still carry one table to the other:
for narrow models it is found whole (orthogonal Procrustes [1]_); for wide ones only on the span of 256 tokens, whose
orthonormal form by Löwdin [2]_ turns with the embeddings, so that both models get the same coordinates without the map.

Frames rest on embeddings alone. Neurons and heads do not enter, so permuting those of one model stays exchangeable.

References
----------
.. [1] Schönemann, "A generalized solution of the orthogonal Procrustes problem", Psychometrika 31 (1966).
.. [2] Löwdin, "On the Non-Orthogonality Problem", Adv. Quantum Chem. 5 (1970), section 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from provenance_gate.alignment.interface import FrameFacts, FrameKind, VocabularyFacts
from provenance_gate.alignment.tokens import SharedEmbeddings
from provenance_gate.artifact.interface import CanonicalTensor, Lies, NotMeasured
from provenance_gate.artifact.sources.ahead import blocks, rows_ahead
from provenance_gate.artifact.sources.coalesce import WIDE_GAP

Array = NDArray[np.float32]

MAX_COORDINATES = 512
"""Independent vectors have cosines of 0.044 here: the largest of 14 000 stays below 0.2."""
SPAN = 256
"""Tokens whose span wide models are compared on: projecting on it is most of the work, and cosines of 0.06 are little enough."""
WHOLE_MAP = 1024
"""Up to this hidden size the orthogonal map is found whole."""
FEWEST_TOKENS = 32
COLUMN_CORRELATION, COLUMN_SHARE = 0.4, 0.8
"""A permutation is accepted when this share of the coordinates pair up one to one with at least this correlation."""
FIRST_LOOK = 256
"""Tokens that show whether the embeddings have anything in common; only then are more read."""
LEAST_AGREEMENT = 0.1
"""Tables whose tokens lie less alike, or frames in which held-out tokens agree less, are not worth trying."""
RIDGE = 1e-3
"""Added to the eigenvalues of the Gram matrix of unit rows, whose mean is 1: keeps nearly equal tokens from dominating."""
_HELD_OUT = 256
_COLUMNS = 1024
_BLOCK = 1 << 22
"""Elements read at a time; only saves memory."""


@dataclass(frozen=True, slots=True)
class Basis:
    """Coordinates of vectors of width d: either chosen entries with signs, or projections on the columns of `matrix` (d, k)."""

    index: NDArray[np.int64] | None
    sign: Array | None
    matrix: Array | None

    def of_rows(
        self, tensor: CanonicalTensor, first: int, stop: int, gain: Array | None, count: int = MAX_COORDINATES
    ) -> Array:
        """Rows [first, stop) of a reading matrix (n, d), times its norm's gain, in the first `count` coordinates."""
        parts = []
        step = max(1, _BLOCK // tensor.shape[1])
        for rows in blocks(tensor, first, stop, step):
            folded = rows if gain is None or len(gain) != rows.shape[1] else rows * gain
            parts.append(self._coordinates(folded, count))
        return np.concatenate(parts)

    def of_columns(self, tensor: CanonicalTensor, columns: slice | NDArray[np.int64], count: int) -> Array:
        """Columns of a writing matrix (d, n) in the first `count` coordinates; shape (columns, count)."""
        if self.matrix is None and self.index is not None and self.sign is not None:
            picked = self.index[:count]
            if tensor.lies is not Lies.ROWS and isinstance(columns, slice):
                # Of a turned matrix some columns cost less than one row.
                wanted = range(*columns.indices(tensor.shape[1]))
                rows = tensor.read_block(range(tensor.shape[0]), wanted)[picked]
                return np.ascontiguousarray((rows * self.sign[:count, None]).T)
            rows_ahead(tensor, picked.tolist(), gap=WIDE_GAP)
            rows = np.stack([tensor.read_rows(int(i), int(i) + 1)[0, columns] for i in picked])
            return np.ascontiguousarray((rows * self.sign[:count, None]).T)
        assert self.matrix is not None
        total: Array | None = None
        step = max(1, _BLOCK // tensor.shape[1])
        start = 0
        for block in blocks(tensor, 0, tensor.shape[0], step):
            part = block[:, columns].T @ self.matrix[start : start + len(block), :count]
            total = part if total is None else total + part
            start += len(block)
        assert total is not None
        return total

    def _coordinates(self, rows: Array, count: int) -> Array:
        if self.matrix is not None:
            return rows @ self.matrix[:, :count]
        assert self.index is not None and self.sign is not None
        return rows[:, self.index[:count]] * self.sign[:count]


@dataclass(frozen=True, slots=True)
class Frame:
    """A basis for each model, of equal length."""

    facts: FrameFacts
    ours: Basis
    theirs: Basis


def find_frames(shared: SharedEmbeddings | NotMeasured, hidden: int, base_hidden: int) -> tuple[Frame, ...]:
    """The frames worth trying, best first; empty when the embeddings show none and the widths differ."""
    count = 0 if isinstance(shared, NotMeasured) else shared.count
    facts = FrameFacts(FrameKind.SAME, count, NotMeasured("too few shared tokens with embeddings to compare"))
    unknown = (_same(facts, hidden),) if hidden == base_hidden else ()
    if isinstance(shared, NotMeasured) or shared.count < FEWEST_TOKENS or shared.widths != (hidden, base_hidden):
        return unknown
    x, y = (_centered(v) for v in shared.rows(FIRST_LOOK))
    if len(x) < FEWEST_TOKENS:
        return unknown
    alike = _arrangement(x, y) >= LEAST_AGREEMENT
    if hidden != base_hidden:
        x, y = (_centered(v) for v in shared.rows()) if alike else (x, y)
        rotated = _rotated(x, y, shared) if alike else None
        return (rotated,) if rotated else ()
    same = _same(FrameFacts(FrameKind.SAME, shared.count, _agreement(x, y), shared.reordered), hidden)
    straight = np.einsum("ij,ij->j", _unit(x.T).T, _unit(y.T).T)
    if not alike or (straight >= COLUMN_CORRELATION).mean() >= COLUMN_SHARE:
        return (same,)
    x, y = (_centered(v) for v in shared.rows())
    other = _permuted(x, y, shared) or _rotated(x, y, shared)
    return (other, same) if other else (same,)


def compare_vocabularies(shared: SharedEmbeddings | NotMeasured) -> VocabularyFacts | NotMeasured:
    """How alike the embeddings of shared tokens are, in the coordinates that both models use."""
    if isinstance(shared, NotMeasured):
        return shared
    if shared.widths[0] != shared.widths[1]:
        return NotMeasured("embeddings of different widths")
    x, y = (_centered(v) for v in shared.rows(FIRST_LOOK))
    if len(x) < FEWEST_TOKENS:
        return NotMeasured(f"only {len(x)} tokens in common, {FEWEST_TOKENS} are needed")
    return VocabularyFacts(shared.count, *shared.sizes, shared.reordered, _agreement(x, y))


def _same(facts: FrameFacts, hidden: int) -> Frame:
    index = _spread(hidden)
    basis = Basis(index, np.ones(len(index), np.float32), None)
    return Frame(facts, basis, basis)


def _arrangement(x: Array, y: Array) -> float:
    """Correlation in [-1, 1] of the cosines between tokens in the two tables: no orthogonal map changes it."""
    upper = np.triu_indices(len(x), 1)
    a, b = (_unit(v) @ _unit(v).T for v in (x, y))
    return _agreement(*((v[upper] - v[upper].mean())[None] for v in (a, b)))


def _permuted(x: Array, y: Array, shared: SharedEmbeddings) -> Frame | None:
    """Each coordinate of the base with the coordinate of the artifact that it became, if nearly all have one."""
    to, back, correlation = _column_matches(x, y)
    good = (back[to] == np.arange(len(to))) & (np.abs(correlation) >= COLUMN_CORRELATION)
    if good.mean() < COLUMN_SHARE:
        return None
    theirs = np.flatnonzero(good)
    theirs = theirs[_spread(len(theirs))]
    ours = to[theirs]
    sign = np.where(correlation[theirs] < 0, -1.0, 1.0).astype(np.float32)
    agreement = _agreement(x[:, ours] * sign, y[:, theirs])
    flipped = bool((sign < 0).any())
    facts = FrameFacts(FrameKind.PERMUTED, shared.count, agreement, shared.reordered, flipped)
    return Frame(facts, Basis(ours, sign, None), Basis(theirs, np.ones_like(sign), None))


def _rotated(x: Array, y: Array, shared: SharedEmbeddings) -> Frame | None:
    held = min(_HELD_OUT, len(x) // 8)
    fit, rest = slice(held, None), slice(0, held)
    if max(x.shape[1], y.shape[1]) <= WHOLE_MAP:
        index = _spread(x.shape[1])
        u, _, vt = np.linalg.svd(y[fit].T @ x[fit], full_matrices=False)
        matrix = np.ascontiguousarray((u @ vt)[:, index])
        ours, theirs = Basis(index, np.ones(len(index), np.float32), None), Basis(None, None, matrix)
        pair = x[rest][:, index], y[rest] @ matrix
    else:
        count = min(SPAN, min(x.shape[1], y.shape[1]) // 2, len(x) - held)
        a, b = _loewdin(x[fit][:count]), _loewdin(y[fit][:count])
        ours, theirs = Basis(None, None, a), Basis(None, None, b)
        pair = x[rest] @ a, y[rest] @ b
    agreement = _agreement(*pair)
    if not agreement >= LEAST_AGREEMENT:
        return None
    return Frame(FrameFacts(FrameKind.ROTATED, shared.count, agreement, shared.reordered), ours, theirs)


def _loewdin(anchors: Array) -> Array:
    """Orthonormal columns (d, k) that span the k anchor rows and turn with them: A^T (A A^T + ridge)^(-1/2)."""
    unit = _unit(anchors)
    values, vectors = np.linalg.eigh((unit @ unit.T).astype(np.float64))
    root = (vectors / np.sqrt(np.maximum(values, 0.0) + RIDGE)) @ vectors.T
    return np.ascontiguousarray(unit.T @ root.astype(np.float32))


def _unit(rows: Array) -> Array:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30), dtype=np.float32)


def _spread(count: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, count - 1, min(count, MAX_COORDINATES)).astype(np.int64))


def _centered(rows: Array) -> Array:
    if not len(rows):
        return rows
    return np.asarray(rows - rows.mean(axis=0, dtype=np.float64).astype(np.float32), dtype=np.float32)


def _column_matches(x: Array, y: Array) -> tuple[NDArray[np.int64], NDArray[np.int64], Array]:
    """For every column of y the column of x that correlates most with it, for every column of x that of y, and the
    correlations of the first; in blocks, for hidden sizes whose square would not fit.
    """
    a, b = _unit(x.T), _unit(y.T)
    to, correlation = np.empty(len(b), np.int64), np.empty(len(b), np.float32)
    back, strongest = np.zeros(len(a), np.int64), np.zeros(len(a), np.float32)
    for start in range(0, len(b), _COLUMNS):
        block = a @ b[start : start + _COLUMNS].T
        strength = np.abs(block)
        stop, at = start + block.shape[1], np.arange(block.shape[1])
        to[start:stop] = strength.argmax(axis=0)
        correlation[start:stop] = block[to[start:stop], at]
        best = strength.argmax(axis=1)
        value = strength[np.arange(len(a)), best]
        stronger = value > strongest
        back[stronger], strongest[stronger] = start + best[stronger], value[stronger]
    return to, back, correlation


def _agreement(x: Array, y: Array) -> float:
    """Mean cosine of corresponding rows; rows of zeros count as 0."""
    dots = np.einsum("ij,ij->i", x, y, dtype=np.float64)
    norms = np.sqrt(np.einsum("ij,ij->i", x, x, dtype=np.float64) * np.einsum("ij,ij->i", y, y, dtype=np.float64))
    return float(np.divide(dots, norms, out=np.zeros_like(dots), where=norms > 0).mean())
