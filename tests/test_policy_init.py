"""`policy init`: what it writes is a policy, and what it prints runs the gate where the repository's pipelines run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from provenance_gate import __version__
from provenance_gate.cli import main
from provenance_gate.commands.forges import Forge, advice, detect, name_within, repository, snippet
from provenance_gate.policy.explain import starter
from provenance_gate.policy.load import load_policy

ROOT = Path(__file__).resolve().parents[1]
PAGES = {Forge.GITHUB: "github.md", Forge.GITLAB: "gitlab.md", Forge.PRE_COMMIT: "pre-commit.md"}


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of a repository without pipelines, outside of any job."""
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    for variable in ("GITHUB_ACTIONS", "GITLAB_CI"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


def init(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(["policy", "init", *arguments])
    said = capsys.readouterr()
    assert stopped.value.code == code, said.err
    return said.out + said.err


def add(repo: Path, forge: Forge) -> None:
    match forge:
        case Forge.GITHUB:
            (repo / ".github").mkdir()
        case Forge.GITLAB:
            (repo / ".gitlab-ci.yml").touch()
        case Forge.PRE_COMMIT:
            (repo / ".pre-commit-config.yaml").touch()


@pytest.mark.parametrize("forge", list(Forge))
def test_files_of_a_forge_bring_its_lines_and_no_others(
    repo: Path, capsys: pytest.CaptureFixture[str], forge: Forge
) -> None:
    add(repo, forge)
    said = init(capsys)
    assert snippet(forge, "provenance-policy.yaml") in said
    assert [f for f in Forge if f.value in said] == [forge]
    assert "Run it" not in said


@pytest.mark.parametrize(("variable", "forge"), [("GITHUB_ACTIONS", Forge.GITHUB), ("GITLAB_CI", Forge.GITLAB)])
def test_a_job_knows_its_forge(
    repo: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, variable: str, forge: Forge
) -> None:
    monkeypatch.setenv(variable, "true")
    assert snippet(forge, "provenance-policy.yaml") in init(capsys)
    assert detect(repo, {variable: "false"}) == ()


def test_several_forges_bring_the_lines_of_each(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for forge in Forge:
        add(repo, forge)
    said = init(capsys)
    assert all(snippet(forge, "provenance-policy.yaml") in said for forge in Forge)


def test_without_a_forge_the_plain_command_is_shown(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = init(capsys, "my policy.yaml")
    assert "provenance-gate check models/MODEL --policy 'my policy.yaml'" in said
    assert not any(forge.value in said for forge in Forge)


def test_below_the_root_the_forge_is_found_and_the_policy_is_named_from_there(
    repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add(repo, Forge.GITHUB)
    (repo / "ci").mkdir()
    assert "    policy: ci/release.yaml\n" in init(capsys, "ci/release.yaml")
    assert repository(repo / "ci" / "release.yaml") == repo
    assert name_within(repo / "ci", repo / "release.yaml") == str(repo / "release.yaml")


def test_a_folder_of_strangers_above_the_repository_says_nothing(repo: Path) -> None:
    (repo / "inner" / ".git").mkdir(parents=True)
    add(repo, Forge.GITHUB)
    assert detect(repository(repo / "inner" / "policy.yaml"), {}) == ()


def test_nothing_is_overwritten(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (repo / "provenance-policy.yaml").write_text("mine")
    assert "exists" in init(capsys, code=2)
    assert (repo / "provenance-policy.yaml").read_text() == "mine"


def test_a_folder_that_is_not_there_is_one_error(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(capsys, "nowhere/policy.yaml", code=3).count("\n") == 1


@pytest.mark.parametrize("forge", list(Forge))
def test_the_lines_are_those_of_the_page_about_the_forge(forge: Forge) -> None:
    page = (ROOT / "docs" / PAGES[forge]).read_text("utf-8")
    shown = page.split("```yaml\n")[1].split("```")[0].replace("1.0.0", __version__)
    written = snippet(forge, "policies/release.yaml", "models/support-bot")
    assert written.startswith(shown)
    assert "policies/release.yaml" in written
    more = written.removeprefix(shown)
    assert more.count("\n") <= 1


@given(st.text(st.characters(exclude_categories=("C", "Z")) | st.just(" "), min_size=1, max_size=200))
def test_any_printable_name_stays_one_value_in_every_forge(name: str) -> None:
    github = yaml.safe_load(snippet(Forge.GITHUB, name, name))[0]["with"]
    assert github == {"paths": name, "policy": name}
    gitlab = yaml.safe_load(snippet(Forge.GITLAB, name, name))["include"][0]["inputs"]
    assert (gitlab["paths"], gitlab["policy"]) == ([name], name)
    hook = yaml.safe_load(snippet(Forge.PRE_COMMIT, name))["repos"][0]["hooks"][1]
    assert hook["args"] == [f"--policy={name}", "--", "."]


@given(st.text(min_size=1, max_size=300))
def test_no_name_sends_a_control_character_to_the_terminal(name: str) -> None:
    for forges in ((), tuple(Forge)):
        text = advice(forges, name)
        assert all(c.isprintable() or c == "\n" for c in text)
        assert text.count("\n") == advice(forges, "x").count("\n")


@given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=150))
def test_a_starter_of_any_name_is_a_policy(name: str) -> None:
    found = yaml.safe_load(starter(name))
    assert found["version"] == 1
    assert isinstance(found["name"], str) and found["name"]


def test_every_rule_that_the_starter_only_suggests_is_valid_too(tmp_path: Path) -> None:
    text = starter("policy.yaml")
    rules = re.sub(r"^  # (- |  )", r"  \1", text.split("# A dated")[0], flags=re.MULTILINE)
    rules = rules.replace(
        "id: declared-base-is-real\n    rule: declared-base\n    require",
        "id: declared\n    rule: declared-base\n    require",
    )
    waivers = re.sub(r"^# ?", "", text.split("finding counts again.\n")[1], flags=re.MULTILINE)
    file = tmp_path / "policy.yaml"
    file.write_text(rules + waivers, encoding="utf-8")
    loaded = load_policy(str(file))
    suggested = set(re.findall(r"^  # - id: (\S+)", text, re.MULTILINE))
    assert len(suggested) >= 4
    assert suggested <= {rule.id for rule in loaded.rules}
    assert len(loaded.waivers) == 1
