"""Decoders against the libraries that define the formats, where they are installed.

The same files are held to fixed vectors, made with these libraries, in the tests beside this one.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from .build import Part, opened, values_of, whole


def library(name: str) -> Any:
    """A module or a skip; libraries may warn as they please."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            root = name.partition(".")[0]
            if root not in sys.modules and importlib.util.find_spec(root) is None:
                pytest.skip(f"{name} is not installed")
            return importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 - a library that is broken here tells nothing about ours
            pytest.skip(f"{name} cannot be imported: {error}")


def without_its_package(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of a library whose package file no longer imports beside newer libraries."""
    root, *inner = name.split(".")[:-1]
    found = importlib.util.find_spec(root)
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"{root} is not installed")
    path = next(iter(found.submodule_search_locations))
    for depth in range(len(inner) + 1):
        full = ".".join((root, *inner[:depth]))
        empty = ModuleType(full)
        empty.__path__ = ["/".join((path, *inner[:depth]))]
        monkeypatch.setitem(sys.modules, full, empty)
    return library(name)


def stored(value: Any) -> Part:
    """A torch tensor as a part."""
    torch = library("torch")
    names = {torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2", torch.bfloat16: "BF16"}
    if value.dtype in names:
        codes = value.contiguous().view(torch.int16 if value.dtype == torch.bfloat16 else torch.uint8)
        return names[value.dtype], codes.numpy()
    array: Part = value.contiguous().numpy()
    return array


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("shape", [(6, 64), (5, 100), (300, 256), (1, 33)])
@pytest.mark.parametrize("blocksize", [64, 128])
def test_bitsandbytes_4bit(kind: str, nested: bool, shape: tuple[int, int], blocksize: int) -> None:
    torch, functional = library("torch"), library("bitsandbytes.functional")
    weight = torch.randn(*shape, generator=torch.Generator().manual_seed(1)) * 0.02
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        codes, state = functional.quantize_4bit(
            weight, blocksize=blocksize, quant_type=kind, compress_statistics=nested
        )
        # The library's CPU kernel misplaces scales where blocks and rows do not end together: give it one row.
        flat = functional.quantize_4bit(
            weight.flatten(), blocksize=blocksize, quant_type=kind, compress_statistics=nested
        )
        expected = functional.dequantize_4bit(*flat).numpy().reshape(shape)
    made = {"m.weight": stored(codes)}
    made |= {f"m.weight.{name}": stored(value) for name, value in state.as_dict(packed=True).items()}
    (tensor,), _ = opened(made)
    assert tensor.dtype == kind.upper()
    np.testing.assert_allclose(whole(tensor), expected, rtol=3e-7, atol=1e-9)


def test_bitsandbytes_8bit() -> None:
    torch, functional = library("torch"), library("bitsandbytes.functional")
    weight = torch.randn(9, 40, generator=torch.Generator().manual_seed(1)).half()
    codes, scales, _ = functional.int8_vectorwise_quant(weight)
    expected = functional.int8_vectorwise_dequant(codes, scales).numpy()
    got = values_of({"m.weight": stored(codes), "m.SCB": stored(scales), "m.weight_format": np.array(0, np.uint8)})
    np.testing.assert_allclose(got, expected, rtol=3e-7)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("order", [False, True])
def test_gptq_as_auto_gptq_packs_and_runs_it(bits: int, order: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = library("torch")
    module = without_its_package("auto_gptq.nn_modules.qlinear.qlinear_cuda", monkeypatch)
    generator = torch.Generator().manual_seed(bits)
    out, columns, size = 64, 128, 32
    linear = torch.nn.Linear(columns, out, bias=False)
    top = 2**bits
    scales = torch.rand(out, columns // size, generator=generator) * 0.05 + 0.01
    zeros = torch.randint(1, top, (out, columns // size), generator=generator).float()
    index = torch.arange(columns) // size
    if order:
        index = index[torch.randperm(columns, generator=generator)]
    codes = torch.randint(0, top, (out, columns), generator=generator).float()
    linear.weight.data = ((codes - zeros[:, index]) * scales[:, index]).half().float()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        packed = module.QuantLinear(bits, size, columns, out, False)
        packed.pack(linear, scales, zeros, index.int())
        packed.post_init() if hasattr(packed, "post_init") else None
        expected = packed(torch.eye(columns)).float().T.detach().numpy()
    made = {f"m.{k}": stored(getattr(packed, k)) for k in ("qweight", "qzeros", "scales", "g_idx")}
    (tensor,), _ = opened(made, {"quant_method": "gptq", "bits": bits, "group_size": size, "checkpoint_format": "gptq"})
    assert tensor.dtype == f"GPTQ{bits}"
    np.testing.assert_allclose(whole(tensor), expected, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(whole(tensor), linear.weight.detach().numpy(), rtol=2e-3, atol=1e-5)


def test_awq_as_autoawq_packs_and_unpacks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = library("torch")
    gemm = without_its_package("awq.modules.linear.gemm", monkeypatch)
    packing = library("awq.utils.packing_utils")
    generator = torch.Generator().manual_seed(0)
    out, columns, size = 32, 128, 32
    linear = torch.nn.Linear(columns, out, bias=False)
    scales = (torch.rand(columns // size, out, generator=generator) * 0.05 + 0.01).half().float()
    zeros = torch.randint(0, 16, (columns // size, out), generator=generator).float()
    index = torch.arange(columns) // size
    codes = torch.randint(0, 16, (columns, out), generator=generator).float()
    linear.weight.data = ((codes - zeros[index]) * scales[index]).T.contiguous()
    packed = gemm.WQLinear_GEMM.from_linear(linear, 4, size, scales=scales, zeros=zeros)
    made = {f"m.{k}": stored(getattr(packed, k)) for k in ("qweight", "qzeros", "scales")}
    (tensor,), _ = opened(made, {"quant_method": "awq", "bits": 4, "group_size": size})
    assert tensor.dtype == "AWQ4"
    np.testing.assert_allclose(whole(tensor), linear.weight.detach().numpy(), rtol=1e-6)
    expected = packing.dequantize_gemm(packed.qweight, packed.qzeros, packed.scales, 4, size).float().T.numpy()
    np.testing.assert_allclose(whole(tensor), expected, rtol=1e-3, atol=1e-6)


def _compressed(arguments: dict[str, Any], format_name: str, shape: tuple[int, int]) -> tuple[dict[str, Part], Any]:
    """A matrix through the library's own compressor and back: its parts and its values."""
    torch = library("torch")
    quantization = library("compressed_tensors.quantization")
    base = library("compressed_tensors.compressors.base")
    library("compressed_tensors.compressors")
    args = quantization.QuantizationArgs(**arguments)
    scheme = quantization.QuantizationScheme(targets=["Linear"], weights=args)
    utils = library("compressed_tensors.quantization.utils")
    weight = torch.randn(*shape, generator=torch.Generator().manual_seed(3)) * 0.05
    grouped = weight
    size = arguments.get("group_size")
    if arguments.get("strategy") in ("group", "tensor_group"):
        grouped = weight.unflatten(-1, (-1, size))
        low, high = grouped.amin(-1), grouped.amax(-1)
    elif arguments.get("strategy") == "channel":
        low, high = weight.amin(-1, keepdim=True), weight.amax(-1, keepdim=True)
    elif arguments.get("strategy") == "block":
        tall, wide = arguments["block_structure"]
        blocks = weight.unflatten(0, (-1, tall)).unflatten(-1, (-1, wide))
        low, high = blocks.amin((1, 3)), blocks.amax((1, 3))
    else:
        low, high = weight.amin().reshape(1), weight.amax().reshape(1)
    overall = (
        utils.generate_gparam(weight.amin(), weight.amax()) if arguments.get("strategy") == "tensor_group" else None
    )
    scale, zero = utils.calculate_qparams(low, high, args, **({"global_scale": overall} if overall is not None else {}))
    state = {"weight": weight, "weight_scale": scale}
    if overall is not None:
        state["weight_global_scale"] = overall
    if not args.symmetric:
        state["weight_zero_point"] = zero
    compressor = base.BaseCompressor.get_value_from_registry(format_name)
    compressed = compressor.compress(state, scheme)
    back = compressor.decompress(dict(compressed), scheme)["weight"].detach().float().numpy()
    return {f"m.{name}": stored(value) for name, value in compressed.items()}, back


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("strategy", ["group", "channel"])
def test_compressed_tensors_pack_quantized(bits: int, symmetric: bool, strategy: str) -> None:
    arguments: dict[str, Any] = {"num_bits": bits, "type": "int", "symmetric": symmetric, "strategy": strategy}
    if strategy == "group":
        arguments["group_size"] = 32
    made, expected = _compressed(arguments, "pack-quantized", (40, 128))
    (tensor,), _ = opened(made)
    assert tensor.dtype == f"W{bits}A16"
    np.testing.assert_allclose(whole(tensor), expected, rtol=3e-7)


@pytest.mark.parametrize(
    ("format_name", "arguments", "label"),
    [
        ("int-quantized", {"num_bits": 8, "type": "int", "strategy": "channel"}, "INT8"),
        ("int-quantized", {"num_bits": 8, "type": "int", "strategy": "channel", "symmetric": False}, "INT8"),
        ("int-quantized", {"num_bits": 8, "type": "int", "strategy": "tensor"}, "INT8"),
        ("float-quantized", {"num_bits": 8, "type": "float", "strategy": "channel"}, "FP8_E4M3"),
        ("float-quantized", {"num_bits": 8, "type": "float", "strategy": "tensor"}, "FP8_E4M3"),
        (
            "float-quantized",
            {"num_bits": 8, "type": "float", "strategy": "block", "block_structure": [16, 32]},
            "FP8_E4M3",
        ),
        (
            "nvfp4-pack-quantized",
            {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16},
            "NVFP4",
        ),
        ("mxfp4-pack-quantized", {"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32}, "MXFP4"),
        ("mxfp8-quantized", {"num_bits": 8, "type": "float", "strategy": "group", "group_size": 32}, "MXFP8"),
    ],
)
def test_compressed_tensors_of_8_bits_and_4_bit_floats(format_name: str, arguments: dict[str, Any], label: str) -> None:
    made, expected = _compressed(arguments, format_name, (48, 128))
    (tensor,), _ = opened(made)
    assert tensor.dtype == label
    # The library gives 4-bit floats back in bfloat16.
    loose = format_name in ("nvfp4-pack-quantized", "mxfp4-pack-quantized", "mxfp8-quantized")
    np.testing.assert_allclose(whole(tensor), expected, rtol=2**-7 if loose else 3e-7, atol=1e-9)


def test_experts_of_mxfp4_as_transformers_converts_them() -> None:
    torch, module = library("torch"), library("transformers.integrations.mxfp4")
    generator = torch.Generator().manual_seed(0)
    blocks = torch.randint(0, 256, (3, 8, 4, 16), generator=generator, dtype=torch.uint8)
    scales = torch.randint(100, 140, (3, 8, 4), generator=generator, dtype=torch.uint8)
    expected = module.convert_moe_packed_tensors(blocks, scales, dtype=torch.float32).transpose(1, 2).numpy()
    (tensor,), _ = opened({"m.gate_up_proj_blocks": stored(blocks), "m.gate_up_proj_scales": stored(scales)})
    assert (tensor.name, tensor.shape) == ("m.gate_up_proj", (3, 8, 128))
    np.testing.assert_array_equal(whole(tensor), expected)


@pytest.mark.parametrize("shape", [(256, 256), (200, 300), (128, 130)])
def test_blocks_of_fp8_as_transformers_dequantizes_them(shape: tuple[int, int]) -> None:
    torch, module = library("torch"), library("transformers.integrations.finegrained_fp8")
    generator = torch.Generator().manual_seed(0)
    weight = (torch.randn(*shape, generator=generator) * 100).to(torch.float8_e4m3fn)
    scale = torch.rand(-(-shape[0] // 128), -(-shape[1] // 128), generator=generator) * 1e-3
    try:
        expected = module._dequantize_fp8_weight(weight, scale, [128, 128], torch.float32).numpy()
    except AttributeError:
        pytest.skip("this version of transformers has no such function")
    got = values_of({"m.weight": stored(weight), "m.weight_scale_inv": stored(scale)})
    np.testing.assert_allclose(got, expected, rtol=1e-7)


@pytest.mark.parametrize("kind", ["qint8", "qfloat8_e4m3fn"])
def test_quanto(kind: str) -> None:
    torch, quanto = library("torch"), library("optimum.quanto")
    weight = torch.randn(12, 64, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = quanto.quantize_weight(weight, getattr(quanto, kind), 0, weight.abs().amax(1, keepdim=True) / 100)
        expected = made.dequantize().numpy()
    got = values_of({"m.weight._data": stored(made._data), "m.weight._scale": stored(made._scale)})
    np.testing.assert_allclose(got, expected, rtol=3e-7)
