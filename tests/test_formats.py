"""Every format that people ship, directly against the float base: the same model, a child of it, a stranger."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import provenance_gate
from provenance_gate.lineage.interface import Relation
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
