"""Where scales lie, told by shapes; and what config.json may decide, and what it may not."""

from __future__ import annotations

import numpy as np
import pytest

from provenance_gate.artifact.quantized.said import Said, find_quantization, told_size

from . import build
from .build import bfloat16, opened, values_of, whole
from .test_vectors import CASES


@pytest.mark.parametrize(
    ("shape", "table"),
    [
        ((6, 64), ()), ((6, 64), (1,)), ((6, 64), (1, 1)), ((6, 64), (6,)), ((6, 64), (6, 1)), ((6, 64), (6, 2)),
        ((6, 64), (1, 64)), ((256, 384), (2, 3)), ((200, 300), (2, 3)), ((3, 6, 64), (3, 1, 1)), ((3, 6, 64), (3,)),
        ((3, 6, 64), (3, 6)), ((3, 6, 64), (3, 6, 1)), ((3, 6, 64), (3, 1, 64)), ((3, 200, 130), (3, 2, 2)), ((3, 6, 64), ()),
    ],
)  # fmt: skip
@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "I8"])
def test_scales_are_stretched_over_the_matrix(shape: tuple[int, ...], table: tuple[int, ...], dtype: str) -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 120, shape).astype(np.uint8)
    scales = rng.uniform(0.5, 2, table).astype(np.float32)
    plain = build.Bytes(dtype, codes.tobytes()).read(0, codes.size).reshape(shape)
    full = scales.reshape(table if len(table) != len(shape) - 1 else (*table, 1))
    if table == (3,):
        full = scales.reshape(3, 1, 1)
    if full.ndim == len(shape):
        for axis, extent in enumerate(shape):
            size = 1 if full.shape[axis] == extent else extent if full.shape[axis] == 1 else 128 if extent > 64 else 32
            full = np.repeat(full, size, axis)[(slice(None),) * axis + (slice(extent),)]
    (tensor,), _ = opened({"e.weight": (dtype, codes), "e.weight_scale": scales})
    assert tensor.shape == shape
    np.testing.assert_array_equal(whole(tensor), plain * full)


def test_scales_in_bfloat16_and_zero_points_are_read() -> None:
    scales = bfloat16(np.array([[0.5], [2.0]]))
    zeros = np.array([[3], [-4]], np.int8)
    codes = np.array([[3, 5], [-4, 0]], np.int8)
    got = values_of({"m.weight": codes, "m.weight_scale": scales, "m.weight_zero_point": zeros})
    np.testing.assert_array_equal(got, [[0, 1], [0, 8]])


