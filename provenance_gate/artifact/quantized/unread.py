"""Packings that are recognized by their parts and not read: an error that names them is better than wrong values.

The parts of one module lie side by side under fixed names. A matrix of such codes, taken for weights as they stand, would look
like a stranger to every base.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from provenance_gate.artifact.interface import StoredTensor
from provenance_gate.artifact.quantized.interface import where
from provenance_gate.errors import ArtifactError

_INTEGERS = frozenset({"I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64"})


@dataclass(frozen=True, slots=True)
class Packing:
    """`label` for messages; `main`, the last part of the name of the codes; `parts`, of which at least one lies beside it."""

    label: str
    main: str
    parts: tuple[str, ...]
    dtypes: frozenset[str] = _INTEGERS


PACKINGS: tuple[Packing, ...] = (
    Packing("EXL2", "q_weight", ("q_groups", "q_scale", "q_invperm")),
    Packing("EXL3", "trellis", ("suh", "svh", "su", "sv")),
    Packing("GPTQ Marlin", "B", ("s",)),
    Packing("QQQ", "B", ("s_channel", "s_group")),
    Packing("Marlin 2:4", "B_24", ("B_meta", "s")),
    Packing("Marlin 2:4", "weight_packed", ("scale_packed", "meta")),
    Packing("AWQ GEMV fast", "qweight", ("qzeros", "scales"), frozenset({"I16", "U16"})),
    Packing("SqueezeLLM", "qweight", ("lookup_table",)),
    Packing("AQLM", "codes", ("codebooks",)),
    Packing("VPTQ", "indices", ("centroids",)),
    Packing("QuIP#", "Qidxs", ("SU", "SV", "codebook_id")),
    Packing("EETQ", "weight", ("weight_scales",), frozenset({"I8"})),
    Packing("BitNet ternary", "weight", ("weight_scale",), frozenset({"U8"})),
    Packing("sparse bitmask", "bitmask", ("compressed", "row_offsets")),
    Packing("HQQ", "W_q", ("meta", "scale", "zero"), _INTEGERS | {"F32", "F16", "BF16"}),
)


def refuse_unread(kept: Mapping[str, StoredTensor]) -> None:
    """Raise ArtifactError for the first of `kept` (tensors that no scheme took) that is the codes of a known packing."""
    by_main: dict[str, list[Packing]] = {}
    for packing in PACKINGS:
        by_main.setdefault(packing.main, []).append(packing)
    for name in sorted(kept):
        head, dot, last = name.rpartition(".")
        for packing in by_main.get(last, ()):
            tensor = kept[name]
            if tensor.dtype in packing.dtypes and any(f"{head}{dot}{part}" in kept for part in packing.parts):
                raise not_read(tensor, packing.label)


def not_read(tensor: StoredTensor, label: str) -> ArtifactError:
    """The error for codes of a known packing without a reader."""
    return ArtifactError(f"{where(tensor)}: {label} packing is not read")
