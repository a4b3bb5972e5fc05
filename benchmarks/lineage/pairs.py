"""Every pair of the benchmark, its label and its kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.lineage import mechanical, trained
from benchmarks.lineage.bases import BASES, REPORT, SPLITS, Base, base
from benchmarks.lineage.kinds import (
    CHILD_OF_BORROWER,
    CHILD_OF_SIBLING,
    CHILD_OF_TWIN,
    DISGUISED_OF_TWIN,
    ORIGIN_OF_FABRICATION,
    OTHER_PARENT,
    TWICE_FROM_ONCE,
    Label,
    base_kind,
    label_of,
)


@dataclass(frozen=True)
class Pair:
    """`artifact` and `base` are folders below the cache."""

    artifact: str
    base: str
    kind: str
    split: str

    @property
    def label(self) -> Label:
        """What is true of the pair, by its kind."""
        return label_of(self.kind)

    def paths(self, cache: Path) -> tuple[Path, Path]:
        """Where both lie."""
        return cache / self.artifact, cache / self.base


_AGAINST_A_TWIN: Final = (
    *("cast to bfloat16", "int4", "noise 30 %", "layers dropped", "blocks expanded", "vocabulary truncated"),
    *("neurons removed", "residual widened", "upcycled", "slerp 0.35"),
)


def pairs() -> tuple[Pair, ...]:
    """All of them, in a stable order; a pair is listed once."""
    found = {(p.artifact, p.base): p for p in (*_of_bases(), *_of_children())}
    return tuple(found.values())


def split_of(origin: str) -> str:
    """Of a base by name; the real model is only reported on."""
    return REPORT if origin == trained.MINILM else base(origin).split


def lineage_of(folder: str) -> str:
    """The lineage that a folder belongs to."""
    origin = folder.split("/")[-1].split("--")[0]
    return origin if origin == trained.MINILM else base(origin).lineage


def _at(origin: str) -> str:
    return f"bases/{origin}"


def _of_bases() -> Iterator[Pair]:
    for i, first in enumerate(BASES):
        for second in BASES[:i]:
            if first.split == second.split:
                later, earlier = (second, first) if second.table_of == first.name else (first, second)
                yield Pair(_at(later.name), _at(earlier.name), base_kind(later, earlier), first.split)
    for other in BASES:
        if SPLITS[other.lineage] == REPORT:
            yield Pair(_at(trained.MINILM), _at(other.name), base_kind(None, other), REPORT)


def _of_children() -> Iterator[Pair]:
    strangers = {b.name: _twin(b) for b in BASES}
    for name, (origin, spec) in trained.plan().items():
        yield from _child(f"models/{name}", origin, spec.kind, strangers.get(origin))
        if spec.parent:
            yield Pair(f"models/{name}", _folder(origin, spec.parent), TWICE_FROM_ONCE, split_of(origin))
    yield Pair(_folder(trained.MINILM, trained.MINILM_KIND), _at(trained.MINILM), trained.MINILM_KIND, REPORT)
    for name, (origin, kind) in mechanical.plan().items():
        yield from _child(f"models/{name}", origin, kind, strangers.get(origin))


def _child(folder: str, origin: str, kind: str, twin: str | None) -> Iterator[Pair]:
    split = split_of(origin)
    yield Pair(folder, _at(origin), kind, split)
    if twin is None:
        return
    if kind in mechanical.CROSSED:
        yield Pair(folder, _at(twin), OTHER_PARENT, split)
        return
    if kind in mechanical.FABRICATED:
        yield Pair(folder, _at(twin), ORIGIN_OF_FABRICATION, split)
        return
    is_trained = any(kind == t.kind for t in trained.TRAINED)
    if kind in mechanical.DISGUISED or kind.startswith("disguised"):
        yield Pair(folder, _at(twin), DISGUISED_OF_TWIN, split)
    elif is_trained or kind in _AGAINST_A_TWIN:
        yield Pair(folder, _at(twin), CHILD_OF_TWIN, split)
    if is_trained and origin in trained.FULL:
        for borrower in (f"{origin}-table", f"{origin}-frozen-table"):
            yield Pair(folder, _at(borrower), CHILD_OF_BORROWER, split)
        if kind in ("fine-tuned", "continued pretraining, heavy", "LoRA merged"):
            yield Pair(folder, _at(f"{origin}-sibling"), CHILD_OF_SIBLING, split)


def _twin(spec: Base) -> str | None:
    name = f"{spec.name}-twin"
    return name if any(b.name == name for b in BASES) else None


def _folder(origin: str, kind: str) -> str:
    return f"models/{origin}--{trained.slug(kind)}"
