"""Does a LoRA adapter move with the neurons of a base? Reads some rows of the base and the adapter's pairs.

What training does to the part of a pair that runs over feed-forward neurons (``lora_B`` of gate and up, ``lora_A`` of down)
depends on what each neuron writes; so neurons that write alike in the base are changed alike by an adapter that was trained on
it. The same holds for the dimensions of a head (``lora_B`` of v, ``lora_A`` of o). No source; our own test.

For each layer X holds the adapter's rows and Y the base's columns of `down` (or `o`), a row per neuron, scaled to unit norm and
centered within blocks of 16 neighbors, so that a slow trend along the index (neurons sorted by size in both) counts for little.
With ``M_b = X_b^T Y_b`` of block b the statistic is ``T = sum over b != c of <M_b, M_c>``. Permuting the neurons of each block
makes the M_b independent with mean zero and covariance ``(X_b^T X_b) (x) (Y_b^T Y_b) / 15``; hence the mean of T is 0 and its
variance ``2 sum over b != c of <X_b^T X_b, X_c^T X_c> <Y_b^T Y_b, Y_c^T Y_c> / 225``, both exact, no permutation drawn. Layers,
feed-forward and attention are standardized and added. Null: an adapter of an independent base, whatever the two share of
data, tokenizer or embedding table, since the order of neurons and of the dimensions of a head is arbitrary in each
(DESIGN 3.3).

T is skewed, so the p-value is that of a gamma distribution with skewness 1. The figures of our trials stand in
docs/formats.md. Evasion: whoever wants can add the dependence to an adapter, or take it out: a statement about an honest one,
no proof against a forger.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.adapter import Adapter, AdapterModule
from provenance_gate.artifact.interface import Artifact, CanonicalTensor, NotMeasured, Role, StoredTensor
from provenance_gate.artifact.roles import name_tensors

BLOCK: Final = 16
ROWS: Final = 64
"""Rows of the base's matrices that are read, and the most columns of X and Y: wider ones are projected."""
MAX_PART: Final = 1 << 26
"""Elements of one part of a pair that are read at most."""
MAX_LAYERS: Final = 1024

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class AdapterTies:
    """`z` has mean 0 and variance 1 for an independent base; `p_value` is one-sided; `layers` counts places that were tested."""

    z: float
    p_value: float
    layers: int


def measure_ties(adapter: Adapter, base: Artifact) -> AdapterTies | NotMeasured:
    """How surely the pairs depend on the neurons of `base`; NotMeasured where nothing of the pairs runs over them."""
    writers = {(t.key.stack, t.key.layer, t.key.role): t for t in base.canonical if t.key.part == ""}
    heads = None if isinstance(base.config, NotMeasured) else base.config.num_attention_heads
    total, count = 0.0, 0
    for (stack, layer), parts in _by_layer(adapter):
        down, output = writers.get((stack, layer, Role.FFN_DOWN)), writers.get((stack, layer, Role.ATTENTION_O))
        for found in (_feed_forward(parts, down), _attention(parts, output, heads)):
            z = None if found is None else _standardized(*found)
            if z is not None:
                total += z
                count += 1
    if not count:
        return NotMeasured("no pair of the adapter runs over neurons or heads of the base that can be told apart")
    z = total / math.sqrt(count)
    return AdapterTies(z, _gamma_tail(z), count)


def _by_layer(adapter: Adapter) -> Iterator[tuple[tuple[str, int | None], Mapping[Role, AdapterModule]]]:
    """Modules by stack and layer, and in these by role."""
    modules = {f"{m.path}.weight": m for m in adapter.modules if not m.embedding}
    stand_ins = [
        StoredTensor(n, "F32", (m.out_features, m.in_features), 0, m.a.path, m.a.reader) for n, m in modules.items()
    ]
    _, named = name_tensors(stand_ins)
    found: dict[tuple[str, int | None], dict[Role, AdapterModule]] = {}
    for item in named:
        if item.layer is not None and item.expert is None and len(item.entry.roles) == 1:
            place = item.stack, item.layer
            if place in found or len(found) < MAX_LAYERS:
                found.setdefault(place, {})[item.entry.roles[0]] = modules[item.stored.name]
    yield from found.items()


def _feed_forward(parts: Mapping[Role, AdapterModule], down: CanonicalTensor | None) -> tuple[Values, Values] | None:
    if down is None or len(down.shape) != 2:
        return None
    neurons = down.shape[1]
    columns = [_over_outputs(parts.get(role), neurons) for role in (Role.FFN_GATE, Role.FFN_UP)]
    columns.append(_over_inputs(parts.get(Role.FFN_DOWN), neurons))
    return _joined(columns, _rows(down).T)


