"""What an OpenSSF model signature says that it covers (https://model_signing/signature/v1.0), read before it is believed.

The signing project's own reader loads whatever JSON it is given. This one checks size, depth, duplicate keys and types first, and
refuses fields that it does not know where two spellings of a field could let two readers see two payloads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePosixPath
from typing import Final

from provenance_gate.artifact.interface import Sha256
from provenance_gate.artifact.jsonfile import load_json_object
from provenance_gate.errors import MalformedFileError, one_line
from provenance_gate.signing.dsse import IN_TOTO, bytes_of, check_size, list_of, object_of, parse_envelope, text_of
from provenance_gate.signing.statement import sha256_of

PREDICATE: Final = "https://model_signing/signature/v1.0"
OLD_PREDICATE: Final = "https://model_signing/Digests/v0.1"
MOST_RESOURCES: Final = 1_000_000
_MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle"
_FIELDS = frozenset({"mediaType", "verificationMaterial", "dsseEnvelope"})
_MOST_IGNORED = 1_000
_MOST_CERTIFICATES = 16
_ALGORITHMS: Final = {"sha256": "sha256", "blake2": "blake2", "blake2b": "blake2", "blake3": "blake3"}
"""As signatures name them, and as the project's hashing configuration does."""


class Checkable(str, Enum):
    """By what a signature can be checked."""

    KEY = "publicKey"
    CHAIN = "x509CertificateChain"
    CERTIFICATE = "certificate"


@dataclass(frozen=True, slots=True)
class Coverage:
    """How the files were hashed, and what the signature leaves out and covers.

    `by`: what can check it; `certificates` in DER, the signer's first. `shard_size` in bytes, None: whole files. `files`:
    relative paths, ``.`` for a single file, with their SHA-256 where the signature states one. `root`: the digest over all,
    empty in old signatures.
    """

    by: Checkable
    certificates: tuple[bytes, ...]
    algorithm: str
    shard_size: int | None
    ignored: tuple[PurePosixPath, ...]
    files: Mapping[PurePosixPath, Sha256 | None]
    root: str


def read_coverage(data: bytes, name: str) -> Coverage:
    """Raises MalformedFileError naming the field; nothing of the answer is to be believed before the signature was checked."""
    check_size(data, name)
    value = load_json_object(data, name)
    unknown = sorted(set(value) - _FIELDS)
    if unknown:
        raise MalformedFileError(f"{name}: {one_line(unknown[0], 60)!r} is no field of a Sigstore bundle")
    media = text_of(value, "mediaType", name)
    if not media.startswith(_MEDIA_TYPE):
        raise MalformedFileError(f"{name}: mediaType: {one_line(media, 80)!r} is no Sigstore bundle")
    by, certificates = _material(object_of(value, "verificationMaterial", name), name)
    envelope = parse_envelope(object_of(value, "dsseEnvelope", name), name)
    if envelope.payload_type != IN_TOTO or len(envelope.signatures) != 1:
        raise MalformedFileError(f"{name}: dsseEnvelope: expected one signature over a payload of type {IN_TOTO}")
    payload = load_json_object(envelope.payload, f"{name}: payload")
    predicate_type = text_of(payload, "predicateType", name)
    if predicate_type == OLD_PREDICATE:
        return Coverage(by, certificates, "sha256", None, (), _old(payload, name), "")
    if predicate_type != PREDICATE:
        raise MalformedFileError(f"{name}: predicateType: {one_line(predicate_type, 80)!r} is no model signature")
    return _current(payload, by, certificates, name)


