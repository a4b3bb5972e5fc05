"""Embedding rows of the token strings that two vocabularies hold, compared one by one.

Rows are compared as they stand; where that shows nothing and a frame of `alignment.frames` does (the residual stream was
reordered or rotated), in that frame, over tokens that it was not fitted on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from provenance_gate.alignment.frames import Basis, find_frames
from provenance_gate.alignment.interface import FrameKind
from provenance_gate.alignment.tokens import SharedEmbeddings, shared_embeddings
from provenance_gate.artifact.interface import CanonicalTensor, Lies, NotMeasured, Role, StoredTensor, TensorKey
from provenance_gate.artifact.sources.ahead import Rows, batches
from provenance_gate.artifact.sources.coalesce import WIDE_GAP, PrefetchedSource
from provenance_gate.fingerprint.interface import Fingerprint, Json, SignalValue
from provenance_gate.fingerprint.rows import KeptRows
from provenance_gate.fingerprint.signals.weight_correlation import WeightCorrelation, rows_of
from provenance_gate.tells.interface import Side

Array = NDArray[np.float32]

ALIKE = 0.9999
"""Cosine from which a row counts as unmoved where the coordinates were rotated, so that it cannot be equal."""
ALIKE_QUANTIZED = 0.99
"""The same where a table is quantized: 4 bits alone turn rows that far, and light training hides in it."""
ROUNDING = {"F64": (2.0**-22, 0.0), "F32": (2.0**-22, 0.0), "F16": (2.0**-10, 2.0**-23), "BF16": (2.0**-7, 0.0)}
"""Relative and absolute error of a value stored in the format, rounded twice at most."""
PLAIN = 0.5
"""Mean cosine of rows as stored from which no frame is looked for."""
BINS = 20
MOST_TOKENS, REMOTE_TOKENS = 1 << 18, 512
MOST_VALUES = 1 << 30
"""Values read of either table; of larger ones evenly spaced tokens are read."""
HELD_OUT = 256
_BLOCK = 1 << 21
"""Values of each table in memory at a time."""


@dataclass(frozen=True, slots=True)
class TokenCosines:
    """Rows of shared tokens.

    Attributes
    ----------
    values
        One cosine in [-1, 1] a token, shape (n,).
    unmoved
        Shape (n,), bool: which rows are equal to the rounding of the coarser format, or, where `by_cosine`, so near to equal
        that `ALIKE` or `ALIKE_QUANTIZED` holds.
    ids
        The artifact's ids of these tokens; -1 where rows were aligned.
    shared
        Tokens that both vocabularies hold.
    method
        Which rows were compared, in which coordinates.
    """

    values: NDArray[np.float64]
    unmoved: NDArray[np.bool_]
    ids: NDArray[np.int64]
    shared: int
    method: str
    quantized: bool = False
    by_cosine: bool = False

    @property
    def mean(self) -> float:
        """In [-1, 1]."""
        return float(self.values.mean())

    @property
    def share(self) -> float:
        """Share of unmoved tokens, in [0, 1]."""
        return float(self.unmoved.mean())

    def numbers(self) -> dict[str, Json]:
        """Everything for JSON and pictures; `histogram` has `BINS` equal bins over [-1, 1]."""
        counts, _ = np.histogram(np.clip(self.values, -1.0, 1.0), BINS, (-1.0, 1.0))
        return {
            "method": self.method,
            "shared_tokens": self.shared,
            "compared_tokens": len(self.values),
            "mean": self.mean,
            "median": float(np.median(self.values)),
            "percentile_10": float(np.quantile(self.values, 0.1)),
            "share_unmoved": self.share,
            "unmoved_by_cosine": self.by_cosine,
            "quantized": self.quantized,
            "share_above_0.99": float((self.values >= 0.99).mean()),
            "share_above_0.999": float((self.values >= 0.999).mean()),
            "share_above_0.9999": float((self.values >= 0.9999).mean()),
            "histogram": [int(c) for c in counts],
        }


def measure_cosines(ours: Side, base: Side) -> TokenCosines | NotMeasured:
    """Cosines of the rows of shared tokens; of stored fingerprints those of the few rows that they keep."""
    if ours.artifact is None or base.artifact is None:
        return _stored_cosines(ours.fingerprint, base.fingerprint)
    shared = shared_embeddings(ours.artifact, base.artifact)
    if isinstance(shared, NotMeasured):
        return shared
    if not shared.count:
        return NotMeasured("the vocabularies have no token in common")
    plain = _plain_cosines(shared) if shared.widths[0] == shared.widths[1] else None
    if plain is not None and len(plain.values) and plain.mean >= PLAIN:
        return plain
    framed = _framed_cosines(shared)
    if framed is not None and (plain is None or not len(plain.values) or framed.mean > plain.mean):
        return framed
    if plain is None:
        return NotMeasured("tables of different widths, and no frame in which they could be compared")
    return plain if len(plain.values) else NotMeasured("no shared token has a row that is finite and not zero in both")


def _plain_cosines(shared: SharedEmbeddings) -> TokenCosines:
    places = [place for t in (shared.ours, shared.theirs) for place in Rows(t, 0, 1).places()]
    remote = any(isinstance(source, PrefetchedSource) for source, _ in places)
    limit = min(REMOTE_TOKENS if remote else MOST_TOKENS, max(1, MOST_VALUES // shared.widths[0]))
    chosen = np.unique(np.linspace(0, shared.count - 1, min(shared.count, limit)).astype(np.int64))
    # In the order of the artifact's ids: neighbors lie together in the file.
    chosen = chosen[np.argsort(shared.our_ids[chosen], kind="stable")]
    ids, others = shared.our_ids[chosen], shared.their_ids[chosen]
    step = max(1, _BLOCK // shared.widths[0])
    found, same, kept = [], [], []
    rounding = _rounding(shared)
    for start in range(0, len(ids), step):
        part = slice(start, start + step)
        x, y = _rows(shared.ours, ids[part]), _rows(shared.theirs, others[part])
        values, sound = _row_cosines(x, y)
        found.append(values)
        same.append(values >= ALIKE_QUANTIZED if rounding is None else _equal_rows(x[sound], y[sound], rounding))
        kept.append(ids[part][sound])
    how = f"{'sampled' if len(chosen) < shared.count else 'all'} shared tokens, as stored"
    joined = np.concatenate(found), np.concatenate(same), np.concatenate(kept)
    return TokenCosines(*joined, shared.count, how, rounding is None, rounding is None)


def _framed_cosines(shared: SharedEmbeddings) -> TokenCosines | None:
    frames = [f for f in find_frames(shared, *shared.widths) if f.facts.kind is not FrameKind.SAME]
    if not frames:
        return None
    frame, rounding = frames[0], _rounding(shared)
    rotated = frame.facts.kind is FrameKind.ROTATED
    x, y = shared.rows()
    if rotated:
        # Frames are fitted on centered rows; the first eighth is what the rotation was not fitted on.
        held = min(HELD_OUT, len(x) // 8)
        x, y = ((v - v.mean(axis=0, dtype=np.float64).astype(np.float32))[:held] for v in (x, y))
    x, y = _in_frame(x, frame.ours, shared.ours), _in_frame(y, frame.theirs, shared.theirs)
    values, sound = _row_cosines(x, y)
    if not len(values):
        return None
    by_cosine = rotated or rounding is None
    if by_cosine or rounding is None:
        unmoved = values >= (ALIKE if rounding is not None else ALIKE_QUANTIZED)
    else:
        unmoved = _equal_rows(x[sound], y[sound], rounding)
    which = "held-out" if rotated else "sampled"
    how = f"{which} shared tokens, in the {frame.facts.kind.value} coordinates that align the tables"
    unknown = np.full(len(values), -1, np.int64)
    return TokenCosines(values, unmoved, unknown, shared.count, how, rounding is None, by_cosine)


def _rounding(shared: SharedEmbeddings) -> tuple[float, float] | None:
    """Largest relative and absolute error of a value in the coarser of the two formats; None when one is quantized."""
    found = [ROUNDING.get(t.stored.dtype) for t in (shared.ours, shared.theirs)]
    known = [r for r in found if r is not None]
    return max(known) if len(known) == len(found) else None


def _equal_rows(x: Array, y: Array, rounding: tuple[float, float]) -> NDArray[np.bool_]:
    relative, absolute = rounding
    limit = np.maximum(relative * np.maximum(np.abs(x), np.abs(y)), absolute)
    return np.asarray((np.abs(x - y) <= limit).all(axis=1))


@dataclass(frozen=True, slots=True)
class _InMemory:
    """Rows that were read already, as a canonical tensor."""

    key: TensorKey
    stored: StoredTensor
    values: Array
    keeps_order: bool = True
    lies: Lies = Lies.ROWS

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def read_rows(self, start: int, stop: int) -> Array:
        return self.values[start:stop]

    def read_block(self, rows: range, columns: range) -> Array:
        return self.values[rows.start : rows.stop, columns.start : columns.stop]


def _in_frame(rows: Array, basis: Basis, table: CanonicalTensor) -> Array:
    if not len(rows):
        return rows
    return basis.of_rows(_InMemory(table.key, table.stored, rows), 0, len(rows), None)


def _row_cosines(x: Array, y: Array) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Cosines of the rows that are finite and not zero in both, and which those are."""
    with np.errstate(over="ignore", invalid="ignore"):
        a, b, dots = (np.einsum("ij,ij->i", u, v, dtype=np.float64) for u, v in ((x, x), (y, y), (x, y)))
        sound = np.isfinite(a) & np.isfinite(b) & np.isfinite(dots) & (a > 0) & (b > 0)
    values = dots[sound] / (np.sqrt(a[sound]) * np.sqrt(b[sound]))
    return np.asarray(np.clip(values, -1.0, 1.0)), sound


