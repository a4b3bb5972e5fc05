"""One model in every format that people ship: minimal quantizers, written from the formats' definitions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.dtypes import decode
from tests.artifact.gguf import build as gguf_file
from tests.artifact.torchfile import build as torch_file
from tests.models import GROUPS, HEADS, Tensors, card, config, tokenizer

Array = NDArray[Any]
Quantizer = Callable[[str, Array], Mapping[str, Array | tuple[str, Array]]]
GROUP = 32
NF4 = np.array(
    [-1.0, -0.6961928, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.09105004, 0.0, 0.0795803, 0.1609302,
     0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0], np.float32,
)  # fmt: skip
_CODES = {
    np.dtype("f4"): "F32",
    np.dtype("f2"): "F16",
    np.dtype("i4"): "I32",
    np.dtype("u1"): "U8",
    np.dtype("i1"): "I8",
}
_CODES[np.dtype("i8")] = "I64"


def _words(codes: Array, bits: int = 4) -> NDArray[np.int32]:
    """Unsigned integers along the last axis, eight to a word at four bits."""
    per = 32 // bits
    parts = codes.astype(np.uint64).reshape(*codes.shape[:-1], -1, per)
    shifts = np.arange(per, dtype=np.uint64) * np.uint64(bits)
    return np.bitwise_or.reduce(parts << shifts, axis=-1).astype(np.uint32).view(np.int32)


def _grouped(value: Array, top: int) -> tuple[Array, Array]:
    """Signed codes in [-top - 1, top] and a scale for each group of `GROUP` inputs."""
    groups = value.reshape(len(value), -1, GROUP)
    scale = (np.abs(groups).max(axis=2) / top).astype(np.float16)
    codes = np.clip(np.round(groups / np.maximum(scale[:, :, None].astype(np.float32), 1e-9)), -top - 1, top)
    return codes.reshape(value.shape).astype(np.int64), scale


def gptq(name: str, value: Array) -> Mapping[str, Array]:
    codes, scale = _grouped(value, 7)
    groups = scale.shape[1]
    return {
        f"{name}.qweight": np.ascontiguousarray(_words(codes + 8).T),
        f"{name}.qzeros": _words(np.full((groups, len(value)), 7)),
        f"{name}.scales": np.ascontiguousarray(scale.T),
        f"{name}.g_idx": (np.arange(value.shape[1]) // GROUP).astype(np.int32),
    }


def gptq_in_activation_order(name: str, value: Array) -> Mapping[str, Array]:
    """As with `desc_act`: the inputs of a group are scattered, and `g_idx` names the group of each."""
    order = np.random.default_rng(len(name)).permutation(value.shape[1])
    made = dict(gptq(name, np.ascontiguousarray(value[:, order])))
    groups = len(made[f"{name}.scales"])
    back = np.argsort(order)
    words = made[f"{name}.qweight"]
    codes = np.stack([(words.view(np.uint32) >> (4 * i)) & 15 for i in range(8)], axis=1).reshape(-1, words.shape[1])[
        back
    ]
    parts = codes.reshape(-1, 8, words.shape[1]).astype(np.uint32)
    packed = sum(parts[:, i] << np.uint32(4 * i) for i in range(8))
    made[f"{name}.qweight"] = np.asarray(packed, dtype=np.uint32).view(np.int32)
    made[f"{name}.g_idx"] = (back // (value.shape[1] // groups)).astype(np.int32)
    return made


def awq(name: str, value: Array) -> Mapping[str, Array]:
    codes, scale = _grouped(value, 7)
    order = [0, 2, 4, 6, 1, 3, 5, 7]

    def packed(table: Array) -> Array:
        return _words(table.reshape(len(table), -1, 8)[:, :, order].reshape(len(table), -1))

    return {
        f"{name}.qweight": packed((codes + 8).T),
        f"{name}.qzeros": packed(np.full((scale.shape[1], len(value)), 8)),
        f"{name}.scales": np.ascontiguousarray(scale.T),
    }


def nf4(name: str, value: Array) -> Mapping[str, Array]:
    blocks = value.reshape(-1, 64)
    largest = np.maximum(np.abs(blocks).max(axis=1), 1e-30).astype(np.float32)
    codes = np.abs((blocks / largest[:, None])[:, :, None] - NF4).argmin(axis=2).reshape(-1, 2)
    state = json.dumps({"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": list(value.shape)}).encode()
    return {
        f"{name}.weight": (codes[:, :1] << 4 | codes[:, 1:]).astype(np.uint8),
        f"{name}.weight.absmax": largest,
        f"{name}.weight.quant_map": NF4,
        f"{name}.weight.quant_state.bitsandbytes__nf4": np.frombuffer(state, np.uint8),
    }


def int8(name: str, value: Array) -> Mapping[str, Array]:
    largest = np.maximum(np.abs(value).max(axis=1), 1e-30).astype(np.float32)
    return {f"{name}.weight": np.round(value / largest[:, None] * 127).astype(np.int8), f"{name}.SCB": largest}


def packed(name: str, value: Array) -> Mapping[str, Array]:
    codes, scale = _grouped(value, 7)
    return {
        f"{name}.weight_packed": _words(codes + 8),
        f"{name}.weight_scale": scale,
        f"{name}.weight_shape": np.array(value.shape, np.int64),
    }


def fp8(name: str, value: Array) -> Mapping[str, Array | tuple[str, Array]]:
    table = decode(bytes(range(256)), "F8_E4M3", "table")
    finite = np.flatnonzero(np.isfinite(table))
    order = finite[np.argsort(table[finite], kind="stable")]
    scale = np.maximum(np.abs(value).max(axis=1, keepdims=True) / 448.0, 1e-30).astype(np.float32)
    at = np.clip(np.searchsorted(table[order], value / scale), 1, len(order) - 1)
    low, high = table[order[at - 1]], table[order[at]]
    codes = np.where(value / scale - low < high - value / scale, order[at - 1], order[at]).astype(np.uint8)
    return {f"{name}.weight": ("F8_E4M3", codes), f"{name}.weight_scale": scale}


QUANTIZERS: dict[str, Quantizer] = {"gptq": gptq, "awq": awq, "nf4": nf4, "int8": int8, "packed": packed, "fp8": fp8}


def write_quantized(folder: Path, tensors: Tensors, quantizer: Quantizer) -> Path:
    """Safetensors with every matrix of the layers quantized."""
    out: dict[str, Array | tuple[str, Array]] = {}
    for name, value in tensors.items():
        quantized = value.ndim == 2 and "layers" in name
        out |= quantizer(name.removesuffix(".weight"), value) if quantized else {name: value}
    header, data = {}, b""
    for name, entry in out.items():
        kind, array = entry if isinstance(entry, tuple) else (_CODES[entry.dtype], entry)
        raw = np.ascontiguousarray(array).tobytes()
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    _papers(folder)
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    return folder


def _papers(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config()))
    (folder / "README.md").write_text(card())
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer()))


_GGUF_NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}  # fmt: skip
_GGUF_OUTSIDE = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


def _q8_0(value: Array) -> tuple[str, tuple[int, ...], bytes]:
    blocks = value.reshape(-1, 32)
    scale = (np.abs(blocks).max(axis=1) / 127).astype("<f2")
    codes = np.round(blocks / np.maximum(scale.astype(np.float32)[:, None], 1e-9)).astype(np.int8)
    return "Q8_0", value.shape, np.concatenate([scale.view(np.uint8).reshape(-1, 2), codes.view(np.uint8)], 1).tobytes()


def _q4_0(value: Array) -> tuple[str, tuple[int, ...], bytes]:
    blocks = value.reshape(-1, 32)
    extreme = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=1)[:, None], 1)[:, 0]
    scale = (extreme / -8).astype("<f2")
    divided = blocks / np.where(scale == 0, 1, scale).astype(np.float32)[:, None]
    codes = np.clip(np.round(divided) + 8, 0, 15).astype(np.uint8)
    nibbles = codes[:, :16] | codes[:, 16:] << 4
    return "Q4_0", value.shape, np.concatenate([scale.view(np.uint8).reshape(-1, 2), nibbles], 1).tobytes()


def write_gguf(folder: Path, tensors: Tensors, kind: str) -> Path:
    """One GGUF file as llama.cpp's converter and quantizer write it; the tokenizer and the card beside it."""
    write = {"F16": lambda v: v.astype(np.float16), "Q8_0": _q8_0, "Q4_0": _q4_0}[kind]
    out: dict[str, Any] = {}
    for name, value in tensors.items():
        found = _GGUF_OUTSIDE.get(name)
        if found is None:
            _, _, layer, rest = name.split(".", 3)
            found = f"blk.{layer}.{_GGUF_NAMES[rest.removesuffix('.weight')]}.weight"
        if ".attn_q." in found or ".attn_k." in found:
            value = gguf_file.permuted(value, HEADS if ".attn_q." in found else GROUPS)
        out[found] = value if value.ndim == 1 else write(np.ascontiguousarray(value))
    facts = config()
    metadata: dict[str, object] = {"general.architecture": "llama"}
    for key, field in (
        ("block_count", "num_hidden_layers"),
        ("embedding_length", "hidden_size"),
        ("feed_forward_length", "intermediate_size"),
        ("attention.head_count", "num_attention_heads"),
        ("attention.head_count_kv", "num_key_value_heads"),
    ):
        metadata[f"llama.{key}"] = facts[field]
    _papers(folder)
    (folder / "config.json").unlink()
    (folder / "model.gguf").write_bytes(gguf_file.gguf(out, metadata))
    return folder


