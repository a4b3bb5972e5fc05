"""`check` reads a declared base from the hub by itself: the claim is tested, and what cannot be read says why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from provenance_gate.cli import main
from tests.models import llama, noisy, write_model

from .contents import Repository
from .server import LoopbackHub
from .test_remote_model import uploaded


def checked(arguments: list[str], capsys: pytest.CaptureFixture[str], code: int) -> dict[str, Any]:
    """`check` through the command line, as JSON."""
    with pytest.raises(SystemExit) as end:
        main(["check", *arguments, "--format", "json", "--no-cache"])
    printed = capsys.readouterr()
    assert end.value.code == code, printed.err + printed.out[-2000:]
    found: dict[str, Any] = json.loads(printed.out)
    return found


def finding(found: dict[str, Any], number: str) -> dict[str, Any]:
    one: dict[str, Any] = next(f for f in found["findings"] if f["number"] == number)
    return one


@pytest.fixture
def endpoint(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> LoopbackHub:
    """The hub that the environment names."""
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return hub


def test_a_declared_base_on_the_hub_is_tested(
    endpoint: LoopbackHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint.add("org/base", uploaded(write_model(tmp_path / "base", llama(1))))
    child = write_model(tmp_path / "child", noisy(llama(1), 0.05), base="org/base")
    found = checked([str(child)], capsys, 0)
    (lineage,) = found["lineages"]
    assert lineage["relation"] == "derived"
    assert lineage["base"]["source"] == f"hf://org/base@{'c' * 40}"
    assert finding(found, "PG201")["status"] == "pass"


def test_a_false_claim_is_seen_without_giving_the_base(
    endpoint: LoopbackHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint.add("org/base", uploaded(write_model(tmp_path / "base", llama(1))))
    impostor = write_model(tmp_path / "impostor", llama(2), base="org/base")
    assert finding(checked([str(impostor)], capsys, 1), "PG201")["status"] == "fail"


@pytest.mark.parametrize(("claim", "why"), [("org/gone", "no such repository"), ("org/gated", "access")])
def test_a_base_that_the_hub_does_not_give_is_undecided_and_says_why(
    endpoint: LoopbackHub, tmp_path: Path, capsys: pytest.CaptureFixture[str], claim: str, why: str
) -> None:
    files = uploaded(write_model(tmp_path / "base", llama(1))).files
    endpoint.add("org/gated", Repository(files, gated=True))
    child = write_model(tmp_path / "child", llama(1), base=claim)
    undecided = finding(checked([str(child)], capsys, 1), "PG201")
    assert undecided["status"] == "undecided"
    assert claim in undecided["message"]
    assert why in undecided["message"]


@pytest.mark.parametrize("claim", ["../../etc/passwd", "https://example.com/model", "a/b/c/d", "datasets/org/x"])
def test_a_claim_that_is_no_hub_id_asks_nobody(
    endpoint: LoopbackHub, tmp_path: Path, capsys: pytest.CaptureFixture[str], claim: str
) -> None:
    child = write_model(tmp_path / "child", llama(1), base=claim)
    assert checked([str(child)], capsys, 1)["verdict"] == "undecided"
    assert [s.path for s in endpoint.seen if "passwd" in s.path or "example" in s.path] == []


def test_a_given_base_answers_before_the_hub_is_asked(
    endpoint: LoopbackHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = write_model(tmp_path / "base", llama(1))
    child = write_model(tmp_path / "child", noisy(llama(1), 0.05), base="org/base")
    checked([str(child), "--base", f"org/base={base}"], capsys, 0)
    assert not endpoint.seen


def test_offline_nobody_is_asked(endpoint: LoopbackHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    endpoint.add("org/base", uploaded(write_model(tmp_path / "base", llama(1))))
    child = write_model(tmp_path / "child", llama(1), base="org/base")
    undecided = finding(checked([str(child), "--offline"], capsys, 1), "PG201")
    assert "offline" in undecided["message"]
    assert not endpoint.seen


def test_a_card_that_names_many_bases_does_not_make_many_requests(
    endpoint: LoopbackHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    child = write_model(tmp_path / "child", llama(1))
    names = "\n".join(f"- org/none-{i}" for i in range(60))
    (child / "README.md").write_text(f"---\nbase_model:\n{names}\n---\n")
    found = checked([str(child)], capsys, 1)
    assert len([f for f in found["findings"] if f["number"] == "PG201"]) == 60
    assert len(endpoint.seen) <= 16


def test_two_artifacts_read_a_base_once(
    endpoint: LoopbackHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint.add("org/base", uploaded(write_model(tmp_path / "base", llama(1))))
    children = [
        str(write_model(tmp_path / f"child{i}", noisy(llama(1), 0.05, seed=i), base="org/base")) for i in (1, 2)
    ]
    checked(children[:1], capsys, 0)
    once = len([s for s in endpoint.seen if "/tree/" in s.path or "/api/models/" in s.path])
    endpoint.seen.clear()
    checked(children, capsys, 0)
    assert len([s for s in endpoint.seen if "/tree/" in s.path or "/api/models/" in s.path]) == once
