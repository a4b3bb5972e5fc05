"""The verdict of an audit: one sentence that rests on the lineage, and what the publisher says beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import pytest

from provenance_gate.artifact.interface import BaseClaim, ClaimSource, NotMeasured
from provenance_gate.lineage.interface import Lineage, Relation
from provenance_gate.tells.interface import ClaimCheck, Standing
from provenance_gate.tells.verdict import Answer, AuditVerdict, conclude
from tests.report import build


def verdict(*lineages: Lineage, **more: Any) -> AuditVerdict:
    return conclude("acme/model", lineages, NotMeasured("one base"), (), (), **more)


def test_a_leftover_name_in_the_config_is_no_declaration() -> None:
    said = replace(build.claim(), source=ClaimSource(PurePosixPath("config.json"), 2, "_name_or_path"))
    assert "does not say so" in verdict(build.derived(claims=(said,)), declared=(said,)).sentence
    openly = build.claim()
    assert "as its publisher declares" in verdict(build.derived(claims=(openly,)), declared=(openly,)).sentence


def test_another_base_that_is_declared_instead_is_named() -> None:
    other = BaseClaim("org/other", "finetune", None, build.claim().source)
    sentence = verdict(build.derived(), declared=(other,)).sentence
    assert sentence.endswith("and its publisher declares org/other instead.")


def test_a_model_under_its_own_name_hides_nothing() -> None:
    same = replace(build.derived("acme/model"), relation=Relation.IDENTICAL, kinds=())
    assert verdict(same).sentence == "acme/model has the weights of acme/model (identical), as its name says."


def test_a_copy_is_called_a_copy() -> None:
    same = replace(build.derived(), relation=Relation.REFORMATTED, kinds=())
    assert verdict(same).sentence.startswith("acme/model has the weights of meta-llama/Llama-3.1-8B (reformatted)")


def test_one_base_that_was_not_measured_keeps_the_answer_open() -> None:
    assert verdict(build.independent()).answer is Answer.NOT_DERIVED
    assert verdict(build.independent(), build.undecided("org/other")).answer is Answer.NOT_SHOWN


def test_descent_needs_the_score_not_only_the_word() -> None:
    weak = replace(build.derived(), score=0.5)
    assert verdict(weak).answer is Answer.NOT_SHOWN


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"untested": {"org/gone": "no such model"}}, "org/gone, which could not be read: no such model"),
        ({"nominated": ["org/a", "org/b"]}, "org/a and org/b, which nobody measured here"),
        ({}, "Nothing known was close enough"),
    ],
)
def test_without_a_comparison_the_answer_says_what_is_missing(more: dict[str, Any], words: str) -> None:
    found = verdict(**more)
    assert found.answer is Answer.NOT_SHOWN and words in found.why[0]


def test_hostile_names_are_one_line_in_the_verdict() -> None:
    claims = [ClaimCheck(build.HOSTILE, "", "", "", Standing.CONTRADICTS)]
    hostile = replace(build.derived(), base=replace(build.derived().base, id=build.HOSTILE), reason=build.HOSTILE)
    found = conclude(build.HOSTILE, [hostile], NotMeasured(""), (), claims)
    for sentence in (found.sentence, *found.why, *found.bases):
        assert sentence.isprintable()
