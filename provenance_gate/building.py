"""Filling registries with models at hand, models of the hub and another system's database; and taking sketches out.

A registry stays usable at every moment: each model is written as soon as it is measured, so that what was broken off is taken
up again where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from provenance_gate.artifact.load import OpenedArtifact, open_artifact
from provenance_gate.artifact.sources import open_hub, open_store, parse_hub_id
from provenance_gate.artifact.sources.interface import Options
from provenance_gate.data import data_dir
from provenance_gate.errors import ProvenanceGateError, RegistryError, UsageError, one_line
from provenance_gate.fingerprint.compact import Sketch
from provenance_gate.fingerprint.container import is_fingerprint, load_fingerprint
from provenance_gate.fingerprint.interface import METHOD, Fingerprint, SignalKind, SignalValue, Subject
from provenance_gate.fingerprint.signals import SIGNALS
from provenance_gate.reading import Reading, is_local, measure_opened, with_digests
from provenance_gate.registry.catalog import Catalog, check_record
from provenance_gate.registry.folder import FolderRegistry, is_registry
from provenance_gate.registry.index import is_model_id, object_name
from provenance_gate.registry.interface import Entry, StoredFingerprint
from provenance_gate.registry.layers import open_registries
from provenance_gate.registry.place import LocalPlace
from provenance_gate.registry.records import Given, record_of
from provenance_gate.registry.sketches import sketch_to_store
from provenance_gate.registry.writing import RegistryWriter, Written

Progress = Callable[[str, int, int], None]
"""Called with (what, done, of)."""

_BATCH = 16
_THREADS = 2
"""Of one model while several are measured: most of the time is spent waiting for the network."""
_WEIGHTS = frozenset(s.name for s in SIGNALS if s.kind is SignalKind.WEIGHTS)


@dataclass(frozen=True, slots=True)
class Added:
    """A model that was put into a registry. `replaced`: its id was there before; `unsigned`: a signature was taken away."""

    entry: Entry
    replaced: bool
    unsigned: bool


@dataclass(frozen=True, slots=True)
class Failure:
    """A model that could not be measured, and why in one line."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Built:
    """What `build` and `import_kit` did. `skipped`: stored already; `notes`: one sentence each about doubtful facts."""

    added: tuple[str, ...]
    skipped: tuple[str, ...]
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]
    unsigned: bool


def add(registry: str, source: str, given: Given, reading: Reading) -> Added:
    """Put one model into a local registry, which is made when it is missing.

    Parameters
    ----------
    source
        An artifact, or a fingerprint file.
    given
        What the user says; the rest comes from the model's card, unless a catalog knows the model.

    Raises
    ------
    UsageError
        The id cannot stand in an index, or a fingerprint file holds no weights.
    ArtifactError, FingerprintError, RegistryError
        The source cannot be read, or the registry cannot be written or is damaged.
    """
    writer = RegistryWriter(registry)
    path = Path(source)
    if is_local(source) and path.is_file() and is_fingerprint(path):
        fingerprint, location = load_fingerprint(path), None
    else:
        fingerprint, location = _measured(source, reading)
    if not any(isinstance(fingerprint.signals.get(name), SignalValue) for name in _WEIGHTS):
        raise UsageError(
            f"{one_line(source, 120)}: no weights were measured, so that nothing could be compared with it"
        )
    model_id = given.id or fingerprint.subject.name
    if not is_model_id(model_id):
        raise UsageError(
            f"{one_line(repr(model_id), 120)} is not a model id (ASCII letters, digits and ._/+@:-): give one with --id"
        )
    adder = _Adder(writer)
    entry = adder.draft(model_id, fingerprint, replace(given, source=given.source or location))
    entry = adder.stored(entry, fingerprint)
    done = writer.add([entry])
    return Added(entry, bool(done.replaced), done.unsigned)


