"""Small files with signatures beside a model, and names of files in messages."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from provenance_gate.artifact.sources import LocalStore, Store
from provenance_gate.errors import ArtifactError, MalformedFileError, one_line
from provenance_gate.signing.interface import STATEMENT_SUFFIXES, Material

_NAMED = 5


def is_single(store: Store | None) -> bool:
    """Whether the model is one file on disk; what belongs to it then lies beside it."""
    return isinstance(store, LocalStore) and store.root.is_file()


def read_beside(material: Material, path: PurePosixPath, limit: int) -> bytes | None:
    """A file of the model's folder, None when there is none. Raises MalformedFileError above `limit` bytes, ArtifactError."""
    store = material.store
    if isinstance(store, LocalStore) and is_single(store):
        return read_path(store.root.parent / path, limit)
    record = next((f for f in material.files if f.path == path), None)
    return None if record is None or store is None else store.read_small(record, limit)


def read_path(path: Path, limit: int) -> bytes | None:
    """A regular file, None when there is none. Raises MalformedFileError above `limit` bytes, ArtifactError."""
    name = one_line(str(path), 200)
    try:
        # Non-blocking: a named pipe would otherwise hold the reader for ever.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{name}: {getattr(error, 'strerror', None) or 'cannot be opened'}") from error
    try:
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ArtifactError(f"{name}: not a regular file")
            data = file.read(limit + 1)
    except OSError as error:
        raise ArtifactError(f"{name}: {error.strerror}") from error
    if len(data) > limit:
        raise MalformedFileError(f"{name}: more than {limit:,} bytes")
    return data


def statements_beside(material: Material) -> tuple[PurePosixPath, ...]:
    """Files that by their names hold statements about the model: at the root of its folder, or called after a single file."""
    store = material.store
    if isinstance(store, LocalStore) and is_single(store):
        names = [PurePosixPath(f"{store.root.name}{suffix}") for suffix in STATEMENT_SUFFIXES]
        return tuple(name for name in names if (store.root.parent / name).exists())
    return tuple(f.path for f in material.files if len(f.path.parts) == 1 and f.path.name.endswith(STATEMENT_SUFFIXES))


def named(paths: Iterable[PurePosixPath]) -> str:
    """The first paths in sorted order, safe to print, and how many more there are."""
    ordered = sorted(str(path) for path in paths)
    more = len(ordered) - _NAMED
    shown = ", ".join(one_line(path, 80) for path in ordered[:_NAMED])
    return f"{shown} and {more:,} more" if more > 0 else shown
