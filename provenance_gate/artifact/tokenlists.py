"""The long lists of a tokenizer.json, read a portion at a time: vocabulary, added tokens, merge rules.

What is kept of them are an entry of a dict and its bytes per token, and of the rest what `AnchorTokenizer` needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from operator import add
from typing import Final, cast

from provenance_gate.artifact.anchorids import MAX_ADDED, AnchorTokenizer
from provenance_gate.artifact.configfacts import describe
from provenance_gate.artifact.jsonparts import JsonParts, Span
from provenance_gate.artifact.tokenfacts import MAX_TOKENS, NO_MERGES, MergeLines, MergeRules
from provenance_gate.errors import MalformedFileError, UnsafeFormatError, one_line

MAX_TOKEN_ID: Final = 2**31
MAX_CHARACTERS: Final = 10_000_000
"""Of all tokens: ten for each of a million."""
MAX_MERGES: Final = 2_000_000
"""Four times Gemma 3's."""

_MAX_RULES: Final = 100_000
_TOKEN_FIELDS: Final = ("content", "single_word", "lstrip", "rstrip", "normalized", "special")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Tokens of a model.

    Attributes
    ----------
    ids
        Token in UTF-8 to id, all of them.
    scores
        Of a Unigram model: those of the wanted tokens, and of the worst of all. None for others.
    """

    ids: dict[bytes, int]
    scores: dict[bytes, float] | None = None


def read_vocabulary(parts: JsonParts, span: Span | None, wanted: frozenset[bytes]) -> Vocabulary:
    """``model.vocab``: token to id, or for Unigram models a list of [token, score] whose index is the id."""
    if span is not None and parts.is_a(span, b"{}"):
        return Vocabulary(_with_ids(parts, span))
    if span is not None and parts.is_a(span, b"[]"):
        return _with_scores(parts, span, wanted)
    found = "null" if span is None else parts.describe(span)
    raise MalformedFileError(f"{parts.name}: model.vocab: expected at most {MAX_TOKENS:,} tokens, found {found}")


def add_tokens(
    parts: JsonParts, span: Span | None, ids: dict[bytes, int], anchors: AnchorTokenizer
) -> list[dict[str, object]]:
    """``added_tokens`` into `ids`, where the model's come first; gives those that an anchor string can meet."""
    if not _is_list(parts, span, "added_tokens", MAX_TOKENS) or span is None:
        return []
    met: list[dict[str, object]] = []
    index, characters = 0, 0
    for portion in parts.portions(span, "added_tokens"):
        assert isinstance(portion, list)
        for token in portion:
            if not isinstance(token, dict) or not isinstance(token.get("content"), str):
                raise MalformedFileError(f"{parts.name}: added_tokens[{index}]: expected an object with content")
            content, token_id = token["content"], token.get("id")
            if type(token_id) is not int or not 0 <= token_id < MAX_TOKEN_ID:
                raise _bad_id(parts, f"added_tokens[{index}].id", token_id)
            ids.setdefault(content.encode(), token_id)
            characters = _counted(parts, characters, (content,))
            if anchors.may_meet(content, token.get("normalized") is not False):
                met.append({name: token[name] for name in _TOKEN_FIELDS if name in token})
            index += 1
        if len(ids) > MAX_TOKENS:
            raise MalformedFileError(f"{parts.name}: added_tokens: more than {MAX_TOKENS:,} tokens with the model's")
        if len(met) > MAX_ADDED:
            raise UnsafeFormatError(
                f"{parts.name}: added_tokens: more than {MAX_ADDED:,} that occur within single words"
            )
    return met


def read_merges(
    parts: JsonParts, span: Span | None, ids: Mapping[bytes, int], kept: Mapping[bytes, int], prefix: object
) -> tuple[MergeRules, list[tuple[bytes, bytes]] | None]:
    """``model.merges`` in either spelling, and the rules between `kept` tokens in order; None for a model without rules.

    Parameters
    ----------
    ids
        The tokens of the model: what a rule names and what it makes must be among them.
    prefix
        The model's ``continuing_subword_prefix``, which a merge takes off its right half.
    """
    if not _is_list(parts, span, "model.merges", MAX_MERGES) or span is None:
        return NO_MERGES, None
    cut = len(prefix) if isinstance(prefix, str) else 0
    lines, index = MergeLines(), 0
    # Of equal rules the last counts.
    rules: dict[tuple[bytes, bytes], None] = {}
    for portion in parts.portions(span, "model.merges"):
        assert isinstance(portion, list)
        lefts, rights = _halves(parts, portion, index)
        lines.add(list(map(b" ".join, zip(lefts, rights, strict=True))))
        index += len(portion)
        # The library passes over the line that starts a merges.txt.
        heads = [at for at, rule in enumerate(portion) if rule[0] == "#" and rule[:8] == "#version"]
        for at in reversed(heads):
            del lefts[at], rights[at]
        if cut and min(map(len, rights), default=cut) < cut:
            raise MalformedFileError(
                f"{parts.name}: model.merges: a right half is shorter than continuing_subword_prefix"
            )
        wholes = list(map(add, lefts, (right[cut:] for right in rights) if cut else rights))
        for tokens in (lefts, rights, wholes):
            if not all(map(ids.__contains__, tokens)):
                missing = next(token for token in tokens if token not in ids)
                shown = one_line(repr(missing.decode(errors="replace")), 60)
                raise MalformedFileError(f"{parts.name}: model.merges: {shown} is in a rule, but not in model.vocab")
        for at in [at for at, whole in enumerate(wholes) if whole in kept]:
            rule = lefts[at], rights[at]
            if rule[0] in kept and rule[1] in kept:
                rules.pop(rule, None)
                rules[rule] = None
        if len(rules) > _MAX_RULES:
            raise UnsafeFormatError(
                f"{parts.name}: model.merges: more than {_MAX_RULES:,} between parts of a few words"
            )
    return lines.rules(), list(rules)


