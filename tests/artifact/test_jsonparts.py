"""Parts of a large JSON file have the values that a parse of the whole gives."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from provenance_gate.artifact import jsonparts
from provenance_gate.artifact.jsonfile import MAX_DEPTH, load_json_object
from provenance_gate.artifact.jsonparts import MAX_ITEM, JsonParts
from provenance_gate.errors import MalformedFileError

TEXTS = st.text(st.sampled_from([*'ab"\\,:{}[] \n', "é", "😀", "\u2028"]), max_size=5)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 99) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
ROOTS = st.dictionaries(
    st.sampled_from(["model", "b", 'q"', "\\"]), st.dictionaries(TEXTS, VALUES, max_size=4), max_size=4
)


@pytest.fixture(autouse=True, params=[(1, 1), (3, 2), (1 << 18, 1 << 16)], ids=["bytewise", "few", "real"])
def sizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes that only save memory. The plain reader looks at small files first only with the last."""
    block, portion = request.param
    monkeypatch.setattr(jsonparts, "_BLOCK", block)
    monkeypatch.setattr(jsonparts, "_PORTION", portion)


def gathered(data: bytes) -> dict[str, Any]:
    """The whole file by way of its parts."""
    parts = JsonParts(data, "f.json")
    whole: dict[str, Any] = {}
    for key, span in parts.fields(parts.top).items():
        if parts.is_a(span, b"{}"):
            whole[key] = {}
            for name, inner in parts.fields(span).items():
                if parts.is_a(inner, b"[]"):
                    whole[key][name] = [item for portion in parts.portions(inner, name) for item in portion]  # type: ignore[attr-defined]
                elif parts.is_a(inner, b"{}"):
                    merged: dict[str, Any] = {}
                    for portion in parts.portions(inner, name):
                        assert isinstance(portion, dict)
                        assert not merged.keys() & portion.keys()
                        merged |= portion
                    whole[key][name] = merged
                else:
                    whole[key][name] = parts.value(inner, name)
        else:
            whole[key] = parts.value(span, key)
    return whole


@settings(max_examples=30, deadline=None)
@given(root=ROOTS, indent=st.sampled_from([None, 0, 2]), ascii_only=st.booleans())
def test_the_parts_make_up_the_whole(root: dict[str, Any], indent: int | None, ascii_only: bool) -> None:
    assert gathered(json.dumps(root, indent=indent, ensure_ascii=ascii_only).encode()) == root


SMALL = rb""" {"model": {"vocab": {"a\\": 0, "\"b": 1, "c": [1, {"d": "\\\""}]}, "merges": ["a b", ["a"]]}, "x": [{}, 1]} """


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, len(SMALL)),
    st.binary(max_size=2) | st.sampled_from(list(b'",:{}[]\\')).map(lambda b: bytes([b])),
    st.integers(0, 2),
)
@example(len(SMALL) - 2, b"}", 0)
@example(0, b"\xef\xbb\xbf", 0)
def test_what_is_accepted_is_what_the_plain_reader_accepts(position: int, inserted: bytes, removed: int) -> None:
    data = SMALL[:position] + inserted + SMALL[position + removed :]
    try:
        wanted: object = load_json_object(data, "f.json")
    except MalformedFileError:
        wanted = None
    try:
        found: object = gathered(data)
    except MalformedFileError as error:
        assert str(error).startswith("f.json: ")
        found = None
    except AssertionError:
        found = None
    assert found == wanted


@pytest.mark.parametrize("repeated", [1, 2, 3, 4, 127, 128])
def test_a_quote_is_escaped_by_an_odd_number_of_backslashes(repeated: int) -> None:
    data = b'{"m":{"v":["' + b"\\" * repeated + (b'"' if repeated % 2 else b"") + b'", "b,]"]}}'
    assert gathered(data) == json.loads(data)


def nested(levels: int) -> bytes:
    return b'{"x":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


def test_nesting_has_a_limit() -> None:
    assert JsonParts(nested(MAX_DEPTH), "f.json")
    with pytest.raises(MalformedFileError, match=r"^f\.json: nested deeper than 128 levels"):
        JsonParts(nested(MAX_DEPTH + 1), "f.json")


def test_a_long_member_is_refused() -> None:
    for length, accepted in ((MAX_ITEM - 2, True), (MAX_ITEM - 1, False)):
        data = b'{"v":["a","' + b"x" * length + b'"]}'
        if jsonparts._BLOCK < 1 << 18:
            return
        parts = JsonParts(data, "f.json")
        span = parts.fields(parts.top)["v"]
        if accepted:
            assert [item for p in parts.portions(span, "v") if isinstance(p, list) for item in p] == ["a", "x" * length]
        else:
            with pytest.raises(MalformedFileError, match=r"f\.json: v: a member of 1,048,577 bytes"):
                list(parts.portions(span, "v"))


def test_members_and_commas_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    many = b"{" + b",".join(b'"%d":0' % n for n in range(257)) + b"}"
    parts = JsonParts(many, "f.json")
    with pytest.raises(MalformedFileError, match="more than 256 members"):
        parts.fields(parts.top)
    monkeypatch.setattr(jsonparts, "MAX_MEMBERS", 255)
    with pytest.raises(MalformedFileError, match="more than 255 values"):
        JsonParts(many, "f.json")


def test_a_large_value_is_refused_before_it_is_parsed() -> None:
    parts = JsonParts(b'{"v":"xxxxxxxx"}', "f.json")
    span = parts.fields(parts.top)["v"]
    assert parts.value(span, "v", 10) == "xxxxxxxx"
    with pytest.raises(MalformedFileError, match=r"f\.json: v: 10 bytes, at most 9 are read"):
        parts.value(span, "v", 9)


def test_a_long_list_takes_little_memory() -> None:
    if jsonparts._BLOCK < 1 << 18:
        return
    data = b'{"v":{"w":[' + b",".join([b"[]"] * 300_000) + b"]}}"
    tracemalloc.start()
    count = 0
    parts = JsonParts(data, "f.json")
    inner = parts.fields(parts.fields(parts.top)["v"])["w"]
    for portion in parts.portions(inner, "w"):
        assert isinstance(portion, list)
        count += len(portion)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == parts.count(inner) == 300_000
    assert peak < 12_000_000
