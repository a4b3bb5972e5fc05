"""Checkpoints byte by byte: an assembler of pickle programs, a zip writer that can lie, and both layouts of `torch.save`."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.interface import StoredTensor
from provenance_gate.artifact.torchfile.open import TorchTensors, read_torch

MAGIC = 0x1950A86A20F9469CFC6C
MARK, TUPLE, STOP, REDUCE, BUILD = b"(", b"t", b".", b"R", b"b"
TRUE, FALSE, NONE, EMPTY_TUPLE, EMPTY_DICT, EMPTY_LIST = b"\x88", b"\x89", b"N", b")", b"}", b"]"


class Memory:
    """Bytes as a `RangeSource` that remembers what was read."""

    def __init__(self, data: bytes, name: str = "m.bin") -> None:
        self.data, self.name, self.reads = data, name, list[tuple[int, int]]()

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, start: int, size: int) -> bytes:
        assert 0 <= start <= start + size <= len(self.data), "a read outside of the file"
        self.reads.append((start, size))
        return self.data[start : start + size]


def opened(data: bytes) -> TorchTensors:
    return read_torch(Memory(data), PurePosixPath("m.bin"))


def by_name(data: bytes) -> dict[str, StoredTensor]:
    return {t.name: t for t in opened(data).tensors}


def values(tensor: StoredTensor) -> NDArray[np.float32]:
    return tensor.reader.read(0, tensor.size).reshape(tensor.shape)


# Pickle


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    if 0 <= value < 256:
        return b"K" + bytes([value])
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def several(*items: bytes) -> bytes:
    return MARK + b"".join(items) + TUPLE


def sizes(*extents: int) -> bytes:
    return several(*map(number, extents))


def listed(*items: bytes) -> bytes:
    return EMPTY_LIST + MARK + b"".join(items) + b"e"


def mapping(items: Mapping[str, bytes], start: bytes = EMPTY_DICT) -> bytes:
    return start + MARK + b"".join(text(k) + v for k, v in items.items()) + b"u"


def ordered(items: Mapping[str, bytes] | None = None) -> bytes:
    start = name("collections", "OrderedDict") + EMPTY_TUPLE + REDUCE
    return mapping(items, start) if items is not None else start


def storage(key: str = "0", elements: int = 6, kind: str = "FloatStorage", view: bytes | None = None) -> bytes:
    """A persistent id; `view` makes it one of the old layout."""
    module = "torch.storage" if kind == "UntypedStorage" else "torch"
    fields = [text("storage"), name(module, kind), text(key), text("cpu"), number(elements)]
    return several(*fields, *([] if view is None else [view])) + b"Q"


def tensor(
    store: bytes | None = None,
    shape: Sequence[int] = (2, 3),
    stride: Sequence[int] = (3, 1),
    offset: int = 0,
    *more: bytes,
    function: str = "_rebuild_tensor_v2",
) -> bytes:
    fields = [storage() if store is None else store, number(offset), sizes(*shape), sizes(*stride), FALSE, ordered()]
    return name("torch._utils", function) + several(*fields, *more) + REDUCE


def program(value: bytes, protocol: int = 2) -> bytes:
    return b"\x80" + bytes([protocol]) + value + STOP


# Zip


@dataclass
class Member:
    """One entry. `central`, `local` and `descriptor` replace fields of its three records by name."""

    name: str
    data: bytes = b""
    central: dict[str, int] = field(default_factory=dict)
    local: dict[str, int] = field(default_factory=dict)
    descriptor: bytes | None = None
    central_name: bytes | None = None
    extra: bytes = b""
    central_extra: bytes = b""
    flags: int = 0x0808
    gap: bytes = b""


def zipped(members: Sequence[Member], comment: bytes = b"", zip64: bool = True, **end: int) -> bytes:
    """An archive laid out as torch's writer does; `end` replaces fields of the end records."""
    out, directory = bytearray(), bytearray()
    for m in members:
        raw, crc, size = m.name.encode(), zlib.crc32(m.data), len(m.data)
        out += m.gap
        start = len(out)
        described = bool(m.flags & 8)
        known = {"crc": 0 if described else crc, "packed": 0 if described else size, "size": 0 if described else size}
        f = {"flags": m.flags, "method": 0, "name_size": len(raw), **known, **m.local}
        out += b"PK\3\4" + struct.pack(
            "<5H3L2H", 0, f["flags"], f["method"], 0, 0, f["crc"], f["packed"], f["size"], f["name_size"], len(m.extra)
        )
        out += raw + m.extra + m.data
        if described:
            out += b"PK\7\10" + struct.pack("<3L", crc, size, size) if m.descriptor is None else m.descriptor
        listed_name = raw if m.central_name is None else m.central_name
        c = {
            "flags": m.flags,
            "method": 0,
            "crc": crc,
            "packed": size,
            "size": size,
            "disk": 0,
            "outer": 0,
            "header": start,
            **m.central,
        }
        directory += b"PK\1\2" + struct.pack(
            "<6H3L5H2L", 0, 0, c["flags"], c["method"], 0, 0, c["crc"], c["packed"], c["size"], len(listed_name),
            len(m.central_extra), 0, c["disk"], 0, c["outer"], c["header"],
        )  # fmt: skip
        directory += listed_name + m.central_extra
    at = len(out)
    out += directory
    e = {"count": len(members), "size": len(directory), "begin": at, "offset64": len(out), "length64": 44, "disks": 1}
    e |= {"count64": len(members), "size64": len(directory), "begin64": at} | end
    if zip64:
        out += b"PK\6\6" + struct.pack(
            "<Q2H2L4Q", e["length64"], 30, 45, 0, 0, e["count64"], e["count64"], e["size64"], e["begin64"]
        )
        out += b"PK\6\7" + struct.pack("<LQL", 0, e["offset64"], e["disks"])
    out += b"PK\5\6" + struct.pack("<4H2LH", 0, 0, e["count"], e["count"], e["size"], e["begin"], len(comment))
    return bytes(out + comment)


SIX = np.arange(6, dtype=np.float32).tobytes()


def members(pickle: bytes, storages: Mapping[str, bytes] | None = None, top: str = "m") -> list[Member]:
    data = {"0": SIX} if storages is None else storages
    return [
        Member(f"{top}/data.pkl", pickle),
        Member(f"{top}/byteorder", b"little"),
        *(Member(f"{top}/data/{key}", raw) for key, raw in data.items()),
        Member(f"{top}/version", b"3\n"),
        Member(f"{top}/.data/serialization_id", b"0" * 40),
    ]


def modern(value: bytes, storages: Mapping[str, bytes] | None = None) -> bytes:
    """The layout since torch 1.6, of the program that leaves `value`."""
    return zipped(members(program(value), storages))


# Before torch 1.6


def legacy(
    value: bytes,
    storages: Sequence[tuple[str, int, bytes]] = (("0", 6, SIX),),
    *,
    magic: int = MAGIC,
    version: int = 1001,
    system: bytes | None = None,
    keys: bytes | None = None,
    tail: bytes = b"",
) -> bytes:
    """The layout before torch 1.6; a storage is key, stated number of elements, bytes."""
    told = mapping({"protocol_version": number(1001), "little_endian": TRUE}) if system is None else system
    names = listed(*(text(key) for key, _, _ in storages)) if keys is None else keys
    pickles = (program(part) for part in (number(magic), number(version), told, value, names))
    raw = b"".join(struct.pack("<q", count) + data for _, count, data in storages)
    return b"".join(pickles) + raw + tail
