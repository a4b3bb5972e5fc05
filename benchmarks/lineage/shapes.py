"""config.json of every architecture, and untrained tensors that fit it (numpy)."""

from __future__ import annotations

import numpy as np

from benchmarks.lineage.store import Json, Tensors, number

POSITIONS = 128
_NAMES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "mixtral": "MixtralForCausalLM",
    "sinusoidal_llama": "SinusoidalLlamaForCausalLM",
    "gpt2": "GPT2LMHeadModel",
    "gpt_neox": "GPTNeoXForCausalLM",
    "bert": "BertLMHeadModel",
}


def config(
    kind: str, vocabulary: int, layers: int, hidden: int, heads: int, feed_forward: int, groups: int = 0
) -> Json:
    """config.json as the architecture's own trainer writes it."""
    common: Json = {"model_type": kind, "architectures": [_NAMES[kind]], "vocab_size": vocabulary}
    if kind == "gpt2":
        return common | {
            "n_layer": layers,
            "n_embd": hidden,
            "n_head": heads,
            "n_inner": feed_forward,
            "n_positions": POSITIONS,
            "n_ctx": POSITIONS,
            "activation_function": "gelu_new",
            "layer_norm_epsilon": 1e-5,
        }
    common |= {
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "intermediate_size": feed_forward,
        "max_position_embeddings": POSITIONS,
    }
    if kind == "gpt_neox":
        return common | {
            "rotary_pct": 0.25,
            "hidden_act": "gelu",
            "use_parallel_residual": True,
            "layer_norm_eps": 1e-5,
        }
    if kind == "bert":
        return common | {"is_decoder": True, "type_vocab_size": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-5}
    common |= {"num_key_value_heads": groups or heads, "rms_norm_eps": 1e-6, "hidden_act": "silu"}
    common["tie_word_embeddings"] = kind == "qwen2"
    if kind == "mixtral":
        common |= {"num_local_experts": 4, "num_experts_per_tok": 2}
    return common


def untrained(spec: Json, seed: int) -> Tensors:
    """Gaussian matrices (sd 0.02, for BERT 0.05, as 0.02 at its own width; writers smaller with depth), unit gains,
    zero biases.
    """
    rng = np.random.default_rng(seed)
    layers = number(spec, "num_hidden_layers", "n_layer")
    spread = 0.05 if spec["model_type"] == "bert" else 0.02
    tensors: Tensors = {}
    for name, shape in _shapes(spec):
        if name.endswith("bias"):
            value = np.zeros(shape)
        elif len(shape) == 1:
            value = np.ones(shape)
        else:
            writes = any(
                part in name for part in ("o_proj", "down_proj", "w2", "c_proj", "dense_4h_to_h", "attention.dense")
            )
            value = rng.standard_normal(shape) * spread / (np.sqrt(2 * layers) if writes else 1)
        tensors[name] = value.astype(np.float32)
    return tensors


def _shapes(spec: Json) -> list[tuple[str, tuple[int, ...]]]:
    match spec["model_type"]:
        case "gpt2":
            return _gpt2(spec)
        case "gpt_neox":
            return _gpt_neox(spec)
        case "bert":
            return _bert(spec)
        case _:
            return _llama(spec)


def _llama(spec: Json) -> list[tuple[str, tuple[int, ...]]]:
    d, ff, size = number(spec, "hidden_size"), number(spec, "intermediate_size"), number(spec, "vocab_size")
    narrow = d // number(spec, "num_attention_heads") * number(spec, "num_key_value_heads")
    found: list[tuple[str, tuple[int, ...]]] = [("model.embed_tokens.weight", (size, d))]
    for layer in range(number(spec, "num_hidden_layers")):
        at = f"model.layers.{layer}."
        for name, rows in (("q", d), ("k", narrow), ("v", narrow)):
            found.append((f"{at}self_attn.{name}_proj.weight", (rows, d)))
            if spec["model_type"] == "qwen2":
                found.append((f"{at}self_attn.{name}_proj.bias", (rows,)))
        found.append((f"{at}self_attn.o_proj.weight", (d, d)))
        if spec["model_type"] == "mixtral":
            experts = number(spec, "num_local_experts")
            found.append((f"{at}block_sparse_moe.gate.weight", (experts, d)))
            for e in range(experts):
                one = f"{at}block_sparse_moe.experts.{e}."
                found += [(one + "w1.weight", (ff, d)), (one + "w3.weight", (ff, d)), (one + "w2.weight", (d, ff))]
        else:
            found += [(f"{at}mlp.gate_proj.weight", (ff, d)), (f"{at}mlp.up_proj.weight", (ff, d))]
            found.append((f"{at}mlp.down_proj.weight", (d, ff)))
        found += [(f"{at}input_layernorm.weight", (d,)), (f"{at}post_attention_layernorm.weight", (d,))]
    found.append(("model.norm.weight", (d,)))
    return found if spec["tie_word_embeddings"] else [*found, ("lm_head.weight", (size, d))]


