"""Model folders of the benchmark: read, and written all at once."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

Tensors = dict[str, NDArray[np.float32]]
Json = dict[str, object]

_STORED = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}


@dataclass(frozen=True)
class Checkpoint:
    """A model: what its folder holds. `extra` goes to a second shard; `dtype` is what all tensors are stored in."""

    tensors: Tensors
    config: Json
    tokenizer: Json
    tokenizer_config: Json
    claim: str = ""
    dtype: str = "F32"
    extra: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    def with_(self, tensors: Tensors | None = None, **config: object) -> Checkpoint:
        """The same with other tensors, or other values in config.json."""
        return replace(self, tensors=self.tensors if tensors is None else tensors, config={**self.config, **config})

    @property
    def layers(self) -> int:
        """How many layers the config declares."""
        return number(self.config, "num_hidden_layers", "n_layer")


def number(config: Json, *names: str) -> int:
    """The first of these fields that the config has."""
    for name in names:
        if name in config:
            return int(str(config[name]))
    raise KeyError(names)


def load(folder: Path) -> Checkpoint:
    """A folder written by `save`, or one with the same files."""
    files = sorted(folder.glob("*.safetensors"))
    tensors = {name: value.astype(np.float32) for file in files for name, value in load_file(file).items()}
    settings = folder / "tokenizer_config.json"
    return Checkpoint(
        tensors,
        json.loads((folder / "config.json").read_text(encoding="utf-8")),
        json.loads((folder / "tokenizer.json").read_text(encoding="utf-8")),
        json.loads(settings.read_text(encoding="utf-8")) if settings.exists() else {},
    )


def save(folder: Path, model: Checkpoint) -> None:
    """Write under another name, then rename: a folder that exists is complete."""
    work = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    names = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
    _write_json(work / "config.json", {**model.config, "torch_dtype": names[model.dtype]})
    _write_json(work / "tokenizer.json", model.tokenizer)
    _write_json(work / "tokenizer_config.json", model.tokenizer_config)
    front = f"license: apache-2.0\nbase_model: {model.claim}\n" if model.claim else "license: apache-2.0\n"
    (work / "README.md").write_text(f"---\n{front}---\n", encoding="utf-8")
    if model.extra:
        parts = {"model-00001-of-00002.safetensors": model.tensors, "model-00002-of-00002.safetensors": model.extra}
        for name, part in parts.items():
            _write_tensors(work / name, part, model.dtype)
        where = {tensor: name for name, part in parts.items() for tensor in part}
        _write_json(work / "model.safetensors.index.json", {"metadata": {}, "weight_map": where})
    else:
        _write_tensors(work / "model.safetensors", model.tensors, model.dtype)
    shutil.rmtree(folder, ignore_errors=True)
    work.rename(folder)


def make(folder: Path, build: Callable[[], Checkpoint]) -> bool:
    """Build the folder unless it exists; whether it was built."""
    if folder.exists():
        return False
    folder.parent.mkdir(parents=True, exist_ok=True)
    save(folder, build())
    return True


def _write_json(path: Path, value: Mapping[str, object]) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")


def _write_tensors(path: Path, tensors: Mapping[str, NDArray[np.float32]], dtype: str) -> None:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    blocks: list[bytes] = []
    at = 0
    for name in sorted(tensors):
        block = _encoded(tensors[name], dtype)
        shape = list(tensors[name].shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(block)]}
        at += len(block)
        blocks.append(block)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blocks))


def _encoded(values: NDArray[np.float32], dtype: str) -> bytes:
    plain = np.ascontiguousarray(values, dtype=np.float32)
    if dtype != "BF16":
        return plain.astype(_STORED[dtype]).tobytes()
    bits = plain.view(np.uint32)
    # Round to nearest, ties to even, as every framework does.
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()
