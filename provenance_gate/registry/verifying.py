"""All that can be checked about a registry: index, signature, catalog, and the bytes of every stored fingerprint."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from provenance_gate.artifact.sources.interface import Options
from provenance_gate.errors import RegistryError, one_line
from provenance_gate.fingerprint.compact import Sketch
from provenance_gate.registry.catalog import Catalog, verify_catalog
from provenance_gate.registry.folder import FolderRegistry
from provenance_gate.registry.index import INDEX, MAX_INDEX_BYTES, SIGNATURE, index_bytes, index_schema, object_name
from provenance_gate.registry.interface import Entry
from provenance_gate.registry.place import open_place
from provenance_gate.registry.sketches import sketch_to_store
from provenance_gate.registry.writing import PART

MOST_SHOWN = 50
"""Faults of one kind that are named; more would bury the rest."""

Progress = Callable[[int, int], None]


@dataclass(slots=True)
class Verification:
    """What was checked of one registry. `problems` make it unfit for use, `notes` do not; `size` bytes of all fingerprints."""

    location: str
    signed: bool = False
    records: int = 0
    entries: int = 0
    fingerprints: int = 0
    size: int = 0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def verify_registry(
    location: str, *, keys: Sequence[Path] = (), options: Options | None = None, progress: Progress | None = None
) -> Verification:
    """Check everything. Raises RegistryError where no registry is found, UsageError for keys that cannot be used."""
    registry = FolderRegistry(open_place(location, options), keys=keys, skip_damaged=True)
    found = Verification(registry.location)
    entries = registry.entries()
    found.records = len(Catalog([registry]).records())
    found.entries = len(entries)
    found.problems += registry.damaged
    found.signed = bool(keys) and not registry.damaged
    stored = [entry for entry in entries if entry.fingerprint is not None]
    for done, entry in enumerate(stored, 1):
        _check_object(registry, entry, found)
        if progress is not None:
            progress(done, len(stored))
    found.problems += _shadowed(entries)
    folder = registry.place.folder
    if folder is not None:
        _check_folder(folder, registry, found)
        if not keys and (folder / SIGNATURE).exists():
            found.notes.append(f"{found.location}: {SIGNATURE}: not checked: no key was given")
    return found


def _check_object(registry: FolderRegistry, entry: Entry, found: Verification) -> None:
    try:
        fingerprint = registry.fingerprint(entry)
    except RegistryError as error:
        found.problems.append(str(error))
        return
    found.fingerprints += 1
    found.size += entry.fingerprint.size if entry.fingerprint else 0
    where = f"{registry.location}: {entry.id}: sketch"
    try:
        sketch = sketch_to_store(fingerprint)
    except RegistryError as error:
        found.problems.append(f"{where}: {error}")
        return
    if sketch is None:
        return
    if entry.sketch is None:
        found.notes.append(f"{where}: none of method {sketch.method}; registry index makes one")
    elif not _same(entry.sketch, sketch):
        found.problems.append(f"{where}: not the one of the stored fingerprint")


def _same(one: Sketch, other: Sketch) -> bool:
    return (
        dict(one.digests) == dict(other.digests)
        and one.parts.keys() == other.parts.keys()
        and all(np.array_equal(part, other.parts[name]) for name, part in one.parts.items())
    )


def _shadowed(entries: Sequence[Entry]) -> Iterator[str]:
    owners = {entry.id.casefold(): entry for entry in entries}
    for entry in entries:
        for alias in entry.aliases:
            owner = owners.setdefault(alias.casefold(), entry)
            if owner is not entry:
                yield f"{entry.registry}: {INDEX}: entry {entry.id}: aliases: {alias} also names {owner.id}"


def _check_folder(folder: Path, registry: FolderRegistry, found: Verification) -> None:
    index = registry.index()
    if (folder / INDEX).exists():
        found.problems += _breaches(registry, found)
    if not found.problems:
        inline = [(model_id, record) for _, model_id, record in registry.inline_records()]
        try:
            found.problems += (f"{found.location}: {problem}" for problem in verify_catalog(folder, inline))
        except RegistryError as error:
            found.problems.append(str(error))
    if registry.damaged:
        # What the damaged part refers to is not known, so that nothing can be said to be left over.
        return
    named = {object_name(raw["fingerprint"]["sha256"]) for raw in index.entries if raw.get("fingerprint") is not None}
    unnamed = [name for name in _files_below(folder) if name not in named]
    found.notes += (f"{found.location}: {one_line(name, 120)}: {_why(name)}" for name in unnamed[:MOST_SHOWN])
    if len(unnamed) > MOST_SHOWN:
        found.notes.append(f"{found.location}: {len(unnamed) - MOST_SHOWN:,} more such files")


def _breaches(registry: FolderRegistry, found: Verification) -> Iterator[str]:
    """Where the index departs from its schema or its layout, unless reading it said as much."""
    import jsonschema

    from provenance_gate.artifact.jsonfile import load_json
    from provenance_gate.errors import MalformedFileError

    where = f"{found.location}: {INDEX}"
    try:
        data = registry.place.read(INDEX, MAX_INDEX_BYTES)
        content = load_json(data, where)
    except (RegistryError, MalformedFileError):
        return
    if found.problems:
        return
    faults = jsonschema.Draft202012Validator(index_schema()).iter_errors(content)
    for number, fault in enumerate(faults):
        if number >= MOST_SHOWN:
            return
        yield f"{where}: {'/'.join(map(str, fault.absolute_path))}: {one_line(fault.message, 160)}"
    if data != index_bytes(registry.index()):
        found.notes.append(f"{where}: not laid out as the tool writes it; registry index rewrites it")


def _files_below(folder: Path) -> Iterator[str]:
    """Names of objects, and of what unfinished writes left."""
    for path in sorted(folder.glob(f".*{PART}")):
        yield path.name
    for path in sorted((folder / "objects").rglob("*")):
        if not path.is_dir():
            yield path.relative_to(folder).as_posix()


def _why(name: str) -> str:
    if name.endswith(PART):
        return "left by a write that was broken off; may be deleted"
    return (
        "no entry refers to it: left by an entry that was replaced, or by a write that was broken off; may be deleted"
    )
