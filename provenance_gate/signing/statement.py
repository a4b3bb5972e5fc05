"""In-toto statements (https://in-toto.io/Statement/v1) and SLSA verification summaries, parsed from a payload that is signed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from provenance_gate.artifact.interface import Sha256
from provenance_gate.artifact.jsonfile import load_json_object
from provenance_gate.errors import MalformedFileError, one_line
from provenance_gate.signing.dsse import list_of, object_of, text_of

_TYPES = frozenset({"https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"})
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
MOST_SUBJECTS: Final = 100_000


@dataclass(frozen=True, slots=True)
class Statement:
    """What is said (`predicate_type`, `predicate`) about which bytes (`digests`; names of subjects are not evidence)."""

    where: str
    predicate_type: str
    digests: frozenset[Sha256]
    predicate: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Summary:
    """A verification summary: who verified, by which policy, with which result. None: the summary does not say."""

    result: str
    verifier: str
    policy_sha256: str | None
    levels: tuple[str, ...]


def parse_statement(payload: bytes, where: str) -> Statement:
    """Raises MalformedFileError."""
    value = load_json_object(payload, f"{where}: payload")
    found = text_of(value, "_type", where)
    if found not in _TYPES:
        raise MalformedFileError(f"{where}: _type: {one_line(found, 80)!r} is no in-toto statement")
    digests = set()
    for subject in list_of(value, "subject", where, MOST_SUBJECTS):
        if not isinstance(subject, dict):
            raise MalformedFileError(f"{where}: subject: expected objects")
        digest = object_of(subject, "digest", f"{where}: subject")
        if "sha256" in digest:
            digests.add(sha256_of(digest, "sha256", f"{where}: subject: digest"))
    if not digests:
        raise MalformedFileError(f"{where}: subject: no SHA-256 digest")
    predicate = object_of(value, "predicate", where) if value.get("predicate") is not None else {}
    return Statement(where, text_of(value, "predicateType", where), frozenset(digests), predicate)


def parse_summary(statement: Statement) -> Summary:
    """The predicate of a statement of type ``verification_summary/v1``. Raises MalformedFileError."""
    where, predicate = f"{statement.where}: predicate", statement.predicate
    policy = object_of(predicate, "policy", where)
    digest = object_of(policy, "digest", f"{where}: policy") if "digest" in policy else {}
    levels = predicate.get("verifiedLevels", [])
    if not isinstance(levels, list) or len(levels) > 1000 or not all(isinstance(x, str) for x in levels):
        raise MalformedFileError(f"{where}: verifiedLevels: expected a list of strings")
    return Summary(
        result=text_of(predicate, "verificationResult", where),
        verifier=text_of(object_of(predicate, "verifier", where), "id", f"{where}: verifier"),
        policy_sha256=sha256_of(digest, "sha256", f"{where}: policy: digest") if "sha256" in digest else None,
        levels=tuple(levels),
    )


def sha256_of(value: Mapping[str, object], field: str, where: str) -> Sha256:
    """The digest in a field, in lower case. Raises MalformedFileError."""
    text = text_of(value, field, where).lower()
    if not _SHA256.fullmatch(text):
        raise MalformedFileError(f"{where}: {field}: {one_line(text, 80)!r} is no SHA-256 digest")
    return Sha256(text)
