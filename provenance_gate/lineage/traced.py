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

from provenance_gate.alignment.interface import FrameKind, NeuronTrace, Trace, VocabularyFacts
from provenance_gate.artifact.interface import Component, NotMeasured
from provenance_gate.fingerprint.interface import Evidence
from provenance_gate.fingerprint.permutation import LOG10_FLOOR
from provenance_gate.fingerprint.signals.weight_correlation import BODY
from provenance_gate.lineage.components import OUTSIDE_DEPENDENT, OUTSIDE_SILENT
from provenance_gate.lineage.decide import DERIVED_LOG10_P, HALF, derived_score, format_p
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
DEPENDENT, SILENT = 0.20, 0.08
"""Mean correlations of found neurons and heads, over coordinates that the matching did not use."""

REBUILT = 0.9
"""A vocabulary that shares less of the smaller one than this was rebuilt, not extended or truncated."""
PLAIN = 0.5
"""A derivation that explains this share of the variance without any alignment is not traced."""
_SETTLED = frozenset({Relation.IDENTICAL, Relation.REFORMATTED, Relation.SHARED_INITIALIZATION})


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
    blocks = [n for n in trace.neurons if n.share >= BLOCK_SHARE and n.correlation >= DEPENDENT]
    log10_p = min(0.0, stranger_log10_p(trace, blocks) + math.log10(2.0))
    heads = _mean([h.correlation for h in trace.heads])
    shown = bool(blocks) and log10_p <= DERIVED_LOG10_P
    whole = shown and len(blocks) >= HALF * len(trace.neurons) and (heads is None or heads >= DEPENDENT)
    if lineage.relation is Relation.DERIVED:
        better = whole and _inherited(trace, blocks) > _number(lineage.inheritance)
        if better or not whole:
            return _shown(found, trace, blocks, heads, log10_p, whole=True) if better else found
        return replace(found, components=_components(lineage, trace, blocks, heads, None))
    if shown:
        return _shown(found, trace, blocks, heads, log10_p, whole=whole)
    if isinstance(lineage.score, NotMeasured):
        return _not_shown(found, trace, heads, log10_p)
    p_value = lineage.p_value
    return replace(found, p_value=min(1.0, 2.0 * p_value) if isinstance(p_value, float) else p_value)


def lacks_embeddings(lineage: Lineage) -> bool:
    """Whether rows matched by token string could tell more of the embeddings than rows matched by number did."""
    found = lineage.components.get(Component.EMBEDDINGS.value)
    return lineage.relation in (Relation.DERIVED, Relation.PARTIAL) and (
        found is None or found.relation is not Relation.DERIVED
    )


def with_vocabulary(lineage: Lineage, facts: VocabularyFacts | NotMeasured) -> Lineage:
    """`lineage`, its embeddings compared token by token."""
    if isinstance(facts, NotMeasured):
        return lineage
    relation = Relation.DERIVED if facts.agreement >= OUTSIDE_DEPENDENT else Relation.UNDECIDED
    if abs(facts.agreement) < OUTSIDE_SILENT:
        relation = Relation.INDEPENDENT
    absent = NotMeasured("embeddings have no unit that can be permuted by itself")
    components = {
        **lineage.components,
        Component.EMBEDDINGS.value: ComponentEvidence(relation, facts.agreement, absent),
    }
    kinds = set(lineage.kinds)
    if lineage.relation is Relation.DERIVED:
        kinds |= set(_vocabulary_kinds(facts))
    return replace(lineage, components=dict(sorted(components.items())), kinds=tuple(sorted(kinds)))


def _vocabulary_kinds(facts: VocabularyFacts) -> list[str]:
    if facts.shared < REBUILT * min(facts.ours, facts.theirs):
        return ["vocabulary rebuilt"]
    resized = [
        name
        for name, is_so in (("extended", facts.ours > facts.theirs), ("truncated", facts.ours < facts.theirs))
        if is_so
    ]
    return [f"vocabulary {name}" for name in [*resized, *(["reordered"] if facts.reordered else [])]]


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


def _shown(
    lineage: Lineage,
    trace: Trace,
    blocks: Sequence[NeuronTrace],
    heads: float | None,
    log10_p: float,
    *,
    whole: bool,
) -> Lineage:
    correlation = _weighted(blocks)
    shown = (
        f"{trace.matched} of {trace.probed} probed neurons and their weights (correlation {correlation:.3f}) are found in the "
        f"base after alignment, p {format_p(log10_p)}"
    )
    covered = len(blocks) / len(trace.neurons)
    score = derived_score(correlation)
    if not whole:
        score = INDEPENDENT_SCORE + (DERIVED_SCORE - 0.01 - INDEPENDENT_SCORE) * covered
    where = "the body descends from the base" if whole else "only a part of the body descends from the base"
    undone = _undone(trace, blocks)
    through = f", through {', '.join(undone)}" if undone else ""
    p_value = 10.0 ** max(log10_p, LOG10_FLOOR)
    if isinstance(lineage.p_value, float):
        p_value = min(p_value, 2.0 * lineage.p_value, 1.0)
    return replace(
        lineage,
        score=max(score, lineage.score) if isinstance(lineage.score, float) and not whole else score,
        relation=Relation.DERIVED if whole else Relation.PARTIAL,
        kinds=_kinds(trace, blocks, disguised=bool(undone)) if whole else (),
        p_value=p_value,
        test=TEST,
        inheritance=_inherited(trace, blocks),
        components=_components(lineage, trace, blocks, heads, p_value),
        layers=_layers(trace, blocks),
        reason=f"{where}{through}: {shown}",
    )


