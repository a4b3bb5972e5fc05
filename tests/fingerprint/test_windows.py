"""Matrices that are stored turned: of large models only a window of columns is read, and it tells the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from provenance_gate.artifact.interface import Artifact, CanonicalTensor, Lies, NotMeasured, Role, TensorKey
from provenance_gate.artifact.load import open_artifact
from provenance_gate.confirming import confirmed_lineage
from provenance_gate.errors import FingerprintError
from provenance_gate.fingerprint.compact_vectors import part_vectors
from provenance_gate.fingerprint.interface import Fingerprint, SignalValue
from provenance_gate.fingerprint.measure import measure
from provenance_gate.fingerprint.plan import MAX_COLUMNS, MAX_ROWS, SamplingPlan
from provenance_gate.fingerprint.rows import KeptRows, on_common_blocks, unpack_rows
from provenance_gate.fingerprint.signals.weight_correlation import rows_of
from provenance_gate.fingerprint.spot import measure_spot
from provenance_gate.lineage.compare import compare
from provenance_gate.lineage.interface import BaseRef, Lineage, Relation
from provenance_gate.reading import Model, Reading, lineage_of, read_model
from tests.formats import QUANTIZERS, gptq_in_activation_order, write_quantized
from tests.models import Tensors, config, noisy, write_model

LAYERS, HIDDEN, WIDE = 12, 128, 3072
BASE = BaseRef("org/base", None, "test")
MATRIX = st.tuples(st.integers(1, 40_000), st.integers(1, 40_000))
TURNED = st.sampled_from([Lies.COLUMNS, Lies.SCATTERED])


@given(st.sampled_from(Role), MATRIX, TURNED, st.text(max_size=4))
def test_a_window_lies_within_the_matrix(role: Role, shape: tuple[int, int], lies: Lies, seed: str) -> None:
    rows, columns = SamplingPlan(seed).window(role, shape, lies)
    assert 0 <= rows.start < rows.stop <= shape[0]
    assert len(rows) <= MAX_ROWS
    assert 0 <= columns.start < columns.stop <= shape[1]
    assert columns.start % 32 == 0
    assert len(columns) <= MAX_COLUMNS
    assert columns.stop % 32 == 0 or columns.stop == shape[1]


@given(MATRIX, st.text(max_size=4))
def test_windows_of_one_shape_start_together_and_with_the_block_of_rows(shape: tuple[int, int], seed: str) -> None:
    plan = SamplingPlan(seed)
    windows = [plan.window(role, shape, lies) for role in Role for lies in (Lies.COLUMNS, Lies.SCATTERED)]
    assert len({columns.start for _, columns in windows}) == 1
    assert {rows.start for rows, _ in windows} == {plan.rows(role, shape).start for role in Role}


def test_a_spot_check_looks_at_other_columns() -> None:
    starts = {SamplingPlan(str(s)).window(Role.FFN_DOWN, (4096, 14336), Lies.COLUMNS)[1].start for s in range(40)}
    assert len(starts) > 20


PUBLIC = {  # hidden, ff, key-value width, layers, bits of the packed matrices, parameters outside of them
    "Llama 3 8B": (4096, 14336, 1024, 32, 2 * 128256 * 4096),
    "Llama 2 7B": (4096, 11008, 4096, 32, 2 * 32000 * 4096),
    "Qwen 2.5 7B": (3584, 18944, 512, 28, 2 * 152064 * 3584),
    "Qwen 2.5 32B": (5120, 27648, 1024, 64, 2 * 152064 * 5120),
    "Llama 3 70B": (8192, 28672, 1024, 80, 2 * 128256 * 8192),
}


@pytest.mark.parametrize("name", PUBLIC)
@pytest.mark.parametrize("lies", [Lies.COLUMNS, Lies.SCATTERED])
def test_both_looks_at_a_packed_model_read_one_percent_at_most(name: str, lies: Lies) -> None:
    hidden, wide, narrow, layers, outside = PUBLIC[name]
    shapes = {
        Role.ATTENTION_Q: (hidden, hidden), Role.ATTENTION_K: (narrow, hidden), Role.ATTENTION_V: (narrow, hidden),
        Role.ATTENTION_O: (hidden, hidden), Role.FFN_GATE: (wide, hidden), Role.FFN_UP: (wide, hidden),
        Role.FFN_DOWN: (hidden, wide),
    }  # fmt: skip
    total = 2.0 * outside + layers * sum(0.52 * rows * columns for rows, columns in shapes.values())
    read = 0.0
    for seed in ("", "a"):
        plan = SamplingPlan(seed, tall=bool(seed))
        given = {TensorKey(role, "decoder", layer): lies for layer in range(layers) for role in shapes}
        if seed:  # of half of the layers one matrix beside the output matrix, as `measure_spot` does
            half = plan.shuffled("layer", range(layers))[::2]
            others = [role for role in shapes if role is not Role.FFN_DOWN]
            turns = {layer: others[n % len(others)] for n, layer in enumerate(half)}
            given = {k: v for k, v in given.items() if k.role in (Role.FFN_DOWN, turns.get(k.layer or 0))}
        for key in given.keys() - plan.passed_over(given):
            shape = shapes[key.role]
            columns = len(plan.window(key.role, shape, lies)[1])
            tables = 2.5 * shape[0] * -(-(shape[1] if lies is Lies.SCATTERED else columns) // 128)
            read += 0.5 * columns * shape[0] + tables
    assert read / total < (0.0055 if lies is Lies.COLUMNS else 0.012)


@pytest.mark.parametrize("name", PUBLIC)
def test_windows_of_public_models_show_a_correlation_of_a_twentieth(name: str) -> None:
    from provenance_gate.fingerprint.permutation import mean_cosine

    hidden, wide, _, layers, _ = PUBLIC[name]
    plan = SamplingPlan()
    rows = len(plan.rows(Role.FFN_DOWN, (hidden, wide)))
    units = layers * len(plan.window(Role.FFN_DOWN, (hidden, wide), Lies.COLUMNS)[1])
    assert (4.753 + 1.282) / np.sqrt(rows * units) / mean_cosine(rows) < 0.05


def model(seed: int, layers: int = LAYERS) -> Tensors:
    """A Llama whose feed-forward blocks are wide enough for windows."""
    rng = np.random.default_rng(seed)

    def matrix(rows: int, columns: int) -> NDArray[np.float32]:
        return (rng.standard_normal((rows, columns)) * 0.02).astype(np.float32)

    tensors: Tensors = {
        "model.embed_tokens.weight": matrix(640, HIDDEN),
        "model.norm.weight": (1 + matrix(1, HIDDEN)[0]),
    }
    for i in range(layers):
        at = f"model.layers.{i}"
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{at}.{name}.weight"] = 1 + matrix(1, HIDDEN)[0]
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            tensors[f"{at}.self_attn.{name}.weight"] = matrix(HIDDEN, HIDDEN)
        tensors[f"{at}.mlp.gate_proj.weight"] = matrix(WIDE, HIDDEN)
        tensors[f"{at}.mlp.up_proj.weight"] = matrix(WIDE, HIDDEN)
        tensors[f"{at}.mlp.down_proj.weight"] = matrix(HIDDEN, WIDE)
    return tensors


PACKED = {"gptq": QUANTIZERS["gptq"], "awq": QUANTIZERS["awq"], "gptq act-order": gptq_in_activation_order}
SEED, OTHER = 1, 9


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("windows")
    base = model(SEED)
    facts = config(LAYERS, hidden_size=HIDDEN, intermediate_size=WIDE)
    facts |= {"num_attention_heads": 8, "num_key_value_heads": 8}
    write_model(folder / "base", base)
    write_model(folder / "stranger", model(OTHER))
    for name, quantizer in PACKED.items():
        write_quantized(folder / name, base, quantizer)
        write_quantized(folder / f"tuned {name}", noisy(base, 1.0), quantizer)
        write_quantized(folder / f"stranger {name}", model(OTHER), quantizer)
        write_quantized(folder / f"cut {name}", cut(base), quantizer)
    for written in folder.iterdir():
        (written / "config.json").write_text(json.dumps(facts))
    return folder


def cut(tensors: Tensors) -> Tensors:
    """Without layers 3 and 4."""
    kept = [i for i in range(LAYERS) if i not in (3, 4)]
    out = {n: v for n, v in tensors.items() if ".layers." not in n}
    for new, old in enumerate(kept):
        start = f"model.layers.{old}."
        out |= {n.replace(start, f"model.layers.{new}."): v for n, v in tensors.items() if n.startswith(start)}
    return out


def opened(folder: Path) -> Artifact:
    return open_artifact(folder).artifact


def sampled(folder: Path) -> Fingerprint:
    """As if it were too large to be read whole."""
    return measure(opened(folder), exact=False)


def lineage(place: Path, name: str, base: str = "base") -> Lineage:
    return compare(sampled(place / name), sampled(place / base), BASE)


def of_role(artifact: Artifact, role: Role) -> list[CanonicalTensor]:
    return [t for t in artifact.canonical if t.key.role is role]


@pytest.mark.parametrize("name", PACKED)
def test_a_block_is_that_piece_of_the_matrix(place: Path, name: str) -> None:
    tensor = of_role(opened(place / name), Role.FFN_DOWN)[1]
    assert tensor.lies is (Lies.SCATTERED if "order" in name else Lies.COLUMNS)
    whole = tensor.read_rows(0, HIDDEN)
    for rows, columns in ((range(3, 67), range(256, 320)), (range(HIDDEN), range(WIDE)), (range(1), range(32))):
        block = tensor.read_block(rows, columns)
        assert np.array_equal(block, whole[rows.start : rows.stop, columns.start : columns.stop])
    for rows, columns in ((range(HIDDEN + 1), range(32)), (range(1), range(WIDE + 32))):
        with pytest.raises(IndexError):
            tensor.read_block(rows, columns)


@pytest.mark.parametrize("name", PACKED)
def test_a_packed_copy_is_reformatted_and_a_tuned_one_derived(place: Path, name: str) -> None:
    same = lineage(place, name)
    assert same.relation is Relation.REFORMATTED
    assert same.score == 1.0
    tuned = lineage(place, f"tuned {name}")
    assert tuned.relation is Relation.DERIVED
    assert tuned.kinds == ("quantized",)
    # Noise as large as the weights leaves a correlation of the root of a half.
    value = tuned.signals["weight_correlation"].value
    assert isinstance(value, float)
    assert abs(value - 0.707) < 0.03


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("other", ["base", "gptq", "awq", "gptq act-order"])
def test_strangers_are_independent_or_undecided_in_every_format(place: Path, name: str, other: str) -> None:
    found = lineage(place, f"stranger {name}", other)
    assert found.relation in (Relation.INDEPENDENT, Relation.UNDECIDED)
    assert isinstance(found.score, float)
    assert found.score < 0.5


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("other", PACKED)
def test_two_packed_forms_of_one_model_find_each_other(place: Path, name: str, other: str) -> None:
    found = lineage(place, name, other)
    assert found.relation in (Relation.REFORMATTED, Relation.IDENTICAL, Relation.DERIVED)
    assert "depth changed" not in found.kinds
    assert isinstance(found.score, float)
    assert found.score > 0.95


@pytest.mark.parametrize("name", PACKED)
def test_a_base_may_be_packed(place: Path, name: str) -> None:
    found = compare(sampled(place / "base"), sampled(place / name), BASE)
    assert found.score == 1.0
    assert "depth changed" not in found.kinds
    assert lineage(place, "stranger", name).relation in (Relation.INDEPENDENT, Relation.UNDECIDED)


@pytest.mark.parametrize("name", PACKED)
def test_dropped_layers_are_seen_through_a_window(place: Path, name: str) -> None:
    found = lineage(place, f"cut {name}")
    assert found.relation is Relation.DERIVED
    assert "depth changed" in found.kinds
    origin = {m.layer: m.base_layer for m in found.layers}
    assert origin
    assert all(base == (layer if layer < 3 else layer + 2) for layer, base in origin.items())


@pytest.mark.parametrize("name", PACKED)
def test_a_spot_check_of_some_matrices_confirms_a_copy_and_no_stranger(place: Path, name: str) -> None:
    base = opened(place / "base")
    for seed in ("00ff", "beef"):
        theirs = measure_spot(base, seed, few=True, tall=True)
        ours = measure_spot(opened(place / name), seed, few=True, tall=True)
        assert compare(ours, theirs, BASE).score == 1.0
        stranger = compare(measure_spot(opened(place / f"stranger {name}"), seed, few=True, tall=True), theirs, BASE)
        assert stranger.relation not in (Relation.DERIVED, Relation.REFORMATTED, Relation.PARTIAL)


@pytest.mark.parametrize("name", PACKED)
def test_values_grafted_where_the_standard_windows_meet_the_base_do_not_survive_the_second_look(
    place: Path, tmp_path: Path, name: str
) -> None:
    ours, theirs = model(OTHER), model(SEED)
    for tensor in opened(place / name).canonical:
        if tensor.key.layer is not None and len(tensor.shape) == 2:
            rows, columns = SamplingPlan().window(tensor.key.role, tensor.shape, tensor.lies)
            at = np.ix_(rows, range(columns.start // 128 * 128, -(-columns.stop // 128) * 128))
            ours[tensor.stored.name][at] = theirs[tensor.stored.name][at]
    folder = write_quantized(tmp_path / "artifact", ours, PACKED[name])
    (folder / "config.json").write_text((place / "base" / "config.json").read_text())
    reading = Reading(exact=False)
    artifact, base = (read_model(str(f), reading) for f in (folder, place / "base"))
    assert lineage_of(artifact, base, BASE, (), reading).relation is Relation.DERIVED, "the standard windows say so"
    for digest in ("00ff", "beef"):
        found = confirmed_lineage(artifact, base, BASE, (), reading, digest)
        assert found.relation is Relation.PARTIAL
        assert isinstance(found.score, float)
        assert found.score < 0.7


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if all models were remote and large: not traced, and of a second look few matrices are read."""
    for module in ("confirming", "reading"):
        monkeypatch.setattr(f"provenance_gate.{module}.is_far", lambda _: True)


