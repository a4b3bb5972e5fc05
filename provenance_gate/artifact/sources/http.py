"""One HTTP exchange at a time, bounded in bytes and seconds, over the session that huggingface_hub sets up.

Its session honors proxies, certificates and `set_client_factory`. Which library is behind it depends on its version
(requests before 1.0, httpx since), so this file is the only one that knows the difference. Redirects are not followed here:
who follows them decides which headers the next host may see.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.client import HTTPException
from queue import Empty, Queue
from threading import BoundedSemaphore, Thread
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

from provenance_gate.artifact.sources.interface import Options
from provenance_gate.artifact.sources.retry import Retry, TransientError
from provenance_gate.errors import ArtifactError, UnreachableError, one_line

T = TypeVar("T")

CONNECTIONS = 8
WITHIN = "provenance-gate within a time"
"""Name of the threads of `within`."""
SLOWEST = 32 << 10
"""Bytes per second. Slower servers are given up, however steadily they drip."""
_CHUNK = 64 << 10
_CLIENTS = (("httpx2", "HTTPError"), ("httpx", "HTTPError"), ("urllib3.exceptions", "HTTPError"))


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers (lower-case names) and at most as much of the body as was wanted."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class HttpClient:
    """Bounded GET requests, from several threads.

    Attributes
    ----------
    timeout
        Seconds to wait for a connection, or for the next bytes. A whole answer gets that and its size over `SLOWEST`.
    session
        A requests.Session or httpx.Client; by default that of huggingface_hub, asked for before each request.
    """

    retry: Retry = field(default_factory=Retry)
    timeout: float = 10.0
    session: Any = None
    _slots: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(CONNECTIONS))

    def get(
        self,
        name: str,
        url: str,
        headers: Mapping[str, str],
        wanted: Callable[[int, Mapping[str, str]], int],
        seconds: float | None = None,
    ) -> Answer:
        """One request, no redirect followed.

        Parameters
        ----------
        name
            What messages call the file.
        wanted
            From status and headers the number of bytes of the body to read. The connection is cut behind them.
        seconds
            For the whole answer, give or take one `timeout`; None: `timeout`, and its size over `SLOWEST`.

        Raises
        ------
        TransientError
            No connection, a cut or a stalled one.
        UnreachableError
            Offline mode.
        ArtifactError
            An address that the client refuses.
        """
        session = self.session or _session()
        clock = self.retry.clock
        with self._slots:
            began = clock()
            with _errors(name, url), _opened(session, url, headers, self.timeout) as (status, found, chunks):
                limit = wanted(status, found)
                body = bytearray()
                deadline = began + (self.timeout + limit / SLOWEST if seconds is None else seconds)
                if limit:
                    for chunk in chunks:
                        body += chunk[: limit - len(body)]
                        if len(body) >= limit:
                            break
                        if clock() > deadline:
                            raise TransientError(f"{len(body):,} of {limit:,} bytes in {clock() - began:.0f} s")
                return Answer(status, found, bytes(body))


def client_of(options: Options) -> HttpClient:
    """A client as patient as `options` say."""
    retry = Retry()
    if options.tries is not None:
        retry = replace(retry, tries=options.tries)
    if options.timeout is not None:
        retry = replace(retry, total=options.timeout)
    return HttpClient(retry, options.timeout or default_timeout())


def _session() -> Any:
    from huggingface_hub import get_session

    return get_session()


def within(seconds: float, call: Callable[[], T]) -> T:
    """What `call` returns or raises; TransientError when it takes longer. It goes on in the background then.

    For calls into the library, which has no limit of its own on slow answers.
    """
    done: Queue[T | BaseException] = Queue(1)
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.put(call())
        except BaseException as error:  # noqa: BLE001  handed to the caller's thread
            failed.append(error)
            done.put(error)

    Thread(target=run, name=WITHIN, daemon=True).start()
    try:
        result = done.get(timeout=seconds)
    except Empty:
        raise TransientError(f"no answer within {seconds:.0f} s") from None
    if failed:
        raise failed[0]
    return result  # type: ignore[return-value]


def default_timeout() -> float:
    """Seconds; HF_HUB_DOWNLOAD_TIMEOUT."""
    from huggingface_hub import constants

    return float(constants.HF_HUB_DOWNLOAD_TIMEOUT)


def origin_of(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port (RFC 6454): equal for addresses that may see the same secrets. Raises ValueError."""
    parts = urlsplit(url)
    default = {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname or "", default if parts.port is None else parts.port


def headers_for(headers: Mapping[str, str], first: str, url: str) -> dict[str, str]:
    """`headers` meant for the host of `first`, as they may be sent to `url`: to another host no secrets."""
    same = origin_of(url) == origin_of(first)
    return {k: v for k, v in headers.items() if same or k.lower() not in ("authorization", "cookie")}


def next_address(name: str, url: str, location: str) -> str:
    """The absolute address that `url` leads to. Raises ArtifactError for anything but a plain one, and without encryption."""
    if not location or len(location) > 16384:
        raise ArtifactError(f"{name}: {host_of(url)} redirects without a usable Location")
    try:
        target = urljoin(url, location)
        parts = urlsplit(target)
        origin_of(target)
    except ValueError:
        parts = None
    # Parsers disagree about such addresses, and the token depends on who the host is.
    if parts is None or "@" in parts.netloc or "\\" in target or not target.isprintable() or " " in target:
        raise ArtifactError(f"{name}: {host_of(url)} redirects to no plain address")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ArtifactError(f"{name}: {host_of(url)} redirects to {host_of(target)}, not an HTTP address")
    if parts.scheme == "http" and urlsplit(url).scheme == "https":
        raise ArtifactError(f"{name}: {host_of(url)} redirects to {host_of(target)}, without encryption")
    return target


def host_of(url: str) -> str:
    """Scheme, host and port for messages; nothing that can hold a secret."""
    try:
        scheme, host, port = origin_of(url)
    except ValueError:
        return "?"
    standard = {"http": 80, "https": 443}.get(scheme)
    return one_line(f"{scheme}://{host}" + (f":{port}" if port not in (None, standard) else ""), 120)


@contextmanager
def _errors(name: str, url: str) -> Iterator[None]:
    from huggingface_hub.errors import OfflineModeIsEnabled

    try:
        yield
    except OfflineModeIsEnabled as error:
        raise UnreachableError(f"{name}: {host_of(url)} is not reached: offline mode is enabled") from error
    except transport_errors() as error:
        # The text of client errors may hold the whole address, signature included.
        raise TransientError(f"{host_of(url)}: {type(error).__name__}") from error
    except RuntimeError as error:
        # huggingface_hub closes the session that all share when any of its own calls finds no connection.
        raise TransientError(f"{host_of(url)}: the session was closed") from error
    except (UnicodeError, ValueError) as error:
        raise ArtifactError(
            f"{name}: {host_of(url)}: {type(error).__name__} in its address or in its answer"
        ) from error


def transport_errors() -> tuple[type[Exception], ...]:
    """What the loaded HTTP libraries raise when a connection fails. Those of requests are OSErrors."""
    found: list[type[Exception]] = [OSError, HTTPException]
    for module, name in _CLIENTS:
        loaded = sys.modules.get(module)
        if loaded is not None:
            found.append(getattr(loaded, name))
    return tuple(found)


@contextmanager
def _opened(
    session: Any, url: str, headers: Mapping[str, str], timeout: float
) -> Iterator[tuple[int, dict[str, str], Iterator[bytes]]]:
    """Status, headers and chunks as they arrive, not decompressed. Leaving early closes the connection."""
    if callable(getattr(session, "stream", None)):
        with session.stream("GET", url, headers=dict(headers), timeout=timeout, follow_redirects=False) as response:
            yield response.status_code, _lowered(response.headers), response.iter_raw()
        return
    response = session.get(url, headers=dict(headers), timeout=timeout, allow_redirects=False, stream=True)
    with response:
        yield response.status_code, _lowered(response.headers), _chunks(response.raw)


def _lowered(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _chunks(raw: Any) -> Iterator[bytes]:
    # `read1` returns what has arrived; `read` waits for all of it.
    read = getattr(raw, "read1", raw.read)
    while chunk := read(_CHUNK):
        yield chunk
