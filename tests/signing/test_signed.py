"""Rule `signed`: signatures made by OpenSSF model signing itself; both sides of what the gate asks beyond that project."""

from __future__ import annotations

import base64
import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.artifact.sources import LocalStore
from provenance_gate.errors import ChangedFileError, MalformedFileError, PolicyError, UnreachableError
from provenance_gate.signing.interface import Material
from provenance_gate.signing.verify import check_signers, verify_rules
from tests.signing.build import (
    Key,
    answer,
    bundle,
    envelope,
    folder,
    material,
    refused,
    rule,
    sha256,
    statement,
    verified,
)

pytest.importorskip("model_signing")
pytest.importorskip("OpenSSL")


def sign(
    model: Path, key: Key, signature: Path | None = None, ignore: tuple[str, ...] = (), git: bool = False, **how: Any
) -> None:
    """As `model_signing sign key` does; `git`: with ``--no-ignore-git-paths``."""
    from model_signing import hashing, signing

    signature = signature or model / "model.sig"
    config = hashing.Config()
    if "shard_size" in how:
        config.use_shard_serialization(**how)
    else:
        config.use_file_serialization(**how)
    config.set_ignored_paths(paths=[signature.name, *ignore], ignore_git_paths=not git)
    signer = signing.Config().use_elliptic_key_signer(private_key=key.secret)
    signer.set_hashing_config(config).sign(model, signature)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return folder(tmp_path / "model")


@pytest.fixture
def key(tmp_path: Path) -> Key:
    return Key(tmp_path, "ours", "p256")


@pytest.mark.parametrize("kind", ["p256", "p384", "p521"])
def test_a_signed_folder_passes(kind: str, model: Path, tmp_path: Path) -> None:
    sign(model, Key(tmp_path, "ours", kind))
    found = verified(answer("signed", tmp_path, model, key="ours.pub"))
    evidence = dict(found.evidence)
    assert (evidence["files"], evidence["not covered"]) == ("3 covered", "model.sig")
    assert len(evidence["signed digest"]) == 64


@pytest.mark.parametrize(
    "how",
    [
        {"hashing_algorithm": "blake2"},
        {"hashing_algorithm": "blake3"},
        {"hashing_algorithm": "sha256", "shard_size": 8},
        {"hashing_algorithm": "blake2", "shard_size": 1000},
    ],
)
def test_every_way_of_hashing_is_read_from_the_signature(
    how: dict[str, Any], model: Path, key: Key, tmp_path: Path
) -> None:
    sign(model, key, **how)
    verified(answer("signed", tmp_path, model, key="ours.pub"))
    (model / "config.json").write_text("[]")
    refused(answer("signed", tmp_path, model, key="ours.pub"), "other content")


def test_a_single_file_is_signed_beside_it(key: Key, tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(b"GGUF and more")
    sign(model, key, tmp_path / "model.gguf.sig")
    verified(answer("signed", tmp_path, model, key="ours.pub", signature="model.gguf.sig"))
    model.write_bytes(b"GGUF and mere")
    found = refused(answer("signed", tmp_path, model, key="ours.pub", signature="model.gguf.sig"), "other content")
    assert "changed: ." in found.reason


def change(model: Path) -> None:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")


def add(model: Path) -> None:
    (model / "modeling.py").write_text("import os")


def remove(model: Path) -> None:
    (model / "config.json").unlink()


def cache(model: Path) -> None:
    (model / "__pycache__").mkdir()
    (model / "__pycache__" / "modeling.cpython-311.pyc").write_bytes(b"code")


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (change, "changed: model.safetensors"),
        (add, "not signed: modeling.py"),
        (remove, "missing: config.json"),
        (cache, "__pycache__"),
    ],
)
def test_files_that_are_not_as_they_were_signed_fail(
    tamper: Any, said: str, model: Path, key: Key, tmp_path: Path
) -> None:
    sign(model, key)
    tamper(model)
    assert said in refused(answer("signed", tmp_path, model, key="ours.pub"), "other content").reason


def test_a_link_that_was_no_link_when_it_was_signed_fails(model: Path, key: Key, tmp_path: Path) -> None:
    sign(model, key)
    (model / "config.json").rename(model / "other.json")
    (model / "config.json").symlink_to("other.json")
    refused(answer("signed", tmp_path, model, key="ours.pub"), "other content")


