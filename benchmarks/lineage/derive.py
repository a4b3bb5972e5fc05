"""Mechanical derivations (numpy): numbers changed, parts removed, added or copied. Merges and disguises have files of their own.

Each takes and returns a model under short names (`anatomy.open_up`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.lineage.anatomy import Array, count_layers, heads_of, kind_of, layer_of, part
from benchmarks.lineage.store import Checkpoint, Json, Tensors, number

Units = NDArray[np.int64]

_NF4 = np.array(
    # Quantiles of the normal distribution: Dettmers et al., QLoRA, arXiv:2305.14314, appendix E.
    [
        *(-1.0, -0.6962, -0.5251, -0.3949, -0.2844, -0.1848, -0.0911, 0.0),
        *(0.0796, 0.1609, 0.2461, 0.3379, 0.4407, 0.5626, 0.7230, 1.0),
    ],
    np.float32,
)


def _matrices(model: Checkpoint, change: Callable[[Array], Array]) -> Checkpoint:
    """Every matrix of the layers changed."""
    kept = {
        n: change(v).astype(np.float32) if v.ndim == 2 and layer_of(n) is not None else v
        for n, v in model.tensors.items()
    }
    return replace(model, tensors=kept)


def cast(model: Checkpoint, dtype: str) -> Checkpoint:
    """Stored in another type."""
    return replace(model, dtype=dtype)


def int8(model: Checkpoint) -> Checkpoint:
    """Rounded to 8 bits, one scale per row."""

    def change(v: Array) -> Array:
        scale = np.maximum(np.abs(v).max(1, keepdims=True) / 127, 1e-12)
        rounded: Array = np.round(v / scale) * scale
        return rounded

    return _matrices(model, change)


def int4(model: Checkpoint) -> Checkpoint:
    """Rounded to 4 bits, scale and zero point per group of 32."""

    def change(v: Array) -> Array:
        low, high = v.min(1, keepdims=True), v.max(1, keepdims=True)
        scale = np.maximum((high - low) / 15, 1e-12)
        rounded: Array = np.round((v - low) / scale) * scale + low
        return rounded

    return _matrices(model, lambda v: _grouped(v, 32, change))


def nf4(model: Checkpoint) -> Checkpoint:
    """Rounded to the 16 values of NF4, one scale per group of 64."""

    def change(v: Array) -> Array:
        scale = np.maximum(np.abs(v).max(1, keepdims=True), 1e-12)
        nearest = np.abs((v / scale)[..., None] - _NF4).argmin(-1)
        rounded: Array = _NF4[nearest] * scale
        return rounded

    return _matrices(model, lambda v: _grouped(v, 64, change))


def _grouped(values: Array, size: int, change: Callable[[Array], Array]) -> Array:
    flat = values.ravel()
    padded = np.concatenate([flat, np.zeros(-len(flat) % size, np.float32)])
    return change(padded.reshape(-1, size)).ravel()[: len(flat)].reshape(values.shape)


def noise(model: Checkpoint, share: float, rng: np.random.Generator) -> Checkpoint:
    """Gaussian noise of this share of each matrix's standard deviation."""
    return _matrices(model, lambda v: v + np.float32(share * v.std()) * rng.standard_normal(v.shape, np.float32))


def prune(model: Checkpoint, share: float) -> Checkpoint:
    """The smallest values of each matrix set to zero."""
    return _matrices(model, lambda v: np.where(np.abs(v) < np.quantile(np.abs(v), share), 0, v))


def abliterate(model: Checkpoint, rng: np.random.Generator) -> Checkpoint:
    """One direction of the residual stream taken out of everything that writes to it."""
    direction = rng.standard_normal((model.tensors["embed.weight"].shape[1],)).astype(np.float32)
    direction /= np.linalg.norm(direction)
    tensors = dict(model.tensors)
    for name, value in tensors.items():
        if part(name) in ("o", "down") and name.endswith("weight"):
            tensors[name] = value - np.outer(direction, direction @ value)
    table = tensors["embed.weight"]
    tensors["embed.weight"] = table - np.outer(table @ direction, direction)
    return replace(model, tensors=tensors)


