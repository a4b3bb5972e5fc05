"""Typed look-ups in the metadata of a GGUF file. A missing key is None; a value of the wrong type is an error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.gguf.header import NotKept, Value
from provenance_gate.artifact.gguf.strings import NO_STRINGS, Strings
from provenance_gate.errors import MalformedFileError, one_line

MAX_INTEGER = 2**31
_NO_TOKEN = frozenset({-1, 2**32 - 1})
"""How writers spell that there is no such token."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """The entries of one file with its name, which errors start with."""

    file: str
    entries: Mapping[str, Value]

    def integer(self, key: str) -> int | None:
        """An integer in [0, 2**31)."""
        value = self.entries.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < MAX_INTEGER:
            raise self._error(key, "an integer in [0, 2**31)")
        return value

    def integers(self, key: str) -> NDArray[np.int64] | int | None:
        """An integer, or one per layer, shape (layers,); all in [0, 2**31)."""
        value = self.entries.get(key)
        if not isinstance(value, np.ndarray):
            return self.integer(key)
        if value.dtype.kind not in "iu" or not _all_in_range(value.astype(np.float64)):
            raise self._error(key, "integers in [0, 2**31)")
        return value.astype(np.int64)

    def same_for_all_layers(self, key: str) -> int | None:
        """The integer, or what all layers have in common; None when they differ."""
        value = self.integers(key)
        if isinstance(value, np.ndarray):
            distinct = np.unique(value)
            return int(distinct[0]) if len(distinct) == 1 else None
        return value

    def token_id(self, key: str) -> int | None:
        """A token id; None also when the file says that there is none."""
        value = self.entries.get(key)
        return None if isinstance(value, int) and value in _NO_TOKEN else self.integer(key)

    def number(self, key: str) -> float | None:
        """A finite number of 0 or more."""
        value = self.entries.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or value < 0:
            raise self._error(key, "a number of 0 or more")
        return float(value)

    def flag(self, key: str) -> bool | None:
        value = self.entries.get(key)
        if value is not None and not isinstance(value, bool):
            raise self._error(key, "true or false")
        return value

    def text(self, key: str) -> str | None:
        value = self.entries.get(key)
        if value is not None and not isinstance(value, str):
            raise self._error(key, "a string")
        return value

    def strings(self, key: str) -> Strings | None:
        """A list of strings, undecoded."""
        value = self.entries.get(key)
        if isinstance(value, np.ndarray) and not len(value):
            return NO_STRINGS
        if value is not None and not isinstance(value, Strings):
            raise self._error(key, "a list of strings")
        return value

    def numbers(self, key: str) -> NDArray[np.generic] | None:
        """A list of numbers, shape (n,)."""
        value = self.entries.get(key)
        if value is not None and (not isinstance(value, np.ndarray) or value.dtype.kind not in "iuf"):
            raise self._error(key, "a list of numbers")
        return value

    def _error(self, key: str, expected: str) -> MalformedFileError:
        return MalformedFileError(f"{self.file}: {key}: expected {expected}, found {_describe(self.entries[key])}")


def _all_in_range(values: NDArray[np.float64]) -> bool:
    return bool(((values >= 0) & (values < MAX_INTEGER)).all())


def _describe(value: Value) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return f"the string {one_line(value, 60)!r}"
        case Strings() | np.ndarray():
            return f"a list of {len(value)}"
        case NotKept():
            return f"a value of length {value.length}"
        case _:
            return repr(value)
