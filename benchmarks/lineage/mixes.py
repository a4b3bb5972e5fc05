"""Are the parents of a merge found, with the right weights? Every merge of the benchmark against what it was made of.

    python -m benchmarks.lineage.mixes [--cache DIR] [--split fit|report]

The candidates are the true parents and one model that was not used. Weights are compared overall and per layer, the
parameter of SLERP per layer, layer maps exactly.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.lineage import bases, trained
from benchmarks.lineage.mechanical import origins
from benchmarks.lineage.pairs import split_of
from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.artifact.load import open_artifact
from provenance_gate.fingerprint.interface import Fingerprint
from provenance_gate.fingerprint.measure import measure
from provenance_gate.lineage.merges import Merge, Mixture, Parent
from provenance_gate.lineage.merges.analyze import analyze_merge

BASE, TUNED, ADAPTED, CONTINUED, TWIN = "base", "fine-tuned", "LoRA merged", "continued pretraining, heavy", "twin"
LayerMap = Callable[[int, int], tuple[str, int]]
"""(layer, layers of the base) to the parent and its layer."""


def _stacked(second: str) -> LayerMap:
    return lambda layer, depth: (BASE, layer) if layer < depth - 1 else (second, layer - depth + 2)


@dataclass(frozen=True)
class Truth:
    """How a kind was made: weights by parent, or t by layer, or a layer map; and names of the recipe that say the same."""

    recipes: Sequence[str]
    weights: Mapping[str, float] = field(default_factory=dict)
    t: Callable[[int, int], float] | None = None
    layers: LayerMap | None = None
    parents: Sequence[str] = ()


TRUTHS: Mapping[str, Truth] = {
    "linear merge 0.7": Truth(["linear"], {BASE: 0.7, CONTINUED: 0.3}),
    "linear merge 0.5": Truth(["linear"], {BASE: 0.5, CONTINUED: 0.5}),
    "slerp 0.35": Truth(["slerp"], t=lambda i, n: 0.35, parents=(BASE, CONTINUED)),
    "slerp per layer": Truth(["slerp"], t=lambda i, n: 0.7 * i / (n - 1), parents=(BASE, CONTINUED)),
    "task arithmetic": Truth(["task_arithmetic", "linear"], {TUNED: 0.8, ADAPTED: 0.8}, parents=(BASE,)),
    "TIES": Truth(["ties"], parents=(BASE, TUNED, ADAPTED)),
    "DARE": Truth(["dare_linear"], {TUNED: 0.5, ADAPTED: 0.5}, parents=(BASE,)),
    "passthrough": Truth(["passthrough"], layers=_stacked(TUNED), parents=(BASE, TUNED)),
    "linear merge 0.7 with a stranger": Truth(["linear"], {BASE: 0.7, TWIN: 0.3}),
    "linear merge 0.5 with a stranger": Truth(["linear"], {BASE: 0.5, TWIN: 0.5}),
    "slerp 0.35 with a stranger": Truth(["slerp"], t=lambda i, n: 0.35, parents=(BASE, TWIN)),
    "slerp per layer with a stranger": Truth(["slerp"], t=lambda i, n: 0.7 * i / (n - 1), parents=(BASE, TWIN)),
    "passthrough with a stranger": Truth(["passthrough"], layers=_stacked(TWIN), parents=(BASE, TWIN)),
    "interleaved with a stranger": Truth(
        ["passthrough"], layers=lambda i, n: (TWIN if i % 2 else BASE, i), parents=(BASE, TWIN)
    ),
}


@dataclass(frozen=True)
class Answer:
    """What was found of one merge. Errors are largest absolute ones; None where the kind has no such number."""

    kind: str
    recipe: str
    right: bool
    weight_error: float | None
    t_error: float | None
    map_right: float | None
    unused: float
    seconds: float


def answers(cache: Path, split: str | None) -> Iterator[Answer]:
    """Every merge that is built."""
    kept: dict[Path, Fingerprint] = {}

    def fingerprint(path: Path) -> Fingerprint:
        if path not in kept:
            kept[path] = measure(open_artifact(path).artifact, exact=False)
        return kept[path]

    for origin in origins():
        if origin == trained.MINILM or split not in (None, split_of(origin)):
            continue
        for kind, truth in TRUTHS.items():
            artifact = cache / "models" / f"{origin}--{trained.slug(kind)}"
            used = list(dict.fromkeys([*truth.parents, *truth.weights]))
            spare = TWIN if TWIN not in used else CONTINUED
            found = {name: _path(cache, origin, name) for name in (*used, spare)}
            if not all(p.exists() for p in (artifact, *(found[n] for n in used))):
                continue
            candidates = [Parent(n, fingerprint(p)) for n, p in found.items() if p.exists()]
            start = time.perf_counter()
            merge = analyze_merge(fingerprint(artifact), candidates)
            seconds = time.perf_counter() - start
            if isinstance(merge, Merge):
                config = open_artifact(found[BASE]).artifact.config
                depth = (not isinstance(config, NotMeasured) and config.num_hidden_layers) or 1
                yield _judge(kind, truth, merge, spare, depth, seconds)
            else:
                yield Answer(kind, merge.reason, False, None, None, None, 0.0, seconds)


def _path(cache: Path, origin: str, name: str) -> Path:
    if name == BASE:
        return bases.path(cache, origin)
    return bases.path(cache, f"{origin}-twin") if name == TWIN else trained.path(cache, origin, name)


def _judge(kind: str, truth: Truth, merge: Merge, spare: str, depth: int, seconds: float) -> Answer:
    right = merge.recipe in truth.recipes
    body = [m for m in merge.mixtures if m.layer is not None]
    weight_error = t_error = map_right = None
    if truth.weights:
        overall = [abs(merge.weights.get(n, 0.0) - w) for n, w in truth.weights.items()]
        each = [_layer_error(m, merge, truth) for m in body] if truth.recipes == ["linear"] else []
        weight_error = max([*overall, *each])
    if truth.t is not None:
        wanted = truth.t
        t_error = max((abs(_t(m, merge) - wanted(m.layer or 0, depth)) for m in body), default=1.0)
    if truth.layers is not None:
        layers = truth.layers
        hits = [bool(m.sources) and m.sources[0] == layers(m.layer or 0, depth) for m in body]
        map_right = sum(hits) / len(hits) if hits else 0.0
    return Answer(kind, merge.recipe, right, weight_error, t_error, map_right, merge.weights.get(spare, 0.0), seconds)


def _layer_error(mixture: Mixture, merge: Merge, truth: Truth) -> float:
    by_name = dict(zip(merge.parents, mixture.weights, strict=True))
    return max(abs(by_name.get(n, 0.0) - w) for n, w in truth.weights.items())


def _t(mixture: Mixture, merge: Merge) -> float:
    """t from the base (0) on: the analysis counts from the candidate listed first among the two."""
    if mixture.t is None:
        by_name = dict(zip(merge.parents, mixture.weights, strict=True))
        total = sum(by_name.values())
        return 1.0 - by_name.get(BASE, 0.0) / total if total else 1.0
    return mixture.t if merge.mergekit.get("base_model") == BASE else 1.0 - mixture.t


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path(__file__).parent / ".cache")
    parser.add_argument("--split", choices=("fit", "report", "blind"))
    arguments = parser.parse_args()
    found = list(answers(arguments.cache, arguments.split))
    print("| Merge | n | recipe right | largest weight error | largest t error | layer map right | unused | seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for kind in TRUTHS:
        rows = [a for a in found if a.kind == kind]
        if rows:
            seen = sorted({a.recipe for a in rows if not a.right})
            wrong = f" (else {', '.join(seen)})" if seen else ""
            print(
                f"| {kind} | {len(rows)} | {sum(a.right for a in rows)}{wrong} | {_largest(a.weight_error for a in rows)} | "
                f"{_largest(a.t_error for a in rows)} | {_smallest(a.map_right for a in rows)} | "
                f"{max(a.unused for a in rows):.3f} | {max(a.seconds for a in rows):.2f} |"
            )


def _largest(values: Iterator[float | None]) -> str:
    found = [v for v in values if v is not None]
    return f"{max(found):.3f}" if found else ""


def _smallest(values: Iterator[float | None]) -> str:
    found = [v for v in values if v is not None]
    return f"{min(found):.0%}" if found else ""


if __name__ == "__main__":
    main()
