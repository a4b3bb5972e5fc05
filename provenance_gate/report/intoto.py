"""A SLSA Verification Summary (https://slsa.dev/verification_summary/v1) of the run, for a signer.

`render` gives the in-toto Statement, `render_predicate` the predicate alone, for signers that take subjects apart (`checksums`).
What is attested does not follow what the pipeline tolerates: with `--fail-on never` a failed rule of severity error still
gives FAILED. Levels are words of our own, never SLSA's: no build was looked at.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timezone
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from provenance_gate.errors import UsageError
from provenance_gate.policy.evaluate import counts
from provenance_gate.policy.interface import FailOn, Finding, Status, Verdict
from provenance_gate.report.checksums import gated_files
from provenance_gate.report.cyclonedx.identifiers import repair_purl
from provenance_gate.report.escaping import clean, json_document, slug, uri_path
from provenance_gate.report.interface import Report, ReportOptions

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/verification_summary/v1"
VERIFIER = "urn:provenance-gate:verifier"
PASSED = "PROVENANCE_GATE_PASSED"
NO_WAIVERS = "PROVENANCE_GATE_NO_WAIVERS"
_RULE = "PROVENANCE_GATE_RULE_"


def render(report: Report, options: ReportOptions) -> str:
    """The statement as JSON, with a line end.

    Raises
    ------
    ReportError
        A file has no digest.
    UsageError
        No time is known: the format requires one.
    """
    return json_document(
        {
            "_type": STATEMENT_TYPE,
            "subject": [_subject(*file) for file in sorted(gated_files(report))],
            "predicateType": PREDICATE_TYPE,
            "predicate": _predicate(report, options),
        }
    )


def render_predicate(report: Report, options: ReportOptions) -> str:
    """The predicate as JSON, with a line end. Raises UsageError when no time is known."""
    return json_document(_predicate(report, options))


def _subject(name: str, digest: str, declared: bool) -> dict[str, Any]:
    # In full: two names that differ must not become one.
    subject: dict[str, Any] = {"name": clean(name, len(name)), "digest": {"sha256": digest}}
    return {**subject, "annotations": {"digest": "declared by its host, not computed"}} if declared else subject


def _predicate(report: Report, options: ReportOptions) -> dict[str, Any]:
    findings = [finding for result in report.results for finding in result.findings]
    passed = report.verdict is Verdict.PASS and not any(counts(f, FailOn.ERROR) for f in findings)
    predicate: dict[str, Any] = {
        "verifier": {"id": VERIFIER, "version": {"provenance-gate": clean(report.tool_version)}},
        "timeVerified": _time(report, options),
        "resourceUri": _resource(report, options),
        "policy": {
            "name": clean(report.policy.name),
            "uri": _policy_uri(report, options),
            "digest": {"sha256": report.policy.sha256},
        },
    }
    written = _written(options)
    if written:
        predicate["inputAttestations"] = written
    return {
        **predicate,
        "verificationResult": "PASSED" if passed else "FAILED",
        "verifiedLevels": _levels(findings) if passed else ["FAILED"],
    }


def _levels(findings: Iterable[Finding]) -> list[str]:
    """What a deployer may ask for: that the run passed, that nothing was waived for it, and each kind of rule it fully met."""
    statuses: dict[str, set[Status]] = {}
    for finding in findings:
        # What the gate adds of its own (PG9xx) speaks of waivers and baselines.
        if not finding.number.startswith("PG9"):
            statuses.setdefault(finding.kind, set()).add(finding.status)
    met = sorted(kind for kind, found in statuses.items() if found == {Status.PASS})
    waived = any(Status.WAIVED in found for found in statuses.values())
    words = [slug(kind).upper().replace("-", "_").replace(".", "_") for kind in met]
    return [PASSED, *([] if waived else [NO_WAIVERS]), *(f"{_RULE}{word}" for word in words)]


def _resource(report: Report, options: ReportOptions) -> str:
    """The package URL of the artifact; of several, one of the release, by the digest over theirs."""
    if len(report.results) == 1:
        return repair_purl(report.results[0].purl)
    digest = sha256("".join(f"{result.digest}\n" for result in report.results).encode()).hexdigest()
    name = quote(clean(options.release_name or "release").encode(), safe="")
    version = quote(clean(options.release_version or digest[:12]).encode(), safe="")
    return f"pkg:generic/{name}@{version}?checksum=sha256:{digest}"


def _policy_uri(report: Report, options: ReportOptions) -> str:
    file = report.policy.file
    if file.startswith("builtin:"):
        return f"builtin:{uri_path(file.removeprefix('builtin:'))}"
    return uri_path(options.repository_paths.get(file, file))


def _time(report: Report, options: ReportOptions) -> str:
    moment = report.timestamp or options.now
    if moment is None:
        raise UsageError("a verification summary needs a time: set SOURCE_DATE_EPOCH")
    # A time without a zone is taken as UTC: the machine's own zone must not reach the bytes.
    utc = moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment.astimezone(timezone.utc)
    return utc.strftime("%Y-%m-%dT%H:%M:%SZ")


def _written(options: ReportOptions) -> list[dict[str, Any]]:
    """The other reports of the run, which hold what the summary rests on: by file name and digest."""
    return [{"uri": uri_path(name), "digest": {"sha256": digest}} for name, digest in sorted(options.written)]
