"""What an audit says in one sentence, and why in three. It rests on the lineage; tells and claims only stand beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from provenance_gate.artifact.claims import CONFIG
from provenance_gate.artifact.interface import BaseClaim, NotMeasured
from provenance_gate.errors import one_line
from provenance_gate.lineage.interface import DERIVED_SCORE, Lineage, Relation
from provenance_gate.lineage.merges.interface import Merge
from provenance_gate.lineage.parents import is_mix
from provenance_gate.tells.interface import ClaimCheck, Standing, TellGroup, TellResult, TellStatus

DESCENT = frozenset({Relation.IDENTICAL, Relation.REFORMATTED, Relation.DERIVED})
MOST_NAMED = 4
"""Models or claims that one sentence names."""
_ID = 120


class Answer(str, Enum):
    """What the weights say about descent from the models they were compared with. Never more: another model may be the base."""

    DERIVED = "derived"
    NOT_DERIVED = "not derived"
    NOT_SHOWN = "not shown"


@dataclass(frozen=True, slots=True)
class AuditVerdict:
    """One sentence and three of why, safe to print. `bases`: ids of the models that the answer speaks of, the likeliest first."""

    answer: Answer
    bases: tuple[str, ...]
    sentence: str
    why: tuple[str, str, str]


def conclude(
    name: str,
    lineages: Sequence[Lineage],
    merge: Merge | NotMeasured,
    tells: Sequence[TellResult],
    claims: Sequence[ClaimCheck],
    *,
    declared: Sequence[BaseClaim] = (),
    untested: Mapping[str, str] | None = None,
    nominated: Sequence[str] = (),
) -> AuditVerdict:
    """The verdict of an audit.

    Parameters
    ----------
    lineages
        To every model that the artifact was compared with, in any order.
    declared, untested
        Bases that the artifact names, and by id why one of them could not be compared.
    nominated
        Ids of models that config, tokenizer or sketches point to and that were not compared.
    """
    shown = sorted((x for x in lineages if is_descent(x)), key=lambda x: _nearest_first(x, mixed=is_mix(merge)))
    name = one_line(name, _ID)
    beside = (_tells(tells), _claims(claims))
    if shown:
        parents = _parents(shown, merge)
        bases = tuple(one_line(x.base.id, _ID) for x in parents)
        return AuditVerdict(
            Answer.DERIVED, bases, _derived(name, parents, merge, declared), (_figures(parents), *beside)
        )
    measured = [x for x in lineages if isinstance(x.score, float)]
    bases = tuple(dict.fromkeys(one_line(x.base.id, _ID) for x in lineages))
    if measured and len(measured) == len(lineages) and all(x.relation is Relation.INDEPENDENT for x in lineages):
        openly = " (declared by its publisher)" if any(is_declared(x) for x in lineages) else ""
        sentence = f"{name} is not derived from {_some(bases)}{openly}: its weights are independent of {_it(bases)}."
        return AuditVerdict(Answer.NOT_DERIVED, bases, sentence, (_figures(lineages), *beside))
    sentence, why = _not_shown(name, lineages, untested or {}, nominated)
    return AuditVerdict(Answer.NOT_SHOWN, bases, sentence, (why, *beside))


def is_descent(lineage: Lineage) -> bool:
    """Whether the weights show that the artifact descends from the base."""
    return lineage.relation in DESCENT and isinstance(lineage.score, float) and lineage.score >= DERIVED_SCORE


def is_declared(lineage: Lineage) -> bool:
    """Whether somebody says that the artifact comes from the base. `_name_or_path` of config.json is none: saving writes it."""
    return any(claim.source.path != CONFIG for claim in lineage.claims)


def _nearest_first(lineage: Lineage, *, mixed: bool = False) -> tuple[bool, float, float, str]:
    """By the share of the mix where there is one, else by the share of variance that the base explains."""
    weight = lineage.mixing_weight if mixed and isinstance(lineage.mixing_weight, float) else 0.0
    share = lineage.inheritance if isinstance(lineage.inheritance, float) else 0.0
    return lineage.kin_of is not None, -round(weight, 3), -share, lineage.base.id


def _parents(shown: Sequence[Lineage], merge: Merge | NotMeasured) -> Sequence[Lineage]:
    """Those that were mixed, or the nearest alone: other relatives are its siblings and ancestors."""
    if isinstance(merge, NotMeasured) or not is_mix(merge):
        return shown[:1]
    return [x for x in shown if x.base.id in merge.parents] or shown[:1]


def _derived(name: str, parents: Sequence[Lineage], merge: Merge | NotMeasured, declared: Sequence[BaseClaim]) -> str:
    bases = [one_line(x.base.id, _ID) for x in parents]
    said = _said(name, bases, [is_declared(x) for x in parents], [c for c in declared if c.source.path != CONFIG])
    if len(bases) > 1 and not isinstance(merge, NotMeasured):
        return f"{name} is a mix ({one_line(merge.recipe, 40)}) of {_some(bases)} by its weights, {said}."
    if parents[0].relation is not Relation.DERIVED:
        return f"{name} has the weights of {bases[0]} ({parents[0].relation.value}), {said}."
    kinds = f" ({', '.join(parents[0].kinds)})" if parents[0].kinds else ""
    return f"{name} is derived from {bases[0]}{kinds} by its weights, {said}."


def _said(name: str, bases: Sequence[str], openly: Sequence[bool], declared: Sequence[BaseClaim]) -> str:
    """What the publisher says of `bases`, `openly` telling which of them are declared."""
    silent = [b for b, known in zip(bases, openly, strict=True) if not known]
    if not silent:
        return "as its publisher declares"
    if len(silent) < len(bases):
        return f"and its publisher does not declare {_some(silent)}"
    if declared:
        return f"and its publisher declares {_some([one_line(c.id, _ID) for c in declared])} instead"
    if _last(name) == _last(bases[0]):
        return "as its name says"
    return "and its publisher does not say so"


def _last(model_id: str) -> str:
    return model_id.rpartition("/")[2].casefold()


def _figures(lineages: Sequence[Lineage]) -> str:
    words = [
        f"{one_line(x.base.id, _ID)}: score {_number(x.score)}, p-value {_number(x.p_value)}, inherited {_number(x.inheritance)}"
        for x in lineages[:MOST_NAMED]
    ]
    reason = f"; {one_line(lineages[0].reason, 400)}" if len(lineages) == 1 and lineages[0].reason else ""
    return f"Weights decide: {'; '.join(words)}{reason}."


def _not_shown(
    name: str, lineages: Sequence[Lineage], untested: Mapping[str, str], nominated: Sequence[str]
) -> tuple[str, str]:
    if lineages:
        first = min(lineages, key=lambda x: (x.relation is Relation.INDEPENDENT, _nearest_first(x)))
        base = one_line(first.base.id, _ID)
        sentence = f"Descent of {name} from {base} is not shown: {first.relation.value}."
        return sentence, f"Weights decide: {base}: score {_number(first.score)}; {one_line(first.reason, 400)}."
    if untested:
        missing, reason = next(iter(sorted(untested.items())))
        return (
            f"Descent of {name} is not shown: no base could be compared by weights.",
            f"It names {one_line(missing, _ID)}, which could not be read: {one_line(reason, 300)}; give it with --base.",
        )
    if nominated:
        return (
            f"Descent of {name} is not shown: no base could be compared by weights.",
            f"Config, tokenizer or names point to {_some([one_line(n, _ID) for n in nominated])}, "
            "which nobody measured here; give the weights with --base.",
        )
    return (
        f"Descent of {name} is not shown: no known model is related to it.",
        "Nothing known was close enough to compare; give a suspected base with --base.",
    )


def _tells(tells: Sequence[TellResult]) -> str:
    fired = [t for t in tells if t.status is TellStatus.FIRED]
    absent = sum(t.status is TellStatus.NOT_MEASURED for t in tells)
    groups = [(g, sum(t.group is g for t in fired)) for g in TellGroup]
    parts = ", ".join(f"{count} {group.value}" for group, count in groups if count)
    return (
        f"{len(fired)} of {len(tells)} tells fired"
        + (f" ({parts})" if parts else "")
        + (f", {absent} could not be measured" if absent else "")
        + "; config and tokenizer tells are shared by honest models, too."
    )


def _claims(claims: Sequence[ClaimCheck]) -> str:
    against = [one_line(c.topic, 60) for c in claims if c.standing is Standing.CONTRADICTS]
    agreeing = sum(c.standing is Standing.AGREES for c in claims)
    if not claims:
        return "The files make no claim that could be held against them."
    if not against:
        return f"No claim of the files is contradicted; {agreeing} of {len(claims)} agree with what they show."
    return (
        f"{len(against)} of {len(claims)} claims are contradicted by the files: {_some(list(dict.fromkeys(against)))}."
    )


def _some(names: Sequence[str]) -> str:
    """As in "a, b and c", or "a, b, c, d and 3 more"."""
    shown = list(names[:MOST_NAMED])
    rest = len(names) - len(shown)
    if rest:
        return f"{', '.join(shown)} and {rest} more"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def _it(names: Sequence[str]) -> str:
    return "it" if len(names) == 1 else "them"


def _number(value: float | NotMeasured) -> str:
    return "not measured" if isinstance(value, NotMeasured) else f"{value:.3g}"
