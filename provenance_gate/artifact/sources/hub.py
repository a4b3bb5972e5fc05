"""A model on the Hugging Face Hub, read by ranges at one commit.

The revision is resolved to a commit first, and every later request names that commit. huggingface_hub finds the address of
the hub, the token and the list of files; what the list promises of a file (size, SHA-256 of LFS files, git blob id of the
others) is compared with what arrives. Files that the hub's cache holds whole are read from there.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from provenance_gate.artifact.interface import FileRecord, Sha256
from provenance_gate.artifact.inventory import MAX_FILES
from provenance_gate.artifact.ranges import LocalFile, RangeSource, ReadCounter
from provenance_gate.artifact.sources.coalesce import PrefetchedSource, RangeCache
from provenance_gate.artifact.sources.http import HttpClient, default_timeout, host_of, transport_errors, within
from provenance_gate.artifact.sources.http_file import AGAIN, HttpFile, Pin, refusal
from provenance_gate.artifact.sources.hub_cache import cached_file
from provenance_gate.artifact.sources.interface import Options, Progress
from provenance_gate.artifact.sources.listing import (
    digest_source,
    read_whole,
    records,
    remote_path,
    remote_size,
)
from provenance_gate.artifact.sources.retry import TransientError, seconds_of
from provenance_gate.errors import ArtifactError, ChangedFileError, MalformedFileError, one_line

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

LARGEST_UNDECLARED = 256 << 20
"""Bytes. A larger file without a digest in the hub's list is not downloaded to compute one."""
_SHA = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_BLOB = re.compile(r"[0-9a-f]{40}")
_PAGE = 1000
"""Files that the hub lists in one answer."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HubFile:
    """What the hub's list says of one file."""

    size: int
    sha256: Sha256 | None
    blob: str | None


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
    ArtifactError
        Not found, no access, unreachable, or an answer that breaks the rules; the message says what to do.
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
        self._client = client or HttpClient(timeout=default_timeout())
        self._endpoint = endpoint_of(options)
        self._cache = RangeCache()
        self._where = f"hf://{repo_id}" + (f"@{one_line(revision, 80)}" if revision else "")
        self.commit, self._listing = self._list(revision)
        self._headers = _headers(options)
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
        return records({path: entry.size for path, entry in self._listing.items()}, self._where, self._head)

    def read_small(self, record: FileRecord, limit: int) -> bytes:
        """The whole of a file, compared with the digest that the hub states for it."""
        data = read_whole(self._source(record.path), record, limit)
        self._check(record.path, data)
        return data

    def open(self, record: FileRecord) -> RangeSource:
        """The file by HTTP ranges, or from the hub's cache."""
        return self._source(record.path)

    def digests(
        self, files: Sequence[FileRecord], jobs: int = 2, progress: Progress | None = None
    ) -> tuple[FileRecord, ...]:
        """LFS files: as the hub states them. Others are read whole and compared with their git blob id."""
        return tuple(self._with_digest(f, progress) for f in files)

    def declared_sha256(self, record: FileRecord) -> Sha256 | None:
        """What the hub states, for files that it keeps in LFS."""
        return self._listing[record.path].sha256

    def _with_digest(self, record: FileRecord, progress: Progress | None) -> FileRecord:
        declared = self._listing[record.path].sha256
        if declared is not None:
            if progress:
                progress(record.size)
            return replace(record, sha256=declared, declared=True)
        if record.size > LARGEST_UNDECLARED:
            raise ArtifactError(f"{record.path}: {record.size:,} bytes, for which the hub states no SHA-256")
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
        from huggingface_hub import hf_hub_url

        url = hf_hub_url(self.repo_id, full, revision=self.commit, endpoint=self._endpoint)
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

    def _list(self, revision: str | None) -> tuple[str, dict[PurePosixPath, HubFile]]:
        from huggingface_hub import HfApi

        api = HfApi(endpoint=self._endpoint, token=self._options.token, library_name="provenance-gate")
        timeout = self._client.timeout
        # Only the commit: the rest of the answer repeats the model card, which the library would parse.
        info = self._asked(lambda: api.model_info(self.repo_id, revision=revision, expand=["sha"], timeout=timeout))
        commit = info.sha
        if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
            raise MalformedFileError(f"{self._where}: the hub tells no commit, but {one_line(repr(commit), 60)}")
        if revision is not None and _COMMIT.fullmatch(revision) and commit != revision:
            raise ChangedFileError(f"{self._where}: the hub answers for commit {commit}")
        entries = self._asked(lambda: list(islice(self._tree(api, commit), MAX_FILES + 1)))
        inside = f"{self.folder}/" if self.folder else ""
        found: dict[PurePosixPath, HubFile] = {}
        for entry in entries:
            full = str(remote_path(entry.path, self._where))
            if not full.startswith(inside):
                continue
            path = PurePosixPath(full.removeprefix(inside))
            if path in found:
                raise MalformedFileError(f"{self._where}: {path} is listed twice")
            found[path] = self._entry(entry, path)
        if len(entries) > MAX_FILES:
            raise ArtifactError(f"{self._where}: more than {MAX_FILES:,} files")
        if not found:
            raise ArtifactError(f"{self._where}: no files" + (f" below {self.folder}" if self.folder else ""))
        return commit, found

    def _tree(self, api: HfApi, commit: str) -> Iterator[RepoFile]:
        from huggingface_hub.hf_api import RepoFile

        for number, entry in enumerate(api.list_repo_tree(self.repo_id, recursive=True, revision=commit)):
            if number and not number % _PAGE:
                self.counter.add(0)
            if isinstance(entry, RepoFile):
                yield entry

    def _entry(self, entry: Any, path: PurePosixPath) -> HubFile:
        size = remote_size(entry.size, self._where, path)
        blob = entry.blob_id
        if blob is not None and (not isinstance(blob, str) or not _BLOB.fullmatch(blob)):
            raise MalformedFileError(f"{self._where}: {path}: blob id {one_line(repr(blob), 60)}")
        if entry.lfs is None:
            return HubFile(size, None, blob)
        sha256, stored = entry.lfs.sha256, entry.lfs.size
        if not isinstance(sha256, str) or not _SHA.fullmatch(sha256) or stored != size:
            raise MalformedFileError(f"{self._where}: {path}: LFS metadata without a SHA-256, or of another size")
        return HubFile(size, Sha256(sha256), None)

    def _asked(self, ask: Callable[[], T]) -> T:
        """Call huggingface_hub, retrying as file reads do, and say its errors in one line."""
        attempts = self._client.retry.begin()
        while True:
            try:
                return self._call(ask)
            except TransientError as error:
                if not attempts.again(error):
                    asked = "" if error.wait is None else f"; it asks to wait {error.wait:.0f} s"
                    raise ArtifactError(
                        f"{self._where}: {error}{asked}; given up after {attempts.made} tries"
                    ) from error

    def _call(self, ask: Callable[[], T]) -> T:
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

        host = host_of(self._endpoint)
        self.counter.add(0)
        try:
            return within(self._client.retry.total, ask)
        except HFValidationError as error:
            raise ArtifactError(f"{self._where}: not the id of a hub repository") from error
        except OfflineModeIsEnabled as error:
            raise ArtifactError(f"{self._where}: not reached: offline mode is enabled") from error
        except HfHubHTTPError as error:
            answer: Any = error.response
            status, headers = answer.status_code, {k.lower(): v for k, v in answer.headers.items()}
            if status in AGAIN:
                wait = seconds_of(headers.get("retry-after")) if status in (429, 503) else None
                raise TransientError(f"{host} answers {status}", wait) from error
            raise ArtifactError(f"{self._where}: {refusal(status, headers, host)}") from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise MalformedFileError(f"{self._where}: {host} sends an answer that is not understood") from error
        except RuntimeError as error:
            raise TransientError(f"{host}: the session was closed") from error
        except transport_errors() as error:
            raise TransientError(f"{host}: {type(error).__name__}") from error


class _Also:
    """A source whose bytes are handed to one more reader."""

    def __init__(self, source: RangeSource) -> None:
        self._source, self.name, self.size = source, source.name, source.size
        self.also: Callable[[bytes], None] = lambda _: None

    def read(self, start: int, size: int) -> bytes:
        data = self._source.read(start, size)
        self.also(data)
        return data


def endpoint_of(options: Options) -> str:
    """The hub's address: as given, else HF_ENDPOINT as it is now, else huggingface_hub's default."""
    from huggingface_hub import constants

    return (options.endpoint or os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")


def _headers(options: Options) -> dict[str, str]:
    from huggingface_hub.utils._headers import build_hf_headers

    return dict(build_hf_headers(token=options.token, library_name="provenance-gate"))