def native(tensors: Tensors) -> Tensors:
    """The names and the rows of q and k of Mistral's own code (`consolidated.safetensors`)."""
    inside = {
        "self_attn.q_proj": "attention.wq", "self_attn.k_proj": "attention.wk", "self_attn.v_proj": "attention.wv",
        "self_attn.o_proj": "attention.wo", "mlp.gate_proj": "feed_forward.w1", "mlp.up_proj": "feed_forward.w3",
        "mlp.down_proj": "feed_forward.w2", "input_layernorm": "attention_norm", "post_attention_layernorm": "ffn_norm",
    }  # fmt: skip
    outside = {"model.embed_tokens": "tok_embeddings", "model.norm": "norm", "lm_head": "output"}
    made = {}
    for name, value in tensors.items():
        path = name.removesuffix(".weight")
        if path not in outside:
            _, _, layer, rest = path.split(".", 3)
            if rest.endswith(("q_proj", "k_proj")):
                value = gguf_file.permuted(value, HEADS if rest.endswith("q_proj") else GROUPS)
        made[f"{outside[path] if path in outside else f'layers.{layer}.{inside[rest]}'}.weight"] = value
    return made


def write_torch(folder: Path, tensors: Tensors) -> Path:
    """pytorch_model.bin in the zip layout."""
    _papers(folder)
    (folder / "pytorch_model.bin").write_bytes(torch_bytes(tensors))
    return folder


def torch_bytes(tensors: Tensors) -> bytes:
    """A checkpoint in the zip layout."""
    items, storages = {}, {}
    for key, (name, value) in enumerate(tensors.items()):
        strides = (value.shape[1], 1) if value.ndim == 2 else (1,)
        store = torch_file.storage(str(key), value.size)
        items[name] = torch_file.tensor(store, value.shape, strides)
        storages[str(key)] = value.astype("<f4").tobytes()
    return torch_file.modern(torch_file.ordered(items), storages)


Writer = Callable[[Path, Tensors], Path]
WRITERS: dict[str, Writer] = {
    **{name: lambda f, t, q=q: write_quantized(f, t, q) for name, q in QUANTIZERS.items()},  # type: ignore[misc]
    **{f"gguf {k}": lambda f, t, k=k: write_gguf(f, t, k) for k in ("F16", "Q8_0", "Q4_0")},  # type: ignore[misc]
    "torch": write_torch,
}