def _not_shown(lineage: Lineage, trace: Trace, heads: float | None, log10_p: float) -> Lineage:
    """Models that only tracing can compare: their matrices differ in shape."""
    correlation = _weighted(trace.neurons)
    shown = f"{trace.share:.1%} of {trace.probed} probed neurons found, correlation {correlation:.3f}"
    quiet = trace.share <= STRANGER_SHARE and abs(correlation) < SILENT and (heads is None or abs(heads) < DEPENDENT)
    score = INDEPENDENT_SCORE * min(1.0, max(0.0, correlation) / SILENT)
    relation, reason = Relation.INDEPENDENT, f"no neuron of the base is found in the artifact: {shown}"
    if not quiet:
        relation = Relation.UNDECIDED
        reason = f"more neurons of the base are found than in strangers, too few for descent: {shown}"
        score = INDEPENDENT_SCORE + 0.001 + (DERIVED_SCORE - INDEPENDENT_SCORE - 0.002) * min(1.0, trace.share)
    return replace(
        lineage,
        score=score,
        relation=relation,
        p_value=10.0 ** max(log10_p, LOG10_FLOOR),
        test=TEST,
        inheritance=_inherited(trace, ()),
        components=_components(lineage, trace, (), heads, None),
        layers=_layers(trace, ()),
        reason=reason,
    )


def _evidence(trace: Trace) -> Evidence:
    agreement = trace.frame.agreement
    detail: dict[str, object] = {
        "correlation": _weighted(trace.neurons),
        "embedding_agreement": agreement if isinstance(agreement, float) else None,
        "frame": trace.frame.kind.value,
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


def _components(
    lineage: Lineage, trace: Trace, blocks: Sequence[NeuronTrace], heads: float | None, p_value: float | None
) -> dict[str, ComponentEvidence]:
    """Feed-forward (or experts) and attention as traced; the others as they were."""
    absent = NotMeasured("heads have no null of their own")
    components = dict(lineage.components)
    name = Component.EXPERTS if any(n.part for n in trace.neurons) else Component.FEED_FORWARD
    relation = Relation.DERIVED if len(blocks) >= HALF * len(trace.neurons) else Relation.PARTIAL
    if not blocks:
        relation = Relation.INDEPENDENT if trace.share <= STRANGER_SHARE else Relation.UNDECIDED
    found = _weighted(blocks) if blocks else _weighted(trace.neurons)
    p = NotMeasured("not shown") if p_value is None else p_value
    _put(components, name, ComponentEvidence(relation, found, p))
    if heads is not None:
        of_heads = Relation.DERIVED if heads >= DEPENDENT else Relation.INDEPENDENT
        if SILENT <= heads < DEPENDENT:
            of_heads = Relation.UNDECIDED
        _put(components, Component.ATTENTION, ComponentEvidence(of_heads, heads, absent))
    agreement = trace.frame.agreement
    rotated = (
        trace.frame.kind is not FrameKind.SAME or trace.frame.reordered or _absent(components, Component.EMBEDDINGS)
    )
    if blocks and rotated and isinstance(agreement, float):
        relation = Relation.DERIVED if agreement >= 0.5 else Relation.UNDECIDED
        components[Component.EMBEDDINGS.value] = ComponentEvidence(
            relation, agreement, NotMeasured("no null of its own")
        )
    return dict(sorted(components.items()))


def _put(components: dict[str, ComponentEvidence], component: Component, traced: ComponentEvidence) -> None:
    """`traced` where it shows more than what is there."""
    plain = components.get(component.value)
    if plain is None or not isinstance(plain.correlation, float) or _number(traced.correlation) > plain.correlation:
        components[component.value] = traced


def _absent(components: dict[str, ComponentEvidence], component: Component) -> bool:
    found = components.get(component.value)
    return found is None or isinstance(found.correlation, NotMeasured)


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


def _weighted(neurons: Sequence[NeuronTrace]) -> float:
    probed = sum(n.probed for n in neurons)
    return sum(n.probed * n.correlation for n in neurons) / probed if probed else 0.0


def _number(value: float | NotMeasured) -> float:
    return value if isinstance(value, float) else 0.0


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
