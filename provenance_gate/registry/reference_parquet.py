"""The reference system's deep signals: one parquet file a model, one number a line (signal, layer, row, col, value).

The file is hostile. Its size, its line count and what its columns claim to expand to are checked before a line is read;
lines are read in blocks, and only the signals that are asked for are kept. A signal is accepted when its indexes name every
place exactly once.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from os import fstat
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from provenance_gate.errors import RegistryError, one_line
from provenance_gate.registry.parquet_pages import check_pages

MAX_FILE_BYTES = 1 << 30
MAX_LINES = 1 << 27
"""A mixture of 128 experts has 77 million."""
MAX_LAYERS = 10_000
_BLOCK = 1 << 16
_MAX_ROW_GROUPS = 4096
_MAX_NAMES = 1024

LIMITS: Mapping[str, int] = {
    "eas_self_sim": 64 * 64,
    "end_histogram": 1024,
    "lep_profile": MAX_LAYERS,
    "nlf_vector": 1 << 23,
    "wvc_layer_sigs": 1 << 23,
}
"""Values kept at most, by signal. The largest dense model published has 3.6 million in all."""

_SECOND_INDEX: Mapping[str, tuple[str, int]] = {"eas_self_sim": ("col", 64), "wvc_layer_sigs": ("layer", MAX_LAYERS)}
"""The index beside `row` that the signal needs, and what it stays below."""
_COLUMNS = ("signal", "layer", "row", "col", "value")


@dataclass(slots=True)
class _Lines:
    """Lines of one signal, in blocks: `second` is layer or col, zero where the signal has neither."""

    count: int = 0
    row: list[NDArray[np.int32]] = field(default_factory=list)
    second: list[NDArray[np.int32]] = field(default_factory=list)
    value: list[NDArray[np.float32]] = field(default_factory=list)


DeepSignals = Mapping[str, Mapping[int, NDArray[np.float32]]]
"""By signal, then by layer: vectors in the order of `row`. Signals without layers have the one layer 0; the vectors of
``eas_self_sim`` are the columns of its matrix."""


def read_deep_signals(path: Path, name: str, digest: str | None, wanted: Collection[str]) -> DeepSignals:
    """The `wanted` signals that the file holds; keys of `LIMITS`.

    Parameters
    ----------
    path, name
        A regular file, and what messages call it.
    digest
        SHA-256 that its bytes must have, in lower-case hex; None when nobody states one.

    Raises
    ------
    RegistryError
        pyarrow is not installed, the digest does not fit, the file is not parquet, lacks a column, is larger than it may be,
        or a signal names a place twice, leaves one out, or holds NaN or infinity.
    """
    parquet, arrow = _pyarrow()
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise RegistryError(f"{name}: larger than {MAX_FILE_BYTES:,} bytes")
        with path.open("rb") as file:
            # The handle that is hashed is the one that is read: the name may lead elsewhere by then.
            _check_digest(file, name, digest)
            check_pages(file, fstat(file.fileno()).st_size, name)
            lines: dict[str, _Lines] = {}
            for block in _blocks(parquet, arrow, file, name):
                _sort_block(block, name, wanted, lines)
    # Over a damaged footer pyarrow stumbles with Python's own errors, too.
    except (arrow.ArrowException, ValueError, LookupError, TypeError, ArithmeticError, MemoryError) as error:
        raise RegistryError(f"{name}: not a readable parquet file: {one_line(str(error), 160)}") from error
    except OSError as error:
        raise RegistryError(f"{name}: {error.strerror or one_line(str(error), 160)}") from error
    return {signal: _vectors(found, f"{name}: {signal}") for signal, found in sorted(lines.items())}


def _pyarrow() -> tuple[Any, Any]:
    try:
        return importlib.import_module("pyarrow.parquet"), importlib.import_module("pyarrow")
    except ImportError as error:
        raise RegistryError("reading parquet files needs pyarrow: pip install 'provenance-gate[parquet]'") from error


def _check_digest(file: IO[bytes], name: str, digest: str | None) -> None:
    if digest is None:
        return
    found = sha256()
    while data := file.read(1 << 20):
        found.update(data)
    file.seek(0)
    if found.hexdigest() != digest:
        raise RegistryError(f"{name}: SHA-256 is {found.hexdigest()}, the features state {digest}")


def _blocks(parquet: Any, arrow: Any, file: IO[bytes], name: str) -> Iterator[Any]:
    _check_schema(arrow, parquet.read_schema(file), name)
    opened = parquet.ParquetFile(
        file,
        # Names stay a dictionary: a long one repeated on every line would otherwise be copied to every line.
        read_dictionary=["signal"],
        buffer_size=_BLOCK,
        pre_buffer=False,
        thrift_string_size_limit=1 << 24,
        thrift_container_size_limit=1 << 20,
    )
    _check_sizes(opened.metadata, name)
    yield from opened.iter_batches(batch_size=_BLOCK, columns=list(_COLUMNS), use_threads=False)


def _check_schema(arrow: Any, schema: Any, name: str) -> None:
    kinds = {
        "signal": (lambda t: _is_text(arrow, t.value_type if arrow.types.is_dictionary(t) else t), "text"),
        **dict.fromkeys(("layer", "row", "col"), (arrow.types.is_signed_integer, "a signed integer")),
        "value": (lambda t: arrow.types.is_float32(t) or arrow.types.is_float64(t), "float32"),
    }
    for column, (fits, expected) in kinds.items():
        if schema.names.count(column) != 1:
            raise RegistryError(f"{name}: column {column}: expected one, found {schema.names.count(column)}")
        kind = schema.field(column).type
        if not fits(kind):
            raise RegistryError(f"{name}: column {column}: expected {expected}, found {one_line(str(kind), 60)}")


def _is_text(arrow: Any, kind: Any) -> bool:
    return bool(arrow.types.is_string(kind) or arrow.types.is_large_string(kind))


def _check_sizes(metadata: Any, name: str) -> None:
    if not 0 <= metadata.num_rows <= MAX_LINES:
        raise RegistryError(f"{name}: states {metadata.num_rows:,} lines, at most {MAX_LINES:,} are read")
    if metadata.num_row_groups > _MAX_ROW_GROUPS:
        raise RegistryError(
            f"{name}: states {metadata.num_row_groups:,} row groups, at most {_MAX_ROW_GROUPS:,} are read"
        )


def _sort_block(block: Any, name: str, wanted: Collection[str], lines: dict[str, _Lines]) -> None:
    column = block.column("signal")
    if column.null_count or len(column.dictionary) > _MAX_NAMES:
        raise RegistryError(f"{name}: column signal: expected text on every line, at most {_MAX_NAMES} names")
    codes = column.indices.to_numpy(zero_copy_only=False)
    for code, signal in enumerate(column.dictionary.to_pylist()):
        if signal not in wanted or signal not in LIMITS:
            continue
        chosen = np.flatnonzero(codes == code)
        if len(chosen):
            _keep(block.take(chosen), f"{name}: {signal}", signal, lines.setdefault(signal, _Lines()))


def _keep(block: Any, where: str, signal: str, lines: _Lines) -> None:
    lines.count += len(block)
    if lines.count > LIMITS[signal]:
        raise RegistryError(f"{where}: more than {LIMITS[signal]:,} values")
    index, bound = _SECOND_INDEX.get(signal, ("", 1))
    lines.row.append(_indexes(block, "row", LIMITS[signal], where))
    lines.second.append(_indexes(block, index, bound, where) if index else np.zeros(len(block), np.int32))
    values = block.column("value")
    numbers = values.to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):
        kept: NDArray[np.float32] = numbers.astype(np.float32)
    if values.null_count or not np.isfinite(kept).all():
        raise RegistryError(f"{where}: value: NaN, infinite or missing")
    lines.value.append(kept)


def _indexes(block: Any, index: str, bound: int, where: str) -> NDArray[np.int32]:
    column = block.column(index)
    if column.null_count:
        raise RegistryError(f"{where}: {index}: missing on {column.null_count:,} lines")
    found = column.to_numpy(zero_copy_only=False)
    low, high = int(found.min()), int(found.max())
    if low < 0 or high >= bound:
        raise RegistryError(f"{where}: {index}: found {low if low < 0 else high}, expected 0 to {bound - 1:,}")
    indexes: NDArray[np.int32] = found.astype(np.int32)
    return indexes


def _vectors(lines: _Lines, where: str) -> Mapping[int, NDArray[np.float32]]:
    row, second, value = np.concatenate(lines.row), np.concatenate(lines.second), np.concatenate(lines.value)
    order = np.lexsort((row, second))
    row, second, value = row[order], second[order], value[order]
    starts = np.flatnonzero(np.concatenate(([True], second[1:] != second[:-1])))
    lengths = np.diff(np.append(starts, len(second)))
    expected = np.arange(len(row)) - np.repeat(starts, lengths)
    wrong = np.flatnonzero(row != expected)
    if len(wrong):
        at = int(wrong[0])
        fault = "twice" if row[at] < expected[at] else "not there"
        raise RegistryError(f"{where}: row {min(int(row[at]), int(expected[at]))} is {fault}")
    return {int(second[s]): value[s : s + n].copy() for s, n in zip(starts, lengths, strict=True)}
