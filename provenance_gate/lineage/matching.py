"""Give unnamed tensors a place: by content where the other model's names are known, by shapes and order where neither's are.

By content: each unnamed matrix is compared with every matrix of the base that has its shape; the best is taken, and the number
of choices is paid for in the p-value (`log10_tried`). By shapes (`shapes.py`) nothing is chosen by values, so nothing is paid.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from provenance_gate.artifact.interface import Role, TensorKey
from provenance_gate.fingerprint.rows import KeptRows
from provenance_gate.lineage.greedy import MATCH_FLOOR, best_pairs
from provenance_gate.lineage.shapes import Placed, place_by_shapes

Rows = Mapping[TensorKey, KeptRows]


@dataclass(frozen=True, slots=True)
class ContentMatch:
    """`rows`: the artifact's rows under the base's keys where matched, under their own where not; `unmatched`: share of
    the unnamed parameters that found no place, in [0, 1]; `roles_from`: what the roles rest on where it is not names, in words;
    `numbered`: whether the numbers of the layers are those of the models.
    """

    rows: Rows
    log10_tried: float
    unmatched: float
    roles_from: str = ""
    numbered: bool = True


def match_rows(artifact: Rows, base: Rows, unnamed: tuple[bool, bool]) -> tuple[ContentMatch, Rows]:
    """Rows of both sides under common keys.

    Parameters
    ----------
    unnamed
        Whether no table of names fits the artifact, the base. A side with names of which some say nothing is not unnamed:
        what stands beside a named body is nothing that a loader would run.
    """
    ours, theirs = unnamed
    if ours and theirs:
        placed = place_by_shapes(artifact, base)
        if placed is not None:
            how = f"roles from shapes and order, layers numbered by {_NUMBERED_BY[placed.layers_from]}"
            match = ContentMatch(placed.artifact, 0.0, _beside(placed), how, placed.layers_from == "names")
            return match, placed.base
    if ours:
        return replace(match_by_content(artifact, base), roles_from="roles by content"), base
    if theirs:
        turned = match_by_content(base, artifact)
        return ContentMatch(artifact, turned.log10_tried, 0.0, "roles by content"), turned.rows
    return ContentMatch(artifact, 0.0, 0.0), base


_NUMBERED_BY = {"names": "their names", "order": "order"}
_TABLES = 2
"""Matrices of one shape that may be embedding tables."""
_DEEPEST = 1.75
"""Known models grown in depth have at most 1.5 times the layers of their base."""


def _beside(placed: Placed) -> float:
    """Share of the artifact's matrices that are no part of a body like the base's, in [0, 1]: a second body, say.

    Which tensors code that nobody knows would run cannot be told, so what is there beside counts against the whole.
    """
    left = Counter(r.shape for k, r in placed.artifact.items() if k.role is Role.OTHER)
    lost = sum(float(count) * math.prod(shape) for shape, count in left.items() if count > _TABLES)
    ours, theirs = (_placed_size(rows) for rows in (placed.artifact, placed.base))
    second = 1.0 - theirs / ours if ours > _DEEPEST * theirs else 0.0
    return max(second, lost / (lost + ours))


def _placed_size(rows: Rows) -> float:
    return sum(float(math.prod(r.shape)) for k, r in rows.items() if k.role is not Role.OTHER)


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
        for i, j in best_pairs([artifact[k] for k in ours], [base[k] for k in theirs], MATCH_FLOOR):
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
