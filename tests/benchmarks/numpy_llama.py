"""A llama's forward pass in numpy: small, slow, and independent of the benchmark's own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.lineage.store import Checkpoint

Array = NDArray[np.float64]


def logits(model: Checkpoint, ids: NDArray[np.int64]) -> Array:
    """Shape (length, vocabulary); llama, qwen2 and mixtral."""
    t = {n: v.astype(np.float64) for n, v in model.tensors.items()}
    heads, groups = (int(str(model.config[n])) for n in ("num_attention_heads", "num_key_value_heads"))
    x = t["model.embed_tokens.weight"][ids]
    for layer in range(model.layers):
        at = f"model.layers.{layer}."
        h = _rms(x) * t[at + "input_layernorm.weight"]
        q, k, v = (
            (h @ t[f"{at}self_attn.{n}_proj.weight"].T + t.get(f"{at}self_attn.{n}_proj.bias", 0.0)).reshape(
                len(ids), count, -1
            )
            for n, count in (("q", heads), ("k", groups), ("v", groups))
        )
        mixed = [
            _attend(_rope(q[:, i]), _rope(k[:, i * groups // heads]), v[:, i * groups // heads]) for i in range(heads)
        ]
        x = x + np.concatenate(mixed, 1) @ t[at + "self_attn.o_proj.weight"].T
        h = _rms(x) * t[at + "post_attention_layernorm.weight"]
        router = t.get(at + "block_sparse_moe.gate.weight")
        if router is None:
            x = x + _gated(h, *(t[f"{at}mlp.{n}_proj.weight"] for n in ("gate", "up", "down")))
        else:
            scores = _softmax(h @ router.T)
            # With all experts chosen there is no cut to agree on.
            for e in range(len(router)):
                one = f"{at}block_sparse_moe.experts.{e}."
                x = x + scores[:, e : e + 1] * _gated(h, *(t[f"{one}{n}.weight"] for n in ("w1", "w3", "w2")))
    head = t.get("lm_head.weight", t["model.embed_tokens.weight"])
    found: Array = (_rms(x) * t["model.norm.weight"]) @ head.T
    return found


def _rms(x: Array) -> Array:
    normed: Array = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6)
    return normed


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    shares: Array = e / e.sum(-1, keepdims=True)
    return shares


def _rope(x: Array) -> Array:
    half = x.shape[1] // 2
    angle = np.arange(len(x))[:, None] * 10000.0 ** (-np.arange(half) / half)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.concatenate([x[:, :half] * cos - x[:, half:] * sin, x[:, half:] * cos + x[:, :half] * sin], 1)


def _attend(q: Array, k: Array, v: Array) -> Array:
    scores = q @ k.T / np.sqrt(q.shape[1])
    mixed: Array = _softmax(np.where(np.tril(np.ones_like(scores)) > 0, scores, -np.inf)) @ v
    return mixed


def _gated(h: Array, gate: Array, up: Array, down: Array) -> Array:
    z = h @ gate.T
    out: Array = (z / (1 + np.exp(-z)) * (h @ up.T)) @ down.T
    return out