DIGESTS = [f"{n:064x}" for n in range(6)]


def forged(place: Path, folder: Path, name: str, tensors: Tensors) -> tuple[Model, Model, Reading]:
    """A model and the base, opened."""
    reading = Reading(exact=False)
    if name in PACKED:
        write_quantized(folder, tensors, PACKED[name])
    else:
        write_model(folder, tensors)
    (folder / "config.json").write_text((place / "base" / "config.json").read_text())
    return read_model(str(folder), reading), read_model(str(place / "base"), reading), reading


@pytest.mark.parametrize("name", [*PACKED, "plain"])
def test_whole_output_matrices_with_what_the_standard_plan_reads_beside_them_are_no_descent(
    place: Path, tmp_path: Path, name: str, far: None
) -> None:
    ours, theirs = model(OTHER), model(SEED)
    artifact = opened(place / (name if name in PACKED else "base"))
    given = {t.key: t.lies for t in artifact.canonical if t.lies is not Lies.ROWS}
    read = given.keys() - SamplingPlan().passed_over(given)
    for tensor in artifact.canonical:
        if tensor.key.role is Role.FFN_DOWN or (tensor.key in read and tensor.key.layer is not None):
            ours[tensor.stored.name] = theirs[tensor.stored.name]
    if name not in PACKED:
        for tensor in artifact.canonical:  # the standard rows of all others
            if tensor.key.layer is not None and len(tensor.shape) == 2:
                rows = SamplingPlan().rows(tensor.key.role, tensor.shape)
                ours[tensor.stored.name][rows.start : rows.stop] = theirs[tensor.stored.name][rows.start : rows.stop]
    forgery, base, reading = forged(place, tmp_path / "forgery", name, ours)
    for digest in DIGESTS:
        assert confirmed_lineage(forgery, base, BASE, (), reading, digest).relation is not Relation.DERIVED


