"""A Llama or Mixtral checkpoint as llama.cpp's converter and quantizer write it: one GGUF file and nothing beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.ggml_blocks import encode, stored_type
from tests.artifact.gguf.build import ARRAY, STRING, Typed, gguf, permuted

Tensors = Mapping[str, NDArray[np.float32]]
_OUTSIDE: Final = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
_INSIDE: Final = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "block_sparse_moe.gate": "ffn_gate_inp",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
_EXPERT: Final = re.compile(r"model\.layers\.(\d+)\.block_sparse_moe\.experts\.(\d+)\.w([123])\.weight")
_EXPERT_NAMES: Final = {"1": "ffn_gate_exps", "2": "ffn_down_exps", "3": "ffn_up_exps"}
KEYS: Final = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.value_length": "head_dim",
    "expert_count": "num_local_experts",
    "expert_used_count": "num_experts_per_tok",
    "vocab_size": "vocab_size",
}
_NORMAL, _CONTROL, _UNUSED = 1, 3, 5


def write_gguf(folder: Path, source: Path, tensors: Tensors, kind: str) -> Path:
    """`tensors` of the checkpoint in `source`, matrices in blocks of `kind` where their width allows it, vectors in F32."""
    config = json.loads((source / "config.json").read_text("utf-8"))
    found: dict[str, Any] = {}
    for name, value in _renamed(tensors, config).items():
        # llama.cpp keeps vectors and routers whole.
        stored = "F32" if value.ndim == 1 or ".ffn_gate_inp." in name else stored_type(kind, value.shape[-1])
        found[name] = stored, value.shape, value.tobytes() if stored == "F32" else encode(value, stored)
    metadata: dict[str, object] = {"general.architecture": "llama", "general.type": "model"}
    metadata |= {f"llama.{key}": int(config[field]) for key, field in KEYS.items() if config.get(field) is not None}
    metadata["llama.attention.layer_norm_rms_epsilon"] = float(config["rms_norm_eps"])
    metadata["llama.rope.freq_base"] = float(config.get("rope_theta", 10000.0))
    folder.mkdir(parents=True)
    (folder / "model.gguf").write_bytes(gguf(found, metadata | _tokens(source, config["vocab_size"])))
    return folder


def gguf_name(name: str) -> str:
    """llama.cpp's name of a tensor outside of the experts."""
    if name in _OUTSIDE:
        return _OUTSIDE[name]
    _, _, layer, rest = name.split(".", 3)
    module, _, part = rest.rpartition(".")
    return f"blk.{layer}.{_INSIDE[module]}.{part}"


def _renamed(tensors: Tensors, config: Mapping[str, Any]) -> dict[str, NDArray[np.float32]]:
    """Under llama.cpp's names: rows of q and k in its order, experts of a layer in one tensor."""
    heads = config["num_attention_heads"]
    groups = config.get("num_key_value_heads") or heads
    found: dict[str, NDArray[np.float32]] = {}
    experts: dict[str, dict[int, NDArray[np.float32]]] = {}
    for name, value in tensors.items():
        expert = _EXPERT.fullmatch(name)
        if expert:
            experts.setdefault(f"blk.{expert[1]}.{_EXPERT_NAMES[expert[3]]}.weight", {})[int(expert[2])] = value
            continue
        for module, count in (("q_proj", heads), ("k_proj", groups)):
            if f".{module}." in name:
                value = permuted(value, count)
        found[gguf_name(name)] = value
    return found | {name: np.stack([parts[n] for n in sorted(parts)]) for name, parts in experts.items()}


def _tokens(source: Path, rows: int) -> dict[str, object]:
    """The tokenizer's arrays: one token for each row of the table, `[PAD<id>]` where the tokenizer has none. Only of BPE."""
    tokenizer = json.loads((source / "tokenizer.json").read_text("utf-8"))
    if tokenizer["model"]["type"] != "BPE":
        return {}
    settings = json.loads((source / "tokenizer_config.json").read_text("utf-8"))
    added = {t["content"]: t["id"] for t in tokenizer["added_tokens"]}
    by_id = {token_id: token for token, token_id in {**tokenizer["model"]["vocab"], **added}.items()}
    merges = [rule if isinstance(rule, str) else " ".join(rule) for rule in tokenizer["model"]["merges"]]
    kinds = [_UNUSED if n not in by_id else _CONTROL if by_id[n] in added else _NORMAL for n in range(rows)]
    found: dict[str, object] = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": Typed(ARRAY, [by_id.get(n, f"[PAD{n}]") for n in range(rows)], STRING),
        "tokenizer.ggml.token_type": Typed(ARRAY, kinds, 5),
        "tokenizer.ggml.merges": Typed(ARRAY, merges, STRING),
    }
    for key in ("bos", "eos"):
        token = settings.get(f"{key}_token")
        if token in added:
            found[f"tokenizer.ggml.{key}_token_id"] = added[token]
    return found
