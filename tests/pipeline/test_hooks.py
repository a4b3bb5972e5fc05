"""The pre-commit hooks: their own command lines, and, where pre-commit is installed, commits in a fresh repository."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.pipeline.runner import ROOT, tool

HOOKS: dict[str, dict[str, Any]] = {h["id"]: h for h in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}
METADATA, FULL = HOOKS["provenance-gate-metadata"], HOOKS["provenance-gate"]
GIT = ("git", "-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "init.defaultBranch=main")


def run(hook: dict[str, Any], files: list[str], folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """What pre-commit runs: entry, args, file names."""
    program, *entry = shlex.split(hook["entry"])
    assert program == "provenance-gate"
    command = [sys.executable, "-m", "provenance_gate", *entry, *more, *hook["args"], *files]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False, env=here())


def here() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "HF_ENDPOINT": "http://127.0.0.1:9"}


def lie(model: Path) -> None:
    """The card declares another base than the adapter was trained on."""
    adapter = {"peft_type": "LORA", "base_model_name_or_path": "provenance-gate-examples/base"}
    (model / "adapter_config.json").write_text(json.dumps(adapter))
    card = model / "README.md"
    card.write_text(card.read_text().replace("base_model: provenance-gate-examples/base", "base_model: acme/better"))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "examples" / "fine-tune", tmp_path / "repository" / "model")
    return tmp_path / "repository"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("README.md", True),
        ("models/a b/README.md", True),
        ("model/config.json", True),
        ("model/adapter_config.json", True),
        ("model/tokenizer_config.json", True),
        ("model/mergekit_moe_config.yml", True),
        ("policies/release-policy.yaml", True),
        ("model/package.json", False),
        ("docs/README.md.txt", False),
        ("model/model.safetensors", False),
    ],
)
def test_the_metadata_hook_asks_for_files_that_make_claims(name: str, wanted: bool) -> None:
    assert bool(re.search(METADATA["files"], name)) is wanted


def test_the_full_hook_asks_for_weights() -> None:
    assert all(
        re.search(FULL["files"], f"m/{name}") for name in ("model-00001-of-00002.safetensors", "a.gguf", "x.bin")
    )
    assert not re.search(FULL["files"], "m/README.md")


def test_forty_changed_files_of_one_model_are_one_check(repository: Path) -> None:
    files = []
    for number in range(38):
        (repository / "model" / f"tokenizer_{number}.json").write_text("{}")
        files.append(f"model/tokenizer_{number}.json")
    found = run(METADATA, [*files, "model/README.md", "model/config.json"], repository, "--format=json")
    assert found.returncode == 0, found.stderr
    assert len(json.loads(found.stdout)["artifacts"]) == 1


def test_a_changed_claim_fails_the_metadata_hook(repository: Path) -> None:
    assert run(METADATA, ["model/README.md"], repository).returncode == 0
    lie(repository / "model")
    found = run(METADATA, ["model/README.md"], repository)
    assert found.returncode == 1
    assert "PG401" in found.stdout and "acme/better" in found.stdout


def test_a_card_without_a_license_fails_the_metadata_hook(repository: Path) -> None:
    card = repository / "model" / "README.md"
    card.write_text(card.read_text().replace("license: apache-2.0\n", ""))
    assert run(METADATA, ["model/README.md"], repository).returncode == 1


@pytest.mark.parametrize(("base", "code"), [("CohereLabs/aya-23-8B", 1), ("Qwen/Qwen2-7B", 0), ("acme/unknown", 0)])
def test_a_policy_of_ones_own_can_refuse_licenses_of_declared_bases(repository: Path, base: str, code: int) -> None:
    card = repository / "model" / "README.md"
    card.write_text(card.read_text().replace("base_model: provenance-gate-examples/base", f"base_model: {base}"))
    own = {**METADATA, "args": [f"--policy={ROOT / 'examples' / 'pre-commit' / 'commit.yaml'}", "--"]}
    assert run(own, ["model/README.md"], repository).returncode == code


def test_a_damaged_policy_stops_the_commit_that_changes_it(repository: Path) -> None:
    (repository / "my-policy.yaml").write_text("version: 1\nrules: []\nrulez: []\n")
    own = {**METADATA, "args": ["--policy=my-policy.yaml", "--"]}
    assert run(own, ["my-policy.yaml"], repository).returncode == 2


def test_the_readme_of_no_model_passes_the_metadata_hook(repository: Path) -> None:
    (repository / "README.md").write_text("# A repository of models\n")
    assert run(METADATA, ["README.md"], repository).returncode == 0


def test_a_file_name_is_never_an_option(repository: Path) -> None:
    hostile = repository / "--output=pwned" / "config.json"
    hostile.parent.mkdir()
    hostile.write_text("{}")
    assert run(METADATA, ["--output=pwned/config.json"], repository).returncode == 0
    assert not (repository / "pwned").exists()


def test_the_full_hook_reads_weights_and_is_quiet_where_there_is_no_model(repository: Path, tmp_path: Path) -> None:
    base = f"--base=provenance-gate-examples/base={ROOT / 'examples' / 'base'}"
    assert run(FULL, [], repository, base).returncode == 0
    shutil.copy(ROOT / "examples" / "impostor" / "model.safetensors", repository / "model")
    assert run(FULL, [], repository, base).returncode == 1
    (tmp_path / "empty").mkdir()
    assert run(FULL, [], tmp_path / "empty").returncode == 0


PRE_COMMIT = tool("pre-commit")


@pytest.mark.skipif(not PRE_COMMIT, reason="pre-commit is not installed")
def test_pre_commit_accepts_the_manifest() -> None:
    done = subprocess.run(
        [str(PRE_COMMIT), "validate-manifest", str(ROOT / ".pre-commit-hooks.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(not (PRE_COMMIT and shutil.which("git")), reason="pre-commit is not installed")
def test_a_false_claim_stops_a_commit(repository: Path, tmp_path: Path) -> None:
    hooks, tools = tmp_path / "hooks", tmp_path / "bin"
    hooks.mkdir()
    tools.mkdir()
    shutil.copy(ROOT / ".pre-commit-hooks.yaml", hooks)
    gate = tools / "provenance-gate"
    gate.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m provenance_gate "$@"\n')
    gate.chmod(0o755)
    env = {**here(), "PATH": f"{tools}:{os.environ['PATH']}", "PRE_COMMIT_HOME": str(tmp_path / "home")}

    def git(*arguments: str, at: Path = repository) -> subprocess.CompletedProcess[str]:
        command = [*GIT, *arguments]
        return subprocess.run(command, cwd=at, env=env, capture_output=True, text=True, timeout=60, check=False)

    for arguments in (("init",), ("add", "-A"), ("commit", "-m", "hooks")):
        assert git(*arguments, at=hooks).returncode == 0
    revision = git("rev-parse", "HEAD", at=hooks).stdout.strip()
    # The tool is installed already: an environment of pre-commit's own would be downloaded.
    chosen = [{"id": name, "language": "system"} for name in HOOKS]
    config = {"repos": [{"repo": str(hooks), "rev": revision, "hooks": chosen}]}
    (repository / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
    assert git("init").returncode == 0
    subprocess.run([str(PRE_COMMIT), "install"], cwd=repository, env=env, check=True, capture_output=True)
    git("add", "-A")
    first = git("commit", "-m", "an honest model")
    assert first.returncode == 0, first.stderr + first.stdout
    lie(repository / "model")
    git("add", "-A")
    second = git("commit", "-m", "a false claim")
    assert second.returncode == 1 and "PG401" in second.stderr + second.stdout
    assert git("rev-list", "--count", "HEAD").stdout.strip() == "1"
