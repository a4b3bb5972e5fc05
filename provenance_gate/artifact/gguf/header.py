"""The head of a GGUF file: metadata and tensor infos (GGUF specification, "File Structure").

``GGUF``, version, number of tensors, number of metadata entries; the entries (key, type, value); the tensor infos (name,
dimensions, type, offset); padding to ``general.alignment``; the tensors' bytes. Lengths and counts are 64 bits wide.
Refused: version 1 (32-bit lengths, years out of use), big endian files, a key or tensor name that stands twice, offsets that
are not aligned, leave the file or overlap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Final

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.gguf.cursor import MAX_TEXT, Cursor
from provenance_gate.artifact.gguf.strings import Strings
from provenance_gate.artifact.gguf.types import TYPES, GgmlType, type_name
from provenance_gate.artifact.ranges import RangeSource
from provenance_gate.errors import MalformedFileError, one_line

MAGIC: Final = b"GGUF"
MAX_ENTRIES: Final = 16_384
MAX_TENSORS: Final = 65_536
MAX_KEY: Final = 1024
MAX_NAME: Final = 256
"""Bytes of a tensor's name. ggml itself takes 64, image models up to 128."""

MAX_DIMENSIONS: Final = 4
MAX_DEPTH: Final = 4
MAX_ALIGNMENT: Final = 1 << 20
_DEFAULT_ALIGNMENT: Final = 32
_LARGEST: Final = 2**63 - 1
_LARGEST_EMPTY: Final = 2**31 - 1
_SHORT: Final = 1 << 16
"""Elements up to which any list is kept; longer ones only when they are in `_KEPT`."""

_KEPT: Final = frozenset(f"tokenizer.ggml.{name}" for name in ("tokens", "scores", "token_type", "merges"))
_NUMBERS: Final[Mapping[int, str]] = {
    0: "u1", 1: "i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "?", 10: "<u8", 11: "<i8", 12: "<f8",
}  # fmt: skip
_STRING: Final = 8
_ARRAY: Final = 9


@dataclass(frozen=True, slots=True)
class NotKept:
    """A value that nobody here asks for and that is too long to keep; its length in elements or bytes."""

    length: int


Value = bool | int | float | str | Strings | NDArray[np.generic] | NotKept
"""A metadata value. Lists of strings are undecoded, lists of numbers are arrays, lists of lists are not kept."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor: shape row-major (ggml's dimensions reversed), first byte in the file, bytes taken.

    `kind` is None for a type number of unknown layout; `nbytes` then reaches to the next tensor or the end.
    """

    name: str
    type_name: str
    kind: GgmlType | None
    shape: tuple[int, ...]
    begin: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before the tensors' bytes."""

    version: int
    metadata: Mapping[str, Value]
    tensors: tuple[TensorInfo, ...]


