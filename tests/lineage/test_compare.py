"""What the weights of two models say about each other, on small models made with numpy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.artifact.load import open_artifact
from provenance_gate.fingerprint.interface import Fingerprint
from provenance_gate.fingerprint.measure import measure
from provenance_gate.fingerprint.plan import SamplingPlan
from provenance_gate.lineage.compare import compare
from provenance_gate.lineage.interface import BaseRef, Lineage, Relation
from tests.models import FEED_FORWARD, HIDDEN, LAYERS, Tensors, changed, llama, noisy, write_model

REF = BaseRef("org/base", "base")


@pytest.fixture(scope="module")
def base() -> Tensors:
    return llama(1)


class Models:
    """Writes models to a folder and measures them."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0

    def measured(self, tensors: Tensors, **options: object) -> Fingerprint:
        self._count += 1
        folder = write_model(self._folder / str(self._count), tensors, layers=_depth(tensors))
        return measure(open_artifact(folder).artifact, **options)  # type: ignore[arg-type]

    def lineage(self, artifact: Tensors, base: Tensors) -> Lineage:
        return compare(self.measured(artifact), self.measured(base), REF)


def _depth(tensors: Tensors) -> int:
    return len({name.split(".")[2] for name in tensors if name.startswith("model.layers.")}) or LAYERS


@pytest.fixture
def models(tmp_path: Path) -> Models:
    return Models(tmp_path)


def score(lineage: Lineage) -> float:
    assert isinstance(lineage.score, float), lineage.reason
    return lineage.score


def test_a_copy_is_identical(models: Models, base: Tensors) -> None:
    lineage = models.lineage(base, base)
    assert (lineage.score, lineage.relation, lineage.tier) == (1.0, Relation.IDENTICAL, 4)


def test_a_cast_is_reformatted(models: Models, base: Tensors) -> None:
    half = {k: v.astype(np.float16) for k, v in base.items()}
    lineage = models.lineage(half, base)  # type: ignore[arg-type]
    assert (lineage.score, lineage.relation) == (1.0, Relation.REFORMATTED)
    assert "F32 to F16" in lineage.reason


def test_a_small_change_is_not_mistaken_for_a_cast(models: Models, base: Tensors) -> None:
    half = {k: v.astype(np.float16) for k, v in noisy(base, 0.01).items()}
    assert models.lineage(half, base).relation is Relation.DERIVED  # type: ignore[arg-type]


@pytest.mark.parametrize("share", [0.05, 0.5, 1.0])
def test_noise_leaves_a_model_derived(models: Models, base: Tensors, share: float) -> None:
    lineage = models.lineage(noisy(base, share), base)
    assert lineage.relation is Relation.DERIVED
    assert score(lineage) >= 0.95
    assert isinstance(lineage.p_value, float) and lineage.p_value <= 1e-6
    assert lineage.inheritance == pytest.approx(1 / (1 + share**2), abs=0.05)


def test_an_independent_model_under_the_same_config_is_independent(models: Models, base: Tensors) -> None:
    lineage = models.lineage(llama(2), base)
    assert lineage.relation is Relation.INDEPENDENT
    assert score(lineage) <= 0.30
    assert lineage.signals["mfi"].value == 1.0
    assert lineage.signals["voa"].value == 1.0
    assert not any(m.base_layer is not None for m in lineage.layers)


@pytest.mark.parametrize("seed", range(6))
def test_no_pair_of_strangers_is_derived(models: Models, seed: int) -> None:
    assert score(models.lineage(llama(100 + seed), llama(200 + seed))) <= 0.30


def test_a_shuffled_copy_is_independent(models: Models, base: Tensors) -> None:
    rng = np.random.default_rng(0)
    shuffled = changed(base, lambda v: v[rng.permutation(v.shape[0])][:, rng.permutation(v.shape[1])])
    lineage = models.lineage(shuffled, base)
    assert lineage.relation is Relation.INDEPENDENT
    assert score(lineage) <= 0.30


