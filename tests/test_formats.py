"""Every format that people ship, directly against the float base: the same model, a child of it, a stranger."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import provenance_gate
from provenance_gate.lineage.interface import Relation
from provenance_gate.policy.interface import Status
from tests.disguises import all_together, tidy
from tests.formats import WRITERS
from tests.models import llama, noisy, write_model


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("base") / "base", llama(1))


@pytest.mark.parametrize("name", WRITERS)
def test_the_same_model_in_another_format_is_reformatted(name: str, base: Path, tmp_path: Path) -> None:
    lineage = provenance_gate.compare(str(WRITERS[name](tmp_path / "artifact", llama(1))), str(base))
    assert lineage.relation in (Relation.REFORMATTED, Relation.IDENTICAL), lineage.reason
    assert isinstance(lineage.score, float) and lineage.score >= 0.95
    # The norms of embedding rows at four bits fall into other bins of the histogram: the bit width does not allow more.
    signals = ("weight_correlation", "eas", "nlf", "wvc", "lep", *(("end",) if name != "gguf Q4_0" else ()))
    for signal in signals:
        value = lineage.signals[signal].value
        assert isinstance(value, float) and value >= 0.98, signal


@pytest.mark.parametrize("name", WRITERS)
def test_a_child_in_another_format_is_derived(name: str, base: Path, tmp_path: Path) -> None:
    children = {"noise": noisy(llama(1), 0.3), "hidden": tidy(all_together(llama(1), np.random.default_rng(3)))}
    for kind, tensors in children.items():
        lineage = provenance_gate.compare(str(WRITERS[name](tmp_path / kind, tensors)), str(base))
        assert lineage.relation is Relation.DERIVED, (kind, lineage.reason)
        assert isinstance(lineage.score, float) and lineage.score >= 0.95, kind


@pytest.mark.parametrize("name", WRITERS)
def test_a_stranger_in_another_format_stays_one(name: str, base: Path, tmp_path: Path) -> None:
    lineage = provenance_gate.compare(str(WRITERS[name](tmp_path / "artifact", llama(2))), str(base))
    assert isinstance(lineage.score, float) and lineage.score <= 0.30


@pytest.mark.parametrize("name", ["gptq", "nf4", "gguf Q4_0"])
def test_a_quantized_child_says_so(name: str, base: Path, tmp_path: Path) -> None:
    lineage = provenance_gate.compare(str(WRITERS[name](tmp_path / "a", noisy(llama(1), 0.3))), str(base))
    assert "quantized" in lineage.kinds and "pruned" not in lineage.kinds


def judged(folder: Path) -> tuple[Status, str]:
    report = provenance_gate.check(str(folder))
    found = next(f for f in report.results[0].findings if f.rule_id == "formats-agree")
    return found.status, found.message


@pytest.mark.parametrize(("name", "file"), [("torch", "pytorch_model.bin"), ("gguf Q8_0", "model.gguf")])
def test_several_formats_of_one_model_agree(name: str, file: str, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", llama(1))
    for seed, expected in ((1, Status.PASS), (2, Status.FAIL)):
        beside = WRITERS[name](tmp_path / f"beside{seed}", llama(seed)) / file
        (folder / file).write_bytes(beside.read_bytes())
        assert judged(folder)[0] is expected


def test_a_pickle_that_would_run_code_beside_clean_weights_fails(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", llama(1))
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.")
    status, message = judged(folder)
    assert status is Status.FAIL
    assert "pytorch_model.bin" in message and "os.system" in message


def test_one_format_agrees_with_itself(base: Path) -> None:
    assert judged(base)[0] is Status.PASS
