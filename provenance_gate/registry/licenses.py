"""License ids and what they mean to a policy: data from ``licenses.json``, looked up by hub or SPDX spelling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from provenance_gate.artifact.jsonfile import load_json
from provenance_gate.data import data_dir
from provenance_gate.errors import MalformedFileError, RegistryError
from provenance_gate.lineage.interface import LicenseTerm

CATEGORIES = (
    "permissive",
    "copyleft",
    "open-with-use-restrictions",
    "non-commercial",
    "research-only",
    "proprietary",
    "unknown",
)

MAX_FILE_BYTES = 64 * 2**20
"""A thousand times the largest file of the shipped catalog; only bounds the memory."""


@dataclass(frozen=True, slots=True)
class LicenseBook:
    """All known terms by lower-cased id."""

    terms: Mapping[str, LicenseTerm]

    def term(self, license_id: str, name: str | None = None) -> LicenseTerm:
        """The term for an id; for `other` and `unknown` the name beside it decides. Unknown ones get category "unknown"."""
        vague = license_id.casefold() in ("other", "unknown")
        wanted = (name if vague and name else license_id).strip()
        known = self.terms.get(wanted.casefold())
        if known is not None:
            return known
        return LicenseTerm(wanted, None, name, "unknown")


@cache
def shipped_licenses() -> LicenseBook:
    """The book that ships with the package."""
    return load_licenses(data_dir("fingerprints") / "licenses.json")


def load_licenses(path: Path) -> LicenseBook:
    """Read a book. Raises RegistryError naming file and entry."""
    entries = read_json(path)
    if not isinstance(entries, list):
        raise RegistryError(f"{path.name}: expected a list of licenses")
    terms: dict[str, LicenseTerm] = {}
    for number, entry in enumerate(entries):
        match entry:
            case {
                "id": str(key),
                "spdx": str() | None as spdx,
                "category": str(category),
                "name": str() | None as name,
                "url": str() | None as url,
            }:
                if key.casefold() in terms:
                    raise RegistryError(f"{path.name}: {key}: the file holds this id twice")
                if category not in CATEGORIES:
                    raise RegistryError(
                        f"{path.name}: {key}: category {category!r}, expected one of {', '.join(CATEGORIES)}"
                    )
                terms[key.casefold()] = LicenseTerm(key, spdx, name, category, url)
            case _:
                raise RegistryError(f"{path.name}: entry {number}: expected id, spdx, name, category and url")
    return LicenseBook(terms)


def read_json(path: Path) -> object:
    """A JSON file of a registry. Raises RegistryError naming it."""
    try:
        # Looked at before it is opened: a named pipe would never end.
        if path.exists() and (not path.is_file() or path.stat().st_size > MAX_FILE_BYTES):
            raise RegistryError(f"{path}: expected a file of at most {MAX_FILE_BYTES} bytes")
        data = path.read_bytes()
    except OSError as error:
        raise RegistryError(f"{path}: {error.strerror}") from error
    try:
        return load_json(data, path.name)
    except MalformedFileError as error:
        raise RegistryError(str(error)) from error
