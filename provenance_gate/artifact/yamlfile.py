"""YAML from untrusted files: a small subset, with the place of every key and value.

The rules of this reader:

- one document of at most 1 MiB, at most 50 levels deep; keys are strings and stand once in their mapping;
- no anchors and no aliases: they let a small file print as a large one;
- no tags other than the core ones (``!!str``, ``!!int``, ``!!float``, ``!!bool``, ``!!null``, ``!!seq``, ``!!map``);
- plain scalars are read as in YAML 1.2, less what surprises: only ``true`` and ``false`` are booleans (``no`` is the
  code of Norwegian), dates stay strings, and so do ``007``, ``0x1f``, ``1_000`` and ``12:30``;
- NaN, infinities and integers beyond 64 bit are refused.

The tree is built from parser events, not by a PyYAML loader: no constructor exists that a tag could call, and depth is
checked before it is used.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import yaml

from provenance_gate.errors import MalformedFileError, one_line

MAX_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 50

_CORE: Final = "tag:yaml.org,2002:"
_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEAN: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
# 2**64 has 20 digits; int() of a longer text is never needed, and is slow for very long ones.
_MAX_DIGITS: Final = 20

Scalar: TypeAlias = "bool | int | float | str | None"
Plain: TypeAlias = "Scalar | list[Plain] | dict[str, Plain]"


class YamlError(MalformedFileError):
    """A YAML file that cannot be read.

    Attributes
    ----------
    problem
        What was found, without the place.
    file, line, column
        Where; line and column count from 1.
    """

    def __init__(self, problem: str, line: int, column: int, file: str) -> None:
        super().__init__(f"{file}:{line}:{column}: {problem}")
        self.problem, self.file, self.line, self.column = problem, file, line, column


@dataclass(frozen=True, slots=True)
class Node:
    """A value with its place.

    Attributes
    ----------
    value
        A scalar, a tuple of nodes (sequence) or a mapping of nodes in the order of the file.
    line, column
        Where the value starts, from 1.
    key_line, key_column
        Where its key stands when it is a value of a mapping; else the same as `line` and `column`.
    """

    value: Scalar | tuple[Node, ...] | Mapping[str, Node]
    line: int
    column: int
    key_line: int
    key_column: int

    def to_plain(self) -> Plain:
        """The same tree as dicts, lists and scalars."""
        match self.value:
            case Mapping():
                return {key: child.to_plain() for key, child in self.value.items()}
            case tuple():
                return [child.to_plain() for child in self.value]
            case _:
                return self.value


def position_of(node: Node, path: Sequence[str | int]) -> tuple[int, int]:
    """Line and column of the entry at `path`: of its key in a mapping, of the item in a sequence.

    Where the tree ends before the path does (a missing key), the place of the last entry that exists.
    """
    line, column = node.key_line, node.key_column
    for step in path:
        child = _child(node, step)
        if child is None:
            break
        node = child
        line, column = node.key_line, node.key_column
    return line, column


def _child(node: Node, step: str | int) -> Node | None:
    value = node.value
    if isinstance(value, Mapping) and isinstance(step, str):
        return value.get(step)
    if isinstance(value, tuple) and isinstance(step, int) and 0 <= step < len(value):
        return value[step]
    return None


def load_yaml(text: str, name: str, first_line: int = 1) -> Node:
    """The one document in `text`.

    Parameters
    ----------
    text
        The document; a leading byte order mark is dropped.
    name
        File name for messages.
    first_line
        Line of the file at which `text` starts, when it is a part of one (front matter).

    Returns
    -------
    Node
        The root; null at line `first_line`, column 1 when there is no document.

    Raises
    ------
    YamlError
        The text is not YAML or breaks a rule of this module; it carries line and column.
    """
    text = text.removeprefix("\ufeff")
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise YamlError("lone surrogate in the text", first_line, 1, name) from error
    if size > MAX_BYTES:
        raise YamlError(f"{size} bytes, at most {MAX_BYTES} are read", first_line, 1, name)
    return _Builder(text, name, first_line).build()


@dataclass(slots=True)
class _Open:
    """A collection whose end has not come yet."""

    line: int
    column: int
    items: list[Node] | None = None
    entries: dict[str, Node] = field(default_factory=dict)
    key: tuple[str, int, int] | None = None


class _Builder:
    """Turns parser events into nodes, with a stack of open collections instead of recursion."""

    def __init__(self, text: str, name: str, first_line: int) -> None:
        self._text, self._name, self._first_line = text, name, first_line
        # Libyaml also breaks lines at U+0085, U+2028 and U+2029; editors and code hosts count line feeds.
        self._line_starts = [0, *(found.end() for found in re.finditer("\n", text))]
        self._open: list[_Open] = []
        self._root: Node | None = None

    def build(self) -> Node:
        documents = 0
        for event in self._events():
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._error("a second document starts here, expected one", event.start_mark)
            elif isinstance(event, yaml.AliasEvent):
                raise self._error("aliases are not accepted: write the value out", event.start_mark)
            elif isinstance(event, yaml.ScalarEvent):
                self._no_anchor(event)
                self._add(self._scalar(event), event.start_mark)
            elif isinstance(event, yaml.CollectionStartEvent):
                self._no_anchor(event)
                self._enter(event)
            elif isinstance(event, yaml.CollectionEndEvent):
                self._close()
        return self._root or Node(None, self._first_line, 1, self._first_line, 1)

    def _events(self) -> Iterator[yaml.Event]:
        loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            yield from yaml.parse(self._text, Loader=loader)
        except yaml.MarkedYAMLError as error:
            problem = ", ".join(part for part in (error.context, error.problem) if part)
            raise self._error(f"not valid YAML: {problem}", error.problem_mark or error.context_mark) from error
        except yaml.reader.ReaderError as error:
            found = chr(error.character)
            problem = f"not valid YAML: character {found!r} is not allowed"
            raise YamlError(problem, *self._place_of(self._text.find(found)), self._name) from error
        except (yaml.YAMLError, ValueError) as error:
            # The pure Python parser lets the ValueError of chr() out for an escape like "\U00110000".
            raise self._error(f"not valid YAML: {str(error).splitlines()[0]}", None) from error

    def _no_anchor(self, event: yaml.NodeEvent) -> None:
        if event.anchor is not None:
            raise self._error("anchors are not accepted", event.start_mark)

    def _enter(self, event: yaml.CollectionStartEvent) -> None:
        mark = event.start_mark
        expected = "map" if isinstance(event, yaml.MappingStartEvent) else "seq"
        if event.tag is not None and event.tag != _CORE + expected:
            raise self._error(f"tag {event.tag!r} is not accepted", mark)
        if len(self._open) >= MAX_DEPTH:
            raise self._error(f"nested more than {MAX_DEPTH} levels deep", mark)
        if self._open and self._open[-1].items is None and self._open[-1].key is None:
            raise self._error("a key must be a string, found a collection", mark)
        self._open.append(_Open(*self._place(mark), items=None if expected == "map" else []))

    def _close(self) -> None:
        done = self._open.pop()
        value = done.entries if done.items is None else tuple(done.items)
        self._attach(value, done.line, done.column)

    def _add(self, value: Scalar, mark: Any) -> None:
        line, column = self._place(mark)
        parent = self._open[-1] if self._open else None
        if parent is None or parent.items is not None or parent.key is not None:
            self._attach(value, line, column)
            return
        if not isinstance(value, str):
            raise self._error(f"a key must be a string, found {value!r}: put it in quotes", mark)
        if value in parent.entries:
            first = parent.entries[value].key_line
            raise self._error(f"key {one_line(value, 80)!r} stands twice, first in line {first}", mark)
        parent.key = value, line, column

    def _attach(self, value: Scalar | tuple[Node, ...] | Mapping[str, Node], line: int, column: int) -> None:
        parent = self._open[-1] if self._open else None
        if parent is None:
            self._root = Node(value, line, column, line, column)
        elif parent.items is not None:
            parent.items.append(Node(value, line, column, line, column))
        elif parent.key is not None:
            key, key_line, key_column = parent.key
            parent.entries[key] = Node(value, line, column, key_line, key_column)
            parent.key = None

    def _scalar(self, event: yaml.ScalarEvent) -> Scalar:
        text, tag, mark = event.value, event.tag, event.start_mark
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise self._error("lone surrogate in a string", mark) from error
        if tag == _CORE + "str":
            return text
        if tag is None:
            return self._plain(text, mark) if event.implicit[0] else text
        value = self._plain(text, mark)
        kind = {bool: "bool", int: "int", float: "float", type(None): "null"}.get(type(value))
        if kind is None or tag != _CORE + kind:
            raise self._error(f"tag {tag!r} is not accepted for {one_line(text, 80)!r}", mark)
        return value

    def _plain(self, text: str, mark: Any) -> Scalar:
        if text in _NULL:
            return None
        if text in _BOOLEAN:
            return _BOOLEAN[text]
        if _INTEGER.fullmatch(text):
            if len(text) > _MAX_DIGITS or not -(2**63) <= int(text) < 2**63:
                raise self._error("integer does not fit in 64 bit", mark)
            return int(text)
        if _NOT_FINITE.fullmatch(text):
            raise self._error(f"{text} is not a finite number", mark)
        if _FLOAT.fullmatch(text):
            value = float(text)
            if value in (float("inf"), float("-inf")):
                raise self._error("number is too large", mark)
            return value
        return text

    def _place(self, mark: Any) -> tuple[int, int]:
        return self._place_of(0 if mark is None else mark.index)

    def _place_of(self, index: int) -> tuple[int, int]:
        index = max(0, min(index, len(self._text)))
        line = bisect_right(self._line_starts, index)
        return self._first_line + line - 1, index - self._line_starts[line - 1] + 1

    def _error(self, problem: str, mark: Any) -> YamlError:
        return YamlError(problem, *self._place(mark), self._name)
