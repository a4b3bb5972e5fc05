"""Values of ggml's tensor types as float32.

Layouts are those of ggml's block structures (ggml-common.h); arithmetic is float32 in the order of ggml's reference
dequantizers, so that values agree bit for bit. A decoder takes raw blocks, shape (n, bytes per block), dtype uint8, and gives
shape (n, elements per block). Blocks of 256 are in `kblocks`, those of an optional package in `packageblocks`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.gguf.kblocks import (
    LOW,
    decode_iq4_xs,
    decode_q2_k,
    decode_q3_k,
    decode_q4_k,
    decode_q5_k,
    decode_q6_k,
    half,
    nibbles,
    nonlinear,
)
from provenance_gate.artifact.gguf.packageblocks import EXTRA, PACKAGE_TYPES, package_decoder
from provenance_gate.artifact.gguf.types import NAMES, GgmlType
from provenance_gate.errors import ArtifactError

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

_PLAIN: Final[Mapping[str, str]] = {"F16": "<f2", "F64": "<f8", "I8": "i1", "I16": "<i2", "I32": "<i4", "I64": "<i8"}


def _nibble_block(blocks: Bytes, at: int) -> Floats:
    """The 32 four-bit codes of 16 bytes from `at`: the low halves are elements 0 to 15, the high halves 16 to 31."""
    return nibbles(blocks[:, at : at + 16]).reshape(-1, 32).astype(np.float32)


def _five_bits(blocks: Bytes, at: int) -> Floats:
    """32 five-bit codes: four bytes of fifth bits (bit j is element j's), then 16 bytes of halves."""
    top = np.unpackbits(blocks[:, at : at + 4], axis=1, bitorder="little")
    low = nibbles(blocks[:, at + 4 : at + 20]).reshape(-1, 32)
    return (low | (top << 4)).astype(np.float32)


def _q4_0(blocks: Bytes) -> Floats:
    levels: Floats = _nibble_block(blocks, 2) - np.float32(8)
    return half(blocks, 0) * levels


def _q4_1(blocks: Bytes) -> Floats:
    return half(blocks, 0) * _nibble_block(blocks, 4) + half(blocks, 2)


def _q5_0(blocks: Bytes) -> Floats:
    levels: Floats = _five_bits(blocks, 2) - np.float32(16)
    return half(blocks, 0) * levels


def _q5_1(blocks: Bytes) -> Floats:
    return half(blocks, 0) * _five_bits(blocks, 4) + half(blocks, 2)


def _q8_0(blocks: Bytes) -> Floats:
    return half(blocks, 0) * np.ascontiguousarray(blocks[:, 2:]).view(np.int8).astype(np.float32)


def _iq4_nl(blocks: Bytes) -> Floats:
    return half(blocks, 0) * nonlinear(nibbles(blocks[:, 2:]).reshape(-1, 32))


_E2M1: Final = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], dtype=np.float32)
"""Twice the 4-bit floats of the OCP microscaling format (MX v1.0, section 5.3.3); minus zero reads as zero."""


def _mxfp4(blocks: Bytes) -> Floats:
    # The shared exponent e stands for 2**(e - 127), halved because the table holds doubles.
    scale: Floats = np.ldexp(np.float32(1), blocks[:, :1].astype(np.int32) - 128).astype(np.float32)
    return scale * _E2M1[nibbles(blocks[:, 1:]).reshape(-1, 32)]


DECODERS: Final[Mapping[str, Callable[[Bytes], Floats]]] = {
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
    "Q8_0": _q8_0,
    "IQ4_NL": _iq4_nl,
    "MXFP4": _mxfp4,
    "Q2_K": decode_q2_k,
    "Q3_K": decode_q3_k,
    "Q4_K": decode_q4_k,
    "Q5_K": decode_q5_k,
    "Q6_K": decode_q6_k,
    "IQ4_XS": decode_iq4_xs,
}
assert DECODERS.keys() < NAMES and LOW == 15


def is_decodable(name: str) -> bool:
    """Whether `decode_blocks` has values for the type of this name."""
    return name in DECODERS or name in _PLAIN or name in ("F32", "BF16") or package_decoder(name) is not None


def why_not(name: str) -> str:
    """What to add to "cannot be read" for a type that is not decodable."""
    return f" without the package gguf (pip install '{EXTRA}')" if name in PACKAGE_TYPES else ""


def decode_blocks(raw: bytes, kind: GgmlType) -> Floats:
    """All values of whole blocks, shape (n,).

    Exact for F32, F16 and BF16; as ggml computes them for the block types; other number types are rounded to nearest.
    Scales that are infinite or not a number give values that are too. Raises ArtifactError for a type without a decoder.
    """
    if kind.name == "F32":
        return np.frombuffer(raw, "<f4").astype(np.float32, copy=False)
    if kind.name == "BF16":
        wide = np.frombuffer(raw, "<u2").astype(np.uint32)
        return np.left_shift(wide, 16, out=wide).view(np.float32)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        if kind.name in _PLAIN:
            return np.frombuffer(raw, _PLAIN[kind.name]).astype(np.float32)
        decoder = DECODERS.get(kind.name) or package_decoder(kind.name)
        if decoder is None:
            raise ArtifactError(f"values of type {kind.name} cannot be read{why_not(kind.name)}")
        return decoder(np.frombuffer(raw, np.uint8).reshape(-1, kind.size)).reshape(-1)
