"""Does a search find the base without being told? Every derivative against a registry of all bases.

    python -m benchmarks.lineage.searches [--cache DIR] [--split fit|report|blind] [--kind TEXT] [--every N]
                                          [--steps] [--stored-only]

What the artifacts declare is taken away: nothing but sketches, shapes and weights leads to a base. With `--steps` the registry
also holds first steps (fine-tunes of each base): parents of second steps and merges, and siblings of everything else, some of
which were trained on the same data. With `--stored-only` it holds fingerprints and no address of weights, so that disguises
and other widths cannot be undone. Then each derivative is searched again with its own base, and all that comes from it, left
out: every match is a false one.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from benchmarks.lineage import bases, mechanical, trained
from benchmarks.lineage.mixes import BASE, TRUTHS, TWIN
from benchmarks.lineage.pairs import split_of
from provenance_gate.artifact.interface import Claims
from provenance_gate.building import add
from provenance_gate.fingerprint.interface import Fingerprint
from provenance_gate.reading import Model, Reading, read_model
from provenance_gate.registry.interface import Entry
from provenance_gate.registry.layers import Registries, open_registries
from provenance_gate.registry.records import Given
from provenance_gate.report.interface import Scan
from provenance_gate.scanning import scan_model
from provenance_gate.searching import Searcher

STEPS: Final = ("fine-tuned", "LoRA merged", "continued pretraining, heavy")
"""First steps that the registry holds beside the bases: parents of second steps and of merges, siblings of all others."""


@dataclass(frozen=True)
class Case:
    """A derivative, and what a search should say. `parents`: any of them may come first, all should be listed."""

    folder: str
    kind: str
    group: str
    split: str
    parents: tuple[str, ...]
    roots: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """What it said. `false`: matches with everything of its origin left out."""

    case: Case
    first: str
    listed: tuple[str, ...]
    roots: tuple[str, ...]
    false: tuple[str, ...]
    seconds: float

    @property
    def first_right(self) -> bool:
        return self.first in self.case.parents

    @property
    def all_listed(self) -> bool:
        return set(self.case.parents) <= set(self.listed)

    @property
    def roots_right(self) -> bool:
        return set(self.roots) == set(self.case.roots)


def cases() -> Iterator[Case]:
    """All derivatives that are not in the registry themselves, and whose parents are among what it may hold."""
    for name, (origin, spec) in trained.plan().items():
        if spec.kind in (*STEPS, trained_at_random()):
            continue
        group = "disguised" if spec.kind.startswith("disguised") else "trained"
        parent = f"{origin}--{trained.slug(spec.parent)}" if spec.parent else origin
        yield Case(name, spec.kind, group, split_of(origin), (parent,), (origin,))
    for name, (origin, kind) in mechanical.plan().items():
        split = split_of(origin)
        if kind in mechanical.FABRICATED:
            yield Case(name, kind, "fabricated", split, (f"{origin}-twin",), (f"{origin}-twin",))
        elif kind in TRUTHS:
            truth = TRUTHS[kind]
            used = dict.fromkeys([*truth.parents, *truth.weights])
            parents = tuple(_id(origin, u) for u in used)
            roots = tuple(dict.fromkeys(p.partition("--")[0] for p in parents))
            yield Case(name, kind, "merged", split, parents, roots)
        else:
            step = {"fine-tuned, then disguised": STEPS[0], "continued heavily, then disguised": STEPS[2]}.get(kind)
            group = "disguised" if kind in mechanical.DISGUISED else "mechanical"
            yield Case(name, kind, group, split, (_id(origin, step) if step else origin,), (origin,))


def trained_at_random() -> str:
    """The kind that inherits no weight."""
    return "distilled, random student"


def _id(origin: str, used: str) -> str:
    if used == BASE:
        return origin
    return f"{origin}-twin" if used == TWIN else f"{origin}--{trained.slug(used)}"


def build_registry(cache: Path, folder: Path, *, steps: bool, stored_only: bool) -> Registries:
    """Bases as roots, first steps with their base as recorded parent."""
    reading = Reading()

    def place(path: Path) -> str:
        return f"elsewhere://{path.name}" if stored_only else str(path.resolve())

    origins = [b.name for b in bases.BASES] + [trained.MINILM]
    for name in origins:
        if (cache / "bases" / name).is_dir():
            path = cache / "bases" / name
            add(str(folder), str(path), Given(name, "apache-2.0", (), place(path)), reading)
    for origin in origins if steps else ():
        for step in STEPS:
            path = trained.path(cache, origin, step)
            if path.is_dir():
                given = Given(path.name, "apache-2.0", (origin,), place(path))
                add(str(folder), str(path), given, reading)
    return open_registries([str(folder)])


class Without(Registries):
    """A registry that lacks some models."""

    def __init__(self, whole: Registries, lacking: Sequence[str]) -> None:
        super().__init__(whole.layers)
        self._lacking = set(lacking)

    def entries(self) -> Sequence[Entry]:
        return tuple(e for e in super().entries() if e.id not in self._lacking)


def answer(case: Case, cache: Path, registry: Registries) -> Answer:
    """Search twice."""
    reading = Reading(remote=replace(Reading().remote, offline=True))
    model = read_model(str(cache / "models" / case.folder), reading)
    ours = Model(_unclaimed(model.fingerprint), model.opened)
    start = time.perf_counter()
    found = scan_model(ours, Searcher(registry, reading), top=50)
    seconds = time.perf_counter() - start
    family = [e.id for e in registry.entries() if any(e.id in (r, *_steps(r)) for r in case.roots)]
    without = scan_model(ours, Searcher(Without(registry, family), reading), top=50)
    return Answer(
        case,
        found.matches[0].base.id if found.matches else "",
        tuple(m.base.id for m in found.matches),
        _roots(found),
        tuple(m.base.id for m in without.matches),
        seconds,
    )


def _steps(origin: str) -> tuple[str, ...]:
    return tuple(f"{origin}--{trained.slug(step)}" for step in STEPS)


def _roots(found: Scan) -> tuple[str, ...]:
    return tuple(f.root for f in found.families if f.root is not None)


def _of_bases(case: Case) -> Case:
    """What can be said where only bases are known: the bases of its parents."""
    return replace(case, parents=tuple(dict.fromkeys(p.partition("--")[0] for p in case.parents)))


def _unclaimed(fingerprint: Fingerprint) -> Fingerprint:
    return replace(fingerprint, subject=replace(fingerprint.subject, claims=Claims((), ())))


def main() -> None:
    """Search for everything and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lineage.searches", description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path(__file__).parent / ".cache")
    parser.add_argument("--split", choices=bases.ALL_SPLITS)
    parser.add_argument("--kind", default="", help="only kinds that hold this text")
    parser.add_argument("--every", type=int, default=1, help="only every Nth derivative")
    parser.add_argument("--steps", action="store_true", help="first steps are known, too")
    parser.add_argument("--stored-only", action="store_true", help="no weights of known models are within reach")
    args = parser.parse_args()
    chosen = [c for c in cases() if args.split in (None, c.split) and args.kind in c.kind]
    chosen = [c for c in chosen if (args.cache / "models" / c.folder).is_dir()][:: args.every]
    with tempfile.TemporaryDirectory() as folder:
        registry = build_registry(args.cache, Path(folder) / "registry", steps=args.steps, stored_only=args.stored_only)
        held = {e.id for e in registry.entries()}
        print(f"{len(held)} fingerprints in the registry, {len(chosen)} derivatives")
        chosen = [c if args.steps else _of_bases(c) for c in chosen]
        answers = [answer(c, args.cache, registry) for c in chosen if set(c.parents) <= held]
    _print(answers)


