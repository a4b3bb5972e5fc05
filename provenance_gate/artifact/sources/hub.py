"""A model on the Hugging Face Hub, read by ranges at one commit.

The revision is resolved to a commit first, and every later request names that commit. huggingface_hub finds the address of
the hub and the token; what the hub's list promises of a file (size, SHA-256 of LFS files, git blob id of the others) is
compared with what arrives. Files that the hub's cache holds whole are read from there.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TypeVar
from urllib.parse import quote

from provenance_gate.artifact.interface import FileRecord, Sha256
from provenance_gate.artifact.ranges import LocalFile, RangeSource, ReadCounter
from provenance_gate.artifact.sources.coalesce import PrefetchedSource, RangeCache
from provenance_gate.artifact.sources.http import HttpClient, client_of, host_of
from provenance_gate.artifact.sources.http_file import HttpFile, Pin
from provenance_gate.artifact.sources.hub_api import HubApi, HubFile
from provenance_gate.artifact.sources.hub_cache import cached_file
from provenance_gate.artifact.sources.interface import Options, Progress
from provenance_gate.artifact.sources.listing import LARGEST_UNDECLARED, digest_source, read_whole, records, undeclared
from provenance_gate.errors import ArtifactError, ChangedFileError, UnreachableError, one_line

T = TypeVar("T")


class HubStore:
    """A `Store` over a hub repository, or a folder in it.

    Parameters
    ----------
    repo_id
        ``org/name``, or the bare name of an old repository.
    revision
        Branch, tag, pull request (``refs/pr/1``) or commit; None: the main branch.
    folder
        Only files below it; their paths are relative to it.

    Raises
    ------
    UnreachableError
        No answer of the hub, now or a moment ago.
    RefusedError
        Not found, or no access; the message says what to do.
    ArtifactError
        An answer that breaks the rules, or an id that is none.
    """

    def __init__(
        self,
        repo_id: str,
        revision: str | None = None,
        folder: str = "",
        options: Options | None = None,
        client: HttpClient | None = None,
    ) -> None:
        options = options or Options()
        self.repo_id, self.folder = repo_id, folder
        self.counter = ReadCounter()
        self._options = options
        self._client = client or client_of(options)
        self._endpoint = endpoint_of(options)
        self._cache = RangeCache()
        self._where = f"hf://{repo_id}" + (f"@{one_line(revision, 80)}" if revision else "")
        self._headers = _headers(options)
        _check_id(repo_id, self._where)
        api = HubApi(repo_id, self._endpoint, self._client, self._headers, self.counter, self._where)

        def ask() -> tuple[str, dict[PurePosixPath, HubFile]]:
            commit = api.commit(revision)
            return commit, api.files(commit, folder)

        self.commit, self._listing = self._reached(ask)
        self._sources: dict[PurePosixPath, RangeSource] = {}

    @property
    def name(self) -> str:
        """The repository's id, with the folder."""
        return f"{self.repo_id}/{self.folder}" if self.folder else self.repo_id

    @property
    def location(self) -> str:
        """``hf://org/name@<commit>``."""
        return f"hf://{self.name}@{self.commit}"

    def files(self) -> tuple[FileRecord, ...]:
        """Every file at the commit; the first bytes of each are read, and kept for the readers of headers."""
        sizes = {path: entry.size for path, entry in self._listing.items()}
        return self._reached(lambda: records(sizes, self._where, self._head))

    def read_small(self, record: FileRecord, limit: int) -> bytes:
        """The whole of a file, compared with the digest that the hub states for it."""
        data = read_whole(self._source(record.path), record, limit)
        self._check(record.path, data)
        return data

    def open(self, record: FileRecord) -> RangeSource:
        """The file by HTTP ranges, or from the hub's cache."""
        return self._source(record.path)

    def digests(
        self, files: Sequence[FileRecord], jobs: int = 2, progress: Progress | None = None, *, whole: bool = False
    ) -> tuple[FileRecord, ...]:
        """LFS files: as the hub states them. Others are read whole and compared with their git blob id."""
        return tuple(self._with_digest(f, progress, whole=whole) for f in files)

    def forget(self) -> None:
        """Drop what was fetched ahead."""
        self._cache.clear()

    def declared_sha256(self, record: FileRecord) -> Sha256 | None:
        """What the hub states, for files that it keeps in LFS."""
        return self._listing[record.path].sha256

    def _reached(self, ask: Callable[[], T]) -> T:
        """First contact: a place that gave no answer a moment ago is not waited for again."""
        silence, patience = self._options.silence, self._client.retry.total
        if silence.is_silent(self._endpoint, patience):
            raise UnreachableError(f"{self._where}: {host_of(self._endpoint)} gave no answer a moment ago")
        try:
            return ask()
        except UnreachableError:
            silence.note(self._endpoint, patience)
            raise

    def _with_digest(self, record: FileRecord, progress: Progress | None, *, whole: bool) -> FileRecord:
        declared = self._listing[record.path].sha256
        if declared is not None:
            if progress:
                progress(record.size)
            return replace(record, sha256=declared, declared=True)
        if not whole and record.size > LARGEST_UNDECLARED:
            return replace(record, sha256=undeclared(record, "the hub"))
        source = self._source(record.path)
        blob, counted = hashlib.sha1(b"blob %d\0" % record.size, usedforsecurity=False), _Also(source)
        counted.also = blob.update
        found = digest_source(counted, progress)
        self._check_blob(record.path, blob.hexdigest())
        return replace(record, sha256=found)

    def _source(self, path: PurePosixPath) -> RangeSource:
        known = self._sources.get(path)
        if known is None:
            known = self._sources.setdefault(path, self._opened(path))
        return known

    def _opened(self, path: PurePosixPath) -> RangeSource:
        entry, name = self._listing[path], one_line(str(path))
        full, content = str(self._full(path)), entry.sha256 or entry.blob
        local = cached_file(self.repo_id, self.commit, full, content, self._options.cache_dir)
        if local is not None:
            held = LocalFile(local, name, self.counter)
            if held.size == entry.size:
                return held
        url = f"{self._endpoint}/{self.repo_id}/resolve/{self.commit}/{quote(full)}"
        pin = Pin(entry.sha256, self.commit)
        remote = HttpFile(name, url, self._client, self.counter, size=entry.size, headers=self._headers, pin=pin)
        return PrefetchedSource(remote, self._cache, str(path))

    def _full(self, path: PurePosixPath) -> PurePosixPath:
        return PurePosixPath(self.folder) / path

    def _head(self, path: PurePosixPath, count: int) -> bytes:
        source = self._source(path)
        if not isinstance(source, PrefetchedSource):
            return source.read(0, min(count, 256))
        head = source.read(0, count)
        source.keep(0, head)
        return head

    def _check(self, path: PurePosixPath, data: bytes) -> None:
        declared = self._listing[path].sha256
        if declared is None:
            blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
            self._check_blob(path, blob)
        elif hashlib.sha256(data).hexdigest() != declared:
            raise ChangedFileError(f"{path}: its bytes do not have the SHA-256 that the hub states, {declared}")

    def _check_blob(self, path: PurePosixPath, found: str) -> None:
        stated = self._listing[path].blob
        if stated is not None and stated != found:
            raise ChangedFileError(f"{path}: its bytes do not have the git blob id that the hub states, {stated}")


class _Also:
    """A source whose bytes are handed to one more reader."""

    def __init__(self, source: RangeSource) -> None:
        self._source, self.name, self.size = source, source.name, source.size
        self.also: Callable[[bytes], None] = lambda _: None

    def read(self, start: int, size: int) -> bytes:
        data = self._source.read(start, size)
        self.also(data)
        return data


def _check_id(repo_id: str, where: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ArtifactError(f"{where}: not the id of a hub repository") from error


def endpoint_of(options: Options) -> str:
    """The hub's address: as given, else HF_ENDPOINT as it is now, else huggingface_hub's default."""
    from huggingface_hub import constants

    return (options.endpoint or os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")


def _headers(options: Options) -> dict[str, str]:
    from huggingface_hub.utils._headers import build_hf_headers

    return dict(build_hf_headers(token=options.token, library_name="provenance-gate"))
