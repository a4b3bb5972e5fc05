"""What a report says that reading took is the same whether a fingerprint was in the cache or not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors import safe_open

from provenance_gate.artifact.load import open_artifact
from provenance_gate.artifact.ranges import ReadCounter
from provenance_gate.artifact.sources import Options, open_hub
from provenance_gate.fingerprint.cache import COST_KEY, FingerprintCache, identity_of_hub, measure_cached
from provenance_gate.fingerprint.measure import measure
from provenance_gate.fingerprint.spot import measure_spot
from tests.models import tokenizer

from .contents import Bytes, Repository, Shape, generated_model
from .server import LoopbackHub

SHAPE = Shape(3, 256, 768, 4, 2, 1600)


@pytest.fixture
def served(hub: LoopbackHub) -> LoopbackHub:
    text = json.dumps(tokenizer(SHAPE.vocabulary)).encode()
    hub.add("org/model", Repository({**generated_model(SHAPE), "tokenizer.json": Bytes(text)}))
    return hub


@pytest.fixture
def cache(tmp_path: Path) -> FingerprintCache:
    return FingerprintCache(tmp_path / "fingerprints")


def cost(options: Options, cache: FingerprintCache | None) -> tuple[tuple[int, int], int]:
    """Bytes and requests of measuring and looking again, and the requests that were really made for measuring."""
    opened = open_artifact(open_hub("org/model", options))
    real = opened.counter.requests
    identity = identity_of_hub(opened.store, options)
    measure_cached(opened.artifact, identity, cache, exact=False, counter=opened.counter)
    real = opened.counter.requests - real
    opened.store.forget()
    measure_spot(opened.artifact, "seed", few=False)
    return (opened.counter.bytes_read, opened.counter.requests), real


def test_the_cost_is_the_same_with_and_without_an_entry(
    served: LoopbackHub, options: Options, cache: FingerprintCache
) -> None:
    options = replace(options, offline=False)
    plain = cost(options, None)
    seen = len(served.seen)
    assert cost(options, cache) == plain
    first = len(served.seen) - seen
    assert cost(options, cache) == plain
    second = len(served.seen) - seen - first
    assert second < first, "the entry was used"
    assert plain[1] > 0


def test_what_is_read_after_forgetting_costs_the_same_whatever_was_read_before(
    served: LoopbackHub, options: Options
) -> None:
    costs = []
    for before in (False, True):
        opened = open_artifact(open_hub("org/model", replace(options, offline=False)))
        if before:
            measure(opened.artifact, exact=False)
        opened.store.forget()
        start = opened.counter.bytes_read, opened.counter.requests
        measure_spot(opened.artifact, "seed", few=False)
        costs.append((opened.counter.bytes_read - start[0], opened.counter.requests - start[1]))
    assert costs[0] == costs[1]


@pytest.mark.parametrize("text", ["", "1", "-1 2", "1 -2", "1 2 3", "x y", "1 99999999", "9" * 19 + " 1"])
def test_an_entry_without_a_plain_cost_is_measured_anew(
    served: LoopbackHub, options: Options, cache: FingerprintCache, text: str
) -> None:
    opened = open_artifact(open_hub("org/model", replace(options, offline=False)))
    measure_cached(opened.artifact, "id", cache, exact=False, counter=opened.counter)
    (path,) = cache.folder.iterdir()
    key = path.stem
    with safe_open(path, framework="numpy") as file:
        kept = file.metadata()[COST_KEY]
    assert cache.load_with_cost(key) is not None
    old, new = (json.dumps({COST_KEY: v}, separators=(",", ":"))[1:-1].encode() for v in (kept, text))
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    assert old in data[8 : 8 + size]
    header = data[8 : 8 + size].replace(old, new).rstrip(b" ")
    header += b" " * (-len(header) % 8)
    path.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + size :])
    assert cache.load_with_cost(key) is None
    assert not path.exists()


def test_a_count_of_nothing_adds_nothing(served: LoopbackHub, options: Options, cache: FingerprintCache) -> None:
    opened = open_artifact(open_hub("org/model", replace(options, offline=False)))
    measure_cached(opened.artifact, "id", cache, exact=False)
    counter = ReadCounter()
    measure_cached(opened.artifact, "id", cache, exact=False, counter=counter)
    assert (counter.bytes_read, counter.requests) == (0, 0)
