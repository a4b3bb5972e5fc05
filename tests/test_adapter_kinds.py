"""Adapters of other types than LoRA, variants of LoRA, and fingerprints of adapters: recognized, and what is not read is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import provenance_gate
from provenance_gate.artifact.adapter import Adapter
from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.artifact.load import open_artifact
from provenance_gate.fingerprint.measure import measure
from provenance_gate.lineage.adapters import fit_adapter, is_adapter
from provenance_gate.lineage.interface import Relation
from tests.models import FEED_FORWARD, HIDDEN, LAYERS, VOCABULARY, Tensors, llama, write_model
from tests.test_adapters import CONFIG, lora

OUT, IN, RANK = HIDDEN, FEED_FORWARD, 4
PARTS: dict[str, dict[str, tuple[int, ...]]] = {
    "LoHa": {"hada_w1_a": (OUT, RANK), "hada_w1_b": (RANK, IN), "hada_w2_a": (OUT, RANK), "hada_w2_b": (RANK, IN)},
    "LoKr": {"lokr_w1": (8, 8), "lokr_w2_a": (OUT // 8, RANK), "lokr_w2_b": (RANK, IN // 8)},
    "IA3": {"ia3_l": (OUT, 1)},
    "VeRA": {"vera_lambda_b": (OUT,), "vera_lambda_d": (RANK,)},
    "OFT": {"oft_R.weight": (4, 120)},
    "BOFT": {"boft_R": (2, 8, 8, 8), "boft_s": (OUT, 1)},
    "AdaLoRA": {"lora_A": (RANK, IN), "lora_B": (OUT, RANK), "lora_E": (RANK, 1)},
    "FourierFT": {"fourierft_spectrum": (100,)},
}
EVERY = pytest.mark.parametrize("kind", PARTS)


def tensors(kind: str) -> Tensors:
    rng = np.random.default_rng(0)
    return {
        f"base_model.model.model.layers.{layer}.mlp.down_proj.{part}": rng.standard_normal(shape).astype(np.float32)
        for layer in range(LAYERS)
        for part, shape in PARTS[kind].items()
    }


def folder(path: Path, values: Tensors, **config: object) -> Path:
    path.mkdir()
    save_file(values, path / "adapter_model.safetensors")
    (path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "org/base", **config}))
    return path


@EVERY
@pytest.mark.parametrize("said", [True, False])
def test_an_adapter_of_another_type_is_undecided_and_the_type_is_said(tmp_path: Path, kind: str, said: bool) -> None:
    base = write_model(tmp_path / "base", llama(1))
    config = {"peft_type": kind.upper()} if said else {}
    found = provenance_gate.compare(str(folder(tmp_path / "a", tensors(kind), **config)), str(base))
    assert found.relation is Relation.UNDECIDED and isinstance(found.score, NotMeasured)
    assert f"adapters of type {kind} are recognized, but only LoRA pairs are read" in found.reason


@EVERY
def test_a_model_with_such_parts_beside_it_is_compared_as_a_model(tmp_path: Path, kind: str) -> None:
    base = write_model(tmp_path / "base", llama(1))
    for seed, relation in ((1, Relation.DERIVED), (2, Relation.INDEPENDENT)):
        path = folder(tmp_path / f"a{seed}", llama(seed) | tensors(kind), peft_type=kind.upper())
        found = provenance_gate.compare(str(path), str(base))
        assert found.relation is relation or (seed == 1 and found.relation is Relation.REFORMATTED), found.reason


@EVERY
def test_matrices_that_no_adapter_holds_are_no_part_of_one(tmp_path: Path, kind: str) -> None:
    nameless = {f"t{n}": t for n, t in enumerate(llama(2).values())}
    found = open_artifact(folder(tmp_path / "a", tensors(kind) | nameless)).adapter
    assert isinstance(found, NotMeasured) and "matrices that no adapter holds" in found.reason


def test_a_variant_of_lora_fits_like_lora(tmp_path: Path) -> None:
    base = open_artifact(write_model(tmp_path / "base", llama(1))).artifact
    at = "base_model.model.model.layers.0.mlp.down_proj."
    table = np.zeros((VOCABULARY, HIDDEN), np.float32)
    cases: dict[str, tuple[dict[str, object], Tensors]] = {
        "DoRA": ({"use_dora": True}, {f"{at}lora_magnitude_vector": np.ones(HIDDEN, np.float32)}),
        "rsLoRA": ({"use_rslora": True}, {}),
        "saved": ({"modules_to_save": ["lm_head"]}, {"base_model.model.lm_head.weight": table}),
        "regex": ({"target_modules": r".*layers\.\d+\.(mlp\.down_proj|self_attn\.q_proj)"}, {}),
        "PiSSA": ({"init_lora_weights": "pissa"}, {}),
    }
    for name, (config, more) in cases.items():
        found = open_artifact(folder(tmp_path / name, lora() | more, **{**CONFIG, **config})).adapter
        assert isinstance(found, Adapter) and not found.unread_type, name
        fit = fit_adapter(found, base)
        assert not isinstance(fit, NotMeasured) and fit.fits, name


@pytest.mark.parametrize("kind", ["LoRA", *PARTS])
def test_a_stored_fingerprint_of_an_adapter_is_recognized(tmp_path: Path, kind: str) -> None:
    path = folder(tmp_path / "a", tensors(kind) if kind in PARTS else lora())
    matrices = any(len(t.shape) == 2 for t in open_artifact(path).artifact.stored)
    assert is_adapter(measure(open_artifact(path).artifact)) is matrices


def test_no_fingerprint_of_a_model_is_taken_for_an_adapter(tmp_path: Path) -> None:
    base = write_model(tmp_path / "base", llama(1))
    assert not is_adapter(measure(open_artifact(base).artifact))
    mixed = folder(tmp_path / "mixed", llama(2) | lora())
    assert not is_adapter(measure(open_artifact(mixed).artifact))
