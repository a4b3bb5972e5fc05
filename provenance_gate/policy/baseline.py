"""Baselines: findings that stood when a gate was introduced, so that only what is new fails.

A baseline accepts a finding of the same fingerprint and status, at the same severity or a lighter one, once per entry: an open
question that becomes a failure counts again, and so does a second artifact of one name. A baseline has no owner, reason or end;
therefore it accepts nothing that the gate says about waivers and baselines (PG9xx), and cannot prolong an expired waiver.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from provenance_gate.artifact.jsonfile import load_json_object
from provenance_gate.errors import MalformedFileError, PolicyError, ReportError, UsageError, one_line
from provenance_gate.policy.interface import Finding, Severity, Status, Undecided

SCHEMA = "provenance-gate-baseline/1"
RESOLVED = "PG903"
MAX_BYTES = 1 << 24
"""Some 30,000 findings."""

_OWN = "PG9"
_WEIGHT = {Severity.NOTE: 0, Severity.WARNING: 1, Severity.ERROR: 2}
_KEYS = frozenset({"fingerprint", "number", "rule", "artifact", "severity", "status", "message"})
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class Accepted:
    """One accepted finding. `status` is FAIL or UNDECIDED; `rule`, `message` are for readers and match nothing."""

    fingerprint: str
    number: str
    rule: str
    artifact: str
    severity: Severity
    status: Status
    message: str


@dataclass(frozen=True, slots=True)
class Baseline:
    """A baseline file, read. `file` is its path as the user wrote it."""

    file: str
    entries: tuple[Accepted, ...]


def load_baseline(path: Path) -> Baseline:
    """Read a baseline.

    Raises
    ------
    PolicyError
        There is no such file, it is too long, not JSON, or not a baseline.
    """
    name = one_line(str(path))
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise PolicyError(
            f"cannot read the baseline: {getattr(error, 'strerror', None) or error}", file=name
        ) from error
    if len(data) > MAX_BYTES:
        raise PolicyError(f"more than {MAX_BYTES} bytes", file=name)
    try:
        document = load_json_object(data, name)
    except MalformedFileError as error:
        raise PolicyError(str(error).removeprefix(f"{name}: "), file=name) from error
    if document.get("schema") != SCHEMA:
        raise PolicyError(f"schema: expected {SCHEMA!r}, found {_shown(document.get('schema'))}", file=name)
    if set(document) != {"schema", "findings"}:
        raise PolicyError(f"expected the keys schema and findings, found {_shown(sorted(document))}", file=name)
    findings = document["findings"]
    if not isinstance(findings, list):
        raise PolicyError("findings: expected a list", file=name)
    return Baseline(name, tuple(_entry(entry, f"findings[{at}]", name) for at, entry in enumerate(findings)))


def write_baseline(path: Path, results: Iterable[tuple[str, Sequence[Finding]]]) -> int:
    """Write what is open of (artifact name, findings) pairs, and return how many entries that is. Never overwrites.

    Raises
    ------
    UsageError
        The file exists.
    ReportError
        It cannot be written.
    """
    text, count = baseline_text(results)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise UsageError(f"{path} exists: a baseline is never overwritten; remove it first") from error
    except OSError as error:
        raise ReportError(f"{path}: {error.strerror}") from error
    return count


def baseline_text(results: Iterable[tuple[str, Sequence[Finding]]]) -> tuple[str, int]:
    """The file as text, and the number of its entries; equal findings give equal bytes in any order."""
    entries = [
        {
            "fingerprint": finding.fingerprint,
            "number": one_line(finding.number),
            "rule": one_line(finding.rule_id),
            "artifact": _name(artifact),
            "severity": finding.severity.value,
            "status": finding.status.value,
            "message": one_line(finding.message, 500),
        }
        for artifact, findings in results
        for finding in findings
        if _is_acceptable(finding)
    ]
    entries.sort(key=lambda entry: tuple(entry.values()))
    return json.dumps({"schema": SCHEMA, "findings": entries}, indent=2, ensure_ascii=True) + "\n", len(entries)


def apply_baseline(
    baseline: Baseline, results: Sequence[tuple[str, Sequence[Finding]]]
) -> tuple[tuple[Finding, ...], ...]:
    """The findings of each (artifact name, findings) pair, accepted ones as WAIVED, and PG903 for entries that nothing needs.

    An entry is resolved only when its artifact was checked in this run; PG903 stands with the first artifact of its name.
    """
    left: dict[tuple[str, Status], list[Accepted]] = {}
    for entry in baseline.entries:
        left.setdefault((entry.fingerprint, entry.status), []).append(entry)
    judged = [[_judge(finding, left, baseline) for finding in findings] for _, findings in results]
    first: dict[str, int] = {}
    for position, (artifact, _) in enumerate(results):
        first.setdefault(_name(artifact), position)
    for entry in (entry for entries in left.values() for entry in entries):
        if entry.artifact in first:
            judged[first[entry.artifact]].append(_resolved(entry, baseline))
    return tuple(tuple(findings) for findings in judged)


def _judge(finding: Finding, left: dict[tuple[str, Status], list[Accepted]], baseline: Baseline) -> Finding:
    if not _is_acceptable(finding):
        return finding
    entries = left.get((finding.fingerprint, finding.status), [])
    # The lightest entry that suffices, so that a heavier one is left for a heavier finding.
    fitting = sorted(
        (e for e in entries if _WEIGHT[finding.severity] <= _WEIGHT[e.severity]), key=lambda e: _WEIGHT[e.severity]
    )
    if not fitting:
        return finding
    entries.remove(fitting[0])
    message = f"{finding.message.rstrip('.')}. Accepted by the baseline {baseline.file}."
    return replace(finding, status=Status.WAIVED, message=message)


def _is_acceptable(finding: Finding) -> bool:
    return finding.status in (Status.FAIL, Status.UNDECIDED) and not finding.number.startswith(_OWN)


def _resolved(entry: Accepted, baseline: Baseline) -> Finding:
    return Finding(
        rule_id="baseline-resolved",
        number=RESOLVED,
        kind="baseline",
        title="A baseline entry is not needed",
        severity=Severity.NOTE,
        status=Status.FAIL,
        message=f"nothing needs the baseline's entry for {one_line(entry.number)} {one_line(entry.rule)} any more",
        remedy="remove it from the baseline",
        evidence=(("fingerprint", entry.fingerprint), ("was", one_line(entry.message))),
        key=entry.fingerprint,
        fingerprint=sha256(f"{RESOLVED}\0{entry.artifact}\0{entry.fingerprint}".encode()).hexdigest(),
        location=None,
        policy_file=baseline.file,
        policy_line=1,
        undecided=Undecided.FAIL,
    )


def _entry(value: Any, at: str, file: str) -> Accepted:
    if not isinstance(value, dict) or set(value) != _KEYS or not all(isinstance(v, str) for v in value.values()):
        raise PolicyError(f"{at}: expected strings for {', '.join(sorted(_KEYS))}", file=file)
    fingerprint = value["fingerprint"]
    if len(fingerprint) != 64 or not set(fingerprint) <= _HEX:
        raise PolicyError(f"{at}.fingerprint: expected 64 hexadecimal digits, found {_shown(fingerprint)}", file=file)
    if value["number"].startswith(_OWN):
        raise PolicyError(f"{at}.number: {_shown(value['number'])} cannot be accepted by a baseline", file=file)
    severities = {s.value: s for s in Severity}
    statuses = {s.value: s for s in (Status.FAIL, Status.UNDECIDED)}
    for key, choices in (("severity", list(severities)), ("status", list(statuses))):
        if value[key] not in choices:
            raise PolicyError(f"{at}.{key}: {_shown(value[key])}; accepted: {', '.join(choices)}", file=file)
    return Accepted(
        fingerprint=fingerprint,
        number=value["number"],
        rule=value["rule"],
        artifact=value["artifact"],
        severity=severities[value["severity"]],
        status=statuses[value["status"]],
        message=value["message"],
    )


def _name(artifact: str) -> str:
    return one_line(artifact, len(artifact))


def _shown(value: object) -> str:
    return one_line(repr(value), 80)
