"""Sampled rows as a fingerprint keeps them: half precision, scaled by a power of two per row.

Values that were bf16 or f16 survive exactly (but for ones 2**14 times smaller than their row's largest); float32 is rounded
to 11 bits, a relative error of 2**-12.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.interface import Role, TensorKey
from provenance_gate.errors import FingerprintError
from provenance_gate.fingerprint.interface import Json
from provenance_gate.fingerprint.observe import SampledRows


@dataclass(frozen=True, slots=True)
class KeptRows:
    """Rows of one matrix. `shape` is the whole matrix's; `values` has shape (n, C), float32; `first` is the first row."""

    key: TensorKey
    shape: tuple[int, ...]
    dtype: str
    first: int
    values: NDArray[np.float32]


def pack_rows(rows: Iterable[SampledRows]) -> tuple[list[Json], dict[str, NDArray[np.generic]]]:
    """A table with one entry a matrix, and two arrays: `values` (all rows flat, float16) and `exponents` (int16, a row each)."""
    table: list[Json] = []
    values: list[NDArray[np.float16]] = []
    exponents: list[NDArray[np.int16]] = []
    for item in sorted(rows, key=lambda r: _order(r.key)):
        _, exponent = np.frexp(np.abs(item.values).max(axis=1))
        scaled = np.ldexp(item.values, -exponent[:, None])
        key = item.key
        table.append(
            {
                "role": key.role.value,
                "stack": key.stack,
                "layer": key.layer,
                "part": key.part,
                "shape": list(item.shape),
                "dtype": item.dtype,
                "first": item.first,
                "rows": len(item.values),
            }
        )
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
        size = count * shape[1]
        if at + size > len(values) or row + count > len(exponents):
            raise FingerprintError(f"weight_correlation: {key}: more rows than the file holds")
        scaled = values[at : at + size].reshape(count, shape[1]).astype(np.float32)
        exponent = exponents[row : row + count].astype(np.int32)
        kept[key] = KeptRows(key, shape, dtype, first, np.ldexp(scaled, exponent[:, None]))
        at, row = at + size, row + count
    if at != len(values) or row != len(exponents):
        raise FingerprintError("weight_correlation: fewer rows than the file holds")
    return kept


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
