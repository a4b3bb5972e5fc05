"""One set of short names for all architectures, so that a derivation is written once.

``embed``, ``head``, ``position``, ``embed_norm``, ``final`` (norm), ``transform`` and ``transform_norm`` (BERT's head), and per
layer ``L.q``, ``L.k``, ``L.v``, ``L.o``, ``L.gate``, ``L.up``, ``L.down``, ``L.router``, ``L.eN.gate`` (experts), ``L.norm1``,
``L.norm2``; each with ``.weight`` or ``.bias``. Every matrix is (out, in).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.lineage.store import Checkpoint, Tensors, number

Array = NDArray[np.float32]

_LLAMA: Final = {
    "model.embed_tokens": "embed",
    "model.norm": "final",
    "lm_head": "head",
    "model.layers.{L}.self_attn.q_proj": "{L}.q",
    "model.layers.{L}.self_attn.k_proj": "{L}.k",
    "model.layers.{L}.self_attn.v_proj": "{L}.v",
    "model.layers.{L}.self_attn.o_proj": "{L}.o",
    "model.layers.{L}.mlp.gate_proj": "{L}.gate",
    "model.layers.{L}.mlp.up_proj": "{L}.up",
    "model.layers.{L}.mlp.down_proj": "{L}.down",
    "model.layers.{L}.block_sparse_moe.gate": "{L}.router",
    "model.layers.{L}.block_sparse_moe.experts.{E}.w1": "{L}.e{E}.gate",
    "model.layers.{L}.block_sparse_moe.experts.{E}.w3": "{L}.e{E}.up",
    "model.layers.{L}.block_sparse_moe.experts.{E}.w2": "{L}.e{E}.down",
    "model.layers.{L}.input_layernorm": "{L}.norm1",
    "model.layers.{L}.post_attention_layernorm": "{L}.norm2",
}
_GPT2: Final = {
    "transformer.wte": "embed",
    "transformer.wpe": "position",
    "transformer.ln_f": "final",
    "lm_head": "head",
    "transformer.h.{L}.attn.c_attn": "{L}.qkv",
    "transformer.h.{L}.attn.c_proj": "{L}.o",
    "transformer.h.{L}.mlp.c_fc": "{L}.up",
    "transformer.h.{L}.mlp.c_proj": "{L}.down",
    "transformer.h.{L}.ln_1": "{L}.norm1",
    "transformer.h.{L}.ln_2": "{L}.norm2",
}
_GPT_NEOX: Final = {
    "gpt_neox.embed_in": "embed",
    "gpt_neox.final_layer_norm": "final",
    "embed_out": "head",
    "gpt_neox.layers.{L}.attention.query_key_value": "{L}.qkv",
    "gpt_neox.layers.{L}.attention.dense": "{L}.o",
    "gpt_neox.layers.{L}.mlp.dense_h_to_4h": "{L}.up",
    "gpt_neox.layers.{L}.mlp.dense_4h_to_h": "{L}.down",
    "gpt_neox.layers.{L}.input_layernorm": "{L}.norm1",
    "gpt_neox.layers.{L}.post_attention_layernorm": "{L}.norm2",
}
_BERT: Final = {
    "embeddings.word_embeddings": "embed",
    "embeddings.position_embeddings": "position",
    "embeddings.token_type_embeddings": "token_type",
    "embeddings.LayerNorm": "embed_norm",
    "encoder.layer.{L}.attention.self.query": "{L}.q",
    "encoder.layer.{L}.attention.self.key": "{L}.k",
    "encoder.layer.{L}.attention.self.value": "{L}.v",
    "encoder.layer.{L}.attention.output.dense": "{L}.o",
    "encoder.layer.{L}.attention.output.LayerNorm": "{L}.norm1",
    "encoder.layer.{L}.intermediate.dense": "{L}.up",
    "encoder.layer.{L}.output.dense": "{L}.down",
    "encoder.layer.{L}.output.LayerNorm": "{L}.norm2",
    "cls.predictions.transform.dense": "transform",
    "cls.predictions.transform.LayerNorm": "transform_norm",
    "cls.predictions": "head",
    "pooler.dense": "pooler",
}
_TABLES: Final[Mapping[str, Mapping[str, str]]] = {
    "llama": _LLAMA,
    "qwen2": _LLAMA,
    "mixtral": _LLAMA,
    "sinusoidal_llama": _LLAMA,
    "gpt2": _GPT2,
    "gpt_neox": _GPT_NEOX,
    "bert": _BERT,
}
RMS: Final = ("llama", "qwen2", "mixtral", "sinusoidal_llama")
"""Architectures with RMSNorm and a gated FFN: they allow rotations, sign flips and scalings that LayerNorm and GELU do not."""
READERS: Final = ("q", "k", "v", "gate", "up", "router")
WRITERS: Final = ("o", "down")


def kind_of(model: Checkpoint) -> str:
    """model_type."""
    return str(model.config["model_type"])


def heads_of(model: Checkpoint) -> tuple[int, int]:
    """Query heads and key-value heads."""
    heads = number(model.config, "num_attention_heads", "n_head")
    return heads, number(model.config, "num_key_value_heads") if "num_key_value_heads" in model.config else heads


def part(name: str) -> str:
    """``q`` of ``3.q.weight``, ``gate`` of ``3.e1.gate.weight``, ``embed`` of ``embed.weight``."""
    return name.split(".")[-2]


def layer_of(name: str) -> int | None:
    """The layer of a short name."""
    first = name.split(".")[0]
    return int(first) if first.isdigit() else None


def open_up(model: Checkpoint) -> Checkpoint:
    """The same model under short names, fused tensors split, transposed ones turned."""
    kind, table = kind_of(model), {}
    for name, value in model.tensors.items():
        short = _short(kind, name)
        if kind == "gpt2" and value.ndim == 2 and short.split(".")[-2] in ("qkv", "o", "up", "down"):
            value = value.T
        table[short] = value
    for name in [n for n in table if ".qkv." in n]:
        value = table.pop(name)
        if kind == "gpt2":
            parts = np.split(value, 3)
        else:
            by_head = value.reshape(heads_of(model)[0], 3, -1, *value.shape[1:])
            parts = [by_head[:, i].reshape(-1, *value.shape[1:]) for i in range(3)]
        for letter, one in zip("qkv", parts, strict=True):
            table[name.replace(".qkv.", f".{letter}.")] = one
    return replace(model, tensors={n: np.array(v, np.float32) for n, v in table.items()})


def close_up(model: Checkpoint) -> Checkpoint:
    """Back to the names and layout of the architecture."""
    kind, table = kind_of(model), dict(model.tensors)
    if kind in ("gpt2", "gpt_neox"):
        heads = heads_of(model)[0]
        for name in [n for n in table if n.split(".")[-2] == "q"]:
            parts = [table.pop(name.replace(".q.", f".{letter}.")) for letter in "qkv"]
            if kind == "gpt_neox":
                stacked = np.stack([p.reshape(heads, -1, *p.shape[1:]) for p in parts], 1)
                table[name.replace(".q.", ".qkv.")] = stacked.reshape(-1, *parts[0].shape[1:])
            else:
                table[name.replace(".q.", ".qkv.")] = np.concatenate(parts)
    found: Tensors = {}
    for short, value in table.items():
        if kind == "gpt2" and value.ndim == 2 and part(short) in ("qkv", "o", "up", "down"):
            value = value.T
        found[_long(kind, short, model)] = np.ascontiguousarray(value, dtype=np.float32)
    return replace(model, tensors=found)


def _short(kind: str, name: str) -> str:
    path, _, last = name.rpartition(".")
    if kind == "bert":
        path = path.removeprefix("bert.")
    numbers = re.findall(r"\.(\d+)(?=\.|$)", path)
    template = re.sub(r"\.\d+(?=\.|$)", ".{L}", path, count=1)
    template = re.sub(r"\.\d+(?=\.|$)", ".{E}", template, count=1)
    short = _TABLES[kind][template]
    return short.format(L=numbers[0] if numbers else "", E=numbers[1] if len(numbers) > 1 else "") + "." + last


def _long(kind: str, short: str, model: Checkpoint) -> str:
    path, _, last = short.rpartition(".")
    numbers = re.findall(r"(?:^|\.e)(\d+)", path)
    template = re.sub(r"^\d+", "{L}", path)
    template = re.sub(r"\.e\d+", ".e{E}", template)
    names = {v: k for k, v in _TABLES[kind].items()}
    long = names[template].format(L=numbers[0] if numbers else "", E=numbers[1] if len(numbers) > 1 else "")
    prefix = (
        "bert."
        if kind == "bert" and not long.startswith("cls.") and model.config["architectures"] != ["BertModel"]
        else ""
    )
    return f"{prefix}{long}.{last}"


def count_layers(model: Checkpoint, count: int) -> Checkpoint:
    """The config with another number of layers."""
    field = "n_layer" if "n_layer" in model.config else "num_hidden_layers"
    return replace(model, config={**model.config, field: count})
