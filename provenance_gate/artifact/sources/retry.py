"""How often, and how long in all, a request is tried again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

_LARGEST_HEADER = 64


class TransientError(Exception):
    """The request may succeed later. `wait`: seconds that the server asked for, or None."""

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


@dataclass(frozen=True, slots=True)
class Retry:
    """Exponential backoff with full jitter.

    Attributes
    ----------
    tries
        Requests in all, the first one included.
    total
        Seconds after which no new try begins.
    first, longest
        Seconds: the bound of the first wait, and of every wait, one that the server asks for excepted.
    """

    tries: int = 5
    total: float = 30.0
    first: float = 0.5
    longest: float = 8.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random

    def begin(self) -> Attempts:
        """Start counting for one piece of work."""
        return Attempts(self, self.clock())


class Attempts:
    """The tries of one piece of work."""

    def __init__(self, retry: Retry, began: float) -> None:
        self._retry, self._began = retry, began
        self.made = 0

    @property
    def left(self) -> float:
        """Seconds in which a try may still begin, 0 or more."""
        return max(0.0, self._retry.total - (self._retry.clock() - self._began))

    def again(self, error: TransientError) -> bool:
        """Wait, and say whether to try again; False when tries or time are used up, without waiting."""
        retry = self._retry
        self.made += 1
        if self.made >= retry.tries:
            return False
        bound = min(retry.longest, retry.first * 2 ** (self.made - 1))
        wait = bound * (0.5 + 0.5 * retry.jitter()) if error.wait is None else error.wait
        if retry.clock() - self._began + wait > retry.total:
            return False
        retry.sleep(wait)
        return True


class Silence:
    """Places that gave no answer, so that one run does not wait for the same dead place again and again. Thread safe.

    Parameters
    ----------
    lasting
        Seconds until a place is asked again.
    """

    def __init__(self, lasting: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._lasting, self._clock = lasting, clock
        self._lock = Lock()
        self._silent: dict[str, tuple[float, float]] = {}

    def note(self, place: str, patience: float) -> None:
        """No answer from `place`, though there was time for one: `patience` seconds."""
        with self._lock:
            self._silent[place] = self._clock(), max(patience, self._patience(place))

    def is_silent(self, place: str, patience: float) -> bool:
        """Whether `place` gave no answer a moment ago to somebody who had no less patience."""
        with self._lock:
            return self._patience(place) >= patience

    def _patience(self, place: str) -> float:
        when, patience = self._silent.get(place, (0.0, -1.0))
        return patience if self._clock() - when < self._lasting else -1.0


def seconds_of(header: str | None, now: float | None = None) -> float | None:
    """A Retry-After header (RFC 9110, 10.2.3) in seconds, 0 or more; None when absent or not understood."""
    text = (header or "").strip()
    if not text or len(text) > _LARGEST_HEADER:
        return None
    if text.isascii() and text.isdigit():
        return float(text)
    from email.utils import parsedate_to_datetime  # a slow import that few runs need

    try:
        when = parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return max(0.0, when - (time.time() if now is None else now))
