"""Object stores and other remote file systems, through fsspec."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from threading import Lock
from typing import Any

from provenance_gate.artifact.interface import FileRecord
from provenance_gate.artifact.inventory import MAX_FILES
from provenance_gate.artifact.ranges import RangeSource, ReadCounter
from provenance_gate.artifact.sources.coalesce import PrefetchedSource, RangeCache
from provenance_gate.artifact.sources.http_store import public_url
from provenance_gate.artifact.sources.interface import Progress
from provenance_gate.artifact.sources.listing import (
    digest_all,
    digest_source,
    listed,
    read_whole,
    records,
    remote_path,
    remote_size,
)
from provenance_gate.errors import ArtifactError, ChangedFileError, UsageError, one_line

PACKAGES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "oss": "ossfs",
    "oci": "ocifs",
    "webdav": "webdav4",
    "webhdfs": "requests",
    "hdfs": "pyarrow",
    "sftp": "paramiko",
    "ssh": "paramiko",
    "smb": "smbprotocol",
    "ftp": None,
    "memory": None,
}
"""Protocols that only move bytes, and the package that each needs. fsspec knows others that unpack archives, follow
references written inside a file, or read local files under another name: a hostile model could use those."""
RECHECK = 5.0
"""Seconds after which a file's identity (entity tag, generation, time) is asked for again before it is read."""
_IDENTITY = ("ETag", "etag", "generation", "VersionId", "LastModified", "last_modified", "mtime", "updated", "created")


class FsspecStore:
    """A `Store` over a folder or file of a remote file system.

    Parameters
    ----------
    url
        ``s3://bucket/folder``, ``gs://bucket/model.safetensors`` ... Credentials come from the environment, as fsspec's
        file systems find them.

    Raises
    ------
    UsageError
        A protocol that is not supported, chained URLs, or a missing package.
    ArtifactError
        Nothing there, or the file system fails.
    """

    def __init__(self, url: str) -> None:
        self.location = public_url(url)
        self.counter = ReadCounter()
        self._cache = RangeCache()
        self._fs, root = _file_system(url)
        self._root = root.rstrip("/")
        self._infos: dict[PurePosixPath, tuple[str, dict[str, Any]]] = {}
        self._sources: dict[PurePosixPath, PrefetchedSource] = {}
        for path, full, info in self._listed():
            self._infos[path] = (full, info)
        if not self._infos:
            raise ArtifactError(f"{self.location}: no files")

    @property
    def name(self) -> str:
        """Last part of the address."""
        return one_line(self._root.rpartition("/")[2]) or "model"

    def files(self) -> tuple[FileRecord, ...]:
        """Every file below; the first bytes of each are read."""
        sizes = {p: remote_size(info.get("size"), self.location, p) for p, (_, info) in self._infos.items()}
        return records(listed(sizes.items(), self.location), self.location, self._head)

    def read_small(self, record: FileRecord, limit: int) -> bytes:
        """The whole of a file."""
        return read_whole(self._source(record.path), record, limit)

    def open(self, record: FileRecord) -> RangeSource:
        """The file by ranges."""
        return self._source(record.path)

    def digests(
        self, files: Sequence[FileRecord], jobs: int = 2, progress: Progress | None = None
    ) -> tuple[FileRecord, ...]:
        """Object stores state no SHA-256 of the content, so every file is read whole."""
        return digest_all(files, jobs, lambda f: digest_source(self._source(f.path), progress))

    def _source(self, path: PurePosixPath) -> PrefetchedSource:
        known = self._sources.get(path)
        if known is None:
            full, info = self._infos[path]
            size = remote_size(info.get("size"), self.location, path)
            source = _FsspecFile(one_line(str(path)), self._fs, full, size, _identity(info), self.counter)
            known = self._sources.setdefault(path, PrefetchedSource(source, self._cache, str(path)))
        return known

    def _head(self, path: PurePosixPath, count: int) -> bytes:
        source = self._source(path)
        head = source.read(0, count)
        source.keep(0, head)
        return head

    def _listed(self) -> Iterator[tuple[PurePosixPath, str, dict[str, Any]]]:
        self.counter.add(0)
        info = _call(self.location, lambda: self._fs.info(self._root))
        if info.get("type") == "file":
            yield remote_path(self._root.rpartition("/")[2], self.location), self._root, info
            return
        count = 0
        pending = [self._root]
        while pending:
            folder = pending.pop()
            self.counter.add(0)
            for entry in _call(self.location, lambda at=folder: self._fs.ls(at, detail=True)):
                full = str(entry.get("name", "")).rstrip("/")
                if full in (self._root, folder):
                    continue
                if not full.startswith(f"{folder}/"):
                    raise ArtifactError(f"{self.location}: lists {one_line(repr(full), 120)}, which is not below it")
                path = remote_path(full.removeprefix(f"{self._root}/"), self.location)
                count += 1
                if count > MAX_FILES:
                    raise ArtifactError(f"{self.location}: more than {MAX_FILES:,} files")
                if entry.get("type") == "directory":
                    pending.append(full)
                else:
                    yield path, full, entry