def stack(sources: Sequence[tuple[Checkpoint, int]]) -> Checkpoint:
    """Passthrough: the layers named, one after the other; the rest from the first model."""
    model = sources[0][0]
    tensors = {n: v for n, v in model.tensors.items() if layer_of(n) is None}
    for place, (origin, layer) in enumerate(sources):
        for name, value in origin.tensors.items():
            if layer_of(name) == layer:
                tensors[f"{place}.{name.partition('.')[2]}"] = value.copy()
    return count_layers(replace(model, tensors=tensors), len(sources))


def layer_map(model: Checkpoint, layers: Sequence[int]) -> Checkpoint:
    """Layers dropped, repeated or moved."""
    return stack([(model, layer) for layer in layers])


def expand_blocks(model: Checkpoint) -> Checkpoint:
    """After every second layer a copy of it that writes nothing yet (LLaMA Pro, arXiv:2401.02415)."""
    order = [(layer, copy) for layer in range(model.layers) for copy in ((False, True) if layer % 2 else (False,))]
    grown = layer_map(model, [layer for layer, _ in order])
    for place, (_, copy) in enumerate(order):
        if copy:
            for name in [n for n in grown.tensors if layer_of(n) == place and part(n) in ("o", "down")]:
                grown.tensors[name] = np.zeros_like(grown.tensors[name])
    return grown


def extend_vocabulary(model: Checkpoint, rng: np.random.Generator, count: int = 200) -> Checkpoint:
    """New tokens at the end, their rows the mean row plus noise."""
    size = len(model.tensors["embed.weight"])
    tensors = dict(model.tensors)
    for name in ("embed.weight", "head.weight", "head.bias"):
        if name in tensors:
            old = tensors[name]
            new = old.mean(0) + old.std(0) * rng.standard_normal((count, *old.shape[1:]))
            tensors[name] = np.concatenate([old, new]).astype(np.float32)
    return replace(model, tensors=tensors, tokenizer=_added(model.tokenizer, size, count)).with_(
        vocab_size=size + count
    )


def _added(tokenizer: Json, first: int, count: int) -> Json:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    old = tokenizer["added_tokens"]
    assert isinstance(old, list)
    return {
        **tokenizer,
        "added_tokens": [*old, *({"id": first + i, "content": f"<|new_{i}|>", **flags} for i in range(count))],
    }


def truncate_vocabulary(model: Checkpoint, count: int = 400) -> Checkpoint:
    """The last tokens gone: rows, strings and the merges that need them."""
    size = len(model.tensors["embed.weight"]) - count
    tensors = dict(model.tensors)
    for name in ("embed.weight", "head.weight", "head.bias"):
        if name in tensors:
            tensors[name] = tensors[name][:size]
    body = model.tokenizer["model"]
    assert isinstance(body, dict)
    kept = {token: i for token, i in body["vocab"].items() if i < size}
    body = {**body, "vocab": kept}
    if "merges" in body:
        pairs = [m if isinstance(m, list) else m.split(" ") for m in body["merges"]]
        body["merges"] = [p for p in pairs if p[0] in kept and p[1] in kept and "".join(p) in kept]
    return replace(model, tensors=tensors, tokenizer={**model.tokenizer, "model": body}).with_(vocab_size=size)


def _field(model: Checkpoint, *names: str) -> str:
    return next(n for n in names if n in model.config)


def _neurons(model: Checkpoint, choose: Callable[[int], tuple[Units, Array]]) -> Checkpoint:
    """Each FFN block rebuilt from chosen units; `choose` gives their numbers and the factors of their down columns."""
    tensors = dict(model.tensors)
    width = 0
    for name in [n for n in tensors if n.endswith(".up.weight")]:
        block = name.removesuffix(".up.weight")
        units, factors = choose(len(tensors[name]))
        for reader in (f"{block}.gate.weight", f"{block}.up.weight", f"{block}.up.bias"):
            if reader in tensors:
                tensors[reader] = tensors[reader][units]
        tensors[f"{block}.down.weight"] = tensors[f"{block}.down.weight"][:, units] * factors
        width = len(units)
    more: Json = {_field(model, "n_inner", "intermediate_size"): width}
    return replace(model, tensors=tensors, config={**model.config, **more})


