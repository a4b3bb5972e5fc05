"""The weights of an artifact, whatever format they are in: one model, read from the format that loaders prefer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from provenance_gate.artifact.interface import (
    FileKind,
    FileRecord,
    ModelConfig,
    NotMeasured,
    StoredTensor,
    WeightFormat,
)
from provenance_gate.artifact.nativenames import heads_of, is_native, with_hub_names
from provenance_gate.artifact.quantized import dequantized
from provenance_gate.artifact.safetensors_format import open_main, open_set
from provenance_gate.artifact.shards import refuse_missing
from provenance_gate.artifact.sources.interface import Store
from provenance_gate.artifact.weightsets import (
    WeightSet,
    at_root,
    first_names,
    gguf_sets,
    is_aside,
    known_sets,
)
from provenance_gate.errors import ArtifactError, MalformedFileError, one_line

# Readers of a format are imported where a file of it lies: every command waits for imports.
if TYPE_CHECKING:
    from provenance_gate.artifact.gguf.header import Header
    from provenance_gate.artifact.gguf.open import GgufModel

_ADAPTER_ENDS: Final = (".lora_a", ".lora_b")
_NO_CONFIG: Final = NotMeasured("no config.json")


@dataclass(frozen=True, slots=True)
class Beside:
    """What files beside the weights say of them; compared with the tensors, not believed.

    `quantization` is of any type (see `quantized.find_quantization`); `params` the object of Mistral's params.json.
    """

    quantization: object = None
    quantization_file: str = "config.json"
    params: Mapping[str, object] = field(default_factory=dict)
    config: ModelConfig | NotMeasured = _NO_CONFIG


@dataclass(frozen=True, slots=True)
class Weights:
    """Stored tensors with quantized parts put together, notes, what a GGUF file says beside its weights, and the sets of
    files that hold the model once more in the same format.
    """

    tensors: tuple[StoredTensor, ...]
    notes: tuple[str, ...]
    gguf: GgufModel | None = None
    others: tuple[WeightSet, ...] = ()


def read_weights(store: Store, files: Sequence[FileRecord], beside: Beside) -> Weights:
    """Safetensors where there are any, else GGUF, else a PyTorch checkpoint; the other formats are named in a note.

    Of several GGUF models the most precise is read (the largest whose types can all be decoded, by name where two are of one
    size). Raises ArtifactError, and MalformedFileError or UnsafeFormatError for the first file with a fault.
    """
    main = open_main(store, files)
    weights = _put_together(main.tensors, main.notes, beside, main.others)
    if not main.tensors:
        weights = _gguf(store, files) or _torch(store, files, beside, main.notes)
    unread = _unread(files, weights.tensors)
    return Weights(weights.tensors, (*weights.notes, *unread), weights.gguf, weights.others)


@dataclass(frozen=True, slots=True)
class OtherWeights:
    """The model once more, in other files than those that were read; `weights` says why where they cannot be read.

    `name` is the format, or the first file's name where several sets of one format lie there.
    """

    format: WeightFormat
    name: str
    weights: Weights | NotMeasured


def read_others(store: Store, files: Sequence[FileRecord], read: Weights, beside: Beside) -> tuple[OtherWeights, ...]:
    """What stands in other files beside those that were read. A file that is refused is told, not raised."""
    if not read.tensors:
        return ()
    paths = {t.path for t in read.tensors}
    used = {f.format for f in files if f.path in paths}
    found: list[OtherWeights] = []

    def add(kind: WeightFormat, name: str, opened: Callable[[], Weights]) -> None:
        weights: Weights | NotMeasured
        try:
            weights = opened()
        except ArtifactError as error:
            weights = NotMeasured(str(error))
        if isinstance(weights, NotMeasured) or weights.tensors:
            found.append(OtherWeights(kind, name, weights))

    def add_sets(sets: Sequence[WeightSet], opened: Callable[[WeightSet], Weights], name: str = "") -> None:
        for one in sets:
            add(one.format, name or one.name, lambda s=one: opened(s))  # type: ignore[misc]

    if WeightFormat.SAFETENSORS in used:
        add_sets(read.others, lambda s: _put_together(open_set(store, s), (), beside))
    models = [s for s in gguf_sets(at_root(files, WeightFormat.GGUF)) if not paths & {f.path for f in s.files}]
    if WeightFormat.GGUF in used or len(models) > 1:
        add_sets(models, lambda s: _gguf_set(store, s))
    else:
        add_sets(models, lambda s: _gguf_set(store, s), WeightFormat.GGUF.value)
    if WeightFormat.PICKLE in used:
        add_sets(read.others, lambda s: _torch_set(store, s, beside))
        return tuple(found)
    add(WeightFormat.PICKLE, WeightFormat.PICKLE.value, lambda: _torch(store, files, beside))
    first = found[-1].weights if found and found[-1].format is WeightFormat.PICKLE else None
    if isinstance(first, Weights):
        add_sets(first.others, lambda s: _torch_set(store, s, beside))
    return tuple(found)


def _put_together(
    found: tuple[StoredTensor, ...], notes: Sequence[str], beside: Beside, others: tuple[WeightSet, ...] = ()
) -> Weights:
    """Quantized parts joined, and the names and rows of Hugging Face where the tensors have those of Meta or Mistral."""
    tensors, more = dequantized(found, beside.quantization, beside.quantization_file)
    if is_native(tensors):
        tensors, renamed = with_hub_names(tensors, heads_of(beside.params, beside.config))
        more = (*more, *renamed)
    return Weights(tensors, (*notes, *more), others=others)


def _gguf(store: Store, files: Sequence[FileRecord]) -> Weights | None:
    """The most precise GGUF model, and the others; None when there is none."""
    sets = gguf_sets(at_root(files, WeightFormat.GGUF))
    if not sets:
        return None
    from provenance_gate.artifact.gguf.blocks import is_decodable

    alone = len(files) == 1
    first: tuple[WeightSet, Weights] | None = None
    for one in sets:
        if is_aside(one) and not alone:
            continue
        weights = _gguf_set(store, one)
        if not weights.tensors and not alone:
            continue
        if all(is_decodable(t.dtype) for t in weights.tensors):
            first = one, weights
            break
        first = first or (one, weights)
    if first is None:
        return None
    chosen, weights = first
    others = tuple(s for s in sets if s is not chosen and not is_aside(s))
    notes = list(weights.notes)
    if others:
        notes.append(
            f"measured is {chosen.name}; the model stands in further files, which are only compared: {first_names(others)}"
        )
    return Weights(weights.tensors, tuple(notes), weights.gguf, others)


def _gguf_set(store: Store, chosen: WeightSet) -> Weights:
    """One GGUF model; no tensors where the header says that it is none."""
    from provenance_gate.artifact.gguf.header import read_header
    from provenance_gate.artifact.gguf.open import open_gguf

    opened = [(store.open(record), record.path) for record in chosen.files]
    if len(opened) == 1 and not _is_model(read_header(opened[0][0])):
        return Weights((), ())
    model = open_gguf(opened)
    return Weights(model.tensors, model.notes, model)


def _is_model(header: Header) -> bool:
    """Whether llama.cpp would load the file as a language model, whatever its name: not a projector of images (architecture
    clip), an importance matrix (no architecture), or a LoRA adapter.
    """
    names = [t.name for t in header.tensors]
    adapter = bool(names) and all(n.endswith(_ADAPTER_ENDS) for n in names)
    return header.metadata.get("general.architecture") not in (None, "clip") and not adapter


def _torch(store: Store, files: Sequence[FileRecord], beside: Beside, notes: Sequence[str] = ()) -> Weights:
    """The PyTorch checkpoint that loaders read by default, else the largest of its variants (``pytorch_model.fp16.bin``)."""
    sets = known_sets(at_root(files, WeightFormat.PICKLE), ".bin")
    variants = {f.path for s in sets if s.variant for f in s.files}
    plain = [f for f in files if f.path not in variants]
    if variants and len(plain) == 1:
        # A folder, not a file that was opened by its name.
        plain.append(FileRecord(PurePosixPath("."), 0, FileKind.OTHER))
    from provenance_gate.artifact.torchfile.weights import open_torch_weights

    found, more = open_torch_weights(store, plain)
    if not found and variants:
        return _torch_set(store, sets[0], beside, sets[1:])
    read = {t.path for t in found}
    others = tuple(s for s in sets if not read & {f.path for f in s.files}) if found else ()
    return _put_together(found, (*notes, *more), beside, others)


def _torch_set(store: Store, chosen: WeightSet, beside: Beside, others: tuple[WeightSet, ...] = ()) -> Weights:
    from provenance_gate.artifact.torchfile.open import read_torch

    refuse_missing(chosen.names, ".bin")
    tensors: dict[str, StoredTensor] = {}
    for record in chosen.files:
        for tensor in read_torch(store.open(record), record.path).tensors:
            if tensor.name in tensors:
                other = tensors[tensor.name].path
                raise MalformedFileError(f"{record.path}: tensor {one_line(tensor.name, 80)!r} is in {other} too")
            tensors[tensor.name] = tensor
    return _put_together(tuple(tensors[name] for name in sorted(tensors)), (), beside, others)


def _unread(files: Sequence[FileRecord], found: Sequence[StoredTensor]) -> tuple[str, ...]:
    paths = {t.path for t in found}
    read = {WeightFormat.SAFETENSORS, *(f.format for f in files if f.path in paths)}
    other = sorted({f.format.value for f in files if f.kind is FileKind.WEIGHTS and f.format and f.format not in read})
    return (f"weights in {', '.join(other)} are listed but not read",) if other else ()
