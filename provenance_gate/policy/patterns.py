"""Patterns of `allow` and `deny`: ids and globs without regard to case, and prefixed words such as ``category:``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

PATTERN_LISTS: Final[Mapping[str, Any]] = {
    "allow": {
        "title": "What is allowed",
        "description": "When given, everything else is refused. `deny` wins over `allow`.",
        "type": "array",
        "items": {"type": "string", "minLength": 1, "maxLength": 200},
        "minItems": 1,
        "uniqueItems": True,
    },
    "deny": {
        "title": "What is refused",
        "type": "array",
        "items": {"type": "string", "minLength": 1, "maxLength": 200},
        "minItems": 1,
        "uniqueItems": True,
    },
}
ALLOW_OR_DENY: Final = [{"required": ["allow"]}, {"required": ["deny"]}]


def first_match(patterns: Iterable[str], words: Sequence[str]) -> str | None:
    """The first pattern that one of `words` fits: equal or by glob, whatever the case."""
    lowered = [word.casefold() for word in words]
    for pattern in patterns:
        if any(fnmatchcase(word, pattern.casefold()) for word in lowered):
            return pattern
    return None


def refusal(options: Mapping[str, Any], words: Sequence[str]) -> str | None:
    """Why `words`, spellings of one thing, are refused; None when they are not."""
    denied = first_match(options.get("deny", ()), words)
    if denied is not None:
        return f"denied by {denied!r}"
    if "allow" in options and first_match(options["allow"], words) is None:
        return "not on the allow list"
    return None
