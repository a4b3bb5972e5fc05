"""What a file is for, from its name, and what it is, from its first bytes. Where the two disagree, the bytes are believed.

A pickle is found by its protocol byte, so under any name; pickles of protocol 0 and 1 have none and are known by name only.
"""

from __future__ import annotations

import os
import pickletools
import re
from pathlib import PurePosixPath
from typing import Final

from provenance_gate.artifact.interface import FileKind, WeightFormat

LFS_MARK: Final = b"version https://git-lfs.github.com/spec/"
LFS_LIMIT: Final = 1024
"""Git LFS itself takes no larger file for a pointer."""

MAX_SAFETENSORS_HEADER: Final = 100_000_000
"""The safetensors library's own limit."""

HEAD_BYTES: Final = 512
_ZIP_HEAD: Final = 64 << 10
_ZIP_TAIL: Final = 4 << 20

_BY_SUFFIX: Final = {
    ".safetensors": WeightFormat.SAFETENSORS,
    ".gguf": WeightFormat.GGUF,
    ".pt": WeightFormat.PICKLE,
    ".pth": WeightFormat.PICKLE,
    ".pkl": WeightFormat.PICKLE,
    ".pickle": WeightFormat.PICKLE,
    ".ckpt": WeightFormat.PICKLE,
    ".joblib": WeightFormat.PICKLE,
    ".dill": WeightFormat.PICKLE,
    ".ot": WeightFormat.PICKLE,
    ".onnx": WeightFormat.ONNX,
    ".onnx_data": WeightFormat.ONNX,
    ".h5": WeightFormat.HDF5,
    ".hdf5": WeightFormat.HDF5,
    ".npy": WeightFormat.NUMPY,
    ".npz": WeightFormat.NUMPY,
    ".msgpack": WeightFormat.MSGPACK,
    ".tflite": WeightFormat.TFLITE,
}
_BY_MAGIC: Final = (
    (0, b"GGUF", WeightFormat.GGUF),
    (0, b"\x89HDF\r\n\x1a\n", WeightFormat.HDF5),
    (0, b"\x93NUMPY", WeightFormat.NUMPY),
    (4, b"TFL3", WeightFormat.TFLITE),
)
_OPCODES: Final = frozenset(ord(opcode.code) for opcode in pickletools.opcodes)

_CODE: Final = (".py", ".sh", ".c", ".cpp", ".cu", ".ipynb")
_STATE: Final = re.compile(r"(training_args|optimizer|scheduler|rng_state|scaler|random_states)[^/]*\.(bin|pt|pth|pkl)")
_BIN_WEIGHTS: Final = re.compile(r"(?!openvino_).*(model|adapter|weights|consolidated).*\.bin")
_LICENSE: Final = re.compile(r"(licen[cs]e|notice|copying|use[_-]policy)([-_. ].*)?")
_TOKENIZER: Final = re.compile(
    r"(tokenizer|vocab|sentencepiece|spiece|chat_template).*|merges\.txt|(special_tokens_map|added_tokens)\.json"
    r"|.*\.(model|tiktoken|spm|bpe)"
)
_CONFIG: Final = re.compile(r".*config.*\.(json|ya?ml)|(params|modules|model_index)\.json")


def tell_format(path: PurePosixPath, size: int, head: bytes, descriptor: int) -> WeightFormat | None:
    """The container of a file; None when it is none of those known.

    Parameters
    ----------
    head
        The first `HEAD_BYTES` bytes, or all when there are fewer.
    descriptor
        The open file, of which more is read only when it is a zip archive.
    """
    name = path.name.lower()
    suffix = path.suffix.lower()
    if head.startswith(LFS_MARK) and size <= LFS_LIMIT:
        return WeightFormat.LFS_POINTER
    tensors = _looks_like_safetensors(head)
    # A header length may begin with the two bytes of a pickle: what the name says settles which reader will see the file.
    if tensors and suffix == ".safetensors":
        return WeightFormat.SAFETENSORS
    if _looks_like_pickle(head):
        return WeightFormat.PICKLE
    if tensors:
        return WeightFormat.SAFETENSORS
    for offset, magic, found in _BY_MAGIC:
        if head.startswith(magic, offset):
            return found
    if head.startswith(b"PK\x03\x04") and _holds_pickle(descriptor, size):
        return WeightFormat.PICKLE
    by_name = _BY_SUFFIX.get(suffix)
    if by_name is None and (_BIN_WEIGHTS.fullmatch(name) or _STATE.fullmatch(name)):
        return WeightFormat.PICKLE
    return by_name


def tell_kind(path: PurePosixPath, found: WeightFormat | None) -> FileKind:
    """What the file is for. `found` is what `tell_format` said; it settles the kind only where the name does not."""
    name = path.name.lower()
    if _STATE.fullmatch(name):
        return FileKind.OTHER
    if path.suffix.lower() in _BY_SUFFIX or (name.endswith(".bin") and _BIN_WEIGHTS.fullmatch(name)):
        return FileKind.WEIGHTS
    if name.endswith(".index.json"):
        return FileKind.INDEX
    if name == "readme.md":
        return FileKind.CARD
    if not name.endswith(_CODE):
        if name.endswith((".json", ".yml", ".yaml")) and _CONFIG.fullmatch(name) and not name.startswith("tokenizer"):
            return FileKind.CONFIG
        if _LICENSE.fullmatch(name):
            return FileKind.LICENSE
        if _TOKENIZER.fullmatch(name):
            return FileKind.TOKENIZER
    if found is None or found is WeightFormat.LFS_POINTER:
        return FileKind.OTHER
    return FileKind.WEIGHTS


def _looks_like_safetensors(head: bytes) -> bool:
    return len(head) >= 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= MAX_SAFETENSORS_HEADER


def _looks_like_pickle(head: bytes) -> bool:
    return len(head) >= 3 and head[0] == 0x80 and 2 <= head[1] <= 5 and head[2] in _OPCODES


def _holds_pickle(descriptor: int, size: int) -> bool:
    """Whether a zip archive names a ``data.pkl``: PyTorch writes it first, and the directory at the end repeats it."""
    head = os.pread(descriptor, _ZIP_HEAD, 0)
    return b"data.pkl" in head or b"data.pkl" in os.pread(descriptor, _ZIP_TAIL, max(0, size - _ZIP_TAIL))
