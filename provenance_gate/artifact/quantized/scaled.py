"""8-bit floats and integers with a table of scales: one per tensor, row, column, group of columns, or block.

``w[o, i] = (q[o, i] - zero[o, i]) * scale[o, i]`` with the table stretched over the matrix. Written by fp8 exports and
DeepSeek-V3 (``weight_scale_inv``, blocks of 128 x 128; arXiv:2412.19437, section 3.3), compressed-tensors (float-, int- and
mxfp8-quantized), ModelOpt, FBGEMM, quanto (``weight._data``, ``weight._scale``). Expert stacks have a leading axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.interface import StoredTensor
from provenance_gate.artifact.quantized.interface import Match, Tensors, is_empty, malformed, shapes, virtual
from provenance_gate.artifact.quantized.said import Said, contradictions, told_size
from provenance_gate.artifact.quantized.tables import DequantizingReader, Table, numbers

LABELS = {"F8_E4M3": "FP8_E4M3", "F8_E5M2": "FP8_E5M2", "I8": "INT8"}
_SCALES = ("F32", "BF16", "F16", "F64", "F8_E8M0")
_MX_GROUP = 32


@dataclass(frozen=True, slots=True)
class ScaleTable:
    """Scales (or zero points) of a stack of matrices of `height` rows: entry (row // tall, column // wide) of each."""

    table: Table
    height: int
    per_matrix: int
    tall: int
    wide: int
    exponents: bool = False

    def block(self, rows: range, columns: range) -> NDArray[np.float32]:
        """The entries stretched over a block, shape (len(rows), len(columns)), or (len(rows), 1) where one serves all."""
        index = np.arange(rows.start, rows.stop, dtype=np.int64)
        index = index // self.height * self.per_matrix + index % self.height // self.tall
        used, place = np.unique(index, return_inverse=True)
        first = columns.start // self.wide
        at = range(first, (columns.stop - 1) // self.wide + 1)
        values = numbers(self.table.picked(used, at), self.table.tensor, exponents=self.exponents)[place]
        if len(at) == 1:
            return values
        return values[:, np.arange(columns.start, columns.stop) // self.wide - first]


@dataclass(frozen=True, slots=True)
class ScaledDecoder:
    """Codes times stretched scales, less their zero points."""

    codes: Table
    scales: ScaleTable
    zeros: ScaleTable | None

    def block(self, rows: range, columns: range) -> NDArray[np.float32]:
        values = self.codes.floats(rows, columns)
        with np.errstate(all="ignore"):
            if self.zeros is not None:
                values -= self.zeros.block(rows, columns)
            values *= self.scales.block(rows, columns)
        return values


def scale_table(
    part: StoredTensor, shape: tuple[int, ...], said: Said, *, exponents: bool = False
) -> ScaleTable | None:
    """How `part` stretches over a (stack of) matrices of `shape`, or None when it fits in no way."""
    *lead, out, columns = shape
    stack = prod(lead)
    own = part.shape
    if part.size == 1:
        # One height for the whole stack.
        stack, out, down, across = 1, out * stack, 1, 1
    elif own in ((*lead, out), (*lead, out, 1)):
        down, across = out, 1
    elif own in ((stack,), (*lead, 1, 1)):
        down, across = 1, 1
    elif len(own) == len(shape) and own[:-2] == tuple(lead):
        down, across = own[-2:]
    else:
        return None
    tall, wide = told_size(out, down, said), told_size(columns, across, said)
    if tall is None or wide is None or part.size != stack * down * across:
        return None
    return ScaleTable(Table(part, stack * down, across), out, down, tall, wide, exponents)


class Scaled:
    """Matches an 8-bit tensor with a sibling ``_scale``, ``_scale_inv`` or ``.scale``."""

    methods = frozenset(
        {
            "fp8",
            "compressed-tensors",
            "fbgemm_fp8",
            "modelopt",
            "quanto",
            "quark",
            "ptpc_fp8",
            "experts_int8",
            "torchao",
        }
    )

    def match(self, main: StoredTensor, tensors: Tensors, said: Said) -> Match | None:
        if main.dtype not in LABELS or len(main.shape) < 2:
            return None
        quanto = main.name.endswith("._data")
        if quanto:
            name = main.name.removesuffix("._data")
            suffixes = [name + "._scale"]
        else:
            name = main.name
            suffixes = [name + "_scale_inv", name + "_scale"]
            if name.endswith(".weight"):
                # In Mistral's own checkpoints the scale is called qscale_weight.
                suffixes += [name.removesuffix("weight") + last for last in ("scale", "qscale_weight")]
        found = [tensors[s] for s in suffixes if s in tensors]
        if not found or is_empty(main, *found):
            return None
        if len(found) > 1:
            raise malformed(main, f"has two tables of scales: {shapes(*found)}")
        scales = found[0]
        # Bytes as scales are powers of two, for groups of 32 (MXFP8); integers under such scales are 4-bit floats in pairs.
        mx = scales.dtype in ("U8", "F8_E8M0") and main.dtype.startswith("F8") and scales.shape[-1] > 1
        if scales.dtype == "F8_E8M0" and main.dtype == "I8":
            return None
        if scales.dtype not in _SCALES and not (mx and scales.dtype == "U8"):
            raise malformed(scales, f"dtype {scales.dtype}, expected one of {', '.join(_SCALES)}")
        table = scale_table(scales, main.shape, said, exponents=scales.dtype == "U8")
        if table is None:
            raise malformed(main, f"its scales do not fit its shape: {shapes(main, scales)}")
        zero = tensors.get(main.name + "_zero_point")
        zeros = None
        if zero is not None and zero.size:
            if (
                zero.dtype not in ("I8", "F8_E4M3", "F8_E5M2", "F16", "BF16", "F32", "I32")
                or zero.shape != scales.shape
            ):
                raise malformed(zero, f"does not fit the scales: {shapes(zero, scales)}")
            zeros = scale_table(zero, main.shape, said)
            if zeros is None:
                raise malformed(zero, f"does not fit the matrix: {shapes(main, zero)}")
        used = tuple(p for p in (main, scales, zero) if p is not None)
        out, columns = prod(main.shape[:-1]), main.shape[-1]
        reader = DequantizingReader(name, out, columns, ScaledDecoder(Table(main, out, columns), table, zeros))
        is_mx = mx and table.wide == _MX_GROUP and table.tall == 1
        label = "MXFP8" if is_mx else LABELS[main.dtype]
        tensor = virtual(name, label, main.shape, used, reader)
        return Match(tensor, tuple(p.name for p in used), contradictions(8, table.wide, columns, said))
