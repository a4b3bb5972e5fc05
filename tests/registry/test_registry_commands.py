"""`registry` on the command line: what is printed, exit codes, and that nothing an index holds reaches the terminal as it is."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provenance_gate.cli import main
from tests.hub.contents import Bytes, Repository
from tests.hub.server import LoopbackHub, loopback_hub
from tests.models import llama, write_model
from tests.registry.build import license_facts, record, write_registry
from tests.registry.stored import BASE, OTHER, edit_index, objects, stored_registry

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main(["registry", *(str(a) for a in arguments)])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        assert isinstance(stopped.value.code, int)
        return stopped.value.code, out, err

    return call


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return stored_registry(tmp_path / "registry")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LoopbackHub]:
    with loopback_hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield running


def test_list_shows_shipped_and_further_models_with_what_is_stored(run: Run, folder: Path) -> None:
    code, out, _ = run("list", "--registry", folder)
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines() if line and not line.startswith("─")}
    assert "facts, fingerprint 0." in lines[BASE]
    assert BASE in lines[OTHER]
    assert "llama3.1" in lines["meta-llama/Llama-3.1-8B"]
    assert out.endswith("276 models, 2 with a fingerprint of the weights\n")
    code, out, _ = run("list", "--registry", folder, "--format", "json")
    found = {m["id"]: m for m in json.loads(out)["models"]}
    assert code == 0
    assert len(found) == 276
    assert found[OTHER]["parents"] == [BASE]
    assert found[BASE]["fingerprint"]["size"] in {path.stat().st_size for path in objects(folder)}
    assert found["acme/cousin"]["fingerprint"] is None


def test_info_follows_parents_to_the_roots_with_their_obligations(run: Run, tmp_path: Path) -> None:
    meant = license_facts(id="llama3.1", spdx=None, category="open-with-use-restrictions", conditions="say hello")
    write_registry(
        tmp_path,
        record("acme/root", license=meant, aliases=["acme/first"]),
        record("acme/step", base_model={"id": "acme/first", "relation": "finetune"}),
        record("acme/tip", base_model={"id": "acme/unknown", "relation": "finetune", "via": ["acme/step"]}),
        record("acme/merged", base_model={"id": "acme/tip", "relation": "merge", "others": ["acme/root"]}),
    )
    code, out, _ = run("info", "ACME/Merged", "--registry", tmp_path, "--format", "json")
    assert code == 0
    found = json.loads(out)
    assert found["id"] == "acme/merged"
    steps = {(a["child"], a["id"]) for a in found["ancestors"]}
    assert steps == {
        ("acme/merged", "acme/tip"),
        ("acme/merged", "acme/root"),
        ("acme/tip", "acme/step"),
        ("acme/step", "acme/unknown"),
    }
    assert {a["id"]: a["known"] for a in found["ancestors"]}["acme/unknown"] is False
    asked = {o["model"]: o["asks"] for o in found["obligations"]}
    assert "say hello" in asked["acme/root"]
    code, out, _ = run("info", "acme/merged", "--registry", tmp_path)
    assert "acme/merged <- acme/root (llama3.1)" in out
    assert "acme/step <- acme/unknown (not recorded)" in out
    assert "say hello" in out


def test_info_shows_the_stored_fingerprint(run: Run, folder: Path) -> None:
    code, out, _ = run("info", BASE, "--registry", folder)
    assert code == 0
    assert "provenance-gate-fingerprint/1" in out
    assert "hf://acme/base@" + "c" * 40 in out
    assert "publisher:    Acme" in out


def test_an_unknown_model_is_usage_and_names_near_ones(run: Run) -> None:
    code, out, err = run("info", "llama-3.1-8b\x1b[2J")
    assert (code, out) == (2, "")
    assert "meta-llama/Llama-3.1-8B" in err
    assert "\x1b" not in err


def test_add_says_what_it_did_and_asks_for_a_new_signature(run: Run, tmp_path: Path) -> None:
    source = write_model(tmp_path / "model", llama(1))
    registry = tmp_path / "registry"
    code, out, _ = run(
        "add", registry, source, "--id", "acme/base", "--license", "mit", "--parent", "acme/root", "-j", 1
    )
    assert code == 0
    assert out.startswith("added acme/base: fingerprint of ")
    (registry / "index.json.sig").write_bytes(b"x" * 64)
    code, out, err = run("add", registry, source, "--id", "Acme/Base", "-j", 1)
    assert (code, out.split(":")[0]) == (0, "replaced Acme/Base")
    assert "openssl pkeyutl -sign" in err
    code, out, _ = run("info", "acme/base", "--registry", registry, "-f", "json")
    assert json.loads(out)["licenses"][0]["spdx"] == "Apache-2.0"


def test_build_summarizes_failures_and_exits_3(run: Run, hub: LoopbackHub, tmp_path: Path) -> None:
    source = write_model(tmp_path / "model", llama(1))
    hub.add("org/good", Repository({p.name: Bytes(p.read_bytes()) for p in source.iterdir()}))
    registry = tmp_path / "registry"
    code, out, _ = run(
        "build", registry, "org/good", "org/none", "-j", 1, "--no-cache", "--cache-dir", tmp_path / "hub"
    )
    assert code == 3
    assert out.splitlines()[0] == "1 stored, 0 stored before, 1 failed"
    assert out.splitlines()[1].startswith("  org/none: ")
    code, out, _ = run("build", registry, "org/good", "-j", 1, "--no-cache", "--cache-dir", tmp_path / "hub")
    assert (code, out) == (0, "0 stored, 1 stored before, 0 failed\n")
    assert run("build", registry)[0] == 2


def test_export_writes_a_compact_index(run: Run, folder: Path, tmp_path: Path) -> None:
    code, out, _ = run("export", folder, tmp_path / "all.index")
    assert code == 0
    assert "2 sketches" in out
    assert (tmp_path / "all.index").stat().st_size > 500


def test_verify_passes_on_what_ships_and_on_a_sound_registry(run: Run, folder: Path) -> None:
    code, out, _ = run("verify")
    assert code == 0
    assert "273 records" in out
    assert "0 problems" in out
    code, out, _ = run("verify", folder)
    assert (code, "3 records, 2 entries, 2 fingerprints" in " ".join(out.split())) == (0, True)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda f: objects(f)[0].write_bytes(b"x"), "1 bytes, expected"),
        (lambda f: edit_index(f, lambda c: c["entries"][1]["record"].update(params="many")), "params"),
        (lambda f: edit_index(f, lambda c: c["entries"][1]["record"].update(surprise=1)), "surprise"),
        (lambda f: edit_index(f, lambda c: c["entries"][1].update(aliases=["acme/base"])), "also names acme/base"),
        (lambda f: edit_index(f, lambda c: c["entries"][0].update(id="../x")), "id"),
        (lambda f: (f / "catalog" / "acme--base.json").write_text("[]"), "acme--base.json"),
        (lambda f: (f / "index.json").write_text("{"), "not JSON"),
    ],
)
def test_verify_names_what_is_wrong_and_exits_3(
    run: Run, folder: Path, damage: Callable[[Path], object], problem: str
) -> None:
    damage(folder)
    code, out, _ = run("verify", folder)
    assert code == 3
    assert problem in " ".join(out.split())
    assert "1 problem\n" in out
    # An object whose entry cannot be read must not be called left over.
    assert "may be deleted" not in out


def test_verify_notes_what_no_entry_refers_to(run: Run, folder: Path) -> None:
    (folder / "objects" / "ab").mkdir()
    (folder / "objects" / "ab" / "old\x1b[2J").write_bytes(b"x")
    (folder / ".index.json.12.part").write_bytes(b"x")
    edit_index(folder, lambda c: None)
    code, out, _ = run("verify", folder)
    assert code == 0
    assert out.count("note:") == 3
    assert "\x1b" not in out


def test_index_lists_edited_catalog_files(run: Run, folder: Path) -> None:
    write_registry(folder, record("acme/more"), file="more.json")
    assert run("verify", folder)[0] == 3
    assert run("index", folder)[0] == 0
    assert run("verify", folder)[0] == 0


def test_damage_is_exit_3_or_left_out_and_listed(run: Run, folder: Path) -> None:
    edit_index(folder, lambda c: c["entries"][0].update(id="\x1b[31mred"))
    code, out, err = run("list", "--registry", folder)
    assert (code, out) == (3, "")
    assert err.count("\n") == 1
    assert "\x1b" not in err
    code, out, err = run("list", "--registry", folder, "--skip-damaged")
    assert code == 0
    assert err.startswith("left out: ")
    assert "\x1b" not in out + err
    assert OTHER in out


def test_facts_of_a_registry_cannot_move_the_cursor(run: Run, tmp_path: Path) -> None:
    write_registry(tmp_path, record(BASE, publisher="A\x1b[2J\u202eB", note="one\nproblem: two", family="x\ry"))
    for arguments in (("info", BASE), ("list",), ("info", BASE, "-f", "json")):
        code, out, err = run(*arguments, "--registry", tmp_path)
        assert code == 0
        assert not set(out + err) & set("\x1b\r\u202e")
        assert "\nproblem" not in out


def test_a_place_that_is_no_registry_is_exit_3(run: Run, tmp_path: Path) -> None:
    for arguments in (
        ("verify", tmp_path),
        ("list", "--registry", tmp_path / "none"),
        ("export", tmp_path, tmp_path / "x"),
    ):
        code, _, err = run(*arguments)
        assert code == 3
        assert err.count("\n") == 1
    assert run("index", tmp_path / "none")[0] == 3
    assert run("add", "s3://bucket/registry", tmp_path)[0] == 2


@pytest.mark.parametrize("name", ["list", "info", "add", "build", "import", "export", "index", "verify"])
def test_every_command_explains_itself(run: Run, name: str) -> None:
    code, out, _ = run(name, "--help")
    assert code == 0
    assert len(out.splitlines()) > 6


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom provenance_gate.cli import main\n"
        "try:\n    main(['registry', '--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'numpy', 'rich', 'jsonschema', 'filelock', 'huggingface_hub', 'fsspec'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"
