"""How a tell states its answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from provenance_gate.errors import one_line
from provenance_gate.tells.interface import TellResult, TellStatus

if TYPE_CHECKING:
    from provenance_gate.fingerprint.interface import Json
    from provenance_gate.tells.interface import Tell

_LONGEST = 500
"""Characters of a sentence."""


def answer(
    tell: Tell,
    *,
    seen: str,
    expected: str,
    reproduce: str,
    strength: float = 0.0,
    base: str | None = None,
    numbers: Mapping[str, Json] | None = None,
) -> TellResult:
    """FIRED with a strength above 0, else QUIET."""
    return TellResult(
        id=tell.id,
        name=tell.name,
        group=tell.group,
        title=tell.title,
        status=TellStatus.FIRED if strength > 0.0 else TellStatus.QUIET,
        seen=one_line(seen, _LONGEST),
        expected=one_line(expected, _LONGEST),
        strength=strength,
        reproduce=one_line(reproduce, _LONGEST),
        base=None if base is None else one_line(base, 200),
        numbers=numbers or {},
    )


def not_measured(tell: Tell, reason: str, expected: str, reproduce: str) -> TellResult:
    """NOT_MEASURED, with the reason as what was seen."""
    return TellResult(
        id=tell.id,
        name=tell.name,
        group=tell.group,
        title=tell.title,
        status=TellStatus.NOT_MEASURED,
        seen=one_line(reason, _LONGEST),
        expected=one_line(expected, _LONGEST),
        reproduce=one_line(reproduce, _LONGEST),
    )


def number(value: object) -> str:
    """An integer with separators, anything else as it prints, safe."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return one_line(str(value), 60)
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:g}"
