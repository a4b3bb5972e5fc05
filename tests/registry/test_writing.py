"""Writing a registry: whole files, nothing lost between processes, and a crash leaves no more than an orphan."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from provenance_gate.errors import RegistryError, UsageError
from provenance_gate.registry import writing
from provenance_gate.registry.interface import Entry
from provenance_gate.registry.layers import open_registries
from provenance_gate.registry.verifying import verify_registry
from provenance_gate.registry.writing import RegistryWriter
from tests.registry.build import record, write_registry
from tests.registry.stored import BASE, OTHER, entry, measured, objects, stored_registry

ADDER = """
import sys
from provenance_gate.registry.interface import Entry
from provenance_gate.registry.writing import RegistryWriter
folder, name, count = sys.argv[1:]
writer = RegistryWriter(folder)
for number in range(int(count)):
    writer.add([Entry(f"{name}/model-{number}", (), None, None, None, None, "")])
"""
CRASH = """
import os, sys
from provenance_gate.registry import writing
from tests.registry.stored import entry
writer = writing.RegistryWriter(sys.argv[1])
writer._change = lambda change: os._exit(9)
writer.add([entry(writer, "acme/new", 3)])
"""


def run(code: str, *arguments: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", code, *arguments], env=environment, cwd=Path(__file__).parents[2])


def ids(folder: Path) -> list[str]:
    return [e.id for e in open_registries([str(folder)], shipped=False).entries()]


def test_two_processes_that_add_at_once_lose_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "registry"
    running = [run(ADDER, str(folder), name, "20") for name in ("one", "two")]
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    assert ids(folder) == sorted(f"{name}/model-{number}" for name in ("one", "two") for number in range(20))
    assert not list(folder.rglob("*.part"))
    assert verify_registry(str(folder)).problems == []


def test_a_crash_between_object_and_index_leaves_an_orphan_that_verify_notes(tmp_path: Path) -> None:
    folder = stored_registry(tmp_path / "registry")
    before = (folder / "index.json").read_bytes()
    assert run(CRASH, str(folder)).wait(timeout=60) == 9
    assert (folder / "index.json").read_bytes() == before
    assert len(objects(folder)) == 3
    found = verify_registry(str(folder))
    assert found.problems == []
    (note,) = found.notes
    assert "no entry refers to it" in note
    writer = RegistryWriter(str(folder))
    writer.add([entry(writer, "acme/new", 3)])
    assert verify_registry(str(folder)).notes == []


def test_a_write_that_breaks_off_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = stored_registry(tmp_path / "registry")
    before = (folder / "index.json").read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing.os, "fsync", full)
    writer = RegistryWriter(str(folder))
    with pytest.raises(RegistryError, match="cannot be written: No space left on device"):
        writer.add([Entry("acme/new", (), None, None, None, None, "")])
    with pytest.raises(RegistryError, match="No space left"):
        writer.store(measured(3))
    monkeypatch.undo()
    assert (folder / "index.json").read_bytes() == before
    assert len(objects(folder)) == 2
    assert not list(folder.rglob("*.part"))


def test_the_same_id_again_replaces_whatever_its_case_and_says_so(tmp_path: Path) -> None:
    folder = stored_registry(tmp_path / "registry")
    writer = RegistryWriter(str(folder))
    done = writer.add([entry(writer, OTHER.upper(), 1), entry(writer, "acme/third", 1)])
    assert (done.added, done.replaced) == ((OTHER.upper(), "acme/third"), (OTHER,))
    assert ids(folder) == [BASE, OTHER.upper(), "acme/third"]


def test_a_sketch_is_set_only_beside_the_fingerprint_that_it_was_made_from(tmp_path: Path) -> None:
    writer = RegistryWriter(str(tmp_path))
    one, two = entry(writer, "a/a", 1), entry(writer, "b/b", 2)
    writer.add([replace(one, sketch=None), replace(two, sketch=None)])
    assert one.fingerprint is not None
    assert one.sketch is not None
    writer.add_sketches({"a/a": (one.fingerprint, one.sketch), "b/b": (one.fingerprint, one.sketch)})
    found = {e.id: e.sketch for e in writer.entries()}
    assert found["a/a"] is not None
    assert found["b/b"] is None


def test_equal_content_is_stored_once_and_gives_equal_bytes(tmp_path: Path) -> None:
    one, two = RegistryWriter(str(tmp_path / "one")), RegistryWriter(str(tmp_path / "two"))
    for writer, names in ((one, ("a/a", "b/b")), (two, ("b/b", "a/a"))):
        for name in names:
            writer.add([entry(writer, name)])
    assert (tmp_path / "one" / "index.json").read_bytes() == (tmp_path / "two" / "index.json").read_bytes()
    assert len(objects(tmp_path / "one")) == 1


def test_a_damaged_object_is_written_again(tmp_path: Path) -> None:
    writer = RegistryWriter(str(tmp_path))
    stored = writer.store(measured(1))
    (path,) = objects(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert writer.store(measured(1)) == stored
    assert path.read_bytes() == data


def test_a_damaged_index_is_never_overwritten(tmp_path: Path) -> None:
    folder = stored_registry(tmp_path / "registry")
    (folder / "index.json").write_text('{"version":1,"entries":[{"id":7}]}')
    writer = RegistryWriter(str(folder))
    with pytest.raises(RegistryError, match=r"index\.json: entry 0: id"):
        writer.add([Entry("acme/new", (), None, None, None, None, "")])
    assert (folder / "index.json").read_text() == '{"version":1,"entries":[{"id":7}]}'


def test_the_index_lists_the_catalog_with_digests(tmp_path: Path) -> None:
    folder = write_registry(tmp_path, record(BASE))
    (folder / "licenses.json").write_text("[]")
    writer = RegistryWriter(str(folder))
    writer.refresh()
    assert sorted(json.loads((folder / "index.json").read_text())["files"]) == [
        "catalog/acme--base.json",
        "licenses.json",
    ]
    write_registry(folder, record("acme/more"), file="more.json")
    with pytest.raises(RegistryError, match=r"more\.json: not listed in index\.json"):
        open_registries([str(folder)], shipped=False).catalog.records()
    writer.refresh()
    assert len(open_registries([str(folder)], shipped=False).catalog.records()) == 2


def test_a_changed_index_takes_its_signature_away_and_an_equal_one_keeps_it(tmp_path: Path) -> None:
    folder = stored_registry(tmp_path / "registry")
    signature = folder / "index.json.sig"
    signature.write_bytes(b"x" * 64)
    writer = RegistryWriter(str(folder))
    assert writer.refresh() is False
    assert signature.exists()
    assert writer.add([Entry("acme/new", (), None, None, None, None, "")]).unsigned
    assert not signature.exists()


def test_files_are_as_readable_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        writer = RegistryWriter(str(tmp_path / "registry"))
        writer.add([entry(writer, BASE)])
    finally:
        os.umask(before)
    for path in (tmp_path / "registry" / "index.json", *objects(tmp_path / "registry")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RegistryError, match="cannot be written"):
        RegistryWriter(str(tmp_path / "file")).store(measured(1))
    with pytest.raises(RegistryError, match="cannot be written"):
        RegistryWriter(str(tmp_path / "file")).add([Entry("a/b", (), None, None, None, None, "")])
    for place in ("https://example.org/registry", "s3://bucket/registry", "", "a\0b"):
        with pytest.raises(UsageError):
            RegistryWriter(place)


def test_a_lock_that_is_held_is_waited_for_and_then_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from filelock import FileLock

    monkeypatch.setattr(writing, "WAIT", 0.1)
    with FileLock(tmp_path / ".lock"), pytest.raises(RegistryError, match=r"another process has held \.lock"):
        RegistryWriter(str(tmp_path)).add([Entry("a/b", (), None, None, None, None, "")])


@pytest.mark.parametrize("source", ["", "a\nb", "\x1b[2J", "x" * 2001, "\ud800"])
def test_an_entry_that_no_reader_would_take_is_never_written(tmp_path: Path, source: str) -> None:
    folder = stored_registry(tmp_path / "registry")
    before = (folder / "index.json").read_bytes()
    with pytest.raises(UsageError, match="cannot be written to") as found:
        RegistryWriter(str(folder)).add([Entry("acme/new", (), source, None, None, None, "")])
    assert str(found.value).isprintable()
    with pytest.raises(UsageError, match="cannot be written to"):
        RegistryWriter(str(folder)).add([Entry("acme/new", (), None, None, None, {"id": "\ud800"}, "")])
    assert (folder / "index.json").read_bytes() == before


@pytest.mark.parametrize("name", ["", "a b", "../x", "a\nb", "a" * 201, "ä/b"])
def test_an_id_that_an_index_cannot_hold_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="not a model id"):
        RegistryWriter(str(tmp_path / "r")).add([Entry(name, (), None, None, None, None, "")])
    with pytest.raises(UsageError, match="not a model id"):
        RegistryWriter(str(tmp_path / "r")).add([Entry("a/b", (name,), None, None, None, None, "")])
    assert not (tmp_path / "r").exists()
