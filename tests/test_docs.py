"""The pages: every command is run or listed with the reason why not, links resolve, what is generated is up to date."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from types import ModuleType

import click
import pytest
import yaml

from provenance_gate.cli import app, main
from provenance_gate.policy.load import load_policy
from provenance_gate.policy.reference import reference
from provenance_gate.policy.rules import RULES

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
LINKING = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "examples" / "README.md", ROOT / "benchmarks" / "README.md"]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHELL = ("", "sh", "console", "text")


def load(path: Path) -> ModuleType:
    """A script as a module: `docs` is no package, and others may have installed one of that name."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make_pictures = load(DOCS / "make_pictures.py")

NOT_RUN = {
    "git clone": "needs the network",
    "pip install": "needs a package index; tests/pipeline/test_install.py installs what the action does",
    "make demo": "sets up a virtual environment from a package index; the gate's runs in it are those of quick-start.md",
    "make test": "is this test suite, in a virtual environment of its own",
    "uv pip compile": "needs a package index",
    "docker ": "needs a container engine and a registry of images",
    "gh ": "needs GitHub and somebody who is signed in to it",
    "pre-commit install": "tests/pipeline/test_hooks.py does it, in a fresh repository",
    "python -m benchmarks.": "takes minutes, and trained models in a cache",
}
RUN_ELSEWHERE = {"signing.md": "tests/signing/test_round_trip.py"}
"""Pages that another test runs as a whole, with tools that not every machine has."""
NO_COMMANDS = {"licenses.md": "child: Apache-2.0"}
"""First lines of blocks without a language that are output, by page."""
EXIT_CODES = {
    "provenance-gate check examples/impostor --policy examples/policy.yaml": 1,
    "provenance-gate check models/impostor --write-baseline": 1,
}
"""Of commands that do not end with 0, by how they begin."""
OTHER_PYTHON = {"registry.md": "tests/registry/test_reference_kit.py imports a database; none is shipped"}


def name(page: Path) -> str:
    """The page as tests call it; the two README.md stay apart."""
    return page.name if page.parent == DOCS and page.name != "README.md" else page.relative_to(ROOT).as_posix()


def blocks(page: Path, *languages: str) -> list[str]:
    return [text for language, text in BLOCK.findall(page.read_text("utf-8")) if language in languages]


