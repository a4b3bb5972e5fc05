"""Reading and comparing models: what every command needs, and nothing of policies or reports."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from provenance_gate.artifact.adapter import Adapter
from provenance_gate.artifact.interface import Artifact, BaseClaim, NotMeasured
from provenance_gate.artifact.load import OpenedArtifact, open_artifact
from provenance_gate.artifact.sources import LocalStore, Options, open_store
from provenance_gate.errors import UsageError
from provenance_gate.fingerprint.cache import FingerprintCache, identity_of_hub, measure_cached
from provenance_gate.fingerprint.container import is_fingerprint, load_fingerprint
from provenance_gate.fingerprint.interface import Fingerprint, SignalValue, Subject
from provenance_gate.lineage.adapters import AdapterFit, fit_adapter, is_adapter, with_adapter
from provenance_gate.lineage.compare import compare as compare_fingerprints
from provenance_gate.lineage.interface import BaseRef, Lineage, Relation
from provenance_gate.lineage.merges import Merge
from provenance_gate.lineage.parents import mixed
from provenance_gate.lineage.traced import is_settled, with_trace
from provenance_gate.lineage.vocabulary import lacks_embeddings, with_vocabulary

UNASKED_TRIES, UNASKED_SECONDS = 2, 4.0
"""How hard a hub is tried for models that nobody named on the command line: one that is not there must not hold up a gate."""
NEAR = 512 << 20
"""Bytes of weights up to which a remote model is traced, too."""
ROWS = "weight_correlation"
"""Weights that hold NaN or infinity anywhere have no value of this signal, and are not traced either."""
FAR = NotMeasured("not traced: the weights are remote, and tracing reads whole matrices; --exact fetches them")

Progress = Callable[[str, int, int], None]
"""Called with (what, done, of)."""


@dataclass(frozen=True, slots=True)
class BaseOption:
    """One ``--base [ID=]SOURCE``."""

    id: str | None
    source: str

    @staticmethod
    def parse(text: str) -> BaseOption:
        """Split at the first ``=``; a path that exists as it stands is never split. Raises UsageError."""
        if not text:
            raise UsageError("--base: expected [ID=]SOURCE, found nothing")
        # An "=" behind "://" belongs to the address.
        if Path(text).exists() or "=" not in text.partition("://")[0]:
            return BaseOption(None, text)
        base_id, source = text.split("=", 1)
        if not base_id or not source:
            raise UsageError(f"--base {text!r}: expected ID=SOURCE with both parts")
        return BaseOption(base_id, source)


@dataclass(frozen=True, slots=True)
class Reading:
    """How models are read. `exact` None: whole up to 512 MiB; `max_tier` as DESIGN 3.2; `jobs` threads; `remote` the network;
    `cache` where fingerprints of pinned hub models are kept, if anywhere.
    """

    exact: bool | None = None
    max_tier: int = 4
    jobs: int = field(default_factory=lambda: os.cpu_count() or 2)
    progress: Progress | None = None
    remote: Options = field(default_factory=Options)
    cache: FingerprintCache | None = None

    @property
    def blas_jobs(self) -> int:
        """Threads for work inside BLAS: ours where BLAS was told to use one, as the command line tells it, else its own."""
        return self.jobs if os.environ.get("OPENBLAS_NUM_THREADS") == "1" else 1

    def unasked(self) -> Reading:
        """The same, but quick to give up on places that do not answer."""
        return replace(self, remote=replace(self.remote, tries=UNASKED_TRIES, timeout=UNASKED_SECONDS))

    def steps(self, what: str) -> Callable[[int, int], None] | None:
        """Progress of one piece of work."""
        report = self.progress
        return None if report is None else lambda done, of: report(what, done, of)


@dataclass(frozen=True, slots=True)
class Model:
    """A model to compare: measured, and still open unless it came as a fingerprint file."""

    fingerprint: Fingerprint
    opened: OpenedArtifact | None


def is_local(source: str) -> bool:
    """Whether `source` is a path that exists; such a path wins over a hub id of the same spelling."""
    return "://" not in source and "\0" not in source and Path(source).exists()


def read_model(source: str, reading: Reading) -> Model:
    """Measure a model folder or file, or load a fingerprint file."""
    path = Path(source)
    if is_local(source) and path.is_file() and is_fingerprint(path):
        return Model(load_fingerprint(path), None)
    opened = open_artifact(open_store(source, reading.remote))
    return Model(measure_opened(opened, reading), opened)


def measure_opened(opened: OpenedArtifact, reading: Reading) -> Fingerprint:
    """All signals of an open model, from the cache where its content is known without reading it."""
    local = isinstance(opened.store, LocalStore) or reading.cache is None
    found = measure_cached(
        opened.artifact,
        None if local else identity_of_hub(opened.store, reading.remote),
        reading.cache,
        exact=reading.exact,
        jobs=reading.jobs,
        progress=reading.steps(f"reading {opened.artifact.name}"),
        max_tier=reading.max_tier,
        counter=opened.counter,
    )
    # What later reads cost must not depend on whether a stored fingerprint was used.
    opened.store.forget()
    return found


def fingerprint(source: str, reading: Reading | None = None) -> Fingerprint:
    """The fingerprint of a model, file digests included."""
    reading = reading or Reading()
    model = read_model(source, reading)
    if model.opened is None:
        return model.fingerprint
    artifact = with_digests(model.opened, reading)
    return replace(model.fingerprint, subject=Subject(artifact.name, artifact.files, artifact.claims))


@dataclass(frozen=True, slots=True)
class Comparison:
    """What `compare` found: the artifact, the base, their lineage, and the mix where further bases were given."""

    artifact: Artifact | Subject
    base: BaseRef
    lineage: Lineage
    merge: Merge | NotMeasured


def compare(artifact: str, base: str, reading: Reading | None = None, others: Sequence[str] = ()) -> Comparison:
    """One lineage with all signals; with `others`, how the artifact was mixed from all of the bases. No file is hashed."""
    reading = reading or Reading()
    ours = read_model(artifact, reading)
    subject = ours.fingerprint.subject
    options = [BaseOption.parse(text) for text in (base, *others)]
    bases = [read_model(option.source, reading) for option in options]
    lineages = []
    for option, model in zip(options, bases, strict=True):
        ref = base_ref(option, model, subject.claims.bases, alone=is_alone(options))
        lineages.append(lineage_of(ours, model, ref, claims_of(ref.id, subject.claims.bases), reading))
    weighted, merge = mixed(ours.fingerprint, lineages, [m.fingerprint for m in bases])
    return Comparison(ours.opened.artifact if ours.opened else subject, weighted[0].base, weighted[0], merge)


def lineage_of(
    ours: Model, theirs: Model, ref: BaseRef, claims: tuple[BaseClaim, ...], reading: Reading, seed: str = ""
) -> Lineage:
    """Compare fingerprints; where they leave descent open and both models are at hand, trace neurons too (tier 3)."""
    lineage = compare_fingerprints(ours.fingerprint, theirs.fingerprint, ref, claims)
    if ours.opened is not None and isinstance(ours.opened.adapter, Adapter):
        far = theirs.opened is not None and is_far(theirs.opened) and reading.exact is not True
        return _of_adapter(lineage, ours.opened.adapter, theirs.opened, ties=reading.max_tier >= 2 and not far)
    if ours.opened is None and is_adapter(ours.fingerprint):
        return _of_stored_adapter(lineage, theirs)
    if ours.opened is None or theirs.opened is None or reading.max_tier < 3:
        return lineage
    artifact, base = ours.opened.artifact, theirs.opened.artifact
    everything = reading.exact is True
    far = not everything and any(is_far(m) for m in (ours.opened, theirs.opened))
    measured = all(isinstance(m.fingerprint.signals.get(ROWS), SignalValue) for m in (ours, theirs))
    # Alignment is imported where plain comparison leaves something open.
    if measured and not is_settled(lineage):
        from provenance_gate.alignment.trace import trace

        found = FAR if far else trace(artifact, base, seed, everything=everything, jobs=reading.blas_jobs)
        lineage = with_trace(lineage, found)
    if lacks_embeddings(lineage) and not (far or seed):
        from provenance_gate.alignment.frames import compare_vocabularies
        from provenance_gate.alignment.tokens import shared_embeddings

        lineage = with_vocabulary(lineage, compare_vocabularies(shared_embeddings(artifact, base)))
    return lineage


def _of_adapter(lineage: Lineage, adapter: Adapter, base: OpenedArtifact | None, *, ties: bool) -> Lineage:
    """An adapter against a full model; against itself or another adapter plain comparison stands. `ties`: read weights, too."""
    if base is None:
        same = lineage.relation is Relation.IDENTICAL
        absent = NotMeasured("the base is a fingerprint file, which holds no shapes of tensors")
        return lineage if same else with_adapter(lineage, absent)
    if isinstance(base.adapter, Adapter):
        return lineage
    from provenance_gate.alignment.adapter_ties import measure_ties

    fit = fit_adapter(adapter, base.artifact)
    tied = isinstance(fit, AdapterFit) and fit.fits and ties
    return with_adapter(lineage, fit, measure_ties(adapter, base.artifact)) if tied else with_adapter(lineage, fit)


def _of_stored_adapter(lineage: Lineage, base: Model) -> Lineage:
    """The fingerprint file of an adapter against a full model."""
    if is_adapter(base.fingerprint) or lineage.relation is Relation.IDENTICAL:
        return lineage
    return with_adapter(lineage, NotMeasured("the adapter is a fingerprint file, which holds no shapes of its pairs"))


def is_far(opened: OpenedArtifact) -> bool:
    """Whether tracing would fetch much over a network: whole matrices of a large model."""
    return not isinstance(opened.store, LocalStore) and opened.artifact.weight_bytes > NEAR


def with_digests(opened: OpenedArtifact, reading: Reading) -> Artifact:
    artifact = opened.artifact
    total = sum(f.size for f in artifact.files)
    done = 0
    report = reading.steps(f"hashing {artifact.name}")

    def add(count: int) -> None:
        nonlocal done
        done += count
        if report is not None:
            report(done, total)

    files = opened.store.digests(artifact.files, reading.jobs, add if report else None, whole=reading.exact is True)
    return replace(artifact, files=files)


def claims_of(base_id: str, claims: Sequence[BaseClaim]) -> tuple[BaseClaim, ...]:
    return tuple(c for c in claims if c.id.casefold() == base_id.casefold())


def base_ref(option: BaseOption, model: Model, claims: Sequence[BaseClaim], *, alone: bool = True) -> BaseRef:
    """Which base an option stands for: the id it gives, else the claim that it answers, else its own name.

    An option without id answers the only claim when it is `alone`; of several such options the one whose name ends like
    a claimed id answers that claim.
    """
    declared = {c.id.casefold(): c for c in claims}
    name = model.fingerprint.subject.name
    base_id = option.id
    if base_id is None and alone and len(declared) == 1:
        base_id = next(iter(declared.values())).id
    if base_id is None:
        # A model of the hub is called by its whole id.
        named = (c.id for c in claims if name.casefold() in (c.id.casefold(), c.id.rpartition("/")[2].casefold()))
        base_id = next(named, name)
    claim = declared.get(base_id.casefold())
    return BaseRef(claim.id if claim else base_id, option.source, claim.revision if claim else None)


def is_alone(options: Sequence[BaseOption]) -> bool:
    """Whether at most one of the options leaves its id open."""
    return sum(o.id is None for o in options) <= 1