def remove_neurons(model: Checkpoint, rng: np.random.Generator, share: float = 0.25) -> Checkpoint:
    """A share of the units of each FFN gone."""

    def choose(count: int) -> tuple[Units, Array]:
        kept = np.sort(rng.choice(count, round(count * (1 - share)), replace=False))
        return kept, np.ones(len(kept), np.float32)

    return _neurons(model, choose)


def copy_neurons(model: Checkpoint, rng: np.random.Generator, share: float = 0.5) -> Checkpoint:
    """A share of the units twice, each writing a half: the same function (Net2Wider, arXiv:1511.05641)."""

    def choose(count: int) -> tuple[Units, Array]:
        twice = np.sort(rng.choice(count, round(count * share), replace=False))
        units = np.concatenate([np.arange(count), twice])
        return units, np.where(np.isin(units, twice), 0.5, 1.0).astype(np.float32)

    return _neurons(model, choose)


def remove_heads(model: Checkpoint) -> Checkpoint:
    """The last query head of each group gone; without groups, the last head."""
    heads, groups = heads_of(model)
    each = heads // groups
    kept = [h for h in range(heads) if h % each != each - 1] if each > 1 else list(range(heads - 1))
    tensors = dict(model.tensors)
    for layer in range(model.layers):
        for letter in "q" if each > 1 else "qkv":
            for name in (f"{layer}.{letter}.weight", f"{layer}.{letter}.bias"):
                if name in tensors:
                    value = tensors[name]
                    tensors[name] = value.reshape(heads, -1, *value.shape[1:])[kept].reshape(-1, *value.shape[1:])
        writer = tensors[f"{layer}.o.weight"]
        tensors[f"{layer}.o.weight"] = writer.reshape(len(writer), heads, -1)[:, kept].reshape(len(writer), -1)
    size = number(model.config, "hidden_size", "n_embd") // heads
    more: Json = {_field(model, "num_attention_heads", "n_head"): len(kept), "head_dim": size}
    if "num_key_value_heads" in model.config and each == 1:
        more["num_key_value_heads"] = len(kept)
    return replace(model, tensors=tensors, config={**model.config, **more})


def widen_residual(model: Checkpoint, rng: np.random.Generator) -> Checkpoint:
    """Every dimension of the residual stream twice, read in random shares: the same function (RMSNorm only)."""
    tensors: Tensors = {}
    source = dict(model.tensors)
    source.setdefault("head.weight", source["embed.weight"].copy())
    for name, value in source.items():
        role = part(name)
        if name.endswith("bias"):
            tensors[name] = value
        elif role in ("o", "down"):
            tensors[name] = np.concatenate([value, value])
        elif role == "embed":
            tensors[name] = np.concatenate([value, value], 1)
        elif value.ndim == 1:
            tensors[name] = np.concatenate([value, value])
        else:
            share = rng.uniform(0.3, 0.7, (value.shape[1],)).astype(np.float32)
            tensors[name] = np.concatenate([value * share, value * (1 - share)], 1)
    width = number(model.config, "hidden_size")
    size = width // heads_of(model)[0]
    return model.with_(tensors, hidden_size=2 * width, head_dim=size, tie_word_embeddings=False)


def upcycle(model: Checkpoint, rng: np.random.Generator, experts: int = 4) -> Checkpoint:
    """Dense to mixture of experts: each expert a copy with 1 % noise, the router random (arXiv:2212.05055)."""
    tensors: Tensors = {}
    for name, value in model.tensors.items():
        layer = layer_of(name)
        if layer is None or part(name) not in ("gate", "up", "down"):
            tensors[name] = value
            continue
        for e in range(experts):
            noisy = value + np.float32(0.01 * value.std()) * rng.standard_normal(value.shape, np.float32)
            tensors[f"{layer}.e{e}.{part(name)}.weight"] = noisy
        tensors[f"{layer}.router.weight"] = (
            0.02 * rng.standard_normal((experts, model.tensors["embed.weight"].shape[1]))
        ).astype(np.float32)
    more: Json = {"model_type": "mixtral", "architectures": ["MixtralForCausalLM"]}
    more |= {"num_local_experts": experts, "num_experts_per_tok": 2}
    return replace(model, tensors=tensors, config={**model.config, **more})


def is_gated(model: Checkpoint) -> bool:
    """Whether `widen_residual` and `upcycle` apply."""
    return kind_of(model) in ("llama", "qwen2")