def _print(answers: Sequence[Answer]) -> None:
    print(
        "| Split | Group | Derivatives | A parent first | All parents listed | Roots right | False matches | Slowest s |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for split in bases.ALL_SPLITS:
        for group in ("trained", "mechanical", "merged", "fabricated", "disguised"):
            rows = [a for a in answers if (a.case.split, a.case.group) == (split, group)]
            if rows:
                first, listed, roots = (
                    sum(getattr(a, name) for a in rows) for name in ("first_right", "all_listed", "roots_right")
                )
                false, slowest = sum(bool(a.false) for a in rows), max(a.seconds for a in rows)
                print(f"| {split} | {group} | {len(rows)} | {first} | {listed} | {roots} | {false} | {slowest:.2f} |")
    for a in answers:
        wrong = [] if a.first_right else [f"first {a.first or 'nothing'}"]
        wrong += [] if a.all_listed else [f"listed {', '.join(a.listed) or 'nothing'}"]
        wrong += [] if a.roots_right else [f"roots {', '.join(a.roots) or 'none'}"]
        wrong += [f"false {', '.join(a.false)}"] if a.false else []
        if wrong:
            print(f"{a.case.folder} (from {', '.join(a.case.parents)}): {'; '.join(wrong)}")


if __name__ == "__main__":
    main()
