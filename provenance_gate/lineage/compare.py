"""Two fingerprints and the claims that name the base in, a `Lineage` out. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from provenance_gate.artifact.dtypes import quantized_bits
from provenance_gate.artifact.interface import COMPONENT_OF_ROLE, BaseClaim, Component, NotMeasured, Role
from provenance_gate.errors import UndefinedSignalError
from provenance_gate.fingerprint.interface import Evidence, Fingerprint, Json, SignalValue
from provenance_gate.fingerprint.measure import IMPORTED_METHOD, compare_signal
from provenance_gate.fingerprint.rows import KeptRows, on_common_blocks
from provenance_gate.fingerprint.signals import SIGNALS
from provenance_gate.fingerprint.signals.weight_correlation import (
    BODY,
    WeightCorrelation,
    mean_correlation,
    rows_of,
)
from provenance_gate.lineage.components import (
    Pair,
    Rows,
    aligned_pairs,
    body_coverage,
    component_evidence,
    corresponding,
    learned_agreement,
    norm_evidence,
    weighted_correlation,
)
from provenance_gate.lineage.decide import BodyEvidence, Decision, decide
from provenance_gate.lineage.interface import BaseRef, ComponentEvidence, LayerMatch, Lineage, Relation
from provenance_gate.lineage.layers import LayerAlignment, align_layers, attention_test
from provenance_gate.lineage.matching import ContentMatch, match_rows
from provenance_gate.lineage.reach import Reach, reach_of
from provenance_gate.lineage.sameness import Sameness, sameness

TEST = "exact moments of T under permutation of feed-forward neurons within each layer, normal tail"

IDENTITY_WEIGHTS: Mapping[str, float] = {"eas": 0.36, "nlf": 0.08, "lep": 0.16, "end": 0.19, "wvc": 0.21}
"""The reference system's weights; signals that are absent are left out and the rest rescaled."""

MOST_UNMATCHED = 0.01
"""Share of an unnamed model's parameters without a place, up to which it may be the base in another format."""
_ALWAYS_LISTED = "neuron_match"


def compare(artifact: Fingerprint, base: Fingerprint, ref: BaseRef, claims: tuple[BaseClaim, ...] = ()) -> Lineage:
    """The relation of `artifact` to `base` that the evidence supports.

    Metadata and tokenizer signals are reported and enter nothing else. Two fingerprints of different methods or plans give a
    lineage without a score.
    """
    signals = {s.name: compare_signal(s, artifact, base) for s in SIGNALS if s.name != WeightCorrelation.name}
    signals[_ALWAYS_LISTED] = Evidence(
        _ALWAYS_LISTED,
        NotMeasured("not traced: needs both models at hand, and is done where plain comparison leaves descent open"),
    )
    evidence = _weights(artifact, base, signals)
    if isinstance(evidence, NotMeasured):
        signals[WeightCorrelation.name] = Evidence(WeightCorrelation.name, evidence)
        return _lineage(ref, claims, signals, decide(evidence))
    signals[WeightCorrelation.name] = evidence.mean_correlation()
    return evidence.lineage(ref, claims, signals)


def _weights(artifact: Fingerprint, base: Fingerprint, signals: Mapping[str, Evidence]) -> _Weights | NotMeasured:
    ours, theirs = artifact.signals.get(WeightCorrelation.name), base.signals.get(WeightCorrelation.name)
    # Rows come from our own measuring only: an imported fingerprint that holds some was not written by an import.
    alike = artifact.method == base.method and not artifact.method.startswith(IMPORTED_METHOD)
    if (
        not alike
        or not isinstance(ours, SignalValue)
        or not isinstance(theirs, SignalValue)
        or ours.parameters != theirs.parameters
    ):
        absent = compare_signal(WeightCorrelation(), artifact, base).value
        return absent if isinstance(absent, NotMeasured) else NotMeasured("the weights were not measured alike")
    matched, base_rows = _matched(ours, theirs)
    alignment = align_layers(matched.rows, base_rows, matched.log10_tried)
    pairs = aligned_pairs(matched.rows, base_rows, alignment)
    heads = ours.facts.get("attention_heads"), theirs.facts.get("attention_heads")
    attention = attention_test(matched.rows, base_rows, heads, alignment) if alignment else None
    feed_forward = alignment.test if alignment else None
    tests = {Component.ATTENTION: attention, Component.FEED_FORWARD: feed_forward}
    norms = (
        norm_evidence(artifact.signals["nlf"], base.signals["nlf"])
        if "nlf" in artifact.signals and "nlf" in base.signals
        else None
    )
    components = component_evidence(matched.rows, pairs, tests, norms)
    reach = reach_of(ours, theirs, (matched.rows, base_rows))
    seen = not reach.attention or any(COMPONENT_OF_ROLE.get(p.ours.key.role) is Component.ATTENTION for p in pairs)
    whole = seen and reach.depths[0] == reach.depths[1] and matched.unmatched <= MOST_UNMATCHED
    met = {k: r for k, r in matched.rows.items() if corresponding(k, alignment) not in reach.passed}
    same = sameness(artifact, base, signals["content_identity"], met, pairs, whole=whole)
    return _Weights(matched, base_rows, alignment, pairs, components, same, reach)


