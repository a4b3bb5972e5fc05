"""PG103: what the artifact's license grants, its ancestors must allow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from provenance_gate.artifact.interface import ClaimSource
from provenance_gate.lineage.interface import Derivatives, LicenseTerm
from provenance_gate.policy.ancestors import claim_of, nearest_base, one_per_key, route
from provenance_gate.policy.interface import Outcome, Status, Subject
from provenance_gate.policy.licensing import (
    Bound,
    UnknownTermsError,
    ancestors_of,
    bound_terms,
    commercial_use,
    demands_license,
    exclusion,
    is_known,
    is_unchanged,
    objection,
    own_terms,
    pairs_apart,
)
from provenance_gate.policy.wording import exact, first_few, shown

_UNKNOWN = {"fail": Status.FAIL, "undecided": Status.UNDECIDED, "pass": Status.PASS}
_CHOOSE = "choose another base, or add a waiver with reason, approver and expiry"


class LicenseConflict:
    """The artifact's own license must grant no more than the licenses of its ancestors allow.

    - the stated license grants more than an ancestor's does: a permissive one over an ancestor that forbids commercial use,
      allows research only, asks for the same terms, or for its restrictions of use to be passed on;
    - an ancestor allows no changed copies at all;
    - the artifact states no license although an ancestor's terms ask for one;
    - two ancestors, as of a merge, whose terms no license can satisfy together.

    A model that its own publisher released anew under other terms no longer binds through that release. What an adapter says
    about its base counts as if it were shown.

    - fail: weights and catalog (or the statement of an adapter) lead to the ancestor;
    - undecided: the way to it is a claim that was not tested, a test that did not decide, or a license whose terms are not
      known (`unknown` says what that means).
    """

    kind: Final = "license-conflict"
    number: Final = "PG103"
    title: Final = "The stated license is compatible with those of the ancestors"
    schema: Final[Mapping[str, Any]] = {
        "properties": {
            "unknown": {
                "title": "What an ancestor means whose license or terms are not known",
                "enum": ["fail", "undecided", "pass"],
                "default": "undecided",
            },
        },
    }

    def explain(self, options: Mapping[str, Any]) -> str:
        """What the rule with these options checks, in one plain sentence."""
        return (
            "The stated license must grant no more than every ancestor's license allows, and the terms of merged models "
            f"must not exclude each other; an ancestor whose terms are not known: {options.get('unknown', 'undecided')}."
        )

    def evaluate(self, options: Mapping[str, Any], subject: Subject) -> Sequence[Outcome]:
        """One outcome per ancestor and license in conflict, or a single one that sums up."""
        own, bound = own_terms(subject), bound_terms(subject)
        found = [o for b in bound for o in _judge(b, own, subject)]
        found += [o for pair in pairs_apart(bound) for o in _judge_pair(*pair, subject)]
        status = _UNKNOWN[options.get("unknown", "undecided")]
        if status is not Status.PASS:
            found += _unknown(bound, own, subject, status, {o.key for o in found})
        if found:
            return one_per_key(found)
        stated = first_few(t.id for t in own) or "no license"
        if not bound:
            return (Outcome(Status.PASS, "license conflicts", f"{stated} is stated; no ancestor with a known license"),)
        terms = tuple(
            dict.fromkeys(("ancestor", f"{exact(b.node.id)} under {_with_confidence(b.term)}") for b in bound)
        )
        several = "licenses" if len(bound) > 1 else "license"
        message = f"{stated} is compatible with {len(bound)} {several} of ancestors"
        return (Outcome(Status.PASS, "license conflicts", message, evidence=terms),)


def _judge(bound: Bound, own: Sequence[LicenseTerm], subject: Subject) -> Iterator[Outcome]:
    node, term = bound.node, bound.term
    if term.derivatives is Derivatives.NONE and not is_unchanged(node):
        message = f"{shown(node.id)} is under {shown(term.id)}, which allows no changed copies"
        yield _outcome(bound, subject, message, _CHOOSE)
        return
    if not own:
        why = demands_license(term)
        if why is not None:
            message = f"no license is stated, but {shown(node.id)} is under {shown(term.id)}: {why}"
            remedy = "state `license` in the front matter of README.md"
            yield _outcome(bound, subject, message, remedy)
        return
    objections: list[str | None] = []
    doubts: list[str] = []
    for o in own:
        try:
            objections.append(objection(o, term))
        except UnknownTermsError as doubt:
            doubts.append(str(doubt))
    if None in objections:
        # Several licenses are stated where parts have their own: one that fits is the one for this ancestor's part.
        return
    stated = first_few(o.id for o in own)
    if doubts:
        message = f"what {stated} grants is not known, but {shown(node.id)} is under {shown(term.id)}, {doubts[0]}"
        remedy = f"state a license with known terms, or {_remedy(term)}"
        yield _outcome(bound, subject, message, remedy, known=False)
        return
    message = f"{stated} grants more than {shown(node.id)} allows: it is under {shown(term.id)}, {objections[0]}"
    yield _outcome(bound, subject, message, _remedy(term))


def _remedy(term: LicenseTerm) -> str:
    if term.derivatives is Derivatives.SAME_TERMS:
        return f"release under {shown(term.id)}, or choose another base"
    if commercial_use(term) == "no":
        return "release under terms as narrow as that, or choose another base"
    return "release under terms that repeat the restrictions, or choose another base"


def _judge_pair(one: Bound, other: Bound, subject: Subject) -> Iterator[Outcome]:
    why = exclusion(one.term, other.term)
    if why is None:
        return
    first, second = sorted((one, other), key=lambda b: (b.node.id, b.term.id))
    names = [f"{shown(b.node.id)} ({shown(b.term.id)})" for b in (first, second)]
    message = f"no license fits both {' and '.join(names)}: {why}; paths: {route(first.node)} and {route(second.node)}"
    firm = one.firm and other.firm
    if not firm:
        message += f"; {next(b for b in (one, other) if not b.firm).node.rests_on.value}"
    untested = [shown(nearest_base(b.node)) for b in (first, second) if not b.firm]
    yield Outcome(
        Status.FAIL if firm else Status.UNDECIDED,
        f"{exact(first.node.id)}: {exact(first.term.id)}, {exact(second.node.id)}: {exact(second.term.id)}",
        message,
        "leave one of the two out of the merge"
        if firm
        else f"give the weights of {' and '.join(untested)} with --base, so that the way to the license can be tested",
        (*_evidence(first), *_evidence(second)),
        claim_of(first.node, subject) or claim_of(second.node, subject),
    )


def _outcome(bound: Bound, subject: Subject, message: str, remedy: str, *, known: bool = True) -> Outcome:
    node = bound.node
    message += f"; path: {route(node)}"
    if not bound.firm:
        message += f"; {node.rests_on.value}"
        base = shown(nearest_base(node))
        remedy = f"give the weights of {base} with --base, so that the way to this license can be tested"
    status = Status.FAIL if bound.firm and known else Status.UNDECIDED
    key = f"{exact(node.id)}: {exact(bound.term.id)}"
    return Outcome(status, key, message, remedy, _evidence(bound), _place(subject) or claim_of(node, subject))


def _evidence(bound: Bound) -> tuple[tuple[str, str], ...]:
    return (
        ("ancestor", exact(bound.node.id)),
        ("license", _with_confidence(bound.term)),
        ("path", route(bound.node)),
        ("source", shown(bound.node.license_source)),
    )


def _with_confidence(term: LicenseTerm) -> str:
    """How sure the terms of a license are belongs to whatever is concluded from them."""
    return f"{exact(term.id)} ({'terms ' + term.confidence if term.confidence else 'terms not known'})"


def _place(subject: Subject) -> ClaimSource | None:
    licenses = subject.artifact.claims.licenses
    return licenses[0].source if licenses else None


def _unknown(
    bound: Sequence[Bound], own: Sequence[LicenseTerm], subject: Subject, status: Status, told: set[str]
) -> Iterator[Outcome]:
    for node in ancestors_of(subject):
        if not node.licenses:
            message = f"the license of {shown(node.id)} is not known (path: {route(node)})"
            remedy = f"add {shown(node.id)} to a registry, or give its folder with a model card as --base"
            yield Outcome(status, f"{exact(node.id)}: unknown license", message, remedy, (), claim_of(node, subject))
    for b in bound:
        key = f"{exact(b.node.id)}: {exact(b.term.id)}"
        if key not in told and not is_known(own, b.term):
            message = (
                f"{shown(b.node.id)} is under {shown(b.term.id)}, and what that lets others publish of it is not known"
                f"; path: {route(b.node)}"
            )
            remedy = f"read {shown(b.term.url)}" if b.term.url else "read the license"
            remedy += ", then add a waiver with reason, approver and expiry, or its terms to licenses.json"
            yield Outcome(status, key, message, remedy, _evidence(b), claim_of(b.node, subject))
