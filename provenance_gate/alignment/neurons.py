"""Neurons and heads of the artifact, looked up among those of the base in one frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from provenance_gate.alignment.blocks import Attention, Block
from provenance_gate.alignment.frames import Basis, Frame
from provenance_gate.alignment.interface import HeadTrace, NeuronTrace
from provenance_gate.fingerprint.signals.arithmetic import along_strongest

Array = NDArray[np.float32]

PROBES = 64
"""Neurons looked up per block. With half of them matched, the share is known to 0.06."""
DISTINCT = 1e-3
"""Neurons whose cosines to all others lie within this are one neuron repeated, in which nothing can be looked up."""
WRITING_COORDINATES = 128
CIRCUIT_COORDINATES = 64


@dataclass(frozen=True, slots=True)
class Neurons:
    """Neurons of one block in a frame. `first` is the matrix of gate rows (up rows without a gate), `second` of up rows (of
    down columns without a gate), shapes (n, k) and (n, k'); `places` are their numbers in the block; `signed` whether the
    second may be negated together with the down column.
    """

    block: Block
    first: Array
    second: Array
    places: NDArray[np.int64]
    signed: bool


def probes(block: Block, basis: Basis, start: int) -> Neurons:
    """`PROBES` consecutive neurons from `start`, as far as there are."""
    first = max(0, min(start, block.width - PROBES))
    return _neurons(block, basis, first, min(block.width, first + PROBES))


def all_neurons(block: Block, basis: Basis) -> Neurons:
    return _neurons(block, basis, 0, block.width)


def _neurons(block: Block, basis: Basis, first: int, stop: int) -> Neurons:
    places = np.arange(first, stop, dtype=np.int64)
    up = basis.of_rows(block.up, first, stop, block.gain)
    if block.gate is not None:
        return Neurons(block, basis.of_rows(block.gate, first, stop, block.gain), up, places, True)
    down = basis.of_columns(block.down, slice(first, stop), WRITING_COORDINATES)
    return Neurons(block, up, down, places, False)


def match_neurons(ours: Neurons, theirs: Neurons) -> NeuronTrace | None:
    """Look up each of `ours` among `theirs`. None when the blocks are of different make or hold no two distinct neurons."""
    if ours.signed != theirs.signed or len(theirs.places) < 2 or not len(ours.places):
        return None
    by_first = _cosines(_apart(ours.first), _apart(theirs.first))
    # Rows that may have been negated have no mean to take off.
    plain = (lambda v: v) if ours.signed else _apart
    by_second = _cosines(plain(ours.second), plain(theirs.second))
    if by_first is None or by_second is None:
        return None
    if max(float(np.ptp(c.whole, axis=1).max()) for c in (by_first, by_second)) < DISTINCT:
        return None
    second = np.abs(by_second.whole) if ours.signed else by_second.whole
    found = by_first.whole.argmax(axis=1)
    agree = found == second.argmax(axis=1)
    # Matched on the even coordinates of both, measured on the odd ones: choosing the best of many does not raise it.
    even = np.abs(by_second.even) if ours.signed else by_second.even
    best = (by_first.even + even).argmax(axis=1)
    at = np.arange(len(best))
    odd = by_second.odd[at, best] * (np.sign(by_second.even[at, best]) if ours.signed else 1.0)
    moved = theirs.places[found[agree]] != ours.places[agree]
    a, b = ours.block, theirs.block
    return NeuronTrace(
        stack=a.stack,
        layer=a.layer,
        part=a.part,
        base_stack=b.stack,
        base_layer=b.layer,
        base_part=b.part,
        probed=len(found),
        # Counted once each: rows that are all alike would else be found everywhere.
        matched=len(np.unique(found[agree])),
        correlation=float((by_first.odd[at, best] + odd).mean() / 2.0),
        learned=along_strongest(_apart(ours.first), _apart(theirs.first)[best]) or 0.0,
        moved=float(moved.mean()) if len(moved) else 0.0,
        choices=1,
        width=a.width,
        base_width=b.width,
    )


def _apart(rows: Array) -> Array:
    """Rows at unit norm less their mean: what all neurons of a block have in common tells none of them apart, and strangers
    under one vocabulary have it in common, too.
    """
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    unit = np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 1e-30)
    return np.asarray(unit - unit.mean(axis=0), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class _Cosines:
    whole: Array
    even: Array
    odd: Array


def _cosines(x: Array, y: Array) -> _Cosines | None:
    """Cosines of all pairs of rows: over all, the even and the odd coordinates. None when hardly a row is not zero."""
    if not (np.isfinite(x).all() and np.isfinite(y).all()) or x.shape[1] < 4:
        return None
    halves = []
    for part in (slice(0, None, 2), slice(1, None, 2)):
        halves.append((x[:, part], y[:, part]))
    dots = [a @ b.T for a, b in halves]
    squares = [(np.einsum("ij,ij->i", a, a), np.einsum("ij,ij->i", b, b)) for a, b in halves]
    total = squares[0][0] + squares[1][0], squares[0][1] + squares[1][1]
    if np.count_nonzero(total[0]) < 2 or np.count_nonzero(total[1]) < 2:
        return None
    return _Cosines(_divided(dots[0] + dots[1], *total), _divided(dots[0], *squares[0]), _divided(dots[1], *squares[1]))


def _divided(dots: Array, x: Array, y: Array) -> Array:
    scale = np.sqrt(np.outer(x, y))
    return np.divide(dots, scale, out=np.zeros_like(dots), where=scale > 1e-30)


def match_heads(ours: Attention, theirs: Attention, frame: Frame) -> HeadTrace | None:
    """Look up the artifact's heads among the base's by W_o W_v and W_q^T W_k, in a few coordinates."""
    a, b = _circuits(ours, frame.ours), _circuits(theirs, frame.theirs)
    if a is None or b is None:
        return None
    even = sum(_cosine(x[:, ::2], y[:, ::2]) for x, y in zip(a, b, strict=True))
    best = np.asarray(even).argmax(axis=1)
    odd = [_cosine(x[:, 1::2], y[:, 1::2])[np.arange(len(best)), best] for x, y in zip(a, b, strict=True)]
    return HeadTrace(
        stack=ours.stack,
        layer=ours.layer,
        heads=ours.heads,
        correlation=float(np.mean(odd)),
        moved=float((best != np.arange(len(best))).mean()),
    )


def _circuits(layer: Attention, basis: Basis) -> tuple[Array, Array] | None:
    """Per head the products W_o W_v and W_q^T W_k, each flat: two arrays (heads, k * k)."""
    count = CIRCUIT_COORDINATES
    values = basis.of_rows(layer.v, 0, layer.v.shape[0], layer.gain, count)
    keys = basis.of_rows(layer.k, 0, layer.k.shape[0], layer.gain, count)
    queries = basis.of_rows(layer.q, 0, layer.q.shape[0], layer.gain, count)
    outputs = basis.of_columns(layer.o, slice(None), count)
    if not all(np.isfinite(m).all() for m in (values, keys, queries, outputs)):
        return None
    shape = layer.heads, -1, values.shape[1]
    queries, outputs = queries.reshape(shape), outputs.reshape(shape)
    per = layer.heads // layer.groups
    keys, values = (np.repeat(m.reshape(layer.groups, -1, m.shape[1]), per, axis=0) for m in (keys, values))
    written = np.einsum("hdi,hdj->hij", outputs, values, optimize=True)
    attended = np.einsum("hdi,hdj->hij", queries, keys, optimize=True)
    return written.reshape(layer.heads, -1), attended.reshape(layer.heads, -1)


def _cosine(x: Array, y: Array) -> Array:
    return _divided(x @ y.T, np.einsum("ij,ij->i", x, x), np.einsum("ij,ij->i", y, y))


def best_of(traces: Sequence[NeuronTrace]) -> NeuronTrace | None:
    """The most matches, then the greatest correlation, then the nearest place."""
    if not traces:
        return None
    return max(traces, key=lambda t: (t.matched, t.correlation, t.layer == t.base_layer, t.part == t.base_part))
