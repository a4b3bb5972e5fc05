"""What a quantization scheme is: a match on the names, dtypes and shapes of stored tensors, and values read in blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import PurePosixPath
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.interface import StoredTensor, TensorReader
from provenance_gate.artifact.quantized.said import Said
from provenance_gate.errors import MalformedFileError, one_line

Tensors = Mapping[str, StoredTensor]
"""All stored tensors of the model by name."""


@runtime_checkable
class RawReader(Protocol):
    """A `TensorReader` that also gives the bytes as stored: packed integers do not survive float32."""

    def read(self, start: int, count: int) -> NDArray[np.float32]: ...
    def raw(self, start: int, count: int) -> bytes:
        """The stored little-endian bytes of elements [start, start + count)."""
        ...


@dataclass(frozen=True, slots=True)
class Match:
    """Parts that make up one matrix.

    Attributes
    ----------
    tensor
        The virtual tensor: shape (out, in), values dequantized as they are read.
    parts
        Names of the stored tensors that it replaces.
    remarks
        What contradicts config.json, without the tensor's name, so that equal ones can be counted.
    """

    tensor: StoredTensor
    parts: tuple[str, ...]
    remarks: tuple[str, ...] = ()


class Scheme(Protocol):
    """One way to store a matrix in few bits."""

    @property
    def methods(self) -> frozenset[str]:
        """The values of `quant_method` under which tools write it."""
        ...

    def match(self, main: StoredTensor, tensors: Tensors, said: Said) -> Match | None:
        """The matrix whose main part is `main`; None when names and dtypes say that it is not of this scheme.

        Raises MalformedFileError when all parts are there and their shapes fit no reading.
        """
        ...


def where(tensor: StoredTensor) -> str:
    """File and tensor, as every message starts."""
    return f"{one_line(str(tensor.path))}: tensor {one_line(tensor.name, 80)!r}"


def malformed(tensor: StoredTensor, fault: str) -> MalformedFileError:
    """The one error for parts that do not fit together."""
    return MalformedFileError(f"{where(tensor)}: {fault}")


def shapes(*parts: StoredTensor) -> str:
    """The shapes of parts for messages: the last component of each name and its extents."""
    return ", ".join(f"{one_line(p.name.rpartition('.')[2], 40)} {p.dtype} {list(p.shape)}" for p in parts)


def virtual(
    name: str, dtype: str, shape: tuple[int, ...], parts: tuple[StoredTensor, ...], reader: TensorReader
) -> StoredTensor:
    """A tensor made of `parts`, the main one first."""
    path: PurePosixPath = parts[0].path
    return StoredTensor(name, dtype, shape, sum(p.nbytes for p in parts), path, reader)


def is_empty(*parts: StoredTensor) -> bool:
    """Whether a part holds nothing: then there is nothing to dequantize, and no group size to derive."""
    return any(not prod(p.shape) for p in parts)
