"""The weights of an artifact, whatever format they are in: one model, read from the format that loaders prefer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from provenance_gate.artifact.gguf import GgufModel, open_gguf, select_files
from provenance_gate.artifact.interface import FileKind, FileRecord, NotMeasured, StoredTensor, WeightFormat
from provenance_gate.artifact.quantized import dequantized
from provenance_gate.artifact.safetensors_format import open_weights
from provenance_gate.artifact.sources.interface import Store
from provenance_gate.artifact.torchfile.weights import open_torch_weights
from provenance_gate.errors import ArtifactError


@dataclass(frozen=True, slots=True)
class Weights:
    """Stored tensors with quantized parts put together, notes, and what a GGUF file says beside its weights."""

    tensors: tuple[StoredTensor, ...]
    notes: tuple[str, ...]
    gguf: GgufModel | None = None


def read_weights(store: Store, files: Sequence[FileRecord], quantization: object) -> Weights:
    """Safetensors where there are any, else GGUF, else a PyTorch checkpoint; the other formats are named in a note.

    `quantization` is what config.json says of it; it is compared with the tensors, not believed.
    """
    found, notes = open_weights(store, files)
    gguf = None
    if not found:
        gguf = _gguf(store, files)
        found, notes = (gguf.tensors, (*notes, *gguf.notes)) if gguf else open_torch_weights(store, files)
    tensors, more = (found, ()) if gguf else dequantized(found, quantization)
    return Weights(tensors, (*notes, *more, *_unread(files, found)), gguf)


@dataclass(frozen=True, slots=True)
class OtherWeights:
    """The model once more, in another format beside the one that was read; `weights` says why where it cannot be read."""

    format: WeightFormat
    weights: Weights | NotMeasured


def read_others(
    store: Store, files: Sequence[FileRecord], read: Weights, quantization: object
) -> tuple[OtherWeights, ...]:
    """What stands in GGUF or PyTorch files beside the format that was read. A file that is refused is told, not raised."""
    paths = {t.path for t in read.tensors}
    used = {f.format for f in files if f.path in paths}
    found = []
    for kind, opened in ((WeightFormat.GGUF, _gguf_alone), (WeightFormat.PICKLE, _torch_alone)):
        if kind in used or not read.tensors:
            continue
        try:
            weights = opened(store, files, quantization)
        except ArtifactError as error:
            found.append(OtherWeights(kind, NotMeasured(str(error))))
            continue
        if weights.tensors:
            found.append(OtherWeights(kind, weights))
    return tuple(found)


def _gguf_alone(store: Store, files: Sequence[FileRecord], quantization: object) -> Weights:
    model = _gguf(store, files)
    return Weights(model.tensors, model.notes, model) if model else Weights((), ())


def _torch_alone(store: Store, files: Sequence[FileRecord], quantization: object) -> Weights:
    found, notes = open_torch_weights(store, files)
    tensors, more = dequantized(found, quantization)
    return Weights(tensors, (*notes, *more))


def _gguf(store: Store, files: Sequence[FileRecord]) -> GgufModel | None:
    at_root = {f.path: f for f in files if len(f.path.parts) == 1 and f.format is WeightFormat.GGUF}
    chosen = select_files(at_root)
    return open_gguf([(store.open(at_root[path]), path) for path in chosen]) if chosen else None


def _unread(files: Sequence[FileRecord], found: Sequence[StoredTensor]) -> tuple[str, ...]:
    paths = {t.path for t in found}
    read = {WeightFormat.SAFETENSORS, *(f.format for f in files if f.path in paths)}
    other = sorted({f.format.value for f in files if f.kind is FileKind.WEIGHTS and f.format and f.format not in read})
    return (f"weights in {', '.join(other)} are listed but not read",) if other else ()
