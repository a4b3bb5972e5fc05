"""DSSE envelopes (https://github.com/secure-systems-lab/dsse, v1.0.2), bare or within a Sigstore bundle.

Reading one checks its form only. The payload is bytes until a signature over it was checked.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from provenance_gate.artifact.jsonfile import kind_of, load_json_object
from provenance_gate.errors import MalformedFileError, one_line

LARGEST: Final = 32 << 20
"""Bytes of a file with signatures. A statement about 20,000 files has 4 MB."""
IN_TOTO: Final = "application/vnd.in-toto+json"
_MOST_LINES = 256
_MOST_SIGNATURES = 16
_LONGEST_SIGNATURE = 1024
_FIELDS = frozenset({"payload", "payloadType", "signatures"})


@dataclass(frozen=True, slots=True)
class Envelope:
    """A payload and signatures that claim to be over it. `where` names file and line."""

    where: str
    payload_type: str
    payload: bytes
    signatures: tuple[bytes, ...]

    @property
    def signed_bytes(self) -> bytes:
        """What a signature is made over: the pre-authentication encoding, in which type and payload cannot be confused."""
        kind = self.payload_type.encode()
        return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(self.payload), self.payload)


def read_envelopes(data: bytes, name: str) -> tuple[Envelope, ...]:
    """The envelopes of a file: one JSON object, or one a line where `name` ends in ``.jsonl``.

    Raises
    ------
    MalformedFileError
        Too large, too many lines, no JSON, or no envelope.
    """
    check_size(data, name)
    if not name.endswith(".jsonl"):
        return (_envelope(data, name),)
    lines = [(number, line) for number, line in enumerate(data.split(b"\n"), 1) if line.strip()]
    if not 0 < len(lines) <= _MOST_LINES:
        raise MalformedFileError(f"{name}: {len(lines):,} lines, expected 1 to {_MOST_LINES}, each with an envelope")
    return tuple(_envelope(line, f"{name}:{number}") for number, line in lines)


def check_size(data: bytes, name: str) -> None:
    """Raises MalformedFileError above `LARGEST` bytes."""
    if len(data) > LARGEST:
        raise MalformedFileError(f"{name}: {len(data):,} bytes, expected at most {LARGEST:,}")


def _envelope(data: bytes, where: str) -> Envelope:
    value = load_json_object(data, where)
    if "dsseEnvelope" in value:
        return parse_envelope(object_of(value, "dsseEnvelope", where), where)
    return parse_envelope(value, where)


def parse_envelope(value: Mapping[str, object], where: str) -> Envelope:
    """The envelope that a JSON object holds. Raises MalformedFileError; keys that it does not know are refused."""
    unknown = sorted(set(value) - _FIELDS)
    if unknown:
        raise MalformedFileError(f"{where}: {one_line(unknown[0], 60)!r} is no field of a DSSE envelope")
    signatures = value.get("signatures")
    if not isinstance(signatures, list) or not 0 < len(signatures) <= _MOST_SIGNATURES:
        raise MalformedFileError(f"{where}: signatures: expected a list of 1 to {_MOST_SIGNATURES}")
    return Envelope(
        where,
        text_of(value, "payloadType", where, 200),
        bytes_of(value, "payload", where),
        tuple(_signature(entry, where) for entry in signatures),
    )


def _signature(entry: object, where: str) -> bytes:
    if not isinstance(entry, dict) or not set(entry) <= {"sig", "keyid"}:
        raise MalformedFileError(f"{where}: signatures: expected objects with sig and keyid")
    found = bytes_of(entry, "sig", f"{where}: signatures")
    if not 0 < len(found) <= _LONGEST_SIGNATURE:
        raise MalformedFileError(f"{where}: signatures: sig: {len(found):,} bytes, expected 1 to {_LONGEST_SIGNATURE}")
    return found


def bytes_of(value: Mapping[str, object], field: str, where: str) -> bytes:
    """The base64 in a field, decoded. Raises MalformedFileError."""
    text = text_of(value, field, where, 2 * LARGEST)
    try:
        # Both alphabets are allowed by the specification.
        return base64.b64decode(text.replace("-", "+").replace("_", "/").encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise MalformedFileError(f"{where}: {field}: not base64") from error


def object_of(value: Mapping[str, object], field: str, where: str) -> dict[str, object]:
    """The object in a field. Raises MalformedFileError."""
    found = value.get(field)
    if not isinstance(found, dict):
        raise MalformedFileError(f"{where}: {field}: expected an object, found {_found(value, field)}")
    return found


def list_of(value: Mapping[str, object], field: str, where: str, most: int) -> list[object]:
    """The list in a field, of 1 to `most` entries. Raises MalformedFileError."""
    found = value.get(field)
    if not isinstance(found, list):
        raise MalformedFileError(f"{where}: {field}: expected a list, found {_found(value, field)}")
    if not 0 < len(found) <= most:
        raise MalformedFileError(f"{where}: {field}: {len(found):,} entries, expected 1 to {most:,}")
    return found


def text_of(value: Mapping[str, object], field: str, where: str, longest: int = 4096) -> str:
    """The string in a field. Raises MalformedFileError."""
    found = value.get(field)
    if not isinstance(found, str):
        raise MalformedFileError(f"{where}: {field}: expected a string, found {_found(value, field)}")
    if len(found) > longest:
        raise MalformedFileError(f"{where}: {field}: {len(found):,} characters, expected at most {longest:,}")
    return found


def _found(value: Mapping[str, object], field: str) -> str:
    return kind_of(value[field]) if field in value else "nothing"
