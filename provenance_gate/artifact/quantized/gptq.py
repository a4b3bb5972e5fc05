"""GPTQ as AutoGPTQ and GPTQModel write it (Frantar et al., "GPTQ", arXiv:2210.17323; AutoGPTQ `QuantLinear.pack`).

``qweight`` (in * bits / 32, out) I32 holds each column's integers densely from the lowest bit up, ``qzeros`` (groups,
out * bits / 32) I32 those of each row, ``scales`` (groups, out), and optionally ``g_idx`` (in,) I32 the group of each
input. ``w[o, i] = scales[g, o] * (q[i, o] - zero[g, o])``. Version 1 stores each zero point minus one, version 2 as
it is. (A stored 2 ** bits - 1 of version 1 is read as 2 ** bits, as AutoGPTQ's CUDA and Triton layers do; its older layer
wraps it to 0.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.interface import Lies, StoredTensor
from provenance_gate.artifact.quantized.bits import WORD, unpack, words_for
from provenance_gate.artifact.quantized.interface import Match, Tensors, is_empty, malformed, shapes, virtual
from provenance_gate.artifact.quantized.said import Said, contradictions, told_size
from provenance_gate.artifact.quantized.tables import DequantizingReader, Table, foreseeing, group_indices, numbers
from provenance_gate.artifact.quantized.unread import not_read

_BITS = (2, 3, 4, 8)
_SCALES = ("F16", "BF16", "F32")
_MAX_GROUPS = 1 << 16
"""More than any model has: bounds the work of an index that jumps between groups."""

_SAMPLED = 8
_SAMPLED_WORDS = 4096
_SAMPLED_INPUTS = 256
_CLEAR = 0.99
"""Share of equal zero points from which a symmetric quantization is taken as certain."""


@dataclass(frozen=True, slots=True)
class _Decoder:
    words: Table
    zeros: Table
    scales: Table
    index: StoredTensor | None
    size: int
    bits: int
    minus_one: bool
    lies: Lies

    def block(self, rows: range, columns: range) -> NDArray[np.float32]:
        bits = self.bits
        packed = self.words.codes(range(columns.start * bits // WORD, words_for(columns.stop, bits)), rows)
        values = unpack(packed.T, bits)[:, : len(columns)].astype(np.float32)
        in_order = np.arange(columns.start, columns.stop, dtype=np.int64) // self.size
        groups = in_order if self.index is None else group_indices(self.index, columns, self.scales.rows)
        if foreseeing() and self.index is not None:
            groups = self._likely(in_order)
        used, place = np.unique(groups, return_inverse=True)
        zeros = self._zeros(used, rows)
        scales = numbers(self.scales.picked(used, rows), self.scales.tensor)
        values -= zeros.T[:, place]
        with np.errstate(all="ignore"):
            values *= scales.T[:, place]
        return values

    def _likely(self, in_order: NDArray[np.int64]) -> NDArray[np.int64]:
        """Groups that an index will name, before it is read: first and last of all where it jumps, else those in order."""
        if self.lies is Lies.COLUMNS:
            return in_order
        return np.linspace(0, self.scales.rows - 1, len(in_order)).astype(np.int64)

    def _zeros(self, groups: NDArray[np.int64], rows: range) -> NDArray[np.float32]:
        low = rows.start // WORD * WORD
        at = range(low * self.bits // WORD, words_for(rows.stop, self.bits))
        stored = unpack(self.zeros.picked(groups, at), self.bits)[:, rows.start - low : rows.stop - low]
        out: NDArray[np.float32] = stored.astype(np.float32) + np.float32(self.minus_one)
        return out


class Gptq:
    """Matches ``<module>.qweight`` whose width is that of ``<module>.scales``."""

    methods = frozenset({"gptq", "auto-round", "autoround", "intel/auto-round"})

    def match(self, main: StoredTensor, tensors: Tensors, said: Said) -> Match | None:
        parts = gptq_parts(main, tensors)
        if parts is None:
            return None
        _, zeros, scales, index = parts
        if main.shape[1] != scales.shape[1]:
            return None
        packed, out = main.shape
        fitting = [b for b in _BITS if zeros.shape[1] == words_for(out, b) and not packed * WORD % b]
        if not fitting or zeros.shape[0] != scales.shape[0]:
            raise malformed(main, f"these parts fit no GPTQ: {shapes(main, zeros, scales)}")
        if index is not None:
            fitting = [b for b in fitting if packed * WORD // b == index.size]
            if not fitting:
                raise malformed(index, f"{index.size} groups do not fit the inputs of {shapes(main, zeros, scales)}")
        bits = next((b for b in fitting if b in said.bits), 4 if 4 in fitting else fitting[0])
        columns, groups = packed * WORD // bits, scales.shape[0]
        if bits == 4 and index is None and groups == packed > 1:
            # AWQ GEMV with 128 inputs in groups of 64, or 256 of 32, has the shapes of GPTQ in groups of 8, which nobody makes.
            raise not_read(main, "AWQ GEMV")
        if groups > min(columns, _MAX_GROUPS):
            raise malformed(scales, f"{groups} groups for {columns} inputs, expected at most {_MAX_GROUPS}")
        size = told_size(columns, groups, said)
        if size is None and index is None:
            raise malformed(scales, f"{groups} groups for {columns} inputs: no group size fits")
        name = main.name.removesuffix("qweight") + "weight"
        used = tuple(p for p in (main, zeros, scales, index) if p is not None)
        lies = Lies.SCATTERED if index is not None and groups > 1 and said.act_order else Lies.COLUMNS
        decoder = _Decoder(
            Table(main, packed, out),
            Table(zeros, *zeros.shape),
            Table(scales, groups, out),
            index,
            size or -(-columns // groups),
            bits,
            said.minus_one,
            lies,
        )
        reader = DequantizingReader(name, out, columns, decoder, lies)
        tensor = virtual(name, f"GPTQ{bits}", (out, columns), used, reader)
        return Match(tensor, tuple(p.name for p in used), contradictions(bits, size, columns, said))


def gptq_parts(
    main: StoredTensor, tensors: Tensors
) -> tuple[StoredTensor, StoredTensor, StoredTensor, StoredTensor | None] | None:
    """qweight, qzeros, scales and g_idx (if any) of a module, all matrices with elements; None when `main` heads no module.

    Both GPTQ and AWQ use these names.
    """
    stem = main.name.removesuffix("qweight")
    if stem == main.name or (stem and not stem.endswith(".")) or main.dtype not in ("I32", "U32"):
        return None
    zeros, scales = tensors.get(stem + "qzeros"), tensors.get(stem + "scales")
    if zeros is None or scales is None or is_empty(main, zeros, scales):
        return None
    for part, dtypes in ((zeros, ("I32", "U32")), (scales, _SCALES)):
        if part.dtype not in dtypes:
            raise malformed(part, f"dtype {part.dtype}, expected {' or '.join(dtypes)}")
    if any(len(p.shape) != 2 for p in (main, zeros, scales)):
        raise malformed(main, f"expected matrices, found {shapes(main, zeros, scales)}")
    index = tensors.get(stem + "g_idx")
    if index is not None and index.size == 0:
        index = None
    if index is not None and index.dtype not in ("I32", "I64"):
        raise malformed(index, f"dtype {index.dtype}, expected I32")
    return main, zeros, scales, index


def settle(mains: Sequence[StoredTensor], tensors: Tensors, said: Said) -> tuple[Said, tuple[str, ...]]:
    """`said` with `minus_one` and `act_order` set for the whole model, and a note when the values contradict config.json.

    A symmetric quantization has every zero point at mid-range, 2 ** (bits - 1): stored as it is in version 2, one less in
    version 1. Where at least 99 % of a sample agree, the values decide; else config.json; else version 1. All modules get
    the same answer, as loaders do it.
    """
    claimed = None if said.zero_points not in ("gptq", "gptq_v2") else said.zero_points == "gptq"
    counts = np.zeros(3, dtype=np.int64)
    seen = 0
    act_order: bool | None = None
    for main in mains:
        parts = gptq_parts(main, tensors)
        if parts is None or parts[0].shape[1] != parts[2].shape[1]:
            continue
        if act_order is None and parts[3] is not None:
            act_order = _jumps(parts[3])
        zeros, out = parts[1], parts[2].shape[1]
        bits = next((b for b in _BITS if zeros.shape[1] == words_for(out, b)), None)
        if bits is None:
            continue
        table = Table(zeros, *zeros.shape)
        words = table.codes(range(1), range(min(zeros.shape[1], _SAMPLED_WORDS // bits * bits)))
        stored = unpack(words, bits)[0, :out]
        middle = 1 << (bits - 1)
        counts += (stored.size, int((stored == middle).sum()), int((stored == middle - 1).sum()))
        seen += 1
        if seen == _SAMPLED:
            break
    total, as_is, one_less = (int(c) for c in counts)
    found = None
    if total and as_is >= _CLEAR * total:
        found = False
    elif total and one_less >= _CLEAR * total:
        found = True
    minus_one = found if found is not None else claimed if claimed is not None else True
    notes: tuple[str, ...] = ()
    if claimed is not None and claimed != minus_one:
        notes = (
            f"{said.file} says checkpoint_format {said.zero_points}, but the zero points are those of "
            f"{'version 1' if minus_one else 'version 2'}; read as such",
        )
    elif claimed is None and found is False:
        notes = (f"GPTQ zero points are those of version 2, though {said.file} does not say so; read as such",)
    return replace(said, minus_one=minus_one, act_order=bool(act_order)), notes


def _jumps(index: StoredTensor) -> bool:
    """Whether the first groups of an index are not those of inputs in their order. Tells what is cheap to read, no value."""
    found = Table(index, 1, index.size).codes(range(1), range(min(index.size, _SAMPLED_INPUTS)))[0]
    return bool((found[1:] < found[:-1]).any())
