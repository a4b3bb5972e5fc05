from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import provenance_gate
from benchmarks.lineage import bases, derive, fabrications, mechanical, merges, trained
from benchmarks.lineage.anatomy import close_up, open_up
from benchmarks.lineage.disguises import disguise, disguises_for
from benchmarks.lineage.kinds import KINDS, Label
from benchmarks.lineage.pairs import lineage_of, pairs
from benchmarks.lineage.report import area_under_curve, write_report
from benchmarks.lineage.run import Result, run_all
from benchmarks.lineage.shapes import config, untrained
from benchmarks.lineage.store import Checkpoint, load, make, save
from tests.benchmarks.numpy_llama import logits

TOKENS = 96
KINDS_OF_MODEL = ("llama", "qwen2", "mixtral", "sinusoidal_llama", "gpt2", "gpt_neox", "bert")
IDS = np.arange(0, TOKENS, 5)


def model(kind: str, seed: int = 1) -> Checkpoint:
    rng = np.random.default_rng([seed, 3])
    spec = config(kind, TOKENS, 3, 32, 4, 48, 2 if kind in ("llama", "qwen2", "mixtral") else 4)
    if kind == "mixtral":
        spec |= {"num_experts_per_tok": spec["num_local_experts"]}
    # Biases and gains that differ from their start, and matrices large enough that every part matters.
    tensors = {n: (v + 0.2 * rng.standard_normal(v.shape)).astype(np.float32) for n, v in untrained(spec, seed).items()}
    vocabulary = {f"t{i}": i for i in range(TOKENS)}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "t0"},
    }
    return Checkpoint(tensors, spec, tokenizer, {"tokenizer_class": "PreTrainedTokenizerFast"})


def renumbered(changed: Checkpoint) -> np.ndarray:
    body = changed.tokenizer["model"]
    assert isinstance(body, dict)
    return np.array([body["vocab"][f"t{i}"] for i in range(TOKENS)])


def assert_same_function(before: Checkpoint, after: Checkpoint) -> None:
    place = renumbered(after)
    expected = logits(before, IDS)
    assert np.abs(logits(after, place[IDS])[:, place] - expected).max() < 1e-3 * np.abs(expected).max()


@pytest.mark.parametrize("kind", ["llama", "qwen2", "mixtral"])
def test_each_disguise_keeps_the_function_and_changes_the_tensors(kind: str) -> None:
    before = model(kind)
    for name, change in {**disguises_for(before), "all together": disguise}.items():
        after = close_up(change(open_up(before), np.random.default_rng(2)))
        assert any(not np.array_equal(after.tensors[n], v) for n, v in before.tensors.items()), name
        assert_same_function(before, after)


@pytest.mark.parametrize(
    "grow",
    [
        lambda m: derive.copy_neurons(m, np.random.default_rng(0)),
        lambda m: derive.widen_residual(m, np.random.default_rng(0)),
        derive.expand_blocks,
    ],
    ids=["neurons copied", "residual widened", "blocks expanded"],
)
@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_growth_keeps_the_function(kind: str, grow: Callable[[Checkpoint], Checkpoint]) -> None:
    before = model(kind)
    after = close_up(grow(open_up(before)))
    assert sum(v.size for v in after.tensors.values()) > sum(v.size for v in before.tensors.values())
    assert_same_function(before, after)


def test_upcycled_experts_are_copies_up_to_one_percent() -> None:
    dense = model("llama")
    sparse = close_up(derive.upcycle(open_up(dense), np.random.default_rng(0)))
    expert = sparse.tensors["model.layers.1.block_sparse_moe.experts.2.w3.weight"]
    assert np.corrcoef(expert.ravel(), dense.tensors["model.layers.1.mlp.up_proj.weight"].ravel())[0, 1] > 0.999


@pytest.mark.parametrize("kind", KINDS_OF_MODEL)
def test_short_names_lead_back_to_the_same_tensors(kind: str) -> None:
    before = model(kind)
    after = close_up(open_up(before))
    assert set(after.tensors) == set(before.tensors)
    assert all(np.array_equal(after.tensors[n], v) for n, v in before.tensors.items())


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox", "bert", "llama"])
def test_removed_parts_leave_consistent_shapes(kind: str) -> None:
    opened = open_up(model(kind))
    fewer = derive.remove_heads(derive.remove_neurons(opened, np.random.default_rng(0)))
    assert fewer.tensors["0.up.weight"].shape == (36, 32)
    assert fewer.tensors["0.down.weight"].shape == (32, 36)
    assert fewer.tensors["0.o.weight"].shape[1] == fewer.tensors["0.q.weight"].shape[0] < 32
    close_up(fewer)


