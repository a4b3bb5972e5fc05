"""The lineage graph as JSON and as a tree."""

from __future__ import annotations

import json
from dataclasses import replace

from jsonschema import Draft202012Validator

from provenance_gate.lineage.interface import Cataloged, Declared, Detected, Edge, Relation, Standing
from provenance_gate.registry.licenses import shipped_licenses
from provenance_gate.report.graph import graph_to_json, license_to_json, render_tree
from provenance_gate.report.human import render_check
from provenance_gate.report.interface import ReportOptions
from provenance_gate.report.json_report import load_schema

from . import build


def nodes():  # type: ignore[no-untyped-def]
    me, base, root = build.ancestry()
    said = Edge(None, build.BASE, Declared(build.claim().source, "finetune"))
    seen = Edge(None, build.BASE, Detected(Relation.DERIVED, 0.98, 1e-300))
    recorded = Edge(build.BASE, build.ROOT, Cataloged(build.BASE, "continued-pretraining", "recalled"))
    return me, replace(base, edges=(seen, said)), replace(root, edges=(recorded,))


def validate(graph: object) -> None:
    schema = load_schema("check")
    Draft202012Validator({"$ref": "#/$defs/graph", "$defs": schema["$defs"]}).validate(graph)


def test_json_names_every_node_and_statement_with_its_evidence() -> None:
    graph = graph_to_json(nodes(), ())
    validate(graph)
    assert [n["role"] for n in graph["nodes"]] == ["artifact", "base", "ancestor"]
    detected, declared, cataloged = graph["edges"]
    assert detected["evidence"] == {"relation": "derived", "score": 0.98, "p_value": 1e-300}
    assert (declared["child"], declared["evidence"]["source"]["line"]) == (None, 3)
    assert cataloged == {
        "child": build.BASE,
        "parent": build.ROOT,
        "kind": "cataloged",
        "evidence": {"record": build.BASE, "relation": "continued-pretraining", "confidence": "recalled"},
    }


def test_a_base_called_like_the_artifact_is_told_apart() -> None:
    me, base, _ = nodes()
    twin = replace(base, id=me.id, path=(me.id, me.id), edges=(Edge(None, me.id, base.edges[0].evidence),))
    graph = graph_to_json((me, twin), ())
    assert [(n["id"], n["role"]) for n in graph["nodes"]] == [(me.id, "artifact"), (me.id, "base")]
    assert graph["edges"][0]["child"] is None
    assert len(render_tree((me, twin))) == 2


def test_a_claim_that_the_weights_contradict_is_in_the_graph_as_such() -> None:
    result = build.impostor_result()
    graph = graph_to_json(result.ancestry, result.lineages)
    validate(graph)
    assert [n["role"] for n in graph["nodes"]] == ["artifact", "contradicted"]
    assert [e["kind"] for e in graph["edges"]] == ["declared", "detected"]
    assert graph["edges"][1]["evidence"]["relation"] == "independent"
    assert render_tree(result.ancestry, result.lineages)[1].startswith(f"└─ {build.BASE}: declared, and the weights")


def test_an_independent_model_that_nobody_declared_is_not_in_the_graph() -> None:
    graph = graph_to_json(nodes(), (build.independent("c/stranger"),))
    assert "c/stranger" not in json.dumps(graph)


def test_an_absent_score_has_its_reason() -> None:
    me, base, _ = nodes()
    tested = build.undecided()
    seen = Edge(None, build.BASE, Detected(tested.relation, tested.score, tested.p_value))
    graph = graph_to_json((me, replace(base, edges=(seen,))), ())
    validate(graph)
    assert graph["edges"][0]["evidence"]["score"] is None
    assert graph["edges"][0]["evidence"]["score_reason"]


def test_the_tree_says_for_each_step_why_and_under_which_license() -> None:
    assert render_tree(nodes()) == (
        "acme/support-bot-8b: apache-2.0",
        "└─ meta-llama/Llama-3.1-8B: shown by the weights, llama3.1 "
        "(derived, score 0.98; declared as finetune in README.md:3)",
        "   └─ meta-llama/Llama-3-8B: catalog, llama3 (recorded as continued-pretraining, recalled)",
    )


def test_branches_are_drawn_apart_and_a_model_reached_twice_is_drawn_once() -> None:
    me, base, root = nodes()
    other = build.ancestor("b/two", (me.id, "b/two"), licenses=(), declared=False)
    root = replace(root, edges=(*root.edges, Edge("b/two", build.ROOT, Cataloged("b/two", None, None))))
    lines = render_tree((me, base, root, other))
    assert [line[:2] for line in lines] == ["ac", "├─", "│ ", "└─"]
    assert lines[2].endswith("also a parent of b/two)")
    assert lines[3] == "└─ b/two: shown by the weights, license unknown"


def test_without_the_artifact_there_is_no_tree() -> None:
    assert render_tree(()) == ()


def test_verbose_text_shows_the_tree_and_no_raw_character_of_an_artifact() -> None:
    me, base, root = nodes()
    evil = replace(base, id=build.HOSTILE, path=(me.id, build.HOSTILE), standing=Standing.DECLARED)
    result = replace(build.passing_result(), ancestry=(me, evil))
    text = render_check(build.report(result), ReportOptions(verbose=True, width=300))
    assert "└─ \\u001b[31mevil" in text
    assert "\x1b" not in text and "\u202e" not in text
    assert root.id not in text


def test_a_license_is_written_with_what_it_asks() -> None:
    written = license_to_json(shipped_licenses().term("llama3.1"))
    schema = load_schema("check")
    Draft202012Validator({"$ref": "#/$defs/license", "$defs": schema["$defs"]}).validate(written)
    assert written["derivatives"] == "same-terms"
    assert {"kind": "user-limit", "limit": 700_000_000} in written["conditions"]
    assert json.dumps(written)
