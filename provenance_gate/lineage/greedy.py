"""The best one-to-one pairs of matrices by the cosine of their rows, in bounded time and memory."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from provenance_gate.fingerprint.rows import KeptRows

MATCH_FLOOR = 0.1
"""Smallest cosine that names a tensor. The largest of 100 cosines of independent rows of 12288 values is below 0.04."""
_NOISE = 6.5
"""Standard deviations that chance stays below among 1e8 pairs; the floor rises to it where few values are compared."""
_WORK = 2e11
"""Multiplications at most: a few seconds. Of more pairs fewer values are compared, 2048 at least."""
_FEWEST_VALUES = 2048
_CANDIDATES = 64
"""Best partners kept a matrix. Only of more than so many equal ones (copies of an expert) some can stay without."""
_BLOCK = 256


def best_pairs(ours: list[KeptRows], theirs: list[KeptRows], floor: float) -> list[tuple[int, int]]:
    """Pairs (i, j), greatest cosine first, each index once; none below `floor`.

    All rows must be of one shape and start at the same one.
    """
    count = min(r.count for r in (*ours, *theirs))
    limit = max(_FEWEST_VALUES, int(_WORK / (len(ours) * len(theirs))))
    x, y = (np.stack([_unit(r.top(count), limit) for r in rows]) for rows in (ours, theirs))
    if x.shape[1] >= _FEWEST_VALUES or ours[0].window is not None:
        floor = max(floor, _NOISE / math.sqrt(x.shape[1]))
    scores: list[NDArray[np.float32]] = []
    places: list[NDArray[np.int64]] = []
    for start in range(0, len(x), _BLOCK):
        cosines = x[start : start + _BLOCK] @ y.T
        hits = cosines >= floor
        if cosines.shape[1] > _CANDIDATES:
            hits &= cosines >= np.partition(cosines, -_CANDIDATES, axis=1)[:, -_CANDIDATES, None]
            hits &= np.cumsum(hits, axis=1) <= 2 * _CANDIDATES
        row, column = np.nonzero(hits)
        scores.append(cosines[row, column])
        places.append((row + start) * len(y) + column)
    return _chosen(np.concatenate(scores), np.concatenate(places), len(y))


def _chosen(scores: NDArray[np.float32], places: NDArray[np.int64], width: int) -> list[tuple[int, int]]:
    pairs: list[tuple[int, int]] = []
    rows: set[int] = set()
    columns: set[int] = set()
    for place in places[np.argsort(-scores, kind="stable")]:
        i, j = divmod(int(place), width)
        if i not in rows and j not in columns:
            pairs.append((i, j))
            rows.add(i)
            columns.add(j)
    return pairs


def _unit(values: NDArray[np.float32], limit: int) -> NDArray[np.float32]:
    flat = values.reshape(-1)[:limit]
    norm = float(np.sqrt(np.einsum("i,i->", flat, flat, dtype=np.float64)))
    return flat / np.float32(norm) if norm > 0 else flat
