"""Function-preserving disguises of a Llama in numpy: what somebody would do to hide where weights came from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.models import FEED_FORWARD, GROUPS, HEADS, HIDDEN, LAYERS, Tensors, tokenizer

READERS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj")
WRITERS = ("self_attn.o_proj", "mlp.down_proj")
NORM_OF = {"self_attn": "input_layernorm", "mlp": "post_attention_layernorm"}
WIDTH = HIDDEN // HEADS
PER = HEADS // GROUPS
Matrix = NDArray[np.float32]
Disguise = Callable[[Tensors, np.random.Generator], Tensors]


def _layers(tensors: Tensors) -> list[str]:
    count = 1 + max(int(k.split(".")[2]) for k in tensors if k.startswith("model.layers."))
    return [f"model.layers.{i}." for i in range(count)]


def _is_reader(name: str) -> bool:
    return any(r in name for r in READERS) or name in ("model.embed_tokens.weight", "lm_head.weight")


def _is_writer(name: str) -> bool:
    return any(w in name for w in WRITERS)


def _in_stream(tensors: Tensors, right: Callable[[Matrix], Matrix], norm: Callable[[Matrix], Matrix]) -> Tensors:
    """The residual stream changed: readers and tables by `right`, writers by its transpose."""
    out = {}
    for name, value in tensors.items():
        if _is_reader(name):
            out[name] = right(value)
        elif _is_writer(name):
            out[name] = right(value.T).T
        else:
            out[name] = norm(value)
    return out


def rotation(size: int, rng: np.random.Generator) -> Matrix:
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    return np.asarray(q * np.sign(np.diag(r)), np.float32)


def reorder_neurons(tensors: Tensors, rng: np.random.Generator) -> Tensors:
    out = dict(tensors)
    for at in _layers(tensors):
        order = rng.permutation(tensors[f"{at}mlp.up_proj.weight"].shape[0])
        for name in ("gate_proj", "up_proj"):
            out[f"{at}mlp.{name}.weight"] = tensors[f"{at}mlp.{name}.weight"][order]
        out[f"{at}mlp.down_proj.weight"] = tensors[f"{at}mlp.down_proj.weight"][:, order]
    return out


def reorder_heads(tensors: Tensors, rng: np.random.Generator) -> Tensors:
    out = dict(tensors)
    for at in _layers(tensors):
        groups = rng.permutation(GROUPS)
        heads = np.concatenate([g * PER + rng.permutation(PER) for g in groups])
        for name, order in (("q_proj", heads), ("k_proj", groups), ("v_proj", groups)):
            value = tensors[f"{at}self_attn.{name}.weight"]
            out[f"{at}self_attn.{name}.weight"] = value.reshape(len(order), WIDTH, -1)[order].reshape(value.shape)
        value = tensors[f"{at}self_attn.o_proj.weight"]
        out[f"{at}self_attn.o_proj.weight"] = value.reshape(-1, HEADS, WIDTH)[:, heads].reshape(value.shape)
    return out


def scale_pairs(tensors: Tensors, rng: np.random.Generator) -> Tensors:
    out = dict(tensors)
    for at in _layers(tensors):
        up = np.exp(rng.normal(0, 1, FEED_FORWARD)) * rng.choice([-1, 1], FEED_FORWARD)
        out[f"{at}mlp.up_proj.weight"] = tensors[f"{at}mlp.up_proj.weight"] * up[:, None]
        out[f"{at}mlp.down_proj.weight"] = tensors[f"{at}mlp.down_proj.weight"] / up
        keys = np.exp(rng.normal(0, 1, GROUPS))
        out[f"{at}self_attn.k_proj.weight"] = tensors[f"{at}self_attn.k_proj.weight"] * np.repeat(keys, WIDTH)[:, None]
        queries = np.repeat(keys, PER * WIDTH)[:, None]
        out[f"{at}self_attn.q_proj.weight"] = tensors[f"{at}self_attn.q_proj.weight"] / queries
    return out


def rotate_values(tensors: Tensors, rng: np.random.Generator) -> Tensors:
    out = dict(tensors)
    for at in _layers(tensors):
        value = tensors[f"{at}self_attn.v_proj.weight"].reshape(GROUPS, WIDTH, -1)
        output = tensors[f"{at}self_attn.o_proj.weight"].reshape(-1, GROUPS, PER, WIDTH)
        turns = np.stack([rotation(WIDTH, rng) for _ in range(GROUPS)])
        out[f"{at}self_attn.v_proj.weight"] = (turns @ value).reshape(GROUPS * WIDTH, -1)
        turned = np.einsum("rgpi,gji->rgpj", output, turns)
        out[f"{at}self_attn.o_proj.weight"] = turned.reshape(len(output), HEADS * WIDTH)
    return out


def fold_norms(tensors: Tensors, rng: np.random.Generator) -> Tensors:
    out = dict(tensors)
    for name, value in tensors.items():
        reader = next((r for r in READERS if r in name), None)
        if reader:
            gain = name.split(reader)[0] + NORM_OF[reader.split(".")[0]] + ".weight"
            out[name] = value * tensors[gain]
        elif name == "lm_head.weight":
            out[name] = value * tensors["model.norm.weight"]
        elif "norm" in name:
            out[name] = np.ones_like(value)
    return out


def reorder_stream(tensors: Tensors, rng: np.random.Generator) -> Tensors:
    order = rng.permutation(HIDDEN)
    return _in_stream(tensors, lambda v: v[:, order], lambda g: g[order])


def flip_signs(tensors: Tensors, rng: np.random.Generator) -> Tensors:
    signs = rng.choice(np.array([-1, 1], np.float32), HIDDEN)
    return _in_stream(tensors, lambda v: v * signs, lambda g: g)


def rotate_stream(tensors: Tensors, rng: np.random.Generator) -> Tensors:
    turn = rotation(HIDDEN, rng)
    return _in_stream(fold_norms(tensors, rng), lambda v: v @ turn, lambda g: g)


DISGUISES: dict[str, Disguise] = {
    "neurons reordered": reorder_neurons,
    "heads reordered": reorder_heads,
    "pairs scaled": scale_pairs,
    "values rotated": rotate_values,
    "norms folded": fold_norms,
    "stream reordered": reorder_stream,
    "signs flipped": flip_signs,
    "stream rotated": rotate_stream,
}


def all_together(tensors: Tensors, rng: np.random.Generator) -> Tensors:
    for disguise in DISGUISES.values():
        tensors = disguise(tensors, rng)
    return tensors


def tidy(tensors: Tensors) -> Tensors:
    return {k: np.ascontiguousarray(v, np.float32) for k, v in tensors.items()}


def reorder_tokens(folder: Path, tensors: Tensors, rng: np.random.Generator) -> Tensors:
    """Give every token another id, in tokenizer.json and both tables."""
    order = rng.permutation(len(tensors["model.embed_tokens.weight"]))
    described = tokenizer()
    vocabulary = described["model"]["vocab"]  # type: ignore[index]
    place = np.argsort(order)
    described["model"]["vocab"] = {token: int(place[i]) for token, i in vocabulary.items()}  # type: ignore[index]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(described))
    return tensors | {k: tensors[k][order] for k in ("model.embed_tokens.weight", "lm_head.weight")}


__all__ = ["DISGUISES", "LAYERS", "all_together", "reorder_tokens", "rotation", "tidy"]