def _matched(ours: SignalValue, theirs: SignalValue) -> tuple[ContentMatch, Rows]:
    """Rows of both sides under common keys."""
    unnamed = ours.facts.get("roles_from") == "none", theirs.facts.get("roles_from") == "none"
    rows, base_rows = on_common_blocks(rows_of(ours), rows_of(theirs))
    return match_rows(rows, base_rows, unnamed)


class _Weights:
    """Evidence from the weights, on its way to a lineage."""

    def __init__(
        self,
        matched: ContentMatch,
        base_rows: Rows,
        alignment: LayerAlignment | None,
        pairs: tuple[Pair, ...],
        components: dict[str, ComponentEvidence],
        same: Sameness,
        reach: Reach,
    ) -> None:
        self.matched, self.base_rows, self.alignment, self.reach = matched, base_rows, alignment, reach
        self.pairs, self.components, self.same = pairs, components, same
        self.body_pairs = [p for p in pairs if COMPONENT_OF_ROLE.get(p.ours.key.role) in BODY]
        self.learned = learned_agreement(self._dependent_pairs())

    def mean_correlation(self) -> Evidence:
        """The signal of that name: over body matrices of equal key, which are paired here already."""
        try:
            same = mean_correlation([(p.ours, p.theirs) for p in self.body_pairs if p.ours.key == p.theirs.key])
            more: dict[str, Json] = {
                "aligned": weighted_correlation(self.body_pairs),
                "learned": self.learned,
                "inherited": self._by_role(),
            }
            if self.reach.thinned:
                more["layers_passed_over"] = sum(self.reach.writing) - sum(self.reach.read)
            return replace(same, detail={**same.detail, **more})
        except UndefinedSignalError as error:
            return Evidence(WeightCorrelation.name, NotMeasured(str(error)))

    def _by_role(self) -> dict[str, Json]:
        """The inheritance of each kind of matrix by itself."""
        roles: dict[str, list[Pair]] = {}
        for pair in self.body_pairs:
            roles.setdefault(pair.ours.key.role.value, []).append(pair)
        return {role: round(_explained(pairs), 6) for role, pairs in sorted(roles.items())}

    def _dependent_pairs(self) -> list[Pair]:
        """Matrices of the layers that depend on the base by themselves; of all layers when none does."""
        dependent = self.alignment.dependent if self.alignment else frozenset()
        chosen = [p for p in self.body_pairs if (p.ours.key.stack, p.ours.key.layer) in dependent]
        return chosen or self.body_pairs

    def body(self) -> BodyEvidence | NotMeasured:
        if self.alignment is None:
            return NotMeasured(self._why_no_test())
        correlation = weighted_correlation(self.body_pairs)
        feed_forward = self._correlation(Component.FEED_FORWARD, Component.EXPERTS)
        if feed_forward is None and not self._has_feed_forward():
            # Pure state-space models: their mixers are what was tested, and all that there is.
            feed_forward = correlation
        if correlation is None or feed_forward is None:
            return NotMeasured("no feed-forward matrix has a counterpart that is not zero")
        # Norm gains alone are a few thousand numbers near 1: `components` shows them, the relation does not rest on them.
        outside = (Component.EMBEDDINGS, Component.HEAD)
        return BodyEvidence(
            test=self.alignment.test,
            correlation=correlation,
            attention=self._attention(),
            feed_forward=feed_forward,
            layers=self.reach.share(len(self.alignment.dependent), self.alignment.total),
            dependent=len(self.alignment.dependent),
            bulk=correlation if (bulk := weighted_correlation(self._dependent_pairs())) is None else bulk,
            coverage=self._coverage(self.alignment),
            blind=self.reach.blind,
            norms=self._norms(),
            learned=self.learned,
            grafted=tuple(
                c.value
                for c in outside
                if c.value in self.components and self.components[c.value].relation is Relation.DERIVED
            ),
        )

    def _attention(self) -> float | None:
        found = self._correlation(Component.ATTENTION)
        # None would mean that there is nothing to compare; that nothing was read is no excuse.
        return 0.0 if found is None and self.reach.attention else found

    def _coverage(self, alignment: LayerAlignment) -> float:
        passed = self.reach.passed
        rows = {k: r for k, r in self.matched.rows.items() if corresponding(k, alignment) not in passed}
        return body_coverage(rows, self.pairs) * (1.0 - self.matched.unmatched)

    def _correlation(self, *components: Component) -> float | None:
        return weighted_correlation(
            [p for p in self.body_pairs if COMPONENT_OF_ROLE.get(p.ours.key.role) in components]
        )

    def _norms(self) -> float | None:
        norms = self.components.get(Component.NORMS.value)
        return norms.correlation if norms is not None and isinstance(norms.correlation, float) else None

    def _has_feed_forward(self) -> bool:
        return any(k.role in (Role.FFN_DOWN, Role.EXPERT_DOWN) for k in (*self.matched.rows, *self.base_rows))

    def _why_no_test(self) -> str:
        ours = {r.shape for k, r in self.matched.rows.items() if k.role in (Role.FFN_DOWN, Role.EXPERT_DOWN)}
        theirs = {r.shape for k, r in self.base_rows.items() if k.role in (Role.FFN_DOWN, Role.EXPERT_DOWN)}
        if not ours:
            return "no feed-forward output matrix was recognized in the artifact, by name or by content"
        if not theirs:
            return "no feed-forward output matrix was recognized in the base"
        if ours & theirs:
            return "all feed-forward output matrices of one side are constant: nothing in them could be told apart"
        return f"feed-forward matrices differ in shape: {_shapes(ours)} in the artifact, {_shapes(theirs)} in the base"

    def lineage(self, ref: BaseRef, claims: tuple[BaseClaim, ...], signals: dict[str, Evidence]) -> Lineage:
        body = self.body()
        decision = decide(body)
        if self.same.relation is not None:
            decision = Decision(1.0, self.same.relation, self.same.reason)
        if self.matched.roles_from:
            decision = replace(decision, reason=f"{decision.reason}; {self.matched.roles_from}")
        found = _lineage(ref, claims, signals, decision)
        if isinstance(body, NotMeasured) or self.alignment is None:
            return replace(found, components=self.components, tier=self.same.tier)
        return replace(
            found,
            components=self.components,
            layers=self._layers(self.alignment),
            p_value=body.test.p_value,
            inheritance=_explained(self.body_pairs),
            kinds=self._kinds(self.alignment, decision),
            tier=self.same.tier,
        )

    def _layers(self, alignment: LayerAlignment) -> tuple[LayerMatch, ...]:
        by_place: dict[tuple[str, int], list[Pair]] = {}
        for pair in self.body_pairs:
            if pair.ours.key.layer is not None:
                by_place.setdefault((pair.ours.key.stack, pair.ours.key.layer), []).append(pair)
        matches = []
        for place, other in sorted(alignment.mapping.items()):
            correlation = weighted_correlation(by_place.get(place, [])) or 0.0
            matches.append(
                LayerMatch(place[0], place[1], other[1] if place in alignment.dependent else None, correlation)
            )
        return tuple(matches)

    def _kinds(self, alignment: LayerAlignment, decision: Decision) -> tuple[str, ...]:
        if decision.relation is not Relation.DERIVED:
            return ()
        kinds = []
        renumbered = alignment.renumbered and self.matched.numbered
        if renumbered or self.reach.depths[0] != self.reach.depths[1]:
            kinds.append("depth changed")
        quantized = any(quantized_bits(p.ours.dtype) and not quantized_bits(p.theirs.dtype) for p in self.body_pairs)
        if quantized:
            kinds.append("quantized")
        # Rounding to few bits makes zeros, too.
        elif _zeros([p.ours for p in self.body_pairs]) > 0.1 + _zeros([p.theirs for p in self.body_pairs]):
            kinds.append("pruned")
        return tuple(kinds)


