"""JSON for machines: `check`, `compare`, and the lineage part that `scan` and `audit` share.

The shape of `check` and `compare` is in `schemas/`, named by the `schema` field. Objects are sorted by key and text is
ASCII, so two runs give equal bytes and no string of an artifact reaches a terminal raw. What was not measured is null beside
a reason; a number that is not finite is treated likewise, because JSON has no spelling for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from provenance_gate.artifact.interface import Artifact, BaseClaim, Claims, FileRecord, NotMeasured
from provenance_gate.fingerprint.interface import Evidence, Subject
from provenance_gate.lineage.interface import ONE_BASE, Ancestor, BaseRef, ComponentEvidence, LayerMatch, Lineage
from provenance_gate.lineage.merges.interface import Merge, Mixture
from provenance_gate.policy.interface import Finding, Waiver
from provenance_gate.report.graph import graph_to_json, license_to_json
from provenance_gate.report.interface import SIGNALS, ArtifactResult, ReadingCost, Report, ReportOptions
from provenance_gate.report.values import (
    DIGITS,
    P_VALUE_DIGITS,
    finite,
    measured,
    number_or_reason,
    rounded,
    source_to_json,
)

CHECK_SCHEMA = "provenance-gate-check/1"
COMPARE_SCHEMA = "provenance-gate-compare/1"


def render(report: Report, options: ReportOptions) -> str:
    """`render_check` as a `ReportFormat` has it; no option changes the JSON."""
    return render_check(report)


def render_check(report: Report) -> str:
    """The JSON text of one `check`, with a line end."""
    results = [_result(result) for result in report.results]
    return dump_json(
        {
            "schema": CHECK_SCHEMA,
            "tool": {"name": "provenance-gate", "version": report.tool_version},
            "verdict": report.verdict.value,
            "exit_code": report.exit_code,
            "timestamp": None if report.timestamp is None else report.timestamp.isoformat(),
            "policy": {
                "name": report.policy.name,
                "file": report.policy.file,
                "sha256": report.policy.sha256,
                "rules": [
                    {"id": rule.id, "kind": rule.kind, "severity": rule.severity.value} for rule in report.policy.rules
                ],
            },
            "artifacts": results,
            "findings": [finding for result in results for finding in result["findings"]],
            "lineages": [lineage for result in results for lineage in result["lineages"]],
        }
    )


def render_compare(
    artifact: Artifact | Subject, base: BaseRef, lineage: Lineage, merge: Merge | NotMeasured = ONE_BASE
) -> str:
    """The JSON text of one `compare`, with a line end."""
    return dump_json(compare_to_json(artifact, base, lineage, merge))


def compare_to_json(
    artifact: Artifact | Subject, base: BaseRef, lineage: Lineage, merge: Merge | NotMeasured = ONE_BASE
) -> dict[str, Any]:
    """`compare` as JSON values. `artifact` is the subject of a fingerprint where no model was at hand."""
    return {
        "schema": COMPARE_SCHEMA,
        "artifact": subject_to_json(artifact),
        "base": _base(base),
        "lineage": lineage_to_json(lineage),
        **({} if merge is ONE_BASE else {"merge": merge_to_json(merge)}),
    }


def subject_to_json(artifact: Artifact | Subject) -> dict[str, Any]:
    """Who was looked at: parameters and size only of a model that was at hand."""
    described: dict[str, Any] = {
        "name": artifact.name,
        "files": [file_to_json(record) for record in artifact.files],
        "claims": claims_to_json(artifact.claims),
    }
    if isinstance(artifact, Artifact):
        described |= {"parameters": artifact.parameters, "weight_bytes": artifact.weight_bytes}
    return described


def match_to_json(lineage: Lineage) -> dict[str, Any]:
    """A lineage together with its base: one entry of `matches` in a scan."""
    return {"base": _base(lineage.base), **lineage_to_json(lineage)}


def lineage_to_json(lineage: Lineage) -> dict[str, Any]:
    """A lineage as JSON values, without the base; all of `SIGNALS` are keys of `signals`."""
    extra = sorted(set(lineage.signals) - set(SIGNALS))
    return {
        **measured("score", lineage.score),
        "relation": lineage.relation.value,
        "kinds": list(lineage.kinds),
        **measured("p_value", lineage.p_value, P_VALUE_DIGITS),
        "test": lineage.test,
        **measured("inheritance", lineage.inheritance),
        "components": {name: _component(part) for name, part in sorted(lineage.components.items())},
        "layers": [_layer(match) for match in lineage.layers],
        "signals": {name: _signal(lineage.signals.get(name)) for name in (*SIGNALS, *extra)},
        **measured("identity_score", lineage.identity_score),
        "claims": [_base_claim(claim) for claim in lineage.claims],
        "reason": lineage.reason,
        "tier": lineage.tier,
        **({} if lineage.mixing_weight is ONE_BASE else measured("mixing_weight", lineage.mixing_weight)),
        **({} if lineage.kin_of is None else {"kin_of": lineage.kin_of}),
    }


def merge_to_json(merge: Merge | NotMeasured) -> dict[str, Any]:
    """How the artifact was mixed from several bases; `recipe` is null, with a reason, where that was not asked or not seen."""
    if isinstance(merge, NotMeasured):
        return {"recipe": None, "reason": merge.reason}
    return {
        "recipe": merge.recipe,
        "reason": merge.reason,
        "parents": list(merge.parents),
        "base": merge.base,
        **measured("residual", merge.residual),
        "weights": {name: finite(weight) for name, weight in merge.weights.items()},
        "parameters": {name: finite(value) for name, value in merge.parameters.items()},
        "layers": [_mixture(mixture, merge.parents) for mixture in merge.mixtures],
        "mergekit": rounded(dict(merge.mergekit)),
    }


def _mixture(mixture: Mixture, parents: Sequence[str]) -> dict[str, Any]:
    return {
        "component": mixture.component,
        "stack": mixture.stack,
        "layer": mixture.layer,
        "sources": [{"base": base, "layer": layer} for base, layer in mixture.sources],
        "weights": {base: finite(weight) for base, weight in zip(parents, mixture.weights, strict=True)},
        **measured("residual", mixture.residual),
        "t": None if mixture.t is None else finite(mixture.t),
    }


def load_schema(name: str) -> dict[str, Any]:
    """The JSON Schema (2020-12) of "check" or "compare"."""
    text = (files(__package__) / "schemas" / f"{name}.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def dump_json(value: Mapping[str, Any]) -> str:
    """Sorted, ASCII, with a line end."""
    return json.dumps(_plain(value), indent=2, sort_keys=True, ensure_ascii=True, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    """`value` with surrogates in strings spelled out: a file name that is not UTF-8 has them, and strict parsers refuse them."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _result(result: ArtifactResult) -> dict[str, Any]:
    artifact = result.artifact
    return {
        "name": artifact.name,
        "digest": result.digest,
        "purl": result.purl,
        "verdict": result.verdict.value,
        "parameters": artifact.parameters,
        "roles_from": artifact.roles_from,
        "notes": list(artifact.notes),
        "claims": claims_to_json(artifact.claims),
        "files": [file_to_json(record) for record in artifact.files],
        "cost": cost_to_json(result.cost),
        "findings": [{"artifact": artifact.name, **_finding(finding)} for finding in result.findings],
        "lineages": [{"artifact": artifact.name, **match_to_json(lineage)} for lineage in result.lineages],
        "ancestry": [ancestor_to_json(ancestor) for ancestor in result.ancestry],
        "graph": graph_to_json(result.ancestry, result.lineages),
        "merge": merge_to_json(result.merge),
    }