def _pair(name: str, shape: tuple[int, ...], out: int) -> list[tuple[str, tuple[int, ...]]]:
    return [(name + ".weight", shape), (name + ".bias", (out,))]


def _gpt2(spec: Json) -> list[tuple[str, tuple[int, ...]]]:
    d, ff = number(spec, "n_embd"), number(spec, "n_inner")
    found: list[tuple[str, tuple[int, ...]]] = [
        ("transformer.wte.weight", (number(spec, "vocab_size"), d)),
        ("transformer.wpe.weight", (POSITIONS, d)),
    ]
    for layer in range(number(spec, "n_layer")):
        at = f"transformer.h.{layer}."
        found += _pair(at + "attn.c_attn", (d, 3 * d), 3 * d) + _pair(at + "attn.c_proj", (d, d), d)
        found += _pair(at + "mlp.c_fc", (d, ff), ff) + _pair(at + "mlp.c_proj", (ff, d), d)
        found += _pair(at + "ln_1", (d,), d) + _pair(at + "ln_2", (d,), d)
    return found + _pair("transformer.ln_f", (d,), d)


def _gpt_neox(spec: Json) -> list[tuple[str, tuple[int, ...]]]:
    d, ff, size = number(spec, "hidden_size"), number(spec, "intermediate_size"), number(spec, "vocab_size")
    found: list[tuple[str, tuple[int, ...]]] = [("gpt_neox.embed_in.weight", (size, d))]
    for layer in range(number(spec, "num_hidden_layers")):
        at = f"gpt_neox.layers.{layer}."
        found += _pair(at + "attention.query_key_value", (3 * d, d), 3 * d) + _pair(at + "attention.dense", (d, d), d)
        found += _pair(at + "mlp.dense_h_to_4h", (ff, d), ff) + _pair(at + "mlp.dense_4h_to_h", (d, ff), d)
        found += _pair(at + "input_layernorm", (d,), d) + _pair(at + "post_attention_layernorm", (d,), d)
    return [*found, *_pair("gpt_neox.final_layer_norm", (d,), d), ("embed_out.weight", (size, d))]


def _bert(spec: Json) -> list[tuple[str, tuple[int, ...]]]:
    d, ff, size = number(spec, "hidden_size"), number(spec, "intermediate_size"), number(spec, "vocab_size")
    found: list[tuple[str, tuple[int, ...]]] = [
        ("bert.embeddings.word_embeddings.weight", (size, d)),
        ("bert.embeddings.position_embeddings.weight", (POSITIONS, d)),
        ("bert.embeddings.token_type_embeddings.weight", (2, d)),
        *_pair("bert.embeddings.LayerNorm", (d,), d),
    ]
    for layer in range(number(spec, "num_hidden_layers")):
        at = f"bert.encoder.layer.{layer}."
        for name in ("query", "key", "value"):
            found += _pair(f"{at}attention.self.{name}", (d, d), d)
        found += _pair(at + "attention.output.dense", (d, d), d) + _pair(at + "attention.output.LayerNorm", (d,), d)
        found += _pair(at + "intermediate.dense", (ff, d), ff) + _pair(at + "output.dense", (d, ff), d)
        found += _pair(at + "output.LayerNorm", (d,), d)
    found += _pair("cls.predictions.transform.dense", (d, d), d)
    return [*found, *_pair("cls.predictions.transform.LayerNorm", (d,), d), ("cls.predictions.bias", (size,))]
