"""PG401: model card, adapter, merge and config files must not contradict each other about the base."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final

from provenance_gate.artifact.claims import ADAPTER, CARD, CONFIG, MERGES
from provenance_gate.artifact.interface import BaseClaim
from provenance_gate.policy.interface import Outcome, Status, Subject
from provenance_gate.policy.wording import exact, first_few, place, same_id, shown

_WEIGHTY: Final = (ADAPTER, *MERGES)
"""Files that training and merging tools write and loaders follow; config.json names what was loaded last."""


class ConsistentClaims:
    """What the files of the artifact say about its bases must fit together. Needs no weights, and is no evidence of descent.

    Compared are `base_model` of the model card, the base of adapter_config.json, the models of a mergekit configuration and
    `_name_or_path` of config.json, where that is the name of a published model. Local paths name nothing that could differ.

    - fail: the card names bases, and an adapter or merge file another one; config.json names a model that no other file
      names, that is not the artifact itself, and that is no kin of a declared base in the catalog; two files name different
      revisions of one base;
    - pass: otherwise, also when nothing is declared at all.
    """

    kind: Final = "consistent-claims"
    number: Final = "PG401"
    title: Final = "Files of the artifact agree about its bases"
    schema: Final[Mapping[str, Any]] = {"properties": {}}

    def explain(self, options: Mapping[str, Any]) -> str:
        """What the rule checks, in one plain sentence."""
        return "Model card, adapter, merge and config files must not name different bases."

    def evaluate(self, options: Mapping[str, Any], subject: Subject) -> Sequence[Outcome]:
        """One outcome per contradiction, or a single one that sums up."""
        claims = [c for c in subject.artifact.claims.bases if not _is_path(c.id)]
        found = (*_other_bases(claims), *_foreign_configs(claims, subject), *_other_revisions(claims))
        if found:
            return found
        names = first_few(dict.fromkeys(c.id for c in claims))
        message = f"no file contradicts another; declared: {names}" if names else "no file names a base"
        return (Outcome(Status.PASS, "claims agree", message),)


def _is_path(base: str) -> bool:
    return base.startswith((".", "/", "~", "\\")) or base.count("/") > 1 or "\\" in base or base[1:2] == ":"


def _of(claims: Sequence[BaseClaim], files: Sequence[PurePosixPath]) -> list[BaseClaim]:
    return [c for c in claims if c.source.path in files]


def _other_bases(claims: Sequence[BaseClaim]) -> Iterator[Outcome]:
    """Bases of adapter and merge files that the card leaves out although it names some: equal ids are one claim, the card's."""
    card = _of(claims, (CARD,))
    if not card:
        return
    for claim in _of(claims, _WEIGHTY):
        if not any(same_id(claim.id, c.id) for c in card):
            yield _contradiction(claim, card)


def _foreign_configs(claims: Sequence[BaseClaim], subject: Subject) -> Iterator[Outcome]:
    others = _of(claims, (CARD, *_WEIGHTY))
    own = subject.artifact.name.rpartition("/")[2]
    for claim in _of(claims, (CONFIG,)):
        # A model that was saved again after its release names itself.
        is_itself = same_id(claim.id.rpartition("/")[2], own)
        if others and not is_itself and not any(_are_kin(claim.id, c.id, subject) for c in others):
            yield _contradiction(claim, others)


def _are_kin(one: str, other: str, subject: Subject) -> bool:
    """Whether the catalog leads from one of the two to the other."""
    pair = {one.casefold(), other.casefold()}
    return any(pair <= {step.casefold() for step in node.path} for node in subject.ancestry)


def _other_revisions(claims: Sequence[BaseClaim]) -> Iterator[Outcome]:
    first: dict[str, BaseClaim] = {}
    for claim in claims:
        known = first.setdefault(claim.id.casefold(), claim)
        if known.source.path != claim.source.path:
            yield Outcome(
                Status.FAIL,
                f"{exact(claim.id)}: revisions",
                f"{place(claim.source)} names revision {_revision(claim)} of {shown(claim.id)}, "
                f"but {place(known.source)} names {_revision(known)}",
                f"name one revision of {shown(claim.id)} in both files",
                location=claim.source,
            )


def _revision(claim: BaseClaim) -> str:
    return shown(claim.revision or "none")


def _contradiction(claim: BaseClaim, named: Sequence[BaseClaim]) -> Outcome:
    listed = first_few(dict.fromkeys(c.id for c in named))
    first = named[0].source
    return Outcome(
        Status.FAIL,
        f"{exact(str(claim.source.path))}: {exact(claim.id)}",
        f"{place(claim.source)} names {shown(claim.id)} as base, but {place(first)} declares {listed}",
        f"correct `{shown(claim.source.field)}` in {shown(str(claim.source.path))}, or `{shown(first.field)}` in "
        f"{shown(str(first.path))}",
        (("named", exact(claim.id)), ("declared", listed)),
        claim.source,
    )
