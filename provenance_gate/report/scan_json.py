"""JSON of `scan`: the lineages as `compare` writes them, what was nominated only, and the family trees."""

from __future__ import annotations

from typing import Any

from provenance_gate.lineage.families import Family
from provenance_gate.report.interface import Scan
from provenance_gate.report.json_report import (
    ancestor_to_json,
    cost_to_json,
    dump_json,
    match_to_json,
    merge_to_json,
    subject_to_json,
)

SCAN_SCHEMA = "provenance-gate-scan/1"


def render_scan(scan: Scan) -> str:
    """The JSON text of one `scan`, with a line end; its shape is in `schemas/scan.schema.json`."""
    return dump_json(scan_to_json(scan))


def scan_to_json(scan: Scan) -> dict[str, Any]:
    """`scan` as JSON values."""
    return {
        "schema": SCAN_SCHEMA,
        "artifact": subject_to_json(scan.artifact),
        "searched": {"fingerprints": scan.stored, "records": scan.records, "damaged": list(scan.damaged)},
        "matches": [{**match_to_json(x), "nominated_by": scan.reasons.get(x.base.id, "")} for x in scan.matches],
        "unclear": [{**match_to_json(x), "nominated_by": scan.reasons.get(x.base.id, "")} for x in scan.unclear],
        "contradicted": [match_to_json(x) for x in scan.contradicted],
        "nominated": [
            {"id": n.id, "status": "nominated, not measured", "reasons": list(n.reasons), "not_measured": n.absent}
            for n in scan.nominated
        ],
        "nearest": [family.nearest for family in scan.families],
        "roots": [family.root for family in scan.families if family.root is not None],
        "families": [_family(family) for family in scan.families],
        "merge": merge_to_json(scan.merge),
        "ancestry": [ancestor_to_json(node) for node in scan.ancestry],
        "cost": cost_to_json(scan.cost),
    }


def _family(family: Family) -> dict[str, Any]:
    return {
        "nearest": family.nearest,
        "root": family.root,
        "line": list(family.line),
        "relatives": list(family.relatives),
        "unclear": list(family.unclear),
    }
