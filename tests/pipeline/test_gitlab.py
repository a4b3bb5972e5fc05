"""The GitLab component: its inputs, and, where gitlab-ci-local is installed, the job itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.pipeline.runner import ROOT

COMPONENT = ROOT / "templates" / "provenance-gate.yml"
HEADER, JOBS = (dict[str, Any](part) for part in yaml.safe_load_all(COMPONENT.read_text("utf-8")))
(JOB,) = JOBS.values()
BASE = "provenance-gate-examples/base=base"


def program() -> str:
    """The script of the job, as the shell runs it."""
    return "\n".join(JOB["script"])


def run(folder: Path, paths: list[Any], **variables: str) -> subprocess.CompletedProcess[str]:
    """The script with the variables that GitLab would set, on the installed gate."""
    tools = folder.parent / "bin"
    tools.mkdir(exist_ok=True)
    for name, command in {"provenance-gate": '-m provenance_gate "$@"', "python3": '"$@"'}.items():
        (tools / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {command}\n')
        (tools / name).chmod(0o755)
    env = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "PG_VERSION": ""}
    env |= {"PG_POLICY": "policy.yaml", "PG_POLICY_SHA256": "", "PG_FAIL_ON": "error", "PG_OFFLINE": "true"}
    env |= {"PG_LISTS": json.dumps({"paths": paths, "bases": [BASE]}), **variables}
    return subprocess.run(
        ["sh", "-ec", program()], cwd=folder, env=env, capture_output=True, text=True, timeout=100, check=False
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    for name in ("base", "fine-tune", "impostor"):
        shutil.copytree(ROOT / "examples" / name, folder / name)
    shutil.copy(ROOT / "examples" / "policy.yaml", folder / "policy.yaml")
    return folder


def test_every_input_is_used_and_no_other_and_none_in_the_script() -> None:
    text = COMPONENT.read_text("utf-8").split("\n---\n")[1]
    used = {part.split("]]")[0].strip().removeprefix("inputs.") for part in text.split("$[[")[1:]}
    assert used == set(HEADER["spec"]["inputs"])
    assert "$[[" not in program()


def test_every_report_is_browsable_and_written_by_the_script() -> None:
    artifacts = JOB["artifacts"]
    assert artifacts["when"] == "always"
    assert set(artifacts["reports"].values()) <= set(artifacts["paths"])
    assert all(path in program() for path in artifacts["paths"])


@pytest.mark.parametrize(("name", "code"), [("fine-tune", 0), ("impostor", 1)])
def test_the_job_ends_as_the_gate_does_and_leaves_its_reports(project: Path, name: str, code: int) -> None:
    done = run(project, [name])
    assert done.returncode == code, done.stderr
    for path in JOB["artifacts"]["paths"]:
        assert (project / path).stat().st_size > 0, path
    bom = json.loads((project / JOB["artifacts"]["reports"]["cyclonedx"]).read_text("utf-8"))
    assert bom["bomFormat"] == "CycloneDX"
    quality = json.loads((project / JOB["artifacts"]["reports"]["codequality"]).read_text("utf-8"))
    assert isinstance(quality, list) and bool(quality) is bool(code)


def test_hostile_values_are_not_run(project: Path) -> None:
    hostile = "$(touch pwned) `touch pwned`; touch pwned ' \" \n EOF"
    assert run(project, [hostile]).returncode == 3
    assert run(project, ["fine-tune"], PG_POLICY=hostile).returncode == 2
    assert run(project, ["fine-tune"], PG_FAIL_ON=hostile).returncode == 2
    assert not (project / "pwned").exists()


@pytest.mark.parametrize("paths", [["--exit-zero"], [1], [["fine-tune"]]])
def test_what_is_no_path_is_refused(project: Path, paths: list[Any]) -> None:
    done = run(project, paths)
    assert done.returncode == 2 and "paths" in done.stderr
    assert "Traceback" not in done.stderr


def test_lists_that_are_no_json_are_wrong_usage(project: Path) -> None:
    done = run(project, [], PG_LISTS='{"paths": [""x""], "bases": []}')
    assert done.returncode == 2 and "Traceback" not in done.stderr


@pytest.mark.skipif(
    not all(map(shutil.which, ("gitlab-ci-local", "rsync", "git"))), reason="gitlab-ci-local is not installed"
)
@pytest.mark.parametrize(("name", "code"), [("fine-tune", 0), ("impostor", 1)])
def test_the_component_runs_in_a_pipeline(project: Path, name: str, code: int) -> None:
    run(project, ["--"])  # Makes the tools in PATH.
    (project / "templates").mkdir()
    shutil.copy(COMPONENT, project / "templates")
    inputs = {"image": "none", "paths": [name], "bases": [BASE], "policy": "policy.yaml", "offline": True}
    include = {"include": [{"local": "templates/provenance-gate.yml", "inputs": inputs}]}
    (project / ".gitlab-ci.yml").write_text(yaml.safe_dump(include))
    git = ("git", "-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "init.defaultBranch=main")
    for arguments in (("init",), ("add", "-A"), ("commit", "-m", "project")):
        subprocess.run([*git, *arguments], cwd=project, check=True, capture_output=True)
    env = {**os.environ, "PATH": f"{project.parent / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["gitlab-ci-local", "--force-shell-executor", "provenance-gate"],
        cwd=project,
        env=env,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    collected = {path.name for path in project.rglob("*") if ".gitlab-ci-local" in path.parts or path.parent == project}
    assert set(JOB["artifacts"]["paths"]) <= collected
