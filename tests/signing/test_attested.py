"""Rule `attested`: both sides of each thing that a statement must be, signed with real keys."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.artifact.sources import LocalStore
from provenance_gate.errors import MalformedFileError, PolicyError
from provenance_gate.signing.interface import Material
from provenance_gate.signing.verify import check_signers, verify_rules
from tests.signing.build import POLICY, Key, answer, envelope, folder, material, refused, rule, statement, verified

pytest.importorskip("cryptography")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return folder(tmp_path / "model")


@pytest.fixture
def key(tmp_path: Path) -> Key:
    return Key(tmp_path, "ours")


def attest(model: Path, key: Key, payload: bytes | None = None, name: str = "a.dsse.json", **more: Any) -> None:
    payload = payload if payload is not None else statement([model / "model.safetensors"])
    (model / name).write_text(json.dumps(envelope(payload, key, **more)))


@pytest.mark.parametrize("kind", ["ed25519", "p256", "p384", "p521"])
def test_a_summary_signed_by_the_key_passes(kind: str, model: Path, tmp_path: Path) -> None:
    key = Key(tmp_path, "ours", kind)
    attest(model, key)
    found = verified(answer("attested", tmp_path, model, key="ours.pub"))
    evidence = dict(found.evidence)
    assert evidence["policy sha256"] == POLICY
    assert evidence["files"] == "1 covered"
    assert evidence["not covered"] == "README.md, a.dsse.json, config.json"
    assert "ours.pub" in found.signer


@pytest.mark.parametrize("name", ["a.intoto.jsonl", "a.intoto.json", "a.dsse.json"])
def test_statements_beside_the_model_are_found_by_their_names(name: str, model: Path, key: Key, tmp_path: Path) -> None:
    attest(model, key, name=name)
    assert verified(answer("attested", tmp_path, model, key="ours.pub")).file.startswith(name)


def test_a_statement_at_a_path_is_found_from_the_policy_file(model: Path, key: Key, tmp_path: Path) -> None:
    attest(model, key, name="a.dsse.json")
    (tmp_path / "kept").mkdir()
    (model / "a.dsse.json").rename(tmp_path / "kept" / "s.json")
    verified(answer("attested", tmp_path, model, key="ours.pub", statement="kept/s.json"))
    refused(answer("attested", tmp_path, model, key="ours.pub"), "no statement")
    refused(answer("attested", tmp_path, model, key="ours.pub", statement="absent.json"), "no statement")


def test_a_statement_of_a_single_file_lies_beside_it(key: Key, tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(b"GGUF and more")
    payload = statement([model])
    (tmp_path / "other.intoto.json").write_text("rubbish of another model")
    (tmp_path / "model.gguf.intoto.json").write_text(json.dumps(envelope(payload, key)))
    verified(answer("attested", tmp_path, model, key="ours.pub"))


def test_another_key_fails(model: Path, key: Key, tmp_path: Path) -> None:
    attest(model, Key(tmp_path, "theirs"))
    found = refused(answer("attested", tmp_path, model, key="ours.pub"), "wrong signer")
    assert "nothing in a.dsse.json is signed by key" in found.reason


def test_what_others_have_signed_is_passed_over_unread(model: Path, key: Key, tmp_path: Path) -> None:
    attest(model, Key(tmp_path, "theirs"), b"no statement at all", name="0.dsse.json")
    attest(model, key)
    assert verified(answer("attested", tmp_path, model, key="ours.pub")).file == "a.dsse.json"


def test_one_of_several_signatures_is_enough(model: Path, key: Key, tmp_path: Path) -> None:
    payload = statement([model / "model.safetensors"])
    both = envelope(payload, Key(tmp_path, "theirs"))
    both["signatures"] += envelope(payload, key)["signatures"]
    (model / "a.dsse.json").write_text(json.dumps(both))
    verified(answer("attested", tmp_path, model, key="ours.pub"))


def test_a_changed_payload_or_type_fails(model: Path, key: Key, tmp_path: Path) -> None:
    payload = statement([model / "model.safetensors"], {"verificationResult": "FAILED"})
    value = envelope(payload, key)
    value["payload"] = base64.b64encode(payload.replace(b"FAILED", b"PASSED")).decode()
    (model / "a.dsse.json").write_text(json.dumps(value))
    refused(answer("attested", tmp_path, model, key="ours.pub"), "wrong signer")
    value = {**envelope(statement([model / "model.safetensors"]), key), "payloadType": "text/plain"}
    (model / "a.dsse.json").write_text(json.dumps(value))
    refused(answer("attested", tmp_path, model, key="ours.pub"), "wrong signer")


def test_a_signature_over_the_bare_payload_does_not_count(model: Path, key: Key, tmp_path: Path) -> None:
    payload = statement([model / "model.safetensors"])
    value = envelope(payload, key)
    value["signatures"][0]["sig"] = base64.b64encode(key.sign(payload)).decode()
    (model / "a.dsse.json").write_text(json.dumps(value))
    refused(answer("attested", tmp_path, model, key="ours.pub"), "wrong signer")


def test_one_changed_byte_of_the_weights_fails(model: Path, key: Key, tmp_path: Path) -> None:
    attest(model, key)
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    found = refused(answer("attested", tmp_path, model, key="ours.pub"), "files not covered")
    assert "model.safetensors" in found.reason


def test_every_weight_file_must_be_covered(model: Path, key: Key, tmp_path: Path) -> None:
    attest(model, key)
    (model / "deep").mkdir()
    (model / "deep" / "more.bin").write_bytes(b"\x80\x02}q\0.")
    found = refused(answer("attested", tmp_path, model, key="ours.pub"), "files not covered")
    assert "deep/more.bin" in found.reason


def test_all_files_are_covered_where_the_policy_asks(model: Path, key: Key, tmp_path: Path) -> None:
    attest(model, key)
    refused(answer("attested", tmp_path, model, key="ours.pub", files="all"), "files not covered")
    attest(model, key, statement(f for f in model.iterdir() if f.suffix != ".json" or f.name == "config.json"))
    verified(answer("attested", tmp_path, model, key="ours.pub", files="all"))
    (model / "README.md").write_text("Another model.")
    refused(answer("attested", tmp_path, model, key="ours.pub", files="all"), "files not covered")
    verified(answer("attested", tmp_path, model, key="ours.pub"))


@pytest.mark.parametrize(
    ("predicate", "options", "matter"),
    [
        ({"verificationResult": "FAILED"}, {}, "not passed"),
        ({"verificationResult": "passed"}, {}, "not passed"),
        ({}, {"verifier": "urn:example:other"}, "other verifier"),
        ({}, {"policy_sha256": "cd" * 32}, "other policy"),
        ({"policy": {"uri": "x"}}, {"policy_sha256": POLICY}, "other policy"),
        ({}, {"levels": ["GATE_PASSED", "SLSA_BUILD_LEVEL_3"]}, "levels"),
        ({}, {"predicate_type": "https://slsa.dev/provenance/v1"}, "other type"),
    ],
)
def test_what_the_summary_lacks_is_named(
    predicate: dict[str, Any], options: dict[str, Any], matter: str, model: Path, key: Key, tmp_path: Path
) -> None:
    attest(model, key, statement([model / "model.safetensors"], predicate))
    refused(answer("attested", tmp_path, model, key="ours.pub", **options), matter)


def test_what_the_summary_has_passes(model: Path, key: Key, tmp_path: Path) -> None:
    attest(model, key)
    asked = {"verifier": "urn:example:gate", "policy_sha256": POLICY.upper(), "levels": ["GATE_PASSED"]}
    verified(answer("attested", tmp_path, model, key="ours.pub", **asked))


def test_another_type_of_statement_needs_no_result(model: Path, key: Key, tmp_path: Path) -> None:
    kind = "https://slsa.dev/provenance/v1"
    attest(model, key, statement([model / "model.safetensors"], predicateType=kind, predicate={"builder": 1}))
    verified(answer("attested", tmp_path, model, key="ours.pub", predicate_type=kind))
    attest(model, key, kind="application/json")
    refused(answer("attested", tmp_path, model, key="ours.pub"), "other type")


def test_what_cannot_be_read_is_an_error_and_not_an_answer(model: Path, key: Key, tmp_path: Path) -> None:
    (model / "a.dsse.json").write_text("rubbish")
    with pytest.raises(MalformedFileError, match=r"^a.dsse.json: not JSON"):
        answer("attested", tmp_path, model, key="ours.pub")
    attest(model, key, b"{}")
    with pytest.raises(MalformedFileError, match=r"^a.dsse.json: _type"):
        answer("attested", tmp_path, model, key="ours.pub")


@pytest.mark.parametrize(("kind", "said"), [("rsa", "RSAPublicKey"), ("k1", "secp256k1")])
def test_a_key_of_another_kind_is_a_fault_of_the_policy(kind: str, said: str, model: Path, tmp_path: Path) -> None:
    Key(tmp_path, "ours", kind)
    with pytest.raises(PolicyError, match=rf"policy.yaml:4: .*ours.pub: .*{said}"):
        check_signers([rule("attested", tmp_path, key="ours.pub")])


def test_a_private_key_or_no_key_is_a_fault_of_the_policy(model: Path, key: Key, tmp_path: Path) -> None:
    for name in ("ours.pem", "model/README.md", "absent.pub", "model"):
        with pytest.raises(PolicyError, match=r"policy.yaml:4: "):
            check_signers([rule("attested", tmp_path, key=name)])


def test_each_base_needs_a_statement_where_the_policy_asks(model: Path, key: Key, tmp_path: Path) -> None:
    first, second = folder(tmp_path / "first"), folder(tmp_path / "second")
    attest(first, key)
    attest(second, key)
    (second / "model.safetensors").write_bytes(b"other weights")
    entry = rule("attested", tmp_path, key="ours.pub", of="bases")
    # Their digests are taken only now.
    bases = [Material(at.name, LocalStore(at), LocalStore(at).files()) for at in (first, second)]
    bases.append(Material("third", None, ()))
    one, two, three = verify_rules([entry], material(model), bases)["it"]
    assert [v.model for v in (one, two, three)] == ["first", "second", "third"]
    verified(one.answer)
    refused(two.answer, "files not covered")
    assert three.answer == NotMeasured("the files of third are not at hand")


def test_without_bases_or_weights_nothing_is_decided(model: Path, key: Key, tmp_path: Path) -> None:
    assert isinstance(answer("attested", tmp_path, model, key="ours.pub", of="bases"), NotMeasured)
    (model / "model.safetensors").unlink()
    assert isinstance(answer("attested", tmp_path, model, key="ours.pub"), NotMeasured)