class _FsspecFile:
    """A `RangeSource` over one file. Its identity is compared when it is opened, and again every `RECHECK` seconds."""

    def __init__(self, name: str, fs: Any, path: str, size: int, identity: object, counter: ReadCounter) -> None:
        self.name, self.size = name, size
        self._fs, self._path, self._identity, self._counter = fs, path, identity, counter
        self._lock = Lock()
        self._checked = time.monotonic()

    def read(self, start: int, size: int) -> bytes:
        """Exactly `size` bytes from `start`. Raises ArtifactError, ChangedFileError."""
        if not size:
            return b""
        if start < 0 or start + size > self.size:
            raise ArtifactError(f"{self.name}: ends at byte {self.size}, expected {start + size}")
        self._check()
        data = _call(self.name, lambda: self._fs.cat_file(self._path, start=start, end=start + size))
        if not isinstance(data, bytes) or len(data) != size:
            raise ChangedFileError(f"{self.name}: bytes {start} to {start + size} are not there any more")
        self._counter.add(size)
        return data

    def _check(self) -> None:
        with self._lock:
            if time.monotonic() - self._checked < RECHECK:
                return
            self._checked = time.monotonic()
        self._fs.invalidate_cache()
        self._counter.add(0)
        info = _call(self.name, lambda: self._fs.info(self._path))
        if info.get("size") != self.size or _identity(info) != self._identity:
            raise ChangedFileError(f"{self.name}: changed while it was read")


def _identity(info: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(info.get(key)) for key in _IDENTITY)


def _file_system(url: str) -> tuple[Any, str]:
    protocol, mark, rest = url.partition("://")
    shown = public_url(url)
    if "::" in url or not mark or not rest:
        raise UsageError(f"{shown}: expected one address, not a chain of them")
    if protocol not in PACKAGES:
        known = ", ".join(f"{p}://" for p in ("hf", "https", "http", *PACKAGES))
        raise UsageError(f"{protocol}:// cannot be read; expected a local path or one of {known}")
    import fsspec  # type: ignore[import-untyped]

    try:
        file_system: Any = fsspec.get_filesystem_class(protocol)
        kept: dict[str, Any] = file_system._get_kwargs_from_urls(url)
        return file_system(**kept), str(file_system._strip_protocol(url))
    except ImportError as error:
        raise UsageError(
            f"{protocol}:// needs a package that is not installed: pip install {PACKAGES[protocol]}"
        ) from error
    except Exception as error:
        raise ArtifactError(f"{shown}: {type(error).__name__}: {one_line(str(error), 160)}") from error


def _call(shown: str, call: Any) -> Any:
    """Run a call into a file system; its libraries have no common base of errors."""
    try:
        return call()
    except FileNotFoundError as error:
        raise ArtifactError(f"{shown}: no such file or folder") from error
    except Exception as error:
        raise ArtifactError(f"{shown}: {type(error).__name__}: {one_line(str(error), 160)}") from error
