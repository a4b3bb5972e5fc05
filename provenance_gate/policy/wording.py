"""How rules write ids, numbers and lineages into messages.

Ids come from hostile files: whatever of them enters a message or a key goes through `shown` or `exact`.
"""

from __future__ import annotations

from collections.abc import Iterable

from provenance_gate.artifact.interface import ClaimSource, NotMeasured
from provenance_gate.errors import one_line
from provenance_gate.lineage.interface import Lineage

_NAMED = 3


def shown(text: str) -> str:
    """`text` from an artifact, safe and short enough to stand in a sentence."""
    return one_line(text, 120)


def exact(text: str) -> str:
    """`text` from an artifact, safe and in full: two texts that differ keep keys that differ."""
    return one_line(text, len(text))


def same_id(one: str, other: str) -> bool:
    """Whether two ids name one model; hubs do not tell upper from lower case."""
    return one.casefold() == other.casefold()


def number(value: float | NotMeasured) -> str:
    """A score or share."""
    return f"not measured ({shown(value.reason)})" if isinstance(value, NotMeasured) else f"{value:.3f}"


def p_value(value: float | NotMeasured) -> str:
    """A p-value; they span 300 powers of ten."""
    return f"not measured ({shown(value.reason)})" if isinstance(value, NotMeasured) else f"{value:.2g}"


def place(source: ClaimSource) -> str:
    """Where a claim stands."""
    return shown(f"{source.path}:{source.line}")


def first_few(names: Iterable[str]) -> str:
    """The first names in sorted order, and how many more there are."""
    ordered = sorted(names)
    more = len(ordered) - _NAMED
    listed = ", ".join(shown(name) for name in ordered[:_NAMED])
    return f"{listed} and {more} more" if more > 0 else listed


def lineage_summary(lineage: Lineage) -> str:
    """The numbers that a decision about a base rests on."""
    return f"score {number(lineage.score)}, relation {lineage.relation.value}, p-value {p_value(lineage.p_value)}"


def lineage_evidence(lineage: Lineage) -> tuple[tuple[str, str], ...]:
    """The same, and what else a reader may want, as pairs."""
    components = ", ".join(f"{name} {part.relation.value}" for name, part in sorted(lineage.components.items()))
    pairs = (
        ("base", exact(lineage.base.id)),
        ("score", number(lineage.score)),
        ("relation", lineage.relation.value),
        ("p-value", p_value(lineage.p_value)),
        ("test", shown(lineage.test)),
        ("inheritance", number(lineage.inheritance)),
        ("components", shown(components)),
        ("reason", shown(lineage.reason)),
        ("tier", str(lineage.tier)),
    )
    return tuple(pair for pair in pairs if pair[1])
