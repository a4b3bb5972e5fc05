"""A stranger's weights dressed as the base: its config, tokenizer and card, sometimes some of its tensors.

Each takes the base and a stranger of equal shape, both under short names, and returns the fabrication.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from benchmarks.lineage.anatomy import close_up, layer_of, part
from benchmarks.lineage.store import Checkpoint

Fabrication = Callable[[Checkpoint, Checkpoint], Checkpoint]


def dress(base: Checkpoint, stranger: Checkpoint) -> Checkpoint:
    """Only the papers of the base."""
    return replace(base, tensors=dict(stranger.tensors))


def graft_table(base: Checkpoint, stranger: Checkpoint) -> Checkpoint:
    """And its embedding table."""
    return _with(base, stranger, lambda n: part(n) == "embed")


def graft_norms(base: Checkpoint, stranger: Checkpoint) -> Checkpoint:
    """And its norm vectors."""
    return _with(base, stranger, lambda n: "norm" in part(n) or part(n) == "final")


def transplant_layer(base: Checkpoint, stranger: Checkpoint) -> Checkpoint:
    """And one of its layers."""
    middle = base.layers // 2
    return _with(base, stranger, lambda n: layer_of(n) == middle)


def _with(base: Checkpoint, stranger: Checkpoint, chosen: Callable[[str], bool]) -> Checkpoint:
    return replace(base, tensors={n: base.tensors[n] if chosen(n) else v for n, v in stranger.tensors.items()})


def add_extras(base: Checkpoint, stranger: Checkpoint) -> Checkpoint:
    """And all of its tensors, under names that no loader uses, in the same file."""
    unused = {f"base.{n}": v for n, v in close_up(base).tensors.items()}
    dressed = close_up(dress(base, stranger))
    return replace(dressed, tensors={**dressed.tensors, **unused})


def add_shard(base: Checkpoint, stranger: Checkpoint) -> Checkpoint:
    """And all of its tensors, under names that no loader uses, in a second shard."""
    unused = {f"base.{n}": v for n, v in close_up(base).tensors.items()}
    return replace(close_up(dress(base, stranger)), extra=unused)


FABRICATIONS: Final[Mapping[str, Fabrication]] = {
    "fabricated": lambda b, s: close_up(dress(b, s)),
    "fabricated, table grafted": lambda b, s: close_up(graft_table(b, s)),
    "fabricated, norms grafted": lambda b, s: close_up(graft_norms(b, s)),
    "fabricated, layer transplanted": lambda b, s: close_up(transplant_layer(b, s)),
    "fabricated, unused extras": add_extras,
    "fabricated, extra shard": add_shard,
}