def test_another_key_fails(model: Path, key: Key, tmp_path: Path) -> None:
    sign(model, Key(tmp_path, "theirs", "p256"))
    assert "ours.pub" in refused(answer("signed", tmp_path, model, key="ours.pub"), "wrong signer").reason


def test_a_hint_at_the_right_key_does_not_help_another(model: Path, key: Key, tmp_path: Path) -> None:
    sign(model, key)
    ours = json.loads((model / "model.sig").read_text())["verificationMaterial"]
    sign(model, Key(tmp_path, "theirs", "p256"))
    value = {**json.loads((model / "model.sig").read_text()), "verificationMaterial": ours}
    (model / "model.sig").write_text(json.dumps(value))
    refused(answer("signed", tmp_path, model, key="ours.pub"), "wrong signer")


def test_no_signature_fails(model: Path, key: Key, tmp_path: Path) -> None:
    refused(answer("signed", tmp_path, model, key="ours.pub"), "no signature")


def test_a_signature_under_another_name_is_found(model: Path, key: Key, tmp_path: Path) -> None:
    sign(model, key, tmp_path / "made elsewhere")
    (tmp_path / "made elsewhere").rename(model / "release.sig")
    verified(answer("signed", tmp_path, model, key="ours.pub", signature="release.sig"))


def test_weights_that_the_signer_left_out_are_not_signed(model: Path, key: Key, tmp_path: Path) -> None:
    (model / "more.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      more")
    sign(model, key, ignore=("more.safetensors",))
    for excused in ([], ["more.safetensors"]):
        found = refused(answer("signed", tmp_path, model, key="ours.pub", unsigned=excused), "files not covered")
        assert "more.safetensors" in found.reason


@pytest.mark.parametrize("hidden", ["docs/notes.md", "__pycache__/x.pyc", ".github/x.yml"])
def test_other_files_that_the_signer_left_out_need_the_policys_leave(
    hidden: str, model: Path, key: Key, tmp_path: Path
) -> None:
    (model / hidden).parent.mkdir()
    (model / hidden).write_text("x")
    top = hidden.partition("/")[0]
    sign(model, key, ignore=(top,))
    assert top in refused(answer("signed", tmp_path, model, key="ours.pub"), "files not covered").reason
    verified(answer("signed", tmp_path, model, key="ours.pub", unsigned=[top]))


def test_files_added_later_need_the_policys_leave(model: Path, key: Key, tmp_path: Path) -> None:
    sign(model, key)
    (model / "a.dsse.json").write_text("{}")
    refused(answer("signed", tmp_path, model, key="ours.pub"), "other content")
    found = verified(answer("signed", tmp_path, model, key="ours.pub", unsigned=["a.dsse.json", "README.md"]))
    assert dict(found.evidence)["not covered"] == "a.dsse.json, model.sig"
    (model / "README.md").write_text("Another.")
    refused(answer("signed", tmp_path, model, key="ours.pub", unsigned=["a.dsse.json", "README.md"]), "other content")


def test_a_folder_that_is_signed_in_part_may_hold_more(model: Path, key: Key, tmp_path: Path) -> None:
    (model / "docs").mkdir()
    (model / "docs" / "signed.md").write_text("x")
    sign(model, key)
    (model / "docs" / "more.md").write_text("x")
    verified(answer("signed", tmp_path, model, key="ours.pub", unsigned=["docs"]))
    for number in range(1000):
        (model / "docs" / f"{number}.md").write_text("x")
    found = refused(answer("signed", tmp_path, model, key="ours.pub", unsigned=["docs"]), "files not covered")
    assert "1,002 files" in found.reason
    (model / "docs" / "signed.md").unlink()
    refused(answer("signed", tmp_path, model, key="ours.pub", unsigned=["docs"]), "files not covered")


def test_git_files_are_left_out_as_the_project_does(model: Path, key: Key, tmp_path: Path) -> None:
    sign(model, key)
    (model / ".gitattributes").write_text("*.safetensors filter=lfs")
    verified(answer("signed", tmp_path, model, key="ours.pub"))


def test_git_files_that_were_signed_are_checked(model: Path, key: Key, tmp_path: Path) -> None:
    (model / ".gitattributes").write_text("*.safetensors filter=lfs")
    sign(model, key, git=True)
    verified(answer("signed", tmp_path, model, key="ours.pub"))
    (model / ".gitattributes").write_text("")
    refused(answer("signed", tmp_path, model, key="ours.pub"), "other content")


