"""A catalog record for a model that somebody adds to a registry: what the model's card says, unless the user says better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from provenance_gate.artifact.interface import Claims
from provenance_gate.lineage.interface import LicenseTerm
from provenance_gate.registry.licenses import LicenseBook

CONFIDENCE_CARD = "declared"
"""Of facts that only the model's own card states."""
CONFIDENCE_GIVEN = "given"
"""Of facts that whoever added the model stated."""
_RELATIONS = frozenset({"finetune", "merge", "quantized", "adapter"})


@dataclass(frozen=True, slots=True)
class Given:
    """What the user says of a model; None and empty: nothing. `source` is an address, `parents` ids."""

    id: str | None = None
    license: str | None = None
    parents: tuple[str, ...] = ()
    source: str | None = None


def record_of(
    model_id: str, given: Given, claims: Claims, parameters: int, source: str | None, book: LicenseBook
) -> dict[str, Any] | None:
    """A record by the schema of catalog files, None when neither license nor parent is known.

    What is given replaces what the card claims: a license all licenses, a parent all parents.
    """
    licenses = _licenses(given, claims, book)
    base_model = _base_model(given, claims)
    if licenses is None and base_model is None:
        return None
    organization, _, name = model_id.rpartition("/")
    return {
        "id": model_id,
        "family": f"{organization}--{name}".lower() if organization else name.lower(),
        "publisher": organization or model_id,
        "released": None,
        "license": licenses or _license_facts(book.term("unknown")),
        "base_model": base_model,
        "config": None,
        "tokenizer": None,
        "params": parameters,
        "sources": [] if source is None else [source],
        "confidence": CONFIDENCE_CARD,
        "license_confidence": None if licenses is None else CONFIDENCE_GIVEN if given.license else CONFIDENCE_CARD,
        "base_confidence": None if base_model is None else CONFIDENCE_GIVEN if given.parents else CONFIDENCE_CARD,
    }


def _licenses(given: Given, claims: Claims, book: LicenseBook) -> dict[str, Any] | None:
    if given.license:
        return _license_facts(book.term(given.license))
    terms = [book.term(claim.id, claim.name) for claim in claims.licenses]
    if not terms:
        return None
    facts = _license_facts(terms[0])
    # Several licenses in one card may mean "any" or "all"; until a person has looked, all of them hold.
    further = list(dict.fromkeys(t.id for t in terms[1:] if t.id.casefold() != terms[0].id.casefold()))
    return {**facts, "upstream": further} if further else facts


def _license_facts(term: LicenseTerm) -> dict[str, Any]:
    return {
        "id": term.id,
        "name": term.name,
        "spdx": term.spdx,
        "url": term.url,
        "category": term.category,
        "commercial_use": term.commercial_use,
        "conditions": None,
    }


def _base_model(given: Given, claims: Claims) -> dict[str, Any] | None:
    relation: str | None
    parents: Sequence[str]
    if given.parents:
        parents, relation = given.parents, None
    else:
        parents = list(dict.fromkeys(claim.id for claim in claims.bases))
        relation = next((c.relation for c in claims.bases if c.relation in _RELATIONS), None)
    if not parents:
        return None
    first, *others = parents
    facts = {"id": first, "relation": "merge" if others else relation or "finetune"}
    return {**facts, "others": others} if others else facts