def _attention(
    parts: Mapping[Role, AdapterModule], output: CanonicalTensor | None, heads: int | None
) -> tuple[Values, Values] | None:
    """Over the dimensions of value heads: the columns of `o` of all query heads of a group stand side by side."""
    value = parts.get(Role.ATTENTION_V)
    if output is None or len(output.shape) != 2:
        return None
    wide = output.shape[1]
    narrow = wide if value is None else value.out_features
    if not narrow or wide % narrow:
        return None
    repeated = wide // narrow
    if repeated > 1 and (not heads or wide % heads or narrow % (wide // heads)):
        return None
    width = narrow if repeated == 1 or not heads else wide // heads

    def by_value(columns: Values | None) -> Values | None:
        if columns is None:
            return None
        split = columns.reshape(narrow // width, repeated, width, columns.shape[1])
        beside: Values = split.swapaxes(1, 2).reshape(narrow, repeated * columns.shape[1])
        return beside

    y = by_value(_rows(output).T)
    columns = [_over_outputs(value, narrow), by_value(_over_inputs(parts.get(Role.ATTENTION_O), wide))]
    # Blocks must not reach over a head; where heads are not known the dimensions of neighbors may mix.
    fits = bool(heads) and not wide % (heads or 1) and not (wide // (heads or 1)) % BLOCK
    return _joined(columns, y) if fits and y is not None else None


def _over_outputs(module: AdapterModule | None, size: int) -> Values | None:
    """`lora_B` (size, rank)."""
    if module is None or module.out_features != size or module.b.size > MAX_PART:
        return None
    columns: Values = module.b.reader.read(0, module.b.size).reshape(size, module.rank).astype(np.float64)
    return columns


def _over_inputs(module: AdapterModule | None, size: int) -> Values | None:
    """The first rows of `lora_A`, turned: (size, at most `ROWS`)."""
    if module is None or module.in_features != size:
        return None
    count = min(module.rank, ROWS)
    columns: Values = module.a.reader.read(0, count * size).reshape(count, size).T.astype(np.float64)
    return columns


def _rows(tensor: CanonicalTensor) -> Values:
    return tensor.read_rows(0, min(ROWS, tensor.shape[0])).astype(np.float64)


def _joined(columns: Sequence[Values | None], y: Values) -> tuple[Values, Values] | None:
    known = [_narrow(_unit(c)) for c in columns if c is not None]
    return (_narrow(np.concatenate(known, axis=1)), _narrow(_unit(y))) if known else None


def _unit(rows: Values) -> Values:
    size = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: Values = np.divide(rows, size, out=np.zeros_like(rows), where=(size > 0) & np.isfinite(size))
    return scaled


def _narrow(rows: Values) -> Values:
    """At most `ROWS` columns: a fixed random projection, which no permutation of the rows cares about."""
    width = rows.shape[1]
    if width <= ROWS:
        return rows
    projected: Values = rows @ np.random.default_rng(0).standard_normal((width, ROWS)) / math.sqrt(ROWS)
    return projected


def _standardized(x: Values, y: Values) -> float | None:
    """T over its standard deviation; None with fewer than two blocks, or none that vary."""
    blocks = len(x) // BLOCK
    if blocks < 2 or not (np.isfinite(x).all() and np.isfinite(y).all()):
        return None
    x, y = (v[: blocks * BLOCK].reshape(blocks, BLOCK, -1) for v in (x, y))
    x, y = (v - v.mean(axis=1, keepdims=True) for v in (x, y))
    products = np.einsum("bip,biq->bpq", x, y).reshape(blocks, -1)
    whole = products.sum(axis=0)
    statistic = float(whole @ whole - np.einsum("bi,bi->", products, products))
    grams = [np.einsum("bip,biq->bpq", v, v).reshape(blocks, -1) for v in (x, y)]
    spread = (grams[0] @ grams[0].T) * (grams[1] @ grams[1].T)
    variance = 2.0 * float(spread.sum() - np.trace(spread)) / (BLOCK - 1) ** 2
    return statistic / math.sqrt(variance) if variance > 0 else None


def _gamma_tail(z: float) -> float:
    """P(Z > z) of a standardized gamma variable with shape 4 (skewness 1)."""
    x = max(0.0, 4.0 + 2.0 * z)
    return min(1.0, math.exp(-x) * (1 + x + x**2 / 2 + x**3 / 6))
