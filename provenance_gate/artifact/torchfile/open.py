"""One checkpoint file to its tensors: which of the saved values is the state dict, and what was passed over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from provenance_gate.artifact.interface import StoredTensor
from provenance_gate.artifact.ranges import RangeSource
from provenance_gate.artifact.torchfile.layouts import read_checkpoint
from provenance_gate.artifact.torchfile.values import TensorView
from provenance_gate.artifact.torchfile.views import place
from provenance_gate.errors import ArtifactError, MalformedFileError, one_line

WRAPPERS = ("state_dict", "model", "module", "model_state_dict")
"""Keys under which trainers put the state dict beside their own state."""
MAX_SHARING = 64
"""How often over the tensors of a file may cover its bytes. Tied weights and shared layers do so some times."""


@dataclass(frozen=True, slots=True)
class TorchTensors:
    """The tensors of one file sorted by name, and notes, one sentence each."""

    tensors: tuple[StoredTensor, ...]
    notes: tuple[str, ...]


def open_torch(source: RangeSource, path: PurePosixPath) -> tuple[StoredTensor, ...]:
    """The tensors of one checkpoint, sorted by name; see `read_torch`."""
    return read_torch(source, path).tensors


def read_torch(source: RangeSource, path: PurePosixPath) -> TorchTensors:
    """The tensors of one checkpoint and notes on what was chosen or passed over.

    A storage that several names share (tied weights) is listed under each. Values that are no tensors are left out.

    Raises
    ------
    UnsafeFormatError
        Loading the file would run something, or expand it without end.
    MalformedFileError
        It breaks the rules of its layout, or a tensor does not fit its storage.
    ArtifactError
        It holds no state dict, or more than one.
    """
    checkpoint = read_checkpoint(source)
    found, notes = _state_dict(checkpoint.root, source.name)
    tensors = tuple(place(n, v, checkpoint.begins[v.storage.key], source, path) for n, v in sorted(found.items()))
    covered = sum(t.nbytes for t in tensors)
    if covered > MAX_SHARING * source.size:
        raise MalformedFileError(
            f"{source.name}: {len(tensors)} tensors of {covered:,} bytes in a file of {source.size:,}: storages shared "
            f"more than {MAX_SHARING} times"
        )
    return TorchTensors(tensors, notes)


def _state_dict(root: object, file: str) -> tuple[Mapping[str, TensorView], tuple[str, ...]]:
    if not isinstance(root, dict):
        raise ArtifactError(f"{file}: holds {_kind(root)}, expected a dict of tensors")
    flat = _tensors(root)
    wrapped = {key: _tensors(root[key]) for key in WRAPPERS if key in root}
    wrapped = {key: tensors for key, tensors in wrapped.items() if tensors}
    if len(wrapped) > 1:
        raise ArtifactError(
            f"{file}: tensors under {' and '.join(map(repr, wrapped))}: which is the model is not clear"
        )
    if not wrapped:
        if not flat:
            raise ArtifactError(f"{file}: a dict without tensors, expected a state dict")
        nested = sorted(key for key, value in root.items() if _tensors(value))
        if nested:
            return flat, (f"{file}: tensors under {one_line(repr(nested[0]), 80)} are not read",)
        return flat, ()
    ((key, tensors),) = wrapped.items()
    # A step counter kept as a tensor is no model.
    if any(view.shape not in ((), (1,)) for view in flat.values()):
        raise ArtifactError(f"{file}: tensors at the top and under {key!r}: which is the model is not clear")
    return tensors, (f"{file}: the model is the value under {key!r}; what is beside it is not read",)


def _tensors(value: object) -> dict[str, TensorView]:
    return {k: v for k, v in value.items() if isinstance(v, TensorView)} if isinstance(value, dict) else {}


def _kind(value: object) -> str:
    if isinstance(value, TensorView):
        return "one tensor"
    return "a list or tuple" if isinstance(value, (list, tuple)) else "no dict"
