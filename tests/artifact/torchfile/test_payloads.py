"""Pickles that would run something: each is named, none is run."""

from __future__ import annotations

import pickle
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from provenance_gate.errors import ArtifactError, UnsafeFormatError

from .build import STOP, legacy, listed, mapping, members, opened, program, tensor, text, zipped
from .payloads import PAYLOADS, Payload

EACH = pytest.mark.parametrize("payload", PAYLOADS, ids=lambda p: p.id)


def refused(data: bytes, payload: Payload, canary: Path) -> None:
    with pytest.raises(UnsafeFormatError) as caught:
        opened(data)
    message = str(caught.value)
    assert message.startswith("m.bin: ")
    for word in (*payload.words, "nothing was executed"):
        assert word in message
    assert message.isprintable()
    assert not canary.exists()


@pytest.mark.parametrize("payload", [p for p in PAYLOADS if p.live], ids=lambda p: p.id)
def test_the_payloads_are_armed(payload: Payload, tmp_path: Path) -> None:
    # In a process of its own: some payloads end in an error, all of them may do so only after the file is there.
    canary = tmp_path / "canary"
    (tmp_path / "payload").write_bytes(payload.program(str(canary)) + STOP)
    code = "import pickle, sys; pickle.load(open(sys.argv[1], 'rb'))"
    subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(tmp_path / "payload")], capture_output=True, check=False
    )
    assert canary.exists()


@EACH
def test_a_payload_in_a_zip_checkpoint_is_named_and_not_run(payload: Payload, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    refused(zipped(members(payload.program(str(canary)) + STOP)), payload, canary)


@EACH
def test_a_payload_beside_real_tensors_is_named_and_not_run(payload: Payload, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    inner = payload.program(str(canary))
    if payload.id == "before a fault":
        inner = b"(" + inner
    refused(zipped(members(program(b"(" + tensor() + inner + b"t"))), payload, canary)


@EACH
def test_a_payload_in_the_old_layout_is_named_and_not_run(payload: Payload, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    refused(legacy(payload.program(str(canary))), payload, canary)


@EACH
def test_a_payload_in_place_of_the_storage_keys_is_named_and_not_run(payload: Payload, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    data = legacy(mapping({"w": tensor(_old_storage())}), keys=payload.program(str(canary)))
    refused(data, payload, canary)


def _old_storage() -> bytes:
    return b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\x06Nt" + b"Q"


@EACH
def test_a_bare_payload_is_named_and_not_run(payload: Payload, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    refused(payload.program(str(canary)) + STOP, payload, canary)


@EACH
def test_a_payload_that_is_cut_off_is_never_run(payload: Payload, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    whole = payload.program(str(canary)) + STOP
    for length in range(0, len(whole), 3):
        with pytest.raises(ArtifactError):
            opened(zipped(members(whole[:length])))
    assert not canary.exists()


def test_a_payload_in_a_storage_is_only_data(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    inner = zipped(members(PAYLOADS[0].program(str(canary)) + STOP))
    inner += bytes(-len(inner) % 4)
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu")
    storage += b"J" + struct.pack("<i", len(inner) // 4) + b"tQ"
    count = len(inner) // 4
    data = zipped(members(program(mapping({"w": tensor(storage, (count,), (1,))})), {"0": inner}))
    (found,) = opened(data).tensors
    assert found.reader.read(0, count).size == count
    assert not canary.exists()


def test_the_exact_words_of_a_refusal() -> None:
    with pytest.raises(UnsafeFormatError) as caught:
        opened(b"\x80\x02cos\nsystem\n" + listed(text("x")) + b"\x85R.")
    assert str(caught.value) == "m.bin: pickle calls os.system (REDUCE at byte 23); nothing was executed"


def test_a_long_hostile_name_is_shown_on_one_printable_line() -> None:
    with pytest.raises(UnsafeFormatError) as caught:
        opened(b"c" + b"\x1b[2J" * 100 + b"\n" + "\u202e".encode() * 100 + b"\n)R.")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 700


def test_pickle_of_python_itself_in_every_protocol_is_refused() -> None:
    class Strange:
        def __reduce__(self) -> tuple[object, ...]:
            return print, ("executed",)

    for protocol in range(6):
        with pytest.raises(UnsafeFormatError, match=r"builtin(s|__)\.print"):
            opened(pickle.dumps({"w": Strange()}, protocol))
