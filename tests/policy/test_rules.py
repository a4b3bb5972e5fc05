"""Both sides of each rule: what passes, and the nearest thing that does not."""

from __future__ import annotations

import pytest

from provenance_gate.artifact.interface import NotMeasured, WeightFormat
from provenance_gate.lineage.interface import LicenseTerm, Relation, Standing
from provenance_gate.policy.interface import Outcome, Status, Subject
from provenance_gate.policy.rules import RULES
from tests.policy.build import APACHE, BASE, NON_COMMERCIAL, ancestor, artifact, itself, lineage, subject

KINDS = {rule.kind: rule for rule in RULES}


def judge(kind: str, of: Subject, **options: object) -> list[Outcome]:
    outcomes = list(KINDS[kind].evaluate(options, of))
    assert outcomes
    for outcome in outcomes:
        assert outcome.message and outcome.key
        assert outcome.status is Status.PASS or outcome.remedy
        assert outcome.message.isprintable()
    return outcomes


def status(kind: str, of: Subject, **options: object) -> Status:
    (outcome,) = judge(kind, of, **options)
    return outcome.status


def test_numbers_and_kinds_are_unique() -> None:
    assert len({r.number for r in RULES}) == len({r.kind for r in RULES}) == len(RULES) == 12


# declared-base


@pytest.mark.parametrize(
    ("score", "relation", "expected"),
    [
        (0.70, Relation.DERIVED, Status.PASS),
        (0.69, Relation.UNDECIDED, Status.UNDECIDED),
        (1.0, Relation.IDENTICAL, Status.PASS),
        (1.0, Relation.REFORMATTED, Status.PASS),
        (0.02, Relation.INDEPENDENT, Status.FAIL),
        (0.30, Relation.UNDECIDED, Status.FAIL),
        (0.69, Relation.PARTIAL, Status.FAIL),
        (0.99, Relation.PARTIAL, Status.FAIL),
        (0.5, Relation.SHARED_INITIALIZATION, Status.UNDECIDED),
        (NotMeasured("shapes differ"), Relation.UNDECIDED, Status.UNDECIDED),
    ],
)
def test_a_declared_base_must_be_shown(score: float, relation: Relation, expected: Status) -> None:
    of = subject(artifact(BASE), (lineage(score, relation),))
    assert status("declared-base", of) is expected


def test_a_higher_bar_is_undecided_below_it() -> None:
    of = subject(artifact(BASE), (lineage(0.9),))
    assert status("declared-base", of, min_score=0.85) is Status.PASS
    assert status("declared-base", of, min_score=0.95) is Status.UNDECIDED


def test_a_false_claim_is_told_with_score_p_value_and_line() -> None:
    (found,) = judge("declared-base", subject(artifact(BASE), (lineage(0.01, Relation.INDEPENDENT),)))
    for word in (BASE, "0.010", "1e-09", "README.md:3", "independent"):
        assert word in found.message
    assert found.location is not None and found.location.line == 3


def test_a_declared_base_without_weights_is_undecided() -> None:
    (found,) = judge("declared-base", subject(artifact(BASE)))
    assert found.status is Status.UNDECIDED
    assert f"--base {BASE}=PATH" in found.remedy


def test_every_declared_base_is_judged() -> None:
    of = subject(artifact(BASE, "acme/other"), (lineage(0.99), lineage(0.01, Relation.INDEPENDENT, base="acme/other")))
    assert [o.status for o in judge("declared-base", of)] == [Status.PASS, Status.FAIL]


def test_no_declaration_passes_unless_one_is_required() -> None:
    assert status("declared-base", subject()) is Status.PASS
    assert status("declared-base", subject(), require_declaration=True) is Status.FAIL


# undisclosed-base


@pytest.mark.parametrize(
    ("score", "relation", "expected"),
    [
        (0.70, Relation.DERIVED, Status.FAIL),
        (0.02, Relation.INDEPENDENT, Status.PASS),
        (0.5, Relation.UNDECIDED, Status.UNDECIDED),
        (NotMeasured("no weights"), Relation.UNDECIDED, Status.UNDECIDED),
    ],
)
def test_an_undeclared_base_is_found(score: float, relation: Relation, expected: Status) -> None:
    assert status("undisclosed-base", subject(lineages=(lineage(score, relation, declared=False),))) is expected


