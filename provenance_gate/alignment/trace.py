"""Two open artifacts to a `Trace`: which frames to try, which blocks to compare, and when to stop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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
SMALL_BASE = 256_000_000
"""Weights up to which every block is compared with every block of the base. Of larger bases `FIRST_BLOCKS` are looked at
first, and the rest only if one of them is found."""
FIRST_BLOCKS = 2


def trace(artifact: Artifact, base: Artifact, seed: str = "", *, everything: bool = False) -> Trace | NotMeasured:
    """Look up the artifact's neurons and heads in the base.

    Parameters
    ----------
    seed
        Moves the probed neurons, as in `SamplingPlan`.
    everything
        Search large bases as thoroughly as small ones.

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
    everything = everything or base.parameters <= SMALL_BASE
    best: Trace | None = None
    chosen_frame = frames[0]
    for frame in frames:
        found = _neurons(ours, theirs, frame, SamplingPlan(seed), everything=everything)
        if not found:
            continue
        current = Trace(frame.facts, found, (), _layers(ours), _layers(theirs), hidden, base_hidden, len(frames))
        if best is None or current.share > best.share:
            best, chosen_frame = current, frame
        if best.share >= FOUND:
            break
    if best is None:
        return NotMeasured("no two feed-forward blocks of one make whose neurons can be told apart")
    heads = _heads(attention_layers(artifact), attention_layers(base), best.neurons, chosen_frame)
    return replace(best, heads=heads)


def _layers(blocks: Sequence[Block]) -> int:
    return len({(b.stack, b.layer) for b in blocks})


def _neurons(
    ours: Sequence[Block], theirs: Sequence[Block], frame: Frame, plan: SamplingPlan, *, everything: bool
) -> tuple[NeuronTrace, ...]:
    ours = [b for b in ours if b.hidden == ours[0].hidden]
    if not everything:
        first = [ours[len(ours) * (2 * i + 1) // (2 * FIRST_BLOCKS)] for i in range(FIRST_BLOCKS)]
        # Blocks at equal places in models of one form; all of the base's where depth or width changed.
        search = _layers(ours) != _layers(theirs) or {b.width for b in ours} != {b.width for b in theirs}
        looked = _search(first, theirs, frame, plan, search=search)
        if not any(n.share >= FOUND / 2 for n in looked):
            return looked
    spread = np.unique(np.linspace(0, len(ours) - 1, min(len(ours), MOST_BLOCKS)).astype(int))
    return _search([ours[i] for i in spread], theirs, frame, plan, search=True)


def _search(
    blocks: Sequence[Block], theirs: Sequence[Block], frame: Frame, plan: SamplingPlan, *, search: bool
) -> tuple[NeuronTrace, ...]:
    """The best match of each block: at equal places first, then everywhere for those not found there."""
    samples = [probes(b, frame.ours, plan.rows(b.up.key.role, b.up.shape).start) for b in blocks]
    traces = _lookup(samples, theirs, frame, lambda a, b: (a.stack, a.layer) == (b.stack, b.layer))
    missing = [s for s in samples if not _found(traces.get(id(s), ()))]
    if missing and search:
        rest = _lookup(missing, theirs, frame, lambda a, b: (a.stack, a.layer) != (b.stack, b.layer))
        traces = {id(s): [*traces.get(id(s), ()), *rest.get(id(s), ())] for s in samples}
    found = []
    for sample in samples:
        tried = traces.get(id(sample), [])
        best = best_of(tried)
        if best is not None:
            found.append(replace(best, choices=len(tried)))
    return tuple(found)


def _found(traces: Sequence[NeuronTrace]) -> bool:
    best = best_of(traces)
    return best is not None and best.matched >= FOUND * best.probed


def _lookup(
    samples: Sequence[Neurons], theirs: Sequence[Block], frame: Frame, wanted: Callable[[Block, Block], bool]
) -> Mapping[int, list[NeuronTrace]]:
    """Each block of the base is read once and compared with all samples that want it."""
    found: dict[int, list[NeuronTrace]] = {}
    for block in theirs:
        users = [s for s in samples if wanted(s.block, block)]
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