def test_a_few_layers_that_the_standard_plan_reads_are_no_descent(place: Path, tmp_path: Path, far: None) -> None:
    ours, theirs = model(OTHER), model(SEED)
    outputs = {TensorKey(Role.FFN_DOWN, "decoder", n): Lies.SCATTERED for n in range(LAYERS)}
    layers = {k.layer for k in outputs.keys() - SamplingPlan().passed_over(outputs)}
    assert 1 < len(layers) <= LAYERS // 4
    ours |= {n: v for n, v in theirs.items() if ".layers." in n and int(n.split(".")[2]) in layers}
    forgery, base, reading = forged(place, tmp_path / "forgery", "gptq act-order", ours)
    assert lineage_of(forgery, base, BASE, (), reading).relation is Relation.DERIVED, "the standard layers say so"
    chosen = [d for n in range(400) if layers <= second_look(d := f"{n:064x}")]
    assert chosen, "digests can be tried until all of them are looked at"
    for digest in (*chosen[:2], *DIGESTS):
        assert confirmed_lineage(forgery, base, BASE, (), reading, digest).relation is not Relation.DERIVED


def second_look(digest: str) -> set[int | None]:
    """Layers of which the output matrix is read."""
    outputs = {TensorKey(Role.FFN_DOWN, "decoder", n): Lies.SCATTERED for n in range(LAYERS)}
    return {k.layer for k in outputs.keys() - SamplingPlan(digest, tall=True).passed_over(outputs)}


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("other", PACKED)
def test_output_matrices_alone_are_no_descent_between_packed_models(
    place: Path, tmp_path: Path, name: str, other: str
) -> None:
    """Even where all that is known of the base is a fingerprint; with a layer less, too."""
    ours, theirs = model(OTHER), model(SEED)
    ours |= {n: v for n, v in theirs.items() if "down_proj" in n or ".layers." not in n or "norm" in n}
    for number, tensors in enumerate((ours, cut(ours))):
        folder = write_quantized(tmp_path / str(number), tensors, PACKED[name])
        (folder / "config.json").write_text((place / "base" / "config.json").read_text())
        found = compare(sampled(folder), sampled(place / other), BASE)
        assert found.relation not in (Relation.DERIVED, Relation.REFORMATTED), found.reason


