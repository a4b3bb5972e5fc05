"""config.json to `ModelConfig`: the same facts under the names that each architecture gives them.

What a fact may be called stands in tables; the code only walks them. A composite config (vision, audio) keeps the language
backbone in an object of its own, which is asked where the outer level is silent. A key that is missing or null is unsaid;
a key of the wrong type is an error, for no training script writes one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from provenance_gate.artifact.configfacts import MAX_INTEGER, Facts
from provenance_gate.artifact.interface import ModelConfig
from provenance_gate.artifact.jsonfile import load_json_object

# A dot descends into an object. The first name that is present and not null wins.
_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "model_type": ("model_type",),
    "architectures": ("architectures",),
    "hidden_size": ("hidden_size", "n_embd", "n_embed", "d_model", "dim", "model_dim"),
    "intermediate_size": (
        "intermediate_size",
        "n_inner",
        "d_ff",
        "ffn_dim",
        "ffn_hidden_size",
        "hidden_dim",
        "encoder_ffn_dim",
        "decoder_ffn_dim",
        "d_inner",
        "ffn_config.ffn_hidden_size",
    ),
    "num_hidden_layers": ("num_hidden_layers", "n_layer", "num_layers", "n_layers", "encoder_layers", "decoder_layers"),
    "num_attention_heads": (
        "num_attention_heads",
        "n_head",
        "num_heads",
        "n_heads",
        "encoder_attention_heads",
        "decoder_attention_heads",
    ),
    "num_key_value_heads": ("num_key_value_heads", "num_kv_heads", "n_head_kv", "n_kv_heads", "attn_config.kv_n_heads"),
    "head_dim": ("head_dim", "d_kv", "kv_channels"),
    "vocab_size": ("vocab_size", "padded_vocab_size"),
    "max_position_embeddings": ("max_position_embeddings", "n_positions", "n_ctx", "seq_length", "max_seq_len"),
    "num_experts": ("num_experts", "num_local_experts", "n_routed_experts", "ffn_config.moe_num_experts"),
    "hidden_act": (
        "hidden_act",
        "activation_function",
        "feed_forward_proj",
        "hidden_activation",
        "activation",
    ),
    "norm_name": ("norm_type", "normalization_type"),
    "is_rmsnorm": ("rmsnorm",),
    "rms_eps": ("rms_norm_eps", "rms_norm_epsilon", "rms_eps"),
    "layer_eps": ("layer_norm_eps", "layer_norm_epsilon", "layernorm_epsilon", "layer_norm_epsilion", "norm_epsilon"),
    "position_name": ("position_embedding_type",),
    "alibi": ("alibi", "use_alibi", "attn_config.alibi"),
    "rope_theta": (
        "rope_theta",
        "rotary_emb_base",
        "global_rope_theta",
        "rope_parameters.rope_theta",
        "rope_parameters.full_attention.rope_theta",
        "rope_scaling.rope_theta",
        "rope_scaling.full_attention.rope_theta",
        "attn_config.rope_theta",
    ),
    "rope_scaling_type": (
        "rope_scaling.rope_type",
        "rope_scaling.type",
        "rope_scaling.full_attention.rope_type",
        "rope_parameters.rope_type",
        "rope_parameters.type",
        "rope_parameters.full_attention.rope_type",
    ),
    "attention_bias": ("attention_bias", "qkv_bias", "add_qkv_bias", "use_qkv_bias"),
    "qk_norm": ("use_qk_norm", "qk_norm", "qk_layernorm", "qk_layernorms", "attn_config.qk_ln"),
    "tie_word_embeddings": ("tie_word_embeddings",),
    "bos_token_id": ("bos_token_id",),
    "eos_token_id": ("eos_token_id",),
    "torch_dtype": ("torch_dtype", "dtype"),
    "quant_method": ("quantization_config.quant_method",),
    "bitsandbytes": ("quantization_config.load_in_4bit", "quantization_config.load_in_8bit"),
    "name_or_path": ("_name_or_path",),
    "transformers_version": ("transformers_version",),
    "multi_query": ("multi_query", "multi_query_attention"),
    "new_decoder": ("new_decoder_architecture",),
    "expansion": ("expansion_ratio",),
}

# Architectures that use a name of the table above for something else.
_NAMES_BY_TYPE: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "distilbert": {"hidden_size": ("dim",), "intermediate_size": ("hidden_dim",)},
    "chatglm": {"num_key_value_heads": ("multi_query_group_num",)},
    "falcon": {"attention_bias": ("bias",)},
    "internlm": {"attention_bias": ("bias",)},
    "internlm2": {"attention_bias": ("bias",)},
    "gpt_bigcode": {"attention_bias": ("use_bias",)},
    "starcoder2": {"attention_bias": ("use_bias",)},
}

# Feed-forward layers four times as wide as the model unless the file says otherwise.
_FOUR_TIMES: Final = frozenset(
    {"gpt2", "gpt_bigcode", "gptj", "codegen", "gpt_neo", "bloom", "falcon", "mpt", "openai-gpt"}
)
# T5 scales by RMS although its key is called layer_norm_epsilon; the others have no key at all.
_NORM_BY_TYPE: Final[Mapping[str, str]] = {
    **dict.fromkeys(("t5", "mt5", "umt5", "longt5", "switch_transformers", "lfm2", "granitemoehybrid"), "rmsnorm"),
    **dict.fromkeys(("distilbert", "opt", "bart", "mbart", "marian", "m2m_100", "pegasus", "olmo", "mpt"), "layernorm"),
}
_POSITION_BY_TYPE: Final[Mapping[str, str]] = {
    **dict.fromkeys(("t5", "mt5", "umt5", "longt5", "xlnet", "deberta", "deberta-v2", "transfo-xl"), "relative"),
    **dict.fromkeys(("gpt2", "gpt_bigcode", "gpt_neo", "openai-gpt", "opt", "biogpt", "bart", "mbart"), "learned"),
    **dict.fromkeys(("distilbert", "roberta", "xlm-roberta", "camembert", "mpnet"), "learned"),
    **dict.fromkeys(("marian", "m2m_100", "pegasus", "fsmt", "xglm"), "sinusoidal"),
    **dict.fromkeys(("mamba", "mamba2", "rwkv"), "none"),
    # ModernBERT writes position_embedding_type "absolute" beside its rotary bases; Llama 1 and 2 name no base at all.
    **dict.fromkeys(("modernbert", "llama", "gpt_neox", "gptj", "codegen", "chatglm", "qwen", "internlm"), "rotary"),
    "bloom": "alibi",
}
_POSITION_NAMES: Final[Mapping[str, str]] = {
    "absolute": "learned",
    "learned": "learned",
    "learned_absolute": "learned",
    "relative_key": "relative",
    "relative_key_query": "relative",
    "rope": "rotary",
    "rotary": "rotary",
    "alibi": "alibi",
    "nope": "none",
    "none": "none",
}
_ROTARY_TYPES: Final = frozenset({"falcon"})
_QK_NORM_PREFIXES: Final = ("qwen3", "olmo2", "olmo3", "gemma3")
# "default" means no scaling, which older files say by leaving the object out; "su" was renamed.
_ROPE_SPELLING: Final[Mapping[str, str | None]] = {"default": None, "su": "longrope"}


def parse_config(data: bytes, name: str = "config.json") -> ModelConfig:
    """Facts of a transformers config.

    Parameters
    ----------
    data
        The file's bytes.
    name
        File name for messages.

    Returns
    -------
    ModelConfig
        With None for what the file does not say. A number per layer (a list) counts as said when all layers agree.

    Raises
    ------
    MalformedFileError
        Not a JSON object, or a fact has the wrong type or lies outside [0, 2**31).
    """
    facts = Facts(load_json_object(data, name), name, _NAMES, _NAMES_BY_TYPE)
    hidden = facts.integer("hidden_size")
    heads = facts.integer("num_attention_heads", per_layer=True)
    return ModelConfig(
        model_type=facts.text("model_type"),
        architectures=facts.texts("architectures"),
        hidden_size=hidden,
        intermediate_size=_intermediate_size(facts, hidden),
        num_hidden_layers=facts.integer("num_hidden_layers"),
        num_attention_heads=heads,
        num_key_value_heads=_key_value_heads(facts, heads),
        head_dim=facts.integer("head_dim"),
        vocab_size=facts.integer("vocab_size"),
        max_position_embeddings=facts.integer("max_position_embeddings"),
        num_experts=facts.integer("num_experts", per_layer=True),
        hidden_act=facts.text("hidden_act"),
        norm_type=_norm_type(facts),
        position_type=_position_type(facts),
        rope_theta=facts.number("rope_theta"),
        rope_scaling_type=_rope_scaling_type(facts),
        attention_bias=facts.flag("attention_bias"),
        qk_norm=_qk_norm(facts),
        tie_word_embeddings=facts.flag("tie_word_embeddings"),
        bos_token_id=facts.token_id("bos_token_id"),
        eos_token_id=facts.token_id("eos_token_id"),
        torch_dtype=_without_prefix(facts.text("torch_dtype")),
        quant_method=facts.text("quant_method") or ("bitsandbytes" if facts.flag("bitsandbytes") else None),
        name_or_path=facts.text("name_or_path"),
        transformers_version=facts.text("transformers_version"),
    )


def with_generation_config(config: ModelConfig, data: bytes, name: str = "generation_config.json") -> ModelConfig:
    """`config` with the bos and eos ids of generation_config.json where it has none."""
    facts = Facts(load_json_object(data, name), name, _NAMES, _NAMES_BY_TYPE)
    bos, eos = facts.token_id("bos_token_id"), facts.token_id("eos_token_id")
    return replace(
        config,
        bos_token_id=bos if config.bos_token_id is None else config.bos_token_id,
        eos_token_id=eos if config.eos_token_id is None else config.eos_token_id,
    )


def _intermediate_size(facts: Facts, hidden: int | None) -> int | None:
    size = facts.integer("intermediate_size", per_layer=True)
    if size is not None or hidden is None or facts.types.isdisjoint(_FOUR_TIMES):
        return size
    factor = facts.number("expansion")
    width = hidden * (4 if factor is None else factor)
    return int(width) if width < MAX_INTEGER else None


def _key_value_heads(facts: Facts, heads: int | None) -> int | None:
    """Falcon reads its count only in the newer form; ChatGLM and BigCode share one flag but not what it means."""
    multi_query, said = facts.flag("multi_query"), facts.integer("num_key_value_heads", per_layer=True)
    if "falcon" in facts.types:
        if facts.flag("new_decoder"):
            return heads if said is None else said
        return 1 if multi_query else heads
    if "chatglm" in facts.types:
        return said if multi_query else heads
    if said is not None or multi_query is None:
        return said
    return 1 if multi_query else heads


def _norm_type(facts: Facts) -> str | None:
    for model_type in facts.types:
        if model_type in _NORM_BY_TYPE:
            return _NORM_BY_TYPE[model_type]
    named = (facts.text("norm_name") or "").lower()
    if "rms" in named or facts.flag("is_rmsnorm") or facts.has("rms_eps"):
        return "rmsnorm"
    return "layernorm" if "layer" in named or facts.has("layer_eps") else None


def _position_type(facts: Facts) -> str | None:
    if facts.flag("alibi"):
        return "alibi"
    for model_type in facts.types:
        if model_type in _POSITION_BY_TYPE:
            return _POSITION_BY_TYPE[model_type]
    named = facts.text("position_name")
    if named is not None:
        return _POSITION_NAMES.get(named.lower())
    rotary = facts.has("rope_theta") or facts.has("rope_scaling_type") or not facts.types.isdisjoint(_ROTARY_TYPES)
    return "rotary" if rotary else None


def _rope_scaling_type(facts: Facts) -> str | None:
    said = facts.text("rope_scaling_type")
    return None if said is None else _ROPE_SPELLING.get(said, said)


def _qk_norm(facts: Facts) -> bool | None:
    said = facts.flag("qk_norm")
    return True if said is None and any(t.startswith(_QK_NORM_PREFIXES) for t in facts.types) else said


def _without_prefix(dtype: str | None) -> str | None:
    return None if dtype is None else dtype.removeprefix("torch.")