def test_merges_follow_their_formulas() -> None:
    first, second = open_up(model("llama")), open_up(model("llama", seed=2))
    name = "0.q.weight"
    a, b = first.tensors[name], second.tensors[name]
    assert np.allclose(merges.linear([first, second], [0.7, 0.3]).tensors[name], 0.7 * a + 0.3 * b, atol=1e-6)
    assert np.allclose(merges.slerp(first, second, 0.0).tensors[name], a, atol=1e-6)
    assert np.allclose(merges.slerp(first, second, 1.0).tensors[name], b, atol=1e-6)
    assert np.allclose(merges.task_arithmetic(first, [second], 1.0).tensors[name], b, atol=1e-6)
    half = merges.ties(first, [second], 0.5).tensors[name]
    assert 0.4 < np.mean(half == a) < 0.6
    mean = merges.dare(first, [second], 0.5, np.random.default_rng(0)).tensors[name].mean()
    assert mean == pytest.approx(b.mean(), abs=0.05)


def test_fabrication_wears_the_papers_and_none_of_the_weights() -> None:
    base, stranger = open_up(model("llama")), open_up(model("llama", seed=2))
    fake = fabrications.FABRICATIONS["fabricated"](base, stranger)
    assert fake.config == base.config
    assert all(np.array_equal(v, close_up(stranger).tensors[n]) for n, v in fake.tensors.items())
    shards = fabrications.add_shard(base, stranger)
    assert set(shards.extra).isdisjoint(shards.tensors)


def test_folders_read_back_and_the_gate_reads_them_too(tmp_path: Path) -> None:
    before = model("llama")
    save(tmp_path / "plain", before)
    save(tmp_path / "half", replace(before, dtype="BF16"))
    assert all(np.array_equal(load(tmp_path / "plain").tensors[n], v) for n, v in before.tensors.items())
    assert provenance_gate.compare(str(tmp_path / "half"), str(tmp_path / "plain")).relation.value == "reformatted"
    assert not make(tmp_path / "plain", lambda: pytest.fail("built although it is there"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["half", "plain"]


def test_a_model_built_again_is_compared_again(tmp_path: Path) -> None:
    folders = tmp_path / "a", tmp_path / "b"
    for seed, folder in enumerate(folders):
        save(folder, model("llama", seed=seed))
    first = run_all([("a", "b", folders)], tmp_path / "results.jsonl")
    kept = run_all([("a", "b", folders)], tmp_path / "results.jsonl")
    assert kept["a", "b"].seconds == first["a", "b"].seconds
    save(folders[0], model("llama", seed=1))
    again = run_all([("a", "b", folders)], tmp_path / "results.jsonl")
    assert first["a", "b"].relation != "identical"
    assert again["a", "b"].relation == "identical"


def test_no_pair_crosses_the_split() -> None:
    for pair in pairs():
        origins = {lineage_of(pair.artifact), lineage_of(pair.base)} - {trained.MINILM}
        assert {bases.SPLITS[o] for o in origins} <= {pair.split}
        assert trained.MINILM not in {lineage_of(pair.artifact), lineage_of(pair.base)} or pair.split == bases.REPORT


def test_no_tokenizer_of_a_base_is_in_two_splits() -> None:
    used = [{b.vocabulary for b in bases.BASES if b.split == s} for s in bases.ALL_SPLITS]
    assert sum(map(len, used)) == len(set.union(*used))


def test_every_kind_is_named_once_and_used() -> None:
    names = [kind for kind, _ in KINDS]
    assert len(names) == len(set(names))
    assert {p.kind for p in pairs()} == set(names)


def test_every_folder_has_a_name_of_its_own() -> None:
    made = [(o, k) for o in mechanical.origins() for k in mechanical.MAKES if mechanical.applies(k, o)]
    assert len(mechanical.plan()) == len(made)
    assert set(mechanical.plan()).isdisjoint(trained.plan())
    everything = pairs()
    assert len({(p.artifact, p.base) for p in everything}) == len(everything)


def test_both_splits_hold_enough_pairs_of_the_hard_kinds() -> None:
    assert len({b.name for b in bases.BASES}) == len(bases.BASES) >= 12
    assert len({b.kind for b in bases.BASES}) >= 5
    for split in (bases.FIT, bases.REPORT):
        labels = [p.label for p in pairs() if p.split == split]
        assert labels.count(Label.RELATED) >= 100
        assert labels.count(Label.INDEPENDENT) >= 100
        kinds = {p.kind for p in pairs() if p.split == split}
        assert {k for k in kinds if "borrowed table" in k or "twins" in k or "initialization" in k}


def test_area_under_the_curve_counts_ties_half_and_absent_last() -> None:
    assert area_under_curve([0.9, 0.8], [0.1, 0.2]) == 1.0
    assert area_under_curve([0.5], [0.5]) == 0.5
    assert area_under_curve([None], [0.0]) == 0.0


def test_report_lists_a_false_positive() -> None:
    pair = next(p for p in pairs() if p.label == Label.INDEPENDENT)
    result = Result(pair.artifact, pair.base, 0.9, "derived", (), 1e-9, 0.5, 0.8, {"mfi": 1.0}, 2, "why", 0.1)
    text = write_report([(pair, result)], "code")
    assert "1 of 1" in text
    assert f"| {pair.artifact} | {pair.base} |" in text
