"""index.json: what it looks like, what it refuses, and that its schema and its reader agree."""

from __future__ import annotations

import base64
import copy
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provenance_gate.errors import RegistryError
from provenance_gate.fingerprint.compact import PART_BITS, SKETCH_METHOD
from provenance_gate.registry.damage import Damage
from provenance_gate.registry.index import Index, entries_of, index_bytes, index_schema, parse_index
from provenance_gate.registry.sketches import read_sketch, sketch_json

SHA = "ab" * 32
SCHEMA = jsonschema.Draft202012Validator(index_schema())


def part(name: str, fill: int = 7) -> str:
    return base64.b64encode(b"\x01\x02" + bytes([fill]) * (PART_BITS[name] // 8)).decode()


def content() -> dict[str, Any]:
    """A valid index with every field."""
    return {
        "version": 1,
        "files": {"catalog/acme--base.json": {"sha256": SHA, "size": 12}, "licenses.json": {"sha256": SHA, "size": 1}},
        "entries": [
            {
                "id": "acme/base",
                "aliases": ["base", "acme/old-base"],
                "source": "hf://acme/base@" + "c" * 40,
                "fingerprint": {"sha256": SHA, "size": 5_000_000, "method": "provenance-gate-fingerprint/1"},
                "sketch": {
                    "method": SKETCH_METHOD,
                    "parts": {name: part(name) for name in PART_BITS},
                    "digests": {"architecture": "0123456789abcdef", "content_0": "f" * 16},
                },
                "record": {"id": "acme/base"},
            },
            {"id": "acme/small"},
            {"id": "Acme/none", "aliases": [], "source": None, "fingerprint": None, "sketch": None, "record": None},
        ],
    }


def parsed(value: object, damage: Damage | None = None) -> Index:
    return parse_index(json.dumps(value).encode(), "here: index.json", damage or Damage())


def test_every_field_is_read() -> None:
    base, none, small = entries_of(parsed(content()), "here")
    assert (base.id, base.aliases, base.source) == (
        "acme/base",
        ("base", "acme/old-base"),
        "hf://acme/base@" + "c" * 40,
    )
    assert base.fingerprint is not None
    assert (base.fingerprint.sha256, base.fingerprint.size) == (SHA, 5_000_000)
    assert base.sketch is not None
    assert base.sketch.digests == {"architecture": 0x0123456789ABCDEF, "content_0": 2**64 - 1}
    assert base.sketch.parts["geometry"].tobytes() == b"\x01\x02" + b"\x07" * 128
    assert base.record == {"id": "acme/base"}
    assert (small.id, none.id, small.registry) == ("acme/small", "Acme/none", "here")
    assert none.fingerprint is none.sketch is none.record is None


def test_a_sketch_is_stored_as_it_was() -> None:
    stored = content()["entries"][0]["sketch"]
    sketch = read_sketch(stored)
    assert sketch is not None
    assert sketch_json(sketch) == stored


def test_bytes_are_a_function_of_the_content_and_hold_one_entry_a_line() -> None:
    value = content()
    data = index_bytes(parsed(value))
    value["entries"].reverse()
    value["files"] = dict(reversed(value["files"].items()))
    assert index_bytes(parsed(value)) == data
    assert index_bytes(parse_index(data, "again", Damage())) == data
    assert sum(line.startswith(b'{"') and b'"id":' in line for line in data.splitlines()) == 3
    assert data.isascii()
    assert json.loads(data)["version"] == 1


def test_an_index_without_files_or_entries_stays_one() -> None:
    for index in (Index(None, ()), Index({}, ())):
        again = parse_index(index_bytes(index), "x", Damage())
        assert (again.files, again.entries) == (index.files, ())
        SCHEMA.validate(json.loads(index_bytes(index)))


def test_a_sketch_of_another_method_is_kept_and_not_compared() -> None:
    value = content()
    value["entries"][0]["sketch"] = {"method": "provenance-gate-sketch/9", "parts": {"new": [1]}, "digests": {}}
    SCHEMA.validate(value)
    index = parsed(value)
    assert entries_of(index, "x")[0].sketch is None
    assert b"provenance-gate-sketch/9" in index_bytes(index)


def at(*path: Any) -> Callable[[Any], tuple[Any, Any]]:
    def find(value: Any) -> tuple[Any, Any]:
        for step in path[:-1]:
            value = value[step]
        return value, path[-1]

    return find


ENTRY_FAULTS: list[tuple[tuple[Any, ...], object, str]] = [
    (("id",), "", "id"),
    (("id",), 7, "id"),
    (("id",), "../etc", "id"),
    (("id",), "acme/base\n", "id"),
    (("id",), "acme/\u202ebase", "id"),
    (("id",), "a" * 201, "id"),
    (("aliases",), "base", "aliases"),
    (("aliases",), [1], "aliases"),
    (("aliases",), None, "aliases"),
    (("source",), "", "source"),
    (("source",), "a\x1b[2Jb", "source"),
    (("source",), ["x"], "source"),
    (("surprise",), 1, "surprise"),
    (("record",), [], "record"),
    (("fingerprint",), {}, "fingerprint"),
    (("fingerprint",), [SHA], "fingerprint"),
    (("fingerprint", "sha256"), SHA.upper(), "sha256"),
    (("fingerprint", "sha256"), "../../../etc/passwd", "sha256"),
    (("fingerprint", "sha256"), None, "sha256"),
    (("fingerprint", "size"), 0, "size"),
    (("fingerprint", "size"), True, "size"),
    (("fingerprint", "size"), 5.5, "size"),
    (("fingerprint", "size"), 2**40, "size"),
    (("fingerprint", "method"), "", "method"),
    (("fingerprint", "method"), "a b", "method"),
    (("fingerprint", "extra"), 1, "fingerprint"),
    (("sketch",), [], "sketch"),
    (("sketch", "method"), 3, "method"),
    (("sketch", "method"), "a\nb", "method"),
    (("sketch", "parts"), [], "sketch"),
    (("sketch", "parts", "feed_forward"), "AAAA", "sketch"),
    (("sketch", "parts", "feed_forward"), 4, "sketch"),
    (("sketch", "parts", "attention"), "AA" + part("attention")[2:].replace("I", "!"), "sketch"),
    (("sketch", "parts", "attention"), part("attention")[:-3] + "===", "sketch"),
    (("sketch", "parts", "attention"), "AAA" + part("attention")[3:], "sketch"),
    (("sketch", "parts", "unknown"), part("attention"), "sketch"),
    (("sketch", "digests", "architecture"), "0123", "digests"),
    (("sketch", "digests", "architecture"), "0123456789ABCDEF", "digests"),
    (("sketch", "digests", "architecture"), 5, "sketch"),
    (("sketch", "digests", "unknown"), "0" * 16, "sketch"),
]


@pytest.mark.parametrize(("path", "value", "field"), ENTRY_FAULTS)
def test_a_broken_entry_is_named_and_the_others_stay(path: tuple[Any, ...], value: object, field: str) -> None:
    broken = content()
    holder, key = at("entries", 0, *path)(broken)
    holder[key] = value
    with pytest.raises(RegistryError, match=rf"^here: index\.json: entry (0|acme/base): .*{field}"):
        parsed(broken)
    assert list(SCHEMA.iter_errors(broken)) or path == ("id",)
    damage = Damage(skip=True)
    assert [e["id"] for e in parsed(broken, damage).entries] == ["Acme/none", "acme/small"]
    assert len(damage.found) == 1


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda c: c.update(version=2), "version"),
        (lambda c: c.update(version=True), "version"),
        (lambda c: c.pop("version"), "version"),
        (lambda c: c.update(entries={}), "entries"),
        (lambda c: c.pop("entries"), "entries"),
        (lambda c: c.update(more=1), "more"),
        (lambda c: c.update(files=[]), "files"),
        (lambda c: c["files"].update({"../x.json": {"sha256": SHA, "size": 1}}), "files"),
        (lambda c: c["files"].update({"catalog/../x.json": {"sha256": SHA, "size": 1}}), "files"),
        (lambda c: c["files"].update({"/etc/x.json": {"sha256": SHA, "size": 1}}), "files"),
        (lambda c: c["files"].update({"catalog/x.json": {"sha256": SHA}}), "sha256 and size"),
        (lambda c: c["files"].update({"catalog/x.json": {"sha256": "0", "size": 1}}), "hex digits"),
        (lambda c: c["files"].update({"catalog/x.json": {"sha256": SHA, "size": 2**40}}), "bytes"),
        (lambda c: c["files"].update({"catalog/x.json": {"sha256": SHA, "size": True}}), "bytes"),
    ],
)
def test_an_index_that_is_damaged_as_a_whole_is_refused_even_when_damage_is_skipped(
    change: Callable[[dict[str, Any]], object], problem: str
) -> None:
    broken = content()
    change(broken)
    assert list(SCHEMA.iter_errors(broken))
    with pytest.raises(RegistryError, match=rf"^here: index\.json: .*{problem}"):
        parsed(broken, Damage(skip=True))


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff", b"[]", b"null", b'{"version":1,"version":1,"entries":[]}', b"[" * 9999]
)
def test_what_is_no_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(RegistryError, match=r"^here: index\.json: "):
        parse_index(data, "here: index.json", Damage(skip=True))