@pytest.mark.parametrize("layers", [12, 16, 18, 22, 24, 28, 32, 36, 40, 48, 64, 80, 126])
def test_what_is_read_where_scales_lie_scattered_is_read_elsewhere_too(layers: int) -> None:
    roles = (Role.ATTENTION_Q, Role.ATTENTION_K, Role.ATTENTION_V, Role.ATTENTION_O, Role.FFN_GATE, Role.FFN_UP)
    read = []
    for lies in (Lies.COLUMNS, Lies.SCATTERED):
        given = {TensorKey(r, "decoder", n): lies for n in range(layers) for r in (*roles, Role.FFN_DOWN)}
        read.append(given.keys() - SamplingPlan().passed_over(given))
    assert read[1] < read[0]
    kinds = {k.role for k in read[1]}
    assert kinds & set(roles[:4])
    assert layers < 36 or kinds == {*roles, Role.FFN_DOWN}


@pytest.mark.parametrize("name", PACKED)
def test_an_honest_remote_copy_is_confirmed(place: Path, name: str, far: None) -> None:
    reading = Reading(exact=False)
    for copy in (name, f"tuned {name}"):
        artifact, base = (read_model(str(place / f), reading) for f in (copy, "base"))
        for digest in DIGESTS:
            found = confirmed_lineage(artifact, base, BASE, (), reading, digest)
            assert found.relation in (Relation.DERIVED, Relation.REFORMATTED)


