"""What a `Trace` adds to a lineage: descent that plain comparison cannot see, through disguises and changes of width.

The null. Neurons of strangers, once both models are laid on the embeddings of one vocabulary, are found in each other more
often than by chance, because both learned one language. So the null is a share calibrated on independent models: at most
`STRANGER_SHARE` of the probed neurons are found. Against that the count of found neurons has the Chernoff bound
``P(K >= k) <= exp(-n KL(k / n, STRANGER_SHARE))``, multiplied by the frames and the blocks that were searched.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from provenance_gate.alignment.interface import FrameKind, NeuronTrace, Trace
from provenance_gate.artifact.interface import Component, NotMeasured
from provenance_gate.fingerprint.interface import Evidence
from provenance_gate.fingerprint.permutation import LOG10_FLOOR
from provenance_gate.fingerprint.signals.weight_correlation import BODY
from provenance_gate.lineage.components import OUTSIDE_DEPENDENT
from provenance_gate.lineage.decide import BULK, DERIVED_LOG10_P, HALF, derived_score, format_p, is_spread
from provenance_gate.lineage.interface import (
    DERIVED_SCORE,
    INDEPENDENT_SCORE,
    ComponentEvidence,
    LayerMatch,
    Lineage,
    Relation,
)

TEST = "feed-forward neurons found in the base after alignment by shared tokens, Chernoff bound over a stranger's share"

STRANGER_SHARE = 0.25
"""No independent pair in the calibration half of `benchmarks/lineage` has as many of its neurons found."""
BLOCK_SHARE = 0.35
"""A block descends from the base when this share of its neurons is found; see `docs/lineage.md` for both halves' values."""
DEPENDENT = 0.50
"""Least mean correlation of a block's probed neurons with their best matches, over coordinates that the matching did not use.
Strangers of the fit half reach 0.40 (GPT-2 twins, whose neurons read few directions), children 0.83 with 30 % noise."""
HEADS_DEPENDENT, HEADS_SILENT = 0.30, 0.08
"""The same for products of attention heads, which fall with the square of the weights' correlation: strangers of the fit half
reach 0.15, children 0.74."""
PLAIN = 0.5
"""A derivation that explains this share of the variance without any alignment is not traced."""
LEARNED = 0.65
"""Agreement along the strongest directions of the neurons' gate rows that a common random start alone does not reach."""
_SETTLED = frozenset({Relation.IDENTICAL, Relation.REFORMATTED})


def is_settled(lineage: Lineage) -> bool:
    """Whether tracing could add nothing."""
    if lineage.relation is not Relation.DERIVED:
        return lineage.relation in _SETTLED
    body = [lineage.components.get(c.value) for c in BODY]
    return _number(lineage.inheritance) >= PLAIN and all(c is None or c.relation is Relation.DERIVED for c in body)


def with_trace(lineage: Lineage, trace: Trace | NotMeasured) -> Lineage:
    """`lineage`, with what the trace shows. A trace raises the score or leaves it; the p-value pays for both tests."""
    if isinstance(trace, NotMeasured):
        return replace(lineage, signals={**lineage.signals, "neuron_match": Evidence("neuron_match", trace)})
    found = replace(lineage, signals={**lineage.signals, "neuron_match": _evidence(trace)}, tier=3)
    return _Traced(found, trace).lineage()


