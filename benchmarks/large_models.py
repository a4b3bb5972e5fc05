"""Models of 1.1e9 parameters in any format, written in seconds: each matrix is one of a few, its rows turned by another amount.

Two layers are drawn and quantized; every layer of the model is one of them with its rows moved on by a multiple of 128, in the
base and in every format alike. So all values are those that the format's quantizer gives, and no two layers are equal.
"""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import Shape
from benchmarks.ggml_blocks import encode
from benchmarks.lineage.gguf_files import KEYS, gguf_name
from provenance_gate.artifact.dtypes import decode
from tests.artifact.gguf import build as gguf_file
from tests.artifact.torchfile import build as torch_file
from tests.formats import QUANTIZERS

Array = NDArray[Any]
Part = tuple[str, Array]
"""Type as safetensors spells it, and the values (bytes and words for types that numpy lacks)."""

DRAWN: Final = 2
TURN: Final = 128
_TYPES: Final = {"float32": "F32", "float16": "F16", "int32": "I32", "uint8": "U8", "int8": "I8", "int64": "I64"}
_FIXED: Final = ("g_idx", "quant_map", "bitsandbytes__nf4", "weight_shape")
"""Parts that do not run along the rows."""


class Matrices:
    """The matrices of a model, and what a quantizer makes of each, kept while they are asked for again."""

    def __init__(self, shape: Shape, seed: int = 1, noise: float = 0.0) -> None:
        self.shape, self.seed, self.noise = shape, seed, noise
        self._made: dict[tuple[object, ...], Mapping[str, Part]] = {}

    def place(self, name: str, rows: int) -> tuple[str, int]:
        """Which drawn tensor it is, and by how many rows it is turned."""
        if ".layers." not in name:
            return name, 0
        _, _, layer, rest = name.split(".", 3)
        return f"{int(layer) % DRAWN}.{rest}", int(layer) // DRAWN * TURN % rows

    def drawn(self, which: str, extent: tuple[int, ...]) -> NDArray[np.float32]:
        """Values that bfloat16 holds: Gaussian matrices, gains about one."""
        rng = np.random.default_rng([self.seed, *which.encode()])
        values = rng.standard_normal(extent, np.float32) * np.float32(0.02) + np.float32(len(extent) == 1)
        if self.noise and len(extent) == 2:
            values += rng.standard_normal(extent, np.float32) * np.float32(0.02 * self.noise)
        return (values.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)

    def parts(self, name: str, extent: tuple[int, ...], quantize: Callable[..., Any], axis: int) -> Mapping[str, Part]:
        """What `quantize` makes of the tensor, by suffix; rows run along `axis` of every part."""
        which, turn = self.place(name, extent[0])
        key = (which, quantize)
        if key not in self._made:
            self._made[key] = dict(_typed(quantize(self.drawn(which, extent))))
        return {
            n: part if n.endswith(_FIXED) else _turned(part, turn, extent[0], axis)
            for n, part in self._made[key].items()
        }


def _typed(parts: Mapping[str, Array | Part]) -> Iterator[tuple[str, Part]]:
    for name, part in parts.items():
        kind, value = part if isinstance(part, tuple) else (_TYPES[part.dtype.name], part)
        yield name, (kind, np.ascontiguousarray(value))


