"""8-bit bitsandbytes (Dettmers et al., "LLM.int8()", arXiv:2208.07339): ``weight`` I8 (out, in), ``SCB`` F32 (out,).

``w[o, i] = weight[o, i] * SCB[o] / 127``. ``weight_format`` U8 must be 0 (row by row): the library refuses others too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.interface import StoredTensor
from provenance_gate.artifact.quantized.interface import Match, Tensors, is_empty, malformed, shapes, virtual
from provenance_gate.artifact.quantized.said import Said, contradictions
from provenance_gate.artifact.quantized.tables import DequantizingReader, Table, raw


@dataclass(frozen=True, slots=True)
class _Decoder:
    codes: Table
    scales: Table
    layout: StoredTensor | None

    def block(self, rows: range, columns: range) -> NDArray[np.float32]:
        if self.layout is not None and any(raw(self.layout, 0, 1)):
            raise malformed(self.layout, "weights are not stored row by row, the only layout that can be read")
        values = self.codes.floats(rows, columns)
        with np.errstate(all="ignore"):
            values *= self.scales.floats(range(1), rows)[0][:, None] / np.float32(127)
        return values


class Bitsandbytes8bit:
    """Matches ``<module>.weight`` I8 with a sibling ``<module>.SCB``."""

    methods = frozenset({"bitsandbytes", "bitsandbytes_8bit"})

    def match(self, main: StoredTensor, tensors: Tensors, said: Said) -> Match | None:
        stem = main.name.removesuffix("weight")
        scales = tensors.get(stem + "SCB")
        if main.dtype != "I8" or stem == main.name or scales is None or is_empty(main, scales):
            return None
        if len(main.shape) != 2 or scales.dtype not in ("F32", "F16", "BF16") or scales.size != main.shape[0]:
            raise malformed(main, f"expected one scale per row: {shapes(main, scales)}")
        out, columns = main.shape
        layout = tensors.get(stem + "weight_format")
        if layout is not None and (layout.dtype != "U8" or layout.size != 1):
            raise malformed(layout, f"expected one byte, found {shapes(layout)}")
        used = (main, scales) if layout is None else (main, scales, layout)
        decoder = _Decoder(Table(main, out, columns), Table(scales, 1, out), layout)
        reader = DequantizingReader(main.name, out, columns, decoder)
        tensor = virtual(main.name, "INT8", main.shape, used, reader)
        return Match(tensor, tuple(p.name for p in used), contradictions(8, None, columns, said))
