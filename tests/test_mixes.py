"""Several bases at once, from the outside: Python, `compare --base`, `check` with two bases."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

import provenance_gate
from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.cli import main
from provenance_gate.report.json_report import load_schema
from tests.models import Tensors, llama, noisy, write_model


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixes")
    for name, seed in (("one", 1), ("two", 2), ("other", 3)):
        write_model(folder / name, llama(seed))
    write_model(folder / "mix", mixed(0.7, 0.3))
    write_model(folder / "stack", stacked())
    write_model(folder / "child", noisy(llama(1), 0.1))
    return folder


def mixed(a: float, b: float) -> Tensors:
    return {k: a * v + b * llama(2)[k] for k, v in llama(1).items()}


def stacked() -> Tensors:
    return llama(1) | {k: v for k, v in llama(2).items() if ".1." in k or ".3." in k}


def output_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main([str(a) for a in arguments])
    assert stopped.value.code in (0, 1)
    return capsys.readouterr().out


def test_weights_of_a_linear_mix(place: Path) -> None:
    merge = provenance_gate.merge(str(place / "mix"), [str(place / n) for n in ("one", "two", "other")])
    assert not isinstance(merge, NotMeasured)
    assert merge.recipe == "linear"
    assert merge.parents == ("one", "two")
    assert merge.weights == pytest.approx({"one": 0.7, "two": 0.3, "other": 0.0}, abs=0.02)
    assert [m["model"] for m in merge.mergekit["models"]] == ["one", "two"]  # type: ignore[index,union-attr,call-overload]


def test_the_layer_map_of_a_passthrough_merge(place: Path) -> None:
    merge = provenance_gate.merge(str(place / "stack"), [str(place / "one"), str(place / "two")])
    assert not isinstance(merge, NotMeasured)
    assert merge.recipe == "passthrough"
    assert {m.layer: m.sources[0] for m in merge.mixtures if m.layer is not None} == {
        0: ("one", 0),
        1: ("two", 1),
        2: ("one", 2),
        3: ("two", 3),
    }


def test_compare_with_further_bases_prints_the_mix(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("compare", place / "mix", place / "one", "--base", place / "two")
    text = output_of(capsys, *arguments, "--verbose")
    assert "Mix" in text and "linear: one 0.700, two 0.300" in text
    found = json.loads(output_of(capsys, *arguments, "--format", "json"))
    jsonschema.validate(found, load_schema("compare"))
    assert found["merge"]["recipe"] == "linear"
    assert found["merge"]["weights"]["two"] == pytest.approx(0.3, abs=0.02)
    assert found["lineage"]["mixing_weight"] == pytest.approx(0.7, abs=0.02)
    assert found["lineage"]["kinds"] == ["merged"]


def test_check_reports_the_mix_by_its_schema(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bases = ("--base", f"acme/one={place / 'one'}", "--base", f"acme/two={place / 'two'}")
    found = json.loads(output_of(capsys, "check", place / "mix", *bases, "--format", "json"))
    jsonschema.validate(found, load_schema("check"))
    assert found["artifacts"][0]["merge"]["parents"] == ["acme/one", "acme/two"]
    assert found["verdict"] == "fail", "neither parent is declared"


def test_a_child_has_one_parent_among_strangers(place: Path) -> None:
    merge = provenance_gate.merge(str(place / "child"), [str(place / "one"), str(place / "two")])
    assert not isinstance(merge, NotMeasured) and merge.recipe == "single"


def test_strangers_are_no_parents(place: Path) -> None:
    merge = provenance_gate.merge(str(place / "other"), [str(place / "one"), str(place / "two")])
    assert isinstance(merge, NotMeasured)


def test_one_base_is_no_mix(place: Path) -> None:
    with pytest.raises(provenance_gate.UsageError):
        provenance_gate.merge(str(place / "mix"), [str(place / "one")])
