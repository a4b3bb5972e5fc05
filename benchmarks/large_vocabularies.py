"""GGUF headers with long token lists: as long as real ones, and made to cost memory."""

from __future__ import annotations

import itertools
import string
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.artifact.gguf.build import entry, head, info, pad, text

_AT: Final = "tokenizer.ggml."
_STRING, _ARRAY, _FLOAT = 8, 9, 6


def _strings(name: str, values: Sequence[str]) -> bytes:
    return text(_AT + name) + struct.pack("<IIQ", _ARRAY, _STRING, len(values)) + b"".join(map(text, values))


def _scores(count: int) -> bytes:
    values = struct.pack(f"<{count}f", *(-float(n) for n in range(count)))
    return text(_AT + "scores") + struct.pack("<IIQ", _ARRAY, _FLOAT, count) + values


def _grown(count: int, mark: str) -> tuple[list[str], list[str]]:
    """Characters, all pairs of them, pairs of pairs; and the rules that put them together."""
    signs = [*string.ascii_lowercase, *string.digits, mark]
    pairs = [(a, b) for a in signs for b in signs]
    more = itertools.islice(
        itertools.product(map("".join, pairs), map("".join, pairs)), count - len(pairs) - len(signs)
    )
    rules = [*pairs, *more]
    return [*signs, *map("".join, rules)], list(map(" ".join, rules))


def _sentencepiece() -> list[bytes]:
    tokens, _ = _grown(262_144, "\u2581")
    return [entry(_AT + "model", "llama"), _strings("tokens", tokens), _scores(len(tokens))]


def _byte_level() -> list[bytes]:
    tokens, rules = _grown(256_000, "\u0120")
    return [entry(_AT + "model", "gpt2"), _strings("tokens", tokens), _strings("merges", rules)]


def _short(model: str, count: int) -> list[bytes]:
    return [entry(_AT + "model", model), _strings("tokens", [f"{n:x}" for n in range(count)])]


def _wide() -> list[bytes]:
    return [entry(_AT + "model", "gpt2"), _strings("tokens", [f"\U0001f600{n:06x}" for n in range(990_000)])]


def _rules() -> list[bytes]:
    tokens, rules = ["a", "b", "ab"], ["a b"] * 990_000
    return [entry(_AT + "model", "gpt2"), _strings("tokens", tokens), _strings("merges", rules)]


def _pairs() -> list[bytes]:
    signs = [chr(0x4E00 + n) for n in range(990)]
    tokens = signs + [a + b for a in signs for b in signs][:680_000]
    return [entry(_AT + "model", "llama"), _strings("tokens", tokens)]


def _few_long() -> list[bytes]:
    return [entry(_AT + "model", "gpt2"), _strings("tokens", ["\U0001f600" * 16_000 + str(n) for n in range(480)])]


def _unigram() -> list[bytes]:
    tokens = ["<unk>", *(f"abc{n:06x}" for n in range(990_000))]
    return [
        entry(_AT + "model", "t5"), _strings("tokens", tokens), _scores(len(tokens)), entry(_AT + "unknown_token_id", 0)
    ]  # fmt: skip


def _lists() -> list[bytes]:
    empty = struct.pack("<IIQ", _ARRAY, _STRING, 1024) + bytes(8 * 1024)
    return [text(f"key{n}") + empty for n in range(9000)]


LISTS: Final[Mapping[str, Callable[[], list[bytes]]]] = {
    "262k pieces with scores, merges to rebuild (like Gemma's)": _sentencepiece,
    "256k tokens and merge rules": _byte_level,
    "990k pieces and scores (like XLM-V's)": _unigram,
    "990k short tokens": lambda: _short("gpt2", 990_000),
    "990k short pieces": lambda: _short("llama", 990_000),
    "990k short word pieces": lambda: _short("bert", 990_000),
    "990k tokens with a character of four bytes": _wide,
    "990k merge rules": _rules,
    "680k pieces, each the merge of two": _pairs,
    "480 tokens of 64 kB": _few_long,
    "9000 lists of 1024 empty strings": _lists,
    "4 million tokens": lambda: _short("gpt2", 4_000_000),
}


def write_list(path: Path, name: str) -> None:
    """A file with the list and one small tensor."""
    entries = [entry("general.architecture", "llama"), *LISTS[name]()]
    front = head(b"".join(entries), info("token_embd.weight", (4, 4), 0, 0), 1, len(entries))
    path.write_bytes(pad(front) + bytes(64))
