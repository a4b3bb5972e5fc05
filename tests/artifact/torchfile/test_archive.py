"""The zip reader: one reading of each file, or none."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenance_gate.artifact.torchfile.archive import MAX_ENTRIES, read_archive
from provenance_gate.errors import ArtifactError, MalformedFileError, UnsafeFormatError

from .build import SIX, Member, Memory, mapping, members, opened, program, tensor, zipped
from .vectors import ZIP

GOOD = program(mapping({"w": tensor()}))


def parts() -> list[Member]:
    return members(GOOD)


def refused(data: bytes, error: type[ArtifactError], *words: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        opened(data)
    assert type(caught.value) is error, caught.value
    for word in ("m.bin", *words):
        assert word in str(caught.value)


def test_entries_lie_where_the_standard_library_says() -> None:
    entries = read_archive(Memory(ZIP))
    with zipfile.ZipFile(io.BytesIO(ZIP)) as archive:
        assert list(entries) == archive.namelist()
        for name, entry in entries.items():
            assert ZIP[entry.begin : entry.begin + entry.size] == archive.read(name)


def test_our_writer_makes_what_the_standard_library_reads() -> None:
    with zipfile.ZipFile(io.BytesIO(zipped(parts()))) as archive:
        assert archive.testzip() is None
        assert archive.read("m/data/0") == SIX


@pytest.mark.parametrize("zip64", [True, False])
@pytest.mark.parametrize("flags", [0, 8, 0x800, 0x808])
def test_the_usual_forms_are_read(zip64: bool, flags: int) -> None:
    data = [Member(m.name, m.data, flags=flags) for m in parts()]
    assert [t.name for t in opened(zipped(data, zip64=zip64)).tensors] == ["w"]


def test_an_archive_of_the_standard_library_is_read() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for m in parts():
            archive.writestr(m.name, m.data)
    assert [t.name for t in opened(out.getvalue()).tensors] == ["w"]


def test_a_comment_is_passed_over() -> None:
    assert opened(zipped(parts(), b"made by hand")).tensors


def test_wide_fields_are_read() -> None:
    size = len(SIX)
    wide = struct.pack("<2H3Q", 1, 24, size, size, 0)
    data = parts()
    data[2].central |= {"size": 0xFFFFFFFF, "packed": 0xFFFFFFFF}
    data[2].central_extra = wide[:4].replace(b"\x18", b"\x10") + wide[4:20]
    data[2].descriptor = b"PK\7\10" + struct.pack("<L2Q", zlib.crc32(SIX), size, size)
    assert opened(zipped(data)).tensors[0].nbytes == size


def changed(number: int, **fields: object) -> Callable[[], bytes]:
    def make() -> bytes:
        data = parts()
        for key, value in fields.items():
            setattr(data[number], key, value)
        return zipped(data)

    return make


def descriptor(crc: int, size: int) -> bytes:
    return b"PK\7\10" + struct.pack("<3L", crc, size, size)


BROKEN: dict[str, tuple[Callable[[], bytes], str]] = {
    "no end record": (lambda: zipped(parts())[:-22], "no end of central directory"),
    "cut at the front": (lambda: b"PK\3\4" + zipped(parts())[100:], ""),
    "bytes behind the end": (lambda: zipped(parts()) + b"\0", "bytes behind the end"),
    "second end record in the comment": (lambda: zipped(parts(), b"PK\5\6" + bytes(18) + b"x"), "bytes behind the end"),
    "empty second end record": (lambda: zipped(parts(), b"PK\5\6" + bytes(18)), "central directory"),
    "no entries": (lambda: b"PK\3\4" + zipped([], zip64=False, begin=4), "0 entries"),
    "count too small": (lambda: zipped(parts(), count=4, count64=4), "bytes behind the last entry"),
    "count too large": (lambda: zipped(parts(), count=6, count64=6), "ends within an entry"),
    "count beyond the limit": (
        lambda: zipped(parts(), count64=MAX_ENTRIES + 1, count=0xFFFF),
        "entries in a directory",
    ),
    "count of 2**64": (lambda: zipped(parts(), count64=2**64 - 1, count=0xFFFF), "entries in a directory"),
    "two counts": (lambda: zipped(parts(), count=4), "the plain and the zip64"),
    "two starts": (lambda: zipped(parts(), begin=0), "the plain and the zip64"),
    "two sizes": (lambda: zipped(parts(), size=46), "the plain and the zip64"),
    "directory of 2**64 bytes": (lambda: zipped(parts(), size64=2**64 - 1, size=0xFFFFFFFF), "central directory from"),
    "directory elsewhere": (lambda: zipped(parts(), begin64=7, begin=7), "central directory from"),
    "zip64 record elsewhere": (lambda: zipped(parts(), offset64=0), "zip64 locator"),
    "zip64 record of odd length": (lambda: zipped(parts(), length64=45), "zip64 end"),
    "several disks": (lambda: zipped(parts(), disks=2), "zip64 locator"),
    "no zip64 though needed": (lambda: zipped(parts(), zip64=False, count=0xFFFF), "no zip64 end"),
    "name only in one place": (changed(2, central_name=b"m/data/1"), "local header and central directory differ"),
    "name longer in one place": (changed(2, central_name=b"m/data/00"), ""),
    "name that climbs": (changed(4, name="m/../x"), "relative path"),
    "name from the root": (changed(4, name="/etc/x"), "relative path"),
    "name with a backslash": (changed(4, name="m\\x"), "relative path"),
    "name with a line break": (changed(4, name="m/x\ny"), "relative path"),
    "name that turns text around": (changed(4, name="m/x\u202ey"), "relative path"),
    "name without end": (changed(4, name="m/" + "x" * 2000), "name of 2002 bytes"),
    "empty name": (changed(4, name=""), "name of 0 bytes"),
    "name that is not UTF-8": (changed(4, central_name=b"m/\xff"), "not text"),
    "two programs": (lambda: zipped([*parts(), Member("m/data.pkl", GOOD)]), "stands twice"),
    "two programs but for case": (lambda: zipped([*parts(), Member("m/DATA.pkl", GOOD)]), "stands twice"),
    "two programs in two folders": (lambda: zipped([*parts(), Member("n/data.pkl", GOOD)]), "one folder"),
    "two programs in a folder below": (lambda: zipped([Member("data.pkl", GOOD), *parts()]), "one folder"),
    "one entry twice in the directory": (changed(3, central={"header": 0}), ""),
    "overlapping entries": (changed(2, central={"header": 1}), ""),
    "header beyond the file": (changed(2, central={"header": 10**6}), ""),
    "header of 2**32 without zip64": (changed(2, central={"header": 0xFFFFFFFF}), "zip64 field"),
    "bytes before the first entry": (changed(0, gap=b"PK\3\4" + bytes(60)), "gap"),
    "bytes between entries": (changed(2, gap=b"x"), ""),
    "size beyond the file": (changed(2, central={"size": 2**31, "packed": 2**31}), "do not fit"),
    "size too small": (changed(2, central={"size": 4, "packed": 4}), "descriptor"),
    "size too large by one": (changed(2, central={"size": 25, "packed": 25}), ""),
    "local size differs": (changed(2, local={"size": 12, "packed": 12}), "size or checksum"),
    "local checksum differs": (changed(2, local={"crc": 1}), "size or checksum"),
    "local flags differ": (changed(2, local={"flags": 0x800}), "local header and central"),
    "local method differs": (changed(2, local={"method": 8}), "local header and central"),
    "local name length differs": (changed(2, local={"name_size": 3}), "local header and central"),
    "descriptor differs in size": (changed(2, descriptor=descriptor(zlib.crc32(SIX), 23)), "data descriptor"),
    "descriptor differs in checksum": (changed(2, descriptor=descriptor(1, 24)), "data descriptor"),
    "no descriptor": (changed(2, descriptor=b""), "data descriptor"),
    "descriptor without mark": (changed(2, descriptor=descriptor(zlib.crc32(SIX), 24)[4:]), "data descriptor"),
    "sizes differ from the directory": (changed(2, flags=0x800, local={"size": 23, "packed": 23}), "size or checksum"),
    "entry on another disk": (changed(2, central={"disk": 1}), "disk"),
    "marked as a folder": (changed(2, central={"outer": 0x10}), "folder"),
    "named as a folder": (changed(4, name="m/x/"), "folder"),
    "unknown flag": (changed(2, flags=0x8808), "flags"),
    "extra field cut": (changed(2, central_extra=b"\1\0\x08\0"), "extra field"),
    "two zip64 fields": (changed(2, central_extra=b"\1\0\0\0\1\0\0\0"), "second zip64"),
    "zip64 field that no one asked for": (changed(2, central_extra=b"\1\0\x08\0" + bytes(8)), "zip64 field"),
    "zip64 field missing": (changed(2, central={"size": 0xFFFFFFFF, "packed": 0xFFFFFFFF}), "zip64 field"),
    "zip64 size of 2**64": (
        changed(
            2,
            central={"size": 0xFFFFFFFF, "packed": 0xFFFFFFFF},
            central_extra=b"\1\0\x10\0" + b"\xff" * 16,
        ),
        "do not fit",
    ),
}


@pytest.mark.parametrize(("make", "word"), BROKEN.values(), ids=BROKEN)
def test_an_archive_that_can_be_read_in_two_ways_is_refused(make: Callable[[], bytes], word: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        opened(make())
    assert type(caught.value) in (MalformedFileError, ArtifactError)
    assert "m.bin: zip" in str(caught.value)
    assert word in str(caught.value)


@pytest.mark.parametrize("method", [1, 8, 12, 14, 93, 99])
def test_a_compressed_entry_is_refused_without_expanding_it(method: int) -> None:
    data = parts()
    data[0] = Member("m/data.pkl", zlib.compress(b"N" * 10_000_000), central={"method": method, "size": 10_000_000})
    data[0].local = {"method": method}
    refused(zipped(data), UnsafeFormatError, "compressed")


def test_a_bomb_is_refused_in_little_memory() -> None:
    data = parts()
    data[2].central = {"method": 8, "size": 2**32 - 2}
    raw = zipped(data)
    tracemalloc.start()
    try:
        refused(raw, UnsafeFormatError, "compressed")
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_one_piece_of_data_for_many_entries_is_refused() -> None:
    # The overlap bomb: all names share the local header of the first.
    data = parts()
    for number in range(3, 5):
        data[number] = Member("m/x" + str(number), b"", central={"header": 0, "size": len(GOOD), "packed": len(GOOD)})
    with pytest.raises(MalformedFileError):
        opened(zipped(data))


@pytest.mark.parametrize("flags", [1, 0x41, 0x2000])
def test_an_encrypted_entry_is_refused(flags: int) -> None:
    data = parts()
    data[0].flags |= flags
    refused(zipped(data), UnsafeFormatError, "encrypted")


def test_reading_the_directory_takes_a_few_bytes_per_entry() -> None:
    source = Memory(zipped(members(GOOD, {"0": SIX, "1": bytes(1_000_000)})))
    read_archive(source)
    assert sum(size for _, size in source.reads) < 70_000


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_changed_archive_is_read_alike_or_refused(data: st.DataObject) -> None:
    raw = bytearray(zipped(parts()))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = opened(bytes(raw)).tensors
    except ArtifactError as error:
        assert str(error).startswith("m.bin: ")
        assert str(error).isprintable()
        return
    for tensor_ in found:
        assert tensor_.size <= 6


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(ZIP)), st.binary(max_size=30), st.integers(0, 60))
def test_a_file_cut_or_spliced_is_read_or_refused(at: int, inserted: bytes, removed: int) -> None:
    try:
        opened(ZIP[:at] + inserted + ZIP[at + removed :])
    except ArtifactError as error:
        assert str(error).isprintable()
