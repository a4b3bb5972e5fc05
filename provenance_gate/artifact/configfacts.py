"""Typed look-ups in a JSON object whose keys have many names.

`Facts` knows levels (an outer object and the language backbone inside it) and checks types and bounds; which names a fact
has is the caller's table.
"""

from __future__ import annotations

from collections.abc import Iterator, KeysView, Mapping
from dataclasses import dataclass
from typing import Final

from provenance_gate.errors import MalformedFileError, one_line

MAX_INTEGER: Final = 2**31
MAX_TEXT: Final = 500
MAX_LIST: Final = 10_000

_BACKBONES: Final = ("text_config", "llm_config", "language_config", "thinker_config")
_MAX_LEVELS: Final = 3


@dataclass(frozen=True, slots=True)
class _Found:
    """A value with the path under which it stood."""

    path: str
    value: object


class Facts:
    """Typed look-ups by fact name over the levels of one config, outermost first."""

    def __init__(
        self,
        config: Mapping[str, object],
        file: str,
        names: Mapping[str, tuple[str, ...]],
        names_by_type: Mapping[str, Mapping[str, tuple[str, ...]]],
    ) -> None:
        self._file, self._names, self._names_by_type = file, names, names_by_type
        self._levels = tuple(self._nested(config))
        found = [self._at(prefix, level, "model_type") for prefix, level in self._levels]
        self._types = dict.fromkeys(self._as_text(each) for each in found if each is not None)

    @property
    def types(self) -> KeysView[str]:
        """Every `model_type`, the outermost first."""
        return self._types.keys()

    def has(self, fact: str) -> bool:
        return self._find(fact) is not None

    def integer(self, fact: str, *, per_layer: bool = False) -> int | None:
        found = self._find(fact)
        if found is None:
            return None
        if per_layer and isinstance(found.value, list):
            values = {self._as_integer(_Found(found.path, each)) for each in self._items(found.path, found.value)}
            return values.pop() if len(values) == 1 else None
        return self._as_integer(found)

    def token_id(self, fact: str) -> int | None:
        """The id, or the first of several; -1 is how some files write that there is none."""
        found = self._find(fact)
        if found is None:
            return None
        values = self._items(found.path, found.value) if isinstance(found.value, list) else [found.value]
        ids = [None if v == -1 else self._as_integer(_Found(found.path, v)) for v in values]
        return ids[0] if ids else None

    def number(self, fact: str) -> float | None:
        found = self._find(fact)
        if found is None:
            return None
        value = found.value
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2.0**63:
            raise self._error(found, "a number in [0, 2**63)")
        return float(value)

    def flag(self, fact: str) -> bool | None:
        found = self._find(fact)
        if found is None:
            return None
        if not isinstance(found.value, bool):
            raise self._error(found, "true or false")
        return found.value

    def text(self, fact: str) -> str | None:
        found = self._find(fact)
        return None if found is None else self._as_text(found)

    def texts(self, fact: str) -> tuple[str, ...]:
        found = self._find(fact)
        if found is None:
            return ()
        if not isinstance(found.value, list):
            raise self._error(found, "a list of strings")
        return tuple(self._as_text(_Found(found.path, each)) for each in self._items(found.path, found.value))

    def _find(self, fact: str) -> _Found | None:
        names = self._names[fact]
        for model_type in self.types:
            names = self._names_by_type.get(model_type, {}).get(fact, names)
        for prefix, level in self._levels:
            for name in names:
                found = self._at(prefix, level, name)
                if found is not None:
                    return found
        return None

    def _nested(self, config: Mapping[str, object]) -> Iterator[tuple[str, Mapping[str, object]]]:
        prefix = ""
        for _ in range(_MAX_LEVELS):
            yield prefix, config
            inner = [found for key in _BACKBONES if (found := self._at(prefix, config, key)) is not None]
            if not inner:
                return
            config, prefix = self._as_object(inner[0]), inner[0].path + "."

    def _at(self, prefix: str, level: Mapping[str, object], name: str) -> _Found | None:
        *parents, key = name.split(".")
        path = prefix
        for parent in parents:
            value = level.get(parent)
            if value is None:
                return None
            level = self._as_object(_Found(path + parent, value))
            path += parent + "."
        value = level.get(key)
        return None if value is None else _Found(path + key, value)

    def _as_object(self, found: _Found) -> Mapping[str, object]:
        if not isinstance(found.value, dict):
            raise self._error(found, "an object")
        return found.value

    def _as_integer(self, found: _Found) -> int:
        value = found.value
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < MAX_INTEGER:
            raise self._error(found, "an integer in [0, 2**31)")
        return value

    def _as_text(self, found: _Found) -> str:
        if not isinstance(found.value, str) or len(found.value) > MAX_TEXT or has_lone_surrogate(found.value):
            raise self._error(found, f"a string of at most {MAX_TEXT} characters")
        return found.value

    def _items(self, path: str, values: list[object]) -> list[object]:
        if len(values) > MAX_LIST:
            raise self._error(_Found(path, values), f"at most {MAX_LIST} entries")
        return values

    def _error(self, found: _Found, expected: str) -> MalformedFileError:
        return MalformedFileError(f"{self._file}: {found.path}: expected {expected}, found {describe(found.value)}")


def has_lone_surrogate(text: str) -> bool:
    """Whether `text` has no UTF-8 form: JSON escapes can spell half of a character, which no report could print."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def describe(value: object) -> str:
    """A JSON or YAML value in a few words, for a message."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return f"the string {one_line(value, 60)!r}"
        case list() | tuple():
            return f"a list of {len(value)}"
        case Mapping():
            return "an object"
        case int() if abs(value) >= 2**63:
            # A decimal rendering of a very long integer is slow and, past 4,300 digits, an error in itself.
            return f"an integer of {value.bit_length()} bits"
        case _:
            return f"{value!r}"
