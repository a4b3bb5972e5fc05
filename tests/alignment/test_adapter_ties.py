"""Whether an adapter moves with the neurons of a base: the null, and what is seen of a dependence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from provenance_gate.alignment.adapter_ties import AdapterTies, _gamma_tail, _standardized, measure_ties
from provenance_gate.artifact.adapter import Adapter
from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.artifact.load import open_artifact
from tests.models import GROUPS, HEADS, HIDDEN, LAYERS, Tensors, llama, write_model

RANK = 8
NARROW = HIDDEN // HEADS * GROUPS


def trained_on(base: Tensors, share: float, parts: tuple[str, ...], seed: int = 0) -> Tensors:
    """Pairs whose sides over neurons are `share` a linear map of what each neuron writes, the rest noise."""
    rng = np.random.default_rng(seed)
    made: Tensors = {}
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        down, output = base[f"{at}mlp.down_proj.weight"].T, base[f"{at}self_attn.o_proj.weight"].T
        heads = output.reshape(GROUPS, HEADS // GROUPS, HIDDEN // HEADS, HIDDEN).mean(axis=1).reshape(NARROW, HIDDEN)
        of = {"mlp.up_proj": down, "mlp.gate_proj": down, "self_attn.v_proj": heads}
        for part in parts:
            written = down if part == "mlp.down_proj" else output if part == "self_attn.o_proj" else of[part]
            linear = written @ rng.standard_normal((HIDDEN, RANK)) / np.sqrt(HIDDEN)
            side = share * linear / linear.std() + np.sqrt(1 - share**2) * rng.standard_normal(linear.shape)
            other = rng.standard_normal((RANK, HIDDEN))
            pair = (side.T, other.T) if part in ("mlp.down_proj", "self_attn.o_proj") else (other, side)
            for name, value in zip("AB", pair, strict=True):
                made[f"base_model.model.{at}{part}.lora_{name}.weight"] = np.ascontiguousarray(value, np.float32)
    return made


def ties(tmp_path: Path, tensors: Tensors, base: Tensors) -> AdapterTies | NotMeasured:
    for name in ("adapter", "base"):
        (tmp_path / name).mkdir(exist_ok=True)
    save_file(tensors, tmp_path / "adapter" / "adapter_model.safetensors")
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    adapter = open_artifact(tmp_path / "adapter").adapter
    assert isinstance(adapter, Adapter)
    return measure_ties(adapter, open_artifact(write_model(tmp_path / "base", base)).artifact)


EVERYTHING = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "self_attn.v_proj", "self_attn.o_proj")
# Two value heads of 16 dimensions are two blocks only: v alone shows nothing in a model of this size.
PARTS = [*((part,) for part in EVERYTHING if part != "self_attn.v_proj"), EVERYTHING]


@pytest.mark.parametrize("parts", PARTS, ids="+".join)
def test_a_dependence_is_seen_and_a_stranger_has_none(tmp_path: Path, parts: tuple[str, ...]) -> None:
    adapter = trained_on(llama(1), 0.95, parts)
    own, other = ties(tmp_path, adapter, llama(1)), ties(tmp_path, adapter, llama(2))
    assert isinstance(own, AdapterTies) and isinstance(other, AdapterTies)
    assert own.p_value < 1e-6 and own.z > 10
    assert other.p_value > 1e-3 and abs(other.z) < 4
    assert own.layers == other.layers == LAYERS * (2 if len(parts) > 1 else 1)


def test_noise_depends_on_nothing(tmp_path: Path) -> None:
    for seed in range(4):
        found = ties(tmp_path, trained_on(llama(1), 0.0, EVERYTHING, seed), llama(1))
        assert isinstance(found, AdapterTies) and abs(found.z) < 4


def test_pairs_over_nothing_but_the_residual_stream_are_not_measured(tmp_path: Path) -> None:
    pair = {
        f"base_model.model.model.layers.0.self_attn.q_proj.lora_{n}.weight": np.ones((64, 64), np.float32) for n in "AB"
    }
    assert isinstance(ties(tmp_path, pair, llama(1)), NotMeasured)


def test_values_that_are_no_numbers_give_no_value(tmp_path: Path) -> None:
    adapter = trained_on(llama(1), 0.9, ("mlp.up_proj",))
    broken = {n: np.full_like(v, np.nan) for n, v in adapter.items()}
    assert isinstance(ties(tmp_path, broken, llama(1)), NotMeasured)


@pytest.mark.parametrize("sort", [False, True])
def test_the_null_has_mean_zero_and_variance_one(sort: bool) -> None:
    """Independent draws with a few strong directions; sorted by one of them, as pruned models are, nothing changes."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(300):
        x, y = (rng.standard_normal((640, 12)) * np.linspace(3, 0.2, 12) for _ in range(2))
        if sort:
            x, y = (v[np.argsort(np.abs(v[:, 0]))] for v in (x, y))
        found.append(_standardized(x, y))
    values = np.array(found, dtype=float)
    assert abs(values.mean()) < 0.2 and 0.85 < values.std() < 1.15
    assert ((values - values.mean()) ** 3).mean() / values.std() ** 3 < 1
    assert values.max() < 6


def test_the_tail_is_that_of_a_gamma_distribution() -> None:
    draws = (np.random.default_rng(0).gamma(4, size=400_000) - 4) / 2
    for z in (-1.5, 0.0, 1.0, 3.0):
        assert _gamma_tail(z) == pytest.approx(float((draws > z).mean()), abs=0.003)
    assert _gamma_tail(-50) == 1.0 and _gamma_tail(8.0) > 1e-6 > _gamma_tail(9.0)
