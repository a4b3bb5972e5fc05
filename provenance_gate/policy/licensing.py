"""How rules weigh licenses against each other: which terms bind an artifact, and what they ask of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from provenance_gate.lineage.interface import (
    COMMERCIAL_USE_OF,
    Ancestor,
    ConditionKind,
    Declared,
    Derivatives,
    Detected,
    LicenseTerm,
    Relation,
    Standing,
)
from provenance_gate.policy.ancestors import is_shown
from provenance_gate.policy.interface import Subject
from provenance_gate.policy.wording import same_id

_UNCHANGED = frozenset({Relation.IDENTICAL, Relation.REFORMATTED})
RESEARCH_ONLY = "research-only"


@dataclass(frozen=True, slots=True)
class Bound:
    """A license of an ancestor that binds the artifact. `firm`: the way to it is shown, or stated by an adapter."""

    node: Ancestor
    term: LicenseTerm
    firm: bool


def own_terms(subject: Subject) -> tuple[LicenseTerm, ...]:
    """The licenses that the artifact states of itself."""
    return next((n.licenses for n in subject.ancestry if n.standing is Standing.SELF), ())


def ancestors_of(subject: Subject) -> list[Ancestor]:
    """Ancestors whose terms reach the artifact: all but those whose own publisher put a model in between."""
    by_id = {n.id: n for n in subject.ancestry if n.standing is not Standing.SELF}
    return [n for n in by_id.values() if not _relicensed(n, by_id)]


def bound_terms(subject: Subject) -> list[Bound]:
    """Every license of every ancestor whose terms reach the artifact, in the order of the ancestry."""
    by_id = {n.id: n for n in subject.ancestry if n.standing is not Standing.SELF}
    return [Bound(n, term, _is_firm(n, by_id, subject)) for n in ancestors_of(subject) for term in n.licenses]


def _relicensed(node: Ancestor, by_id: Mapping[str, Ancestor], above: frozenset[str] = frozenset()) -> bool:
    """Whether the publisher of `node` itself released each model through which `node` is inherited, under terms we know.

    Who holds the rights may release a successor under other terms: Llama 3.3 is no longer under those of Llama 3.1. Only
    catalog records say who published a model; the artifact's own word would let it free itself.
    """
    if any(e.child is None and isinstance(e.evidence, Declared) for e in node.edges):
        return False
    below = [e.child for e in node.edges if e.child is not None] or list(node.path[1:-1][-1:])
    children = [by_id[child] for child in below if child in by_id]
    seen = above | {node.id}
    return bool(children) and all(_frees(child, node, by_id, seen) for child in children)


def _frees(child: Ancestor, node: Ancestor, by_id: Mapping[str, Ancestor], seen: frozenset[str]) -> bool:
    if not _is_same_publisher(child, node) or (is_shown(node) and not is_shown(child)):
        # A successor that is only claimed must not free from what the weights show.
        return False
    if child.licenses and child.license_source == "catalog":
        return True
    # Steps in between (SFT, DPO) often have no record; then the release at their end speaks for all of them.
    return not child.licenses and child.id not in seen and _relicensed(child, by_id, seen)


def _is_same_publisher(child: Ancestor, node: Ancestor) -> bool:
    if child.publisher is not None and node.publisher is not None:
        return child.publisher == node.publisher
    if node.publisher is not None:
        return False
    # A step that a record names but nobody describes: the organization in its hub id is all that says whose it is.
    owner = node.id.rpartition("/")[0]
    return bool(owner) and same_id(owner, child.id.rpartition("/")[0])


def _is_firm(node: Ancestor, by_id: Mapping[str, Ancestor], subject: Subject) -> bool:
    """Whether weights and catalog lead to `node`; for an adapter its own statement and the catalog.

    An adapter holds no weights of its base and is of no use without it, so what it says about its base counts against it.
    """
    if is_shown(node):
        return True
    base = node.path[1] if len(node.path) > 1 else node.id
    if any(step in by_id and by_id[step].standing is not Standing.CATALOG for step in node.path[2:]):
        return False
    stated = [c for c in subject.artifact.claims.bases if same_id(c.id, base)]
    relations = [c.relation for c in stated]
    if base in by_id:
        # A claim may name the base by an alias; its edge leads to the node all the same.
        edges = (e.evidence for e in by_id[base].edges if e.child is None)
        relations += [said.relation for said in edges if isinstance(said, Declared)]
    return "adapter" in relations or (bool(relations) and _is_adapter(subject))


def _is_adapter(subject: Subject) -> bool:
    return any(str(f.path) == "adapter_config.json" for f in subject.artifact.files)


def names_of(term: LicenseTerm) -> frozenset[str]:
    """The spellings by which two mentions of one license are known as one."""
    return frozenset(name.casefold() for name in (term.id, term.spdx) if name)


def accepted(term: LicenseTerm) -> frozenset[str]:
    """The spellings of all licenses that satisfy `same-terms`."""
    return names_of(term) | {name.casefold() for name in term.also_under}


def commercial_use(term: LicenseTerm) -> str | None:
    """yes, no, conditional, or None when not known."""
    return term.commercial_use or COMMERCIAL_USE_OF.get(term.category)


def asks(term: LicenseTerm, kind: ConditionKind) -> bool:
    """Whether the terms hold a condition of this kind, as far as they are known."""
    return any(c.kind is kind for c in term.conditions)


def is_unchanged(node: Ancestor) -> bool:
    """Whether the weights say that the artifact is this very model, at most in another format."""
    return any(
        e.child is None and isinstance(e.evidence, Detected) and e.evidence.relation in _UNCHANGED for e in node.edges
    )


def restricts_use(term: LicenseTerm) -> bool:
    """Whether a model under `term` comes with restrictions of use; whether they are the same ones is not looked at."""
    return asks(term, ConditionKind.USE_RESTRICTIONS) or term.category == "open-with-use-restrictions"


def objection(own: LicenseTerm, term: LicenseTerm) -> str | None:
    """Why a model under `own` grants more than `term`, an ancestor's license, allows; None when it does not.

    Raises
    ------
    UnknownTermsError
        It asks for something, and what `own` grants is not known.
    """
    if names_of(own) & accepted(term):
        return None
    if term.derivatives is Derivatives.SAME_TERMS:
        reason = f"what derives from it must stay under {term.id}"
    elif term.category == RESEARCH_ONLY and own.category != RESEARCH_ONLY:
        reason = "which allows research only"
    elif commercial_use(term) == "no" and commercial_use(own) != "no":
        reason = "which forbids commercial use"
    elif asks(term, ConditionKind.USE_RESTRICTIONS) and not restricts_use(own):
        reason = "whose restrictions of use must be repeated in the terms of what derives from it"
    else:
        return None
    if commercial_use(own) is None:
        raise UnknownTermsError(reason)
    return reason


class UnknownTermsError(Exception):
    """What a license grants is not known; caught by the rule that asked."""


def demands_license(term: LicenseTerm) -> str | None:
    """Why what derives from a model under `term` must state a license; None when the terms do not say so."""
    if term.derivatives is Derivatives.SAME_TERMS:
        return f"what derives from it must stay under {term.id}"
    if asks(term, ConditionKind.USE_RESTRICTIONS):
        return "its restrictions of use must be part of the terms of what derives from it"
    return None


def exclusion(one: LicenseTerm, other: LicenseTerm) -> str | None:
    """Why no license satisfies both terms; None when that is not seen."""
    if names_of(one) & accepted(other) or names_of(other) & accepted(one):
        return None
    if one.derivatives is other.derivatives is Derivatives.SAME_TERMS:
        return None if accepted(one) & accepted(other) else "each demands that what derives from it stays under itself"
    return _excluded_by(one, other) or _excluded_by(other, one)


def _excluded_by(fixed: LicenseTerm, other: LicenseTerm) -> str | None:
    """`fixed` demands its own terms, which are wider than `other` allows."""
    if fixed.derivatives is not Derivatives.SAME_TERMS:
        return None
    if other.category == RESEARCH_ONLY and fixed.category != RESEARCH_ONLY:
        return f"{fixed.id} demands its own terms, which allow more than research; {other.id} allows research only"
    if commercial_use(other) == "no" and commercial_use(fixed) != "no":
        return f"{fixed.id} demands its own terms, which allow commercial use; {other.id} forbids it"
    if asks(fixed, ConditionKind.NO_FURTHER_RESTRICTIONS) and asks(other, ConditionKind.USE_RESTRICTIONS):
        return f"{fixed.id} forbids further restrictions; those of {other.id} must be passed on"
    return None


def is_known(own: Iterable[LicenseTerm], term: LicenseTerm) -> bool:
    """Whether it is known what derivatives may be published under: by the terms, or because the artifact keeps the license."""
    if term.derivatives is not None or term.category == "permissive":
        return True
    return any(names_of(o) & names_of(term) for o in own)


def on_one_branch(one: Ancestor, other: Ancestor) -> bool:
    """Whether one model descends from the other, on the ways that were found."""
    return one.id in other.path[1:] or other.id in one.path[1:]


def pairs_apart(bound: Sequence[Bound]) -> list[tuple[Bound, Bound]]:
    """For every two licenses, one pair of ancestors under them on different branches: firm ones before others."""
    by_license: dict[frozenset[str], list[Bound]] = {}
    for b in sorted(bound, key=lambda b: not b.firm):
        by_license.setdefault(names_of(b.term), []).append(b)
    groups = list(by_license.values())
    found = []
    for i, first in enumerate(groups):
        for second in groups[i + 1 :]:
            # Nodes of one branch are few, so the first pairs of longer lists already lie apart.
            apart = next(((a, b) for a in first for b in second if not on_one_branch(a.node, b.node)), None)
            if apart is not None:
                found.append(apart)
    return found