def test_an_unreadable_signature_is_an_error_and_not_an_answer(model: Path, key: Key, tmp_path: Path) -> None:
    for text in ("", "rubbish", "{}", json.dumps(bundle(b"{}")), "[" * 100_000):
        (model / "model.sig").write_text(text)
        with pytest.raises(MalformedFileError, match=r"^model.sig: "):
            answer("signed", tmp_path, model, key="ours.pub")


def test_fields_that_only_the_library_reads_are_errors_too(model: Path, key: Key, tmp_path: Path) -> None:
    sign(model, key)
    good = json.loads((model / "model.sig").read_text())
    for material_ in ({"publicKey": {"hint": 5}}, {"publicKey": {"hint": "x"}, "tlogEntries": 5}):
        (model / "model.sig").write_text(json.dumps({**good, "verificationMaterial": material_}))
        with pytest.raises(MalformedFileError, match=r"^model.sig: not a model signature"):
            answer("signed", tmp_path, model, key="ours.pub")


def test_a_signed_shard_size_cannot_fill_the_memory(model: Path, key: Key, tmp_path: Path) -> None:
    sign(model, key, hashing_algorithm="sha256", shard_size=1)
    with (model / "model.safetensors").open("ab") as file:
        file.truncate(2_000_000)
    with pytest.raises(MalformedFileError, match="shard_size: 1 is too small"):
        answer("signed", tmp_path, model, key="ours.pub")


def test_bytes_that_change_between_two_readings_are_an_error(model: Path, key: Key, tmp_path: Path) -> None:
    sign(model, key)
    seen = material(model)
    change(model)
    (model / "model.sig").unlink()
    sign(model, key)
    with pytest.raises(ChangedFileError, match=r"model.safetensors"):
        verify_rules([rule("signed", tmp_path, key="ours.pub")], seen)


def test_an_old_signature_prints_nothing_on_standard_output(
    model: Path, key: Key, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sign(model, key)
    value = json.loads((model / "model.sig").read_text())
    value["verificationMaterial"] = {"publicKey": {}}
    (model / "model.sig").write_text(json.dumps(value))
    verified(answer("signed", tmp_path, model, key="ours.pub"))
    assert capsys.readouterr().out == ""


def test_an_ed25519_key_or_no_key_is_a_fault_of_the_policy(model: Path, tmp_path: Path) -> None:
    Key(tmp_path, "ours")
    for name in ("ours.pub", "absent.pub", "model/README.md"):
        with pytest.raises(PolicyError, match=r"policy.yaml:4: "):
            check_signers([rule("signed", tmp_path, key=name)])


def test_a_signature_in_the_form_of_the_first_releases_is_read(model: Path, key: Key, tmp_path: Path) -> None:
    payload = statement(model.iterdir(), predicateType="https://model_signing/Digests/v0.1", predicate={})
    hint = sha256(key.public)
    value = bundle(verificationMaterial={"publicKey": {"hint": hint}}, dsseEnvelope=envelope(payload, key))
    (tmp_path / "model.sig").write_text(json.dumps(value))
    (tmp_path / "model.sig").rename(model / "model.sig")
    # These say nothing of files that are left out; git's were.
    (model / ".gitattributes").write_text("*.safetensors filter=lfs")
    verified(answer("signed", tmp_path, model, key="ours.pub"))
    add(model)
    refused(answer("signed", tmp_path, model, key="ours.pub"), "other content")


def test_a_model_that_is_not_on_disk_is_undecided(model: Path, key: Key, tmp_path: Path) -> None:
    sign(model, key)
    cached = Material("m", LocalStore(model, location="hf://acme/m@main"), LocalStore(model).files())
    ((found,),) = verify_rules([rule("signed", tmp_path, key="ours.pub")], cached).values()
    assert isinstance(found.answer, NotMeasured)
    ((found,),) = verify_rules([rule("signed", tmp_path, key="ours.pub")], Material("m", None, ())).values()
    assert isinstance(found.answer, NotMeasured)


def certificates(at: Path, key: Key, name: str) -> tuple[Path, Path]:
    """A certificate authority and a certificate for `key`, in PEM."""
    from datetime import datetime, timedelta, timezone

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.x509.oid import NameOID

    authority = Key(at, f"{name}-authority", "p256")
    start = datetime(2026, 1, 1, tzinfo=timezone.utc)
    usage = dict.fromkeys(
        ["content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign"], False
    )

    def issue(subject: str, public: Any, *, ca: bool) -> Path:
        builder = x509.CertificateBuilder(
            issuer_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} authority")]),
            subject_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]),
            public_key=public,
            serial_number=x509.random_serial_number(),
            not_valid_before=start,
            not_valid_after=start + timedelta(days=3650),
        ).add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        flags = x509.KeyUsage(
            digital_signature=True, key_cert_sign=ca, encipher_only=False, decipher_only=False, **usage
        )
        certificate = builder.add_extension(flags, critical=True).sign(authority.private, hashes.SHA256())
        path = at / f"{subject}.crt".replace(" ", "-")
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return path

    chain = issue(f"{name} authority", authority.private.public_key(), ca=True)
    return chain, issue(f"{name} signer", key.private.public_key(), ca=False)