def test_an_id_that_stands_twice_is_refused_whatever_its_case() -> None:
    value = content()
    value["entries"].append({"id": "ACME/Base"})
    with pytest.raises(RegistryError, match="ACME/Base: the index holds this id twice"):
        parsed(value)


SCRAP = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2**70),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.just([]),
    st.just({}),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [p for k, v in children for p in [(*path, k), *places(v, (*path, k))]]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_what_the_schema_refuses_the_reader_refuses_too(data: st.DataObject) -> None:
    value = copy.deepcopy(content())
    holder, key = at(*data.draw(st.sampled_from(places(value))))(value)
    match data.draw(st.sampled_from(["replace", "remove", "add"])):
        case "replace":
            holder[key] = data.draw(SCRAP)
        case "remove":
            del holder[key]
        case _ if isinstance(holder, dict):
            holder[data.draw(st.text(max_size=5))] = data.draw(SCRAP)
    try:
        found = parsed(value)
    except RegistryError as error:
        assert "\n" not in str(error)
        return
    SCHEMA.validate(value)
    assert parse_index(index_bytes(found), "x", Damage()).entries == tuple(
        {k: v for k, v in e.items() if v is not None and v != []} for e in found.entries
    )


@settings(max_examples=80, deadline=None)
@given(at_byte=st.integers(0, 10_000), byte=st.integers(0, 255), cut=st.booleans())
def test_a_flipped_or_missing_byte_never_ends_in_anything_but_a_registry_error(
    at_byte: int, byte: int, cut: bool
) -> None:
    good = index_bytes(parsed(content()))
    place = at_byte % len(good)
    bad = good[:place] if cut else good[:place] + bytes([byte]) + good[place + 1 :]
    try:
        entries_of(parse_index(bad, "x", Damage()), "x")
    except RegistryError as error:
        assert str(error).startswith("x: ")


def test_ten_thousand_entries_are_read_in_a_blink(tmp_path: Path) -> None:
    value = content()
    entry = value["entries"][0]
    value["entries"] = [{**entry, "id": f"acme/model-{i}"} for i in range(10_000)]
    data = json.dumps(value).encode()
    few = json.dumps({**value, "entries": value["entries"][:1_000]}).encode()

    def seconds(text: bytes, count: int) -> float:
        began = time.process_time()
        assert len(entries_of(parse_index(text, "x", Damage()), "x")) == count
        return time.process_time() - began

    # Ten times the entries, ten times the work: more would be another algorithm, not another machine.
    assert min(seconds(data, 10_000) for _ in range(2)) < 30 * max(seconds(few, 1_000) for _ in range(3))
