"""PG401 on real files: what the claims of a folder say, read as the gate reads them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import PurePosixPath

import pytest

from provenance_gate.artifact.claims import read_claims
from provenance_gate.policy.interface import Outcome, Status, Subject
from provenance_gate.policy.rules.consistent_claims import ConsistentClaims
from tests.policy.build import ancestor, artifact, itself, subject

CARD, ADAPTER, CONFIG, MERGE = "README.md", "adapter_config.json", "config.json", "mergekit_config.yml"


def card(*bases: str) -> str:
    return "---\nlicense: mit\nbase_model:\n" + "".join(f"- {b}\n" for b in bases) + "---\n# A model\n"


def adapter(base: str, revision: str | None = None) -> str:
    return json.dumps({"peft_type": "LORA", "base_model_name_or_path": base, "revision": revision})


def config(base: str) -> str:
    return json.dumps({"model_type": "llama", "_name_or_path": base})


def merge(*models: str) -> str:
    return "merge_method: linear\nmodels:\n" + "".join(f"- model: {m}\n" for m in models)


def of(files: dict[str, str], name: str = "child", *paths: tuple[str, ...]) -> Subject:
    claims = read_claims({PurePosixPath(path): text.encode() for path, text in files.items()})
    nodes = (itself(), *(ancestor(model=path[-1], path=path) for path in paths))
    return subject(replace(artifact(name=name), claims=claims), ancestry=nodes)


def judge(found: Subject) -> list[Outcome]:
    outcomes = list(ConsistentClaims().evaluate({}, found))
    assert outcomes
    for outcome in outcomes:
        assert outcome.message.isprintable() and outcome.key
        assert outcome.status is Status.PASS or (outcome.remedy and outcome.location)
    return outcomes


@pytest.mark.parametrize(
    "files",
    [
        {},
        {CARD: card("acme/base")},
        {CONFIG: config("acme/base")},
        {ADAPTER: adapter("acme/base")},
        {CARD: card("acme/base"), ADAPTER: adapter("Acme/Base"), CONFIG: config("acme/base")},
        {CARD: card("acme/one", "acme/two"), MERGE: merge("acme/one", "acme/two"), CONFIG: config("acme/two")},
        {CARD: card("acme/base"), ADAPTER: adapter("./checkpoints/base")},
        {CARD: card("acme/base"), ADAPTER: adapter("/mnt/models/base")},
        {CARD: card("acme/base"), ADAPTER: adapter("C:\\models\\base")},
        {CARD: card("acme/base"), CONFIG: config("acme/child")},
        {CARD: card("acme/base"), ADAPTER: adapter("acme/base", "abc")},
        {MERGE: merge("acme/one@abc", "acme/one@def")},
    ],
)
def test_files_that_agree_or_say_nothing_pass(files: dict[str, str]) -> None:
    assert [o.status for o in judge(of(files))] == [Status.PASS]


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({CARD: card("acme/base"), ADAPTER: adapter("acme/other")}, ["acme/other"]),
        ({CARD: card("acme/base"), CONFIG: config("acme/other")}, ["acme/other"]),
        ({CARD: card("acme/one"), MERGE: merge("acme/one", "acme/two")}, ["acme/two"]),
        ({CARD: card("acme/base"), MERGE: merge("acme/one", "acme/two")}, ["acme/one", "acme/two"]),
        ({ADAPTER: adapter("acme/base"), CONFIG: config("acme/other")}, ["acme/other"]),
    ],
)
def test_a_file_that_names_another_base_fails_with_both_places(files: dict[str, str], named: list[str]) -> None:
    outcomes = judge(of(files))
    assert [o.status for o in outcomes] == [Status.FAIL] * len(named)
    for outcome, base in zip(outcomes, named, strict=True):
        assert base in outcome.message
        assert outcome.message.count(":") >= 2, "both places are named by file and line"


def test_two_revisions_of_one_base_fail() -> None:
    found = of({ADAPTER: adapter("acme/base", "abc"), MERGE: merge("acme/base@def")})
    (outcome,) = judge(found)
    assert outcome.status is Status.FAIL
    assert "abc" in outcome.message and "def" in outcome.message


def test_kin_that_the_catalog_knows_is_no_contradiction() -> None:
    files = {CARD: card("acme/base-instruct"), CONFIG: config("acme/base")}
    assert judge(of(files))[0].status is Status.FAIL
    found = of(files, "child", ("child", "acme/base-instruct"), ("child", "acme/base-instruct", "acme/base"))
    assert judge(found)[0].status is Status.PASS


def test_the_key_of_a_contradiction_holds_no_line_number() -> None:
    one = judge(of({CARD: card("acme/base"), ADAPTER: adapter("acme/other")}))
    moved = judge(of({CARD: "\n" + card("acme/base"), ADAPTER: "\n\n" + adapter("acme/other")}))
    assert [o.key for o in one] == [o.key for o in moved]
    assert [o.message for o in one] != [o.message for o in moved]
