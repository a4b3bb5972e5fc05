"""Merges that tell 12 calls, and greedy continuations that tell 14 finds equal, on the models of `benchmarks/lineage`.

Run by `python -m benchmarks.tells --merges` and `--generation`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from benchmarks.lineage import mechanical, mixes, trained
from benchmarks.lineage.bases import ALL_SPLITS, FIT
from benchmarks.lineage.pairs import split_of
from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.reading import Model, Reading, read_model
from provenance_gate.tells import layer_delta
from provenance_gate.tells.changes import Changes, measure_changes
from provenance_gate.tells.decoding import Decoded, Settings, load_prompts
from provenance_gate.tells.generation import parts_at
from provenance_gate.tells.greedy import decode_local

READING = Reading(exact=False, jobs=1)


@lru_cache(maxsize=40)
def open_model(path: Path) -> Model:
    """Measured from sampled rows, and kept."""
    return read_model(str(path), READING)


@dataclass(frozen=True)
class Called:
    """One artifact with its candidates: whether it is a merge, what the tell said of it, and how the layers fit."""

    artifact: str
    kind: str
    split: str
    candidates: Sequence[str]
    merged: bool
    called: bool
    recipe: str
    left: float
    right: bool


def calls(cache: Path, split: str | None) -> Iterator[Called]:
    """Every merge with its parents and a spare; every other derivative with pairs of candidates of its family."""
    for folder, origin, kind in _derivatives():
        path = cache / "models" / folder
        if split not in (None, split_of(origin)) or origin == trained.MINILM or not path.is_dir():
            continue
        truth = mixes.TRUTHS.get(kind)
        sets: list[tuple[str, ...]]
        if truth is not None:
            used = tuple(dict.fromkeys([*truth.parents, *truth.weights]))
            spare = mixes.TWIN if mixes.TWIN not in used else mixes.CONTINUED
            sets = [(*used, spare), (*used,)]
        else:
            others = [c for c in (mixes.TWIN, mixes.TUNED, mixes.ADAPTED, mixes.CONTINUED) if c != kind]
            sets = [(mixes.BASE, c) for c in others] + [(mixes.BASE, *others), tuple(others[1:])]
        for names in sets:
            at = [(n, mixes._path(cache, origin, n)) for n in names]
            at = [(n, p) for n, p in at if p.is_dir()]
            if len(at) < 2:
                continue
            yield _called(path, kind, origin, at, truth)


def _derivatives() -> Iterator[tuple[str, str, str]]:
    for name, (origin, spec) in trained.plan().items():
        yield name, origin, spec.kind
    for name, (origin, kind) in mechanical.plan().items():
        if kind not in mechanical.FABRICATED:
            yield name, origin, kind


def _called(path: Path, kind: str, origin: str, at: Sequence[tuple[str, Path]], truth: mixes.Truth | None) -> Called:
    found = layer_delta.analyze_merge(
        open_model(path).fingerprint, [layer_delta.Parent(n, open_model(p).fingerprint) for n, p in at]
    )
    call = layer_delta.call_merge(found)
    right = truth is None
    if truth is not None and call.merge is not None:
        base = open_model(dict(at)[mixes.BASE]).opened
        depth = base.artifact.config.num_hidden_layers if base is not None else 1
        judged = mixes._judge(kind, truth, call.merge, at[-1][0], depth or 1, 0.0)
        exact = judged.t_error is None or judged.t_error <= 0.01
        right = judged.right and exact and judged.map_right in (None, 1.0)
    if call.called:
        ours = open_model(path).fingerprint
        found_changes = [measure_changes(ours, open_model(p).fingerprint) for _, p in at]
        call = layer_delta.call_merge(found, [c for c in found_changes if isinstance(c, Changes)])
    left = 1.0 if call.merge is None else call.merge.parameters.get("change_left", 1.0)
    recipe = call.merge.recipe if call.merge else ""
    names = tuple(n for n, _ in at)
    return Called(path.name, kind, split_of(origin), names, truth is not None, call.called, recipe, left, right)


def print_calls(found: Sequence[Called]) -> None:
    """Merges called, with the right recipe, t and layers; and false calls."""
    print("| Split | merges called | with recipe and layers right | others called a merge | cases |")
    print("| --- | --- | --- | --- | --- |")
    for split in ALL_SPLITS:
        mine = [c for c in found if c.split == split]
        merged, others = [c for c in mine if c.merged], [c for c in mine if not c.merged]
        if mine:
            print(
                f"| {split} | {sum(c.called for c in merged)} of {len(merged)} | {sum(c.called and c.right for c in merged)} | "
                f"{sum(c.called for c in others)} | {len(others)} |"
            )
    for c in found:
        if c.called != c.merged or (c.merged and not c.right):
            said = "called" if c.called else "not called"
            print(
                f"{c.split} {c.artifact} of {', '.join(c.candidates)}: {said}, {c.recipe}, left {c.left:.2f}, right {c.right}"
            )
    mixed = [c for c in found if c.split == FIT and c.recipe not in (*layer_delta.NO_MERGE, "passthrough")]
    for merged in (True, False):
        left = sorted(c.left for c in mixed if c.merged is merged and (merged or not c.called))
        if left:
            print(f"fit, {'merges' if merged else 'others'} with a recipe: unexplained {left[0]:.3f} to {left[-1]:.3f}")


GENERATED = (
    *("cast to bfloat16", "cast to float16", "int8", "int4", "disguised", "noise 5 %", "LoRA merged", "fine-tuned"),
    "continued pretraining, heavy",
)


def print_generation(cache: Path, split: str | None) -> None:
    """Greedy decoding of the 50 general prompts by each base against itself, copies, children and its twin (needs torch)."""
    prompts, settings = load_prompts(), Settings()

    def decoded(path: Path) -> Decoded | NotMeasured:
        opened = open_model(path).opened
        assert opened is not None
        return decode_local(path, opened.artifact, prompts, settings)

    print("| Split | Base | Artifact | Equal of 50 | Median position where the others part |")
    print("| --- | --- | --- | --- | --- |")
    for origin in ("llama-a", "gpt2-a", "qwen-b", "neox-b", "llama-c"):
        if split not in (None, split_of(origin)):
            continue
        path = mixes._path(cache, origin, mixes.BASE)
        theirs = decoded(path)
        others = [(kind, mixes._path(cache, origin, kind)) for kind in GENERATED]
        for kind, at in [("itself", path), *others, (mixes.TWIN, mixes._path(cache, origin, mixes.TWIN))]:
            ours = decoded(at) if at.is_dir() else NotMeasured("not built, or not of this architecture")
            if isinstance(ours, NotMeasured) or isinstance(theirs, NotMeasured):
                reason = ours.reason if isinstance(ours, NotMeasured) else theirs.reason
                print(f"| {split_of(origin)} | {origin} | {kind} | not measured: {reason} | |", flush=True)
                continue
            same = ours.vocabulary == theirs.vocabulary
            pairs_of = zip(ours.continuations, theirs.continuations, strict=True)
            found = [parts_at(a, b, by_ids=same) for a, b in pairs_of]
            apart = sorted(i for i in found if i is not None)
            middle = f"{apart[len(apart) // 2]}{'' if same else ' characters'}" if apart else ""
            equal = len(found) - len(apart)
            print(f"| {split_of(origin)} | {origin} | {kind} | {equal} | {middle} |", flush=True)
