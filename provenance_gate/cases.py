"""What tells look at, put together from models that were read and compared; and the tells run over it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from provenance_gate.errors import MalformedFileError, UndefinedSignalError
from provenance_gate.lineage.interface import Lineage
from provenance_gate.reading import Model
from provenance_gate.registry.layers import Registries
from provenance_gate.tells.documents import TOKENIZER, read_side_documents
from provenance_gate.tells.interface import Case, KnownModel, Side, Tell, TellResult, TellStatus

_TOKENIZER = PurePosixPath(TOKENIZER)
MOST_TOLD = 4
"""Bases that the tells look at; the likeliest come first."""
TOKENIZER_BYTES = 64 << 20
"""Of tokenizer.json files of bases that are kept in memory beside the artifact's own, those equal to it aside."""


def case_of(ours: Model, compared: Sequence[tuple[Lineage, Model]], registries: Registries) -> Case:
    """The artifact, its candidate bases (`compared`, the likeliest first) with their small files, and the catalog.

    Raises ArtifactError when a file cannot be read, RegistryError when a catalog cannot.
    """
    subject = _side(ours.fingerprint.subject.name, ours)
    own = subject.documents.get(_TOKENIZER)
    left = TOKENIZER_BYTES
    sides = []
    for lineage, base in compared[:MOST_TOLD]:
        side = _side(lineage.base.id, base, tokenizer=left)
        held = side.documents.get(_TOKENIZER)
        if held is not None and held == own:
            side = replace(side, documents={**side.documents, _TOKENIZER: own})
        elif held is not None:
            left -= len(held)
        sides.append((side, lineage))
    known = tuple(KnownModel(r.id, r.aliases, r.facts) for r in registries.catalog.records())
    return Case(subject, tuple(sides), known)


def measure_tells(case: Case, tells: Iterable[Tell]) -> tuple[TellResult, ...]:
    """The answers by id. Where a file is broken or the maths has no value, the reason stands in place of one."""
    return tuple(_measure(tell, case) for tell in sorted(tells, key=lambda t: t.id))


def _side(name: str, model: Model, *, tokenizer: int = TOKENIZER_BYTES) -> Side:
    """With its small files; tokenizer.json only of so many bytes."""
    opened = model.opened
    if opened is None:
        return Side(name, model.fingerprint, None)
    files = [f for f in opened.artifact.files if f.path != _TOKENIZER or f.size <= tokenizer]
    return Side(name, model.fingerprint, opened.artifact, read_side_documents(opened.store, files))


def _measure(tell: Tell, case: Case) -> TellResult:
    try:
        return tell.measure(case)
    except (MalformedFileError, UndefinedSignalError) as error:
        return TellResult(tell.id, tell.name, tell.group, tell.title, TellStatus.NOT_MEASURED, str(error), "")
