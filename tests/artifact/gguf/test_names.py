"""A checkpoint and the GGUF file that llama.cpp's converter makes of it have the same canonical tensors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

import numpy as np
import pytest
from numpy.typing import NDArray

from provenance_gate.artifact.canonical import canonical_tensors
from provenance_gate.artifact.gguf import GgufModel
from provenance_gate.artifact.interface import CanonicalTensor, Role, StoredTensor
from provenance_gate.artifact.roles import name_tensors

from ... import models
from .. import layouts
from .build import gguf, opened, permuted

Array = NDArray[np.float32]
Metadata = dict[str, object]

NORMS = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
LLAMA = {
    **{f"self_attn.{r}_proj": f"attn_{r}" for r in "qkv"},
    "self_attn.o_proj": "attn_output",
    "self_attn.qkv_proj": "attn_qkv",
    **{f"mlp.{r}_proj": f"ffn_{r}" for r in ("gate", "up", "down")},
    "mlp.gate_up_proj": "ffn_up",
    "block_sparse_moe.gate": "ffn_gate_inp",
    **NORMS,
}
BERT = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
DENSE = {
    "attention.query_key_value": "attn_qkv",
    "self_attention.query_key_value": "attn_qkv",
    "attention.dense": "attn_output",
    "self_attention.dense": "attn_output",
    "mlp.dense_h_to_4h": "ffn_up",
    "mlp.dense_4h_to_h": "ffn_down",
    **NORMS,
}
GPT2 = {
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
    "ln_1": "attn_norm",
    "ln_2": "ffn_norm",
}
OUTSIDE = {
    **dict.fromkeys(("embed_tokens", "embed_in", "word_embeddings", "wte"), "token_embd"),
    **dict.fromkeys(("lm_head", "embed_out"), "output"),
    **dict.fromkeys(("norm", "final_layer_norm", "ln_f"), "output_norm"),
    **dict.fromkeys(("wpe", "position_embeddings"), "position_embd"),
    "token_type_embeddings": "token_types",
    "LayerNorm": "token_embd_norm",
}


def converted(tensors: Mapping[str, Array], inside: Mapping[str, str]) -> dict[str, Array]:
    """Tensors under llama.cpp's names; what it has no name for is left out."""
    found = {}
    for name, tensor in tensors.items():
        module, _, suffix = name.rpartition(".")
        layer = re.search(r"\.?(?:layers|layer|h)\.(\d+)\.(.+)", module)
        short = inside.get(layer[2]) if layer else OUTSIDE.get(module.rpartition(".")[2])
        if short is not None and not module.startswith("cls."):
            found[f"blk.{layer[1]}.{short}.{suffix}" if layer else f"{short}.{suffix}"] = np.ascontiguousarray(tensor)
    return found


def read(tensors: Mapping[str, Array], architecture: str, more: Metadata | None = None) -> GgufModel:
    at = f"{architecture}.attention.head_count"
    metadata = {"general.architecture": architecture, at: layouts.HEADS, f"{at}_kv": layouts.GROUPS, **(more or {})}
    return opened(gguf({name: tensor.astype(np.float32) for name, tensor in tensors.items()}, metadata))


def canonical(model: GgufModel) -> dict[str, CanonicalTensor]:
    tensors, roles_from, notes = canonical_tensors(model.tensors, model.config)
    assert roles_from == "names"
    assert notes == ()
    return {str(tensor.key): tensor for tensor in tensors}


def check(model: GgufModel, expected: Mapping[str, Array]) -> None:
    found = canonical(model)
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        np.testing.assert_array_equal(found[key].read_rows(0, found[key].shape[0]), array, err_msg=key)


def final_norm(expected: Mapping[str, Array]) -> dict[str, Array]:
    """The last norm has one name in GGUF."""
    ends = {"/ln_f": "/norm", ":ln_f": ":norm", "/final_layer_norm": "/norm", ":final_layer_norm": ":norm"}
    return {next((k.removesuffix(a) + b for a, b in ends.items() if k.endswith(a)), k): v for k, v in expected.items()}


