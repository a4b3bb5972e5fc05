"""The install step and its lock file. Nothing is downloaded here."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.pipeline.runner import ROOT, obeyed

try:
    import tomllib
except ModuleNotFoundError:
    tomllib = pytest.importorskip("tomli")

LOCK = (ROOT / "templates" / "action" / "requirements.txt").read_text("utf-8")
SCRIPT = ROOT / "templates" / "action" / "install.sh"


def install(tmp_path: Path, **env: str) -> tuple[int, str, str]:
    output = tmp_path / "output"
    output.touch()
    variables = {**os.environ, "GITHUB_OUTPUT": str(output), "RUNNER_TEMP": str(tmp_path), **env}
    done = subprocess.run(
        ["/bin/bash", str(SCRIPT)],
        cwd=tmp_path,
        env=variables,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return done.returncode, done.stdout, output.read_text()


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_dependency_and_the_build_tool_are_in_the_lock() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    wanted = project["project"]["dependencies"] + project["build-system"]["requires"]
    locked = {normal(name) for name in re.findall(r"^([\w.-]+)==", LOCK, re.MULTILINE)}
    assert {normal(re.split(r"[\s<>=!~\[;]", text)[0]) for text in wanted} <= locked


def test_every_package_in_the_lock_is_pinned_and_hashed() -> None:
    for entry in re.split(r"\n(?=[\w])", re.sub(r"(?m)^\s*#.*\n", "", LOCK).strip()):
        assert re.match(r"[\w.-]+==[\w.+!-]+( ;.*)? \\\n", entry), entry
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry
        assert "://" not in entry


def test_without_python_the_step_ends_with_3_and_says_so(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("dirname", "mktemp"):
        (tools / tool).symlink_to(Path("/usr/bin") / tool)
    code, log, output = install(tmp_path, PATH=str(tools))
    assert (code, output) == (3, "")
    assert "Python 3.10 or newer" in obeyed(log)[0].message


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """A `python3` that notes its arguments, makes environments of itself, and fails where FAIL_AT stands in the arguments."""
    program = tmp_path / "bin" / "python3"
    program.parent.mkdir()
    program.write_text(
        '#!/bin/sh\nprintf "%s\\n" "$*" >> "$NOTES"\n'
        'case "$*" in *"$FAIL_AT"*) exit 1 ;; esac\n'
        'case "$*" in *"-m venv "*) mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;; esac\n'
    )
    program.chmod(0o755)
    return program


def with_python(python: Path, tmp_path: Path, fail_at: str) -> tuple[int, str, str, list[str]]:
    notes = tmp_path / "notes"
    env = {"PATH": f"{python.parent}:{os.environ['PATH']}", "NOTES": str(notes), "FAIL_AT": fail_at}
    code, log, output = install(tmp_path, **env)
    return code, log, output, notes.read_text().splitlines()


def test_the_step_says_where_its_python_is(python: Path, tmp_path: Path) -> None:
    code, log, output, calls = with_python(python, tmp_path, "nowhere")
    assert (code, log) == (0, "")
    assert re.fullmatch(rf"python={re.escape(str(tmp_path))}/provenance-gate-venv-\w+/bin/python\n", output)
    assert [call.split()[3] for call in calls if "pip" in call] == ["--disable-pip-version-check"] * 2
    # Else the working folder, which holds the code under test, would be where Python finds its modules.
    assert all(call.startswith("-I ") for call in calls)


@pytest.mark.parametrize("fail_at", ["-m venv", "--require-hashes", "--no-build-isolation"])
def test_what_cannot_be_installed_ends_with_3_and_says_so(python: Path, tmp_path: Path, fail_at: str) -> None:
    code, log, output, _ = with_python(python, tmp_path, fail_at)
    assert (code, output) == (3, "")
    assert [c.name for c in obeyed(log)] == ["error"]


def test_nothing_is_installed_without_a_hash_or_from_an_index_that_is_not_pinned() -> None:
    commands = [line for line in SCRIPT.read_text("utf-8").splitlines() if line.strip().startswith("pip install")]
    assert len(commands) == 2
    assert "--require-hashes" in commands[0] and "--only-binary :all:" in commands[0]
    assert all(word in commands[1] for word in ("--no-index", "--no-deps", "--no-build-isolation"))
