"""One registry, open for reading: index, catalog files and stored fingerprints of one place, each checked by its digest."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from provenance_gate.errors import FingerprintError, RegistryError
from provenance_gate.fingerprint.interface import Fingerprint
from provenance_gate.registry.damage import Damage
from provenance_gate.registry.index import (
    EMPTY,
    INDEX,
    LICENSES,
    MAX_FILE_BYTES,
    MAX_INDEX_BYTES,
    SIGNATURE,
    FileDigest,
    Index,
    entries_of,
    object_name,
    parse_index,
)
from provenance_gate.registry.interface import Entry, StoredFingerprint
from provenance_gate.registry.place import Place

_PARALLEL = 8
_LARGEST_SIGNATURE = 4096


@dataclass(frozen=True, slots=True)
class _Read:
    """The index; `known` False when it was left out as damaged, and with it all that only it could vouch for."""

    index: Index
    known: bool


class FolderRegistry:
    """A `Registry` over a place. Nothing is read before the first question.

    Parameters
    ----------
    place
        Where it lies. A remote place cannot be listed: there the index is all that is known.
    keys
        Public keys; when there are any, the index must be signed with one of them and list every catalog file.
    skip_damaged
        Leave out what cannot be believed and list it in `damaged`. A place where no registry is found is an error all the same.
    """

    def __init__(self, place: Place, *, keys: Sequence[Path] = (), skip_damaged: bool = False) -> None:
        self.place = place
        self.damage = Damage(skip_damaged)
        self._keys = tuple(keys)
        self._read: _Read | None = None
        self._entries: tuple[Entry, ...] | None = None

    @property
    def location(self) -> str:
        """What reports call it."""
        return self.place.location

    @property
    def damaged(self) -> Sequence[str]:
        """One sentence for each part that was left out so far."""
        return self.damage.found

    def index(self) -> Index:
        """The index as stored; empty for a folder that holds a catalog only. Raises RegistryError."""
        return self._loaded().index

    def entries(self) -> Sequence[Entry]:
        """Sorted by id whatever its case. Raises RegistryError naming the entry, unless damaged ones are left out."""
        if self._entries is None:
            self._entries = entries_of(self.index(), self.location)
        return self._entries

    def fingerprint(self, entry: Entry) -> Fingerprint:
        """The stored fingerprint, its bytes checked against the entry's digest first. Raises RegistryError, always."""
        where = f"{self.location}: {entry.id}"
        if entry.fingerprint is None:
            raise RegistryError(f"{where}: no fingerprint is stored")
        try:
            return parse_stored(self._object(entry.fingerprint, where), entry.fingerprint, where)
        except RegistryError as error:
            if self.damage.skip:
                self.damage.report(str(error))
            raise

    def _object(self, stored: StoredFingerprint, where: str) -> bytes:
        try:
            return self._checked(object_name(stored.sha256), FileDigest(stored.sha256, stored.size))
        except RegistryError as error:
            raise RegistryError(f"{where}: {str(error).removeprefix(f'{self.location}: ')}") from error

    def catalog_files(self) -> Iterator[tuple[str, bytes]]:
        """Name and bytes of every file of the catalog, checked where the index states digests."""
        read = self._loaded()
        if not read.known:
            return
        names, listed = self._catalog_names(), read.index.files
        if self.place.folder is not None:
            for name in names:
                yield from self._file(name, listed)
            return
        with ThreadPoolExecutor(max_workers=_PARALLEL) as pool:
            for found in pool.map(lambda name: list(self._file(name, listed)), names):
                yield from found

    def licenses_file(self) -> bytes | None:
        """The bytes of the registry's own ``licenses.json``, None when it has none."""
        read = self._loaded()
        listed, folder = read.index.files, self.place.folder
        if not read.known:
            return None
        present = LICENSES in listed if listed is not None else folder is not None and (folder / LICENSES).exists()
        return next((data for _, data in self._file(LICENSES, listed)), None) if present else None

    def inline_records(self) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        """Where it stands, id of its entry, and record, for each entry that has a record of its own."""
        for raw in self.index().entries:
            if raw.get("record") is not None:
                yield f"{self.location}: {INDEX}", raw["id"], raw["record"]

    def _loaded(self) -> _Read:
        if self._read is None:
            self._check_place()
            try:
                self._read = _Read(self._read_index(), True)
            except RegistryError as error:
                self.damage.report(str(error), error)
                self._read = _Read(EMPTY, False)
        return self._read

    def _check_place(self) -> None:
        folder = self.place.folder
        if folder is None:
            return
        if not folder.is_dir():
            raise RegistryError(f"{self.location}: no such folder")
        if not is_registry(folder):
            raise RegistryError(
                f"{self.location}: no catalog folder and no {INDEX} in it, so this is no registry; registry add makes one"
            )

    def _read_index(self) -> Index:
        folder, where = self.place.folder, f"{self.location}: {INDEX}"
        if folder is not None and not self._keys and not _exists(folder / INDEX):
            return EMPTY
        data = self.place.read(INDEX, MAX_INDEX_BYTES)
        if self._keys:
            from provenance_gate.registry.signature import check_signature

            try:
                signature = self.place.read(SIGNATURE, _LARGEST_SIGNATURE)
            except RegistryError as error:
                raise RegistryError(f"{where}: a signature is required: {error}") from error
            check_signature(data, signature, self._keys, f"{self.location}: {SIGNATURE}")
        index = parse_index(data, where, self.damage)
        if self._keys and index.files is None:
            raise RegistryError(f"{where}: files: missing, so that the signature covers no catalog file")
        return index

    def _catalog_names(self) -> list[str]:
        listed, folder = self.index().files, self.place.folder
        here = [] if folder is None else sorted(f"catalog/{p.name}" for p in (folder / "catalog").glob("*.json"))
        if listed is None:
            return here
        for name in here:
            if name not in listed:
                self.damage.report(
                    f"{self.location}: {name}: not listed in {INDEX}; registry index lists it after a review"
                )
        return sorted(name for name in listed if name != LICENSES)

    def _file(self, name: str, listed: Mapping[str, FileDigest] | None) -> Iterator[tuple[str, bytes]]:
        try:
            data = self.place.read(name, MAX_FILE_BYTES) if listed is None else self._checked(name, listed[name])
        except RegistryError as error:
            self.damage.report(str(error), error)
            return
        yield f"{self.location}: {name}", data

    def _checked(self, name: str, expected: FileDigest) -> bytes:
        where = f"{self.location}: {name}"
        data = self.place.read(name, expected.size)
        if len(data) != expected.size:
            raise RegistryError(f"{where}: {len(data):,} bytes, expected {expected.size:,}")
        found = sha256(data).hexdigest()
        if found != expected.sha256:
            raise RegistryError(f"{where}: SHA-256 {found}, expected {expected.sha256}")
        return data


