"""How far each matrix of the artifact is from its counterpart in one parent, by layer and role, over sampled rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.interface import COMPONENT_OF_ROLE, NotMeasured
from provenance_gate.errors import FingerprintError
from provenance_gate.fingerprint.interface import Fingerprint, Json, SignalValue
from provenance_gate.fingerprint.rows import on_common_blocks
from provenance_gate.fingerprint.signals.weight_correlation import BODY, WeightCorrelation, rows_of
from provenance_gate.lineage.components import Pair, aligned_pairs
from provenance_gate.lineage.interface import Lineage
from provenance_gate.lineage.layers import Place, align_layers
from provenance_gate.lineage.matching import match_rows
from provenance_gate.tells.statistics import dip_test

Floats = NDArray[np.float64]

FLOOR = 2.0**-12
"""Kept rows are rounded to this: smaller changes are none."""
FARTHEST = 100.0
"""Changes are cut here: beside a matrix of nearly zeros everything is far."""
MOST_LAYERS = 1024
TRACED_TIER = 3


@dataclass(frozen=True, slots=True)
class Changes:
    """One parent.

    Attributes
    ----------
    places
        (stack, layer) of the artifact's layers, in order.
    sources
        The parent's layer that each is compared with.
    roles
        Roles of body matrices, sorted.
    change
        ``||X - Y|| / ||Y||`` over sampled rows, shape (layers, roles), in [0, 100]; NaN where there is no such pair.
        Independent matrices of equal norm have the square root of 2.
    correlation
        Cosine of the same rows, in [-1, 1], which a common scale does not change.
    layer_change, layer_correlation
        The same by layer, weighted by size, shape (layers,).
    aligned
        Whether `layer_correlation` is that of neurons found after alignment (the plain one shows nothing), from the lineage.
    """

    places: tuple[Place, ...]
    sources: tuple[int, ...]
    roles: tuple[str, ...]
    change: Floats
    correlation: Floats
    layer_change: Floats
    layer_correlation: Floats
    aligned: bool = False

    def related(self, least: float) -> Floats:
        """Which layers correlate with the parent's at `least` or more, shape (layers,), 0 or 1."""
        return np.asarray(self.layer_correlation >= least, dtype=np.float64)

    def modality(self) -> tuple[float, float] | None:
        """Hartigan's dip of the logarithms of the changes, each role about its median, with its p-value; None of few."""
        logs = np.log(np.maximum(self.change, FLOOR))
        columns = [c[np.isfinite(c)] for c in logs.T]
        centered = [c - np.median(c) for c in columns if len(c) > 1]
        return dip_test(np.concatenate(centered)) if centered else None

    def numbers(self) -> dict[str, Json]:
        """For a heat map: rows are layers, columns roles; null where there is no pair."""
        found = self.modality()
        return {
            "layers": [layer for _, layer in self.places],
            "stacks": [stack for stack, _ in self.places],
            "source_layers": list(self.sources),
            "roles": list(self.roles),
            "change": [_row(r) for r in self.change],
            "correlation": [_row(r) for r in self.correlation],
            "layer_change": _row(self.layer_change),
            "layer_correlation": _row(self.layer_correlation),
            "aligned": self.aligned,
            "dip": None if found is None else found[0],
            "dip_p_value": None if found is None else found[1],
        }


def _row(values: Floats) -> list[Json]:
    return [float(v) if np.isfinite(v) else None for v in values]


def measure_changes(ours: Fingerprint, parent: Fingerprint, lineage: Lineage | None = None) -> Changes | NotMeasured:
    """From the rows that fingerprints keep, layers as the plain comparison aligns them.

    Where that shows nothing and `lineage` rests on neurons found after alignment, its correlations stand for the layers'.
    """
    found = _plain_changes(ours, parent)
    if lineage is None or lineage.tier < TRACED_TIER or not isinstance(lineage.score, float):
        return found
    traced = {(m.stack, m.layer): (m.base_layer, m.correlation) for m in lineage.layers if m.base_layer is not None}
    return _with_traced(found, traced) if traced else found


