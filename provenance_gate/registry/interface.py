"""What a registry holds, and what it promises.

A registry is a folder, local or behind an fsspec address::

    catalog/*.json        facts about models (reviewed by people, one file a family)
    licenses.json         optional: further license ids
    index.json            optional: digests of the files above, and one entry a line, sorted by id
    index.json.sig        optional: a detached signature of the index
    objects/ab/abcd...    fingerprints by the SHA-256 of their bytes

What stands in the index is believed as far as its digests go: a fingerprint is loaded only when its bytes have the digest
that the entry states, and an index is accepted unsigned unless a key is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from provenance_gate.artifact.interface import Sha256
from provenance_gate.fingerprint.compact import Sketch
from provenance_gate.fingerprint.interface import Fingerprint


@dataclass(frozen=True, slots=True)
class StoredFingerprint:
    """Where a fingerprint lies in the registry. `method` is the fingerprint's own (`METHOD`, or that of an imported one)."""

    sha256: Sha256
    size: int
    method: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of a registry's index.

    Attributes
    ----------
    id
        Hub id, or the organization's own name for the model; unique in a registry whatever its case.
    source
        Where the weights lie, pinned where the place allows (``hf://org/name@<commit>``); None when nobody said.
    sketch
        For nominating without opening the fingerprint.
    record
        A catalog record of its own (same schema as `catalog/`), None when `catalog/` has it or nobody knows more.
    registry
        Location of the registry that holds it.
    """

    id: str
    aliases: tuple[str, ...]
    source: str | None
    fingerprint: StoredFingerprint | None
    sketch: Sketch | None
    record: Mapping[str, Any] | None
    registry: str


class Registry(Protocol):
    """One registry, open for reading."""

    @property
    def location(self) -> str: ...
    def entries(self) -> Sequence[Entry]:
        """Sorted by id. Raises RegistryError naming the entry, or leaves it out and lists it in `damaged` when told so."""
        ...

    @property
    def damaged(self) -> Sequence[str]:
        """One sentence for each entry that was left out."""
        ...

    def fingerprint(self, entry: Entry) -> Fingerprint:
        """The stored fingerprint, its bytes checked against the entry's digest first. Raises RegistryError."""
        ...