class _Traced:
    """A trace on its way into a lineage. `blocks` are those that descend from the base by themselves."""

    def __init__(self, plain: Lineage, trace: Trace) -> None:
        self.plain, self.trace = plain, trace
        self.blocks = [n for n in trace.neurons if n.share >= BLOCK_SHARE and n.correlation >= DEPENDENT]
        self.log10_p = min(0.0, stranger_log10_p(trace, self.blocks) + math.log10(2.0))
        self.heads = _mean([h.correlation for h in trace.heads])
        self.correlation = weighted(self.blocks)
        self.inheritance = _inherited(trace, self.blocks)

    @property
    def shown(self) -> bool:
        return bool(self.blocks) and self.log10_p <= DERIVED_LOG10_P

    @property
    def spread(self) -> bool:
        """Whether enough of the blocks, and the attention heads, descend."""
        attention = self.heads is None or self.heads >= HEADS_DEPENDENT
        return self.shown and attention and is_spread(len(self.blocks), len(self.blocks) / len(self.trace.neurons))

    @property
    def learned(self) -> bool:
        """Whether more than a random start is shared."""
        along = sum(b.learned for b in self.blocks) / max(1, len(self.blocks))
        return self.correlation >= BULK or along >= LEARNED

    def lineage(self) -> Lineage:
        plain = self.plain
        if plain.relation in (Relation.DERIVED, Relation.SHARED_INITIALIZATION):
            if self.spread and self.learned and self.inheritance > _number(plain.inheritance):
                return self._derived()
            if plain.relation is Relation.DERIVED and self.spread:
                return replace(plain, components=self._components(None))
            return plain
        if self.spread and self.learned:
            return self._derived()
        if self.spread:
            middle = (INDEPENDENT_SCORE + DERIVED_SCORE) / 2.0
            reason = f"neurons agree in the bulk, not in what was learned, as after one common start: {self._summary()}"
            return replace(self._with_evidence(reason), score=middle, relation=Relation.SHARED_INITIALIZATION)
        if self.shown:
            return self._partial()
        if isinstance(plain.score, NotMeasured):
            return self._not_shown()
        p_value = plain.p_value
        return replace(plain, p_value=min(1.0, 2.0 * p_value) if isinstance(p_value, float) else p_value)

    def _derived(self) -> Lineage:
        undone = _undone(self.trace, self.blocks)
        through = f", through {', '.join(undone)}" if undone else ""
        reason = f"the body descends from the base{through}: {self._summary()}"
        return replace(
            self._with_evidence(reason),
            score=derived_score(self.correlation),
            relation=Relation.DERIVED,
            kinds=_kinds(self.trace, self.blocks, disguised=bool(undone)),
        )

    def _partial(self) -> Lineage:
        covered = len(self.blocks) / len(self.trace.neurons)
        score = INDEPENDENT_SCORE + (DERIVED_SCORE - 0.01 - INDEPENDENT_SCORE) * covered
        return replace(
            self._with_evidence(f"only a part of the body descends from the base: {self._summary()}"),
            score=max(score, _number(self.plain.score)),
            relation=Relation.PARTIAL,
            kinds=(),
        )

    def _not_shown(self) -> Lineage:
        """Models that only tracing can compare: their matrices differ in shape."""
        trace, correlation = self.trace, weighted(self.trace.neurons)
        found = f"{trace.share:.1%} of {trace.probed} probed neurons found, correlation {correlation:.3f}"
        heads = self.heads is None or abs(self.heads) < HEADS_DEPENDENT
        if trace.share <= STRANGER_SHARE and abs(correlation) < DEPENDENT and heads:
            score = INDEPENDENT_SCORE * trace.share / STRANGER_SHARE
            relation, reason = Relation.INDEPENDENT, f"no more of the base is found than in strangers: {found}"
        else:
            score = INDEPENDENT_SCORE + 0.001 + (DERIVED_SCORE - INDEPENDENT_SCORE - 0.002) * min(1.0, trace.share)
            relation, reason = Relation.UNDECIDED, f"more of the base is found than in strangers, too little: {found}"
        return replace(self._with_evidence(reason), score=score, relation=relation)

    def _summary(self) -> str:
        return (
            f"{self.trace.matched} of {self.trace.probed} probed neurons are found in the base after alignment, correlation "
            f"{self.correlation:.3f}, p {format_p(self.log10_p)}"
        )

    def _with_evidence(self, reason: str) -> Lineage:
        p_value = 10.0 ** max(self.log10_p, LOG10_FLOOR)
        plain = self.plain.p_value
        return replace(
            self.plain,
            p_value=min(p_value, 2.0 * plain, 1.0) if isinstance(plain, float) else p_value,
            test=TEST,
            inheritance=self.inheritance,
            components=self._components(p_value),
            layers=_layers(self.trace, self.blocks),
            reason=reason,
        )

    def _components(self, p_value: float | None) -> dict[str, ComponentEvidence]:
        """Feed-forward (or experts) and attention where tracing shows more; embeddings in the frame; the others as they were."""
        trace, blocks = self.trace, self.blocks
        components = dict(self.plain.components)
        relation = Relation.DERIVED if self.spread else Relation.PARTIAL
        if not blocks:
            relation = Relation.INDEPENDENT if trace.share <= STRANGER_SHARE else Relation.UNDECIDED
        p = NotMeasured("not shown by tracing") if p_value is None or not blocks else p_value
        name = Component.EXPERTS if any(n.part for n in trace.neurons) else Component.FEED_FORWARD
        _put(components, name, relation, self.correlation if blocks else weighted(trace.neurons), p)
        if self.heads is not None:
            of_heads = Relation.UNDECIDED if HEADS_SILENT <= self.heads < HEADS_DEPENDENT else Relation.INDEPENDENT
            of_heads = Relation.DERIVED if self.heads >= HEADS_DEPENDENT else of_heads
            _put(components, Component.ATTENTION, of_heads, self.heads, NotMeasured("heads have no null of their own"))
        agreement = trace.frame.agreement
        if blocks and isinstance(agreement, float):
            of_table = Relation.DERIVED if agreement >= OUTSIDE_DEPENDENT else Relation.UNDECIDED
            _put(components, Component.EMBEDDINGS, of_table, agreement, NotMeasured("no unit that could be permuted"))
        return dict(sorted(components.items()))