@pytest.mark.parametrize(
    ("layout", "architecture"), [(layouts.llama, "llama"), (layouts.qwen2_with_bias, "qwen2"), (layouts.phi3, "phi3")]
)
def test_llama_and_kin(layout: Callable[[], layouts.Layout], architecture: str) -> None:
    model = layout()
    check(read(converted(model.tensors, LLAMA), architecture), model.expected)


def test_experts_are_stacked() -> None:
    model = layouts.mixtral()
    tensors = converted(model.tensors, LLAMA)
    for layer in range(layouts.LAYERS):
        for theirs, ours in (("w1", "gate"), ("w3", "up"), ("w2", "down")):
            at = f"model.layers.{layer}.block_sparse_moe.experts."
            stack = [model.tensors[f"{at}{expert}.{theirs}.weight"] for expert in range(3)]
            tensors[f"blk.{layer}.ffn_{ours}_exps.weight"] = np.stack(stack)
    check(read(tensors, "llama", {"llama.expert_count": 3}), model.expected)


def test_gate_and_up_of_experts_may_be_one_stack() -> None:
    model = layouts.mixtral()
    tensors = converted(model.tensors, LLAMA)
    for layer in range(layouts.LAYERS):
        at = f"model.layers.{layer}.block_sparse_moe.experts."
        parts = [[model.tensors[f"{at}{e}.{w}.weight"] for w in ("w1", "w3", "w2")] for e in range(3)]
        tensors[f"blk.{layer}.ffn_gate_up_exps.weight"] = np.stack([np.concatenate(p[:2]) for p in parts])
        tensors[f"blk.{layer}.ffn_down_exps.weight"] = np.stack([p[2] for p in parts])
    check(read(tensors, "qwen3moe"), model.expected)


def _one_after_the_other(model: layouts.Layout) -> dict[str, Array]:
    """q, k and v of each layer in one, as the converter writes them whatever their order was."""
    tensors = converted(model.tensors, DENSE)
    for layer in range(layouts.LAYERS):
        for suffix, key in (("weight", "{}/attention_{}/"), ("bias", "{}/bias/attention_{}:")):
            name = f"blk.{layer}.attn_qkv.{suffix}"
            if name in tensors:
                parts = [model.expected[key.format(f"decoder/{layer}", role)] for role in "qkv"]
                assert sorted(np.concatenate(parts).ravel()) == sorted(tensors[name].ravel())
                tensors[name] = np.concatenate(parts)
    return tensors


@pytest.mark.parametrize(
    ("layout", "architecture"),
    [
        (layouts.gpt_neox, "gptneox"),
        (layouts.bloom, "bloom"),
        (layouts.falcon_multi_query, "falcon"),
        (layouts.falcon_grouped, "falcon"),
    ],
)
def test_fused_attention(layout: Callable[[], layouts.Layout], architecture: str) -> None:
    model = layout()
    check(read(_one_after_the_other(model), architecture), final_norm(model.expected))


def test_gpt2_is_turned() -> None:
    model = layouts.gpt2()
    tensors = converted(model.tensors, GPT2)
    turned = {n: a.T if a.ndim == 2 and "blk." in n else a for n, a in tensors.items()}
    names = {"ln_1": "input_layernorm", "ln_2": "post_attention_layernorm"}
    expected = {
        re.sub("ln_[12]", lambda m: names[m[0]], key): value
        for key, value in final_norm(model.expected).items()
        if "/other/" not in key
    }
    check(read({n: np.ascontiguousarray(a) for n, a in turned.items()}, "gpt2"), expected)


def test_bert_is_an_encoder() -> None:
    model = layouts.bert()
    expected = {k: v for k, v in model.expected.items() if "head" not in k and "/other/" not in k}
    check(read(converted(model.tensors, BERT), "bert"), expected)


def test_gemma_has_norms_on_both_sides_without_the_shift() -> None:
    model = layouts.llama()
    parts = {"post_attention_norm": "post_attention_layernorm", "ffn_norm": "pre_feedforward_layernorm",
             "post_ffw_norm": "post_feedforward_layernorm", "attn_q_norm": "q_norm"}  # fmt: skip
    tensors = converted(model.tensors, LLAMA)
    for layer in range(layouts.LAYERS):
        for name, part in parts.items():
            gain = model.numbers(layouts.HIDDEN)
            tensors[f"blk.{layer}.{name}.weight"] = model.expected[f"decoder/{layer}/norm/{part}"] = gain
    shifted = {n: a + 1 if n.endswith("norm.weight") else a for n, a in tensors.items()}
    check(read(shifted, "gemma3"), model.expected)
    check(read(tensors, "olmo2"), model.expected)


