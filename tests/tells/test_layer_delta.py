"""Tell 12 on real files: distances by layer, which parent a layer leans to, and what is and is not called a merge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from provenance_gate.lineage.merges import Parent
from provenance_gate.lineage.merges.analyze import analyze_merge
from provenance_gate.tells.changes import Changes, measure_changes
from provenance_gate.tells.interface import Case, TellResult, TellStatus
from provenance_gate.tells.layer_delta import LayerDelta, call_merge
from tests import models as tiny
from tests.tells import weights

FIRST, SECOND, THIRD = tiny.llama(1), tiny.llama(2), tiny.llama(3)


@pytest.fixture(scope="module")
def parents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    at = tmp_path_factory.mktemp("parents")
    models = {"first": FIRST, "second": SECOND, "third": THIRD}
    return {name: weights.folder(at / name, tensors) for name, tensors in models.items()}


def measured(ours: Path, *bases: Path, stored: bool = False, traced: bool = False) -> TellResult:
    return LayerDelta().measure(weights.case(ours, *bases, stored=stored, traced=traced))


def merge_of(result: TellResult) -> Mapping[str, Any]:
    return cast(Mapping[str, Any], result.numbers["merge"])


def parent(result: TellResult, number: int = 0) -> Mapping[str, Any]:
    return cast(Sequence[Mapping[str, Any]], result.numbers["parents"])[number]


def toward(result: TellResult) -> list[object]:
    return [lean["toward"] for lean in cast(Sequence[Mapping[str, Any]], result.numbers["leans"])]


def slerp(a: NDArray[np.float32], b: NDArray[np.float32], t: float) -> NDArray[np.float32]:
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    angle = np.arccos(np.clip(x @ y / np.sqrt((x @ x) * (y @ y)), -1.0, 1.0))
    mixed = (np.sin((1 - t) * angle) * x + np.sin(t * angle) * y) / np.sin(angle)
    return mixed.reshape(a.shape).astype(np.float32)


def stacked(sources: Sequence[tuple[tiny.Tensors, int]]) -> tiny.Tensors:
    found = {k: v for k, v in FIRST.items() if ".layers." not in k}
    for new, (tensors, old) in enumerate(sources):
        own = f".layers.{old}."
        found |= {k.replace(own, f".layers.{new}."): v for k, v in tensors.items() if own in k}
    return found


def test_a_copy_has_no_distance_and_fires(tmp_path: Path, parents: Mapping[str, Path]) -> None:
    found = measured(weights.folder(tmp_path / "m", FIRST), parents["first"])

    assert found.status is TellStatus.FIRED and found.base == "first" and found.strength == pytest.approx(1.0)
    assert max(parent(found)["layer_change"]) == 0.0


def test_a_change_of_a_tenth_is_measured_as_such_in_every_layer_and_role(
    tmp_path: Path, parents: Mapping[str, Path]
) -> None:
    found = measured(weights.folder(tmp_path / "m", tiny.noisy(FIRST, 0.1)), parents["first"])

    numbers = parent(found)
    assert found.status is TellStatus.FIRED and numbers["layers"] == [0, 1, 2, 3]
    assert np.shape(numbers["change"]) == (4, len(numbers["roles"])) == (4, 7)
    assert np.allclose(numbers["change"], 0.1, rtol=0.1)
    assert merge_of(found)["called"] is False


def test_a_stranger_is_as_far_as_random_matrices_are_and_does_not_fire(
    tmp_path: Path, parents: Mapping[str, Path]
) -> None:
    found = measured(weights.folder(tmp_path / "m", tiny.llama(9)), parents["first"], parents["second"])

    assert found.status is TellStatus.QUIET and found.strength == 0.0 and found.base is None
    assert np.allclose(parent(found)["layer_change"], np.sqrt(2.0), atol=0.05)
    assert merge_of(found)["called"] is False and toward(found) == [None] * 4


def test_a_slerp_of_strangers_is_called_one_with_its_t(tmp_path: Path, parents: Mapping[str, Path]) -> None:
    mixed = {k: slerp(v, SECOND[k], 0.35) for k, v in FIRST.items()}

    found = measured(weights.folder(tmp_path / "m", mixed), *parents.values())

    call = merge_of(found)
    assert found.status is TellStatus.FIRED and call["called"] is True and call["recipe"] == "slerp"
    assert set(call["parents"]) == {"first", "second"}
    assert all(m["t"] == pytest.approx(0.35, abs=0.01) for m in call["mixtures"] if m["layer"] is not None)
    assert "merge (slerp)" in found.seen


def test_layers_stacked_from_two_models_are_called_a_passthrough_with_the_right_layers(
    tmp_path: Path, parents: Mapping[str, Path]
) -> None:
    order = [(FIRST, 0), (FIRST, 1), (SECOND, 1), (SECOND, 2), (FIRST, 3)]
    wanted = [("first", 0), ("first", 1), ("second", 1), ("second", 2), ("first", 3)]

    found = measured(weights.folder(tmp_path / "m", stacked(order), layers=5), *parents.values())

    call = merge_of(found)
    assert call["called"] is True and call["recipe"] == "passthrough"
    for mixture in call["mixtures"]:
        if mixture["layer"] is not None:
            assert tuple(mixture["sources"][0]) == wanted[mixture["layer"]]
    assert toward(found) == [name for name, _ in wanted]


def test_a_passthrough_shows_as_two_heaps_of_distances_and_a_fine_tune_does_not(
    tmp_path: Path, parents: Mapping[str, Path]
) -> None:
    heaps = measured(
        weights.folder(tmp_path / "a", stacked([(FIRST, 0), (SECOND, 1), (FIRST, 2), (SECOND, 3)])), parents["first"]
    )
    one = measured(weights.folder(tmp_path / "b", tiny.noisy(FIRST, 0.1)), parents["first"])

    assert parent(heaps)["dip_p_value"] <= 0.01 < 0.1 < parent(one)["dip_p_value"]


@pytest.mark.parametrize("share", [0.02, 0.3])
def test_a_fine_tune_is_no_merge_whatever_candidates_there_are(
    tmp_path: Path, parents: Mapping[str, Path], share: float
) -> None:
    sibling = weights.folder(tmp_path / "sibling", tiny.noisy(FIRST, 0.1, seed=8))
    ours = weights.folder(tmp_path / "m", tiny.noisy(FIRST, share, seed=7))

    for bases in (
        [parents["first"], parents["second"]],
        [parents["first"], sibling],
        [parents["first"], sibling, parents["third"]],
    ):
        found = measured(ours, *bases)
        assert found.status is TellStatus.FIRED and merge_of(found)["called"] is False
        assert len(bases) == 3 or bases[1] == sibling or toward(found) == ["first"] * 4


def test_repeated_layers_of_one_model_are_no_merge(tmp_path: Path, parents: Mapping[str, Path]) -> None:
    ours = weights.folder(tmp_path / "m", stacked([(FIRST, i) for i in (0, 1, 1, 2, 3)]), layers=5)

    found = measured(ours, parents["first"], parents["second"])

    assert merge_of(found)["called"] is False and parent(found)["source_layers"] == [0, 1, 1, 2, 3]


def test_a_vocabulary_in_another_order_alone_makes_no_merge(tmp_path: Path, parents: Mapping[str, Path]) -> None:
    order = np.random.default_rng(3).permutation(tiny.VOCABULARY)
    tuned = weights.folder(tmp_path / "tuned", tiny.noisy(FIRST, 0.1))

    found = measured(weights.renumbered(tmp_path / "m", FIRST, order), parents["first"], parents["second"], tuned)

    assert found.status is TellStatus.FIRED and merge_of(found)["called"] is False


def test_a_mix_that_leaves_most_of_the_distance_unexplained_is_not_called(
    tmp_path: Path, parents: Mapping[str, Path]
) -> None:
    mixed = {k: (0.5 * v + 0.5 * SECOND[k]).astype(np.float32) for k, v in FIRST.items()}
    clean = measured(weights.folder(tmp_path / "clean", mixed), parents["first"], parents["second"])
    noisy = measured(weights.folder(tmp_path / "noisy", tiny.noisy(mixed, 0.8)), parents["first"], parents["second"])

    assert merge_of(clean)["called"] is True and merge_of(clean)["recipe"] == "linear"
    assert merge_of(noisy)["called"] is False and merge_of(noisy)["unexplained"] > 0.25
    assert noisy.status is TellStatus.FIRED


def test_a_recipe_is_no_merge_where_the_layers_are_all_one_parents(tmp_path: Path, parents: Mapping[str, Path]) -> None:
    ours = weights.folder(tmp_path / "m", {k: slerp(v, SECOND[k], 0.35) for k, v in FIRST.items()})
    bases = [weights.side(parents[n]) for n in ("first", "second")]
    merge = analyze_merge(weights.side(ours).fingerprint, [Parent(b.name, b.fingerprint) for b in bases])
    apart = measure_changes(weights.side(ours).fingerprint, bases[0].fingerprint)
    alike = measure_changes(bases[0].fingerprint, bases[0].fingerprint)

    assert isinstance(apart, Changes) and isinstance(alike, Changes)
    assert call_merge(merge, [apart]).called and not call_merge(merge, [apart, alike]).called


def test_one_transplanted_layer_of_four_does_not_fire(tmp_path: Path, parents: Mapping[str, Path]) -> None:
    ours = weights.folder(tmp_path / "m", stacked([(SECOND, 0), (SECOND, 1), (FIRST, 2), (SECOND, 3)]))

    found = measured(ours, parents["first"])

    assert found.status is TellStatus.QUIET and found.numbers["layers_near"] == 1


def test_stored_fingerprints_give_the_same_numbers(tmp_path: Path, parents: Mapping[str, Path]) -> None:
    ours = weights.folder(tmp_path / "m", tiny.noisy(FIRST, 0.1))

    assert measured(ours, parents["first"], stored=True) == measured(ours, parents["first"])


def test_a_disguise_that_a_trace_undoes_does_not_hide_the_layers(tmp_path: Path, parents: Mapping[str, Path]) -> None:
    hidden = weights.turned(FIRST, np.random.default_rng(4).permutation(tiny.HIDDEN))
    for layer in range(tiny.LAYERS):
        order = np.random.default_rng(layer).permutation(tiny.FEED_FORWARD)
        at = f"model.layers.{layer}.mlp."
        hidden |= {f"{at}{n}_proj.weight": hidden[f"{at}{n}_proj.weight"][order] for n in ("gate", "up")}
        hidden[f"{at}down_proj.weight"] = np.ascontiguousarray(hidden[f"{at}down_proj.weight"][:, order])

    found = measured(weights.folder(tmp_path / "m", hidden), parents["first"], traced=True)

    assert found.status is TellStatus.FIRED and parent(found)["aligned"] is True
    assert min(parent(found)["layer_correlation"]) > 0.9 and "after alignment" in found.seen


def test_without_parents_or_common_shapes_nothing_is_measured(tmp_path: Path, parents: Mapping[str, Path]) -> None:
    ours = weights.side(parents["first"])
    wide = {k: np.tile(v, (2,) * v.ndim) for k, v in FIRST.items()}

    assert LayerDelta().measure(Case(ours)).status is TellStatus.NOT_MEASURED
    found = measured(weights.folder(tmp_path / "m", wide), parents["first"])
    assert found.status is TellStatus.NOT_MEASURED and "same shape" in found.seen
