"""The lineage graph, on small hand-made graphs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from provenance_gate.artifact.interface import BaseClaim, Claims, ClaimSource, LicenseClaim, NotMeasured
from provenance_gate.lineage.ancestry import MAX_GENERATIONS, Sources, ancestry
from provenance_gate.lineage.interface import (
    Ancestor,
    BaseRef,
    ComponentEvidence,
    LicenseTerm,
    Lineage,
    Relation,
    Standing,
)

NOT_TAKEN = NotMeasured("not taken in this test")
MIT = LicenseTerm("mit", "MIT", None, "permissive")
NON_COMMERCIAL = LicenseTerm("cc-by-nc-4.0", "CC-BY-NC-4.0", None, "non-commercial")


@dataclass(frozen=True)
class Facts:
    id: str
    parents: tuple[str, ...] = ()
    licenses: tuple[LicenseTerm, ...] = (MIT,)
    family: str | None = "family"
    publisher: str | None = "publisher"
    aliases: tuple[str, ...] = ()
    via: tuple[str, ...] = ()
    facts: Mapping[str, object] = field(default_factory=dict)


def claim(model_id: str) -> BaseClaim:
    return BaseClaim(model_id, "finetune", None, ClaimSource(PurePosixPath("README.md"), 3, "base_model"))


def license_claim(license_id: str) -> LicenseClaim:
    return LicenseClaim(license_id, None, None, ClaimSource(PurePosixPath("README.md"), 2, "license"))


def lineage(base: str, relation: Relation, *claims: BaseClaim) -> Lineage:
    return Lineage(
        base=BaseRef(base, "./base"),
        score=NOT_TAKEN,
        relation=relation,
        kinds=(),
        p_value=NOT_TAKEN,
        test="none",
        inheritance=NOT_TAKEN,
        components={},
        layers=(),
        signals={},
        identity_score=NOT_TAKEN,
        claims=claims,
        reason="",
        tier=2,
    )


def term(license_id: str, name: str | None) -> LicenseTerm:
    return LicenseTerm(license_id, None, name, "unknown")


def walk(
    *facts: Facts,
    claims: Claims | None = None,
    lineages: tuple[Lineage, ...] = (),
    cards: Mapping[str, Claims] | None = None,
    name: str = "artifact",
) -> tuple[Ancestor, ...]:
    known = {spelling.casefold(): fact for fact in facts for spelling in (fact.id, *fact.aliases)}
    sources = Sources(lambda model_id: known.get(model_id.casefold()), term, cards or {})
    return ancestry(name, claims or Claims(), lineages, sources)


def by_id(nodes: tuple[Ancestor, ...]) -> dict[str, Ancestor]:
    return {node.id: node for node in nodes}


def test_the_artifact_comes_first_under_its_own_license() -> None:
    (itself,) = walk(claims=Claims(licenses=(license_claim("acme-1.0"),)))
    assert (itself.standing, itself.rests_on) == (Standing.SELF, Standing.SELF)
    assert itself.path == ("artifact",)
    assert [t.id for t in itself.licenses] == ["acme-1.0"]
    assert itself.license_source == "README.md:2"


def test_parents_of_a_shown_base_come_from_the_catalog_up_to_the_root() -> None:
    graph = (Facts("a", ("b",)), Facts("b", ("root",)), Facts("root", licenses=(NON_COMMERCIAL,)))
    nodes = by_id(walk(*graph, lineages=(lineage("a", Relation.DERIVED),)))
    assert (nodes["a"].standing, nodes["a"].declared) == (Standing.SHOWN, False)
    assert (nodes["root"].standing, nodes["root"].rests_on) == (Standing.CATALOG, Standing.SHOWN)
    assert nodes["root"].path == ("artifact", "a", "b", "root")
    assert nodes["root"].licenses == (NON_COMMERCIAL,)
    assert (nodes["root"].family, nodes["root"].publisher) == ("family", "publisher")


def test_each_relation_has_its_standing() -> None:
    expected = {
        Relation.IDENTICAL: Standing.SHOWN,
        Relation.REFORMATTED: Standing.SHOWN,
        Relation.DERIVED: Standing.SHOWN,
        Relation.SHARED_INITIALIZATION: Standing.UNDECIDED,
        Relation.UNDECIDED: Standing.UNDECIDED,
    }
    for relation, standing in expected.items():
        base = by_id(walk(lineages=(lineage("a", relation),)))["a"]
        assert (base.standing, base.rests_on) == (standing, standing)


def test_what_hangs_on_an_undecided_base_stays_undecided() -> None:
    nodes = by_id(walk(Facts("a", ("b",)), lineages=(lineage("a", Relation.UNDECIDED),)))
    assert (nodes["b"].standing, nodes["b"].rests_on) == (Standing.CATALOG, Standing.UNDECIDED)


def test_a_declared_base_without_a_test_stays_a_claim() -> None:
    node = by_id(walk(claims=Claims(bases=(claim("a"),))))["a"]
    assert (node.standing, node.rests_on, node.declared) == (Standing.DECLARED, Standing.DECLARED, True)


def test_a_declared_base_that_the_weights_contradict_is_no_ancestor() -> None:
    claims = Claims(bases=(claim("a"),))
    assert set(by_id(walk(claims=claims, lineages=(lineage("A", Relation.INDEPENDENT),)))) == {"artifact"}


def test_an_independent_candidate_is_no_ancestor() -> None:
    assert set(by_id(walk(Facts("a", ("b",)), lineages=(lineage("a", Relation.INDEPENDENT),)))) == {"artifact"}


def test_a_partial_base_is_shown_when_one_component_derives() -> None:
    derived = ComponentEvidence(Relation.DERIVED, 0.9, NOT_TAKEN)
    partial = lineage("a", Relation.PARTIAL)
    shown = replace(partial, components={"embeddings": derived})
    assert by_id(walk(lineages=(shown,)))["a"].standing is Standing.SHOWN
    assert by_id(walk(lineages=(partial,)))["a"].standing is Standing.UNDECIDED


def test_a_node_reached_twice_keeps_its_strongest_standing() -> None:
    graph = (Facts("a", ("root",)), Facts("b", ("x",)), Facts("x", ("root",)), Facts("root"))
    lineages = (lineage("a", Relation.UNDECIDED), lineage("b", Relation.DERIVED))
    for order in (lineages, lineages[::-1]):
        nodes = walk(*graph, lineages=order)
        assert [n.id for n in nodes].count("root") == 1
        assert by_id(nodes)["root"].rests_on is Standing.SHOWN
        assert by_id(nodes)["root"].path == ("artifact", "b", "x", "root")


def test_ids_differ_only_by_more_than_case() -> None:
    nodes = walk(claims=Claims(bases=(claim("Org/Name"),)), lineages=(lineage("org/name", Relation.DERIVED),))
    assert [n.id.casefold() for n in nodes[1:]] == ["org/name"]
    assert nodes[1].declared


def test_a_cycle_in_the_catalog_ends() -> None:
    nodes = by_id(walk(Facts("a", ("b",)), Facts("b", ("a",)), lineages=(lineage("a", Relation.DERIVED),)))
    assert set(nodes) == {"artifact", "a", "b"}


def test_a_walk_upward_ends_at_the_depth_limit() -> None:
    chain = [Facts(f"m{i}", (f"m{i + 1}",)) for i in range(100)]
    nodes = walk(*chain, lineages=(lineage("m0", Relation.DERIVED),))
    assert len(nodes) == MAX_GENERATIONS + 1


def test_an_unknown_base_brings_the_license_of_its_own_card() -> None:
    cards = {"Org/Name": Claims(licenses=(license_claim("acme-1.0"),))}
    node = by_id(walk(lineages=(lineage("org/name", Relation.DERIVED),), cards=cards))["org/name"]
    assert [t.id for t in node.licenses] == ["acme-1.0"]
    assert node.license_source


def test_what_the_catalog_knows_wins_over_the_card_of_a_base() -> None:
    cards = {"a": Claims(licenses=(license_claim("acme-1.0"),))}
    facts = Facts("a", licenses=(NON_COMMERCIAL, MIT))
    node = by_id(walk(facts, lineages=(lineage("a", Relation.DERIVED),), cards=cards))["a"]
    assert node.licenses == (NON_COMMERCIAL, MIT)


def test_a_base_that_nobody_knows_has_no_license() -> None:
    node = by_id(walk(lineages=(lineage("a", Relation.DERIVED),)))["a"]
    assert (node.licenses, node.license_source, node.family) == ((), "", None)
