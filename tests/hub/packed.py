"""GPTQ, AWQ and GGUF forms of generated models, made up from the values of the bfloat16 one as they are read."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.artifact.gguf import build as gguf_file

from .contents import Bytes, Content, Shape, Values, places

KINDS = ("gptq", "gptq act-order", "awq")
GROUP = 128
_STEP = np.float16(2.0**-5 / 7)
"""One scale for all: generated values lie within +-2**-5."""
_AWQ_ORDER = np.array([0, 2, 4, 6, 1, 3, 5, 7])

Words = NDArray[np.int64]
Make = Callable[[Words], NDArray[np.generic]]
"""Elements of a tensor at flat places."""


@dataclass(frozen=True)
class Made:
    """A safetensors file of tensors made up by place. `parts`: first byte, width of an element, elements, function."""

    header: bytes
    parts: tuple[tuple[int, int, int, Make], ...]

    @property
    def size(self) -> int:
        begin, width, count, _ = self.parts[-1]
        return len(self.header) + begin + width * count

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.header).hexdigest()

    def read(self, start: int, size: int) -> bytes:
        stop = min(start + size, self.size)
        out = [self.header[start:stop]]
        at = max(0, start - len(self.header))
        end = stop - len(self.header)
        starts = [p[0] for p in self.parts]
        while at < end:
            number = bisect_right(starts, at) - 1
            begin, width, count, make = self.parts[number]
            if at >= begin + width * count:  # padding
                out.append(bytes(min(end, starts[number + 1]) - at))
                at = min(end, starts[number + 1])
                continue
            last = min(end, begin + width * count)
            first, final = (at - begin) // width, -(-(last - begin) // width)
            data = make(np.arange(first, final)).tobytes()
            skipped = at - begin - first * width
            out.append(data[skipped : skipped + last - at])
            at = last
        return b"".join(out)


def packed_model(shape: Shape, kind: str, seed: int = 1) -> dict[str, Content]:
    """Files of `generated_model(shape, seed)` as AutoGPTQ or AutoAWQ write it: integers first, by name, then halves."""
    integers: dict[str, tuple[tuple[int, ...], Make]] = {}
    halves: dict[str, tuple[tuple[int, ...], Make]] = {}
    for name, extents, values in places(shape, seed):
        if ".layers." not in name or len(extents) == 1:
            halves[name] = extents, lambda at, v=values: bfloat16(v(at)).astype(np.float16)
            continue
        stem = name.removesuffix("weight")
        rows, columns = extents
        groups = columns // GROUP
        halves[f"{stem}scales"] = (groups, rows), lambda at: np.full(len(at), _STEP)
        zero = 0x77777777 if kind != "awq" else 0x88888888
        fill = np.uint32(zero).astype(np.uint32)
        integers[f"{stem}qzeros"] = (groups, rows // 8), lambda at, f=fill: np.full(len(at), f)
        if kind == "awq":
            integers[f"{stem}qweight"] = (columns, rows // 8), _awq(values, rows, columns)
            continue
        integers[f"{stem}qweight"] = (columns // 8, rows), _gptq(values, rows, columns)
        scattered = kind == "gptq act-order"
        integers[f"{stem}g_idx"] = (columns,), lambda at, g=groups, s=scattered: _group(at, g, scattered=s)
    config = shape.config() | {"quantization_config": {"quant_method": kind.split()[0], "bits": 4, "group_size": GROUP}}
    return {
        "config.json": Bytes(json.dumps(config).encode()),
        "model.safetensors": _file(integers, halves),
    }


def _file(
    integers: Mapping[str, tuple[tuple[int, ...], Make]], halves: Mapping[str, tuple[tuple[int, ...], Make]]
) -> Made:
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    parts: list[tuple[int, int, int, Make]] = []
    at = 0
    for dtype, width, tensors in (("I32", 4, integers), ("F16", 2, halves)):
        for name in sorted(tensors):
            extents, make = tensors[name]
            count = int(np.prod(extents, dtype=np.int64))
            entries[name] = {"dtype": dtype, "shape": list(extents), "data_offsets": [at, at + width * count]}
            parts.append((at, width, count, make))
            at += width * count
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return Made(len(text).to_bytes(8, "little") + text, tuple(parts))


def bfloat16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def _codes(bits: NDArray[np.uint16]) -> NDArray[np.uint32]:
    return np.asarray(np.rint(bfloat16(bits) / np.float32(_STEP)) + 8, dtype=np.uint32)


def _gptq(values: Values, rows: int, columns: int) -> Make:
    def make(at: Words) -> NDArray[np.generic]:
        word = np.zeros(len(at), np.uint32)
        for k in range(8):
            word |= _codes(values(at % rows * columns + at // rows * 8 + k)) << np.uint32(4 * k)
        return word

    return make


def _awq(values: Values, rows: int, columns: int) -> Make:
    def make(at: Words) -> NDArray[np.generic]:
        word = np.zeros(len(at), np.uint32)
        per = rows // 8
        for k, output in enumerate(_AWQ_ORDER):
            word |= _codes(values((at % per * 8 + output) * columns + at // per)) << np.uint32(4 * k)
        return word

    return make


def _group(at: Words, groups: int, *, scattered: bool) -> NDArray[np.int32]:
    order = at * 7919 % (groups * GROUP) if scattered else at
    return np.asarray(order // GROUP, dtype=np.int32)


_GGUF_NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}  # fmt: skip
_BLOCK, _BLOCK_BYTES = 32, 18


def gguf_model(shape: Shape, seed: int = 1) -> dict[str, Content]:
    """`generated_model(shape, seed)` as one GGUF file with all matrices in Q4_0, rows of q and k in llama.cpp's order."""
    parts: list[tuple[int, int, int, Make]] = []
    infos, at = b"", 0
    for name, extents, values in places(shape, seed):
        module = name.removesuffix(".weight")
        stem = _GGUF_NAMES.get(module, "")
        if not stem:
            _, _, layer, inside = module.split(".", 3)
            stem = f"blk.{layer}.{_GGUF_NAMES[inside]}"
        count = int(np.prod(extents, dtype=np.int64))
        if len(extents) == 1:
            kind, width, length, make = "F32", 4, count, _float32(values)
        else:
            half = shape.hidden // shape.heads // 2 if stem.endswith(("attn_q", "attn_k")) else 0
            kind, width, length, make = "Q4_0", _BLOCK_BYTES, count // _BLOCK, _q4_0(values, extents[1], half)
        infos += gguf_file.info(f"{stem}.weight", extents[::-1], gguf_file.NUMBER_OF[kind], at)
        parts.append((at, width, length, make))
        at += -(-width * length // 32) * 32
    facts = {"block_count": shape.layers, "embedding_length": shape.hidden, "feed_forward_length": shape.feed_forward}
    facts |= {"attention.head_count": shape.heads, "attention.head_count_kv": shape.groups, "context_length": 8192}
    metadata: dict[str, object] = {"general.architecture": "llama", **{f"llama.{k}": v for k, v in facts.items()}}
    metadata |= {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.tokens": [f"t{i}" for i in range(shape.vocabulary)]}
    entries = b"".join(gguf_file.entry(k, v) for k, v in metadata.items())
    header = gguf_file.pad(gguf_file.head(entries, infos, len(parts), len(metadata)))
    return {"model-Q4_0.gguf": Made(header, tuple(parts))}


def _float32(values: Values) -> Make:
    return lambda at: bfloat16(values(at))


def _q4_0(values: Values, columns: int, half: int) -> Make:
    def make(at: Words) -> NDArray[np.generic]:
        row, column = at * _BLOCK // columns, at * _BLOCK % columns
        if half:
            head, within = np.divmod(row, 2 * half)
            row = head * 2 * half + within % 2 * half + within // 2
        codes = _codes(values((row * columns + column)[:, None] + np.arange(_BLOCK))).astype(np.uint8)
        block = np.empty((len(at), _BLOCK_BYTES), np.uint8)
        block[:, :2] = np.full(1, _STEP).view(np.uint8)
        block[:, 2:] = codes[:, :16] | codes[:, 16:] << 4
        return block

    return make
