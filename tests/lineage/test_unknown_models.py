"""Models of architectures that no table names, from their files to the answer."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from provenance_gate.artifact.load import open_artifact
from provenance_gate.fingerprint.measure import measure
from provenance_gate.lineage.compare import compare
from provenance_gate.lineage.interface import BaseRef, Lineage, Relation
from tests.models import Tensors, llama, noisy, write_model

REF = BaseRef("org/base", "base")
HIDDEN, INNER, LAYERS = 64, 256, 6


def unknown(seed: int) -> Tensors:
    """A Llama under names that no table knows, deep enough for the test to see a correlation of 0.05."""
    names = {"q": "alpha", "k": "beta", "v": "gamma2", "o": "delta", "gate": "epsilon", "up": "zeta", "down": "eta"}
    found: Tensors = {}
    for name, values in llama(seed, 12).items():
        layered = re.fullmatch(r"model\.layers\.(\d+)\.\w+\.(\w+)_proj\.weight", name)
        if layered:
            found[f"blk.{layered[1]}.{names[layered[2]]}.kernel"] = values
        elif values.ndim == 2:
            found[f"{name.replace('_', '').replace('model.', '')}.kernel"] = values
    return found


def numbered(tensors: Tensors, seed: int) -> Tensors:
    """Numbered through in random order."""
    names = np.random.default_rng(seed).permutation(list(tensors))
    return {f"t{n}": tensors[name] for n, name in enumerate(names)}


def turned(tensors: Tensors) -> Tensors:
    return {name: np.ascontiguousarray(values.T) for name, values in tensors.items()}


def lineage(folder: Path, artifact: Tensors, base: Tensors) -> Lineage:
    paths = [write_model(folder / name, t) for name, t in (("artifact", artifact), ("base", base))]
    ours, theirs = (measure(open_artifact(p).artifact) for p in paths)
    return compare(ours, theirs, REF)


@pytest.mark.parametrize("style", ["names", "order", "transposed"])
def test_a_child_of_an_unknown_architecture_is_derived_and_a_stranger_independent(tmp_path: Path, style: str) -> None:
    base = unknown(1)
    child, stranger = noisy(base, 0.3), unknown(2)
    if style == "order":
        base, child, stranger = numbered(base, 1), numbered(child, 2), numbered(stranger, 3)
    if style == "transposed":
        base, child, stranger = turned(base), turned(child), turned(stranger)
    found = lineage(tmp_path / "child", child, base)
    assert (found.relation, found.kinds) == (Relation.DERIVED, ())
    assert isinstance(found.score, float) and found.score > 0.95
    assert isinstance(found.p_value, float) and found.p_value <= 1e-6
    assert "roles from shapes and order" in found.reason
    other = lineage(tmp_path / "stranger", stranger, base)
    assert other.relation in (
        (Relation.INDEPENDENT,) if style != "transposed" else (Relation.INDEPENDENT, Relation.UNDECIDED)
    )
    assert isinstance(other.score, float) and other.score <= 0.301
    assert "roles from shapes and order" in other.reason


def mamba(seed: int) -> Tensors:
    rng = np.random.default_rng(seed)

    def matrix(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return rng.standard_normal(shape).astype(np.float32)

    tensors = {"backbone.embeddings.weight": matrix(160, HIDDEN)}
    for layer in range(LAYERS):
        at = f"backbone.layers.{layer}.mixer."
        # What Mamba starts from, in every model.
        tensors[f"{at}A_log"] = np.log(np.tile(np.arange(1, 9, dtype=np.float32), (INNER, 1)))
        tensors[f"{at}D"] = np.ones(INNER, np.float32)
        tensors[f"{at}conv1d.weight"] = matrix(INNER, 1, 4)
        tensors[f"{at}in_proj.weight"] = matrix(2 * INNER, HIDDEN)
        tensors[f"{at}x_proj.weight"] = matrix(20, INNER)
        tensors[f"{at}dt_proj.weight"] = matrix(INNER, 4)
        tensors[f"{at}out_proj.weight"] = matrix(HIDDEN, INNER)
    return tensors


def test_a_pure_state_space_model_is_judged_by_its_mixers(tmp_path: Path) -> None:
    base = mamba(1)
    child = lineage(tmp_path / "child", noisy(base, 0.3), base)
    assert child.relation is Relation.DERIVED
    assert child.components["attention"].relation is Relation.DERIVED
    stranger = lineage(tmp_path / "stranger", mamba(2), base)
    assert stranger.relation is Relation.INDEPENDENT
