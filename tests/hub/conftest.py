"""A loopback hub for each test, and clients that wait on no real clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from provenance_gate.artifact.sources import Options
from provenance_gate.artifact.sources.http import HttpClient
from provenance_gate.artifact.sources.hub import HubStore
from provenance_gate.artifact.sources.retry import Retry

from .server import LoopbackHub, loopback_hub


@dataclass
class Waits:
    """Sleeps that were asked for; time passes only by them."""

    slept: list[float] = field(default_factory=list)

    def clock(self) -> float:
        return sum(self.slept)

    def retry(self, tries: int = 5, total: float = 30.0) -> Retry:
        return Retry(tries, total, clock=self.clock, sleep=self.slept.append, jitter=lambda: 1.0)


@pytest.fixture(autouse=True)
def no_real_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address where nobody listens, unless a test gives its own; the library's constants stay as they are."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def client(waits: Waits) -> HttpClient:
    return HttpClient(waits.retry(), timeout=5.0)


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with loopback_hub(page=3) as running:
        yield running


@pytest.fixture
def options(hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Options:
    """The loopback hub through HF_ENDPOINT, without login, with an empty cache."""
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    return Options(token=False, cache_dir=str(tmp_path / "hub-cache"))


@pytest.fixture
def store(options: Options, client: HttpClient) -> Callable[..., HubStore]:
    """Opens a repository of the loopback hub."""

    def opened(repo_id: str = "org/model", revision: str | None = None, folder: str = "") -> HubStore:
        return HubStore(repo_id, revision, folder, options, client)

    return opened
