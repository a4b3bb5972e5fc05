"""Sketches: what they keep of a model, what they shrug off, and what they refuse."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import provenance_gate
from provenance_gate.artifact.interface import Claims, NotMeasured, Role, TensorKey
from provenance_gate.errors import FingerprintError
from provenance_gate.fingerprint.compact import AGREES, DIGEST_NAMES, PART_BITS, Sketch, agreement, sketch_of
from provenance_gate.fingerprint.container import load_fingerprint, save_fingerprint
from provenance_gate.fingerprint.interface import Fingerprint, SignalResult, SignalValue, Subject
from provenance_gate.fingerprint.observe import SampledRows
from provenance_gate.fingerprint.plan import SamplingPlan
from provenance_gate.fingerprint.rows import pack_rows
from tests.models import VOCABULARY, Tensors, llama, noisy, tokenizer, write_model

HIDDEN, NEURONS = 96, 256
Matrix = NDArray[np.float32]


def stored(
    matrices: Sequence[tuple[Role, Matrix]], signals: Mapping[str, SignalResult] | None = None, seed: str = ""
) -> Fingerprint:
    """A fingerprint of these matrices, as `measure` would write it: the rows that the plan asks for."""
    rows = []
    for layer, (role, matrix) in enumerate(matrices):
        wanted = SamplingPlan(seed).rows(role, matrix.shape)
        part = str(layer) if role is Role.EXPERT_DOWN else ""
        key = TensorKey(role, "decoder", layer, part)
        rows.append(
            SampledRows(key, matrix.shape, "F32", f"t{layer}", wanted.start, matrix[wanted.start : wanted.stop])
        )
    table, arrays = pack_rows(rows)
    facts = {"tensors": table, "attention_heads": 4, "roles_from": "names"}
    value = SignalValue("sampled", {"plan": 1, "seed": seed}, facts, arrays)
    return Fingerprint(Subject("model", (), Claims((), ())), {"weight_correlation": value, **(signals or {})}, 1)


def outputs(seed: int, layers: int = 4, rows: int = HIDDEN, columns: int = NEURONS) -> list[tuple[Role, Matrix]]:
    rng = np.random.default_rng(seed)
    return [(Role.FFN_DOWN, rng.standard_normal((rows, columns)).astype(np.float32)) for _ in range(layers)]


def mixed(a: Sequence[tuple[Role, Matrix]], b: Sequence[tuple[Role, Matrix]], correlation: float) -> Fingerprint:
    """Matrices of this correlation to `a`."""
    other = math.sqrt(1.0 - correlation**2)
    return stored([(r, (correlation * x + other * y).astype(np.float32)) for (r, x), (_, y) in zip(a, b, strict=True)])


def feed_forward(a: Fingerprint, b: Fingerprint) -> float:
    return agreement(sketch_of(a), sketch_of(b))["feed_forward"].correlation


def read(folder: Path, tensors: Tensors, **how: object) -> Fingerprint:
    return provenance_gate.fingerprint(str(write_model(folder, tensors, **how)))  # type: ignore[arg-type]


def with_rows(fingerprint: Fingerprint, **change: object) -> Fingerprint:
    value = replace(fingerprint.signals["weight_correlation"], **change)  # type: ignore[type-var,arg-type]
    return replace(fingerprint, signals={**fingerprint.signals, "weight_correlation": value})  # type: ignore[dict-item]


def test_a_copy_in_other_files_has_the_same_sketch(tmp_path: Path) -> None:
    one, five = read(tmp_path / "one", llama(1)), read(tmp_path / "five", llama(1), shards=5)
    a, b = sketch_of(one), sketch_of(five)
    assert set(a.parts) == set(PART_BITS)
    assert {n: p.tobytes() for n, p in a.parts.items()} == {n: p.tobytes() for n, p in b.parts.items()}
    assert a.digests == b.digests
    assert set(a.digests) == set(DIGEST_NAMES) - {"merges"}


def test_a_saved_fingerprint_has_the_sketch_of_the_measured_one(tmp_path: Path) -> None:
    measured = read(tmp_path / "model", llama(1))
    save_fingerprint(measured, tmp_path / "model.fp")
    a, b = sketch_of(measured), sketch_of(load_fingerprint(tmp_path / "model.fp"))
    assert {n: p.tobytes() for n, p in a.parts.items()} == {n: p.tobytes() for n, p in b.parts.items()}


def test_a_child_agrees_and_a_stranger_does_not(tmp_path: Path) -> None:
    base = sketch_of(read(tmp_path / "base", llama(1)))
    child = agreement(sketch_of(read(tmp_path / "child", noisy(llama(1), 0.3))), base)
    stranger = agreement(sketch_of(read(tmp_path / "stranger", llama(2))), base)
    assert all(child[p].z > 2 * AGREES[p] for p in ("feed_forward", "attention"))
    assert child["geometry"].z > AGREES["geometry"]
    assert all(abs(stranger[p].z) < 4.5 for p in PART_BITS)


@pytest.mark.parametrize("correlation", [0.0, 0.1, 0.3, 0.6, 0.9])
def test_the_agreement_of_signs_tells_the_correlation_of_the_weights(correlation: float) -> None:
    seen = [
        feed_forward(mixed(outputs(3 * s), outputs(3 * s + 1), correlation), stored(outputs(3 * s))) for s in range(16)
    ]
    # Standard error of one estimate: pi / 2 * sqrt(1 / 2048) at 0, less above.
    assert np.mean(seen) == pytest.approx(correlation, abs=4 * 0.035 / math.sqrt(16))
    assert np.std(seen) < 0.055


def test_z_of_strangers_is_standard_normal() -> None:
    sketches = [sketch_of(stored(outputs(s, layers=2))) for s in range(40)]
    z = [agreement(a, b)["feed_forward"].z for i, a in enumerate(sketches) for b in sketches[:i]]
    assert len(z) == 780
    assert np.mean(z) == pytest.approx(0.0, abs=0.15)
    assert np.std(z) == pytest.approx(1.0, abs=0.1)


def test_dropping_half_of_the_layers_keeps_the_root_of_the_share() -> None:
    base = outputs(1, layers=8)
    assert feed_forward(stored(base[::2]), stored(base)) == pytest.approx(math.sqrt(0.5), abs=0.06)


def test_the_order_of_layers_does_not_count() -> None:
    base = outputs(1, layers=6)
    assert feed_forward(stored(base[::-1]), stored(base)) == 1.0


def test_experts_copied_from_a_feed_forward_layer_agree_with_it() -> None:
    base = outputs(1, layers=3)
    experts = [(Role.EXPERT_DOWN, m) for _, m in base for _ in range(4)]
    assert feed_forward(stored(experts), stored(base)) > 0.98


def test_matrices_without_names_agree_with_named_ones() -> None:
    base = outputs(1)
    rng = np.random.default_rng(5)
    others = [(Role.OTHER, rng.standard_normal((NEURONS, HIDDEN)).astype(np.float32)) for _ in base]
    unnamed = [(Role.OTHER, m) for _, m in reversed(base)]
    assert feed_forward(stored([*others, *unnamed]), stored(base)) > 0.98


def test_rounding_to_four_bits_keeps_the_agreement() -> None:
    base = outputs(1)
    rounded = [(r, (np.rint(m / np.abs(m).max(axis=1, keepdims=True) * 7)).astype(np.float32)) for r, m in base]
    assert feed_forward(stored(rounded), stored(base)) > 0.95


def test_one_huge_neuron_at_the_same_place_does_not_make_strangers_agree() -> None:
    a, b = outputs(1), outputs(2)
    for _, matrix in (*a, *b):
        matrix[:, 17] = 10000.0
    assert abs(feed_forward(stored(a), stored(b))) < 0.2


def test_the_most_common_form_is_taken_where_matrices_differ() -> None:
    base = outputs(1)
    assert feed_forward(stored([*base, *outputs(2, 2, HIDDEN, 128)]), stored(base)) == 1.0


@pytest.mark.parametrize("shape", [(HIDDEN + 1, NEURONS), (HIDDEN, NEURONS + 1)])
def test_parts_of_unequal_form_are_not_compared(shape: tuple[int, int]) -> None:
    assert "feed_forward" not in agreement(sketch_of(stored(outputs(1, 4, *shape))), sketch_of(stored(outputs(1))))


def test_rows_of_another_plan_are_not_compared() -> None:
    """The rows of a spot check lie elsewhere."""
    a, b = sketch_of(stored(outputs(1), seed="spot")), sketch_of(stored(outputs(1)))
    assert "feed_forward" in a.parts
    assert not agreement(a, b)


def test_attention_and_feed_forward_are_told_apart() -> None:
    roles = (Role.ATTENTION_Q, Role.ATTENTION_K, Role.ATTENTION_V, Role.ATTENTION_O)
    rng = np.random.default_rng(1)
    heads = [(role, rng.standard_normal((64, 64)).astype(np.float32)) for role in roles for _ in range(3)]
    kept = agreement(sketch_of(stored([*heads, *outputs(1)])), sketch_of(stored([*heads, *outputs(2)])))
    assert kept["attention"].correlation == 1.0
    assert abs(kept["feed_forward"].z) < 4.5


def test_geometry_survives_a_rotation_of_the_table_and_not_another_table(tmp_path: Path) -> None:
    base = llama(1)
    turn = np.linalg.qr(np.random.default_rng(3).standard_normal((64, 64)))[0]
    table = "model.embed_tokens.weight"
    rotated = {**llama(2), table: (base[table] @ turn).astype(np.float32)}
    ours, theirs = sketch_of(read(tmp_path / "rotated", rotated)), sketch_of(read(tmp_path / "base", base))
    seen = agreement(ours, theirs)
    assert seen["geometry"].correlation > 0.99
    assert abs(seen["feed_forward"].z) < 4.5
    assert abs(agreement(sketch_of(read(tmp_path / "other", llama(2))), theirs)["geometry"].z) < 6.0


def test_a_longer_vocabulary_keeps_the_geometry(tmp_path: Path) -> None:
    base = llama(1)
    longer = dict(base)
    rng = np.random.default_rng(9)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        added = 0.1 * rng.standard_normal((40, 64)).astype(np.float32)
        longer[name] = np.concatenate([base[name], added])
    folder = write_model(tmp_path / "longer", longer)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer(VOCABULARY + 40)))
    a, b = provenance_gate.fingerprint(str(folder)), read(tmp_path / "base", base)
    seen = agreement(sketch_of(a), sketch_of(b))
    assert seen["geometry"].correlation > 0.95
    assert seen["feed_forward"].correlation == 1.0


def test_parts_without_weights_are_absent(tmp_path: Path) -> None:
    assert "geometry" not in sketch_of(read(tmp_path / "model", llama(1), with_tokenizer=False)).parts
    zeros = [(r, np.zeros_like(m)) for r, m in outputs(1)]
    assert sketch_of(stored(zeros)) == Sketch({}, {})
    empty = Fingerprint(Subject("model", (), Claims((), ())), {"weight_correlation": NotMeasured("no weights")}, 0)
    assert sketch_of(empty) == Sketch({}, {})


def test_a_table_of_equal_or_few_rows_has_no_geometry() -> None:
    for cosines in (np.zeros((64, 64), np.float32), np.ones((64, 64), np.float32), np.eye(31, dtype=np.float32)):
        signals = {"eas": SignalValue("exact", {"anchors": 64}, arrays={"similarity": cosines})}
        assert "geometry" not in sketch_of(stored(outputs(1), signals)).parts


def test_a_zero_layer_among_others_leaves_their_sum() -> None:
    base = outputs(1)
    added = [*base, (Role.FFN_DOWN, np.zeros((HIDDEN, NEURONS), np.float32))]
    assert feed_forward(stored(added), stored(base)) == 1.0


def test_sketches_of_other_methods_are_not_compared() -> None:
    ours = sketch_of(stored(outputs(1)))
    assert not agreement(ours, replace(ours, method="another/1"))


def test_a_part_of_another_length_is_refused() -> None:
    ours = sketch_of(stored(outputs(1)))
    with pytest.raises(FingerprintError, match="feed_forward: expected a tag and 2048 bits"):
        agreement(ours, Sketch({"feed_forward": ours.parts["feed_forward"][:-1]}, {}))
    without_tag = ours.parts["feed_forward"].copy()
    without_tag[:2] = 0
    with pytest.raises(FingerprintError, match="feed_forward: expected a tag"):
        agreement(ours, Sketch({"feed_forward": without_tag}, {}))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"rows": 10**6}, "malformed"),
        ({"rows": -1}, "malformed"),
        ({"shape": [HIDDEN]}, "malformed"),
        ({"shape": [HIDDEN, 10**9]}, "more rows than are stored"),
        ({"first": HIDDEN}, "malformed"),
    ],
)
def test_a_table_that_does_not_fit_the_rows_is_refused(entry: dict[str, object], message: str) -> None:
    fingerprint = stored(outputs(1))
    table = fingerprint.signals["weight_correlation"].facts["tensors"]  # type: ignore[union-attr]
    facts = {"tensors": [{**table[0], **entry}, *table[1:]]}  # type: ignore[dict-item,index]
    with pytest.raises(FingerprintError, match=message):
        sketch_of(with_rows(fingerprint, facts=facts))


def test_rows_that_hold_nan_are_refused() -> None:
    fingerprint = stored(outputs(1))
    arrays = dict(fingerprint.signals["weight_correlation"].arrays)  # type: ignore[union-attr]
    arrays["values"] = arrays["values"].copy()
    arrays["values"][5] = np.nan
    with pytest.raises(FingerprintError, match="NaN or infinity"):
        sketch_of(with_rows(fingerprint, arrays=arrays))
    with pytest.raises(FingerprintError, match="half precision"):
        sketch_of(with_rows(fingerprint, arrays={"values": arrays["values"].astype(np.float64)}))


@pytest.mark.parametrize("cosines", [np.full((64, 64), np.nan), np.ones((64, 32)), np.ones(64), np.ones((65, 65))])
def test_cosines_of_another_form_are_refused(cosines: NDArray[np.float64]) -> None:
    signals = {"eas": SignalValue("exact", {"anchors": 64}, arrays={"similarity": cosines})}
    with pytest.raises(FingerprintError, match="eas: "):
        sketch_of(stored(outputs(1), signals))


def test_content_digests_of_another_form_are_refused() -> None:
    arrays = {"digests": np.zeros((2, 2), np.uint64), "sizes": np.zeros(3, np.int64)}
    signals = {"content_identity": SignalValue("exact", arrays=arrays)}
    with pytest.raises(FingerprintError, match="content_identity"):
        sketch_of(stored(outputs(1), signals))


def test_content_digests_are_those_of_the_largest_tensors() -> None:
    words = np.array([[7, 0], [3, 0], [9, 0], [1, 0], [5, 0], [2, 0]], np.uint64)
    arrays = {"digests": words, "sizes": np.array([10, 99, 10, 5, 10, 10], np.int64)}
    found = sketch_of(stored(outputs(1), {"content_identity": SignalValue("exact", arrays=arrays)})).digests
    assert found == {"content_0": 3, "content_1": 2, "content_2": 5, "content_3": 7}


def test_tokenizers_without_merges_share_no_digest_of_them() -> None:
    def merges(count: int) -> dict[str, int]:
        facts = {"num_merges": count, "first_merges_sha256": "0" * 15 + "1" + "f" * 48}
        return dict(sketch_of(stored(outputs(1), {"tfv": SignalValue("facts", facts=facts)})).digests)

    assert merges(0) == {}
    assert merges(100) == {"merges": 1}


def test_the_bits_are_the_same_on_every_machine() -> None:
    """Sketches are stored: a change of any bit is a change of method."""
    steps = np.arange(HIDDEN * NEURONS, dtype=np.uint64).reshape(HIDDEN, NEURONS)
    matrices = [
        (role, (((steps + np.uint64(977 * i)) * np.uint64(2654435761) % np.uint64(65521)).astype(np.float32) - 32760.0))
        for i, role in enumerate((Role.FFN_DOWN, Role.FFN_DOWN, Role.ATTENTION_Q, Role.ATTENTION_O))
    ]
    plane = np.arange(64, dtype=np.float64)
    cosines = (1.0 / (1.0 + np.abs(plane[:, None] - plane) * (1.0 + (plane[:, None] * plane) % 7))).astype(np.float32)
    signals = {"eas": SignalValue("exact", {"anchors": 64}, arrays={"similarity": cosines})}
    parts = sketch_of(stored(matrices, signals)).parts
    found = {name: hashlib.sha256(part.tobytes()).hexdigest()[:16] for name, part in parts.items()}
    assert found == {
        "feed_forward": "f87c9f857f991f91",
        "attention": "1467bb8e542d3e20",
        "geometry": "0a83207392e78657",
    }
