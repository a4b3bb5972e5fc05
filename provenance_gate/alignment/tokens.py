"""Embedding rows of tokens that two models share, matched by token string and not by id."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.interface import Artifact, CanonicalTensor, NotMeasured, Role
from provenance_gate.artifact.sources.ahead import Rows, batches
from provenance_gate.artifact.sources.coalesce import WIDE_GAP

MAX_TOKENS, FEWEST_READ, MAX_VALUES = 2304, 768, 1 << 23
"""Shared tokens whose embeddings are read: fewer, but never below 768, of tables so wide that memory would suffer. They
are chosen by digest, so by neither id nor frequency."""


@dataclass(frozen=True, slots=True)
class SharedEmbeddings:
    """Tokens that two embedding tables share: their ids in the one and in the other, in the order of the token digests."""

    ours: CanonicalTensor
    theirs: CanonicalTensor
    our_ids: NDArray[np.int64]
    their_ids: NDArray[np.int64]

    @property
    def count(self) -> int:
        """Shared tokens."""
        return len(self.our_ids)

    @property
    def reordered(self) -> bool:
        """Whether any shared token has another id in the artifact."""
        return bool((self.our_ids != self.their_ids).any())

    @property
    def widths(self) -> tuple[int, int]:
        """Hidden sizes of the two tables."""
        return self.ours.shape[1], self.theirs.shape[1]

    @property
    def sizes(self) -> tuple[int, int]:
        """Rows of the two tables."""
        return self.ours.shape[0], self.theirs.shape[0]

    def rows(self, limit: int = MAX_TOKENS) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Embeddings of up to `limit` shared tokens, shapes (n, d) and (n, d'), read from the files.

        Tokens whose row is zero or not finite in either model are left out.
        """
        limit = min(limit, max(FEWEST_READ, MAX_VALUES // max(1, *self.widths)))
        chosen = np.unique(np.linspace(0, self.count - 1, min(self.count, limit)).astype(np.int64))
        x, y = _rows(self.ours, self.our_ids[chosen]), _rows(self.theirs, self.their_ids[chosen])
        with np.errstate(over="ignore", invalid="ignore"):
            norms = np.einsum("ij,ij->i", x, x), np.einsum("ij,ij->i", y, y)
        sound = np.isfinite(norms[0]) & np.isfinite(norms[1]) & (norms[0] > 0) & (norms[1] > 0)
        return x[sound], y[sound]


def shared_embeddings(artifact: Artifact, base: Artifact) -> SharedEmbeddings | NotMeasured:
    """The tokens that both models have a row for. Without both tokenizers, tables of one length share all their ids."""
    ours, theirs = _table(artifact), _table(base)
    if ours is None or theirs is None:
        return NotMeasured(f"no input embedding in the {'artifact' if ours is None else 'base'}")
    ids = _shared_ids(artifact, base, ours.shape[0], theirs.shape[0])
    return ids if isinstance(ids, NotMeasured) else SharedEmbeddings(ours, theirs, *ids)


def _table(artifact: Artifact) -> CanonicalTensor | None:
    for tensor in artifact.canonical:
        if tensor.key.role is Role.EMBEDDING and tensor.key.part == "" and len(tensor.shape) == 2:
            return tensor
    return None


def _shared_ids(
    artifact: Artifact, base: Artifact, rows: int, base_rows: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | NotMeasured:
    ours, theirs = artifact.tokenizer, base.tokenizer
    if isinstance(ours, NotMeasured) or isinstance(theirs, NotMeasured):
        if rows != base_rows:
            return NotMeasured("embedding rows differ in number, and without both tokenizers they cannot be matched")
        same = np.arange(rows, dtype=np.int64)
        return same, same
    _, i, j = np.intersect1d(ours.tokens, theirs.tokens, assume_unique=True, return_indices=True)
    a, b = ours.token_ids[i], theirs.token_ids[j]
    inside = (a < rows) & (b < base_rows)
    return a[inside], b[inside]


def _rows(table: CanonicalTensor, ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """Rows by id, in the order of `ids`; neighbors are read together."""
    out = np.empty((len(ids), table.shape[1]), np.float32)
    order = np.argsort(ids, kind="stable")
    ranked = ids[order]
    starts = np.flatnonzero(np.diff(ranked, prepend=ranked[:1] - 2) > 1)
    runs = [Rows(table, int(run[0]), int(run[-1]) + 1) for run in np.split(ranked, starts[1:]) if len(run)]
    at = 0
    for batch in batches(runs, gap=WIDE_GAP):
        for run in batch:
            block = table.read_rows(run.start, run.stop)
            stop = int(np.searchsorted(ranked, run.stop))
            out[order[at:stop]] = block[ranked[at:stop] - run.start]
            at = stop
    return out
