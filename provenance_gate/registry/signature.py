"""A detached Ed25519 signature (RFC 8032) over the bytes of ``index.json``: 64 raw bytes, as OpenSSL writes them.

::

    openssl genpkey -algorithm ed25519 -out key.pem
    openssl pkey -in key.pem -pubout -out key.pub.pem
    openssl pkeyutl -sign -rawin -inkey key.pem -in index.json -out index.json.sig

The index lists the digest of every other file, so that one signature covers the registry.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from provenance_gate.errors import RegistryError, UsageError, one_line
from provenance_gate.registry.place import read_regular

SIGNATURE_BYTES = 64
_LARGEST_KEY = 16 << 10


def check_signature(data: bytes, signature: bytes, keys: Sequence[Path], where: str) -> None:
    """Accept `signature` if one of the public keys made it over `data`.

    Parameters
    ----------
    keys
        PEM files of Ed25519 public keys; at least one.
    where
        What messages call the signature.

    Raises
    ------
    RegistryError
        The signature has another length, or none of the keys made it.
    UsageError
        A key cannot be used, or the extra `signing` is not installed.
    """
    public = [load_public_key(path) for path in keys]
    if len(signature) != SIGNATURE_BYTES:
        raise RegistryError(
            f"{where}: {len(signature)} bytes, expected the {SIGNATURE_BYTES} of a raw Ed25519 signature"
        )
    invalid = _library("cryptography.exceptions").InvalidSignature
    for key in public:
        try:
            key.verify(signature, data)
        except invalid:
            continue
        return
    names = ", ".join(one_line(str(path), 80) for path in keys)
    raise RegistryError(f"{where}: not made over this index with the private key of {names}")


def load_public_key(path: Path) -> Any:
    """An Ed25519 public key. Raises UsageError naming the file."""
    try:
        text = read_regular(path, str(path), _LARGEST_KEY)
    except RegistryError as error:
        raise UsageError(str(error)) from error
    serialization = _library("cryptography.hazmat.primitives.serialization")
    ed25519 = _library("cryptography.hazmat.primitives.asymmetric.ed25519")
    unsupported = _library("cryptography.exceptions").UnsupportedAlgorithm
    try:
        key: Any = serialization.load_pem_public_key(text)
    except (ValueError, TypeError, unsupported) as error:
        raise UsageError(f"{path}: expected a PEM file with an Ed25519 public key") from error
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise UsageError(f"{path}: expected an Ed25519 public key, found {type(key).__name__.strip('_')}")
    return key


def _library(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            "checking a signature needs a package that is not installed: pip install 'provenance-gate[signing]'"
        ) from error
