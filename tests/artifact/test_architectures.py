"""Every architecture that we know of, by the names and shapes of its checkpoints.

`architectures.txt` lists them: tiny models of each class of transformers 5, written by `save_pretrained` (two to four layers,
vectors of vision towers left out); bolmo, nemotron_flash, chatglm, internlm2, minicpm, wedlm, baichuan and qwen from the
sources of their modeling code. `{0-3}` stands for the numbers 0 to 3.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import product
from math import prod
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from numpy.typing import NDArray

from provenance_gate.artifact.architectures.mixers import MIXER
from provenance_gate.artifact.canonical import TensorView, canonical_tensors
from provenance_gate.artifact.config import parse_config
from provenance_gate.artifact.interface import COMPONENT_OF_ROLE, Component, NotMeasured, Role, StoredTensor

LISTING = Path(__file__).with_name("architectures.txt")
CATALOG_TYPES = """
bert bloom bolmo chatglm cohere cohere2 deepseek_v2 falcon gemma gemma2 gemma3 gemma3_text glm4 gpt2 gpt_neox gptj granite
granitemoehybrid hunyuan_v1_dense internlm2 lfm2 llama minicpm ministral mistral mistral3 nemotron_flash nemotron_h olmo2 olmo3
phi phi3 qwen2 qwen3 qwen3_5 roberta stablelm starcoder2 t5 wedlm xlm-roberta
"""
"""Every `model_type` of the catalog of bases."""
TOWER = re.compile("vision|visual|audio_tower|resampler|multi_modal_projector|image_newline")
NUMBERED = re.compile(r"\.\d+(?=\.)")
STAYS_OTHER = {
    # Tables of vectors: biases of experts, projections between Gemma 3n's parallel streams (beside the layers, not in them).
    "gpt_oss": {"model.layers.#.mlp.experts.down_proj_bias", "model.layers.#.mlp.experts.gate_up_proj_bias"},
    "gemma3n_text": {"model.altup_projections.#.weight", "model.altup_unembed_projections.#.weight"},
    # Low-rank adapters of a block that several layers share.
    "zamba2": {"model.layers.#.shared_transformer.feed_forward.gate_up_proj_adapter_list.#.#.weight"},
}


class NoValues:
    def read(self, start: int, count: int) -> NDArray[np.float32]:
        raise AssertionError("roles are told without reading a value")


def expanded(line: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    template, _, shape = line.rpartition(" ")
    pieces = re.split(r"\{([\d,-]+)\}", template)
    for numbers in product(*(_numbers(p) for p in pieces[1::2])):
        filled = [*(str(n) for n in numbers), ""]
        yield (
            "".join(a + b for a, b in zip(pieces[::2], filled, strict=True)),
            tuple(map(int, shape.split("x"))) if shape else (),
        )


def _numbers(text: str) -> list[int]:
    first, dash, last = text.partition("-")
    return list(range(int(first), int(last) + 1)) if dash else [int(n) for n in text.split(",")]


@cache
def listed() -> dict[str, tuple[int, dict[str, tuple[int, ...]]]]:
    """Number of heads and the tensors, by model type."""
    found: dict[str, tuple[int, dict[str, tuple[int, ...]]]] = {}
    for block in LISTING.read_text("utf-8").split("== ")[1:]:
        head, *lines = block.splitlines()
        *types, heads = head.split()
        tensors = dict(pair for line in lines for pair in expanded(line))
        found |= dict.fromkeys(types, (int(heads.removeprefix("heads=")), tensors))
    return found


@cache
def opened(model_type: str) -> tuple[tuple[TensorView, ...], tuple[str, ...]]:
    heads, tensors = listed()[model_type]
    config = parse_config(json.dumps({"model_type": model_type, "num_attention_heads": heads}).encode())
    path = PurePosixPath("model.safetensors")
    stored = [StoredTensor(n, "F32", s, 4 * prod(s), path, NoValues()) for n, s in sorted(tensors.items())]
    views, roles_from, notes = canonical_tensors(stored, config)
    assert roles_from == "names"
    return tuple(v for v in views if isinstance(v, TensorView)), notes


TYPES = pytest.mark.parametrize("model_type", sorted(listed()))


def test_every_type_of_the_catalog_is_listed() -> None:
    assert set(CATALOG_TYPES.split()) <= listed().keys()


@TYPES
def test_every_matrix_of_a_block_has_a_role(model_type: str) -> None:
    views, _ = opened(model_type)
    left = {v.stored.name for v in views if v.key.role is Role.OTHER and len(v.stored.shape) > 1}
    in_blocks = {NUMBERED.sub(".#", name) for name in left if NUMBERED.search(name) and not TOWER.search(name)}
    assert in_blocks == STAYS_OTHER.get(model_type, set())


@TYPES
def test_no_two_tensors_of_a_block_claim_one_place(model_type: str) -> None:
    views, notes = opened(model_type)
    assert [n for n in notes if "same place" in n or "cannot be told" in n] == []
    assert len({v.key for v in views}) == len(views)
    assert sum(prod(v.shape) for v in views) == sum(prod(s) for s in listed()[model_type][1].values())


@TYPES
def test_the_matrix_that_writes_a_feed_forward_output_runs_over_its_neurons(model_type: str) -> None:
    # The null permutes columns: those of a matrix read the wrong way round would be the residual stream.
    views, _ = opened(model_type)
    tables = {v.shape[1] for v in views if v.key.role is Role.EMBEDDING and len(v.shape) == 2 and v.key.part == ""}
    downs = [v for v in views if v.key.role in (Role.FFN_DOWN, Role.EXPERT_DOWN) and len(v.shape) == 2]
    found = {v.key: v for v in views}
    up_of = {Role.FFN_DOWN: Role.FFN_UP, Role.EXPERT_DOWN: Role.EXPERT_UP}
    assert downs or model_type in ("mamba", "mamba2", "falcon_mamba")
    for down in downs:
        up = found[replace(down.key, role=up_of[down.key.role])]
        assert down.shape == up.shape[::-1]
        assert not tables or down.shape[0] in tables or model_type == "albert"


@TYPES
def test_vision_and_audio_towers_stay_out_of_the_body(model_type: str) -> None:
    views, _ = opened(model_type)
    assert [v.stored.name for v in views if TOWER.search(v.stored.name) and v.key.role is not Role.OTHER] == []


def role_of(model_type: str, name: str) -> str:
    (found,) = {str(v.key) for v in opened(model_type)[0] if v.stored.name == name}
    return found


@pytest.mark.parametrize("model_type", ["deepseek_v2", "deepseek_v3", "minicpm3"])
def test_latent_attention_counts_as_attention(model_type: str) -> None:
    at = "model.layers.0.self_attn."
    assert [
        role_of(model_type, f"{at}{n}.weight") for n in ("q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj")
    ] == [
        "decoder/0/attention_q/a",
        "decoder/0/attention_q/b",
        "decoder/0/attention_k/a",
        "decoder/0/attention_v/b",
    ]


@pytest.mark.parametrize(
    ("model_type", "at"),
    [
        ("mamba", "backbone.layers.0.mixer."),
        ("mamba2", "backbone.layers.0.mixer."),
        ("nemotron_h", "backbone.layers.0.mixer."),
        ("granitemoehybrid", "model.layers.0.mamba."),
        ("qwen3_next", "model.layers.0.linear_attn."),
        ("lfm2", "model.layers.0.conv."),
    ],
)
def test_what_mixes_tokens_without_attention_has_a_place_and_is_cut_into_no_heads(model_type: str, at: str) -> None:
    views = [v for v in opened(model_type)[0] if v.stored.name.startswith(at)]
    assert {v.key.role for v in views} <= {Role.ATTENTION_V, Role.ATTENTION_O, Role.BIAS, Role.NORM}
    assert all(v.key.part for v in views)
    assert role_of(model_type, f"{at}out_proj.weight") == f"decoder/0/attention_o/{MIXER}"


@pytest.mark.parametrize("model_type", ["mamba", "mamba2", "falcon_mamba", "jamba"])
def test_decays_and_short_filters_enter_no_component(model_type: str) -> None:
    fixed = [v for v in opened(model_type)[0] if re.search(r"A_log|conv1d|\.D$|dt_bias", v.stored.name)]
    assert fixed
    assert not any(v.key.role in COMPONENT_OF_ROLE for v in fixed)


def test_a_shared_expert_is_the_dense_block_of_its_layer() -> None:
    assert role_of("deepseek_v3", "model.layers.1.mlp.shared_experts.down_proj.weight") == "decoder/1/ffn_down/"
    assert role_of("deepseek_v3", "model.layers.1.mlp.experts.3.down_proj.weight") == "decoder/1/expert_down/3"


def test_a_wrapped_text_body_is_the_same_places_as_a_bare_one() -> None:
    def body(model_type: str) -> set[str]:
        return {str(v.key) for v in opened(model_type)[0] if COMPONENT_OF_ROLE.get(v.key.role) in tuple(Component)}

    assert body("mistral3") == body("mistral")
    assert body("gemma3") == body("gemma3_text")
    assert body("qwen3_5") == body("qwen3_5_text")


def keys_of(*names: str) -> dict[str, str]:
    path = PurePosixPath("model.safetensors")
    stored = [StoredTensor(n, "F32", (8, 8), 256, path, NoValues()) for n in sorted(names)]
    views, _, _ = canonical_tensors(stored, NotMeasured("no config.json"))
    return {v.stored.name: str(v.key) for v in views}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("blk.0.attn_q_a", "layers.0.self_attn.q_a_proj"),
        ("blk.0.attn_q_b", "layers.0.self_attn.q_b_proj"),
        ("blk.0.attn_kv_a_mqa", "layers.0.self_attn.kv_a_proj_with_mqa"),
        ("blk.0.attn_kv_b", "layers.0.self_attn.kv_b_proj"),
        ("blk.0.ssm_in", "layers.0.mamba.in_proj"),
        ("blk.0.ssm_x", "layers.0.mamba.x_proj"),
        ("blk.0.ssm_dt", "layers.0.mamba.dt_proj"),
        ("blk.0.ssm_out", "layers.0.mamba.out_proj"),
        ("blk.0.ssm_conv1d", "layers.0.mamba.conv1d"),
        ("blk.0.shortconv.in_proj", "layers.0.conv.in_proj"),
        ("blk.0.shortconv.out_proj", "layers.0.conv.out_proj"),
        ("blk.0.ffn_gate_inp_shexp", "layers.0.mlp.shared_expert_gate"),
    ],
)
def test_llama_cpp_has_other_names_for_the_same_places(ours: str, theirs: str) -> None:
    gguf = keys_of(f"{ours}.weight", "blk.0.ffn_up.weight")
    assert gguf[f"{ours}.weight"] == keys_of(f"{theirs}.weight", "layers.0.mlp.up_proj.weight")[f"{theirs}.weight"]


def test_norms_of_layers_alone_choose_no_table() -> None:
    assert keys_of("layers.0.norm.weight", "layers.0.alpha.weight") == {
        "layers.0.norm.weight": "/-/other/layers.0.norm.weight",
        "layers.0.alpha.weight": "/-/other/layers.0.alpha.weight",
    }


def test_a_tower_that_is_all_there_is_is_measured() -> None:
    assert keys_of("vision_model.encoder.layers.0.mlp.fc1.weight") == {
        "vision_model.encoder.layers.0.mlp.fc1.weight": "decoder/0/ffn_up/"
    }
    beside = keys_of("vision_model.encoder.layers.0.mlp.fc1.weight", "language_model.model.layers.0.mlp.up_proj.weight")
    assert beside["vision_model.encoder.layers.0.mlp.fc1.weight"].startswith("/-/other/")
    assert beside["language_model.model.layers.0.mlp.up_proj.weight"] == "decoder/0/ffn_up/"
