"""Read an artifact once, for all signals: sampled rows, small vectors whole, and, when asked, every byte.

Signals compute from `Observations` and read nothing themselves, except the few embedding rows that the tokenizer picks.
Memory stays flat: matrices are read in blocks, and only the sampled rows are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.interface import (
    Artifact,
    CanonicalTensor,
    Lies,
    NotMeasured,
    Role,
    StoredTensor,
    TensorKey,
)
from provenance_gate.artifact.sources.ahead import Rows, batches
from provenance_gate.fingerprint.plan import SamplingPlan

EXACT_LIMIT = 512 * 1024 * 1024
"""Weights up to this many bytes are read whole (DESIGN 3.3)."""
_BLOCK = 1 << 20
"""Elements per read of the exact pass. Only saves memory."""
VECTOR_LIMIT = 1 << 16
"""Longer vectors are sampled like matrices would be: no norm gain or bias is as long."""
STRIDED = 4096
"""Values per tensor that WVC keeps (reference definition)."""

_EXPERTS = frozenset({Role.EXPERT_GATE, Role.EXPERT_UP, Role.EXPERT_DOWN})

T = TypeVar("T")
U = TypeVar("U")
_Cut = tuple[range, range]
"""Rows and columns of a window."""
Progress = Callable[[int, int], None]
"""Called with (done, of) while tensors are read."""


@dataclass(frozen=True, slots=True)
class SampledRows:
    """The rows of one canonical matrix that the plan asks for. `values` has shape (n, C), float32.

    `window`: the columns that were read, where it was not all of them; `values` has only these.
    """

    key: TensorKey
    shape: tuple[int, ...]
    dtype: str
    stored_name: str
    first: int
    values: NDArray[np.float32]
    window: range | None = None


@dataclass(frozen=True, slots=True)
class WholeTensor:
    """What the exact pass keeps of one stored tensor.

    Attributes
    ----------
    sum_of_squares
        Of all elements, accumulated in float64.
    strided
        Elements 0, s, 2s ... of the flat tensor with s = n // 4096, the first 4096 of them; float32.
    row_norms
        Euclidean norms of the rows of an embedding table, else empty.

    A NaN or infinity anywhere makes `sum_of_squares` not finite.
    """

    sum_of_squares: float
    strided: NDArray[np.float32]
    row_norms: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ContentDigest:
    """SHA-256 of a canonical tensor's elements as little-endian float32, row-major. `constant`: all elements are equal."""

    sha256: str
    size: int
    constant: bool


