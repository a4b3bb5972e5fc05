"""Greedy decoding by an OpenAI-compatible endpoint, for a vendor that gives no weights: text only, for ids are not given.

One POST a prompt with temperature 0, no redirect followed, answers bounded in bytes and seconds. The key is read from the
environment, sent over TLS or to this machine only, and stands in no message.
"""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Sequence
from typing import Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.artifact.jsonfile import load_json_object
from provenance_gate.artifact.sources.http import within
from provenance_gate.artifact.sources.retry import TransientError
from provenance_gate.errors import MalformedFileError, UsageError, one_line
from provenance_gate.fingerprint.interface import Json
from provenance_gate.tells.decoding import Continuation, Decoded, Endpoint, Settings

KEY_VARIABLE: Final = "PROVENANCE_GATE_API_KEY"
LARGEST_ANSWER: Final = 1 << 20
LONGEST_TEXT: Final = 1 << 16
_CHUNK: Final = 1 << 14
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class _NoRedirect(HTTPRedirectHandler):
    """A redirect would carry the key to another host."""

    def redirect_request(self, *_: object) -> None:
        return None


def decode_remote(endpoint: Endpoint, prompts: Sequence[str], settings: Settings) -> Decoded | NotMeasured:
    """One continuation a prompt; NotMeasured, naming what was wrong, with the first answer that is missing or not as agreed.

    Raises UsageError for an address that is not http or https, or that would send the key in the clear to another machine.
    """
    url = _address(endpoint)
    found = []
    for number, prompt in enumerate(prompts, 1):
        text = _ask(url, endpoint, prompt, settings)
        if isinstance(text, NotMeasured):
            return NotMeasured(f"endpoint, prompt {number}: {text.reason}")
        found.append(Continuation(None, text))
    record: dict[str, Json] = {
        "endpoint": one_line(_without_query(endpoint.url), 200),
        "model": one_line(endpoint.model, 200),
        "chat": endpoint.chat,
        "temperature": 0.0,
        "seed": settings.seed,
        "new_tokens": settings.new_tokens,
    }
    return Decoded(tuple(found), "", record)


def _address(endpoint: Endpoint) -> str:
    try:
        parts = urlsplit(endpoint.url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(f"endpoint: {error}") from error
    if parts.scheme not in ("http", "https") or not host or parts.username or parts.query or parts.fragment:
        raise UsageError("endpoint: expected http(s)://HOST[:PORT]/v1 without user, query or fragment")
    if not endpoint.url.isascii() or any(c.isspace() for c in endpoint.url):
        raise UsageError("endpoint: expected an address of printable ASCII characters")
    if parts.scheme == "http" and host not in _LOOPBACK and os.environ.get(KEY_VARIABLE):
        raise UsageError(f"endpoint: {KEY_VARIABLE} is set, and would be sent to {one_line(host, 80)} without TLS")
    return f"{endpoint.url.rstrip('/')}/{'chat/completions' if endpoint.chat else 'completions'}"


def _without_query(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def _ask(url: str, endpoint: Endpoint, prompt: str, settings: Settings) -> str | NotMeasured:
    body: dict[str, object] = {
        "model": endpoint.model,
        "max_tokens": settings.new_tokens,
        "temperature": 0,
        "top_p": 1,
        "n": 1,
        "seed": settings.seed,
        "stream": False,
    }
    body |= {"messages": [{"role": "user", "content": prompt}]} if endpoint.chat else {"prompt": prompt}
    headers = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
    key = os.environ.get(KEY_VARIABLE)
    if key:
        headers["Authorization"] = f"Bearer {key}"
    request = Request(url, json.dumps(body).encode(), headers, method="POST")  # noqa: S310  # scheme checked in _address
    # Nothing for this machine leaves it, whatever proxy is set.
    handlers = [_NoRedirect(), *([ProxyHandler({})] if urlsplit(url).hostname in _LOOPBACK else [])]

    def exchange() -> bytes:
        with build_opener(*handlers).open(request, timeout=settings.timeout) as answer:
            body: bytes = answer.read(LARGEST_ANSWER + 1)
            return body

    try:
        data = within(settings.timeout, exchange)
    except TransientError:
        return NotMeasured(f"no whole answer within {settings.timeout:g} seconds")
    except HTTPError as error:
        with error:
            return NotMeasured(f"status {error.code}")
    except (URLError, OSError, http.client.HTTPException, ValueError) as error:
        # A header that the library refuses would be quoted, and it could be the key.
        reason = error.reason if isinstance(error, URLError) else type(error).__name__
        return NotMeasured(f"no answer: {one_line(str(reason), 120)}")
    if len(data) > LARGEST_ANSWER:
        return NotMeasured(f"an answer of more than {LARGEST_ANSWER:,} bytes")
    return _text(data, chat=endpoint.chat)


def _text(data: bytes, *, chat: bool) -> str | NotMeasured:
    wanted = "choices[0].message.content" if chat else "choices[0].text"
    try:
        answer = load_json_object(data, "answer")
    except MalformedFileError as error:
        return NotMeasured(one_line(str(error), 200))
    match answer.get("choices"):
        case [{"message": {"content": str(text)}}, *_] if chat and len(text) <= LONGEST_TEXT:
            return text
        case [{"text": str(text)}, *_] if not chat and len(text) <= LONGEST_TEXT:
            return text
        case _:
            return NotMeasured(f"expected a string of at most {LONGEST_TEXT:,} characters at {wanted}")
