"""Two open artifacts to a `Trace`: which frames to try, which blocks to compare, and when to stop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

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
MOST_JOBS = 4
"""Each job holds a block of the base in memory."""

T = TypeVar("T")
U = TypeVar("U")


def trace(
    artifact: Artifact, base: Artifact, seed: str = "", *, everything: bool = False, jobs: int = 1
) -> Trace | NotMeasured:
    """Look up the artifact's neurons and heads in the base.

    Parameters
    ----------
    seed
        Moves the probed neurons, as in `SamplingPlan`.
    everything
        Search large bases as thoroughly as small ones.
    jobs
        Blocks of the base that are read and compared at a time; changes no value. More than one pays where BLAS has one thread.

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
        search = _Search(theirs, frame, SamplingPlan(seed), jobs)
        found = _neurons(ours, search, everything=everything)
        if not found:
            continue
        current = Trace(frame.facts, found, (), _layers(ours), _layers(theirs), hidden, base_hidden, len(frames))
        if best is None or current.share > best.share:
            best, chosen_frame = current, frame
        if best.share >= FOUND:
            break
    if best is None:
        return NotMeasured("no two feed-forward blocks of one make whose neurons can be told apart")
    if not everything and not any(n.share >= FOUND / 2 for n in best.neurons):
        return best
    heads = _heads(attention_layers(artifact), attention_layers(base), best.neurons, chosen_frame, jobs)
    return replace(best, heads=heads)


def _layers(blocks: Sequence[Block]) -> int:
    return len({(b.stack, b.layer) for b in blocks})


def _neurons(ours: Sequence[Block], search: _Search, *, everything: bool) -> tuple[NeuronTrace, ...]:
    ours = [b for b in ours if b.hidden == ours[0].hidden]
    theirs = search.theirs
    if not everything:
        first = [ours[len(ours) * (2 * i + 1) // (2 * FIRST_BLOCKS)] for i in range(FIRST_BLOCKS)]
        # Blocks at equal places in models of one form; all of the base's where depth or width changed.
        elsewhere = _layers(ours) != _layers(theirs) or {b.width for b in ours} != {b.width for b in theirs}
        looked = search.best(first, elsewhere=elsewhere)
        if not any(n.share >= FOUND / 2 for n in looked):
            return looked
    spread = np.unique(np.linspace(0, len(ours) - 1, min(len(ours), MOST_BLOCKS)).astype(int))
    return search.best([ours[i] for i in spread], elsewhere=True)


@dataclass(frozen=True, slots=True)
class _Search:
    """Looking for neurons of the artifact in the blocks of a base, in one frame."""

    theirs: Sequence[Block]
    frame: Frame
    plan: SamplingPlan
    jobs: int

    def best(self, blocks: Sequence[Block], *, elsewhere: bool) -> tuple[NeuronTrace, ...]:
        """The best match of each block: at equal places first, then everywhere for those not found there."""
        samples = [probes(b, self.frame.ours, self.plan.rows(b.up.key.role, b.up.shape).start) for b in blocks]
        traces = self._lookup(samples, equal_places=True)
        missing = [s for s in samples if not _found(traces.get(id(s), ()))]
        if missing and elsewhere:
            rest = self._lookup(missing, equal_places=False)
            traces = {id(s): [*traces.get(id(s), ()), *rest.get(id(s), ())] for s in samples}
        found = []
        for sample in samples:
            tried = traces.get(id(sample), [])
            best = best_of(tried)
            if best is not None:
                found.append(replace(best, choices=len(tried)))
        return tuple(found)

    def _lookup(self, samples: Sequence[Neurons], *, equal_places: bool) -> dict[int, list[NeuronTrace]]:
        """Each block of the base is read once and compared with all samples that want it."""

        def compare(block: Block) -> list[tuple[int, NeuronTrace]]:
            users = [s for s in samples if (_place(s.block) == _place(block)) is equal_places]
            if not users:
                return []
            neurons = all_neurons(block, self.frame.theirs)
            matches = ((id(s), match_neurons(s, neurons)) for s in users)
            return [(key, match) for key, match in matches if match is not None]

        found: dict[int, list[NeuronTrace]] = {}
        for matches in _in_parallel(compare, self.theirs, self.jobs):
            for key, match in matches:
                found.setdefault(key, []).append(match)
        return found


def _place(block: Block) -> tuple[str, int]:
    return block.stack, block.layer


def _in_parallel(work: Callable[[T], U], items: Sequence[T], jobs: int) -> Iterable[U]:
    if jobs <= 1 or len(items) < 2:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(max_workers=min(jobs, MOST_JOBS)) as pool:
        yield from pool.map(work, items)


def _found(traces: Sequence[NeuronTrace]) -> bool:
    best = best_of(traces)
    return best is not None and best.matched >= FOUND * best.probed


def _heads(
    ours: Mapping[tuple[str, int], Attention],
    theirs: Mapping[tuple[str, int], Attention],
    found: Iterable[NeuronTrace],
    frame: Frame,
    jobs: int,
) -> tuple[HeadTrace, ...]:
    pairs: dict[tuple[str, int], tuple[Attention, Attention]] = {}
    for neuron in found:
        place = neuron.stack, neuron.layer
        a, b = ours.get(place), theirs.get((neuron.base_stack, neuron.base_layer))
        if place not in pairs and a is not None and b is not None:
            pairs[place] = a, b
    matches = _in_parallel(lambda pair: match_heads(*pair, frame), list(pairs.values()), jobs)
    return tuple(match for match in matches if match is not None)
