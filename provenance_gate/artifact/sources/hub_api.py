"""What the hub's API tells of a model: the commit behind a revision, and the files at it.

huggingface_hub's own client reads answers of any length and follows pages without end. Here each answer is bounded in bytes and
seconds, the list in pages, and the token stays with the host that it is for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import quote

from provenance_gate.artifact.interface import Sha256
from provenance_gate.artifact.inventory import MAX_FILES
from provenance_gate.artifact.jsonfile import kind_of, load_json
from provenance_gate.artifact.ranges import ReadCounter
from provenance_gate.artifact.sources.http import Answer, HttpClient, headers_for, host_of, next_address, within
from provenance_gate.artifact.sources.http_file import MAX_REDIRECTS, REDIRECTS, check_passing, refusal
from provenance_gate.artifact.sources.listing import remote_path, remote_size
from provenance_gate.artifact.sources.retry import TransientError
from provenance_gate.errors import ArtifactError, ChangedFileError, MalformedFileError, UnreachableError, one_line

LONGEST = 4 << 20
"""Bytes of one answer. A page of 1,000 files takes about 300 kB."""
LISTING = 120.0
"""Seconds for all pages."""
_SHA = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_BLOB = re.compile(r"[0-9a-f]{40}")
_NEXT = re.compile(r'<([^<>]{1,4096})>\s*;\s*rel="?next"?')


@dataclass(frozen=True, slots=True)
class HubFile:
    """What the hub's list says of one file."""

    size: int
    sha256: Sha256 | None
    blob: str | None


