"""JSON of `audit`: verdict, all fourteen tells with every number, claims against evidence, lineages as `compare` has them."""

from __future__ import annotations

from typing import Any

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.report.audit import READER, Audit
from provenance_gate.report.graph import graph_to_json
from provenance_gate.report.json_report import (
    ancestor_to_json,
    cost_to_json,
    dump_json,
    match_to_json,
    merge_to_json,
    subject_to_json,
)
from provenance_gate.report.values import finite, rounded
from provenance_gate.tells.cluster import Cluster
from provenance_gate.tells.interface import ClaimCheck, TellResult, Withheld

AUDIT_SCHEMA = "provenance-gate-audit/1"


def render_audit(audit: Audit) -> str:
    """The JSON text of one `audit`, with a line end; its shape is in `schemas/audit.schema.json`."""
    return dump_json(audit_to_json(audit))


def audit_to_json(audit: Audit) -> dict[str, Any]:
    """`audit` as JSON values."""
    return {
        "schema": AUDIT_SCHEMA,
        "tool": {"name": "provenance-gate", "version": audit.tool_version},
        "command": list(audit.command),
        "artifact": subject_to_json(audit.artifact),
        **_digest(audit.digest),
        "verdict": {
            "answer": audit.verdict.answer.value,
            "bases": list(audit.verdict.bases),
            "sentence": audit.verdict.sentence,
            "why": list(audit.verdict.why),
            "conclusion": READER,
        },
        "tells": [tell_to_json(tell) for tell in audit.tells],
        "cluster": _cluster(audit.cluster),
        "withheld": [_withheld(w) for w in audit.withheld],
        "claims_against_evidence": [_check(check) for check in audit.claims],
        "lineages": [match_to_json(lineage) for lineage in audit.lineages],
        "untested": [{"id": i, "reason": reason} for i, reason in audit.untested.items()],
        "nominated": [
            {"id": n.id, "status": "nominated, not measured", "reasons": list(n.reasons), "not_measured": n.absent}
            for n in audit.nominated
        ],
        "searched": {"fingerprints": audit.stored, "records": audit.records, "damaged": list(audit.damaged)},
        "merge": merge_to_json(audit.merge),
        "ancestry": [ancestor_to_json(node) for node in audit.ancestry],
        "graph": graph_to_json(audit.ancestry, audit.lineages),
        "cost": cost_to_json(audit.cost),
    }


def tell_to_json(tell: TellResult) -> dict[str, Any]:
    """One tell; `numbers` as measured, rounded."""
    return {
        "id": tell.id,
        "name": tell.name,
        "group": tell.group.value,
        "title": tell.title,
        "status": tell.status.value,
        "strength": finite(tell.strength),
        "seen": tell.seen,
        "expected": tell.expected,
        "reproduce": tell.reproduce,
        "base": tell.base,
        "numbers": rounded(dict(tell.numbers)),
    }


def _digest(digest: str | NotMeasured) -> dict[str, Any]:
    if isinstance(digest, NotMeasured):
        return {"digest": None, "digest_reason": digest.reason}
    return {"digest": digest}


def _cluster(cluster: Cluster) -> dict[str, Any]:
    return {
        "fired": list(cluster.fired),
        "hidden": list(cluster.hidden),
        "not_measured": list(cluster.not_measured),
        "strong": cluster.strong,
        "bases": [{"id": base, "tells": count} for base, count in cluster.bases],
        "text": cluster.text,
    }


def _withheld(withheld: Withheld) -> dict[str, Any]:
    return {
        "what": withheld.what,
        "seen": withheld.seen,
        "consequence": withheld.consequence,
        "tells": list(withheld.tells),
        "reproduce": withheld.reproduce,
    }


def _check(check: ClaimCheck) -> dict[str, Any]:
    return {
        "topic": check.topic,
        "claim": check.claim,
        "source": check.source,
        "shown": check.shown,
        "standing": check.standing.value,
    }
