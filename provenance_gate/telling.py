"""Tells for the gate: the case from what a check has at hand, and those tells that its policy asks for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from provenance_gate.errors import MalformedFileError, UndefinedSignalError
from provenance_gate.lineage.interface import Lineage
from provenance_gate.policy.interface import Policy
from provenance_gate.policy.rules.tells import Tells, asked_ids
from provenance_gate.reading import Model
from provenance_gate.registry.layers import Registries
from provenance_gate.tells.cluster import FIRST
from provenance_gate.tells.documents import TOKENIZER, read_side_documents
from provenance_gate.tells.interface import Case, KnownModel, Side, Tell, TellResult, TellStatus

MOST_TOLD = 4
"""Bases that the tells look at; the likeliest come first."""


def tells_for(
    policy: Policy, ours: Model, compared: Sequence[tuple[Lineage, Model]], registries: Registries
) -> tuple[TellResult, ...]:
    """Results of the tells that a rule of `policy` counts, by id; none where no rule does, and then nothing is read.

    Raises ArtifactError when a document cannot be read.
    """
    wanted = {i for r in policy.rules if r.kind == Tells.kind for i in asked_ids(r.options)}
    if not wanted:
        return ()
    with_tokens = any(i not in FIRST for i in wanted)
    bases = tuple((_side(lineage.base.id, model, with_tokens), lineage) for lineage, model in compared[:MOST_TOLD])
    known = tuple(KnownModel(r.id, r.aliases, r.facts) for r in registries.catalog.records())
    case = Case(_side(ours.fingerprint.subject.name, ours, with_tokens), bases, known)
    from provenance_gate.tells.every import TELLS

    return tuple(_measure(tell, case) for tell in _chosen(TELLS, wanted))


def _chosen(tells: Iterable[Tell], wanted: set[int]) -> list[Tell]:
    return sorted((t for t in tells if t.id in wanted), key=lambda t: t.id)


def _side(name: str, model: Model, with_tokens: bool) -> Side:
    opened = model.opened
    if opened is None:
        return Side(name, model.fingerprint, None)
    # The largest of the documents by far; the tells of the config do not look at it.
    files = [f for f in opened.artifact.files if with_tokens or str(f.path) != TOKENIZER]
    return Side(name, model.fingerprint, opened.artifact, read_side_documents(opened.store, files))


def _measure(tell: Tell, case: Case) -> TellResult:
    """The tell's answer; where a file is broken or the maths has no value, why there is none."""
    try:
        return tell.measure(case)
    except (MalformedFileError, UndefinedSignalError) as error:
        return TellResult(tell.id, tell.name, tell.group, tell.title, TellStatus.NOT_MEASURED, str(error), "")