def test_metadata_and_tokenizer_never_move_the_score(models: Models, base: Tensors) -> None:
    ours, theirs = models.measured(noisy(base, 0.5)), models.measured(base)
    plain = compare(ours, theirs, REF)
    gone = {name: NotMeasured("removed") for name in ("mfi", "tfv", "voa")}
    without = compare(replace(ours, signals={**ours.signals, **gone}), theirs, REF)
    assert (without.score, without.relation, without.p_value) == (plain.score, plain.relation, plain.p_value)
    assert isinstance(without.signals["mfi"].value, NotMeasured)


def test_a_grafted_embedding_table_shows_in_its_component_only(models: Models, base: Tensors) -> None:
    graft = llama(3) | {"model.embed_tokens.weight": base["model.embed_tokens.weight"]}
    lineage = models.lineage(graft, base)
    assert lineage.relation is Relation.PARTIAL
    assert score(lineage) <= 0.30
    assert lineage.components["embeddings"].relation is Relation.DERIVED
    assert lineage.components["attention"].relation is Relation.INDEPENDENT
    assert lineage.components["feed_forward"].relation is Relation.INDEPENDENT


def test_copied_norm_gains_prove_nothing(models: Models, base: Tensors) -> None:
    norms = {k: v for k, v in base.items() if v.ndim == 1}
    lineage = models.lineage(llama(3) | norms, base)
    assert lineage.relation is Relation.INDEPENDENT
    assert lineage.components["norms"].relation is Relation.DERIVED


def test_one_transplanted_layer_is_partial_and_never_a_pass(models: Models, base: Tensors) -> None:
    layer = {k: v for k, v in base.items() if k.startswith("model.layers.2.")}
    lineage = models.lineage(llama(3) | layer, base)
    assert lineage.relation is Relation.PARTIAL
    assert 0.30 < score(lineage) < 0.70
    assert [m.base_layer for m in lineage.layers] == [None, None, 2, None]


def test_attention_from_elsewhere_is_partial(models: Models, base: Tensors) -> None:
    attention = {k: v for k, v in llama(3).items() if "self_attn" in k}
    lineage = models.lineage(base | attention, base)
    assert lineage.relation is Relation.PARTIAL
    assert score(lineage) < 0.70


def test_base_tensors_added_as_unused_extras_prove_nothing(models: Models, base: Tensors) -> None:
    extras = {f"unused.{k}": v for k, v in base.items()}
    lineage = models.lineage(llama(3) | extras, base)
    assert score(lineage) <= 0.30


DECOYS = {"self_attn.o_proj": "self_attn.dense", "mlp.up_proj": "mlp.fc1", "mlp.down_proj": "mlp.fc2"}


def test_decoys_for_the_same_place_are_not_measured_in_its_stead(models: Models, base: Tensors) -> None:
    decoys = {k.replace(a, b): v for a, b in DECOYS.items() for k, v in base.items() if a in k}
    lineage = models.lineage(llama(3) | decoys, base)
    assert lineage.relation not in (Relation.DERIVED, Relation.IDENTICAL, Relation.REFORMATTED)
    assert not isinstance(lineage.score, float) or lineage.score < 0.70


def test_a_second_body_under_another_prefix_that_loaders_read_is_not_measured(models: Models, base: Tensors) -> None:
    decoys = {k.removeprefix("model."): v for k, v in base.items() if k.startswith("model.layers")}
    lineage = models.lineage(llama(3) | decoys, base)
    assert not isinstance(lineage.score, float) or lineage.score < 0.70


@pytest.mark.parametrize(
    ("kept", "layers"),
    [((0, 2, 3), [0, 2, 3]), ((0, 1, 1, 2, 3), [0, 1, 1, 2, 3]), ((3, 2, 1, 0), [3, 2, 1, 0]), ((0, 1), [0, 1])],
)
def test_dropped_repeated_and_reordered_layers_find_their_origin(
    models: Models, base: Tensors, kept: tuple[int, ...], layers: list[int]
) -> None:
    lineage = models.lineage(with_layers(noisy(base, 0.2), kept), base)
    assert lineage.relation is Relation.DERIVED
    assert [m.base_layer for m in lineage.layers] == layers
    assert "depth changed" in lineage.kinds


def with_layers(tensors: Tensors, kept: tuple[int, ...]) -> Tensors:
    found = {k: v for k, v in tensors.items() if not k.startswith("model.layers.")}
    for new, old in enumerate(kept):
        at = f"model.layers.{old}."
        found |= {f"model.layers.{new}.{k.removeprefix(at)}": v for k, v in tensors.items() if k.startswith(at)}
    return found