def cost_to_json(cost: ReadingCost) -> dict[str, Any]:
    share = finite(cost.bytes_read / cost.weight_bytes) if cost.weight_bytes else None
    return {
        "weight_bytes": cost.weight_bytes,
        "bytes_read": cost.bytes_read,
        "requests": cost.requests,
        "share": share,
    }


def file_to_json(record: FileRecord) -> dict[str, Any]:
    described: dict[str, Any] = {
        "path": str(record.path),
        "size": record.size,
        "kind": record.kind.value,
        "format": None if record.format is None else record.format.value,
    }
    match record.sha256:
        case NotMeasured(reason):
            return {**described, "sha256": None, "sha256_reason": reason}
        case digest:
            return {**described, "sha256": digest, **({"sha256_declared": True} if record.declared else {})}


def claims_to_json(claims: Claims) -> dict[str, Any]:
    return {
        "bases": [_base_claim(claim) for claim in claims.bases],
        "licenses": [
            {"id": claim.id, "name": claim.name, "link": claim.link, "source": source_to_json(claim.source)}
            for claim in claims.licenses
        ],
    }


def _base_claim(claim: BaseClaim) -> dict[str, Any]:
    return {
        "id": claim.id,
        "relation": claim.relation,
        "revision": claim.revision,
        "source": source_to_json(claim.source),
    }


