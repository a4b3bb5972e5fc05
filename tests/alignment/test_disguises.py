"""Descent is seen through every function-preserving disguise, and through none between strangers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import provenance_gate
from provenance_gate.lineage.interface import Relation
from tests.disguises import DISGUISES, all_together, reorder_tokens, tidy
from tests.models import Tensors, llama, noisy, write_model


@pytest.fixture(scope="module")
def base_tensors() -> Tensors:
    return llama(1)


@pytest.fixture(scope="module")
def base(base_tensors: Tensors, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("base") / "base", base_tensors)


@pytest.mark.parametrize("noise", [0.0, 0.2])
@pytest.mark.parametrize("name", [*DISGUISES, "all together"])
def test_a_disguise_does_not_hide_descent(
    name: str, noise: float, base: Path, base_tensors: Tensors, tmp_path: Path
) -> None:
    rng = np.random.default_rng(len(name))
    hidden = (DISGUISES | {"all together": all_together})[name](base_tensors, rng)
    artifact = write_model(tmp_path / "artifact", noisy(tidy(hidden), noise))
    lineage = provenance_gate.compare(str(artifact), str(base))
    assert lineage.relation is Relation.DERIVED
    assert isinstance(lineage.score, float) and lineage.score >= 0.9
    assert isinstance(lineage.p_value, float) and lineage.p_value <= 1e-6
    for component in ("attention", "feed_forward"):
        assert lineage.components[component].relation is Relation.DERIVED


@pytest.mark.parametrize("name", [*DISGUISES, "all together"])
def test_a_disguised_stranger_stays_one(name: str, base: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(len(name))
    hidden = (DISGUISES | {"all together": all_together})[name](llama(2), rng)
    lineage = provenance_gate.compare(str(write_model(tmp_path / "artifact", tidy(hidden))), str(base))
    assert isinstance(lineage.score, float) and lineage.score <= 0.30


def test_tokens_are_matched_by_string_not_by_id(base: Path, base_tensors: Tensors, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    artifact = tmp_path / "artifact"
    write_model(artifact, tidy(reorder_tokens(artifact, all_together(base_tensors, rng), rng)), with_tokenizer=False)
    lineage = provenance_gate.compare(str(artifact), str(base))
    assert lineage.relation is Relation.DERIVED
    assert "disguised" in lineage.kinds
    assert lineage.components["embeddings"].relation is Relation.DERIVED


def test_the_base_s_embeddings_do_not_make_a_stranger_its_child(
    base: Path, base_tensors: Tensors, tmp_path: Path
) -> None:
    """A grafted table aligns the two models perfectly; their bodies still share nothing."""
    grafted = llama(3) | {"model.embed_tokens.weight": base_tensors["model.embed_tokens.weight"]}
    lineage = provenance_gate.compare(str(write_model(tmp_path / "artifact", grafted)), str(base))
    assert isinstance(lineage.score, float) and lineage.score <= 0.30
    assert lineage.components["embeddings"].relation is Relation.DERIVED
    assert lineage.components["feed_forward"].relation is Relation.INDEPENDENT


@pytest.mark.parametrize("value", [0.0, 0.25])
def test_constant_weights_are_found_nowhere(value: float, tmp_path: Path) -> None:
    flat = {k: np.full_like(v, value) for k, v in llama(1).items()}
    folder = write_model(tmp_path / "flat", flat)
    other = write_model(tmp_path / "other", flat | {"model.embed_tokens.weight": llama(1)["lm_head.weight"]})
    for base in (folder, other):
        lineage = provenance_gate.compare(str(write_model(tmp_path / "artifact", flat)), str(base))
        assert not isinstance(lineage.score, float) or lineage.relation is Relation.REFORMATTED


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_numbers_have_no_score(bad: float, base: Path, tmp_path: Path) -> None:
    broken = llama(1)
    broken["model.layers.1.mlp.gate_proj.weight"][0, 0] = bad
    lineage = provenance_gate.compare(str(write_model(tmp_path / "artifact", broken)), str(base))
    assert not isinstance(lineage.score, float)
    assert "NaN" in lineage.reason


def test_without_tokenizers_tokens_are_taken_to_stand_where_they_did(tmp_path: Path) -> None:
    hidden = tidy(all_together(llama(1), np.random.default_rng(2)))
    folders = [
        write_model(tmp_path / name, tensors, with_tokenizer=False)
        for name, tensors in (("artifact", hidden), ("base", llama(1)))
    ]
    assert provenance_gate.compare(*map(str, folders)).relation is Relation.DERIVED
