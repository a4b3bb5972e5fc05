"""Ranges over HTTP: exact bytes or one clear error, from servers that stumble, lie, or change the file meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import get_session

from provenance_gate.artifact.ranges import ReadCounter
from provenance_gate.artifact.sources.http import HttpClient
from provenance_gate.artifact.sources.http_file import HttpFile, Pin
from provenance_gate.artifact.sources.retry import Retry
from provenance_gate.errors import ArtifactError, ChangedFileError, RefusedError, UnreachableError

from .contents import TINY, Bytes, Generated, Repository, generated_model
from .server import LoopbackHub

if TYPE_CHECKING:
    from .conftest import Waits

Headers = dict[str, str]
Change = Callable[[int, Headers, bytes], tuple[int, Headers, bytes]]

WEIGHTS = "model.safetensors"
MODEL = generated_model(TINY)
CONTENT = MODEL[WEIGHTS]
DATA = CONTENT.read(0, CONTENT.size)
LARGE = Bytes(bytes(range(256)) * 8192)


@pytest.fixture
def served(hub: LoopbackHub) -> LoopbackHub:
    hub.add("org/model", Repository({**MODEL, "large.safetensors": LARGE}))
    return hub


def url_of(hub: LoopbackHub, path: str = WEIGHTS) -> str:
    return f"{hub.url}/org/model/resolve/{'c' * 40}/{path}"


def opened(hub: LoopbackHub, client: HttpClient, path: str = WEIGHTS, **more: object) -> HttpFile:
    content = hub.repositories["org/model"].files[path]
    options: dict[str, object] = {"size": content.size, **more}
    return HttpFile(path, url_of(hub, path), client, ReadCounter(), **options)  # type: ignore[arg-type]


def refused(file: HttpFile, error: type[ArtifactError], *words: str, start: int = 100, size: int = 50) -> None:
    with pytest.raises(ArtifactError) as caught:
        file.read(start, size)
    assert type(caught.value) is error
    assert str(caught.value).startswith(f"{file.name}: ")
    for word in words:
        assert word in str(caught.value)


# What is read


def test_partial_reads_are_slices_of_the_file(served: LoopbackHub, client: HttpClient) -> None:
    file = opened(served, client)
    for start, size in [(0, 8), (8, 100), (777, 1), (0, CONTENT.size), (CONTENT.size - 1, 1), (1001, 2003)]:
        assert file.read(start, size) == DATA[start : start + size]
    assert file.read(5, 0) == b""
    refused(file, ArtifactError, f"ends at byte {CONTENT.size}", start=CONTENT.size, size=1)
    refused(file, ArtifactError, start=-1, size=5)


def test_the_generated_bytes_are_the_same_however_they_are_cut() -> None:
    assert isinstance(CONTENT, Generated)
    cut = b"".join(CONTENT.read(at, 999) for at in range(0, CONTENT.size, 999))
    assert cut == DATA
    assert len(DATA) == CONTENT.size


def test_storage_is_asked_directly_after_the_first_redirect(served: LoopbackHub, client: HttpClient) -> None:
    file = opened(served, client)
    for start in range(0, 500, 100):
        file.read(start, 10)
    assert [s.origin for s in served.seen] == ["hub", *["storage"] * 5]
    assert file._counter.requests == 6
    assert file._counter.bytes_read == 50


def test_the_token_goes_to_the_hub_and_never_to_storage(served: LoopbackHub, client: HttpClient) -> None:
    headers = {"authorization": "Bearer secret", "Cookie": "session=secret", "user-agent": "ours"}
    opened(served, client, headers=headers).read(0, 10)
    hub, storage = served.seen
    assert (hub.headers["authorization"], hub.headers["cookie"]) == ("Bearer secret", "session=secret")
    assert "authorization" not in storage.headers
    assert "cookie" not in storage.headers
    assert storage.headers["user-agent"] == "ours"


def test_ranges_are_asked_for_uncompressed_and_pinned_to_the_entity_tag(
    served: LoopbackHub, client: HttpClient
) -> None:
    file = opened(served, client)
    file.read(0, 10)
    file.read(10, 10)
    last = served.seen[-1].headers
    assert (last["range"], last["accept-encoding"], last["if-range"]) == (
        "bytes=10-19",
        "identity",
        f'"{CONTENT.sha256}"',
    )


def test_several_threads_share_a_file_and_few_connections(served: LoopbackHub, client: HttpClient) -> None:
    file = opened(served, client)
    served.fail(times=30, wait=0.01)
    with ThreadPoolExecutor(32) as pool:
        parts = list(pool.map(lambda at: file.read(at, 100), range(0, 6400, 100)))
    assert b"".join(parts) == DATA[:6400]


def test_at_most_eight_requests_are_under_way(served: LoopbackHub, client: HttpClient) -> None:
    lock, under_way, most = threading.Lock(), 0, 0

    def count(status: int, headers: Headers, body: bytes) -> tuple[int, Headers, bytes]:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.01)
        with lock:
            under_way -= 1
        return status, headers, body

    served.fail(times=1000, change=count)
    file = opened(served, client)
    with ThreadPoolExecutor(32) as pool:
        list(pool.map(lambda at: file.read(at, 10), range(0, 640, 10)))
    assert 2 <= most <= 8


def test_an_unknown_size_is_learned_with_the_first_bytes(served: LoopbackHub, client: HttpClient) -> None:
    file = opened(served, client, size=None, probe=1000)
    assert (file.size, file.first) == (CONTENT.size, DATA[:1000])
    file = opened(served, client, path="config.json", size=None, probe=1000)
    assert file.first == MODEL["config.json"].read(0, 1000)
    assert file.size == len(file.first)


def test_an_empty_file_of_unknown_size_is_empty(served: LoopbackHub, client: HttpClient) -> None:
    served.add("org/model", Repository({"empty.safetensors": Bytes(b"")}))
    assert opened(served, client, path="empty.safetensors", size=None, probe=1000).size == 0


# What passes


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("origin", ["hub", "storage"])
def test_a_passing_fault_is_tried_again(
    served: LoopbackHub, client: HttpClient, waits: Waits, status: int, origin: str
) -> None:
    served.fail(origin=origin, status=status, times=2)
    assert opened(served, client).read(100, 50) == DATA[100:150]
    assert waits.slept == [0.5, 1.0]


@pytest.mark.parametrize("cut", [0, 1, 49])
def test_a_cut_connection_is_tried_again(served: LoopbackHub, client: HttpClient, waits: Waits, cut: int) -> None:
    served.fail(cut=cut, times=3)
    assert opened(served, client).read(100, 50) == DATA[100:150]
    assert len(waits.slept) == 3


def test_a_fault_that_stays_ends_in_one_line(served: LoopbackHub, client: HttpClient, waits: Waits) -> None:
    served.fail(status=500, times=100)
    refused(opened(served, client), UnreachableError, "bytes 100 to 150", "answers 500", "given up after 5 tries")
    assert len(waits.slept) == 4


def test_retry_after_is_obeyed(served: LoopbackHub, client: HttpClient, waits: Waits) -> None:
    served.fail(status=429, headers={"Retry-After": "7"})
    served.fail(status=503, headers={"Retry-After": formatdate(0, usegmt=True)})
    assert opened(served, client).read(100, 50) == DATA[100:150]
    assert waits.slept == [7.0, 0.0]


def test_a_wait_beyond_the_limit_is_not_begun(served: LoopbackHub, client: HttpClient, waits: Waits) -> None:
    served.fail(origin="hub", status=429, headers={"Retry-After": "3600"}, times=9)
    refused(opened(served, client), UnreachableError, "answers 429", "asks to wait 3600 s", "after 1 try")
    assert waits.slept == []


def test_a_server_that_stalls_is_given_up(served: LoopbackHub) -> None:
    client = HttpClient(Retry(tries=2, first=0.01), timeout=0.2)
    served.fail(wait=30.0, times=9)
    began = time.monotonic()
    refused(opened(served, client), UnreachableError, "given up after 2 tries")
    assert time.monotonic() - began < 10


def test_a_server_that_drips_is_given_up_in_bounded_time(served: LoopbackHub) -> None:
    client = HttpClient(Retry(tries=1), timeout=0.3)
    served.fail(drip=0.2, times=9)
    began = time.monotonic()
    refused(opened(served, client), UnreachableError, "of 100,000 bytes in", size=100_000)
    assert time.monotonic() - began < 10


class ClosedOnce:
    """The library's session, closed by another of its users at the worst moment."""

    closed = 1

    def __getattr__(self, name: str) -> object:
        if name in ("stream", "get") and self.closed:
            self.closed -= 1
            raise RuntimeError("Cannot send a request, as the client has been closed.")
        return getattr(get_session(), name)


