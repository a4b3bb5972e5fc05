"""What the formats for pipelines share: which findings are open, how heavy, where they are shown, and which rules ran."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import PurePosixPath

from provenance_gate.artifact.interface import FileKind
from provenance_gate.policy.interface import Finding, Severity, Status, Undecided
from provenance_gate.policy.rules import RULES
from provenance_gate.report.interface import ArtifactResult, Report, ReportOptions

_HEAVIEST_FIRST = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}
_ANSWERS = {Status.FAIL: "failed", Status.UNDECIDED: "undecided", Status.WAIVED: "waived", Status.PASS: "passed"}


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file, from 1. `path` is relative to the root of the repository, or, when the place is not `in_repository`,
    made of the artifact's name: for formats that cannot do without a path.
    """

    path: str
    line: int
    in_repository: bool


@dataclass(frozen=True, slots=True)
class OpenFinding:
    """A failed or undecided finding. `label` names the artifact, `identity` (hex) is its fingerprint and unique in a report."""

    result: ArtifactResult
    finding: Finding
    label: str
    level: Severity
    place: Place
    identity: str


@dataclass(frozen=True, slots=True)
class RuleEntry:
    """A rule that ran. `key` is ``PG101-id``: the number of the kind, and the name that the policy's author gave."""

    key: str
    number: str
    id: str
    title: str
    description: str
    severity: Severity


def level_of(finding: Finding) -> Severity | None:
    """How an open finding is shown; None for one that passed or is waived.

    An undecided one is shown as heavy as it weighs (`policy.evaluate.counts`), and as a note where it weighs nothing.
    """
    match finding.status, finding.undecided:
        case ((Status.PASS | Status.WAIVED), _):
            return None
        case Status.UNDECIDED, Undecided.PASS:
            return Severity.NOTE
        case Status.UNDECIDED, Undecided.WARN if finding.severity is Severity.ERROR:
            return Severity.WARNING
    return finding.severity


def open_findings(report: Report, options: ReportOptions) -> list[OpenFinding]:
    """The heaviest first, failures before open questions, then in the order of the report."""
    seen: Counter[str] = Counter()
    found = []
    for result, label in zip(report.results, labels(report), strict=True):
        for finding in result.findings:
            level = level_of(finding)
            if level is None:
                continue
            seen[finding.fingerprint] += 1
            times = seen[finding.fingerprint]
            # Two artifacts of one name give one fingerprint, and consumers keep one finding of each.
            identity = finding.fingerprint if times == 1 else _digest(f"{finding.fingerprint}:{times}")
            found.append(
                OpenFinding(result, finding, label, level, place_of(finding, result, label, options), identity)
            )
    return sorted(found, key=lambda f: (_HEAVIEST_FIRST[f.level], f.finding.status is not Status.FAIL))


def labels(report: Report) -> list[str]:
    """One name per artifact, no two alike: what it is called, else what it was opened from, else with a count."""
    names = [result.artifact.name for result in report.results]
    if len(set(names)) != len(names):
        names = [result.source or result.artifact.name for result in report.results]
    seen: Counter[str] = Counter()
    unique = []
    for name in names:
        seen[name] += 1
        unique.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return unique


def place_of(finding: Finding, result: ArtifactResult, label: str, options: ReportOptions) -> Place:
    """The line of the claim, else of the rule in the policy, else the first weight file; as far as the repository holds them."""
    paths = options.repository_paths
    folder, policy = paths.get(result.source), paths.get(finding.policy_file)
    if folder is not None and finding.location is not None:
        return Place(_joined(folder, finding.location.path), max(1, finding.location.line), True)
    if policy is not None:
        return Place(policy, max(1, finding.policy_line), True)
    weights = next((f.path for f in result.artifact.files if f.kind is FileKind.WEIGHTS), None)
    file = weights or next((f.path for f in result.artifact.files), PurePosixPath("README.md"))
    if folder is not None:
        return Place(_joined(folder, file), 1, True)
    if finding.location is not None:
        return Place(_joined(label, finding.location.path), max(1, finding.location.line), False)
    return Place(_joined(label, file), 1, False)


def rules_of(report: Report) -> list[RuleEntry]:
    """Every rule that ran: the policy's own in its order, then those the gate adds (PG901), by number."""
    kinds = {rule.kind: rule for rule in RULES}
    entries = []
    for config in report.policy.rules:
        rule = kinds.get(config.kind)
        number, title = (config.id, config.kind) if rule is None else (rule.number, rule.title)
        description = title if rule is None else rule.explain(config.options)
        entries.append(RuleEntry(rule_key(number, config.id), number, config.id, title, description, config.severity))
    known = {entry.key for entry in entries}
    added = {
        rule_key(f.number, f.rule_id): RuleEntry(
            rule_key(f.number, f.rule_id), f.number, f.rule_id, f.title, f.title, f.severity
        )
        for result in report.results
        for f in result.findings
    }
    return entries + [added[key] for key in sorted(added) if key not in known]


def rule_key(number: str, rule_id: str) -> str:
    """A rule of a policy: the number alone may stand for several."""
    return f"{number}-{rule_id}"


def count_answers(findings: Iterable[Finding]) -> str:
    """As in "1 failed, 4 passed"."""
    counts = Counter(finding.status for finding in findings)
    return ", ".join(f"{counts[status]} {word}" for status, word in _ANSWERS.items() if counts[status]) or "no findings"


def message_of(finding: Finding) -> str:
    """What was found and what to do about it, as sentences."""
    return sentences(finding.message, f"To do: {finding.remedy}" if finding.remedy else "")


def sentences(*parts: str) -> str:
    """`parts` one after the other, each ended by a period unless it ends by itself; empty ones left out."""
    said = [part for part in parts if part]
    return " ".join([*(p if p.endswith((".", "!", "?", ":")) else f"{p}." for p in said[:-1]), *said[-1:]])


def waiver_text(finding: Finding) -> str:
    """Who waived a finding, why and until when; empty where no waiver did."""
    waiver = finding.waiver
    if finding.status is not Status.WAIVED or waiver is None:
        return ""
    ticket = f" ({waiver.ticket})" if waiver.ticket else ""
    return f"Waived until {waiver.expires.isoformat()} by {waiver.approved_by}: {waiver.reason}{ticket}"


def source_of(result: ArtifactResult) -> str:
    """What the artifact was opened from, as the user wrote it."""
    return result.source


def _joined(folder: str, path: PurePosixPath) -> str:
    parts = [part for part in (*PurePosixPath(folder).parts, *path.parts) if part.strip("/") not in ("", "..", ".")]
    return "/".join(parts) or "README.md"


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