def _put(
    components: dict[str, ComponentEvidence],
    component: Component,
    relation: Relation,
    correlation: float,
    p_value: float | NotMeasured,
) -> None:
    """Traced evidence where it shows more than what is there."""
    plain = components.get(component.value)
    if plain is None or not isinstance(plain.correlation, float) or correlation > plain.correlation:
        components[component.value] = ComponentEvidence(relation, correlation, p_value)


def stranger_log10_p(trace: Trace, blocks: Sequence[NeuronTrace]) -> float:
    """log10 of the bound on the probability that so many neurons of `blocks` are found in a stranger.

    Corrected for the choice of `blocks` among all that were probed, for the blocks of the base that each was compared with,
    and for the frames.
    """
    bound = 0.0
    for block in blocks:
        if block.share > STRANGER_SHARE:
            bound -= block.probed * _divergence(block.share, STRANGER_SHARE) / math.log(10.0)
        bound += math.log10(max(1, block.choices))
    bound += math.log10(math.comb(len(trace.neurons), len(blocks))) + math.log10(max(1, trace.frames_tried))
    return min(0.0, bound)


def _divergence(p: float, q: float) -> float:
    first = p * math.log(p / q) if p > 0 else 0.0
    return first + ((1 - p) * math.log((1 - p) / (1 - q)) if p < 1 else 0.0)


def _evidence(trace: Trace) -> Evidence:
    agreement = trace.frame.agreement
    detail: dict[str, object] = {
        "best_block": max((n.share for n in trace.neurons), default=0.0),
        "best_correlation": max((n.correlation for n in trace.neurons), default=0.0),
        "correlation": weighted(trace.neurons),
        "embedding_agreement": agreement if isinstance(agreement, float) else None,
        "frame": trace.frame.kind.value,
        "learned": sum(n.learned * n.probed for n in trace.neurons) / max(1, trace.probed),
        "heads": _mean([h.correlation for h in trace.heads]),
        "matched": trace.matched,
        "probed": trace.probed,
        "shared_tokens": trace.frame.shared_tokens,
    }
    level = f"at most {STRANGER_SHARE} in independent models"
    error = (
        math.sqrt(max(trace.share * (1 - trace.share), 0.25 / trace.probed) / trace.probed) if trace.probed else None
    )
    return Evidence("neuron_match", trace.share, "sampled", level, error, detail)  # type: ignore[arg-type]


def _layers(trace: Trace, blocks: Sequence[NeuronTrace]) -> tuple[LayerMatch, ...]:
    shown = {id(b) for b in blocks}
    best: dict[tuple[str, int], LayerMatch] = {}
    for neuron in trace.neurons:
        place = neuron.stack, neuron.layer
        match = LayerMatch(*place, neuron.base_layer if id(neuron) in shown else None, neuron.correlation)
        if place not in best or match.correlation > best[place].correlation:
            best[place] = match
    return tuple(best[place] for place in sorted(best))


def _undone(trace: Trace, blocks: Sequence[NeuronTrace]) -> list[str]:
    """What stood between the two models that training does not do."""
    found = []
    if trace.frame.kind is FrameKind.ROTATED and trace.hidden == trace.base_hidden:
        found.append("a rotated residual stream")
    if trace.frame.kind is FrameKind.PERMUTED:
        found.append(
            "a residual stream with reordered coordinates"
            if not trace.frame.flipped
            else "a residual stream with reordered or negated coordinates"
        )
    moved = [n.moved for n in blocks if n.width == n.base_width and not n.part]
    if (_mean(moved) or 0.0) > HALF:
        found.append("reordered feed-forward neurons")
    if (_mean([h.moved for h in trace.heads]) or 0.0) > HALF:
        found.append("reordered attention heads")
    return found


def _kinds(trace: Trace, blocks: Sequence[NeuronTrace], *, disguised: bool) -> tuple[str, ...]:
    kinds = []
    if trace.layers != trace.base_layers or any(b.layer != b.base_layer for b in blocks):
        kinds.append("depth changed")
    if disguised:
        kinds.append("disguised")
    if any(b.width < b.base_width and not b.part for b in blocks) or trace.hidden < trace.base_hidden:
        kinds.append("pruned")
    if any(b.part and not b.base_part for b in blocks):
        kinds.append("upcycled")
    if any(b.width > b.base_width and not b.part for b in blocks) or trace.hidden > trace.base_hidden:
        kinds.append("widened")
    return tuple(kinds)


def _inherited(trace: Trace, blocks: Sequence[NeuronTrace]) -> float:
    """Share of variance: found share times squared correlation, mean over all probed blocks."""
    total = sum(b.share * max(0.0, b.correlation) ** 2 for b in blocks)
    return min(1.0, total / len(trace.neurons)) if trace.neurons else 0.0


def weighted(neurons: Sequence[NeuronTrace]) -> float:
    probed = sum(n.probed for n in neurons)
    return sum(n.probed * n.correlation for n in neurons) / probed if probed else 0.0


def _number(value: float | NotMeasured) -> float:
    return value if isinstance(value, float) else 0.0


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
