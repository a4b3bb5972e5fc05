"""Numbers and places as JSON values, alike in every report: rounded, and null beside a reason where there is none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from provenance_gate.artifact.interface import ClaimSource, NotMeasured
from provenance_gate.fingerprint.interface import Json

DIGITS = 6
P_VALUE_DIGITS = 3


def source_to_json(source: ClaimSource) -> dict[str, Any]:
    """Where a claim stands."""
    return {"path": str(source.path), "line": source.line, "field": source.field}


def measured(name: str, value: float | NotMeasured, digits: int = DIGITS) -> dict[str, Any]:
    """The member `name`, and beside a null `name_reason`."""
    number, reason = number_or_reason(value, digits)
    return {name: number} if number is not None else {name: None, f"{name}_reason": reason}


def number_or_reason(value: float | NotMeasured, digits: int) -> tuple[float | None, str]:
    """The rounded number and "", or None and why."""
    match value:
        case NotMeasured(reason):
            return None, reason
        case number:
            kept = finite(number, digits)
            return kept, "" if kept is not None else "the computed value is not a finite number"


def finite(number: float, digits: int = DIGITS) -> float | None:
    """`number` to so many significant digits; None where it is not finite, because JSON has no spelling for it."""
    return float(f"{number:.{digits}g}") if math.isfinite(number) else None


def rounded(value: Json) -> Json:
    """`value` with every number in it through `finite`."""
    if isinstance(value, float):
        return finite(value)
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [rounded(item) for item in value]
    return value
