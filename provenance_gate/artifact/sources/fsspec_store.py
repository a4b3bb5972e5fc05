"""Object stores and other remote file systems, through fsspec."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import PurePosixPath
from threading import Lock
from typing import Any, TypeVar

from provenance_gate.artifact.interface import FileRecord, NotMeasured, Sha256
from provenance_gate.artifact.inventory import MAX_FILES
from provenance_gate.artifact.ranges import RangeSource, ReadCounter
from provenance_gate.artifact.sources.coalesce import PrefetchedSource, RangeCache
from provenance_gate.artifact.sources.fsspec_calls import SECONDS, Info, called, is_s3, is_same, read_s3, sha256_s3
from provenance_gate.artifact.sources.http_store import public_url
from provenance_gate.artifact.sources.interface import Options, Progress
from provenance_gate.artifact.sources.listing import (
    LARGEST_UNDECLARED,
    digest_all,
    digest_source,
    listed,
    read_whole,
    records,
    remote_path,
    remote_size,
    undeclared,
)
from provenance_gate.errors import ArtifactError, ChangedFileError, UnreachableError, UsageError, one_line

T = TypeVar("T")

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
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
"""Protocols whose package comes with an extra of ours."""
RECHECK = 5.0
"""Seconds after which a file's identity (entity tag, generation, time) is asked for again before it is read. Reads of S3
name the entity tag themselves, and need no such question."""


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
    UnreachableError
        No answer, now or a moment ago.
    RefusedError
        Nothing there, or no access.
    ArtifactError
        The file system fails otherwise, or lists what cannot be.
    """

    def __init__(self, url: str, options: Options | None = None) -> None:
        options = options or Options()
        self._seconds = options.timeout or SECONDS
        self.location = public_url(url)
        self.counter = ReadCounter()
        self._cache = RangeCache()
        self._fs, root = _file_system(url)
        self._root = root.rstrip("/")
        self._infos: dict[PurePosixPath, tuple[str, Info]] = {}
        self._sources: dict[PurePosixPath, PrefetchedSource] = {}
        place = "/".join(self.location.split("/")[:3])
        if options.silence.is_silent(place, self._seconds):
            raise UnreachableError(f"{self.location}: {one_line(place, 80)} gave no answer a moment ago")
        try:
            for path, full, info in self._listed():
                self._infos[path] = (full, info)
        except UnreachableError:
            options.silence.note(place, self._seconds)
            raise
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
        self, files: Sequence[FileRecord], jobs: int = 2, progress: Progress | None = None, *, whole: bool = False
    ) -> tuple[FileRecord, ...]:
        """As S3 states them for objects that were uploaded with one; others are read whole, if not too large or `whole`."""
        stated = {f.path: self._stated(f) for f in files}

        def digest(record: FileRecord) -> Sha256 | NotMeasured:
            known = stated[record.path]
            if known is not None:
                if progress:
                    progress(record.size)
                return known
            if not whole and record.size > LARGEST_UNDECLARED:
                return undeclared(record, f"{self.location.partition(':')[0]}://")
            return digest_source(self._source(record.path), progress)

        return tuple(replace(f, declared=stated[f.path] is not None) for f in digest_all(files, jobs, digest))

    def forget(self) -> None:
        """Drop what was fetched ahead."""
        self._cache.clear()

    def _stated(self, record: FileRecord) -> Sha256 | None:
        full, info = self._infos[record.path]
        etag = info.get("ETag")
        if not is_s3(self._fs) or not isinstance(etag, str):
            return None
        self.counter.add(0)
        return self._called(one_line(str(record.path)), lambda: sha256_s3(self._fs, full, etag))

    def _called(self, shown: str, call: Callable[[], T]) -> T:
        return called(shown, call, self._seconds)

    def _source(self, path: PurePosixPath) -> PrefetchedSource:
        known = self._sources.get(path)
        if known is None:
            full, info = self._infos[path]
            size = remote_size(info.get("size"), self.location, path)
            source = _FsspecFile(one_line(str(path)), self._fs, full, size, info, self.counter, self._seconds)
            known = self._sources.setdefault(path, PrefetchedSource(source, self._cache, str(path)))
        return known

    def _head(self, path: PurePosixPath, count: int) -> bytes:
        source = self._source(path)
        head = source.read(0, count)
        source.keep(0, head)
        return head

    def _listed(self) -> Iterator[tuple[PurePosixPath, str, dict[str, Any]]]:
        self.counter.add(0)
        info = self._called(self.location, lambda: self._fs.info(self._root))
        if info.get("type") == "file":
            yield remote_path(self._root.rpartition("/")[2], self.location), self._root, info
            return
        count = 0
        pending = [self._root]
        while pending:
            folder = pending.pop()
            self.counter.add(0)
            for entry in self._called(self.location, partial(self._fs.ls, folder, detail=True)):
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
    """A `RangeSource` over one file in the state that `info` tells. Thread safe."""

    def __init__(
        self, name: str, fs: Any, path: str, size: int, info: Info, counter: ReadCounter, seconds: float
    ) -> None:
        self.name, self.size = name, size
        self._fs, self._path, self._info, self._counter, self._seconds = fs, path, info, counter, seconds
        etag = info.get("ETag")
        self._etag = etag if isinstance(etag, str) and is_s3(fs) else None
        self._lock = Lock()
        self._checked = time.monotonic()

    def read(self, start: int, size: int) -> bytes:
        """Exactly `size` bytes from `start`. Raises ArtifactError, ChangedFileError."""
        if not size:
            return b""
        if start < 0 or start + size > self.size:
            raise ArtifactError(f"{self.name}: ends at byte {self.size}, expected {start + size}")
        data = called(self.name, lambda: self._get(start, size), self._seconds, size)
        if not isinstance(data, bytes) or len(data) != size:
            raise ChangedFileError(f"{self.name}: bytes {start} to {start + size} are not there any more")
        self._counter.add(size)
        return data

    def _get(self, start: int, size: int) -> Any:
        if self._etag is not None:
            return read_s3(self._fs, self._path, start, size, self._etag)
        self._check()
        return self._fs.cat_file(self._path, start=start, end=start + size)

    def _check(self) -> None:
        with self._lock:
            if time.monotonic() - self._checked < RECHECK:
                return
            self._checked = time.monotonic()
        self._fs.invalidate_cache()
        self._counter.add(0)
        if not is_same(self._info, self._fs.info(self._path)):
            raise ChangedFileError(f"{self.name}: changed while it was read")


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
        opened = file_system(**kept)
        # fsspec hands out one instance to all, with the listings of whoever asked before.
        opened.invalidate_cache()
        return opened, str(file_system._strip_protocol(url))
    except ImportError as error:
        wanted = f"'provenance-gate[{EXTRAS[protocol]}]'" if protocol in EXTRAS else PACKAGES[protocol]
        raise UsageError(f"{protocol}:// needs a package that is not installed: pip install {wanted}") from error
    except Exception as error:
        raise ArtifactError(f"{shown}: {type(error).__name__}: {one_line(str(error), 160)}") from error
