"""A remote file by HTTP ranges (RFC 9110, section 14), pinned to one state of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock

from provenance_gate.artifact.ranges import ReadCounter
from provenance_gate.artifact.sources.http import (
    Answer,
    HttpClient,
    headers_for,
    host_of,
    next_address,
    origin_of,
)
from provenance_gate.artifact.sources.retry import TransientError, seconds_of
from provenance_gate.errors import ArtifactError, ChangedFileError, RefusedError, UnreachableError, one_line

SMALL = 1 << 20
"""Bytes. From a server without ranges, reads that end below are taken from the start of the file."""
MAX_REDIRECTS = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_EXPIRED = frozenset({400, 401, 403, 404, 410})
"""What storage answers when a signed address has run out; asked for again at the first address, once."""
_REFUSED = frozenset({401, 403, 404, 410, 451})
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)")
_HUB = {
    "GatedRepo": "access to this repository must be granted on its page first; then log in or set HF_TOKEN",
    "RepoNotFound": "no such repository, or it is private; log in or set HF_TOKEN",
    "RevisionNotFound": "no such revision",
    "EntryNotFound": "no such file at this revision",
}


@dataclass(frozen=True, slots=True)
class Pin:
    """What the hub promised. `linked` is the SHA-256 that X-Linked-Etag must repeat, `commit` that of X-Repo-Commit."""

    linked: str | None = None
    commit: str | None = None


class HttpFile:
    """A `RangeSource` over HTTP. Thread safe.

    Parameters
    ----------
    name
        What messages call the file.
    url
        Where to ask first. Redirects are followed and remembered; `headers` are sent to hosts equal to that of `url`, but
        `authorization` and `cookie` to no other.
    size
        As stated elsewhere; None: asked for with a first request for `probe` bytes.
    """

    def __init__(
        self,
        name: str,
        url: str,
        client: HttpClient,
        counter: ReadCounter,
        *,
        size: int | None,
        headers: Mapping[str, str] | None = None,
        pin: Pin | None = None,
        probe: int = 1,
    ) -> None:
        self.name = name
        self._origin, self._client, self._counter = url, client, counter
        self._headers, self._pin = dict(headers or {}), pin or Pin()
        self._lock = Lock()
        self._final: str | None = None
        self._etag: str | None = None
        self._total = size
        self.first = b"" if size is not None else self._fetch(0, probe)
        """The first bytes, when a request was needed to learn the size."""

    @property
    def size(self) -> int:
        """Length of the whole file in bytes."""
        return self._total or 0

    def read(self, start: int, size: int) -> bytes:
        """Exactly `size` bytes from `start`.

        Raises
        ------
        UnreachableError
            No whole answer after all tries.
        RefusedError
            The server has no such file, or does not give it to us.
        ArtifactError
            It does not know ranges, or answers something else than was asked.
        ChangedFileError
            Its entity tag, length or commit is another than before.
        """
        if not size:
            return b""
        if start < 0 or start + size > self.size:
            raise ArtifactError(f"{self.name}: ends at byte {self.size}, expected {start + size}")
        return self._fetch(start, size)

    def _fetch(self, start: int, size: int) -> bytes:
        attempts = self._client.retry.begin()
        while True:
            try:
                return self._once(start, size)
            except TransientError as error:
                if not attempts.again(error):
                    asked = "" if error.wait is None else f"; it asks to wait {error.wait:.0f} s"
                    tries = "1 try" if attempts.made == 1 else f"{attempts.made} tries"
                    raise UnreachableError(
                        f"{self.name}: bytes {start} to {start + size}: {error}{asked}; given up after {tries}"
                    ) from error

    def _once(self, start: int, size: int) -> bytes:
        with self._lock:
            remembered = self._final
        if remembered is not None:
            answer = self._ask(remembered, start, size)
            if answer.status not in _EXPIRED and answer.status not in REDIRECTS:
                return self._content(answer, remembered, start, size)
            with self._lock:
                self._final = None
        url = self._origin
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._ask(url, start, size)
            if answer.status not in REDIRECTS:
                data = self._content(answer, url, start, size)
                with self._lock:
                    self._final = url if url != self._origin else None
                return data
            self._check_promise(answer.headers)
            if self._pin.linked and "x-linked-etag" in answer.headers:
                # The hub itself vouches for the content, so a new address may carry another entity tag.
                with self._lock:
                    self._etag = None
            url = next_address(self.name, url, answer.headers.get("location", ""))
        raise ArtifactError(f"{self.name}: more than {MAX_REDIRECTS} redirects")

    def _ask(self, url: str, start: int, size: int) -> Answer:
        headers = headers_for(self._headers, self._origin, url)
        headers |= {"Range": f"bytes={start}-{start + size - 1}", "Accept-Encoding": "identity"}
        with self._lock:
            if self._etag is not None and not self._etag.startswith("W/"):
                headers["If-Range"] = self._etag

        def wanted(status: int, found: Mapping[str, str]) -> int:
            if status == 206:
                return size
            # A server that sends the whole file is cut off behind the bytes that were asked for.
            return start + size if status == 200 and start + size <= SMALL else 0

        answer = self._client.get(self.name, url, headers, wanted)
        self._counter.add(len(answer.body))
        return answer

    def _content(self, answer: Answer, url: str, start: int, size: int) -> bytes:
        status, headers = answer.status, answer.headers
        check_passing(status, headers, host_of(url))
        if status not in (200, 206, 416):
            raise refusal(self.name, status, headers, host_of(url))
        if headers.get("content-encoding", "identity").lower() not in ("identity", ""):
            raise ArtifactError(f"{self.name}: {host_of(url)} sends compressed bytes, which have no ranges")
        if origin_of(url) == origin_of(self._origin):
            self._check_promise(headers)
        self._check_etag(headers)
        if status == 416 and self._total is None and headers.get("content-range", "").strip() == "bytes */0":
            self._total = 0
            return b""
        if status == 416:
            raise ChangedFileError(f"{self.name}: ends before byte {start + size}, expected {self._total} bytes")
        if status == 200:
            return self._cut(answer, url, start, size)
        found = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
        if not found:
            raise ArtifactError(f"{self.name}: {host_of(url)} answers 206 without a plain Content-Range")
        first, last = int(found[1]), int(found[2])
        total = None if found[3] == "*" else int(found[3])
        size = self._check_total(total, size)
        if (first, last) != (start, start + size - 1):
            raise ArtifactError(
                f"{self.name}: {host_of(url)} sends bytes {first} to {last + 1}, not {start} to {start + size}"
            )
        if len(answer.body) < size:
            raise TransientError(f"{host_of(url)} sent {len(answer.body)} of {size} bytes")
        return answer.body[:size]

    def _check_total(self, total: int | None, size: int) -> int:
        """The number of bytes to expect: `size`, or less when the length was not known before."""
        with self._lock:
            if self._total is None:
                if total is None:
                    raise ArtifactError(f"{self.name}: the server does not tell the length of the file")
                self._total = total
                return min(size, total)
            if total is not None and total != self._total:
                raise ChangedFileError(f"{self.name}: {total} bytes, expected {self._total}")
        return size

    def _cut(self, answer: Answer, url: str, start: int, size: int) -> bytes:
        stated = answer.headers.get("content-length", "")
        length = int(stated) if stated.isascii() and stated.isdigit() and len(stated) < 20 else None
        if length is None:
            raise ArtifactError(f"{self.name}: {host_of(url)} ignores ranges and tells no length")
        size = self._check_total(length, size)
        if start + size > SMALL:
            raise ArtifactError(f"{self.name}: {host_of(url)} ignores ranges; the file cannot be read in parts")
        if len(answer.body) < start + size:
            raise TransientError(f"{host_of(url)} sent {len(answer.body)} of {start + size} bytes")
        return answer.body[start : start + size]

    def _check_promise(self, headers: Mapping[str, str]) -> None:
        """Compare what the hub says of the file now with what its listing said."""
        commit, linked = headers.get("x-repo-commit"), headers.get("x-linked-etag")
        if commit and self._pin.commit and commit != self._pin.commit:
            raise ChangedFileError(f"{self.name}: of commit {one_line(commit, 48)}, expected {self._pin.commit}")
        if linked and self._pin.linked and plain_etag(linked) != self._pin.linked:
            raise ChangedFileError(
                f"{self.name}: the hub now states SHA-256 {one_line(plain_etag(linked), 72)}, expected {self._pin.linked}"
            )

    def _check_etag(self, headers: Mapping[str, str]) -> None:
        etag = headers.get("etag", "").strip()
        if not etag or len(etag) > 1024:
            return
        with self._lock:
            if self._etag is None:
                self._etag = etag
            elif plain_etag(etag) != plain_etag(self._etag):
                raise ChangedFileError(
                    f"{self.name}: changed while it was read: entity tag {one_line(etag, 80)}, "
                    f"before {one_line(self._etag, 80)}"
                )


def plain_etag(etag: str) -> str:
    """An entity tag without the mark of weakness and without quotes."""
    return etag.strip().removeprefix("W/").strip('"')


def check_passing(status: int, headers: Mapping[str, str], host: str) -> None:
    """Raises TransientError for an answer that may be another one later."""
    if status in (408, 425, 429) or 500 <= status < 600:
        wait = seconds_of(headers.get("retry-after")) if status in (429, 503) else None
        raise TransientError(f"{host} answers {status}", wait)


def refusal(name: str, status: int, headers: Mapping[str, str], host: str) -> ArtifactError:
    """One line about an answer that no retry will change."""
    code = headers.get("x-error-code", "")
    text = one_line(headers.get("x-error-message", ""), 160)
    hint = "; log in or set HF_TOKEN" if status in (401, 403) and not text else ""
    said = _HUB.get(code, text)
    error = RefusedError if status in _REFUSED else ArtifactError
    return error(f"{name}: {host} answers {status}" + (f": {said}" if said else hint))
