"""The index of sketches: what it finds, against the plain way of looking, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from provenance_gate.errors import RegistryError
from provenance_gate.fingerprint.compact import PART_BITS, Sketch, agreement
from provenance_gate.registry import compact_index, compact_layout
from provenance_gate.registry.compact_index import BODY, CONTENT, CompactIndex, write_index
from provenance_gate.registry.popcount import popcount, popcount_by_sums


def random_sketch(rng: np.random.Generator, tag: int = 1, parts: tuple[str, ...] = tuple(PART_BITS)) -> Sketch:
    def part(bits: int) -> np.ndarray:
        signs = rng.integers(0, 256, bits // 8, dtype=np.uint8)
        return np.concatenate([np.array([tag >> 8, tag & 255], np.uint8), signs])

    digests = {"architecture": 1, "content_0": int(rng.integers(1, 2**63)), "content_1": int(rng.integers(1, 2**63))}
    return Sketch({n: part(PART_BITS[n]) for n in parts}, digests)


def sketches(count: int, seed: int = 0) -> list[tuple[str, Sketch]]:
    """Of two forms, some without a part."""
    rng = np.random.default_rng(seed)
    names = tuple(PART_BITS)
    return [
        (f"org/modèle-{i}", random_sketch(rng, 1 + i % 7 // 6 * 999, names if i % 5 else names[:2]))
        for i in range(count)
    ]


def near(sketch: Sketch, share: float, seed: int = 1) -> Sketch:
    """With this share of the sign bits turned over."""
    rng = np.random.default_rng(seed)
    parts = {}
    for name, part in sketch.parts.items():
        turned = np.packbits(rng.random(PART_BITS[name]) < share)
        parts[name] = np.concatenate([part[:2], part[2:] ^ turned])
    return Sketch(parts, {})


def plain(items: list[tuple[str, Sketch]], sought: Sketch, part: str, top: int) -> list[tuple[float, str]]:
    """The slow way: every agreement, the best first, of equal ones the earlier first."""
    seen = [
        (agreement(sought, s)[part].z, i, name) for i, (name, s) in enumerate(items) if part in agreement(sought, s)
    ]
    return sorted((z, name) for z, _, name in sorted(seen, key=lambda x: (-x[0], x[1]))[:top])


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 64, so that a few hundred models fill several."""
    for module in (compact_index, compact_layout):
        monkeypatch.setattr(module, "BLOCK", 64)
    monkeypatch.setattr(compact_layout, "_LAYOUT", {**compact_layout._LAYOUT, "block": 64})


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("count", [1, 64, 65, 300])
@pytest.mark.parametrize("top", [1, 8, 1000])
def test_search_finds_what_comparing_with_every_model_finds(tmp_path: Path, count: int, top: int) -> None:
    items = sketches(count)
    assert write_index(tmp_path / "index", items) == count
    for sought in (near(items[count // 2][1], 0.3), sketches(1, 9)[0][1]):
        with CompactIndex.open(tmp_path / "index") as index:
            hits = index.search(sought, top)
        assert len(index) == count
        for part in PART_BITS:
            assert sorted((h.z, h.id) for h in hits if h.part == part) == plain(items, sought, part, top)


@pytest.mark.usefixtures("small_blocks")
def test_threads_and_memory_change_no_answer(tmp_path: Path) -> None:
    items = sketches(300)
    write_index(tmp_path / "index", items)
    sought = near(items[7][1], 0.4)
    answers = [CompactIndex.open(tmp_path / "index").search(sought, 5, jobs) for jobs in (1, 2, 7)]
    assert answers[0] == answers[1] == answers[2] == CompactIndex.from_sketches(items).search(sought, 5)


@pytest.mark.usefixtures("small_blocks")
def test_the_body_counts_both_of_its_parts_as_one() -> None:
    items = sketches(300)
    sought = near(items[7][1], 0.4)
    expected = []
    for name, held in items:
        seen = agreement(sought, held)
        if {"feed_forward", "attention"} <= seen.keys():
            # z is a share of bits times their root.
            shares = 2048**0.5 * seen["feed_forward"].z + 1024**0.5 * seen["attention"].z
            expected.append((round(shares / 3072**0.5, 9), name))
    hits = CompactIndex.from_sketches(items).search(sought, 1000)
    assert 0 < len(expected) < 300
    assert sorted((round(h.z, 9), h.id) for h in hits if h.part == BODY) == sorted(expected)
    bare = Sketch({"attention": sought.parts["attention"]}, {})
    assert not [h for h in CompactIndex.from_sketches(items).search(bare) if h.part == BODY]


def test_a_whole_block_is_released_and_read_again(tmp_path: Path) -> None:
    one = random_sketch(np.random.default_rng(1))
    other = random_sketch(np.random.default_rng(2))
    many = ((f"m{i}", other if i != 20_000 else one) for i in range(compact_layout.BLOCK + 5000))
    write_index(tmp_path / "index", many)
    with CompactIndex.open(tmp_path / "index") as index:
        for _ in range(2):
            best = index.search(near(one, 0.2), 3)[0]
            assert (best.id, best.part) == ("m20000", BODY)
            assert best.correlation == pytest.approx(np.cos(0.2 * np.pi), abs=0.06)


def test_equal_content_is_found_in_any_place_and_text_counts_for_nothing() -> None:
    rng = np.random.default_rng(3)
    items = [(f"m{i}", random_sketch(rng)) for i in range(9)]
    held = items[4][1].digests
    sought = Sketch(
        {}, {"architecture": 1, "content_0": held["content_1"], "content_2": held["content_0"], "merges": 5}
    )
    hits = CompactIndex.from_sketches(items).search(sought, 3)
    assert [(h.id, h.part, h.z) for h in hits if h.part == CONTENT] == [("m4", CONTENT, 2.0)]
    assert [(h.id, h.z) for h in hits if h.part == "architecture"] == [("m0", 0.0), ("m1", 0.0), ("m2", 0.0)]
    assert len(hits) == 4


def test_absent_digests_are_equal_to_nothing() -> None:
    bare = Sketch(random_sketch(np.random.default_rng(1)).parts, {})
    assert not [h for h in CompactIndex.from_sketches([("m", bare)]).search(bare) if h.part not in (*PART_BITS, BODY)]


def test_an_empty_index_finds_nothing(tmp_path: Path) -> None:
    assert write_index(tmp_path / "index", []) == 0
    with CompactIndex.open(tmp_path / "index") as index:
        assert len(index) == 0
        assert index.search(sketches(1)[0][1]) == []


def test_models_are_added_by_writing_the_old_ones_first(tmp_path: Path) -> None:
    items = sketches(20)
    write_index(tmp_path / "index", items[:13])
    with CompactIndex.open(tmp_path / "index") as old:
        assert write_index(tmp_path / "index", chain(old.items(), items[13:])) == 20
    write_index(tmp_path / "whole", items)
    assert (tmp_path / "index").read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write_index(tmp_path / "index", sketches(3))
    before = (tmp_path / "index").read_bytes()

    def broken() -> Iterator[tuple[str, Sketch]]:
        yield sketches(1)[0]
        raise RegistryError("the source ended")

    with pytest.raises(RegistryError, match="the source ended"):
        write_index(tmp_path / "index", broken())
    assert (tmp_path / "index").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["index"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="No such file"):
        write_index(tmp_path / "absent" / "index", sketches(1))


@pytest.mark.parametrize("name", ["", "x" * 513, "é" * 257, "\ud800"])
def test_ids_that_no_file_could_hold_are_refused(name: str) -> None:
    with pytest.raises(RegistryError, match="1 to 512 bytes of UTF-8"):
        CompactIndex.from_sketches([(name, sketches(1)[0][1])])


def test_the_longest_id_comes_back() -> None:
    name = "é" * 256
    sketch = sketches(1)[0][1]
    assert CompactIndex.from_sketches([(name, sketch)]).search(sketch)[0].id == name


def test_sketches_of_another_method_or_length_are_refused() -> None:
    sketch = sketches(1)[0][1]
    with pytest.raises(RegistryError, match="a sketch by 'other/2'"):
        CompactIndex.from_sketches([("m", Sketch(sketch.parts, {}, "other/2"))])
    with pytest.raises(RegistryError, match="m: sketch: attention: expected a tag and 1024 bits"):
        CompactIndex.from_sketches([("m", Sketch({"attention": sketch.parts["attention"][:-1]}, {}))])
    with pytest.raises(RegistryError, match="a sketch by 'other/2'"):
        CompactIndex.from_sketches([("m", sketch)]).search(Sketch({}, {}, "other/2"))


@pytest.mark.parametrize("kept", [0, 7, 4095, 4096, 5000, -1])
def test_a_cut_file_is_refused(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "index"
    write_index(path, sketches(5))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(RegistryError, match="cut"):
        CompactIndex.open(path)


def test_a_file_that_was_added_to_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "index"
    write_index(path, sketches(5))
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(RegistryError, match="cut or added to"):
        CompactIndex.open(path)


@pytest.mark.parametrize("place", ["header", "block", "ends", "ids", "digests"])
def test_one_changed_bit_is_found(tmp_path: Path, place: str) -> None:
    path = tmp_path / "index"
    write_index(path, sketches(5))
    raw = bytearray(path.read_bytes())
    tail = 4096 + 5 * compact_layout.WORDS * 8
    at = {"header": 60, "block": 4096 + 17, "ends": tail + 3, "ids": tail + 41, "digests": len(raw) - 1}[place]
    raw[at] ^= 4
    path.write_bytes(raw)
    with pytest.raises(RegistryError, match="edited"):
        CompactIndex.open(path).search(sketches(1)[0][1])


def forged(path: Path, **facts: object) -> None:
    """Other facts in the header, under a digest that fits."""
    raw = path.read_bytes()
    old = json.loads(raw[44 : 44 + int.from_bytes(raw[40:44], "little")])
    text = json.dumps({**old, **facts}).encode()
    body = len(text).to_bytes(4, "little") + text.ljust(4052, b" ")
    path.write_bytes(raw[:8] + sha256(body).digest() + body + raw[4096:])


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"method": "provenance-gate-sketch/2"}, "another version"),
        ({"block": 1 << 40}, "another version"),
        ({"sections": []}, "another version"),
        ({"rows": "5"}, "another version"),
        ({"extra": 1}, "another version"),
        ({"rows": -1}, "cannot be"),
        ({"rows": 1 << 60}, "cannot be"),
        ({"id_bytes": 1 << 60}, "cannot be"),
        ({"rows": 6}, "expected"),
        ({"tail_sha256": "0" * 64}, "edited"),
    ],
)
def test_a_header_that_states_something_else_is_refused(tmp_path: Path, facts: dict[str, object], message: str) -> None:
    path = tmp_path / "index"
    write_index(path, sketches(5))
    forged(path, **facts)
    with pytest.raises(RegistryError, match=message):
        CompactIndex.open(path)