def test_strangers_of_other_depth_stay_strangers(models: Models, base: Tensors) -> None:
    assert score(models.lineage(llama(5, layers=7), base)) <= 0.30


@pytest.mark.parametrize("seed", [0, 1])
def test_renamed_and_reordered_tensors_are_found_by_content(models: Models, base: Tensors, seed: int) -> None:
    names = np.random.default_rng(seed).permutation(len(base))
    renamed = {f"t{names[i]:03d}": v for i, v in enumerate(noisy(base, 0.3).values())}
    assert models.lineage(renamed, base).relation is Relation.DERIVED
    assert models.lineage(base, renamed).relation is Relation.DERIVED


def test_renamed_strangers_stay_undecided(models: Models, base: Tensors) -> None:
    renamed = {f"t{i:03d}": v for i, v in enumerate(llama(4).values())}
    lineage = models.lineage(renamed, base)
    assert lineage.relation is not Relation.DERIVED
    assert not isinstance(lineage.score, float) or lineage.score < 0.70


def test_pruning_is_named(models: Models, base: Tensors) -> None:
    pruned = changed(base, lambda v: np.where(np.abs(v) >= np.quantile(np.abs(v), 0.5), v, 0))
    lineage = models.lineage(pruned, base)
    assert lineage.relation is Relation.DERIVED
    assert lineage.kinds == ("pruned",)


def test_other_widths_are_not_compared(models: Models, base: Tensors) -> None:
    wide = {
        k: np.zeros((HIDDEN, FEED_FORWARD * 2), np.float32) + 1 if "down_proj" in k else v for k, v in llama(2).items()
    }
    lineage = models.lineage(wide, base)
    assert isinstance(lineage.score, NotMeasured)
    assert lineage.relation is Relation.UNDECIDED
    assert "64x384" in lineage.reason and "64x192" in lineage.reason


@pytest.mark.parametrize("fill", [0.0, 1.0])
def test_constant_tensors_give_no_score(models: Models, base: Tensors, fill: float) -> None:
    lineage = models.lineage(changed(base, lambda v: np.full_like(v, fill)), base)
    assert not isinstance(lineage.score, float) or lineage.score < 0.70


def test_nan_weights_give_no_score(models: Models, base: Tensors) -> None:
    lineage = models.lineage(changed(base, lambda v: np.full_like(v, np.nan)), base)
    assert isinstance(lineage.score, NotMeasured)
    assert "NaN" in lineage.reason


def test_fingerprints_of_two_plans_give_no_score(models: Models, base: Tensors) -> None:
    lineage = compare(models.measured(base, plan=SamplingPlan("other")), models.measured(base), REF)
    assert isinstance(lineage.score, NotMeasured)
    assert "not comparable" in lineage.reason


def test_the_score_is_symmetric(models: Models, base: Tensors) -> None:
    ours, theirs = models.measured(noisy(base, 0.7)), models.measured(base)
    one, other = compare(ours, theirs, REF), compare(theirs, ours, REF)
    assert score(one) == pytest.approx(score(other), abs=1e-6)
    assert one.relation is other.relation


def test_more_noise_never_raises_the_score(models: Models, base: Tensors) -> None:
    scores = [score(models.lineage(noisy(base, share), base)) for share in (0.1, 0.5, 1.0, 2.0, 4.0)]
    assert scores == sorted(scores, reverse=True)


def test_all_eleven_signals_are_always_listed(models: Models, base: Tensors) -> None:
    lineage = models.lineage({"only.weight": np.ones((4, 4), np.float32)}, base)
    assert len(lineage.signals) == 11
    assert isinstance(lineage.score, NotMeasured)


def test_output_matrices_among_unnamed_strangers_are_not_the_base_in_another_format(
    models: Models, base: Tensors
) -> None:
    forged = {k: base[k] if "down_proj" in k else v for k, v in llama(2).items()}
    unnamed = {f"t{n:03d}": v.astype(np.float16) for n, v in enumerate(forged.values())}
    found = models.lineage(unnamed, base)  # type: ignore[arg-type]
    assert found.relation not in (Relation.REFORMATTED, Relation.DERIVED)
    assert score(found) < 0.7
