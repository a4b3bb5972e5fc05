"""Values of block types: against the gguf package where it is installed, and against vectors computed with it once."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from numpy.typing import NDArray

from provenance_gate.artifact.gguf.blocks import DECODERS, decode_blocks, is_decodable
from provenance_gate.artifact.gguf.packageblocks import PACKAGE_TYPES
from provenance_gate.artifact.gguf.types import TYPES, GgmlType
from provenance_gate.errors import ArtifactError

from .build import NUMBER_OF

KINDS = {kind.name: kind for kind in TYPES.values()}
BLOCK_TYPES = sorted(DECODERS)


def random_blocks(kind: GgmlType, blocks: int = 64) -> NDArray[np.uint8]:
    """Arbitrary bytes, by a generator whose stream is frozen."""
    return np.random.RandomState(7).randint(0, 256, (blocks, kind.size)).astype(np.uint8)


def digest(values: NDArray[np.float32]) -> str:
    """Of the values, all kinds of NaN taken as one."""
    return hashlib.sha256(np.where(np.isnan(values), np.float32("nan"), values).astype("<f4").tobytes()).hexdigest()[
        :16
    ]


# First 16 hexadecimal digits of SHA-256 over the values that gguf 0.19.0 gives for `random_blocks`.
DIGESTS = {
    "IQ4_NL": "faf560a160419e1d",
    "IQ4_XS": "433ecd599eacbfe9",
    "MXFP4": "6f0146094b0a034b",
    "Q2_K": "6aea3df8ed1fba64",
    "Q3_K": "3a1cf281db44a71e",
    "Q4_0": "23fdf066ca7616aa",
    "Q4_1": "5b821ac53fda8cc0",
    "Q4_K": "66f0dffb4ba49a60",
    "Q5_0": "2bebff383c19938d",
    "Q5_1": "bd6a70089f60cd83",
    "Q5_K": "8d2b95119099aa0b",
    "Q6_K": "eb38248a7d79a807",
    "Q8_0": "2941739b4df4c4fd",
}


@pytest.mark.parametrize("name", BLOCK_TYPES)
def test_values_are_those_of_the_gguf_package_computed_once(name: str) -> None:
    assert digest(decode_blocks(random_blocks(KINDS[name]).tobytes(), KINDS[name])) == DIGESTS[name]


@pytest.mark.parametrize("name", [*BLOCK_TYPES, "BF16"])
def test_values_are_those_of_the_gguf_package(name: str) -> None:
    gguf = pytest.importorskip("gguf")
    raw = random_blocks(KINDS[name], 4000)
    with np.errstate(all="ignore"):
        theirs = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType(NUMBER_OF[name])).reshape(-1)
    ours = decode_blocks(raw.tobytes(), KINDS[name])
    assert ours.dtype == np.float32
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", BLOCK_TYPES)
@pytest.mark.parametrize("byte", [0, 255])
def test_extreme_blocks_have_the_values_of_the_gguf_package(name: str, byte: int) -> None:
    gguf = pytest.importorskip("gguf")
    raw = np.full((3, KINDS[name].size), byte, np.uint8)
    with np.errstate(all="ignore"):
        theirs = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType(NUMBER_OF[name])).reshape(-1)
    np.testing.assert_array_equal(decode_blocks(raw.tobytes(), KINDS[name]), theirs)


@pytest.mark.parametrize("name", [n for n in BLOCK_TYPES if n != "MXFP4"])
def test_blocks_of_zero_bytes_are_zero(name: str) -> None:
    assert not decode_blocks(bytes(2 * KINDS[name].size), KINDS[name]).any()


def test_sizes_are_those_of_the_gguf_package() -> None:
    gguf = pytest.importorskip("gguf")
    for number, kind in TYPES.items():
        theirs = gguf.GGMLQuantizationType(number)
        assert (theirs.name, *gguf.GGML_QUANT_SIZES[theirs]) == (kind.name, kind.block, kind.size)


def scale(value: float) -> bytes:
    return np.array([value], "<f2").tobytes()


def test_q4_0_by_hand() -> None:
    block = scale(0.5) + bytes([0x80 | n for n in range(16)])
    values = decode_blocks(block, KINDS["Q4_0"])
    assert values[:16].tolist() == [0.5 * (n - 8) for n in range(16)]
    assert not values[16:].any()


def test_q4_1_by_hand() -> None:
    block = scale(0.5) + scale(-2.0) + bytes([0xF0 | n for n in range(16)])
    values = decode_blocks(block, KINDS["Q4_1"])
    assert values.tolist() == [0.5 * n - 2 for n in range(16)] + [0.5 * 15 - 2] * 16


def test_q5_0_by_hand() -> None:
    fifth = (1 << 3 | 1 << 20).to_bytes(4, "little")
    values = decode_blocks(scale(1.0) + fifth + bytes(16), KINDS["Q5_0"])
    assert [n for n, v in enumerate(values.tolist()) if v == 0] == [3, 20]
    assert set(values.tolist()) == {-16.0, 0.0}


def test_q8_0_by_hand() -> None:
    codes = np.arange(-16, 16, dtype=np.int8)
    assert decode_blocks(scale(2.0) + codes.tobytes(), KINDS["Q8_0"]).tolist() == [2.0 * n for n in range(-16, 16)]


def test_q6_k_by_hand() -> None:
    scales = np.arange(-8, 8, dtype=np.int8)
    values = decode_blocks(bytes(192) + scales.tobytes() + scale(1.0), KINDS["Q6_K"]).reshape(16, 16)
    assert values[:, 0].tolist() == [-32.0 * n for n in range(-8, 8)]
    assert (values == values[:, :1]).all()


def test_q4_k_by_hand() -> None:
    # Group 5: scale 0x2F = 47 out of byte 9's low half and byte 1's top bits, minimum 0x13 = 19.
    packed = bytearray(12)
    packed[9], packed[1], packed[5] = 0x3F, 0x80, 0x40
    block = scale(1.0) + scale(1.0) + bytes(packed) + bytes([0x21]) * 128
    values = decode_blocks(block, KINDS["Q4_K"]).reshape(8, 32)
    assert (values[5] == 47 * 2 - 19).all()
    assert not values[[0, 2, 3, 4, 6, 7]].any()


def test_mxfp4_by_hand() -> None:
    values = decode_blocks(bytes([127]) + bytes(range(16)), KINDS["MXFP4"])
    positive = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
    assert values[:16].tolist() == positive + [-v for v in positive]
    assert not values[16:].any()


@pytest.mark.parametrize(("exponent", "value"), [(0, 2.0**-128), (1, 2.0**-127), (2, 2.0**-126), (255, 2.0**127)])
def test_mxfp4_scales_reach_into_the_subnormal(exponent: int, value: float) -> None:
    assert decode_blocks(bytes([exponent]) + bytes([1]) * 16, KINDS["MXFP4"])[0] == value


@pytest.mark.parametrize("name", ["Q4_0", "Q8_0", "IQ4_NL"])
def test_subnormal_scales_are_kept(name: str) -> None:
    smallest = 2.0**-24
    values = decode_blocks(scale(smallest) + b"\x11" * (KINDS[name].size - 2), KINDS[name])
    assert values[0] == {"Q4_0": -7, "Q8_0": 17, "IQ4_NL": -104}[name] * smallest


@pytest.mark.parametrize("name", BLOCK_TYPES)
def test_scales_without_end_raise_no_warning(name: str) -> None:
    block = b"\x00\x7c" * (KINDS[name].size // 2) + b"\x7c" * (KINDS[name].size % 2)
    assert decode_blocks(block, KINDS[name]).shape == (KINDS[name].block,)


@pytest.mark.parametrize(
    ("name", "dtype", "numbers"),
    [
        ("F32", "<f4", [1.5, -0.0, 2.0**-149, 3e38]),
        ("F16", "<f2", [1.5, -0.0, 2.0**-24, 65504.0]),
        ("F64", "<f8", [1.5, -0.0, 0.1, 1e300]),
        ("I8", "i1", [0, -128, 127]),
        ("I16", "<i2", [0, -(2**15), 2**15 - 1]),
        ("I32", "<i4", [0, -(2**31), 2**31 - 1]),
        ("I64", "<i8", [0, -(2**63), 2**63 - 1]),
    ],
)
def test_plain_numbers(name: str, dtype: str, numbers: list[float]) -> None:
    stored = np.array(numbers, dtype)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(decode_blocks(stored.tobytes(), KINDS[name]), stored.astype(np.float32))


def test_types_without_a_decoder_are_refused_by_name() -> None:
    assert not is_decodable("Q8_K")
    with pytest.raises(ArtifactError, match=r"values of type Q8_K cannot be read$"):
        decode_blocks(bytes(KINDS["Q8_K"].size), KINDS["Q8_K"])


@pytest.mark.parametrize("name", sorted(KINDS.keys() - PACKAGE_TYPES - {"Q8_K"}))
def test_no_blocks_are_no_values(name: str) -> None:
    assert decode_blocks(b"", KINDS[name]).shape == (0,)
