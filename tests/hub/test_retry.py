"""How long is waited, and when it is given up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenance_gate.artifact.sources.retry import TransientError, seconds_of

if TYPE_CHECKING:
    from .conftest import Waits


def test_waits_double_up_to_a_bound_and_tries_are_counted(waits: Waits) -> None:
    attempts = waits.retry(tries=7, total=100).begin()
    assert [attempts.again(TransientError("x")) for _ in range(7)] == [True] * 6 + [False]
    assert waits.slept == [0.5, 1, 2, 4, 8, 8]


def test_no_try_begins_after_the_time_is_up(waits: Waits) -> None:
    attempts = waits.retry(tries=100, total=10).begin()
    count = 0
    while attempts.again(TransientError("x")):
        count += 1
    assert (count, waits.clock()) == (4, 7.5)


def test_the_wait_that_the_server_asks_for_is_kept_but_not_beyond_the_time(waits: Waits) -> None:
    attempts = waits.retry().begin()
    assert attempts.again(TransientError("x", 12.0))
    assert waits.slept == [12.0]
    assert not attempts.again(TransientError("x", 3600.0))
    assert waits.slept == [12.0], "waiting for nothing"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0),
        ("7", 7),
        (" 7 ", 7),
        (None, None),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("٣", None),
        ("9" * 65, None),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 90),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Thu, 99 Jan 1970 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert seconds_of(header, now=10.0) == seconds


@given(st.text(max_size=70))
def test_any_header_is_read_as_seconds_or_nothing(text: str) -> None:
    found = seconds_of(text)
    assert found is None or found >= 0
