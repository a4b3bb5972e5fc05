"""Several registries as one: the shipped one, then those that were named; a later layer replaces what an earlier one says.

Replacing goes by id. An alias never hides an id: otherwise one line of a registry could give a known model another identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from provenance_gate.artifact.sources.interface import Options
from provenance_gate.data import data_dir
from provenance_gate.errors import RegistryError, UsageError
from provenance_gate.fingerprint.interface import Fingerprint
from provenance_gate.registry.catalog import Catalog
from provenance_gate.registry.folder import FolderRegistry
from provenance_gate.registry.interface import Entry
from provenance_gate.registry.place import LocalPlace, open_place


def open_registries(
    locations: Sequence[str],
    *,
    keys: Sequence[Path] = (),
    skip_damaged: bool = False,
    options: Options | None = None,
    shipped: bool = True,
) -> Registries:
    """Open registries; nothing is read before the first question.

    Parameters
    ----------
    locations
        Folders or URLs (``https://``, ``s3://`` and its kin, ``hf://``), the last one first in rank.
    keys
        PEM files of Ed25519 public keys: the index of every registry in `locations` must be signed with one of them.
    skip_damaged
        Leave out entries and files that cannot be believed, and list them in `damaged`.
    options
        How remote registries are reached.
    shipped
        Put the registry that comes with the package below the others. It needs no signature: who can change it can change
        this program.
    """
    own = data_dir("fingerprints")
    layers = [FolderRegistry(LocalPlace(own), skip_damaged=skip_damaged)] if shipped else []
    for location in dict.fromkeys(locations):
        if not location:
            raise UsageError("a registry: expected a folder or URL, found nothing")
        if shipped and "://" not in location and _same(Path(location), own):
            continue
        layers.append(FolderRegistry(open_place(location, options), keys=keys, skip_damaged=skip_damaged))
    return Registries(layers)


class Registries:
    """Layers of registries, the first one lowest. Answers like one `Registry`."""

    def __init__(self, layers: Sequence[FolderRegistry]) -> None:
        self.layers = tuple(layers)
        self.catalog = Catalog(self.layers)
        """Records of all layers, those that stand in an index included."""
        self._entries: tuple[Entry, ...] | None = None
        self._by_id: dict[str, Entry] = {}
        self._by_alias: dict[str, Entry] = {}

    def entries(self) -> Sequence[Entry]:
        """Entries of all layers, each id once, sorted by id. Raises RegistryError unless damaged ones are left out."""
        if self._entries is None:
            by_id: dict[str, Entry] = {}
            for layer in self.layers:
                by_id.update((entry.id.casefold(), entry) for entry in layer.entries())
            self._by_alias = {alias.casefold(): entry for entry in by_id.values() for alias in entry.aliases}
            self._by_id = by_id
            self._entries = tuple(by_id[key] for key in sorted(by_id))
        return self._entries

    def find(self, model_id: str) -> Entry | None:
        """The entry of an id; else of the record that the catalog knows by this name; else of an entry's own alias."""
        self.entries()
        key = model_id.casefold()
        if key in self._by_id:
            return self._by_id[key]
        record = self.catalog.find(model_id)
        return self._by_alias.get(key) if record is None else self._by_id.get(record.id.casefold())

    def fingerprint(self, entry: Entry) -> Fingerprint:
        """The stored fingerprint of one of `entries`. Raises RegistryError, and lists it in `damaged` if damage is skipped."""
        for layer in reversed(self.layers):
            if layer.location == entry.registry:
                return layer.fingerprint(entry)
        raise RegistryError(f"{entry.id}: from {entry.registry}, which is not open")

    @property
    def damaged(self) -> Sequence[str]:
        """One sentence for each part that was left out so far, whichever layer it was in."""
        return tuple(dict.fromkeys(sentence for layer in self.layers for sentence in layer.damaged))


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False
