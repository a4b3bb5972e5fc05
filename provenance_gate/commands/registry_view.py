"""What `registry list`, `info` and `verify` print: plain values first, then text for people. Decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from provenance_gate.errors import UsageError, one_line

if TYPE_CHECKING:
    from provenance_gate.lineage.interface import LicenseTerm
    from provenance_gate.registry.catalog import ModelRecord
    from provenance_gate.registry.interface import Entry
    from provenance_gate.registry.layers import Registries
    from provenance_gate.registry.verifying import Verification
    from provenance_gate.report.interface import ReportOptions

_MOST_ANCESTORS = 64
_WIDEST = 240


def list_models(registries: Registries) -> dict[str, Any]:
    """Every model that the registries know, sorted by id, and what was left out."""
    entries = {entry.id.casefold(): entry for entry in registries.entries()}
    records = {record.id.casefold(): record for record in registries.catalog.records()}
    models = [_model(records.get(key), entries.get(key)) for key in sorted(records.keys() | entries.keys())]
    return {"models": models, "damaged": list(registries.damaged)}


def describe(registries: Registries, model_id: str) -> dict[str, Any]:
    """All facts about one model, its ancestors to the roots, and what their licenses ask. Raises UsageError."""
    record, entry = registries.catalog.find(model_id), registries.find(model_id)
    if record is None and entry is None:
        raise UsageError(f"no registry knows {one_line(repr(model_id), 120)}{_nearest(registries, model_id)}")
    if record is None and entry is not None:
        record = registries.catalog.find(entry.id)
    found = _model(record, entry)
    if record is not None:
        facts = record.facts
        found |= {key: facts.get(key) for key in ("released", "params", "note", "sources", "confidence")}
    ancestors = _ancestors(registries, record) if record is not None else []
    found["ancestors"] = [
        {"id": i, "child": child, "licenses": [t.id for t in r.licenses] if r else [], "known": r is not None}
        for i, child, r in ancestors
    ]
    family = [record] if record is not None else []
    family += [r for _, _, r in ancestors if r is not None]
    found["obligations"] = [o for member in family for o in _obligations(registries, member)]
    found["damaged"] = list(registries.damaged)
    return found


def _model(record: ModelRecord | None, entry: Entry | None) -> dict[str, Any]:
    stored = entry.fingerprint if entry is not None else None
    return {
        "id": record.id if record is not None else entry.id if entry is not None else "",
        "aliases": sorted({*(record.aliases if record else ()), *(entry.aliases if entry else ())}),
        "family": record.family if record else None,
        "publisher": record.publisher if record else None,
        "licenses": [_license(term) for term in record.licenses] if record else [],
        "parents": list(record.parents) if record else [],
        "facts": record is not None,
        "fingerprint": None if stored is None else asdict(stored),
        "sketch": entry is not None and entry.sketch is not None,
        "source": entry.source if entry else None,
        "registry": entry.registry if entry else None,
    }


def _license(term: LicenseTerm) -> dict[str, Any]:
    return {"id": term.id, "spdx": term.spdx, "name": term.name, "category": term.category, "url": term.url}


def _ancestors(registries: Registries, record: ModelRecord) -> list[tuple[str, str, ModelRecord | None]]:
    """(id, the model that comes from it, its record) of every ancestor once, nearest first."""
    found: dict[str, tuple[str, str, ModelRecord | None]] = {}
    waiting = [(record.id, record)]
    while waiting and len(found) < _MOST_ANCESTORS:
        child, known = waiting.pop(0)
        for step in (*known.via, *known.parents):
            ancestor = registries.catalog.find(step)
            name = ancestor.id if ancestor is not None else step
            if name.casefold() not in found and name.casefold() != record.id.casefold():
                found[name.casefold()] = (name, child, ancestor)
                if ancestor is not None:
                    waiting.append((name, ancestor))
            # Published steps follow one another; parents of the last one stand beside each other.
            child = name if step in known.via else child
    return list(found.values())


def _obligations(registries: Registries, record: ModelRecord) -> list[dict[str, Any]]:
    """What the record's own license and those that stay attached ask, as the catalog and the license data say."""
    found: list[dict[str, Any]] = []
    own = record.facts.get("license")
    prose = own.get("conditions") if isinstance(own, dict) else None
    for number, term in enumerate(record.licenses):
        terms = term.conditions or registries.catalog.licenses().term(term.id, term.name).conditions
        asked = [_condition(c.kind.value, c.texts, c.limit, c.url) for c in terms]
        if number == 0 and isinstance(prose, str) and prose:
            asked.append(prose)
        if asked:
            found.append({"model": record.id, "license": term.id, "asks": asked})
    return found


def _condition(kind: str, texts: Sequence[str], limit: int | None, url: str | None) -> str:
    details = [*texts, *([f"{limit:,}"] if limit is not None else []), *([url] if url else [])]
    return kind.replace("-", " ") + (f": {'; '.join(details)}" if details else "")


