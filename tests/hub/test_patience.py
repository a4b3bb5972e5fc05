"""How long a place that gives no answer may cost, how often, and that its silence is told from a refusal and from a lie."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from provenance_gate.artifact.sources import Options, open_hub, open_store
from provenance_gate.artifact.sources.http import client_of
from provenance_gate.artifact.sources.retry import Silence
from provenance_gate.errors import (
    ArtifactError,
    ChangedFileError,
    MalformedFileError,
    RefusedError,
    UnreachableError,
    UsageError,
)

from .contents import TINY, Repository, generated_model
from .server import LoopbackHub


@pytest.fixture
def quick(options: Options) -> Options:
    return replace(options, tries=2, timeout=0.6, offline=False)


@pytest.fixture
def served(hub: LoopbackHub) -> LoopbackHub:
    hub.add("org/model", Repository(generated_model(TINY)))
    return hub


@pytest.fixture
def mute() -> Iterator[str]:
    """A host that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def cost(source: str, options: Options) -> tuple[float, str]:
    """Seconds until `source` is given up as unreachable, and what is said."""
    began = time.monotonic()
    with pytest.raises(UnreachableError) as caught:
        open_store(source, options)
    return time.monotonic() - began, str(caught.value)


def test_a_mute_hub_costs_its_timeout_once(mute: str, quick: Options) -> None:
    quick = replace(quick, endpoint=mute)
    seconds, said = cost("hf://org/one", quick)
    assert 0.4 < seconds < 2.5
    assert said.startswith("hf://org/one: ")
    seconds, said = cost("hf://org/two", replace(quick, token="x"))
    assert seconds < 0.1
    assert said == f"hf://org/two: {mute} gave no answer a moment ago"


def test_a_closed_port_costs_less_than_the_timeout(quick: Options) -> None:
    seconds, said = cost("hf://org/one", replace(quick, endpoint="http://127.0.0.1:9", timeout=3.0))
    assert seconds < 2.0
    assert "given up after 2 tries" in said


def test_a_busy_hub_costs_the_tries_and_counts_as_silent(served: LoopbackHub, quick: Options) -> None:
    served.fail(origin="hub", status=503, times=1000)
    assert cost("hf://org/model", quick)[0] < 2.0
    asked = len(served.seen)
    assert asked == 2
    cost("hf://org/other", quick)
    assert len(served.seen) == asked


def test_storage_that_is_mute_is_silence_of_the_hub(served: LoopbackHub, quick: Options) -> None:
    served.fail(origin="storage", wait=1.5, times=1000)
    opened = open_hub("org/model", quick)
    with pytest.raises(UnreachableError, match=r"gave no answer|given up after"):
        opened.files()
    assert cost("hf://org/model", quick)[0] < 0.1


def test_a_name_that_nobody_resolves_is_given_up_in_time(quick: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_: Any, **__: Any) -> Any:
        time.sleep(1.5)
        raise socket.gaierror("no such host")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    assert cost("hf://org/model", replace(quick, endpoint="http://hub.invalid"))[0] < 1.4
    assert cost("http://files.invalid/m.safetensors", quick)[0] < 1.9


def test_who_waits_longer_asks_again(mute: str, quick: Options, served: LoopbackHub) -> None:
    quick = replace(quick, endpoint=mute)
    cost("hf://org/one", quick)
    assert cost("hf://org/one", replace(quick, timeout=0.8))[0] > 0.5
    assert cost("hf://org/one", replace(quick, timeout=0.7))[0] < 0.1
    assert len(open_hub("org/model", replace(quick, endpoint=served.url)).files()) == 2, "another hub is not meant"
    fresh = Options(endpoint=mute, token=False, offline=False, tries=1, timeout=0.4)
    assert cost("hf://org/one", fresh)[0] > 0.3, "another run is not meant"


def test_silence_is_forgotten_after_a_while() -> None:
    now = [0.0]
    silence = Silence(lasting=60.0, clock=lambda: now[0])
    silence.note("a", 3.0)
    silence.note("a", 1.0)
    assert silence.is_silent("a", 3.0)
    assert not silence.is_silent("a", 3.1)
    assert not silence.is_silent("b", 0.1)
    now[0] = 60.0
    assert not silence.is_silent("a", 0.1)


def test_an_answer_no_matter_which_is_not_silence(served: LoopbackHub, quick: Options) -> None:
    with pytest.raises(RefusedError, match="no such repository"):
        open_hub("org/none", quick)
    served.fail(origin="hub", status=200, body=b"<html>log in</html>")
    with pytest.raises(MalformedFileError, match="not JSON"):
        open_hub("org/model", quick)
    assert len(open_hub("org/model", quick).files()) == 2


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, ArtifactError),
        (401, RefusedError),
        (403, RefusedError),
        (404, RefusedError),
        (410, RefusedError),
        (451, RefusedError),
        (418, ArtifactError),
        (204, ArtifactError),
        (408, UnreachableError),
        (429, UnreachableError),
        (500, UnreachableError),
        (522, UnreachableError),
        (600, ArtifactError),
    ],
)
@pytest.mark.parametrize("path", ["/api/models/org/model?", "/tree/", "/resolve/"])
def test_refused_unreachable_and_wrong_answers_are_told_apart(
    served: LoopbackHub, quick: Options, status: int, error: type[ArtifactError], path: str
) -> None:
    served.fail(origin="hub", path=path, status=status, times=1000)
    with pytest.raises(ArtifactError) as caught:
        open_hub("org/model", replace(quick, tries=1)).files()
    assert type(caught.value) is error
    assert f"answers {status}" in str(caught.value)


def test_a_lie_is_neither_silence_nor_refusal(served: LoopbackHub, quick: Options) -> None:
    served.fail(change=lambda s, h, b: (s, {**h, "ETag": '"x"', "Content-Range": "bytes 0-1/2"}, b), times=99)
    with pytest.raises(ChangedFileError):
        open_hub("org/model", quick).files()


def test_patience_must_make_sense() -> None:
    for bad in ({"tries": 0}, {"timeout": 0.0}, {"timeout": -1.0}, {"timeout": float("nan")}, {"timeout": 1e9}):
        with pytest.raises(UsageError):
            Options(**bad)  # type: ignore[arg-type]
    client = client_of(Options(tries=1, timeout=3.0))
    assert (client.retry.tries, client.retry.total, client.timeout) == (1, 3.0, 3.0)
    assert client_of(Options()).retry.tries == 5
