"""Which names stand for which tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenance_gate.artifact.interface import COMPONENT_OF_ROLE, Role, StoredTensor
from provenance_gate.artifact.roles import ARCHITECTURES, name_tensors

from . import layouts
from .build import opened_folder, save_model

DOTS = st.text(st.sampled_from("layers.0123model_qkvproj"), max_size=60)


def stored(folder: Path, names: Sequence[str]) -> tuple[StoredTensor, ...]:
    return opened_folder(save_model(folder, {name: np.ones((2, 2), np.float32) for name in names}))


def named(folder: Path, *names: str) -> dict[str, str]:
    """Text form of the key by name, for tensors that the table knows."""
    _, found = name_tensors(stored(folder, names))
    return {n.stored.name: str(n.key(n.entry.roles[0])) for n in found}


@pytest.mark.parametrize(
    ("layout", "architecture"),
    [
        (layouts.llama, "llama"),
        (layouts.phi3, "llama"),
        (layouts.mixtral, "llama"),
        (layouts.mixtral_stacked, "llama"),
        (layouts.internlm2, "internlm2"),
        (layouts.gpt2, "gpt2"),
        (layouts.gpt_neox, "gpt_neox"),
        (layouts.bloom, "bloom_falcon"),
        (layouts.bert, "bert"),
        (layouts.roberta, "bert"),
        (layouts.distilbert, "distilbert"),
        (layouts.t5, "t5"),
    ],
)
def test_the_table_that_names_most_is_chosen(
    tmp_path: Path, layout: Callable[[], layouts.Layout], architecture: str
) -> None:
    found, _ = name_tensors(opened_folder(save_model(tmp_path, layout().tensors)))
    assert found is not None
    assert found.name == architecture


def test_a_few_foreign_names_do_not_change_the_table(tmp_path: Path) -> None:
    tensors = {**layouts.llama().tensors, "h.0.mlp.c_fc.weight": np.ones((1, 3), np.float32)}
    found, named_tensors = name_tensors(opened_folder(save_model(tmp_path, tensors)))
    assert found is not None
    assert found.name == "llama"
    assert "h.0.mlp.c_fc.weight" not in {n.stored.name for n in named_tensors}


def test_embeddings_and_norms_alone_choose_no_table(tmp_path: Path) -> None:
    assert name_tensors(stored(tmp_path, ["model.embed_tokens.weight", "lm_head.weight", "norm.weight"])) == (None, ())


@pytest.mark.parametrize("prefix", ["", "model.", "transformer.", "base_model.model.model.", "a.b.c.d."])
def test_any_prefix_may_stand_in_front(tmp_path: Path, prefix: str) -> None:
    name = f"{prefix}layers.7.self_attn.k_proj.weight"
    _, (item,) = name_tensors(stored(tmp_path, [name]))
    assert (item.prefix, item.layer, item.entry.roles) == (prefix, 7, (Role.ATTENTION_K,))


def test_the_longest_template_wins(tmp_path: Path) -> None:
    found = named(
        tmp_path,
        "encoder.layer.0.attention.output.dense.weight",
        "encoder.layer.0.output.dense.weight",
        "pooler.dense.weight",
    )
    assert found == {
        "encoder.layer.0.attention.output.dense.weight": "encoder/0/attention_o/",
        "encoder.layer.0.output.dense.weight": "encoder/0/ffn_down/",
        "pooler.dense.weight": "encoder/-/head/pooler",
    }


def test_biases_are_biases_of_their_role(tmp_path: Path) -> None:
    found = named(tmp_path, "layers.3.self_attn.q_proj.bias", "layers.3.mlp.experts.11.up_proj.bias")
    assert found == {
        "layers.3.self_attn.q_proj.bias": "decoder/3/bias/attention_q:",
        "layers.3.mlp.experts.11.up_proj.bias": "decoder/3/bias/expert_up:11",
    }


def test_layers_and_experts_are_numbers_not_text(tmp_path: Path) -> None:
    names = [f"layers.{layer}.mlp.experts.{expert}.gate_proj.weight" for layer in (2, 10) for expert in (9, 10)]
    _, found = name_tensors(stored(tmp_path, names))
    assert {(n.layer, n.expert) for n in found} == {(2, 9), (2, 10), (10, 9), (10, 10)}


@pytest.mark.parametrize(
    "name",
    [
        "layers.x.self_attn.q_proj.weight",
        "layers.-1.self_attn.q_proj.weight",
        "layers.01.self_attn.q_proj.weight",
        "layers.100000.self_attn.q_proj.weight",
        "layers.\u0661.self_attn.q_proj.weight",
        "layers..self_attn.q_proj.weight",
        "xlayers.0.self_attn.q_proj.weight",
        "layers.0.self_attn.q_proj.weight.weight",
        "layers.0.self_attn.q_proj.lora_A.weight",
        "layers.0.self_attn.Q_PROJ.weight",
        "layers.0.self_attnXq_proj.weight",
        "layers.0.self_attn.q_proj.weight\n",
        "a\nlayers.0.self_attn.q_proj.weight",
        "",
        ".",
    ],
)
def test_a_name_that_only_resembles_a_template_has_no_role(tmp_path: Path, name: str) -> None:
    assert named(tmp_path, "layers.0.self_attn.k_proj.weight", name).keys() == {"layers.0.self_attn.k_proj.weight"}


def test_encoder_and_decoder_of_one_model_are_told_apart(tmp_path: Path) -> None:
    found = named(
        tmp_path,
        "encoder.block.0.layer.0.SelfAttention.q.weight",
        "decoder.block.0.layer.0.SelfAttention.q.weight",
        "decoder.block.0.layer.1.EncDecAttention.q.weight",
        "encoder.block.0.layer.1.DenseReluDense.wi.weight",
    )
    assert list(found.values()) == [
        "decoder/0/attention_q/",
        "decoder/0/attention_q/cross",
        "encoder/0/attention_q/",
        "encoder/0/ffn_up/",
    ]


def test_templates_of_one_table_are_distinct() -> None:
    for architecture in ARCHITECTURES:
        templates = [e.template for e in architecture.entries]
        assert len(set(templates)) == len(templates)
    assert len({a.name for a in ARCHITECTURES}) == len(ARCHITECTURES)


def test_every_role_but_bias_and_other_belongs_to_a_component() -> None:
    assert set(Role) - set(COMPONENT_OF_ROLE) == {Role.BIAS, Role.OTHER}


@settings(max_examples=60, deadline=None)
@given(DOTS, st.integers(0, 99999))
def test_what_is_named_has_the_numbers_of_its_name(prefix: str, layer: int) -> None:
    class Nothing:
        def read(self, start: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
            raise AssertionError("naming reads no element")

    name = f"{prefix}.layers.{layer}.self_attn.v_proj.weight"
    tensor = StoredTensor(name, "F32", (1, 1), 4, PurePosixPath("m"), Nothing())
    _, (item,) = name_tensors([tensor])
    assert (item.prefix, item.layer, item.suffix) == (f"{prefix}.", layer, "weight")


def test_names_made_to_slow_the_patterns_are_told_quickly(tmp_path: Path) -> None:
    # 1024 characters is the longest name; any prefix pattern that backtracks twice would take minutes here.
    names = [("layers.1." * 120)[:1000] + f"{n}.q_proj.weight" for n in range(200)]
    assert name_tensors(stored(tmp_path, names)) == (None, ())


@pytest.mark.parametrize(
    ("architecture", "names"),
    [
        (
            "chatglm",
            {
                "transformer.embedding.word_embeddings.weight": "decoder/-/embedding/",
                "transformer.encoder.layers.0.self_attention.dense.weight": "decoder/0/attention_o/",
                "transformer.encoder.layers.0.mlp.dense_h_to_4h.weight": "decoder/0/ffn_gate/",
                "transformer.encoder.layers.0.mlp.dense_4h_to_h.weight": "decoder/0/ffn_down/",
                "transformer.output_layer.weight": "decoder/-/head/",
            },
        ),
        (
            "gptj",
            {
                "transformer.h.2.attn.q_proj.weight": "decoder/2/attention_q/",
                "transformer.h.2.attn.out_proj.weight": "decoder/2/attention_o/",
                "transformer.h.2.mlp.fc_in.weight": "decoder/2/ffn_up/",
                "transformer.h.2.mlp.fc_out.weight": "decoder/2/ffn_down/",
            },
        ),
        (
            "bart",
            {
                "model.shared.weight": "decoder/-/embedding/",
                "model.encoder.layers.1.self_attn.out_proj.weight": "encoder/1/attention_o/",
                "model.decoder.layers.1.encoder_attn.k_proj.weight": "decoder/1/attention_k/cross",
                "model.decoder.layers.1.fc1.weight": "decoder/1/ffn_up/",
                "model.encoder.layers.1.fc2.weight": "encoder/1/ffn_down/",
            },
        ),
        (
            "nemotron_h",
            {
                "backbone.embeddings.weight": "decoder/-/embedding/",
                "backbone.layers.3.mixer.o_proj.weight": "decoder/3/attention_o/",
                "backbone.layers.4.mixer.down_proj.weight": "decoder/4/ffn_down/",
            },
        ),
        (
            "llama",
            {
                "model.layers.0.mlp.c_fc.weight": "decoder/0/ffn_up/",
                "model.layers.0.mlp.c_proj.weight": "decoder/0/ffn_down/",
                "model.layers.1.self_attn.out_proj.weight": "decoder/1/attention_o/",
                "model.layers.1.feed_forward.w2.weight": "decoder/1/ffn_down/",
                "model.layers.2.shared_mlp.input_linear.weight": "decoder/2/ffn_gate/",
                "model.layers.2.shared_mlp.output_linear.weight": "decoder/2/ffn_down/",
                "model.language_model.layers.5.self_attn.q_proj.weight": "decoder/5/attention_q/",
            },
        ),
    ],
)
def test_names_of_further_families(tmp_path: Path, architecture: str, names: dict[str, str]) -> None:
    found, _ = name_tensors(stored(tmp_path, list(names)))
    assert found is not None and found.name == architecture
    assert named(tmp_path, *names) == names
