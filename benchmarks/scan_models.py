"""Where the true base of a trained model comes up among sketches, by kind of derivation (`python -m benchmarks.scan models`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import provenance_gate
from benchmarks.lineage import mechanical, trained
from benchmarks.lineage.bases import ALL_SPLITS
from benchmarks.lineage.kinds import ORIGIN_OF_FABRICATION, OTHER_PARENT, TWICE_FROM_ONCE
from benchmarks.lineage.pairs import Pair, pairs
from provenance_gate.artifact.anchors import select_anchors
from provenance_gate.artifact.interface import Claims, NotMeasured, Role
from provenance_gate.artifact.load import open_artifact
from provenance_gate.fingerprint.compact import AGREES, PART_BITS, Sketch, agreement, sketch_of
from provenance_gate.fingerprint.interface import Fingerprint, SignalValue, Subject
from provenance_gate.registry.compact_index import CompactIndex, Hit

_ROUNDED = ("cast to bfloat16", "cast to float16", "int8", "int4", "nf4")
_RESHAPED = ("neurons removed", "neurons removed and healed", "neurons copied", "heads removed", "residual widened")
_HIDDEN = (*mechanical.DISGUISED, "disguised, then fine-tuned")
_BODY = ("feed_forward", "attention")

GROUPS: Mapping[str, Callable[[str], bool]] = {
    "rounded (bf16, f16, int8, int4, nf4)": lambda k: k in _ROUNDED,
    "another width (neurons, heads, residual)": lambda k: k in _RESHAPED,
    "disguised": lambda k: k in _HIDDEN,
    "merges of relatives": lambda k: k in mechanical.MERGED,
    "merges with a stranger": lambda k: k in mechanical.CROSSED,
    "merges with a stranger, its base": lambda k: k == OTHER_PARENT,
    "fabrications, the true origin": lambda k: k == ORIGIN_OF_FABRICATION,
    "trained on": lambda k: k == TWICE_FROM_ONCE or any(k == t.kind for t in trained.TRAINED),
    "other mechanical changes": lambda k: k in mechanical.SINGLE,
}
"""The first that applies."""


@dataclass(frozen=True)
class Seen:
    """One related pair: z of the base by part, and how many other bases agree better."""

    pair: Pair
    z: Mapping[str, float]
    better: Mapping[str, int]
    nominated: bool
    among: int

    def first(self, parts: Sequence[str]) -> bool:
        """Whether one of the parts says enough and puts the base first."""
        return any(self.better.get(p) == 0 and self.z[p] >= AGREES[p] for p in parts)


def sketches(cache: Path) -> dict[str, Sketch]:
    """Of all models of the benchmark that are built, by folder below the cache."""
    folders = [f for kind in ("bases", "models") for f in sorted((cache / kind).iterdir()) if f.is_dir()]
    return {f"{f.parent.name}/{f.name}": sketch_of(provenance_gate.fingerprint(str(f))) for f in folders}


def look(pair: Pair, hits: Sequence[Hit]) -> Seen:
    """Where the base of a pair stands among the hits of its artifact."""
    z = {h.part: h.z for h in hits if h.id == pair.base and h.part in PART_BITS}
    better = {p: sum(h.part == p and h.z > v for h in hits) for p, v in z.items()}
    # As a search would see it: all models by their best part, in units of what strangers reach.
    strength: dict[str, float] = {}
    for h in hits:
        if h.part in PART_BITS and h.z >= AGREES[h.part]:
            strength[h.id] = max(strength.get(h.id, 0.0), h.z / AGREES[h.part])
    own = strength.get(pair.base)
    among = 0 if own is None else 1 + sum(s > own for s in strength.values())
    return Seen(pair, z, better, own is not None, among)


def print_models(cache: Path) -> None:
    """Tables of all splits; nothing but a line where no models are built."""
    if not (cache / "bases").is_dir():
        print(f"{cache}: no models; python -m benchmarks.lineage build makes them")
        return
    known = sketches(cache)
    bases = [name for name in known if name.startswith("bases/")]
    index = CompactIndex.from_sketches((name, known[name]) for name in bases)
    print(f"{len(bases)} bases in the index, {len(known) - len(bases)} derived models\n")
    present = [p for p in pairs() if p.artifact in known and p.base in known]
    for split in ALL_SPLITS:
        chosen = [p for p in present if p.split == split]
        related = [p for p in chosen if p.label.value == "related" and p.base in bases]
        print_related(split, [look(p, index.search(known[p.artifact], len(bases))) for p in related])
        print_strangers(split, [p for p in chosen if p.label.value == "independent"], known)
    print_noise(cache)


def print_related(split: str, seen: Sequence[Seen]) -> None:
    """One line a group."""
    print(f"Split {split}: related pairs, the true base")
    print(
        "| kind | pairs | nominated | among the first 2 | first by body | first by geometry | median z: body, geometry |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    left = list(seen)
    for name, belongs in GROUPS.items():
        group = [s for s in left if belongs(s.pair.kind)]
        left = [s for s in left if not belongs(s.pair.kind)]
        if group:
            print(_line(name, group))
    assert not left, sorted({s.pair.kind for s in left})
    print(_line("all", seen), end="\n\n")
    for s in seen:
        if not s.nominated:
            print(f"not nominated: {s.pair.artifact} for {s.pair.base}: {_shown(s.z)}")


def _line(name: str, group: Sequence[Seen]) -> str:
    body = [max((s.z[p] for p in _BODY if p in s.z), default=0.0) for s in group]
    geometry = [s.z.get("geometry", 0.0) for s in group]
    counts = (
        sum(s.nominated for s in group),
        sum(0 < s.among <= 2 for s in group),
        sum(s.first(_BODY) for s in group),
        sum(s.first(("geometry",)) for s in group),
    )
    shares = " | ".join(map(str, counts))
    return f"| {name} | {len(group)} | {shares} | {np.median(body):.1f}, {np.median(geometry):.1f} |"


def print_strangers(split: str, chosen: Sequence[Pair], known: Mapping[str, Sketch]) -> None:
    """What independent pairs reach by part, those that share a table apart."""
    print(f"\nSplit {split}: independent pairs")
    print("| part | pairs | median z | highest z | above the level |")
    print("| --- | --- | --- | --- | --- |")
    for part in PART_BITS:
        for shares_table in (False, True):
            of = [p for p in chosen if ("table" in p.artifact + p.base) == shares_table]
            z = [found[part].z for p in of if part in (found := agreement(known[p.artifact], known[p.base]))]
            if z:
                name = f"{part}, one on a borrowed table" if shares_table else part
                above = sum(v >= AGREES[part] for v in z)
                print(f"| {name} | {len(z)} | {np.median(z):.1f} | {max(z):.1f} | {above} |")
    print()


def _shown(z: Mapping[str, float]) -> str:
    return ", ".join(f"{p} {v:.1f}" for p, v in sorted(z.items())) or "no part of its form"


def print_noise(cache: Path) -> None:
    """What noise on the embedding table leaves of the geometry, over all bases; rotations leave all of it."""
    print("| noise on the table, of its standard deviation | bases | median z | lowest z | below the level |")
    print("| --- | --- | --- | --- | --- |")
    tables = list(_anchor_rows(cache))
    for share in (0.1, 0.3, 0.5, 1.0, 2.0):
        rng = np.random.default_rng(1)
        z = []
        for rows, deviation in tables:
            noisy = rows + share * deviation * rng.standard_normal(rows.shape)
            z.append(agreement(_geometry_sketch(noisy), _geometry_sketch(rows))["geometry"].z)
        below = sum(v < AGREES["geometry"] for v in z)
        print(f"| {share:.0%} | {len(z)} | {np.median(z):.1f} | {min(z):.1f} | {below} |")


def _anchor_rows(cache: Path) -> Iterator[tuple[NDArray[np.float64], float]]:
    for folder in sorted((cache / "bases").iterdir()):
        opened = open_artifact(folder).artifact
        table = next((t for t in opened.canonical if t.key.role is Role.EMBEDDING and t.key.part == ""), None)
        if table is None or isinstance(opened.tokenizer, NotMeasured):
            continue
        values = table.read_rows(0, table.shape[0]).astype(np.float64)
        yield values[list(select_anchors(opened.tokenizer, len(values)))], float(values.std())


def _geometry_sketch(rows: NDArray[np.float64]) -> Sketch:
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    value = SignalValue("exact", {"anchors": 64}, arrays={"similarity": (unit @ unit.T).astype(np.float32)})
    return sketch_of(Fingerprint(Subject("table", (), Claims((), ())), {"eas": value}, 0))
