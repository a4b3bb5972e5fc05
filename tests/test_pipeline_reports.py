"""The gate as a pipeline runs it: report files, baselines and settings, through the real entry point."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from provenance_gate.cli import main
from tests.models import llama, noisy, write_model

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a base, a child of it and an impostor that declares it."""
    root = tmp_path_factory.mktemp("repository")
    (root / ".git").mkdir()
    tensors = llama(1)
    write_model(root / "base", tensors)
    write_model(root / "models" / "child", noisy(tensors, 0.1), base="acme/base")
    write_model(root / "models" / "impostor", llama(2), base="acme/base")
    return root


@pytest.fixture
def run(models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    for name in list(os.environ):
        if name.startswith("PROVENANCE_GATE_") or name == "SOURCE_DATE_EPOCH":
            monkeypatch.delenv(name)
    monkeypatch.chdir(models)

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main([str(a) for a in arguments])
        captured = capsys.readouterr()
        assert isinstance(stopped.value.code, int)
        return stopped.value.code, captured.out, captured.err

    return call


GATE = ("check", "--offline", "--base", "acme/base=base")


def test_all_report_files_are_written_although_the_run_fails(run: Run, tmp_path: Path) -> None:
    names = ("human", "json", "cyclonedx", "sarif", "junit", "codequality", "markdown", "github", "vsa-predicate")
    reports = [part for name in names for part in ("--report", f"{name}={tmp_path / name}")]
    short = ("--bom", tmp_path / "bom", "--vsa", tmp_path / "vsa", "--checksums", tmp_path / "sums")
    code, _, _ = run(*GATE, "models/impostor", *reports, *short)
    assert code == 1
    assert {p.name for p in tmp_path.iterdir()} == {*names, "bom", "vsa", "sums"}
    statement = json.loads((tmp_path / "vsa").read_text())
    assert statement["predicate"]["verificationResult"] == "FAILED"
    inputs = {i["uri"]: i["digest"]["sha256"] for i in statement["predicate"]["inputAttestations"]}
    assert inputs["bom"] == hashlib.sha256((tmp_path / "bom").read_bytes()).hexdigest()
    subjects = {s["name"]: s["digest"]["sha256"] for s in statement["subject"]}
    sums = dict(reversed(line.split("  ")) for line in (tmp_path / "sums").read_text().splitlines())
    assert subjects == sums and "model.safetensors" in sums


def test_findings_are_shown_at_paths_of_the_repository(run: Run, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(models / "models")
    code, out, _ = run("check", "--offline", "--base", "acme/base=../base", "impostor", "-f", "github")
    assert code == 1 and out.startswith("::error file=models/impostor/README.md,line=")


def test_a_run_that_cannot_judge_leaves_a_junit_error(run: Run, tmp_path: Path) -> None:
    code, _, err = run(
        "check", "--offline", "no-such", "--report", f"junit={tmp_path / 'j.xml'}", "--bom", tmp_path / "b"
    )
    assert code == 3 and "no-such" in err
    (error,) = ET.fromstring((tmp_path / "j.xml").read_text()).iter("error")
    assert "no-such" in (error.text or "") and not (tmp_path / "b").exists()


def test_a_baseline_lets_what_stood_pass_and_nothing_else(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    code, _, err = run(*GATE, "models/impostor", "--write-baseline", path)
    assert code == 1 and "1 accepted finding" in err
    code, out, _ = run(*GATE, "models/impostor", "--baseline", path)
    assert code == 0 and "1 waived" in out
    assert run(*GATE, "models/child", "models/impostor", "--baseline", path)[0] == 0
    shutil.copytree("models/impostor", tmp_path / "other")
    assert run(*GATE, tmp_path / "other", "--baseline", path)[0] == 1, "an artifact of another name is not covered"


def test_a_baseline_is_not_overwritten_and_not_made_up(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    assert run("check", "--offline", "no-such", "--write-baseline", path)[0] == 3 and not path.exists()
    path.write_text("mine")
    assert run(*GATE, "models/impostor", "--write-baseline", path)[0] == 2 and path.read_text() == "mine"
    assert run(*GATE, "models/impostor", "--baseline", path)[0] == 2
    assert run(*GATE, "models/impostor", "--baseline", tmp_path / "none.json")[0] == 2


def test_settings_of_the_repository_are_used_from_below_it(
    run: Run, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = models / ".provenance-gate.yaml"
    file.write_text("base: acme/base=base\nfail-on: never\noffline: true\n")
    monkeypatch.chdir(models / "models")
    try:
        assert run("check", "child")[0] == 0
        assert run("check", "impostor")[0] == 0
        assert run("check", "impostor", "--fail-on", "error")[0] == 1
        code, _, err = run("check", "child", "--policy-sha256", "0" * 64)
        assert code == 2 and ".provenance-gate.yaml:1: base may not come from a settings file" in err
        vsa = tmp_path / "vsa.json"
        assert run("check", "impostor", "--vsa", vsa)[0] == 0
        assert json.loads(vsa.read_text())["predicate"]["verificationResult"] == "FAILED"
        file.write_text("polcy: x\n")
        code, _, err = run("check", "child")
        assert code == 2 and ".provenance-gate.yaml:1: unknown key 'polcy'" in err and err.count("\n") == 1
    finally:
        file.unlink()


def test_a_reproducible_summary_needs_a_time_and_repeats_with_one(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = run(*GATE, "models/child", "--reproducible", "--vsa", tmp_path / "v")
    assert code == 2 and "SOURCE_DATE_EPOCH" in err
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    texts = []
    for zone in ("UTC", "Asia/Kathmandu"):
        monkeypatch.setenv("TZ", zone)
        names = ("sarif", "junit", "codequality", "markdown", "github", "intoto", "checksums", "json")
        reports = [part for name in names for part in ("--report", f"{name}={tmp_path / name}")]
        assert run(*GATE, "models/child", "--reproducible", *reports)[0] == 0
        texts.append([(tmp_path / name).read_bytes() for name in names])
    assert texts[0] == texts[1]


def test_an_unknown_format_is_told_before_anything_is_read(run: Run) -> None:
    code, _, err = run("check", "no-such", "--report", "pdf=x")
    assert code == 2 and "unknown report format 'pdf'" in err
