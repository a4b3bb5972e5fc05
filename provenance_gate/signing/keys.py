"""Public keys that a policy names: Ed25519 (RFC 8032) and ECDSA over P-256, P-384 and P-521, in PEM."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provenance_gate.errors import PolicyError, one_line
from provenance_gate.signing.interface import Place
from provenance_gate.signing.library import library

_LARGEST = 256 << 10
_DIGEST_OF_CURVE = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key and how a reader recognizes it. `digest`: SHA-256 of its DER form; `curve`: None for Ed25519."""

    path: Path
    digest: str
    curve: str | None
    _key: Any

    def __str__(self) -> str:
        return f"key {one_line(str(self.path), 120)} (sha256 {self.digest[:16]})"

    def made(self, signature: bytes, data: bytes) -> bool:
        """Whether the private key to this one made `signature` over `data`. ECDSA: in DER, with the hash of the curve's size."""
        invalid = library("cryptography.exceptions").InvalidSignature
        try:
            if self.curve is None:
                self._key.verify(signature, data)
            else:
                hashes = library("cryptography.hazmat.primitives.hashes")
                ec = library("cryptography.hazmat.primitives.asymmetric.ec")
                self._key.verify(signature, data, ec.ECDSA(getattr(hashes, _DIGEST_OF_CURVE[self.curve])()))
        except invalid:
            return False
        return True


def load_key(path: Path, place: Place) -> PublicKey:
    """Raises PolicyError where the file cannot be used, MissingLibraryError without the extra."""
    data = read_named(path, place)
    serialization = library("cryptography.hazmat.primitives.serialization")
    unsupported = library("cryptography.exceptions").UnsupportedAlgorithm
    try:
        key: Any = serialization.load_pem_public_key(data)
    except (ValueError, TypeError, unsupported) as error:
        raise _fault(path, place, "expected a public key in PEM, of type Ed25519 or ECDSA") from error
    kind = type(key).__name__.strip("_")
    curve = getattr(getattr(key, "curve", None), "name", None)
    if not (kind.startswith("Ed25519") or (kind.startswith(("EC", "Elliptic")) and curve in _DIGEST_OF_CURVE)):
        raise _fault(
            path, place, f"expected a key of type Ed25519 or ECDSA (P-256, P-384, P-521), found {curve or kind}"
        )
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(path, hashlib.sha256(key.public_bytes(*form)).hexdigest(), curve, key)


def read_named(path: Path, place: Place) -> bytes:
    """A small regular file that a policy names. Raises PolicyError."""
    try:
        # Non-blocking: a named pipe would otherwise hold the reader for ever.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise _fault(path, place, "expected a regular file")
            data = file.read(_LARGEST + 1)
    except (OSError, ValueError) as error:
        raise _fault(path, place, getattr(error, "strerror", None) or "no such file") from error
    if len(data) > _LARGEST:
        raise _fault(path, place, f"expected at most {_LARGEST:,} bytes")
    return data


def _fault(path: Path, place: Place, problem: str) -> PolicyError:
    return PolicyError(f"{one_line(str(path), 200)}: {problem}", file=place.file, line=place.line)