def test_a_certificate_must_lead_to_those_of_the_policy(model: Path, key: Key, tmp_path: Path) -> None:
    from model_signing import signing

    ours, leaf = certificates(tmp_path, key, "ours")
    theirs, _ = certificates(tmp_path, key, "theirs")
    config = signing.Config().use_certificate_signer(
        private_key=key.secret, signing_certificate=leaf, certificate_chain=[ours]
    )
    config.sign(model, tmp_path / "model.sig")
    shutil.move(tmp_path / "model.sig", model / "model.sig")
    with warnings.catch_warnings():
        # pyOpenSSL announces changes to its maker, not to us.
        warnings.simplefilter("ignore")
        verified(answer("signed", tmp_path, model, certificate={"chain": ours.name}))
        refused(answer("signed", tmp_path, model, certificate={"chain": theirs.name}), "wrong signer")
        refused(answer("signed", tmp_path, model, key="ours.pub"), "wrong signer")
        with pytest.raises(PolicyError, match="expected certificates in PEM"):
            answer("signed", tmp_path, model, certificate={"chain": "ours.pub"})
        value = json.loads((model / "model.sig").read_text())
        chain = value["verificationMaterial"]["x509CertificateChain"]["certificates"]
        chain[0]["rawBytes"] = base64.b64encode(b"rubbish").decode()
        (model / "model.sig").write_text(json.dumps(value))
        with pytest.raises(MalformedFileError, match=r"not an X.509 certificate"):
            answer("signed", tmp_path, model, certificate={"chain": ours.name})


WHO = {"identity": "release@acme.example", "issuer": "https://accounts.acme.example"}


def test_an_identity_is_asked_of_sigstore_only(model: Path, key: Key, tmp_path: Path) -> None:
    sign(model, key)
    refused(answer("signed", tmp_path, model, sigstore=WHO), "wrong signer")


def test_without_a_trust_root_an_identity_cannot_be_checked(model: Path, key: Key, tmp_path: Path) -> None:
    ours, _ = certificates(tmp_path, key, "ours")
    raw = base64.b64encode(b"".join(base64.b64decode(x) for x in ours.read_text().split("\n")[1:-2])).decode()
    (model / "model.sig").write_text(json.dumps(bundle(verificationMaterial={"certificate": {"rawBytes": raw}})))
    with pytest.raises(UnreachableError, match="offline"):
        answer("signed", tmp_path, model, sigstore=WHO)
    (tmp_path / "trust.json").write_text("{}")
    with pytest.raises(PolicyError, match=r"trust.json: expected a client trust configuration"):
        answer("signed", tmp_path, model, sigstore={**WHO, "trust_config": "trust.json"})


def test_the_payload_must_say_what_was_signed(model: Path, key: Key, tmp_path: Path) -> None:
    sign(model, key)
    value = json.loads((model / "model.sig").read_text())
    payload = base64.b64decode(value["dsseEnvelope"]["payload"]).replace(b"README.md", b"README.MD")
    value["dsseEnvelope"] = {**value["dsseEnvelope"], "payload": base64.b64encode(payload).decode()}
    (model / "model.sig").write_text(json.dumps(value))
    refused(answer("signed", tmp_path, model, key="ours.pub"), "wrong signer")
    value["dsseEnvelope"] = envelope(payload, key)
    (model / "model.sig").write_text(json.dumps(value))
    refused(answer("signed", tmp_path, model, key="ours.pub"), "other content")
