"""Files with signatures that a stranger wrote: one line that names the file, whatever they hold; no library is needed for it."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenance_gate.errors import ArtifactError, MalformedFileError, PolicyError, ProvenanceGateError
from provenance_gate.signing.bundle import read_coverage
from provenance_gate.signing.dsse import LARGEST, read_envelopes
from provenance_gate.signing.files import read_path
from provenance_gate.signing.interface import Place
from provenance_gate.signing.keys import read_named
from provenance_gate.signing.statement import parse_statement, parse_summary
from tests.signing.build import IN_TOTO, bundle, envelope, signed_files, statement


def dump(value: object) -> bytes:
    return json.dumps(value).encode()


GOOD = envelope(b"{}", None)
BAD_ENVELOPES: list[tuple[bytes, str]] = [
    (b"", "not JSON"),
    (b"[]", "expected an object"),
    (b"\xff\xfe", "UTF-8"),
    (b"{" * 100_000, "not JSON"),
    (b'{"a":' * 5000 + b"1" + b"}" * 5000, "nested"),
    (b'{"payload": "", "payload": ""}', "twice"),
    (dump({**GOOD, "payload": "%%%"}), "payload: not base64"),
    (dump({**GOOD, "payload": "\u00e9"}), "payload: not base64"),
    (dump({**GOOD, "payload": 7}), "payload: expected a string"),
    (dump({k: v for k, v in GOOD.items() if k != "payloadType"}), "payloadType: expected a string, found nothing"),
    (dump({**GOOD, "payloadType": "x" * 1000}), "payloadType"),
    (dump({**GOOD, "signatures": []}), "signatures"),
    (dump({**GOOD, "signatures": GOOD["signatures"] * 17}), "signatures"),
    (dump({**GOOD, "signatures": [{"sig": "QUFB" * 1000}]}), "sig: 3,000 bytes"),
    (dump({**GOOD, "signatures": [{"sig": ""}]}), "sig: 0 bytes"),
    (dump({**GOOD, "signatures": ["QUFB"]}), "signatures"),
    (dump({**GOOD, "payload_type": IN_TOTO}), "no field"),
    (dump({"dsseEnvelope": []}), "dsseEnvelope"),
]


@pytest.mark.parametrize(("data", "said"), BAD_ENVELOPES, ids=range(len(BAD_ENVELOPES)))
def test_what_is_no_envelope_is_one_error_that_names_file_and_field(data: bytes, said: str) -> None:
    with pytest.raises(MalformedFileError, match=r"^evil.dsse.json: ") as caught:
        read_envelopes(data, "evil.dsse.json")
    assert said in str(caught.value)


def test_a_file_of_lines_is_read_line_by_line_and_names_the_line() -> None:
    line = dump(GOOD)
    assert [e.where for e in read_envelopes(line + b"\n\n" + line + b"\n", "a.jsonl")] == ["a.jsonl:1", "a.jsonl:3"]
    with pytest.raises(MalformedFileError, match=r"^a.jsonl:2: "):
        read_envelopes(line + b"\n{", "a.jsonl")
    with pytest.raises(MalformedFileError, match="257 lines"):
        read_envelopes((line + b"\n") * 257, "a.jsonl")
    with pytest.raises(MalformedFileError, match="0 lines"):
        read_envelopes(b"\n\n", "a.jsonl")


def test_an_envelope_within_a_sigstore_bundle_is_found() -> None:
    (found,) = read_envelopes(dump({"mediaType": "x", "dsseEnvelope": GOOD}), "a.json")
    assert (found.payload, found.payload_type) == (b"{}", IN_TOTO)


def test_both_alphabets_of_base64_are_read() -> None:
    payload = b"\xfb\xff\xfe{}?"
    for text in (base64.b64encode(payload), base64.urlsafe_b64encode(payload)):
        (found,) = read_envelopes(dump({**GOOD, "payload": text.decode()}), "a.json")
        assert found.payload == payload


def test_the_signed_bytes_are_those_of_the_specification() -> None:
    (found,) = read_envelopes(dump(envelope(b"hello world", None, "http://example.com/HelloWorld")), "a.json")
    # The example in the specification's protocol page.
    assert found.signed_bytes == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_a_file_over_the_limit_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    with pytest.raises(MalformedFileError, match="expected at most"):
        read_envelopes(bytes(LARGEST + 1), "big.json")
    with pytest.raises(MalformedFileError, match="expected at most"):
        read_coverage(bytes(LARGEST + 1), "model.sig")
    with (tmp_path / "big").open("wb") as file:
        file.truncate(LARGEST + 1)
    with pytest.raises(MalformedFileError, match="more than"):
        read_path(tmp_path / "big", LARGEST)


def test_what_is_no_regular_file_does_not_hold_the_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArtifactError, match="not a regular file"):
        read_path(tmp_path / "pipe", 100)
    with pytest.raises(PolicyError, match=r"^policy.yaml:3: .*regular file"):
        read_named(tmp_path / "pipe", Place("policy.yaml", 3))
    assert read_path(tmp_path / "absent", 100) is None
    with pytest.raises(PolicyError, match="No such file"):
        read_named(tmp_path / "absent", Place("policy.yaml", 3))


BAD_STATEMENTS: list[tuple[dict[str, Any], str]] = [
    ({"_type": "https://example.com/other"}, "_type"),
    ({"_type": 1}, "_type"),
    ({"subject": []}, "subject: 0 entries"),
    ({"subject": {}}, "subject: expected a list"),
    ({"subject": ["x"]}, "subject"),
    ({"subject": [{"name": "x"}]}, "digest: expected an object, found nothing"),
    ({"subject": [{"digest": {"sha256": "short"}}]}, "'short' is no SHA-256"),
    ({"subject": [{"digest": {"sha256": 5}}]}, "sha256: expected a string"),
    ({"subject": [{"digest": {"md5": "00"}}]}, "no SHA-256 digest"),
    ({"predicate": []}, "predicate: expected an object"),
    ({"predicateType": None}, "predicateType"),
]


@pytest.mark.parametrize(("change", "said"), BAD_STATEMENTS, ids=range(len(BAD_STATEMENTS)))
def test_what_is_no_statement_is_one_error(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"w")
    good = json.loads(statement([tmp_path / "w"]))
    parse_statement(dump(good), "s")
    with pytest.raises(MalformedFileError, match=r"^s: ") as caught:
        parse_statement(dump({**good, **change}), "s")
    assert said in str(caught.value)


BAD_SUMMARIES: list[tuple[dict[str, Any], str]] = [
    ({"verificationResult": None}, "verificationResult"),
    ({"verifier": "me"}, "verifier"),
    ({"verifier": {}}, "verifier: id"),
    ({"policy": 1}, "policy"),
    ({"policy": {"digest": []}}, "digest"),
    ({"policy": {"digest": {"sha256": "zz"}}}, "SHA-256"),
    ({"verifiedLevels": "all"}, "verifiedLevels"),
    ({"verifiedLevels": [1]}, "verifiedLevels"),
]


@pytest.mark.parametrize(("change", "said"), BAD_SUMMARIES, ids=range(len(BAD_SUMMARIES)))
def test_what_is_no_verification_summary_is_one_error(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"w")
    with pytest.raises(MalformedFileError, match=r"^s: predicate") as caught:
        parse_summary(parse_statement(statement([tmp_path / "w"], change), "s"))
    assert said in str(caught.value)


def test_what_a_model_signature_covers_is_read() -> None:
    found = read_coverage(dump(bundle(signed_files(ignore_paths=["model.sig", ".git"]))), "model.sig")
    assert found.files == {PurePosixPath("model.safetensors"): "cd" * 32}
    assert found.ignored == (PurePosixPath("model.sig"), PurePosixPath(".git"))
    assert (found.algorithm, found.shard_size, found.root) == ("sha256", None, "ef" * 32)


BAD_BUNDLES: list[tuple[object, str]] = [
    ([], "expected an object"),
    (bundle(mediaType="text/plain"), "mediaType"),
    (bundle(media_type="x"), "no field"),
    (bundle(dsse_envelope={}), "no field"),
    (bundle(verificationMaterial={}), "verificationMaterial"),
    (bundle(verificationMaterial={"publicKey": {}, "certificate": {}}), "verificationMaterial"),
    (bundle(verificationMaterial={"publicKey": []}), "publicKey: expected an object"),
    (bundle(verificationMaterial={"certificate": {"rawBytes": "%"}}), "rawBytes: not base64"),
    (bundle(verificationMaterial={"x509CertificateChain": {"certificates": []}}), "certificates: 0 entries"),
    (
        bundle(verificationMaterial={"x509CertificateChain": {"certificates": [1]}}),
        "expected an object, found an integer",
    ),
    (bundle(dsseEnvelope=None), "dsseEnvelope"),
    (bundle(dsseEnvelope=envelope(b"{}", None, "text/plain")), "one signature over a payload"),
    (bundle(b"[]"), "payload: expected an object"),
    (bundle(b"{}"), "predicateType"),
    (bundle(b'{"predicateType": "x"}'), "no model signature"),
    (bundle(b'{"predicateType": "x", "predicateType": "y"}'), "twice"),
    (bundle(signed_files(hash_type="md5")), "hash_type: 'md5'"),
    (bundle(signed_files(method="tensors")), "method: 'tensors'"),
    (bundle(signed_files(method="shards")), "shard_size"),
    (bundle(signed_files(method="shards", shard_size=0)), "shard_size"),
    (bundle(signed_files(method="shards", shard_size=1.5)), "shard_size"),
    (bundle(signed_files(method="shards", shard_size=100)), "path:start:end"),
    (bundle(signed_files(ignore_paths="model")), "ignore_paths"),
    (bundle(signed_files(ignore_paths=[1])), "ignore_paths"),
]


@pytest.mark.parametrize(("value", "said"), BAD_BUNDLES, ids=range(len(BAD_BUNDLES)))
def test_what_is_no_model_signature_is_one_error(value: object, said: str) -> None:
    with pytest.raises(MalformedFileError, match=r"^model.sig: ") as caught:
        read_coverage(dump(value), "model.sig")
    assert said in str(caught.value)


TEXT = st.text("ab/.\u202e\0", max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(TEXT, children, max_size=3),
    max_leaves=8,
)
FIELDS = ["payload", "payloadType", "signatures", "mediaType", "verificationMaterial", "dsseEnvelope"]


@given(st.dictionaries(st.sampled_from(FIELDS), JSON | st.just(GOOD) | st.just({"publicKey": {}})))
def test_no_json_gets_past_the_readers_in_any_other_way(value: dict[str, Any]) -> None:
    for read in (read_envelopes, read_coverage):
        try:
            read(dump(value), "x")
        except ProvenanceGateError as error:
            assert type(error) is MalformedFileError and str(error).isprintable()


@given(JSON, st.sampled_from(["_type", "subject", "predicateType", "predicate"]))
def test_no_payload_gets_past_them_either(value: object, field: str) -> None:
    good = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {"sha256": "ab" * 32}}],
        "predicateType": "t",
        "predicate": {},
    }
    payload = dump({**good, field: value})
    for read in (
        lambda: parse_summary(parse_statement(payload, "x")),
        lambda: read_coverage(dump(bundle(payload)), "x"),
    ):
        with pytest.raises(MalformedFileError):
            read()
