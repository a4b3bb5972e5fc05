"""Tiny models as real files, and the plain definition of what reading them must give."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from provenance_gate.artifact.interface import StoredTensor
from provenance_gate.artifact.inventory import list_files
from provenance_gate.artifact.ranges import LocalFile, ReadCounter
from provenance_gate.artifact.safetensors_format import open_safetensors, open_weights
from provenance_gate.artifact.sources import LocalStore

Array = NDArray[Any]


class Numbers:
    """Arrays in which no number appears twice, over all arrays of one object: an element out of place shows."""

    def __init__(self) -> None:
        self.used = 0

    def __call__(self, *shape: int) -> NDArray[np.float32]:
        start, self.used = self.used, self.used + prod(shape)
        assert self.used < 2**24, "float32 holds every integer up to here"
        return np.arange(start, self.used, dtype=np.float32).reshape(shape)


def save(path: Path, tensors: Mapping[str, Array]) -> Path:
    """Write one safetensors file with the public library."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: np.array(array, order="C") for name, array in tensors.items()}, path)
    return path


def save_model(folder: Path, tensors: Mapping[str, Array], config: Mapping[str, object] | None = None) -> Path:
    save(folder / "model.safetensors", tensors)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def save_shards(
    folder: Path, shards: Sequence[Mapping[str, Array]], weight_map: Mapping[str, object] | None = None
) -> Path:
    """Shards with an index; `weight_map` replaces the true one."""
    names = [f"model-{n:05}-of-{len(shards):05}.safetensors" for n in range(1, len(shards) + 1)]
    for name, tensors in zip(names, shards, strict=True):
        save(folder / name, tensors)
    true = {tensor: name for name, tensors in zip(names, shards, strict=True) for tensor in tensors}
    write_index(folder, true if weight_map is None else weight_map)
    return folder


def write_index(folder: Path, weight_map: object, name: str = "model.safetensors.index.json") -> Path:
    (folder / name).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return folder / name


def entry(dtype: object = "F32", shape: object = (2,), offsets: object = (0, 8), **more: object) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


def raw_file(path: Path, header: Mapping[str, object] | bytes, data: bytes = b"", length: int | None = None) -> Path:
    """A file with exactly this header, true or not; `length` replaces the number that says how long it is."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def opened_file(path: Path) -> tuple[StoredTensor, ...]:
    return open_safetensors(LocalFile(path, path.name, ReadCounter()), PurePosixPath(path.name))


def opened_folder(folder: Path) -> tuple[StoredTensor, ...]:
    return open_weights(LocalStore(folder), list_files(folder))[0]


def values(tensor: StoredTensor) -> NDArray[np.float32]:
    return tensor.reader.read(0, tensor.size).reshape(tensor.shape)
