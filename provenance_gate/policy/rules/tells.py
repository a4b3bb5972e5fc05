"""PG204: known signs that a model is a public one under another name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from provenance_gate.policy.interface import Outcome, Status, Subject
from provenance_gate.policy.wording import shown
from provenance_gate.tells.cluster import FIRST, is_disclosed
from provenance_gate.tells.interface import NAMES, TellResult, TellStatus

DEFAULT_IDS: Final = tuple(FIRST)
DEFAULT_MAX: Final = 2.0
"""Three or more of the first seven are a strong hint."""
_MOST: Final = 100
_WEIGHT: Final = {"type": "number", "minimum": 0, "maximum": _MOST}


class Tells:
    """Not more than a few tells may point to a model that the artifact does not declare.

    A tell is a sign such as a leftover name or the shape of a public model; one proves nothing, and weights decide descent.
    Each that fired counts 1, or as `weights` say. One that points to a base which the artifact declares hides nothing and does
    not count, unless `count_disclosed` is set.

    - fail: the sum of the fired tells exceeds `max`;
    - undecided: it does not, and would if every tell that could not be measured had fired;
    - pass: otherwise.
    """

    kind: Final = "tells"
    number: Final = "PG204"
    title: Final = "Few signs of a relabeled public model"
    schema: Final[Mapping[str, Any]] = {
        "properties": {
            "ids": {
                "title": "Tells that count",
                "description": "Numbers 1 to 14 of the tells; by default the seven that look at the config.",
                "type": "array",
                "items": {"type": "integer", "minimum": 1, "maximum": max(NAMES)},
                "minItems": 1,
                "uniqueItems": True,
                "default": [*DEFAULT_IDS],
            },
            "max": {
                "title": "The most that may fire",
                "description": "A sum of weights above it fails.",
                **_WEIGHT,
                "default": DEFAULT_MAX,
            },
            "weights": {
                "title": "What a tell counts",
                "description": "By name; a tell that is not named counts 1.",
                "type": "object",
                "properties": dict.fromkeys(NAMES.values(), _WEIGHT),
                "additionalProperties": False,
                "minProperties": 1,
            },
            "count_disclosed": {
                "title": "Declared bases count as well",
                "description": "Whether tells that point to a base which the artifact declares count.",
                "type": "boolean",
                "default": False,
            },
        }
    }

    def explain(self, options: Mapping[str, Any]) -> str:
        """What the rule with these options checks, in one plain sentence."""
        ids = ", ".join(str(i) for i in sorted(asked_ids(options)))
        but = "" if options.get("count_disclosed", False) else ", those that point to a declared base apart"
        weighted = " by their weights" if options.get("weights") else ""
        return f"Of the tells {ids}, at most {_max(options):g} may fire{weighted}{but}."

    def evaluate(self, options: Mapping[str, Any], subject: Subject) -> Sequence[Outcome]:
        """A single outcome over all tells that were asked for."""
        wanted = sorted(asked_ids(options))
        results = {r.id: r for r in subject.tells}
        fired = [r for i in wanted if (r := results.get(i)) is not None and r.status is TellStatus.FIRED]
        counted = [r for r in fired if options.get("count_disclosed", False) or not is_disclosed(r)]
        absent = [i for i in wanted if i not in results or results[i].status is TellStatus.NOT_MEASURED]
        most, total = _max(options), sum(_weight(options, r.id) for r in counted)
        possible = total + sum(_weight(options, i) for i in absent)
        names = ", ".join(f"{r.id} {r.name}" for r in counted)
        bases = ", ".join(dict.fromkeys(shown(r.base) for r in counted if r.base is not None))
        evidence = tuple(_evidence(counted, absent, results))
        if total > most:
            message = f"tells amount to {total:g}, at most {most:g} is allowed: {names}"
            message += f"; they point to {shown(bases)}" if bases else ""
            remedy = "declare the base in README.md, or correct what the tells found; `provenance-gate audit` shows each in full"
            return (Outcome(Status.FAIL, "tells", message, remedy, evidence),)
        if possible > most:
            listed = ", ".join(str(i) for i in absent)
            message = (
                f"tells amount to {total:g}, at most {most:g} is allowed, and tells {listed} could not be measured"
            )
            remedy = (
                "add what is missing (config.json, tokenizer, weights of the base), or leave these tells out with `ids`"
            )
            return (Outcome(Status.UNDECIDED, "tells", message, remedy, evidence),)
        left = len(fired) - len(counted)
        apart = f"; {left} more point to a declared base" if left else ""
        message = f"tells amount to {total:g}, at most {most:g} is allowed{': ' + names if names else ''}{apart}"
        return (Outcome(Status.PASS, "tells", message, evidence=evidence),)


def asked_ids(options: Mapping[str, Any]) -> frozenset[int]:
    """The tells that a rule with these options needs."""
    return frozenset(options.get("ids", DEFAULT_IDS))


def _max(options: Mapping[str, Any]) -> float:
    return float(options.get("max", DEFAULT_MAX))


def _weight(options: Mapping[str, Any], number: int) -> float:
    return float(options.get("weights", {}).get(NAMES[number], 1.0))


def _evidence(
    counted: Sequence[TellResult], absent: Sequence[int], results: Mapping[int, TellResult]
) -> Iterator[tuple[str, str]]:
    for result in counted:
        yield f"tell {result.id}", shown(result.seen)
    for number in absent:
        reason = results[number].seen if number in results else "it was not run"
        yield f"tell {number}", f"not measured ({shown(reason)})"