@pytest.mark.parametrize("name", PACKED)
def test_layers_that_may_be_passed_over_do_not_make_strangers(place: Path, name: str, far: None) -> None:
    """A base of which only some layers were read, and a copy without others."""
    for base in PACKED:
        assert lineage(place, f"cut {name}", base).relation is not Relation.INDEPENDENT


@pytest.mark.parametrize("name", PACKED)
def test_an_honest_copy_is_confirmed(place: Path, name: str) -> None:
    reading = Reading(exact=False)
    artifact, base = (read_model(str(place / f), reading) for f in (f"tuned {name}", "base"))
    for digest in ("00ff", "beef"):
        assert confirmed_lineage(artifact, base, BASE, (), reading, digest).relation is Relation.DERIVED


@pytest.mark.parametrize("name", PACKED)
def test_without_names_windows_are_placed_by_content_and_by_shapes(place: Path, tmp_path: Path, name: str) -> None:
    def unnamed(folder: Path, tensors: Tensors) -> Path:
        renamed = {}
        for full, value in tensors.items():
            for old, new in {"model.layers": "net.sublayers", "mlp.": "f.", "self_attn.": "a.", "_proj": ""}.items():
                full = full.replace(old, new)
            renamed[full] = value
        return write_quantized(folder, renamed, PACKED[name])

    same = sampled(unnamed(tmp_path / "same", noisy(model(SEED), 0.1)))
    artifact = opened(tmp_path / "same")
    assert artifact.roles_from == "none"
    assert any(t.lies is not Lies.ROWS for t in artifact.canonical)
    stranger = sampled(unnamed(tmp_path / "stranger", model(OTHER)))
    found = compare(same, sampled(place / "base"), BASE)
    assert found.score == 1.0 or found.relation is Relation.DERIVED
    assert compare(stranger, sampled(place / "base"), BASE).relation not in (Relation.DERIVED, Relation.REFORMATTED)
    assert compare(stranger, same, BASE).relation not in (Relation.DERIVED, Relation.REFORMATTED)


