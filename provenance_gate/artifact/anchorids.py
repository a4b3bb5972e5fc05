"""First ids of the anchor strings, by the tokenizers library, which is given only what an anchor string can meet.

Of a vocabulary only the pieces of the words that normalizer and pre-tokenizer make of the anchors can matter, with the rules
between them and the added tokens within them: some hundreds, whatever the length of the list. The ids are numbered anew for the
library and turned back.

The library panics or runs for minutes on input made for it, so its steps are checked one by one before they run together:

- only known types; strings and patterns of bounded length; a regular expression only if it is `boundedregex.is_bounded`. A
  ``Split`` by any other is left out: the anchors are single words or signs, which splitting leaves whole. A ``Replace`` by any
  other is refused;
- a ``Precompiled`` map is followed to its ends (`charsmap`);
- no step may make a text of more than `MAX_WORD` characters;
- BPE dropout is taken out, for it makes the ids random; padding, truncation, post-processor and decoder are not handed over.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import Final, ParamSpec, TypeVar

import tokenizers

from provenance_gate.artifact.anchors import ANCHOR_STRINGS
from provenance_gate.artifact.boundedregex import is_bounded
from provenance_gate.artifact.charsmap import why_unsafe
from provenance_gate.errors import MalformedFileError, UnsafeFormatError, one_line

MAX_WORD: Final = 24
"""Characters that an anchor string may become; byte-level models make 9 of the longest."""

MAX_STEPS: Final = 64
MAX_TEXT: Final = 200
"""Characters of a string pattern or of what replaces it; a few are usual."""

MAX_ADDED: Final = 4096
"""Added tokens that occur within anchor strings."""

_MAX_PIECES: Final = 200_000
_SHORT, _FEW_WORDS = 8, 500
_MAX_MARK: Final = 20
_MAX_WORDS: Final = 20_000
_LONGEST_ADDED: Final = 16
"""Characters of an added token that is looked at in normalized form; anchors have at most 5."""

_NORMALIZERS: Final = frozenset(
    (
        *("BertNormalizer", "ByteLevel", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Precompiled", "Prepend"),
        *("Replace", "Strip", "StripAccents"),
    )
)
_PRE_TOKENIZERS: Final = frozenset(
    (
        *("BertPreTokenizer", "ByteLevel", "CharDelimiterSplit", "Delimiter", "Digits", "FixedLength", "Metaspace"),
        *("Punctuation", "Split", "UnicodeScripts", "Whitespace", "WhitespaceSplit"),
    )
)
_FILE: Final = "tokenizer.json"
Step = dict[str, object]
_T = TypeVar("_T")
_P = ParamSpec("_P")


class AnchorTokenizer:
    """A tokenizer without its vocabulary: what the anchor strings become before the model sees them.

    Parameters
    ----------
    normalizer, pre_tokenizer
        The parts of tokenizer.json, parsed; None when absent.
    model
        The part ``model`` without ``vocab`` and ``merges``.

    Attributes
    ----------
    wanted : frozenset of bytes
        Every token of the model that an encoding of an anchor string can meet, if it is in the vocabulary.

    Raises
    ------
    MalformedFileError
        The library cannot use a part.
    UnsafeFormatError
        A part could take time or memory without reasonable end.
    """

    def __init__(self, normalizer: object, pre_tokenizer: object, model: Mapping[str, object]) -> None:
        self._model = dict(model)
        self._normalizers = _steps(normalizer, "normalizer", "normalizers", _NORMALIZERS)
        self._pre_tokenizers = _steps(pre_tokenizer, "pre_tokenizer", "pretokenizers", _PRE_TOKENIZERS)
        self._one_by_one = [_library({"normalizer": step}) for step in self._normalizers]
        # An added token within an anchor leaves a part of it to the steps.
        self._raw = _parts(ANCHOR_STRINGS)
        self._normalized = _parts(self._normalize(self._raw))
        self.wanted = self._wanted_pieces(self._words(self._normalized))

    def may_meet(self, content: str, normalized: bool) -> bool:
        """Whether an added token can occur in an anchor string."""
        if content in self._raw:
            return True
        if not normalized or len(content) > _LONGEST_ADDED:
            return False
        try:
            return not self._normalized.isdisjoint(self._normalize((content,)))
        except UnsafeFormatError:
            # Becomes longer than any anchor does.
            return False

    def first_ids(
        self,
        tokens: Mapping[bytes, int],
        scores: Mapping[bytes, float] | None,
        rules: Sequence[tuple[bytes, bytes]] | None,
        added: Sequence[Mapping[str, object]],
        ids: Mapping[bytes, int],
    ) -> dict[str, int]:
        """First id of each anchor string that has one.

        Parameters
        ----------
        tokens
            Token to id: those of `wanted` that the model has, and its token for what is unknown; at least one.
        scores
            One per token for a Unigram model, else None. The worst of the whole list must be among them: what is unknown costs
            ten more.
        rules
            Merge rules between `tokens`, in order; None for a model without.
        added
            The added tokens that `may_meet` an anchor, in order.
        ids
            Token to id, the added ones included.

        Raises
        ------
        MalformedFileError
            The library cannot use it.
        """
        ordered = sorted(tokens.items(), key=lambda item: (item[1], item[0]))
        numbered = [token_id for _, token_id in ordered]
        texts = [token.decode() for token, _ in ordered]
        numbers = {text: number for number, text in enumerate(texts)}
        model: Step = {**self._model}
        if scores is None:
            model["vocab"] = numbers
        else:
            model["vocab"] = [[text, scores[token]] for text, (token, _) in zip(texts, ordered, strict=True)]
            unknown = model.get("unk_id")
            # What is not an id is for the library to refuse.
            model["unk_id"] = numbered.index(unknown) if isinstance(unknown, int) and unknown in numbered else unknown
        if "dropout" in model:
            model["dropout"] = None
        if rules is not None:
            model["merges"] = [[left.decode(), right.decode()] for left, right in rules]
        added = self._told_apart(added, ids)
        contents = [str(token["content"]) for token in added]
        for content in contents:
            numbers.setdefault(content, len(numbers))
        listed = [{**token, "id": numbers[content]} for token, content in zip(added, contents, strict=True)]
        tokenizer = _library(
            {
                "normalizer": _sequence(self._normalizers, "normalizers"),
                "pre_tokenizer": _sequence(self._pre_tokenizers, "pretokenizers"),
                "added_tokens": listed,
                "model": model,
            }
        )
        turned = dict(enumerate(numbered))
        for content in contents:
            number = tokenizer.token_to_id(content)
            if number is not None:
                turned.setdefault(number, ids[content.encode()])
        found = [_guarded(_encode, tokenizer, anchor) for anchor in ANCHOR_STRINGS]
        return {anchor: turned[int(some[0])] for anchor, some in zip(ANCHOR_STRINGS, found, strict=True) if some}

    def _told_apart(
        self, added: Sequence[Mapping[str, object]], ids: Mapping[bytes, int]
    ) -> list[Mapping[str, object]]:
        """`added` without those that the normalizer makes equal to one of a smaller id.

        The library finds one of the equal ones, and not always the same: it takes them in the order of a hash table.
        """
        normalizer = None
        kept: dict[tuple[bool, str], Mapping[str, object]] = {}
        for token in sorted(added, key=lambda t: ids[str(t["content"]).encode()]):
            text = str(token["content"])
            if token.get("normalized") is True and self._normalizers:
                normalizer = (
                    normalizer or _library({"normalizer": _sequence(self._normalizers, "normalizers")}).normalizer
                )
                text = _guarded(normalizer.normalize_str, text)
            kept.setdefault((token.get("normalized") is True, text), token)
        chosen = {id(token) for token in kept.values()}
        return [token for token in added if id(token) in chosen]

    def _normalize(self, texts: Iterable[str]) -> set[str]:
        made = set(texts)
        for step in self._one_by_one:
            made = {_guarded(step.normalizer.normalize_str, text) for text in made}
            _check_lengths(made, "normalizer")
        return made

    def _words(self, texts: Iterable[str]) -> set[str]:
        """Words that the pre-tokenizer makes of texts, step by step, and all steps together."""
        whole = set(texts)
        made = set(whole)
        for step in self._pre_tokenizers:
            made = _split(_library({"pre_tokenizer": step}), made)
        if len(self._pre_tokenizers) > 1:
            made |= _split(_library({"pre_tokenizer": _sequence(self._pre_tokenizers, "pretokenizers")}), whole)
        return made

    def _wanted_pieces(self, words: Iterable[str]) -> frozenset[bytes]:
        words = tuple(words)
        pieces = _parts(words)
        if self._model.get("type") in (None, "BPE") and not self._model.get("unk_token"):
            # A character that the list lacks falls away, and its neighbors meet.
            pieces |= _thinned(words)
        prefix, suffix = (self._model.get(f"{name}") for name in ("continuing_subword_prefix", "end_of_word_suffix"))
        for name, mark in (("continuing_subword_prefix", prefix), ("end_of_word_suffix", suffix)):
            if isinstance(mark, str) and (len(mark) > _MAX_MARK or not mark.isascii()):
                raise UnsafeFormatError(f"{_FILE}: model.{name}: expected at most {_MAX_MARK} ASCII characters")
        for mark in ("##", prefix):
            pieces |= {f"{mark}{piece}" for piece in pieces} if isinstance(mark, str) and mark else set()
        pieces |= {f"{piece}{suffix}" for piece in pieces} if isinstance(suffix, str) and suffix else set()
        if len(pieces) > _MAX_PIECES:
            raise UnsafeFormatError(
                f"{_FILE}: normalizer: makes more than {_MAX_PIECES:,} pieces of the anchor strings"
            )
        pieces |= {f"<0x{byte:02X}>" for byte in range(256)}
        return frozenset(piece.encode() for piece in pieces)


def _steps(part: object, where: str, nested: str, known: frozenset[str]) -> list[Step]:
    """The steps of a part in order, those of sequences in place of them; each checked."""
    found: list[Step] = []
    waiting = [part]
    while waiting:
        step = waiting.pop()
        if step is None:
            continue
        if not isinstance(step, dict):
            raise MalformedFileError(f"{_FILE}: {where}: expected an object with a type")
        inner = step.get(nested)
        if step.get("type") == "Sequence" and isinstance(inner, list) and len(inner) + len(waiting) <= MAX_STEPS:
            waiting += inner[::-1]
            continue
        if not isinstance(step.get("type"), str) or step["type"] not in known:
            shown = one_line(repr(step.get("type")), 60)
            raise MalformedFileError(f"{_FILE}: {where}: type {shown} is not known, or has more than {MAX_STEPS} steps")
        if len(found) >= MAX_STEPS:
            raise UnsafeFormatError(f"{_FILE}: {where}: more than {MAX_STEPS} steps")
        if _is_usable(step, where):
            found.append(step)
    return found


def _is_usable(step: Step, where: str) -> bool:
    """Whether a step may run; False for a split that is left out."""
    for field in ("content", "prepend", "replacement", "delimiter"):
        text = step.get(field)
        if isinstance(text, str) and len(text) > MAX_TEXT:
            raise UnsafeFormatError(f"{_FILE}: {where}: {field} of {len(text):,} characters, at most {MAX_TEXT}")
    if step["type"] == "Precompiled":
        charsmap = step.get("precompiled_charsmap")
        why = why_unsafe(charsmap) if isinstance(charsmap, str) else "not a string"
        if why is not None:
            raise MalformedFileError(f"{_FILE}: {where}: precompiled_charsmap: {why}")
    length = step.get("length")
    if step["type"] == "FixedLength" and (type(length) is not int or length < 1):
        raise MalformedFileError(f"{_FILE}: {where}: FixedLength: expected a length of 1 or more")
    pattern = step.get("pattern")
    if not isinstance(pattern, dict):
        return True
    for text in pattern.values():
        if not isinstance(text, str):
            raise MalformedFileError(f"{_FILE}: {where}: pattern: expected a string")
    regex, plain = pattern.get("Regex"), pattern.get("String")
    if isinstance(plain, str) and (len(plain) > MAX_TEXT or not plain):
        raise UnsafeFormatError(f"{_FILE}: {where}: pattern of {len(plain):,} characters, expected 1 to {MAX_TEXT}")
    if regex is None or is_bounded(regex, MAX_WORD):
        return True
    if where == "pre_tokenizer":
        return False
    shown = one_line(repr(regex), 60)
    raise UnsafeFormatError(f"{_FILE}: {where}: the regular expression {shown} may run without reasonable end")


def _sequence(steps: list[Step], nested: str) -> Step | None:
    return {"type": "Sequence", nested: steps} if steps else None


def _thinned(texts: Iterable[str]) -> set[str]:
    """Every text of at most `_SHORT` characters with any of them left out; none where a normalizer makes very many texts."""
    short = {text for text in texts if len(text) <= _SHORT}
    if len(short) > _FEW_WORDS:
        return set()
    return {"".join(chosen) for text in short for size in range(1, len(text)) for chosen in combinations(text, size)}


def _parts(texts: Iterable[str]) -> set[str]:
    """Every part of every text but the empty one."""
    return {text[i:j] for text in texts for i in range(len(text)) for j in range(i + 1, len(text) + 1)}


def _split(tokenizer: tokenizers.Tokenizer, texts: Iterable[str]) -> set[str]:
    step = tokenizer.pre_tokenizer
    made = {word for text in texts for word, _ in _guarded(step.pre_tokenize_str, text)}
    _check_lengths(made, "pre_tokenizer")
    return made


def _check_lengths(texts: set[str], where: str) -> None:
    longest = max(map(len, texts), default=0)
    if longest > MAX_WORD or len(texts) > _MAX_WORDS:
        raise UnsafeFormatError(
            f"{_FILE}: {where}: makes a text of {longest:,} characters out of a short word, at most {MAX_WORD} are expected"
        )


def _library(parts: Mapping[str, object]) -> tokenizers.Tokenizer:
    empty = {"type": "WordLevel", "vocab": {"?": 0}, "unk_token": "?"}
    whole = {"version": "1.0", "added_tokens": [], "model": empty, **parts}
    text = json.dumps(whole, ensure_ascii=False, separators=(",", ":"))
    return _guarded(tokenizers.Tokenizer.from_str, text)


def _encode(tokenizer: tokenizers.Tokenizer, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def _guarded(work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """What `work` gives; an exception of the library is a MalformedFileError."""
    try:
        return work(*args, **kwargs)
    except Exception as error:
        # The library raises Exception itself, no subclass.
        raise MalformedFileError(f"{_FILE}: refused by the tokenizers library: {one_line(str(error))}") from error
    except BaseException as error:
        # A Rust panic arrives as a class that cannot be imported.
        if type(error).__name__ != "PanicException":
            raise
        raise MalformedFileError(f"{_FILE}: the tokenizers library failed: {one_line(str(error))}") from error