@dataclass(frozen=True, slots=True)
class HubApi:
    """Questions about one repository.

    Attributes
    ----------
    endpoint
        Address of the hub, without a slash at its end.
    headers
        Sent to the host of `endpoint`; the token to no other.
    where
        What messages call the repository.
    """

    repo_id: str
    endpoint: str
    client: HttpClient
    headers: Mapping[str, str]
    counter: ReadCounter
    where: str

    def commit(self, revision: str | None) -> str:
        """The commit behind a revision; None: of the main branch.

        Raises
        ------
        UnreachableError
            No answer within the client's patience, tries included.
        RefusedError
            No such repository or revision, or no access.
        ArtifactError
            Any other answer, a commit that is none, or another one than the one asked for.
        """
        # Only the commit: the rest of the answer repeats the model card.
        at = f"/revision/{quote(revision, safe='')}" if revision else ""
        _, info = self._asked(f"{self._address()}{at}?expand=sha", first=True)
        commit = info.get("sha") if isinstance(info, dict) else None
        if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
            raise MalformedFileError(f"{self.where}: the hub tells no commit, but {one_line(repr(commit), 60)}")
        if revision is not None and _COMMIT.fullmatch(revision) and commit != revision:
            raise ChangedFileError(f"{self.where}: the hub answers for commit {commit}")
        return commit

    def files(self, commit: str, folder: str = "") -> dict[PurePosixPath, HubFile]:
        """The files at a commit below `folder`, their paths relative to it. Raises as `commit` does, and PathEscapeError."""
        inside = f"{folder}/" if folder else ""
        found: dict[PurePosixPath, HubFile] = {}
        url: str | None = f"{self._address()}/tree/{quote(commit, safe='')}?recursive=true&expand=false"
        clock = self.client.retry.clock
        began, count = clock(), 0
        while url is not None:
            answer, page = self._asked(url)
            if not isinstance(page, list):
                raise MalformedFileError(f"{self.where}: the hub lists no files, but {kind_of(page)}")
            count += len(page)
            if count > 2 * MAX_FILES:
                raise ArtifactError(f"{self.where}: more than {2 * MAX_FILES:,} files and folders")
            for entry in page:
                self._take(entry, inside, found)
            if len(found) > MAX_FILES:
                raise ArtifactError(f"{self.where}: more than {MAX_FILES:,} files")
            url = self._next(answer, url)
            if url is not None and not page:
                raise MalformedFileError(f"{self.where}: the hub lists an empty page and promises more")
            if url is not None and clock() - began > LISTING:
                raise UnreachableError(f"{self.where}: the list of its files takes more than {LISTING:.0f} s")
        if not found:
            raise ArtifactError(f"{self.where}: no files" + (f" below {one_line(folder, 80)}" if folder else ""))
        return found

    def _address(self) -> str:
        return f"{self.endpoint}/api/models/{quote(self.repo_id, safe='/')}"

    def _next(self, answer: Answer, url: str) -> str | None:
        found = _NEXT.search(answer.headers.get("link", "")[:16384])
        return next_address(self.where, url, found[1]) if found else None

    def _take(self, entry: object, inside: str, found: dict[PurePosixPath, HubFile]) -> None:
        if not isinstance(entry, dict):
            raise MalformedFileError(f"{self.where}: the hub lists {kind_of(entry)}, expected a file")
        if entry.get("type") == "directory":
            return
        full = str(remote_path(entry.get("path"), self.where))
        if not full.startswith(inside):
            return
        path = PurePosixPath(full.removeprefix(inside))
        if path in found:
            raise MalformedFileError(f"{self.where}: {path} is listed twice")
        found[path] = self._file(entry, path)

    def _file(self, entry: Mapping[str, object], path: PurePosixPath) -> HubFile:
        size = remote_size(entry.get("size"), self.where, path)
        blob, lfs = entry.get("oid"), entry.get("lfs")
        if blob is not None and (not isinstance(blob, str) or not _BLOB.fullmatch(blob)):
            raise MalformedFileError(f"{self.where}: {path}: blob id {one_line(repr(blob), 60)}")
        if lfs is None:
            return HubFile(size, None, blob)
        sha256, stored = (lfs.get("oid"), lfs.get("size")) if isinstance(lfs, dict) else (None, None)
        if not isinstance(sha256, str) or not _SHA.fullmatch(sha256) or stored != size:
            raise MalformedFileError(f"{self.where}: {path}: LFS metadata without a SHA-256, or of another size")
        return HubFile(size, Sha256(sha256), None)

    def _asked(self, url: str, *, first: bool = False) -> tuple[Answer, object]:
        """Answer and its JSON, after as many tries as it takes.

        `first`: nobody has answered yet, so what has no limit of its own (looking up the host's name) gets one.
        """
        attempts = self.client.retry.begin()
        while True:
            try:
                answer = within(max(0.1, attempts.left), lambda: self._once(url)) if first else self._once(url)
            except TransientError as error:
                if attempts.again(error):
                    continue
                asked = "" if error.wait is None else f"; it asks to wait {error.wait:.0f} s"
                tries = "1 try" if attempts.made == 1 else f"{attempts.made} tries"
                raise UnreachableError(f"{self.where}: {error}{asked}; given up after {tries}") from error
            return answer, load_json(answer.body, f"{self.where}: answer of {host_of(url)}")

    def _once(self, url: str) -> Answer:
        for _ in range(MAX_REDIRECTS + 1):
            headers = headers_for(self.headers, self.endpoint, url) | {"Accept-Encoding": "identity"}
            self.counter.add(0)
            answer = self.client.get(self.where, url, headers, _wanted, self.client.retry.total)
            if answer.status not in REDIRECTS:
                return self._checked(answer, url)
            url = next_address(self.where, url, answer.headers.get("location", ""))
        raise ArtifactError(f"{self.where}: more than {MAX_REDIRECTS} redirects")

    def _checked(self, answer: Answer, url: str) -> Answer:
        status, headers, host = answer.status, answer.headers, host_of(url)
        check_passing(status, headers, host)
        if status != 200:
            raise refusal(self.where, status, headers, host)
        if headers.get("content-encoding", "identity").lower() not in ("identity", ""):
            raise ArtifactError(f"{self.where}: {host} sends a compressed answer, which was not asked for")
        length = _stated(headers)
        if len(answer.body) > LONGEST or (length or 0) > LONGEST:
            raise ArtifactError(f"{self.where}: {host} answers more than {LONGEST:,} bytes")
        if length is not None and len(answer.body) < length:
            raise TransientError(f"{host} sent {len(answer.body)} of {length} bytes")
        return answer


def _wanted(status: int, headers: Mapping[str, str]) -> int:
    # A longer one is refused by what it states, before any of it is taken.
    return LONGEST + 1 if status == 200 and (_stated(headers) or 0) <= LONGEST else 0


def _stated(headers: Mapping[str, str]) -> int | None:
    stated = headers.get("content-length", "")
    return int(stated) if stated.isascii() and stated.isdigit() and len(stated) < 20 else None
