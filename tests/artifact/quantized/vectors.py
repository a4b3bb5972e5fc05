"""Parts from a fixed pattern; the values they stand for were computed once with the libraries named beside them."""

from __future__ import annotations

import json

import numpy as np

from .build import Array, Part, bfloat16


def pattern(count: int, step: int = 37) -> Array:
    """Bytes that run through all values."""
    return (np.arange(count) * step + np.arange(count) // 256 * 11 + 5).astype(np.uint8)


def words(*shape: int) -> Array:
    return pattern(4 * int(np.prod(shape))).view("<i4").reshape(shape)


def ramp(*shape: int) -> Array:
    """Scales that are all different, exact in float16 and bfloat16."""
    return ((np.arange(int(np.prod(shape))) % 96 + 32) / 1024).astype(np.float16).reshape(shape)


def gptq(bits: int) -> dict[str, Part]:
    index = (np.arange(64) * 5 % 64 // 32).astype(np.int32)
    return {
        "m.qweight": words(2 * bits, 32),
        "m.qzeros": words(2, bits),
        "m.scales": ramp(2, 32),
        "m.g_idx": index,
    }


def awq() -> dict[str, Part]:
    return {"m.qweight": words(32, 2), "m.qzeros": words(2, 2), "m.scales": ramp(2, 16)}


def four_bit(kind: str, *, nested: bool) -> dict[str, Part]:
    state: dict[str, object] = {"quant_type": kind, "blocksize": 64, "dtype": "float32", "shape": [5, 51]}
    parts: dict[str, Part] = {"m.weight": pattern(128).reshape(-1, 1)}
    if nested:
        state |= {"nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 0.0625}
        parts["m.weight.absmax"] = pattern(4, 61)
        parts["m.weight.nested_absmax"] = np.array([0.75], np.float32)
        parts["m.weight.nested_quant_map"] = np.arange(-128, 128, dtype=np.float32) / 128
    else:
        parts["m.weight.absmax"] = np.array([0.5, 0.0, 3.0, 1e-39], np.float32)
    parts[f"m.weight.quant_state.bitsandbytes__{kind}"] = np.frombuffer(json.dumps(state).encode(), np.uint8)
    return parts


def packed(bits: int) -> dict[str, Part]:
    return {
        "m.weight_packed": words(9, -(-40 * bits // 32)),
        "m.weight_scale": ramp(9, 5),
        "m.weight_zero_point": words(-(-9 * bits // 32), 5),
        "m.weight_shape": np.array([9, 40], np.int64),
    }


def nvfp4() -> dict[str, Part]:
    return {
        "m.weight_packed": pattern(96).reshape(4, 24),
        "m.weight_scale": ("F8_E4M3", (pattern(12) & 0x7F).reshape(4, 3)),
        "m.weight_global_scale": np.array([48.0], np.float32),
    }


def mxfp4_experts() -> dict[str, Part]:
    return {
        "m.x_blocks": pattern(192).reshape(2, 3, 2, 16),
        "m.x_scales": (pattern(12) % 30 + 110).astype(np.uint8).reshape(2, 3, 2),
    }


def block_fp8() -> dict[str, Part]:
    codes = pattern(130 * 140).reshape(130, 140)
    return {
        "m.weight": ("F8_E4M3", np.where(codes & 0x7F == 0x7F, 0, codes)),
        "m.weight_scale_inv": bfloat16(ramp(2, 2)),
    }


def int8() -> dict[str, Part]:
    return {"m.weight": pattern(60).view(np.int8).reshape(4, 15), "m.SCB": np.array([0.1, 2, 0, 77], np.float32)}


def picks(size: int) -> Array:
    """Positions of the pinned values: 16 over the whole."""
    return np.linspace(0, size - 1, 16).astype(np.int64)
