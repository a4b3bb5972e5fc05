"""Sampled rows as a fingerprint keeps them: half precision, scaled by a power of two per row.

Values that were bf16 or f16 survive exactly (but for ones 2**14 times smaller than their row's largest); float32 is rounded
to 11 bits, a relative error of 2**-12.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.interface import Role, TensorKey
from provenance_gate.errors import FingerprintError
from provenance_gate.fingerprint.interface import Json
from provenance_gate.fingerprint.observe import SampledRows

_ROLES = frozenset(r.value for r in Role)


@dataclass(frozen=True, slots=True)
class KeptRows:
    """Rows of one matrix. `shape` is the whole matrix's; `values` has shape (n, C), float32; `first` is the first row.

    `window`: the columns that `values` has, where it is not all of them.
    """

    key: TensorKey
    shape: tuple[int, ...]
    dtype: str
    first: int
    values: NDArray[np.float32]
    window: range | None = None

    def cut(self, rows: int, window: range) -> KeptRows:
        """The first `rows` rows, and of them the columns of `window`, which must be among those at hand."""
        left = window.start - (self.window.start if self.window else 0)
        values = np.ascontiguousarray(self.values[:rows, left : left + len(window)])
        return replace(self, values=values, window=window)


def on_common_blocks(*models: Mapping[TensorKey, KeptRows]) -> tuple[dict[TensorKey, KeptRows], ...]:
    """The rows of several models, matrices of one shape cut to what all have of it where one has only a window of columns.

    Windows of one shape start at one column, as blocks of rows start at one row. What meets nowhere is left out.
    """
    shared: dict[tuple[int, ...], range] = {}
    fewest: dict[tuple[int, ...], int] = {}
    for rows in models:
        for kept in rows.values():
            fewest[kept.shape] = min(len(kept.values), fewest.get(kept.shape, len(kept.values)))
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
    values: list[NDArray[np.float16]] = []
    exponents: list[NDArray[np.int16]] = []
    for item in sorted(rows, key=lambda r: _order(r.key)):
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
        values.append(scaled.astype(np.float16).reshape(-1))
        exponents.append(exponent.astype(np.int16))
    return table, {
        "values": np.concatenate(values) if values else np.empty(0, np.float16),
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
    at, row = 0, 0
    for entry in table:
        key, shape, dtype, first, count = _entry(entry)
        window = window_of(entry, shape)
        width = shape[1] if window is None else len(window)
        size = count * width
        if at + size > len(values) or row + count > len(exponents):
            raise FingerprintError(f"weight_correlation: {key}: more rows than the file holds")
        scaled = values[at : at + size].reshape(count, width).astype(np.float32)
        exponent = exponents[row : row + count].astype(np.int32)
        kept[key] = KeptRows(key, shape, dtype, first, np.ldexp(scaled, exponent[:, None]), window)
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
