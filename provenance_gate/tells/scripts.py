"""In which scripts a vocabulary can write: tokens by the script of their letters, byte-level spellings undone."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.artifact.jsonparts import JsonParts
from provenance_gate.errors import MalformedFileError
from provenance_gate.tells.documents import TOKENIZER, document
from provenance_gate.tells.interface import Side

SCRIPT_OF: Final[Mapping[str, str]] = {
    **dict.fromkeys(("zh", "zho", "chinese", "cmn", "yue"), "CJK"),
    **dict.fromkeys(("ja", "jpn", "japanese"), "HIRAGANA"),
    **dict.fromkeys(("ko", "kor", "korean"), "HANGUL"),
    **dict.fromkeys(("ru", "uk", "bg", "be", "mk", "kk", "ky", "mn", "tg", "russian", "ukrainian"), "CYRILLIC"),
    **dict.fromkeys(("ar", "fa", "ur", "ps", "arabic", "persian", "urdu"), "ARABIC"),
    **dict.fromkeys(("hi", "mr", "ne", "sa", "hindi", "marathi", "nepali"), "DEVANAGARI"),
    **dict.fromkeys(("bn", "as", "bengali"), "BENGALI"),
    **dict.fromkeys(("th", "thai"), "THAI"),
    **dict.fromkeys(("he", "yi", "hebrew"), "HEBREW"),
    **dict.fromkeys(("el", "greek"), "GREEK"),
    **dict.fromkeys(("ta", "tamil"), "TAMIL"),
    **dict.fromkeys(("te", "telugu"), "TELUGU"),
    **dict.fromkeys(("kn", "kannada"), "KANNADA"),
    **dict.fromkeys(("ml", "malayalam"), "MALAYALAM"),
    **dict.fromkeys(("gu", "gujarati"), "GUJARATI"),
    **dict.fromkeys(("pa", "punjabi"), "GURMUKHI"),
    **dict.fromkeys(("ka", "georgian"), "GEORGIAN"),
    **dict.fromkeys(("hy", "armenian"), "ARMENIAN"),
    **dict.fromkeys(("am", "amharic"), "ETHIOPIC"),
    **dict.fromkeys(("km", "khmer"), "KHMER"),
    **dict.fromkeys(("lo", "lao"), "LAO"),
    **dict.fromkeys(("my", "burmese"), "MYANMAR"),
    **dict.fromkeys(("si", "sinhala"), "SINHALA"),
    **dict.fromkeys(
        ("en", "de", "fr", "es", "it", "pt", "nl", "pl", "cs", "sv", "da", "no", "fi", "tr", "vi", "id"), "LATIN"
    ),
    **dict.fromkeys(
        ("hu", "ro", "hr", "sk", "sl", "et", "lv", "lt", "ca", "eu", "gl", "ms", "sw", "tl", "af"), "LATIN"
    ),
    **dict.fromkeys(("english", "german", "french", "spanish", "italian", "portuguese", "dutch", "polish"), "LATIN"),
}
"""Script, as Unicode names begin, of a language code or name as cards write it; languages in two scripts are left out."""

_MAX_NESTED: Final = 1_000


@dataclass(frozen=True, slots=True)
class Scripts:
    """`tokens`: how many tokens hold a letter of each script. `spells_bytes`: whatever has no token is written byte by
    byte."""

    tokens: Mapping[str, int]
    spells_bytes: bool


def token_scripts(side: Side) -> Scripts | NotMeasured:
    """Of the tokens in tokenizer.json, or why they cannot be counted."""
    data = document(side, TOKENIZER)
    if data is None:
        return NotMeasured(f"no {TOKENIZER}")
    try:
        return _count(JsonParts(data, TOKENIZER))
    except MalformedFileError as error:
        return NotMeasured(str(error))


def _count(parts: JsonParts) -> Scripts | NotMeasured:
    top = parts.fields(parts.top)
    model = parts.fields(top["model"], "model") if "model" in top else {}
    if "vocab" not in model:
        return NotMeasured(f"{TOKENIZER} has no vocabulary")
    byte_level = _has_type([parts.value(top.get(name), name) for name in ("pre_tokenizer", "decoder")], "ByteLevel")
    fallback = parts.value(model.get("byte_fallback"), "model.byte_fallback") is True
    counts: Counter[str] = Counter()
    for portion in parts.portions(model["vocab"], "model.vocab"):
        for token in _strings(portion):
            counts.update({_script(c) for c in (_spelled(token) if byte_level else token)})
    del counts[""]
    return Scripts(dict(sorted(counts.items())), byte_level or fallback)


def _strings(portion: object) -> Iterator[str]:
    """Tokens of a mapping to ids, or of a list of [token, score]."""
    for entry in portion if isinstance(portion, dict | list) else ():
        text = entry[0] if isinstance(entry, list) and entry else entry
        if isinstance(text, str):
            yield text


def _has_type(nested: Iterable[object], name: str) -> bool:
    stack = list(nested)
    for _ in range(_MAX_NESTED):
        if not stack:
            return False
        value = stack.pop()
        if isinstance(value, Mapping):
            if value.get("type") == name:
                return True
            stack += value.values()
        elif isinstance(value, list):
            stack += value
    return False


def _byte_of() -> dict[str, int]:
    """Byte-level BPE writes a byte as itself where that prints in Latin-1, else as the next character from 256 on."""
    plain = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = [b for b in range(256) if b not in plain]
    return {chr(b): b for b in plain} | {chr(256 + i): b for i, b in enumerate(others)}


_BYTES: Final = _byte_of()


def _spelled(token: str) -> str:
    """The text of a byte-level token; parts of characters are dropped."""
    try:
        return bytes([_BYTES[c] for c in token]).decode("utf-8", "ignore")
    except KeyError:
        return token


@lru_cache(maxsize=1 << 16)
def _script(character: str) -> str:
    """First word of a letter's Unicode name; empty for what is no letter."""
    return unicodedata.name(character, "").partition(" ")[0] if character.isalpha() else ""
