"""4-bit bitsandbytes: NF4 (Dettmers et al., "QLoRA", arXiv:2305.14314, appendix E) and its FP4.

``weight`` holds two codes a byte, the first in the high half, over all elements in order; ``weight.absmax`` a scale per
block. Nested (double quantized) scales are bytes: ``nested_quant_map[byte] * nested_absmax[block] + nested_offset``.
``weight.quant_state.bitsandbytes__nf4`` (or fp4) is JSON in bytes: shape, blocksize, nested_blocksize, nested_offset.

The values of the 16 codes are the kernels' own: they do not read ``weight.quant_map``, so neither do we.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, prod

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.dtypes import BITS
from provenance_gate.artifact.interface import StoredTensor
from provenance_gate.artifact.jsonfile import load_json_object
from provenance_gate.artifact.quantized.interface import Match, Tensors, malformed, shapes, virtual, where
from provenance_gate.artifact.quantized.said import Said, contradictions
from provenance_gate.artifact.quantized.tables import DequantizingReader, Table, raw

_MAX_STATE = 1 << 16
_MAX_BLOCK = 1 << 24

_NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip

_FP4_MAGNITUDES = (0.0, 1 / 192, 2 / 3, 1.0, 1 / 3, 1 / 2, 1 / 6, 1 / 4)
"""By the low three bits; the fourth is the sign. Given in the library as 0, 0.0625, 8, 12, 4, 6, 2, 3, over 12."""

_VALUES = {
    "nf4": np.array(_NF4, dtype=np.float32),
    "fp4": np.array([*_FP4_MAGNITUDES, *(-m for m in _FP4_MAGNITUDES)], dtype=np.float32),
}


@dataclass(frozen=True, slots=True)
class _Nested:
    absmax: StoredTensor
    values: StoredTensor
    block: int
    offset: float


@dataclass(frozen=True, slots=True)
class _Decoder:
    """Over the elements in order: one row."""

    main: StoredTensor
    values: NDArray[np.float32]
    absmax: StoredTensor
    size: int
    nested: _Nested | None

    def block(self, rows: range, columns: range) -> NDArray[np.float32]:
        width = BITS[self.main.dtype] // 8
        low, high = columns.start // 2, -(-columns.stop // 2)
        first, last = low // width, -(-high // width)
        octets = np.frombuffer(raw(self.main, first, last - first), np.uint8)[
            low - first * width : high - first * width
        ]
        codes = np.stack((octets >> 4, octets & 15), axis=1).reshape(-1)[: len(columns)]
        begin = columns.start // self.size
        scales = self._scales(range(begin, (columns.stop - 1) // self.size + 1))
        place = np.arange(columns.start, columns.stop) // self.size - begin
        with np.errstate(all="ignore"):
            out: NDArray[np.float32] = self.values[codes] * scales[place]
        return out.reshape(1, -1)

    def _scales(self, blocks: range) -> NDArray[np.float32]:
        if self.nested is None:
            return Table(self.absmax, 1, self.absmax.size).floats(range(1), blocks).reshape(-1)
        codes = np.frombuffer(raw(self.absmax, blocks.start, len(blocks)), np.uint8)
        nested = self.nested
        begin = blocks.start // nested.block
        outer_blocks = range(begin, (blocks.stop - 1) // nested.block + 1)
        outer = Table(nested.absmax, 1, nested.absmax.size).floats(range(1), outer_blocks)[0]
        inner = Table(nested.values, 1, 256).floats(range(1), range(256))[0]
        place = np.arange(blocks.start, blocks.stop) // nested.block - begin
        with np.errstate(all="ignore"):
            return np.asarray(inner[codes] * outer[place] + np.float32(nested.offset), dtype=np.float32)


class Bitsandbytes4bit:
    """Matches a tensor with a sibling ``<name>.quant_state.bitsandbytes__nf4`` or ``__fp4``."""

    methods = frozenset({"bitsandbytes", "bitsandbytes_4bit"})

    def match(self, main: StoredTensor, tensors: Tensors, said: Said) -> Match | None:
        kinds = [k for k in _VALUES if f"{main.name}.quant_state.bitsandbytes__{k}" in tensors]
        if not kinds:
            return None
        if len(kinds) > 1:
            raise malformed(main, "has a quant_state of both nf4 and fp4")
        state = tensors[f"{main.name}.quant_state.bitsandbytes__{kinds[0]}"]
        absmax = tensors.get(f"{main.name}.absmax")
        if absmax is None:
            raise malformed(main, f"has {state.name.rpartition('.')[2]}, but no absmax")
        fields = _read_state(state)
        if fields.get("quant_type") != kinds[0]:
            raise malformed(state, f"quant_type, expected {kinds[0]}")
        shape = _shape(fields.get("shape"), state)
        count, size = prod(shape), _integer(fields, "blocksize", state)
        if not count:
            return None
        bytes_wanted, blocks = -(-count // 2), -(-count // size)
        width = BITS[main.dtype] // 8
        if not width or main.nbytes != -(-bytes_wanted // width) * width:
            raise malformed(main, f"{main.nbytes} bytes for shape {list(shape)} of 4 bits, expected {bytes_wanted}")
        if absmax.size != blocks:
            raise malformed(
                absmax, f"{absmax.size} scales, expected {blocks} for shape {list(shape)}, blocksize {size}"
            )
        used = [main, absmax]
        nested = None
        if absmax.dtype == "U8":
            nested = _nested(main.name, blocks, fields, state, tensors)
            used += [nested.absmax, nested.values]
        elif absmax.dtype not in ("F32", "F16", "BF16"):
            raise malformed(absmax, f"dtype {absmax.dtype}, expected F32 or U8")
        quant_map = tensors.get(f"{main.name}.quant_map")
        used += [state] if quant_map is None else [quant_map, state]
        decoder = _Decoder(main, _VALUES[kinds[0]], absmax, size, nested)
        reader = DequantizingReader(main.name, 1, count, decoder)
        tensor = virtual(main.name, kinds[0].upper(), shape, tuple(used), reader)
        return Match(tensor, tuple(p.name for p in used), contradictions(4, None, count, said))


def _nested(name: str, blocks: int, fields: dict[str, object], state: StoredTensor, tensors: Tensors) -> _Nested:
    absmax, values = tensors.get(f"{name}.nested_absmax"), tensors.get(f"{name}.nested_quant_map")
    if absmax is None or values is None:
        raise malformed(state, "absmax is U8, but nested_absmax or nested_quant_map is missing")
    size = _integer(fields, "nested_blocksize", state)
    offset = fields.get("nested_offset")
    if isinstance(offset, bool) or not isinstance(offset, (int, float)) or not isfinite(offset) or abs(offset) > 3e38:
        raise malformed(state, "nested_offset, expected a finite number")
    if absmax.dtype != "F32" or values.dtype != "F32" or values.size != 256 or absmax.size != -(-blocks // size):
        raise malformed(absmax, f"does not fit {blocks} scales in blocks of {size}: {shapes(absmax, values)}")
    return _Nested(absmax, values, size, float(offset))


def _read_state(state: StoredTensor) -> dict[str, object]:
    if state.dtype != "U8" or not 0 < state.size <= _MAX_STATE:
        raise malformed(state, f"expected 1 to {_MAX_STATE} bytes of JSON, found {shapes(state)}")
    return load_json_object(raw(state, 0, state.size), where(state))


def _shape(value: object, state: StoredTensor) -> tuple[int, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= 4:
        raise malformed(state, "shape, expected a list of 1 to 4 integers")
    extents = [n for n in value if isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 2**40]
    if len(extents) != len(value):
        raise malformed(state, "shape, expected integers from 0 to 2**40")
    return tuple(extents)


def _integer(fields: dict[str, object], key: str, state: StoredTensor) -> int:
    value = fields.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MAX_BLOCK:
        raise malformed(state, f"{key}, expected an integer from 1 to {_MAX_BLOCK}")
    return value