def _plain_changes(ours: Fingerprint, parent: Fingerprint) -> Changes | NotMeasured:
    a, b = (f.signals.get(WeightCorrelation.name) for f in (ours, parent))
    for whose, value in (("artifact", a), ("base", b)):
        if not isinstance(value, SignalValue):
            reason = value.reason if isinstance(value, NotMeasured) else "the fingerprint keeps no rows"
            return NotMeasured(f"{whose}: {reason}")
    if not isinstance(a, SignalValue) or not isinstance(b, SignalValue) or ours.method != parent.method:
        return NotMeasured("the fingerprints were measured by different methods")
    if a.parameters != b.parameters:
        return NotMeasured("the fingerprints keep different rows")
    try:
        unnamed = a.facts.get("roles_from") == "none", b.facts.get("roles_from") == "none"
        rows, base_rows = on_common_blocks(rows_of(a), rows_of(b))
        matched, theirs = match_rows(rows, base_rows, unnamed)
    except (FingerprintError, KeyError) as error:
        return NotMeasured(f"kept rows cannot be read: {error}")
    pairs = aligned_pairs(matched.rows, theirs, align_layers(matched.rows, theirs, matched.log10_tried))
    body = [p for p in pairs if p.ours.key.layer is not None and COMPONENT_OF_ROLE.get(p.ours.key.role) in BODY]
    if not body:
        return NotMeasured("no attention or feed-forward matrix has a counterpart of the same shape")
    return _tabled(body)


def _tabled(pairs: list[Pair]) -> Changes:
    cells: dict[tuple[Place, str], list[Pair]] = {}
    sources: dict[Place, int] = {}
    for pair in pairs:
        key = pair.ours.key
        place = key.stack, key.layer or 0
        cells.setdefault((place, key.role.value), []).append(pair)
        sources.setdefault(place, pair.theirs.key.layer or 0)
    places = tuple(sorted(sources))[:MOST_LAYERS]
    roles = tuple(sorted({role for _, role in cells}))
    change, cosine = np.full((len(places), len(roles)), np.nan), np.full((len(places), len(roles)), np.nan)
    size = np.zeros_like(change)
    for i, place in enumerate(places):
        for j, role in enumerate(roles):
            found = cells.get((place, role))
            if found:
                weights = [p.size for p in found]
                change[i, j] = np.average([_relative_change(p) for p in found], weights=weights)
                cosine[i, j] = np.average([p.correlation for p in found], weights=weights)
                size[i, j] = sum(weights)
    total = size.sum(axis=1)
    by_layer = [np.nansum(v * size, axis=1) / total for v in (change, cosine)]
    return Changes(places, tuple(sources[p] for p in places), roles, change, cosine, by_layer[0], by_layer[1])


def _relative_change(pair: Pair) -> float:
    count = min(pair.ours.count, pair.theirs.count)
    x, y = (r.top(count).astype(np.float64) for r in (pair.ours, pair.theirs))
    scale = float(np.sqrt(np.einsum("ij,ij->", y, y)))
    away = float(np.sqrt(np.einsum("ij,ij->", x - y, x - y)))
    return min(FARTHEST, away / scale) if scale > 0 else FARTHEST


def _with_traced(
    plain: Changes | NotMeasured, traced: Mapping[Place, tuple[int | None, float]]
) -> Changes | NotMeasured:
    if isinstance(plain, NotMeasured):
        places = tuple(sorted(traced))[:MOST_LAYERS]
        empty = np.full((len(places), 0), np.nan)
        correlation = np.array([traced[p][1] for p in places])
        change = np.sqrt(np.maximum(0.0, 2.0 - 2.0 * correlation))
        sources = tuple(traced[p][0] or 0 for p in places)
        return Changes(places, sources, (), empty, empty, change, correlation, aligned=True)
    correlation = plain.layer_correlation.copy()
    best, aligned = list(plain.sources), False
    for i, place in enumerate(plain.places):
        source, value = traced.get(place, (None, 0.0))
        if source is not None and value > correlation[i]:
            correlation[i], best[i], aligned = value, source, True
    # Of unit vectors: norms of neurons found after alignment are not kept.
    change = np.where(
        correlation > plain.layer_correlation, np.sqrt(np.maximum(0.0, 2.0 - 2.0 * correlation)), plain.layer_change
    )
    return replace(plain, sources=tuple(best), layer_change=change, layer_correlation=correlation, aligned=aligned)
