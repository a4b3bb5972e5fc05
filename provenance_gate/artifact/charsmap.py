"""Whether a ``Precompiled`` normalizer stays within its own tables.

Its blob is a double array trie (darts-clone: units of 32 bits) behind its size in bytes, then replacements that end with NUL. The
library follows the trie without looking at its ends: a wrong offset is a panic there. So every unit that a look-up can reach is
looked at before: keys are the bytes of one character, or of a grapheme of less than six bytes.
"""

from __future__ import annotations

from base64 import b64decode
from typing import Final

import numpy as np
from numpy.typing import NDArray

MAX_BLOB: Final = 2 << 20
"""SentencePiece's own (nmt_nfkc_cf) has 270 kB."""

MAX_REPLACEMENT: Final = 1000
"""Bytes of one replacement; that of U+FDFA has 33."""

_LONGEST_KEY: Final = 5
_AT_ONCE: Final = 1 << 12
"""Units handled at a time: only saves memory."""

Units = NDArray[np.int64]


def why_unsafe(charsmap: str) -> str | None:
    """What is wrong with ``precompiled_charsmap``, None when nothing is."""
    if len(charsmap) > MAX_BLOB * 4 // 3 + 4:
        return f"more than {MAX_BLOB:,} bytes"
    try:
        blob = b64decode(charsmap, validate=True)
    except ValueError:
        return "not base64"
    trie_bytes = int.from_bytes(blob[:4], "little")
    texts = blob[4 + trie_bytes :]
    if not 4 <= trie_bytes <= len(blob) - 4 or trie_bytes % 4:
        return f"a trie of {trie_bytes:,} bytes in {len(blob):,}"
    if max(map(len, texts.split(b"\0"))) > MAX_REPLACEMENT:
        return f"a replacement of more than {MAX_REPLACEMENT:,} bytes"
    try:
        texts.decode()
    except UnicodeDecodeError:
        return "a replacement is not UTF-8"
    values = _values(np.frombuffer(blob, "<u4", trie_bytes // 4, 4).astype(np.int64))
    if values is None:
        return "the trie leads out of itself"
    if len(values) and int(values.max()) > len(texts):
        return "a replacement lies behind the end"
    inside = values[values < len(texts)]
    if ((np.frombuffer(texts, np.uint8)[inside] & 0xC0) == 0x80).any():
        return "a replacement starts within a character"
    return None


def _values(units: Units) -> Units | None:
    """Values of all keys of at most `_LONGEST_KEY` bytes; None where a look-up would leave the array."""
    values = [np.zeros(0, np.int64)]
    # A look-up starts at the first unit, moved by its offset.
    nodes = np.array([_offset(units[:1])[0]], np.int64)
    for _ in range(_LONGEST_KEY):
        reached = []
        for first in range(0, len(nodes), _AT_ONCE):
            some = nodes[first : first + _AT_ONCE]
            # Bytes of UTF-8 are not 0 here, but a NUL of the text is.
            places = (some[:, None] ^ np.arange(256)).ravel()
            if len(places) and int(places.max()) >= len(units):
                return None
            labels = np.tile(np.arange(256), len(some))
            matched = (units[places] & ((1 << 31) | 0xFF)) == labels
            places = places[matched]
            found = units[places]
            next_nodes = places ^ _offset(found)
            ends = next_nodes[(found >> 8) & 1 == 1]
            if len(ends) and int(ends.max()) >= len(units):
                return None
            values.append(units[ends] & ((1 << 31) - 1))
            reached.append(next_nodes)
        # Cycles and shared tails add nothing new to look at.
        nodes = np.unique(np.concatenate(reached)) if reached else nodes[:0]
    return np.concatenate(values)


def _offset(units: Units) -> Units:
    moved: Units = (units >> 10) << ((units & (1 << 9)) >> 6)
    return moved
