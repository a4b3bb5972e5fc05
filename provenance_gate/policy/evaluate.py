"""Run the rules of a policy on one artifact: severities, waivers, and what counts toward the verdict."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date
from fnmatch import fnmatchcase
from hashlib import sha256

from provenance_gate.policy.interface import (
    FailOn,
    Finding,
    Outcome,
    Policy,
    Rule,
    RuleConfig,
    Severity,
    Status,
    Subject,
    Undecided,
    Verdict,
    Waiver,
)
from provenance_gate.policy.rules import RULES
from provenance_gate.policy.wording import shown

_WEIGHT = {Severity.NOTE: 0, Severity.WARNING: 1, Severity.ERROR: 2}
_LEAST = {FailOn.NOTE: 0, FailOn.WARNING: 1, FailOn.ERROR: 2, FailOn.NEVER: 3}
EXPIRED, UNUSED = "PG901", "PG902"


def evaluate(policy: Policy, subject: Subject, today: date) -> tuple[Finding, ...]:
    """All findings, in the order of the policy; findings about waivers last.

    `today` (UTC) decides which waivers are still valid: `expires` is the last valid day.
    """
    kinds = {rule.kind: rule for rule in RULES}
    mine = [w for w in policy.waivers if _covers(w, subject)]
    used: set[Waiver] = set()
    findings = []
    for config in policy.rules:
        rule = kinds[config.kind]
        for outcome in rule.evaluate(config.options, replace(subject, rule_id=config.id)):
            finding = _finding(rule, config, outcome, subject)
            waiver = _waiver(mine, config, outcome, today)
            if waiver is not None:
                used.add(waiver)
                finding = replace(finding, status=Status.WAIVED, waiver=waiver)
            findings.append(finding)
    return (*findings, *_about_waivers(mine, used, findings, subject, today))


def _covers(waiver: Waiver, subject: Subject) -> bool:
    names = (subject.artifact.name, *subject.names)
    return any(fnmatchcase(name, waiver.artifact) for name in names)


def _waiver(waivers: Iterable[Waiver], config: RuleConfig, outcome: Outcome, today: date) -> Waiver | None:
    if outcome.status not in (Status.FAIL, Status.UNDECIDED):
        return None
    return next((w for w in waivers if w.rule == config.id and today <= w.expires), None)


def _finding(rule: Rule, config: RuleConfig, outcome: Outcome, subject: Subject) -> Finding:
    return Finding(
        rule_id=config.id,
        number=rule.number,
        kind=rule.kind,
        title=rule.title,
        severity=config.severity,
        status=outcome.status,
        message=outcome.message,
        remedy=outcome.remedy,
        evidence=outcome.evidence,
        key=outcome.key,
        fingerprint=_fingerprint(rule.number, subject.artifact.name, outcome.key),
        location=outcome.location,
        policy_file=config.file,
        policy_line=config.line,
        undecided=config.undecided,
    )


def _fingerprint(number: str, artifact: str, key: str) -> str:
    return sha256("\0".join((number, artifact, key)).encode("utf-8", "backslashreplace")).hexdigest()


def _about_waivers(
    waivers: Sequence[Waiver], used: set[Waiver], findings: Sequence[Finding], subject: Subject, today: date
) -> tuple[Finding, ...]:
    """PG901 for an expired waiver whose rule does not pass, PG902 for one that nothing needs."""
    about = []
    unsettled = {f.rule_id for f in findings if f.status in (Status.FAIL, Status.UNDECIDED)}
    for waiver in waivers:
        name = f"waiver of {shown(waiver.rule)} for {shown(waiver.artifact)}"
        if today > waiver.expires and waiver.rule in unsettled:
            message = f"the {name}, approved by {shown(waiver.approved_by)}, expired on {waiver.expires.isoformat()}"
            remedy = "settle the finding, or have the waiver approved again with a later date"
            about.append(
                _about(waiver, EXPIRED, "A waiver has expired", Severity.ERROR, Status.FAIL, message, remedy, subject)
            )
        elif waiver not in used and today <= waiver.expires:
            message = f"nothing needs the {name}"
            about.append(
                _about(
                    waiver, UNUSED, "A waiver is not needed", Severity.NOTE, Status.FAIL, message, "remove it", subject
                )
            )
    return tuple(about)


def _about(
    waiver: Waiver,
    number: str,
    title: str,
    severity: Severity,
    status: Status,
    message: str,
    remedy: str,
    subject: Subject,
) -> Finding:
    key = f"{waiver.rule}: {waiver.artifact}"
    return Finding(
        rule_id="waiver-expired" if number == EXPIRED else "waiver-unused",
        number=number,
        kind="waiver",
        title=title,
        severity=severity,
        status=status,
        message=message,
        remedy=remedy,
        evidence=(("reason", shown(waiver.reason)),),
        key=key,
        fingerprint=_fingerprint(number, subject.artifact.name, key),
        location=None,
        policy_file=waiver.file,
        policy_line=waiver.line,
        waiver=waiver,
    )


def counts(finding: Finding, fail_on: FailOn = FailOn.ERROR) -> bool:
    """Whether a finding stands against the run: an unwaived failure, or an open question, at or above `fail_on`.

    An undecided finding weighs as its rule under `undecided: fail`, at most as a warning under `warn`, nothing under `pass`.
    """
    weight = _WEIGHT[finding.severity]
    if finding.status is Status.UNDECIDED:
        if finding.undecided is Undecided.PASS:
            return False
        if finding.undecided is Undecided.WARN:
            weight = min(weight, _WEIGHT[Severity.WARNING])
    elif finding.status is not Status.FAIL:
        return False
    return weight >= _LEAST[fail_on]


def verdict(findings: Iterable[Finding], fail_on: FailOn = FailOn.ERROR) -> Verdict:
    """FAIL when a failure counts; UNDECIDED when only open questions do; else PASS."""
    statuses = {f.status for f in findings if counts(f, fail_on)}
    if Status.FAIL in statuses:
        return Verdict.FAIL
    return Verdict.UNDECIDED if statuses else Verdict.PASS
