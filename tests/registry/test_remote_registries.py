"""Registries behind HTTP addresses, on the hub and on other file systems: the same answers as from the folder, never written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provenance_gate.artifact.sources import Options
from provenance_gate.errors import RegistryError, UsageError
from provenance_gate.fingerprint.container import fingerprint_bytes
from provenance_gate.registry.layers import Registries, open_registries
from provenance_gate.registry.place import open_place
from provenance_gate.registry.verifying import verify_registry
from tests.hub.contents import Bytes, Repository
from tests.hub.server import LoopbackHub, loopback_hub
from tests.registry.build import record, write_registry
from tests.registry.stored import BASE, OTHER, measured, stored_registry

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    with loopback_hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return stored_registry(tmp_path / "registry")


@pytest.fixture
def options(tmp_path: Path) -> Options:
    return Options(offline=False, token=False, cache_dir=str(tmp_path / "hub-cache"), tries=1, timeout=5.0)


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(params=["http", "hub", "memory"])
def location(request: pytest.FixtureRequest, hub: LoopbackHub, folder: Path) -> Iterator[str]:
    """The registry of `folder` somewhere else."""
    if request.param == "memory":
        system = fsspec.filesystem("memory")
        for name, data in files(folder).items():
            system.pipe_file(f"/registries/ours/{name}", data)
        yield "memory://registries/ours"
        system.store.clear()
        return
    hub.add("org/registry", Repository({n: Bytes(d) for n, d in files(folder).items()}))
    yield "hf://org/registry" if request.param == "hub" else f"{hub.url}/org/registry/resolve/main/"


def opened(location: str, options: Options, **how: Any) -> Registries:
    return open_registries([location], options=options, shipped=False, **how)


def replaced(hub: LoopbackHub, location: str, name: str, data: bytes | None) -> None:
    """Change or remove one file of the remote registry."""
    if location.startswith("memory"):
        system = fsspec.filesystem("memory")
        system.store.pop(f"/registries/ours/{name}", None)
        if data is not None:
            system.pipe_file(f"/registries/ours/{name}", data)
        return
    held = dict(hub.repositories["org/registry"].files)
    held.pop(name, None)
    hub.add("org/registry", Repository(held if data is None else {**held, name: Bytes(data)}))


def test_a_remote_registry_answers_as_the_folder_does(location: str, folder: Path, options: Options) -> None:
    far, near = opened(location, options), open_registries([str(folder)], shipped=False)
    assert [(e.id, e.fingerprint) for e in far.entries()] == [(e.id, e.fingerprint) for e in near.entries()]
    assert [r.facts for r in far.catalog.records()] == [r.facts for r in near.catalog.records()]
    for found, seed in zip(far.entries(), (1, 2), strict=True):
        assert fingerprint_bytes(far.fingerprint(found)) == fingerprint_bytes(measured(seed))
    verified = verify_registry(location, options=options)
    assert (verified.problems, verified.records, verified.entries, verified.fingerprints) == ([], 3, 2, 2)


def test_damage_of_a_remote_registry_is_named_or_left_out(
    location: str, folder: Path, options: Options, hub: LoopbackHub
) -> None:
    name = "catalog/acme--base.json"
    data = (folder / name).read_bytes()
    for changed in (data.replace(b"Acme", b"Evil"), data[:-1], None):
        replaced(hub, location, name, changed)
        with pytest.raises(RegistryError, match="acme--base") as found:
            opened(location, options).catalog.records()
        assert "\n" not in str(found.value)
        tolerant = opened(location, options, skip_damaged=True)
        assert [r.id for r in tolerant.catalog.records()] == [OTHER]
        assert len(tolerant.damaged) == 1
        replaced(hub, location, name, data)


def test_a_remote_place_without_an_index_is_no_registry(location: str, options: Options, hub: LoopbackHub) -> None:
    replaced(hub, location, "index.json", None)
    with pytest.raises(RegistryError, match=r"index\.json"):
        opened(location, options).entries()


def test_a_remote_file_that_is_too_large_is_not_read(location: str, options: Options) -> None:
    with pytest.raises(RegistryError, match="expected a file of at most 10 bytes"):
        open_place(location, options).read("index.json", 10)


def test_a_remote_registry_without_a_list_of_files_has_entries_and_no_catalog(
    hub: LoopbackHub, options: Options
) -> None:
    index = b'{"version":1,"entries":[{"id":"acme/x"}]}'
    hub.add("org/registry", Repository({"index.json": Bytes(index), "catalog/a.json": Bytes(b"[]")}))
    registries = opened(f"{hub.url}/org/registry/resolve/main", options)
    assert [e.id for e in registries.entries()] == ["acme/x"]
    assert registries.catalog.records() == ()


def test_small_files_cost_one_request_each(hub: LoopbackHub, folder: Path, options: Options) -> None:
    hub.add("org/registry", Repository({n: Bytes(d) for n, d in files(folder).items()}))
    registries = opened(f"{hub.url}/org/registry/resolve/main", options)
    registries.catalog.find(BASE)
    assert len([s for s in hub.seen if "/resolve/" in s.path]) == 2


def test_a_signature_in_the_address_goes_along_and_is_not_shown(
    folder: Path, hub: LoopbackHub, options: Options
) -> None:
    hub.add("org/registry", Repository({n: Bytes(d) for n, d in files(folder).items()}))
    registries = opened(f"{hub.url}/org/registry/resolve/main?sig=secret", options)
    assert len(registries.entries()) == 2
    assert all("sig=secret" in s.path for s in hub.seen if "/resolve/" in s.path)
    assert "secret" not in registries.layers[0].location
    missing = opened(f"{hub.url}/org/none/resolve/main?sig=secret", options)
    with pytest.raises(RegistryError) as found:
        missing.entries()
    assert "secret" not in str(found.value)


def test_offline_no_remote_registry_is_asked(location: str, options: Options, hub: LoopbackHub) -> None:
    if location.startswith("memory"):
        pytest.skip("memory is no network")
    asked = len(hub.seen)
    offline = Options(offline=True, cache_dir=options.cache_dir)
    with pytest.raises(RegistryError, match="offline"):
        opened(location, offline).entries()
    assert len(hub.seen) == asked


def test_an_unreachable_registry_is_one_clear_error(options: Options) -> None:
    with pytest.raises(RegistryError, match=r"127\.0\.0\.1:9") as found:
        opened("http://127.0.0.1:9/registry", options, skip_damaged=False).entries()
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("place", ["gopher://x/y", "file:///tmp/registry", "zip://a::s3://b"])
def test_a_protocol_that_cannot_be_read_is_refused(place: str, options: Options) -> None:
    with pytest.raises(UsageError):
        opened(place, options).entries()


def test_remote_and_local_layers_go_together(hub: LoopbackHub, folder: Path, tmp_path: Path, options: Options) -> None:
    hub.add("org/registry", Repository({n: Bytes(d) for n, d in files(folder).items()}))
    local = write_registry(tmp_path / "local", record(BASE, publisher="Local"))
    catalog = open_registries([f"{hub.url}/org/registry/resolve/main", str(local)], options=options).catalog
    found = catalog.find(BASE)
    assert found is not None
    assert found.publisher == "Local"
    assert catalog.find(OTHER) is not None
    assert catalog.find("meta-llama/Llama-3.1-8B") is not None
