"""Strict JSON, for files that a stranger wrote.

Stricter than the `json` module: UTF-8 without a byte order mark, no duplicate keys (readers disagree on which one counts),
no NaN or Infinity, no float that overflows to infinity, no integer longer than `MAX_INTEGER_DIGITS`, no half of a surrogate
pair, no nesting beyond `MAX_DEPTH`. What it refuses is a MalformedFileError that starts with the file's name.
"""

from __future__ import annotations

import json
import math
import re
from typing import NoReturn

from provenance_gate.errors import MalformedFileError

MAX_INTEGER_DIGITS = 30
"""More than any 64-bit field needs, and far below the length at which Python's own limit would raise."""

MAX_FLOAT_DIGITS = 1000
"""Writers print at most 17 significant digits; this only bounds the work."""

MAX_DEPTH = 128
"""The depth at which the safetensors library's own parser gives up."""

MAX_CONTAINERS = 2_000_000
"""Lists and objects in one file. Three bytes of text can become a hundred bytes of memory; brackets are counted first."""

_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


class _RefusedJsonError(ValueError):
    """A hook refused a value; turned into a MalformedFileError where the file's name is known."""


def load_json(data: bytes, name: str, *, is_flat: bool = False) -> object:
    """The value that `data` holds: dict, list, str, int, float, bool or None.

    Parameters
    ----------
    data
        The whole file.
    name
        What messages call the file.
    is_flat
        Whether the caller has seen that nesting stays within `MAX_DEPTH`, so that it need not be looked at here.

    Raises
    ------
    MalformedFileError
        `data` is not UTF-8 or not JSON, repeats a key within one object, holds NaN, Infinity, an unpaired surrogate or a
        number beyond the limits above, has more than `MAX_CONTAINERS` brackets or nests deeper than `MAX_DEPTH`.
    """
    if data.count(b"[") + data.count(b"{") > MAX_CONTAINERS:
        raise MalformedFileError(f"{name}: more than {MAX_CONTAINERS:,} lists and objects")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as e:
        raise MalformedFileError(f"{name}: expected UTF-8, found byte 0x{data[e.start]:02x} at {e.start}") from e
    if text.startswith("\ufeff"):
        raise MalformedFileError(f"{name}: expected JSON, found a byte order mark")
    try:
        value: object = json.loads(
            text,
            object_pairs_hook=_unique_object,
            parse_int=_bounded_int,
            parse_float=_finite_float,
            parse_constant=_refuse_constant,
        )
    except json.JSONDecodeError as e:
        raise MalformedFileError(f"{name}: not JSON: {e.msg} at line {e.lineno}, column {e.colno}") from e
    except _RefusedJsonError as e:
        raise MalformedFileError(f"{name}: {e}") from e
    except RecursionError as e:
        raise MalformedFileError(f"{name}: nested deeper than {MAX_DEPTH} levels") from e
    if not is_flat and _is_deeper_than(value, MAX_DEPTH):
        raise MalformedFileError(f"{name}: nested deeper than {MAX_DEPTH} levels")
    if _SURROGATE_ESCAPE.search(text) is not None:
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as e:
            raise MalformedFileError(f"{name}: a string holds half of a surrogate pair") from e
    return value


def load_json_object(data: bytes, name: str) -> dict[str, object]:
    """Like `load_json`, for a file that must hold one object at its top."""
    value = load_json(data, name)
    if not isinstance(value, dict):
        raise MalformedFileError(f"{name}: expected an object, found {kind_of(value)}")
    return value


def kind_of(value: object) -> str:
    """What JSON calls `value`, with its article, for messages."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a number with a fraction or exponent"
        case str():
            return "a string"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return f"a value of type {type(value).__name__}"


def _is_deeper_than(value: object, limit: int) -> bool:
    level: list[list[object] | dict[str, object]] = [value] if isinstance(value, (list, dict)) else []
    for _ in range(limit):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, (list, dict))
        ]
        if not level:
            return False
    return bool(level)


def _unique_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _RefusedJsonError(f"key {key[:100]!r} appears twice in one object")
            seen.add(key)
    return value


def _bounded_int(digits: str) -> int | float:
    # -0 has a sign that int would drop; Rust's and JavaScript's readers keep it as a float, so no size or id may be -0.
    if digits == "-0":
        return -0.0
    if len(digits) > MAX_INTEGER_DIGITS:
        raise _RefusedJsonError(f"integer of {len(digits)} digits, expected at most {MAX_INTEGER_DIGITS}")
    return int(digits)


def _finite_float(digits: str) -> float:
    if len(digits) > MAX_FLOAT_DIGITS:
        raise _RefusedJsonError(f"number of {len(digits)} characters, expected at most {MAX_FLOAT_DIGITS}")
    value = float(digits)
    if not math.isfinite(value):
        raise _RefusedJsonError(f"number {digits[:40]} is too large for a 64-bit float")
    return value


def _refuse_constant(constant: str) -> NoReturn:
    raise _RefusedJsonError(f"{constant} is not JSON")
