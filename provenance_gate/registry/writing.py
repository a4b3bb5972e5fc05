"""Writing a local registry: whole files or none, under a lock, so that nobody reads half of one and no two writers lose anything.

An object is on the disk before the index names it: a crash in between leaves an object that nothing refers to.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from provenance_gate.artifact.interface import Sha256
from provenance_gate.errors import RegistryError, UsageError, one_line
from provenance_gate.fingerprint.compact import Sketch
from provenance_gate.fingerprint.interface import Fingerprint
from provenance_gate.registry.damage import Damage
from provenance_gate.registry.index import (
    EMPTY,
    INDEX,
    LICENSES,
    MAX_FILE_BYTES,
    MAX_INDEX_BYTES,
    MAX_OBJECT_BYTES,
    SIGNATURE,
    FileDigest,
    Index,
    RawEntry,
    entries_of,
    index_bytes,
    is_model_id,
    object_name,
    parse_index,
)
from provenance_gate.registry.interface import Entry, StoredFingerprint
from provenance_gate.registry.place import read_regular
from provenance_gate.registry.sketches import sketch_json

LOCK = ".lock"
PART = ".part"
WAIT = 120.0
"""Seconds to wait for other writers; each holds the lock for a fraction of one."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a change of the index did. `replaced`: ids that were there before; `unsigned`: its signature was taken away."""

    added: tuple[str, ...]
    replaced: tuple[str, ...]
    unsigned: bool


