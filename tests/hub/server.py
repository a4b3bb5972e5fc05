"""A hub on the loopback interface that the real client library talks to: API, redirects to storage, ranges, and faults.

What it answers follows the Hub's public API: model info, the paginated tree, `resolve` with the headers that
`huggingface_hub.get_hf_file_metadata` reads, X-Error-Code for refusals. Storage is a second origin (another port), with
signed addresses that can be made to expire.
"""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from .contents import Bytes, Content, Repository

TOKEN = "hf_loopback_test_token"
_STEP = 1 << 16


@dataclass(frozen=True)
class Seen:
    """One request as it arrived. `origin` is "hub" or "storage"."""

    origin: str
    method: str
    path: str
    headers: Mapping[str, str]


@dataclass
class Fault:
    """What goes wrong for the next `times` requests whose origin and path fit.

    Attributes
    ----------
    status, headers, body
        Answer this instead.
    cut
        Close the connection after so many bytes of the body.
    wait
        Seconds before the answer begins.
    drip
        Seconds between any two pieces of 1,000 bytes of the body.
    ignore_range
        Send the whole file with 200.
    change
        Edits status, headers and body of an otherwise true answer.
    """

    origin: str = "storage"
    path: str = ""
    times: int = 1
    after: int = 0
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: int | None = None
    wait: float = 0.0
    drip: float = 0.0
    ignore_range: bool = False
    change: Callable[[int, dict[str, str], bytes], tuple[int, dict[str, str], bytes]] | None = None


