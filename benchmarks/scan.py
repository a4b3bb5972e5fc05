"""What it costs to nominate bases out of up to a million sketches, and which models are nominated.

    python -m benchmarks.scan [cost|recall|crowded|models ...] [--rows N] [--targets N] [--cache DIR]

``cost``      time and memory of a search against the number of models, a process of its own for each
``recall``    whether the one relative in the index comes up, by its correlation; every query has 99 near misses
``crowded``   the same with 999 near misses to a query
``models``    trained models of benchmarks/lineage: where the true base comes up, by kind of derivation

The index of the first three is synthetic: all sketches are of one form, so that none can be passed over. Each family has a query
that is not in the index, one relative of correlation 0.3 to 1 to it, and near misses of 0.05 to 0.25. Bits of a relative of
correlation r differ with probability arccos(r) / pi, which is the law for sketches of Gaussian vectors.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import machine, run, spread, timed
from provenance_gate.fingerprint.compact import PART_BITS, TAG_BYTES, Sketch
from provenance_gate.registry.compact_index import BODY, BODY_PARTS, CompactIndex, write_index

BUDGET_SECONDS, BUDGET_MB = 1.0, 1000
FAMILY, CROWD = 100, 1000
BINS = ((0.30, 0.35), (0.35, 0.50), (0.50, 0.75), (0.75, 1.00))
_BIN_OF = (0, 1, 0, 2, 0, 3)
"""Half of the queries have the weakest relatives."""
TOP, WIDE = 64, 256
_TAG = np.array([0, 1], np.uint8)
_RANKED = (*BODY_PARTS, BODY)


@dataclass(frozen=True)
class Query:
    """What is searched for. `correlation` is that of its one relative in the index."""

    sketch: Sketch
    correlation: float


def query(number: int) -> Query:
    """Of one family always the same."""
    rng = np.random.default_rng((7, number))
    parts = {n: np.concatenate([_TAG, rng.integers(0, 256, b // 8, dtype=np.uint8)]) for n, b in PART_BITS.items()}
    return Query(Sketch(parts, {}), float(rng.uniform(*BINS[_BIN_OF[number % len(_BIN_OF)]])))


def family(number: int, size: int) -> Iterator[tuple[str, Sketch]]:
    """The relative of a query, then its near misses."""
    sought, rng = query(number), np.random.default_rng((8, number))
    limits = np.arccos([sought.correlation, *rng.uniform(0.05, 0.25, size - 1)]) / np.pi * 65536
    parts = {}
    for name, bits in PART_BITS.items():
        # Embeddings of all models here are strangers: the body alone has to do.
        chance = limits if name in BODY_PARTS else np.full(size, 32768.0)
        unequal = np.packbits(rng.integers(0, 65536, (size, bits), dtype=np.uint16) < chance[:, None], axis=1)
        tags = np.zeros((size, TAG_BYTES), np.uint8)
        parts[name] = np.concatenate([tags, unequal], axis=1) ^ sought.sketch.parts[name]
    for i in range(size):
        yield _id(number, i), Sketch({n: p[i] for n, p in parts.items()}, {})


def _id(number: int, member: int) -> str:
    return f"family-{number}/model-{member}"


def models(rows: int, size: int) -> Iterator[tuple[str, Sketch]]:
    """`rows` models in families of `size`."""
    for number in range(rows // size):
        yield from family(number, size)


def print_cost(folder: Path, rows: int) -> bool:
    """One line for each power of ten; whether the largest keeps the budget."""
    print("| models | file | opening | first search | from disk | warm search | peak memory |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    sound = True
    for count in [10**i for i in range(3, 10) if 10**i <= rows]:
        path = folder / f"{count}.index"
        write_index(path, models(count, FAMILY))
        os.sync()
        child = run([sys.executable, "-m", "benchmarks.scan", "--search", str(path)])
        if child.code:
            sys.exit(child.output)
        seen = json.loads(child.output.splitlines()[-1])
        size = path.stat().st_size / 1e6
        print(
            f"| {count:,} | {size:,.1f} MB | {seen['open']:.3f} s | {seen['first']:.3f} s | {seen['disk']:.3f} s "
            f"| {spread(seen['warm'], 4)} s | {child.peak_mb:.0f} MB |",
            flush=True,
        )
        sound = max(seen["warm"]) <= BUDGET_SECONDS and child.peak_mb <= BUDGET_MB
        path.unlink()
    print(f"\nBudget: {BUDGET_SECONDS} s warm and {BUDGET_MB} MB at 1,000,000: {'kept' if sound else 'MISSED'}\n")
    return sound


def search_once(path: Path) -> None:
    """In a process of its own: times in seconds, as JSON."""
    queries = [query(number).sketch for number in range(22)]
    found: dict[str, object] = {}
    index: list[CompactIndex] = []
    found["open"] = timed(lambda: index.append(CompactIndex.open(path)))
    found["first"] = timed(lambda: index[0].search(queries[0], TOP))
    found["warm"] = [timed(lambda q=q: index[0].search(q, TOP)) for q in queries[1:]]  # type: ignore[misc]
    index[0].close()
    with path.open("rb") as file:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    found["disk"] = timed(lambda: CompactIndex.open(path).search(queries[0], TOP))
    print(json.dumps(found))


def print_recall(folder: Path, rows: int, size: int, targets: int) -> bool:
    """Share of relatives among the nominees by bin of correlation; whether all came up."""
    path = folder / "recall.index"
    write_index(path, models(rows, size))
    families = min(targets, rows // size)
    print(f"{rows:,} models in families of {size:,}; {families} queries; of each part the {TOP} best, and the {WIDE}")
    print(
        f"| correlation | relatives | by feed_forward | by attention | by both as one | by any | 95 % bound | by any of {WIDE} |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    ranks: dict[int, list[dict[str, int]]] = {}
    with CompactIndex.open(path) as index:
        for number in range(families):
            place: dict[str, list[str]] = {}
            for hit in index.search(query(number).sketch, WIDE):
                place.setdefault(hit.part, []).append(hit.id)
            wanted = _id(number, 0)
            found = {p: place[p].index(wanted) for p in _RANKED if wanted in place.get(p, ())}
            ranks.setdefault(_BIN_OF[number % len(_BIN_OF)], []).append(found)
    path.unlink()
    complete = True
    for i, (low, high) in enumerate(BINS):
        seen = ranks.get(i, [])
        counts = [sum(s.get(p, TOP) < TOP for s in seen) for p in _RANKED]
        any_part = sum(min(s.values(), default=TOP) < TOP for s in seen)
        wide = sum(bool(s) for s in seen)
        bound = lower_bound(any_part, len(seen)) if seen else 0.0
        shares = " | ".join(map(str, (*counts, any_part)))
        print(f"| {low:.2f} to {high:.2f} | {len(seen)} | {shares} | >= {bound:.4f} | {wide} |", flush=True)
        complete &= any_part == len(seen)
    print()
    return complete


def lower_bound(found: int, of: int) -> float:
    """One-sided 95 % Clopper-Pearson bound of a share."""
    low, high = 0.0, found / of
    for _ in range(60):
        middle = (low + high) / 2.0
        if _at_least(found, of, middle) < 0.05:
            low = middle
        else:
            high = middle
    return low


def _at_least(found: int, of: int, share: float) -> float:
    if share <= 0.0 or share >= 1.0:
        return float(found == 0 or share >= 1.0)
    terms = (
        math.lgamma(of + 1)
        - math.lgamma(k + 1)
        - math.lgamma(of - k + 1)
        + k * math.log(share)
        + (of - k) * math.log1p(-share)
        for k in range(found, of + 1)
    )
    return sum(math.exp(t) for t in terms)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = ("cost", "recall", "crowded", "models")
    parser.add_argument("step", nargs="*", choices=[*steps, []], help="default: all")
    parser.add_argument("--rows", type=int, default=10**6, help="models of the largest index")
    parser.add_argument("--targets", type=int, default=600, help="queries of the recall")
    parser.add_argument(
        "--cache", type=Path, default=Path(__file__).parent / "lineage" / ".cache", help="trained models"
    )
    parser.add_argument("--folder", type=Path, help="where 0.6 GB may lie for a while")
    parser.add_argument("--search", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.search:
        search_once(args.search)
        return 0
    chosen, sound = args.step or steps, True
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        if "cost" in chosen:
            sound &= print_cost(Path(folder), args.rows)
        if "recall" in chosen:
            sound &= print_recall(Path(folder), args.rows, FAMILY, args.targets)
        if "crowded" in chosen:
            print_recall(Path(folder), args.rows, CROWD, args.targets)
    if "models" in chosen:
        from benchmarks.scan_models import print_models

        print_models(args.cache)
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
