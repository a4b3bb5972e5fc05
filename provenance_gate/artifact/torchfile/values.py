"""What a checkpoint's pickle program may build, and the names it may use to do so: the whole allow-list.

A name outside of `GLOBALS` becomes `Forbidden`, which no instruction can use. Names are compared as a pair of exact strings,
so that neither dots, look-alike letters nor another module lead around the list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Call(str, Enum):
    """What happens when the program calls an allowed name."""

    TENSOR = "tensor"
    TENSOR_V3 = "tensor with dtype"
    QUANTIZED = "quantized tensor"
    PARAMETER = "parameter"
    ORDERED_DICT = "ordered dict"
    SIZE = "size"
    INERT = "a value that is not looked at"
    STORAGE = "storage class; never called"
    DTYPE = "dtype; never called"
    CONSTANT = "constant; never called"


@dataclass(frozen=True, slots=True, eq=False)
class Global:
    """An allowed name. `dtype` is the number format of a storage class or dtype; "" for untyped storage and all else."""

    module: str
    name: str
    call: Call
    dtype: str = ""

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(frozen=True, slots=True, eq=False)
class Forbidden:
    """A name that is not on the list, and where the program named it."""

    module: str
    name: str
    opcode: str
    offset: int

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(frozen=True, slots=True, eq=False)
class Inert:
    """A value whose content does not matter: only its kind is known."""

    kind: str


class OrderedItems(dict[str, object]):
    """What `collections.OrderedDict` was called for; unlike a plain dict it may get `_metadata` by BUILD."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, eq=False)
class Storage:
    """A run of numbers in the file: its key, the format of its elements ("" for bytes), and how many it declares."""

    key: str
    dtype: str
    elements: int
    problem: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class TensorView:
    """A tensor over a storage as the program describes it: not yet checked against the bytes.

    `offset` and `stride` count elements. `problem` says why its values cannot be read, "" when nothing stands against it.
    """

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    problem: str = ""


ITEM_BYTES: Mapping[str, int] = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "F8_E4M3FNUZ": 1,
    "F8_E5M2FNUZ": 1, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
    "C64": 8, "C128": 16, "C32": 4,
}  # fmt: skip
"""Bytes per element. C128 and C32 have no safetensors spelling: such tensors are listed, not read."""

_STORAGES = {
    "DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16", "LongStorage": "I64",
    "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8", "ByteStorage": "U8", "BoolStorage": "BOOL",
    "ComplexFloatStorage": "C64", "ComplexDoubleStorage": "C128", "QInt8Storage": "I8", "QUInt8Storage": "U8",
    "QInt32Storage": "I32",
}  # fmt: skip
_DTYPES = {
    "float64": "F64", "double": "F64", "float32": "F32", "float": "F32", "float16": "F16", "half": "F16",
    "bfloat16": "BF16", "int64": "I64", "long": "I64", "int32": "I32", "int": "I32", "int16": "I16", "short": "I16",
    "int8": "I8", "uint8": "U8", "uint16": "U16", "uint32": "U32", "uint64": "U64", "bool": "BOOL",
    "complex32": "C32", "complex64": "C64", "complex128": "C128", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
    "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ", "float8_e8m0fnu": "F8_E8M0",
}  # fmt: skip
_CALLS = {
    ("torch._utils", "_rebuild_tensor"): Call.TENSOR,
    ("torch._utils", "_rebuild_tensor_v2"): Call.TENSOR,
    ("torch._utils", "_rebuild_tensor_v3"): Call.TENSOR_V3,
    ("torch._utils", "_rebuild_qtensor"): Call.QUANTIZED,
    ("torch._utils", "_rebuild_parameter"): Call.PARAMETER,
    ("torch._utils", "_rebuild_parameter_with_state"): Call.PARAMETER,
    ("torch.nn.parameter", "Parameter"): Call.PARAMETER,
    ("collections", "OrderedDict"): Call.ORDERED_DICT,
    ("torch", "Size"): Call.SIZE,
    ("torch", "device"): Call.INERT,
    ("torch.serialization", "_get_layout"): Call.INERT,
    ("_codecs", "encode"): Call.INERT,
    ("numpy", "dtype"): Call.INERT,
    ("numpy.core.multiarray", "scalar"): Call.INERT,
    ("numpy._core.multiarray", "scalar"): Call.INERT,
    ("builtins", "set"): Call.INERT,
    ("__builtin__", "set"): Call.INERT,
    ("torch", "per_tensor_affine"): Call.CONSTANT,
    ("torch", "per_channel_affine"): Call.CONSTANT,
    ("torch.storage", "TypedStorage"): Call.CONSTANT,
    ("torch", "UntypedStorage"): Call.STORAGE,
    ("torch.storage", "UntypedStorage"): Call.STORAGE,
}

GLOBALS: Mapping[tuple[str, str], Global] = {
    **{key: Global(*key, call) for key, call in _CALLS.items()},
    **{("torch", name): Global("torch", name, Call.STORAGE, dtype) for name, dtype in _STORAGES.items()},
    **{("torch", name): Global("torch", name, Call.DTYPE, dtype) for name, dtype in _DTYPES.items()},
}