def test_a_grafted_component_discloses_its_origin() -> None:
    graft = lineage(0.1, Relation.PARTIAL, declared=False, components={"embeddings": Relation.DERIVED})
    (found,) = judge("undisclosed-base", subject(lineages=(graft,)))
    assert found.status is Status.FAIL
    assert "embeddings" in found.message


def test_a_declared_base_is_no_undisclosed_one() -> None:
    assert status("undisclosed-base", subject(artifact(BASE), (lineage(),))) is Status.PASS


def test_an_ancestor_of_a_declared_base_is_disclosed_with_it() -> None:
    root = ancestor(
        APACHE, model="acme/root", rests_on=Standing.SHOWN, declared=False, path=("child", BASE, "acme/root")
    )
    of = subject(
        artifact(BASE), (lineage(), lineage(0.9, base="acme/root", declared=False)), (itself(), ancestor(APACHE), root)
    )
    assert status("undisclosed-base", of) is Status.PASS


def test_nothing_tested_is_said_and_can_be_refused() -> None:
    (found,) = judge("undisclosed-base", subject())
    assert found.status is Status.PASS
    assert "no undeclared candidate was tested" in found.message
    assert status("undisclosed-base", subject(), require_candidates=True) is Status.UNDECIDED


# license


@pytest.mark.parametrize(
    "pattern", ["CC-BY-NC-4.0", "cc-by-nc-*", "category:non-commercial", "Category:Non-Commercial", "*"]
)
def test_a_denied_license_in_the_ancestry_fails_with_its_path(pattern: str) -> None:
    of = subject(artifact(BASE), ancestry=(itself(), ancestor(NON_COMMERCIAL)))
    found = [o for o in judge("license", of, deny=[pattern]) if BASE in o.key]
    assert [o.status for o in found] == [Status.FAIL]
    assert f"child -> {BASE}" in found[0].message
    assert "non-commercial" in found[0].message


def test_another_license_passes() -> None:
    of = subject(artifact(BASE), ancestry=(itself(), ancestor(APACHE)))
    assert status("license", of, deny=["cc-by-nc-*", "category:non-commercial"]) is Status.PASS


@pytest.mark.parametrize(
    ("scope", "expected"), [("self", Status.PASS), ("declared", Status.PASS), ("ancestry", Status.FAIL)]
)
def test_the_scope_says_whose_licenses_count(scope: str, expected: Status) -> None:
    root = ancestor(NON_COMMERCIAL, model="acme/root", declared=False, path=("child", BASE, "acme/root"))
    of = subject(artifact(BASE), ancestry=(itself(), ancestor(APACHE), root))
    assert status("license", of, deny=["category:non-commercial"], scope=scope) is expected


@pytest.mark.parametrize("standing", [Standing.DECLARED, Standing.UNDECIDED])
def test_what_was_not_tested_is_undecided_not_passed(standing: Standing) -> None:
    of = subject(artifact(BASE), ancestry=(itself(), ancestor(NON_COMMERCIAL, rests_on=standing)))
    assert status("license", of, deny=["category:non-commercial"]) is Status.UNDECIDED
    assert status("license", of, deny=["mit"]) is Status.PASS


def test_an_allow_list_refuses_all_else_and_deny_wins() -> None:
    of = subject(ancestry=(itself(APACHE, LicenseTerm("llama3.1", None, None, "open-with-use-restrictions")),))
    assert status("license", of, allow=["apache-2.0"]) is Status.FAIL
    assert status("license", of, allow=["apache-2.0", "llama3*"]) is Status.PASS
    (found,) = judge("license", of, allow=["*"], deny=["llama3.1"])
    assert found.status is Status.FAIL
    assert "llama3.1" in found.message


