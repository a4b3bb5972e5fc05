"""Behavior of the bounded YAML reader."""

from __future__ import annotations

import math

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from provenance_gate.artifact.yamlfile import MAX_BYTES, MAX_DEPTH, Node, YamlError, load_yaml, position_of
from provenance_gate.errors import ArtifactError

POLICY = """\
version: 1
rules:
  - id: first
    min_score: 0.70
  - id: "no"
    deny: [a, 'b']
"""


def plain(text: str) -> object:
    return load_yaml(text, "p.yaml").to_plain()


def test_values_come_out_as_plain_python() -> None:
    assert plain(POLICY) == {
        "version": 1,
        "rules": [{"id": "first", "min_score": 0.7}, {"id": "no", "deny": ["a", "b"]}],
    }


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (["version"], (1, 1)),
        (["rules"], (2, 1)),
        (["rules", 0], (3, 5)),
        (["rules", 0, "min_score"], (4, 5)),
        (["rules", 1, "deny", 1], (6, 15)),
        (["rules", 1, "missing"], (5, 5)),
        (["rules", 7], (2, 1)),
        ([], (1, 1)),
    ],
)
def test_position_is_that_of_the_key_or_item_or_of_the_nearest_parent(
    path: list[str | int], place: tuple[int, int]
) -> None:
    assert position_of(load_yaml(POLICY, "p.yaml"), path) == place


def test_a_value_knows_its_own_place_beside_that_of_its_key() -> None:
    root = load_yaml("é:   x\n", "p.yaml")
    assert isinstance(root.value, dict)
    assert root.value["é"] == Node("x", 1, 6, 1, 1)


@pytest.mark.parametrize(
    "text",
    ["a: b\r\nc: d\r\n", "\ufeffa: b\nc: d\n", "a: b\nc: d"],
)
def test_line_ends_and_byte_order_mark_do_not_move_lines(text: str) -> None:
    root = load_yaml(text, "p.yaml")
    assert root.to_plain() == {"a": "b", "c": "d"}
    assert position_of(root, ["c"]) == (2, 1)


def test_unicode_line_separators_do_not_move_lines() -> None:
    assert position_of(load_yaml("a: 'x\u2028y'\nc: d\n", "p.yaml"), ["c"]) == (2, 1)


