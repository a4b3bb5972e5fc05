"""PG202: the weights must not show a base that the publisher does not declare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.lineage.interface import DERIVED_SCORE, Lineage, Relation
from provenance_gate.policy.interface import Outcome, Status, Subject
from provenance_gate.policy.wording import exact, first_few, lineage_evidence, lineage_summary, shown

LEAST_SHARE: Final = 0.1
"""Mixing weight from which a base counts as a parent."""
_UNCLEAR: Final = frozenset({Relation.UNDECIDED, Relation.SHARED_INITIALIZATION})
_DEPENDENT: Final = frozenset({Relation.DERIVED, Relation.PARTIAL})


class UndisclosedBase:
    """No tested model that the artifact leaves undeclared may turn out to be its base.

    Candidates are all bases that were compared (given with `--base`, or found in a registry) and that no claim of the
    artifact names. An ancestor of a declared base, as the catalog knows it, is disclosed with that base; so are siblings and
    unrecorded ancestors of a declared base that a search turns up, being further from the artifact than that base.

    - fail: the lineage score of a candidate reaches `max_score`, some components come from it, or the artifact was mixed with
      a tenth of it or more;
    - undecided: weights were missing, or the evidence does not decide;
    - pass: otherwise. With no candidate at all it passes and says that nothing was tested, unless
      `require_candidates` is set: then it is undecided.
    """

    kind: Final = "undisclosed-base"
    number: Final = "PG202"
    title: Final = "No undeclared base is shown by the weights"
    schema: Final[Mapping[str, Any]] = {
        "properties": {
            "max_score": {
                "title": "Lineage score from which a base counts as found",
                "description": "A candidate that is not declared fails the rule from this score on. 0.70 is where a score "
                "means derived (false-positive rate 1e-6).",
                "type": "number",
                "minimum": 0,
                "maximum": 1,
                "default": DERIVED_SCORE,
            },
            "require_candidates": {
                "title": "Something must have been tested",
                "description": "Whether the rule is undecided when no undeclared candidate was compared.",
                "type": "boolean",
                "default": False,
            },
        }
    }

    def explain(self, options: Mapping[str, Any]) -> str:
        """What the rule with these options checks, in one plain sentence."""
        untested = "is undecided" if options.get("require_candidates", False) else "passes"
        return (
            "No tested model may show as a base without being declared, "
            f"from a lineage score of {_max_score(options):.2f} or a single inherited component on; "
            f"with no candidate to test the rule {untested}."
        )

    def evaluate(self, options: Mapping[str, Any], subject: Subject) -> Sequence[Outcome]:
        """One outcome per candidate that does not pass, or a single one that sums up."""
        candidates = [x for x in subject.lineages if not (x.claims or x.kin_of or _is_disclosed(x.base.id, subject))]
        if not candidates:
            return (_untested(options, subject),)
        outcomes = [_judge(candidate, _max_score(options)) for candidate in candidates]
        open_ones = tuple(outcome for outcome in outcomes if outcome is not None)
        names = first_few(x.base.id for x in candidates)
        clear = Outcome(Status.PASS, "no undeclared base", f"the weights show no undeclared base; tested: {names}")
        return open_ones or (clear,)


def _max_score(options: Mapping[str, Any]) -> float:
    return float(options.get("max_score", DERIVED_SCORE))


def _is_disclosed(base: str, subject: Subject) -> bool:
    """Whether the artifact names `base`, or a model that the catalog traces back to it."""
    declared = {node.id.casefold() for node in subject.ancestry if node.declared}
    wanted = base.casefold()
    if wanted in declared:
        return True
    for node in subject.ancestry:
        path = [step.casefold() for step in node.path]
        if wanted in path and declared.intersection(path[1 : path.index(wanted)]):
            return True
    return False


def _untested(options: Mapping[str, Any], subject: Subject) -> Outcome:
    if subject.searched:
        message = f"none of the {subject.searched} models that registries hold shows as an undeclared base"
        kin = [x.base.id for x in subject.lineages if x.kin_of]
        message += f"; relatives of a declared base: {first_few(kin)}" if kin else ""
        return Outcome(Status.PASS, "no undeclared base", message)
    message = "no undeclared candidate was tested"
    if options.get("require_candidates", False):
        remedy = "give a registry with --registry, or candidates with --base"
        return Outcome(Status.UNDECIDED, "no candidates", f"{message}, and the policy requires one", remedy)
    return Outcome(Status.PASS, "no candidates", f"{message}: a hidden base would not have been seen")


def _judge(lineage: Lineage, max_score: float) -> Outcome | None:
    name, score, summary = shown(lineage.base.id), lineage.score, lineage_summary(lineage)
    score_seen = lineage.relation is not Relation.INDEPENDENT
    parts = [part for part, seen in sorted(lineage.components.items()) if seen.relation in _DEPENDENT]
    if isinstance(score, float) and score >= max_score:
        message = f"the weights show {name} as a base, which the artifact does not declare: {summary}"
    elif isinstance(mixed := lineage.mixing_weight, float) and mixed >= LEAST_SHARE and score_seen:
        message = f"{mixed:.0%} of {name} was mixed into the weights, which the artifact does not declare: {summary}"
    elif lineage.relation is Relation.PARTIAL and parts:
        inherited = ", ".join(shown(part) for part in parts)
        message = (
            f"a part of the weights comes from {name}, which the artifact does not declare: {inherited} ({summary})"
        )
    elif lineage.relation in _UNCLEAR or lineage.relation is Relation.PARTIAL or isinstance(score, NotMeasured):
        return Outcome(
            Status.UNDECIDED,
            exact(lineage.base.id),
            f"whether the undeclared {name} is a base is undecided: {summary}; {shown(lineage.reason)}",
            f"allow a higher --max-tier, or give the full weights with --base {name}=PATH",
            lineage_evidence(lineage),
        )
    else:
        return None
    remedy = f"declare {name} as `base_model` in the front matter of README.md, or train without it"
    return Outcome(Status.FAIL, exact(lineage.base.id), message, remedy, lineage_evidence(lineage))