def test_ends_of_ids_that_run_backward_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "index"
    write_index(path, sketches(5))
    raw = bytearray(path.read_bytes())
    tail = 4096 + 5 * compact_layout.WORDS * 8
    raw[tail : tail + 8], raw[tail + 8 : tail + 16] = raw[tail + 8 : tail + 16], raw[tail : tail + 8]
    path.write_bytes(raw)
    forged(path, tail_sha256=sha256(raw[tail:]).hexdigest())
    with pytest.raises(RegistryError, match="out of order"):
        CompactIndex.open(path)


@pytest.mark.parametrize("content", [b"", b"{}", b"\0" * 5000, b"PGINDEX1" + b"\xff" * 5000])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "index"
    path.write_bytes(content)
    with pytest.raises(RegistryError):
        CompactIndex.open(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="absent: No such file"):
        CompactIndex.open(tmp_path / "absent")


def test_both_ways_of_counting_bits_count_them() -> None:
    rng = np.random.default_rng(0)
    words = np.concatenate(
        [rng.integers(0, 2**64, 1000, dtype=np.uint64), np.array([0, 1, 2**64 - 1, 2**63], np.uint64)]
    )
    expected = [bin(int(w)).count("1") for w in words]
    assert popcount(words).tolist() == expected
    assert popcount_by_sums(words).tolist() == expected
    assert popcount_by_sums(words).dtype == popcount(words).dtype == np.uint8
