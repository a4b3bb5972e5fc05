"""In-toto statements about a model, signed by a key of the policy.

A statement counts when the key signed it, its type is the one demanded, it covers the weights by SHA-256, and, where it is a
verification summary, says PASSED and what else the policy asks. Statements by others are passed over unread.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from provenance_gate.artifact.interface import FileRecord, NotMeasured
from provenance_gate.errors import one_line
from provenance_gate.signing.dsse import IN_TOTO, LARGEST, Envelope, read_envelopes
from provenance_gate.signing.files import named, read_beside, read_path, statements_beside
from provenance_gate.signing.interface import (
    STATEMENT_SUFFIXES,
    VERIFICATION_SUMMARY,
    Material,
    Refused,
    StatementDemand,
    Verified,
)
from provenance_gate.signing.keys import PublicKey
from provenance_gate.signing.statement import Statement, parse_statement, parse_summary

_MOST_FILES = 32
_REMEDY = "attest these files: verify them with the gate that the policy asks for, and sign its summary"


def verify_statement(demand: StatementDemand, key: PublicKey, material: Material) -> Verified | Refused | NotMeasured:
    """Look for a statement that meets the demand.

    Raises
    ------
    MalformedFileError
        A file is no envelope, or what the key signed is no statement.
    ArtifactError
        A file cannot be read.
    MissingLibraryError
        The extra `signing` is not installed.
    """
    if material.store is None:
        return NotMeasured(f"the files of {one_line(material.name, 120)} are not at hand")
    beside = statements_beside(material)
    if demand.statement is None and len(beside) > _MOST_FILES:
        return NotMeasured(f"{len(beside):,} files beside the model may hold statements; name one in the policy")
    wanted = _wanted(demand, material, beside)
    if isinstance(wanted, NotMeasured):
        return wanted
    envelopes = _envelopes(demand, material, beside)
    if not envelopes:
        where = one_line(str(demand.statement), 200) if demand.statement else f"*{', *'.join(STATEMENT_SUFFIXES)}"
        return Refused("no statement", f"there is no signed statement: {where}", _REMEDY)
    problems: list[tuple[str, str]] = []
    for envelope in envelopes:
        if not any(key.made(signature, envelope.signed_bytes) for signature in envelope.signatures):
            continue
        if envelope.payload_type != IN_TOTO:
            problems.append(("other type", f"{envelope.where} holds {one_line(envelope.payload_type, 80)}"))
            continue
        statement = parse_statement(envelope.payload, envelope.where)
        problem = _problem(statement, demand, wanted)
        if problem is None:
            return Verified(str(key), envelope.where, _evidence(statement, demand, key, material, wanted))
        problems.append(problem)
    if not problems:
        where = named(PurePosixPath(e.where) for e in envelopes)
        return Refused("wrong signer", f"nothing in {where} is signed by {key}", _REMEDY)
    matter, reason = problems[0]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return Refused(matter, f"{reason}{more}", _REMEDY, (("signer", str(key)),))


def _wanted(
    demand: StatementDemand, material: Material, beside: Sequence[PurePosixPath]
) -> tuple[FileRecord, ...] | NotMeasured:
    """The files that must be covered, each with its digest."""
    wanted = [f for f in material.files if f.format is not None or (demand.all_files and f.path not in beside)]
    if not any(f.format is not None for f in wanted):
        return NotMeasured("there is no weight file that a statement could cover")
    if material.store is not None and any(isinstance(f.sha256, NotMeasured) for f in wanted):
        wanted = list(material.store.digests(wanted))
    for record in wanted:
        if isinstance(record.sha256, NotMeasured):
            return NotMeasured(f"{one_line(str(record.path), 120)}: {record.sha256.reason}")
    return tuple(wanted)


def _envelopes(demand: StatementDemand, material: Material, beside: Iterable[PurePosixPath]) -> tuple[Envelope, ...]:
    if demand.statement is not None:
        data = read_path(demand.statement, LARGEST)
        return () if data is None else read_envelopes(data, one_line(str(demand.statement), 200))
    found: list[Envelope] = []
    for path in beside:
        data = read_beside(material, path, LARGEST)
        found += [] if data is None else read_envelopes(data, one_line(str(path), 200))
    return tuple(found)


def _problem(statement: Statement, demand: StatementDemand, wanted: Sequence[FileRecord]) -> tuple[str, str] | None:
    """What keeps a signed statement from counting: a word and a sentence."""
    where = statement.where
    if statement.predicate_type != demand.predicate_type:
        return "other type", f"{where} states {one_line(statement.predicate_type, 120)}, not {demand.predicate_type}"
    uncovered = [f.path for f in wanted if f.sha256 not in statement.digests]
    if uncovered:
        return "files not covered", f"{where} is not about the bytes of {named(uncovered)}"
    if statement.predicate_type != VERIFICATION_SUMMARY:
        return None
    summary = parse_summary(statement)
    if summary.result != "PASSED":
        return "not passed", f"{where} says {one_line(summary.result, 40)}, not PASSED"
    if demand.verifier is not None and summary.verifier != demand.verifier:
        return "other verifier", f"{where} is by verifier {one_line(summary.verifier, 120)}"
    if demand.policy_sha256 is not None and summary.policy_sha256 != demand.policy_sha256:
        found = f"sha256 {summary.policy_sha256}" if summary.policy_sha256 else "no digest"
        return "other policy", f"{where} rests on a policy with {found}, expected {demand.policy_sha256}"
    lacking = sorted(set(demand.levels) - set(summary.levels))
    if lacking:
        return "levels", f"{where} lacks {', '.join(one_line(level, 80) for level in lacking)}"
    return None


def _evidence(
    statement: Statement, demand: StatementDemand, key: PublicKey, material: Material, wanted: Sequence[FileRecord]
) -> tuple[tuple[str, str], ...]:
    """What the answer rests on, and what it does not cover."""
    pairs = [("signer", str(key)), ("statement", statement.where), ("predicate", statement.predicate_type)]
    pairs.append(("files", f"{len(wanted):,} covered"))
    if any(f.declared for f in wanted):
        pairs.append(("digests", "as the host of the model states them"))
    if statement.predicate_type == VERIFICATION_SUMMARY:
        summary = parse_summary(statement)
        pairs += [
            ("verifier", one_line(summary.verifier, 120)),
            ("policy sha256", summary.policy_sha256 or "not stated"),
        ]
        pairs.append(("levels", one_line(", ".join(summary.levels), 200)))
    paths = {f.path for f in wanted}
    others = [
        f.path
        for f in material.files
        if f.path not in paths and (isinstance(f.sha256, NotMeasured) or f.sha256 not in statement.digests)
    ]
    if others and not demand.all_files:
        pairs.append(("not covered", named(others)))
    return tuple(pairs)
