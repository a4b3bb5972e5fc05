"""From evidence to score and relation: every threshold of the lineage room in one place, as pure arithmetic.

Bands (DESIGN 3.4): at 0.70 and above dependence is shown at a false-positive rate of 1e-6 with an effect that independent
models do not reach; at 0.30 and below the test could have seen a correlation of 0.05 and saw none; between, undecided.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.fingerprint.permutation import PermutationTest
from provenance_gate.lineage.components import DEPENDENT, SILENT
from provenance_gate.lineage.interface import DERIVED_SCORE, INDEPENDENT_SCORE, Relation

DERIVED_LOG10_P = -6.0
SILENT_LOG10_P = -3.0
HALF, THIRD = 0.5, 1.0 / 3.0
"""Before the body counts as derived, half of its parameters must have a counterpart in the base, and a third of its layers must
depend on the base by themselves, two at least where there are several: one transplanted layer is a graft, two of five
interleaved ones make a parent."""
SATURATION = 0.15
"""How fast the score rises with correlation above DEPENDENT: 0.29 gives 0.92, 0.5 gives 0.98, 0.9 gives 0.999."""
BULK = 0.65
"""Bodies that agree less may share their random start only: 0.15 to 0.56 in trials, heavy continued pretraining 0.80 and more."""
LEARNED, LEARNED_NORMS = 0.6, 0.5
"""Then they must agree in what was learned: along the base's strongest directions (one start and other data 0.28 to 0.36; three
tenths of a stranger mixed in 0.81 and more), or, where too few rows were sampled to tell them, in the norm gains."""


@dataclass(frozen=True, slots=True)
class BodyEvidence:
    """What is known of attention and feed-forward together.

    Attributes
    ----------
    test
        Over the feed-forward neurons of all aligned layers.
    correlation, attention, feed_forward
        Size-weighted mean correlations in [-1, 1]; attention is None when no attention matrix has a counterpart.
    layers, dependent
        Share and number of the artifact's layers that depend on the base by themselves.
    bulk
        Mean correlation of these layers.
    coverage
        Share of the artifact's body parameters that have a counterpart.
    norms
        Correlation of centered norm gains and biases, or None when it could not be measured.
    learned
        Agreement of these layers along the base's strongest directions, or None when too few rows were sampled.
    blind
        Whether the layers that correspond may not have been read.
    grafted
        Names of components outside of the body that depend on the base.
    """

    test: PermutationTest
    correlation: float
    attention: float | None
    feed_forward: float
    layers: float
    dependent: int
    bulk: float
    coverage: float
    norms: float | None
    learned: float | None
    grafted: tuple[str, ...]
    blind: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """Score, relation, and the reason in one sentence."""

    score: float | NotMeasured
    relation: Relation
    reason: str


def decide(body: BodyEvidence | NotMeasured) -> Decision:
    """The score and relation that the evidence supports."""
    if isinstance(body, NotMeasured):
        return Decision(body, Relation.UNDECIDED, body.reason)
    shown = f"mean correlation {body.correlation:.3f}, p {format_p(body.test.log10_p)}"
    feed_forward = body.test.log10_p <= DERIVED_LOG10_P and body.feed_forward >= DEPENDENT
    attention = body.attention is None or body.attention >= DEPENDENT
    if feed_forward and attention and is_spread(body.dependent, body.layers) and body.coverage >= HALF:
        unlearned = _only_a_start(body)
        if unlearned:
            reason = (
                f"weights agree in the bulk, not in what was learned ({unlearned}), as after one common start: {shown}"
            )
            return Decision((INDEPENDENT_SCORE + DERIVED_SCORE) / 2.0, Relation.SHARED_INITIALIZATION, reason)
        return Decision(derived_score(body.correlation), Relation.DERIVED, f"the body depends on the base: {shown}")
    if feed_forward or body.layers > 0 or (body.attention is not None and body.attention >= DEPENDENT):
        score = INDEPENDENT_SCORE + (DERIVED_SCORE - 0.01 - INDEPENDENT_SCORE) * min(
            1.0, max(body.layers, body.correlation, 0.0)
        )
        return Decision(score, Relation.PARTIAL, f"only a part of the body depends on the base: {shown}{_part(body)}")
    if _silent(body):
        score = INDEPENDENT_SCORE * min(1.0, max(body.correlation, 0.0) / SILENT)
        if body.grafted:
            names = " and ".join(body.grafted)
            return Decision(
                score, Relation.PARTIAL, f"{names} taken from the base, the body independent of it: {shown}"
            )
        return Decision(score, Relation.INDEPENDENT, f"no dependence between the bodies: {shown}")
    share = min(1.0, -body.test.log10_p / 6.0) * min(1.0, max(body.feed_forward, 0.0) / DEPENDENT)
    score = INDEPENDENT_SCORE + 0.001 + (DERIVED_SCORE - INDEPENDENT_SCORE - 0.002) * share
    return Decision(score, Relation.UNDECIDED, f"{_why_undecided(body)}: {shown}")


def is_spread(dependent: int, share: float) -> bool:
    """Whether so many layers, this share of all, make a descent and not a graft."""
    return share >= THIRD and (dependent > 1 or share >= 1.0)


def _only_a_start(body: BodyEvidence) -> str:
    """What differs between bodies that share no more than their random start; empty when nothing says so."""
    if body.bulk >= BULK:
        return ""
    if body.learned is not None:
        return f"strongest directions {body.learned:.2f}" if body.learned < LEARNED else ""
    return f"norm gains {body.norms:.2f}" if body.norms is not None and body.norms < LEARNED_NORMS else ""


def derived_score(correlation: float) -> float:
    """0.70 at the least correlation that counts, rising to 1."""
    return 1.0 - (1.0 - DERIVED_SCORE) * math.exp(-max(0.0, correlation - DEPENDENT) / SATURATION)


def _silent(body: BodyEvidence) -> bool:
    powerful = body.test.detectable <= SILENT
    quiet = body.test.log10_p > SILENT_LOG10_P and abs(body.correlation) < SILENT
    return powerful and quiet and body.coverage >= HALF and not body.blind


def _part(body: BodyEvidence) -> str:
    return f", {body.layers:.0%} of the layers, {body.coverage:.0%} of the parameters comparable"


def _why_undecided(body: BodyEvidence) -> str:
    if body.coverage < HALF:
        return f"only {body.coverage:.0%} of the body has a counterpart of the same shape"
    if body.test.detectable > SILENT:
        return "the models are too small for the test to see a correlation of 0.05"
    if body.blind:
        return "of two models of unequal depth not every layer was read; --exact reads all"
    return "a dependence too weak for derivation and too strong for chance"


def format_p(log10_p: float) -> str:
    """A p-value in few characters, as small as 1e-300."""
    if log10_p <= -300.0:
        return "<= 1e-300"
    return f"{10.0**log10_p:.1e}" if log10_p < -2.0 else f"{10.0**log10_p:.2f}"
