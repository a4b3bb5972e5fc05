"""The lineage graph in reports: as JSON values, and as a tree for people.

Both are drawn from the ancestors and the statements that lead to them. A declared base that the weights contradict is no
ancestor; it is shown beside them as what it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.lineage.interface import (
    Ancestor,
    Cataloged,
    Declared,
    Detected,
    Edge,
    LicenseTerm,
    Lineage,
    Relation,
    Standing,
)
from provenance_gate.report.values import P_VALUE_DIGITS, measured, source_to_json


def graph_to_json(ancestry: Sequence[Ancestor], lineages: Sequence[Lineage]) -> dict[str, Any]:
    """Nodes and edges. The child of an edge is null where it is the artifact: a base may be called the same."""
    refuted = _refuted(ancestry, lineages)
    nodes: list[dict[str, Any]] = [
        {
            "id": node.id,
            "role": _role(node),
            "standing": node.standing.value,
            "licenses": [term.id for term in node.licenses],
        }
        for node in ancestry
    ]
    nodes += [{"id": x.base.id, "role": "contradicted", "standing": None, "licenses": []} for x in refuted]
    edges = [*(e for node in ancestry for e in node.edges), *(e for x in refuted for e in _statements(x))]
    return {"nodes": nodes, "edges": [edge_to_json(e) for e in edges]}


def edge_to_json(edge: Edge) -> dict[str, Any]:
    """One statement with what it rests on."""
    return {"child": edge.child, "parent": edge.parent, "kind": edge.kind, "evidence": _evidence(edge)}


def license_to_json(term: LicenseTerm) -> dict[str, Any]:
    """A license, what it lets others do, and what it asks of them."""
    return {
        "id": term.id,
        "spdx": term.spdx,
        "name": term.name,
        "category": term.category,
        "url": term.url,
        "commercial_use": term.commercial_use,
        "derivatives": None if term.derivatives is None else term.derivatives.value,
        "terms_confidence": term.confidence,
        "conditions": [
            {
                "kind": c.kind.value,
                **({"texts": list(c.texts)} if c.texts else {}),
                **({"url": c.url} if c.url else {}),
                **({"limit": c.limit} if c.limit is not None else {}),
            }
            for c in term.conditions
        ],
    }


def render_tree(ancestry: Sequence[Ancestor], lineages: Sequence[Lineage] = ()) -> tuple[str, ...]:
    """The artifact, its bases and their ancestors as indented lines. Ids are as the artifact has them: clean each line."""
    artifact = next((n for n in ancestry if n.standing is Standing.SELF), None)
    if artifact is None:
        return ()
    below: dict[tuple[str, ...], list[Ancestor]] = {}
    for node in ancestry:
        if node is not artifact:
            below.setdefault(node.path[:-1], []).append(node)
    lines = [f"{artifact.id}: {_licenses(artifact)}"]
    refuted = [
        f"{x.base.id}: declared, and the weights contradict it ({_score(x.score)})"
        for x in _refuted(ancestry, lineages)
    ]
    lines += _branches(artifact.path, below, "", refuted)
    return tuple(lines)


def _branches(
    path: tuple[str, ...], below: dict[tuple[str, ...], list[Ancestor]], indent: str, more: Sequence[str] = ()
) -> Iterator[str]:
    # Paths are at most 17 models long, so this does not go deep.
    nodes = below.get(path, [])
    for position, node in enumerate(nodes, start=1):
        last = position == len(nodes) and not more
        yield f"{indent}{'└─ ' if last else '├─ '}{_described(node)}"
        yield from _branches(node.path, below, indent + ("   " if last else "│  "))
    for position, line in enumerate(more, start=1):
        yield f"{indent}{'└─ ' if position == len(more) else '├─ '}{line}"


def _described(node: Ancestor) -> str:
    last = node.path[-2] if len(node.path) > 2 else None
    words = list(dict.fromkeys(_words(e) for e in node.edges if e.child == last))
    others = sorted({e.child or "the artifact" for e in node.edges if e.child != last})
    words += [f"also a parent of {', '.join(others)}"] if others else []
    return f"{node.id}: {node.standing.value}, {_licenses(node)}" + (f" ({'; '.join(words)})" if words else "")


def _words(edge: Edge) -> str:
    match edge.evidence:
        case Declared(source, relation):
            return f"declared{f' as {relation}' if relation else ''} in {source.path}:{source.line}"
        case Cataloged(_, relation, confidence):
            return f"recorded{f' as {relation}' if relation else ''}{f', {confidence}' if confidence else ''}"
        case Detected(relation, score, _):
            return f"{relation.value}, {_score(score)}"


def _score(score: float | NotMeasured) -> str:
    return "score not measured" if isinstance(score, NotMeasured) else f"score {score:.3g}"


def _licenses(node: Ancestor) -> str:
    return ", ".join(term.id for term in node.licenses) or "license unknown"


def _role(node: Ancestor) -> str:
    if node.standing is Standing.SELF:
        return "artifact"
    return "base" if len(node.path) == 2 else "ancestor"


def _evidence(edge: Edge) -> dict[str, Any]:
    match edge.evidence:
        case Declared(source, relation):
            return {"source": source_to_json(source), "relation": relation}
        case Cataloged(record, relation, confidence):
            return {"record": record, "relation": relation, "confidence": confidence}
        case Detected(relation, score, p_value):
            return {
                "relation": relation.value,
                **measured("score", score),
                **measured("p_value", p_value, P_VALUE_DIGITS),
            }


def _refuted(ancestry: Sequence[Ancestor], lineages: Sequence[Lineage]) -> list[Lineage]:
    """Lineages of declared bases that the weights contradict, unless another way leads to the same model."""
    known = {n.id.casefold() for n in ancestry if n.standing is not Standing.SELF}
    return [
        x for x in lineages if x.claims and x.relation is Relation.INDEPENDENT and x.base.id.casefold() not in known
    ]


def _statements(lineage: Lineage) -> Iterator[Edge]:
    for claim in lineage.claims:
        yield Edge(None, lineage.base.id, Declared(claim.source, claim.relation))
    yield Edge(None, lineage.base.id, Detected(lineage.relation, lineage.score, lineage.p_value))