def build(registry: str, ids: Sequence[str], reading: Reading, *, jobs: int = 4) -> Built:
    """Store standard fingerprints of hub models, read by ranges.

    Models whose commit is stored already are skipped, so that a second run does what the first one left; a failure stops nobody
    else. Raises RegistryError when the registry cannot be read or written.

    Parameters
    ----------
    ids
        ``org/name``, ``org/name@revision`` or ``hf://...``; each once.
    jobs
        Models at once.
    """
    writer = RegistryWriter(registry)
    wanted = list(dict.fromkeys(ids))
    stored = {entry.id.casefold(): entry for entry in writer.entries()}
    hub = _Hub(writer, _Adder(writer), stored, replace(reading, jobs=_THREADS, progress=None))
    results: dict[str, Written | Failure | None] = {}
    with ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
        try:
            waiting = {pool.submit(hub.take, model_id): model_id for model_id in wanted}
            for done, future in enumerate(as_completed(waiting), 1):
                results[waiting[future]] = future.result()
                if reading.progress is not None:
                    reading.progress("building", done, len(wanted))
        finally:
            pool.shutdown(cancel_futures=True)
    in_order = [(model_id, results[model_id]) for model_id in wanted]
    return Built(
        added=tuple(i for i, r in in_order if isinstance(r, Written)),
        skipped=tuple(i for i, r in in_order if r is None),
        failures=tuple(r for _, r in in_order if isinstance(r, Failure)),
        notes=(),
        unsigned=any(r.unsigned for _, r in in_order if isinstance(r, Written)),
    )


def catalog_ids(registry: str) -> tuple[str, ...]:
    """Ids of the shipped catalog, and of the registry's own where there is one."""
    there = [registry] if is_registry(Path(registry)) else []
    return tuple(record.id for record in open_registries(there).catalog.records())


def import_kit(registry: str, folder: Path, ids: Sequence[str] = (), progress: Progress | None = None) -> Built:
    """Store the fingerprints of the reference system's published database.

    Broken assets are failures, and stop nobody else. A model of which the registry holds a fingerprint of ours is skipped: that
    one can decide, an imported one cannot.
    """
    from provenance_gate.registry.reference_kit import import_reference

    writer = RegistryWriter(registry)
    adder = _Adder(writer)
    better = {e.id.casefold() for e in writer.entries() if e.fingerprint is not None and e.fingerprint.method == METHOD}
    added: list[str] = []
    skipped: list[str] = []
    failures: list[Failure] = []
    notes: list[str] = []
    batch: list[Entry] = []
    unsigned = False
    for number, asset in enumerate(import_reference(folder, ids, skip_broken=True), 1):
        if asset.id.casefold() in better:
            skipped.append(asset.id)
            continue
        if asset.fingerprint is None:
            failures.append(Failure(asset.id, "; ".join(asset.problems)))
            continue
        notes += (f"{asset.id}: {problem}" for problem in asset.problems)
        record = None if adder.known.find(asset.id) is not None else asset.record
        try:
            sketch = sketch_to_store(asset.fingerprint)
            entry = adder.checked(Entry(asset.id, (), asset.source, None, sketch, record, ""))
        except (RegistryError, UsageError) as error:
            failures.append(Failure(asset.id, str(error)))
            continue
        batch.append(adder.stored(entry, asset.fingerprint))
        added.append(asset.id)
        if len(batch) >= _BATCH:
            unsigned |= writer.add(batch).unsigned
            batch = []
        if progress is not None:
            progress("importing", number, number)
    unsigned |= writer.add(batch).unsigned if batch else False
    return Built(tuple(added), tuple(skipped), tuple(failures), tuple(notes), unsigned)


@dataclass(frozen=True, slots=True)
class Reindexed:
    """`sketched`: ids whose sketch was missing and is made; `unsigned`: a signature was taken away."""

    sketched: tuple[str, ...]
    unsigned: bool


def reindex(registry: str) -> Reindexed:
    """List the catalog files as they lie there, and make the sketches that are missing. Raises RegistryError."""
    writer = RegistryWriter(registry)
    unsigned = writer.refresh()
    layer = open_registries([registry], shipped=False).layers[0]
    made: dict[str, tuple[StoredFingerprint, Sketch]] = {}
    for entry in layer.entries():
        if entry.fingerprint is not None and entry.sketch is None:
            sketch = sketch_to_store(layer.fingerprint(entry))
            if sketch is not None:
                made[entry.id] = (entry.fingerprint, sketch)
    if made:
        unsigned |= writer.add_sketches(made)
    return Reindexed(tuple(made), unsigned)


