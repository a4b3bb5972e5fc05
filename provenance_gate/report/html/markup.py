"""HTML as values: a string becomes markup in one place only, `text`, where everything that could act is made inert.

Names of elements and attributes are literals of this package. Values are strings of strangers and pass `text`, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import TypeAlias

from provenance_gate.report.escaping import TEXT_LIMIT, clean

_VOID = frozenset({"meta", "br", "col"})


@dataclass(frozen=True, slots=True)
class Markup:
    """HTML that may be printed as it is."""

    html: str


Child: TypeAlias = "Markup | str"


def text(value: str, limit: int = TEXT_LIMIT) -> Markup:
    """`value` as one line of at most `limit` characters that shows as it reads, in an element as in a quoted attribute."""
    return Markup(escape(clean(value, limit), quote=True))


def tag(element: str, /, *children: Child, **attributes: str | float | None) -> Markup:
    """An element. In the names of attributes ``_`` stands for a dash and a final one for nothing; None leaves one out."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(_spelled(value)).html}"'
        for key, value in attributes.items()
        if value is not None
    )
    if element in _VOID:
        return Markup(f"<{element}{given}>")
    return Markup(f"<{element}{given}>{join(children).html}</{element}>")


def join(children: Iterable[Child]) -> Markup:
    """Children one after the other; strings are made inert."""
    return Markup("".join((c if isinstance(c, Markup) else text(c)).html for c in children))


def lines(values: Iterable[str]) -> Markup:
    """Preformatted lines, each made inert by itself."""
    return Markup("\n".join(text(v).html for v in values))


def _spelled(value: str | float) -> str:
    """Coordinates without the noise of binary fractions, so that equal input gives equal bytes everywhere."""
    return value if isinstance(value, str) else f"{round(value, 2):g}"
