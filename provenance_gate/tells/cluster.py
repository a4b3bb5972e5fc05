"""What the tells say together, in words for people. It is a hint and never the verdict: weights decide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from provenance_gate.errors import one_line
from provenance_gate.tells.interface import TellResult, TellStatus

FIRST: Final = range(1, 8)
"""The tells of the config: cheap, and each of them innocent by itself."""
STRONG: Final = 3
"""So many of the first seven are a strong hint."""
_LISTED: Final = 3


@dataclass(frozen=True, slots=True)
class Cluster:
    """The first seven together.

    Attributes
    ----------
    fired, hidden, not_measured
        Ids among the first seven; `hidden` are those fired that point to nothing the artifact declares.
    strong
        Whether `STRONG` or more are hidden.
    bases
        The models that fired tells (of all fourteen) point to, the one named most often first, with how often.
    text
        One or two sentences.
    """

    fired: tuple[int, ...]
    hidden: tuple[int, ...]
    not_measured: tuple[int, ...]
    strong: bool
    bases: tuple[tuple[str, int], ...]
    text: str


def is_disclosed(result: TellResult) -> bool:
    """Whether a fired tell points to a model that the artifact declares itself: nothing was hidden."""
    return result.numbers.get("disclosed") is True


def cluster(results: Sequence[TellResult]) -> Cluster:
    """The first seven of `results` read together; the others only add to the bases that are named."""
    first = [r for r in results if r.id in FIRST]
    fired = [r for r in first if r.status is TellStatus.FIRED]
    hidden = [r for r in fired if not is_disclosed(r)]
    absent = tuple(sorted(r.id for r in first if r.status is TellStatus.NOT_MEASURED))
    named = Counter(r.base for r in results if r.status is TellStatus.FIRED and r.base is not None)
    bases = tuple(sorted(named.items(), key=lambda item: (-item[1], item[0])))
    strong = len(hidden) >= STRONG
    return Cluster(
        fired=tuple(sorted(r.id for r in fired)),
        hidden=tuple(sorted(r.id for r in hidden)),
        not_measured=absent,
        strong=strong,
        bases=bases,
        text=_text(len(first), len(fired), len(hidden), len(absent), bases),
    )


def _text(measured: int, fired: int, hidden: int, absent: int, bases: Sequence[tuple[str, int]]) -> str:
    looked = measured - absent
    if not looked:
        return "None of the first seven tells could be measured: the config says nothing that could be compared."
    pointing = ", ".join(f"{one_line(b, 120)} ({n} of them)" for b, n in bases[:_LISTED])
    to = f" Of all tells, those that name a base name {pointing}." if pointing else ""
    missing = f" {absent} could not be measured." if absent else ""
    if hidden >= STRONG:
        said = f"{hidden} of the first seven tells fired beside what is declared: a strong hint that a public model was renamed."
        return said + to + missing + " A hint only: the weights decide."
    if fired and not hidden:
        declared = "fires and points" if fired == 1 else "fire and point"
        said = f"{fired} of the first seven tells {declared} to what the artifact declares itself"
        return f"{said}: no sign of a hidden origin.{missing}"
    if hidden:
        one = "tell" if hidden == 1 else "tells"
        said = (
            f"{hidden} {one} of the first seven fired beside what is declared: too few to mean anything by themselves."
        )
        return said + to + missing
    return f"None of the first seven tells fired.{missing}"
