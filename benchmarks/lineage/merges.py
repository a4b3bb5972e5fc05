"""Merges, by the formulas of mergekit. All models have the same shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.lineage.anatomy import Array, layer_of
from benchmarks.lineage.store import Checkpoint


def _each(model: Checkpoint, change: Callable[[str, Array], Array]) -> Checkpoint:
    return model.with_({n: change(n, v).astype(np.float32) for n, v in model.tensors.items()})


def linear(models: Sequence[Checkpoint], weights: Sequence[float]) -> Checkpoint:
    """Weighted mean."""
    total = sum(weights)

    def change(name: str, value: Array) -> Array:
        mixed = np.zeros_like(value)
        for model, weight in zip(models, weights, strict=True):
            mixed += np.float32(weight / total) * model.tensors[name]
        return mixed

    return _each(models[0], change)


def slerp(first: Checkpoint, second: Checkpoint, t: float, per_layer: bool = False) -> Checkpoint:
    """Spherical interpolation of each tensor; per layer, t runs from 0 in the first layer to 2t in the last."""
    last = max(1, first.layers - 1)

    def change(name: str, value: Array) -> Array:
        layer = layer_of(name)
        share = 2 * t * layer / last if per_layer and layer is not None else t
        return _slerp(value, second.tensors[name], share)

    return _each(first, change)


def _slerp(a: Array, b: Array, t: float) -> Array:
    cosine = float(np.sum(a * b) / max(1e-12, float(np.linalg.norm(a) * np.linalg.norm(b))))
    if abs(cosine) > 0.9995:
        return (1 - t) * a + t * b
    angle = float(np.arccos(np.clip(cosine, -1, 1)))
    mixed: Array = (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)
    return mixed


def task_arithmetic(base: Checkpoint, tuned: Sequence[Checkpoint], weight: float) -> Checkpoint:
    """The base plus weighted differences."""
    return _each(base, lambda n, v: v + weight * sum(m.tensors[n] - v for m in tuned))


def ties(base: Checkpoint, tuned: Sequence[Checkpoint], density: float) -> Checkpoint:
    """Differences trimmed to the largest share, signs elected by their sum, the agreeing ones averaged."""

    def change(name: str, value: Array) -> Array:
        deltas = np.stack([_trim(m.tensors[name] - value, density) for m in tuned])
        agrees = (np.sign(deltas) == np.sign(deltas.sum(0))) & (deltas != 0)
        mean: Array = (deltas * agrees).sum(0) / np.maximum(agrees.sum(0), 1)
        return value + mean

    return _each(base, change)


def dare(base: Checkpoint, tuned: Sequence[Checkpoint], drop: float, rng: np.random.Generator) -> Checkpoint:
    """Differences dropped at random, the rest scaled up, then added with equal weights (dare_linear)."""

    def change(name: str, value: Array) -> Array:
        kept = [(m.tensors[name] - value) * (rng.random(value.shape) >= drop) / (1 - drop) for m in tuned]
        return value + sum(kept) / len(kept)

    return _each(base, change)


def _trim(delta: Array, density: float) -> Array:
    keep = max(1, int(density * delta.size))
    floor = np.partition(np.abs(delta).ravel(), delta.size - keep)[delta.size - keep]
    return np.where(np.abs(delta) >= floor, delta, 0).astype(np.float32)
