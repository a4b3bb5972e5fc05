"""A composite action run as GitHub's runner does it: inputs and outputs by expression, commands in the log, files of the runner.

Only the expressions that `action.yml` uses are known; any other one fails the test that meets it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
_EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
_COMMANDS = frozenset(
    [
        "set-output",
        "save-state",
        "set-env",
        "add-path",
        "add-mask",
        "add-matcher",
        "remove-matcher",
        "error",
        "warning",
        "notice",
        "debug",
        "group",
        "endgroup",
        "echo",
        "stop-commands",
    ]
)
_NEW = re.compile(r"::([\w-]+)(?: ([^:]*?))?::(.*)")
_OLD = re.compile(r"##\[([\w-]+)(?: ([^\]]*))?\](.*)")


@dataclass(frozen=True)
class Command:
    """A workflow command that the runner would obey."""

    name: str
    properties: str
    message: str


@dataclass
class Result:
    """What a run of the action left: exit code of the step that ended it, outputs, log, summary, commands."""

    code: int
    outputs: dict[str, str]
    log: str
    summary: str
    commands: list[Command]
    env_file: str
    path_file: str
    step_outputs: dict[str, dict[str, str]] = field(default_factory=dict)


def tool(name: str) -> str | None:
    """Where a program of another project is, in the environment of the tests or in PATH; None when it is not installed."""
    places = (str(Path(sys.executable).parent), os.environ.get("PATH", ""))
    return shutil.which(name, path=os.pathsep.join(places))


def load_action() -> dict[str, Any]:
    action: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
    return action


def run_action(
    inputs: Mapping[str, str],
    workspace: Path,
    temp: Path,
    *,
    installed: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
) -> Result:
    """Run the steps in `workspace`. `installed`: outputs of step `install`, which is then not run."""
    action = load_action()
    given = {name: _evaluated(str(spec.get("default", "")), {}, {}) for name, spec in action["inputs"].items()}
    given.update(inputs)
    temp.mkdir(parents=True, exist_ok=True)
    files = {name: temp / f"{name.lower()}.txt" for name in ("GITHUB_STEP_SUMMARY", "GITHUB_ENV", "GITHUB_PATH")}
    for file in files.values():
        file.touch()
    steps: dict[str, dict[str, str]] = {}
    log, code = "", 0
    for number, step in enumerate(action["runs"]["steps"]):
        if step["id"] == "install" and installed is not None:
            steps["install"] = dict(installed)
            continue
        if not _wanted(step.get("if"), code, given, steps):
            continue
        assert step["shell"] == "bash"
        assert not _EXPRESSION.search(step["run"]), "an expression in `run` is a template injection"
        output = temp / f"output-{number}.txt"
        output.touch()
        script = temp / f"step-{number}.sh"
        script.write_text(step["run"], "utf-8")
        variables = {
            **os.environ,
            **{name: _evaluated(value, given, steps) for name, value in step.get("env", {}).items()},
            **{name: str(file) for name, file in files.items()},
            **(env or {}),
            "GITHUB_OUTPUT": str(output),
            "GITHUB_ACTION_PATH": str(ROOT),
            "GITHUB_WORKSPACE": str(workspace),
            "RUNNER_TEMP": str(temp),
        }
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
            cwd=workspace,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
            check=False,
        )
        log += done.stdout.decode("utf-8", "replace")
        steps[step["id"]] = read_outputs(output.read_text("utf-8"))
        code = code or done.returncode
    outputs = {name: _evaluated(spec["value"], given, steps) for name, spec in action["outputs"].items()}
    summary, env_file, path_file = (file.read_text("utf-8") for file in files.values())
    return Result(code, outputs, log, summary, obeyed(log), env_file, path_file, steps)


def _wanted(
    condition: str | None, code: int, inputs: Mapping[str, str], steps: Mapping[str, Mapping[str, str]]
) -> bool:
    """Without a condition a step runs after successful ones only."""
    if condition is None:
        return code == 0
    first, *others = condition.removeprefix("${{ ").removesuffix(" }}").split(" && ")
    assert first == "!cancelled()"
    for part in others:
        name, comparison, literal = part.split(" ")
        value = _evaluated(f"${{{{ {name} }}}}", inputs, steps)
        if (value == literal.strip("'")) is not {"==": True, "!=": False}[comparison]:
            return False
    return True


def _evaluated(text: str, inputs: Mapping[str, str], steps: Mapping[str, Mapping[str, str]]) -> str:
    def value(match: re.Match[str]) -> str:
        scope, _, rest = match[1].partition(".")
        if match[1] == "github.token":
            return "token of the job"
        if scope == "inputs":
            return inputs[rest]
        step, outputs, name = rest.split(".")
        assert (scope, outputs) == ("steps", "outputs")
        return steps.get(step, {}).get(name, "")

    return _EXPRESSION.sub(value, text)


def read_outputs(text: str) -> dict[str, str]:
    """`name=value` lines and `name<<END` blocks, as the runner reads them."""
    found: dict[str, str] = {}
    lines = iter(text.splitlines())
    for line in lines:
        name, separator, value = line.partition("=")
        block, heredoc, end = line.partition("<<")
        if heredoc and (not separator or len(block) < len(name)):
            found[block] = "\n".join(iter(lambda end=end: next(lines), end))  # type: ignore[misc]
        elif separator:
            found[name] = value
        elif line:
            raise ValueError(f"the runner refuses the line {line!r}")
    return found


def obeyed(log: str) -> list[Command]:
    """Commands of a log that the runner would obey: the new form at the start of a line, the old one anywhere in it."""
    found, stopped = [], None
    for line in re.split(r"\r\n|\n|\r", log):
        new = _NEW.match(line.lstrip())
        if stopped is not None:
            stopped = None if line.strip() == f"::{stopped}::" else stopped
            continue
        match = new if new and new[1].lower() in _COMMANDS else _OLD.search(line)
        if match is None or match[1].lower() not in _COMMANDS:
            continue
        if match[1] == "stop-commands":
            stopped = match[3]
        else:
            found.append(Command(match[1].lower(), match[2] or "", match[3]))
    assert stopped is None, "commands were left off"
    return found
