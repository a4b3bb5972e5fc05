"""Settings: their order, what a file may not say, and where a fault stands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import pytest

from provenance_gate.commands.places import model_folders, repository_paths, repository_root
from provenance_gate.commands.settings import refuse_loosened, settings_option
from provenance_gate.errors import UsageError


@click.group()
def app() -> None:
    """A program with two commands, as ours has."""


@app.command()
@settings_option
@click.option("-p", "--policy", default="builtin:baseline")
@click.option("--policy-sha256")
@click.option("-b", "--base", "bases", multiple=True)
@click.option("--report", "reports", multiple=True)
@click.option("--bom", type=click.Path(path_type=Path))
@click.option("--fail-on", type=click.Choice(["error", "warning", "note", "never"]), default="error")
@click.option("--exit-zero", is_flag=True)
@click.option("--offline", is_flag=True)
@click.option("-j", "--jobs", type=click.IntRange(1, 256))
@click.pass_context
def check(context: click.Context, **values: Any) -> dict[str, Any]:
    """Returns what it was given."""
    if values["policy_sha256"]:
        refuse_loosened(context)
    return values


@app.command()
@click.option("--top", type=int)
def scan(**_: Any) -> None:
    """Another command, with an option of its own."""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty repository, in which the command runs; no variable of ours is set."""
    import os

    for name in list(os.environ):
        if name.startswith("PROVENANCE_GATE_"):
            monkeypatch.delenv(name)
    root = tmp_path / "repository"
    (root / ".git").mkdir(parents=True)
    monkeypatch.chdir(root)
    return root


def run(*arguments: str) -> dict[str, Any]:
    values: dict[str, Any] = app.main(["check", *arguments], standalone_mode=False)
    return values


