"""Kolmogorov-Smirnov and the dip, against values of scipy 1.17 and diptest 0.12."""

from __future__ import annotations

import numpy as np
import pytest

from provenance_gate.tells.statistics import DIPS, TAILS, dip, dip_test, kolmogorov_smirnov


@pytest.mark.parametrize(
    ("count", "others", "distance", "p_value"),
    [
        (8, 8, 0.75, 0.0186480186),
        (64, 64, 0.21875, 0.0934858638),
        (500, 500, 0.092, 0.0289959611),
        (100, 300, 0.093333333333, 0.516674054),
    ],
)
def test_the_kolmogorov_smirnov_test_gives_what_scipy_gives(
    count: int, others: int, distance: float, p_value: float
) -> None:
    rng = np.random.default_rng(count)
    a, b = rng.normal(size=count), rng.normal(size=others) + 0.2

    found = kolmogorov_smirnov(a, b)

    assert found[0] == pytest.approx(distance, abs=1e-9)
    assert found[1] == pytest.approx(p_value, abs=1e-6 if count == others else 0.02)


def test_equal_samples_have_distance_0_and_p_1() -> None:
    values = np.linspace(0.5, 1.5, 64)

    assert kolmogorov_smirnov(values, values[::-1]) == (0.0, 1.0)


@pytest.mark.parametrize("bad", [[], [1.0, np.nan], [np.inf]])
def test_samples_without_finite_values_are_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        kolmogorov_smirnov(np.array(bad), np.ones(3))
    with pytest.raises(ValueError, match="finite"):
        dip(np.array(bad))


@pytest.mark.parametrize(("seed", "expected"), [(1, 0.04190613), (2, 0.052238449), (3, 0.073406684), (4, 0.039021485)])
def test_the_dip_is_that_of_the_reference_implementation(seed: int, expected: float) -> None:
    rng = np.random.default_rng(seed)
    values = np.round(np.r_[rng.normal(size=20 + seed), rng.normal(size=15) + seed], 1 + seed)

    assert dip(values) == pytest.approx(expected, abs=1e-7)


def test_two_heaps_are_not_one_and_a_slope_is() -> None:
    heaps = np.r_[np.linspace(0.0, 0.1, 12), np.linspace(5.0, 5.1, 12)]

    two, one = dip_test(heaps), dip_test(np.linspace(0.0, 1.0, 24))

    assert two is not None and two[1] < 0.0011
    assert one is not None and one[1] == 1.0


def test_few_values_have_no_modality_and_many_are_thinned() -> None:
    assert dip_test(np.arange(3.0)) is None
    found = dip_test(np.random.default_rng(0).normal(size=100_000))
    assert found is not None and found[1] > 0.05


@pytest.mark.parametrize("size", [10, 40])
def test_the_stored_quantiles_are_those_of_uniform_samples(size: int) -> None:
    rng = np.random.default_rng(99)
    p_values = [dip_test(rng.uniform(size=size)) for _ in range(600)]

    # 0.05 within four standard errors of 600 draws.
    share = np.mean([p is not None and p[1] <= 0.05 for p in p_values])
    assert abs(share - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 600)
    assert all(len(row) == len(TAILS) and list(row) == sorted(row) for row in DIPS.values())
