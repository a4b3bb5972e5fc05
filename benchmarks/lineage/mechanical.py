"""The mechanical derivations by kind, and which bases they apply to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.lineage import bases, derive, merges, trained
from benchmarks.lineage.anatomy import close_up, open_up
from benchmarks.lineage.disguises import ANY, RMS_ONLY, disguise
from benchmarks.lineage.fabrications import FABRICATIONS
from benchmarks.lineage.store import Checkpoint, load


@dataclass(frozen=True)
class Sources:
    """What a derivation may draw on, under short names: the base, its trained children, and its twin."""

    cache: Path
    origin: str

    @cached_property
    def base(self) -> Checkpoint:
        """The base."""
        return open_up(load(bases.path(self.cache, self.origin)))

    @cached_property
    def tuned(self) -> Checkpoint:
        """Its fine-tuned child."""
        return open_up(load(trained.path(self.cache, self.origin, "fine-tuned")))

    @cached_property
    def adapted(self) -> Checkpoint:
        """Its child by LoRA."""
        return open_up(load(trained.path(self.cache, self.origin, "LoRA merged")))

    @cached_property
    def continued(self) -> Checkpoint:
        """Its child by heavy continued pretraining."""
        return open_up(load(trained.path(self.cache, self.origin, "continued pretraining, heavy")))

    @cached_property
    def twin(self) -> Checkpoint:
        """A stranger of equal config and tokenizer."""
        return open_up(load(bases.path(self.cache, f"{self.origin}-twin")))


Make = Callable[[Sources, np.random.Generator], Checkpoint]


SINGLE: Final[Mapping[str, Make]] = {
    "cast to bfloat16": lambda s, r: derive.cast(s.base, "BF16"),
    "cast to float16": lambda s, r: derive.cast(s.base, "F16"),
    "int8": lambda s, r: derive.int8(s.base),
    "int4": lambda s, r: derive.int4(s.base),
    "nf4": lambda s, r: derive.nf4(s.base),
    "noise 5 %": lambda s, r: derive.noise(s.base, 0.05, r),
    "noise 30 %": lambda s, r: derive.noise(s.base, 0.30, r),
    "pruned by magnitude 50 %": lambda s, r: derive.prune(s.base, 0.5),
    "abliterated": lambda s, r: derive.abliterate(s.base, r),
    "layers dropped": lambda s, r: derive.layer_map(s.base, [i for i in range(s.base.layers) if i not in (1, 3)]),
    "layers repeated": lambda s, r: derive.layer_map(s.base, sorted([*range(s.base.layers), 1, 2])),
    "blocks expanded": lambda s, r: derive.expand_blocks(s.base),
    "vocabulary extended": lambda s, r: derive.extend_vocabulary(s.base, r),
    "vocabulary truncated": lambda s, r: derive.truncate_vocabulary(s.base),
    "neurons removed": lambda s, r: derive.remove_neurons(s.base, r),
    "neurons copied": lambda s, r: derive.copy_neurons(s.base, r),
    "heads removed": lambda s, r: derive.remove_heads(s.base),
    "residual widened": lambda s, r: derive.widen_residual(s.base, r),
    "upcycled": lambda s, r: derive.upcycle(s.base, r),
}
MERGED: Final[Mapping[str, Make]] = {
    "linear merge 0.7": lambda s, r: merges.linear([s.base, s.continued], [0.7, 0.3]),
    "linear merge 0.5": lambda s, r: merges.linear([s.base, s.continued], [0.5, 0.5]),
    "slerp 0.35": lambda s, r: merges.slerp(s.base, s.continued, 0.35),
    "slerp per layer": lambda s, r: merges.slerp(s.base, s.continued, 0.35, per_layer=True),
    "task arithmetic": lambda s, r: merges.task_arithmetic(s.base, [s.tuned, s.adapted], 0.8),
    "TIES": lambda s, r: merges.ties(s.base, [s.tuned, s.adapted], 0.5),
    "DARE": lambda s, r: merges.dare(s.base, [s.tuned, s.adapted], 0.5, r),
    "passthrough": lambda s, r: derive.stack(
        [*((s.base, i) for i in range(s.base.layers - 1)), *((s.tuned, i) for i in range(1, s.base.layers))]
    ),
}
CROSSED: Final[Mapping[str, Make]] = {
    "linear merge 0.7 with a stranger": lambda s, r: merges.linear([s.base, s.twin], [0.7, 0.3]),
    "linear merge 0.5 with a stranger": lambda s, r: merges.linear([s.base, s.twin], [0.5, 0.5]),
    "slerp 0.35 with a stranger": lambda s, r: merges.slerp(s.base, s.twin, 0.35),
    "slerp per layer with a stranger": lambda s, r: merges.slerp(s.base, s.twin, 0.35, per_layer=True),
    "passthrough with a stranger": lambda s, r: derive.stack(
        [*((s.base, i) for i in range(s.base.layers - 1)), *((s.twin, i) for i in range(1, s.base.layers))]
    ),
    "interleaved with a stranger": lambda s, r: derive.stack(
        [((s.twin if i % 2 else s.base), i) for i in range(s.base.layers)]
    ),
}
"""Merges of a base and its twin: related to both."""
DISGUISED: Final[Mapping[str, Make]] = {
    **{name: lambda s, r, d=d: d(s.base, r) for name, d in {**ANY, **RMS_ONLY}.items()},  # type: ignore[misc]
    "disguised": lambda s, r: disguise(s.base, r),
    "disguised, noise 30 %": lambda s, r: derive.noise(disguise(s.base, r), 0.30, r),
    "fine-tuned, then disguised": lambda s, r: disguise(s.tuned, r),
    "continued heavily, then disguised": lambda s, r: disguise(s.continued, r),
}
FABRICATED: Final[Mapping[str, Make]] = {
    name: lambda s, r, f=f: f(s.base, s.twin)  # type: ignore[misc]
    for name, f in FABRICATIONS.items()
}
MAKES: Final[Mapping[str, Make]] = {**SINGLE, **MERGED, **CROSSED, **DISGUISED, **FABRICATED}

_GATED_ONLY = ("residual widened", "upcycled")
_OF_MINILM = (
    *("cast to float16", "int8", "int4", "nf4", "noise 30 %", "pruned by magnitude 50 %", "layers dropped"),
    *("layers repeated", "neurons removed", "heads removed", "vocabulary extended"),
    *("neurons permuted", "heads permuted", "residual permuted", "values rotated", "tokens reordered", "disguised"),
    "disguised, noise 30 %",
)


def twins() -> tuple[str, ...]:
    """Bases that have a twin."""
    names = {b.name for b in bases.BASES}
    return tuple(b.name for b in bases.BASES if f"{b.name}-twin" in names)


def applies(kind: str, origin: str) -> bool:
    """Whether this kind is made of this base."""
    if origin == trained.MINILM:
        return kind in _OF_MINILM
    spec = bases.base(origin)
    if kind in _GATED_ONLY:
        return spec.kind in ("llama", "qwen2")
    if kind in CROSSED or kind in FABRICATED:
        return origin in twins()
    if spec.kind == "sinusoidal_llama" and kind in ("residual permuted", "signs flipped", "residual rotated"):
        return False
    return spec.kind not in ("gpt2", "gpt_neox", "bert") or kind not in RMS_ONLY


def origins() -> tuple[str, ...]:
    """Bases that mechanical derivations are made of."""
    return (*trained.FULL, *trained.OTHERS, trained.MINILM)


def plan() -> dict[str, tuple[str, str]]:
    """Every mechanical derivation by folder name: its base and its kind."""
    return {f"{o}--{trained.slug(k)}": (o, k) for o in origins() for k in MAKES if applies(k, o)}


def build(sources: Sources, kind: str) -> Checkpoint:
    """Derive one."""
    rng = np.random.default_rng([len(sources.origin), *kind.encode()])
    made = MAKES[kind](sources, rng)
    made = replace(made, claim=sources.origin) if kind in FABRICATED else close_up(made)
    if sources.origin == trained.MINILM and made.dtype == "F32":
        made = replace(made, dtype="BF16")
    return made
