"""PG104: what can be seen is checked, what cannot is listed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath

import pytest

from provenance_gate.artifact.interface import FileKind, FileRecord
from provenance_gate.lineage.interface import Ancestor, ConditionKind, LicenseCondition, LicenseTerm, Standing
from provenance_gate.policy.interface import Outcome, Status, Subject
from provenance_gate.policy.rules.license_obligations import LicenseObligations, describe
from provenance_gate.registry.licenses import shipped_licenses
from tests.policy.build import ancestor, artifact, itself

RULE = LicenseObligations()


def term(license_id: str) -> LicenseTerm:
    return shipped_licenses().term(license_id)


def of(
    *files: str, license_id: str = "llama3.1", name: str = "llama-bot", names: tuple[str, ...] = (), **changes: object
) -> Subject:
    listed = ("config.json", "model.safetensors", *files)
    made = replace(
        artifact(name=name), files=tuple(FileRecord(PurePosixPath(path), 9, FileKind.OTHER) for path in listed)
    )
    node = replace(ancestor(term(license_id)), **changes)  # type: ignore[arg-type]
    return Subject(made, (), (itself(), node), names)


def unmet(subject: Subject, **options: object) -> dict[str, Outcome]:
    found = RULE.evaluate(options, subject)
    assert all(o.status is Status.PASS or o.remedy for o in found)
    return {o.key.split(": ")[1]: o for o in found if o.status is not Status.PASS}


def listed(subject: Subject, **options: object) -> dict[str, str]:
    return dict(e for o in RULE.evaluate(options, subject) if o.status is Status.PASS for e in o.evidence)


def test_a_release_that_shows_all_it_can_passes() -> None:
    assert unmet(of("LICENSE", "NOTICE")) == {}


@pytest.mark.parametrize("name", ["NOTICE", "notice.txt", "Notice.md", "docs/Notices"])
def test_a_notice_file_is_known_whatever_its_case(name: str) -> None:
    assert "notice-file" not in unmet(of("LICENSE", name))


@pytest.mark.parametrize("name", ["LICENSE", "License.txt", "licence", "LICENSE-MODEL", "llama_license.md", "COPYING"])
def test_a_license_file_is_known_whatever_its_case(name: str) -> None:
    assert set(unmet(of(name))) == {"notice-file"}


@pytest.mark.parametrize("name", ["noticeboard.json", "USE_POLICY.md", "model-00001.bin"])
def test_other_files_are_neither(name: str) -> None:
    assert set(unmet(of(name))) == {"notice-file", "license-copy"}


def test_an_empty_file_is_no_license() -> None:
    subject = of("NOTICE")
    empty = FileRecord(PurePosixPath("LICENSE"), 0, FileKind.LICENSE)
    made = replace(subject.artifact, files=(*subject.artifact.files, empty))
    assert set(unmet(replace(subject, artifact=made))) == {"license-copy"}


def test_a_single_file_is_published_beside_others_so_nothing_is_missing_in_it() -> None:
    subject = of()
    single = replace(subject.artifact, files=subject.artifact.files[-1:])
    assert unmet(replace(subject, artifact=single)) == {}


@pytest.mark.parametrize(
    ("license_id", "name", "met"),
    [
        ("llama3.1", "Llama-3.1-acme", True),
        ("llama3.1", "LLAMA_bot", True),
        ("llama3.1", "acme/llama-bot", True),
        ("llama3.1", "acme-llama", False),
        ("llama3.1", "llama/bot", False),
        ("llama3", "llama-3-bot", True),
        ("llama3", "Llama3-bot", True),
        ("llama3", "llama-bot", False),
        ("exaone", "EXAONE-small", True),
        ("llama2", "bot", True),
    ],
)
def test_a_name_begins_as_the_license_asks(license_id: str, name: str, met: bool) -> None:
    assert ("name-prefix" not in unmet(of("LICENSE", "NOTICE", license_id=license_id, name=name))) is met


def test_a_name_given_on_the_command_line_counts_too() -> None:
    assert unmet(of("LICENSE", "NOTICE", name="out", names=("acme/Llama-bot",))) == {}


def test_what_no_file_can_show_is_listed() -> None:
    found = listed(of("LICENSE", "NOTICE", "USE_POLICY.md"))
    assert found["user-limit"] == "a license of its own above 700,000,000 monthly active users, asked by llama3.1"
    assert found["display"] == '"Built with Llama" shown in the documentation, asked by llama3.1'
    assert found["acceptable-use"].endswith("(seen)")
    assert not listed(of("LICENSE", "NOTICE"))["acceptable-use"].endswith("(seen)")


def test_kinds_that_are_ignored_are_neither_looked_for_nor_listed() -> None:
    ignore = ["name-prefix", "display"]
    assert set(unmet(of(name="bot"), ignore=ignore)) == {"license-copy", "notice-file"}
    assert "display" not in listed(of(), ignore=ignore)


@pytest.mark.parametrize("standing", [Standing.DECLARED, Standing.UNDECIDED])
def test_a_condition_of_an_ancestor_that_is_not_shown_is_undecided(standing: Standing) -> None:
    assert {o.status for o in unmet(of(rests_on=standing)).values()} == {Status.UNDECIDED}
    assert {o.status for o in unmet(of()).values()} == {Status.FAIL}


def test_each_license_wants_its_own_copy_and_shared_notices_are_one_duty() -> None:
    other = ancestor(term("llama3.3"), model="acme/other")
    again = ancestor(term("llama3.1"), model="acme/again")
    subject = of(name="bot")
    both = replace(subject, ancestry=(*subject.ancestry, other, again))
    keys = [o.key for o in RULE.evaluate({}, both) if o.status is Status.FAIL]
    assert sorted(keys) == [
        "llama3.1: license-copy",
        "llama3.1: name-prefix: Llama",
        f"llama3.1: notice-file: {term('llama3.1').conditions[1].texts[0]}",
        "llama3.3: license-copy",
        f"llama3.3: notice-file: {term('llama3.3').conditions[1].texts[0]}",
    ]


def test_a_license_without_conditions_asks_for_nothing() -> None:
    found = RULE.evaluate({}, of(license_id="cc0-1.0", name="bot"))
    assert [(o.status, o.message) for o in found] == [
        (Status.PASS, "no license of an ancestor is known to ask for an act")
    ]


@pytest.mark.parametrize("kind", list(ConditionKind))
def test_every_kind_of_condition_has_words(kind: ConditionKind) -> None:
    condition = LicenseCondition(kind, ("evil\x1b[31m\ntext",), "https://example.org/\u202e", 5)
    text = describe(condition)
    assert text and text.isprintable()


def test_hostile_names_stay_on_one_line() -> None:
    bad = Ancestor(
        "a/\u202eb", Standing.SHOWN, Standing.SHOWN, True, ("child", "a/\u202eb"), (term("llama3.1"),), None, None
    )
    subject = of(name="\x1b[31mevil\n")
    for outcome in RULE.evaluate({}, replace(subject, ancestry=(itself(), bad))):
        texts = (outcome.message, outcome.key, outcome.remedy, *(v for pair in outcome.evidence for v in pair))
        assert all(text.isprintable() for text in texts)
