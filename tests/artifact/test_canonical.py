"""Canonical tensors give back the matrices that a model was made of, however its files store them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenance_gate.artifact import canonical as canonical_module
from provenance_gate.artifact.canonical import TensorView, canonical_tensors
from provenance_gate.artifact.interface import CanonicalTensor, NotMeasured, Role, StoredTensor, TensorKey
from provenance_gate.artifact.load import open_artifact

from . import layouts
from .build import Array, entry, opened_folder, raw_file, save, save_model
from .layouts import HEADS, HIDDEN, Layout

Found = dict[str, CanonicalTensor]
EVERY = pytest.mark.parametrize("layout", layouts.ALL, ids=lambda f: f.__name__)


def opened(folder: Path, model: Layout, **config: object) -> tuple[Found, str, tuple[str, ...]]:
    artifact = open_artifact(save_model(folder, model.tensors, {**model.config, **config})).artifact
    return {str(t.key): t for t in artifact.canonical}, artifact.roles_from, artifact.notes


def whole(tensor: CanonicalTensor) -> Array:
    return tensor.read_rows(0, tensor.shape[0])


def assert_reads(found: Found, expected: dict[str, Array]) -> None:
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        assert found[key].shape == array.shape, key
        np.testing.assert_array_equal(whole(found[key]), array, err_msg=key)


@EVERY
def test_every_matrix_comes_back_under_its_role(tmp_path: Path, layout: Callable[[], Layout]) -> None:
    model = layout()
    found, roles_from, notes = opened(tmp_path, model)
    assert_reads(found, model.expected)
    assert (roles_from, notes) == ("names", ())


@EVERY
def test_every_range_of_rows_is_that_slice_of_the_whole(tmp_path: Path, layout: Callable[[], Layout]) -> None:
    model = layout()
    found, _, _ = opened(tmp_path, model)
    rng = np.random.default_rng(0)
    for key, array in model.expected.items():
        for start, stop in np.sort(rng.integers(0, len(array) + 1, (8, 2))).tolist():
            np.testing.assert_array_equal(found[key].read_rows(start, stop), array[start:stop], err_msg=key)
            if array.ndim == 2:
                left, right = np.sort(rng.integers(0, array.shape[1] + 1, 2)).tolist()
                block = found[key].read_block(range(start, stop), range(left, right))
                np.testing.assert_array_equal(block, array[start:stop, left:right], err_msg=key)


@EVERY
def test_every_stored_element_stands_in_exactly_one_tensor(tmp_path: Path, layout: Callable[[], Layout]) -> None:
    model = layout()
    found, _, _ = opened(tmp_path, model)
    elements = np.sort(np.concatenate([whole(t).reshape(-1) for t in found.values()]))
    np.testing.assert_array_equal(elements, np.arange(model.numbers.used, dtype=np.float32))


@EVERY
def test_keeps_order_is_said_of_exactly_the_views_that_are_the_stored_tensor(
    tmp_path: Path, layout: Callable[[], Layout]
) -> None:
    found, _, _ = opened(tmp_path, layout())
    for key, tensor in found.items():
        stored = tensor.stored.reader.read(0, tensor.stored.size)
        assert tensor.keeps_order == np.array_equal(whole(tensor).reshape(-1), stored), key


@EVERY
def test_tensors_are_sorted_and_keys_unique(tmp_path: Path, layout: Callable[[], Layout]) -> None:
    model = layout()
    artifact = open_artifact(save_model(tmp_path, model.tensors, model.config)).artifact
    keys = [t.key for t in artifact.canonical]
    assert len(set(keys)) == len(keys)
    assert keys == sorted(keys, key=lambda k: (k.stack, -1 if k.layer is None else k.layer, k.role.value, k.part))


@EVERY
def test_a_range_outside_of_the_rows_is_an_index_error(tmp_path: Path, layout: Callable[[], Layout]) -> None:
    found, _, _ = opened(tmp_path, layout())
    for tensor in found.values():
        for start, stop in ((-1, 1), (0, tensor.shape[0] + 1), (2, 1)):
            with pytest.raises(IndexError):
                tensor.read_rows(start, stop)


@pytest.mark.parametrize("block", [1, 7, 24, 1 << 22])
def test_the_block_of_turned_reads_never_changes_a_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    model = layouts.gpt2()
    monkeypatch.setattr(canonical_module, "_TURN_BLOCK", block)
    assert_reads(opened(tmp_path, model)[0], model.expected)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_view_reads_the_rows_of_its_segments(data: st.DataObject) -> None:
    rows, columns = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 4))
    turned = data.draw(st.booleans())
    stored_array = np.arange(rows * columns, dtype=np.float32).reshape(rows, columns)
    cuts = sorted(data.draw(st.sets(st.integers(0, rows), min_size=2, max_size=6)))
    runs = list(itertools.pairwise(cuts))
    segments = data.draw(st.permutations(runs))[: data.draw(st.integers(1, len(runs)))]
    plain = np.concatenate([stored_array[a:b] for a, b in segments])
    laid = stored_array.T if turned else stored_array

    class Elements:
        def read(self, start: int, count: int) -> Array:
            return laid.reshape(-1)[start : start + count]

    stored = StoredTensor("w", "F32", laid.shape, laid.nbytes, PurePosixPath("w"), Elements())
    key = TensorKey(Role.OTHER, "", None)
    view = TensorView(key, plain.shape, stored, tuple((a, b - a) for a, b in segments), columns, turned)
    start = data.draw(st.integers(0, len(plain)))
    stop = data.draw(st.integers(start, len(plain)))
    np.testing.assert_array_equal(view.read_rows(start, stop), plain[start:stop])
    same = plain.size == laid.size and np.array_equal(plain.reshape(-1), laid.reshape(-1))
    assert not view.keeps_order or same


# Prefixes


@pytest.mark.parametrize("prefix", ["model.", "", "model.language_model.", "base_model.model.model.", "any.thing."])
def test_a_prefix_changes_no_role_of_llama(tmp_path: Path, prefix: str) -> None:
    model = layouts.llama(prefix)
    assert_reads(opened(tmp_path, model)[0], model.expected)


@pytest.mark.parametrize("prefix", ["bert.", "", "deep.er."])
def test_a_prefix_changes_no_role_of_bert(tmp_path: Path, prefix: str) -> None:
    model = layouts.bert(prefix)
    assert_reads(opened(tmp_path, model)[0], model.expected)


def with_second_set(model: Layout, other: Layout, rename: Callable[[str], str]) -> dict[str, Array]:
    """The tensors of both, with the expectation that those of `other` are kept as other."""
    both = dict(model.tensors)
    for name, array in other.tensors.items():
        spare = rename(name)
        assert spare not in both
        both[spare] = array
        model.expected[f"/-/other/{spare}"] = array
    return both


def test_a_second_set_of_layers_is_other_with_a_note(tmp_path: Path) -> None:
    model, decoy = layouts.llama(), layouts.llama("aaa.")
    decoy.tensors.pop("lm_head.weight")
    model.tensors = with_second_set(model, decoy, lambda name: name)
    found, _, notes = opened(tmp_path, model)
    assert_reads(found, model.expected)
    assert any("'aaa.'" in note and "'model.'" in note for note in notes)


def test_a_larger_second_set_under_a_prefix_that_no_loader_reads_stays_other(tmp_path: Path) -> None:
    model, decoy = layouts.llama(), layouts.llama("aaa.")
    decoy.tensors = {
        name.replace("aaa.layers.", f"aaa.layers.{ten}"): array
        for ten in (1, 2, 3)
        for name, array in decoy.tensors.items()
        if ".layers." in name
    }
    model.tensors = with_second_set(model, decoy, lambda name: name)
    assert_reads(opened(tmp_path, model)[0], model.expected)


@pytest.mark.parametrize("name", ["embed_tokens.weight", "norm.weight"])
@pytest.mark.parametrize("prefix", ["aaa.", "zzz.", "model.extra."])
def test_one_spare_tensor_does_not_take_the_place_of_the_real_one(tmp_path: Path, name: str, prefix: str) -> None:
    model = layouts.llama()
    spare = Layout({}, {prefix + name: model.tensors[f"model.{name}"] + 0.5})
    model.tensors = with_second_set(model, spare, lambda n: n)
    found, _, notes = opened(tmp_path, model)
    assert_reads(found, model.expected)
    assert any(prefix + name in note for note in notes)


@pytest.mark.parametrize("spelling", ["00", "01", "001"])
def test_a_layer_number_with_leading_zeros_is_no_layer(tmp_path: Path, spelling: str) -> None:
    model = layouts.llama()
    number = int(spelling)
    name = "self_attn.q_proj.weight"
    spare = Layout({}, {f"model.layers.{spelling}.{name}": model.tensors[f"model.layers.{number}.{name}"] + 0.5})
    model.tensors = with_second_set(model, spare, lambda n: n)
    assert_reads(opened(tmp_path, model)[0], model.expected)


def test_two_tensors_for_one_place_in_a_layer_are_both_other_with_a_note(tmp_path: Path) -> None:
    model = layouts.llama()
    twin = model.numbers(HIDDEN, HIDDEN)
    model.tensors["model.layers.0.self_attn.zzz.weight"] = twin
    model.expected["/-/other/model.layers.0.self_attn.zzz.weight"] = twin
    shared = model.numbers(4, HIDDEN)
    model.tensors["model.layers.0.mlp.shared_expert.gate_proj.weight"] = shared
    model.expected["/-/other/model.layers.0.mlp.shared_expert.gate_proj.weight"] = shared
    model.expected["/-/other/model.layers.0.mlp.gate_proj.weight"] = model.expected.pop("decoder/0/ffn_gate/")
    found, _, notes = opened(tmp_path, model)
    assert_reads(found, model.expected)
    assert len([n for n in notes if "gate_proj" in n and "same place" in n]) == 2


# Fused matrices that cannot be told apart


FUSED = {
    layouts.internlm2: "attention.wqkv.weight",
    layouts.gpt_neox: "attention.query_key_value.weight",
    layouts.falcon_grouped: "self_attention.query_key_value.weight",
}


@pytest.mark.parametrize("layout", FUSED, ids=lambda f: f.__name__)
@pytest.mark.parametrize("heads", [3, 5, 0, HIDDEN * 2, 2**31 - 1])
def test_a_wrong_number_of_heads_keeps_fused_matrices_whole_with_a_note(
    tmp_path: Path, layout: Callable[[], Layout], heads: int
) -> None:
    model = layout()
    found, roles_from, notes = opened(tmp_path, model, num_attention_heads=heads)
    assert roles_from == "names"
    fused = [name for name in model.tensors if name.endswith(FUSED[layout])]
    for name in fused:
        np.testing.assert_array_equal(whole(found[f"/-/other/{name}"]), model.tensors[name])
        assert any(name in note and "heads" in note for note in notes)
    assert not [key for key in found if "/attention_q/" in key]
    assert "decoder/1/attention_o/" in found


@pytest.mark.parametrize("layout", FUSED, ids=lambda f: f.__name__)
def test_without_a_config_interleaved_matrices_are_kept_whole(tmp_path: Path, layout: Callable[[], Layout]) -> None:
    model = layout()
    tensors, roles_from, notes = canonical_tensors(
        opened_folder(save_model(tmp_path, model.tensors)), NotMeasured("no config.json")
    )
    fused = {name for name in model.tensors if "query_key_value" in name or "wqkv" in name}
    assert {t.key.part for t in tensors if t.key.role is Role.OTHER} == fused
    assert roles_from == "names"
    assert len(notes) == len(fused)


@pytest.mark.parametrize("layout", [layouts.phi3, layouts.gpt2], ids=lambda f: f.__name__)
def test_matrices_fused_one_after_the_other_need_no_config(tmp_path: Path, layout: Callable[[], Layout]) -> None:
    model = layout()
    stored = opened_folder(save_model(tmp_path, model.tensors))
    tensors, _, notes = canonical_tensors(stored, NotMeasured("no config.json"))
    assert_reads({str(t.key): t for t in tensors}, model.expected)
    assert notes == ()


@pytest.mark.parametrize("rows", [HEADS * 2 + 1, HIDDEN, 4])
def test_a_fused_matrix_of_impossible_height_is_kept_whole(tmp_path: Path, rows: int) -> None:
    model = layouts.phi3()
    name = "model.layers.0.self_attn.qkv_proj.weight"
    model.tensors[name] = np.ones((rows, HIDDEN), np.float32)
    found, _, notes = opened(tmp_path, model)
    assert whole(found[f"/-/other/{name}"]).shape == (rows, HIDDEN)
    assert any(name in note for note in notes)


def test_an_odd_gate_and_up_matrix_is_kept_whole(tmp_path: Path) -> None:
    model = layouts.phi3()
    name = "model.layers.0.mlp.gate_up_proj.weight"
    model.tensors[name] = np.ones((5, HIDDEN), np.float32)
    assert f"/-/other/{name}" in opened(tmp_path, model)[0]


# No names, odd shapes


def test_unknown_names_leave_every_tensor_other(tmp_path: Path) -> None:
    tensors = {
        "aa": np.ones((2, 3), np.float32),
        "bb.weight": np.ones(3, np.float32),
        "c.0": np.ones((2, 2), np.float32),
    }
    found, roles_from, _ = opened(tmp_path, Layout({}, tensors))
    assert roles_from == "none"
    assert_reads(found, {f"/-/other/{name}": array for name, array in tensors.items()})


def test_a_model_without_weights_has_no_tensors_and_no_roles() -> None:
    assert canonical_tensors((), NotMeasured("no config.json")) == ((), "none", ())


@pytest.mark.parametrize(
    ("shape", "seen"),
    [((), (1,)), ((3,), (3,)), ((2, 3), (2, 3)), ((2, 3, 4), (2, 12)), ((0, 4), (0, 4)), ((4, 0), (4, 0))],
)
def test_any_shape_reads_as_rows(tmp_path: Path, shape: tuple[int, ...], seen: tuple[int, ...]) -> None:
    array = np.arange(int(np.prod(shape)), dtype=np.float32).reshape(shape)
    found, _, _ = opened(tmp_path, Layout({}, {"x": array}))
    assert_reads(found, {"/-/other/x": array.reshape(seen)})
    assert found["/-/other/x"].keeps_order


@pytest.mark.parametrize(
    "name", ["model.layers.0.self_attn.q_proj.weight", "h.0.attn.c_attn.weight", "h.0.mlp.c_fc.weight", "shared.weight"]
)
@pytest.mark.parametrize("shape", [(), (0,), (0, 4), (4, 0), (3, 4, 5), (1,), (0, 0, 0, 0)])
def test_a_known_name_with_an_odd_shape_loses_no_element(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    model = layouts.gpt2() if name.startswith("h.") else layouts.llama()
    model.tensors[name] = np.arange(int(np.prod(shape)), dtype=np.float32).reshape(shape) + 1000
    found, _, _ = opened(tmp_path, model)
    elements = np.concatenate([whole(t).reshape(-1) for t in found.values() if t.stored.name == name])
    np.testing.assert_array_equal(np.sort(elements), model.tensors[name].reshape(-1))


@pytest.mark.parametrize("shape", [[2**30, 0, 1], [2**20, 1, 1], [2**20, 2, 0]])
def test_stacked_experts_without_end_are_kept_whole(tmp_path: Path, shape: list[int]) -> None:
    save(tmp_path / "model-a.safetensors", layouts.llama().tensors)
    name = "model.layers.0.mlp.experts.down_proj"
    data = bytes(int(np.prod(shape)))
    raw_file(tmp_path / "model-b.safetensors", {name: entry("U8", shape, [0, len(data)])}, data)
    tensors, _, notes = canonical_tensors(opened_folder(tmp_path), NotMeasured("no config.json"))
    assert len(tensors) < 100
    assert any(name in note for note in notes)


def test_heads_without_end_are_kept_whole(tmp_path: Path) -> None:
    # An empty output matrix may claim any width, and with it any number of heads.
    heads = 2**28
    raw_file(
        tmp_path / "model.safetensors",
        {
            "gpt_neox.layers.0.attention.dense.weight": entry(shape=[0, heads], offsets=[0, 0]),
            "gpt_neox.layers.0.attention.query_key_value.weight": entry(shape=[3 * heads, 0], offsets=[0, 0]),
            "gpt_neox.layers.0.mlp.dense_h_to_4h.weight": entry(shape=[1, 2], offsets=[0, 8]),
        },
        b"\0" * 8,
    )
    (tmp_path / "config.json").write_text(f'{{"num_attention_heads": {heads}}}')
    artifact = open_artifact(tmp_path).artifact
    assert len(artifact.canonical) == 3
    assert any("query_key_value" in note for note in artifact.notes)


def test_half_precision_and_fp8_matrices_read_as_float32(tmp_path: Path) -> None:
    raw_file(
        tmp_path / "model.safetensors",
        {
            "model.layers.0.mlp.up_proj.weight": entry("F8_E4M3", [2, 2], [0, 4]),
            "model.layers.0.mlp.gate_proj.weight": entry("BF16", [1, 2], [4, 8]),
        },
        b"\x38\xb8\x7e\x00" + b"\x80\x3f\x00\xc0",
    )
    found = {str(t.key): whole(t) for t in open_artifact(tmp_path).artifact.canonical}
    assert found["decoder/0/ffn_up/"].tolist() == [[1.0, -1.0], [448.0, 0.0]]
    assert found["decoder/0/ffn_gate/"].tolist() == [[1.0, -2.0]]
