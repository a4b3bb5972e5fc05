"""Where a registry lies: bytes by relative name, from a local folder, an HTTP address, the hub, or a remote file system.

Nothing is read before it is asked for, nothing larger than the caller's limit, and only names that cannot lead out of the place.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Protocol, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

from provenance_gate.artifact.interface import FileKind, FileRecord, NotMeasured
from provenance_gate.artifact.ranges import ReadCounter
from provenance_gate.artifact.sources.interface import Options, Store
from provenance_gate.errors import ArtifactError, RegistryError, one_line

T = TypeVar("T")

_NAME = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._+-]*/){0,2}[A-Za-z0-9][A-Za-z0-9._+-]*")
_FIRST = 1 << 20
"""Bytes asked for before the length of a file is known: most files of a registry come with one request."""


class Place(Protocol):
    """Read access to the files of one registry."""

    @property
    def location(self) -> str:
        """What messages and reports call it; free of secrets."""
        ...

    @property
    def folder(self) -> Path | None:
        """The local folder, None when it is remote and cannot be listed."""
        ...

    def read(self, name: str, limit: int) -> bytes:
        """The whole of a file. Raises RegistryError when it is missing, unreadable or larger than `limit` bytes."""
        ...


def open_place(location: str, options: Options | None = None) -> Place:
    """The place that a path or URL names; nothing is read yet. A remote one is read-only."""
    scheme, mark, _ = location.partition("://")
    if not mark:
        return LocalPlace(Path(location))
    options = options or Options()
    if scheme in ("http", "https"):
        return HttpPlace(location, options)
    return StorePlace(location, options)


class LocalPlace:
    """A folder on disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.location = one_line(str(folder))

    @property
    def folder(self) -> Path | None:
        """The folder."""
        return self._folder

    def read(self, name: str, limit: int) -> bytes:
        """See `Place`. Links are followed: a folder that somebody names as registry is trusted to point where it wants."""
        checked_name(name, self.location)
        return read_regular(self._folder / name, f"{self.location}: {name}", limit)


class HttpPlace:
    """A folder behind ``https://`` or ``http://``; a query (a signature, say) goes with every request, a token with none."""

    def __init__(self, url: str, options: Options) -> None:
        from provenance_gate.artifact.sources.http_store import public_url

        self.location = public_url(url)
        self.folder = None
        self._url, self._options = url, options

    def read(self, name: str, limit: int) -> bytes:
        """See `Place`."""
        checked_name(name, self.location)
        return _reached(self.location, lambda: self._read(name, limit))

    def _read(self, name: str, limit: int) -> bytes:
        from provenance_gate.artifact.sources.http import client_of
        from provenance_gate.artifact.sources.http_file import HttpFile
        from provenance_gate.artifact.sources.hub_cache import is_offline

        if is_offline(self._options.offline):
            raise RegistryError(f"{self.location}: {name}: not reached: offline mode is enabled")
        parts = urlsplit(self._url)
        url = urlunsplit((parts.scheme, parts.netloc, f"{parts.path.rstrip('/')}/{quote(name)}", parts.query, ""))
        file = HttpFile(name, url, client_of(self._options), ReadCounter(), size=None, probe=min(_FIRST, limit + 1))
        _check_size(file.size, limit, f"{self.location}: {name}")
        return file.first if len(file.first) == file.size else file.read(0, file.size)


class StorePlace:
    """A folder on the hub, pinned to the commit of the first read, or on a file system of fsspec."""

    def __init__(self, url: str, options: Options) -> None:
        from provenance_gate.artifact.sources.http_store import public_url

        self.location = one_line(url) if url.startswith("hf://") else public_url(url)
        self.folder = None
        self._url, self._options = url, options
        self._hub: Store | None = None

    def read(self, name: str, limit: int) -> bytes:
        """See `Place`."""
        checked_name(name, self.location)
        return _reached(self.location, lambda: self._read(name, limit))

    def _read(self, name: str, limit: int) -> bytes:
        where = f"{self.location}: {name}"
        if self._url.startswith("hf://"):
            return self._read_hub(name, limit, where)
        from provenance_gate.artifact.sources import open_store

        store = open_store(f"{self._url.rstrip('/')}/{name}", self._options)
        files = store.files()
        if len(files) != 1 or str(files[0].path) != PurePosixPath(name).name:
            raise RegistryError(f"{where}: expected a file")
        _check_size(files[0].size, limit, where)
        return store.read_small(files[0], limit)

    def _read_hub(self, name: str, limit: int, where: str) -> bytes:
        from provenance_gate.artifact.sources import open_hub

        if self._hub is None:
            self._hub = open_hub(self._url, self._options)
        absent = NotMeasured("not asked for")
        try:
            source = self._hub.open(FileRecord(PurePosixPath(name), 0, FileKind.OTHER, None, absent))
        except KeyError:
            raise RegistryError(f"{where}: no such file") from None
        _check_size(source.size, limit, where)
        return source.read(0, source.size)


def checked_name(name: str, location: str) -> str:
    """`name` when it is a plain relative one. Raises RegistryError."""
    if not _NAME.fullmatch(name) or len(name) > 200:
        raise RegistryError(f"{location}: {one_line(repr(name), 120)} is not the name of a file of a registry")
    return name


def read_regular(path: Path, where: str, limit: int) -> bytes:
    """A regular file of at most `limit` bytes. Raises RegistryError that starts with `where`."""
    try:
        # Non-blocking: a named pipe would otherwise hold the reader for ever.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except (OSError, ValueError) as error:
        raise RegistryError(f"{where}: {getattr(error, 'strerror', None) or 'no such file'}") from error
    try:
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise RegistryError(f"{where}: expected a file of at most {limit:,} bytes, found no regular file")
            _check_size(status.st_size, limit, where)
            data = file.read(limit + 1)
    except OSError as error:
        raise RegistryError(f"{where}: {error.strerror}") from error
    _check_size(len(data), limit, where)
    return data


def _check_size(size: int, limit: int, where: str) -> None:
    if size > limit:
        raise RegistryError(f"{where}: {size:,} bytes, expected a file of at most {limit:,} bytes")


def _reached(location: str, read: Callable[[], T]) -> T:
    try:
        return read()
    except ArtifactError as error:
        raise RegistryError(f"{location}: {error}") from error