class RegistryWriter:
    """Changes to a registry folder, which is made when it is missing. Raises UsageError for a URL."""

    def __init__(self, registry: str) -> None:
        if "://" in registry:
            raise UsageError(f"{one_line(registry, 120)}: only a local registry can be changed")
        if not registry or "\0" in registry:
            raise UsageError(f"{registry!r}: expected the folder of a registry")
        self.folder = Path(registry)

    def entries(self) -> tuple[Entry, ...]:
        """What the index holds now; nothing when there is none. Raises RegistryError when it is damaged."""
        return entries_of(self._current()[1], one_line(str(self.folder)))

    def store(self, fingerprint: Fingerprint) -> StoredFingerprint:
        """Put a fingerprint among the objects; one that is there already stays. Raises RegistryError."""
        from provenance_gate.fingerprint.container import fingerprint_bytes

        data = fingerprint_bytes(fingerprint)
        if len(data) > MAX_OBJECT_BYTES:
            raise RegistryError(
                f"{fingerprint.subject.name}: a fingerprint of {len(data):,} bytes is too large to store"
            )
        digest = sha256(data).hexdigest()
        path = self.folder / object_name(digest)
        if not _holds(path, data):
            with _writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                _replace(path, data)
        return StoredFingerprint(Sha256(digest), len(data), fingerprint.method)

    def check(self, entry: Entry) -> None:
        """Raises UsageError for what no reader would take: ids, addresses and records come from cards and command lines."""
        for name in (entry.id, *entry.aliases):
            if not is_model_id(name):
                raise UsageError(
                    f"{one_line(repr(name), 120)}: not a model id: 1 to 200 ASCII letters, digits and ._/+@:-"
                )
        try:
            parse_index(index_bytes(Index(None, (_raw(entry),))), "index", Damage())
        except RegistryError as error:
            raise UsageError(f"cannot be written to {one_line(str(self.folder))}: {error}") from error

    def add(self, entries: Sequence[Entry]) -> Written:
        """Put entries into the index; one of the same id, whatever its case, is replaced.

        Raises
        ------
        RegistryError
            The index that is there is damaged (nothing is changed then), or cannot be written.
        UsageError
            An id or another part of an entry that cannot stand in an index.
        """
        for entry in entries:
            self.check(entry)
        raw = {entry.id.casefold(): _raw(entry) for entry in entries}
        replaced: list[str] = []

        def change(index: Index) -> tuple[RawEntry, ...]:
            there = {str(e["id"]).casefold(): e for e in index.entries}
            replaced.extend(str(there[key]["id"]) for key in raw if key in there)
            return tuple({**there, **raw}.values())

        unsigned = self._change(change)
        return Written(tuple(str(e["id"]) for e in raw.values()), tuple(replaced), unsigned)

    def add_sketches(self, sketches: Mapping[str, tuple[StoredFingerprint, Sketch]]) -> bool:
        """Set the sketch of entries by id, unless their fingerprint is another by now. Whether a signature was taken away."""

        def change(index: Index) -> tuple[RawEntry, ...]:
            return tuple(_with_sketch(raw, *sketches.get(raw["id"], (None, None))) for raw in index.entries)

        return self._change(change)

    def refresh(self) -> bool:
        """Write the index anew, so that it lists the catalog as it lies there. Whether a signature was taken away."""
        if not self.folder.is_dir():
            raise RegistryError(f"{one_line(str(self.folder))}: no such folder")
        return self._change(lambda index: index.entries)

    def _change(self, change: Callable[[Index], tuple[RawEntry, ...]]) -> bool:
        path, signature = self.folder / INDEX, self.folder / SIGNATURE
        with _writing(path):
            self.folder.mkdir(parents=True, exist_ok=True)
        with self._locked():
            before, index = self._current()
            data = index_bytes(Index(self._listed(), change(index)))
            if len(data) > MAX_INDEX_BYTES:
                raise RegistryError(f"{path}: would be larger than {MAX_INDEX_BYTES:,} bytes; start another registry")
            if data == before:
                return False
            with _writing(path):
                _replace(path, data)
                # It was made over the bytes that are gone, and every reader that asks for one would be refused.
                if signature.exists():
                    signature.unlink()
                    return True
        return False

    def _current(self) -> tuple[bytes, Index]:
        path = self.folder / INDEX
        if not path.exists() and not path.is_symlink():
            return b"", EMPTY
        data = read_regular(path, str(path), MAX_INDEX_BYTES)
        return data, parse_index(data, str(path), Damage())

    def _listed(self) -> dict[str, FileDigest]:
        names = [f"catalog/{p.name}" for p in sorted((self.folder / "catalog").glob("*.json"))]
        names += [LICENSES] if (self.folder / LICENSES).exists() else []
        found = {}
        for name in names:
            data = read_regular(self.folder / name, f"{self.folder / name}", MAX_FILE_BYTES)
            found[name] = FileDigest(Sha256(sha256(data).hexdigest()), len(data))
        return found

    @contextmanager
    def _locked(self) -> Iterator[None]:
        from filelock import FileLock, Timeout

        lock = FileLock(self.folder / LOCK, timeout=WAIT)
        with _writing(self.folder / LOCK):
            try:
                lock.acquire()
            except Timeout as error:
                raise RegistryError(f"{self.folder}: another process has held {LOCK} for {WAIT:.0f} s") from error
        try:
            yield
        finally:
            lock.release()


def _raw(entry: Entry) -> dict[str, Any]:
    stored, sketch = entry.fingerprint, entry.sketch
    return {
        "id": entry.id,
        "aliases": list(entry.aliases),
        "source": entry.source,
        "fingerprint": None
        if stored is None
        else {"sha256": stored.sha256, "size": stored.size, "method": stored.method},
        "sketch": None if sketch is None else sketch_json(sketch),
        "record": None if entry.record is None else dict(entry.record),
    }


def _with_sketch(raw: RawEntry, stored: StoredFingerprint | None, sketch: Sketch | None) -> RawEntry:
    held = raw.get("fingerprint")
    if stored is None or sketch is None or held is None or held["sha256"] != stored.sha256:
        return raw
    return {**raw, "sketch": sketch_json(sketch)}


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.stat().st_size == len(data) and read_regular(path, str(path), len(data)) == data
    except (OSError, RegistryError):
        return False


def _replace(path: Path, data: bytes) -> None:
    """The whole file or none, also after a loss of power: on the disk under another name first, then renamed."""
    partial = path.with_name(f".{path.name[:16]}.{secrets.token_hex(8)}{PART}")
    try:
        # With the mode that the umask leaves: a registry is read by others.
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    # Windows opens no folders, and some network file systems refuse to sync them.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RegistryError(
            f"{one_line(str(path))}: cannot be written: {error.strerror or type(error).__name__}"
        ) from error
