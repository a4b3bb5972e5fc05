"""Embedding rows of tokens that two models share, matched by token string and not by id."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.interface import Artifact, CanonicalTensor, NotMeasured, Role

MAX_TOKENS = 2304
"""Shared tokens whose embeddings are read. They are chosen by digest, so by neither id nor frequency."""


@dataclass(frozen=True, slots=True)
class SharedEmbeddings:
    """Embeddings of the same tokens in both models, shapes (n, d) and (n, d'), float32.

    `shared` counts all tokens in common, `reordered` says whether any of them has another id.
    """

    ours: NDArray[np.float32]
    theirs: NDArray[np.float32]
    shared: int
    reordered: bool


def shared_embeddings(artifact: Artifact, base: Artifact, limit: int = MAX_TOKENS) -> SharedEmbeddings | NotMeasured:
    """Read up to `limit` pairs of rows; rows that are zero or not finite in either model are left out."""
    tables = _table(artifact), _table(base)
    if tables[0] is None or tables[1] is None:
        return NotMeasured(f"no input embedding in the {'artifact' if tables[0] is None else 'base'}")
    ids = _shared_ids(artifact, base, tables[0].shape[0], tables[1].shape[0])
    if isinstance(ids, NotMeasured):
        return ids
    a, b = ids
    if len(a) > limit:
        chosen = np.linspace(0, len(a) - 1, limit).astype(np.int64)
        x, y = _rows(tables[0], a[chosen]), _rows(tables[1], b[chosen])
    else:
        x, y = _rows(tables[0], a), _rows(tables[1], b)
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.einsum("ij,ij->i", x, x), np.einsum("ij,ij->i", y, y)
    sound = np.isfinite(norms[0]) & np.isfinite(norms[1]) & (norms[0] > 0) & (norms[1] > 0)
    return SharedEmbeddings(x[sound], y[sound], len(a), bool((a != b).any()))


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
    at = 0
    while at < len(order):
        stop = at + 1
        while stop < len(order) and ids[order[stop]] - ids[order[stop - 1]] <= 1:
            stop += 1
        first, last = int(ids[order[at]]), int(ids[order[stop - 1]])
        block = table.read_rows(first, last + 1)
        out[order[at:stop]] = block[ids[order[at:stop]] - first]
        at = stop
    return out
