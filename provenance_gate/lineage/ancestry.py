"""The artifact, its bases, and their own ancestors, as one list of nodes with the path that leads to each.

A base counts when the weights show it, or when it is declared and the weights do not contradict it; what the weights
contradict is no ancestor (another rule reports the false claim). Ancestors of a base come from what is known about it.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

from provenance_gate.artifact.interface import Claims
from provenance_gate.lineage.graph import (
    MAX_GENERATIONS,
    Graph,
    LicenseLookup,
    ModelFacts,
    Node,
    Sources,
    lineage_graph,
)
from provenance_gate.lineage.interface import Ancestor, Cataloged, Declared, Edge, Lineage, Standing

__all__ = ["MAX_GENERATIONS", "LicenseLookup", "ModelFacts", "Sources", "ancestors_in", "ancestry"]

_STRENGTH = {Standing.SHOWN: 0, Standing.UNDECIDED: 1, Standing.DECLARED: 2}


def ancestry(name: str, claims: Claims, lineages: Sequence[Lineage], sources: Sources) -> tuple[Ancestor, ...]:
    """All nodes, the artifact itself first, then by path; each id once, under its strongest standing."""
    own = tuple(sources.license_term(c.id, c.name) for c in claims.licenses)
    where = f"{claims.licenses[0].source.path}:{claims.licenses[0].source.line}" if claims.licenses else ""
    itself = Ancestor(name, Standing.SELF, Standing.SELF, False, (name,), own, None, None, where)
    return (itself, *ancestors_in(lineage_graph(claims, lineages, sources), name))


@dataclass(order=True, slots=True)
class _Way:
    """A way to a model. The strongest comes first, then the shortest, then the one that was found first."""

    strength: int
    length: int
    found: int
    key: str = field(compare=False)
    standing: Standing = field(compare=False)
    rests_on: Standing = field(compare=False)
    path: tuple[str, ...] = field(compare=False)


def ancestors_in(graph: Graph, name: str) -> tuple[Ancestor, ...]:
    """The ancestors of the artifact called `name`, by path."""
    ways: list[_Way] = []
    found = 0
    for key, standing in graph.bases.items():
        found += 1
        path = (name, graph.nodes[key].id)
        heapq.heappush(ways, _Way(_STRENGTH[standing], 2, found, key, standing, standing, path))
    upward = _by_child(graph)
    best: dict[str, _Way] = {}
    while ways:
        way = heapq.heappop(ways)
        if way.key in best:
            # No step strengthens a way or shortens it, so the first to arrive is the best.
            continue
        best[way.key] = way
        if way.length > MAX_GENERATIONS:
            continue
        for edge in upward.get(graph.nodes[way.key].id, ()):
            above = edge.parent.casefold()
            if above not in best:
                found += 1
                heapq.heappush(ways, _step(way, edge, above, found))
    leading: dict[str, list[Edge]] = {}
    for edge in graph.edges:
        if edge.child is None or edge.child.casefold() in best:
            leading.setdefault(edge.parent, []).append(edge)
    nodes = (_ancestor(way, graph.nodes[way.key], leading[graph.nodes[way.key].id]) for way in best.values())
    return tuple(sorted(nodes, key=lambda n: (n.path, n.id)))


def _step(way: _Way, edge: Edge, above: str, found: int) -> _Way:
    rests_on, standing = way.rests_on, Standing.CATALOG
    if isinstance(edge.evidence, Declared):
        # What a card says stays a claim, however well the model under that card is shown.
        standing = Standing.DECLARED
        rests_on = Standing.DECLARED if rests_on is Standing.SHOWN else rests_on
    return _Way(_STRENGTH[rests_on], way.length + 1, found, above, standing, rests_on, (*way.path, edge.parent))


def _by_child(graph: Graph) -> dict[str, list[Edge]]:
    """Edges between models by child, records before claims."""
    found: dict[str, list[Edge]] = {}
    for edge in graph.edges:
        if edge.child is not None and isinstance(edge.evidence, Cataloged | Declared):
            found.setdefault(edge.child, []).append(edge)
    return found


def _ancestor(way: _Way, node: Node, leading: Sequence[Edge]) -> Ancestor:
    last = way.path[-2] if len(way.path) > 2 else None
    return Ancestor(
        id=node.id,
        standing=way.standing,
        rests_on=way.rests_on,
        declared=any(e.child is None and isinstance(e.evidence, Declared) for e in leading),
        path=way.path,
        licenses=node.licenses,
        publisher=node.publisher,
        family=node.family,
        license_source=node.license_source,
        edges=tuple(sorted(leading, key=lambda e: e.child != last)),
    )
