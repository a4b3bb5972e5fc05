"""The detached signature of an index: made by OpenSSL, checked by us; without a valid one nothing of a registry is believed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from provenance_gate.errors import RegistryError, UsageError
from provenance_gate.registry.layers import Registries, open_registries
from provenance_gate.registry.signature import check_signature
from provenance_gate.registry.verifying import verify_registry
from provenance_gate.registry.writing import RegistryWriter
from tests.registry.build import record, write_registry
from tests.registry.stored import BASE, OTHER, edit_index, entry, stored_registry

SIGNATURE = "index.json.sig"


def openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two key pairs, as a user makes them."""
    pytest.importorskip("cryptography")
    if shutil.which("openssl") is None:
        pytest.skip("openssl is absent")
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ours", "theirs"):
        openssl("genpkey", "-algorithm", "ed25519", "-out", folder / f"{name}.pem")
        openssl("pkey", "-in", folder / f"{name}.pem", "-pubout", "-out", folder / f"{name}.pub")
    openssl("genpkey", "-algorithm", "rsa", "-pkeyopt", "rsa_keygen_bits:2048", "-out", folder / "rsa.pem")
    openssl("pkey", "-in", folder / "rsa.pem", "-pubout", "-out", folder / "rsa.pub")
    return folder


def sign(folder: Path, key: Path) -> None:
    openssl("pkeyutl", "-sign", "-rawin", "-inkey", key, "-in", folder / "index.json", "-out", folder / SIGNATURE)


@pytest.fixture
def signed(tmp_path: Path, keys: Path) -> Path:
    folder = stored_registry(tmp_path / "registry")
    sign(folder, keys / "ours.pem")
    return folder


def opened(folder: Path, *keys: Path, skip: bool = False) -> Registries:
    return open_registries([str(folder)], keys=keys, skip_damaged=skip)


def test_an_index_that_openssl_signed_is_accepted_with_any_of_the_keys(signed: Path, keys: Path) -> None:
    for given in ((keys / "ours.pub",), (keys / "theirs.pub", keys / "ours.pub")):
        registries = opened(signed, *given)
        assert [e.id for e in registries.entries()] == [BASE, OTHER]
        assert registries.catalog.find("acme/cousin") is not None
    assert verify_registry(str(signed), keys=[keys / "ours.pub"]).signed


def test_the_shipped_registry_needs_no_signature(signed: Path, keys: Path) -> None:
    assert opened(signed, keys / "ours.pub").catalog.find("meta-llama/Llama-3.1-8B") is not None


def test_without_a_key_nobody_asks_for_a_signature(signed: Path) -> None:
    (signed / SIGNATURE).write_bytes(b"rubbish")
    assert len(opened(signed).entries()) == 2
    assert any("not checked" in note for note in verify_registry(str(signed)).notes)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


BREACHES: list[tuple[Callable[[Path, Path], object], str]] = [
    (lambda f, k: (f / SIGNATURE).unlink(), "a signature is required"),
    (lambda f, k: sign(f, k / "theirs.pem"), "not made over this index"),
    (lambda f, k: (f / SIGNATURE).write_bytes(b"\0" * 64), "not made over this index"),
    (lambda f, k: cut(f / SIGNATURE), "63 bytes, expected the 64"),
    (lambda f, k: (f / SIGNATURE).write_bytes(b"\0" * 5000), "at most 4,096 bytes"),
    (lambda f, k: edit_index(f, lambda c: c["entries"].pop()), "not made over this index"),
    (lambda f, k: (f / "index.json").unlink(), "index.json"),
    (lambda f, k: write_registry(f, record("acme/slipped-in"), file="in.json"), "not listed"),
    (lambda f, k: write_registry(f, record(BASE, publisher="Other")), "acme--base.json"),
    (lambda f, k: (edit_index(f, lambda c: c.pop("files")), sign(f, k / "ours.pem")), "files: missing"),
]


@pytest.mark.parametrize(("breach", "problem"), BREACHES)
def test_what_the_signature_does_not_cover_is_refused_or_left_out_and_listed(
    signed: Path, keys: Path, breach: Callable[[Path, Path], object], problem: str
) -> None:
    breach(signed, keys)
    with pytest.raises(RegistryError, match=problem):
        opened(signed, keys / "ours.pub").catalog.find(BASE)
    tolerant = opened(signed, keys / "ours.pub", skip=True)
    assert tolerant.catalog.find("acme/slipped-in") is None
    found = tolerant.catalog.find(BASE)
    assert found is None or found.publisher == "Acme"
    assert len(tolerant.damaged) == 1
    assert verify_registry(str(signed), keys=[keys / "ours.pub"]).problems
    assert not verify_registry(str(signed), keys=[keys / "ours.pub"]).signed


def test_a_folder_with_a_catalog_only_is_no_signed_registry(tmp_path: Path, keys: Path) -> None:
    with pytest.raises(RegistryError, match=r"index\.json"):
        opened(write_registry(tmp_path, record(BASE)), keys / "ours.pub").catalog.find(BASE)


def test_adding_to_a_signed_registry_asks_for_a_new_signature(signed: Path, keys: Path) -> None:
    writer = RegistryWriter(str(signed))
    assert writer.add([entry(writer, "acme/new")]).unsigned
    with pytest.raises(RegistryError, match="a signature is required"):
        opened(signed, keys / "ours.pub").entries()
    sign(signed, keys / "ours.pem")
    assert len(opened(signed, keys / "ours.pub").entries()) == 3


def test_a_key_that_cannot_be_used_is_named(signed: Path, keys: Path, tmp_path: Path) -> None:
    (tmp_path / "text.pub").write_text("no key")
    for path, problem in (
        (keys / "rsa.pub", "expected an Ed25519 public key"),
        (keys / "ours.pem", "expected a PEM file"),
        (tmp_path / "text.pub", "expected a PEM file"),
        (tmp_path / "none.pub", "No such file"),
    ):
        with pytest.raises(UsageError, match=problem) as found:
            opened(signed, path).entries()
        assert path.name in str(found.value)


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cryptography.exceptions", "cryptography.hazmat.primitives.serialization"):
        monkeypatch.setitem(sys.modules, name, None)  # type: ignore[arg-type]
    (tmp_path / "key.pub").write_text("-----BEGIN PUBLIC KEY-----")
    with pytest.raises(UsageError, match=r"pip install 'provenance-gate\[signing\]'"):
        check_signature(b"", b"\0" * 64, [tmp_path / "key.pub"], "index.json.sig")
