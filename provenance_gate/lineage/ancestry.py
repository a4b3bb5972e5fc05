"""The artifact, its bases, and their own ancestors, as one list of nodes with the path that leads to each.

A base counts when the weights show it, or when it is declared and the weights do not contradict it; what the weights
contradict is no ancestor (another rule reports the false claim). Ancestors of a base come from what is known about it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from provenance_gate.artifact.interface import Claims
from provenance_gate.lineage.interface import Ancestor, LicenseTerm, Lineage, Relation, Standing

MAX_GENERATIONS = 16

_SHOWN = frozenset({Relation.IDENTICAL, Relation.REFORMATTED, Relation.DERIVED})
_STRENGTH = {Standing.SHOWN: 0, Standing.UNDECIDED: 1, Standing.DECLARED: 2}

LicenseLookup = Callable[[str, str | None], LicenseTerm]
"""(id, name) to term."""


class ModelFacts(Protocol):
    """What is known about a model from elsewhere than the artifact."""

    @property
    def id(self) -> str: ...
    @property
    def family(self) -> str | None: ...
    @property
    def publisher(self) -> str | None: ...
    @property
    def licenses(self) -> tuple[LicenseTerm, ...]: ...
    @property
    def parents(self) -> tuple[str, ...]: ...
    @property
    def via(self) -> tuple[str, ...]:
        """Published steps between this model and its first parent, the nearest to this model first."""
        ...


@dataclass(frozen=True, slots=True)
class Sources:
    """Where facts about bases come from: the catalog, the license book, and the bases' own cards where they are at hand."""

    facts: Callable[[str], ModelFacts | None]
    license_term: LicenseLookup
    base_claims: Mapping[str, Claims]


def ancestry(name: str, claims: Claims, lineages: Sequence[Lineage], sources: Sources) -> tuple[Ancestor, ...]:
    """All nodes, the artifact itself first, then by path; each id once, under its strongest standing."""
    own = tuple(sources.license_term(c.id, c.name) for c in claims.licenses)
    where = f"{claims.licenses[0].source.path}:{claims.licenses[0].source.line}" if claims.licenses else ""
    itself = Ancestor(name, Standing.SELF, Standing.SELF, False, (name,), own, None, None, where)
    nodes: dict[str, Ancestor] = {}
    for base_id, standing in _bases(claims, lineages, sources):
        _follow(base_id, standing, (name,), sources, nodes, standing)
    declared = {_key(c.id, sources) for c in claims.bases}
    found = (replace(n, declared=n.id.casefold() in declared) for n in nodes.values())
    return (itself, *sorted(found, key=lambda n: (n.path, n.id)))


def _key(model_id: str, sources: Sources) -> str:
    """What two spellings of one model, aliases and upper case included, have in common."""
    facts = sources.facts(model_id)
    return (facts.id if facts else model_id).casefold()


def _bases(claims: Claims, lineages: Sequence[Lineage], sources: Sources) -> list[tuple[str, Standing]]:
    """Direct bases with their standing: tested ones first, then those only declared."""
    bases: list[tuple[str, Standing]] = []
    tested: set[str] = set()
    for lineage in lineages:
        standing = _standing(lineage)
        names = {_key(i, sources): i for i in (*(c.id for c in lineage.claims), lineage.base.id)}
        tested |= set(names)
        # An undeclared candidate that the weights do not speak about is one more model in the world, not an ancestor.
        if standing is not None:
            bases += [(name, standing) for name in names.values()]
    bases += [(c.id, Standing.DECLARED) for c in claims.bases if _key(c.id, sources) not in tested]
    return bases


def _standing(lineage: Lineage) -> Standing | None:
    if lineage.relation in _SHOWN:
        return Standing.SHOWN
    if lineage.relation is Relation.PARTIAL:
        inherited = any(c.relation is Relation.DERIVED for c in lineage.components.values())
        return Standing.SHOWN if inherited or lineage.layers else Standing.UNDECIDED
    return None if lineage.relation is Relation.INDEPENDENT else Standing.UNDECIDED


def _follow(
    model_id: str,
    rests_on: Standing,
    path: tuple[str, ...],
    sources: Sources,
    nodes: dict[str, Ancestor],
    standing: Standing,
) -> None:
    facts = sources.facts(model_id)
    shown_id = facts.id if facts else model_id
    # The artifact's own name is whatever its folder is called: a base of that name is another model.
    if shown_id in path[1:] or len(path) > MAX_GENERATIONS:
        return
    here = (*path, shown_id)
    known = nodes.get(shown_id.casefold())
    if known is not None and _rank(known.rests_on, known.path) <= _rank(rests_on, here):
        # What hangs on it was followed from a better place; to go on would walk every path of the graph.
        return
    licenses, where = _licenses(model_id, facts, sources)
    publisher, family = (facts.publisher, facts.family) if facts else (None, None)
    nodes[shown_id.casefold()] = Ancestor(shown_id, standing, rests_on, False, here, licenses, publisher, family, where)
    if facts is not None:
        upward = here
        for step in facts.via:
            _follow(step, rests_on, upward, sources, nodes, Standing.CATALOG)
            upward = (*upward, step)
        for parent in facts.parents:
            _follow(parent, rests_on, upward, sources, nodes, Standing.CATALOG)
    if facts is None:
        # Not in the catalog: what its own card declares is followed, and stays a claim.
        claimed = next((c for k, c in sources.base_claims.items() if k.casefold() == model_id.casefold()), Claims())
        for claim in claimed.bases:
            _follow(
                claim.id,
                rests_on if rests_on is not Standing.SHOWN else Standing.DECLARED,
                here,
                sources,
                nodes,
                Standing.DECLARED,
            )


def _rank(rests_on: Standing, path: tuple[str, ...]) -> tuple[int, int]:
    return _STRENGTH.get(rests_on, 0), len(path)


def _licenses(model_id: str, facts: ModelFacts | None, sources: Sources) -> tuple[tuple[LicenseTerm, ...], str]:
    if facts and facts.licenses:
        return facts.licenses, "catalog"
    for known, claims in sources.base_claims.items():
        if known.casefold() == model_id.casefold() and claims.licenses:
            return tuple(sources.license_term(c.id, c.name) for c in claims.licenses), "its own model card"
    return (), ""
