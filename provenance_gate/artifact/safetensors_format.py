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
from provenance_gate.artifact.shards import check_index, read_index, refuse_missing, refuse_pointers
from provenance_gate.artifact.sources.ahead import Place
from provenance_gate.artifact.sources.coalesce import Span
from provenance_gate.artifact.sources.interface import Store
from provenance_gate.artifact.weightsets import WeightSet, at_root, first_names, known_sets, named_by
from provenance_gate.errors import ArtifactError, MalformedFileError, UnsafeFormatError, one_line

MAX_HEADER = 100_000_000
MAX_NAME = 1024
MAX_DIMENSIONS = 16
_LARGEST = 2**63 - 1
_LARGEST_EMPTY = 2**31 - 1
SUFFIX = ".safetensors"
SINGLE = f"model{SUFFIX}"
MAIN_INDEX = f"{SINGLE}.index.json"
"""The one index that loaders look for. Others (of other parts of a pipeline) name no weights of this model."""


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


@dataclass(frozen=True, slots=True)
class MainWeights:
    """Tensors of the main weights sorted by name, notes, and the sets of files that hold the model once more."""

    tensors: tuple[StoredTensor, ...]
    notes: tuple[str, ...]
    others: tuple[WeightSet, ...] = ()


def open_weights(store: Store, files: Sequence[FileRecord]) -> tuple[tuple[StoredTensor, ...], tuple[str, ...]]:
    """All tensors of the artifact's main weights, sorted by name, and notes on files that were passed over."""
    main = open_main(store, files)
    return main.tensors, main.notes


def open_main(store: Store, files: Sequence[FileRecord]) -> MainWeights:
    """The weights that loaders read by default.

    Only files at the root count (subfolders hold other modules). An index decides which shards belong to the model, else the
    names do: see `weightsets`. Files under names that no loader knows are the model where there are no others.
    """
    refuse_pointers(files)
    records = at_root(files, WeightFormat.SAFETENSORS)
    shards = {str(f.path): f for f in records}
    if not shards:
        _refuse_disguised([f for f in files if len(f.path.parts) == 1])
    index = next((f for f in files if str(f.path) == MAIN_INDEX), None)
    if index is None:
        chosen, others = _by_name(records)
        return MainWeights(open_set(store, chosen) if chosen else (), _passed_over(records, chosen, others), others)
    weight_map = read_index(store, index, shards, "safetensors")
    chosen = named_by(weight_map.values(), shards)
    if SINGLE in shards and SINGLE not in chosen.names:
        # Loaders differ in which of the two they take: what is measured must be what is run.
        raise ArtifactError(f"{index.path}: names other weights than {SINGLE} beside it; remove one of the two")
    tensors = _read(store, chosen)
    check_index(weight_map, tensors, str(index.path))
    others = known_sets([f for f in records if f not in chosen.files], SUFFIX)
    return MainWeights(_sorted(tensors), _passed_over(records, chosen, others), others)


def open_set(store: Store, chosen: WeightSet) -> tuple[StoredTensor, ...]:
    """All tensors of one set of files, sorted by name. Raises ArtifactError when a numbered shard is missing."""
    refuse_missing(chosen.names, SUFFIX)
    return _sorted(_read(store, chosen))


def _read(store: Store, chosen: WeightSet) -> dict[str, StoredTensor]:
    tensors: dict[str, StoredTensor] = {}
    for record in chosen.files:
        for tensor in open_safetensors(store.open(record), PurePosixPath(record.path)):
            if tensor.name in tensors:
                other = tensors[tensor.name].path
                raise MalformedFileError(
                    f"{one_line(str(record.path))}: tensor {one_line(tensor.name, 80)!r} is in {other} too"
                )
            tensors[tensor.name] = tensor
    return tensors


def _sorted(tensors: Mapping[str, StoredTensor]) -> tuple[StoredTensor, ...]:
    return tuple(tensors[name] for name in sorted(tensors))


def _by_name(records: Sequence[FileRecord]) -> tuple[WeightSet | None, tuple[WeightSet, ...]]:
    """The main set, and the others; None when there is no file."""
    known = known_sets(records, SUFFIX)
    if known and not known[0].variant and not known[0].name.startswith("consolidated"):
        return known[0], known[1:]
    of_known = {f.path for s in known for f in s.files}
    unknown = [f for f in records if f.path not in of_known]
    main = [f for f in unknown if not f.path.name.startswith(("consolidated", "adapter_"))]
    if main:
        return WeightSet(WeightFormat.SAFETENSORS, tuple(main)), known
    if known:
        return known[0], known[1:]
    return (WeightSet(WeightFormat.SAFETENSORS, tuple(unknown)), ()) if unknown else (None, ())


def _passed_over(
    records: Sequence[FileRecord], chosen: WeightSet | None, others: Sequence[WeightSet]
) -> tuple[str, ...]:
    used = {f.path for s in (*others, *([chosen] if chosen else [])) for f in s.files}
    left = [one_line(str(f.path)) for f in records if f.path not in used]
    notes = [f"not read, since other files hold the model: {', '.join(left[:5])}"] if left else []
    if others:
        notes.append(f"the model stands in further files, which are only compared: {first_names(others)}")
    return tuple(notes)


def _refuse_disguised(records: Sequence[FileRecord]) -> None:
    for record in records:
        if str(record.path).endswith(SUFFIX) and record.format is not WeightFormat.SAFETENSORS:
            found = "unknown bytes" if record.format is None else record.format.value
            raise UnsafeFormatError(f"{record.path}: called safetensors, but its first bytes are those of {found}")
