"""Rows of large models stay as they are stored, and are decoded where they are used: nothing that is told may change."""

from __future__ import annotations

import numpy as np
import pytest

from provenance_gate.artifact.interface import Role
from provenance_gate.artifact.load import open_artifact
from provenance_gate.fingerprint.interface import Fingerprint, SignalValue
from provenance_gate.fingerprint.measure import measure
from provenance_gate.fingerprint.plan import SAMPLED_EXPERTS, SamplingPlan
from provenance_gate.fingerprint.signals.weight_correlation import rows_of
from provenance_gate.lineage.compare import compare
from provenance_gate.lineage.interface import BaseRef
from provenance_gate.lineage.merges import Merge, Parent
from provenance_gate.lineage.merges.analyze import analyze_merge
from tests.models import llama, noisy, write_model

BASE = BaseRef("org/base", None, "test")


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model counts as large."""
    monkeypatch.setattr("provenance_gate.fingerprint.rows._DECODED", 0)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Fingerprint]:
    place = tmp_path_factory.mktemp("large")
    base, other = llama(1), llama(2)
    made = {
        "base": base,
        "other": other,
        "tuned": noisy(base, 0.2),
        "merge": {k: (0.6 * v + 0.4 * other[k]).astype(np.float32) for k, v in base.items()},
    }
    return {n: measure(open_artifact(write_model(place / n, t)).artifact) for n, t in made.items()}


@pytest.mark.parametrize("name", ["base", "other", "tuned", "merge"])
def test_a_lineage_is_the_same(models: dict[str, Fingerprint], name: str, request: pytest.FixtureRequest) -> None:
    plain = compare(models[name], models["base"], BASE)
    request.getfixturevalue("large")
    assert compare(models[name], models["base"], BASE) == plain


def test_rows_are_decoded_when_they_are_asked_for(models: dict[str, Fingerprint], large: None) -> None:
    value = models["base"].signals["weight_correlation"]
    assert isinstance(value, SignalValue)
    kept = next(r for k, r in rows_of(value).items() if k.role is Role.FFN_DOWN)
    assert kept.is_large
    assert kept.values.shape == (kept.count, kept.width)
    assert np.array_equal(kept.top(2, 7), kept.values[:2, :7])
    cut = kept.cut(3, range(32, 64))
    assert cut.is_large
    assert np.array_equal(cut.values, kept.values[:3, 32:64])
    assert np.array_equal(cut.cut(2, range(40, 48)).values, kept.values[:2, 40:48])


def test_a_mix_is_taken_apart_alike(models: dict[str, Fingerprint], large: None) -> None:
    merge = analyze_merge(models["merge"], (Parent("a", models["base"]), Parent("b", models["other"])))
    assert isinstance(merge, Merge)
    assert merge.recipe == "linear"
    assert merge.weights["a"] == pytest.approx(0.6, abs=0.01)


def test_of_many_experts_the_first_are_read_and_of_a_second_look_any() -> None:
    numbers = tuple(range(128))
    assert SamplingPlan().experts(numbers) == frozenset(range(SAMPLED_EXPERTS))
    assert SamplingPlan().experts(numbers[:4]) == frozenset(range(4))
    looks = [SamplingPlan(f"{seed:x}").experts(numbers) for seed in range(32)]
    assert all(len(chosen) == SAMPLED_EXPERTS for chosen in looks)
    assert len(set(looks)) == len(looks)
    assert len(frozenset().union(*looks)) > 90


def test_mixtures_of_other_sizes_are_compared_by_the_experts_that_both_have() -> None:
    from dataclasses import replace

    from provenance_gate.artifact.interface import TensorKey
    from provenance_gate.fingerprint.rows import KeptRows
    from provenance_gate.lineage.layers import align_layers

    rng = np.random.default_rng(0)

    def rows(numbers: tuple[int, ...]) -> dict[TensorKey, KeptRows]:
        keys = [TensorKey(Role.EXPERT_DOWN, "decoder", layer, str(n)) for layer in range(4) for n in numbers]
        return {k: KeptRows(k, (64, 96), "F32", 0, values[k.layer or 0, int(k.part)]) for k in keys}

    values = rng.standard_normal((4, 16, 8, 96)).astype(np.float32)
    found = align_layers(rows((1, 3, 5, 9)), rows((3, 4, 9, 11, 12)))
    assert found is not None
    assert found.test.log10_p < -100
    assert len(found.dependent) == 4
    assert align_layers(rows((1, 3)), rows((2, 4))) is None
    odd = {replace(k, part="\u00b2"): replace(r, key=replace(k, part="\u00b2")) for k, r in rows((1,)).items()}
    assert align_layers(odd, odd) is not None