def test_a_session_that_somebody_else_closed_is_opened_again(served: LoopbackHub, waits: Waits) -> None:
    client = HttpClient(waits.retry(), session=ClosedOnce())
    assert opened(served, client).read(100, 50) == DATA[100:150]
    assert waits.slept == [0.5]


def test_nobody_listening_is_an_unreachable_place(client: HttpClient) -> None:
    file = HttpFile("m.safetensors", "http://127.0.0.1:9/x", client, ReadCounter(), size=100)
    refused(file, UnreachableError, "http://127.0.0.1:9", "given up", start=0)


def test_an_expired_address_is_asked_for_again_once(served: LoopbackHub, client: HttpClient, waits: Waits) -> None:
    file = opened(served, client)
    file.read(0, 10)
    served.expire()
    assert file.read(100, 50) == DATA[100:150]
    assert [s.origin for s in served.seen] == ["hub", "storage", "storage", "hub", "storage"]
    assert waits.slept == []


def test_an_address_that_is_always_refused_ends(served: LoopbackHub, client: HttpClient) -> None:
    file = opened(served, client)
    served.fail(status=403, times=100)
    refused(file, RefusedError, "answers 403")
    assert len(served.seen) == 2


def test_new_storage_for_the_same_content_may_use_another_entity_tag(served: LoopbackHub, client: HttpClient) -> None:
    file = opened(served, client, pin=Pin(CONTENT.sha256))
    served.fail(change=lambda s, h, b: (s, {**h, "ETag": '"multipart-7"'}, b))
    file.read(0, 10)
    served.expire()
    assert file.read(100, 50) == DATA[100:150]