def _zeros(rows: list[KeptRows]) -> float:
    """Share of the values that are zero."""
    return sum(int((r.values == 0).sum()) for r in rows) / max(1, sum(r.count * r.width for r in rows))


def _explained(pairs: list[Pair]) -> float:
    """Share of the variance of the artifact's values that a multiple of the base's explains: mean of r squared, r > 0."""
    return float(np.average([max(0.0, p.correlation) ** 2 for p in pairs], weights=[p.size for p in pairs]))


def _shapes(shapes: set[tuple[int, ...]]) -> str:
    return ", ".join("x".join(map(str, s)) for s in sorted(shapes)[:3])


def identity_score(signals: Mapping[str, Evidence]) -> float | NotMeasured:
    """The reference system's weighted mean of its five weight signals, in [0, 1], 4 digits. Decides nothing."""
    present = [(w, v) for name, w in IDENTITY_WEIGHTS.items() if isinstance(v := signals[name].value, float)]
    if not present:
        return NotMeasured("none of its five signals was measured")
    return round(sum(w * v for w, v in present) / sum(w for w, _ in present), 4)


def _lineage(
    ref: BaseRef, claims: tuple[BaseClaim, ...], signals: Mapping[str, Evidence], decision: Decision
) -> Lineage:
    absent = NotMeasured(decision.reason)
    return Lineage(
        base=ref,
        score=decision.score,
        relation=decision.relation,
        kinds=(),
        p_value=absent,
        test=TEST,
        inheritance=absent,
        components={},
        layers=(),
        signals=signals,
        identity_score=identity_score(signals),
        claims=claims,
        reason=decision.reason,
        tier=2,
    )
