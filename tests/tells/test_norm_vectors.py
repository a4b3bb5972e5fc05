"""Tell 13 on real files: copied, rounded, reordered, trained and foreign norm vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from provenance_gate.tells.interface import Case, TellResult, TellStatus
from provenance_gate.tells.norm_vectors import NormVectorTell
from tests import models as tiny
from tests.tells import weights

BASE = tiny.llama(1)
NORMS = [k for k, v in BASE.items() if v.ndim == 1]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return weights.folder(tmp_path_factory.mktemp("base") / "base", BASE)


def measured(ours: Path, base: Path, *, stored: bool = False) -> TellResult:
    return NormVectorTell().measure(weights.case(ours, base, stored=stored))


def trained(step: float, names: list[str] = NORMS) -> tiny.Tensors:
    rng = np.random.default_rng(6)
    moved = {k: (BASE[k] + step * rng.standard_normal(BASE[k].shape)).astype(np.float32) for k in names}
    return {**BASE, **moved}


def test_copied_norms_fire_also_under_a_foreign_body(tmp_path: Path, base: Path) -> None:
    found = measured(weights.folder(tmp_path / "m", {**tiny.llama(2), **{k: BASE[k] for k in NORMS}}), base)

    assert found.status is TellStatus.FIRED and found.base == "base"
    assert found.numbers["share_bit_equal"] == 1.0 and found.numbers["median_ks_p_value"] == 1.0


def test_norms_rounded_to_half_precision_are_equal_to_rounding_only(tmp_path: Path, base: Path) -> None:
    found = measured(weights.folder(tmp_path / "m", {k: v.astype(np.float16) for k, v in BASE.items()}), base)

    assert found.status is TellStatus.FIRED
    assert found.numbers["share_bit_equal"] == 0.0 and found.numbers["share_equal_to_rounding"] == 1.0


def test_a_reordered_residual_stream_keeps_the_values_of_norms(tmp_path: Path, base: Path) -> None:
    order = np.random.default_rng(4).permutation(tiny.HIDDEN)

    found = measured(weights.folder(tmp_path / "m", weights.turned(BASE, order)), base)

    assert found.status is TellStatus.FIRED
    assert found.numbers["share_equal_to_rounding"] == 0.0 and found.numbers["share_same_values"] == 1.0


def test_trained_norms_do_not_fire_though_their_distribution_is_the_same(tmp_path: Path, base: Path) -> None:
    found = measured(weights.folder(tmp_path / "m", trained(0.003)), base)

    assert found.status is TellStatus.QUIET and found.base is None
    # The published cut-off (p > 0.5) would take them for untouched.
    assert found.numbers["share_ks_p_above_0.5"] == 1.0


def test_strangers_norms_do_not_fire(tmp_path: Path, base: Path) -> None:
    found = measured(weights.folder(tmp_path / "m", tiny.llama(2)), base)

    assert found.status is TellStatus.QUIET and found.numbers["share_same_values"] == 0.0


@pytest.mark.parametrize(("count", "status"), [(4, TellStatus.FIRED), (5, TellStatus.QUIET)])
def test_half_of_the_vectors_must_be_equal(tmp_path: Path, base: Path, count: int, status: TellStatus) -> None:
    # Nine vectors in all.
    found = measured(weights.folder(tmp_path / "m", trained(0.05, NORMS[:count])), base)

    assert found.status is status


def test_constant_norms_say_nothing(tmp_path: Path, base: Path) -> None:
    folded = {**BASE, **{k: np.ones_like(BASE[k]) for k in NORMS}}
    path = weights.folder(tmp_path / "m", folded)

    found = measured(path, base)

    assert found.status is TellStatus.NOT_MEASURED and "constant" in found.seen
    assert NormVectorTell().measure(weights.case(path, path)).status is TellStatus.NOT_MEASURED


def test_layers_are_compared_with_those_they_come_from(tmp_path: Path, base: Path) -> None:
    kept = {k: v for k, v in BASE.items() if ".layers." not in k}
    for new, old in enumerate((2, 3)):
        kept |= {k.replace(f".{old}.", f".{new}."): v for k, v in BASE.items() if f".layers.{old}." in k}

    found = measured(weights.folder(tmp_path / "m", kept, layers=2), base)

    assert found.status is TellStatus.FIRED and found.numbers["share_bit_equal"] == 1.0


def test_stored_fingerprints_are_enough(tmp_path: Path, base: Path) -> None:
    copy = measured(weights.folder(tmp_path / "copy", BASE), base, stored=True)
    stranger = measured(weights.folder(tmp_path / "stranger", tiny.llama(2)), base, stored=True)
    shallow = measured(weights.folder(tmp_path / "shallow", tiny.llama(1, layers=2), layers=2), base, stored=True)

    assert copy.status is TellStatus.FIRED and stranger.status is TellStatus.QUIET
    assert shallow.status is TellStatus.NOT_MEASURED and "number or length" in shallow.seen


def test_a_vector_that_is_not_finite_is_left_out(tmp_path: Path, base: Path) -> None:
    broken = {**BASE, NORMS[0]: np.full(tiny.HIDDEN, np.nan, np.float32)}

    found = measured(weights.folder(tmp_path / "m", broken), base)

    assert found.status is TellStatus.FIRED and found.numbers["telling_vectors"] == len(NORMS) - 1


def test_without_a_base_nothing_is_measured(base: Path) -> None:
    found = NormVectorTell().measure(Case(weights.side(base)))

    assert found.status is TellStatus.NOT_MEASURED and found.strength == 0.0
