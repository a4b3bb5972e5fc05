"""Tracing across changes of depth and width, and its parts by themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import provenance_gate
from provenance_gate.alignment.blocks import attention_layers, feed_forward_blocks
from provenance_gate.alignment.frames import find_frames
from provenance_gate.alignment.interface import FrameKind, Trace
from provenance_gate.alignment.tokens import shared_embeddings
from provenance_gate.alignment.trace import trace
from provenance_gate.artifact.interface import Artifact, NotMeasured
from provenance_gate.artifact.load import open_artifact
from provenance_gate.lineage.interface import Lineage, Relation
from tests.disguises import DISGUISES, reorder_neurons, tidy
from tests.models import FEED_FORWARD, HIDDEN, LAYERS, Tensors, llama, write_model


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("base") / "base", llama(1))


def opened(folder: Path) -> Artifact:
    return open_artifact(folder).artifact


def compared(tensors: Tensors, base: Path, folder: Path, layers: int = LAYERS) -> Lineage:
    return provenance_gate.compare(str(write_model(folder, tidy(tensors), layers=layers)), str(base))


def with_layers(tensors: Tensors, order: list[int]) -> Tensors:
    out = {k: v for k, v in tensors.items() if "layers." not in k}
    for place, layer in enumerate(order):
        at = f"model.layers.{layer}."
        out |= {k.replace(at, f"model.layers.{place}."): v for k, v in tensors.items() if k.startswith(at)}
    return out


def test_removed_neurons_leave_the_rest_recognizable(base: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pruned = llama(1)
    for layer in range(LAYERS):
        kept = np.sort(rng.permutation(FEED_FORWARD)[: FEED_FORWARD * 3 // 4])
        at = f"model.layers.{layer}.mlp."
        pruned |= {f"{at}{n}_proj.weight": pruned[f"{at}{n}_proj.weight"][kept] for n in ("gate", "up")}
        pruned[f"{at}down_proj.weight"] = pruned[f"{at}down_proj.weight"][:, kept]
    lineage = compared(pruned, base, tmp_path / "a")
    assert lineage.relation is Relation.DERIVED and "pruned" in lineage.kinds
    stranger = {k: v[: pruned[k].shape[0], : pruned[k].shape[1]] if v.ndim == 2 else v for k, v in llama(9).items()}
    lineage = compared(stranger, base, tmp_path / "b")
    assert isinstance(lineage.score, float) and lineage.score <= 0.30 and lineage.relation is Relation.INDEPENDENT


def test_neurons_copied_to_twice_the_width_are_found(base: Path, tmp_path: Path) -> None:
    wide = llama(1)
    for layer in range(LAYERS):
        at = f"model.layers.{layer}.mlp."
        wide |= {f"{at}{n}_proj.weight": np.concatenate([wide[f"{at}{n}_proj.weight"]] * 2) for n in ("gate", "up")}
        wide[f"{at}down_proj.weight"] = np.concatenate([wide[f"{at}down_proj.weight"] / 2] * 2, axis=1)
    lineage = compared(wide, base, tmp_path / "a")
    assert lineage.relation is Relation.DERIVED and "widened" in lineage.kinds


def test_a_residual_stream_widened_by_copying_is_seen_through(base: Path, tmp_path: Path) -> None:
    wide = {}
    for name, value in llama(1).items():
        if "o_proj" in name or "down_proj" in name or value.ndim == 1:
            wide[name] = np.concatenate([value, value])
        elif "embed" in name:
            wide[name] = np.concatenate([value, value], axis=1)
        else:
            wide[name] = np.concatenate([value, value], axis=1) / 2
    lineage = compared(wide, base, tmp_path / "a")
    assert lineage.relation is Relation.DERIVED and "widened" in lineage.kinds


def test_each_expert_of_an_upcycled_model_is_traced_to_the_dense_block(base: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    mixture = {}
    for name, value in llama(1).items():
        if ".mlp." not in name:
            mixture[name] = value
            continue
        at, _, kind = name.partition("mlp.")
        short = {"gate_proj.weight": "w1", "up_proj.weight": "w3", "down_proj.weight": "w2"}[kind]
        for expert in range(4):
            noise = 0.05 * value.std() * rng.standard_normal(value.shape)
            mixture[f"{at}block_sparse_moe.experts.{expert}.{short}.weight"] = value + noise
        mixture[f"{at}block_sparse_moe.gate.weight"] = rng.standard_normal((4, HIDDEN)) * 0.02
    lineage = compared(mixture, base, tmp_path / "a")
    assert lineage.relation is Relation.DERIVED and "upcycled" in lineage.kinds
    assert lineage.components["experts"].relation is Relation.DERIVED


def test_reordered_neurons_and_a_changed_depth_together(base: Path, tmp_path: Path) -> None:
    order = [0, 1, 1, 2, 3, 3]
    changed = with_layers(reorder_neurons(llama(1), np.random.default_rng(1)), order)
    lineage = compared(changed, base, tmp_path / "a", layers=len(order))
    assert lineage.relation is Relation.DERIVED and {"depth changed", "disguised"} <= set(lineage.kinds)
    assert [m.base_layer for m in lineage.layers] == order


def test_one_transplanted_layer_is_shown_as_that(base: Path, tmp_path: Path) -> None:
    donor = {k: v for k, v in llama(1).items() if k.startswith("model.layers.2.")}
    for tensors in (llama(7) | donor, reorder_neurons(llama(7) | donor, np.random.default_rng(2))):
        lineage = compared(tensors, base, tmp_path / "a")
        assert lineage.relation is Relation.PARTIAL
        assert isinstance(lineage.score, float) and 0.30 < lineage.score < 0.70
        assert [m.base_layer for m in lineage.layers] == [None, None, 2, None]


@pytest.mark.parametrize("name", list(DISGUISES))
def test_a_seed_moves_the_probes_and_not_the_answer(name: str, base: Path, tmp_path: Path) -> None:
    hidden = DISGUISES[name](llama(1), np.random.default_rng(4))
    artifact = opened(write_model(tmp_path / "a", tidy(hidden)))
    shares = []
    for seed in ("", "one", "two"):
        found = trace(artifact, opened(base), seed)
        assert isinstance(found, Trace)
        shares.append(found.share)
    assert min(shares) > 0.95


def test_a_rotated_frame_agrees_on_tokens_it_was_not_fitted_on(base: Path, tmp_path: Path) -> None:
    artifact = opened(
        write_model(tmp_path / "a", tidy(DISGUISES["stream rotated"](llama(1), np.random.default_rng(1))))
    )
    frame = find_frames(shared_embeddings(artifact, opened(base)), HIDDEN, HIDDEN)[0]
    assert frame.facts.kind is FrameKind.ROTATED
    assert isinstance(frame.facts.agreement, float) and frame.facts.agreement > 0.99


def test_wide_models_get_coordinates_without_the_whole_map(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("provenance_gate.alignment.frames.WHOLE_MAP", HIDDEN // 2)
    hidden = DISGUISES["stream rotated"](reorder_neurons(llama(1), np.random.default_rng(1)), np.random.default_rng(1))
    found = trace(opened(write_model(tmp_path / "a", tidy(hidden))), opened(base))
    assert isinstance(found, Trace)
    assert found.frame.kind is FrameKind.ROTATED and found.share > 0.8
    stranger = trace(opened(write_model(tmp_path / "b", llama(6))), opened(base))
    assert isinstance(stranger, Trace) and stranger.share < 0.15


def test_models_that_cannot_be_laid_on_each_other_say_so(base: Path, tmp_path: Path) -> None:
    narrow = {k: v[..., : v.shape[-1] // 2] if "embed" in k else v for k, v in llama(1).items()}
    found = trace(opened(write_model(tmp_path / "a", tidy(narrow))), opened(base))
    assert isinstance(found, (Trace, NotMeasured))
    bodiless = {k: v for k, v in llama(1).items() if "mlp" not in k}
    found = trace(opened(write_model(tmp_path / "b", bodiless)), opened(base))
    assert isinstance(found, NotMeasured) and "artifact" in found.reason


def test_blocks_whose_shapes_contradict_each_other_are_left_out(tmp_path: Path) -> None:
    broken = llama(1)
    broken["model.layers.1.mlp.down_proj.weight"] = broken["model.layers.1.mlp.down_proj.weight"][:, :-1].copy()
    artifact = opened(write_model(tmp_path / "a", broken))
    assert [b.layer for b in feed_forward_blocks(artifact)] == [0, 2, 3]
    assert len(attention_layers(artifact)) == LAYERS
