"""Which PyTorch checkpoints of a folder are the model, and all their tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from provenance_gate.artifact.interface import FileRecord, StoredTensor, WeightFormat
from provenance_gate.artifact.shards import check_index, read_index, refuse_missing
from provenance_gate.artifact.sources.interface import Store
from provenance_gate.artifact.torchfile.open import read_torch
from provenance_gate.errors import ArtifactError, MalformedFileError, one_line

INDEX = "pytorch_model.bin.index.json"
SINGLE = "pytorch_model.bin"
_SHARD = re.compile(r"pytorch_model-[0-9]{5}-of-[0-9]{5}\.bin")
_CONSOLIDATED = re.compile(r"consolidated\.[0-9]{2,}\.pth")
_ALONE = ("model.pth", "model.pt", "pytorch_model.pt", "pytorch_model.pth")
_BESIDE = re.compile(
    r"(training_args|optimizer|scheduler|scaler|rng_state|random_states|adapter_).*|.*\.(pkl|pickle|joblib)"
)
"""What trainers write beside the model."""


def open_torch_weights(store: Store, files: Sequence[FileRecord]) -> tuple[tuple[StoredTensor, ...], tuple[str, ...]]:
    """All tensors of the artifact's PyTorch checkpoints, sorted by name, and notes on files that were passed over.

    Only files at the root count. In this order: the shards that an index names, ``pytorch_model.bin``, its numbered shards
    without an index, ``model.pth`` and the like, ``consolidated.NN.pth``, else the one checkpoint that is there. Nothing
    when there is none.

    Raises
    ------
    UnsafeFormatError, MalformedFileError
        From the first file that has the fault.
    ArtifactError
        A shard is missing, several files could be the model, or they are slices of the same tensors.
    """
    at_root = [f for f in files if len(f.path.parts) == 1]
    for record in at_root:
        if record.format is WeightFormat.LFS_POINTER:
            raise ArtifactError(f"{record.path}: a Git LFS pointer, not weights; run `git lfs pull` first")
    shards = sorted(str(f.path) for f in at_root if f.format is WeightFormat.PICKLE)
    index = next((f for f in at_root if str(f.path) == INDEX), None)
    weight_map: Mapping[str, str] | None = None
    if index is not None:
        weight_map = read_index(store, index, shards, "PyTorch")
        wanted = sorted(set(weight_map.values()))
        if SINGLE in shards and SINGLE not in wanted:
            # Loaders differ in which of the two they take: what is measured must be what is run.
            raise ArtifactError(f"{INDEX}: names other weights than {SINGLE} beside it; remove one of the two")
    else:
        wanted = shards if len(files) == 1 else _main_files(shards)
        if not wanted and any(str(f.path) == "adapter_config.json" for f in at_root):
            wanted = [name for name in shards if name == "adapter_model.bin"]
        refuse_missing(wanted, ".bin")
    notes: list[str] = []
    passed_over = [name for name in shards if name not in wanted]
    if wanted and passed_over:
        notes.append(f"not read, since other files hold the model: {', '.join(map(one_line, passed_over[:5]))}")
    tensors = _read_all(store, {str(f.path): f for f in at_root}, wanted, notes)
    if weight_map is not None:
        check_index(weight_map, tensors, INDEX)
    return tuple(tensors[name] for name in sorted(tensors)), tuple(notes)


def _main_files(names: Sequence[str]) -> list[str]:
    if SINGLE in names:
        return [SINGLE]
    numbered = [n for n in names if _SHARD.fullmatch(n)]
    if numbered:
        return numbered
    alone = [n for n in _ALONE if n in names]
    if len(alone) > 1:
        raise ArtifactError(f"{alone[0]}: {alone[1]} is beside it; remove one of the two")
    consolidated = [n for n in names if _CONSOLIDATED.fullmatch(n)]
    if alone or consolidated:
        return alone or consolidated
    main = [n for n in names if not _BESIDE.fullmatch(n)]
    if len(main) > 1:
        raise ArtifactError(
            f"{one_line(main[0])}: {one_line(main[1])} is beside it; which checkpoint is the model is not clear"
        )
    return main


def _read_all(
    store: Store, files: Mapping[str, FileRecord], names: Sequence[str], notes: list[str]
) -> dict[str, StoredTensor]:
    tensors: dict[str, StoredTensor] = {}
    for name in names:
        found = read_torch(store.open(files[name]), PurePosixPath(name))
        notes.extend(found.notes)
        for tensor in found.tensors:
            if tensor.name in tensors:
                other = tensors[tensor.name].path
                if _CONSOLIDATED.fullmatch(name):
                    raise ArtifactError(
                        f"{one_line(name)}: tensor {one_line(tensor.name, 80)!r} is in {other} too: slices for several "
                        "GPUs (tensor parallel), which are not joined; convert the model to one file first"
                    )
                raise MalformedFileError(f"{one_line(name)}: tensor {one_line(tensor.name, 80)!r} is in {other} too")
            tensors[tensor.name] = tensor
    return tensors