def test_windows_do_not_depend_on_the_seed_of_the_values(place: Path) -> None:
    kept = rows_of(signal(sampled(place / "gptq")))
    others = rows_of(signal(sampled(place / "stranger gptq")))
    assert {k: (r.shape, r.first, r.window) for k, r in kept.items()} == {
        k: (r.shape, r.first, r.window) for k, r in others.items()
    }


def signal(fingerprint: Fingerprint) -> SignalValue:
    value = fingerprint.signals["weight_correlation"]
    assert isinstance(value, SignalValue)
    return value


def test_signals_over_whole_rows_are_absent_and_not_wrong(place: Path) -> None:
    found = sampled(place / "gptq")
    for name in ("lep", "wvc"):
        value = found.signals[name]
        assert isinstance(value, NotMeasured)
        assert "--exact" in value.reason
    same = lineage(place, "gptq")
    for name in ("eas", "nlf", "end"):
        value = same.signals[name].value
        assert isinstance(value, float)
        assert value > 0.98


def test_a_model_that_is_read_whole_has_no_windows(place: Path) -> None:
    found = measure(opened(place / "gptq"), exact=True)
    assert all(r.window is None for r in rows_of(signal(found)).values())
    assert not isinstance(found.signals["lep"], NotMeasured)


@pytest.mark.parametrize("columns", [[0], [5, 5], [-32, 32], [0, 4096], "all", [0, 32, 64], [0.0, 32.0]])
def test_a_malformed_window_is_refused(columns: object) -> None:
    entry = {
        "role": "ffn_down", "stack": "decoder", "layer": 0, "part": "", "shape": [8, 64], "dtype": "F32",
        "first": 0, "rows": 1, "columns": columns,
    }  # fmt: skip
    arrays: dict[str, NDArray[np.generic]] = {"values": np.ones(32, np.float16), "exponents": np.zeros(1, np.int16)}
    with pytest.raises(FingerprintError, match="columns"):
        unpack_rows([entry], arrays)  # type: ignore[list-item]


def test_what_meets_nowhere_is_left_out() -> None:
    key = TensorKey(Role.FFN_DOWN, "decoder", 0)
    rows = KeptRows(key, (8, 256), "F32", 0, np.ones((4, 32), np.float32), range(32))
    apart = replace(rows, window=range(128, 160))
    assert on_common_blocks({key: rows}, {key: apart}) == ({}, {})
    wide = KeptRows(key, (8, 256), "F32", 0, np.arange(512, dtype=np.float32).reshape(2, 256))
    left, right = on_common_blocks({key: apart}, {key: wide})
    assert left[key].values.shape == right[key].values.shape == (2, 32)
    assert right[key].values[1, 0] == 256 + 128


def test_sketches_are_compared_between_models_with_the_same_windows(place: Path) -> None:
    base, *others = (sampled(place / n) for n in ("gptq", "tuned gptq", "stranger gptq", "base"))
    forms, mine = part_vectors(base)["feed_forward"]
    related, stranger, plain = (part_vectors(f)["feed_forward"] for f in others)
    assert forms == related[0] == stranger[0] != plain[0]
    assert float(mine @ related[1]) > 0.5
    assert abs(float(mine @ stranger[1])) < 0.1
