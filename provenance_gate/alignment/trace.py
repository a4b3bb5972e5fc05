"""Two open artifacts to a `Trace`: which frames to try, which blocks to compare, and when to stop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from provenance_gate.alignment.blocks import Attention, Block, attention_layers, feed_forward_blocks
from provenance_gate.alignment.frames import Frame, find_frames
from provenance_gate.alignment.interface import HeadTrace, NeuronTrace, Trace
from provenance_gate.alignment.neurons import Neurons, all_neurons, best_of, match_heads, match_neurons, probes
from provenance_gate.alignment.tokens import shared_embeddings
from provenance_gate.artifact.interface import Artifact, NotMeasured
from provenance_gate.fingerprint.plan import SamplingPlan

FOUND = 0.5
"""A block whose probed neurons are matched to this share is not looked up elsewhere."""
MOST_BLOCKS = 24
"""Blocks of the artifact that are probed, spread evenly over its depth."""
SEARCH_VALUES = 400_000_000
"""Weights of the base that a search through all its blocks may read; larger bases are searched at equal depth only."""


def trace(artifact: Artifact, base: Artifact, seed: str = "") -> Trace | NotMeasured:
    """Look up the artifact's neurons and heads in the base.

    Raises
    ------
    ArtifactError
        A tensor cannot be read as declared.
    """
    ours, theirs = feed_forward_blocks(artifact), feed_forward_blocks(base)
    if not ours or not theirs:
        whose = "artifact" if not ours else "base"
        return NotMeasured(f"no feed-forward block with matrices of fitting shapes was recognized in the {whose}")
    hidden, base_hidden = ours[0].hidden, theirs[0].hidden
    frames = find_frames(shared_embeddings(artifact, base), hidden, base_hidden)
    if not frames:
        return NotMeasured(
            f"residual streams of {hidden} and {base_hidden} coordinates, and no embeddings that would align them"
        )
    best: Trace | None = None
    for tried, frame in enumerate(frames, 1):
        found = _neurons(ours, theirs, frame, SamplingPlan(seed))
        if not found:
            continue
        current = Trace(frame.facts, found, (), _layers(ours), _layers(theirs), hidden, base_hidden, tried)
        if best is None or current.share > best.share:
            best = replace(current, heads=_heads(attention_layers(artifact), attention_layers(base), found, frame))
        if best.share >= FOUND:
            break
    if best is None:
        return NotMeasured("no two feed-forward blocks of one make whose neurons can be told apart")
    return replace(best, frames_tried=len(frames))


def _layers(blocks: Sequence[Block]) -> int:
    return len({(b.stack, b.layer) for b in blocks})


def _neurons(
    ours: Sequence[Block], theirs: Sequence[Block], frame: Frame, plan: SamplingPlan
) -> tuple[NeuronTrace, ...]:
    chosen = [ours[i] for i in np.unique(np.linspace(0, len(ours) - 1, min(len(ours), MOST_BLOCKS)).astype(int))]
    samples = [
        probes(b, frame.ours, plan.rows(b.up.key.role, b.up.shape).start) for b in chosen if b.hidden == ours[0].hidden
    ]
    first = _lookup(samples, theirs, frame, lambda a, b: (a.stack, a.layer) == (b.stack, b.layer))
    missing = [s for s in samples if not _found(first.get(id(s), ()))]
    if missing and _may_search(missing, theirs, bool(len(missing) < len(samples))):
        rest = _lookup(missing, theirs, frame, lambda a, b: (a.stack, a.layer) != (b.stack, b.layer))
        first = {id(s): [*first.get(id(s), ()), *rest.get(id(s), ())] for s in samples}
    best = (best_of(first.get(id(s), ())) for s in samples)
    tried = {id(s): len(first.get(id(s), ())) for s in samples}
    return tuple(replace(b, choices=tried[id(s)]) for s, b in zip(samples, best, strict=True) if b is not None)


def _found(traces: Sequence[NeuronTrace]) -> bool:
    best = best_of(traces)
    return best is not None and best.matched >= FOUND * best.probed


def _may_search(missing: Sequence[Neurons], theirs: Sequence[Block], some_found: bool) -> bool:
    values = sum(b.up.shape[0] * b.up.shape[1] for b in theirs)
    return some_found or values <= SEARCH_VALUES


def _lookup(
    samples: Sequence[Neurons], theirs: Sequence[Block], frame: Frame, wanted: object
) -> Mapping[int, list[NeuronTrace]]:
    """Each block of the base is read once and compared with all samples that want it."""
    found: dict[int, list[NeuronTrace]] = {}
    for block in theirs:
        users = [s for s in samples if callable(wanted) and wanted(s.block, block)]
        if not users:
            continue
        neurons = all_neurons(block, frame.theirs)
        for sample in users:
            match = match_neurons(sample, neurons)
            if match is not None:
                found.setdefault(id(sample), []).append(match)
    return found


def _heads(
    ours: Mapping[tuple[str, int], Attention],
    theirs: Mapping[tuple[str, int], Attention],
    found: Iterable[NeuronTrace],
    frame: Frame,
) -> tuple[HeadTrace, ...]:
    traces: dict[tuple[str, int], HeadTrace] = {}
    for neuron in found:
        place = neuron.stack, neuron.layer
        a, b = ours.get(place), theirs.get((neuron.base_stack, neuron.base_layer))
        if place in traces or a is None or b is None:
            continue
        match = match_heads(a, b, frame)
        if match is not None:
            traces[place] = match
    return tuple(traces.values())
