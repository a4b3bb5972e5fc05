"""The lineage graph: every statement that one model comes from another, each with what it rests on.

Three kinds of statement meet here: claims (the artifact's own and those of a base's card), records of the catalog, and
comparisons of weights. A claim that the weights contradict stays in the graph, beside the comparison that contradicts it, and
leads no further; who is an ancestor is for `ancestry` to say.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from provenance_gate.artifact.interface import Claims
from provenance_gate.lineage.interface import (
    Cataloged,
    Declared,
    Detected,
    Edge,
    LicenseTerm,
    Lineage,
    Relation,
    Standing,
)

MAX_GENERATIONS: Final = 16

LicenseLookup = Callable[[str, str | None], LicenseTerm]
"""(id, name) to term."""

_SHOWN = frozenset({Relation.IDENTICAL, Relation.REFORMATTED, Relation.DERIVED})
_STRENGTH = {Standing.SHOWN: 0, Standing.UNDECIDED: 1, Standing.DECLARED: 2}


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

    @property
    def facts(self) -> Mapping[str, Any]:
        """The record as stored; `base_model.relation` and `base_confidence` are read from it."""
        ...


@dataclass(frozen=True, slots=True)
class Sources:
    """Where facts about bases come from: the catalog, the license book, and the bases' own cards where they are at hand."""

    facts: Callable[[str], ModelFacts | None]
    license_term: LicenseLookup
    base_claims: Mapping[str, Claims]

    def key(self, model_id: str) -> str:
        """What two spellings of one model, aliases and upper case included, have in common."""
        facts = self.facts(model_id)
        return (facts.id if facts else model_id).casefold()

    def card(self, model_id: str) -> Claims:
        """The claims of a base's own card; empty where it is not at hand."""
        wanted = model_id.casefold()
        return next((c for known, c in self.base_claims.items() if known.casefold() == wanted), Claims())


@dataclass(frozen=True, slots=True)
class Node:
    """One model of the graph. `licenses` is empty when no source knows one."""

    id: str
    licenses: tuple[LicenseTerm, ...]
    license_source: str
    publisher: str | None
    family: str | None


@dataclass(frozen=True, slots=True)
class Graph:
    """All that was said of the artifact's origin.

    Attributes
    ----------
    nodes
        Models by key (see `Sources.key`), in the order in which they were reached; the artifact itself is none of them.
    edges
        In the order in which they were found, each once. Ids are those of `nodes`.
    bases
        The standing of each direct base that the weights do not contradict, by key.
    """

    nodes: Mapping[str, Node]
    edges: tuple[Edge, ...]
    bases: Mapping[str, Standing]


def lineage_graph(claims: Claims, lineages: Sequence[Lineage], sources: Sources) -> Graph:
    """Join claims, comparisons and records, at most `MAX_GENERATIONS` steps up from the artifact."""
    edges: dict[Edge, None] = {}
    standings: dict[str, Standing] = {}
    named: dict[str, str] = {}
    tested: set[str] = set()
    for lineage in (x for x in lineages if x.kin_of is None):
        standing = standing_of(lineage)
        # An undeclared candidate that the weights do not speak about is one more model in the world, not an ancestor.
        if standing is None and not lineage.claims:
            tested.add(sources.key(lineage.base.id))
            continue
        for key, name in {sources.key(i): i for i in (*(c.id for c in lineage.claims), lineage.base.id)}.items():
            tested.add(key)
            named.setdefault(key, name)
            figures = Detected(lineage.relation, lineage.score, lineage.p_value)
            edges[Edge(None, _shown_id(name, sources), figures)] = None
            if standing is not None and _STRENGTH[standing] <= _STRENGTH.get(standings.get(key, standing), 0):
                standings[key] = standing
    for claim in claims.bases:
        key = sources.key(claim.id)
        named.setdefault(key, claim.id)
        edges[Edge(None, _shown_id(claim.id, sources), Declared(claim.source, claim.relation))] = None
        if key not in tested:
            standings[key] = Standing.DECLARED
    nodes = {key: _node(name, sources) for key, name in named.items()}
    _climb([key for key in named if key in standings], nodes, edges, sources)
    return Graph(nodes, _spelled_alike(edges, nodes), standings)