@dataclass(frozen=True, slots=True)
class Observations:
    """All that was read of one artifact.

    Attributes
    ----------
    rows
        Sampled rows per canonical matrix.
    unread
        Matrices of the layers that the plan passes over, because others of their kind tell enough.
    vectors
        Each canonical vector whole, float32.
    whole
        Per stored tensor name, only after an exact pass; NotMeasured else.
    contents
        Per canonical tensor: of the whole tensor after an exact pass, else of the sampled rows.
    """

    artifact: Artifact
    plan: SamplingPlan
    rows: Mapping[TensorKey, SampledRows]
    vectors: Mapping[TensorKey, NDArray[np.float32]]
    whole: Mapping[str, WholeTensor] | NotMeasured
    contents: Mapping[TensorKey, ContentDigest]
    unread: tuple[TensorKey, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether every byte was read."""
        return not isinstance(self.whole, NotMeasured)

    @property
    def windows(self) -> NotMeasured | None:
        """Why signals over whole rows have no value, if they have none."""
        if any(r.window is not None for r in self.rows.values()):
            return NotMeasured("of matrices that are stored turned only some columns were read; --exact reads all")
        return None

    @property
    def embedding(self) -> CanonicalTensor | NotMeasured:
        """The input embedding table."""
        for tensor in self.artifact.canonical:
            if tensor.key.role is Role.EMBEDDING and tensor.key.part == "" and len(tensor.shape) == 2:
                return tensor
        return NotMeasured("no input embedding among the tensors")


def observe(
    artifact: Artifact,
    plan: SamplingPlan | None = None,
    *,
    exact: bool | None = None,
    jobs: int = 2,
    progress: Progress | None = None,
) -> Observations:
    """Read what the signals need.

    Parameters
    ----------
    exact
        Read every byte too. None: do so when the weights are at most 512 MiB.
    jobs
        Threads; never changes a value.

    Raises
    ------
    ArtifactError
        A tensor cannot be read as declared.
    """
    plan = plan or SamplingPlan()
    whole_too = artifact.weight_bytes <= EXACT_LIMIT if exact is None else exact
    left_out = _experts_not_sampled(artifact.canonical, plan)
    filled = [
        t for t in artifact.canonical if len(t.shape) == 2 and t.shape[0] and t.shape[1] and t.key not in left_out
    ]
    # What is read whole anyway gives its rows as well.
    cuts = {} if whole_too else {t.key: c for t in filled if (c := _window(t, plan)) is not None}
    over = plan.passed_over({t.key: t.lies for t in filled if t.key in cuts})
    matrices = [t for t in filled if t.key not in over]
    vectors = [t for t in artifact.canonical if len(t.shape) == 1 and 0 < t.shape[0] <= VECTOR_LIMIT]
    blocks = _room(matrices, plan, cuts)
    with ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
        sampled: list[tuple[SampledRows, ContentDigest | None]] = []
        kept: dict[TensorKey, NDArray[np.float32]] = {}
        # Both kinds together: in the file a norm lies beside a matrix, and one request may fetch both.
        for batch in batches(_wanted(artifact.canonical, matrices, vectors, plan, cuts)):
            step = [r.tensor for r in batch if len(r.tensor.shape) == 2]
            done = None if progress is None else _shifted(progress, len(sampled), len(matrices))
            sampled += _run(pool, lambda t: _sample(t, blocks[t.key], digest=not whole_too), step, done)
            flat = [r.tensor for r in batch if len(r.tensor.shape) == 1]
            kept.update(_run(pool, lambda t: (t.key, t.read_rows(0, t.shape[0])), flat, None))
        rows = {r.key: r for r, _ in sampled}
        if not whole_too:
            contents = {r.key: digest for r, digest in sampled if digest is not None}
            contents |= {k: _digest(v, v.size) for k, v in kept.items()}
            reason = f"{artifact.weight_bytes:,} bytes of weights are sampled, not read whole; --exact reads all"
            unread = tuple(t.key for t in filled if t.key not in rows)
            return Observations(artifact, plan, rows, kept, NotMeasured(reason), contents, unread)
        passed = list(_run(pool, lambda g: _read_whole(*g), _by_stored(artifact), progress))
    whole = {name: tensor for name, tensor, _ in passed}
    digests = {key: digest for _, _, found in passed for key, digest in found.items()}
    return Observations(artifact, plan, rows, kept, whole, digests)


def _run(
    pool: ThreadPoolExecutor, work: Callable[[T], U], items: Sequence[T], progress: Progress | None
) -> Iterable[U]:
    for done, result in enumerate(pool.map(work, items), 1):
        if progress:
            progress(done, len(items))
        yield result


def _wanted(
    canonical: Sequence[CanonicalTensor],
    matrices: Sequence[CanonicalTensor],
    vectors: Sequence[CanonicalTensor],
    plan: SamplingPlan,
    cuts: Mapping[TensorKey, _Cut],
) -> list[Rows]:
    """The rows of all matrices and vectors, in the order of `canonical`."""
    found = {t.key: Rows(t, 0, t.shape[0]) for t in vectors}
    for tensor in matrices:
        rows, columns = cuts.get(tensor.key) or (plan.rows(tensor.key.role, tensor.shape), None)
        if columns is None and tensor.lies is not Lies.ROWS:
            columns = range(tensor.shape[1])
        found[tensor.key] = Rows(tensor, rows.start, rows.stop, columns)
    return [found[t.key] for t in canonical if t.key in found]


def _window(tensor: CanonicalTensor, plan: SamplingPlan) -> _Cut | None:
    """What is read of a matrix whose rows are dear; None for others, where it is all columns, and for embeddings."""
    if tensor.lies is Lies.ROWS or tensor.key.role is Role.EMBEDDING:
        return None
    rows, columns = plan.window(tensor.key.role, tensor.shape, tensor.lies)
    return (rows, columns) if len(columns) < tensor.shape[1] else None


def _shifted(progress: Progress, before: int, of: int) -> Progress:
    return lambda done, _: progress(before + done, of)


def _experts_not_sampled(canonical: Sequence[CanonicalTensor], plan: SamplingPlan) -> frozenset[TensorKey]:
    keys = [t.key for t in canonical if t.key.role in _EXPERTS and t.key.expert is not None]
    chosen = plan.experts(sorted({k.expert for k in keys if k.expert is not None}))
    return frozenset(k for k in keys if k.expert not in chosen)


@dataclass(frozen=True, slots=True)
class _Block:
    """What is read of a matrix, and where it goes."""

    rows: range
    window: range | None
    values: NDArray[np.float32]


def _room(
    matrices: Sequence[CanonicalTensor], plan: SamplingPlan, cuts: Mapping[TensorKey, _Cut]
) -> dict[TensorKey, _Block]:
    """One array for all: tens of thousands of small ones would leave the memory in pieces."""
    wanted = {t.key: cuts.get(t.key) or (plan.rows(t.key.role, t.shape), None) for t in matrices}
    widths = {t.key: t.shape[1] if (window := wanted[t.key][1]) is None else len(window) for t in matrices}
    whole = np.empty(sum(len(rows) * widths[key] for key, (rows, _) in wanted.items()), np.float32)
    found, at = {}, 0
    for key, (rows, window) in wanted.items():
        size = len(rows) * widths[key]
        found[key] = _Block(rows, window, whole[at : at + size].reshape(len(rows), widths[key]))
        at += size
    return found


def _sample(tensor: CanonicalTensor, block: _Block, *, digest: bool) -> tuple[SampledRows, ContentDigest | None]:
    rows, window = block.rows, block.window
    block.values[:] = tensor.read_rows(rows.start, rows.stop) if window is None else tensor.read_block(rows, window)
    stored = tensor.stored
    found = SampledRows(tensor.key, tensor.shape, stored.dtype, stored.name, rows.start, block.values, window)
    return found, _digest(block.values, _count(tensor.shape)) if digest else None


def _count(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))


def _digest(values: NDArray[np.float32], size: int) -> ContentDigest:
    data = np.ascontiguousarray(values, dtype="<f4")
    constant = bool(data.size and (data == data.flat[0]).all())
    return ContentDigest(sha256(data.data).hexdigest(), size, constant)


def _by_stored(artifact: Artifact) -> list[tuple[StoredTensor, tuple[CanonicalTensor, ...]]]:
    views: dict[str, list[CanonicalTensor]] = {}
    for tensor in artifact.canonical:
        views.setdefault(tensor.stored.name, []).append(tensor)
    by_size = sorted(artifact.stored, key=lambda t: (-t.nbytes, t.name))
    return [(t, tuple(views.get(t.name, ()))) for t in by_size]


def _read_whole(
    stored: StoredTensor, views: tuple[CanonicalTensor, ...]
) -> tuple[str, WholeTensor, dict[TensorKey, ContentDigest]]:
    """One pass over a stored tensor in blocks; a second one over its views where they order the elements otherwise."""
    embedding = any(v.key.role is Role.EMBEDDING for v in views) and len(stored.shape) == 2
    as_stored = len(views) == 1 and views[0].keeps_order
    columns = stored.shape[1] if embedding else 1
    step = max(1, _BLOCK // max(columns, 1)) * columns
    stride = max(1, stored.size // STRIDED)
    digest, squares, strided, norms, constant = sha256(), 0.0, [], [], True
    first: float | None = None
    for start in range(0, stored.size, step):
        block = stored.reader.read(start, min(step, stored.size - start))
        first = float(block[0]) if first is None else first
        squares += float(np.einsum("i,i->", block, block, dtype=np.float64))
        strided.append(block[-start % stride :: stride])
        constant = constant and bool((block == np.float32(first)).all())
        if as_stored:
            digest.update(np.ascontiguousarray(block, dtype="<f4").data)
        if embedding and columns:
            table = block.reshape(-1, columns)
            norms.append(np.sqrt(np.einsum("ij,ij->i", table, table, dtype=np.float64)).astype(np.float32))
    whole = WholeTensor(
        squares,
        np.concatenate(strided)[:STRIDED] if strided else np.empty(0, np.float32),
        np.concatenate(norms) if norms else np.empty(0, np.float32),
    )
    if as_stored:
        return stored.name, whole, {views[0].key: ContentDigest(digest.hexdigest(), stored.size, constant)}
    return stored.name, whole, {v.key: _digest_view(v) for v in views}


def _digest_view(view: CanonicalTensor) -> ContentDigest:
    digest = sha256()
    columns = view.shape[1] if len(view.shape) == 2 else 1
    # A transposed view reads its whole stored matrix for every block, so it gets few, large ones.
    step = max(1, 8 * _BLOCK // max(columns, 1))
    constant, first = True, None
    for start in range(0, view.shape[0], step):
        rows = view.read_rows(start, min(start + step, view.shape[0]))
        first = rows.flat[0] if first is None and rows.size else first
        constant = constant and bool((rows == first).all())
        digest.update(np.ascontiguousarray(rows, dtype="<f4").data)
    return ContentDigest(digest.hexdigest(), _count(view.shape), constant)