def _base(base: BaseRef) -> dict[str, Any]:
    return {"id": base.id, "source": base.source, "revision": base.revision}


def _component(part: ComponentEvidence) -> dict[str, Any]:
    return {
        "relation": part.relation.value,
        **measured("correlation", part.correlation),
        **measured("p_value", part.p_value, P_VALUE_DIGITS),
    }


def _layer(match: LayerMatch) -> dict[str, Any]:
    return {
        "stack": match.stack,
        "layer": match.layer,
        "base_layer": match.base_layer,
        **measured("correlation", match.correlation),
    }


def _signal(evidence: Evidence | None) -> dict[str, Any]:
    if evidence is None:
        return {"value": None, "reason": "not compared in this run"}
    number, reason = number_or_reason(evidence.value, DIGITS)
    if number is None:
        return {"value": None, "reason": reason, "detail": rounded(dict(evidence.detail))}
    return {
        "value": number,
        "method": evidence.method,
        "null_level": evidence.null_level,
        "standard_error": None if evidence.standard_error is None else finite(evidence.standard_error),
        "detail": rounded(dict(evidence.detail)),
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "rule": finding.rule_id,
        "number": finding.number,
        "kind": finding.kind,
        "title": finding.title,
        "severity": finding.severity.value,
        "status": finding.status.value,
        "message": finding.message,
        "remedy": finding.remedy,
        "evidence": [{"name": name, "value": value} for name, value in finding.evidence],
        "key": finding.key,
        "fingerprint": finding.fingerprint,
        "location": None if finding.location is None else source_to_json(finding.location),
        "policy_file": finding.policy_file,
        "policy_line": finding.policy_line,
        "undecided_means": finding.undecided.value,
        "waiver": None if finding.waiver is None else _waiver(finding.waiver),
    }


def _waiver(waiver: Waiver) -> dict[str, Any]:
    return {
        "rule": waiver.rule,
        "artifact": waiver.artifact,
        "reason": waiver.reason,
        "approved_by": waiver.approved_by,
        "expires": waiver.expires.isoformat(),
        "ticket": waiver.ticket,
        "file": waiver.file,
        "line": waiver.line,
    }


def ancestor_to_json(ancestor: Ancestor) -> dict[str, Any]:
    return {
        "id": ancestor.id,
        "standing": ancestor.standing.value,
        "rests_on": ancestor.rests_on.value,
        "declared": ancestor.declared,
        "path": list(ancestor.path),
        "publisher": ancestor.publisher,
        "family": ancestor.family,
        "license_source": ancestor.license_source,
        "licenses": [license_to_json(term) for term in ancestor.licenses],
    }
