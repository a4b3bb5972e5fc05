"""tokenizer.json to a `tokenizers.Tokenizer` that encodes prompts: only the parts that cannot multiply text without end."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from tokenizers import Tokenizer

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.artifact.jsonfile import load_json_object
from provenance_gate.errors import MalformedFileError, one_line

LARGEST: Final = 64 << 20
LONGEST: Final = 1 << 14
"""Characters of text that decoding may give."""
MOST_PARTS, LONGEST_CONTENT, MOST_GROWTH = 8, 8, 64
_NORMALIZERS: Final = frozenset(
    {
        "NFC",
        "NFD",
        "NFKC",
        "NFKD",
        "Lowercase",
        "Strip",
        "StripAccents",
        "BertNormalizer",
        "ByteLevel",
        "Prepend",
        "Replace",
    }
)
_DECODERS: Final = frozenset(
    {"ByteLevel", "ByteFallback", "Fuse", "Strip", "Metaspace", "WordPiece", "BPEDecoder", "Replace"}
)
_PARTS: Final = ("version", "added_tokens", "normalizer", "pre_tokenizer", "decoder", "model")


@dataclass(frozen=True, slots=True)
class PlainTokenizer:
    """Encodes without special tokens, truncation or padding. `vocabulary`: SHA-256 of the sorted (token, id) pairs."""

    inner: Tokenizer
    vocabulary: str

    def encode(self, text: str) -> list[int]:
        """Ids of a text."""
        ids: list[int] = self.inner.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: list[int]) -> str:
        """The text of ids, cut at 16384 characters, without special tokens."""
        text: str = self.inner.decode(ids, skip_special_tokens=True)
        return text[:LONGEST]


def plain_tokenizer(path: Path) -> PlainTokenizer | NotMeasured:
    """Read the file. NotMeasured when there is none, or one with parts that are not known to be harmless."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            return NotMeasured(f"tokenizer.json: more than {LARGEST:,} bytes")
        facts = load_json_object(data, "tokenizer.json")
    except (OSError, MalformedFileError) as error:
        return NotMeasured(f"tokenizer.json cannot be read: {one_line(str(error), 160)}")
    kept = {k: v for k, v in facts.items() if k in _PARTS}
    for field, allowed in (("normalizer", _NORMALIZERS), ("decoder", _DECODERS)):
        fault = _fault(kept.get(field), field, allowed)
        if fault:
            return NotMeasured(f"tokenizer.json: {fault}")
    try:
        inner = Tokenizer.from_str(json.dumps(kept))
    # The library raises Exception itself for whatever it cannot parse.
    except Exception as error:  # noqa: BLE001
        return NotMeasured(f"tokenizer.json: {one_line(str(error), 160)}")
    digest = sha256()
    for token, number in sorted(inner.get_vocab(with_added_tokens=True).items()):
        digest.update(f"{number} {token}\0".encode("utf-8", "surrogatepass"))
    return PlainTokenizer(inner, digest.hexdigest())


def _fault(section: object, field: str, allowed: frozenset[str]) -> str | None:
    """Why a normalizer or decoder is not used, if so."""
    if section is None:
        return None
    parts = [section]
    if isinstance(section, dict) and section.get("type") == "Sequence":
        inner = section.get("normalizers" if field == "normalizer" else "decoders")
        parts = inner if isinstance(inner, list) else [None]
    if len(parts) > MOST_PARTS:
        return f"{field} has {len(parts)} parts, at most {MOST_PARTS} are used here"
    growth = 1
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if not isinstance(part, dict) or kind not in allowed:
            return f"{field} {one_line(str(kind), 40)} is not used here"
        added = part.get("prepend") if kind == "Prepend" else part.get("content")
        if kind in ("Prepend", "Replace"):
            if not isinstance(added, str) or len(added) > LONGEST_CONTENT:
                return f"{field} {kind} with more than {LONGEST_CONTENT} characters"
            growth *= max(1, len(added))
    return f"{field} can make text more than {MOST_GROWTH} times as long" if growth > MOST_GROWTH else None
