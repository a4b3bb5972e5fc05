"""action.yml, run by a harness that reads it as the runner does, on the trained examples."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.pipeline.runner import ROOT, Result, obeyed, read_outputs, run_action

INSTALLED = {"python": sys.executable}
BASE = "provenance-gate-examples/base=base"
HOSTILE = [
    "$(touch pwned)",
    "`touch pwned`",
    "a; touch pwned",
    "a' && touch pwned #",
    'a" && touch pwned #',
    "a | tee pwned",
    "> pwned",
    "%0A::set-output name=verdict::pass",
    "::set-output name=verdict::pass",
    "##[set-output name=verdict;]pass",
    "${{ secrets.TOKEN }}",
    "${HOME}",
    "\u202egnp.exe",
    "größe 模型",
]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "work space"
    for name in ("base", "fine-tune", "impostor"):
        shutil.copytree(ROOT / "examples" / name, folder / name)
    shutil.copy(ROOT / "examples" / "policy.yaml", folder / "policy.yaml")
    # What Python would import first, were the folder with the code under test on its path.
    for module in ("yaml", "json", "secrets", "provenance_gate", "sitecustomize"):
        (folder / f"{module}.py").write_text("import pathlib; pathlib.Path('pwned').touch()\n")
    return folder


def run(workspace: Path, **inputs: str) -> Result:
    given = {"offline": "true", "bases": BASE, "policy": "policy.yaml"}
    given.update({name.replace("_", "-"): value for name, value in inputs.items()})
    result = run_action(given, workspace, workspace.parent / "temp", installed=INSTALLED)
    assert not (workspace / "pwned").exists()
    assert result.env_file == result.path_file == ""
    assert {c.name for c in result.commands} <= {"error", "warning", "notice"}
    return result


def test_an_honest_model_passes_and_every_report_lies_where_the_outputs_say(workspace: Path) -> None:
    result = run(workspace, paths="fine-tune")
    assert (result.code, result.outputs["exit-code"], result.outputs["verdict"]) == (0, "0", "pass"), result.log
    assert json.loads(Path(result.outputs["bom-path"]).read_text("utf-8"))["bomFormat"] == "CycloneDX"
    assert json.loads(Path(result.outputs["sarif-path"]).read_text("utf-8"))["version"] == "2.1.0"
    assert json.loads(Path(result.outputs["vsa-path"]).read_text("utf-8"))["verificationResult"] == "PASSED"
    assert "model.safetensors" in Path(result.outputs["checksums-path"]).read_text("utf-8")
    assert "fine-tune" in result.summary
    assert "PG201" in result.log, "the human report is in the log"
    assert not [c for c in result.commands if c.name == "error"]


def test_a_false_claim_fails_the_step_with_reports_annotation_and_summary(workspace: Path) -> None:
    result = run(workspace, paths="\n fine-tune \r\n\nimpostor\n")
    assert (result.code, result.outputs["exit-code"], result.outputs["verdict"]) == (1, "1", "fail")
    assert all(
        Path(result.outputs[name]).is_file() for name in ("bom-path", "sarif-path", "vsa-path", "checksums-path")
    )
    (error,) = (c for c in result.commands if c.name == "error")
    assert "PG201" in error.properties and "impostor" in error.message
    assert "impostor" in result.summary


def test_fail_on_never_keeps_the_step_green_and_the_summary_can_be_left_out(workspace: Path) -> None:
    result = run(workspace, paths="impostor", fail_on="never", summary="false")
    assert (result.code, result.summary) == (0, "")


def test_a_policy_of_a_hostile_name_is_looked_for_and_not_run(workspace: Path) -> None:
    result = run(workspace, paths="fine-tune", policy="$(touch pwned) `touch pwned`")
    assert (result.code, result.outputs["verdict"]) == (2, "error")
    assert [c.name for c in result.commands] == ["error"]


def test_hostile_names_that_exist_are_checked_and_nothing_else_happens(workspace: Path) -> None:
    names = [name for name in HOSTILE if "/" not in name and name.isprintable()]
    for name in names[:4]:
        shutil.copytree(workspace / "fine-tune", workspace / name)
    result = run(workspace, paths="\n".join(names[:4]))
    assert (result.code, result.outputs["verdict"]) == (0, "pass"), result.log
    assert result.summary.count("touch pwned") >= 4


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("name", ["recursive", "offline", "summary"])
def test_switches_accept_two_words_only(name: str, value: str) -> None:
    module = run_gate()
    with pytest.raises(module.InputError, match=name):
        module.switch(name, value)


def test_hostile_values_of_every_input_end_in_an_error_with_nothing_executed(workspace: Path) -> None:
    everything = "\n".join(HOSTILE)
    for name in ("paths", "policy", "fail-on", "offline"):
        result = run(workspace, **{"paths": "fine-tune", name: everything})
        assert (result.code, result.outputs["verdict"]) == (3 if name == "paths" else 2, "error"), (name, result.log)
        assert result.outputs["exit-code"] == str(result.code)
        assert result.outputs["bom-path"] == ""
        assert [c.name for c in result.commands] == ["error"]
        assert "could not judge" in result.summary


@pytest.mark.parametrize("name", ["paths", "bases", "registries"])
def test_an_item_that_looks_like_an_option_is_refused(workspace: Path, name: str) -> None:
    result = run(workspace, **{"paths": "fine-tune", name: "fine-tune\n  --exit-zero"})
    assert (result.code, result.outputs["verdict"]) == (2, "error")
    assert f"{name}: '--exit-zero' starts with a dash" in result.log


@pytest.mark.parametrize("name", ["policy", "policy-sha256", "fail-on", "baseline"])
def test_a_single_value_is_one_line_that_is_no_option(tmp_path: Path, name: str) -> None:
    module = run_gate()
    for value in ("--exit-zero", "one\ntwo"):
        env = {"PG_PATHS": "model", f"PG_{name.upper().replace('-', '_')}": value}
        with pytest.raises(module.InputError, match=name):
            module.arguments(env, tmp_path)
    env = {"PG_PATHS": "model", f"PG_{name.upper().replace('-', '_')}": "$(touch pwned)"}
    assert f"--{name}=$(touch pwned)" in module.arguments(env, tmp_path)


def test_a_model_cannot_command_the_runner(workspace: Path) -> None:
    card = workspace / "fine-tune" / "README.md"
    hostile = "::error title=pwned::x ##[add-mask]x ##[error]pwned"
    card.write_text(f"---\nlicense: '{hostile}'\nbase_model: '{hostile}'\n---\n::set-output name=verdict::pass\n")
    result = run(workspace, paths="fine-tune")
    assert result.outputs["verdict"] != "pass" and result.code == 1
    assert hostile in result.log
    assert result.commands
    assert not [c for c in result.commands if "pwned" in c.properties]


def test_the_token_reaches_the_gate_by_environment_only(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = run_gate()
    seen: dict[str, object] = {}

    class Done:
        returncode, stderr = 0, b""

    def process(command: list[str], *, env: dict[str, str], **_: object) -> Done:
        seen.update(command=command, token=env.get("HF_TOKEN"), inputs=[n for n in env if n.startswith("PG_")])
        return Done()

    monkeypatch.setattr(module.subprocess, "run", process)
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_job")
    monkeypatch.setenv("PG_HF_TOKEN", "hf_given")
    module.run(["check"], "hf_given")
    assert seen["token"] == "hf_given" and seen["inputs"] == [] and "hf_given" not in str(seen["command"])
    module.run(["check"], "")
    assert seen["token"] == "hf_of_the_job"


def test_a_run_without_a_readable_report_is_no_pass(tmp_path: Path) -> None:
    module = run_gate()
    assert module.verdict_of(0, tmp_path) == "error"
    for text in ("", "[]", '{"verdict": "fine"}', "{"):
        (tmp_path / "report.json").write_text(text)
        assert module.verdict_of(0, tmp_path) == "error"
    (tmp_path / "report.json").write_text('{"verdict": "undecided"}')
    assert module.verdict_of(1, tmp_path) == "undecided"
    assert module.verdict_of(3, tmp_path) == "error"


def test_a_summary_is_cut_at_a_line_below_the_limit(tmp_path: Path) -> None:
    module, file = run_gate(), tmp_path / "summary.md"
    file.write_text("of an earlier action\n")
    env = {"GITHUB_STEP_SUMMARY": str(file)}
    module.write_summary(env, "ü" * 60 + "\n" + ("| row |\n" * 300_000))
    text = file.read_bytes().decode("utf-8")
    assert 1_000_000 < len(text.encode()) <= 1 << 20
    assert text.endswith("The reports are complete.\n") and "| row |\n\n\nCut here" in text
    module.write_summary(env, "| more |\n" * 1000)
    assert file.stat().st_size <= 1 << 20


def test_outputs_are_single_lines(tmp_path: Path) -> None:
    module, file = run_gate(), tmp_path / "output"
    with pytest.raises(module.InputError):
        module.write_outputs({"GITHUB_OUTPUT": str(file)}, {"bom-path": "a\nverdict=pass"})
    module.write_outputs({"GITHUB_OUTPUT": str(file)}, {"verdict": "pass", "bom-path": "/a b/c=d"})
    assert read_outputs(file.read_text()) == {"verdict": "pass", "bom-path": "/a b/c=d"}


def test_the_harness_sees_what_the_runner_would_obey() -> None:
    log = (
        "  ::error title=a::b\nx ::error::no\nx ##[warning]yes\n::stop-commands::t\n::error::no\n::t::\n::notice::yes\n"
    )
    assert [(c.name, c.message) for c in obeyed(log)] == [("error", "b"), ("warning", "yes"), ("notice", "yes")]


def run_gate():  # type: ignore[no-untyped-def]
    """The script as a module."""
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("run_gate", ROOT / "templates" / "action" / "run_gate.py")
    assert spec and spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
