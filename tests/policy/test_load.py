"""Policies that load, and the place and choices in the errors of those that do not."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenance_gate.errors import PolicyError
from provenance_gate.policy.explain import STARTER, explain
from provenance_gate.policy.interface import Severity, Undecided
from provenance_gate.policy.load import load_policy
from provenance_gate.policy.schema import policy_schema

RULE = "rules:\n  - id: a\n    rule: declared-base\n"


def write(folder: Path, text: str, name: str = "policy.yaml") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", ["baseline", "release", "strict"])
def test_the_builtin_policies_load(name: str) -> None:
    policy = load_policy(f"builtin:{name}")
    assert policy.name == name
    assert policy.rules
    assert policy.undecided is Undecided.FAIL
    # Missing files of a release are told; they do not fail it unless warnings do.
    assert {r.kind for r in policy.rules if r.severity is not Severity.ERROR} <= {"license-obligations"}


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        (
            "version: 1\nrules:\n  - id: a\n    rule: licence\n",
            "4:5",
            ["'licence'", "did you mean 'license'", "origin"],
        ),
        ("version: 1\nrules:\n  - id: a\n", "3:5", ["no `rule`", "declared-base"]),
        (f"version: 1\n{RULE}    minscore: 1\n", "5:5", ["'minscore'", "did you mean 'min_score'"]),
        (f"version: 1\n{RULE}    min_score: 1.5\n", "5:5", ["1.5", "[0, 1]"]),
        (f"version: 1\n{RULE}    min_score: high\n", "5:5", ["expected number", "'high'"]),
        (f"version: 1\n{RULE}    severity: fatal\n", "5:5", ["error, warning, note"]),
        ("version: 2\n" + RULE, "1:1", ["accepted: 1"]),
        (RULE, "1:1", ["missing key 'version'"]),
        (f"version: 1\nname: x\nrulez: []\n{RULE}", "3:1", ["'rulez'", "did you mean 'rules'"]),
        (f"version: 1\n{RULE}  - id: a\n    rule: declared-base\n", "5:5", ["duplicate rule id 'a'"]),
        ("version: 1\nrules:\n  - id: a\n    rule: license\n", "3:5", ["allow and deny are both missing"]),
        ("version: 1\nrules:\n  - id: a\n    rule: license\n    deny: []\n", "5:5", ["empty"]),
        ("version: 1\nrules:\n  - id: a\n    rule: format\n    allow: [zip]\n", "5:13", ["'zip'", "safetensors"]),
        ("- 1\n", "1:1", ["expected a mapping"]),
        ("version: 1\nversion: 1\n" + RULE, "2:1", ["version"]),
        ("a: &x [1]\nb: *x\n", "1:4", []),
        ("version: !!python/name:os.system 1\n", "1:10", []),
        ("version: 1\n\tx: 1\n", "2:1", []),
        ("version: 1\nextends: builtin:bas\n", "2:1", ["did you mean 'baseline'", "strict"]),
        ("version: 1\nextends: https://x.example/p.yaml\n", "2:1", ["URL"]),
        ("version: 1\nextends: gone.yaml\n", "2:1", ["cannot read"]),
    ],
)
def test_a_fault_is_told_with_its_place_and_the_choices(
    tmp_path: Path, text: str, place: str, words: list[str]
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(PolicyError) as caught:
        load_policy(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:{place}: "), message
    assert message.isprintable()
    for word in words:
        assert word in message


WAIVER = {"rule": "a", "artifact": "*", "reason": "r", "approved_by": "b", "expires": "2027-01-31"}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        *[({key: None}, f"missing key '{key}'") for key in WAIVER],
        ({"expires": "2027-02-30"}, "is no date"),
        ({"expires": "soon"}, "expires"),
        ({"rule": "b"}, "unknown rule 'b'; accepted: a"),
        ({"reason": ""}, "reason"),
    ],
)
def test_a_waiver_needs_an_owner_a_reason_and_a_date(tmp_path: Path, change: dict[str, str | None], word: str) -> None:
    fields = {k: v for k, v in {**WAIVER, **change}.items() if v is not None}
    lines = "".join(f"    {k}: {json.dumps(v)}\n" for k, v in fields.items())
    text = f"version: 1\n{RULE}waivers:\n  -\n{lines}"
    with pytest.raises(PolicyError) as caught:
        load_policy(write(tmp_path, text))
    assert word in str(caught.value)


def test_later_rules_replace_earlier_ones_in_their_place(tmp_path: Path) -> None:
    write(tmp_path, f"version: 1\n{RULE}  - id: b\n    rule: format\n    deny: [pickle]\n", "parent.yaml")
    child = write(
        tmp_path,
        f"version: 1\nname: mine\nextends: [parent.yaml]\nundecided: warn\n{RULE}    min_score: 0.9\n",
    )
    policy = load_policy(child)
    assert [r.id for r in policy.rules] == ["a", "b"]
    assert policy.rules[0].options == {"min_score": 0.9}
    assert policy.rules[0].undecided is Undecided.WARN
    assert policy.name == "mine"
    digests = [sha256((tmp_path / n).read_bytes()).hexdigest() for n in ("parent.yaml", "policy.yaml")]
    assert policy.sha256 == sha256("".join(f"{d}\n" for d in digests).encode()).hexdigest()


def test_a_circle_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "version: 1\nextends: b.yaml\n", "a.yaml")
    write(tmp_path, "version: 1\nextends: a.yaml\n", "b.yaml")
    with pytest.raises(PolicyError, match="extends itself"):
        load_policy(str(tmp_path / "a.yaml"))


def test_a_chain_has_an_end(tmp_path: Path) -> None:
    for number in range(12):
        write(tmp_path, f"version: 1\nextends: p{number + 1}.yaml\n", f"p{number}.yaml")
    with pytest.raises(PolicyError, match="deep"):
        load_policy(str(tmp_path / "p0.yaml"))


@pytest.mark.parametrize("text", ["version: 1\n", "version: 1\nrules: []\n"])
def test_a_policy_without_rules_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(PolicyError, match="no rules"):
        load_policy(write(tmp_path, text))


def test_files_that_are_no_policies(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"name: \xe9")
    with pytest.raises(PolicyError, match="not UTF-8"):
        load_policy(str(tmp_path / "latin"))
    with pytest.raises(PolicyError, match="cannot read"):
        load_policy(str(tmp_path))
    (tmp_path / "big").write_text("#" * (1 << 21))
    with pytest.raises(PolicyError, match="at most"):
        load_policy(str(tmp_path / "big"))


def test_several_faults_are_counted(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="and 1 more"):
        load_policy(write(tmp_path, f"version: 1\n{RULE}    min_score: 3\n    other: 1\n"))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(
    ["version: 1\n", "rules:\n", "  - id: a\n", "    rule: license\n", "    deny: [x]\n", "    min_score: 2\n", "waivers:\n",
     "  - rule: a\n", "extends: builtin:baseline\n", "{", "]", ": \n", "&a ", "*a\n", "!t ", "\t", "'", "\x07", "undecided: no\n"]
), max_size=12).map("".join))  # fmt: skip
def test_any_text_loads_or_is_a_policy_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = write(tmp_path_factory.getbasetemp(), text, "fuzz.yaml")
    try:
        assert load_policy(path).rules
    except PolicyError as error:
        assert str(error).isprintable()


def test_the_schema_is_sound_and_knows_every_rule() -> None:
    schema = policy_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    text = json.dumps(schema)
    for kind in ("declared-base", "undisclosed-base", "license", "origin", "format"):
        assert f'"const": "{kind}"' in text
    jsonschema.validate({"version": 1, "rules": [{"id": "a", "rule": "format", "deny": ["pickle"]}]}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"version": 1, "rules": [{"id": "a", "rule": "format"}]}, schema)


def test_the_starter_is_a_policy_and_is_explained(tmp_path: Path) -> None:
    policy = load_policy(write(tmp_path, STARTER.format(name="policy.yaml", title="mine")))
    text = explain(policy)
    assert policy.sha256 in text
    assert "0.70" in text
    assert "No waivers." in text


def test_waivers_are_explained(tmp_path: Path) -> None:
    lines = "".join(f"    {k}: {json.dumps(v)}\n" for k, v in WAIVER.items())
    text = explain(load_policy(write(tmp_path, f"version: 1\n{RULE}waivers:\n  -\n{lines}")))
    assert "Waived until 2027-01-31" in text