def test_first_line_shifts_every_line() -> None:
    assert position_of(load_yaml("a: b\nc: d\n", "README.md", first_line=2), ["c"]) == (3, 1)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("'true'", "true"),
        ("~", None),
        ("", None),
        ("2027-01-31", "2027-01-31"),
        ("12:30:00", "12:30:00"),
        ("007", "007"),
        ("0x1f", "0x1f"),
        ("1_000", "1_000"),
        ("-12", -12),
        ("1e-6", 1e-6),
        (".5", 0.5),
        ("3.", 3.0),
        ("!!str 12", "12"),
        ("!!int 12", 12),
        (str(2**63 - 1), 2**63 - 1),
        ("<<", "<<"),
    ],
)
def test_scalars_are_read_without_surprises(text: str, value: object) -> None:
    found = plain(f"key: {text}\n")
    assert found == {"key": value}
    assert isinstance(found, dict)
    assert type(found["key"]) is type(value)


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n...\n"])
def test_no_document_is_null(text: str) -> None:
    assert load_yaml(text, "p.yaml", first_line=3).to_plain() is None


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("a: 1\na: 2\n", 2, 1, "stands twice, first in line 1"),
        ("a: &x [1]\nb: *x\n", 1, 4, "anchors"),
        ("b: *x\n", 1, 4, "aliases"),
        ("a: !x 1\n", 1, 4, "tag '!x'"),
        ("a: ! 1\n", 1, 4, "tag '!'"),
        ("a: !!python/object/apply:os.system [id]\n", 1, 4, "python/object"),
        ("%TAG ! tag:yaml.org,2002:\n---\na: !python/name:os.system x\n", 3, 4, "python/name"),
        ("a: !!int x\n", 1, 4, "not accepted for 'x'"),
        ("a: !!map [x]\n", 1, 4, "not accepted"),
        ("a: !!timestamp 2020-01-01\n", 1, 4, "timestamp"),
        ("1: a\n", 1, 1, "a key must be a string, found 1"),
        ("true: a\n", 1, 1, "a key must be a string, found True"),
        ("? [a]\n: b\n", 1, 3, "found a collection"),
        ("a: .nan\n", 1, 4, "not a finite number"),
        ("a: -.inf\n", 1, 4, "not a finite number"),
        ("a: 1e999\n", 1, 4, "too large"),
        ("a: 9223372036854775808\n", 1, 4, "64 bit"),
        ("a: " + "9" * 5000 + "\n", 1, 4, "64 bit"),
        ("a: 1\n---\nb: 2\n", 2, 1, "second document"),
        ("a: b: c\n", 1, 5, "not valid YAML"),
        ("a: [1\n", 2, 1, "not valid YAML"),
        ("ok: 1\na: \x07\n", 2, 4, "is not allowed"),
        ('a: "\\ud800"\n', 1, 7, "not valid YAML"),
        ("a: '\ud800'\n", 1, 1, "lone surrogate"),
        ("[" * (MAX_DEPTH + 1), 1, MAX_DEPTH + 1, "levels deep"),
        ("- " * 200_000, 1, 2 * MAX_DEPTH + 1, "levels deep"),
        ("a" * (MAX_BYTES + 1), 1, 1, "at most"),
    ],
)
def test_what_is_refused_names_file_line_and_column(text: str, line: int, column: int, words: str) -> None:
    with pytest.raises(YamlError) as caught:
        load_yaml(text, "p.yaml")
    error = caught.value
    assert (error.file, error.line, error.column) == ("p.yaml", line, column)
    assert words in error.problem
    assert str(error).startswith(f"p.yaml:{line}:{column}: ")


def test_an_alias_bomb_is_refused_before_it_grows() -> None:
    layers = "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]\n" for i in range(1, 10))
    with pytest.raises(YamlError, match="anchors"):
        load_yaml("l0: &l0 [lol]\n" + layers, "p.yaml")


def test_the_allowed_depth_is_reached() -> None:
    assert plain("[" * MAX_DEPTH + "]" * MAX_DEPTH)


def test_the_pure_python_parser_gives_the_same_tree_and_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    with_library = load_yaml(POLICY, "p.yaml")
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    assert load_yaml(POLICY, "p.yaml") == with_library
    for text in ('"\\U00110000"', '"\\ud800"', "a: \x07", "[[["):
        with pytest.raises(YamlError):
            load_yaml(text, "p.yaml")


scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20)
trees = st.recursive(
    scalars | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=15,
)


def written(tree: object) -> str:
    """Flow YAML in the JSON spelling, which both sides read alike."""
    match tree:
        case dict():
            return "{" + ", ".join(f"{written(key)}: {written(value)}" for key, value in tree.items()) + "}"
        case list():
            return "[" + ", ".join(written(item) for item in tree) + "]"
        case str():
            return '"' + "".join(f"\\U{ord(c):08x}" if ord(c) > 126 or c in '"\\' or c < " " else c for c in tree) + '"'
        case None:
            return "null"
        case bool():
            return "true" if tree else "false"
        case _:
            return repr(tree)


@settings(max_examples=60, deadline=None)
@given(trees)
def test_a_written_tree_is_read_back(tree: object) -> None:
    found = plain(written(tree))
    assert found == tree
    if isinstance(tree, float):
        assert isinstance(found, float)
        assert math.copysign(1, found) == math.copysign(1, tree)


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from("ab:-{}[]&*!|>'\"%#?, \n\t.~0e\\\u2028\ud800"), max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        load_yaml(text, "p.yaml").to_plain()
    except ArtifactError as error:
        assert str(error).isprintable()
