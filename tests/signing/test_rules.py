"""From answers about signatures to findings, and what a policy may say about them."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from subprocess import run
from typing import Any

import pytest

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.errors import PolicyError
from provenance_gate.policy.interface import Status
from provenance_gate.policy.load import load_policy
from provenance_gate.policy.rules import RULES
from provenance_gate.signing.interface import Place, Refused, SignatureDemand, Verification, Verified
from provenance_gate.signing.library import MissingLibraryError
from provenance_gate.signing.verify import check_signers, demand_of, verify_rules
from tests.policy.build import subject
from tests.signing.build import folder, material, rule

KINDS = {r.kind: r for r in RULES}
EVIL = "evil\x1b[2J\u202e\n::error::"


def policy(at: Path, *lines: str) -> str:
    path = at / "policy.yaml"
    path.write_text("version: 1\nrules:\n" + "".join(f"  {line}\n" for line in lines))
    return str(path)


@pytest.mark.parametrize("kind", ["signed", "attested"])
def test_each_answer_has_its_status(kind: str) -> None:
    answers: list[tuple[Any, Status]] = [
        (Verified("key k.pub", "model.sig", (("files", "3 covered"),)), Status.PASS),
        (Refused("wrong signer", "not ours", "sign it"), Status.FAIL),
        (NotMeasured("remote"), Status.UNDECIDED),
    ]
    for found, status in answers:
        given = replace(subject(), rule_id="it", verifications={"it": (Verification("child", found),)})
        (outcome,) = KINDS[kind].evaluate({"key": "k.pub"}, given)
        assert outcome.status is status
        assert outcome.message and outcome.key
        assert ("model", "child") in outcome.evidence
        assert bool(outcome.remedy) is (status is not Status.PASS)


@pytest.mark.parametrize("kind", ["signed", "attested"])
def test_the_answer_to_another_rule_is_not_taken(kind: str) -> None:
    passed = Verification("child", Verified("key k.pub", "model.sig", ()))
    given = replace(subject(), rule_id="it", verifications={"other": (passed,)})
    (outcome,) = KINDS[kind].evaluate({"key": "k.pub"}, given)
    assert outcome.status is Status.UNDECIDED


def test_one_base_that_is_refused_is_a_failure_of_its_own() -> None:
    answers = (Verification("a", Verified("k", "f", ())), Verification(EVIL, Refused("wrong signer", "no", "sign it")))
    given = replace(subject(), rule_id="it", verifications={"it": answers})
    first, second = KINDS["attested"].evaluate({"key": "k.pub", "of": "bases"}, given)
    assert (first.status, second.status) == (Status.PASS, Status.FAIL)
    assert second.message.isprintable() and second.key.isprintable()


def test_paths_are_relative_to_the_policy_file(tmp_path: Path) -> None:
    path = policy(tmp_path, "- id: it", "  rule: signed", "  key: keys/ours.pub", "  unsigned: [docs]")
    (entry,) = load_policy(path).rules
    demand = demand_of(entry)
    assert isinstance(demand, SignatureDemand)
    assert str(tmp_path / "keys" / "ours.pub") in str(demand.signer)
    assert Place("builtin:release", 1).path("ours.pub") == Path("ours.pub")
    assert demand_of(rule("license", tmp_path)) is None


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["rule: signed"], "exactly one of the keys 'key' or 'certificate' or 'sigstore'"),
        (["rule: signed", "key: a", "certificate: {chain: b}"], "exactly one of the keys"),
        (["rule: signed", "key: a", "signature: ../model.sig"], "signature"),
        (["rule: signed", "key: a", "signature: /model.sig"], "signature"),
        (["rule: signed", "key: a", "unsigned: [docs/../../x]"], "does not match"),
        (["rule: signed", "sigstore: {identity: a}"], "issuer"),
        (["rule: signed", "certificate: {}"], "chain"),
        (["rule: attested"], "missing key 'key'"),
        (["rule: attested", "key: a", "policy_sha256: abc"], "policy_sha256"),
        (["rule: attested", "key: a", "of: everything"], "accepted: artifact, bases"),
        (["rule: attested", "key: a", "levels: []"], "the list is empty"),
    ],
)
def test_a_policy_that_says_too_much_or_too_little_is_refused(lines: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"policy.yaml:\d+:\d+: ") as caught:
        load_policy(policy(tmp_path, "- id: it", *(f"  {line}" for line in lines)))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("signed", {"key": "k.pub"}, "All files of the model must be signed (model.sig) by the key k.pub."),
        ("signed", {"certificate": {"chain": "c.pem"}, "unsigned": ["docs"]}, "but for docs, must be"),
        ("signed", {"sigstore": {"identity": "a@b", "issuer": "https://i"}}, "a@b through Sigstore (https://i)"),
        ("attested", {"key": "k.pub"}, "about all weight files of the model must be signed by the key k.pub"),
        (
            "attested",
            {"key": "k", "of": "bases", "files": "all", "levels": ["X"]},
            "(levels X) about all files of each base",
        ),
    ],
)
def test_the_rules_say_in_words_what_they_check(kind: str, options: dict[str, Any], said: str) -> None:
    assert said in KINDS[kind].explain(options)


def test_a_policy_without_these_rules_asks_nothing(tmp_path: Path) -> None:
    assert verify_rules([rule("license", tmp_path)], material(folder(tmp_path / "model"))) == {}


@pytest.mark.parametrize(("kind", "extra"), [("signed", "model-signing"), ("attested", "signing")])
def test_without_its_package_a_rule_says_what_to_install(
    kind: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "k.pub").write_text("")
    for name in ("cryptography", "model_signing", "model_signing.verifying"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in [n for n in sys.modules if n.startswith("cryptography.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingLibraryError, match=rf"provenance-gate\[{extra}\]") as caught:
        check_signers([rule(kind, tmp_path, key="k.pub")])
    assert caught.value.exit_code == 3


def test_the_command_line_does_not_load_what_signatures_need() -> None:
    code = (
        "import sys, provenance_gate.cli, provenance_gate.gate, provenance_gate.policy.load\n"
        "print([n for n in sys.modules if n.split('.')[0] in ('cryptography', 'model_signing', 'sigstore', 'OpenSSL')])"
    )
    found = run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "[]"
