"""Both layouts of `torch.save`, and everything that only looks like them."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenance_gate.errors import ArtifactError, MalformedFileError, UnsafeFormatError

from .build import (
    EMPTY_DICT,
    NONE,
    SIX,
    TRUE,
    Member,
    legacy,
    listed,
    mapping,
    members,
    modern,
    number,
    opened,
    program,
    several,
    storage,
    tensor,
    text,
    values,
    zipped,
)
from .vectors import LEGACY

W = mapping({"w": tensor()})
OLD = mapping({"w": tensor(storage(view=NONE))})


def refused(data: bytes, error: type[ArtifactError], *words: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        opened(data)
    assert type(caught.value) is error, caught.value
    for word in ("m.bin", *words):
        assert word in str(caught.value)


@pytest.mark.parametrize("data", [modern(W), legacy(OLD)], ids=["zip", "legacy"])
def test_both_layouts_give_the_same_tensor(data: bytes) -> None:
    (found,) = opened(data).tensors
    assert (found.name, found.dtype, found.shape, found.nbytes) == ("w", "F32", (2, 3), 24)
    assert values(found).tolist() == [[0, 1, 2], [3, 4, 5]]


# Zip


def with_entry(name: str, data: bytes = b"") -> bytes:
    return zipped([*members(program(W)), Member(name, data)])


@pytest.mark.parametrize(
    "name",
    ["m/constants.pkl", "m/code/__torch__.py", "m/code/x/y.py", "m/bytecode.pkl", "m/model.json", "m/CODE/a.py"],
)
def test_torchscript_is_refused_by_name(name: str) -> None:
    refused(with_entry(name), UnsafeFormatError, "TorchScript", name[2:], "holds code")


@pytest.mark.parametrize("mark", [b"big", b"", b"little\n", b"middle", b"\xff" * 1000])
def test_another_byte_order_is_refused(mark: bytes) -> None:
    parts = members(program(W))
    parts[1] = Member("m/byteorder", mark)
    refused(zipped(parts), MalformedFileError, "byteorder", "expected little")


def test_files_without_a_byte_order_are_little_endian() -> None:
    parts = members(program(W))
    del parts[1]
    assert opened(zipped(parts)).tensors


def test_other_entries_are_only_data() -> None:
    assert opened(with_entry("m/extra/run.sh", b"rm -rf /")).tensors
    assert opened(with_entry("m/inner.zip", zipped(members(program(W))))).tensors


def test_an_archive_without_a_program_is_refused() -> None:
    refused(zipped(members(program(W))[1:]), MalformedFileError, "no data.pkl")


def test_bytes_behind_the_program_are_refused() -> None:
    refused(zipped(members(program(W) + b"N.")), MalformedFileError, "data.pkl", "2 bytes behind")


def test_a_storage_that_is_not_there_is_refused() -> None:
    refused(modern(W, {"1": SIX}), MalformedFileError, "storage 0", "data/0")


@pytest.mark.parametrize("raw", [b"", SIX[:-1], SIX + b"\0", SIX * 2])
def test_a_storage_of_another_size_is_refused(raw: bytes) -> None:
    refused(modern(W, {"0": raw}), MalformedFileError, "storage 0", f"{len(raw)} bytes, 24 are declared")


def test_a_numpy_archive_is_no_checkpoint() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.npy", b"x")
        archive.writestr("b.npy", b"x")
    refused(out.getvalue(), ArtifactError, "one folder")


# Before torch 1.6

BAD_LEGACY = {
    "another magic number": (legacy(OLD, magic=1), "mark of a PyTorch checkpoint"),
    "magic number true": (program(TRUE) + legacy(OLD), "mark of a PyTorch checkpoint"),
    "another version": (legacy(OLD, version=1002), "protocol version"),
    "sys_info is a list": (legacy(OLD, system=listed()), "sys_info"),
    "sys_info says nothing": (legacy(OLD, system=EMPTY_DICT), "sys_info"),
    "big-endian": (legacy(OLD, system=mapping({"little_endian": b"\x89"})), "sys_info"),
    "endian as number": (legacy(OLD, system=mapping({"little_endian": number(1)})), "sys_info"),
    "zip's storages": (legacy(W), "5 fields"),
    "no keys": (legacy(OLD, keys=listed()), "storage keys"),
    "keys are text": (legacy(OLD, keys=text("0")), "storage keys"),
    "another key": (legacy(OLD, keys=listed(text("1"))), "storage keys"),
    "a key too many": (legacy(OLD, keys=listed(text("0"), text("1"))), "storage keys"),
    "a key twice": (legacy(OLD, keys=listed(text("0"), text("0"))), "storage keys"),
    "a number as key": (legacy(OLD, keys=listed(number(0))), "storage keys"),
    "fewer elements": (legacy(OLD, [("0", 5, SIX)]), "5 elements"),
    "more elements": (legacy(OLD, [("0", 2**40, SIX)]), f"{2**40} elements"),
    "negative elements": (legacy(OLD, [("0", -6, SIX)]), "-6 elements"),
    "data cut": (legacy(OLD)[:-1], "is the file cut?"),
    "no data": (legacy(OLD)[:-32], "is the file cut?"),
    "bytes behind": (legacy(OLD, tail=b"\0"), "1 bytes behind the last storage"),
    "cut in the program": (legacy(OLD)[:150], "is it cut?"),
    "empty": (b"", "is it cut?"),
    "zeros": (bytes(1000), "no instruction"),
    "text": (b"hello, world", ""),
}


@pytest.mark.parametrize(("data", "word"), BAD_LEGACY.values(), ids=BAD_LEGACY)
def test_an_old_checkpoint_that_breaks_the_rules_is_refused(data: bytes, word: str) -> None:
    refused(data, MalformedFileError, word)


def test_a_view_of_a_storage_is_listed_and_not_read() -> None:
    view = several(text("9"), number(2), number(4))
    (found,) = opened(legacy(mapping({"w": tensor(storage(view=view), (4,), (1,))}))).tensors
    with pytest.raises(ArtifactError, match="view of a storage"):
        found.reader.read(0, 1)


def test_several_storages_follow_each_other() -> None:
    both = mapping(
        {"a": tensor(storage("5", 6, view=NONE)), "b": tensor(storage("3", 2, "HalfStorage", NONE), (2,), (1,))}
    )
    half = struct.pack("<2e", 0.5, -1)
    data = legacy(both, [("3", 2, half), ("5", 6, SIX)])
    first, second = opened(data).tensors
    assert values(first).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert values(second).tolist() == [0.5, -1]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_tar_is_refused_by_name(form: int) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name in ("storages", "tensors", "pickle"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    refused(out.getvalue(), UnsafeFormatError, "tar archive", "0.1.10")


def test_an_old_checkpoint_that_is_a_tar_too_is_refused() -> None:
    # Loaders try tar first: a checksum in the right place of the first block makes it one.
    head = legacy(OLD)[:21]  # magic number and version
    filler = b"\x80\x02}(" + text("x")
    start = head + filler + b"X" + struct.pack("<I", 600)
    block = bytearray((start + bytes(512))[:512])
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    refused(bytes(block) + bytes(1000), UnsafeFormatError, "tar archive")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_changed_old_checkpoint_is_read_or_refused(data: st.DataObject) -> None:
    raw = bytearray(LEGACY)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = opened(bytes(raw)).tensors
    except ArtifactError as error:
        assert str(error).startswith("m.bin: ")
        assert str(error).isprintable()
        return
    for tensor_ in found:
        assert tensor_.nbytes <= len(raw)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(LEGACY)))
def test_an_old_checkpoint_cut_anywhere_is_refused(at: int) -> None:
    if at < len(LEGACY):
        with pytest.raises(ArtifactError):
            opened(LEGACY[:at])