def read_header(source: RangeSource) -> Header:
    """Metadata and tensor infos of one file, in the file's order.

    Reads windows of a megabyte from the start and no tensor byte beyond the last window. Raises MalformedFileError that
    names the file and the field.
    """
    cursor = Cursor(source)
    magic = cursor.take(4, "magic") if source.size >= 4 else b""
    if magic != MAGIC:
        raise cursor.error("magic", f"found {one_line(repr(magic))}, expected {MAGIC!r}")
    version = cursor.u32("version")
    if version and not version & 0xFFFF:
        raise cursor.error("version", "a big endian file; only little endian ones are read")
    if version not in (2, 3):
        raise cursor.error("version", f"found {version}, expected 2 or 3")
    tensor_count, entry_count = cursor.u64("tensor count"), cursor.u64("metadata count")
    if tensor_count > MAX_TENSORS:
        raise cursor.error("tensor count", f"found {tensor_count}, expected at most {MAX_TENSORS}")
    if entry_count > MAX_ENTRIES:
        raise cursor.error("metadata count", f"found {entry_count}, expected at most {MAX_ENTRIES}")
    metadata: dict[str, Value] = {}
    for _ in range(entry_count):
        key = cursor.text("metadata key", MAX_KEY)
        field = one_line(key, 80)
        if key in metadata:
            raise cursor.error(field, "stands twice")
        cursor.keep(len(key), field)
        metadata[key] = _value(cursor, key, field)
    alignment = _alignment(cursor, metadata)
    infos = [_raw_info(cursor) for _ in range(tensor_count)]
    start = -(-cursor.position // alignment) * alignment
    return Header(version, metadata, _placed(cursor, infos, start, alignment, source.size))


def _value(cursor: Cursor, key: str, field: str) -> Value:
    kind = cursor.u32(field)
    if kind in _NUMBERS:
        value = np.frombuffer(cursor.take(np.dtype(_NUMBERS[kind]).itemsize, field), _NUMBERS[kind])[0].item()
        assert isinstance(value, bool | int | float)
        return value
    if kind == _STRING:
        length = cursor.u64(field)
        if length > MAX_TEXT:
            cursor.skip(length, field)
            return NotKept(length)
        raw = cursor.take(length, field)
        # One character beyond the Basic Multilingual Plane makes Python take four bytes for each.
        cursor.keep(length if raw.isascii() else 4 * length, field)
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise cursor.error(field, f"not UTF-8: {one_line(repr(raw[:40]))}") from error
    if kind == _ARRAY:
        return _array(cursor, key, field, 1)
    raise cursor.error(field, f"value of type {kind}, expected 0 to 12")


def _array(cursor: Cursor, key: str, field: str, depth: int) -> Value:
    if depth > MAX_DEPTH:
        raise cursor.error(field, f"lists nested deeper than {MAX_DEPTH}")
    kind, count = cursor.u32(field), cursor.u64(field)
    keep = depth == 1 and (count <= _SHORT or key in _KEPT)
    if kind in _NUMBERS:
        if keep:
            return cursor.numbers(count, _NUMBERS[kind], field)
        cursor.skip(count * np.dtype(_NUMBERS[kind]).itemsize, field)
    elif kind == _STRING:
        strings = cursor.strings(count, field, keep and (count <= 1024 or key in _KEPT))
        if strings is not None:
            return strings
    elif kind == _ARRAY:
        cursor.check(12 * count, field)
        cursor.count_values(count, field)
        for _ in range(count):
            _array(cursor, key, field, depth + 1)
    else:
        raise cursor.error(field, f"list of values of type {kind}, expected 0 to 12")
    return NotKept(count)


def _alignment(cursor: Cursor, metadata: Mapping[str, Value]) -> int:
    value = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= MAX_ALIGNMENT or value & (value - 1):
        shown = value if isinstance(value, int | float) else "another kind of value"
        raise cursor.error("general.alignment", f"found {shown}, expected a power of two up to {MAX_ALIGNMENT}")
    return value


@dataclass(frozen=True, slots=True)
class _RawInfo:
    """A tensor info with its offset into the data, not yet checked against the file."""

    name: str
    number: int
    shape: tuple[int, ...]
    offset: int


def _raw_info(cursor: Cursor) -> _RawInfo:
    name = cursor.text("tensor name", MAX_NAME)
    field = f"tensor {one_line(name, 80)!r}"
    cursor.keep(len(name), field)
    dimensions = cursor.u32(field)
    if dimensions > MAX_DIMENSIONS:
        raise cursor.error(field, f"{dimensions} dimensions, expected at most {MAX_DIMENSIONS}")
    extents = tuple(cursor.u64(field) for _ in range(dimensions))
    number, offset = cursor.u32(field), cursor.u64(field)
    count = 1
    for extent in extents:
        count *= extent
        if count > _LARGEST or extent > _LARGEST:
            raise cursor.error(field, "dimensions have more than 2**63 elements")
    # No bytes stand behind the other extents of an empty tensor: nothing else would bound the work per row.
    if not count and prod(extent for extent in extents if extent) > _LARGEST_EMPTY:
        raise cursor.error(field, "dimensions of an empty tensor, expected a product of the others below 2**31")
    kind = TYPES.get(number)
    if kind is not None and (extents[0] if extents else 1) % kind.block:
        raise cursor.error(
            field, f"rows of {extents[0] if extents else 1}, {kind.name} asks for multiples of {kind.block}"
        )
    return _RawInfo(name, number, extents[::-1], offset)


def _placed(cursor: Cursor, infos: Sequence[_RawInfo], start: int, alignment: int, size: int) -> tuple[TensorInfo, ...]:
    """The tensors with their places, checked: aligned, within the file, and apart from each other."""
    order = sorted(range(len(infos)), key=lambda i: (infos[i].offset, _byte_size(infos[i]) or 0))
    placed: list[TensorInfo | None] = [None] * len(infos)
    names: set[str] = set()
    end = start
    for rank, index in enumerate(order):
        info = infos[index]
        field = f"tensor {one_line(info.name, 80)!r}"
        if info.name in names:
            raise cursor.error(field, "stands twice")
        names.add(info.name)
        if info.offset % alignment:
            raise cursor.error(field, f"offset {info.offset}, expected a multiple of {alignment}")
        begin, nbytes = start + info.offset, _byte_size(info)
        if begin < end:
            raise cursor.error(field, "overlaps the tensor before it")
        if nbytes is None:
            following = infos[order[rank + 1]].offset + start if rank + 1 < len(order) else size
            nbytes = max(0, min(following, size) - begin)
        if begin + nbytes > size:
            raise _cut(cursor, field, begin + nbytes, size)
        end = begin + nbytes
        placed[index] = TensorInfo(info.name, type_name(info.number), TYPES.get(info.number), info.shape, begin, nbytes)
    return tuple(tensor for tensor in placed if tensor is not None)


def _cut(cursor: Cursor, field: str, end: int, size: int) -> MalformedFileError:
    return cursor.error(field, f"ends at byte {end}, the file at {size}; is it cut?")


def _byte_size(info: _RawInfo) -> int | None:
    """Bytes that the tensor takes; None when its type is not known."""
    kind = TYPES.get(info.number)
    return None if kind is None else prod(info.shape) // kind.block * kind.size
