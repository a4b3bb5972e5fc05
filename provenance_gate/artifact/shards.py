"""Rules for models in several files, whatever their format: the index that names the shards, and the numbers in their names."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from provenance_gate.artifact.interface import FileRecord, StoredTensor, WeightFormat
from provenance_gate.artifact.inventory import not_a_pointer
from provenance_gate.artifact.jsonfile import kind_of, load_json_object
from provenance_gate.artifact.sources.interface import Store
from provenance_gate.errors import ArtifactError, MalformedFileError, PathEscapeError, one_line

_MAX_INDEX = 64 << 20


def read_index(store: Store, index: FileRecord, shards: Collection[str], kind: str) -> dict[str, str]:
    """`weight_map` of an index: tensor name to one of `shards`, the files of format `kind` beside it.

    Raises MalformedFileError, PathEscapeError, or ArtifactError for a shard that is not there.
    """
    name = str(index.path)
    weight_map = load_json_object(not_a_pointer(store.read_small(index, _MAX_INDEX), name), name).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise MalformedFileError(f"{name}: weight_map: expected an object with an entry, found {kind_of(weight_map)}")
    checked: dict[str, str] = {}
    for tensor, shard in weight_map.items():
        if not isinstance(shard, str):
            raise MalformedFileError(f"{name}: weight_map: {one_line(tensor, 80)!r}: expected a file name")
        if shard in ("", ".", "..") or "/" in shard or "\\" in shard or "\0" in shard:
            raise PathEscapeError(f"{name}: weight_map: {one_line(shard, 120)!r} is not the name of a file beside it")
        if shard not in shards:
            raise ArtifactError(f"{name}: shard {one_line(shard, 120)!r} is missing or not a {kind} file")
        checked[tensor] = shard
    return checked


def check_index(weight_map: Mapping[str, str], tensors: Mapping[str, StoredTensor], index: str) -> None:
    """Refuse an index that names a tensor which is not where it says."""
    for name, shard in weight_map.items():
        if name not in tensors:
            raise MalformedFileError(f"{index}: tensor {one_line(name, 80)!r} is not in {one_line(shard)}")
        if str(tensors[name].path) != shard:
            raise MalformedFileError(
                f"{index}: tensor {one_line(name, 80)!r} is in {tensors[name].path}, not {one_line(shard)}"
            )


def refuse_missing(names: Sequence[str], suffix: str) -> None:
    """Shards are numbered ``-00001-of-00003``: without an index the numbers tell whether all are there."""
    for name in names:
        numbered = re.fullmatch(rf"(.*)-([0-9]{{5}})-of-([0-9]{{5}}){re.escape(suffix)}", name)
        if numbered:
            stem, _, of = numbered.groups()
            wanted = (f"{stem}-{number:05d}-of-{of}{suffix}" for number in range(1, int(of) + 1))
            missing = next((w for w in wanted if w not in names), None)
            if missing is not None:
                raise ArtifactError(f"{one_line(missing)}: missing, though {one_line(name)} is here")


def refuse_pointers(files: Sequence[FileRecord]) -> None:
    """Refuse weights at the root of which only a Git LFS pointer is here: what was not fetched cannot be measured."""
    for record in files:
        if len(record.path.parts) == 1 and record.format is WeightFormat.LFS_POINTER:
            raise ArtifactError(f"{record.path}: a Git LFS pointer, the weights are not here; run `git lfs pull`")
