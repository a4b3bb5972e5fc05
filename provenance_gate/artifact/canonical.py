"""Canonical tensors: views on stored ones, split and turned to (out x in), with a role each.

Fused matrices are split by what their neighbors' shapes say (the width of the attention output is that of all query
heads), and by config.json only for the number of heads. What does not fit is kept whole with role OTHER, and noted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.expertstacks import ExpertStack, expert_stacks
from provenance_gate.artifact.interface import (
    CanonicalTensor,
    Lies,
    ModelConfig,
    NotMeasured,
    Role,
    StoredTensor,
    TensorKey,
)
from provenance_gate.artifact.quantized.tables import DequantizingReader
from provenance_gate.artifact.roles import Layout, NamedTensor, name_tensors
from provenance_gate.artifact.sources.ahead import Place, TellsSpans
from provenance_gate.errors import one_line

Segments = tuple[tuple[int, int], ...]
"""(start, length) runs of stored rows (or columns); canonical rows are their concatenation."""

_TURN_BLOCK = 1 << 22
"""Elements read at a time when a matrix is stored transposed: only saves memory, never changes a value."""

_MAX_EXPERTS = 4096
_MAX_HEADS = 1 << 16
"""Above any real model. An empty tensor may state any extent, so its bytes do not bound the number of views."""

KNOWN_PREFIXES = (
    "",
    "model.",
    "transformer.",
    "gpt_neox.",
    "bert.",
    "roberta.",
    "distilbert.",
    "model.language_model.",
    "language_model.model.",
)
"""Where loaders look for a model's tensors. A second set of tensors under another prefix is not what would be run."""


