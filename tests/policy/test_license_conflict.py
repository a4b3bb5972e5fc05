"""PG103: both sides of every kind of conflict, on hand-made ancestries and the shipped license book."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

import pytest

from provenance_gate.artifact.interface import Claims, FileKind, FileRecord
from provenance_gate.lineage.interface import (
    Ancestor,
    Cataloged,
    Declared,
    Detected,
    Edge,
    LicenseTerm,
    Relation,
    Standing,
)
from provenance_gate.policy.interface import Outcome, Status, Subject
from provenance_gate.policy.licensing import exclusion
from provenance_gate.policy.rules.license_conflict import LicenseConflict
from provenance_gate.registry.licenses import shipped_licenses
from tests.policy.build import ancestor, artifact, claim, itself, source, subject

RULE = LicenseConflict()
SECRET = LicenseTerm("acme-1.0", None, None, "unknown")


def term(license_id: str) -> LicenseTerm:
    found = shipped_licenses().term(license_id)
    assert found.category != "unknown", license_id
    return found


def judged(*ancestors: Ancestor, own: Sequence[LicenseTerm] = (), **options: object) -> list[Outcome]:
    me = replace(itself(), licenses=tuple(own))
    found = list(RULE.evaluate(options, subject(ancestry=(me, *ancestors))))
    assert found
    assert all(o.status is Status.PASS or o.remedy for o in found)
    return found


def status(parent: str, own: str | None, **changes: object) -> Status:
    node = replace(ancestor(term(parent)), **changes)  # type: ignore[arg-type]
    (outcome,) = judged(node, own=[term(own)] if own else [])
    return outcome.status


@pytest.mark.parametrize(
    ("parent", "own", "expected"),
    [
        ("cc-by-nc-4.0", "apache-2.0", Status.FAIL),
        ("cc-by-nc-4.0", "creativeml-openrail-m", Status.FAIL),
        ("cc-by-nc-4.0", "cc-by-nc-sa-4.0", Status.PASS),
        ("mrl", "cc-by-nc-4.0", Status.FAIL),
        ("mrl", "mrl", Status.PASS),
        ("llama3.1", "apache-2.0", Status.FAIL),
        ("llama3.1", "llama3", Status.FAIL),
        ("llama3.1", "LicenseRef-scancode-llama-3.1-license-2024", Status.PASS),
        ("gpl-3.0", "mit", Status.FAIL),
        ("gpl-3.0", "agpl-3.0", Status.PASS),
        ("GPL-2.0-or-later", "gpl-3.0", Status.PASS),
        ("gpl-2.0", "gpl-3.0", Status.FAIL),
        ("cc-by-sa-3.0", "cc-by-sa-4.0", Status.PASS),
        ("cc-by-sa-4.0", "cc-by-sa-3.0", Status.FAIL),
        ("gemma", "apache-2.0", Status.FAIL),
        ("gemma", "gemma", Status.PASS),
        ("deepseek", "mit", Status.FAIL),
        ("bigcode-openrail-m", "bigscience-openrail-m", Status.PASS),
        ("cc-by-nd-4.0", "cc-by-nd-4.0", Status.FAIL),
        ("apache-2.0", "mit", Status.PASS),
        ("mit", "cc-by-nc-4.0", Status.PASS),
        ("qwen", "apache-2.0", Status.PASS),
        ("llama3.1", None, Status.FAIL),
        ("gemma", None, Status.FAIL),
        ("apache-2.0", None, Status.PASS),
        ("cc-by-nc-4.0", None, Status.PASS),
    ],
)
def test_a_stated_license_may_grant_no_more_than_an_ancestor_allows(
    parent: str, own: str | None, expected: Status
) -> None:
    assert status(parent, own) is expected


@pytest.mark.parametrize("standing", [Standing.DECLARED, Standing.UNDECIDED])
def test_an_ancestor_that_is_not_shown_leaves_it_undecided(standing: Standing) -> None:
    assert status("cc-by-nc-4.0", "apache-2.0", rests_on=standing) is Status.UNDECIDED


def test_the_message_names_the_path_and_the_evidence_says_how_sure_the_terms_are() -> None:
    node = ancestor(term("llama3"), model="meta/root", path=("child", "acme/base", "meta/root"))
    (outcome,) = judged(node, own=[term("mit")])
    assert "child -> acme/base -> meta/root" in outcome.message
    assert ("license", "llama3 (terms recalled)") in outcome.evidence
    assert outcome.key == "meta/root: llama3"


def test_one_of_several_stated_licenses_that_fits_is_enough() -> None:
    node = ancestor(term("llama3.1"))
    assert [o.status for o in judged(node, own=[term("mit"), term("llama3.1")])] == [Status.PASS]
    assert [o.status for o in judged(node, own=[term("mit"), term("apache-2.0")])] == [Status.FAIL]


def test_a_stated_license_that_nobody_knows_is_undecided_only_where_an_ancestor_asks_for_something() -> None:
    assert [o.status for o in judged(ancestor(term("llama3.1")), own=[SECRET])] == [Status.UNDECIDED]
    assert [o.status for o in judged(ancestor(term("apache-2.0")), own=[SECRET])] == [Status.PASS]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [(None, Status.UNDECIDED), ("fail", Status.FAIL), ("undecided", Status.UNDECIDED), ("pass", Status.PASS)],
)
def test_terms_that_are_not_known_are_undecided_unless_said_otherwise(choice: str | None, expected: Status) -> None:
    options = {"unknown": choice} if choice else {}
    for node in (ancestor(), ancestor(SECRET), ancestor(term("glm-4"))):
        assert [o.status for o in judged(node, own=[term("mit")], **options)] == [expected]


def test_terms_that_are_not_known_do_not_matter_where_the_license_is_kept() -> None:
    assert [o.status for o in judged(ancestor(term("glm-4")), own=[term("glm-4")])] == [Status.PASS]


def test_an_unchanged_copy_of_a_model_without_derivatives_is_allowed() -> None:
    for relation, expected in ((Relation.REFORMATTED, Status.PASS), (Relation.DERIVED, Status.FAIL)):
        seen = Edge(None, "acme/base", Detected(relation, 1.0, 1e-9))
        assert status("cc-by-nd-4.0", "cc-by-nd-4.0", edges=(seen,)) is expected


def chain(publishers: tuple[str | None, str], *, declared: bool = False, source: str = "catalog") -> list[Ancestor]:
    """child <- acme/new (apache-2.0) <- acme/old (llama3.1)."""
    new = ancestor(term("apache-2.0"), model="acme/new", publisher=publishers[0])
    said = [Edge("acme/new", "acme/old", Cataloged("acme/new", "finetune", "verified"))]
    said += [Edge(None, "acme/old", Declared(claim().source, "finetune"))] if declared else []
    old = ancestor(term("llama3.1"), model="acme/old", path=("child", "acme/new", "acme/old"), publisher=publishers[1])
    return [replace(new, license_source=source), replace(old, edges=tuple(said))]


def test_a_publisher_may_release_its_own_model_anew() -> None:
    own = [term("apache-2.0")]
    assert [o.status for o in judged(*chain(("Acme", "Acme")), own=own)] == [Status.PASS]
    assert [o.status for o in judged(*chain(("Beta", "Acme")), own=own)] == [Status.FAIL]


def test_only_the_catalog_says_who_published_a_model_and_a_direct_claim_binds() -> None:
    own = [term("apache-2.0")]
    assert [o.status for o in judged(*chain((None, "Acme")), own=own)] == [Status.FAIL]
    assert [o.status for o in judged(*chain(("Acme", "Acme"), source="its own model card"), own=own)] == [Status.FAIL]
    assert [o.status for o in judged(*chain(("Acme", "Acme"), declared=True), own=own)] == [Status.FAIL]


def test_a_successor_that_is_only_claimed_does_not_free_from_what_the_weights_show() -> None:
    new, old = chain(("Acme", "Acme"))
    seen = Edge(None, "acme/old", Detected(Relation.DERIVED, 0.9, 1e-9))
    old = replace(old, path=("child", "acme/old"), standing=Standing.SHOWN, edges=(seen, *old.edges))
    for standing, expected in ((Standing.SHOWN, Status.PASS), (Standing.DECLARED, Status.FAIL)):
        claimed = replace(new, standing=standing, rests_on=standing)
        assert [o.status for o in judged(claimed, old, own=[term("apache-2.0")])] == [expected]


def test_a_step_of_the_same_organization_that_nobody_describes_is_its_publishers_own() -> None:
    new = ancestor(term("apache-2.0"), model="acme/new", publisher="Acme")
    for model, expected in (("Acme/sft", Status.PASS), ("beta/sft", Status.UNDECIDED), ("sft", Status.UNDECIDED)):
        step = ancestor(model=model, path=("child", "acme/new", model), publisher=None)
        assert [o.status for o in judged(new, step, own=[term("mit")])] == [expected]


def test_several_such_steps_lead_to_the_release_that_speaks_for_them() -> None:
    def outcome(release: Ancestor) -> list[Status]:
        dpo = ancestor(model="acme/dpo", path=("child", "acme/new", "acme/dpo"), publisher=None)
        sft = ancestor(model="acme/sft", path=("child", "acme/new", "acme/dpo", "acme/sft"), publisher=None)
        return [o.status for o in judged(release, dpo, sft, own=[term("mit")])]

    assert outcome(ancestor(term("apache-2.0"), model="acme/new", publisher="Acme")) == [Status.PASS]
    described_by_itself = replace(ancestor(term("apache-2.0"), model="acme/new"), license_source="its own model card")
    assert outcome(described_by_itself) == [Status.UNDECIDED] * 2


def test_steps_in_a_circle_free_nobody() -> None:
    said = Cataloged("x", None, None)
    one = replace(ancestor(model="acme/one", publisher=None), edges=(Edge("acme/two", "acme/one", said),))
    two = replace(ancestor(model="acme/two", publisher=None), edges=(Edge("acme/one", "acme/two", said),))
    assert [o.status for o in judged(one, two, own=[term("mit")])] == [Status.UNDECIDED] * 2


def adapter_of(relation: str | None, *, config: bool) -> Subject:
    files = (FileRecord(PurePosixPath("adapter_config.json"), 1, FileKind.CONFIG),) if config else ()
    made = replace(artifact(), claims=Claims((replace(claim(), relation=relation),), ()), files=files)
    base = ancestor(term("apache-2.0"), rests_on=Standing.UNDECIDED)
    root = replace(
        ancestor(term("llama3.1"), model="meta/root", path=("child", "acme/base", "meta/root"), publisher="Meta"),
        standing=Standing.CATALOG,
        rests_on=Standing.UNDECIDED,
    )
    return subject(made, ancestry=(replace(itself(), licenses=(term("mit"),)), base, root))


def test_what_an_adapter_says_of_its_base_counts_as_if_it_were_shown() -> None:
    def statuses(of: Subject) -> list[Status]:
        return [o.status for o in RULE.evaluate({}, of)]

    assert statuses(adapter_of("adapter", config=False)) == [Status.FAIL]
    assert statuses(adapter_of("finetune", config=True)) == [Status.FAIL]
    assert statuses(adapter_of("finetune", config=False)) == [Status.UNDECIDED]


def test_what_only_the_card_of_an_adapters_base_says_stays_undecided() -> None:
    of = adapter_of("adapter", config=True)
    me, base, root = of.ancestry
    claimed = replace(of, ancestry=(me, base, replace(root, standing=Standing.DECLARED)))
    assert [o.status for o in RULE.evaluate({}, claimed)] == [Status.UNDECIDED]


@pytest.mark.parametrize(
    ("one", "other", "excluded"),
    [
        ("llama2", "llama3", True),
        ("llama3.1", "gpl-3.0", True),
        ("gpl-2.0", "gpl-3.0", True),
        ("GPL-2.0-or-later", "gpl-3.0", False),
        ("lgpl-3.0", "gpl-3.0", False),
        ("cc-by-sa-4.0", "cc-by-nc-4.0", True),
        ("cc-by-nc-sa-4.0", "cc-by-nc-4.0", False),
        ("cc-by-nc-sa-4.0", "mrl", True),
        ("gpl-3.0", "gemma", True),
        ("llama3.1", "llama3.1", False),
        ("llama3.1", "apache-2.0", False),
        ("gemma", "cc-by-nc-4.0", False),
    ],
)
def test_two_licenses_exclude_each_other_whichever_comes_first(one: str, other: str, excluded: bool) -> None:
    assert (exclusion(term(one), term(other)) is not None) is excluded
    assert (exclusion(term(other), term(one)) is not None) is excluded


def merge(*, firm: bool = True, path: tuple[str, ...] = ("child", "b/two")) -> list[Outcome]:
    standing = Standing.SHOWN if firm else Standing.DECLARED
    one = ancestor(term("llama2"), model="a/one", publisher="A")
    two = ancestor(term("llama3"), model="b/two", path=path, rests_on=standing, publisher="B")
    return judged(one, two, own=[term("llama2"), term("llama3")])


def test_parents_that_exclude_each_other_are_one_finding_with_both_paths() -> None:
    (outcome,) = merge()
    assert outcome.status is Status.FAIL
    assert outcome.key == "a/one: llama2, b/two: llama3"
    assert "child -> a/one and child -> b/two" in outcome.message


def test_a_pair_of_which_one_is_not_tested_is_undecided() -> None:
    (outcome,) = merge(firm=False)
    assert outcome.status is Status.UNDECIDED
    assert "b/two with --base" in outcome.remedy


def test_two_models_on_one_branch_are_no_merge() -> None:
    assert [o.status for o in merge(path=("child", "a/one", "b/two"))] == [Status.PASS]


def test_a_license_that_the_artifact_states_has_its_line_as_the_place() -> None:
    made = replace(artifact(), claims=artifact().claims)
    of = subject(made, ancestry=(replace(itself(), licenses=(term("mit"),)), ancestor(term("llama3.1"))))
    (outcome,) = RULE.evaluate({}, of)
    assert outcome.location == source(2, "license")


def test_many_ancestors_are_compared_in_little_time() -> None:
    nodes = [
        ancestor(term(i), model=f"{i}/{n}", path=("child", f"{i}/{n}"))
        for i in ("llama2", "llama3", "gpl-3.0", "cc-by-sa-4.0")
        for n in range(400)
    ]
    assert len(judged(*nodes, own=[term("llama2")])) == 1200 + 5


def test_hostile_ids_stay_on_one_line() -> None:
    bad = LicenseTerm("evil\x1b[31m\n", None, None, "non-commercial")
    for outcome in judged(ancestor(bad, model="a/\u202eb"), own=[term("mit")]):
        texts = (outcome.message, outcome.key, outcome.remedy, *(v for pair in outcome.evidence for v in pair))
        assert all(text.isprintable() for text in texts)


def test_nothing_to_compare_passes() -> None:
    assert [o.status for o in judged(own=[term("mit")])] == [Status.PASS]
