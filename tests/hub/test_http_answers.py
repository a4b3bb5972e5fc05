"""Answers that break the rules of HTTP ranges: each is refused in one line, or the bytes are those that were asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provenance_gate.artifact.sources.http import HttpClient
from provenance_gate.artifact.sources.http_file import MAX_REDIRECTS
from provenance_gate.artifact.sources.retry import Retry
from provenance_gate.errors import ArtifactError

from .contents import Repository
from .server import LoopbackHub, loopback_hub
from .test_http_file import DATA, MODEL, WEIGHTS, Change, Headers, opened, refused, url_of


@pytest.fixture
def served(hub: LoopbackHub) -> LoopbackHub:
    hub.add("org/model", Repository(MODEL))
    return hub


def replaced(name: str, value: str | None) -> Change:
    def change(status: int, headers: Headers, body: bytes) -> tuple[int, Headers, bytes]:
        kept = {k: v for k, v in headers.items() if k != name}
        return status, kept if value is None else {**kept, name: value}, body

    return change


RANGE = "bytes 100-149/{size}"
BROKEN: dict[str, tuple[Change, str]] = {
    "no Content-Range": (replaced("Content-Range", None), "without a plain Content-Range"),
    "empty Content-Range": (replaced("Content-Range", ""), "without a plain Content-Range"),
    "other unit": (replaced("Content-Range", "items 100-149/99"), "without a plain Content-Range"),
    "negative": (replaced("Content-Range", "bytes -100-149/99"), "without a plain Content-Range"),
    "no total": (replaced("Content-Range", "bytes 100-149"), "without a plain Content-Range"),
    "huge numbers": (replaced("Content-Range", f"bytes 100-149/{'9' * 400}"), "without a plain Content-Range"),
    "other start": (replaced("Content-Range", "bytes 0-49/*"), "sends bytes 0 to 50, not 100 to 150"),
    "other end": (replaced("Content-Range", "bytes 100-148/*"), "sends bytes 100 to 149"),
    "shifted by one": (replaced("Content-Range", "bytes 101-150/*"), "sends bytes 101 to 151"),
    "multipart": (
        lambda s, h, b: (s, {"Content-Type": "multipart/byteranges; boundary=x"}, b"--x\r\n" + b),
        "without a plain Content-Range",
    ),
    "compressed": (replaced("Content-Encoding", "gzip"), "compressed"),
    "204": (lambda s, h, b: (204, {}, b""), "answers 204"),
    "201": (lambda s, h, b: (201, h, b), "answers 201"),
    "304": (lambda s, h, b: (304, h, b""), "answers 304"),
    "401": (lambda s, h, b: (401, {}, b""), "log in or set HF_TOKEN"),
    "404": (lambda s, h, b: (404, {"X-Error-Code": "EntryNotFound"}, b""), "no such file at this revision"),
    "gated": (lambda s, h, b: (403, {"X-Error-Code": "GatedRepo"}, b""), "access to this repository must be granted"),
    "message": (lambda s, h, b: (403, {"X-Error-Message": "no way\x1b[2J"}, b""), "no way\\u001b[2J"),
    "451": (lambda s, h, b: (451, {}, b""), "answers 451"),
    "600": (lambda s, h, b: (600, {}, b""), "answers 600"),
    "redirect nowhere": (lambda s, h, b: (302, {}, b""), "without a usable Location"),
    "redirect to a file": (lambda s, h, b: (302, {"Location": "file:///etc/passwd"}, b""), "not an HTTP address"),
    "redirect to another protocol": (lambda s, h, b: (302, {"Location": "gopher://x/y"}, b""), "not an HTTP address"),
    "redirect with a user": (lambda s, h, b: (302, {"Location": "http://u:p@127.0.0.1/"}, b""), "no plain address"),
    "redirect with a backslash": (
        lambda s, h, b: (302, {"Location": "http://a\\@127.0.0.1/"}, b""),
        "no plain address",
    ),
    # Some client libraries read the address before we do.
    "redirect to a bad host": (lambda s, h, b: (302, {"Location": "http://[::1/x"}, b""), ""),
    "200 without length": (
        lambda s, h, b: (200, {"Transfer-Encoding": "x", "Content-Length": "many"}, b),
        "",
    ),
    "200 of another length": (lambda s, h, b: (200, {}, b), "50 bytes, expected"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_an_answer_that_breaks_the_rules_is_refused_in_one_line(
    served: LoopbackHub, client: HttpClient, kind: str
) -> None:
    change, words = BROKEN[kind]
    served.fail(change=change, times=100)
    with pytest.raises(ArtifactError) as caught:
        opened(served, client).read(100, 50)
    assert str(caught.value).startswith(f"{WEIGHTS}: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "sig=" not in str(caught.value), "a signed address is a secret"


def test_redirects_without_end_are_refused(served: LoopbackHub, client: HttpClient) -> None:
    served.fail(origin="hub", times=100, change=lambda s, h, b: (302, {"Location": url_of(served)}, b""))
    refused(opened(served, client), ArtifactError, f"more than {MAX_REDIRECTS} redirects")
    assert len(served.seen) == MAX_REDIRECTS + 1


def test_a_body_longer_than_stated_is_cut(served: LoopbackHub, client: HttpClient) -> None:
    served.fail(change=lambda s, h, b: (s, h, b + b"x" * 1000))
    file = opened(served, client)
    assert file.read(100, 50) == DATA[100:150]
    assert file._counter.bytes_read == 50


@pytest.fixture(scope="module")
def lasting() -> Iterator[LoopbackHub]:
    with loopback_hub() as hub:
        hub.add("org/model", Repository(MODEL))
        yield hub


tokens = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)
names = st.sampled_from(["Content-Range", "ETag", "Location", "Content-Encoding", "Retry-After", "X-Linked-ETag"])


@given(
    status=st.sampled_from([200, 203, 206, 301, 302, 307, 400, 403, 416, 429, 500]) | st.integers(200, 999),
    headers=st.dictionaries(names, tokens, max_size=3),
    body=st.none() | st.binary(max_size=80),
    keep=st.booleans(),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_answer_gives_the_wanted_number_of_bytes_or_an_artifact_error(
    lasting: LoopbackHub, status: int, headers: Headers, body: bytes | None, keep: bool
) -> None:
    lasting.faults.clear()
    # Where a drawn address leads outside, the answer must not be asked for.
    headers = {k: v for k, v in headers.items() if k != "Location" or not v.lstrip().lower().startswith(("http", "//"))}
    lasting.fail(
        times=3, change=lambda s, h, b: (status, {**(h if keep else {}), **headers}, b if body is None else body)
    )
    client = HttpClient(Retry(tries=2, sleep=lambda _: None), timeout=2.0)
    try:
        data = opened(lasting, client).read(100, 50)
    except ArtifactError as error:
        assert "\n" not in str(error)
    else:
        assert len(data) == 50