def _with_ids(parts: JsonParts, span: Span) -> dict[bytes, int]:
    _check_count(parts, span, "model.vocab", MAX_TOKENS)
    ids: dict[bytes, int] = {}
    characters = 0
    for portion in parts.portions(span, "model.vocab"):
        assert isinstance(portion, dict)
        for token, token_id in portion.items():
            if type(token_id) is not int or not 0 <= token_id < MAX_TOKEN_ID:
                raise _bad_id(parts, f"model.vocab of {one_line(token, 60)!r}", token_id)
        characters = _counted(parts, characters, portion)
        before = len(ids)
        ids.update(zip(_encoded(list(portion)), portion.values(), strict=True))
        if len(ids) != before + len(portion):
            raise MalformedFileError(f"{parts.name}: model.vocab: a token appears twice")
    return ids


def _with_scores(parts: JsonParts, span: Span, wanted: frozenset[bytes]) -> Vocabulary:
    _check_count(parts, span, "model.vocab", MAX_TOKENS)
    ids: dict[bytes, int] = {}
    scores: dict[bytes, float] = {}
    worst: tuple[float, bytes] | None = None
    index, characters = 0, 0
    for portion in parts.portions(span, "model.vocab"):
        assert isinstance(portion, list)
        for at, pair in enumerate(portion):
            if not isinstance(pair, list) or [type(pair[0]), type(pair[-1])] not in _SCORED or len(pair) != 2:
                raise MalformedFileError(
                    f"{parts.name}: model.vocab[{index + at}]: expected [token, score], found {describe(pair)}"
                )
        characters = _counted(parts, characters, (token for token, _ in portion))
        tokens = _encoded([token for token, _ in portion])
        values = [float(score) for _, score in portion]
        ids.update(zip(tokens, range(index, index + len(tokens)), strict=True))
        scores.update((token, score) for token, score in zip(tokens, values, strict=True) if token in wanted)
        lowest = min(zip(values, tokens, strict=True))
        worst = lowest if worst is None else min(worst, lowest)
        index += len(tokens)
    if worst is not None:
        scores.setdefault(worst[1], worst[0])
    return Vocabulary(ids, scores)


_SCORED: Final = ([str, int], [str, float])


def _halves(parts: JsonParts, rules: list[object], index: int) -> tuple[list[bytes], list[bytes]]:
    """Left and right halves of rules in either spelling; `index` is that of the first."""
    if set(map(type, rules)) == {list} and set(map(len, cast("list[list[object]]", rules))) == {2}:
        flat = list(chain.from_iterable(cast("list[list[object]]", rules)))
        if set(map(type, flat)) == {str}:
            halves = _encoded(cast("list[str]", flat))
            return halves[::2], halves[1::2]
    pairs = [rule.split(" ", 1) if isinstance(rule, str) else rule for rule in rules]
    for at, pair in enumerate(pairs):
        if not isinstance(pair, list) or len(pair) != 2 or type(pair[0]) is not str or type(pair[1]) is not str:
            found = describe(rules[at])
            raise MalformedFileError(f"{parts.name}: model.merges[{index + at}]: expected two strings, found {found}")
    halves = _encoded([half for pair in pairs for half in cast("list[str]", pair)])
    return halves[::2], halves[1::2]


def _is_list(parts: JsonParts, span: Span | None, field: str, most: int) -> bool:
    """False when the list is absent."""
    if span is None or parts.describe(span) == "null":
        return False
    if not parts.is_a(span, b"[]"):
        raise MalformedFileError(f"{parts.name}: {field}: expected a list, found {parts.describe(span)}")
    _check_count(parts, span, field, most)
    return True


def _check_count(parts: JsonParts, span: Span, field: str, most: int) -> None:
    count = parts.count(span)
    if count > most:
        raise MalformedFileError(f"{parts.name}: {field}: expected at most {most:,}, found {count:,}")


def _counted(parts: JsonParts, before: int, texts: Iterable[str]) -> int:
    characters = before + sum(map(len, texts))
    if characters > MAX_CHARACTERS:
        raise MalformedFileError(f"{parts.name}: more than {MAX_CHARACTERS:,} characters of tokens")
    return characters


def _encoded(texts: list[str]) -> list[bytes]:
    """Each in UTF-8. In one go a third of the time that one by one takes."""
    encoded = "\0".join(texts).encode().split(b"\0") if texts else []
    return encoded if len(encoded) == len(texts) else [text.encode() for text in texts]


def _bad_id(parts: JsonParts, where: str, found: object) -> MalformedFileError:
    return MalformedFileError(f"{parts.name}: {where}: expected an id in [0, 2**31), found {describe(found)}")