def test_the_command_line_wins_then_the_environment_then_yaml_then_pyproject(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run()["fail_on"] == "error"
    if sys.version_info >= (3, 11):
        (repository / "pyproject.toml").write_text('[tool.provenance-gate]\nfail-on = "note"\noffline = true\n')
        assert run()["fail_on"] == "note" and run()["offline"] is True
    (repository / ".provenance-gate.yaml").write_text("fail-on: warning\n")
    assert run()["fail_on"] == "warning" and run()["offline"] is False
    monkeypatch.setenv("PROVENANCE_GATE_FAIL_ON", "never")
    assert run()["fail_on"] == "never"
    assert run("--fail-on", "error")["fail_on"] == "error"


def test_every_kind_of_value_is_read(repository: Path) -> None:
    (repository / "bases").mkdir()
    (repository / ".provenance-gate.yaml").write_text(
        "policy: ci/p.yaml\nbase: [org/name=bases, other/hub-model]\nreport: sarif=out.sarif\nbom: b.json\n"
        "offline: true\njobs: 3\n"
    )
    values = run()
    assert values["policy"] == "ci/p.yaml" and values["bases"] == ("org/name=bases", "other/hub-model")
    assert values["reports"] == ("sarif=out.sarif",) and values["bom"] == Path("b.json")
    assert values["offline"] is True and values["jobs"] == 3


def test_the_environment_gives_one_item_per_line_and_empty_says_nothing(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROVENANCE_GATE_BASE", "a=./with space\n\nb=c\n")
    monkeypatch.setenv("PROVENANCE_GATE_OFFLINE", "true")
    monkeypatch.setenv("PROVENANCE_GATE_POLICY", "")
    values = run()
    assert values["bases"] == ("a=./with space", "b=c") and values["offline"] is True
    assert values["policy"] == "builtin:baseline"


def test_a_repeated_option_on_the_command_line_replaces_the_files(repository: Path) -> None:
    (repository / ".provenance-gate.yaml").write_text("base: [a=b, c=d]\n")
    assert run("--base", "x=y")["bases"] == ("x=y",)


def test_paths_start_from_the_files_folder(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / ".provenance-gate.yaml").write_text(
        "policy: ci/p.yaml\nbom: b.json\nreport: sarif=o.sarif\nbase: a=sub\n"
    )
    (repository / "sub" / "deep").mkdir(parents=True)
    monkeypatch.chdir(repository / "sub" / "deep")
    values = run()
    assert values["policy"] == "../../ci/p.yaml" and values["bom"] == Path("../../b.json")
    assert values["reports"] == ("sarif=../../o.sarif",) and values["bases"] == ("a=../../sub",)


def test_a_builtin_policy_is_no_path(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / ".provenance-gate.yaml").write_text("policy: builtin:release\n")
    (repository / "sub").mkdir()
    monkeypatch.chdir(repository / "sub")
    assert run()["policy"] == "builtin:release"


def test_the_nearest_file_wins_and_none_beyond_the_repository_is_read(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository.parent / ".provenance-gate.yaml").write_text("fail-on: never\n")
    (repository / "sub").mkdir()
    monkeypatch.chdir(repository / "sub")
    assert run()["fail_on"] == "error"
    (repository / ".provenance-gate.yaml").write_text("fail-on: warning\n")
    assert run()["fail_on"] == "warning"
    (repository / "sub" / ".provenance-gate.yaml").write_text("fail-on: note\n")
    assert run()["fail_on"] == "note"


def test_without_a_repository_only_the_current_folder_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".provenance-gate.yaml").write_text("fail-on: never\n")
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    assert repository_root(tmp_path) is None, "the test needs a folder outside of any repository"
    assert run()["fail_on"] == "error"
    monkeypatch.chdir(tmp_path)
    assert run()["fail_on"] == "never"


def test_a_file_can_be_named_and_files_can_be_left_out(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / ".provenance-gate.yaml").write_text("fail-on: warning\n")
    (repository / "other.yaml").write_text("fail-on: note\n")
    assert run("--config", "other.yaml")["fail_on"] == "note"
    assert run("--config", "none")["fail_on"] == "error"
    monkeypatch.setenv("PROVENANCE_GATE_CONFIG", "other.yaml")
    assert run()["fail_on"] == "note"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("policy: p.yaml\n\npolcy: x\n", r"\.provenance-gate\.yaml:3: unknown key 'polcy' \(did you mean 'policy'\?\)"),
        ("fail-on: sometimes\n", r":1: fail-on: 'sometimes' is not one of"),
        ("jobs: many\n", r":1: jobs: expected an integer, found 'many'"),
        ("jobs: 0\n", r":1: jobs: 0 is not in the range"),
        ("offline: 1\n", r":1: offline: expected true or false, found 1"),
        ("policy: [a, b]\n", r":1: policy: expected one value, found a list"),
        ("policy: 1.5\n", r":1: policy: expected a string \(in quotes\), found 1.5"),
        ("base: [a, {b: c}]\n", r":1: base: expected a string"),
        ("- policy\n", r":1: expected a mapping of options"),
        ("policy: x\npolicy: y\n", r":2:1: key 'policy' stands twice"),
        ("policy: !!python/object x\n", r"\.provenance-gate\.yaml:1:"),
        ("bom: /etc/b.json\n", r":1: bom: '/etc/b\.json' is not below the folder of the settings file"),
        ("report: [json=a.json, json=../a.json]\n", r":1: report: '\.\./a\.json' is not below the folder"),
        ("bom: .\n", r":1: bom: '\.' is not below the folder"),
        ("exit-zero: true\n", r":1: exit-zero may not be set in a file"),
        ("offline: true\npolicy-sha256: abc\n", r":2: policy-sha256 may not be set in a file"),
    ],
)
def test_a_fault_is_a_usage_error_with_file_and_line(repository: Path, text: str, fault: str) -> None:
    (repository / ".provenance-gate.yaml").write_text(text)
    with pytest.raises(UsageError, match=fault) as caught:
        run()
    assert caught.value.exit_code == 2


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib came with Python 3.11")
@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            '[project]\nname = "x"\n\n[tool.provenance-gate]\npolicy = "p"\npolcy = "x"\n',
            r"pyproject\.toml:6: unknown key 'polcy'",
        ),
        ("[tool.provenance-gate]\njobs = 1.5\n", r"pyproject\.toml:2: jobs: expected an integer"),
        ("[tool.provenance-gate]\njobs = \n", r"pyproject\.toml: not valid TOML"),
        ("[tool.provenance-gate.rules]\nx = 1\n[tool.provenance-gate]\n", r"pyproject\.toml:3: unknown key 'rules'"),
    ],
)
def test_a_fault_in_pyproject_names_its_line(repository: Path, text: str, fault: str) -> None:
    (repository / "pyproject.toml").write_text(text)
    with pytest.raises(UsageError, match=fault):
        run()


