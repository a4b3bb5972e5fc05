"""Registries as readers see them: layered, lazy, checked by digest; what is damaged is named, or left out and listed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provenance_gate.errors import RegistryError, UsageError
from provenance_gate.fingerprint.container import fingerprint_bytes
from provenance_gate.registry.catalog import Catalog
from provenance_gate.registry.folder import FolderRegistry
from provenance_gate.registry.layers import Registries, open_registries
from provenance_gate.registry.place import LocalPlace, open_place
from provenance_gate.registry.writing import RegistryWriter
from tests.registry.build import record, write_registry
from tests.registry.stored import BASE, OTHER, edit_index, entry, measured, objects, stored_registry


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return stored_registry(tmp_path / "registry")


def opened(*folders: Path, skip: bool = False) -> Registries:
    return open_registries([str(f) for f in folders], skip_damaged=skip, shipped=False)


def everything(registries: Registries) -> None:
    """Ask for all that is stored."""
    for found in registries.entries():
        registries.fingerprint(found)
    registries.catalog.records()


def test_a_stored_fingerprint_comes_back_bit_by_bit(folder: Path) -> None:
    registries = opened(folder)
    assert [e.id for e in registries.entries()] == [BASE, OTHER]
    for found, seed in zip(registries.entries(), (1, 2), strict=True):
        assert fingerprint_bytes(registries.fingerprint(found)) == fingerprint_bytes(measured(seed))
    assert registries.damaged == ()


def test_the_catalog_holds_records_of_files_and_of_the_index(folder: Path) -> None:
    catalog = opened(folder).catalog
    assert [r.id for r in catalog.records()] == [BASE, "acme/cousin", OTHER]
    found = catalog.find(OTHER.upper())
    assert found is not None
    assert found.parents == (BASE,)


def test_nothing_is_read_before_the_first_question(tmp_path: Path) -> None:
    registries = open_registries([str(tmp_path / "none"), "http://127.0.0.1:9/none", "s3://nowhere/none"])
    assert len(registries.layers) == 4
    with pytest.raises(RegistryError, match="none: no such folder"):
        registries.entries()


def test_the_shipped_registry_lies_below_and_only_once(folder: Path) -> None:
    registries = open_registries([str(folder)])
    assert registries.catalog.find("meta-llama/Llama-3.1-8B") is not None
    assert registries.catalog.find(BASE) is not None
    shipped = registries.layers[0].location
    assert len(open_registries([shipped, str(folder), str(folder)]).layers) == 2
    with pytest.raises(UsageError, match="found nothing"):
        open_registries([""])


def test_a_later_registry_replaces_an_entry_of_the_same_id(folder: Path, tmp_path: Path) -> None:
    writer = RegistryWriter(str(tmp_path / "later"))
    writer.add([entry(writer, BASE.upper(), 3)])
    registries = opened(folder, tmp_path / "later")
    found = registries.find(BASE)
    assert found is not None
    assert (found.id, found.registry) == (BASE.upper(), str(tmp_path / "later"))
    assert fingerprint_bytes(registries.fingerprint(found)) == fingerprint_bytes(measured(3))
    assert [e.id for e in registries.entries()] == [BASE.upper(), OTHER]
    first = opened(tmp_path / "later", folder).find(BASE)
    assert first is not None
    assert first.id == BASE


def test_an_alias_leads_to_its_entry_and_never_hides_an_id_or_a_record(folder: Path, tmp_path: Path) -> None:
    writer = RegistryWriter(str(tmp_path / "later"))
    writer.add([entry(writer, "evil/model", 3, aliases=(BASE, "acme/cousin", "evil/other-name"))])
    registries = opened(folder, tmp_path / "later")

    def owner(name: str) -> str | None:
        found = registries.find(name)
        return None if found is None else found.id

    assert owner(BASE) == BASE
    assert owner("acme/cousin") is None
    assert owner("EVIL/Other-Name") == "evil/model"
    assert owner("acme/never-heard-of") is None


def test_an_entry_is_found_by_the_name_that_the_catalog_gives_its_model(tmp_path: Path) -> None:
    write_registry(tmp_path, record(BASE, aliases=["base-old"]))
    writer = RegistryWriter(str(tmp_path))
    writer.add([entry(writer, BASE)])
    found = opened(tmp_path).find("Base-Old")
    assert found is not None
    assert found.id == BASE


def test_a_record_in_an_index_is_replaced_by_a_later_layer_and_replaces_an_earlier_one(
    folder: Path, tmp_path: Path
) -> None:
    later = write_registry(tmp_path / "later", record(OTHER, publisher="Later"))
    catalog = opened(folder, later).catalog
    found = catalog.find(OTHER)
    assert found is not None
    assert found.publisher == "Later"
    found = opened(later, folder).catalog.find(OTHER)
    assert found is not None
    assert found.publisher == "Acme"


def test_licenses_of_a_registry_add_to_the_shipped_ones(folder: Path, tmp_path: Path) -> None:
    own = {"id": "acme-1.0", "spdx": None, "name": "Acme", "category": "proprietary", "url": None}
    later = write_registry(tmp_path / "later", record("acme/c"))
    (later / "licenses.json").write_text(json.dumps([own]))
    book = opened(folder, later).catalog.licenses()
    assert book.term("Acme-1.0").category == "proprietary"
    assert book.term("mit").category == "permissive"
    assert Catalog([folder]).licenses().term("acme-1.0").category == "unknown"


def test_a_merge_in_an_index_has_all_its_parents(tmp_path: Path) -> None:
    base = {"id": "acme/a", "relation": "merge", "others": ["acme/b", "acme/c"]}
    found = Catalog([write_registry(tmp_path, record("acme/m", base_model=base))]).find("acme/m")
    assert found is not None
    assert found.parents == ("acme/a", "acme/b", "acme/c")


def first_object(folder: Path) -> Path:
    stored = json.loads((folder / "index.json").read_text())["entries"][0]["fingerprint"]["sha256"]
    return folder / "objects" / stored[:2] / stored


def swap_objects(folder: Path) -> None:
    one, other = objects(folder)
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def other_content(folder: Path) -> None:
    """An object that is no fingerprint, under its true digest."""
    data = b"not a fingerprint"
    digest = sha256(data).hexdigest()
    (folder / "objects" / digest[:2]).mkdir(exist_ok=True)
    (folder / "objects" / digest[:2] / digest).write_bytes(data)
    edit_index(folder, lambda c: c["entries"][0]["fingerprint"].update(sha256=digest, size=len(data)))


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


CATALOG = "acme--base.json"
DAMAGE: list[tuple[Callable[[Path], object], str]] = [
    (lambda f: flip(first_object(f)), "acme/base: objects/.*SHA-256"),
    (lambda f: first_object(f).write_bytes(first_object(f).read_bytes()[:-1]), "bytes, expected"),
    (lambda f: first_object(f).write_bytes(first_object(f).read_bytes() + b"x"), "bytes"),
    (lambda f: first_object(f).write_bytes(b""), "0 bytes, expected"),
    (lambda f: first_object(f).unlink(), "acme/base: objects/.*: No such file"),
    (lambda f: pipe(first_object(f)), "no regular file"),
    (swap_objects, "SHA-256|bytes"),
    (other_content, "not a fingerprint"),
    (lambda f: edit_index(f, lambda c: c["entries"][0]["fingerprint"].update(method="other/1")), "method"),
    (lambda f: edit_index(f, lambda c: c["entries"][0]["fingerprint"].update(size=3)), "3 bytes"),
    (lambda f: edit_index(f, lambda c: c["entries"][0].update(sketch={})), "sketch"),
    (lambda f: edit_index(f, lambda c: c["entries"][1]["record"].update(license=1)), "license"),
    (
        lambda f: edit_index(f, lambda c: c["entries"][1]["record"].update(id="meta-llama/Llama-3.1-8B")),
        "in the entry of",
    ),
    (lambda f: edit_index(f, lambda c: c["entries"][0].update(record=record(BASE))), "holds this id twice"),
    (lambda f: edit_index(f, lambda c: c["entries"].append({"id": BASE})), "holds this id twice"),
    (lambda f: flip(f / "catalog" / CATALOG), f"{CATALOG}: SHA-256"),
    (lambda f: (f / "catalog" / CATALOG).unlink(), f"{CATALOG}: No such file"),
    (lambda f: pipe(f / "catalog" / CATALOG), "no regular file"),
    (lambda f: (f / "catalog" / "more.json").write_text("[]"), r"more\.json: not listed"),
    (lambda f: edit_index(f, lambda c: c["files"].pop(f"catalog/{CATALOG}")), "not listed"),
    (lambda f: edit_index(f, lambda c: c.update(version=2)), r"index\.json: version"),
    (lambda f: (f / "index.json").write_bytes((f / "index.json").read_bytes()[:-40]), "index.json: not JSON"),
    (lambda f: (f / "index.json").write_bytes(b""), "index.json: not JSON"),
    (lambda f: pipe(f / "index.json"), "no regular file"),
    (lambda f: (f / "licenses.json").write_text("{"), "licenses.json"),
]


@pytest.mark.parametrize(("damage", "problem"), DAMAGE)
def test_damage_is_named_in_one_line_or_left_out_and_listed(
    folder: Path, damage: Callable[[Path], object], problem: str
) -> None:
    damage(folder)
    edited = (folder / "licenses.json").exists()
    if edited:
        edit_index(
            folder, lambda c: c["files"].update({"licenses.json": {"sha256": sha256(b"{").hexdigest(), "size": 1}})
        )
    with pytest.raises(RegistryError, match=problem) as found:
        everything(opened(folder))
    assert "\n" not in str(found.value)
    assert str(found.value).startswith(str(folder))
    tolerant = opened(folder, skip=True)
    for model in tolerant.entries():
        try:
            tolerant.fingerprint(model)
        except RegistryError as error:
            assert str(error) in tolerant.damaged
    tolerant.catalog.records()
    assert len(tolerant.damaged) == (2 if damage is swap_objects else 1)
    assert all("\n" not in sentence for sentence in tolerant.damaged)


def test_one_damaged_entry_leaves_the_others_usable(folder: Path) -> None:
    flip(first_object(folder))
    tolerant = opened(folder, skip=True)
    good = tolerant.find(OTHER)
    assert good is not None
    assert tolerant.fingerprint(good).parameters == measured(2).parameters
    assert tolerant.damaged == ()


def test_a_folder_that_is_no_registry_is_an_error_even_when_damage_is_skipped(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none"):
        with pytest.raises(RegistryError, match=r"this is no registry|no such folder"):
            opened(place, skip=True).entries()


def test_a_folder_with_a_catalog_only_has_no_entries(tmp_path: Path) -> None:
    registries = opened(write_registry(tmp_path, record(BASE)))
    assert registries.entries() == ()
    assert registries.catalog.find(BASE) is not None


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_changed_byte_anywhere_is_noticed_or_changes_nothing(tmp_path_factory: Any, data: st.DataObject) -> None:
    folder = stored_registry(tmp_path_factory.mktemp("hostile") / "registry")
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != ".lock")
    path = data.draw(st.sampled_from(files), label="file")
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1), label="byte")
    content[place] = data.draw(st.integers(0, 255), label="value")
    unchanged = bytes(content) == path.read_bytes()
    path.write_bytes(bytes(content))
    try:
        everything(opened(folder))
    except RegistryError as error:
        assert "\n" not in str(error)
    else:
        # Only the index holds bytes that no digest covers.
        assert unchanged or path.name == "index.json"
    shutil.rmtree(folder)


def test_no_entry_without_a_stored_fingerprint_has_one(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text('{"version":1,"entries":[{"id":"acme/x"}]}')
    registries = opened(tmp_path)
    with pytest.raises(RegistryError, match="acme/x: no fingerprint is stored"):
        registries.fingerprint(registries.entries()[0])


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "catalog//x", "a/b/c/d", ".lock", "", "x\n", "a\x00b", "x" * 201]
)
def test_a_place_reads_no_name_that_could_lead_out_of_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(RegistryError, match="not the name of a file of a registry"):
        open_place(str(tmp_path)).read(name, 10)


def test_a_file_larger_than_allowed_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_bytes(b"x" * 11)
    assert LocalPlace(tmp_path).read("index.json", 11) == b"x" * 11
    with pytest.raises(RegistryError, match="11 bytes, expected a file of at most 10 bytes"):
        LocalPlace(tmp_path).read("index.json", 10)


def test_a_registry_answers_as_the_interface_says(folder: Path) -> None:
    from provenance_gate.registry.interface import Registry

    registry: Registry = FolderRegistry(LocalPlace(folder))
    assert registry.location == str(folder)
    assert [e.registry for e in registry.entries()] == [str(folder)] * 2
    assert registry.damaged == ()
