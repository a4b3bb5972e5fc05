"""Looking for bases that nobody named: nominated by records and sketches, confirmed by weights.

Stage 1 (`registry.nominate`) reads no weights but the artifact's own. Stage 2 compares the artifact with the stored fingerprints
of nominees, and, where none is stored or it cannot decide, with the weights themselves if a source is known and reachable. What
was not measured is a nominee to the end, never a match.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.artifact.load import open_artifact
from provenance_gate.artifact.sources import open_hub, open_store
from provenance_gate.errors import ArtifactError, RegistryError, UndefinedSignalError, UsageError
from provenance_gate.fingerprint.compact import AGREES, Sketch, sketch_of
from provenance_gate.fingerprint.interface import Fingerprint
from provenance_gate.lineage.compare import compare as compare_fingerprints
from provenance_gate.lineage.interface import DERIVED_SCORE, INDEPENDENT_SCORE, BaseRef, Lineage, Relation
from provenance_gate.lineage.merges import Merge
from provenance_gate.lineage.parents import is_mix
from provenance_gate.lineage.searched import corrected
from provenance_gate.reading import Model, Reading, claims_of, is_local, lineage_of, measure_opened
from provenance_gate.registry.catalog import Catalog
from provenance_gate.registry.compact_index import CONTENT, CompactIndex, Hit
from provenance_gate.registry.interface import Entry
from provenance_gate.registry.layers import Registries
from provenance_gate.registry.nominate import (
    Ground,
    Nominations,
    Nominee,
    Reason,
    nominate_by_claims,
    nominate_by_facts,
)

MOST_COMPARED = 32
"""Stored fingerprints that are opened in one search, some tens of milliseconds each."""
MOST_HITS = 256
"""Models a part that sketches bring up: among a million with a thousand near misses each, all relatives of correlation 0.3."""
FEW = 24
"""A registry of at most so many fingerprints is compared as a whole."""
MOST_READ = 3
"""Nominees without a stored fingerprint whose weights are read from the hub."""
DESCENT = frozenset({Relation.IDENTICAL, Relation.REFORMATTED, Relation.DERIVED})
LEAST_SHARE = 0.1
"""Mixing weight from which a model counts as a parent, as the rule for undeclared bases has it."""
_RELATED = DESCENT | {Relation.PARTIAL, Relation.SHARED_INITIALIZATION}
_REFUSED = NotMeasured("no weights of it are stored, and no place is known or reachable to read them from")

_DAMAGED = NotMeasured("its stored fingerprint is damaged")


@dataclass(frozen=True, slots=True)
class Found:
    """A model that was measured against the artifact, and why it was looked at."""

    lineage: Lineage
    base: Model
    nominee: Nominee


@dataclass(frozen=True, slots=True)
class Unmeasured:
    """A model that was nominated only, and why it could not be measured."""

    nominee: Nominee
    absent: NotMeasured


@dataclass(frozen=True, slots=True)
class Search:
    """What a search found. `stored`, `records`: how many fingerprints and catalog records it searched."""

    found: tuple[Found, ...]
    unmeasured: tuple[Unmeasured, ...]
    stored: int
    records: int


NOTHING_SEARCHED = Search((), (), 0, 0)


@dataclass(slots=True)
class Searcher:
    """Registries made ready for any number of searches. `indexes`: sketches of further models, which are on the hub by id."""

    registries: Registries
    reading: Reading
    indexes: Sequence[CompactIndex] = ()
    _index: CompactIndex | None = None

    def search(self, ours: Model, *, known: Iterable[str] = (), read: int = MOST_READ) -> Search:
        """All that is known and related to `ours`.

        Parameters
        ----------
        known
            Ids that were compared already; left out.
        read
            Most nominees whose weights are read over the network.
        """
        entries = {e.id.casefold(): e for e in self.registries.entries()}
        stored = sum(e.fingerprint is not None for e in entries.values())
        if not stored and read < 1:
            return Search((), (), 0, len(self.registries.catalog.records()))
        passed = {i.casefold() for i in known}
        nominees = [n for n in self._nominees(ours, entries.values(), stored) if n.id.casefold() not in passed]
        measured: dict[str, Found | Unmeasured] = {}
        for nominee in nominees:
            entry = entries.get(nominee.id.casefold())
            if entry is not None and entry.fingerprint is not None and len(measured) < MOST_COMPARED:
                held = self._load(entry)
                measured[nominee.id] = (
                    Unmeasured(nominee, _DAMAGED) if held is None else self._compare(ours, entry, held, nominee, stored)
                )
        clear = any(isinstance(m, Found) and m.lineage.relation in DESCENT for m in measured.values())
        for nominee in nominees:
            one = measured.setdefault(nominee.id, Unmeasured(nominee, _REFUSED))
            if read > 0 and _worth_reading(one, clear=clear):
                read -= 1
                entry = entries.get(nominee.id.casefold())
                live = self._read(ours, nominee, None if entry is None else entry.source)
                measured[nominee.id] = one if isinstance(one, Found) and isinstance(live, Unmeasured) else live
        results = [measured[n.id] for n in nominees]
        return Search(
            tuple(m for m in results if isinstance(m, Found)),
            tuple(m for m in results if isinstance(m, Unmeasured)),
            stored,
            len(self.registries.catalog.records()),
        )

    def stored(self, model_id: str) -> tuple[Model, str] | None:
        """The stored fingerprint of a model, by its id or an alias, and the registry that holds it."""
        entry = self.registries.find(model_id)
        if entry is None or entry.fingerprint is None:
            return None
        held = self._load(entry)
        return None if held is None else (Model(held, None), entry.registry)

    def _load(self, entry: Entry) -> Fingerprint | None:
        """A stored fingerprint, or None where damage may be skipped and this one is listed as damaged."""
        before = len(self.registries.damaged)
        try:
            return self.registries.fingerprint(entry)
        except RegistryError:
            if len(self.registries.damaged) == before:
                raise
            return None

    def _nominees(self, ours: Model, entries: Iterable[Entry], stored: int) -> tuple[Nominee, ...]:
        into = Nominations()
        records = self.registries.catalog.records()
        nominate_by_claims(ours.fingerprint.subject.claims, records, into)
        nominate_by_facts(ours.fingerprint, records, into)
        sketch = _sketch(ours.fingerprint)
        if sketch is not None:
            self._by_sketch(sketch, into)
        if stored <= FEW:
            for entry in entries:
                if entry.fingerprint is not None:
                    into.add(entry.id, Reason(Ground.STORED, "a small registry is compared as a whole"))
        return into.ranked()

    def _by_sketch(self, sketch: Sketch, into: Nominations) -> None:
        if self._index is None:
            sketches = ((e.id, e.sketch) for e in self.registries.entries() if e.sketch is not None)
            self._index = CompactIndex.from_sketches(sketches)
        for index in (self._index, *self.indexes):
            for hit in index.search(sketch, MOST_HITS):
                reason = _reason(hit)
                if reason is not None:
                    into.add(hit.id, reason)

    def _compare(self, ours: Model, entry: Entry, held: Fingerprint, nominee: Nominee, stored: int) -> Found:
        base = Model(held, None)
        ref = BaseRef(entry.id, entry.registry)
        claims = claims_of(entry.id, ours.fingerprint.subject.claims.bases)
        lineage = lineage_of(ours, base, ref, claims, self.reading)
        return Found(corrected(lineage, stored), base, nominee)

    def _read(self, ours: Model, nominee: Nominee, source: str | None) -> Found | Unmeasured:
        base = read_known(nominee.id, source, self.reading)
        if isinstance(base, NotMeasured):
            return Unmeasured(nominee, base)
        ref = BaseRef(nominee.id, base.opened.store.location if base.opened else "")
        claims = claims_of(nominee.id, ours.fingerprint.subject.claims.bases)
        return Found(lineage_of(ours, base, ref, claims, self.reading), base, nominee)


def read_known(model_id: str, source: str | None, reading: Reading, revision: str | None = None) -> Model | NotMeasured:
    """Measure a model where its weights lie: at `source`, else on the hub by its id. Why not, where that is not possible.

    A name is no address: a source counts only as a URL or a local path that exists. Nobody asked for this model on the command
    line, so a place that does not answer is given up quickly.
    """
    reading = reading.unasked()
    try:
        if source is None:
            store = open_hub(f"hf://{model_id}" + (f"@{revision}" if revision else ""), reading.remote)
        elif "://" in source or is_local(source):
            store = open_store(source, reading.remote)
        else:
            return _REFUSED
        opened = open_artifact(store)
        return Model(measure_opened(opened, reading), opened)
    except (ArtifactError, UsageError) as error:
        return NotMeasured(str(error))


def _reason(hit: Hit) -> Reason | None:
    """What a hit says, if it says more than chance."""
    if hit.part == CONTENT:
        return Reason(Ground.CONTENT, f"{hit.z:.0f} large tensors of equal content", hit.z)
    if hit.part == "architecture":
        return Reason(Ground.SHAPE_AND_DEPTH, "equal architecture, by its config")
    if hit.part in ("vocabulary", "merges"):
        return Reason(Ground.TOKENIZER, f"a tokenizer of equal {hit.part}")
    if hit.z < AGREES.get(hit.part, AGREES["feed_forward"]):
        return None
    text = f"{hit.part.replace('_', '-')} sketches agree at {hit.z:.0f} standard errors"
    return Reason(Ground.GEOMETRY if hit.part == "geometry" else Ground.SKETCH, text, hit.z)


def _sketch(fingerprint: Fingerprint) -> Sketch | None:
    try:
        return sketch_of(fingerprint)
    except UndefinedSignalError:
        return None


def _worth_reading(one: Found | Unmeasured, *, clear: bool) -> bool:
    """Whether the weights themselves could say more: plain comparison is blind to disguises and to other widths.

    A claim is tested in any case; other nominees only while no descent is shown, and on better grounds than a tokenizer.
    """
    if isinstance(one, Found) and one.lineage.relation in DESCENT:
        return False
    grounds = {r.ground for r in one.nominee.reasons}
    if Ground.CLAIM in grounds:
        return True
    hidden = {Ground.CONTENT, Ground.SKETCH, Ground.GEOMETRY}
    return not clear and bool(grounds & (hidden if isinstance(one, Found) else hidden | {Ground.SHAPE_AND_DEPTH}))


def is_related(lineage: Lineage) -> bool:
    """Whether a lineage that was found by searching says anything about the artifact."""
    if lineage.relation in _RELATED:
        return True
    return (
        lineage.relation is Relation.UNDECIDED
        and isinstance(lineage.score, float)
        and lineage.score > INDEPENDENT_SCORE
    )


def unsettled(found: Found) -> Found | None:
    """A model that stored rows do not show, although embeddings or whole tensors agree: undecided, and not independent.

    Another width or a disguise looks like that, and only the weights of the model tell. So does a body of its own on a borrowed
    table, where that was trained beyond recognition. None where stored rows say all there is.
    """
    lineage, grounds = found.lineage, {r.ground: r for r in reversed(found.nominee.reasons)}
    strong = grounds.get(Ground.CONTENT) or grounds.get(Ground.GEOMETRY)
    if strong is None or found.base.opened is not None or is_related(lineage):
        return None
    reason = f"{strong.text}, the stored rows do not ({lineage.reason}): only the weights of this model can tell"
    return replace(
        found, lineage=replace(lineage, relation=Relation.UNDECIDED, kinds=(), score=NotMeasured(reason), reason=reason)
    )


def relatives_of(search: Search) -> tuple[Found, ...]:
    """What a search found that says something: models that are related, and those that only their weights could tell."""
    settled = (f if is_related(f.lineage) else unsettled(f) for f in search.found)
    return tuple(f for f in settled if f is not None)


def share_between(one: Fingerprint, other: Fingerprint) -> float | None:
    """The share of variance that two known models have in common, in [0, 1]; None when unrelated or not comparable."""
    lineage = compare_fingerprints(one, other, BaseRef(other.subject.name, ""))
    if lineage.relation not in _RELATED or not isinstance(lineage.inheritance, float):
        return None
    return lineage.inheritance


def with_kin(
    lineages: Sequence[Lineage], bases: Sequence[Fingerprint], named: int, merge: Merge | NotMeasured, catalog: Catalog
) -> tuple[Lineage, ...]:
    """The lineages, those after the first `named` marked where they lie beyond one of the first.

    A model that a search turned up may be a sibling of the artifact, or an ancestor of its base: of the base's family, and
    further from the artifact than the base is. Weights do not tell the two apart, so records must: of the base, whose ancestors
    are known then, or of the model found, as a descendant of the base. Else whoever publishes a copy of a model under a new name
    could declare that, and nothing of what lies behind it. One that was mixed into the artifact is no mere relative.
    """
    nearer = [(x, f) for x, f in zip(lineages[:named], bases, strict=False) if x.relation in DESCENT]
    marked = []
    for lineage, fingerprint in zip(lineages[named:], bases[named:], strict=True):
        recorded = [(x, f) for x, f in nearer if _is_recorded(lineage.base.id, x.base.id, catalog)]
        marked.append(replace(lineage, kin_of=_nearer(lineage, fingerprint, recorded, mixed=is_mix(merge))))
    return (*lineages[:named], *marked)


def _is_recorded(found: str, base: str, catalog: Catalog) -> bool:
    """Whether records say how the two stand to each other: an ancestor of a recorded base is known as that."""
    record = catalog.find(base)
    base_id = (record.id if record else base).casefold()
    below = catalog.ancestors(found) or ()
    return record is not None or base_id in (name.casefold() for name in below)


def _nearer(
    lineage: Lineage, base: Fingerprint, named: Sequence[tuple[Lineage, Fingerprint]], *, mixed: bool
) -> str | None:
    ours, share = lineage.inheritance, lineage.mixing_weight
    if isinstance(lineage.score, NotMeasured):
        # Not comparable by stored rows: its relation to the base that was named is all that can be said.
        return next((x.base.id for x, f in named if share_between(base, f) is not None), None)
    if lineage.relation not in DESCENT or not isinstance(ours, float):
        return None
    if mixed and isinstance(share, float) and share >= LEAST_SHARE:
        return None
    for other, fingerprint in named:
        nearer = isinstance(other.inheritance, float) and other.inheritance >= ours
        if nearer and (share_between(base, fingerprint) or 0.0) >= DERIVED_SCORE * ours:
            return other.base.id
    return None
