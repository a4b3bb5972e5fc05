"""What the pages about forges say: inputs, outputs and options are those that there are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from provenance_gate.cli import app
from provenance_gate.policy.load import load_policy
from tests.pipeline.runner import ROOT, load_action

PAGES = [ROOT / "docs" / f"{name}.md" for name in ("github", "gitlab", "pre-commit")]


def rows(page: str, title: str) -> dict[str, str]:
    """First two columns of the table below a heading, without backticks."""
    part = (ROOT / "docs" / page).read_text("utf-8").split(f"## {title}\n")[1].split("\n## ")[0]
    cells = [[c.strip().strip("`") for c in line.split("|")[1:3]] for line in part.splitlines() if line.startswith("|")]
    return {cell[0]: cell[1] for cell in cells[2:]}


def commands() -> list[list[str]]:
    found = []
    for page in PAGES:
        for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE):
            lines = [] if language else block.replace("\\\n", " ").splitlines()
            for words in map(shlex.split, lines):
                after = [words[n + 1 :] for n, word in enumerate(words) if word == "provenance-gate"]
                found += [rest for rest in after if rest and rest[0] in app.commands]
    return found


def test_the_tables_list_the_inputs_and_outputs_of_the_action() -> None:
    action = load_action()
    assert rows("github.md", "Inputs") == {n: str(s.get("default", "")) for n, s in action["inputs"].items()}
    assert set(rows("github.md", "Outputs")) == set(action["outputs"])


def test_the_table_lists_the_inputs_of_the_component() -> None:
    header: dict[str, Any] = next(iter(yaml.safe_load_all((ROOT / "templates" / "provenance-gate.yml").read_text())))
    said = {n: str(s.get("default", "")).replace("False", "false") for n, s in header["spec"]["inputs"].items()}
    assert rows("gitlab.md", "Inputs") == said


@pytest.mark.parametrize("words", commands(), ids=lambda w: " ".join(w)[:40])
def test_commands_have_only_options_that_exist(words: list[str]) -> None:
    command: click.Command = app
    while isinstance(command, click.Group):
        command, words = command.commands[words[0]], words[1:]
    command.make_context("provenance-gate", list(words), resilient_parsing=False)


def test_links_lead_to_files() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_example_policies_load() -> None:
    found = load_policy(str(ROOT / "examples" / "pre-commit" / "commit.yaml"))
    assert [rule.id for rule in found.rules][-1] == "no-non-commercial-bases"
    assert Path(found.file).name == "commit.yaml"
