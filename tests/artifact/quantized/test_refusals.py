"""Parts that do not fit are refused, naming the file and the tensor; what is not known stays, with a note."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pytest

from provenance_gate.artifact.quantized import dequantized
from provenance_gate.errors import ArtifactError, MalformedFileError

from . import build, vectors
from .build import Part, opened, part, parts, values_of, whole
from .test_vectors import CASES

Change = Callable[[dict[str, Part]], object]


def state(**changes: object) -> np.ndarray:
    """The quant_state of `vectors.four_bit` with fields replaced, or left out when None."""
    fields: dict[str, object] = {"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": [5, 51]}
    fields |= {"nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 0.0625}
    fields |= changes
    text = json.dumps({k: v for k, v in fields.items() if v is not None})
    return np.frombuffer(text.encode(), np.uint8)


def put(name: str, value: Part | None) -> Change:
    """Replace a part, or take it away."""
    return lambda values: values.pop(name) if value is None else values.update({name: value})


QUANT_STATE = "m.weight.quant_state.bitsandbytes__nf4"
I32 = np.int32

REFUSED: list[tuple[str, Change, str, str]] = [
    ("gptq4", put("m.qzeros", np.zeros((2, 5), I32)), "m.qweight", "fit no GPTQ"),
    ("gptq4", put("m.qzeros", np.zeros((3, 4), I32)), "m.qweight", "fit no GPTQ"),
    ("gptq4", put("m.qzeros", np.zeros((2, 4), np.float32)), "m.qzeros", "dtype F32"),
    ("gptq4", put("m.qzeros", np.zeros(8, I32)), "m.qweight", "expected matrices"),
    ("gptq4", put("m.scales", np.zeros((2, 32), I32)), "m.scales", "dtype I32"),
    ("gptq4", put("m.scales", np.zeros((2, 33), np.float16)), "m.qweight", "neither GPTQ nor AWQ"),
    ("gptq4", put("m.scales", np.zeros(64, np.float16)), "m.qweight", "expected matrices"),
    ("gptq4", put("m.g_idx", np.zeros(65, I32)), "m.g_idx", "65 groups"),
    ("gptq4", put("m.g_idx", np.zeros(64, np.float32)), "m.g_idx", "dtype F32"),
    ("gptq3", put("m.qweight", np.zeros((7, 32), I32)), "m.qweight", "fit no GPTQ"),
    ("gptq4", lambda v: v.update({"m.qzeros": np.zeros((99, 4), I32), "m.scales": np.zeros((99, 32), np.float16)}),
     "m.scales", "99 groups"),
    ("awq", put("m.qweight", np.zeros((32, 3), I32)), "m.qweight", "neither GPTQ nor AWQ"),
    ("awq", put("m.qzeros", np.zeros((2, 3), I32)), "m.qweight", "neither GPTQ nor AWQ"),
    ("awq", put("m.qzeros", np.zeros((3, 2), I32)), "m.qweight", "neither GPTQ nor AWQ"),
    ("awq", put("m.g_idx", np.zeros(32, I32)), "m.qweight", "neither GPTQ nor AWQ"),
    ("awq", lambda v: v.update({"m.qzeros": np.zeros((31, 2), I32), "m.scales": np.zeros((31, 16), np.float16)}),
     "m.scales", "no group size"),
    ("nf4_nested", put("m.weight.absmax", None), "m.weight", "no absmax"),
    ("nf4_nested", put("m.weight.absmax", np.zeros(5, np.uint8)), "m.weight.absmax", "5 scales, expected 4"),
    ("nf4_nested", put("m.weight.absmax", np.zeros(4, np.int64)), "m.weight.absmax", "dtype I64"),
    ("nf4_nested", put("m.weight.nested_absmax", None), QUANT_STATE, "nested_absmax"),
    ("nf4_nested", put("m.weight.nested_quant_map", None), QUANT_STATE, "nested_quant_map"),
    ("nf4_nested", put("m.weight.nested_absmax", np.zeros(2, np.float32)), "m.weight.nested_absmax", "blocks of 256"),
    ("nf4_nested", put("m.weight.nested_quant_map", np.zeros(255, np.float32)), "m.weight.nested_absmax", "nested_quant_map"),
    ("nf4_nested", put("m.weight.nested_quant_map", np.zeros(256, np.float16)), "m.weight.nested_absmax", "nested_quant_map"),
    ("nf4_nested", put("m.weight", np.zeros((127, 1), np.uint8)), "m.weight", "127 bytes"),
    ("nf4_nested", put("m.weight", np.zeros((129, 1), np.uint8)), "m.weight", "129 bytes"),
    ("nf4_nested", put(QUANT_STATE, np.zeros(4, np.uint8)), QUANT_STATE, "not JSON"),
    ("nf4_nested", put(QUANT_STATE, np.zeros(0, np.uint8)), QUANT_STATE, "bytes of JSON"),
    ("nf4_nested", put(QUANT_STATE, np.zeros((1 << 16) + 1, np.uint8)), QUANT_STATE, "bytes of JSON"),
    ("nf4_nested", put(QUANT_STATE, state().astype(np.float32)), QUANT_STATE, "bytes of JSON"),
    ("nf4_nested", put(QUANT_STATE, np.frombuffer(b"[1]", np.uint8)), QUANT_STATE, "expected an object"),
    ("nf4_nested", put(QUANT_STATE, np.frombuffer(b'{"shape": [1], "shape": [2]}', np.uint8)), QUANT_STATE, "twice"),
    *[
        ("nf4_nested", put(QUANT_STATE, state(**{key: value})), QUANT_STATE, key)
        for key, value in (
            ("quant_type", "fp4"), ("quant_type", None), ("quant_type", 4), ("shape", None), ("shape", 255), ("shape", []),
            ("shape", [5, -51]), ("shape", [5.0, 51]), ("shape", [True, 255]), ("shape", [2**62, 4]), ("shape", [1] * 5),
            ("blocksize", 0), ("blocksize", -64), ("blocksize", "64"), ("blocksize", 2**60), ("blocksize", None),
            ("nested_blocksize", 0), ("nested_blocksize", None), ("nested_offset", None), ("nested_offset", "1"),
            ("nested_offset", 1e39), ("nested_offset", True),
        )
    ],
    ("nf4_nested", put("m.weight.quant_state.bitsandbytes__fp4", state()), "m.weight", "both nf4 and fp4"),
    ("int8", put("m.SCB", np.zeros(5, np.float32)), "m.weight", "one scale per row"),
    ("int8", put("m.SCB", np.zeros(4, np.int8)), "m.weight", "one scale per row"),
    ("int8", put("m.weight_format", np.zeros(2, np.uint8)), "m.weight_format", "one byte"),
    ("int8", put("m.weight_scale", np.zeros(4, np.float32)), "m.weight", "two quantized matrices"),
    ("packed4", put("m.weight_shape", np.array([8, 40])), "m.weight_shape", "[8, 40]"),
    ("packed4", put("m.weight_shape", np.array([9, -40])), "m.weight_shape", "-40"),
    ("packed4", put("m.weight_shape", np.array([9, 2**62])), "m.weight_shape", "9 packed rows"),
    ("packed4", put("m.weight_shape", np.array([9, 40, 1])), "m.weight_shape", "two integers"),
    ("packed4", put("m.weight_shape", np.array([9.0, 40.0])), "m.weight_shape", "two integers"),
    ("packed4", put("m.weight_shape", np.array([9, 400])), "m.weight_packed", "no 400 integers"),
    ("packed4", put("m.weight_shape", np.array([9, 4])), "m.weight_packed", "no 4 integers"),
    ("packed4", put("m.weight_scale", np.zeros((9, 41), np.float16)), "m.weight_packed", "scales do not fit"),
    ("packed4", put("m.weight_scale", np.zeros((8, 5), np.float16)), "m.weight_packed", "scales do not fit"),
    ("packed4", put("m.weight_scale", np.zeros((9, 5), np.int64)), "m.weight_scale", "dtype I64"),
    ("packed4", put("m.weight_zero_point", np.zeros((3, 5), I32)), "m.weight_packed", "zero points do not fit"),
    ("packed4", put("m.weight_zero_point", np.zeros((2, 4), I32)), "m.weight_packed", "zero points do not fit"),
    ("packed4", put("m.weight_zero_point", np.zeros((9, 4), np.int8)), "m.weight_packed", "zero points do not fit"),
    ("packed4", put("m.weight_zero_point", np.zeros((5, 9), np.int8)), "m.weight_packed", "zero points do not fit"),
    ("packed4", lambda v: v.update({
        "m.weight_packed": np.zeros((9, 1), I32), "m.weight_shape": np.array([9, 8]),
        "m.weight_scale": np.zeros((9, 4), np.float16),
        "m.weight_zero_point": np.zeros((4, 9), np.int8), "m.weight_g_idx": np.zeros(8, I32)}),
     "m.weight_packed", "zero points do not fit"),
    ("packed4", put("m.weight_g_idx", np.zeros(41, I32)), "m.weight_g_idx", "40 columns"),
    ("packed4", put("m.weight_g_idx", np.zeros(40, np.float32)), "m.weight_g_idx", "40 columns"),
    ("block_fp8", put("m.weight_scale_inv", np.zeros((131, 2), np.float32)), "m.weight", "scales do not fit"),
    ("block_fp8", put("m.weight_scale_inv", np.zeros((2, 2, 1), np.float32)), "m.weight", "scales do not fit"),
    ("block_fp8", put("m.weight_scale_inv", np.zeros(7, np.float32)), "m.weight", "scales do not fit"),
    ("block_fp8", put("m.weight_scale_inv", np.zeros((2, 2), np.int64)), "m.weight_scale_inv", "dtype I64"),
    ("block_fp8", put("m.weight_scale", np.zeros(1, np.float32)), "m.weight", "two tables"),
    ("block_fp8", put("m.weight_zero_point", np.zeros(3, np.int8)), "m.weight_zero_point", "does not fit"),
    ("nvfp4", put("m.weight_global_scale", None), "m.weight_packed", "without weight_global_scale"),
    ("nvfp4", put("m.weight_global_scale", np.zeros(2, np.float32)), "m.weight_global_scale", "one float"),
    ("nvfp4", put("m.weight_global_scale", np.zeros(1, np.int64)), "m.weight_global_scale", "one float"),
    ("nvfp4", put("m.weight_scale", ("F8_E4M3", np.zeros((4, 2), np.uint8))), "m.weight_packed", "groups of 16"),
    ("nvfp4", put("m.weight_scale", np.zeros((4, 3), np.uint8)), "m.weight_packed", "groups of 32"),
    ("mxfp4", put("m.x_scales", np.zeros((2, 3, 3), np.uint8)), "m.x_blocks", "scale per block"),
    ("mxfp4", put("m.x_scales", np.zeros((2, 3, 2), np.float32)), "m.x_blocks", "scales of one"),
    ("mxfp4", put("m.x_blocks", np.zeros((2, 3, 2, 8), np.uint8)), "m.x_blocks", "16 bytes"),
    ("mxfp4", put("m.x_blocks", np.zeros((12, 16), np.uint8)), "m.x_blocks", "16 bytes"),
    ("gptq4", put("m.weight", np.zeros((32, 64), np.float32)), "m.qweight", "stored a second time"),
    ("mxfp4", put("m.x", np.zeros((2, 3, 64), np.float32)), "m.x_blocks", "stored a second time"),
    ("packed4", put("m.qweight", np.zeros((16, 32), I32)), "", ""),
]  # fmt: skip


@pytest.mark.parametrize(("case", "change", "tensor", "words"), REFUSED)
def test_parts_that_do_not_fit_are_refused(case: str, change: Change, tensor: str, words: str) -> None:
    values = dict(CASES[case][0])
    change(values)
    if not tensor:
        opened(values)
        return
    with pytest.raises(MalformedFileError) as caught:
        opened(values)
    assert str(caught.value).startswith(f"model.safetensors: tensor '{tensor}'")
    assert words in str(caught.value)


def test_two_schemes_for_one_name_are_refused() -> None:
    values = {**CASES["gptq4"][0], **CASES["int8"][0]}
    with pytest.raises(MalformedFileError, match="a second time"):
        opened(values)


@pytest.mark.parametrize("group", [-1, 2, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("at", [0, 63])
def test_a_group_that_does_not_exist_is_refused_when_it_is_read(group: int, at: int) -> None:
    values = dict(CASES["gptq4"][0])
    index = np.array(values["m.g_idx"])
    index[at] = group
    values["m.g_idx"] = index
    (tensor,), _ = opened(values)
    with pytest.raises(MalformedFileError, match=f"'m.g_idx': group {group}, expected 0 to 1"):
        whole(tensor)


def test_an_index_of_minus_ones_is_no_index() -> None:
    rng = np.random.default_rng(0)
    values, expected = build.compressed(rng, (4, 128), 4, 4)
    values["m.weight_g_idx"] = np.full(128, -1, np.int32)
    np.testing.assert_array_equal(values_of(values), expected)
    values["m.weight_g_idx"] = np.array([0] + [-1] * 127, np.int32)
    with pytest.raises(MalformedFileError, match="group -1"):
        values_of(values)


@pytest.mark.parametrize("layout", [1, 2, 3, 255])
def test_bitsandbytes_weights_in_another_layout_are_refused(layout: int) -> None:
    values = {**CASES["int8"][0], "m.weight_format": np.array(layout, np.uint8)}
    with pytest.raises(MalformedFileError, match="row by row"):
        values_of(values)


def test_names_from_the_file_are_made_printable() -> None:
    values = {k.replace("m.", "m\x1b[2J\n‮."): v for k, v in CASES["gptq4"][0].items()}
    values["m\x1b[2J\n‮.g_idx"] = np.zeros(3, np.int32)
    with pytest.raises(MalformedFileError) as caught:
        opened(values)
    assert str(caught.value).isprintable()


# What is not known, or not there


@pytest.mark.parametrize("case", ["gptq4", "awq", "packed4", "nvfp4", "mxfp4"])
def test_parts_without_scales_stay_and_are_noted(case: str) -> None:
    values = {name: value for name, value in CASES[case][0].items() if not name.endswith(("scales", "_scale"))}
    tensors, notes = opened(values)
    assert sorted(t.name for t in tensors) == sorted(values)
    assert any("look quantized in a way that is not known" in note for note in notes)


def test_tensors_that_are_not_quantized_pass_through_unchanged() -> None:
    stored = parts({
        "b.weight": np.ones((3, 4), np.float32), "a.bias": np.ones(3, np.float16), "c.scales": np.ones((2, 2), np.float16),
        "d.weight": ("F8_E4M3", np.zeros((4, 4), np.uint8)), "e.g_idx": np.zeros(3, np.int32),
        "f.weight_scale": np.ones(1, np.float32), "position_ids": np.arange(4),
    })  # fmt: skip
    tensors, notes = dequantized(stored, None)
    assert tensors == tuple(sorted(stored, key=lambda t: t.name))
    assert notes == ()


def test_nothing_is_read_of_a_model_that_is_not_quantized() -> None:
    stored = parts({"b.weight": np.ones((3, 4), np.float32)})
    dequantized(stored, {"quant_method": "gptq"})
    assert stored[0].reader.requests == 0  # type: ignore[attr-defined]


def test_no_tensors_give_none() -> None:
    assert dequantized((), None) == ((), ())


@pytest.mark.parametrize("case", CASES)
def test_an_empty_part_leaves_the_others_alone(case: str) -> None:
    for name, value in CASES[case][0].items():
        array = value[1] if isinstance(value, tuple) else value
        hollow = np.zeros((0, *array.shape[1:]), array.dtype)
        changed: Any = (value[0], hollow) if isinstance(value, tuple) else hollow
        try:
            tensors, _ = opened({**CASES[case][0], name: changed})
        except ArtifactError:
            continue
        for tensor in tensors:
            assert tensor.reader.read(0, 0).shape == (0,)


def test_the_other_tensors_of_a_model_and_the_path_of_the_main_part_are_kept() -> None:
    stored = [part(k, v, PurePosixPath("b" if k == "m.qweight" else "a")) for k, v in CASES["gptq4"][0].items()]
    stored.append(part("m.bias", np.zeros(32, np.float16)))
    tensors, _ = dequantized(stored, None)
    assert [t.name for t in tensors] == ["m.bias", "m.weight"]
    assert tensors[1].path == PurePosixPath("b")


# Degenerate values


def test_scales_that_are_no_numbers_give_values_that_are_none() -> None:
    scales = np.array([[np.nan], [np.inf], [0.0], [-1.0]], np.float32)
    codes = np.array([[1, -2], [3, 0], [5, -6], [7, 8]], np.int8)
    got = values_of({"m.weight": codes, "m.weight_scale": scales})
    np.testing.assert_array_equal(got, [[np.nan, np.nan], [np.inf, np.nan], [0, -0.0], [-7, -8]])


@pytest.mark.parametrize("scale", [0.0, np.inf, np.nan, -1.0, 1e-45, 3e38])
def test_any_overall_scale_of_nvfp4_is_read_without_a_warning(scale: float) -> None:
    values = {**CASES["nvfp4"][0], "m.weight_global_scale": np.array([scale], np.float32)}
    assert values_of(values).shape == (4, 48)


def test_scales_of_mxfp4_reach_from_the_smallest_number_to_none() -> None:
    blocks = np.full((1, 3, 1, 16), 0x22, np.uint8)
    got = values_of({"m_blocks": blocks, "m_scales": np.array([[[0], [254], [255]]], np.uint8)})
    assert got[0, 0, 0] == 2.0**-127
    assert got[0, 1, 0] == 2.0**127
    assert np.isnan(got[0, 2]).all()


def test_blocks_of_zeros_are_zeros() -> None:
    values = {**vectors.four_bit("nf4", nested=False), "m.weight.absmax": np.zeros(4, np.float32)}
    assert not values_of(values).any()
