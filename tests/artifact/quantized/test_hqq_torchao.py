"""HQQ and torchao: parts from plain formulas, and from the libraries where they are installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from provenance_gate.errors import ArtifactError, MalformedFileError

from .build import Array, Part, opened, values_of, whole
from .test_independent import library, stored


def hqq(shape: tuple[int, int], bits: int, size: int, axis: int) -> tuple[dict[str, Part], Array]:
    """Parts, and the values by the definition: each code placed by hand."""
    rng = np.random.default_rng(bits + axis)
    groups = shape[0] * shape[1] // size
    table = (groups, size) if axis else (size, groups)
    codes = rng.integers(0, 1 << bits, table)
    across = (groups, 1) if axis else (1, groups)
    scale = rng.uniform(0.01, 0.1, across).astype(np.float16)
    zero = rng.uniform(0, 1 << bits, across).astype(np.float16)
    per = 8 // bits
    step = table[0] // per
    packed = np.zeros((step, table[1]), np.uint8)
    for part in range(per):
        packed |= (codes[part * step : (part + 1) * step] << (8 - bits * (part + 1))).astype(np.uint8)
    values = ((codes.astype(np.float32) - zero.astype(np.float32)) * scale.astype(np.float32)).reshape(shape)
    parts: dict[str, Part] = {"m.W_q": packed, "m.scale": scale, "m.zero": zero, "m.shape": np.array(shape)}
    parts |= {"m.nbits": np.array(bits, np.int32), "m.packing": np.frombuffer(b"4bit_u8", np.uint8)}
    return parts, values


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_hqq_gives_the_values_of_its_definition(bits: int, axis: int) -> None:
    parts, values = hqq((24, 64), bits, 16, axis)
    (tensor,), notes = opened(parts)
    assert (tensor.name, tensor.dtype, tensor.shape) == ("m.weight", f"HQQ{bits}", (24, 64))
    np.testing.assert_array_equal(whole(tensor), values)
    assert notes == (f"HQQ{bits}: 1 quantized tensors are read as the values they stand for",)


@pytest.mark.parametrize("axis", [0, 1])
def test_every_range_of_hqq_is_that_piece_of_the_whole(axis: int) -> None:
    parts, values = hqq((24, 64), 4, 16, axis)
    (tensor,), _ = opened(parts)
    flat = values.reshape(-1)
    for start in range(0, 1536, 97):
        for count in (0, 1, 31, 64, 700):
            if start + count <= 1536:
                np.testing.assert_array_equal(tensor.reader.read(start, count), flat[start : start + count])


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("m.shape", np.array([24, 65]), "fit no HQQ"),
        ("m.shape", np.array([24, -64]), "two positive extents"),
        ("m.shape", np.array([2**40, 2**40]), "two positive extents"),
        ("m.shape", np.array([24.0, 64.0]), "two integers"),
        ("m.scale", np.ones((95, 1), np.float16), "fit no HQQ"),
        ("m.zero", np.ones((1, 96), np.float16), "fit no HQQ"),
    ],
)
def test_hqq_parts_that_do_not_fit_are_refused(name: str, value: Array, words: str) -> None:
    parts, _ = hqq((24, 64), 4, 16, 1)
    with pytest.raises(MalformedFileError, match=words):
        opened({**parts, name: value})


@pytest.mark.parametrize(
    ("name", "value"), [("m.W_q", np.zeros((20, 64), np.int32)), ("m.scale", np.zeros((96, 1), np.uint8))]
)
def test_hqq_in_packings_without_a_reader_is_named(name: str, value: Array) -> None:
    parts, _ = hqq((24, 64), 4, 16, 1)
    with pytest.raises(ArtifactError, match=r"HQQ .* packing is not read"):
        opened({**parts, name: value})


def int8(groups: int, *, zeros: bool) -> tuple[dict[str, Part], Array]:
    rng = np.random.default_rng(groups)
    codes = rng.integers(-128, 128, (8, 64)).astype(np.int8)
    scale = rng.uniform(0.01, 0.1, (8, groups)).astype(np.float32)
    zero = rng.integers(-8, 8, (8, groups)).astype(np.int8) if zeros else np.zeros((8, groups), np.int8)
    place = np.arange(64) // (64 // groups)
    values = (codes.astype(np.float32) - zero[:, place]) * scale[:, place]
    parts: dict[str, Part] = {"m._weight_qdata": codes, "m._weight_scale": scale}
    return parts | ({"m._weight_zero_point": zero} if zeros else {}), values


@pytest.mark.parametrize(("groups", "zeros"), [(1, False), (1, True), (4, True)])
def test_torchao_bytes_give_the_values_of_their_definition(groups: int, zeros: bool) -> None:
    parts, values = int8(groups, zeros=zeros)
    (tensor,), _ = opened(parts, {"quant_method": "torchao"})
    assert (tensor.name, tensor.dtype) == ("m.weight", "INT8")
    np.testing.assert_array_equal(whole(tensor), values)


@pytest.mark.parametrize(
    "parts",
    [
        # Int4Tensor: two values a byte, scales and zero points (groups, out) in floats; here of the shape of bytes in groups.
        {
            "m._weight_qdata": np.ones((32, 2048), np.int8),
            "m._weight_scale": np.ones((32, 32), np.float16),
            "m._weight_zero_point": np.ones((32, 32), np.float16),
        },
        {"m._weight_qdata": np.ones((32, 2048), np.int8), "m._weight_scale": np.ones((32, 32), np.float16)},
        {"m._weight_qdata": np.ones((4, 2, 32, 4), np.int32), "m._weight_scale": np.ones((4, 2), np.float16)},
        {"m._weight_qdata": np.ones((32, 64), np.uint8), "m._weight_scale": ("F8_E4M3", np.ones((32, 8), np.uint8))},
        {**int8(1, zeros=False)[0], "m._weight_act_pre_scale": np.ones(64, np.float32)},
    ],
    ids=["int4 with zeros", "int4", "tiles", "nvfp4", "scaled activations"],
)
def test_packed_torchao_is_named_and_never_read_as_bytes(parts: dict[str, Part]) -> None:
    with pytest.raises(ArtifactError, match=r"'m\._weight_qdata': torchao .*packing is not read"):
        opened(parts)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_hqq_agrees_with_its_library(bits: int, axis: int) -> None:
    quantize, torch = library("hqq.core.quantize"), library("torch")
    torch.manual_seed(bits)
    linear = torch.nn.Linear(128, 96, bias=False)
    settings = quantize.BaseQuantizeConfig(nbits=bits, group_size=64, axis=axis)
    layer = quantize.HQQLinear(linear, settings, compute_dtype=torch.float32, device="cpu")
    parts = {f"m.{name}": stored(value) for name, value in layer.state_dict().items()}
    (tensor,), _ = opened(parts)
    assert tensor.dtype == f"HQQ{bits}"
    np.testing.assert_allclose(whole(tensor), layer.dequantize().detach().numpy(), rtol=1e-6, atol=1e-7)


def test_three_bit_hqq_of_its_library_is_named() -> None:
    quantize, torch = library("hqq.core.quantize"), library("torch")
    settings = quantize.BaseQuantizeConfig(nbits=3, group_size=64, axis=1)
    layer = quantize.HQQLinear(torch.nn.Linear(128, 96, bias=False), settings, torch.float32, device="cpu")
    with pytest.raises(ArtifactError, match="HQQ I32"):
        opened({f"m.{name}": stored(value) for name, value in layer.state_dict().items()})


@pytest.mark.parametrize("kind", ["int8", "fp8", "4 bits in bytes", "8 bits by row"])
def test_torchao_agrees_with_its_library(kind: str) -> None:
    ao: Any = library("torchao.quantization")
    torch, flat = library("torch"), library("torchao.prototype.safetensors.safetensors_support")
    config = {
        "int8": lambda: ao.Int8WeightOnlyConfig(version=2),
        "fp8": ao.Float8WeightOnlyConfig,
        "4 bits in bytes": lambda: ao.IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=ao.PerGroup(32)),
        "8 bits by row": ao.IntxWeightOnlyConfig,
    }[kind]()
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(128, 64, bias=False, dtype=torch.float32))
    ao.quantize_(model, config)
    parts, _ = flat.flatten_tensor_state_dict(model.state_dict())
    got = values_of({name: stored(value) for name, value in parts.items()})
    np.testing.assert_allclose(got, model[0].weight.dequantize().float().numpy(), rtol=1e-6, atol=1e-7)