def commands(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Every command line with the lines of output that the page shows for it."""
    for block in blocks(page, *SHELL):
        lines = block.replace("\\\n", " ").splitlines()
        if NO_COMMANDS.get(page.name) == lines[0]:
            continue
        shown = any(line.startswith("$ ") for line in lines)
        found: list[tuple[str, list[str]]] = []
        for line in filter(None, lines):
            if shown and not line.startswith("$ "):
                found[-1][1].append(line)
            else:
                found.append((" ".join(line.removeprefix("$ ").split()), []))
        yield from found


def text_of(svg: str) -> str:
    """What a picture shows: its text, without markup and spacing."""
    body = re.sub(r"<style>.*?</style>", "", svg, flags=re.DOTALL)
    return "".join(unescape(re.sub(r"<[^>]*>", "", body)).split())


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Examples and policies as in the repository, and copies of models under the names that the pages use."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    names = {"model": "fine-tune", "base": "base", "merge": "fine-tune", "one": "base", "two": "impostor"}
    names |= {"models/impostor": "impostor", "vendor-model": "fine-tune", "suspect": "base", "our-models": "registry"}
    for there, example in names.items():
        shutil.copytree(ROOT / "examples" / example, tmp_path / there)
    card = tmp_path / "model" / "README.md"
    card.write_text(
        card.read_text("utf-8").replace("base_model: provenance-gate-examples/base", "base_model: org/base")
    )
    shutil.copytree(ROOT / "policies", tmp_path / "policies")
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    return tmp_path


def run(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert isinstance(stopped.value.code, int)
    said = capsys.readouterr()
    return stopped.value.code, said.out + said.err


@pytest.mark.parametrize("page", [p for p in PAGES if p.name not in RUN_ELSEWHERE], ids=name)
def test_every_command_runs_and_prints_what_the_page_shows(
    page: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command, shown in commands(page):
        if command.startswith(tuple(NOT_RUN)):
            continue
        words = shlex.split(command, comments=True)
        assert words[0] == "provenance-gate", f"neither run nor listed: {command}"
        code, said = run(words[1:], capsys)
        expected = next((c for start, c in EXIT_CODES.items() if command.startswith(start)), 0)
        assert code == expected, f"{command}\n{said}"
        assert "\n".join(shown) in said


@pytest.mark.parametrize("page", [p for p in PAGES if p.name not in OTHER_PYTHON], ids=name)
def test_python_on_a_page_runs(page: Path, workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), {})


def test_nothing_is_excused_without_need() -> None:
    said = {name(page): [command for command, _ in commands(page)] for page in PAGES}
    for start in NOT_RUN:
        assert any(c.startswith(start) for found in said.values() for c in found), f"no page says {start}"
    for page, test in RUN_ELSEWHERE.items():
        assert said[page]
        assert f'"{page}"' in (ROOT / test).read_text("utf-8")
    for start in EXIT_CODES:
        assert any(c.startswith(start) for found in said.values() for c in found), f"no page says {start}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_within_sentences_name_what_there_is(page: Path) -> None:
    text = BLOCK.sub("", page.read_text("utf-8"))
    for inline in re.findall(r"`((?:provenance-gate|python) [^`]+)`", text):
        program, *words = shlex.split(inline)
        if program == "python":
            module = words[1].replace(".", "/") if words[0] == "-m" else words[0].removesuffix(".py")
            there = [ROOT / f"{module}.py", ROOT / module / "__main__.py", ROOT / "benchmarks" / f"{module}.py"]
            assert any(path.is_file() for path in there), inline
            continue
        command: click.Command = app
        while words and isinstance(command, click.Group):
            assert words[0] in command.commands, inline
            command, words = command.commands[words[0]], words[1:]
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        used = {re.split(r"[=\]]", word)[0].lstrip("[") for word in words if word.lstrip("[").startswith("-")}
        assert used <= known, inline


def anchors(page: Path) -> set[str]:
    """Names that forges give to the headings of a page."""
    text = BLOCK.sub("", page.read_text("utf-8"))
    titles = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", t) for t in re.findall(r"^#+ (.*)$", text, re.MULTILINE)]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", LINKING, ids=name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    text = BLOCK.sub("", page.read_text("utf-8"))
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        path, _, anchor = target.partition("#")
        there = page.parent / path if path else page
        assert there.exists(), f"{page.name}: {target}"
        assert there.resolve().is_relative_to(ROOT), f"{page.name}: {target} leaves the repository"
        if anchor:
            assert anchor in anchors(there), f"{page.name}: {target}"


@pytest.mark.parametrize("page", LINKING, ids=name)
def test_rows_of_a_table_have_as_many_cells_as_its_head(page: Path) -> None:
    for table in re.findall(r"(?:^\|.*\n)+", BLOCK.sub("", page.read_text("utf-8")), re.MULTILINE):
        cells = [len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()]
        assert len(set(cells)) == 1, f"{page.name}: {table.splitlines()[0]}"


def test_the_index_lists_every_page() -> None:
    linked = set(re.findall(r"\]\(([\w-]+\.md)\)", (DOCS / "README.md").read_text("utf-8")))
    assert linked == {page.name for page in PAGES if page.parent == DOCS} - {"README.md"}


def test_yaml_on_the_pages_is_yaml_and_policies_are_policies(tmp_path: Path) -> None:
    policies = 0
    for page in PAGES:
        for number, block in enumerate(blocks(page, "yaml")):
            found = yaml.safe_load(block)
            if isinstance(found, dict) and "version" in found:
                file = tmp_path / f"{page.stem}-{number}.yaml"
                file.write_text(block, encoding="utf-8")
                assert load_policy(str(file)).rules
                policies += 1
    assert policies


def test_the_readme_shows_the_lines_of_the_pages_about_forges() -> None:
    shown = blocks(ROOT / "README.md", "yaml")
    assert shown == [blocks(DOCS / f"{forge}.md", "yaml")[0] for forge in ("github", "gitlab", "pre-commit")]


def test_the_policy_reference_is_up_to_date() -> None:
    stale = "docs/policy.md is stale: run `provenance-gate policy reference -o docs/policy.md`"
    assert (DOCS / "policy.md").read_text("utf-8") == reference(), stale


def test_the_policy_reference_tells_every_rule_and_key() -> None:
    page = reference()
    for rule in RULES:
        part = page.split(f"### {rule.number} `{rule.kind}`\n")[1].split("\n### ")[0]
        assert rule.title in part
        for key in rule.schema.get("properties", {}):
            assert f"\n| `{key}` | " in part


@pytest.mark.parametrize("picture", sorted(make_pictures.TERMINAL))
def test_a_picture_shows_what_the_command_prints(picture: str) -> None:
    fresh = make_pictures.terminal_picture(picture, make_pictures.TERMINAL[picture])
    stale = f"docs/{picture} is stale: run `python docs/make_pictures.py`"
    assert text_of((DOCS / picture).read_text("utf-8")) == text_of(fresh), stale
    assert "provenance-gate" in text_of(fresh)


@pytest.mark.parametrize("picture", sorted(make_pictures.SUMMARY))
def test_the_picture_of_the_summary_shows_the_markdown_report(picture: str) -> None:
    fresh = make_pictures.summary_picture(make_pictures.SUMMARY[picture])
    stale = f"docs/{picture} is stale: run `python docs/make_pictures.py`"
    assert text_of((DOCS / picture).read_text("utf-8")) == text_of(fresh), stale
    assert "PG201" in text_of(fresh)


@pytest.mark.parametrize("picture", sorted({*make_pictures.TERMINAL, *make_pictures.SUMMARY}))
def test_a_picture_refers_to_nothing_outside_of_itself(picture: str) -> None:
    svg = (DOCS / picture).read_text("utf-8")
    beyond = set(re.findall(r"[a-z]+://[^\s\"')<]+", svg)) - {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xhtml",
    }
    assert beyond == set()
    assert not re.search(r"@import|@font-face|<script|<image|\bhref|url\((?!#)", svg)
