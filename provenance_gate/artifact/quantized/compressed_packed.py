"""compressed-tensors `pack-quantized` (also LLM Compressor's W4A16 and W8A16): integers of 1 to 8 bits in 32-bit words.

``weight_packed`` (out, words) I32, ``weight_scale`` (out, groups), ``weight_shape`` (2,) integers, and optionally
``weight_zero_point`` (I32 packed along the rows, or I8) and ``weight_g_idx`` (in,). Integers are stored plus
2 ** (bits - 1). ``w = (q - zero) * scale``. Version 0.20 lets integers run over the ends of words; older ones put as many
whole ones into a word as fit. For 2, 4 and 8 bits the two agree, else the number of words tells them apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.interface import StoredTensor
from provenance_gate.artifact.quantized.bits import WORD, unpack, words_for
from provenance_gate.artifact.quantized.interface import Match, Tensors, is_empty, malformed, shapes, virtual
from provenance_gate.artifact.quantized.said import Said, contradictions
from provenance_gate.artifact.quantized.scaled import ScaleTable, scale_table
from provenance_gate.artifact.quantized.tables import DequantizingReader, Table, group_indices, numbers, raw

_SCALES = ("F16", "BF16", "F32")
_MAX_GROUPS = 1 << 16
"""With an index, which may jump between groups, each block reads the scales of all."""

_LIKELY = (4, 8, 2, 3, 6, 5, 7, 1)


@dataclass(frozen=True, slots=True)
class _PackedZeros:
    """Zero points packed along the rows: shape (words, groups)."""

    words: Table
    bits: int
    dense: bool

    def block(self, rows: range, groups: range) -> NDArray[np.float32]:
        """Stored zero points, shape (len(rows), len(groups))."""
        per = WORD if self.dense else WORD // self.bits
        low = rows.start // per * per
        first = words_for(low, self.bits, dense=self.dense)
        last = words_for(rows.stop, self.bits, dense=self.dense)
        words = self.words.codes(range(first, last), groups)
        stored = unpack(words.T, self.bits, dense=self.dense)[:, rows.start - low : rows.stop - low]
        out: NDArray[np.float32] = stored.T.astype(np.float32)
        return out


@dataclass(frozen=True, slots=True)
class _Decoder:
    words: Table
    scales: ScaleTable
    zeros: _PackedZeros | ScaleTable | None
    index: StoredTensor | None
    bits: int
    dense: bool

    def block(self, rows: range, columns: range) -> NDArray[np.float32]:
        per = WORD if self.dense else WORD // self.bits
        low = columns.start // per * per
        first = words_for(low, self.bits, dense=self.dense)
        last = words_for(columns.stop, self.bits, dense=self.dense)
        codes = unpack(self.words.codes(rows, range(first, last)), self.bits, dense=self.dense)
        values: NDArray[np.float32] = codes[:, columns.start - low : columns.stop - low].astype(np.float32)
        values -= np.float32(1 << (self.bits - 1))
        with np.errstate(all="ignore"):
            if self.index is None and not isinstance(self.zeros, _PackedZeros):
                if self.zeros is not None:
                    values -= self.zeros.block(rows, columns)
                values *= self.scales.block(rows, columns)
                return values
            at, place = self._groups(columns)
            if isinstance(self.zeros, _PackedZeros):
                values -= (self.zeros.block(rows, at) - np.float32(1 << (self.bits - 1)))[:, place]
            elif self.zeros is not None:
                values -= _entries(self.zeros, rows, at)[:, place]
            values *= _entries(self.scales, rows, at)[:, place]
        return values

    def _groups(self, columns: range) -> tuple[range, NDArray[np.int64]]:
        """Groups to read, and which of them each column belongs to."""
        groups, wide = self.scales.table.columns, self.scales.wide
        if self.index is None or _is_unset(self.index):
            at = range(columns.start // wide, (columns.stop - 1) // wide + 1)
            return at, np.arange(columns.start, columns.stop, dtype=np.int64) // wide - at.start
        return range(groups), group_indices(self.index, columns, groups)


def _entries(part: ScaleTable, rows: range, groups: range) -> NDArray[np.float32]:
    """One entry per row and group, shape (len(rows), len(groups)), of a table with a row of its own per row."""
    return numbers(part.table.codes(rows, groups), part.table.tensor)


def _is_unset(index: StoredTensor) -> bool:
    """Writers fill an index that they do not use with -1."""
    return raw(index, 0, 1) == b"\xff" * (4 if index.dtype == "I32" else 8)


class CompressedPacked:
    """Matches ``<module>.weight_packed`` of 32-bit integers with ``weight_scale`` and ``weight_shape``."""

    methods = frozenset({"compressed-tensors", "sparseml"})

    def match(self, main: StoredTensor, tensors: Tensors, said: Said) -> Match | None:
        stem = main.name.removesuffix("_packed")
        if stem == main.name or main.dtype not in ("I32", "U32") or len(main.shape) != 2:
            return None
        scales, declared = tensors.get(stem + "_scale"), tensors.get(stem + "_shape")
        if scales is None or declared is None or is_empty(main, scales, declared):
            return None
        if scales.dtype not in _SCALES:
            raise malformed(scales, f"dtype {scales.dtype}, expected one of {', '.join(_SCALES)}")
        out, words = main.shape
        columns = _columns(declared, out)
        zero, index = tensors.get(stem + "_zero_point"), tensors.get(stem + "_g_idx")
        zero = zero if zero is not None and zero.size else None
        index = index if index is not None and index.size else None
        likely = sorted(_LIKELY, key=lambda b: b not in said.bits)
        packings = [(b, d) for b in likely for d in (True, False) if words_for(columns, b, dense=d) == words]
        if not packings:
            raise malformed(main, f"{words} words a row hold no {columns} integers of 1 to 8 bits")
        table = scale_table(scales, (out, columns), said)
        if table is None:
            raise malformed(main, f"its scales do not fit the shape {[out, columns]}: {shapes(main, scales)}")
        for bits, dense in packings:
            zeros = None if zero is None else _zeros(zero, table, out, columns, bits, dense, said)
            if zero is None or zeros is not None:
                break
        else:
            raise malformed(main, f"its zero points do not fit: {shapes(*(p for p in (main, scales, zero) if p))}")
        if index is not None and table.table.columns > _MAX_GROUPS:
            raise malformed(scales, f"{table.table.columns} groups with an index, expected at most {_MAX_GROUPS}")
        if index is not None and (index.dtype not in ("I32", "I64") or index.size != columns or table.tall != 1):
            raise malformed(index, f"does not fit {columns} columns: {shapes(index, scales)}")
        used = tuple(p for p in (main, scales, declared, zero, index) if p is not None)
        decoder = _Decoder(Table(main, out, words), table, zeros, index, bits, dense)
        reader = DequantizingReader(stem, out, columns, decoder)
        tensor = virtual(stem, f"W{bits}A16", (out, columns), used, reader)
        return Match(tensor, tuple(p.name for p in used), contradictions(bits, table.wide, columns, said))


def _columns(declared: StoredTensor, out: int) -> int:
    if declared.dtype not in ("I64", "I32") or declared.shape != (2,):
        raise malformed(declared, f"expected two integers, found {shapes(declared)}")
    extents = np.frombuffer(raw(declared, 0, 2), "<i8" if declared.dtype == "I64" else "<i4")
    rows, columns = int(extents[0]), int(extents[1])
    if rows != out or not 0 < columns < 2**40:
        raise malformed(declared, f"says {[rows, columns]} for {out} packed rows")
    return columns


def _zeros(
    zero: StoredTensor, table: ScaleTable, out: int, columns: int, bits: int, dense: bool, said: Said
) -> _PackedZeros | ScaleTable | None:
    groups = table.table.columns
    if zero.dtype == "I32":
        words = words_for(out, bits, dense=dense)
        if table.tall != 1 or zero.shape != (words, groups):
            return None
        return _PackedZeros(Table(zero, words, groups), bits, dense)
    if zero.dtype != "I8" or zero.shape != table.table.tensor.shape:
        return None
    return scale_table(zero, (out, columns), said)
