"""The files that forges read, by rules of our own, and by zizmor and the public schemas where those are installed."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.pipeline.runner import ROOT, load_action, tool

WORKFLOWS = sorted((ROOT / "examples" / "github").glob("*.yml"))
SCHEMAS = [
    ("vendor.github-actions", ROOT / "action.yml"),
    *(("vendor.github-workflows", path) for path in WORKFLOWS),
    ("vendor.gitlab-ci", ROOT / "examples" / "gitlab" / ".gitlab-ci.yml"),
]


def jobs(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load(path.read_text("utf-8"))["jobs"].values())


def test_the_action_hands_every_input_on_by_environment_and_writes_every_output() -> None:
    action = load_action()
    passed = {
        match[1]
        for step in action["runs"]["steps"]
        for value in step.get("env", {}).values()
        if (match := re.fullmatch(r"\$\{\{ inputs\.([\w-]+) \}\}", value))
    }
    # A condition compares with a word; the runner runs nothing of it.
    assert passed | {"comment"} == set(action["inputs"])
    script = (ROOT / "templates" / "action" / "run_gate.py").read_text("utf-8")
    assert all(f'"{name}"' in script for name in action["outputs"])


def test_no_step_of_the_action_changes_the_environment_of_later_ones() -> None:
    for path in (ROOT / "action.yml", *(ROOT / "templates" / "action").glob("*.*")):
        assert not re.search(r"GITHUB_(ENV|PATH)\b", path.read_text("utf-8")), path


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.name)
def test_workflows_pin_every_action_and_ask_for_least_rights(path: Path) -> None:
    text = path.read_text("utf-8")
    assert yaml.safe_load(text)["permissions"] == {}
    assert re.findall(r"uses: (.*)", text) == re.findall(r"uses: ([\w./-]+@[0-9a-f]{40} # v[\d.]+.*)", text)
    for job in jobs(path):
        assert "permissions" in job and job["timeout-minutes"] <= 60
        for step in job["steps"]:
            assert "run" not in step
            assert step["uses"].split("@")[0] != "actions/cache"
            if step["uses"].startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.name)
def test_workflows_use_only_inputs_and_outputs_that_the_action_has(path: Path) -> None:
    action = load_action()
    for job in jobs(path):
        ours = [step for step in job["steps"] if "provenance-gate@" in step["uses"]]
        assert all(set(step["with"]) <= set(action["inputs"]) and "paths" in step["with"] for step in ours)
    used = set(re.findall(r"steps\.gate\.outputs\.([\w-]+)", path.read_text("utf-8")))
    assert used <= set(action["outputs"])


def test_the_gitlab_example_gives_inputs_that_the_component_has() -> None:
    (include,) = yaml.safe_load((ROOT / "examples" / "gitlab" / ".gitlab-ci.yml").read_text("utf-8"))["include"]
    header = next(iter(yaml.safe_load_all((ROOT / "templates" / "provenance-gate.yml").read_text("utf-8"))))
    inputs = header["spec"]["inputs"]
    assert set(include["inputs"]) <= set(inputs)
    assert {name for name, spec in inputs.items() if "default" not in spec} <= set(include["inputs"])


def test_the_container_pins_its_base_and_runs_as_nobody() -> None:
    recipe = (ROOT / "templates" / "container" / "Dockerfile").read_text("utf-8")
    assert re.search(r"^ARG PYTHON=\S+@sha256:[0-9a-f]{64}$", recipe, re.MULTILINE)
    assert re.findall(r"^FROM (\S+)", recipe, re.MULTILINE) == ["${PYTHON}"] * 2
    assert re.findall(r"^USER (\d+):(\d+)$", recipe, re.MULTILINE)[-1] != ("0", "0")
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", recipe, re.MULTILINE):
        assert all((ROOT / name).exists() for name in source.split())


@pytest.mark.skipif(not tool("zizmor"), reason="zizmor is not installed")
def test_zizmor_finds_nothing_as_an_auditor(tmp_path: Path) -> None:
    command = [str(tool("zizmor")), "--persona=auditor", "--offline", "--no-progress"]
    clean = subprocess.run([*command, ROOT / "action.yml", *WORKFLOWS], capture_output=True, text=True, check=False)
    assert clean.returncode == 0, clean.stdout
    text = (ROOT / "action.yml").read_text("utf-8")
    (tmp_path / "action.yml").write_text(text.replace('run: bash "', 'run: echo ${{ inputs.paths }} "'))
    assert subprocess.run([*command, tmp_path / "action.yml"], capture_output=True, check=False).returncode != 0


@pytest.mark.skipif(not tool("check-jsonschema"), reason="check-jsonschema is not installed")
@pytest.mark.parametrize(("schema", "path"), SCHEMAS, ids=lambda v: v.name if isinstance(v, Path) else v)
def test_files_are_valid_by_the_public_schemas(schema: str, path: Path) -> None:
    command = [str(tool("check-jsonschema")), "--builtin-schema", schema, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(not tool("check-jsonschema"), reason="check-jsonschema is not installed")
def test_the_component_filled_in_is_valid_by_the_public_schema(tmp_path: Path) -> None:
    header, body = (ROOT / "templates" / "provenance-gate.yml").read_text("utf-8").split("\n---\n", 1)
    inputs = yaml.safe_load(header)["spec"]["inputs"]
    given = {"image": "registry.example.com/gate", "paths": ["models/bot"]}
    for name, about in inputs.items():
        value = given.get(name, about.get("default"))
        assert value is not None, f"{name} has neither a default nor a value here"
        body = body.replace(f"$[[ inputs.{name} ]]", value if isinstance(value, str) else json.dumps(value))
    assert "$[[" not in body
    pipeline = tmp_path / ".gitlab-ci.yml"
    pipeline.write_text(body, encoding="utf-8")
    command = [str(tool("check-jsonschema")), "--builtin-schema", "vendor.gitlab-ci", str(pipeline)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    pipeline.write_text(body.replace("  script:", "  skript:"), encoding="utf-8")
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0
