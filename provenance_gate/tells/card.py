"""What a model card says in prose, found by a few plain patterns. It is a claim, and what is not recognized was not said.

Recognized, outside of fenced code, in lines of up to 2,000 characters:

- origin: "trained from scratch", "built from the ground up", "our own/proprietary/novel ... architecture", "our own ... model";
- size: "12B parameters", "a 12 billion parameter model", "Parameters: 7.6B", "8x7B", and a size in the first heading;
- context: "128k context", "32,768-token context", "context length of 131072", "context window: 1M";
- numbers: "quantized to 4-bit", "AWQ-quantized", "unquantized", "full precision"; "trained in bf16";
- stack and dates: "trained with Megatron", "trained in 2025"; "released 2024-06";
- words: "extended vocabulary", "new tokenizer".

A phrase behind "not", "never", "without", "than" or "instead of" on its line is no claim. Of the front matter:
`language`, `tags`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from provenance_gate.artifact.claims import read_front_matter
from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.errors import MalformedFileError, one_line
from provenance_gate.tells.documents import CARD, document
from provenance_gate.tells.interface import Side

MAX_LINES: Final = 20_000
MAX_LINE: Final = 2_000
MAX_SAID: Final = 20
"""Claims kept of one kind."""

_SIZE: Final = r"(?:(\d{1,3})\s?x\s?)?(\d{1,4}(?:\.\d{1,3})?)\s?(billion|million|trillion|bn|mn|b|m|t)"
_NOUN: Final = (
    r"(?:(?:total|trainable)\s)?param(?:eter)?s?\b"
    r"|(?:(?:large|language|foundation|base|dense|chat|instruct)\s){0,3}(?:model|llm)\b"
)
_PATTERNS: Final = {
    "scratch": (
        r"trained (?:entirely |completely |fully |purely )?from (?:scratch|the ground up|random initiali[sz]ation)",
        r"(?:built|developed|created|designed|made) (?:entirely |completely )?from (?:scratch|the ground up)",
    ),
    "own_architecture": (
        r"\b(?:own|proprietary|novel|in-house|custom|self-developed|home-?grown|original)(?: [\w-]+){0,3} architecture\b",
        r"\barchitecture (?:of our own|(?:was |is )?(?:developed|designed|invented) (?:in-house|by us))",
    ),
    "own_model": (
        r"\b(?:our own|proprietary|in-house|self-developed|home-?grown|independently developed)(?: [\w.-]+){0,4} (?:model|llm)\b",
    ),
    "new_vocabulary": (
        r"\b(?:extended|expanded|enlarged|larger|new|our own|custom|proprietary)(?: [\w-]+){0,2} (?:vocabulary|tokeni[sz]er)\b",
        r"\b(?:vocabulary|tokeni[sz]er)(?: [\w-]+){0,2} (?:trained|built|extended|expanded)\b",
    ),
    "unquantized": (r"\b(?:un-?quanti[sz]ed|not quanti[sz]ed|full[- ]precision|no quanti[sz]ation)\b",),
}
_QUANTIZATION: Final = (
    r"(gptq|awq|bitsandbytes|nf4|fp4|mxfp4|fp8|int8|int4|exl2|hqq|quip#?|q[2-8]_(?:k(?:_[sml])?|[01])|[2-8]-?bits?)"
)
_FRAMEWORK: Final = (
    r"(megatron|jax|flax|maxtext|t5x|mindspore|paddlepaddle|paddle|tensorflow|nemo|colossal-?ai"
    r"|(?:own|in-house|proprietary|custom)(?: training)? (?:framework|stack|codebase|code))"
)
_TRAINED: Final = r"\b(?:trained|training|pre-?trained|pre-?training)\b"
_VALUES: Final = {
    "quantizations": (
        rf"\bquanti[sz]ed (?:[\w-]+ ){{0,3}}?(?:to|with|using|by|in|via|as) (?:[\w-]+ ){{0,2}}?{_QUANTIZATION}\b",
        rf"\b{_QUANTIZATION}[- ]quanti[sz](?:ed|ation)\b",
        rf"\bquanti[sz]ation(?: method| type)?\W{{1,6}}{_QUANTIZATION}\b",
    ),
    "frameworks": (rf"{_TRAINED}[^.]{{0,60}}?\b{_FRAMEWORK}\b",),
    "precisions": (rf"{_TRAINED}[^.]{{0,60}}?\b(bf16|bfloat16|fp16|float16|fp32|float32|fp8)\b",),
    "years": (
        rf"(?:{_TRAINED}|\breleased\b|\brelease date\b|\bpublished\b)[^.\n]{{0,40}}?\b((?:19|20)\d\d)(?:-\d\d){{0,2}}\b",
    ),
}
_PARAMETERS: Final = (
    rf"(?<![\w.,]){_SIZE}[\s-]{{0,2}}(?:{_NOUN})",
    rf"\b(?:parameters?|params|parameter count|model size)\W{{1,6}}(?:about |approx\w* )?{_SIZE}\b",
)
_CONTEXTS: Final = (
    r"(?<![\w.,])(\d[\d,]{0,8}(?:\.\d)?)\s?(k|m)?[\s-]?(?:tokens?[\s-])?(?:of )?(?:long )?(?:context|ctx)\b",
    r"\b(?:context|sequence) (?:length|window|size)s?\W{1,6}(?:(?:of|is|up to|to|about)\W{1,2}){0,3}"
    r"(\d[\d,]{0,8}(?:\.\d)?)\s?(k|m)?\b",
)
_NAME_SIZE: Final = re.compile(r"(?<![A-Za-z0-9.])(?:(\d{1,3})x)?(\d{1,4}(?:\.\d{1,3})?)([bBmM])(?![A-Za-z0-9])")
_NEGATION: Final = re.compile(
    r"(?:\bnot|n't|\bnever|\bwithout|\bthan|\binstead of|\bunlike)\b[^.;]{0,30}$", re.IGNORECASE
)
_UNITS: Final = {"b": 1e9, "m": 1e6, "t": 1e12}
_LEAST_CONTEXT: Final = 128
_COMPILED: Final = {k: tuple(re.compile(p, re.IGNORECASE) for p in v) for k, v in {**_PATTERNS, **_VALUES}.items()}
_PARAMETER_FORMS: Final = tuple(re.compile(p, re.IGNORECASE) for p in _PARAMETERS)
_CONTEXT_FORMS: Final = tuple(re.compile(p, re.IGNORECASE) for p in _CONTEXTS)


@dataclass(frozen=True, slots=True)
class Said:
    """One recognized claim.

    Attributes
    ----------
    text
        As written, safe to print.
    source
        File and line, or what else says it.
    word
        What the pattern is about, in lower case ("awq", "megatron"); empty for plain phrases.
    value, most
        Parameters, tokens, bits or a year; `most` is larger where the claim is a range ("8x7B" is between 7 and 56 billion).
    """

    text: str
    source: str
    word: str = ""
    value: float = 0.0
    most: float = 0.0


@dataclass(frozen=True, slots=True)
class Card:
    """All that was recognized, each kind in the order of the card."""

    scratch: tuple[Said, ...] = ()
    own_architecture: tuple[Said, ...] = ()
    own_model: tuple[Said, ...] = ()
    new_vocabulary: tuple[Said, ...] = ()
    unquantized: tuple[Said, ...] = ()
    quantizations: tuple[Said, ...] = ()
    frameworks: tuple[Said, ...] = ()
    precisions: tuple[Said, ...] = ()
    years: tuple[Said, ...] = ()
    parameters: tuple[Said, ...] = ()
    contexts: tuple[Said, ...] = ()
    languages: tuple[Said, ...] = ()


def read_card(side: Side) -> Card | NotMeasured:
    """The claims of README.md, or why there are none to read."""
    data = document(side, CARD)
    if data is None:
        return NotMeasured(f"no {CARD}")
    text = data.decode("utf-8", "replace")
    found: dict[str, list[Said]] = {name: [] for name in Card.__dataclass_fields__}
    try:
        _front_matter(data, found)
    except MalformedFileError as error:
        return NotMeasured(str(error))
    for number, line in prose(text):
        _read_line(line, f"{CARD}:{number}", found)
    return Card(**{name: tuple(said[:MAX_SAID]) for name, said in found.items()})


def sizes_in_name(name: str, source: str) -> tuple[Said, ...]:
    """Parameter counts in the name of a model or file: "acme-12b-chat", "Mixtral-8x7B", "Qwen3-30B-A3B" (30 billion)."""
    return tuple(_size(m, source) for m in _NAME_SIZE.finditer(name[:MAX_LINE]))[:MAX_SAID]


def _front_matter(data: bytes, found: dict[str, list[Said]]) -> None:
    front = read_front_matter(data, PurePosixPath(CARD))
    plain = None if front is None else front.to_plain()
    if not isinstance(plain, dict):
        return
    for field, kind in (("language", "languages"), ("tags", "quantizations")):
        value = plain.get(field)
        for word in value if isinstance(value, list) else [value]:
            if not isinstance(word, str) or not word.strip():
                continue
            low = word.strip().casefold()[:80]
            if kind == "languages" or re.fullmatch(_QUANTIZATION, low):
                found[kind].append(Said(one_line(word, 80), f"{CARD} ({field})", low, _bits(low)))


def prose(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, less the front matter and fenced code."""
    fenced = front = False
    for number, line in enumerate(text.splitlines()[:MAX_LINES], 1):
        bare = line.strip()
        if bare == "---" and (front or number == 1):
            front = not front
        elif bare.startswith(("```", "~~~")):
            fenced = not fenced
        elif bare and not fenced and not front:
            yield number, bare[:MAX_LINE].replace("*", "").replace("`", "")