def _rows(table: CanonicalTensor, ids: NDArray[np.int64]) -> Array:
    """Rows by id, shape (n, d), in the order of `ids`; neighbors are read together."""
    out = np.empty((len(ids), table.shape[1]), np.float32)
    order = np.argsort(ids, kind="stable")
    ranked = ids[order]
    at = 0
    for batch in batches([Rows(table, first, stop) for first, stop in _runs(ranked)], gap=WIDE_GAP):
        for run in batch:
            block = table.read_rows(run.start, run.stop)
            stop = int(np.searchsorted(ranked, run.stop))
            out[order[at:stop]] = block[ranked[at:stop] - run.start]
            at = stop
    return out


def _runs(ranked: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """[first, stop) of the runs of consecutive ids; a hole of up to three rows is read, too."""
    if len(ranked):
        breaks = np.flatnonzero(np.diff(ranked) > 4)
        for first, last in zip(np.r_[0, breaks + 1], np.r_[breaks, len(ranked) - 1], strict=True):
            yield int(ranked[first]), int(ranked[last]) + 1


def _stored_cosines(ours: Fingerprint, base: Fingerprint) -> TokenCosines | NotMeasured:
    x, y = _stored_rows(ours), _stored_rows(base)
    if isinstance(x, NotMeasured):
        return x
    if isinstance(y, NotMeasured):
        return NotMeasured(f"base: {y.reason}")
    if ours.method != base.method or x.shape != y.shape or x.first != y.first:
        return NotMeasured("fingerprints keep rows by number, and the tables differ in shape; both models are needed")
    if not _same_tokenizer(ours, base):
        return NotMeasured("fingerprints keep rows by number, and the tokenizers differ; both models are needed")
    count = min(x.count, y.count)
    values, sound = _row_cosines(x.top(count), y.top(count))
    if not len(values):
        return NotMeasured("no sampled row is finite and not zero in both")
    # Kept rows are rounded to half precision, scaled by their largest value.
    limits = [ROUNDING.get(r.dtype) for r in (x, y)]
    quantized = None in limits
    a, b = x.top(count)[sound], y.top(count)[sound]
    floor = 2.0**-24 * float(np.abs(b).max())
    relative = max([2.0**-11, *(r[0] for r in limits if r is not None)])
    unmoved = values >= ALIKE_QUANTIZED if quantized else _equal_rows(a, b, (relative, floor))
    ids = x.first + np.flatnonzero(sound)
    return TokenCosines(values, unmoved, ids, x.shape[0], "rows kept in the fingerprints", quantized, quantized)


def _stored_rows(fingerprint: Fingerprint) -> KeptRows | NotMeasured:
    value = fingerprint.signals.get(WeightCorrelation.name)
    if not isinstance(value, SignalValue):
        return value if isinstance(value, NotMeasured) else NotMeasured("the fingerprint keeps no rows")
    for key, rows in rows_of(value).items():
        if key.role is Role.EMBEDDING and key.part == "":
            return rows
    return NotMeasured("no input embedding among the kept rows")


def _same_tokenizer(ours: Fingerprint, base: Fingerprint) -> bool:
    """Whether the facts that fingerprints keep of both agree; a model without a tokenizer is given the benefit of its shape."""
    a, b = (f.signals.get("tfv") for f in (ours, base))
    if not isinstance(a, SignalValue) or not isinstance(b, SignalValue):
        return True
    return all(a.facts.get(k) == b.facts.get(k) for k in ("vocab_size", "merges_sha256", "mean_token_length"))