@pytest.mark.parametrize("order", [False, True])
def test_zero_points_of_whole_bytes_are_read_like_packed_ones(order: bool) -> None:
    turn = list(np.random.default_rng(2).permutation(np.arange(128) // 32)) if order else None
    values, expected = build.compressed(np.random.default_rng(0), (5, 128), 4, 4, zeros=True, index=turn)
    zero = np.array(values["m.weight_zero_point"]).view("<u4")
    values["m.weight_zero_point"] = np.stack([(zero[0] >> 4 * row & 15).astype(np.int8) - 8 for row in range(5)])
    np.testing.assert_array_equal(values_of(values), expected)


@pytest.mark.parametrize("dtype", ["BF16", "F32"])
def test_bitsandbytes_codes_may_be_stored_as_wider_numbers(dtype: str) -> None:
    values = dict(CASES["nf4"][0])
    expected = values_of(values)
    values["m.weight"] = (dtype, np.array(values["m.weight"]).reshape(-1).view("<u2" if dtype == "BF16" else "<u4"))
    np.testing.assert_array_equal(values_of(values), expected)


def test_modelopt_multiplies_by_its_second_scale() -> None:
    compressed = CASES["nvfp4"][0]
    values = {
        "m.weight": compressed["m.weight_packed"],
        "m.weight_scale": compressed["m.weight_scale"],
        "m.weight_scale_2": np.array(0.5, np.float32),
    }
    np.testing.assert_array_equal(values_of(values) / 0.5, values_of(dict(compressed)) * 48)


@pytest.mark.parametrize(
    ("extent", "count", "sizes", "size"),
    [
        (4096, 32, (), 128), (4096, 1, (), 4096), (4096, 4096, (), 1), (1000, 8, (), 128), (1000, 8, (125,), 125),
        (300, 3, (100,), 100), (300, 3, (), 128), (4096, 0, (), None), (4096, 4097, (), None), (32, 31, (), None),
        (130, 2, (), 128), (7168, 56, (64,), 128), (90, 9, (), 10),
    ],
)  # fmt: skip
def test_a_group_size_is_told_by_shapes_and_helped_by_config(
    extent: int, count: int, sizes: tuple[int, ...], size: int | None
) -> None:
    assert told_size(extent, count, Said(group_sizes=frozenset(sizes))) == size


@pytest.mark.parametrize(
    "config",
    [
        None, [], "gptq", 4, True, {}, {"bits": "4"}, {"bits": -1, "group_size": 0}, {"bits": True}, {"bits": 10**30},
        {"config_groups": []}, {"config_groups": {"a": 1, "b": {"weights": []}, "c": {"weights": {"num_bits": {}}}}},
        {"weight_block_size": [[], "a", 10**40]}, {"quant_method": 5}, {"quant_method": ""}, {"checkpoint_format": []},
        {"group_size": -1}, {"config_groups": {str(i): {"weights": {"num_bits": 4}} for i in range(1000)}},
    ],
)  # fmt: skip
@pytest.mark.parametrize("case", ["gptq4", "packed4", "block_fp8"])
def test_a_config_of_any_form_changes_no_value(config: object, case: str) -> None:
    np.testing.assert_array_equal(values_of(CASES[case][0], config), values_of(CASES[case][0]))


@pytest.mark.parametrize(
    ("case", "config", "words"),
    [
        ("gptq4", {"bits": 3}, "says 3 bits, the shapes 4"),
        ("awq", {"bits": 8, "group_size": 64}, "groups of 64, the shapes 16"),
        ("awq", {"quant_method": "gptq"}, "quant_method gptq, the tensors are AWQ4"),
        ("gptq4", {"quant_method": "fp8\x1b\n"}, "quant_method fp8\\u001b\\u000a"),
        ("nf4", {"load_in_8bit": True}, "says 8 bits"),
        ("int8", {"load_in_4bit": True}, "says 4 bits, the shapes 8"),
        ("packed4", {"config_groups": {"group_0": {"weights": {"num_bits": 8, "group_size": 64}}}}, "says 8 bits"),
        ("gptq4", "gptq", "expected an object"),
    ],
)
def test_a_config_that_contradicts_the_tensors_is_noted(case: str, config: object, words: str) -> None:
    _, notes = opened(CASES[case][0], config)
    assert any(words in note for note in notes)
    assert all(note.isprintable() for note in notes)


def test_a_config_that_promises_quantized_tensors_is_noted_when_there_are_none() -> None:
    _, notes = opened({"m.weight": np.zeros((2, 2), np.float32)}, {"quant_method": "gptq"})
    assert notes == ("config.json says quant_method gptq, but no tensor is quantized in a known way",)


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({}, None), ({"quantization_config": {"bits": 4}}, {"bits": 4}), ({"compression_config": {"a": 1}}, {"a": 1}),
        ({"text_config": {"quantization_config": [1]}}, [1]), ({"text_config": 3, "quantization_config": None}, None),
    ],
)  # fmt: skip
def test_the_config_is_found_where_tools_put_it(config: dict[str, object], found: object) -> None:
    assert find_quantization(config) == found


def test_equal_remarks_are_counted() -> None:
    values = {f"layer{i}.{k}": v for i in range(5) for k, v in CASES["awq"][0].items()}
    _, notes = opened(values, {"bits": 8})
    assert notes[0] == "AWQ4: 5 quantized tensors are read as the values they stand for"
    assert notes[1].endswith("(5 tensors, layer0.m.weight first)")


@pytest.mark.parametrize("stored", [7, 8])
@pytest.mark.parametrize("said", [None, "gptq", "gptq_v2", "marlin"])
def test_symmetric_zero_points_tell_the_version(stored: int, said: str | None) -> None:
    values = dict(CASES["gptq4"][0])
    values["m.qzeros"] = np.full((2, 4), int(f"{stored}" * 8, 16), np.uint32).view(np.int32)
    values["m.qweight"] = np.full((8, 32), 0x99999999, np.uint32).view(np.int32)
    config = {} if said is None else {"checkpoint_format": said}
    (tensor,), notes = opened(values, config)
    scale = np.asarray(values["m.scales"])[0, 0]
    assert whole(tensor)[0, 0] == scale
    told = {"gptq": 7, "gptq_v2": 8}.get(str(said), 7)
    assert any("version" in note for note in notes) == (told != stored)


@pytest.mark.parametrize(("said", "one"), [("gptq", 1.0), ("gptq_v2", 0.0), (None, 1.0)])
def test_config_tells_the_version_where_zero_points_do_not(said: str | None, one: float) -> None:
    values = CASES["gptq4"][0]
    first, second = (values_of(values, {"checkpoint_format": s}) for s in ("gptq_v2", said))
    scales = np.asarray(values["m.scales"])[0, 0].astype(np.float32)
    assert first[0, 0] - second[0, 0] == scales * one


def test_seven_bits_in_whole_words_look_like_eight_unless_config_says_so() -> None:
    values, expected = build.compressed(np.random.default_rng(0), (4, 64), 2, 7, dense=False)
    (tensor,), _ = opened(values, {"config_groups": {"g": {"weights": {"num_bits": 7, "group_size": 32}}}})
    assert tensor.dtype == "W7A16"
    np.testing.assert_array_equal(whole(tensor), expected)
    (tensor,), _ = opened(values)
    assert tensor.dtype == "W8A16"
