"""Regular expressions of real tokenizers are used, those that backtrack without bound are not."""

from __future__ import annotations

import pytest

from provenance_gate.artifact.anchorids import MAX_WORD
from provenance_gate.artifact.boundedregex import MAX_CHARACTERS, is_bounded

TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
REAL = {
    "gpt-2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "llama 3": rf"{SHORT}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{TAIL}",
    "qwen 2": rf"{SHORT}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{TAIL}",
    "o200k": rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{SHORT}?|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{SHORT}?"
    rf"|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "deepseek 3": r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    "bloom": r" ?[^(\s|[.,!?…。，、।۔،])]+",
    "clip": r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
    "falcon": r"[0-9][0-9][0-9]",
    "groups of three digits": r"(?=(\d{3})+(?!\d))",
    "han": r"[一-龥぀-ゟ゠-ヿ]+",
    "kimi": r"[\p{Han}]+|[\p{Lu}&&[^\p{Han}]]*[\p{Ll}&&[^\p{Han}]]+",
    "spaces": r" {2,}",
    "possessive": r"[^\r\n\p{L}\p{N}]?+\p{L}++|\s++$",
}


@pytest.mark.parametrize("pattern", REAL.values(), ids=REAL)
def test_patterns_of_real_tokenizers_are_bounded(pattern: str) -> None:
    assert is_bounded(pattern, MAX_WORD)


UNBOUNDED = [
    *(r"(a*)*b", r"(a|aa)+$", r"(a+)+", r"(?:a?){30}b", r"(?:a|b)*", r"a*a*a*a*a*", r"a{1,3}+", r"a**", r"(?:\b)*"),
    *(r"(a)\1", r"(?<n>a)\g<n>", r"(?R)", r"(?x)a", r"(?~a)", r"(?(1)a|b)", r"\X*", r"\Ka", r"(?#a)", r"\Qa\E"),
    *(
        "[]a]",
        "[a",
        "(a",
        "a)",
        "*",
        "+a",
        "a{",
        "a\\",
        "(" * 30 + ")" * 30,
        "(?:(?:a{90}){90}){90}",
        "a" * (MAX_CHARACTERS + 1),
    ),
    "(?:a|a)(?:a|a)" * 10,
]


@pytest.mark.parametrize("pattern", UNBOUNDED, ids=range(len(UNBOUNDED)))
def test_others_are_not(pattern: str) -> None:
    assert not is_bounded(pattern, MAX_WORD)


def test_the_bound_grows_with_the_text() -> None:
    assert is_bounded("a*b*c*", 24)
    assert not is_bounded("a*b*c*", 100)
    assert is_bounded("a" * MAX_CHARACTERS, 24)
