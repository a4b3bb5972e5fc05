"""Quantized safetensors: the parts that tools write, seen as one matrix per module that is dequantized as it is read.

A scheme is told by the names, dtypes and shapes of tensors, never by config.json, which only helps where shapes leave a
choice. What looks quantized and fits no scheme stays as it is, and a note says so. Refused are packings that are known and not
read, and parts that name a scheme and contradict each other. To add a scheme, write a class with `Scheme`'s members in a file
of its own and list it here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from provenance_gate.artifact.interface import StoredTensor
from provenance_gate.artifact.quantized.awq import Awq
from provenance_gate.artifact.quantized.bitsandbytes_4bit import Bitsandbytes4bit
from provenance_gate.artifact.quantized.bitsandbytes_8bit import Bitsandbytes8bit
from provenance_gate.artifact.quantized.compressed_packed import CompressedPacked
from provenance_gate.artifact.quantized.fp4 import ExpertsMxfp4, PackedFp4
from provenance_gate.artifact.quantized.gptq import Gptq, settle
from provenance_gate.artifact.quantized.hqq import Hqq
from provenance_gate.artifact.quantized.interface import Match, RawReader, Scheme, malformed
from provenance_gate.artifact.quantized.said import SETTINGS_FILES, Said, find_quantization, read_said
from provenance_gate.artifact.quantized.scaled import Scaled
from provenance_gate.artifact.quantized.torchao import Torchao
from provenance_gate.artifact.quantized.unread import refuse_unread
from provenance_gate.errors import one_line

__all__ = ["SCHEMES", "SETTINGS_FILES", "Match", "RawReader", "Scheme", "dequantized", "find_quantization"]

SCHEMES: tuple[Scheme, ...] = (
    Gptq(),
    Awq(),
    Bitsandbytes4bit(),
    Bitsandbytes8bit(),
    CompressedPacked(),
    Scaled(),
    Torchao(),
    PackedFp4(),
    ExpertsMxfp4(),
    Hqq(),
)

_PACKED_ENDS = ("qweight", "weight_packed", "_blocks", "_data", "weight")
_MAX_REMARKS = 20


def dequantized(
    stored: Sequence[StoredTensor], quantization: object, file: str = "config.json"
) -> tuple[tuple[StoredTensor, ...], tuple[str, ...]]:
    """`stored` with the parts of every quantized matrix replaced by one tensor of its values.

    Parameters
    ----------
    stored
        All tensors of a model, names distinct.
    quantization
        `quantization_config` of config.json (see `find_quantization`), None or of any type: it is not believed.
    file
        The file that it stands in, for notes.

    Returns
    -------
    tensors
        Sorted by name. A virtual one has shape (out, in) (expert stacks: one axis more), a dtype that names the scheme, the
        bytes of all its parts, the path of the main one, and values that are dequantized block by block as they are read.
    notes
        One line for each scheme with its count, each contradiction of config.json, and for what could not be read.

    Raises
    ------
    MalformedFileError
        The parts of a matrix fit neither each other nor any scheme, or two schemes; or a matrix is stored twice.
    ArtifactError
        A part cannot be read, or the parts are of a packing that is known and has no reader (`unread`).
    """
    tensors = {t.name: t for t in stored}
    said, notes = read_said(quantization, file)
    ordered = [tensors[name] for name in sorted(tensors)]
    said, version_notes = settle([t for t in ordered if t.name.endswith("qweight")], tensors, said)
    found: dict[str, tuple[Scheme, Match]] = {}
    owner: dict[str, str] = {}
    for main in ordered:
        for scheme in SCHEMES:
            match = scheme.match(main, tensors, said)
            if match is None:
                continue
            for part in match.parts:
                if part in owner:
                    raise malformed(
                        tensors[part], f"belongs to two quantized matrices, {_quoted(owner[part], main.name)}"
                    )
                owner[part] = main.name
            found[main.name] = (scheme, match)
    virtual: dict[str, StoredTensor] = {}
    for main_name, (_, match) in found.items():
        name = match.tensor.name
        if name in virtual or (name in tensors and name not in owner):
            raise malformed(tensors[main_name], f"{one_line(name, 80)!r} is stored a second time")
        virtual[name] = match.tensor
    kept = {t.name: t for t in ordered if t.name not in owner}
    refuse_unread(kept)
    every = {**kept, **virtual}
    return tuple(every[name] for name in sorted(every)), (
        *notes,
        *_counted(list(found.values())),
        *version_notes,
        *_remarks(list(found.values()), said),
        *_unread(list(kept.values())),
    )


def _quoted(*names: str) -> str:
    return " and ".join(repr(one_line(n, 80)) for n in names)


def _counted(found: Sequence[tuple[Scheme, Match]]) -> list[str]:
    counts = Counter(match.tensor.dtype for _, match in found)
    return [
        f"{label}: {count} quantized tensors are read as the values they stand for"
        for label, count in sorted(counts.items())
    ]


def _remarks(found: Sequence[tuple[Scheme, Match]], said: Said) -> list[str]:
    counts: Counter[str] = Counter()
    example: dict[str, str] = {}
    for scheme, match in found:
        method = () if said.method is None or said.method in scheme.methods else (_other_method(said, match),)
        for remark in (*match.remarks, *method):
            counts[remark] += 1
            example.setdefault(remark, match.tensor.name)
    if said.method is not None and not found:
        return [f"{said.file} says quant_method {one_line(said.method)}, but no tensor is quantized in a known way"]
    return [
        f"{remark} ({count} tensors, {one_line(example[remark], 80)} first)"
        for remark, count in sorted(counts.items())[:_MAX_REMARKS]
    ]


def _other_method(said: Said, match: Match) -> str:
    return f"{said.file} says quant_method {said.method}, the tensors are {match.tensor.dtype}"


def _unread(kept: Sequence[StoredTensor]) -> list[str]:
    """A note on integer matrices that no scheme took."""
    left = [
        t.name
        for t in kept
        if t.dtype in ("I32", "U32", "U8", "I8") and len(t.shape) > 1 and t.name.endswith(_PACKED_ENDS)
    ]
    if not left:
        return []
    return [
        f"{len(left)} tensors look quantized in a way that is not known and are read as stored ({one_line(left[0], 80)} first)"
    ]