def _nearest(registries: Registries, model_id: str) -> str:
    import difflib

    names = {record.id.casefold(): record.id for record in registries.catalog.records()}
    names |= {entry.id.casefold(): entry.id for entry in registries.entries()}
    # Ids are compared by what follows the organization, too: that is what people remember.
    tails = {key.rpartition("/")[2]: name for key, name in names.items()}
    key = model_id.casefold()[:200]
    near = [names[k] for k in difflib.get_close_matches(key, names, 3, 0.75)]
    near += [tails[k] for k in difflib.get_close_matches(key.rpartition("/")[2], tails, 3, 0.85)]
    return f"; did you mean {', '.join(dict.fromkeys(near))}?" if near else ""


def render_list(found: dict[str, Any], options: ReportOptions) -> str:
    """A table of models."""
    from provenance_gate.report.page import Page

    models = found["models"]
    headings = ("id", "license", "parents", "stored")
    rows = [(m["id"], _ids(m["licenses"]), ", ".join(m["parents"]) or "-", _stored(m)) for m in models]
    # An id that is broken in two can be neither searched for nor copied.
    needed = sum(max(len(row[column]) + 3 for row in (headings, *rows)) for column in range(len(headings)))
    page = Page(replace(options, width=max(options.width, min(needed, _WIDEST))))
    page.table(headings, rows)
    page.blank()
    fingerprints = sum(m["fingerprint"] is not None for m in models)
    page.line(f"{len(models):,} models, {fingerprints:,} with a fingerprint of the weights")
    return page.text()


def render_description(found: dict[str, Any], options: ReportOptions) -> str:
    """One model."""
    from provenance_gate.report.page import Page

    page = Page(options)
    page.line(found["id"], style="bold")
    rows = [
        ("also called", ", ".join(found["aliases"])),
        ("family", found["family"] or ""),
        ("publisher", found["publisher"] or ""),
        ("released", found.get("released") or ""),
        ("parameters", f"{found['params']:,}" if isinstance(found.get("params"), int) else ""),
        *(("license", _license_line(term)) for term in found["licenses"]),
        ("note", found.get("note") or ""),
        ("facts", _confidence(found)),
        ("fingerprint", _fingerprint_line(found["fingerprint"])),
        ("sketch", "yes" if found["sketch"] else ""),
        ("weights at", found["source"] or ""),
        ("registry", found["registry"] or ""),
    ]
    for name, value in rows:
        if value:
            page.line(f"{name + ':':<13} {value}")
    page.section("Comes from")
    if not found["ancestors"]:
        page.line("no parent is recorded", indent=2)
    for ancestor in found["ancestors"]:
        licenses = ", ".join(ancestor["licenses"]) or (
            "no license is recorded" if ancestor["known"] else "not recorded"
        )
        page.line(f"{ancestor['child']} <- {ancestor['id']} ({licenses})", indent=2)
    page.section("What its licenses ask")
    if not found["obligations"]:
        page.line("nothing is recorded", indent=2)
    for obligation in found["obligations"]:
        page.line(f"{obligation['license']} of {obligation['model']}:", indent=2)
        for text in obligation["asks"]:
            page.line(text, indent=4)
    return page.text()


def render_verification(found: Sequence[Verification], options: ReportOptions) -> str:
    """What was checked, then notes, then problems."""
    from provenance_gate.report.page import Page

    page = Page(options)
    for one in found:
        signed = "signed, " if one.signed else ""
        page.line(
            f"{one.location}: {signed}{one.records:,} records, {one.entries:,} entries, "
            f"{one.fingerprints:,} fingerprints ({_size(one.size)}), {_count(len(one.problems), 'problem')}",
            style="bold",
        )
        for note in one.notes:
            page.line(f"note: {note}", indent=2)
        for problem in one.problems:
            page.line(f"problem: {problem}", indent=2)
    return page.text()


def _ids(licenses: Sequence[dict[str, Any]]) -> str:
    return ", ".join(term["id"] for term in licenses) or "-"


def _license_line(term: dict[str, Any]) -> str:
    return f"{term['id']} ({term['category']})" + (f", {term['url']}" if term["url"] else "")


def _stored(model: dict[str, Any]) -> str:
    parts = ["facts"] if model["facts"] else []
    parts += [f"fingerprint {_size(model['fingerprint']['size'])}"] if model["fingerprint"] else []
    return ", ".join(parts) or "sketch"


def _fingerprint_line(stored: dict[str, Any] | None) -> str:
    return "" if stored is None else f"{stored['method']}, {_size(stored['size'])}, SHA-256 {stored['sha256']}"


def _confidence(found: dict[str, Any]) -> str:
    sources = ", ".join(found.get("sources") or ())
    return (
        f"{found.get('confidence') or 'confidence not stated'}" + (f": {sources}" if sources else "")
        if found["facts"]
        else ""
    )


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count / 1e3:.1f} kB"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")
