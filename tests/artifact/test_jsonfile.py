"""Strict JSON."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenance_gate.artifact.jsonfile import MAX_DEPTH, MAX_INTEGER_DIGITS, load_json, load_json_object
from provenance_gate.errors import MalformedFileError


def refusal(data: bytes) -> str:
    with pytest.raises(MalformedFileError) as caught:
        load_json(data, "config.json")
    message = str(caught.value)
    assert message.startswith("config.json: ")
    assert message.isprintable()
    return message


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"a": 1, "a": 1}', "key 'a' appears twice"),
        (b'[{"x": {"b": 1, "\\u0062": 2}}]', "key 'b' appears twice"),
        (b"NaN", "NaN is not JSON"),
        (b'{"a": [Infinity]}', "Infinity is not JSON"),
        (b"-Infinity", "-Infinity is not JSON"),
        (b"1e999", "too large"),
        (b"-1e999", "too large"),
        (b"9" * (MAX_INTEGER_DIGITS + 1), "31 digits"),
        (b"9" * 100_000, "100000 digits"),
        (b"-" + b"9" * 5000, "digits"),
        (b"0." + b"1" * 2000, "2002 characters"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        ('{"a": 1}'.encode("utf-16"), "UTF-8"),
        (b'{"a": "\xff"}', "expected UTF-8, found byte 0xff at 7"),
        (b'"\xed\xa0\x80"', "UTF-8"),
        (b'"\\ud800"', "surrogate"),
        (b'{"\\udfff": 1}', "surrogate"),
        (b"", "not JSON"),
        (b"{", "not JSON: "),
        (b"{}\n}", "line 2, column 1"),
        (b"{'a': 1}", "not JSON"),
        (b'{"a": 1,}', "not JSON"),
        (b"// a\n{}", "not JSON"),
        (b"01", "not JSON"),
        (b"+1", "not JSON"),
        (b'"a\nb"', "not JSON"),
        (b"True", "not JSON"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "nested deeper"),
        (b"[" * 1_000_000, "nested deeper"),
        (b'{"a":' * 1_000_000, "nested deeper"),
    ],
)
def test_what_readers_disagree_on_or_cannot_bear_is_refused(data: bytes, words: str) -> None:
    assert words in refusal(data)


def test_a_hostile_key_is_named_on_one_line() -> None:
    assert "\\u202e" in refusal('{"\u202e": 1, "\u202e": 2}'.encode())


def test_brackets_without_end_are_refused() -> None:
    assert "lists and objects" in refusal(b"[" + b"[]," * 2_000_001 + b"[]]")


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b" \n[1, -2, 0]\r\n", [1, -2, 0]),
        (b"9" * MAX_INTEGER_DIGITS, int("9" * MAX_INTEGER_DIGITS)),
        (b"1e-999", 0.0),
        (b"1.7976931348623157e308", 1.7976931348623157e308),
        (b'{"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}]}', {"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}]}),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, json.loads("[" * MAX_DEPTH + "]" * MAX_DEPTH)),
        (b"null", None),
    ],
)
def test_what_is_json_is_read(data: bytes, value: object) -> None:
    assert load_json(data, "config.json") == value


def test_a_negative_zero_keeps_its_sign() -> None:
    value = load_json(b"-0", "config.json")
    assert isinstance(value, float)
    assert math.copysign(1, value) == -1


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"[]", "a list"),
        (b"null", "null"),
        (b"true", "a boolean"),
        (b"1", "an integer"),
        (b"1.5", "a number with a fraction or exponent"),
        (b'"x"', "a string"),
    ],
)
def test_a_file_that_must_hold_an_object_says_what_it_holds(data: bytes, kind: str) -> None:
    with pytest.raises(MalformedFileError, match=rf"^config\.json: expected an object, found {kind}$"):
        load_json_object(data, "config.json")


def test_an_object_is_read() -> None:
    assert load_json_object(b'{"a": 1}', "config.json") == {"a": 1}


trees: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**28), 10**28)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=15,
)


@settings(max_examples=60, deadline=None)
@given(trees, st.booleans())
def test_a_written_value_is_read_back(tree: object, escaped: bool) -> None:
    assert load_json(json.dumps(tree, ensure_ascii=escaped).encode(), "x") == tree


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from('{}[]",:\\ud8019eE+-.tnfalsrNI \n'), max_size=40))
def test_any_text_is_refused_or_read_as_the_json_module_reads_it(text: str) -> None:
    try:
        found = load_json(text.encode(), "x")
    except MalformedFileError as error:
        assert str(error).isprintable()
        return
    assert found == json.loads(text)
