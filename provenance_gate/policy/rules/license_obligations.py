"""PG104: what ancestors' licenses ask of whoever publishes the artifact."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from provenance_gate.artifact.interface import Artifact
from provenance_gate.lineage.interface import ConditionKind, LicenseCondition
from provenance_gate.policy.ancestors import nearest_base, route
from provenance_gate.policy.interface import Outcome, Status, Subject
from provenance_gate.policy.licensing import Bound, bound_terms
from provenance_gate.policy.wording import exact, first_few, shown

_FILE_NAMES: Final = {
    ConditionKind.LICENSE_COPY: re.compile(r"licen[cs]e|copying", re.IGNORECASE),
    ConditionKind.NOTICE_FILE: re.compile(r"notices?(\.|$)", re.IGNORECASE),
    ConditionKind.ACCEPTABLE_USE: re.compile(r"(acceptable[ _-]?)?use[ _-]?policy|prohibited[ _-]?use", re.IGNORECASE),
}
_CARD: Final = re.compile(r"readme\.md$", re.IGNORECASE)
_TYPOGRAPHY: Final = str.maketrans({"©": "(c)", "“": '"', "”": '"', "‘": "'", "’": "'"})
_SEPARATORS: Final = re.compile(r"[\s._-]+")


@dataclass(frozen=True, slots=True)
class _Duty:
    """One condition, and the licenses of ancestors that ask for it, firm ones first."""

    condition: LicenseCondition
    by: tuple[Bound, ...]

    @property
    def firm(self) -> bool:
        return self.by[0].firm


class LicenseObligations:
    """Conditions of ancestors' licenses that ask for an act must be met where the artifact can show it.

    Looked for: a copy of the license, a NOTICE file and its wording, the beginning of the model's name (that of its folder or
    repository, and names given on the command line), words to be shown in the card (they may be shown elsewhere, so their
    absence is no failure). What no file can show (limits of users or revenue, policies to be kept, credit,
    statements of change) is listed in the evidence.

    - fail: a condition is not met, and weights and catalog (or the statement of an adapter) lead to the license;
    - undecided: it is not met, and the way to the license is a claim that was not tested or a test that did not decide.
    """

    kind: Final = "license-obligations"
    number: Final = "PG104"
    title: Final = "Conditions of inherited licenses are met where that can be seen"
    schema: Final[Mapping[str, Any]] = {
        "properties": {
            "ignore": {
                "title": "Kinds of conditions that are neither looked for nor listed",
                "type": "array",
                "items": {"enum": [k.value for k in ConditionKind]},
                "uniqueItems": True,
                "default": [],
            },
        },
    }

    def explain(self, options: Mapping[str, Any]) -> str:
        """What the rule with these options checks, in one plain sentence."""
        ignored = f" ({', '.join(options['ignore'])} left out)" if options.get("ignore") else ""
        return (
            "License copies, notice files and name prefixes that ancestors' licenses ask for must be there; other conditions"
            f" are listed{ignored}."
        )

    def evaluate(self, options: Mapping[str, Any], subject: Subject) -> Sequence[Outcome]:
        """One outcome per condition that is not met, and one that lists the others."""
        ignored = set(options.get("ignore", ()))
        duties = [d for d in _duties(bound_terms(subject)) if d.condition.kind.value not in ignored]
        unmet, listed = [], []
        for duty in duties:
            met = _is_met(duty.condition, subject)
            if met is False:
                unmet.append(_unmet(duty, subject))
            else:
                note = " (seen)" if met else ""
                asking = first_few(dict.fromkeys(b.term.id for b in duty.by))
                listed.append((duty.condition.kind.value, f"{describe(duty.condition)}, asked by {asking}{note}"))
        if not listed:
            nothing = Outcome(Status.PASS, "obligations", "no license of an ancestor is known to ask for an act")
            return tuple(unmet) or (nothing,)
        count = f"{len(listed)} condition{'s' if len(listed) != 1 else ''}"
        seen = sum(text.endswith(" (seen)") for _, text in listed)
        message = f"{count} of ancestors' licenses to keep in mind" + (
            f", {seen} of them seen to be met" if seen else ""
        )
        return (*unmet, Outcome(Status.PASS, "obligations", message, evidence=tuple(listed)))


def _duties(bound: Iterable[Bound]) -> Iterator[_Duty]:
    """Conditions that several licenses share are one duty, but each license wants its own copy."""
    by_matter: dict[tuple[LicenseCondition, str], list[Bound]] = {}
    for b in bound:
        for condition in b.term.conditions:
            apart = b.term.id.casefold() if condition.kind is ConditionKind.LICENSE_COPY else ""
            by_matter.setdefault((condition, apart), []).append(b)
    for (condition, _), asking in by_matter.items():
        yield _Duty(condition, tuple(sorted(asking, key=lambda b: not b.firm)))


def _is_met(condition: LicenseCondition, subject: Subject) -> bool | None:
    """Whether the artifact shows that a condition is met; None when it cannot show it."""
    match condition.kind:
        case ConditionKind.NAME_PREFIX:
            wanted = tuple(_plain(text) for text in condition.texts)
            return any(_plain(name).startswith(wanted) for name in _names(subject))
        case ConditionKind.LICENSE_COPY:
            return _has_file(subject.artifact, condition.kind)
        case ConditionKind.NOTICE_FILE:
            texts = _texts_of(subject, _FILE_NAMES[condition.kind])
            return _says(texts, condition) if texts else _has_file(subject.artifact, condition.kind)
        case ConditionKind.DISPLAY:
            return _says(_texts_of(subject, _CARD), condition) or None
        case ConditionKind.ACCEPTABLE_USE:
            # Users have to keep the policy, whether or not a copy goes along.
            return _has_file(subject.artifact, condition.kind) or None
        case _:
            return None


def _texts_of(subject: Subject, name: re.Pattern[str]) -> list[str]:
    return [text for path, text in subject.documents.items() if name.match(path.name)]


def _says(texts: Iterable[str], condition: LicenseCondition) -> bool:
    """Whether a text holds the words, however it spells quotes, the copyright sign and white space."""
    wanted = [_unadorned(words) for words in condition.texts]
    return any(words in text for text in map(_unadorned, texts) for words in wanted)


def _unadorned(text: str) -> str:
    return " ".join(text.translate(_TYPOGRAPHY).casefold().split())


def _has_file(artifact: Artifact, kind: ConditionKind) -> bool | None:
    """Whether there is a file that is called so; None for a single file, which is published beside others."""
    if len(artifact.files) < 2:
        return None
    names = (f.path.name for f in artifact.files if f.size)
    if kind is ConditionKind.LICENSE_COPY:
        return any(_FILE_NAMES[kind].search(name) for name in names)
    return any(_FILE_NAMES[kind].match(name) for name in names)


def _names(subject: Subject) -> list[str]:
    """Names of the model without those of its owner."""
    return [name.rstrip("/").rpartition("/")[2] for name in (subject.artifact.name, *subject.names)]


def _plain(name: str) -> str:
    """`Llama 3`, `llama-3` and `Llama3` are one beginning."""
    return _SEPARATORS.sub("", name).casefold()


def _unmet(duty: _Duty, subject: Subject) -> Outcome:
    condition, first = duty.condition, duty.by[0]
    asking = f"{shown(first.node.id)} is under {shown(first.term.id)}, which asks for {describe(condition)}"
    message = f"{asking}: {_absence(condition, subject)}; path: {route(first.node)}"
    if not duty.firm:
        message += f"; {first.node.rests_on.value}"
    remedy = (
        _remedy(condition)
        if duty.firm
        else f"give the weights of {shown(nearest_base(first.node))} with --base, so that the way to this license can be tested"
    )
    evidence = (
        *(("ancestor", f"{exact(b.node.id)} under {exact(b.term.id)}") for b in duty.by),
        ("path", route(first.node)),
        ("terms", first.term.confidence or "not known"),
    )
    key = ": ".join((exact(first.term.id), condition.kind.value, *(exact(t) for t in condition.texts)))
    return Outcome(Status.FAIL if duty.firm else Status.UNDECIDED, key, message, remedy, evidence)


def _absence(condition: LicenseCondition, subject: Subject) -> str:
    match condition.kind:
        case ConditionKind.NAME_PREFIX:
            return f"the artifact is called {first_few(dict.fromkeys(_names(subject)))}"
        case ConditionKind.NOTICE_FILE:
            return "no NOTICE file holds it"
        case _:
            return "there is no license file"


def _remedy(condition: LicenseCondition) -> str:
    match condition.kind:
        case ConditionKind.NAME_PREFIX:
            return f"call the model {shown(condition.texts[0])}..."
        case ConditionKind.NOTICE_FILE:
            return f"add a file NOTICE with the text: {shown(condition.texts[0])}"
        case _:
            return "add the text of the license as a file LICENSE"


def describe(condition: LicenseCondition) -> str:
    """A condition in a few words, for a list of obligations."""
    text = " or ".join(f'"{shown(t)}"' for t in condition.texts)
    page = f" ({shown(condition.url)})" if condition.url else ""
    match condition.kind:
        case ConditionKind.LICENSE_COPY:
            return "a copy of the license"
        case ConditionKind.NOTICE_FILE:
            return f"a NOTICE file with {text}"
        case ConditionKind.NAME_PREFIX:
            return f"a model name that begins with {text}"
        case ConditionKind.DISPLAY:
            return f"{text} shown in the documentation"
        case ConditionKind.ATTRIBUTION:
            return "credit and notices kept"
        case ConditionKind.MODIFICATION_NOTICE:
            return "a statement of what was changed"
        case ConditionKind.SOURCE:
            return "the source offered"
        case ConditionKind.USE_RESTRICTIONS:
            return f"its restrictions of use repeated in the terms{page}"
        case ConditionKind.ACCEPTABLE_USE:
            return f"its acceptable-use policy kept{page}"
        case ConditionKind.NO_FURTHER_RESTRICTIONS:
            return "no further restrictions"
        case ConditionKind.OUTPUT_TRAINING:
            return "no training of models of another line on the model or its output"
        case ConditionKind.USER_LIMIT:
            return f"a license of its own above {condition.limit:,} monthly active users"
        case ConditionKind.REVENUE_LIMIT:
            return f"a license of its own above {condition.limit:,} US dollars of yearly revenue"
        case ConditionKind.REGISTRATION:
            return "registration with the publisher"
        case ConditionKind.TERRITORY | ConditionKind.OTHER:
            return shown(" or ".join(condition.texts))
