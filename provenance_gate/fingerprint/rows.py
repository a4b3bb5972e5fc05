"""Sampled rows as a fingerprint keeps them: half precision, scaled by a power of two per row.

Values that were bf16 or f16 survive exactly (but for ones 2**14 times smaller than their row's largest); float32 is rounded
to 11 bits, a relative error of 2**-12.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.interface import Role, TensorKey
from provenance_gate.errors import FingerprintError
from provenance_gate.fingerprint.interface import Json
from provenance_gate.fingerprint.observe import SampledRows

_DECODED = 1 << 22
"""Values that are decoded once, for speed; more are decoded where they are used, for memory (16 MB and less)."""
_ROLES = frozenset(r.value for r in Role)


@dataclass(frozen=True, slots=True)
class Half:
    """Rows as they are stored: `codes` (n, C) float16, each row times a power of two by its exponent (n,), int32."""

    codes: NDArray[np.float16]
    exponents: NDArray[np.int32]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.codes.shape

    def decoded(self) -> NDArray[np.float32]:
        """The values, shape (n, C)."""
        found: NDArray[np.float32] = np.ldexp(self.codes.astype(np.float32), self.exponents[:, None])
        return found


@dataclass(frozen=True, slots=True)
class KeptRows:
    """Rows of one matrix. `shape` is the whole matrix's; `first` is the first row that is kept.

    `held`: the rows, shape (n, C); of large models as stored, so that two of them take no more memory than their files.
    `window`: the columns that are held, where it is not all of them.
    """

    key: TensorKey
    shape: tuple[int, ...]
    dtype: str
    first: int
    held: NDArray[np.float32] | Half
    window: range | None = None

    @property
    def values(self) -> NDArray[np.float32]:
        """The rows, shape (n, C); decoded anew each time where they are held as stored."""
        return self.held.decoded() if isinstance(self.held, Half) else self.held

    @property
    def count(self) -> int:
        """Rows that are held."""
        return self.held.shape[0]

    @property
    def width(self) -> int:
        """Columns that are held."""
        return self.held.shape[1]

    @property
    def is_large(self) -> bool:
        """Whether the model has so many values that they are decoded where they are used."""
        return isinstance(self.held, Half)

    def top(self, rows: int, columns: int | None = None) -> NDArray[np.float32]:
        """The first rows, shape (rows, C), or (rows, columns)."""
        if isinstance(self.held, Half):
            return Half(self.held.codes[:rows, :columns], self.held.exponents[:rows]).decoded()
        return self.held[:rows, :columns]

    def cut(self, rows: int, window: range) -> KeptRows:
        """The first `rows` rows, and of them the columns of `window`, which must be among those at hand."""
        left = window.start - (self.window.start if self.window else 0)
        at = np.s_[:rows, left : left + len(window)]
        held = self.held
        if isinstance(held, Half):
            return replace(self, held=Half(held.codes[at], held.exponents[:rows]), window=window)
        return replace(self, held=np.ascontiguousarray(held[at]), window=window)


def on_common_blocks(*models: Mapping[TensorKey, KeptRows]) -> tuple[dict[TensorKey, KeptRows], ...]:
    """The rows of several models, matrices of one shape cut to what all have of it where one has only a window of columns.

    Windows of one shape start at one column, as blocks of rows start at one row. What meets nowhere is left out.
    """
    shared: dict[tuple[int, ...], range] = {}
    fewest: dict[tuple[int, ...], int] = {}
    for rows in models:
        for kept in rows.values():
            fewest[kept.shape] = min(kept.count, fewest.get(kept.shape, kept.count))
            if kept.window is not None:
                known = shared.get(kept.shape, kept.window)
                shared[kept.shape] = range(max(known.start, kept.window.start), min(known.stop, kept.window.stop))
    if not shared:
        return tuple(dict(rows) for rows in models)
    return tuple(
        {
            key: kept if (window := shared.get(kept.shape)) is None else kept.cut(fewest[kept.shape], window)
            for key, kept in rows.items()
            if kept.shape not in shared or len(shared[kept.shape])
        }
        for rows in models
    )


def pack_rows(rows: Iterable[SampledRows]) -> tuple[list[Json], dict[str, NDArray[np.generic]]]:
    """A table with one entry a matrix, and two arrays: `values` (all rows flat, float16) and `exponents` (int16, a row each)."""
    table: list[Json] = []
    ordered = sorted(rows, key=lambda r: _order(r.key))
    # Filled in place: of large models this is the largest part of a fingerprint.
    values = np.empty(sum(item.values.size for item in ordered), np.float16)
    exponents: list[NDArray[np.int16]] = []
    at = 0
    for item in ordered:
        _, exponent = np.frexp(np.abs(item.values).max(axis=1))
        scaled = np.ldexp(item.values, -exponent[:, None])
        key = item.key
        entry: dict[str, Json] = {
            "role": key.role.value,
            "stack": key.stack,
            "layer": key.layer,
            "part": key.part,
            "shape": list(item.shape),
            "dtype": item.dtype,
            "first": item.first,
            "rows": len(item.values),
        }
        if item.window is not None:
            entry["columns"] = [item.window.start, item.window.stop]
        table.append(entry)
        values[at : at + scaled.size] = scaled.reshape(-1)
        at += scaled.size
        exponents.append(exponent.astype(np.int16))
    return table, {
        "values": values,
        "exponents": np.concatenate(exponents) if exponents else np.empty(0, np.int16),
    }


def _order(key: TensorKey) -> tuple[str, int, str, str]:
    return (key.stack, -1 if key.layer is None else key.layer, key.role.value, key.part)


def unpack_rows(table: Json, arrays: Mapping[str, NDArray[np.generic]]) -> dict[TensorKey, KeptRows]:
    """The inverse of `pack_rows`. Raises FingerprintError when table and arrays do not fit each other."""
    values, exponents = arrays["values"], arrays["exponents"]
    if not isinstance(table, list):
        raise FingerprintError("weight_correlation: expected a list of tensors")
    kept: dict[TensorKey, KeptRows] = {}
    small = values.size <= _DECODED
    at, row = 0, 0
    for entry in table:
        key, shape, dtype, first, count = _entry(entry)
        window = window_of(entry, shape)
        width = shape[1] if window is None else len(window)
        size = count * width
        if at + size > len(values) or row + count > len(exponents):
            raise FingerprintError(f"weight_correlation: {key}: more rows than the file holds")
        codes: NDArray[Any] = values[at : at + size].reshape(count, width)
        half = Half(codes, exponents[row : row + count].astype(np.int32))
        kept[key] = KeptRows(key, shape, dtype, first, half.decoded() if small else half, window)
        at, row = at + size, row + count
    if at != len(values) or row != len(exponents):
        raise FingerprintError("weight_correlation: fewer rows than the file holds")
    return kept


def pack_keys(keys: Iterable[TensorKey]) -> list[Json]:
    """Keys as a list for a fingerprint's JSON part, sorted."""
    return [[k.role.value, k.stack, k.layer, k.part] for k in sorted(keys, key=_order)]


