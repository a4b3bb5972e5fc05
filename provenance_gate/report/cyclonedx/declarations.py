"""The policy as a standard, and the findings as declarations about it.

A rule that passed puts its findings into `claims` with conformance 1; one that failed, waived or not, into `counterClaims`
with conformance 0, and a waiver is evidence linked from `mitigationStrategies`. An undecided rule has no conformance score:
neither 1 nor 0 was shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from provenance_gate.policy.interface import Finding, Policy, Status, Waiver
from provenance_gate.report.cyclonedx.identifiers import Body, Refs, clean, properties
from provenance_gate.report.interface import ArtifactResult, Report, ReportOptions

ASSESSOR_REF = "assessor:gate"


@dataclass(slots=True)
class _Declarations:
    """Claims and evidence while they are collected; a waiver used twice is written once."""

    refs: Refs
    claims: list[Body] = field(default_factory=list)
    evidence: list[Body] = field(default_factory=list)
    waivers: dict[Waiver, str] = field(default_factory=dict)


def standards(report: Report, refs: Refs) -> tuple[list[Body], dict[str, str]]:
    """The policy as `definitions.standards`, and the bom-ref of each rule id."""
    policy = report.policy
    findings = {finding.rule_id: finding for result in report.results for finding in result.findings}
    rules = _rules(policy, findings)
    numbers = [number for _, number, _, _, _ in rules]
    requirements, rule_refs = [], {}
    for rule_id, number, title, kind, severity in rules:
        shared = numbers.count(number) > 1
        rule_refs[rule_id] = refs.take(f"rule:{number}:{rule_id}" if shared else f"rule:{number}")
        requirements.append(
            {
                "bom-ref": rule_refs[rule_id],
                "identifier": clean(number),
                "title": clean(title),
                "properties": properties(
                    [
                        ("provenance-gate:rule:id", rule_id),
                        ("provenance-gate:rule:kind", kind),
                        ("provenance-gate:rule:severity", severity),
                    ]
                ),
            }
        )
    standard: Body = {
        "bom-ref": refs.take(f"policy:{policy.name}"),
        "name": clean(policy.name),
        "version": f"sha256:{clean(policy.sha256)}",
    }
    if requirements:
        standard["requirements"] = requirements
    return [standard], rule_refs


def declarations(
    targets: Iterable[tuple[ArtifactResult, str]], rule_refs: dict[str, str], options: ReportOptions, refs: Refs
) -> Body:
    """`declarations`: one attestation per (artifact, bom-ref) of `targets`."""
    assessor: Body = {"bom-ref": refs.take(ASSESSOR_REF), "thirdParty": False}
    if options.organization:
        assessor["organization"] = {"name": clean(options.organization)}
    collected = _Declarations(refs)
    attestations = [_attestation(result, target, rule_refs, collected) for result, target in targets]
    body: Body = {"assessors": [assessor], "attestations": attestations}
    if collected.claims:
        body["claims"] = collected.claims
    if collected.evidence:
        body["evidence"] = collected.evidence
    return body


def _rules(policy: Policy, findings: dict[str, Finding]) -> list[tuple[str, str, str, str, str]]:
    """(id, number, title, kind, severity) of every rule: the policy's own, then those the gate adds, such as PG901."""
    rules = []
    for rule in policy.rules:
        seen = findings.get(rule.id)
        number, title = (rule.id, rule.kind) if seen is None else (seen.number, seen.title)
        rules.append((rule.id, number, title, rule.kind, rule.severity.value))
    own = {rule.id for rule in policy.rules}
    added = sorted((f for rule_id, f in findings.items() if rule_id not in own), key=lambda f: (f.number, f.rule_id))
    return rules + [(f.rule_id, f.number, f.title, f.kind, f.severity.value) for f in added]


def _attestation(result: ArtifactResult, target: str, rule_refs: dict[str, str], collected: _Declarations) -> Body:
    by_rule: dict[str, list[Finding]] = {}
    for finding in result.findings:
        by_rule.setdefault(finding.rule_id, []).append(finding)
    return {
        "summary": clean(f"{result.artifact.name}: {_summary(result.findings)}"),
        "assessor": ASSESSOR_REF,
        "map": [
            _requirement(rule_refs[rule_id], by_rule[rule_id], target, collected)
            for rule_id in rule_refs
            if rule_id in by_rule
        ],
    }


def _summary(findings: Sequence[Finding]) -> str:
    words = {
        Status.PASS: "passed",
        Status.FAIL: "failed",
        Status.UNDECIDED: "undecided",
        Status.WAIVED: "failed and waived",
    }
    counts = [(sum(f.status is status for f in findings), word) for status, word in words.items()]
    return ", ".join(f"{count} {word}" for count, word in counts if count) or "no findings"


def _requirement(requirement: str, findings: Sequence[Finding], target: str, collected: _Declarations) -> Body:
    claims, counter_claims, waivers = [], [], []
    for finding in findings:
        match finding.status:
            case Status.PASS:
                claims.append(_claim(finding, target, collected))
            case Status.FAIL:
                counter_claims.append(_claim(finding, target, collected))
            case Status.WAIVED:
                counter_claims.append(_claim(finding, target, collected))
                if finding.waiver is not None:
                    waivers.append(_waiver(finding.waiver, collected))
            case Status.UNDECIDED:
                pass
    conformance: Body = {}
    if counter_claims:
        conformance["score"] = 0
    elif all(finding.status is Status.PASS for finding in findings):
        conformance["score"] = 1
    conformance["rationale"] = clean("; ".join(_rationale(finding) for finding in findings))
    if waivers:
        conformance["mitigationStrategies"] = list(dict.fromkeys(waivers))
    entry: Body = {"requirement": requirement}
    if claims:
        entry["claims"] = claims
    if counter_claims:
        entry["counterClaims"] = counter_claims
    return {**entry, "conformance": conformance}


def _rationale(finding: Finding) -> str:
    return finding.message if finding.status is Status.PASS else f"{finding.status.value}: {finding.message}"


def _claim(finding: Finding, target: str, collected: _Declarations) -> str:
    ref = collected.refs.take(f"claim:{finding.number}:{finding.fingerprint[:16]}")
    claim: Body = {"bom-ref": ref, "target": target, "predicate": clean(finding.message)}
    if finding.status is Status.WAIVED and finding.waiver is not None:
        claim["mitigationStrategies"] = [_waiver(finding.waiver, collected)]
    if finding.evidence:
        evidence = collected.refs.take(f"evidence:{finding.number}:{finding.fingerprint[:16]}")
        collected.evidence.append(
            {
                "bom-ref": evidence,
                "propertyName": "provenance-gate:finding",
                "description": clean("; ".join(f"{name}: {value}" for name, value in finding.evidence)),
            }
        )
        claim["evidence"] = [evidence]
    collected.claims.append(claim)
    return ref


def _waiver(waiver: Waiver, collected: _Declarations) -> str:
    if waiver not in collected.waivers:
        name = waiver.ticket or f"{waiver.rule}:{waiver.expires.isoformat()}"
        collected.waivers[waiver] = ref = collected.refs.take(f"waiver:{name}")
        ticket = f" ({waiver.ticket})" if waiver.ticket else ""
        collected.evidence.append(
            {
                "bom-ref": ref,
                "propertyName": "provenance-gate:waiver",
                "description": clean(f"{waiver.reason}{ticket}"),
                "expires": f"{waiver.expires.isoformat()}T23:59:59Z",
                "author": {"name": clean(waiver.approved_by)},
            }
        )
    return collected.waivers[waiver]