def _turned(part: Part, turn: int, rows: int, axis: int) -> Part:
    kind, value = part
    return (kind, np.roll(value, turn * value.shape[axis] // rows, axis)) if turn else part


def _bf16(values: Array) -> Mapping[str, Part]:
    return {"weight": ("BF16", (values.view(np.uint32) >> 16).astype("<u2"))}


def _f32(values: Array) -> Mapping[str, Part]:
    return {"": ("F32", values)}


def _by_rows(quantizer: Callable[[str, Array], Mapping[str, Array | Part]]) -> Callable[[Array], dict[str, Part]]:
    """A quantizer of `tests.formats`, some rows at a time: some of them take a hundred bytes for each value."""

    def quantize(values: Array) -> dict[str, Part]:
        portions = [dict(_typed(quantizer("x", v))) for v in np.array_split(values, max(1, values.size >> 20))]
        joined = {
            n: part if n.endswith(_FIXED) else (part[0], np.concatenate([p[n][1] for p in portions]))
            for n, part in portions[0].items()
        }
        state = "x.weight.quant_state.bitsandbytes__nf4"
        if state in joined:
            said = json.loads(joined[state][1].tobytes()) | {"shape": list(values.shape)}
            joined[state] = "U8", np.frombuffer(json.dumps(said).encode(), np.uint8)
        if "x.weight_shape" in joined:
            joined["x.weight_shape"] = "I64", np.array(values.shape, np.int64)
        return {n.removeprefix("x."): part for n, part in joined.items()}

    return quantize


def _whole(quantizer: Callable[[str, Array], Mapping[str, Array | Part]]) -> Callable[[Array], dict[str, Array | Part]]:
    return lambda values: {n.removeprefix("x."): part for n, part in quantizer("x", values).items()}


def _e4m3(values: Array) -> Array:
    """Codes of the nearest of 256 8-bit floats."""
    table = decode(bytes(range(127)), "F8_E4M3", "table")
    codes = np.searchsorted((table[1:] + table[:-1]) / 2, np.abs(values)).astype(np.uint8)
    return codes | (np.signbit(values).astype(np.uint8) << 7)


def _fp8_blocks(values: Array) -> dict[str, Part]:
    """DeepSeek-V3: a scale for each 128 x 128."""
    rows, columns = values.shape
    blocks = values.reshape(rows // 128, 128, columns // 128, 128)
    scale = np.abs(blocks).max(axis=(1, 3)) / 448
    codes = _e4m3(blocks / scale[:, None, :, None]).reshape(rows, columns)
    return {"weight": ("F8_E4M3", codes), "weight_scale_inv": ("F32", scale.astype(np.float32))}


def _mxfp4(values: Array) -> dict[str, Part]:
    """Two 4-bit floats to a byte, a power of two for each 32."""
    groups = values.reshape(len(values), -1, 32)
    exponent = np.floor(np.log2(np.maximum(np.abs(groups).max(axis=2), 1e-30))).astype(np.int32) - 2
    scaled = groups / np.exp2(exponent.astype(np.float32))[:, :, None]
    codes = np.searchsorted(np.array([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0], np.float32), np.abs(scaled)).astype(
        np.uint8
    )
    codes = (codes | (np.signbit(scaled).astype(np.uint8) << 3)).reshape(len(values), -1, 2)
    packed = codes[:, :, 0] | (codes[:, :, 1] << 4)
    return {"weight_packed": ("U8", packed), "weight_scale": ("U8", (exponent + 127).astype(np.uint8))}


SCHEMES: Final[Mapping[str, tuple[Callable[..., Any], int]]] = {
    "bf16": (_bf16, 0),
    "gptq": (_whole(QUANTIZERS["gptq"]), 1),
    "awq": (_whole(QUANTIZERS["awq"]), 1),
    "nf4": (_by_rows(QUANTIZERS["nf4"]), 0),
    "int8": (_by_rows(QUANTIZERS["int8"]), 0),
    "fp8 channel": (_by_rows(QUANTIZERS["fp8"]), 0),
    "fp8 block": (_fp8_blocks, 0),
    "packed int4": (_by_rows(QUANTIZERS["packed"]), 0),
    "mxfp4": (_mxfp4, 0),
}
"""What is made of the matrices of the layers, and the axis along which rows run."""

GGUF_TYPES: Final = ("Q8_0", "Q6_K", "Q4_K", "Q4_0", "MXFP4")
FORMATS: Final = (
    *SCHEMES,
    "bf16, 5 shards",
    *(f"gguf {kind}" for kind in GGUF_TYPES),
    "torch zip",
    "torch legacy",
)


def write(folder: Path, matrices: Matrices, kind: str, claim: str = "") -> Path:
    """The model in the format `kind` of `FORMATS`, with config and card."""
    folder.mkdir(parents=True)
    front = "license: apache-2.0\n" + (f"base_model: {claim}\n" if claim else "")
    (folder / "README.md").write_text(f"---\n{front}---\n")
    if kind.startswith("gguf "):
        _write_gguf(folder / "model.gguf", matrices, kind.removeprefix("gguf "))
        return folder
    (folder / "config.json").write_text(json.dumps(matrices.shape.config()))
    if kind.startswith("torch"):
        _write_torch(folder / "pytorch_model.bin", matrices, legacy=kind.endswith("legacy"))
        return folder
    scheme, _, shards = kind.partition(", ")
    _write_safetensors(folder, matrices, scheme, int(shards.split()[0]) if shards else 1)
    return folder


def _stored(matrices: Matrices, scheme: str) -> Iterator[tuple[str, Part]]:
    quantize, axis = SCHEMES[scheme]
    for name, extent in matrices.shape.tensors():
        stem = name.removesuffix(".weight")
        whole = len(extent) == 1 or ".layers." not in name
        parts = matrices.parts(name, extent, _bf16, 0) if whole else matrices.parts(name, extent, quantize, axis)
        for suffix, part in parts.items():
            yield f"{stem}.{suffix}", part


def _write_safetensors(folder: Path, matrices: Matrices, scheme: str, shards: int) -> None:
    places = [(name, kind, value.shape, value.nbytes) for name, (kind, value) in _stored(matrices, scheme)]
    total = sum(size for *_, size in places)
    of: dict[str, int] = {}
    headers: list[dict[str, object]] = [{} for _ in range(shards)]
    at, done = [0] * shards, 0
    for name, kind, extent, size in places:
        shard = of[name] = min(done * shards // total, shards - 1)
        headers[shard][name] = {"dtype": kind, "shape": list(extent), "data_offsets": [at[shard], at[shard] + size]}
        at[shard] += size
        done += size
    names = [
        f"model-{n + 1:05}-of-{shards:05}.safetensors" if shards > 1 else "model.safetensors" for n in range(shards)
    ]
    stored = _stored(matrices, scheme)
    for shard, header in enumerate(headers):
        text = json.dumps(header).encode()
        with (folder / names[shard]).open("wb") as out:
            out.write(struct.pack("<Q", len(text)) + text)
            for _ in header:
                out.write(next(stored)[1][1].tobytes())
    if shards > 1:
        index = {"metadata": {"total_size": total}, "weight_map": {name: names[n] for name, n in of.items()}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _write_gguf(path: Path, matrices: Matrices, kind: str) -> None:
    shape, config = matrices.shape, matrices.shape.config()

    def blocks(values: Array) -> Mapping[str, Part]:
        parts = np.array_split(values, max(1, values.size >> 22))
        return {"": ("U8", np.frombuffer(b"".join(encode(p, kind) for p in parts), np.uint8).reshape(len(values), -1))}

    def stored(name: str, extent: tuple[int, ...]) -> bytes:
        if len(extent) == 1:
            return matrices.parts(name, extent, _f32, 0)[""][1].tobytes()
        part = matrices.parts(name, extent, blocks, 0)[""][1]
        for key, rows in (("q_proj", shape.heads), ("k_proj", shape.groups)):
            if key in name:
                part = gguf_file.permuted(part, rows)
        return np.ascontiguousarray(part).tobytes()

    metadata: dict[str, object] = {"general.architecture": "llama"}
    metadata |= {f"llama.{k}": gguf_file.Typed(4, config[v]) for k, v in KEYS.items() if v in config}
    infos, at = b"", 0
    for name, extent in shape.tensors():
        number = gguf_file.NUMBER_OF["F32" if len(extent) == 1 else kind]
        infos += gguf_file.info(gguf_name(name), extent[::-1], number, at)
        at += -(-_bytes(extent, "F32" if len(extent) == 1 else kind) // 32) * 32
    entries = b"".join(gguf_file.entry(k, v) for k, v in metadata.items())
    with path.open("wb") as out:
        out.write(gguf_file.pad(gguf_file.head(entries, infos, len(shape.tensors()), len(metadata))))
        for name, extent in shape.tensors():
            out.write(gguf_file.pad(stored(name, extent)))


def _bytes(extent: tuple[int, ...], kind: str) -> int:
    known = gguf_file.TYPES[gguf_file.NUMBER_OF[kind]]
    return int(np.prod(extent)) // known.block * known.size


def _write_torch(path: Path, matrices: Matrices, legacy: bool) -> None:
    items, order = {}, []
    for key, (name, extent) in enumerate(matrices.shape.tensors()):
        count = int(np.prod(extent))
        strides = (extent[1], 1) if len(extent) == 2 else (1,)
        view = torch_file.NONE if legacy else None
        store = torch_file.storage(str(key), count, "BFloat16Storage", view)
        items[name] = torch_file.tensor(store, extent, strides)
        order.append((str(key), count))
    values = (part[1].tobytes() for _, part in _stored(matrices, "bf16"))
    if not legacy:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("model/data.pkl", torch_file.program(torch_file.ordered(items)))
            for (key, _), value in zip(order, values, strict=True):
                archive.writestr(f"model/data/{key}", value)
            archive.writestr("model/version", b"3\n")
        return
    told = torch_file.mapping({"protocol_version": torch_file.number(1001), "little_endian": torch_file.TRUE})
    names = torch_file.listed(*(torch_file.text(key) for key, _ in order))
    front = (torch_file.number(torch_file.MAGIC), torch_file.number(1001), told, torch_file.ordered(items), names)
    with path.open("wb") as out:
        out.write(b"".join(torch_file.program(value) for value in front))
        for (_, count), value in zip(order, values, strict=True):
            out.write(struct.pack("<q", count) + value)
