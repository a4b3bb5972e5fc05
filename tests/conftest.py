"""No test reaches a real hub: a base that an artifact declares is looked for there."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def no_real_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address where nobody listens; tests of the hub give their own."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
