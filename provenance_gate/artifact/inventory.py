"""Which files an artifact consists of. Walks a folder without leaving it and opens nothing but first bytes."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from provenance_gate.artifact.interface import FileKind, FileRecord, Sha256, WeightFormat
from provenance_gate.errors import ArtifactError, MalformedFileError, PathEscapeError, one_line

MAX_FILES = 20_000
MAX_DEPTH = 16
_SKIPPED_FOLDERS = frozenset({".git", ".cache", "__pycache__", ".ipynb_checkpoints"})
_LFS_MARK = b"version https://git-lfs.github.com/spec/"
_LFS_LARGEST = 1024

_FORMAT_OF_SUFFIX = {
    ".safetensors": WeightFormat.SAFETENSORS,
    ".gguf": WeightFormat.GGUF,
    ".pt": WeightFormat.PICKLE,
    ".pth": WeightFormat.PICKLE,
    ".pkl": WeightFormat.PICKLE,
    ".pickle": WeightFormat.PICKLE,
    ".ckpt": WeightFormat.PICKLE,
    ".joblib": WeightFormat.PICKLE,
    ".onnx": WeightFormat.ONNX,
    ".h5": WeightFormat.HDF5,
    ".hdf5": WeightFormat.HDF5,
    ".keras": WeightFormat.HDF5,
    ".npz": WeightFormat.NUMPY,
    ".npy": WeightFormat.NUMPY,
    ".msgpack": WeightFormat.MSGPACK,
    ".tflite": WeightFormat.TFLITE,
}
_TORCH_BIN = re.compile(r"(pytorch_model|adapter_model|model|training_args|optimizer|scheduler).*\.bin")
"""Other .bin files (OpenVINO, tables) are pickles only when their first bytes say so."""
_TOKENIZER_NAMES = frozenset(
    {"merges.txt", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja", "spiece.model"}
)
_CONFIG_SUFFIXES = (".json", ".yml", ".yaml", ".toml")


def list_files(root: Path) -> tuple[FileRecord, ...]:
    """Every file below a folder, or the one file that `root` is, sorted by path; without digests.

    Raises
    ------
    ArtifactError
        Nothing there, not readable, a pipe, socket or device, a name that is not UTF-8, more files or depth than the limits.
    PathEscapeError
        A symbolic link leads out of the folder.
    """
    try:
        status = root.stat()
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{root}: {getattr(error, 'strerror', None) or error}") from error
    if stat.S_ISREG(status.st_mode):
        check_name(PurePosixPath(root.name))
        return (_record(root, PurePosixPath(root.name)),)
    if not stat.S_ISDIR(status.st_mode):
        raise ArtifactError(f"{root}: neither a folder nor a regular file")
    records = []
    for path in _walk(root, root.resolve(), PurePosixPath(), 0):
        records.append(_record(root / path, path))
        if len(records) > MAX_FILES:
            raise ArtifactError(f"{root}: more than {MAX_FILES:,} files")
    return tuple(sorted(records, key=lambda r: str(r.path)))


def _walk(root: Path, real_root: Path, below: PurePosixPath, depth: int) -> Iterator[PurePosixPath]:
    if depth > MAX_DEPTH:
        raise ArtifactError(f"{one_line(str(below))}: folders nested deeper than {MAX_DEPTH}")
    try:
        with os.scandir(root / below) as listing:
            entries = sorted(listing, key=lambda e: e.name)
    except OSError as error:
        raise ArtifactError(f"{one_line(str(root / below))}: {error.strerror}") from error
    for entry in entries:
        path = below / entry.name
        check_name(path)
        if entry.is_symlink():
            _check_link(root / path, real_root, path)
            if entry.is_dir():
                raise PathEscapeError(f"{path}: a link to a folder; links are followed to files only")
        if entry.is_dir(follow_symlinks=False):
            if entry.name not in _SKIPPED_FOLDERS:
                yield from _walk(root, real_root, path, depth + 1)
        elif stat.S_ISREG(_mode(root / path, path)):
            yield path
        else:
            raise ArtifactError(f"{path}: a pipe, socket or device, not a regular file")


def check_name(path: PurePosixPath) -> None:
    try:
        path.name.encode("utf-8")
        plain = not any(ord(c) < 32 or ord(c) == 127 for c in path.name)
    except UnicodeEncodeError:
        plain = False
    if not plain:
        # A line break in a name would let two folders have one manifest digest.
        raise ArtifactError(f"{one_line(repr(str(path)))}: the file name is not UTF-8, or holds a control character")


def _mode(path: Path, shown: PurePosixPath) -> int:
    try:
        return path.stat().st_mode
    except OSError as error:
        raise ArtifactError(f"{shown}: {error.strerror}") from error


def _check_link(path: Path, real_root: Path, shown: PurePosixPath) -> None:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise ArtifactError(f"{shown}: a link that leads nowhere") from error
    blobs = _hub_blobs(real_root)
    if target.is_relative_to(real_root) or (blobs is not None and target.parent == blobs):
        return
    raise PathEscapeError(f"{shown}: a link out of the artifact, to {one_line(str(target))}")


def _hub_blobs(real_root: Path) -> Path | None:
    """Where the links of a snapshot in the hub's cache lead: the blobs of the same model. `real_root` may be a folder in it."""
    for folder in (real_root, *real_root.parents):
        if folder.parent.name == "snapshots" and folder.parent.parent.name.startswith("models--"):
            return folder.parent.parent / "blobs"
    return None


