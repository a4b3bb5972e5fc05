"""What a license asks, as one entry of ``licenses.json`` states it. Raises RegistryError naming the field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from provenance_gate.errors import RegistryError, one_line
from provenance_gate.lineage.interface import (
    COMMERCIAL_USE_OF,
    ConditionKind,
    Derivatives,
    LicenseCondition,
    LicenseTerm,
)

MAX_CONDITIONS: Final = 32
MAX_TEXT: Final = 500

_COMMERCIAL_USE: Final = ("yes", "no", "conditional")
_CONFIDENCE: Final = ("verified", "recalled")
_WITH_TEXTS: Final = frozenset(
    {
        ConditionKind.NOTICE_FILE,
        ConditionKind.NAME_PREFIX,
        ConditionKind.DISPLAY,
        ConditionKind.TERRITORY,
        ConditionKind.OTHER,
    }
)
_WITH_LIMIT: Final = frozenset({ConditionKind.USER_LIMIT, ConditionKind.REVENUE_LIMIT})


def with_terms(term: LicenseTerm, entry: Mapping[str, object], where: str) -> LicenseTerm:
    """`term` with commercial use and terms as `entry` has them; `where` names file and entry in errors."""
    use = _choice(entry, "commercial_use", _COMMERCIAL_USE, where) or COMMERCIAL_USE_OF.get(term.category)
    stated = _choice(entry, "derivatives", [d.value for d in Derivatives], where)
    conditions = entry.get("conditions", [])
    if not isinstance(conditions, list) or len(conditions) > MAX_CONDITIONS:
        raise RegistryError(f"{where}: conditions: expected a list of at most {MAX_CONDITIONS}")
    return replace(
        term,
        commercial_use=use,
        derivatives=Derivatives(stated) if stated else None,
        also_under=_texts(entry, "also_under", where),
        conditions=tuple(_condition(c, f"{where}: condition {n}") for n, c in enumerate(conditions)),
        confidence=_choice(entry, "confidence", _CONFIDENCE, where),
    )


def same_terms_as(term: LicenseTerm, other: LicenseTerm) -> LicenseTerm:
    """`term` with the terms of `other`, another spelling of one license."""
    return replace(
        term,
        derivatives=other.derivatives,
        also_under=other.also_under,
        conditions=other.conditions,
        confidence=other.confidence,
    )


def _condition(entry: object, where: str) -> LicenseCondition:
    if not isinstance(entry, dict):
        raise RegistryError(f"{where}: expected an object")
    kind = ConditionKind(_choice(entry, "kind", [k.value for k in ConditionKind], where, required=True))
    texts, url, limit = _texts(entry, "texts", where), entry.get("url"), entry.get("limit")
    if bool(texts) != (kind in _WITH_TEXTS):
        raise RegistryError(f"{where}: texts: {'missing' if not texts else 'not expected'} for {kind.value}")
    if url is not None and not (isinstance(url, str) and url.startswith(("https://", "http://"))):
        raise RegistryError(f"{where}: url: expected an address that begins with https://")
    if (kind in _WITH_LIMIT) != (type(limit) is int and limit > 0):
        expected = "a positive number" if kind in _WITH_LIMIT else "none"
        raise RegistryError(f"{where}: limit: expected {expected} for {kind.value}")
    return LicenseCondition(kind, texts, url, limit if isinstance(limit, int) else None)


def _choice(
    entry: Mapping[str, object], key: str, accepted: list[str] | tuple[str, ...], where: str, *, required: bool = False
) -> str | None:
    value = entry.get(key)
    if isinstance(value, str) and value in accepted:
        return value
    if value is None and not required:
        return None
    raise RegistryError(f"{where}: {key}: found {one_line(repr(value), 60)}, expected one of {', '.join(accepted)}")


def _texts(entry: Mapping[str, object], key: str, where: str) -> tuple[str, ...]:
    value = entry.get(key, [])
    if not isinstance(value, list) or not all(isinstance(v, str) and 0 < len(v) <= MAX_TEXT for v in value):
        raise RegistryError(f"{where}: {key}: expected a list of strings of 1 to {MAX_TEXT} characters")
    return tuple(value)
