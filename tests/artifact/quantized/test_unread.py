"""Packings that are known and not read: named, never decoded as something else."""

from __future__ import annotations

import numpy as np
import pytest

from provenance_gate.artifact.quantized.unread import PACKINGS, Packing
from provenance_gate.errors import ArtifactError

from .build import Part, opened

_CODES = {"I32": "<i4", "I16": "<u2", "I8": "i1", "U8": "u1"}


def gemv(inputs: int, outputs: int, size: int) -> dict[str, Part]:
    """The buffers of AutoAWQ's `WQLinear_GEMV`, with the zeros' width padded as it pads it."""
    multiple = {32: 4, 64: 2}.get(size, 1)
    words = (inputs // size + 7) // 8
    width = (words + multiple - 1) // multiple * multiple
    rng = np.random.default_rng(inputs + outputs)
    return {
        "m.qweight": rng.integers(-(2**31), 2**31, (outputs, inputs // 8)).astype(np.int32),
        "m.qzeros": rng.integers(-(2**31), 2**31, (outputs, width)).astype(np.int32),
        "m.scales": rng.uniform(0.01, 0.1, (outputs, width * 8)).astype(np.float16),
    }


def test_awq_gemv_of_any_shape_is_never_decoded() -> None:
    tried = 0
    for size in (32, 64, 128, 256):
        for inputs in (32, 64, 128, 192, 256, 320, 512, 768, 1024, 2048, 4096):
            for outputs in (8, 16, 24, 32, 64, 128, 256, 1024):
                if inputs % size == 0:
                    tried += 1
                    with pytest.raises(ArtifactError, match=r"'m\.qweight': AWQ GEMV packing is not read"):
                        opened(gemv(inputs, outputs, size), {"quant_method": "awq", "bits": 4, "group_size": size})
    assert tried == 272


def of(packing: Packing) -> dict[str, Part]:
    dtype = next(code for code in _CODES if code in packing.dtypes)
    beside = {f"m.{part}": np.ones((4, 4), np.float32) for part in packing.parts}
    return {f"m.{packing.main}": (dtype, np.ones((4, 8), _CODES[dtype])), **beside}


@pytest.mark.parametrize("packing", PACKINGS, ids=lambda p: f"{p.label} {p.main}")
def test_a_known_packing_is_named(packing: Packing) -> None:
    with pytest.raises(ArtifactError) as caught:
        opened(of(packing))
    assert str(caught.value).startswith(f"model.safetensors: tensor 'm.{packing.main}': ")
    assert packing.label.split()[0] in str(caught.value) and str(caught.value).endswith("packing is not read")


@pytest.mark.parametrize("packing", PACKINGS, ids=lambda p: f"{p.label} {p.main}")
def test_one_part_alone_names_nothing(packing: Packing) -> None:
    name = f"m.{packing.main}"
    tensors, _ = opened({name: of(packing)[name]})
    assert [t.name for t in tensors] == [name]


def test_floats_under_these_names_are_weights() -> None:
    values: dict[str, Part] = {"m.B": np.ones((4, 4), np.float32), "m.s": np.ones((4, 4), np.float32)}
    assert len(opened(values)[0]) == 2