def _read_line(line: str, source: str, found: dict[str, list[Said]]) -> None:
    for kind, patterns in _COMPILED.items():
        for match in (m for p in patterns for m in p.finditer(line)):
            if _NEGATION.search(line[max(0, match.start() - 60) : match.start()]):
                continue
            word = (match.group(1) or "").casefold() if match.re.groups else ""
            year = float(word) if kind == "years" else _bits(word)
            found[kind].append(Said(one_line(match.group(), 120), source, word, year))
    for match in (m for p in _PARAMETER_FORMS for m in p.finditer(line)):
        found["parameters"].append(_size(match, source))
    if line.startswith("# ") and not found["parameters"]:
        found["parameters"] += sizes_in_name(line, source)
    for match in (m for p in _CONTEXT_FORMS for m in p.finditer(line)):
        tokens = _tokens(match.group(1), match.group(2))
        if tokens >= _LEAST_CONTEXT:
            found["contexts"].append(Said(one_line(match.group(), 120), source, value=tokens, most=tokens))


def _size(match: re.Match[str], source: str) -> Said:
    times, number, unit = match.groups()[:3]
    each = float(number) * _UNITS[unit[0].lower()]
    return Said(one_line(match.group(), 80), source, value=each, most=each * int(times or 1))


def _tokens(number: str, unit: str | None) -> float:
    """128k is 128,000 or 131,072 by writer; the smaller is meant to be enough."""
    value = float(number.replace(",", "") or 0)
    return value * {"k": 1e3, "m": 1e6}.get((unit or "").lower(), 1.0)


def _bits(word: str) -> float:
    """How many bits a number has in a quantization of this name; 0 where the name does not say."""
    named = {"nf4": 4, "fp4": 4, "mxfp4": 4, "fp8": 8, "int8": 8, "int4": 4, "awq": 4}
    if word in named:
        return float(named[word])
    digits = re.match(r"q?([2-8])(?:_|-?bit)", word)
    return float(digits.group(1)) if digits else 0.0