def unpack_keys(listed: Json) -> frozenset[TensorKey]:
    """The inverse of `pack_keys`. Raises FingerprintError."""
    found = set()
    for entry in listed if isinstance(listed, list) else [None]:
        match entry:
            case [str(role), str(stack), int() | None as layer, str(part)] if role in _ROLES:
                found.add(TensorKey(Role(role), stack, layer, part))
            case _:
                raise FingerprintError("weight_correlation: the list of unread tensors is malformed")
    return frozenset(found)


def window_of(entry: Json, shape: tuple[int, int]) -> range | None:
    """The window of columns that an entry of the table states; None: all. Raises FingerprintError when it is none of `shape`."""
    stated = entry.get("columns") if isinstance(entry, dict) else None
    match stated:
        case None:
            return None
        case [int(start), int(stop)] if 0 <= start < stop <= shape[1]:
            return range(start, stop)
    raise FingerprintError("weight_correlation: an entry of the tensor table has malformed columns")


def _entry(entry: Json) -> tuple[TensorKey, tuple[int, int], str, int, int]:
    match entry:
        case {
            "role": str(role),
            "stack": str(stack),
            "layer": int() | None as layer,
            "part": str(part),
            "shape": [int(rows), int(columns)],
            "dtype": str(dtype),
            "first": int(first),
            "rows": int(count),
        } if 0 < count <= rows and columns > 0 and 0 <= first <= rows - count:
            try:
                return TensorKey(Role(role), stack, layer, part), (rows, columns), dtype, first, count
            except ValueError as error:
                raise FingerprintError(f"weight_correlation: unknown role {role!r}") from error
    raise FingerprintError("weight_correlation: an entry of the tensor table is malformed")
