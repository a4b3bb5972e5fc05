"""The tensor types of ggml: how many elements share a block, and how many bytes a block takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class GgmlType:
    """One tensor type: `block` elements of a row take `size` bytes."""

    name: str
    block: int
    size: int


_ROWS: Final = (
    (0, "F32", 1, 4), (1, "F16", 1, 2), (30, "BF16", 1, 2), (28, "F64", 1, 8),
    (24, "I8", 1, 1), (25, "I16", 1, 2), (26, "I32", 1, 4), (27, "I64", 1, 8),
    (2, "Q4_0", 32, 18), (3, "Q4_1", 32, 20), (6, "Q5_0", 32, 22), (7, "Q5_1", 32, 24), (8, "Q8_0", 32, 34),
    (10, "Q2_K", 256, 84), (11, "Q3_K", 256, 110), (12, "Q4_K", 256, 144), (13, "Q5_K", 256, 176),
    (14, "Q6_K", 256, 210), (15, "Q8_K", 256, 292),
    (16, "IQ2_XXS", 256, 66), (17, "IQ2_XS", 256, 74), (18, "IQ3_XXS", 256, 98), (19, "IQ1_S", 256, 50),
    (20, "IQ4_NL", 32, 18), (21, "IQ3_S", 256, 110), (22, "IQ2_S", 256, 82), (23, "IQ4_XS", 256, 136),
    (29, "IQ1_M", 256, 56), (34, "TQ1_0", 256, 54), (35, "TQ2_0", 256, 66), (39, "MXFP4", 32, 17),
    (40, "NVFP4", 64, 36),
)  # fmt: skip

TYPES: Final[Mapping[int, GgmlType]] = {number: GgmlType(name, block, size) for number, name, block, size in _ROWS}
"""By the number that tensor infos give (enum ggml_type). A number that is not here has no known size."""

NAMES: Final = frozenset(t.name for t in TYPES.values())


def type_name(number: int) -> str:
    """Name of a type; types that are not in `TYPES` are called by their number."""
    known = TYPES.get(number)
    return f"GGML_TYPE_{number}" if known is None else known.name
