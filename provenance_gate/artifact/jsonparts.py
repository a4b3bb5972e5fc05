"""Large JSON in bounded memory: where the members of its upper levels lie, and long lists a portion at a time.

The commas of the three outer levels are found on the bytes; nothing is parsed for that. Every part that is then asked for goes
through `jsonfile.load_json`, with the brackets that it was cut out of put back. What is accepted is therefore JSON and has the
value that a parse of the whole would give: a wrong cut leaves portions that are not JSON. Parts that nobody asks for are not
judged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.jsonfile import MAX_DEPTH, load_json, load_json_object
from provenance_gate.errors import MalformedFileError

LEVELS: Final = 3
MAX_MEMBERS: Final = 8_000_000
"""Commas in the three outer levels: 32 MB of places."""

MAX_FIELDS: Final = 256
"""Members of an object that `JsonParts.fields` lists."""

MAX_PART: Final = 4 << 20
"""Bytes of a value that is parsed at once. Three bytes can become seventy of memory."""

MAX_ITEM: Final = 1 << 20
"""Bytes of one member of a list that `JsonParts.portions` gives."""

_PORTION: Final = 1 << 16
_BLOCK: Final = 1 << 18
"""Bytes handled at a time: only saves memory."""

_QUOTE, _BACKSLASH, _COMMA = b'"\\,'
_KIND: Final = bytes(
    {**dict.fromkeys(b"{[", 1), **dict.fromkeys(b"}]", 2), _QUOTE: 3, _COMMA: 4}.get(byte, 0) for byte in range(256)
)
_STEP: Final = np.array([0, 1, -1, 0, 0], np.int32)
_BLANK: Final = b" \t\n\r"
_BLANKS: Final = re.compile(rb"[ \t\n\r]*")
_KEY: Final = re.compile(rb'[ \t\n\r]*("(?:[^"\\]|\\.){0,500}")[ \t\n\r]*:', re.DOTALL)


class Span(NamedTuple):
    """Bytes [start, stop) of the file: one value, without blanks around, and how many brackets lie around it."""

    start: int
    stop: int
    level: int


class JsonParts:
    """A JSON file whose top is an object.

    Parameters
    ----------
    data
        The whole file.
    name
        What messages call it.

    Raises
    ------
    MalformedFileError
        The top is not an object, brackets or quotes do not match, nesting goes beyond `jsonfile.MAX_DEPTH`, or there are more
        than `MAX_MEMBERS` commas in the outer levels.
    """

    def __init__(self, data: bytes, name: str) -> None:
        self._data = data
        self.name = name
        self.top = self._stripped(0, len(data), 0)
        if len(data) <= _PORTION:
            # Small: the plain reader names line and column of what is wrong.
            load_json_object(data, name)
        if data[self.top.start : self.top.start + 1] != b"{":
            raise MalformedFileError(f"{name}: expected an object, found {self.describe(self.top)}")
        self._commas = self._find_commas()

    def fields(self, span: Span, where: str = "") -> dict[str, Span]:
        """Values of the members of an object, by key.

        Raises
        ------
        MalformedFileError
            Not an object, a key appears twice, or there are more than `MAX_FIELDS`.
        """
        at = f"{self.name}: {where}: " if where else f"{self.name}: "
        if not self.is_a(span, b"{}"):
            raise MalformedFileError(f"{at}expected an object, found {self.describe(span)}")
        cuts = self._cuts(span)
        if len(cuts) >= MAX_FIELDS:
            raise MalformedFileError(f"{at}more than {MAX_FIELDS} members")
        found: dict[str, Span] = {}
        start = span.start + 1
        for stop in (*cuts.tolist(), span.stop - 1):
            match = _KEY.match(self._data, start, stop)
            if match is None and not len(cuts) and self._is_blank(start, stop):
                break
            key = None if match is None else load_json(match[1], self.name)
            if match is None or not isinstance(key, str):
                raise MalformedFileError(f"{at}not JSON: expected a key and a value at byte {start}")
            if key in found:
                raise MalformedFileError(f"{at}key {key[:100]!r} appears twice in one object")
            found[key] = self._stripped(match.end(), stop, span.level + 1)
            start = stop + 1
        return found

    def value(self, span: Span | None, where: str, limit: int = MAX_PART) -> object:
        """The parsed value of at most `limit` bytes; None when there is no such member."""
        if span is None:
            return None
        if span.stop - span.start > limit:
            raise MalformedFileError(
                f"{self.name}: {where}: {span.stop - span.start:,} bytes, at most {limit:,} are read"
            )
        return load_json(self._data[span.start : span.stop], f"{self.name}: {where}", is_flat=True)

    def portions(self, span: Span, where: str) -> Iterator[object]:
        """The members of a list or object, in lists or objects of some tens of kilobytes each; none when it is empty.

        That no key appears twice holds for each portion only.

        Raises
        ------
        MalformedFileError
            A portion is not JSON, or a member has more than `MAX_ITEM` bytes.
        """
        first, last = self._data[span.start : span.start + 1], self._data[span.stop - 1 : span.stop]
        ends = np.append(self._cuts(span), np.int32(span.stop - 1))
        start, at = span.start + 1, 0
        if len(ends) == 1 and self._is_blank(start, int(ends[0])):
            return
        while at < len(ends):
            # As many members as fit, one at least. (A plain int would turn the whole array into int64.)
            at = max(at, int(np.searchsorted(ends, np.int32(start + _PORTION))) - 1)
            stop = int(ends[at])
            if stop - start > MAX_ITEM:
                size = f"{stop - start:,} bytes, at most {MAX_ITEM:,} are read"
                raise MalformedFileError(f"{self.name}: {where}: a member of {size}")
            if self._is_blank(start, stop):
                raise MalformedFileError(f"{self.name}: {where}: not JSON: expected a value at byte {start}")
            text = first + self._data[start:stop] + last
            yield load_json(text, f"{self.name}: {where}, from byte {start} on", is_flat=True)
            start, at = stop + 1, at + 1

    def count(self, span: Span) -> int:
        """Members of a list or object that is not empty."""
        return len(self._cuts(span)) + 1

    def is_a(self, span: Span, brackets: bytes) -> bool:
        """Whether a value starts and ends with these brackets."""
        return (
            span.stop - span.start > 1
            and self._data[span.start] == brackets[0]
            and self._data[span.stop - 1] == brackets[1]
        )

    def describe(self, span: Span) -> str:
        """What kind of value it is, for messages, by its first byte."""
        kinds = {b"{": "an object", b"[": "a list", b'"': "a string", b"n": "null", b"t": "true", b"f": "false"}
        return kinds.get(self._data[span.start : span.start + 1], "a number" if span.stop > span.start else "nothing")

    def _cuts(self, span: Span) -> NDArray[np.int32]:
        """Places of the commas between the members of a value."""
        commas = self._commas[span.level]
        return commas[np.searchsorted(commas, np.int32(span.start)) : np.searchsorted(commas, np.int32(span.stop))]

    def _stripped(self, start: int, stop: int, level: int) -> Span:
        start = _BLANKS.match(self._data, start, stop).end()  # type: ignore[union-attr]
        while stop > start:
            end = self._data[max(start, stop - _BLOCK) : stop]
            kept = len(end.rstrip(_BLANK))
            stop -= len(end) - kept
            if kept:
                break
        return Span(start, stop, level)

    def _is_blank(self, start: int, stop: int) -> bool:
        span = self._stripped(start, stop, 0)
        return span.start == span.stop

    def _find_commas(self) -> list[NDArray[np.int32]]:
        found: list[list[NDArray[np.int32]]] = [[] for _ in range(LEVELS)]
        depth, inside, run, count = 0, 0, 0, 0
        for first in range(0, len(self._data), _BLOCK):
            block = self._data[first : first + _BLOCK]
            kinds = np.frombuffer(block.translate(_KIND), np.uint8)
            marks = np.flatnonzero(kinds)
            kinds = kinds[marks]
            if run or _BACKSLASH in block:
                kept, run = _unescaped(block, marks, kinds, run)
                marks, kinds = marks[kept], kinds[kept]
            quotes = np.cumsum(kinds == 3, dtype=np.int32) + inside
            outside = (quotes & 1) == 0
            inside = int(quotes[-1]) & 1 if len(quotes) else inside
            marks, kinds = marks[outside], kinds[outside]
            levels = np.cumsum(_STEP[kinds], dtype=np.int32) + depth
            if not len(levels):
                continue
            depth = int(levels[-1])
            ends = bool((levels[:-1] <= 0).any()) or (depth <= 0 and first + int(marks[-1]) != self.top.stop - 1)
            if int(levels.max()) > MAX_DEPTH:
                raise MalformedFileError(f"{self.name}: nested deeper than {MAX_DEPTH} levels")
            if ends:
                raise MalformedFileError(f"{self.name}: not JSON: brackets do not match")
            commas = kinds == 4
            places, levels = marks[commas], levels[commas]
            for level in range(LEVELS):
                chosen = places[levels == level + 1]
                count += len(chosen)
                if len(chosen):
                    found[level].append((chosen + first).astype(np.int32))
            if count > MAX_MEMBERS:
                raise MalformedFileError(f"{self.name}: more than {MAX_MEMBERS:,} values in the outer levels")
        if depth or inside:
            raise MalformedFileError(f"{self.name}: not JSON: a {'string' if inside else 'bracket'} is not closed")
        return [np.concatenate([np.zeros(0, np.int32), *places]) for places in found]


def _unescaped(
    block: bytes, marks: NDArray[np.int64], kinds: NDArray[np.uint8], run: int
) -> tuple[NDArray[np.bool_], int]:
    """Which marks are not quotes after an odd number of backslashes; and the length, modulo 2, of the run at the block's end.

    `run` is that of the block before.
    """
    slashes = np.flatnonzero(np.frombuffer(block, np.uint8) == _BACKSLASH)
    # Every backslash to the first of its run; one before the block stands for the run that goes on.
    slashes = np.concatenate((np.full(run, -1), slashes))
    starts = np.concatenate((np.ones(min(1, len(slashes)), np.bool_), np.diff(slashes) != 1))
    first = np.maximum.accumulate(np.where(starts, slashes, -2)) if len(slashes) else slashes
    quotes = np.flatnonzero(kinds == 3)
    before = marks[quotes] - 1
    at = np.minimum(np.searchsorted(slashes, before), max(0, len(slashes) - 1))
    kept = np.ones(len(marks), np.bool_)
    if len(slashes):
        escaped = (slashes[at] == before) & (((before - first[at]) & 1) == 0)
        kept[quotes[escaped]] = False
        end = len(block) - 1
        run = (end - int(first[-1]) + 1) & 1 if int(slashes[-1]) == end else 0
    return kept, run
