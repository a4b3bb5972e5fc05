"""Which pipelines a repository has, and the few lines that run the gate in each. Nothing is read but whether files exist."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from shlex import quote
from typing import Final

from provenance_gate._version import __version__
from provenance_gate.errors import one_line

_PLAIN: Final = re.compile(r"(--policy=)?(?=.*(/|\.ya?ml))[A-Za-z0-9_./][A-Za-z0-9_./+-]*")
"""What YAML reads as this very string without quotes, in block and flow style: no number and no `null` has a slash or `.yaml`."""
MODEL: Final = "models/MODEL"
_LONGEST: Final = 4096
"""Letters of a path that are shown."""
_SEARCHED: Final = 64
"""Folders upward in which the root of the repository is looked for."""


class Forge(str, Enum):
    """A place where pipelines run."""

    GITHUB = "GitHub Actions"
    GITLAB = "GitLab CI/CD"
    PRE_COMMIT = "pre-commit"


def repository(path: Path) -> Path:
    """The nearest folder above `path` that holds `.git`; where there is none, the folder of `path`."""
    folder = path.absolute().parent
    for candidate in (folder, *folder.parents)[:_SEARCHED]:
        if (candidate / ".git").exists():
            return candidate
    return folder


def name_within(root: Path, path: Path) -> str:
    """How a pipeline that starts at `root` calls `path`: relative, with forward slashes."""
    absolute = path.absolute()
    return absolute.relative_to(root).as_posix() if absolute.is_relative_to(root) else str(path)


def detect(root: Path, environment: Mapping[str, str]) -> tuple[Forge, ...]:
    """The pipelines of the repository at `root`, by its files and the variables that forges set."""
    found = {
        Forge.GITHUB: (root / ".github").is_dir() or environment.get("GITHUB_ACTIONS") == "true",
        Forge.GITLAB: (root / ".gitlab-ci.yml").is_file() or environment.get("GITLAB_CI") == "true",
        Forge.PRE_COMMIT: (root / ".pre-commit-config.yaml").is_file(),
    }
    return tuple(forge for forge, there in found.items() if there)


def advice(forges: Sequence[Forge], policy: str, model: str = MODEL) -> str:
    """What to write where, one part per forge; without a forge the plain command."""
    parts = [f"{_TITLE[forge]}\n\n{snippet(forge, policy, model)}" for forge in forges]
    if not forges:
        command = f"provenance-gate check {quote(model)} --policy {quote(one_line(policy, _LONGEST))}"
        parts = [f"Run it:\n\n{command} \\\n    --base ORG/NAME=PATH --bom bom.cdx.json\n"]
    return "\n".join(parts)


def snippet(forge: Forge, policy: str, model: str = MODEL) -> str:
    """YAML that runs the gate with `policy` in one forge."""
    return _SNIPPET[forge](policy, model)


def _github(policy: str, model: str) -> str:
    return f"""\
- uses: acme/provenance-gate@COMMIT # v{__version__}
  with:
    paths: {_scalar(model)}
    policy: {_scalar(policy)}
"""


def _gitlab(policy: str, model: str) -> str:
    return f"""\
include:
  - component: $CI_SERVER_FQDN/security/provenance-gate/provenance-gate@{__version__}
    inputs:
      image: registry.example.com/security/provenance-gate@sha256:DIGEST
      paths: [{_scalar(model)}]
      policy: {_scalar(policy)}
"""


def _pre_commit(policy: str, _: str) -> str:
    return f"""\
repos:
  - repo: https://github.com/acme/provenance-gate
    rev: v{__version__}
    hooks:
      - id: provenance-gate-metadata
      - id: provenance-gate
        args: [{_scalar(f"--policy={policy}")}, --, .]
"""


def _scalar(text: str) -> str:
    """`text` as a YAML scalar on one line, in quotes unless it is plain beyond doubt."""
    shown = one_line(text, _LONGEST)
    # Escapes of JSON beyond the basic plane are two halves, which YAML would keep apart.
    return shown if _PLAIN.fullmatch(shown) else json.dumps(shown, ensure_ascii=False)


_TITLE: Final[Mapping[Forge, str]] = {
    Forge.GITHUB: "GitHub Actions, a step of a job in .github/workflows (docs/github.md):",
    Forge.GITLAB: "GitLab CI/CD, in .gitlab-ci.yml (docs/gitlab.md):",
    Forge.PRE_COMMIT: "pre-commit, in .pre-commit-config.yaml (docs/pre-commit.md):",
}
_SNIPPET: Final[Mapping[Forge, Callable[[str, str], str]]] = {
    Forge.GITHUB: _github,
    Forge.GITLAB: _gitlab,
    Forge.PRE_COMMIT: _pre_commit,
}
