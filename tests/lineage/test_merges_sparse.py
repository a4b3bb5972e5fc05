"""TIES and DARE merges, made by the published formulas as mergekit applies them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tests.lineage.test_merges import Made, family, found, measured, mixed, to_bf16, to_int8
from tests.models import Tensors, noisy

__all__ = ["measured"]


def merged(
    method: str,
    models: Sequence[Tensors],
    weights: Sequence[float],
    densities: Sequence[float],
    *,
    normalize: bool = False,
    scale: float = 1.0,
) -> Tensors:
    """`models[0]` is the base."""
    rng = np.random.default_rng(0)
    base, *tuned = models
    made: Tensors = {}
    for name, origin in base.items():
        if origin.ndim != 2:
            made[name] = origin
            continue
        changes = []
        for model, density in zip(tuned, densities, strict=True):
            change = (model[name] - origin).astype(np.float64)
            if method == "ties":
                least = np.sort(np.abs(change).ravel())[-int(density * change.size)]
                changes.append(np.where(np.abs(change) >= least, change, 0.0))
            else:
                changes.append(np.where(rng.random(change.shape) < density, change / density, 0.0))
        share = np.array(weights).reshape(-1, 1, 1)
        weighted = np.array(changes) * share
        mask = np.ones(weighted.shape)
        if method != "dare_linear":
            mask = np.sign(weighted) == np.where(weighted.sum(axis=0) >= 0, 1.0, -1.0)
        total = (weighted * mask).sum(axis=0)
        if normalize:
            present = (share * mask).sum(axis=0)
            total = total / np.where(present == 0, 1.0, present)
        made[name] = (origin + scale * total).astype(np.float32)
    return made


@pytest.mark.parametrize("density", [0.2, 0.5])
@pytest.mark.parametrize("weights", [(0.5,), (0.6, 0.4), (0.5, 0.3, 0.2)])
def test_ties(measured: Made, density: float, weights: tuple[float, ...]) -> None:
    base, *tuned = family(3)
    artifact = merged("ties", [base, *tuned[: len(weights)]], weights, [density] * len(weights), normalize=True)
    merge = found(measured, artifact, *tuned, base)
    assert (merge.recipe, merge.base) == ("ties", "d"), merge
    for name, weight in zip("abc", weights, strict=False):
        assert merge.parameters[f"weight:{name}"] == pytest.approx(weight / sum(weights), abs=0.02)
        assert merge.parameters[f"density:{name}"] == pytest.approx(density, abs=0.03)
    assert merge.parameters["normalize"] == 1.0
    assert merge.parameters["lambda"] == pytest.approx(1.0, abs=0.02)
    assert merge.mergekit["merge_method"] == "ties"


def test_ties_that_is_not_normalized(measured: Made) -> None:
    base, a, b, c = family(3)
    artifact = merged("ties", [base, a, b], [0.6, 0.5], [0.4, 0.7])
    merge = found(measured, artifact, a, b, c, base)
    assert (merge.recipe, merge.base, merge.parameters["normalize"]) == ("ties", "d", 0.0)
    assert merge.parameters["weight:a"] == pytest.approx(0.6, abs=0.02)
    assert merge.parameters["weight:b"] == pytest.approx(0.5, abs=0.02)
    assert merge.parameters["density:a"] == pytest.approx(0.4, abs=0.03)
    assert merge.parameters["density:b"] == pytest.approx(0.7, abs=0.03)
    assert merge.weights["c"] == 0.0


def test_ties_with_a_scale(measured: Made) -> None:
    base, a, b, c = family(3)
    artifact = merged("ties", [base, a, b], [0.5, 0.5], [0.5, 0.5], normalize=True, scale=0.8)
    merge = found(measured, artifact, a, b, c, base)
    assert merge.recipe == "ties"
    assert merge.parameters["lambda"] == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize("method", ["dare_linear", "dare_ties"])
@pytest.mark.parametrize(("density", "weights"), [(0.2, (0.5, 0.4)), (0.5, (0.5, 0.3, 0.3)), (0.9, (0.5, 0.4))])
def test_dare(measured: Made, method: str, density: float, weights: tuple[float, ...]) -> None:
    base, *tuned = family(3)
    artifact = merged(method, [base, *tuned[: len(weights)]], weights, [density] * len(weights))
    merge = found(measured, artifact, *tuned, base)
    assert (merge.recipe, merge.base) == (method, "d"), merge
    for name, weight in zip("abc", weights, strict=False):
        assert merge.parameters[f"weight:{name}"] == pytest.approx(weight, abs=0.03)
        assert merge.parameters[f"density:{name}"] == pytest.approx(density, abs=0.03)


def test_dare_of_one_model(measured: Made) -> None:
    base, a, b, c = family(3)
    merge = found(measured, merged("dare_linear", [base, a], [0.7], [0.5]), a, b, c, base)
    assert (merge.recipe, merge.base, merge.parents) == ("dare_linear", "d", ("a",))
    assert merge.parameters["weight:a"] == pytest.approx(0.7, abs=0.02)


@pytest.mark.parametrize("method", ["ties", "dare_linear", "dare_ties"])
def test_recipes_are_seen_through_bf16(measured: Made, method: str) -> None:
    base, a, b, c = (to_bf16(m) for m in family(3))
    artifact = to_bf16(merged(method, [base, a, b], [0.5, 0.5], [0.5, 0.5], normalize=method == "ties"))
    merge = found(measured, artifact, a, b, c, base)
    assert (merge.recipe, merge.base) == (method, "d")
    assert merge.parameters["weight:a"] == pytest.approx(0.5, abs=0.03)
    assert merge.parameters["density"] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("method", ["ties", "dare_linear"])
def test_nothing_is_claimed_without_the_base_or_through_integers(measured: Made, method: str) -> None:
    base, a, b, c = family(3)
    artifact = merged(method, [base, a, b], [0.5, 0.5], [0.5, 0.5], normalize=method == "ties")
    assert found(measured, artifact, a, b, c).recipe in ("linear", "unknown")
    merge = found(measured, to_int8(artifact), a, b, c, base)
    assert merge.recipe in ("linear", "unknown")
    assert merge.weights["a"] == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("share", [0.001, 0.01])
def test_rounding_alone_is_neither(measured: Made, share: float) -> None:
    """Small changes vanish in bf16, in the candidates as in the artifact."""
    base = to_bf16(family(3)[0])
    a, b, c = (to_bf16(noisy(base, share, seed=s)) for s in (41, 42, 43))
    for artifact in (
        to_bf16(mixed([a, b], [0.6, 0.4])),
        to_bf16(mixed([a, b, base], [0.7, 0.7, -0.4])),
        to_bf16(noisy(base, share, seed=44)),
    ):
        assert found(measured, artifact, a, b, c, base).recipe in ("linear", "task_arithmetic", "single", "unknown")


def test_a_fine_tune_that_left_most_weights_alone_is_not_dare(measured: Made) -> None:
    base, a, b, c = family(3)
    rng = np.random.default_rng(3)
    artifact = {
        n: np.where(rng.random(v.shape) < 0.7, v, noisy(base, 0.03, 9)[n]).astype(np.float32) for n, v in base.items()
    }
    merge = found(measured, artifact, a, b, c, base)
    assert (merge.recipe, merge.parents) == ("single", ("d",))