@dataclass(frozen=True, slots=True)
class TensorView:
    """Some rows of a stored tensor as a canonical one.

    Attributes
    ----------
    segments
        Runs of stored rows that make up the canonical rows; of stored columns when `turned`.
    columns
        Width of a canonical row.
    turned
        The stored matrix is (in, out).
    origin
        First element of the stored matrix inside the stored tensor (stacked experts).
    every
        Canonical rows are every so many stored ones (or columns), as where gate and up alternate. A run (start, length)
        then counts canonical rows from the stored one at `start`, and is the only one.
    """

    key: TensorKey
    shape: tuple[int, ...]
    stored: StoredTensor
    segments: Segments
    columns: int
    turned: bool = False
    origin: int = 0
    every: int = 1

    @property
    def keeps_order(self) -> bool:
        """Whether the view is the stored tensor, element for element."""
        return (
            not self.turned and prod(self.shape) == self.stored.size and len(_cut(self.segments, 0, self.shape[0])) <= 1
        )

    def read_rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """Rows [start, stop), shape (stop - start, columns); elements [start, stop) of a vector."""
        if not 0 <= start <= stop <= self.shape[0]:
            raise IndexError(f"rows {start} to {stop} of {self.shape[0]}")
        runs = self._runs(start, stop)
        if self.turned:
            return self._read_turned(runs, stop - start, range(self.columns))
        if self.every > 1 and runs:
            ((first, length),) = runs
            block = self.stored.reader.read(self.origin + first * self.columns, length * self.columns)
            return np.ascontiguousarray(block.reshape(length, self.columns)[:: self.every])
        parts = [self.stored.reader.read(self.origin + first * self.columns, n * self.columns) for first, n in runs]
        flat = parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.empty(0, np.float32)
        return flat if len(self.shape) == 1 else flat.reshape(stop - start, self.columns)

    @property
    def lies(self) -> Lies:
        """COLUMNS and SCATTERED only where `read_block` reads no more than the columns need."""
        if len(self.shape) != 2:
            return Lies.ROWS
        if self.turned:
            return Lies.COLUMNS
        packed = self._packed
        return Lies.ROWS if packed is None else packed.lies

    @property
    def _packed(self) -> DequantizingReader | None:
        """The reader of a matrix that is packed turned, where canonical columns are its columns."""
        reader = self.stored.reader
        if self.turned or not isinstance(reader, DequantizingReader) or reader.lies is Lies.ROWS:
            return None
        return reader if self.every == 1 and reader.columns == self.columns else None

    def read_block(self, rows: range, columns: range) -> NDArray[np.float32]:
        """Part of the matrix, shape (len(rows), len(columns))."""
        if not 0 <= columns.start <= columns.stop <= self.columns:
            raise IndexError(f"columns {columns.start} to {columns.stop} of {self.columns}")
        packed = self._packed
        if not self.turned and packed is None:
            return np.ascontiguousarray(self.read_rows(rows.start, rows.stop)[:, columns.start : columns.stop])
        if not 0 <= rows.start <= rows.stop <= self.shape[0]:
            raise IndexError(f"rows {rows.start} to {rows.stop} of {self.shape[0]}")
        runs = self._runs(rows.start, rows.stop)
        if packed is None:
            return self._read_turned(runs, len(rows), columns)
        top = self.origin // self.columns
        return np.concatenate([packed.read_block(range(top + first, top + first + n), columns) for first, n in runs])

    def block_spans(self, rows: range, columns: range) -> tuple[Place, ...]:
        """Where `read_block(rows, columns)` reads of remote files; empty when it cannot tell."""
        reader, packed = self.stored.reader, self._packed
        if packed is not None:
            top, runs = self.origin // self.columns, self._runs(rows.start, rows.stop)
            return tuple(
                p for first, n in runs for p in packed.block_spans(range(top + first, top + first + n), columns)
            )
        if self.turned and isinstance(reader, TellsSpans):
            width = self.stored.shape[-1]
            return reader.spans(self.origin + columns.start * width, len(columns) * width)
        return self.row_spans(rows.start, rows.stop)

    def row_spans(self, start: int, stop: int) -> tuple[Place, ...]:
        """Where `read_rows(start, stop)` reads; nothing for a turned matrix, of which every row takes all."""
        reader = self.stored.reader
        if self.lies is not Lies.ROWS or not isinstance(reader, TellsSpans):
            return ()
        runs = self._runs(start, stop)
        return tuple(p for first, n in runs for p in reader.spans(self.origin + first * self.columns, n * self.columns))

    def _runs(self, start: int, stop: int) -> Segments:
        """The stored runs that hold canonical rows [start, stop); with `every`, from the first of them to the last."""
        if self.every == 1 or start == stop:
            return _cut(self.segments, start, stop)
        return ((self.segments[0][0] + start * self.every, (stop - start - 1) * self.every + 1),)

    def _read_turned(self, runs: Segments, count: int, columns: range) -> NDArray[np.float32]:
        width = self.stored.shape[-1]
        out = np.empty((count, len(columns)), dtype=np.float32)
        step = max(1, _TURN_BLOCK // max(width, 1))
        for left in range(columns.start, columns.stop, step):
            wide = min(step, columns.stop - left)
            block = self.stored.reader.read(self.origin + left * width, wide * width).reshape(wide, width)
            at = 0
            for first, n in runs:
                part = block[:, first : first + n : self.every].T
                out[at : at + len(part), left - columns.start : left - columns.start + wide] = part
                at += len(part)
        return out


def _cut(segments: Segments, start: int, stop: int) -> Segments:
    """The part of `segments` that holds canonical rows [start, stop), touching runs joined."""
    runs: list[tuple[int, int]] = []
    at = 0
    for first, length in segments:
        low, high = max(start, at), min(stop, at + length)
        if low < high:
            begin = first + low - at
            if runs and sum(runs[-1]) == begin:
                runs[-1] = (runs[-1][0], runs[-1][1] + high - low)
            else:
                runs.append((begin, high - low))
        at += length
    return tuple(runs)


def canonical_tensors(
    stored: Sequence[StoredTensor], config: ModelConfig | NotMeasured
) -> tuple[tuple[CanonicalTensor, ...], str, tuple[str, ...]]:
    """All of `stored` as canonical tensors sorted by key, where the roles are from, and notes.

    Returns
    -------
    tensors
        Every stored element stands in exactly one of them.
    roles_from
        "names", or "none" when no table of names fits; then all tensors have role OTHER and are matched by content.
    notes
        One sentence each.
    """
    architecture, named = name_tensors(stored)
    named, notes = _drop_second_sets(named)
    query_rows = _query_rows(named)
    stacks = expert_stacks(named, stored, config)
    tensors: dict[TensorKey, CanonicalTensor] = {}
    used: set[str] = set()
    parts = [(item, _views(item, query_rows.get((item.stack, item.layer)), stacks, config)) for item in named]
    claimed = Counter(view.key for _, views in parts for view in views or () if view.key.layer is not None)
    for item, views in parts:
        if views is None:
            notes.append(
                f"{one_line(item.stored.name)}: its parts (heads, experts) cannot be told by its shape and config.json; "
                "kept whole"
            )
            continue
        if any(claimed[view.key] > 1 for view in views):
            # Which of the two a loader would run is not ours to guess, so neither is measured as part of a layer.
            notes.append(f"{one_line(item.stored.name)}: one of several tensors for the same place; kept as other")
            continue
        if any(view.key in tensors for view in views):
            notes.append(f"{one_line(item.stored.name)}: a second tensor for the same place; kept as other")
            continue
        tensors.update((view.key, view) for view in views)
        used.add(item.stored.name)
    for tensor in stored:
        if tensor.name not in used:
            view = _whole(tensor, TensorKey(Role.OTHER, "", None, tensor.name))
            tensors[view.key] = view
    ordered = tuple(tensors[k] for k in sorted(tensors, key=_sort_key))
    return ordered, "none" if architecture is None else "names", tuple(notes)


def _sort_key(key: TensorKey) -> tuple[str, int, str, str]:
    return (key.stack, -1 if key.layer is None else key.layer, key.role.value, key.part)


def _drop_second_sets(named: Sequence[NamedTensor]) -> tuple[tuple[NamedTensor, ...], list[str]]:
    """Keep the layers of one prefix: the one that loaders read, else the one that holds most."""
    sizes: dict[str, int] = {}
    for item in named:
        if item.layer is not None:
            sizes[item.prefix] = sizes.get(item.prefix, 0) + item.stored.size
    if not sizes:
        return tuple(named), []
    loaded = sorted(p for p in sizes if p in KNOWN_PREFIXES)
    if len(loaded) > 1:
        notes = [
            f"layers under prefixes {' and '.join(map(repr, loaded))}: which a loader would run is not clear; kept as other"
        ]
        return tuple(n for n in named if n.layer is None), notes
    chosen = min(sizes, key=lambda p: (p not in KNOWN_PREFIXES, -sizes[p], len(p), p))
    dropped = sorted(p for p in sizes if p != chosen)
    notes = [f"layers under prefix {one_line(repr(p))} beside {one_line(repr(chosen))}: kept as other" for p in dropped]
    kept = (n for n in named if n.layer is None or n.prefix == chosen)
    # Outside of the layers the tensor under the chosen prefix comes first, so that a second one becomes the spare.
    return tuple(sorted(kept, key=lambda n: (n.prefix != chosen, n.prefix not in KNOWN_PREFIXES, n.stored.name))), notes


def _query_rows(named: Sequence[NamedTensor]) -> dict[tuple[str, int | None], int]:
    """Width of all query heads per layer, read off the attention output matrix."""
    rows: dict[tuple[str, int | None], int] = {}
    for item in named:
        if item.entry.roles == (Role.ATTENTION_O,) and len(item.stored.shape) == 2 and item.suffix != "bias":
            axis = 0 if item.entry.layout is Layout.COLUMNS else 1
            rows[item.stack, item.layer] = item.stored.shape[axis]
    return rows


def _views(
    item: NamedTensor, query_rows: int | None, stacks: Mapping[str, ExpertStack], config: ModelConfig | NotMeasured
) -> list[TensorView] | None:
    """The canonical parts of one stored tensor, or None when they cannot be told apart."""
    stored, entry = item.stored, item.entry
    if entry.layout is Layout.STACKED:
        return _stacked(item, stacks.get(stored.name, ExpertStack()))
    if len(stored.shape) not in (1, 2) or (
        len(stored.shape) == 1 and entry.layout is Layout.COLUMNS and item.suffix != "bias"
    ):
        return [_whole(stored, item.key(entry.roles[0]))] if len(entry.roles) == 1 else None
    turned = entry.layout is Layout.COLUMNS and len(stored.shape) == 2
    rows = stored.shape[-1] if turned else stored.shape[0]
    parts = _segments(entry.roles, entry.layout, rows, query_rows, config)
    if parts is None:
        return None
    columns = (stored.shape[0] if turned else stored.shape[1]) if len(stored.shape) == 2 else 1
    views = []
    for role, segments in parts.items():
        count = sum(length for _, length in segments)
        shape = (count, columns) if len(stored.shape) == 2 else (count,)
        views.append(TensorView(item.key(role), shape, stored, segments, columns, turned))
    return views


def _segments(
    roles: tuple[Role, ...], layout: Layout, rows: int, query_rows: int | None, config: ModelConfig | NotMeasured
) -> Mapping[Role, Segments] | None:
    if len(roles) == 1:
        return {roles[0]: ((0, rows),)}
    if len(roles) == 2:
        half, rest = divmod(rows, 2)
        return None if rest else {roles[0]: ((0, half),), roles[1]: ((half, half),)}
    if query_rows is None or (rows - query_rows) % 2 or not 0 < query_rows < rows:
        return None
    other = (rows - query_rows) // 2
    q, k, v = roles
    if layout in (Layout.ROWS, Layout.COLUMNS):
        return {q: ((0, query_rows),), k: ((query_rows, other),), v: ((query_rows + other, other),)}
    heads = None if isinstance(config, NotMeasured) else config.num_attention_heads
    if not heads or query_rows % heads or not heads <= min(query_rows, _MAX_HEADS):
        return None
    width = query_rows // heads
    groups, rest = divmod(other, width)
    if rest or not groups or heads % groups or (layout is Layout.PER_HEAD and groups != heads):
        return None
    size, per = width * (heads // groups + 2), width * (heads // groups)
    return {
        q: tuple((g * size, per) for g in range(groups)),
        k: tuple((g * size + per, width) for g in range(groups)),
        v: tuple((g * size + per + width, width) for g in range(groups)),
    }


def _stacked(item: NamedTensor, stack: ExpertStack) -> list[TensorView] | None:
    shape, roles = item.stored.shape, item.entry.roles
    if len(shape) != 3 or not 0 < shape[0] <= _MAX_EXPERTS:
        return None
    experts, first, second = shape
    rows, columns = (second, first) if stack.turned else (first, second)
    per, rest = divmod(rows, len(roles))
    if rest:
        return None
    every = len(roles) if stack.alternating else 1
    return [
        TensorView(
            replace(item.key(role), part=str(expert)),
            (per, columns),
            item.stored,
            ((n if every > 1 else n * per, per),),
            columns,
            stack.turned,
            expert * rows * columns,
            every,
        )
        for expert in range(experts)
        for n, role in enumerate(roles)
    ]


def _whole(tensor: StoredTensor, key: TensorKey) -> TensorView:
    """The tensor as it is; of more than two dimensions (first that is not 1, product of the rest); a scalar as a vector."""
    if len(tensor.shape) < 2:
        count = tensor.shape[0] if tensor.shape else 1
        return TensorView(key, (count,), tensor, ((0, count),), 1)
    # Old GPT-2 files hold masks of shape (1, 1, n, n): one row of a million values each else.
    first = next((n for n, extent in enumerate(tensor.shape[:-2]) if extent != 1), len(tensor.shape) - 2)
    rows, columns = tensor.shape[first], prod(tensor.shape[first + 1 :])
    return TensorView(key, (rows, columns), tensor, ((0, rows),), columns)
