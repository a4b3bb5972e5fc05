"""Disguises of the real all-MiniLM-L6-v2 that keep its function: hidden units and residual coordinates reordered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import provenance_gate
from provenance_gate.lineage.interface import Relation
from tests.disguises import rotation
from tests.models import Tensors, minilm, noisy
from tests.real.test_minilm import folder_with

HIDDEN, HEADS = 384, 12
WIDTH = HIDDEN // HEADS


def layers(tensors: Tensors) -> list[str]:
    return sorted({k.split("attention")[0] for k in tensors if "attention.self" in k})


def neurons(tensors: Tensors, rng: np.random.Generator) -> Tensors:
    out = dict(tensors)
    for at in layers(tensors):
        order = rng.permutation(len(tensors[f"{at}intermediate.dense.bias"]))
        for name in ("weight", "bias"):
            out[f"{at}intermediate.dense.{name}"] = tensors[f"{at}intermediate.dense.{name}"][order]
        out[f"{at}output.dense.weight"] = tensors[f"{at}output.dense.weight"][:, order]
    return out


def heads(tensors: Tensors, rng: np.random.Generator) -> Tensors:
    out = dict(tensors)
    for at in layers(tensors):
        order = (rng.permutation(HEADS)[:, None] * WIDTH + np.arange(WIDTH)).reshape(-1)
        for name in ("query", "key", "value"):
            for kind in ("weight", "bias"):
                out[f"{at}attention.self.{name}.{kind}"] = tensors[f"{at}attention.self.{name}.{kind}"][order]
        out[f"{at}attention.output.dense.weight"] = tensors[f"{at}attention.output.dense.weight"][:, order]
    return out


def values(tensors: Tensors, rng: np.random.Generator) -> Tensors:
    out = dict(tensors)
    for at in layers(tensors):
        for head in range(HEADS):
            part, turn = slice(head * WIDTH, (head + 1) * WIDTH), rotation(WIDTH, rng)
            for name in ("weight", "bias"):
                value = out[f"{at}attention.self.value.{name}"].copy()
                value[part] = turn @ value[part]
                out[f"{at}attention.self.value.{name}"] = value
            output = out[f"{at}attention.output.dense.weight"].copy()
            output[:, part] = output[:, part] @ turn.T
            out[f"{at}attention.output.dense.weight"] = output
    return out


def stream(tensors: Tensors, rng: np.random.Generator) -> Tensors:
    order = rng.permutation(HIDDEN)
    out = {}
    for name, value in tensors.items():
        if value.dtype != np.float32:
            out[name] = value
        elif "LayerNorm" in name or name.endswith(("output.dense.bias", "output.dense.weight")):
            out[name] = value[order]
        elif name.startswith("pooler"):
            out[name] = value[order][:, order] if value.ndim == 2 else value[order]
        else:
            out[name] = value[:, order] if value.ndim == 2 else value
    return out


def together(tensors: Tensors, rng: np.random.Generator) -> Tensors:
    for disguise in (neurons, heads, values, stream):
        tensors = disguise(tensors, rng)
    return tensors


@pytest.mark.parametrize("share", [0.0, 0.1])
@pytest.mark.parametrize("disguise", [neurons, heads, values, stream, together])
def test_a_disguised_encoder_is_still_known(
    tmp_path: Path, disguise: Callable[[Tensors, np.random.Generator], Tensors], share: float
) -> None:
    tensors = dict(load_file(minilm() / "model.safetensors"))
    hidden = disguise(tensors, np.random.default_rng(1))
    hidden = {k: np.ascontiguousarray(v) for k, v in hidden.items()}
    floats = {k: v for k, v in hidden.items() if v.dtype == np.float32}
    folder = folder_with(tmp_path / "a", hidden | noisy(floats, share))
    found = provenance_gate.compare(str(folder), str(minilm()))
    assert found.relation is Relation.DERIVED, found.reason
    assert isinstance(found.score, float) and found.score >= 0.9
    assert all(found.components[c].relation is Relation.DERIVED for c in ("attention", "feed_forward", "embeddings"))
