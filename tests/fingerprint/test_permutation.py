"""The exact permutation null: against brute force, and by simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from provenance_gate.fingerprint.permutation import (
    combined_test,
    log10_normal_tail,
    pair_statistics,
    unit_columns,
    unit_rows,
)


def writers(rng: np.random.Generator, count: int, shape: tuple[int, int, int] = (1, 8, 64)) -> list[np.ndarray]:
    return [rng.standard_normal(shape).astype(np.float32) for _ in range(count)]


def test_mean_and_variance_are_those_of_all_permutations() -> None:
    rng = np.random.default_rng(3)
    x, y = (rng.standard_normal((1, 3, 6)).astype(np.float32) for _ in range(2))
    found = pair_statistics([x], [y])
    a, b = (unit_columns(unit_rows(w))[0].astype(np.float64) for w in (x, y))
    values = [float((a * b[:, list(order)]).sum()) for order in itertools.permutations(range(6))]
    assert found.mean[0, 0] == pytest.approx(np.mean(values), abs=1e-5)
    assert found.variance[0, 0] == pytest.approx(np.var(values), rel=1e-4)


def test_strata_are_permuted_on_their_own() -> None:
    rng = np.random.default_rng(4)
    x, y = (rng.standard_normal((2, 2, 4)).astype(np.float32) for _ in range(2))
    found = pair_statistics([x], [y])
    a, b = (unit_columns(unit_rows(w)).astype(np.float64) for w in (x, y))
    orders = list(itertools.permutations(range(4)))
    values = [float((a[0] * b[0][:, list(p)]).sum() + (a[1] * b[1][:, list(q)]).sum()) for p in orders for q in orders]
    assert found.mean[0, 0] == pytest.approx(np.mean(values), abs=1e-5)
    assert found.variance[0, 0] == pytest.approx(np.var(values), rel=1e-4)


def test_z_over_shuffles_of_independent_models_is_standard_normal() -> None:
    rng = np.random.default_rng(5)
    base = writers(rng, 4, (1, 16, 128))
    artifact = writers(rng, 4, (1, 16, 128))
    pairs = [(i, i) for i in range(4)]
    z = []
    for _ in range(2000):
        shuffled = [w[:, :, rng.permutation(128)] for w in artifact]
        test = combined_test(pair_statistics(shuffled, base), pairs)
        assert test is not None
        z.append(test.z)
    assert abs(np.mean(z)) < 0.1
    assert abs(np.std(z) - 1.0) < 0.1


@pytest.mark.parametrize("kind", ["gaussian", "heavy tails", "one huge neuron", "neurons sorted by norm"])
def test_false_positives_stay_within_twice_the_nominal_rate(kind: str) -> None:
    rng = np.random.default_rng(6)
    draws = 3000
    x, y = (_independent(rng, kind, draws) for _ in range(2))
    log10_p = []
    for start in range(0, draws, 2):
        pairs = pair_statistics(x[start : start + 2], y[start : start + 2])
        log10_p += [t.log10_p for i in range(2) if (t := combined_test(pairs, [(i, i)])) is not None]
    for level in (1e-2, 1e-3):
        rate = np.mean(np.array(log10_p) <= math.log10(level))
        allowed = 2 * level + 3 * math.sqrt(2 * level / draws)
        assert rate <= allowed, f"{kind}: {rate} at {level}"


def _independent(rng: np.random.Generator, kind: str, count: int) -> list[np.ndarray]:
    values = rng.standard_t(2, (count, 1, 8, 96)) if kind == "heavy tails" else rng.standard_normal((count, 1, 8, 96))
    if kind == "one huge neuron":
        for matrix in values:
            matrix[:, :, rng.integers(96)] *= 1000.0
    if kind == "neurons sorted by norm":
        values *= np.exp(rng.standard_normal((count, 1, 1, 96)))
        order = np.argsort(np.linalg.norm(values, axis=2), axis=2)
        values = np.take_along_axis(values, order[:, :, None, :], axis=3)
    return list(values.astype(np.float32))


def test_a_dependent_pair_is_seen() -> None:
    rng = np.random.default_rng(7)
    (x,) = writers(rng, 1)
    y = 0.3 * x + rng.standard_normal(x.shape).astype(np.float32)
    test = combined_test(pair_statistics([x], [y]), [(0, 0)])
    assert test is not None
    assert test.log10_p < -4
    assert test.effect > 2 * test.detectable / 3


def test_scaling_rows_and_neurons_changes_nothing() -> None:
    rng = np.random.default_rng(8)
    x, y = writers(rng, 2)
    scaled = (y * rng.uniform(0.5, 2.0, (1, 1, 64))).astype(np.float32)
    plain = pair_statistics([unit_rows(x)], [unit_rows(y)])
    # Column scaling is undone after row scaling, so only the change of the row norms is left.
    assert pair_statistics([x], [scaled]).z[0, 0] == pytest.approx(plain.z[0, 0], abs=0.5)


def test_matrices_of_zeros_give_no_test() -> None:
    zero = np.zeros((1, 4, 16), np.float32)
    pairs = pair_statistics([zero], [zero])
    assert combined_test(pairs, [(0, 0)]) is None
    assert pairs.z[0, 0] == 0.0


def test_unequal_shapes_and_single_units_are_refused() -> None:
    with pytest.raises(ValueError, match="writers of shapes"):
        pair_statistics([np.ones((1, 2, 4), np.float32)], [np.ones((1, 2, 5), np.float32)])
    with pytest.raises(ValueError, match="writers of shapes"):
        pair_statistics([np.ones((1, 2, 1), np.float32)], [np.ones((1, 2, 1), np.float32)])


@pytest.mark.parametrize(("z", "expected"), [(0.0, math.log10(0.5)), (1.6448536, math.log10(0.05)), (4.7534243, -6.0)])
def test_normal_tail_agrees_with_tables(z: float, expected: float) -> None:
    assert log10_normal_tail(z) == pytest.approx(expected, abs=1e-6)


def test_normal_tail_is_continuous_where_the_series_takes_over() -> None:
    assert log10_normal_tail(30.0) == pytest.approx(log10_normal_tail(30.0 - 1e-9), rel=1e-6)
    assert log10_normal_tail(100.0) == pytest.approx(-2173.87, abs=0.01)


def test_choices_are_paid_for() -> None:
    rng = np.random.default_rng(9)
    x, y = writers(rng, 2)
    pairs = pair_statistics([x], [y])
    free, paid = combined_test(pairs, [(0, 0)]), combined_test(pairs, [(0, 0)], log10_tried=1.0)
    assert free is not None and paid is not None
    assert paid.log10_p == pytest.approx(min(0.0, free.log10_p + 1.0))
