"""The zip container of `torch.save` (torch 1.6 and later), read range by range and without expanding anything.

Format: PKWARE APPNOTE 6.3.10, of which writers of checkpoints use little: entries stored one behind the other from byte 0,
each with an optional data descriptor, then the central directory, then the end records at the end of the file. Readers of zip
files differ in what they make of anything else, so anything else is refused: what is measured must be what is loaded.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from provenance_gate.artifact.ranges import RangeSource
from provenance_gate.errors import ArtifactError, MalformedFileError, UnsafeFormatError, one_line

MAX_ENTRIES = 50_000
MAX_DIRECTORY = 8 << 20
MAX_NAME = 1024
_MAX_COMMENT = 0xFFFF
_MAX_EXTRA = 4096
_END, _END64, _LOCATOR = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_CENTRAL, _LOCAL, _DESCRIPTOR = b"PK\x01\x02", b"PK\x03\x04", b"PK\x07\x08"
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
_DATA_DESCRIPTOR, _UTF8 = 0x0008, 0x0800
_ENCRYPTED = 0x2041
"""Flag bits 0, 6 and 13."""
_FOLDER = 0x10
"""Bit of the external attributes (APPNOTE 4.4.15)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored file: bytes [begin, begin + size) of the archive."""

    name: str
    begin: int
    size: int


@dataclass(frozen=True, slots=True)
class _Central:
    name: str
    raw: bytes
    flags: int
    crc: int
    size: int
    header: int
    fault: str


def read_archive(source: RangeSource, check_name: Callable[[str], None] = lambda _: None) -> dict[str, Entry]:
    """Every entry of the archive by its full name, in the order of the central directory.

    Parameters
    ----------
    check_name
        Called with every name before the entries are looked at; may refuse one.

    Raises
    ------
    MalformedFileError
        End records, central directory, local headers and data do not fit together without overlap or gap.
    UnsafeFormatError
        An entry is compressed or encrypted.
    """
    begin, size, count = _directory(source)
    raw = source.read(begin, size)
    entries: list[_Central] = []
    at = 0
    for _ in range(count):
        entry, at = _central(raw, at, source.name)
        entries.append(entry)
    if at != size:
        raise MalformedFileError(
            f"{source.name}: zip: {size - at} bytes behind the last entry of the central directory"
        )
    for entry in entries:
        check_name(entry.name)
    for entry in entries:
        if entry.fault:
            raise UnsafeFormatError(f"{source.name}: zip: {one_line(entry.name, 120)!r} is {entry.fault}")
    _refuse_twins(entries, source.name)
    return _place(source, entries, begin)


def _directory(source: RangeSource) -> tuple[int, int, int]:
    """Start, size and number of entries of the central directory."""
    name, total = source.name, source.size
    length = min(total, 22 + _MAX_COMMENT)
    tail = source.read(total - length, length)
    found = tail.rfind(_END)
    if found < 0 or length - found < 22:
        raise MalformedFileError(f"{name}: zip: no end of central directory; is the file cut?")
    disk, first, here, count, size, begin, comment = struct.unpack("<4H2LH", tail[found + 4 : found + 22])
    if found + 22 + comment != length:
        raise MalformedFileError(f"{name}: zip: bytes behind the end of central directory")
    end = total - length + found
    if end >= 20:
        locator = source.read(end - 20, 20)
        if locator[:4] == _LOCATOR:
            return _directory64(source, end - 20, locator, (disk, first, here, count, size, begin))
    if _FULL16 in (disk, first, here, count) or _FULL32 in (size, begin):
        raise MalformedFileError(f"{name}: zip: no zip64 end of central directory, though the plain one points to it")
    if disk or first or here != count:
        raise MalformedFileError(f"{name}: zip: an archive in several parts")
    return _checked(name, begin, size, count, end)


def _directory64(
    source: RangeSource, at: int, locator: bytes, plain: tuple[int, int, int, int, int, int]
) -> tuple[int, int, int]:
    name = source.name
    _, offset, disks = struct.unpack("<LQL", locator[4:])
    if offset != at - 56 or disks != 1:
        raise MalformedFileError(f"{name}: zip: zip64 locator points to byte {offset}, expected {at - 56}")
    record = source.read(offset, 56)
    if record[:4] != _END64:
        raise MalformedFileError(f"{name}: zip: no zip64 end of central directory at byte {offset}")
    length, _, _, disk, first, here, count, size, begin = struct.unpack("<Q2H2L4Q", record[4:])
    if length != 44 or disk or first or here != count:
        raise MalformedFileError(f"{name}: zip: zip64 end of central directory of an archive in several parts")
    full = (_FULL16, _FULL16, _FULL16, _FULL16, _FULL32, _FULL32)
    for small, limit, large in zip(plain, full, (disk, first, here, count, size, begin), strict=True):
        if small not in (limit, large):
            raise MalformedFileError(f"{name}: zip: the plain and the zip64 end of central directory differ")
    return _checked(name, begin, size, count, offset)


def _checked(name: str, begin: int, size: int, count: int, end: int) -> tuple[int, int, int]:
    if begin + size != end:
        raise MalformedFileError(
            f"{name}: zip: central directory from {begin} to {begin + size}, expected its end at {end}"
        )
    if not count or count > MAX_ENTRIES or size > MAX_DIRECTORY or size < 46 * count:
        raise MalformedFileError(
            f"{name}: zip: {count} entries in a directory of {size} bytes, expected 1 to {MAX_ENTRIES:,} in at most "
            f"{MAX_DIRECTORY >> 20} MiB"
        )
    return begin, size, count


def _central(raw: bytes, at: int, file: str) -> tuple[_Central, int]:
    if raw[at : at + 4] != _CENTRAL or len(raw) - at < 46:
        raise MalformedFileError(f"{file}: zip: the central directory ends within an entry")
    fields = struct.unpack("<6H3L5H2L", raw[at + 4 : at + 46])
    _, _, flags, method, _, _, crc, packed, size, name_size, extra_size, comment_size, disk, _, outer, header = fields
    at += 46
    stop = at + name_size + extra_size + comment_size
    if stop > len(raw):
        raise MalformedFileError(f"{file}: zip: the central directory ends within an entry")
    coded = raw[at : at + name_size]
    name = _name(coded, flags, file)
    where = f"{file}: zip: {one_line(name, 120)!r}"
    size, packed, header, disk = _zip64(
        raw[at + name_size : at + name_size + extra_size], (size, packed, header, disk), where
    )
    fault = ""
    if flags & _ENCRYPTED:
        fault = "encrypted"
    elif method != 0 or packed != size:
        fault = "compressed; entries of a checkpoint are stored as they are"
    if disk or (not fault and flags & ~(_DATA_DESCRIPTOR | _UTF8 | 0x6)):
        raise MalformedFileError(f"{where}: flags 0x{flags:04x} or disk number, expected those of a stored entry")
    if outer & _FOLDER or name.endswith("/"):
        # The C++ reader of torch fills a folder's tensor with whatever was in memory.
        raise MalformedFileError(f"{where}: marked as a folder, expected a stored file")
    return _Central(name, coded, flags, crc, size, header, fault), stop


def _name(coded: bytes, flags: int, file: str) -> str:
    if not coded or len(coded) > MAX_NAME:
        raise MalformedFileError(f"{file}: zip: an entry's name of {len(coded)} bytes, expected 1 to {MAX_NAME}")
    try:
        name = coded.decode("utf-8" if flags & _UTF8 else "ascii")
    except UnicodeDecodeError as error:
        raise MalformedFileError(f"{file}: zip: name {one_line(repr(coded), 120)} is not text") from error
    parts = name.removesuffix("/").split("/")
    if not name.isprintable() or "\\" in name or any(part in ("", ".", "..") for part in parts):
        raise MalformedFileError(f"{file}: zip: name {one_line(repr(name), 120)}, expected a relative path")
    return name


def _zip64(extra: bytes, small: tuple[int, int, int, int], where: str) -> tuple[int, int, int, int]:
    """Sizes, offset and disk with those that do not fit their field taken from the zip64 extra field (APPNOTE 4.5.3)."""
    wide: bytes | None = None
    at = 0
    while at < len(extra):
        if len(extra) - at < 4:
            raise MalformedFileError(f"{where}: extra field is cut")
        kind, length = struct.unpack("<2H", extra[at : at + 4])
        if length > len(extra) - at - 4 or (kind == 1 and wide is not None):
            raise MalformedFileError(f"{where}: extra field is cut, or a second zip64 one")
        if kind == 1:
            wide = extra[at + 4 : at + 4 + length]
        at += 4 + length
    values: list[int] = []
    used = 0
    for value, full, width in zip(small, (_FULL32, _FULL32, _FULL32, _FULL16), (8, 8, 8, 4), strict=True):
        if value == full:
            if wide is None or used + width > len(wide):
                raise MalformedFileError(f"{where}: zip64 field is missing or short")
            value = int.from_bytes(wide[used : used + width], "little")
            used += width
        values.append(value)
    if wide is not None and used != len(wide):
        raise MalformedFileError(f"{where}: zip64 field of {len(wide)} bytes, expected {used}")
    return values[0], values[1], values[2], values[3]


def _refuse_twins(entries: list[_Central], file: str) -> None:
    seen: set[str] = set()
    for entry in entries:
        # Some readers look names up without regard to case.
        folded = entry.name.casefold()
        if folded in seen:
            raise MalformedFileError(f"{file}: zip: {one_line(entry.name, 120)!r} stands twice")
        seen.add(folded)


def _place(source: RangeSource, entries: list[_Central], end: int) -> dict[str, Entry]:
    """Where the data of each entry lie: behind its local header, up to the header of the next."""
    begins: dict[str, int] = {}
    ordered = sorted(entries, key=lambda e: e.header)
    at = 0
    for number, entry in enumerate(ordered):
        where = f"{source.name}: zip: {one_line(entry.name, 120)!r}"
        limit = ordered[number + 1].header if number + 1 < len(ordered) else end
        if entry.header != at:
            fault = "overlaps the entry before it" if entry.header < at else "leaves a gap before it"
            raise MalformedFileError(f"{where}: local header at byte {entry.header}, expected {at}: {fault}")
        begins[entry.name] = _local(source, entry, limit, where)
        at = limit
    return {e.name: Entry(e.name, begins[e.name], e.size) for e in entries}


def _local(source: RangeSource, entry: _Central, limit: int, where: str) -> int:
    """First data byte of an entry whose local header, data and descriptor fill [header, limit) exactly."""
    room = limit - entry.header
    fixed = 30 + len(entry.raw)
    if room < fixed + entry.size:
        raise MalformedFileError(f"{where}: {entry.size} bytes do not fit between byte {entry.header} and {limit}")
    raw = source.read(entry.header, fixed)
    if raw[:4] != _LOCAL:
        raise MalformedFileError(f"{where}: no local header at byte {entry.header}")
    _, flags, method, _, _, crc, packed, size, name_size, extra_size = struct.unpack("<5H3L2H", raw[4:30])
    described = bool(flags & _DATA_DESCRIPTOR)
    if flags != entry.flags or method or name_size != len(entry.raw) or raw[30:] != entry.raw:
        raise MalformedFileError(f"{where}: local header and central directory differ")
    unsaid = (0, _FULL32) if described else (_FULL32,) if entry.size >= _FULL32 or extra_size >= 20 else ()
    agrees = crc == entry.crc or (described and not crc)
    if not agrees or not (size == entry.size or size in unsaid) or not (packed == entry.size or packed in unsaid):
        raise MalformedFileError(f"{where}: local header and central directory differ in size or checksum")
    rest = room - fixed - extra_size - entry.size
    if extra_size > _MAX_EXTRA or rest < 0:
        raise MalformedFileError(f"{where}: extra field of {extra_size} bytes does not fit before its data")
    begin: int = entry.header + fixed + extra_size
    if not described:
        if rest:
            raise MalformedFileError(f"{where}: {rest} bytes behind its data belong to nothing")
        return begin
    if rest not in (16, 24) or (rest == 16 and entry.size > _FULL32):
        raise MalformedFileError(f"{where}: {rest} bytes behind its data, expected a data descriptor of 16 or 24")
    expected = _DESCRIPTOR + struct.pack("<L2L" if rest == 16 else "<L2Q", entry.crc, entry.size, entry.size)
    if source.read(begin + entry.size, rest) != expected:
        raise MalformedFileError(f"{where}: data descriptor and central directory differ")
    return begin


def top_folder(entries: dict[str, Entry], file: str) -> str:
    """The one folder that all entries lie in. Raises ArtifactError."""
    tops = sorted({name.split("/", 1)[0] for name in entries})
    if len(tops) != 1 or tops[0] in entries:
        shown = ", ".join(one_line(repr(t), 60) for t in tops[:3])
        raise ArtifactError(f"{file}: zip: expected the one folder of a PyTorch checkpoint, found {shown}")
    return tops[0]
