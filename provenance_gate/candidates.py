"""Where bases come from: given on the command line, read where a registry says or on the hub, or stored as a fingerprint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from provenance_gate.artifact.interface import BaseClaim, Claims
from provenance_gate.lineage.interface import BaseRef
from provenance_gate.reading import BaseOption, Model, Reading, base_ref, is_alone, read_model
from provenance_gate.searching import Searcher, read_known

MOST_FETCHED = 8
"""Declared bases of one artifact that are read from the hub. A card that names more is answered with --base."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A base to compare with."""

    ref: BaseRef
    model: Model


@dataclass(slots=True)
class Candidates:
    """The bases of one run; each is read once.

    Attributes
    ----------
    options
        What the user gave; it answers claims before anything else does.
    searcher
        Registries, asked next: where the weights lie, else the hub by the id that the artifact declares and nothing else, else
        the stored fingerprint.
    """

    options: Sequence[BaseOption]
    searcher: Searcher
    reading: Reading
    _given: dict[str, Model] = field(default_factory=dict)
    _declared: dict[tuple[str, str | None], Candidate | str] = field(default_factory=dict)

    def of(self, claims: Claims) -> tuple[tuple[Candidate, ...], dict[str, str]]:
        """Candidates for an artifact with these claims, and by id why other declared bases could not be read.

        Raises ArtifactError for an option that cannot be read; a declared base that cannot be read is no error of the run.
        """
        given = [self._option(option, claims.bases) for option in self.options]
        answered = {c.ref.id.casefold() for c in given}
        declared: dict[str, Candidate | str] = {}
        for claim in claims.bases:
            if claim.id.casefold() in answered or claim.id in declared:
                continue
            if len(declared) >= MOST_FETCHED:
                declared[claim.id] = f"only {MOST_FETCHED} declared bases are read by themselves"
                continue
            declared[claim.id] = self._claim(claim)
        found = [c for c in declared.values() if isinstance(c, Candidate)]
        return (*given, *found), {i: c for i, c in declared.items() if isinstance(c, str)}

    def _option(self, option: BaseOption, claims: Sequence[BaseClaim]) -> Candidate:
        if option.source not in self._given:
            self._given[option.source] = read_model(option.source, self.reading)
        model = self._given[option.source]
        return Candidate(base_ref(option, model, claims, alone=is_alone(self.options)), model)

    def _claim(self, claim: BaseClaim) -> Candidate | str:
        key = (claim.id.casefold(), claim.revision)
        if key not in self._declared:
            self._declared[key] = self._look_up(claim)
        return self._declared[key]

    def _look_up(self, claim: BaseClaim) -> Candidate | str:
        """Weights before a stored fingerprint: its rows are known to everybody, and only weights can be looked at elsewhere."""
        entry = self.searcher.registries.find(claim.id)
        live = read_known(claim.id, entry.source if entry else None, self.reading, claim.revision)
        if isinstance(live, Model):
            location = live.opened.store.location if live.opened else ""
            return Candidate(BaseRef(claim.id, location, claim.revision), live)
        stored = self.searcher.stored(claim.id)
        if stored is None:
            return live.reason
        model, location = stored
        return Candidate(BaseRef(claim.id, location, claim.revision), model)
