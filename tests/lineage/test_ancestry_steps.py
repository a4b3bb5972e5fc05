"""Steps, aliases and names in the lineage graph."""

from __future__ import annotations

from provenance_gate.artifact.interface import Claims
from provenance_gate.lineage.interface import Relation, Standing
from tests.lineage.test_ancestry import Facts, by_id, claim, lineage, walk


def test_published_steps_are_nodes_in_order() -> None:
    chat = Facts("chat", ("base",), via=("dpo", "sft"))
    nodes = by_id(walk(chat, Facts("base"), lineages=(lineage("chat", Relation.DERIVED),)))
    assert nodes["sft"].path == ("artifact", "chat", "dpo", "sft")
    assert nodes["base"].path == ("artifact", "chat", "dpo", "sft", "base")
    assert nodes["base"].rests_on is Standing.SHOWN


def test_a_base_claimed_by_its_alias_is_one_declared_node() -> None:
    facts = Facts("org/new", aliases=("org/old",))
    declared = Claims(bases=(claim("org/old"),))
    nodes = walk(facts, claims=declared, lineages=(lineage("org/new", Relation.DERIVED),))
    assert [(n.id, n.standing, n.declared) for n in nodes[1:]] == [("org/new", Standing.SHOWN, True)]


def test_an_alias_of_a_contradicted_base_is_no_ancestor() -> None:
    facts = Facts("org/new", aliases=("org/old",))
    declared = Claims(bases=(claim("org/old"),))
    assert len(walk(facts, claims=declared, lineages=(lineage("org/new", Relation.INDEPENDENT),))) == 1


def test_a_base_called_like_the_artifact_is_still_an_ancestor() -> None:
    nodes = walk(lineages=(lineage("model", Relation.DERIVED),), name="model")
    assert [(n.id, n.standing) for n in nodes] == [("model", Standing.SELF), ("model", Standing.SHOWN)]


def test_a_wide_graph_is_walked_in_no_more_than_linear_time() -> None:
    layers = [[f"{depth}/{i}" for i in range(30)] for depth in range(15)]
    facts = [
        Facts(name, tuple(layers[depth + 1]) if depth < 14 else ()) for depth, row in enumerate(layers) for name in row
    ]
    nodes = walk(*facts, lineages=(lineage("0/0", Relation.DERIVED),))
    assert len(nodes) == 2 + 14 * 30
