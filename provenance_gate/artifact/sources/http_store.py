"""A single file at an HTTP address."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import unquote, urlsplit

from provenance_gate.artifact.interface import FileRecord
from provenance_gate.artifact.ranges import RangeSource, ReadCounter
from provenance_gate.artifact.sources.coalesce import PrefetchedSource, RangeCache
from provenance_gate.artifact.sources.http import HttpClient, client_of, host_of, within
from provenance_gate.artifact.sources.http_file import HttpFile
from provenance_gate.artifact.sources.interface import Options, Progress
from provenance_gate.artifact.sources.listing import (
    HEAD,
    LARGEST_UNDECLARED,
    digest_all,
    digest_source,
    read_whole,
    remote_path,
    remote_record,
    undeclared,
)
from provenance_gate.artifact.sources.retry import TransientError
from provenance_gate.errors import ArtifactError, UnreachableError, UsageError, one_line


class HttpStore:
    """A `Store` over one weight file at ``https://`` or ``http://``. No token of the hub is sent."""

    def __init__(self, url: str, client: HttpClient | None = None, options: Options | None = None) -> None:
        self.location = public_url(url)
        self.counter = ReadCounter()
        name = unquote(urlsplit(url).path).rpartition("/")[2]
        if not name:
            raise UsageError(f"{self.location}: expected the address of a weight file, not of a folder or page")
        self._path = remote_path(name, self.location)
        options = options or Options()
        client = client or client_of(options)
        place, patience = host_of(url), client.retry.total
        if options.silence.is_silent(place, patience):
            raise UnreachableError(f"{self.location}: {place} gave no answer a moment ago")
        try:
            # Looking up the host's name has no limit of its own.
            source = within(
                patience + client.timeout, lambda: HttpFile(name, url, client, self.counter, size=None, probe=HEAD)
            )
        except (UnreachableError, TransientError) as error:
            options.silence.note(place, patience)
            raise UnreachableError(
                str(error) if isinstance(error, UnreachableError) else f"{self.location}: {error}"
            ) from error
        self._cache = RangeCache()
        self._source = PrefetchedSource(source, self._cache)
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
        self, files: Sequence[FileRecord], jobs: int = 2, progress: Progress | None = None, *, whole: bool = False
    ) -> tuple[FileRecord, ...]:
        """Nobody states a digest, so the file is read whole, if it is not too large or `whole`."""
        if not whole and self._record.size > LARGEST_UNDECLARED:
            return tuple(replace(f, sha256=undeclared(f, host_of(self.location))) for f in files)
        return digest_all(files, jobs, lambda _: digest_source(self._source, progress))

    def forget(self) -> None:
        """Drop what was fetched ahead."""
        self._cache.clear()


def public_url(url: str) -> str:
    """An address without user, password, query and fragment: what may be shown. Raises UsageError."""
    try:
        parts = urlsplit(url)
        host = host_of(url) if parts.scheme in ("http", "https") else f"{parts.scheme}://{parts.hostname or ''}"
    except ValueError as error:
        raise UsageError(f"{one_line(repr(url), 80)}: not an address") from error
    return one_line(host + parts.path, 200)
