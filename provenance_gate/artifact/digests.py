"""SHA-256 of every file, streamed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from provenance_gate.artifact.interface import FileRecord, NotMeasured, Sha256, WeightFormat
from provenance_gate.artifact.inventory import parse_lfs_pointer, read_small
from provenance_gate.errors import ArtifactError, ChangedFileError

_BLOCK = 1 << 20


def digest_files(
    root: Path, files: Sequence[FileRecord], jobs: int = 2, progress: Callable[[int], None] | None = None
) -> tuple[FileRecord, ...]:
    """`files` with their digests. A Git LFS pointer gets the digest of what it stands for, which was not computed here.

    Parameters
    ----------
    jobs
        Files hashed at once; never changes a value.
    progress
        Called with the number of bytes hashed since the last call.

    Raises
    ------
    ArtifactError
        A file cannot be read.
    ChangedFileError
        A file changed while it was read.
    """
    largest_first = sorted(files, key=lambda f: -f.size)
    with ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
        digests = dict(pool.map(lambda f: (f.path, _digest(root, f, progress)), largest_first))
    return tuple(replace(f, sha256=digests[f.path], declared=f.format is WeightFormat.LFS_POINTER) for f in files)


def _digest(root: Path, record: FileRecord, progress: Callable[[int], None] | None) -> Sha256:
    if record.format is WeightFormat.LFS_POINTER:
        return parse_lfs_pointer(read_small(root, record, 1024), str(record.path)).sha256
    path = root / record.path if root.is_dir() else root
    digest, buffer, total = hashlib.sha256(), bytearray(_BLOCK), 0
    view = memoryview(buffer)
    try:
        with path.open("rb", buffering=0) as file:
            before = os.fstat(file.fileno())
            while count := file.readinto(buffer):
                digest.update(view[:count])
                total += count
                if progress:
                    progress(count)
            after = os.fstat(file.fileno())
    except OSError as error:
        raise ArtifactError(f"{record.path}: {error.strerror}") from error
    if total != record.size or (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise ChangedFileError(f"{record.path}: changed while it was read")
    return Sha256(digest.hexdigest())


def manifest_sha256(files: Sequence[FileRecord]) -> Sha256 | NotMeasured:
    """One digest for all: SHA-256 over the sorted lines ``<sha256>  <path>``, each ended by a newline."""
    digest = hashlib.sha256()
    for record in sorted(files, key=lambda f: str(f.path)):
        if isinstance(record.sha256, NotMeasured):
            return record.sha256
        digest.update(f"{record.sha256}  {record.path}\n".encode())
    return Sha256(digest.hexdigest())
