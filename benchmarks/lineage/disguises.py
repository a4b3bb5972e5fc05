"""Changes of the weights that keep the function: what hides a model from a comparison of tensors.

Each takes and returns a model under short names (`anatomy.open_up`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from benchmarks.lineage.anatomy import READERS, RMS, WRITERS, Array, heads_of, kind_of, layer_of, part
from benchmarks.lineage.store import Checkpoint, Json, Tensors

Disguise = Callable[[Checkpoint, np.random.Generator], Checkpoint]


def rotation(rng: np.random.Generator, size: int) -> Array:
    """A random orthogonal matrix."""
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    turned: Array = (q * np.sign(np.diag(r))).astype(np.float32)
    return turned


def permute_neurons(model: Checkpoint, rng: np.random.Generator) -> Checkpoint:
    """The units of each FFN (of each expert) in another order, and the experts of each layer too."""
    tensors = dict(model.tensors)
    for block in _blocks(tensors):
        order = rng.permutation(tensors[f"{block}.up.weight"].shape[0])
        for name in (f"{block}.gate.weight", f"{block}.up.weight", f"{block}.up.bias"):
            if name in tensors:
                tensors[name] = tensors[name][order]
        tensors[f"{block}.down.weight"] = tensors[f"{block}.down.weight"][:, order]
    for router in [n for n in tensors if part(n) == "router"]:
        order = rng.permutation(len(tensors[router]))
        tensors[router] = tensors[router][order]
        layer = layer_of(router)
        moved = {}
        for new, old in enumerate(order):
            for name in ("gate", "up", "down"):
                moved[f"{layer}.e{new}.{name}.weight"] = tensors[f"{layer}.e{old}.{name}.weight"]
        tensors |= moved
    return replace(model, tensors=tensors)


def permute_heads(model: Checkpoint, rng: np.random.Generator) -> Checkpoint:
    """Heads in another order within each group, and the groups too."""
    tensors = dict(model.tensors)
    heads, groups = heads_of(model)
    each = heads // groups
    for layer in _layers(tensors):
        group_order = rng.permutation(groups)
        query_order = np.concatenate([g * each + rng.permutation(each) for g in group_order])
        for letter, order in (("q", query_order), ("k", group_order), ("v", group_order)):
            for name in _with_bias(tensors, f"{layer}.{letter}"):
                value = tensors[name]
                tensors[name] = value.reshape(len(order), -1, *value.shape[1:])[order].reshape(value.shape)
        writer = tensors[f"{layer}.o.weight"]
        tensors[f"{layer}.o.weight"] = writer.reshape(len(writer), heads, -1)[:, query_order].reshape(writer.shape)
    return replace(model, tensors=tensors)


def permute_residual(model: Checkpoint, rng: np.random.Generator) -> Checkpoint:
    """The dimensions of the residual stream in another order."""
    width = model.tensors["embed.weight"].shape[1]
    order = rng.permutation(width)
    return _change_residual(model, lambda m: m[:, order], lambda m: m[order], lambda v: v[order])


def flip_signs(model: Checkpoint, rng: np.random.Generator) -> Checkpoint:
    """Half of the dimensions of the residual stream negated (RMSNorm only)."""
    signs = rng.choice(np.array([-1, 1], np.float32), model.tensors["embed.weight"].shape[1])
    return _change_residual(model, lambda m: m * signs, lambda m: m * signs[:, None], lambda v: v)


def fold_norms(model: Checkpoint, rng: np.random.Generator) -> Checkpoint:
    """Norm gains multiplied into the matrices that read them; all gains 1 (RMSNorm only)."""
    tensors = _untied(model)
    for name in list(tensors):
        which = "norm1" if part(name) in "qkv" else "norm2"
        if layer_of(name) is not None and part(name) in READERS and name.endswith("weight"):
            tensors[name] = tensors[name] * tensors[f"{layer_of(name)}.{which}.weight"]
    tensors["head.weight"] = tensors["head.weight"] * tensors["final.weight"]
    for name in tensors:
        if "norm" in part(name) or part(name) == "final":
            tensors[name] = np.ones_like(tensors[name])
    return _as_untied(model, tensors)


def rotate_residual(model: Checkpoint, rng: np.random.Generator) -> Checkpoint:
    """The residual stream turned by a random rotation, norms folded first (RMSNorm only)."""
    turn = rotation(rng, model.tensors["embed.weight"].shape[1])
    folded = fold_norms(model, rng)
    return _change_residual(folded, lambda m: m @ turn, lambda m: turn.T @ m, lambda v: v)


def scale_neurons(model: Checkpoint, rng: np.random.Generator) -> Checkpoint:
    """Each unit's up row scaled and its down column scaled back, signs too (gated FFN only)."""
    tensors = dict(model.tensors)
    for block in _blocks(tensors):
        units = len(tensors[f"{block}.up.weight"])
        scale = (np.exp(rng.normal(0, 1, units)) * rng.choice([-1.0, 1.0], units)).astype(np.float32)
        tensors[f"{block}.up.weight"] = tensors[f"{block}.up.weight"] * scale[:, None]
        tensors[f"{block}.down.weight"] = tensors[f"{block}.down.weight"] / scale
    return replace(model, tensors=tensors)


