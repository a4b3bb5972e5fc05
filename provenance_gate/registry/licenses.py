"""License ids and what they mean to a policy: data from ``licenses.json``, looked up by hub or SPDX spelling.

One entry holds the terms of each text; other spellings of that license point to it by ``same_as``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from provenance_gate.artifact.jsonfile import load_json
from provenance_gate.data import data_dir
from provenance_gate.errors import MalformedFileError, RegistryError, one_line
from provenance_gate.lineage.interface import LicenseTerm
from provenance_gate.registry.terms import same_terms_as, with_terms

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
    return parse_licenses(read_json(path), path.name)


def parse_licenses(entries: object, file: str) -> LicenseBook:
    """The book that the JSON of `file` holds. Raises RegistryError naming file and entry."""
    if not isinstance(entries, list):
        raise RegistryError(f"{file}: expected a list of licenses")
    terms: dict[str, LicenseTerm] = {}
    pointers: dict[str, str] = {}
    for number, entry in enumerate(entries):
        match entry:
            case {
                "id": str(key),
                "spdx": str() | None as spdx,
                "category": str(category),
                "name": str() | None as name,
                "url": str() | None as url,
            }:
                where = f"{file}: {one_line(key, 120)}"
                if key.casefold() in terms:
                    raise RegistryError(f"{where}: the file holds this id twice")
                if category not in CATEGORIES:
                    found = one_line(repr(category), 60)
                    raise RegistryError(f"{where}: category {found}, expected one of {', '.join(CATEGORIES)}")
                terms[key.casefold()] = with_terms(LicenseTerm(key, spdx, name, category, url), entry, where)
                if "same_as" in entry:
                    pointers[key.casefold()] = str(entry["same_as"])
            case _:
                raise RegistryError(f"{file}: entry {number}: expected id, spdx, name, category and url")
    for key, other in pointers.items():
        if other.casefold() not in terms or other.casefold() in pointers:
            where = f"{file}: {one_line(key, 120)}"
            raise RegistryError(f"{where}: same_as: {one_line(other, 120)} is no entry with terms of its own")
        terms[key] = same_terms_as(terms[key], terms[other.casefold()])
    return LicenseBook(terms)


def licenses_schema() -> dict[str, Any]:
    """JSON Schema of ``licenses.json``."""
    schema = read_json(Path(str(resources.files(__package__).joinpath("schemas/licenses.schema.json"))))
    if not isinstance(schema, dict):
        raise RegistryError("licenses.schema.json: expected an object")
    return schema


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