def standing_of(lineage: Lineage) -> Standing | None:
    """What the weights say about a direct base; None when they contradict it."""
    if lineage.relation in _SHOWN:
        return Standing.SHOWN
    if lineage.relation is Relation.PARTIAL:
        inherited = any(c.relation is Relation.DERIVED for c in lineage.components.values())
        return Standing.SHOWN if inherited or lineage.layers else Standing.UNDECIDED
    return None if lineage.relation is Relation.INDEPENDENT else Standing.UNDECIDED


def _climb(bases: Sequence[str], nodes: dict[str, Node], edges: dict[Edge, None], sources: Sources) -> None:
    """Add what records and cards say of the bases, of their parents, and so on, breadth first."""
    waiting = deque((key, 1) for key in bases)
    reached = set(bases)
    while waiting:
        key, depth = waiting.popleft()
        if depth >= MAX_GENERATIONS:
            continue
        for edge in _steps_up(nodes[key].id, sources):
            above = sources.key(edge.parent)
            nodes.setdefault(above, _node(edge.parent, sources))
            edges[edge] = None
            if above not in reached:
                reached.add(above)
                waiting.append((above, depth + 1))


def _steps_up(model_id: str, sources: Sources) -> Iterator[Edge]:
    """What is said of a model's own origin: by its record, or by its card where there is no record."""
    facts = sources.facts(model_id)
    if facts is None:
        for claim in sources.card(model_id).bases:
            yield Edge(model_id, _shown_id(claim.id, sources), Declared(claim.source, claim.relation))
        return
    stored = facts.facts.get("base_model")
    relation = stored.get("relation") if isinstance(stored, Mapping) and not facts.via else None
    confidence = facts.facts.get("base_confidence")
    said = Cataloged(facts.id, _text(relation), _text(confidence))
    below = facts.id
    for step in facts.via:
        yield Edge(below, above := _shown_id(step, sources), said)
        below = above
    for parent in facts.parents:
        yield Edge(below, _shown_id(parent, sources), said)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _shown_id(model_id: str, sources: Sources) -> str:
    facts = sources.facts(model_id)
    return facts.id if facts else model_id


def _spelled_alike(edges: Mapping[Edge, None], nodes: Mapping[str, Node]) -> tuple[Edge, ...]:
    """The edges, with ids spelled as the nodes have them: cards do not agree on upper and lower case."""

    def spelled(model_id: str) -> str:
        node = nodes.get(model_id.casefold())
        return node.id if node else model_id

    joined = (replace(e, child=None if e.child is None else spelled(e.child), parent=spelled(e.parent)) for e in edges)
    return tuple(dict.fromkeys(joined))


def _node(model_id: str, sources: Sources) -> Node:
    facts = sources.facts(model_id)
    publisher, family = (facts.publisher, facts.family) if facts else (None, None)
    if facts and facts.licenses:
        licenses, where = tuple(_completed(t, sources) for t in facts.licenses), "catalog"
    else:
        claimed = sources.card(model_id).licenses
        licenses = tuple(sources.license_term(c.id, c.name) for c in claimed)
        where = "its own model card" if claimed else ""
    return Node(facts.id if facts else model_id, licenses, where, publisher, family)


def _completed(term: LicenseTerm, sources: Sources) -> LicenseTerm:
    """A license as a record names it, with the terms that the license book has for it."""
    if term.confidence is not None:
        return term
    for name in (term.spdx, term.id):
        known = sources.license_term(name, None) if name else None
        if known is not None and known.commercial_use is not None:
            return replace(
                term,
                commercial_use=known.commercial_use,
                derivatives=known.derivatives,
                also_under=known.also_under,
                conditions=known.conditions,
                confidence=known.confidence,
            )
    return term
