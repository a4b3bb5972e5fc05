"""Licenses in the CycloneDX spelling: an SPDX id where there is one, else the name that the hub uses."""

from __future__ import annotations

from collections.abc import Iterable

from provenance_gate.artifact.interface import Artifact, FileKind, LicenseClaim
from provenance_gate.lineage.interface import Ancestor, LicenseTerm, Standing
from provenance_gate.report.cyclonedx.identifiers import Body, clean, is_safe_url, properties

_SHOWN = frozenset({Standing.SHOWN, Standing.CATALOG})


def declared_licenses(artifact: Artifact) -> list[Body]:
    """What the card and its kin state, in their order."""
    return _claimed(claim for claim in artifact.claims.licenses if not _is_license_text(artifact, claim))


def found_licenses(artifact: Artifact) -> list[Body]:
    """What was found in license files: evidence rather than a statement."""
    return _claimed(claim for claim in artifact.claims.licenses if _is_license_text(artifact, claim))


def concluded_licenses(ancestry: Iterable[Ancestor]) -> list[Body]:
    """The licenses of the ancestors that the weights show, and of theirs in the catalog, nearest first."""
    shown = [node for node in ancestry if node.standing is not Standing.SELF and node.rests_on in _SHOWN]
    terms = [term for node in sorted(shown, key=lambda node: (len(node.path), node.path)) for term in node.licenses]
    return _distinct([_term(term, "concluded") for term in terms])


def ancestor_licenses(terms: Iterable[LicenseTerm]) -> list[Body]:
    """The licenses under which an ancestor is published."""
    return _distinct([_term(term, "declared") for term in terms])


def _is_license_text(artifact: Artifact, claim: LicenseClaim) -> bool:
    return any(record.path == claim.source.path and record.kind is FileKind.LICENSE for record in artifact.files)


def _claimed(claims: Iterable[LicenseClaim]) -> list[Body]:
    entries = []
    for claim in claims:
        entry = _entry(claim.id, "declared", claim.link)
        if claim.name:
            entry["properties"] = properties([("provenance-gate:license:name", claim.name)])
        entries.append(entry)
    return _distinct(entries)


def _term(term: LicenseTerm, acknowledgement: str) -> Body:
    entry = _entry(term.spdx or term.id, acknowledgement, term.url)
    if "name" in entry:
        # A LicenseRef- id is no member of the SPDX list; the hub's spelling says more.
        entry["name"] = clean(term.id)
    entry["properties"] = properties([("provenance-gate:license:category", term.category)])
    return entry


def _entry(license_id: str, acknowledgement: str, url: str | None) -> Body:
    # Imported late: it builds an index of all license expressions.
    from cyclonedx.spdx import fixup_id

    spdx = fixup_id(license_id)
    entry: Body = {"id": spdx} if spdx is not None else {"name": clean(license_id)}
    entry["acknowledgement"] = acknowledgement
    if url and is_safe_url(url):
        entry["url"] = url
    return entry


def _distinct(entries: list[Body]) -> list[Body]:
    kept: list[Body] = []
    for entry in entries:
        if (entry.get("id") or entry.get("name")) and {"license": entry} not in kept:
            kept.append({"license": entry})
    return kept