class LoopbackHub:
    """Repositories by id, what was asked, and what shall go wrong. `url` and `storage_url` are its two origins."""

    def __init__(self, page: int = 1000) -> None:
        self.repositories: dict[str, Repository] = {}
        self.page = page
        self.faults: list[Fault] = []
        self.seen: list[Seen] = []
        self.signature = 0
        self.bytes_sent = 0
        self._lock = Lock()
        self._connections: set[socket.socket] = set()
        self._servers = [_Server(self, origin) for origin in ("hub", "storage")]
        self.url, self.storage_url = (f"http://127.0.0.1:{s.server_address[1]}" for s in self._servers)

    def add(self, repo_id: str, repository: Repository) -> Repository:
        """Put a repository on the hub."""
        self.repositories[repo_id] = repository
        return repository

    def fail(self, **fault: Any) -> None:
        """Add a fault."""
        with self._lock:
            self.faults.append(Fault(**fault))

    def expire(self) -> None:
        """No signed address that was given out so far is good any more."""
        self.signature += 1

    def ranges(self) -> list[tuple[str, str]]:
        """Origin and Range header of all GET requests for files."""
        return [(s.origin, s.headers["range"]) for s in self.seen if "range" in s.headers]

    def note(self, seen: Seen) -> Fault | None:
        """Remember a request; the fault that it shall meet."""
        with self._lock:
            self.seen.append(seen)
            for fault in self.faults:
                if fault.origin == seen.origin and fault.path in seen.path and fault.times > 0:
                    if fault.after > 0:
                        fault.after -= 1
                        continue
                    fault.times -= 1
                    return fault
        return None

    def connected(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.add(connection)

    def sent(self, count: int) -> None:
        with self._lock:
            self.bytes_sent += count

    def start(self) -> None:
        """Serve until `stop`."""
        for server in self._servers:
            Thread(target=server.serve_forever, kwargs={"poll_interval": 0.004}, daemon=True).start()

    def stop(self) -> None:
        """Close both origins and every connection."""
        for server in self._servers:
            server.shutdown()
            server.server_close()
        with self._lock:
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
                connection.close()


@contextmanager
def loopback_hub(page: int = 1000) -> Iterator[LoopbackHub]:
    """A hub that lives as long as the block."""
    hub = LoopbackHub(page)
    hub.start()
    try:
        yield hub
    finally:
        hub.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, hub: LoopbackHub, origin: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub, self.origin = hub, origin

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.server.hub.connected(self.connection)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on stderr."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub, origin = self.server.hub, self.server.origin
        headers = {k.lower(): v for k, v in self.headers.items()}
        fault = hub.note(Seen(origin, self.command, self.path, headers)) or Fault()
        if fault.wait:
            time.sleep(fault.wait)
        if fault.status is not None:
            return self._send(fault.status, dict(fault.headers), fault.body, fault)
        parts = urlsplit(self.path)
        path, query = unquote(parts.path), {k: v[0] for k, v in parse_qs(parts.query).items()}
        if origin == "storage":
            return self._storage(path, query, fault)
        if found := re.fullmatch(r"/api/models/([^/]+(?:/[^/]+)?)/tree/([^/]+)(?:/(.*))?", self._unquoted(parts.path)):
            return self._with(found[1], found[2], lambda r, c: self._tree(r, found[1], query, fault))
        if found := re.fullmatch(
            r"/api/models/([^/]+/[^/]+?|[^/]+?)(?:/revision/([^/]+))?", self._unquoted(parts.path)
        ):
            return self._with(found[1], found[2], lambda r, c: self._info(r, found[1], c, query, fault))
        if found := re.fullmatch(r"/api/resolve-cache/models/([^/]+/[^/]+)/([^/]+)/(.*)", path):
            return self._with(found[1], found[2], lambda r, c: self._file(r, c, found[3], fault))
        if found := re.fullmatch(r"/([^/]+(?:/[^/]+)?)/resolve/([^/]+)/(.*)", self._unquoted(parts.path)):
            return self._with(found[1], found[2], lambda r, c: self._resolve(r, found[1], c, unquote(found[3]), fault))
        return self._refuse(404, "RepoNotFound")

    @staticmethod
    def _unquoted(path: str) -> str:
        """Path without escapes, except that an escaped slash stays one part."""
        return "/".join(unquote(part).replace("/", "%2F") for part in path.split("/"))

    def _with(self, repo_id: str, revision: str | None, then: Callable[[Repository, str], None]) -> None:
        repository = self.server.hub.repositories.get(repo_id)
        allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if repository is None or (repository.private and not allowed):
            return self._refuse(401 if not allowed else 404, "RepoNotFound")
        if repository.gated and not allowed and "/resolve/" in self.path:
            return self._refuse(401, "GatedRepo", "Access to this model is restricted.")
        commit = repository.at(unquote(revision or "main"))
        if commit is None:
            return self._refuse(404, "RevisionNotFound")
        return then(repository, commit)

    def _info(self, repository: Repository, repo_id: str, commit: str, query: dict[str, str], fault: Fault) -> None:
        info: dict[str, Any] = {"_id": "0" * 24, "id": repo_id, "sha": commit}
        if "expand" not in query:
            entries = (self._entry(repository, path) for path in sorted(repository.files))
            info["siblings"] = [
                {"rfilename": e["path"]}
                | (
                    {}
                    if "blobs" not in query
                    else {"size": e["size"], "blobId": e["oid"]}
                    | ({"lfs": e["lfs"] | {"sha256": e["lfs"]["oid"]}} if "lfs" in e else {})
                )
                for e in entries
            ]
            info |= {
                "modelId": repo_id,
                "private": repository.private,
                "gated": "manual" if repository.gated else False,
            }
        self._json(info, fault)

    def _tree(self, repository: Repository, repo_id: str, query: dict[str, str], fault: Fault) -> None:
        page, at = self.server.hub.page, int(query.get("cursor", "0"))
        folders = {p.rpartition("/")[0] for p in repository.files if "/" in p}
        entries: list[dict[str, Any]] = [{"type": "directory", "oid": "d" * 40, "size": 0, "path": f} for f in folders]
        entries = sorted(
            [*entries, *(self._entry(repository, p) for p in repository.files)], key=lambda e: str(e["path"])
        )
        headers = {}
        if at + page < len(entries):
            address = f"{self.server.hub.url}{urlsplit(self.path).path}?recursive=true&cursor={at + page}"
            headers["Link"] = f'<{address}>; rel="next"'
        self._json(entries[at : at + page], fault, headers)

    def _entry(self, repository: Repository, path: str) -> dict[str, Any]:
        content = repository.files[path]
        entry: dict[str, Any] = {"type": "file", "path": path, "size": content.size, "oid": _blob_id(content)}
        if path in repository.lfs:
            entry["lfs"] = {"oid": content.sha256, "size": content.size, "pointerSize": 135}
        return entry

    def _resolve(self, repository: Repository, repo_id: str, commit: str, path: str, fault: Fault) -> None:
        hub = self.server.hub
        content = repository.files.get(path)
        if content is None:
            return self._refuse(404, "EntryNotFound", commit=commit)
        headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if path not in repository.lfs:
            target = f"/api/resolve-cache/models/{repo_id}/{commit}/{quote(path)}"
            headers |= {
                "Location": target,
                "X-Linked-ETag": f'"{_blob_id(content)}"',
                "X-Linked-Size": str(content.size),
            }
            return self._send(307, headers, b"Temporary Redirect", fault)
        headers |= {
            "Location": f"{hub.storage_url}/{quote(repo_id)}/{content.sha256}?path={quote(path)}&sig={hub.signature}",
            "X-Linked-Size": str(content.size),
            "X-Linked-ETag": f'"{content.sha256}"',
        }
        return self._send(302, headers, b"Found. Redirecting", fault)

    def _file(self, repository: Repository, commit: str, path: str, fault: Fault) -> None:
        content = repository.files[path]
        self._ranged(content, f'"{_blob_id(content)}"', {"X-Repo-Commit": commit}, fault)

    def _storage(self, path: str, query: dict[str, str], fault: Fault) -> None:
        repo_id, _, sha256 = path.strip("/").rpartition("/")
        repository = self.server.hub.repositories.get(repo_id)
        if "Authorization" in self.headers:
            return self._refuse(400, "", "Only one auth mechanism allowed")
        if repository is None or query.get("sig") != str(self.server.hub.signature):
            return self._send(
                403, {"Content-Type": "application/xml"}, b"<Error><Code>AccessDenied</Code></Error>", fault
            )
        content = repository.files[query["path"]]
        return self._ranged(content, f'"{sha256}"', {"Last-Modified": formatdate(0, usegmt=True)}, fault)

    def _ranged(self, content: Content, etag: str, headers: dict[str, str], fault: Fault) -> None:
        headers |= {"ETag": etag, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        match = self.headers.get("If-Range")
        if fault.ignore_range or not found or (match is not None and match != etag):
            return self._send(200, headers, content, fault)
        start, stop = int(found[1]), min(int(found[2] or content.size - 1) + 1, content.size)
        if start >= content.size:
            return self._send(416, {"Content-Range": f"bytes */{content.size}"}, b"", fault)
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{content.size}"
        return self._send(206, headers, content.read(start, stop - start), fault)

    def _refuse(self, status: int, code: str, message: str = "", commit: str = "") -> None:
        headers = {"X-Error-Code": code} if code else {}
        headers |= {"X-Error-Message": message} if message else {}
        headers |= {"X-Repo-Commit": commit} if commit else {}
        self._send(status, headers, json.dumps({"error": message or code}).encode(), Fault())

    def _json(self, value: object, fault: Fault, headers: Mapping[str, str] | None = None) -> None:
        self._send(200, {"Content-Type": "application/json", **(headers or {})}, json.dumps(value).encode(), fault)

    def _send(self, status: int, headers: dict[str, str], body: bytes | Content, fault: Fault) -> None:
        content = Bytes(body) if isinstance(body, bytes) else body
        if fault.change is not None:
            status, headers, changed = fault.change(status, headers, content.read(0, content.size))
            content = Bytes(changed)
        self.send_response(status)
        for name, value in ({"Content-Length": str(content.size)} | headers).items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        end = content.size if fault.cut is None else fault.cut
        step = 1000 if fault.drip else _STEP
        try:
            for at in range(0, end, step):
                piece = content.read(at, min(step, end - at))
                self.wfile.write(piece)
                self.server.hub.sent(len(piece))
                if fault.drip:
                    time.sleep(fault.drip)
        except OSError:
            self.close_connection = True
        if fault.cut is not None:
            self.close_connection = True
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)


def _blob_id(content: Content) -> str:
    return content.blob_id if isinstance(content, Bytes) else content.sha256[:40]
