"""4-bit floats with a scale per small group: MXFP4 and NVFP4.

A code is E2M1 (sign, two bits of exponent, one of mantissa; OCP Microscaling Formats 1.0, section 5.3.3), two a byte, the
first in the low half. MXFP4: groups of 32, scales that are powers of two (E8M0). NVFP4: groups of 16, scales in E4M3 and one
more for the whole matrix, by which compressed-tensors divides (``weight_global_scale``) and ModelOpt multiplies
(``weight_scale_2``).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.interface import StoredTensor
from provenance_gate.artifact.quantized.interface import Match, Tensors, is_empty, malformed, shapes, virtual
from provenance_gate.artifact.quantized.said import Said, contradictions
from provenance_gate.artifact.quantized.tables import DequantizingReader, Table

_MAGNITUDES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_PAIRS = np.array(
    [[(-1.0 if c & 8 else 1.0) * _MAGNITUDES[c & 7] for c in (byte & 15, byte >> 4)] for byte in range(256)],
    dtype=np.float32,
)
"""The two values of each byte."""

_EXPONENT_GROUP, _FLOAT_GROUP = 32, 16


@dataclass(frozen=True, slots=True)
class _Decoder:
    """Over the elements in order: one row."""

    codes: StoredTensor
    scales: StoredTensor
    size: int
    overall: StoredTensor | None = None
    divides: bool = False

    def block(self, rows: range, columns: range) -> NDArray[np.float32]:
        octets = Table(self.codes, 1, self.codes.size).codes(range(1), range(columns.start // 2, -(-columns.stop // 2)))
        values: NDArray[np.float32] = _PAIRS[octets[0]].reshape(-1)[: len(columns)]
        first = columns.start // self.size
        at = range(first, (columns.stop - 1) // self.size + 1)
        exponents = self.size == _EXPONENT_GROUP
        scales = Table(self.scales, 1, self.scales.size).floats(range(1), at, exponents=exponents)[0]
        with np.errstate(all="ignore"):
            if self.overall is not None:
                factor = Table(self.overall, 1, 1).floats(range(1), range(1))[0]
                scales = scales / factor if self.divides else scales * factor
            values *= scales[np.arange(columns.start, columns.stop) // self.size - first]
        return values.reshape(1, -1)


def _match(
    name: str,
    shape: tuple[int, ...],
    codes: StoredTensor,
    scales: StoredTensor,
    said: Said,
    overall: StoredTensor | None = None,
    *,
    divides: bool = False,
) -> Match:
    """`codes` of a (stack of) matrices of `shape`, as the shape of `scales` tells them."""
    *lead, columns = shape
    size = _EXPONENT_GROUP if scales.dtype in ("U8", "F8_E8M0") else _FLOAT_GROUP
    if columns % size or scales.shape != (*lead, columns // size):
        raise malformed(codes, f"its scales do not fit groups of {size}: {shapes(codes, scales)}")
    if overall is not None and (overall.size != 1 or overall.dtype not in ("F32", "BF16", "F16")):
        raise malformed(overall, f"expected one float, found {shapes(overall)}")
    used = (codes, scales) if overall is None else (codes, scales, overall)
    decoder = _Decoder(codes, scales, size, overall, divides)
    reader = DequantizingReader(name, 1, prod(shape), decoder)
    label = "MXFP4" if size == _EXPONENT_GROUP else "NVFP4"
    remarks = contradictions(4, size, columns, said)
    return Match(virtual(name, label, shape, used, reader), tuple(p.name for p in used), remarks)


class PackedFp4:
    """Matches ``<module>.weight_packed`` (compressed-tensors) or ``<module>.weight`` (ModelOpt) U8 with scales of one byte."""

    methods = frozenset({"compressed-tensors", "modelopt", "modelopt_fp4", "quark", "mxfp4"})

    def match(self, main: StoredTensor, tensors: Tensors, said: Said) -> Match | None:
        packed = main.name.endswith("weight_packed")
        if main.dtype != "U8" or len(main.shape) < 2 or not (packed or main.name.endswith("weight")):
            return None
        name = main.name.removesuffix("_packed")
        scales = tensors.get(name + "_scale")
        if scales is None or scales.dtype not in ("F8_E4M3", "U8", "F8_E8M0") or is_empty(main, scales):
            return None
        overall = None
        if scales.dtype == "F8_E4M3":
            overall = tensors.get(name + ("_global_scale" if packed else "_scale_2"))
            if overall is None:
                raise malformed(main, f"NVFP4 without {'weight_global_scale' if packed else 'weight_scale_2'}")
        shape = (*main.shape[:-1], 2 * main.shape[-1])
        return _match(name, shape, main, scales, said, overall, divides=packed)


class ExpertsMxfp4:
    """Matches ``<name>_blocks`` U8 (experts, rows, groups, 16) with ``<name>_scales`` U8 (experts, rows, groups): GPT-OSS.

    The matrix is (experts, rows, groups * 32). Rows of `gate_up_proj` alternate between gate and up.
    """

    methods = frozenset({"mxfp4"})

    def match(self, main: StoredTensor, tensors: Tensors, said: Said) -> Match | None:
        name = main.name.removesuffix("_blocks")
        scales = tensors.get(name + "_scales")
        if main.dtype != "U8" or name == main.name or scales is None or is_empty(main, scales):
            return None
        if scales.dtype not in ("U8", "F8_E8M0") or len(main.shape) < 3 or main.shape[-1] * 2 != _EXPONENT_GROUP:
            raise malformed(main, f"expected blocks of 16 bytes and scales of one: {shapes(main, scales)}")
        if scales.shape != main.shape[:-1]:
            raise malformed(main, f"expected a scale per block: {shapes(main, scales)}")
        shape = (*main.shape[:-2], main.shape[-2] * _EXPONENT_GROUP)
        return _match(name, shape, main, scales, said)
