"""Metadata of a GGUF file to `ModelConfig`: the facts of config.json under llama.cpp's names."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from provenance_gate.artifact.gguf.metadata import Metadata
from provenance_gate.artifact.interface import ModelConfig, NotMeasured

_MODEL_TYPES: Final[Mapping[str, str]] = {
    "qwen2moe": "qwen2_moe",
    "qwen2vl": "qwen2_vl",
    "qwen3moe": "qwen3_moe",
    "qwen3next": "qwen3_next",
    "qwen3vl": "qwen3_vl",
    "qwen3vlmoe": "qwen3_vl_moe",
    "qwen35": "qwen3_5",
    "qwen35moe": "qwen3_5_moe",
    "gemma3": "gemma3_text",
    "gemma3n": "gemma3n_text",
    "gemma-embedding": "gemma3_text",
    "phi2": "phi",
    "gptneox": "gpt_neox",
    "starcoder": "gpt_bigcode",
    "gpt-oss": "gpt_oss",
    "command-r": "cohere",
    "deepseek2": "deepseek_v2",
    "granitehybrid": "granitemoehybrid",
    "glm4moe": "glm4_moe",
    "modern-bert": "modernbert",
    "nomic-bert": "nomic_bert",
    "hunyuan-dense": "hunyuan_v1_dense",
    "hunyuan-moe": "hunyuan_v1_moe",
    "ernie4_5-moe": "ernie4_5_moe",
    "falcon-h1": "falcon_h1",
    "lfm2moe": "lfm2_moe",
    "minimax-m2": "minimax_m2",
    "t5encoder": "t5",
    "deci": "nemotron-nas",
}
"""Where llama.cpp and transformers differ; other names are the same in both."""

_LEARNED: Final = frozenset({"gpt2", "bert", "starcoder"})
_POSITIONS: Final[Mapping[str, str]] = {
    **dict.fromkeys(_LEARNED, "learned"),
    **dict.fromkeys(("bloom", "mpt", "jina-bert-v2", "refact"), "alibi"),
    **dict.fromkeys(("t5", "t5encoder"), "relative"),
    **dict.fromkeys(("mamba", "mamba2", "rwkv6", "rwkv7"), "none"),
}
_ACTIVATIONS: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        (
            "llama",
            "qwen2",
            "qwen2moe",
            "qwen3",
            "qwen3moe",
            "phi3",
            "internlm2",
            "baichuan",
            "stablelm",
            "olmo",
            "olmo2",
        ),
        "silu",
    ),
    **dict.fromkeys(("command-r", "cohere2", "deepseek", "deepseek2", "granite", "granitemoe", "smollm3"), "silu"),
    **dict.fromkeys(("gemma2", "gemma3"), "gelu_pytorch_tanh"),
    **dict.fromkeys(("gptneox", "bert"), "gelu"),
    **dict.fromkeys(("gpt2", "phi2"), "gelu_new"),
}
_QK_NORM: Final = ("qwen3", "olmo2", "gemma3")
_FILE_TYPES: Final[Mapping[int, str]] = {0: "float32", 1: "float16", 32: "bfloat16"}
"""general.file_type of files without quantized tensors (enum llama_ftype)."""

UNQUANTIZED: Final = frozenset({"F32", "F16", "BF16", "F64", "I8", "I16", "I32", "I64"})


def read_config(
    metadata: Metadata, names: Collection[str], type_names: Collection[str], vocabulary: int | None
) -> ModelConfig | NotMeasured:
    """Facts of the model.

    Parameters
    ----------
    names, type_names
        Names and ggml types of all tensors: a model without an ``output`` ties its head to the embedding, and a block type
        means quantized.
    vocabulary
        Length of the token list, used when there is no ``{architecture}.vocab_size``.

    Returns
    -------
    ModelConfig
        With None for what the file does not say: head_dim only when the file states it, hidden_act only for architectures
        that have one activation. ``model_type`` is that of transformers; Mistral is "llama" in GGUF and cannot be told apart,
        Mixtral is a llama with experts. NotMeasured without ``general.architecture``.

    Raises
    ------
    MalformedFileError
        A value has the wrong type or lies outside [0, 2**31).
    """
    architecture = metadata.text("general.architecture")
    if not architecture:
        return NotMeasured("no general.architecture in the GGUF metadata")
    at = architecture + "."
    experts = metadata.integer(at + "expert_count") or None
    kinds = set(type_names)
    quantized = bool(kinds - UNQUANTIZED)
    file_type = metadata.integer("general.file_type")
    stated = metadata.integer(at + "vocab_size")
    tied = "output.weight" not in names if "token_embd.weight" in names else None
    return ModelConfig(
        model_type=_model_type(architecture, experts),
        hidden_size=metadata.integer(at + "embedding_length"),
        intermediate_size=metadata.same_for_all_layers(at + "feed_forward_length"),
        num_hidden_layers=metadata.integer(at + "block_count"),
        num_attention_heads=metadata.same_for_all_layers(at + "attention.head_count"),
        num_key_value_heads=metadata.same_for_all_layers(at + "attention.head_count_kv"),
        head_dim=metadata.integer(at + "attention.key_length"),
        vocab_size=vocabulary if stated is None else stated,
        max_position_embeddings=metadata.integer(at + "context_length"),
        num_experts=experts,
        hidden_act=_ACTIVATIONS.get(architecture),
        norm_type=_norm_type(metadata, at),
        position_type=_position_type(metadata, architecture, at),
        rope_theta=metadata.number(at + "rope.freq_base"),
        rope_scaling_type=_rope_scaling(metadata.text(at + "rope.scaling.type")),
        qk_norm=True if architecture.startswith(_QK_NORM) else None,
        tie_word_embeddings=tied,
        bos_token_id=metadata.token_id("tokenizer.ggml.bos_token_id"),
        eos_token_id=metadata.token_id("tokenizer.ggml.eos_token_id"),
        torch_dtype=None if quantized or file_type is None else _FILE_TYPES.get(file_type),
        quant_method="gguf" if quantized else None,
    )


def _model_type(architecture: str, experts: int | None) -> str:
    if architecture == "llama" and experts:
        return "mixtral"
    return _MODEL_TYPES.get(architecture, architecture)


def _norm_type(metadata: Metadata, at: str) -> str | None:
    if at + "attention.layer_norm_rms_epsilon" in metadata.entries:
        return "rmsnorm"
    return "layernorm" if at + "attention.layer_norm_epsilon" in metadata.entries else None


def _position_type(metadata: Metadata, architecture: str, at: str) -> str | None:
    if architecture in _POSITIONS:
        return _POSITIONS[architecture]
    if metadata.number(at + "attention.max_alibi_bias"):
        return "alibi"
    rotary = any(at + key in metadata.entries for key in ("rope.freq_base", "rope.dimension_count"))
    return "rotary" if rotary else None


def _rope_scaling(name: str | None) -> str | None:
    return None if name in (None, "", "none") else name
