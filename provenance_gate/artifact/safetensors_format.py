"""The safetensors format: a bounded reader of headers and shard indexes, and tensors that are read range by range.

Rules of the format page, all enforced: header of at most 100,000,000 bytes that starts with ``{`` and is UTF-8 JSON with
unique keys; offsets that start at 0, touch, and end at the end of the file; shape times type size equal to the bytes given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.dtypes import BITS, byte_size, decode
from provenance_gate.artifact.interface import FileRecord, StoredTensor, WeightFormat
from provenance_gate.artifact.jsonfile import load_json_object
from provenance_gate.artifact.ranges import RangeSource
from provenance_gate.artifact.shards import check_index, read_index, refuse_missing
from provenance_gate.artifact.sources.ahead import Place
from provenance_gate.artifact.sources.coalesce import Span
from provenance_gate.artifact.sources.interface import Store
from provenance_gate.errors import ArtifactError, MalformedFileError, UnsafeFormatError, one_line

MAX_HEADER = 100_000_000
MAX_NAME = 1024
MAX_DIMENSIONS = 16
_LARGEST = 2**63 - 1
_LARGEST_EMPTY = 2**31 - 1
INDEX_SUFFIX = ".safetensors.index.json"


@dataclass(frozen=True, slots=True)
class _Reader:
    """Elements of one tensor inside a file; implements `TensorReader`."""

    source: RangeSource
    name: str
    dtype: str
    begin: int
    count: int

    def read(self, start: int, count: int) -> NDArray[np.float32]:
        return decode(self.raw(start, count), self.dtype, self.name)

    def raw(self, start: int, count: int) -> bytes:
        """The stored bytes of elements [start, start + count)."""
        if not 0 <= start <= start + count <= self.count:
            raise IndexError(f"elements {start} to {start + count} of {self.count}")
        first, size = byte_size(self.dtype, start), byte_size(self.dtype, count)
        if first is None or size is None:
            raise ArtifactError(
                f"{self.source.name}: tensor {self.name!r}: {self.dtype} elements do not start on a byte"
            )
        return self.source.read(self.begin + first, size)

    def spans(self, start: int, count: int) -> tuple[Place, ...]:
        """Where `read(start, count)` reads."""
        first, size = byte_size(self.dtype, start), byte_size(self.dtype, count)
        return () if first is None or size is None else ((self.source, Span(self.begin + first, size)),)


def open_safetensors(source: RangeSource, path: PurePosixPath) -> tuple[StoredTensor, ...]:
    """The tensors of one file, in the order of their offsets. Raises MalformedFileError naming the file and the field."""
    header, start = _read_header(source)
    tensors = []
    spans: list[tuple[int, int, str]] = []
    for name, entry in header.items():
        if name == "__metadata__":
            _check_metadata(entry, source.name)
            continue
        dtype, shape, begin, end = _entry(name, entry, source.name)
        spans.append((begin, end, name))
        count = 1
        for extent in shape:
            count *= extent
        reader = _Reader(source, one_line(name), dtype, start + begin, count)
        tensors.append((begin, end, StoredTensor(name, dtype, shape, end - begin, path, reader)))
    _check_spans(spans, source.size - start, source.name)
    return tuple(t for _, _, t in sorted(tensors, key=lambda item: (item[0], item[1], item[2].name)))


def _read_header(source: RangeSource) -> tuple[dict[str, object], int]:
    if source.size < 8:
        raise MalformedFileError(f"{source.name}: {source.size} bytes, too short for a safetensors header")
    length = int.from_bytes(source.read(0, 8), "little")
    if length > MAX_HEADER:
        raise MalformedFileError(f"{source.name}: header of {length} bytes, expected at most {MAX_HEADER}")
    if length > source.size - 8:
        raise MalformedFileError(f"{source.name}: header of {length} bytes in a file of {source.size}; is it cut?")
    raw = source.read(8, length)
    if raw[:1] != b"{":
        raise MalformedFileError(
            f"{source.name}: header starts with {one_line(repr(raw[:1]))}, expected an opening brace"
        )
    return load_json_object(raw, f"{source.name}: header"), 8 + length


def _check_metadata(entry: object, name: str) -> None:
    if not isinstance(entry, dict) or not all(isinstance(v, str) for v in entry.values()):
        raise MalformedFileError(f"{name}: __metadata__: expected an object of strings")


def _entry(name: str, entry: object, file: str) -> tuple[str, tuple[int, ...], int, int]:
    where = f"{file}: tensor {one_line(name, 80)!r}"
    if len(name) > MAX_NAME:
        raise MalformedFileError(f"{where}: name of {len(name)} characters, expected at most {MAX_NAME}")
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise MalformedFileError(f"{where}: expected an object with dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise MalformedFileError(f"{where}: dtype {one_line(repr(dtype), 40)}, expected one of {', '.join(BITS)}")
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS or not all(_is_size(n) for n in shape):
        raise MalformedFileError(f"{where}: shape, expected at most {MAX_DIMENSIONS} integers of 0 or more")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_is_size(n) for n in offsets):
        raise MalformedFileError(f"{where}: data_offsets, expected two integers of 0 or more")
    count = 1
    for extent in shape:
        count *= extent
        if count > _LARGEST:
            raise MalformedFileError(f"{where}: shape has more than 2**63 elements")
    # No bytes stand behind the other extents of an empty tensor: nothing else would bound the work per row.
    if not count and prod(extent for extent in shape if extent) > _LARGEST_EMPTY:
        raise MalformedFileError(f"{where}: shape of an empty tensor, expected extents whose product is below 2**31")
    begin, end = offsets
    size = byte_size(dtype, count)
    if begin > end or size != end - begin:
        expected = "a whole number of" if size is None else str(size)
        raise MalformedFileError(f"{where}: data_offsets hold {end - begin} bytes, shape and dtype ask for {expected}")
    return dtype, tuple(shape), begin, end


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST


def _check_spans(spans: list[tuple[int, int, str]], size: int, file: str) -> None:
    at = 0
    for begin, end, name in sorted(spans):
        if begin != at:
            fault = "overlaps the tensor before it" if begin < at else f"leaves a hole of {begin - at} bytes before it"
            raise MalformedFileError(f"{file}: tensor {one_line(name, 80)!r}: data_offsets: {fault}")
        at = end
    if at != size:
        fault = f"{at - size} bytes missing; is the file cut?" if at > size else f"{size - at} bytes too many"
        raise MalformedFileError(f"{file}: tensors end at byte {at} of {size} data bytes: {fault}")


def open_weights(store: Store, files: Sequence[FileRecord]) -> tuple[tuple[StoredTensor, ...], tuple[str, ...]]:
    """All tensors of the artifact's main weights, sorted by name, and notes on files that were passed over.

    Only files at the root count (subfolders hold other modules). An index decides which shards belong to the model; a folder
    that has both the Hugging Face and Mistral's ``consolidated`` layout holds one model twice, and the first is read.
    """
    at_root = [f for f in files if len(f.path.parts) == 1]
    for record in at_root:
        if record.format is WeightFormat.LFS_POINTER:
            raise ArtifactError(f"{record.path}: a Git LFS pointer, not weights; run `git lfs pull` first")
    shards = {str(f.path): f for f in at_root if f.format is WeightFormat.SAFETENSORS}
    index = _find_index(at_root)
    notes: list[str] = []
    weight_map: Mapping[str, str] | None = None
    if not shards:
        _refuse_disguised(at_root)
    if index is not None:
        weight_map = read_index(store, index, shards, "safetensors")
        wanted = sorted(set(weight_map.values()))
        if "model.safetensors" in shards and "model.safetensors" not in wanted:
            # Loaders differ in which of the two they take: what is measured must be what is run.
            raise ArtifactError(
                f"{index.path}: names other weights than model.safetensors beside it; remove one of the two"
            )
    else:
        wanted = _main_shards(sorted(shards))
        refuse_missing(wanted, ".safetensors")
    passed_over = sorted(shards.keys() - set(wanted))
    if passed_over:
        notes.append(f"not read, since other files hold the model: {', '.join(map(one_line, passed_over[:5]))}")
    tensors: dict[str, StoredTensor] = {}
    for name in wanted:
        for tensor in open_safetensors(store.open(shards[name]), PurePosixPath(name)):
            if tensor.name in tensors:
                other = tensors[tensor.name].path
                raise MalformedFileError(f"{one_line(name)}: tensor {one_line(tensor.name, 80)!r} is in {other} too")
            tensors[tensor.name] = tensor
    if weight_map is not None and index is not None:
        check_index(weight_map, tensors, str(index.path))
    return tuple(tensors[name] for name in sorted(tensors)), tuple(notes)


def _find_index(at_root: Sequence[FileRecord]) -> FileRecord | None:
    """The one index that loaders look for. Others (of other parts of a pipeline) name no weights of this model."""
    return next((f for f in at_root if str(f.path) == f"model{INDEX_SUFFIX}"), None)


def _refuse_disguised(at_root: Sequence[FileRecord]) -> None:
    for record in at_root:
        if str(record.path).endswith(".safetensors") and record.format is not WeightFormat.SAFETENSORS:
            found = "unknown bytes" if record.format is None else record.format.value
            raise UnsafeFormatError(f"{record.path}: called safetensors, but its first bytes are those of {found}")


def _main_shards(names: Sequence[str]) -> list[str]:
    if "model.safetensors" in names:
        return ["model.safetensors"]
    main = [n for n in names if not n.startswith(("consolidated", "adapter_"))]
    return main or list(names)
