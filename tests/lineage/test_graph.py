"""Statements of the lineage graph, each with what it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from provenance_gate.artifact.interface import Claims
from provenance_gate.lineage.ancestry import Sources, ancestors_in
from provenance_gate.lineage.graph import MAX_GENERATIONS, Graph, lineage_graph
from provenance_gate.lineage.interface import (
    Cataloged,
    Declared,
    Derivatives,
    Detected,
    Edge,
    LicenseTerm,
    Lineage,
    Relation,
    Standing,
)
from tests.lineage.test_ancestry import Facts, by_id, claim, license_claim, lineage, term, walk


def graph(
    *facts: Facts,
    claims: Claims | None = None,
    lineages: tuple[Lineage, ...] = (),
    cards: Mapping[str, Claims] | None = None,
) -> Graph:
    known = {spelling.casefold(): fact for fact in facts for spelling in (fact.id, *fact.aliases)}
    sources = Sources(lambda model_id: known.get(model_id.casefold()), term, cards or {})
    return lineage_graph(claims or Claims(), lineages, sources)


def steps(of: Graph) -> list[tuple[str | None, str, str]]:
    return [(e.child, e.parent, e.kind) for e in of.edges]


CHAIN = (
    Facts("a", ("b",), facts={"base_model": {"relation": "quantized"}, "base_confidence": "verified"}),
    Facts("b", ("root",), facts={"base_model": {"relation": "finetune"}, "base_confidence": "recalled"}),
    Facts("root"),
)


def test_each_statement_stands_beside_what_it_rests_on() -> None:
    said = claim("a")
    tested = replace(lineage("a", Relation.DERIVED, said), score=0.9, p_value=1e-9)
    found = graph(*CHAIN, claims=Claims(bases=(said,)), lineages=(tested,))
    assert found.edges == (
        Edge(None, "a", Detected(Relation.DERIVED, 0.9, 1e-9)),
        Edge(None, "a", Declared(said.source, "finetune")),
        Edge("a", "b", Cataloged("a", "quantized", "verified")),
        Edge("b", "root", Cataloged("b", "finetune", "recalled")),
    )
    assert found.bases == {"a": Standing.SHOWN}


def test_a_contradicted_claim_stays_beside_its_test_and_leads_no_further() -> None:
    said = claim("a")
    found = graph(*CHAIN, claims=Claims(bases=(said,)), lineages=(lineage("a", Relation.INDEPENDENT, said),))
    assert steps(found) == [(None, "a", "detected"), (None, "a", "declared")]
    assert found.bases == {}
    assert ancestors_in(found, "artifact") == ()


def test_an_independent_candidate_that_nobody_declared_is_not_in_the_graph() -> None:
    found = graph(*CHAIN, lineages=(lineage("a", Relation.INDEPENDENT),))
    assert (found.edges, dict(found.nodes)) == ((), {})


def test_a_relative_beyond_a_declared_base_is_no_base_of_its_own() -> None:
    kin = replace(lineage("b", Relation.DERIVED), kin_of="a")
    found = graph(*CHAIN, lineages=(lineage("a", Relation.DERIVED), kin))
    assert found.bases == {"a": Standing.SHOWN}


def test_published_steps_lie_between_a_model_and_its_parent() -> None:
    chat = Facts("chat", ("base",), via=("dpo", "sft"), facts={"base_model": {"relation": "finetune"}})
    found = graph(chat, Facts("base"), lineages=(lineage("chat", Relation.DERIVED),))
    assert steps(found)[1:] == [
        ("chat", "dpo", "cataloged"),
        ("dpo", "sft", "cataloged"),
        ("sft", "base", "cataloged"),
    ]
    # The record speaks of the model and its base, not of the steps between them.
    assert {e.evidence.relation for e in found.edges if isinstance(e.evidence, Cataloged)} == {None}


def test_what_the_card_of_an_unknown_base_says_is_a_claim_with_its_line() -> None:
    cards = {"Org/A": Claims(bases=(claim("org/root"),))}
    found = graph(lineages=(lineage("org/a", Relation.DERIVED),), cards=cards)
    assert found.edges[1] == Edge("org/a", "org/root", Declared(claim("x").source, "finetune"))
    (a, root) = ancestors_in(found, "artifact")
    assert (a.rests_on, root.rests_on, root.standing) == (Standing.SHOWN, Standing.DECLARED, Standing.DECLARED)


def test_the_edges_of_one_model_spell_it_alike() -> None:
    found = graph(claims=Claims(bases=(claim("Org/Name"),)), lineages=(lineage("org/name", Relation.DERIVED),))
    assert {e.parent for e in found.edges} == {"org/name"}
    (node,) = ancestors_in(found, "artifact")
    assert [e.kind for e in node.edges] == ["detected", "declared"]


def test_an_ancestor_holds_every_statement_that_leads_to_it_its_own_path_first() -> None:
    facts = (Facts("a", ("root",)), Facts("b", ("x",)), Facts("x", ("root",)), Facts("root"))
    lineages = (lineage("a", Relation.UNDECIDED), lineage("b", Relation.DERIVED))
    root = by_id(walk(*facts, lineages=lineages))["root"]
    assert root.path[-2] == "x"
    assert [e.child for e in root.edges] == ["x", "a"]


def test_a_cycle_of_cards_ends() -> None:
    cards = {"a": Claims(bases=(claim("b"),)), "b": Claims(bases=(claim("a"),))}
    found = graph(lineages=(lineage("a", Relation.DERIVED),), cards=cards)
    assert steps(found)[1:] == [("a", "b", "declared"), ("b", "a", "declared")]
    assert [n.id for n in ancestors_in(found, "artifact")] == ["a", "b"]


def test_the_graph_ends_at_the_depth_limit() -> None:
    chain = [Facts(f"m{i}", (f"m{i + 1}",)) for i in range(100)]
    found = graph(*chain, lineages=(lineage("m0", Relation.DERIVED),))
    assert len(found.nodes) == MAX_GENERATIONS


def test_no_path_is_longer_than_the_depth_limit_though_a_weaker_way_is_short() -> None:
    chain = [Facts(f"m{i}", (f"m{i + 1}",)) for i in range(40)]
    lineages = (lineage("m0", Relation.DERIVED), lineage("m12", Relation.UNDECIDED))
    found = ancestors_in(graph(*chain, lineages=lineages), "artifact")
    assert max(len(node.path) for node in found) == MAX_GENERATIONS + 1


def test_a_record_names_a_license_and_the_book_knows_its_terms() -> None:
    book = LicenseTerm("x", "X-1.0", None, "copyleft", None, "yes", Derivatives.SAME_TERMS, ("X-2.0",), (), "verified")
    named = LicenseTerm("x-tag", "X-1.0", None, "copyleft", "https://example.org")
    known = {"a": Facts("a", licenses=(named,))}
    terms = {"X-1.0": book}
    sources = Sources(known.get, lambda i, name: terms.get(i, LicenseTerm(i, None, name, "unknown")), {})
    (node,) = lineage_graph(Claims(), (lineage("a", Relation.DERIVED),), sources).nodes.values()
    (license_term,) = node.licenses
    assert (license_term.id, license_term.url) == ("x-tag", "https://example.org")
    assert (license_term.derivatives, license_term.also_under) == (Derivatives.SAME_TERMS, ("X-2.0",))


def test_a_record_without_readable_facts_has_edges_without_words() -> None:
    odd = Facts("a", ("b",), facts={"base_model": {"relation": 3}, "base_confidence": ["x"]})
    found = graph(odd, lineages=(lineage("a", Relation.DERIVED),))
    assert found.edges[1].evidence == Cataloged("a", None, None)


def test_nodes_of_cards_carry_the_licenses_of_their_cards() -> None:
    cards = {"a": Claims(licenses=(license_claim("acme-1.0"),))}
    node = graph(lineages=(lineage("a", Relation.DERIVED),), cards=cards).nodes["a"]
    assert ([t.id for t in node.licenses], node.license_source) == (["acme-1.0"], "its own model card")