def export(locations: Sequence[str], path: Path, *, keys: Sequence[Path] = (), options: Options | None = None) -> int:
    """Write the sketches of registries as one compact index. How many there are.

    Raises
    ------
    RegistryError
        A registry cannot be read, or the file cannot be written.
    UsageError
        No entry has a sketch.
    """
    from provenance_gate.registry.compact_index import write_index

    registries = open_registries(locations, keys=keys, options=options, shipped=False)
    sketches = [(e.id, e.sketch) for e in registries.entries() if e.sketch is not None]
    if not sketches:
        raise UsageError(f"{', '.join(one_line(x, 120) for x in locations)}: no entry has a sketch")
    write_index(path, sketches)
    return len(sketches)


def _measured(source: str, reading: Reading) -> tuple[Fingerprint, str | None]:
    """The fingerprint of an artifact with file digests, and where it lies unless that is on this machine."""
    opened = open_artifact(open_store(source, reading.remote))
    return _with_subject(opened, reading), opened.store.location if "://" in opened.store.location else None


def _with_subject(opened: OpenedArtifact, reading: Reading) -> Fingerprint:
    artifact = with_digests(opened, reading)
    return replace(measure_opened(opened, reading), subject=Subject(artifact.name, artifact.files, artifact.claims))


class _FilesOnly(FolderRegistry):
    """A registry without the records in its index: those are what adding replaces."""

    def inline_records(self) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        """None."""
        return iter(())


class _Adder:
    """Entries for one registry, with records where no catalog has one."""

    def __init__(self, writer: RegistryWriter) -> None:
        self._writer = writer
        held = [_FilesOnly(LocalPlace(writer.folder))] if is_registry(writer.folder) else []
        self._own = Catalog(held)
        self.known = Catalog([data_dir("fingerprints"), *held])

    def draft(self, model_id: str, fingerprint: Fingerprint, given: Given) -> Entry:
        """The entry of a measured model; nothing is stored. Raises RegistryError, UsageError when no index could hold it."""
        own, record = self._own.find(model_id), None
        said = given.license or given.parents
        if own is not None and said:
            raise UsageError(f"the catalog of this registry describes {own.id}; change its license and parents there")
        if said or self.known.find(model_id) is None:
            claims, source = fingerprint.subject.claims, given.source
            record = record_of(model_id, given, claims, fingerprint.parameters, source, self.known.licenses())
        return self.checked(Entry(model_id, (), given.source, None, sketch_to_store(fingerprint), record, ""))

    def checked(self, entry: Entry) -> Entry:
        """The entry, if readers will take it. Raises RegistryError, UsageError."""
        self._writer.check(entry)
        if entry.record is not None:
            check_record(entry.record, f"{entry.id}: record", self.known.licenses())
        return entry

    def stored(self, entry: Entry, fingerprint: Fingerprint) -> Entry:
        """The entry with its fingerprint, which is written."""
        stored = self._writer.store(fingerprint)
        return replace(entry, fingerprint=stored, registry=one_line(str(self._writer.folder)))


@dataclass(frozen=True, slots=True)
class _Hub:
    """Measures hub models and stores them, from several threads."""

    writer: RegistryWriter
    adder: _Adder
    stored: Mapping[str, Entry]
    reading: Reading

    def take(self, model_id: str) -> Written | Failure | None:
        """None: its commit is stored. Raises RegistryError when the registry cannot be written."""
        try:
            found = parse_hub_id(model_id if "://" in model_id else f"hf://{model_id}")
            name = f"{found.repo_id}/{found.folder}" if found.folder else found.repo_id
            store = open_hub(model_id if "://" in model_id else f"hf://{model_id}", self.reading.remote)
            if self._is_stored(name, store.location):
                return None
            fingerprint = _with_subject(open_artifact(store), self.reading)
            entry = self.adder.draft(name, fingerprint, Given(source=store.location))
        except ProvenanceGateError as error:
            return Failure(model_id, str(error))
        except Exception as error:  # noqa: BLE001  One model that breaks the reader must not cost the others hours of work.
            return Failure(model_id, f"internal error: {type(error).__name__}: {one_line(str(error))}")
        return self.writer.add([self.adder.stored(entry, fingerprint)])

    def _is_stored(self, name: str, location: str) -> bool:
        entry = self.stored.get(name.casefold())
        if entry is None or entry.source != location or entry.fingerprint is None or entry.fingerprint.method != METHOD:
            return False
        path = self.writer.folder / object_name(entry.fingerprint.sha256)
        return path.is_file() and path.stat().st_size == entry.fingerprint.size
