"""Every number format against numpy or its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenance_gate.artifact.dtypes import BITS, byte_size, decode, is_decodable
from provenance_gate.errors import ArtifactError

from .build import Array

NUMPY = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "<i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "<u1",
}
ALL_CODES = bytes(range(256))


def e4m3(code: int) -> float:
    """OCP 8-bit floating point, E4M3: bias 7, no infinity, one NaN per sign."""
    sign, exponent, mantissa = code >> 7, code >> 3 & 15, code & 7
    if exponent == 15 and mantissa == 7:
        return math.nan
    size = math.ldexp(mantissa, -9) if exponent == 0 else math.ldexp(8 + mantissa, exponent - 10)
    return -size if sign else size


def e5m2(code: int) -> float:
    """E5M2 is the upper byte of an IEEE half."""
    return float(np.frombuffer(bytes([0, code]), "<f2")[0])


def same(found: Array, expected: Array) -> None:
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
    numbers = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(found[numbers]), np.signbit(expected[numbers]))


@pytest.mark.parametrize("dtype", sorted(NUMPY))
@settings(max_examples=60, deadline=None)
@given(raw=st.binary(max_size=128))
def test_plain_formats_are_what_numpy_casts(dtype: str, raw: bytes) -> None:
    raw = raw[: len(raw) // 8 * 8]
    with np.errstate(all="ignore"):
        expected = np.frombuffer(raw, NUMPY[dtype]).astype(np.float32)
    same(decode(raw, dtype, "w"), expected)


@pytest.mark.parametrize(
    ("dtype", "raw"), [("F64", "010000000000f07f"), ("F16", "017c"), ("F32", "0100807f"), ("BF16", "817f")]
)
def test_a_signalling_nan_is_nan_without_a_warning(dtype: str, raw: str) -> None:
    assert np.isnan(decode(bytes.fromhex(raw), dtype, "w")).all()


def test_a_double_beyond_float32_is_infinite_without_a_warning() -> None:
    assert decode(np.array([1e300, -1e300, 1e-300], "<f8").tobytes(), "F64", "w").tolist() == [math.inf, -math.inf, 0.0]


def test_booleans_are_zero_and_one() -> None:
    assert decode(b"\0\1", "BOOL", "w").tolist() == [0.0, 1.0]


def test_every_bf16_is_the_upper_half_of_a_float32() -> None:
    codes = np.arange(65536, dtype="<u2")
    expected = np.frombuffer(b"".join(b"\0\0" + int(c).to_bytes(2, "little") for c in codes), "<f4")
    same(decode(codes.tobytes(), "BF16", "w"), expected)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 65535), max_size=20))
def test_bf16_survives_the_way_to_float32_and_back(codes: list[int]) -> None:
    raw = np.array(codes, "<u2").tobytes()
    back = (decode(raw, "BF16", "w").view(np.uint32) >> 16).astype("<u2").tobytes()
    assert back == raw


def test_every_e4m3_code_follows_the_formula() -> None:
    same(decode(ALL_CODES, "F8_E4M3", "w"), np.array([e4m3(c) for c in range(256)], np.float32))


def test_every_e5m2_code_is_the_upper_byte_of_a_half() -> None:
    same(decode(ALL_CODES, "F8_E5M2", "w"), np.array([e5m2(c) for c in range(256)], np.float32))


@pytest.mark.parametrize(
    ("dtype", "code", "value"),
    [
        # Table 1 of arXiv:2209.05433.
        ("F8_E4M3", 0x7E, 448.0),
        ("F8_E4M3", 0xFE, -448.0),
        ("F8_E4M3", 0x08, 2.0**-6),
        ("F8_E4M3", 0x07, 0.875 * 2.0**-6),
        ("F8_E4M3", 0x01, 2.0**-9),
        ("F8_E4M3", 0x38, 1.0),
        ("F8_E4M3", 0x78, 256.0),
        ("F8_E5M2", 0x7B, 57344.0),
        ("F8_E5M2", 0x04, 2.0**-14),
        ("F8_E5M2", 0x03, 0.75 * 2.0**-14),
        ("F8_E5M2", 0x01, 2.0**-16),
        ("F8_E5M2", 0x3C, 1.0),
        ("F8_E5M2", 0x7C, math.inf),
        ("F8_E5M2", 0xFC, -math.inf),
    ],
)
def test_published_fp8_values(dtype: str, code: int, value: float) -> None:
    assert decode(bytes([code]), dtype, "w").tolist() == [value]


@pytest.mark.parametrize(
    ("dtype", "codes"), [("F8_E4M3", [0x7F, 0xFF]), ("F8_E5M2", [0x7D, 0x7E, 0x7F, 0xFD, 0xFE, 0xFF])]
)
def test_fp8_is_nan_for_exactly_these_codes(dtype: str, codes: list[int]) -> None:
    assert np.flatnonzero(np.isnan(decode(ALL_CODES, dtype, "w"))).tolist() == codes


def test_a_decoded_fp8_array_is_not_the_table_itself() -> None:
    decode(ALL_CODES, "F8_E4M3", "w")[:] = 0
    assert decode(b"\x38", "F8_E4M3", "w").tolist() == [1.0]


@pytest.mark.parametrize("dtype", sorted(BITS))
def test_a_format_decodes_or_says_that_it_cannot(dtype: str) -> None:
    raw = b"\0" * 16
    if is_decodable(dtype):
        assert decode(raw, dtype, "layer.w").tolist() == [0.0] * (128 // BITS[dtype])
    else:
        with pytest.raises(ArtifactError, match=rf"'layer\.w'.*{dtype}"):
            decode(raw, dtype, "layer.w")


def test_formats_without_a_plain_value_are_not_decoded() -> None:
    assert {d for d in BITS if not is_decodable(d)} == {
        "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F6_E2M3", "F6_E3M2", "F4", "C64"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("dtype", "count", "size"),
    [
        ("F32", 3, 12),
        ("BF16", 3, 6),
        ("F4", 4, 2),
        ("F4", 3, None),
        ("F6_E2M3", 4, 3),
        ("F6_E2M3", 2, None),
        ("C64", 1, 8),
    ],
)
def test_byte_size_is_none_when_elements_end_within_a_byte(dtype: str, count: int, size: int | None) -> None:
    assert byte_size(dtype, count) == size
