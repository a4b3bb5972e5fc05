"""Whether a regular expression from a file can be matched in few steps.

Oniguruma backtracks: ``(a|aa)+$`` on thirty characters takes a million steps, and its limit of ten million ends in a panic of the
Rust library. Counted here is how many ways a match may be tried from one place: a product over what follows each other, a sum
over alternatives, ``n + 1`` for a repeated character on texts of n. Repeating what can itself match in several ways has no
bound, and neither has anything unusual (back-references, recursion, conditions, options but i, m and s): the patterns of the
tokenizer families in use need none of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MAX_CHARACTERS: Final = 2000
MAX_WAYS: Final = 50_000
"""The pattern of o200k, the largest of those in use, has 21,000 on 24 characters."""

_MAX_TIMES: Final = 100
_MAX_NESTING: Final = 20
_ESCAPE: Final = re.compile(
    r"\\(?:(?P<zero>[bBAzZ])|[sSdDwWrntf]|[pP]\{\^?[A-Za-z_ 0-9]{1,40}\}|x[0-9A-Fa-f]{2}|x\{[0-9A-Fa-f]{1,6}\}|u[0-9A-Fa-f]{4}"
    r"|[^A-Za-z0-9])",
    re.ASCII | re.DOTALL,
)
_GROUP: Final = re.compile(r"\((?:\?(?:(?P<look>=|!|<=|<!)|>|[ims]{0,3}(?:-[ims]{1,3})?:))?")
_OPTIONS: Final = re.compile(r"\(\?[ims]{1,3}\)")
_TIMES: Final = re.compile(r"\{(?:(?P<least>[0-9]{1,4}))?(?P<comma>,)?(?P<most>[0-9]{1,4})?\}")
_REPEATED: Final = frozenset("*+?{")


class _UnboundedError(ValueError):
    """There is no bound, or none that this module can see."""


@dataclass(frozen=True, slots=True)
class _Part:
    """`ways`: in how many ways it can match at one place; `empty`: whether it may match no character; `size` when expanded."""

    ways: int
    empty: bool
    size: int


def is_bounded(pattern: str, characters: int) -> bool:
    """Whether `pattern` is tried in at most `MAX_WAYS` ways from each place of a text of so many characters."""
    if len(pattern) > MAX_CHARACTERS:
        return False
    try:
        return _Reader(pattern, characters).read().ways <= MAX_WAYS
    except _UnboundedError:
        return False


class _Reader:
    def __init__(self, pattern: str, characters: int) -> None:
        self.pattern, self.characters = pattern, characters
        self.at = 0
        self.nesting = 0

    def read(self) -> _Part:
        part = self._alternatives()
        if self.at < len(self.pattern):
            raise _UnboundedError
        return part

    def _alternatives(self) -> _Part:
        self.nesting += 1
        if self.nesting > _MAX_NESTING:
            raise _UnboundedError
        branches = [self._sequence()]
        while self.pattern.startswith("|", self.at):
            self.at += 1
            branches.append(self._sequence())
        self.nesting -= 1
        return _limited(sum(b.ways for b in branches), any(b.empty for b in branches), sum(b.size for b in branches))

    def _sequence(self) -> _Part:
        ways, empty, size = 1, True, 1
        while self.at < len(self.pattern) and self.pattern[self.at] not in "|)":
            part = self._repeated(self._atom())
            ways, empty, size = ways * part.ways, empty and part.empty, size + part.size
            _limited(ways, empty, size)
        return _Part(ways, empty, size)

    def _atom(self) -> _Part:
        character = self.pattern[self.at]
        if character == "\\":
            return _Part(1, bool(self._match(_ESCAPE)["zero"]), 1)
        if character == "[":
            self._character_class()
            return _Part(1, False, 1)
        if character == "(":
            options = _OPTIONS.match(self.pattern, self.at)
            if options is not None:
                self.at = options.end()
                return _Part(1, True, 1)
            look = self._match(_GROUP)["look"]
            if self.pattern.startswith("?", self.at):
                raise _UnboundedError
            inner = self._alternatives()
            if not self.pattern.startswith(")", self.at):
                raise _UnboundedError
            self.at += 1
            return _Part(inner.ways, inner.empty or look is not None, inner.size)
        if character in _REPEATED:
            raise _UnboundedError
        self.at += 1
        return _Part(1, character in "^$", 1)

    def _repeated(self, part: _Part) -> _Part:
        sign = self.pattern[self.at : self.at + 1]
        if sign not in _REPEATED or not sign:
            return part
        if sign == "{":
            times = self._match(_TIMES)
            least = int(times["least"] or 0)
            most = int(times["most"]) if times["most"] else None if times["comma"] else least
            if times["least"] is None and times["most"] is None:
                raise _UnboundedError
            after = "?"
        else:
            self.at += 1
            least, most, after = int(sign == "+"), 1 if sign == "?" else None, "?+"
        if self.at < len(self.pattern) and self.pattern[self.at] in after:
            self.at += 1
        # What is repeated twice over is read differently by different engines.
        if self.at < len(self.pattern) and self.pattern[self.at] in _REPEATED:
            raise _UnboundedError
        if max(least, most or 0) > _MAX_TIMES or (most is not None and most < least):
            raise _UnboundedError
        size = part.size * max(1, least, most or 0)
        if (least, most) == (0, 1):
            return _limited(part.ways + 1, True, size)
        if least == most and (part.ways == 1 or least <= 1):
            return _limited(part.ways, part.empty or least == 0, size)
        if part.ways > 1 or part.empty:
            raise _UnboundedError
        longest = self.characters if most is None else min(most, self.characters)
        return _limited(longest + 1, least == 0, size)

    def _character_class(self) -> None:
        """Passes over a class, with classes within it."""
        depth = 0
        while True:
            character = self.pattern[self.at : self.at + 1]
            if character == "\\":
                self._match(_ESCAPE)
                continue
            if not character:
                raise _UnboundedError
            self.at += 1
            if character == "[":
                depth += 1
                if self.pattern.startswith("^", self.at):
                    self.at += 1
                if self.pattern.startswith("]", self.at):
                    raise _UnboundedError
            elif character == "]":
                depth -= 1
                if not depth:
                    return

    def _match(self, what: re.Pattern[str]) -> re.Match[str]:
        match = what.match(self.pattern, self.at)
        if match is None:
            raise _UnboundedError
        self.at = match.end()
        return match


def _limited(ways: int, empty: bool, size: int) -> _Part:
    if ways > MAX_WAYS or size > 5 * MAX_CHARACTERS:
        raise _UnboundedError
    return _Part(ways, empty, size)
