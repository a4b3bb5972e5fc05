"""The two layouts of `torch.save`: what the pickle program built, and where the bytes of each storage lie."""

from __future__ import annotations

from dataclasses import dataclass

from provenance_gate.artifact.ranges import RangeSource
from provenance_gate.artifact.torchfile.archive import Entry, read_archive, top_folder
from provenance_gate.artifact.torchfile.machine import MAX_COST, Machine
from provenance_gate.artifact.torchfile.opcodes import ByteStream
from provenance_gate.artifact.torchfile.values import ITEM_BYTES, Storage
from provenance_gate.errors import MalformedFileError, UnsafeFormatError, one_line

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
ZIP_MARK = b"PK\x03\x04"
_SCRIPT_FILES = ("constants.pkl", "bytecode.pkl", "model.json")
_BLOCK = 512
_ASIDE = MAX_COST // 6
"""What the small pickles around the object may take."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The value that was saved, and the first byte of each storage by key."""

    root: object
    begins: dict[str, int]


def read_checkpoint(source: RangeSource) -> Checkpoint:
    """Take a file of either layout apart.

    Raises
    ------
    UnsafeFormatError
        It is TorchScript, a tar of the first releases, or its pickle names or calls what no tensor needs.
    MalformedFileError
        It breaks the rules of its layout.
    """
    head = source.read(0, min(source.size, _BLOCK))
    if head.startswith(ZIP_MARK):
        return _read_zip(source)
    if _is_tar(head):
        raise UnsafeFormatError(f"{source.name}: a tar archive, the layout of torch before 0.1.10, which is not read")
    return _read_legacy(source)


def _is_tar(block: bytes) -> bool:
    """Whether Python's tar reader would take the block for a header: its checksum holds. Loaders try tar before pickle."""
    if len(block) < _BLOCK:
        return False
    field = block[148:156]
    if field[0] in (0x80, 0xFF):
        stated = int.from_bytes(field[1:], "big")
    else:
        try:
            stated = int(field.split(b"\0")[0].strip(), 8)
        except ValueError:
            return False
    rest = block[:148] + b" " * 8 + block[156:]
    return stated in (sum(rest), sum(b - 256 if b > 127 else b for b in rest))


# Since torch 1.6


def _read_zip(source: RangeSource) -> Checkpoint:
    entries = read_archive(source, lambda name: _refuse_code(name, source.name))
    top = top_folder(entries, source.name)
    order = entries.get(f"{top}/byteorder")
    if order is not None:
        mark = source.read(order.begin, min(order.size, 16))
        if mark != b"little":
            raise MalformedFileError(f"{source.name}: byteorder: {one_line(repr(mark), 40)}, expected little")
    program = entries.get(f"{top}/data.pkl")
    if program is None:
        raise MalformedFileError(f"{source.name}: zip: no data.pkl; is it a PyTorch checkpoint?")
    stream = ByteStream(source, program.begin, program.begin + program.size)
    machine = Machine(stream, legacy=False)
    root = machine.run()
    if stream.offset != program.size:
        raise MalformedFileError(f"{source.name}: data.pkl: {program.size - stream.offset} bytes behind its end")
    return Checkpoint(root, {s.key: _entry(entries, top, s, source.name) for s in machine.storages.values()})


def _refuse_code(name: str, file: str) -> None:
    below = name.partition("/")[2]
    if below.casefold() in _SCRIPT_FILES or below.casefold().startswith("code/"):
        raise UnsafeFormatError(f"{file}: a TorchScript archive: {one_line(below, 120)!r} holds code")


def _entry(entries: dict[str, Entry], top: str, storage: Storage, file: str) -> int:
    entry = entries.get(f"{top}/data/{storage.key}")
    if entry is None:
        raise MalformedFileError(f"{file}: storage {storage.key}: no entry data/{storage.key} in the archive")
    size = byte_length(storage)
    if entry.size != size:
        raise MalformedFileError(f"{file}: storage {storage.key}: {entry.size} bytes, {size} are declared")
    return entry.begin


def byte_length(storage: Storage) -> int:
    """Bytes of a storage as declared."""
    return storage.elements * ITEM_BYTES.get(storage.dtype, 1)


# Before torch 1.6


def _read_legacy(source: RangeSource) -> Checkpoint:
    """Pickles of a magic number, a version, the machine, the object, the storage keys; then the storages one by one."""
    stream = ByteStream(source, 0, source.size)
    magic = Machine(stream, legacy=True, most=_ASIDE).run()
    if magic != MAGIC or not isinstance(magic, int):
        raise MalformedFileError(f"{source.name}: a pickle without the mark of a PyTorch checkpoint")
    version = Machine(stream, legacy=True, most=_ASIDE).run()
    if version != PROTOCOL or not isinstance(version, int):
        raise MalformedFileError(f"{source.name}: protocol version, expected {PROTOCOL}")
    system = Machine(stream, legacy=True, most=_ASIDE).run()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise MalformedFileError(f"{source.name}: sys_info: little_endian, expected true")
    machine = Machine(stream, legacy=True)
    root = machine.run()
    keys = Machine(stream, legacy=True, most=_ASIDE).run()
    return Checkpoint(root, _legacy_storages(source, stream.at, machine.storages, keys))


def _legacy_storages(source: RangeSource, at: int, storages: dict[str, Storage], keys: object) -> dict[str, int]:
    if not isinstance(keys, list) or len(keys) != len(storages):
        raise MalformedFileError(
            f"{source.name}: storage keys, expected a list of the {len(storages)} storages declared"
        )
    begins: dict[str, int] = {}
    for key in keys:
        storage = storages.get(key) if isinstance(key, str) else None
        if storage is None or storage.key in begins:
            raise MalformedFileError(f"{source.name}: storage keys, expected each declared storage once")
        where = f"{source.name}: storage {storage.key}"
        size = byte_length(storage)
        if source.size - at < 8 + size:
            raise MalformedFileError(f"{where}: {8 + size} bytes at {at} of {source.size}; is the file cut?")
        elements = int.from_bytes(source.read(at, 8), "little", signed=True)
        if elements != storage.elements:
            raise MalformedFileError(f"{where}: {elements} elements at byte {at}, {storage.elements} are declared")
        begins[storage.key] = at + 8
        at += 8 + size
    if at != source.size:
        raise MalformedFileError(f"{source.name}: {source.size - at} bytes behind the last storage")
    return begins