def parse_stored(data: bytes, stored: StoredFingerprint, where: str) -> Fingerprint:
    """The fingerprint that checked bytes hold. Raises RegistryError that starts with `where`."""
    from provenance_gate.fingerprint.container import load_fingerprint

    # The reader maps a file; a copy of the checked bytes is the one that nobody can have changed since.
    with tempfile.TemporaryDirectory(prefix="provenance-gate-") as folder:
        path = Path(folder) / "fingerprint"
        try:
            path.write_bytes(data)
            found = load_fingerprint(path)
        except FingerprintError as error:
            text = str(error).removeprefix(f"{path}: ")
            raise RegistryError(f"{where}: {object_name(stored.sha256)}: {text}") from error
        except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
            raise RegistryError(f"{where}: {object_name(stored.sha256)}: not a fingerprint") from error
        except OSError as error:
            raise RegistryError(f"{where}: cannot be unpacked: {error.strerror}") from error
    if found.method != stored.method:
        raise RegistryError(f"{where}: fingerprint: method: measured by {found.method}, the index says {stored.method}")
    return found


def is_registry(folder: Path) -> bool:
    """Whether a local folder holds a catalog or an index."""
    return (folder / "catalog").is_dir() or _exists(folder / INDEX)


def _exists(path: Path) -> bool:
    """Whether there is anything of that name, a broken link too."""
    return path.exists() or path.is_symlink()
