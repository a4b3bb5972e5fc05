"""Asking an endpoint: what is refused, what is given up, and that the key goes nowhere else."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from typing import Any

import pytest

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.errors import UsageError
from provenance_gate.tells.decoding import Endpoint, Settings, load_prompts
from provenance_gate.tells.endpoint import KEY_VARIABLE, LARGEST_ANSWER, decode_remote
from tests.tells.serving import echo, served

PROMPTS = load_prompts()
SHORT = Settings(new_tokens=8)
KEY = "sk-secret-of-the-vendor"


def test_the_key_is_never_sent_in_the_clear_to_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)

    with pytest.raises(UsageError, match="without TLS") as caught:
        decode_remote(Endpoint("http://vendor.example/v1", "m"), PROMPTS, SHORT)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://a/v1",
        "http://",
        "http://u:p@a/v1",
        "http://a/v1?k=1",
        "http://[",
        "http://a b/",
        "x",
    ],
)
def test_addresses_that_are_no_plain_web_address_are_refused(url: str) -> None:
    with pytest.raises(UsageError, match="endpoint"):
        decode_remote(Endpoint(url, "m"), PROMPTS, SHORT)


@pytest.mark.parametrize("status", [302, 307])
def test_redirects_are_not_followed(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    with served(echo) as elsewhere, served(lambda _: (status, b""), {"Location": elsewhere.url}) as server:
        found = decode_remote(Endpoint(server.url, "m"), PROMPTS, SHORT)

    assert isinstance(found, NotMeasured) and str(status) in found.reason and not elsewhere.asked


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"{", "not JSON"),
        (b"[]", "expected an object"),
        (b"{}", "choices"),
        (b'{"choices": []}', "choices"),
        (b'{"choices": [{"text": 5}]}', "choices"),
        (b'{"choices": [{"text": "' + b"x" * 70_000 + b'"}]}', "choices"),
        (b" " * (LARGEST_ANSWER + 1), "more than"),
    ],
)
def test_answers_that_are_not_as_agreed_are_not_measured(data: bytes, word: str) -> None:
    with served(lambda _: (200, data)) as server:
        found = decode_remote(Endpoint(server.url, "m"), PROMPTS, SHORT)

    assert isinstance(found, NotMeasured) and word in found.reason and "prompt 1" in found.reason


def test_an_endpoint_that_drips_is_given_up_in_time() -> None:
    def slow(body: Mapping[str, Any]) -> tuple[int, bytes]:
        time.sleep(1.5)
        return echo(body)

    with served(slow) as server:
        start = time.monotonic()
        found = decode_remote(Endpoint(server.url, "m"), PROMPTS, Settings(timeout=0.3))
        taken = time.monotonic() - start

    assert isinstance(found, NotMeasured) and taken < 1.4


def test_an_endpoint_that_is_not_there_is_not_measured() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = decode_remote(Endpoint(f"http://127.0.0.1:{port}/v1", "m"), PROMPTS, SHORT)

    assert isinstance(found, NotMeasured) and "no answer" in found.reason