def _material(value: Mapping[str, object], name: str) -> tuple[Checkable, tuple[bytes, ...]]:
    found = [m for m in Checkable if m.value in value]
    if len(found) != 1:
        raise MalformedFileError(
            f"{name}: verificationMaterial: expected one of {', '.join(m.value for m in Checkable)}"
        )
    where, content = f"{name}: {found[0].value}", object_of(value, found[0].value, name)
    match found[0]:
        case Checkable.KEY:
            return found[0], ()
        case Checkable.CERTIFICATE:
            return found[0], (bytes_of(content, "rawBytes", where),)
        case Checkable.CHAIN:
            entries = list_of(content, "certificates", where, _MOST_CERTIFICATES)
            each = [object_of({"certificate": entry}, "certificate", where) for entry in entries]
            return found[0], tuple(bytes_of(entry, "rawBytes", where) for entry in each)


def _old(payload: Mapping[str, object], name: str) -> dict[PurePosixPath, Sha256 | None]:
    """Version 0.2 of the project listed the files as subjects and had SHA-256 of whole files only."""
    files: dict[PurePosixPath, Sha256 | None] = {}
    for subject in list_of(payload, "subject", name, MOST_RESOURCES):
        if not isinstance(subject, dict):
            raise MalformedFileError(f"{name}: subject: expected objects")
        digest = sha256_of(object_of(subject, "digest", f"{name}: subject"), "sha256", f"{name}: subject: digest")
        files[PurePosixPath(text_of(subject, "name", f"{name}: subject"))] = digest
    return files


def _current(payload: Mapping[str, object], by: Checkable, certificates: tuple[bytes, ...], name: str) -> Coverage:
    predicate = object_of(payload, "predicate", name)
    settings = object_of(predicate, "serialization", f"{name}: predicate")
    where = f"{name}: serialization"
    algorithm = text_of(settings, "hash_type", where)
    if algorithm not in _ALGORITHMS:
        raise MalformedFileError(f"{where}: hash_type: {one_line(algorithm, 40)!r}; known: {', '.join(_ALGORITHMS)}")
    method = text_of(settings, "method", where)
    if method not in ("files", "shards"):
        raise MalformedFileError(f"{where}: method: {one_line(method, 40)!r}; known: files, shards")
    shard_size = _shard_size(settings, where) if method == "shards" else None
    ignored = list_of(settings, "ignore_paths", where, _MOST_IGNORED) if settings.get("ignore_paths") else []
    if not all(isinstance(path, str) for path in ignored):
        raise MalformedFileError(f"{where}: ignore_paths: expected strings")
    files: dict[PurePosixPath, Sha256 | None] = {}
    for resource in list_of(predicate, "resources", f"{name}: predicate", MOST_RESOURCES):
        if not isinstance(resource, dict):
            raise MalformedFileError(f"{name}: resources: expected objects")
        path, digest = _resource(resource, method, f"{name}: resources")
        files[path] = digest
    subject = list_of(payload, "subject", name, 1)[0]
    root = object_of(subject, "digest", f"{name}: subject") if isinstance(subject, dict) else {}
    return Coverage(
        by,
        certificates,
        _ALGORITHMS[algorithm],
        shard_size,
        tuple(PurePosixPath(str(path)) for path in ignored),
        files,
        sha256_of(root, "sha256", f"{name}: subject: digest"),
    )


def _resource(resource: Mapping[str, object], method: str, where: str) -> tuple[PurePosixPath, Sha256 | None]:
    path = text_of(resource, "name", where)
    text_of(resource, "digest", where)
    if method == "shards":
        path, *ends = path.split(":")
        if len(ends) != 2 or not all(end.isascii() and end.isdigit() and len(end) < 20 for end in ends):
            raise MalformedFileError(f"{where}: name: expected path:start:end")
        return PurePosixPath(path), None
    whole = text_of(resource, "algorithm", where) == "sha256"
    return PurePosixPath(path), sha256_of(resource, "digest", where) if whole else None


def _shard_size(settings: Mapping[str, object], where: str) -> int:
    """Written as a float by the project: its JSON comes from a protobuf structure."""
    size = settings.get("shard_size")
    if isinstance(size, bool) or not isinstance(size, (int, float)) or size != int(size) or not 0 < size < 2**62:
        raise MalformedFileError(f"{where}: shard_size: expected a number of bytes")
    return int(size)
