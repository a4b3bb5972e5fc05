"""Envelopes, statements and bundles as other tools write them, made without the code under test."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from provenance_gate.artifact.sources import LocalStore
from provenance_gate.signing.interface import Material, Refused, Verified
from provenance_gate.signing.verify import verify_rules

IN_TOTO = "application/vnd.in-toto+json"
SUMMARY = "https://slsa.dev/verification_summary/v1"
POLICY = "ab" * 32


def folder(at: Path) -> Path:
    """Files that look like a model to an inventory."""
    at.mkdir(parents=True)
    (at / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      weights")
    (at / "config.json").write_text("{}")
    (at / "README.md").write_text("A model.")
    return at


def material(at: Path, name: str = "model") -> Material:
    store = LocalStore(at)
    return Material(name, store, store.digests(store.files()))


def rule(kind: str, at: Path, **options: Any) -> SimpleNamespace:
    """An entry of a policy that lies in the folder `at`."""
    return SimpleNamespace(id="it", kind=kind, options=options, file=str(at / "policy.yaml"), line=4)


def answer(kind: str, at: Path, model: Path, *, offline: bool = True, **options: Any) -> Any:
    """What the one rule of a policy in `at` gets to know about a model."""
    ((found,),) = verify_rules([rule(kind, at, **options)], material(model), offline=offline).values()
    return found.answer


def refused(found: Any, matter: str) -> Refused:
    assert isinstance(found, Refused), found
    assert found.matter == matter, found
    assert found.reason.isprintable() and found.remedy
    return found


def verified(found: Any) -> Verified:
    assert isinstance(found, Verified), found
    return found


class Key:
    """A private key, and the file of the public one."""

    def __init__(self, at: Path, name: str, kind: str = "ed25519") -> None:
        pytest.importorskip("cryptography")
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

        curves = {"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1(), "k1": ec.SECP256K1()}
        self.private: Any
        if kind == "ed25519":
            self.private = ed25519.Ed25519PrivateKey.generate()
        elif kind == "rsa":
            self.private = rsa.generate_private_key(65537, 2048)
        else:
            self.private = ec.generate_private_key(curves[kind])
        self.public, self.secret = at / f"{name}.pub", at / f"{name}.pem"
        self.public.write_bytes(
            self.private.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        self.secret.write_bytes(
            self.private.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    def sign(self, data: bytes) -> bytes:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        curve = getattr(self.private, "curve", None)
        if curve is None:
            return bytes(self.private.sign(data))
        digest = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}[curve.key_size]
        return bytes(self.private.sign(data, ec.ECDSA(digest)))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def statement(files: Iterable[Path], predicate: Mapping[str, Any] | None = None, **more: Any) -> bytes:
    """A verification summary of these files that passed, unless told otherwise."""
    summary = {
        "verifier": {"id": "urn:example:gate"},
        "timeVerified": "2026-01-01T00:00:00Z",
        "resourceUri": "pkg:generic/model",
        "policy": {"uri": "policy.yaml", "digest": {"sha256": POLICY}},
        "verificationResult": "PASSED",
        "verifiedLevels": ["GATE_PASSED", "GATE_NO_WAIVERS"],
    }
    return json.dumps(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": f.name, "digest": {"sha256": sha256(f)}} for f in files],
            "predicateType": SUMMARY,
            "predicate": {**summary, **(predicate or {})},
            **more,
        }
    ).encode()


def envelope(payload: bytes, key: Key | None, kind: str = IN_TOTO) -> dict[str, Any]:
    """DSSE v1.0.2, as its specification says it."""
    signed = b" ".join([b"DSSEv1", str(len(kind)).encode(), kind.encode(), str(len(payload)).encode(), payload])
    signature = key.sign(signed) if key else b"x" * 64
    return {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": kind,
        "signatures": [{"keyid": "", "sig": base64.b64encode(signature).decode()}],
    }


def bundle(payload: bytes | None = None, **more: Any) -> dict[str, Any]:
    """A model signature in form, made by nobody."""
    return {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": "00"}, "tlogEntries": []},
        "dsseEnvelope": envelope(payload if payload is not None else signed_files(), None),
        **more,
    }


def signed_files(**serialization: Any) -> bytes:
    """The payload of a model signature."""
    resource = {"name": "model.safetensors", "algorithm": "sha256", "digest": "cd" * 32}
    settings = {"method": "files", "hash_type": "sha256", "allow_symlinks": False, **serialization}
    return json.dumps(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "model", "digest": {"sha256": "ef" * 32}}],
            "predicateType": "https://model_signing/signature/v1.0",
            "predicate": {"serialization": settings, "resources": [resource]},
        }
    ).encode()
