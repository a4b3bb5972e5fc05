"""Positioned reads of local files: exact lengths, no mapping, and a count of what was read.

Mapping a file would count its pages as resident memory and turn a shrinking file into SIGBUS; `pread` does neither.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Protocol

from provenance_gate.errors import ArtifactError, ChangedFileError


class ReadCounter:
    """Bytes and requests of all sources that share it. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.bytes_read = 0
        self.requests = 0

    def add(self, size: int) -> None:
        """Count one read of `size` bytes."""
        with self._lock:
            self.bytes_read += size
            self.requests += 1


class RangeSource(Protocol):
    """Somewhere bytes lie. `size` is the length of the whole, `name` what messages call it."""

    @property
    def name(self) -> str: ...
    @property
    def size(self) -> int: ...
    def read(self, start: int, size: int) -> bytes:
        """Exactly `size` bytes from `start`, or an ArtifactError."""
        ...


@dataclass(frozen=True, slots=True)
class _Identity:
    device: int
    inode: int
    size: int
    modified: int

    @staticmethod
    def of(status: os.stat_result) -> _Identity:
        return _Identity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


class LocalFile:
    """A `RangeSource` over a regular file. Opened for each read: models have hundreds of shards, processes few descriptors."""

    def __init__(self, path: Path, name: str, counter: ReadCounter) -> None:
        self._path, self.name, self._counter = path, name, counter
        try:
            status = path.stat()
        except OSError as error:
            raise ArtifactError(f"{name}: {error.strerror}") from error
        if not stat.S_ISREG(status.st_mode):
            raise ArtifactError(f"{name}: not a regular file")
        self._identity = _Identity.of(status)

    @property
    def size(self) -> int:
        """Length when it was opened."""
        return self._identity.size

    def read(self, start: int, size: int) -> bytes:
        """Exactly `size` bytes from `start`.

        Raises
        ------
        ArtifactError
            The file ends before, or cannot be read.
        ChangedFileError
            It is no longer the file that was opened.
        """
        if not size:
            return b""
        try:
            # Non-blocking, so that a pipe put in the file's place cannot hold the reader.
            descriptor = os.open(self._path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        except OSError as error:
            raise ArtifactError(f"{self.name}: {error.strerror}") from error
        try:
            if _Identity.of(os.fstat(descriptor)) != self._identity:
                raise ChangedFileError(f"{self.name}: changed while it was read")
            data = _read_all(descriptor, start, size)
        except OSError as error:
            raise ArtifactError(f"{self.name}: {error.strerror}") from error
        finally:
            os.close(descriptor)
        if len(data) != size:
            raise ArtifactError(f"{self.name}: ends at byte {start + len(data)}, expected {start + size}")
        self._counter.add(size)
        return data


def _read_all(descriptor: int, start: int, size: int) -> bytes:
    data = os.pread(descriptor, size, start)
    if len(data) == size or not data:
        return data
    # Linux reads at most 2 GiB at once.
    parts = [data]
    got = len(data)
    while got < size:
        part = os.pread(descriptor, size - got, start + got)
        if not part:
            break
        parts.append(part)
        got += len(part)
    return b"".join(parts)
