"""Text of strangers in formats that other programs read: inert there, and the same text again when parsed back.

Every string goes through `one_line` first, so no control, bidirectional or surrogate character is left. What remains is what
the format itself, or the log that it is printed to, would act on. Build servers look for commands in whatever a step prints:
GitHub for ``::name::`` at the start and ``##[name]`` anywhere in a line, Azure Pipelines for ``##vso[...]``.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote

from provenance_gate.errors import one_line

TEXT_LIMIT = 2000
"""Characters kept of one string: messages are sentences, and a report holds thousands of them."""

_ZERO_WIDTH_SPACE = "\u200b"
# What code hosts turn into mentions, issue and label references, emoji, formulas and links *after* entities were decoded.
_TRIGGER = re.compile(r"[@#!$%&~^:](?=\S)|www(?=\.)|\bgh(?=-[0-9])", re.IGNORECASE)
_INERT_ASCII = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ,;.-")


def clean(text: str, limit: int = TEXT_LIMIT) -> str:
    """`text` as one printable line of at most `limit` characters before escapes."""
    return one_line(text, limit)


def json_document(value: Any) -> str:
    """`value` as indented ASCII JSON with a line end, without ``##``; keys stay in their order."""
    text = json.dumps(value, indent=2, ensure_ascii=True, allow_nan=False)
    # A number sign stands only inside strings, where its escape means the same.
    return text.replace("##", "#\\u0023") + "\n"


def markdown_text(text: str, limit: int = TEXT_LIMIT) -> str:
    """`text` for the middle of a line of GitHub-flavored Markdown: no markup, HTML, link, mention, image or table cell.

    Punctuation becomes character references. That alone does not stop links and mentions, which code hosts look for in the
    decoded text, so a zero-width space follows each character that could start one.
    """
    broken = _TRIGGER.sub(lambda found: found[0] + _ZERO_WIDTH_SPACE, clean(text, limit))
    return "".join(
        c if c in _INERT_ASCII or (ord(c) > 127 and c != _ZERO_WIDTH_SPACE) else f"&#{ord(c)};" for c in broken
    )


def command_message(text: str, limit: int = TEXT_LIMIT) -> str:
    """`text` as the message of a GitHub workflow command."""
    return clean(text, limit).replace("%", "%25")


def command_property(text: str, limit: int = TEXT_LIMIT) -> str:
    """`text` as the value of a property of a GitHub workflow command."""
    return command_message(text, limit).replace(":", "%3A").replace(",", "%2C")


def sarif_text(text: str, limit: int = TEXT_LIMIT) -> str:
    """`text` as a SARIF message, whose brackets would make links (SARIF 2.1.0, 3.11.6)."""
    return clean(text, limit).replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")


def uri_path(path: str) -> str:
    """A relative path as a URI reference. File names that are not UTF-8 are written by their bytes."""
    try:
        data = path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        data = path.encode("utf-8", "backslashreplace")
    escaped = quote(data, safe="/")
    # "a:b/c" would be read as an address of scheme "a"; quote() has escaped that colon already.
    return escaped or "."


def slug(text: str) -> str:
    """`text` as one word of letters, digits, dots, dashes and underscores, at most 80 characters; never empty."""
    word = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in text[:80])
    return word.strip("-.") or "unnamed"