def scale_queries(model: Checkpoint, rng: np.random.Generator) -> Checkpoint:
    """Keys of each group scaled and its queries scaled back."""
    tensors = dict(model.tensors)
    heads, groups = heads_of(model)
    for layer in _layers(tensors):
        scale = np.exp(rng.normal(0, 1, groups)).astype(np.float32)
        for letter, per_head in (("k", scale), ("q", np.float32(1) / np.repeat(scale, heads // groups))):
            for name in _with_bias(tensors, f"{layer}.{letter}"):
                value = tensors[name].reshape(len(per_head), -1)
                tensors[name] = (value * per_head[:, None]).reshape(tensors[name].shape)
    return replace(model, tensors=tensors)


def rotate_values(model: Checkpoint, rng: np.random.Generator) -> Checkpoint:
    """Values of each group turned, and turned back in the output matrix."""
    tensors = dict(model.tensors)
    heads, groups = heads_of(model)
    for layer in _layers(tensors):
        size = len(tensors[f"{layer}.v.weight"]) // groups
        turns = np.stack([rotation(rng, size) for _ in range(groups)])
        for name in _with_bias(tensors, f"{layer}.v"):
            value = tensors[name]
            tensors[name] = np.einsum("gij,gjd->gid", turns, value.reshape(groups, size, -1)).reshape(value.shape)
        writer = tensors[f"{layer}.o.weight"]
        by_head = writer.reshape(len(writer), groups, heads // groups, size)
        tensors[f"{layer}.o.weight"] = np.einsum("dghj,gij->dghi", by_head, turns).reshape(writer.shape)
    return replace(model, tensors=tensors)


def reorder_tokens(model: Checkpoint, rng: np.random.Generator) -> Checkpoint:
    """Token ids in another order: rows of the tables, and the ids of tokenizer.json."""
    size = len(model.tensors["embed.weight"])
    order = rng.permutation(size)
    place = np.argsort(order)
    tensors = dict(model.tensors)
    for name in ("embed.weight", "head.weight", "head.bias"):
        if name in tensors:
            tensors[name] = tensors[name][order]
    return replace(model, tensors=tensors, tokenizer=with_ids(model.tokenizer, lambda i: int(place[i])))


def with_ids(tokenizer: Json, change: Callable[[int], int]) -> Json:
    """tokenizer.json with other ids."""
    body, added = tokenizer["model"], tokenizer["added_tokens"]
    assert isinstance(body, dict)
    assert isinstance(added, list)
    vocabulary = {token: change(i) for token, i in body["vocab"].items()}
    vocabulary = dict(sorted(vocabulary.items(), key=lambda item: item[1]))
    moved = sorted(({**token, "id": change(token["id"])} for token in added), key=lambda token: token["id"])
    return {**tokenizer, "model": {**body, "vocab": vocabulary}, "added_tokens": moved}


ANY: Final[Mapping[str, Disguise]] = {
    "neurons permuted": permute_neurons,
    "heads permuted": permute_heads,
    "residual permuted": permute_residual,
    "queries scaled": scale_queries,
    "values rotated": rotate_values,
    "tokens reordered": reorder_tokens,
}
RMS_ONLY: Final[Mapping[str, Disguise]] = {
    "signs flipped": flip_signs,
    "norms folded": fold_norms,
    "residual rotated": rotate_residual,
    "neurons scaled": scale_neurons,
}


def disguises_for(model: Checkpoint) -> dict[str, Disguise]:
    """Those that keep the function of this architecture."""
    kind = kind_of(model)
    found = {**ANY, **(RMS_ONLY if kind in RMS else {})}
    if kind == "sinusoidal_llama":
        # Fixed positions are no tensor: nothing could be permuted with the stream.
        for name in ("residual permuted", "signs flipped", "residual rotated"):
            del found[name]
    return found


def disguise(model: Checkpoint, rng: np.random.Generator) -> Checkpoint:
    """All of them together."""
    for change in disguises_for(model).values():
        model = change(model, rng)
    return model


def _change_residual(
    model: Checkpoint, read: Callable[[Array], Array], write: Callable[[Array], Array], gain: Callable[[Array], Array]
) -> Checkpoint:
    tensors: Tensors = {}
    for name, value in model.tensors.items():
        role, bias = part(name), name.endswith("bias")
        if role == "transform" and not bias:
            tensors[name] = write(read(value))
        elif role in WRITERS and not bias:
            tensors[name] = write(value)
        elif role in (*WRITERS, "transform", "final") or "norm" in role:
            tensors[name] = gain(value)
        elif bias:
            tensors[name] = value
        else:
            tensors[name] = read(value)
    return replace(model, tensors=tensors)


def _blocks(tensors: Tensors) -> list[str]:
    return [n.removesuffix(".up.weight") for n in sorted(tensors) if n.endswith(".up.weight")]


def _layers(tensors: Tensors) -> list[int]:
    return sorted({int(n.split(".")[0]) for n in tensors if n.endswith(".q.weight")})


def _with_bias(tensors: Tensors, path: str) -> list[str]:
    return [n for n in (f"{path}.weight", f"{path}.bias") if n in tensors]


def _untied(model: Checkpoint) -> Tensors:
    tensors = dict(model.tensors)
    tensors.setdefault("head.weight", tensors["embed.weight"].copy())
    return tensors


def _as_untied(model: Checkpoint, tensors: Tensors) -> Checkpoint:
    return model.with_(tensors, tie_word_embeddings=False)
