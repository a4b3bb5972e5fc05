"""Small formulas that several signals share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from provenance_gate.errors import UndefinedSignalError


def cosine(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Cosine of two vectors of equal length, in [-1, 1]. Raises UndefinedSignalError for a zero or non-finite vector."""
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    # Not x @ y: BLAS would wake its threads for a few microseconds of work, and wait for them on a busy machine.
    scale = float(np.sqrt(_dot(x, x) * _dot(y, y)))
    if not np.isfinite(scale) or scale <= 0.0:
        raise UndefinedSignalError("the cosine of a zero or non-finite vector has no value")
    return float(np.clip(_dot(x, y) / scale, -1.0, 1.0))


def _dot(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    return float(np.einsum("i,i->", x, y))


def pearson(a: NDArray[np.floating], b: NDArray[np.floating], floor: float = 1e-8) -> float:
    """Pearson correlation, in [-1, 1]. Raises UndefinedSignalError when a standard deviation is below `floor`."""
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if len(x) < 2 or not (float(x.std()) >= floor and float(y.std()) >= floor):
        raise UndefinedSignalError("the correlation of a constant or non-finite vector has no value")
    return cosine(x - x.mean(), y - y.mean())


def along_strongest(x: NDArray[np.floating], y: NDArray[np.floating], count: int = 4) -> float | None:
    """Cosine of x and y, both (n, k), along the `count` directions in which y is strongest, in [-1, 1]; None where either has
    nothing there. Training makes few directions strong, and a common random start does not share them.
    """
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    _, vectors = np.linalg.eigh(b @ b.T)
    # From the row space: y^T u is orthogonal for different eigenvectors u, and as long as its singular value.
    directions = b.T @ vectors[:, -count:]
    directions /= np.maximum(np.linalg.norm(directions, axis=0), 1e-30)
    p, q = a @ directions, b @ directions
    scale = float(np.sqrt((p * p).sum() * (q * q).sum()))
    return float((p * q).sum()) / scale if scale > 0 else None


def to_unit(correlation: float) -> float:
    """(r + 1) / 2, the reference system's map of [-1, 1] to [0, 1]."""
    return (correlation + 1.0) / 2.0
