"""HQQ as `HQQLinear.state_dict` writes it (Badri and Shaji, "Half-Quadratic Quantization of Large Machine Learning Models").

The matrix (out, in) is seen, element by element in order, as (groups, group size) with a scale and a zero point per row
(axis 1), or as (group size, groups) with one per column (axis 0). ``w = (q - zero) * scale``. ``W_q`` U8 packs that table's rows:
of 8 / bits equal parts, one below the other, the first is in the highest bits of each byte (`BitPack.pack_4bit_u8` and its kin).
Bits and axis follow from the shapes; of the values beside them only ``shape`` is read. 3 bits (in 32-bit words), tables kept as
floats, and scales that are quantized themselves are not read.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.interface import StoredTensor
from provenance_gate.artifact.quantized.interface import Match, Tensors, is_empty, malformed, shapes, virtual
from provenance_gate.artifact.quantized.said import Said, contradictions
from provenance_gate.artifact.quantized.tables import DequantizingReader, Table, raw
from provenance_gate.artifact.quantized.unread import not_read

_FLOATS = ("F16", "BF16", "F32")
_BESIDE = (
    "nbits", "group_size", "axis", "packing", "unpack_view_dtype", "view_as_float", "quant_scale", "quant_zero",
    "compute_dtype", "offload_meta", "encoded_state_dict", "stores_quant_config", "channel_wise", "optimize", "round_zero",
)  # fmt: skip
"""Settings that stand as tensors beside the parts: taken with them, and not needed."""
_LARGEST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class _Decoder:
    """Over the elements in order: one row. The table is (`tall`, `wide`)."""

    codes: StoredTensor
    scales: StoredTensor
    zeros: StoredTensor
    tall: int
    wide: int
    bits: int
    by_row: bool

    def block(self, rows: range, columns: range) -> NDArray[np.float32]:
        values = self._codes(columns).astype(np.float32)
        place = np.arange(columns.start, columns.stop, dtype=np.int64)
        place = place // self.wide if self.by_row else place % self.wide
        first, last = int(place.min()), int(place.max()) + 1
        place -= first
        zeros, scales = (Table(t, 1, t.size).floats(range(1), range(first, last))[0] for t in (self.zeros, self.scales))
        with np.errstate(all="ignore"):
            values -= zeros[place]
            values *= scales[place]
        return values.reshape(1, -1)

    def _codes(self, columns: range) -> NDArray[np.uint8]:
        part_size = self.codes.size
        out = np.empty(len(columns), np.uint8)
        for part in range(columns.start // part_size, (columns.stop - 1) // part_size + 1):
            low, high = max(columns.start, part * part_size), min(columns.stop, (part + 1) * part_size)
            octets = np.frombuffer(raw(self.codes, low - part * part_size, high - low), np.uint8)
            shift = np.uint8(8 - self.bits * (part + 1))
            out[low - columns.start : high - columns.start] = octets >> shift & np.uint8((1 << self.bits) - 1)
        return out


class Hqq:
    """Matches ``<module>.W_q`` with ``<module>.scale``, ``.zero`` and ``.shape``."""

    methods = frozenset({"hqq"})

    def match(self, main: StoredTensor, tensors: Tensors, said: Said) -> Match | None:
        stem = main.name.removesuffix("W_q")
        if stem == main.name or (stem and not stem.endswith(".")):
            return None
        scales, zeros, extents = (tensors.get(stem + n) for n in ("scale", "zero", "shape"))
        if scales is None or zeros is None or extents is None or is_empty(main, scales, zeros):
            return None
        if main.dtype != "U8" or len(main.shape) != 2:
            raise not_read(main, f"HQQ {main.dtype} (3 bits, or codes kept as floats)")
        if scales.dtype not in _FLOATS or zeros.dtype not in _FLOATS:
            raise not_read(scales, "HQQ quantized scales'")
        shape = _shape(extents)
        size = shape[0] * shape[1]
        per, rest = divmod(size, main.size)
        tall, wide = main.shape[0] * per, main.shape[1]
        by_row = scales.shape == (tall, 1)
        if per not in (1, 2, 4, 8) or rest or zeros.shape != scales.shape or not (by_row or scales.shape == (1, wide)):
            raise malformed(main, f"these parts fit no HQQ of {list(shape)}: {shapes(main, scales, zeros)}")
        bits = 8 // per
        decoder = _Decoder(main, scales, zeros, tall, wide, bits, by_row)
        name = stem + "weight"
        used = (main, scales, zeros, extents)
        beside = tuple(stem + n for n in _BESIDE if stem + n in tensors)
        tensor = virtual(name, f"HQQ{bits}", shape, used, DequantizingReader(name, 1, size, decoder))
        remarks = contradictions(bits, wide if by_row else tall, size, said)
        return Match(tensor, (*(p.name for p in used), *beside), remarks)


def _shape(part: StoredTensor) -> tuple[int, int]:
    if part.dtype not in ("I64", "I32") or part.shape != (2,):
        raise malformed(part, f"expected two integers, found {shapes(part)}")
    code = "<i8" if part.dtype == "I64" else "<i4"
    out, columns = (int(n) for n in np.frombuffer(raw(part, 0, 2), code))
    if not (0 < out <= _LARGEST and 0 < columns <= _LARGEST):
        raise malformed(part, f"({out}, {columns}), expected two positive extents")
    return out, columns