def _record(path: Path, shown: PurePosixPath) -> FileRecord:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(256)
    except OSError as error:
        raise ArtifactError(f"{shown}: {error.strerror}") from error
    return record_of(shown, size, head)


def record_of(path: PurePosixPath, size: int, head: bytes) -> FileRecord:
    """A file's record from its path, its size and its first 256 bytes (fewer when it is shorter)."""
    weight_format = _weight_format(path.name.lower(), head)
    return FileRecord(path, size, FileKind.WEIGHTS if weight_format else _kind(path), weight_format)


def _weight_format(name: str, head: bytes) -> WeightFormat | None:
    """By suffix, corrected by first bytes: what a file calls itself never hides a pickle."""
    by_suffix = next((f for suffix, f in _FORMAT_OF_SUFFIX.items() if name.endswith(suffix)), None)
    if _TORCH_BIN.fullmatch(name):
        by_suffix = WeightFormat.PICKLE
    if head.startswith(_LFS_MARK):
        # Which .bin files are pickles their bytes would have told.
        return WeightFormat.LFS_POINTER if by_suffix or name.endswith(".bin") else None
    if by_suffix is WeightFormat.SAFETENSORS and head[8:9] == b"{" and head[5:8] == bytes(3):
        # A header length may by chance begin like a pickle.
        return WeightFormat.SAFETENSORS
    if head.startswith(b"GGUF"):
        return WeightFormat.GGUF
    if re.match(rb"\x80[\x02-\x05]", head):
        return WeightFormat.PICKLE
    if head.startswith(b"PK\x03\x04") and (
        b".pkl" in head or by_suffix in (WeightFormat.PICKLE, WeightFormat.SAFETENSORS)
    ):
        return WeightFormat.PICKLE
    if head.startswith(b"\x89HDF\r\n"):
        return WeightFormat.HDF5
    return by_suffix


def _kind(path: PurePosixPath) -> FileKind:
    name = path.name.lower()
    if name == "readme.md":
        return FileKind.CARD
    if re.match(r"(licen[cs]e|notice|copying|use_policy)", name):
        return FileKind.LICENSE
    if name.endswith(".index.json"):
        return FileKind.INDEX
    if name in _TOKENIZER_NAMES or name.startswith(("tokenizer", "vocab")):
        return FileKind.TOKENIZER
    if name.endswith(_CONFIG_SUFFIXES):
        return FileKind.CONFIG
    return FileKind.OTHER


def read_small(root: Path, record: FileRecord, limit: int) -> bytes:
    """The whole of a small file. Raises MalformedFileError when it is larger than `limit` bytes."""
    if record.size > limit:
        raise MalformedFileError(f"{record.path}: {record.size:,} bytes, expected at most {limit:,}")
    path = root / record.path if root.is_dir() else root
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise ArtifactError(f"{record.path}: {error.strerror}") from error
    if len(data) > limit:
        raise MalformedFileError(f"{record.path}: grew past {limit:,} bytes while it was read")
    return data


@dataclass(frozen=True, slots=True)
class LfsPointer:
    """What a Git LFS pointer file stands for."""

    sha256: Sha256
    size: int


def parse_lfs_pointer(data: bytes, name: str) -> LfsPointer:
    """Read a pointer file (git-lfs specification v1). Raises MalformedFileError."""
    found = re.search(rb"^oid sha256:([0-9a-f]{64})\nsize ([0-9]{1,18})$", data[:_LFS_LARGEST], re.MULTILINE)
    if not found:
        raise MalformedFileError(f"{name}: a Git LFS pointer without oid and size")
    return LfsPointer(Sha256(found.group(1).decode()), int(found.group(2)))


def not_a_pointer(data: bytes, name: str) -> bytes:
    """`data` of a small file (config, index, tokenizer). Raises ArtifactError when it is a Git LFS pointer in its place."""
    if data.startswith(_LFS_MARK):
        raise ArtifactError(f"{name}: a Git LFS pointer, the file is not here; run `git lfs pull`")
    return data


def find_model_folders(root: Path) -> tuple[Path, ...]:
    """The model folders below `root` (itself included), sorted; a model's own subfolders are part of it.

    A model folder holds safetensors or pickle weights beside a config.json, an adapter_config.json, or a GGUF file.
    """
    found: list[Path] = []
    _collect(root, root.resolve(), found, 0)
    return tuple(found)


def _collect(folder: Path, real_root: Path, found: list[Path], depth: int) -> None:
    if depth > MAX_DEPTH:
        return
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda e: e.name)
    except OSError as error:
        raise ArtifactError(f"{folder}: {error.strerror}") from error
    names = {e.name.lower() for e in entries if not e.is_dir()}
    weights = any(n.endswith((".safetensors", ".bin", ".pt", ".pth")) for n in names)
    if (
        "adapter_config.json" in names
        or ("config.json" in names and weights)
        or any(n.endswith(".gguf") for n in names)
    ):
        found.append(folder)
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False) and entry.name not in _SKIPPED_FOLDERS:
            _collect(folder / entry.name, real_root, found, depth + 1)
