"""PG201: what the publisher declares as base must be shown by the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from provenance_gate.artifact.interface import BaseClaim, NotMeasured
from provenance_gate.lineage.interface import DERIVED_SCORE, INDEPENDENT_SCORE, Lineage, Relation
from provenance_gate.policy.interface import Outcome, Status, Subject
from provenance_gate.policy.wording import exact, lineage_evidence, lineage_summary, place, same_id, shown

_DESCENT: Final = frozenset({Relation.IDENTICAL, Relation.REFORMATTED, Relation.DERIVED})
# A claim holds when any weights known under its id support it: an id may have several revisions.
_PREFERENCE: Final[Mapping[Status, int]] = {Status.PASS: 0, Status.UNDECIDED: 1, Status.FAIL: 2, Status.WAIVED: 3}


class DeclaredBase:
    """Every base that the artifact declares must be shown by its weights.

    One answer per declared base (`base_model` of the model card, adapter and merge configuration, `_name_or_path`):

    - pass: the lineage score reaches `min_score` and the relation is identical, reformatted or derived;
    - fail: the weights are independent of the base, or only some components come from it (a graft is not derivation);
    - undecided: the weights of the base were not at hand, could not be compared, or the evidence lies in between.

    Equal config, tokenizer or names never make it pass. A model that declares no base passes, unless
    `require_declaration` is set.
    """

    kind: Final = "declared-base"
    number: Final = "PG201"
    title: Final = "Declared bases are shown by the weights"
    schema: Final[Mapping[str, Any]] = {
        "properties": {
            "min_score": {
                "title": "Least lineage score",
                "description": "The score from which a declared base counts as shown. 0.70 is where a score means derived "
                "(false-positive rate 1e-6); 0.30 and below means independent.",
                "type": "number",
                "minimum": 0,
                "maximum": 1,
                "default": DERIVED_SCORE,
            },
            "require_declaration": {
                "title": "A base must be declared",
                "description": "Whether a model that declares no base at all fails.",
                "type": "boolean",
                "default": False,
            },
        }
    }

    def explain(self, options: Mapping[str, Any]) -> str:
        """What the rule with these options checks, in one plain sentence."""
        undeclared = "fails" if options.get("require_declaration", False) else "passes"
        return (
            f"The weights must show every declared base with a lineage score of at least {_min_score(options):.2f}; "
            f"a model that declares none {undeclared}."
        )

    def evaluate(self, options: Mapping[str, Any], subject: Subject) -> Sequence[Outcome]:
        """One outcome per distinct declared base, in the order of the claims."""
        claims: dict[str, BaseClaim] = {}
        for claim in subject.artifact.claims.bases:
            claims.setdefault(claim.id.casefold(), claim)
        if not claims:
            return (_undeclared(options),)
        return tuple(_judge_claim(claim, options, subject) for claim in claims.values())


def _min_score(options: Mapping[str, Any]) -> float:
    return float(options.get("min_score", DERIVED_SCORE))


def _undeclared(options: Mapping[str, Any]) -> Outcome:
    message = "the artifact declares no base"
    if options.get("require_declaration", False):
        remedy = "name the base as `base_model` in the front matter of README.md"
        return Outcome(Status.FAIL, "no declared base", f"{message}, and the policy requires one", remedy)
    return Outcome(Status.PASS, "no declared base", f"{message}, so there is no claim to test")


def _judge_claim(claim: BaseClaim, options: Mapping[str, Any], subject: Subject) -> Outcome:
    tested = [x for x in subject.lineages if any(same_id(named.id, claim.id) for named in x.claims)]
    if not tested:
        name, why = shown(claim.id), subject.untested.get(claim.id)
        return Outcome(
            Status.UNDECIDED,
            exact(claim.id),
            f"{place(claim.source)} declares {name}, but the weights of {name} were not at hand"
            + (f": {shown(why)}" if why else ""),
            f"give --base {name}=PATH, or a registry that knows {name}",
            location=claim.source,
        )
    outcomes = [_judge_lineage(claim, lineage, _min_score(options)) for lineage in tested]
    return min(outcomes, key=lambda outcome: _PREFERENCE[outcome.status])


def _judge_lineage(claim: BaseClaim, lineage: Lineage, min_score: float) -> Outcome:
    score, relation, summary = lineage.score, lineage.relation, lineage_summary(lineage)
    declared = f"{place(claim.source)} declares {shown(claim.id)}"
    remedy = f"correct `{shown(claim.source.field)}` in {place(claim.source)}, or release the weights that it describes"
    if relation is Relation.PARTIAL:
        status, message = Status.FAIL, f"{declared}, but only a part of the weights comes from it: {_parts(lineage)}"
        message += f"; a graft is not derivation ({summary})"
    elif relation is Relation.INDEPENDENT:
        status, message = Status.FAIL, f"{declared}, but the weights are independent of it: {summary}"
    elif isinstance(score, NotMeasured):
        status, message = Status.UNDECIDED, f"{declared}, but the weights could not be compared: {shown(score.reason)}"
        remedy = f"give complete weights of both models (--base {shown(claim.id)}=PATH)"
    elif score >= min_score and relation in _DESCENT:
        status, message, remedy = Status.PASS, f"{declared}, and the weights show it: {summary}", ""
    elif score <= INDEPENDENT_SCORE:
        status, message = Status.FAIL, f"{declared}, but the weights do not show it: {summary}"
    else:
        status = Status.UNDECIDED
        message = f"{declared}, but the evidence does not reach {min_score:.2f}: {summary}; {shown(lineage.reason)}"
        remedy = "allow a higher --max-tier, or give the full weights of the base with --base"
    return Outcome(status, exact(claim.id), message, remedy, lineage_evidence(lineage), claim.source)


def _parts(lineage: Lineage) -> str:
    groups: dict[str, list[str]] = {}
    for name, part in sorted(lineage.components.items()):
        groups.setdefault(part.relation.value, []).append(shown(name))
    return "; ".join(f"{relation}: {', '.join(names)}" for relation, names in groups.items()) or shown(lineage.reason)