def test_a_pyproject_without_our_table_is_none_of_our_business(repository: Path) -> None:
    (repository / "pyproject.toml").write_text("[tool.other\nbroken")
    assert run()["fail_on"] == "error"


def test_without_a_toml_parser_the_table_is_an_error_and_not_passed_over(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "pyproject.toml").write_text('[tool.provenance-gate]\nfail-on = "note"\n')
    monkeypatch.setitem(sys.modules, "tomllib", None)
    with pytest.raises(UsageError, match=r"pyproject\.toml:1: \[tool\.provenance-gate\] needs Python 3\.11"):
        run()


def test_an_option_of_another_command_is_known_and_left_alone(repository: Path) -> None:
    (repository / ".provenance-gate.yaml").write_text("top: 5\nfail-on: note\n")
    assert run()["fail_on"] == "note"


def test_a_misspelled_variable_is_an_error(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVENANCE_GATE_POLCY", "p.yaml")
    with pytest.raises(UsageError, match=r"PROVENANCE_GATE_POLCY: no such option \(did you mean 'policy'\?\)"):
        run()


def test_a_bad_value_of_a_variable_names_the_variable(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVENANCE_GATE_JOBS", "many")
    with pytest.raises(
        UsageError, match=r"environment variable PROVENANCE_GATE_JOBS: jobs: 'many' is not a valid integer"
    ):
        run()


def test_a_pinned_policy_is_not_loosened_by_a_file(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / ".provenance-gate.yaml").write_text("fail-on: never\npolicy: p.yaml\n")
    with pytest.raises(UsageError, match=r"\.provenance-gate\.yaml:1: fail-on may not come from a settings file"):
        run("--policy-sha256", "abc")
    assert run("--policy-sha256", "abc", "--fail-on", "error")["fail_on"] == "error"
    monkeypatch.setenv("PROVENANCE_GATE_FAIL_ON", "warning")
    assert run("--policy-sha256", "abc")["fail_on"] == "warning"


def test_the_environment_may_set_what_a_file_may_not(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVENANCE_GATE_EXIT_ZERO", "1")
    assert run()["exit_zero"] is True


@pytest.mark.parametrize("data", [b"\xff\xfe", b"#" + b"x" * (1 << 20)])
def test_a_file_that_is_no_text_or_too_long_is_refused(repository: Path, data: bytes) -> None:
    (repository / ".provenance-gate.yaml").write_bytes(data)
    with pytest.raises(UsageError, match=r"\.provenance-gate\.yaml: (not UTF-8 at byte 0|more than 1048576 bytes)"):
        run()


def test_a_named_file_that_is_not_there_is_an_error(repository: Path) -> None:
    with pytest.raises(UsageError, match=r"missing\.yaml: no such file"):
        run("--config", "missing.yaml")


def test_paths_in_the_repository_are_called_from_its_root(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / "models" / "a").mkdir(parents=True)
    (repository / "models" / "b.gguf").write_bytes(b"GGUF")
    (repository / "link").symlink_to(repository / "models")
    monkeypatch.chdir(repository / "models")
    assert repository_paths(
        ["a", ".", "..", "b.gguf", "../link/a", "no-such", "org/name", str(repository / "models" / "a")]
    ) == {
        "a": "models/a",
        ".": "models",
        "..": ".",
        "b.gguf": "models/b.gguf",
        "../link/a": "models/a",
        str(repository / "models" / "a"): "models/a",
    }
    assert model_folders(["a", "b.gguf"]) == {"a": "models/a", "b.gguf": "models"}


def test_paths_outside_of_the_repository_are_left_out(repository: Path) -> None:
    (repository.parent / "elsewhere").mkdir()
    (repository / "out").symlink_to(repository.parent / "elsewhere")
    assert repository_paths(["../elsewhere", "out", "bad\0name"]) == {}
