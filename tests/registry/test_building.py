"""Filling a registry: from models at hand, from the hub in parallel, and out again as a compact index."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from provenance_gate.artifact.sources import Options
from provenance_gate.building import add, build, catalog_ids, export, reindex
from provenance_gate.errors import ArtifactError, RegistryError, UsageError
from provenance_gate.fingerprint.container import fingerprint_bytes, save_fingerprint
from provenance_gate.fingerprint.interface import METHOD
from provenance_gate.reading import Reading, fingerprint
from provenance_gate.registry.catalog import Catalog
from provenance_gate.registry.compact_index import CompactIndex
from provenance_gate.registry.layers import open_registries
from provenance_gate.registry.records import Given
from provenance_gate.registry.verifying import verify_registry
from tests.hub.contents import Bytes, Repository
from tests.hub.server import LoopbackHub, loopback_hub
from tests.models import llama, write_model
from tests.registry.build import license_facts, record, write_registry
from tests.registry.stored import BASE, edit_index, measured, objects, stored_registry

READING = Reading(jobs=1)


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    return tmp_path / "registry"


def model(folder: Path, seed: int = 1, **card: str) -> Path:
    return write_model(folder, llama(seed), **card)  # type: ignore[arg-type]


# Adding


def test_a_model_is_added_with_what_its_card_claims(tmp_path: Path, registry: Path) -> None:
    source = model(tmp_path / "child", base="meta-llama/Llama-3.1-8B", license_id="mit")
    done = add(str(registry), str(source), Given(), READING)
    assert (done.entry.id, done.replaced, done.unsigned) == ("child", False, False)
    found = open_registries([str(registry)]).catalog.find("child")
    assert found is not None
    assert [term.id.casefold() for term in found.licenses] == ["mit"]
    assert found.licenses[0].category == "permissive"
    assert found.parents == ("meta-llama/Llama-3.1-8B",)
    assert found.facts["license_confidence"] == found.facts["base_confidence"] == "declared"
    # Where it lies on this machine is nobody's business.
    assert str(tmp_path) not in (registry / "index.json").read_text()
    assert verify_registry(str(registry)).problems == []


def test_what_is_given_wins_over_the_card(tmp_path: Path, registry: Path) -> None:
    source = model(tmp_path / "child", base="acme/said", license_id="mit")
    given = Given("acme/model", "cc-by-nc-4.0", ("acme/true",), "https://example.org/model")
    add(str(registry), str(source), given, READING)
    registries = open_registries([str(registry)])
    found, entry = registries.catalog.find("acme/model"), registries.find("acme/model")
    assert found is not None
    assert entry is not None
    assert (found.licenses[0].spdx, found.licenses[0].category) == ("CC-BY-NC-4.0", "non-commercial")
    assert found.parents == ("acme/true",)
    assert entry.source == "https://example.org/model"
    assert found.facts["sources"] == ["https://example.org/model"]


def test_a_merge_keeps_all_parents(tmp_path: Path, registry: Path) -> None:
    add(str(registry), str(model(tmp_path / "m")), Given(parents=("acme/a", "acme/b")), READING)
    found = open_registries([str(registry)]).catalog.find("m")
    assert found is not None
    assert found.parents == ("acme/a", "acme/b")
    assert found.facts["base_model"]["relation"] == "merge"


def test_a_model_that_says_nothing_has_no_record(tmp_path: Path, registry: Path) -> None:
    done = add(str(registry), str(model(tmp_path / "m", license_id="")), Given(), READING)
    assert done.entry.record is None


def test_facts_of_a_catalog_are_not_hidden_by_a_card(tmp_path: Path, registry: Path) -> None:
    source = model(tmp_path / "m", base="acme/lie", license_id="mit")
    done = add(str(registry), str(source), Given("meta-llama/llama-3.1-8b"), READING)
    assert done.entry.record is None
    found = open_registries([str(registry)]).catalog.find("meta-llama/Llama-3.1-8B")
    assert found is not None
    assert found.licenses[0].id == "llama3.1"


def test_a_catalog_file_of_the_registry_is_not_contradicted(tmp_path: Path, registry: Path) -> None:
    write_registry(registry, record(BASE, license=license_facts()))
    add(str(registry), str(model(tmp_path / "m", license_id="mit")), Given(BASE), READING)
    with pytest.raises(UsageError, match="describes acme/base; change its license and parents there"):
        add(str(registry), str(tmp_path / "m"), Given(BASE, license="mit"), READING)
    found = Catalog([registry]).find(BASE)
    assert found is not None
    assert found.licenses[0].id == "apache-2.0"


def test_adding_again_replaces_the_record_too(tmp_path: Path, registry: Path) -> None:
    source = str(model(tmp_path / "m", license_id="mit"))
    assert not add(str(registry), source, Given("acme/m", license="gpl-3.0"), READING).replaced
    assert add(str(registry), source, Given("Acme/M"), READING).replaced
    found = open_registries([str(registry)]).catalog.find("acme/m")
    assert found is not None
    assert found.licenses[0].spdx == "MIT"
    assert len(objects(registry)) == 1


def test_a_fingerprint_file_is_added_as_it_is(tmp_path: Path, registry: Path) -> None:
    save_fingerprint(measured(1), tmp_path / "base.fingerprint")
    done = add(str(registry), str(tmp_path / "base.fingerprint"), Given(BASE), READING)
    registries = open_registries([str(registry)])
    assert fingerprint_bytes(registries.fingerprint(done.entry)) == (tmp_path / "base.fingerprint").read_bytes()


def test_a_fingerprint_without_weights_is_refused(tmp_path: Path, registry: Path) -> None:
    facts = fingerprint(str(model(tmp_path / "m")), Reading(jobs=1, max_tier=1))
    save_fingerprint(facts, tmp_path / "facts")
    with pytest.raises(UsageError, match="no weights were measured"):
        add(str(registry), str(tmp_path / "facts"), Given(BASE), READING)
    assert not registry.exists()


def test_a_name_that_is_no_id_asks_for_one(tmp_path: Path, registry: Path) -> None:
    source = model(tmp_path / "my model")
    with pytest.raises(UsageError, match="give one with --id"):
        add(str(registry), str(source), Given(), READING)
    with pytest.raises(ArtifactError, match="no such file or folder"):
        add(str(registry), str(tmp_path / "none"), Given(BASE), READING)
    with pytest.raises(UsageError, match="only a local registry"):
        add("https://example.org/r", str(source), Given(BASE), READING)
    assert not registry.exists()


# Building from the hub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    with loopback_hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
        yield running


@pytest.fixture
def far(tmp_path: Path) -> Reading:
    options = Options(offline=False, token=False, cache_dir=str(tmp_path / "hub-cache"), tries=1)
    return Reading(jobs=1, remote=options)


def upload(hub: LoopbackHub, folder: Path, model_id: str, seed: int, commit: str = "c" * 40, **card: str) -> None:
    source = model(folder / f"{seed}-{commit[0]}", seed, **card)
    files = {str(p.relative_to(source)): Bytes(p.read_bytes()) for p in source.rglob("*") if p.is_file()}
    hub.add(model_id, Repository(files, commit))


def test_hub_models_are_stored_at_their_commit_and_skipped_the_next_time(
    hub: LoopbackHub, far: Reading, tmp_path: Path, registry: Path
) -> None:
    for seed in (1, 2, 3):
        upload(hub, tmp_path, f"org/model-{seed}", seed)
    ids = [f"org/model-{seed}" for seed in (1, 2, 3)]
    steps: list[tuple[str, int, int]] = []
    first = build(
        str(registry), ids[:2], Reading(jobs=1, remote=far.remote, progress=lambda *s: steps.append(s)), jobs=2
    )
    assert (first.added, first.skipped, first.failures) == (tuple(ids[:2]), (), ())
    assert steps == [("building", 1, 2), ("building", 2, 2)]
    before = len(hub.seen)
    second = build(str(registry), ids, far, jobs=2)
    assert (second.added, second.skipped, second.failures) == ((ids[2],), tuple(ids[:2]), ())
    assert {s.path.split("/")[2] for s in hub.seen[before:] if s.origin == "storage"} == {"model-3"}
    registries = open_registries([str(registry)])
    for seed, found in zip((1, 2, 3), registries.entries(), strict=True):
        assert found.source == f"hf://org/model-{seed}@{'c' * 40}"
        stored, near = registries.fingerprint(found), measured(seed)
        assert stored.signals.keys() == near.signals.keys()
        assert stored.parameters == near.parameters
    assert verify_registry(str(registry)).problems == []


def test_a_new_commit_or_a_lost_object_is_measured_again(
    hub: LoopbackHub, far: Reading, tmp_path: Path, registry: Path
) -> None:
    upload(hub, tmp_path, "org/m", 1)
    build(str(registry), ["org/m"], far)
    upload(hub, tmp_path, "org/m", 2, "d" * 40)
    assert build(str(registry), ["org/m"], far).added == ("org/m",)
    (entry,) = open_registries([str(registry)]).entries()
    assert entry.source == "hf://org/m@" + "d" * 40
    assert entry.fingerprint is not None
    for path in objects(registry):
        path.unlink()
    assert build(str(registry), ["hf://org/m@main"], far).added == ("hf://org/m@main",)
    assert build(str(registry), ["org/m"], far).skipped == ("org/m",)


def test_failing_models_are_named_and_stop_nobody(
    hub: LoopbackHub, far: Reading, tmp_path: Path, registry: Path
) -> None:
    upload(hub, tmp_path, "org/good", 1)
    hub.add("org/gated", Repository({"config.json": Bytes(b"{}")}, gated=True))
    hub.add("org/broken", Repository({"config.json": Bytes(b"{"), "model.safetensors": Bytes(b"\0" * 20)}))
    hub.add("org/empty", Repository({"notes.txt": Bytes(b"x")}))
    ids = ["org/missing", "org/gated", "not an id", "org/broken", "org/good", "org/empty", "s3://x/y"]
    built = build(str(registry), ids, far, jobs=3)
    assert built.added == ("org/good",)
    assert [f.id for f in built.failures] == [i for i in ids if i != "org/good"]
    assert all(f.reason and "\n" not in f.reason for f in built.failures)
    assert [e.id for e in open_registries([str(registry)]).entries()] == ["org/good"]


def test_a_model_that_breaks_the_reader_stops_nobody(
    hub: LoopbackHub, far: Reading, tmp_path: Path, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from provenance_gate import building

    upload(hub, tmp_path, "org/good", 1)
    upload(hub, tmp_path, "org/worse", 2)
    whole = building.measure_opened

    def measure(opened: building.OpenedArtifact, reading: Reading) -> object:
        if opened.artifact.name == "org/worse":
            raise ZeroDivisionError("a fault of ours")
        return whole(opened, reading)

    monkeypatch.setattr(building, "measure_opened", measure)
    built = build(str(registry), ["org/worse", "org/good"], far)
    assert built.added == ("org/good",)
    assert built.failures[0].reason == "internal error: ZeroDivisionError: a fault of ours"


def test_a_registry_that_cannot_be_read_stops_the_build(hub: LoopbackHub, far: Reading, tmp_path: Path) -> None:
    folder = stored_registry(tmp_path / "registry")
    edit_index(folder, lambda c: c.update(version=9))
    asked = len(hub.seen)
    with pytest.raises(RegistryError, match="version"):
        build(str(folder), ["org/m"], far)
    assert len(hub.seen) == asked


def test_the_whole_catalog_is_the_shipped_one_and_the_registrys_own(tmp_path: Path, registry: Path) -> None:
    shipped = catalog_ids(str(registry))
    write_registry(registry, record(BASE))
    assert set(catalog_ids(str(registry))) - set(shipped) == {BASE}
    assert len(shipped) == 273


# Index and export


def test_a_new_index_lists_edited_catalog_files_and_makes_missing_sketches(tmp_path: Path) -> None:
    folder = stored_registry(tmp_path / "registry")
    write_registry(folder, record("acme/more"), file="more.json")
    edit_index(folder, lambda c: c["entries"][0].pop("sketch"))
    assert verify_registry(str(folder)).problems
    assert reindex(str(folder)).sketched == (BASE,)
    found = verify_registry(str(folder))
    assert (found.problems, found.notes, found.records) == ([], [], 4)
    assert reindex(str(folder)).sketched == ()
    with pytest.raises(RegistryError, match="no such folder"):
        reindex(str(tmp_path / "none"))


def test_a_wrong_sketch_is_a_problem(tmp_path: Path) -> None:
    folder = stored_registry(tmp_path / "registry")
    content = json.loads((folder / "index.json").read_text())
    one, two = (e["sketch"] for e in content["entries"])
    edit_index(folder, lambda c: c["entries"][0].update(sketch={**one, "parts": two["parts"]}))
    (problem,) = verify_registry(str(folder)).problems
    assert "acme/base: sketch: not the one of the stored fingerprint" in problem


def test_sketches_are_exported_as_one_compact_index(tmp_path: Path) -> None:
    folder = stored_registry(tmp_path / "registry")
    assert export([str(folder)], tmp_path / "all.index") == 2
    entries = open_registries([str(folder)], shipped=False).entries()
    with CompactIndex.open(tmp_path / "all.index") as index:
        assert len(index) == 2
        for entry in entries:
            assert entry.sketch is not None
            assert entry.id in {hit.id for hit in index.search(entry.sketch)}


def test_a_registry_without_sketches_has_nothing_to_export(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no entry has a sketch"):
        export([str(write_registry(tmp_path / "r", record(BASE)))], tmp_path / "all.index")
    assert not (tmp_path / "all.index").exists()


# Import


def test_an_imported_database_is_stored_under_its_method_and_never_over_ours(tmp_path: Path, registry: Path) -> None:
    pytest.importorskip("pyarrow")
    from provenance_gate.building import import_kit
    from tests.registry.reference_database import stored, write_database

    assets = []
    for seed, model_id in ((1, BASE), (2, "acme/measured")):
        folder = write_model(tmp_path / str(seed), llama(seed))
        assets.append(stored(folder, llama(seed), model_id, "model.embed_tokens.weight")[0])
    add(str(registry), str(tmp_path / "2"), Given("acme/measured"), READING)
    built = import_kit(str(registry), write_database(tmp_path / "database", *assets))
    assert (built.added, built.skipped, built.failures) == ((BASE,), ("acme/measured",), ())
    registries = open_registries([str(registry)])
    methods = {e.id: e.fingerprint.method for e in registries.entries() if e.fingerprint is not None}
    assert methods["acme/measured"] == METHOD
    assert methods[BASE] != METHOD
    found = registries.find(BASE)
    assert found is not None
    assert registries.fingerprint(found).method == methods[BASE]
    assert verify_registry(str(registry)).problems == []