# Servers without ranges


def test_the_start_of_a_file_is_cut_from_a_server_without_ranges(served: LoopbackHub, client: HttpClient) -> None:
    file = opened(served, client, path="large.safetensors")
    served.fail(ignore_range=True, times=2)
    assert file.read(100, 50) == LARGE.data[100:150]
    assert file.read(1_000_000, 50) == LARGE.data[1_000_000:1_000_050]
    assert file._counter.bytes_read == 150 + 1_000_050, "nothing is read on behind the wanted bytes"


def test_the_middle_of_a_large_file_is_refused_from_a_server_without_ranges(
    served: LoopbackHub, client: HttpClient
) -> None:
    file = opened(served, client, path="large.safetensors")
    served.fail(ignore_range=True, times=9)
    refused(file, ArtifactError, "ignores ranges", start=1_500_000)
    assert file._counter.bytes_read == 0


# What changes


def test_another_entity_tag_is_a_changed_file(served: LoopbackHub, client: HttpClient) -> None:
    file = opened(served, client)
    file.read(0, 10)
    served.fail(change=lambda s, h, b: (206, {**h, "ETag": '"other"'}, b))
    refused(file, ChangedFileError, "entity tag", "other")


def test_a_file_replaced_meanwhile_is_a_changed_file_though_its_length_stays(
    served: LoopbackHub, client: HttpClient
) -> None:
    file = opened(served, client, path="config.json")
    file.read(0, 10)
    size = MODEL["config.json"].size
    served.add("org/model", Repository({"config.json": Bytes(b"{}".ljust(size))}))
    refused(file, ChangedFileError, "changed while it was read")


def test_weak_tags_are_compared_but_not_sent(served: LoopbackHub, client: HttpClient) -> None:
    file = opened(served, client)
    weak: Change = lambda s, h, b: (s, {**h, "ETag": 'W/"a"'}, b)  # noqa: E731
    served.fail(times=2, change=weak)
    file.read(0, 10)
    file.read(10, 10)
    assert "if-range" not in served.seen[-1].headers
    served.fail(change=lambda s, h, b: (s, {**h, "ETag": 'W/"b"'}, b))
    refused(file, ChangedFileError)


def test_another_commit_or_digest_than_listed_is_a_changed_file(served: LoopbackHub, client: HttpClient) -> None:
    refused(opened(served, client, pin=Pin(None, "d" * 40)), ChangedFileError, "commit", "c" * 40)
    refused(opened(served, client, pin=Pin("0" * 64)), ChangedFileError, "SHA-256", CONTENT.sha256)
    assert opened(served, client, pin=Pin(CONTENT.sha256, "c" * 40)).read(0, 9) == DATA[:9]


def test_another_length_than_listed_is_a_changed_file(served: LoopbackHub, client: HttpClient) -> None:
    refused(opened(served, client, size=CONTENT.size + 1), ChangedFileError, f"{CONTENT.size} bytes")
    file = opened(served, client, size=CONTENT.size + 1000)
    refused(file, ChangedFileError, "ends before", start=CONTENT.size + 10)
