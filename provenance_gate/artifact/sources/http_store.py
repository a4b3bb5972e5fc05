"""A single file at an HTTP address."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

from provenance_gate.artifact.interface import FileRecord
from provenance_gate.artifact.ranges import RangeSource, ReadCounter
from provenance_gate.artifact.sources.coalesce import PrefetchedSource, RangeCache
from provenance_gate.artifact.sources.http import HttpClient, default_timeout, host_of
from provenance_gate.artifact.sources.http_file import HttpFile
from provenance_gate.artifact.sources.interface import Progress
from provenance_gate.artifact.sources.listing import (
    HEAD,
    digest_all,
    digest_source,
    read_whole,
    remote_path,
    remote_record,
)
from provenance_gate.errors import ArtifactError, UsageError, one_line


class HttpStore:
    """A `Store` over one weight file at ``https://`` or ``http://``. No token of the hub is sent."""

    def __init__(self, url: str, client: HttpClient | None = None) -> None:
        self.location = public_url(url)
        self.counter = ReadCounter()
        name = unquote(urlsplit(url).path).rpartition("/")[2]
        if not name:
            raise UsageError(f"{self.location}: expected the address of a weight file, not of a folder or page")
        self._path = remote_path(name, self.location)
        client = client or HttpClient(timeout=default_timeout())
        source = HttpFile(name, url, client, self.counter, size=None, probe=HEAD)
        self._source = PrefetchedSource(source, RangeCache())
        self._source.keep(0, source.first)
        self._record = remote_record(self._path, source.size, source.first)
        if self._record.format is None:
            raise ArtifactError(f"{self.location}: neither its name nor its first bytes are those of a weight file")

    @property
    def name(self) -> str:
        """Last part of the address."""
        return one_line(self._path.name)

    def files(self) -> tuple[FileRecord, ...]:
        """The one file."""
        return (self._record,)

    def read_small(self, record: FileRecord, limit: int) -> bytes:
        """The whole of the file."""
        return read_whole(self._source, record, limit)

    def open(self, record: FileRecord) -> RangeSource:
        """The file by HTTP ranges."""
        return self._source

    def digests(
        self, files: Sequence[FileRecord], jobs: int = 2, progress: Progress | None = None
    ) -> tuple[FileRecord, ...]:
        """Nobody states a digest, so the file is read whole."""
        return digest_all(files, jobs, lambda _: digest_source(self._source, progress))


def public_url(url: str) -> str:
    """An address without user, password, query and fragment: what may be shown. Raises UsageError."""
    try:
        parts = urlsplit(url)
        host = host_of(url) if parts.scheme in ("http", "https") else f"{parts.scheme}://{parts.hostname or ''}"
    except ValueError as error:
        raise UsageError(f"{one_line(repr(url), 80)}: not an address") from error
    return one_line(host + parts.path, 200)