@pytest.mark.parametrize("architecture", ["llama", "olmo", "granite", "mistral3"])
def test_permuted_rows_come_back(architecture: str) -> None:
    original = models.llama(3, layers=2)
    tensors = converted(original, LLAMA)
    stored = dict(tensors)
    for name, tensor in tensors.items():
        if ".attn_q." in name or ".attn_k." in name:
            stored[name] = permuted(tensor, models.HEADS if ".attn_q." in name else models.GROUPS)
            assert not np.array_equal(stored[name], tensor)
    found = read(stored, architecture)
    for tensor in found.tensors:
        np.testing.assert_array_equal(tensor.reader.read(0, tensor.size).reshape(tensor.shape), tensors[tensor.name])
    assert found.notes == ()
    assert canonical(found)["decoder/1/attention_k/"].read_rows(5, 9).tolist() == (
        original["model.layers.1.self_attn.k_proj.weight"][5:9].tolist()
    )


def test_unpermuted_architectures_are_left() -> None:
    tensors = converted(models.llama(3, layers=1), LLAMA)
    for tensor in read(tensors, "qwen2").tensors:
        np.testing.assert_array_equal(tensor.reader.read(0, tensor.size).reshape(tensor.shape), tensors[tensor.name])


class Nothing:
    def read(self, start: int, count: int) -> Array:
        raise AssertionError("naming reads no element")


def named(*names: str) -> dict[str, str]:
    stored = [StoredTensor(name, "F32", (2, 2), 16, PurePosixPath("m.gguf"), Nothing()) for name in names]
    _, found = name_tensors(stored)
    return {n.stored.name: str(n.key(n.entry.roles[0])) for n in found}


def test_tables_by_what_names_most() -> None:
    layer = ("blk.0.attn_q.weight", "blk.0.attn_norm.weight")
    assert named(*layer, "blk.0.ffn_norm.weight")["blk.0.ffn_norm.weight"] == "decoder/0/norm/post_attention_layernorm"
    both = named(*layer, "blk.0.ffn_norm.weight", "blk.0.post_ffw_norm.weight")
    assert both["blk.0.ffn_norm.weight"] == "decoder/0/norm/pre_feedforward_layernorm"
    assert named("blk.0.attn_q.weight", "blk.0.layer_output_norm.bias") == {
        "blk.0.attn_q.weight": "encoder/0/attention_q/",
        "blk.0.layer_output_norm.bias": "encoder/0/bias/norm:output",
    }


def test_shared_experts_are_feed_forward() -> None:
    names = [f"blk.4.ffn_{part}_shexp.weight" for part in ("gate", "up", "down")]
    assert list(named(*names).values()) == [f"decoder/4/ffn_{part}/" for part in ("gate", "up", "down")]


@pytest.mark.parametrize(
    "name",
    ["blk.01.attn_q.weight", "blk.x.attn_q.weight", "blk.0.attn_q_c.weight", "blk.0.ffn_gate_inp_chexp.weight",
     "xblk.0.attn_q.weight", "blk.0.attn_q.weight.lora_a", "rope_freqs.weight", "v.blk.0.attn_Q.weight"],
)  # fmt: skip
def test_names_that_only_resemble_have_no_role(name: str) -> None:
    assert named("blk.0.attn_v.weight", name).keys() == {"blk.0.attn_v.weight"}


def test_every_matrix_role_has_a_name() -> None:
    names = ["token_embd", "position_embd", "output", *(f"blk.0.{n}" for n in (
        "attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down", "ffn_gate_exps", "ffn_up_exps",
        "ffn_down_exps", "ffn_gate_inp", "attn_norm"))]  # fmt: skip
    roles = {key.split("/")[2] for key in named(*(f"{n}.weight" for n in names)).values()}
    assert roles == {role.value for role in Role} - {"bias", "other"}
