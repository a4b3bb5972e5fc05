"""torchao's plain 8-bit tensors as its safetensors support flattens them (`flatten_tensor_state_dict`).

``<module>._weight_qdata`` with ``<module>._weight_scale`` and, where there is one, ``_weight_zero_point``. `Int8Tensor`: I8, a
scale per row or one for all. `IntxUnpackedToInt8Tensor`: I8 whatever its bits, a scale and an integer zero point per row and
group. `Float8Tensor`: F8, a scale per row, per block, or one. ``w = (q - zero) * scale``. Packed types (int4, MX, NVFP4) share
these names, so scales of another shape are refused and never stretched to fit.
"""

from __future__ import annotations

from provenance_gate.artifact.interface import StoredTensor
from provenance_gate.artifact.quantized.interface import Match, Tensors, is_empty, malformed, shapes, virtual
from provenance_gate.artifact.quantized.said import Said, contradictions
from provenance_gate.artifact.quantized.scaled import LABELS, ScaledDecoder, scale_table
from provenance_gate.artifact.quantized.tables import DequantizingReader, Table
from provenance_gate.artifact.quantized.unread import not_read

_QDATA = "_weight_qdata"
_FLOATS = ("F32", "BF16", "F16")


class Torchao:
    """Matches ``<module>._weight_qdata``."""

    methods = frozenset({"torchao"})

    def match(self, main: StoredTensor, tensors: Tensors, said: Said) -> Match | None:
        module = main.name.removesuffix(_QDATA)
        if module == main.name or (module and not module.endswith(".")):
            return None
        scales, zero = tensors.get(module + "_weight_scale"), tensors.get(module + "_weight_zero_point")
        if scales is None or is_empty(main, scales):
            return None
        if module + "_weight_act_pre_scale" in tensors:
            raise not_read(main, "torchao int8 with scaled activations")
        plain = main.dtype in LABELS and len(main.shape) == 2 and scales.dtype in _FLOATS
        if not plain or not _fits(main, scales, zero):
            parts = (main, scales) if zero is None else (main, scales, zero)
            raise not_read(main, f"torchao ({shapes(*parts)})")
        table = scale_table(scales, main.shape, said)
        zeros = None if zero is None else scale_table(zero, main.shape, said)
        if table is None or (zero is not None and zeros is None):
            raise malformed(main, f"its scales do not fit its shape: {shapes(main, scales)}")
        used = tuple(p for p in (main, scales, zero) if p is not None)
        out, columns = main.shape
        name = module + "weight"
        reader = DequantizingReader(name, out, columns, ScaledDecoder(Table(main, out, columns), table, zeros))
        tensor = virtual(name, LABELS[main.dtype], main.shape, used, reader)
        beside = (
            module + n for n in ("_weight_act_quant_scale", "_weight_act_quant_zero_point") if module + n in tensors
        )
        return Match(tensor, (*(p.name for p in used), *beside), contradictions(8, table.wide, columns, said))


def _fits(main: StoredTensor, scales: StoredTensor, zero: StoredTensor | None) -> bool:
    """Whether the scales are those of one byte per value: packed int4 has (groups, out), and zero points in floats."""
    out = main.shape[0]
    if zero is not None and (zero.dtype not in ("I8", "I32", "I64") or zero.shape != scales.shape):
        return False
    if scales.size == 1 or scales.shape in ((out,), (out, 1)):
        return True
    # F8 is always a byte per value, and integers in groups come with integer zero points.
    return len(scales.shape) == 2 and (main.dtype != "I8" or (zero is not None and scales.shape[0] == out))
