"""GGUF files written by hand, true or not, and their readers."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.gguf import GgufModel, open_gguf
from provenance_gate.artifact.gguf.types import TYPES
from provenance_gate.artifact.interface import StoredTensor
from provenance_gate.errors import ArtifactError

NUMBER_OF = {kind.name: number for number, kind in TYPES.items()}
FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9


class Bytes:
    """A `RangeSource` over bytes that remembers what was asked of it."""

    def __init__(self, data: bytes, name: str = "m.gguf") -> None:
        self.data, self.name = data, name
        self.reads: list[tuple[int, int]] = []

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, start: int, size: int) -> bytes:
        self.reads.append((start, size))
        if start + size > len(self.data):
            raise ArtifactError(f"{self.name}: ends at byte {len(self.data)}")
        return self.data[start : start + size]


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


class Typed:
    """A metadata value with a value type of its own; lists are `Typed(9, [...], item type)`."""

    def __init__(self, kind: int, value: object, item: int = 4) -> None:
        self.kind, self.value, self.item = kind, value, item


def _typed(value: object) -> Typed:
    match value:
        case Typed():
            return value
        case bool():
            return Typed(7, value)
        case int():
            return Typed(4, value)
        case float():
            return Typed(6, value)
        case str() | bytes():
            return Typed(STRING, value)
        case list():
            return Typed(ARRAY, value, _typed(value[0]).kind if value else 4)
    raise TypeError(value)


def payload(typed: Typed) -> bytes:
    if typed.kind == STRING:
        assert isinstance(typed.value, str | bytes)
        return text(typed.value)
    if typed.kind == ARRAY:
        assert isinstance(typed.value, list)
        items = [v if isinstance(v, Typed) else Typed(typed.item, v) for v in typed.value]
        return struct.pack("<IQ", typed.item, len(items)) + b"".join(payload(v) for v in items)
    return struct.pack("<" + FORMATS[typed.kind], typed.value)


def entry(key: str | bytes, value: object) -> bytes:
    typed = _typed(value)
    return text(key) + struct.pack("<I", typed.kind) + payload(typed)


def info(name: str | bytes, dims: Sequence[int], number: int, offset: int) -> bytes:
    return text(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}QIQ", *dims, number, offset)


def head(
    entries: bytes = b"",
    infos: bytes = b"",
    tensors: int = 0,
    values: int = 0,
    magic: bytes = b"GGUF",
    version: int = 3,
) -> bytes:
    return magic + struct.pack("<IQQ", version, tensors, values) + entries + infos


def pad(data: bytes, alignment: int = 32) -> bytes:
    return data + bytes(-len(data) % alignment)


Tensor = NDArray[np.generic] | tuple[str, tuple[int, ...], bytes]
"""An array of a plain type, or ggml type, row-major shape and raw blocks."""
_PLAIN = {"f4": "F32", "f2": "F16", "f8": "F64", "i1": "I8", "i2": "I16", "i4": "I32", "i8": "I64"}


def bf16(values: NDArray[np.float32]) -> tuple[str, tuple[int, ...], bytes]:
    return "BF16", values.shape, (values.view(np.uint32) >> 16).astype("<u2").tobytes()


def gguf(
    tensors: Mapping[str, Tensor] | None = None,
    metadata: Mapping[str, object] | None = None,
    alignment: int = 32,
    version: int = 3,
) -> bytes:
    """A true file."""
    metadata = dict(metadata or {})
    if alignment != 32:
        metadata["general.alignment"] = alignment
    infos, data = b"", b""
    for name, tensor in (tensors or {}).items():
        if isinstance(tensor, np.ndarray):
            kind, shape, raw = _PLAIN[tensor.dtype.str[1:]], tensor.shape, tensor.tobytes()
        else:
            kind, shape, raw = tensor
        infos += info(name, shape[::-1], NUMBER_OF[kind], len(data))
        data = pad(data + raw, alignment)
    entries = b"".join(entry(key, value) for key, value in metadata.items())
    return pad(head(entries, infos, len(tensors or {}), len(metadata), version=version), alignment) + data


def opened(*files: bytes, names: Sequence[str] = ()) -> GgufModel:
    names = names or [f"m{n}.gguf" if n else "m.gguf" for n in range(len(files))]
    return open_gguf([(Bytes(data, name), PurePosixPath(name)) for data, name in zip(files, names, strict=True)])


def tensors_of(data: bytes) -> dict[str, StoredTensor]:
    return {t.name: t for t in opened(data).tensors}


def values(tensor: StoredTensor) -> NDArray[np.float32]:
    return tensor.reader.read(0, tensor.size).reshape(tensor.shape)


def permuted(matrix: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Rows of q or k as llama.cpp's converter stores them."""
    return (
        matrix.reshape(heads, 2, matrix.shape[0] // heads // 2, *matrix.shape[1:]).swapaxes(1, 2).reshape(matrix.shape)
    )


Maker = Callable[[], bytes]
