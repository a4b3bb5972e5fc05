"""The benchmarks' encoders write blocks that read back as the values that they were given, to rounding."""

from __future__ import annotations

import numpy as np
import pytest

from provenance_gate.artifact.gguf.blocks import decode_blocks
from provenance_gate.artifact.gguf.types import TYPES

pytest.importorskip("gguf")
from benchmarks.ggml_blocks import encode, stored_type

KINDS = {kind.name: kind for kind in TYPES.values()}


@pytest.mark.parametrize(
    ("name", "error"), [("Q8_0", 0.01), ("Q6_K", 0.03), ("Q5_0", 0.06), ("Q4_K", 0.1), ("IQ4_NL", 0.1), ("MXFP4", 0.15)]
)
def test_values_come_back_to_rounding(name: str, error: float) -> None:
    values = np.random.default_rng(0).standard_normal((8, 512)).astype(np.float32) * np.float32(0.02)
    found = decode_blocks(encode(values, name), KINDS[name]).reshape(8, 512)
    assert 0 < np.linalg.norm(found - values) / np.linalg.norm(values) < error


@pytest.mark.parametrize("name", ["Q4_K", "Q6_K", "IQ4_NL"])
def test_zeros_stay_zeros(name: str) -> None:
    assert not decode_blocks(encode(np.zeros((2, 256), np.float32), name), KINDS[name]).any()


@pytest.mark.parametrize(
    ("kind", "width", "stored"),
    [("Q4_K", 512, "Q4_K"), ("Q4_K", 160, "Q5_0"), ("Q6_K", 160, "Q8_0"), ("Q4_0", 160, "Q4_0"), ("Q4_0", 80, "F16"),
     ("F16", 7, "F16")],
)  # fmt: skip
def test_rows_that_no_block_divides_take_a_smaller_type(kind: str, width: int, stored: str) -> None:
    assert stored_type(kind, width) == stored
