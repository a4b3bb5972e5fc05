"""AWQ in its GEMM layout, as AutoAWQ writes it (Lin et al., "AWQ", arXiv:2306.00978; AutoAWQ `WQLinear_GEMM`).

``qweight`` (in, out / 8) I32 holds 4-bit integers of 8 neighboring outputs per word; the k-th from the lowest bit up is that
of output 0, 2, 4, 6, 1, 3, 5, 7. ``qzeros`` (groups, out / 8) likewise, ``scales`` (groups, out).
``w[o, i] = scales[g, o] * (q[i, o] - zero[g, o])`` with ``g = i // group size``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.interface import Lies, StoredTensor
from provenance_gate.artifact.quantized.bits import Codes, unpack
from provenance_gate.artifact.quantized.gptq import gptq_parts
from provenance_gate.artifact.quantized.interface import Match, Tensors, malformed, shapes, virtual
from provenance_gate.artifact.quantized.said import Said, contradictions, told_size
from provenance_gate.artifact.quantized.tables import DequantizingReader, Table, numbers
from provenance_gate.artifact.quantized.unread import not_read

_PER_WORD = 8
_PLACE_OF_OUTPUT = np.argsort([0, 2, 4, 6, 1, 3, 5, 7])


def _outputs(words: NDArray[np.unsignedinteger[Any]]) -> Codes:
    """The integers of words of shape (rows, n) in the order of their outputs, shape (rows, 8 n)."""
    places = unpack(words, 4).reshape(len(words), -1, _PER_WORD)
    return places[:, :, _PLACE_OF_OUTPUT].reshape(len(words), -1)


@dataclass(frozen=True, slots=True)
class _Decoder:
    words: Table
    zeros: Table
    scales: Table
    size: int

    def block(self, rows: range, columns: range) -> NDArray[np.float32]:
        at = range(rows.start // _PER_WORD, -(-rows.stop // _PER_WORD))
        cut = slice(rows.start - at.start * _PER_WORD, rows.stop - at.start * _PER_WORD)
        values: NDArray[np.float32] = _outputs(self.words.codes(columns, at))[:, cut].T.astype(np.float32)
        first = columns.start // self.size
        used = range(first, (columns.stop - 1) // self.size + 1)
        place = np.arange(columns.start, columns.stop) // self.size - first
        zeros = _outputs(self.zeros.codes(used, at))[:, cut].astype(np.float32)
        scales = numbers(self.scales.codes(used, rows), self.scales.tensor)
        values -= zeros.T[:, place]
        with np.errstate(all="ignore"):
            values *= scales.T[:, place]
        return values


class Awq:
    """Matches ``<module>.qweight`` that is eight times narrower than ``<module>.scales``."""

    methods = frozenset({"awq", "auto-round", "autoround", "intel/auto-round"})

    def match(self, main: StoredTensor, tensors: Tensors, said: Said) -> Match | None:
        parts = gptq_parts(main, tensors)
        if parts is None or main.shape[1] == parts[2].shape[1]:
            return None
        _, zeros, scales, index = parts
        columns, words = main.shape
        groups, out = scales.shape
        if columns == groups == zeros.shape[0] and out == _PER_WORD * zeros.shape[1]:
            # GEMV: (out, in / 8), with zeros and scales per output. Read as GEMM it would be a matrix in groups of one.
            raise not_read(main, "AWQ GEMV")
        if index is not None or words * _PER_WORD != out or zeros.shape != (groups, words):
            raise malformed(main, f"these parts fit neither GPTQ nor AWQ: {shapes(main, zeros, scales)}")
        size = told_size(columns, groups, said)
        if size is None:
            raise malformed(scales, f"{groups} groups for {columns} inputs: no group size fits")
        name = main.name.removesuffix("qweight") + "weight"
        decoder = _Decoder(Table(main, columns, words), Table(zeros, groups, words), Table(scales, groups, out), size)
        reader = DequantizingReader(name, out, columns, decoder, Lies.COLUMNS)
        tensor = virtual(name, "AWQ4", (out, columns), (main, zeros, scales), reader)
        return Match(tensor, (main.name, zeros.name, scales.name), contradictions(4, size, columns, said))
