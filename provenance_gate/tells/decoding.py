"""What greedy decoding speaks in: prompts in, continuations out. Neither torch nor a network here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from provenance_gate.errors import UsageError
from provenance_gate.fingerprint.interface import Json

DOMAINS: Final = ("general", "code")
"""Prompt files that come with the package, 50 prompts each."""
MOST_PROMPTS, LONGEST_PROMPT, LARGEST_FILE = 1000, 2000, 1 << 20
MOST_NEW_TOKENS: Final = 1024
DTYPES: Final = ("float32", "bfloat16")
_FOLDER = Path(__file__).resolve().parent / "prompts"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An OpenAI-compatible server. `url`: up to and with ``/v1``; `chat`: ask ``/chat/completions``, as a user.

    The key comes from the environment variable `endpoint.KEY_VARIABLE`, never from here.
    """

    url: str
    model: str
    chat: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """How to decode. `threads` of torch; `dtype` one of `DTYPES`; `timeout` seconds a request of an endpoint may take in all.

    Raises UsageError for numbers out of range.
    """

    new_tokens: int = 32
    seed: int = 0
    dtype: str = "float32"
    threads: int = 1
    timeout: float = 60.0

    def __post_init__(self) -> None:
        if not 1 <= self.new_tokens <= MOST_NEW_TOKENS:
            raise UsageError(f"generation: expected 1 to {MOST_NEW_TOKENS} new tokens, found {self.new_tokens}")
        if self.dtype not in DTYPES:
            raise UsageError(f"generation: dtype {self.dtype!r}; accepted: {', '.join(DTYPES)}")
        if not 1 <= self.threads <= 1024 or not 0.0 < self.timeout <= 3600.0:
            raise UsageError("generation: expected 1 to 1024 threads and a timeout of up to 3600 seconds")


@dataclass(frozen=True, slots=True)
class Continuation:
    """What followed one prompt. `ids` None: only the text is known; `text` None: only ids are."""

    ids: tuple[int, ...] | None
    text: str | None


@dataclass(frozen=True, slots=True)
class Decoded:
    """Continuations of all prompts in their order.

    `vocabulary`: digest of the (token, id) pairs, so that ids of two models can be told comparable; "" where unknown.
    `record`: versions, dtype, threads and seed.
    """

    continuations: tuple[Continuation, ...]
    vocabulary: str
    record: Mapping[str, Json] = field(default_factory=dict)


def load_prompts(source: str = "general") -> tuple[str, ...]:
    """The prompts of a domain, or of a UTF-8 file with one a line; empty lines are left out.

    Raises UsageError for a file that cannot be read, is no UTF-8, holds none, or more or longer ones than the limits above.
    """
    path = _FOLDER / f"{source}.txt" if source in DOMAINS else Path(source)
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
        text = data.decode("utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"prompts {source!r}: {error}; accepted: a file, {' or '.join(DOMAINS)}") from error
    if len(data) > LARGEST_FILE:
        raise UsageError(f"prompts {source!r}: more than {LARGEST_FILE:,} bytes")
    return checked_prompts([line.strip() for line in text.splitlines() if line.strip()], source)


def checked_prompts(prompts: Sequence[str], source: str) -> tuple[str, ...]:
    """`prompts`, once their number and length are within the limits. Raises UsageError."""
    if not 1 <= len(prompts) <= MOST_PROMPTS:
        raise UsageError(f"prompts {source!r}: expected 1 to {MOST_PROMPTS} prompts, found {len(prompts)}")
    for number, prompt in enumerate(prompts, 1):
        if len(prompt) > LONGEST_PROMPT:
            raise UsageError(
                f"prompts {source!r}: prompt {number} has {len(prompt)} characters, at most {LONGEST_PROMPT}"
            )
    return tuple(prompts)
