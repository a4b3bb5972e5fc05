"""What the remote stores share: names that are safe to show, kinds told by first bytes, whole files, and their digests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import PurePosixPath

from provenance_gate.artifact.interface import FileRecord, NotMeasured, Sha256
from provenance_gate.artifact.inventory import MAX_DEPTH, MAX_FILES, check_name, record_of
from provenance_gate.artifact.ranges import RangeSource
from provenance_gate.artifact.sources.coalesce import PARALLEL
from provenance_gate.artifact.sources.interface import Progress
from provenance_gate.errors import ArtifactError, MalformedFileError, PathEscapeError, one_line

HEAD = 64 << 10
"""Bytes of a file that are read at once when it is listed: most headers and small files fit."""
MAX_NAME = 4096
"""Characters of a path, as on most file systems."""
MAX_HEADS = 1000
"""Files whose first bytes are read: all at the root and all that are called weights; more is refused."""
LARGEST_UNDECLARED = 256 << 20
"""Bytes. A larger remote file of which nobody states a digest is not fetched to compute one, unless that is asked for."""
_BLOCK = 4 << 20
_LARGEST = 2**63 - 1


def remote_path(text: object, where: str) -> PurePosixPath:
    """The path of a remote file below the root. Raises MalformedFileError, PathEscapeError."""
    if not isinstance(text, str) or not text:
        raise MalformedFileError(f"{where}: a file without a name")
    if len(text) > MAX_NAME:
        raise ArtifactError(f"{where}: {one_line(text, 120)}: a name of {len(text):,} characters")
    parts = text.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\\" in text:
        raise PathEscapeError(f"{where}: {one_line(repr(text), 120)} is not the name of a file below it")
    if len(parts) > MAX_DEPTH + 1:
        raise ArtifactError(f"{where}: {one_line(text, 120)}: folders nested deeper than {MAX_DEPTH}")
    path = PurePosixPath(text)
    for name in (*path.parents[:-1], path):
        check_name(name)
    return path


def remote_size(size: object, where: str, path: PurePosixPath) -> int:
    """A stated size, checked. Raises MalformedFileError."""
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= _LARGEST:
        raise MalformedFileError(f"{where}: {path}: size {one_line(repr(size), 40)}, expected bytes")
    return size


def listed(entries: Iterable[tuple[PurePosixPath, int]], where: str) -> dict[PurePosixPath, int]:
    """Paths and sizes, each path once, not too many. Raises ArtifactError."""
    found: dict[PurePosixPath, int] = {}
    for path, size in entries:
        if path in found:
            raise MalformedFileError(f"{where}: {path} is listed twice")
        found[path] = size
        if len(found) > MAX_FILES:
            raise ArtifactError(f"{where}: more than {MAX_FILES:,} files")
    return found


def records(
    sizes: dict[PurePosixPath, int], where: str, read_head: Callable[[PurePosixPath, int], bytes]
) -> tuple[FileRecord, ...]:
    """File records sorted by path; kinds by name and first bytes, which are read in parallel.

    Parameters
    ----------
    read_head
        From path and count the first bytes of a file.

    Raises
    ------
    ArtifactError
        A head cannot be read, or more than `MAX_HEADS` files are at the root or called weights.
    """
    sure = [p for p in sizes if len(p.parts) == 1 or record_of(p, 0, b"").format is not None]
    if len(sure) > MAX_HEADS:
        raise ArtifactError(
            f"{where}: {len(sure):,} weight files and files at the root, expected at most {MAX_HEADS:,}"
        )
    # In subfolders loaders look for weights by name, so the rest is looked into as far as the limit goes.
    rest = sorted(set(sizes) - set(sure), key=lambda p: (-sizes[p], str(p)))[: MAX_HEADS - len(sure)]
    wanted = [p for p in (*sure, *rest) if sizes[p]]
    heads: dict[PurePosixPath, bytes] = {}
    if wanted:
        with ThreadPoolExecutor(max_workers=PARALLEL) as pool:
            try:
                heads.update(zip(wanted, pool.map(lambda p: read_head(p, min(sizes[p], HEAD)), wanted), strict=True))
            finally:
                pool.shutdown(cancel_futures=True)
    found = (remote_record(path, sizes[path], heads.get(path, b"")) for path in sizes)
    return tuple(sorted(found, key=lambda r: str(r.path)))


def remote_record(path: PurePosixPath, size: int, head: bytes) -> FileRecord:
    """As `inventory` records a local file."""
    return record_of(path, size, head[:256])


def read_whole(source: RangeSource, record: FileRecord, limit: int) -> bytes:
    """All bytes of a small file. Raises MalformedFileError when there are more than `limit`."""
    if record.size > limit:
        raise MalformedFileError(f"{record.path}: {record.size:,} bytes, expected at most {limit:,}")
    return b"".join(source.read(at, min(_BLOCK, record.size - at)) for at in range(0, record.size, _BLOCK))


def digest_source(source: RangeSource, progress: Progress | None = None) -> Sha256:
    """SHA-256 of a file, read from start to end in blocks."""
    digest = hashlib.sha256()
    for at in range(0, source.size, _BLOCK):
        block = source.read(at, min(_BLOCK, source.size - at))
        digest.update(block)
        if progress:
            progress(len(block))
    return Sha256(digest.hexdigest())


def undeclared(record: FileRecord, place: str) -> NotMeasured:
    """Why a large remote file has no digest."""
    name = one_line(str(record.path), 120)
    return NotMeasured(
        f"{name}: {record.size:,} bytes, of which {place} states no SHA-256; --exact fetches and hashes them"
    )


def digest_all(
    files: Sequence[FileRecord], jobs: int, digest: Callable[[FileRecord], Sha256 | NotMeasured]
) -> tuple[FileRecord, ...]:
    """`files` with the digests that `digest` computes, at most `jobs` at once."""
    largest_first = sorted(files, key=lambda f: -f.size)
    with ThreadPoolExecutor(max_workers=max(1, min(jobs, PARALLEL))) as pool:
        found = dict(zip((f.path for f in largest_first), pool.map(digest, largest_first), strict=True))
    return tuple(replace(f, sha256=found[f.path]) for f in files)