@pytest.mark.parametrize(
    ("choice", "expected"), [(None, Status.UNDECIDED), ("fail", Status.FAIL), ("pass", Status.PASS)]
)
def test_an_unknown_license_is_undecided_unless_said_otherwise(choice: str | None, expected: Status) -> None:
    of = subject(artifact(BASE), ancestry=(itself(), ancestor()))
    options = {"deny": ["mit"]} | ({"unknown": choice} if choice else {})
    assert status("license", of, **options) is expected


# origin


@pytest.mark.parametrize("pattern", ["family:acme--base", "publisher:ACME", "acme/*", "ACME/base"])
def test_a_denied_origin_fails(pattern: str) -> None:
    of = subject(artifact(BASE), ancestry=(itself(), ancestor(APACHE)))
    assert status("origin", of, deny=[pattern]) is Status.FAIL
    assert status("origin", of, deny=["other/*"]) is Status.PASS


def test_an_untested_origin_is_undecided() -> None:
    of = subject(artifact(BASE), ancestry=(itself(), ancestor(APACHE, rests_on=Standing.DECLARED)))
    assert status("origin", of, deny=["acme/*"]) is Status.UNDECIDED


def test_an_allow_list_of_origins() -> None:
    of = subject(artifact(BASE), ancestry=(itself(), ancestor(APACHE)))
    assert status("origin", of, allow=["publisher:acme"]) is Status.PASS
    assert status("origin", of, allow=["publisher:other"]) is Status.FAIL
    assert status("origin", subject(), deny=["*"]) is Status.PASS


# format


def test_formats() -> None:
    mixed = artifact(formats=(("model.safetensors", WeightFormat.SAFETENSORS), ("old.bin", WeightFormat.PICKLE)))
    (found,) = judge("format", subject(mixed), deny=["pickle"])
    assert found.status is Status.FAIL
    assert "old.bin" in found.message
    assert status("format", subject(mixed), allow=["safetensors", "pickle"]) is Status.PASS
    assert status("format", subject(), allow=["safetensors"]) is Status.PASS
    assert status("format", subject(), allow=["gguf"]) is Status.FAIL


def test_no_weights_and_pointers_are_undecided() -> None:
    assert status("format", subject(artifact(formats=())), deny=["pickle"]) is Status.UNDECIDED
    pointer = artifact(formats=(("model.safetensors", WeightFormat.LFS_POINTER),))
    (found,) = judge("format", subject(pointer), allow=["safetensors"])
    assert found.status is Status.UNDECIDED
    assert "git lfs pull" in found.remedy


HOSTILE = "acme/\x1b[31m\nbase\u202e"


@pytest.mark.parametrize(
    ("kind", "options"), [("declared-base", {}), ("license", {"deny": ["*"]}), ("origin", {"deny": ["*"]})]
)
def test_hostile_ids_are_escaped(kind: str, options: dict[str, object]) -> None:
    term = LicenseTerm(HOSTILE, None, None, "unknown")
    of = subject(artifact(HOSTILE), ancestry=(itself(), ancestor(term, model=HOSTILE)))
    for outcome in judge(kind, of, **options):
        assert outcome.key.isprintable()
        assert outcome.remedy.isprintable()
        assert all(value.isprintable() for _, value in outcome.evidence)


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("declared-base", {"min_score": 0.8}, ["0.80"]),
        ("undisclosed-base", {"max_score": 0.6}, ["0.60"]),
        ("license", {"deny": ["mit"], "scope": "self"}, ["mit", "itself"]),
        ("origin", {"allow": ["a/*"], "deny": ["b/*"]}, ["a/*", "b/*"]),
        ("format", {"allow": ["gguf"], "deny": ["pickle"]}, ["gguf", "pickle"]),
        ("license-conflict", {"unknown": "fail"}, ["fail"]),
        ("license-obligations", {"ignore": ["display"]}, ["display"]),
    ],
)
def test_a_rule_explains_its_options(kind: str, options: dict[str, object], words: list[str]) -> None:
    text = KINDS[kind].explain(options)
    assert all(word in text for word in words)
    assert text.endswith(".")
