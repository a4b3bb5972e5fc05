"""The page on signatures, run: signed by the tools that users have, checked by the command line."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from provenance_gate.cli import main
from tests.signing.build import Key, envelope, statement

pytest.importorskip("model_signing")
pytest.importorskip("OpenSSL")

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "signing.md").read_text("utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def environment(at: Path) -> dict[str, str]:
    """The commands of this interpreter's environment come first; `provenance-gate` is this source tree."""
    tools = at / "bin"
    tools.mkdir(exist_ok=True)
    gate = tools / "provenance-gate"
    gate.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m provenance_gate "$@"\n')
    gate.chmod(0o755)
    path = os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}


Check = Callable[..., tuple[int, str]]


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    """The gate in a folder: exit code and everything printed."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("NO_COLOR", "1")

    def call(at: Path, *arguments: str) -> tuple[int, str]:
        monkeypatch.chdir(at)
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main(["check", *arguments])
        said = capsys.readouterr()
        assert isinstance(stopped.value.code, int)
        return stopped.value.code, said.out + said.err

    return call


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every block of the page was run."""
    for tool in ("openssl", "bash", "base64"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is absent")
    at = tmp_path_factory.mktemp("release")
    shutil.copytree(ROOT / "examples" / "fine-tune", at / "model")
    shutil.copytree(ROOT / "examples" / "base", at / "base")
    assert len(BLOCKS) == 4
    script = "set -euo pipefail\n" + "\n".join(BLOCKS)
    done = subprocess.run(
        ["bash", "-c", script], cwd=at, env=environment(at), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASS") >= 2
    return at


@pytest.fixture
def model(released: Path, tmp_path: Path) -> Path:
    """A copy of all of it, to be tampered with."""
    shutil.copytree(released, tmp_path / "copy")
    return tmp_path / "copy"


def test_the_page_ends_with_both_rules_passed(released: Path, check: Check) -> None:
    code, said = check(released, "model", "--policy", "deploy.yaml", "--format", "json")
    report = json.loads(said)
    assert code == 0
    found = {f["rule"]: (f["number"], f["status"]) for f in report["artifacts"][0]["findings"]}
    assert found == {"signed-by-release": ("PG303", "pass"), "passed-the-gate": ("PG304", "pass")}


def test_one_changed_byte_fails_both(model: Path, check: Check) -> None:
    weights = model / "model" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    code, said = check(model, "model", "--policy", "deploy.yaml")
    assert code == 1
    assert "changed: model.safetensors" in " ".join(said.split())
    assert "2 failed" in said


def test_a_changed_card_fails_the_signature_and_not_the_summary_of_the_weights(model: Path, check: Check) -> None:
    (model / "model" / "README.md").write_text("Trust me.")
    code, said = check(model, "model", "--policy", "deploy.yaml")
    assert code == 1
    assert "1 failed" in said and "1 passed" in said


def test_another_key_fails_both(model: Path, check: Check) -> None:
    secret, public = model / "other.pem", model / "release.pub"
    subprocess.run(
        ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", secret],
        check=True,
        capture_output=True,
    )
    subprocess.run(["openssl", "ec", "-in", secret, "-pubout", "-out", public], check=True, capture_output=True)
    code, said = check(model, "model", "--policy", "deploy.yaml")
    assert code == 1
    assert "2 failed" in said


def test_a_policy_of_another_digest_fails_the_summary(model: Path, check: Check) -> None:
    policy = model / "deploy.yaml"
    policy.write_text(re.sub(r"policy_sha256: \w+", f"policy_sha256: {'0' * 64}", policy.read_text()))
    code, said = check(model, "model", "--policy", "deploy.yaml")
    assert code == 1
    assert "1 failed" in said and "1 passed" in said


@pytest.mark.parametrize("name", ["model.sig", "release.dsse.json"])
def test_what_cannot_be_read_is_exit_code_3_and_one_line(name: str, model: Path, check: Check) -> None:
    (model / "model" / name).write_text("rubbish\x1b[2J")
    code, said = check(model, "model", "--policy", "deploy.yaml")
    assert code == 3
    assert said.count("\n") == 1 and name in said and "\x1b" not in said


def test_a_key_that_is_not_there_is_exit_code_2_before_anything_is_read(model: Path, check: Check) -> None:
    (model / "release.pub").unlink()
    shutil.rmtree(model / "model")
    code, said = check(model, "model", "--policy", "deploy.yaml")
    assert code == 2
    assert said.count("\n") == 1 and "deploy.yaml:4" in said and "release.pub" in said


def test_each_base_that_is_claimed_must_be_attested(model: Path, tmp_path: Path, check: Check) -> None:
    key = Key(tmp_path, "bases")
    policy = model / "bases.yaml"
    policy.write_text(f"version: 1\nrules:\n  - {{id: bases, rule: attested, key: {key.public}, of: bases}}\n")
    given = ("model", "--policy", "bases.yaml", "--base", "provenance-gate-examples/base=base")
    code, said = check(model, *given)
    assert code == 1 and "there is no signed statement" in " ".join(said.split())
    summary = statement([model / "base" / "model.safetensors"])
    (model / "base" / "base.dsse.json").write_text(json.dumps(envelope(summary, key)))
    code, said = check(model, *given)
    assert code == 0, said
    # The claim alone, without the base: a question, not a pass.
    code, said = check(model, *given[:3], "--format", "json")
    (found,) = json.loads(said)["artifacts"][0]["findings"]
    assert (code, found["status"]) == (1, "undecided")


def test_a_base_that_is_neither_claimed_nor_seen_needs_no_statement(model: Path, tmp_path: Path, check: Check) -> None:
    shutil.copytree(ROOT / "examples" / "impostor", model / "stranger")
    key = Key(tmp_path, "bases")
    policy = model / "bases.yaml"
    policy.write_text(f"version: 1\nrules:\n  - {{id: bases, rule: attested, key: {key.public}, of: bases}}\n")
    summary = statement([model / "base" / "model.safetensors"])
    (model / "base" / "base.dsse.json").write_text(json.dumps(envelope(summary, key)))
    bases = ("--base", "provenance-gate-examples/base=base", "--base", "acme/stranger=stranger")
    code, said = check(model, "model", "--policy", "bases.yaml", *bases)
    assert code == 0, said
