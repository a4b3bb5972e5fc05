"""Which layer of the base each layer of the artifact comes from, tested over the neurons of the feed-forward blocks.

A layer without such a block is tested over the inner channels of its state-space mixer, where it has one (`mixer_writers`).

Two maps are tried: the same layer numbers, and for every artifact layer the base layer that fits it best. The p-value of the
second pays for all maps that it chose from (every base layer for every artifact layer), and of both for there being two. So
dropped, repeated, inserted and reordered layers cost a little power and no false positives.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from provenance_gate.artifact.architectures.mixers import MIXER
from provenance_gate.artifact.interface import Role, TensorKey
from provenance_gate.fingerprint.permutation import (
    PairStatistics,
    PermutationTest,
    Writer,
    combined_test,
    log10_normal_tail,
    pair_statistics,
)
from provenance_gate.fingerprint.rows import KeptRows

Rows = Mapping[TensorKey, KeptRows]
Place = tuple[str, int]
"""(stack, layer)."""

LAYER_LOG10_P = -4.0
"""A single layer counts as dependent at this p-value, corrected for the base layers it was compared to."""


@dataclass(frozen=True, slots=True)
class RowsWriter:
    """The sampled rows of one or several output matrices as a writer (S, R, D), put together each time it is looked at.

    `heads`: 0 where each matrix is a stratum; else the one matrix is cut into heads of `width` from its column `left` on.
    """

    parts: tuple[KeptRows, ...]
    rows: int
    heads: int = 0
    width: int = 0
    left: int = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """(S, R, D)."""
        return (self.heads, self.rows, self.width) if self.heads else (len(self.parts), self.rows, self.parts[0].width)

    @property
    def mixture(self) -> bool:
        """Whether the strata are experts."""
        return self.parts[0].key.role is Role.EXPERT_DOWN

    @property
    def names(self) -> frozenset[str]:
        """What tells the strata apart; of a dense block one that has no name."""
        return frozenset(p.key.part for p in self.parts) if self.mixture or len(self.parts) > 1 else frozenset([""])

    def only(self, names: frozenset[str]) -> RowsWriter:
        """Only these strata, in their order."""
        return self if names == self.names else replace(self, parts=tuple(p for p in self.parts if p.key.part in names))

    def top(self, rows: int) -> RowsWriter:
        """Only the first rows."""
        return replace(self, rows=rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Writer:
        values = [p.top(self.rows) for p in self.parts]
        if not self.heads:
            return np.stack(values)
        whole = values[0][:, self.left : self.left + self.heads * self.width]
        return np.ascontiguousarray(whole.reshape(len(whole), self.heads, self.width).transpose(1, 0, 2))


Writers = Mapping[Place, RowsWriter]


@dataclass(frozen=True, slots=True)
class LayerAlignment:
    """`mapping`: for each artifact layer the base layer it is compared with; `dependent`: those that the test shows alone.

    `test` is over all mapped layers together. `renumbered`: the best-fitting map was better than equal numbers.
    """

    mapping: Mapping[Place, Place]
    dependent: frozenset[Place]
    total: int
    test: PermutationTest
    renumbered: bool


@dataclass(frozen=True, slots=True)
class _Group:
    """Layers of one stack whose writers have one shape."""

    ours: tuple[Place, ...]
    theirs: tuple[Place, ...]
    pairs: PairStatistics

    def equal_numbers(self) -> list[tuple[int, int]]:
        return [(i, self.theirs.index(place)) for i, place in enumerate(self.ours) if place in self.theirs]

    def best_fits(self) -> list[tuple[int, int]]:
        return [(i, int(j)) for i, j in enumerate(self.pairs.z.argmax(axis=1))]


def align_layers(artifact: Rows, base: Rows, log10_tried: float = 0.0) -> LayerAlignment | None:
    """Align and test. None when no two layers have writers of one shape that are not zero.

    `log10_tried` is what earlier choices (tensor names found by content) already cost.
    """
    ours, theirs = layer_writers(artifact), layer_writers(base)
    groups = _groups(ours, theirs)
    candidates = []
    for renumbered in (False, True):
        chosen = [(g, g.best_fits() if renumbered else g.equal_numbers()) for g in groups]
        cost = sum(len(pairs) * math.log10(len(g.theirs)) for g, pairs in chosen) if renumbered else 0.0
        test = _test(chosen, log10_tried + cost + math.log10(2.0))
        if test is not None:
            candidates.append((test.log10_p, renumbered, chosen, test))
    if not candidates:
        return None
    # On a tie (two hopeless tests at p = 1, or one depth in order) equal numbers come first.
    _, renumbered, chosen, test = min(candidates, key=lambda c: (c[0], c[1]))
    mapping = {g.ours[i]: g.theirs[j] for g, pairs in chosen for i, j in pairs}
    dependent = frozenset(
        g.ours[i]
        for g, pairs in chosen
        for i, j in pairs
        if log10_normal_tail(float(g.pairs.z[i, j])) + math.log10(len(g.theirs)) <= LAYER_LOG10_P
    )
    moved = renumbered and any(mapping[place] != place for place in dependent)
    return LayerAlignment(mapping, dependent, len(ours), test, moved)


def _groups(ours: Writers, theirs: Writers) -> list[_Group]:
    def form(place: Place, writer: RowsWriter) -> tuple[str, bool, int, int, tuple[int, ...]]:
        # Windows may be as wide in matrices of other shapes.
        first = writer.parts[0]
        window = first.shape if first.window is not None else ()
        return place[0], writer.mixture, writer.heads, writer.shape[2], window

    groups = []
    for wanted in sorted({form(p, w) for p, w in ours.items()}):
        a = {p: w for p, w in ours.items() if form(p, w) == wanted}
        b = {p: w for p, w in theirs.items() if form(p, w) == wanted}
        if not b or wanted[3] < 2:
            continue
        # Of experts those that every layer of both models has, each beside the one of its number.
        shared = frozenset.intersection(*(w.names for w in (*a.values(), *b.values())))
        if not shared:
            continue
        a, b = ({p: w.only(shared) for p, w in side.items()} for side in (a, b))
        rows = min(w.shape[1] for w in (*a.values(), *b.values()))
        pairs = pair_statistics([w.top(rows) for w in a.values()], [w.top(rows) for w in b.values()])
        groups.append(_Group(tuple(a), tuple(b), pairs))
    return groups


def _test(chosen: list[tuple[_Group, list[tuple[int, int]]]], log10_tried: float) -> PermutationTest | None:
    """One test over several groups: a block-diagonal table of pairs."""
    parts = [(g.pairs, pairs) for g, pairs in chosen if pairs]
    if not parts:
        return None
    joined = PairStatistics(
        *(
            np.concatenate([[getattr(p, name)[i, j] for i, j in pairs] for p, pairs in parts])[:, None]
            for name in ("statistic", "mean", "variance", "units", "response")
        )
    )
    return combined_test(joined, [(i, 0) for i in range(len(joined.statistic))], log10_tried)


def layer_writers(rows: Rows) -> dict[Place, RowsWriter]:
    """Per layer the matrix whose columns are the units to permute: of the feed-forward block, else of the mixer."""
    return mixer_writers(rows) | feed_forward_writers(rows)


def mixer_writers(rows: Rows) -> dict[Place, RowsWriter]:
    """Per layer the matrix that writes a state-space mixer's output, shape (1, R, channels) or (heads, R, channels of a head).

    All that belongs to an inner channel of Mamba (its rows of `in_proj` and `dt_proj`, its filter, its row of A, its column of
    `x_proj` and `out_proj`) starts alike and is trained alike, so channels may be permuted. In Mamba 2 the channels of one
    head may, but heads may not: implementations start their decays at 1, 2, 3 ... How many heads there are is told by
    shapes: `in_proj` has a row for each gate and filtered channel, and one for each head. Elsewhere (linear attention, whose
    heads share a norm; recurrences with block-diagonal gates) the layer is left out.
    """
    writers: dict[Place, RowsWriter] = {}
    for key, kept in sorted(rows.items(), key=lambda item: _natural(item[0])):
        if key.role is not Role.ATTENTION_O or key.part != MIXER or key.layer is None:
            continue
        channels, heads = kept.shape[1], _mixer_heads(rows, key)
        has_selection = replace(key, role=Role.ATTENTION_V, part=f"{MIXER}.x_proj") in rows
        if heads == 0 and has_selection:
            writers[key.stack, key.layer] = RowsWriter((kept,), kept.count)
        elif heads > 0 and not has_selection and channels % heads == 0:
            writer = _cut_into(kept, heads)
            if writer is not None:
                writers[key.stack, key.layer] = writer
    return writers


def _mixer_heads(rows: Rows, writer: TensorKey) -> int:
    """Rows of `in_proj` beyond gate and filter: 0 in Mamba, the heads in Mamba 2, negative where it is neither."""
    inputs = rows.get(replace(writer, role=Role.ATTENTION_V, part=f"{MIXER}.in_proj"))
    filters = rows.get(replace(writer, role=Role.BIAS, part=f"{MIXER}.conv1d"))
    if inputs is None or filters is None:
        return -1
    return inputs.shape[0] - filters.shape[0] - rows[writer].shape[1]


def _cut_into(kept: KeptRows, heads: int) -> RowsWriter | None:
    """The heads that lie whole within the columns at hand, if any do."""
    width = kept.shape[1] // heads
    left = 0 if kept.window is None else -kept.window.start % width
    count = (kept.width - left) // width if left < kept.width else 0
    return RowsWriter((kept,), kept.count, count, width, left) if count else None


def feed_forward_writers(rows: Rows) -> dict[Place, RowsWriter]:
    """Per layer the matrix that writes the FFN's output, shape (1, R, ff), or the experts' ones, shape (E, R, ff).

    A layer with both (a shared expert) is represented by the dense one.
    """
    return _writers(rows, Role.EXPERT_DOWN) | _writers(rows, Role.FFN_DOWN)


def _writers(rows: Rows, role: Role) -> dict[Place, RowsWriter]:
    places: dict[Place, list[KeptRows]] = {}
    for key in sorted((k for k in rows if k.role is role and k.layer is not None), key=_natural):
        if key.layer is not None:
            places.setdefault((key.stack, key.layer), []).append(rows[key])
    writers: dict[Place, RowsWriter] = {}
    for place, parts in sorted(places.items()):
        same = [p for p in parts if p.shape == parts[0].shape and p.first == parts[0].first]
        writers[place] = RowsWriter(tuple(same), min(p.count for p in same))
    return writers


def _natural(key: TensorKey) -> tuple[int, int, str]:
    return (-1 if key.layer is None else key.layer, -1 if key.expert is None else key.expert, key.part)


def attention_writers(rows: Rows, heads: object) -> dict[Place, RowsWriter]:
    """Per layer the attention output matrix cut into heads, shape (H, R, D). Empty when `heads` does not fit."""
    if not isinstance(heads, int) or isinstance(heads, bool) or heads < 1:
        return {}
    writers: dict[Place, RowsWriter] = {}
    for key, kept in sorted(rows.items(), key=lambda item: _natural(item[0])):
        if key.role is Role.ATTENTION_O and key.layer is not None and key.part == "" and kept.shape[1] % heads == 0:
            writer = _cut_into(kept, heads)
            if writer is not None:
                writers[key.stack, key.layer] = writer
    return writers


def attention_test(
    artifact: Rows, base: Rows, heads: tuple[object, object], alignment: LayerAlignment
) -> PermutationTest | None:
    """The same test over the dimensions of each attention head, for layers already aligned; no search, nothing to pay."""
    if heads[0] != heads[1]:
        return None
    ours, theirs = attention_writers(artifact, heads[0]), attention_writers(base, heads[1])
    chosen = []
    for place, other in sorted(alignment.mapping.items()):
        a, b = ours.get(place), theirs.get(other)
        if a is None or b is None or a.shape[0] != b.shape[0] or a.shape[2] != b.shape[2] or a.shape[2] < 2:
            continue
        count = min(a.shape[1], b.shape[1])
        pairs = pair_statistics([a.top(count)], [b.top(count)])
        chosen.append((_Group((place,), (other,), pairs), [(0, 0)]))
    return _test(chosen, 0.0)
