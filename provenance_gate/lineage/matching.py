"""Give unnamed tensors a place by their content: for artifacts whose tensor names were changed.

Each unnamed matrix is compared with every matrix of the base that has its shape; the best is taken, and the number of
choices is paid for in the p-value (`log10_tried`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.interface import Role, TensorKey
from provenance_gate.fingerprint.rows import KeptRows

Rows = Mapping[TensorKey, KeptRows]

MATCH_FLOOR = 0.1
"""Smallest cosine that names a tensor. The largest of 100 cosines of independent rows of 12288 values is below 0.04."""


@dataclass(frozen=True, slots=True)
class ContentMatch:
    """`rows`: the artifact's rows under the base's keys where matched, under their own where not; `unmatched`: share of
    the unnamed parameters that found no place, in [0, 1].
    """

    rows: Rows
    log10_tried: float
    unmatched: float


def match_by_content(artifact: Rows, base: Rows) -> ContentMatch:
    """Match the artifact's OTHER matrices to the base's named ones, one to one, greatest cosine first."""
    taken = {key for key in artifact if key.role is not Role.OTHER}
    unnamed = _by_form(artifact, lambda key: key.role is Role.OTHER)
    named = _by_form(base, lambda key: key.role is not Role.OTHER and key not in taken)
    renamed: dict[TensorKey, TensorKey] = {}
    tried = 0.0
    for form, ours in unnamed.items():
        theirs = named.get(form, [])
        if not theirs:
            continue
        cosines = _cosines([artifact[k] for k in ours], [base[k] for k in theirs])
        for i, j in _greedy(cosines):
            renamed[ours[i]] = theirs[j]
            tried += math.log10(len(theirs))
    rows = {renamed.get(k, k): replace(r, key=renamed.get(k, k)) for k, r in artifact.items()}
    sizes = {k: float(artifact[k].shape[0]) * artifact[k].shape[1] for ks in unnamed.values() for k in ks}
    lost = sum(size for k, size in sizes.items() if k not in renamed)
    return ContentMatch(rows, tried, lost / sum(sizes.values()) if sizes else 0.0)


def _by_form(rows: Rows, wanted: object) -> dict[tuple[object, ...], list[TensorKey]]:
    forms: dict[tuple[object, ...], list[TensorKey]] = {}
    for key, kept in rows.items():
        if callable(wanted) and wanted(key):
            forms.setdefault((kept.shape, kept.first), []).append(key)
    return forms


def _cosines(ours: list[KeptRows], theirs: list[KeptRows]) -> NDArray[np.float64]:
    count = min(len(r.values) for r in (*ours, *theirs))
    x, y = (np.stack([_unit(r.values[:count]) for r in rows]) for rows in (ours, theirs))
    return np.asarray(x @ y.T, dtype=np.float64)


def _unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    flat = values.reshape(-1)
    norm = float(np.sqrt(np.einsum("i,i->", flat, flat, dtype=np.float64)))
    return flat / np.float32(norm) if norm > 0 else flat


def _greedy(cosines: NDArray[np.float64]) -> list[tuple[int, int]]:
    left = cosines.copy()
    chosen: list[tuple[int, int]] = []
    for _ in range(min(left.shape)):
        i, j = divmod(int(left.argmax()), left.shape[1])
        if left[i, j] < MATCH_FLOOR:
            break
        chosen.append((i, j))
        left[i, :], left[:, j] = -np.inf, -np.inf
    return chosen
