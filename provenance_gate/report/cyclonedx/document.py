"""The BOM as a whole: metadata, models, dependencies, compositions, policy and answers, citations."""

from __future__ import annotations

import json
import uuid
from datetime import timezone

from provenance_gate.report.cyclonedx.components import ModelEntry, model_entry, verdict_word
from provenance_gate.report.cyclonedx.declarations import declarations, standards
from provenance_gate.report.cyclonedx.identifiers import RELEASE_REF, TOOL_REF, Body, Refs, clean, properties
from provenance_gate.report.interface import Report, ReportOptions

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:provenance-gate:bom")


def build_bom(report: Report, options: ReportOptions) -> Body:
    """The BOM of `report`, not yet validated."""
    refs = Refs()
    refs.take(TOOL_REF)
    refs.take(RELEASE_REF)
    entries = _model_entries(report, options, refs)
    standard, rule_refs = standards(report, refs)
    targets = list(zip(report.results, (entry.ref for entry in entries), strict=True))
    version = options.bom_version
    timestamp = _timestamp(report, options)
    body: Body = {
        "$schema": f"http://cyclonedx.org/schema/bom-{version}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": version,
        "version": 1,
        "metadata": _metadata(report, options, entries, timestamp),
        "components": [entry.component for entry in entries],
        "dependencies": _dependencies(entries),
        "compositions": [
            {"aggregate": "complete" if entry.is_complete else "incomplete", "assemblies": [entry.ref]}
            for entry in entries
        ],
        "definitions": {"standards": standard},
        "declarations": declarations(targets, rule_refs, options, refs),
    }
    citations = _citations(entries, timestamp) if version != "1.6" and timestamp else []
    if citations:
        body["citations"] = citations
    if options.reproducible:
        return body
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    serial = uuid.uuid5(_NAMESPACE, canonical).urn
    head = ("$schema", "bomFormat", "specVersion")
    return {**{key: body[key] for key in head}, "serialNumber": serial, **body}


def _model_entries(report: Report, options: ReportOptions, refs: Refs) -> list[ModelEntry]:
    entries: list[ModelEntry] = []
    ancestors = 1
    for number, result in enumerate(report.results, start=1):
        prefix = "file:" if len(report.results) == 1 else f"file:{number}:"
        entry = model_entry(result, options, refs, file_prefix=prefix, first_ancestor=ancestors)
        ancestors += len(entry.parents)
        entries.append(entry)
    return entries


def _timestamp(report: Report, options: ReportOptions) -> str:
    if options.reproducible or report.timestamp is None:
        return ""
    moment = report.timestamp
    # A time without a zone is taken as UTC: the machine's own zone must not reach the bytes.
    utc = moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment.astimezone(timezone.utc)
    return utc.strftime("%Y-%m-%dT%H:%M:%SZ")


def _metadata(report: Report, options: ReportOptions, entries: list[ModelEntry], timestamp: str) -> Body:
    metadata: Body = {"timestamp": timestamp} if timestamp else {}
    metadata["lifecycles"] = [{"phase": "post-build"}]
    metadata["tools"] = {
        "components": [
            {
                "type": "application",
                "bom-ref": TOOL_REF,
                "name": "provenance-gate",
                "version": clean(report.tool_version, 1024),
            }
        ]
    }
    metadata["component"] = _release(options, entries)
    findings = [finding for result in report.results for finding in result.findings]
    facts = [
        ("provenance-gate:policy", report.policy.name),
        ("provenance-gate:verdict", verdict_word(report.verdict, findings)),
    ]
    if options.reproducible:
        facts.append(("cdx:reproducible", "true"))
    metadata["properties"] = properties(facts)
    return metadata


def _release(options: ReportOptions, entries: list[ModelEntry]) -> Body:
    name, version = clean(options.release_name), clean(options.release_version, 1024)
    if len(entries) == 1:
        model = entries[0].component
        name = name or "/".join(part for part in (model.get("group"), model["name"]) if part)
        version = version or model.get("version", "")
    release: Body = {"type": "application", "bom-ref": RELEASE_REF, "name": name or "release"}
    if version:
        release["version"] = version
    return release


def _dependencies(entries: list[ModelEntry]) -> list[Body]:
    found: list[Body] = [{"ref": RELEASE_REF, "dependsOn": sorted(entry.ref for entry in entries)}]
    for entry in entries:
        needed = sorted(parent.ref for parent in entry.parents if parent.relation == "adapter")
        if needed:
            found.append({"ref": entry.ref, "dependsOn": needed})
    return sorted(found, key=lambda edge: (edge["ref"] != RELEASE_REF, edge["ref"]))


def _citations(entries: list[ModelEntry], timestamp: str) -> list[Body]:
    """Which fields are the gate's own words rather than the publisher's. The format requires a time, so without one: none."""
    pointers = []
    for index, entry in enumerate(entries):
        pointers += [f"/components/{index}/licenses/{position}" for position in entry.concluded]
        ancestors = entry.component.get("pedigree", {}).get("ancestors", [])
        pointers += [
            f"/components/{index}/pedigree/ancestors/{position}/evidence"
            for position, ancestor in enumerate(ancestors)
            if "evidence" in ancestor
        ]
    if not pointers:
        return []
    return [{"pointers": sorted(pointers), "attributedTo": TOOL_REF, "timestamp": timestamp}]
