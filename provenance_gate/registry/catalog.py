"""Facts about known base models, from the ``catalog`` folders of one or more registries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from provenance_gate.errors import RegistryError, one_line
from provenance_gate.lineage.interface import LicenseTerm
from provenance_gate.registry.licenses import LicenseBook, read_json, shipped_licenses

_INHERITING = frozenset({"finetune", "merge", "quantized", "adapter", "continued-pretraining"})
"""Relations that pass weights on; a distilled model learns from its teacher's outputs only."""


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """One model of the catalog.

    Attributes
    ----------
    licenses
        Its own license, then the terms of ancestors that stay attached to it (`upstream`).
    parents
        Ids whose weights it inherits, published intermediate steps first; empty when trained from scratch or unknown.
    facts
        The whole record as stored.
    """

    id: str
    aliases: tuple[str, ...]
    family: str | None
    publisher: str | None
    licenses: tuple[LicenseTerm, ...]
    parents: tuple[str, ...]
    facts: Mapping[str, Any]


class Catalog:
    """Records by id and alias; a later folder replaces records of an earlier one. Files are read at the first question."""

    def __init__(self, folders: Sequence[Path], licenses: Callable[[], LicenseBook] = shipped_licenses) -> None:
        self._folders = tuple(folders)
        self._licenses = licenses
        self._records: dict[str, ModelRecord] | None = None

    def find(self, model_id: str) -> ModelRecord | None:
        """The record of an id or alias, whatever its case. Raises RegistryError when a folder cannot be read."""
        return self._loaded().get(model_id.casefold())

    def records(self) -> tuple[ModelRecord, ...]:
        """All records, sorted by id."""
        return tuple(sorted(set_by_id(self._loaded().values()).values(), key=lambda r: r.id))

    def _loaded(self) -> dict[str, ModelRecord]:
        if self._records is None:
            book = self._licenses()
            records: dict[str, ModelRecord] = {}
            for folder in self._folders:
                for record in _read_folder(folder, book):
                    records.update({name.casefold(): record for name in (*record.aliases, record.id)})
            self._records = records
        return self._records


def set_by_id(records: Any) -> dict[str, ModelRecord]:
    """Records keyed by id: one that has aliases once."""
    return {record.id: record for record in records}


def catalog_schema() -> dict[str, Any]:
    """JSON Schema of one catalog file."""
    schema = read_json(Path(str(resources.files(__package__).joinpath("schemas/catalog.schema.json"))))
    if not isinstance(schema, dict):
        raise RegistryError("catalog.schema.json: expected an object")
    return schema


def _read_folder(folder: Path, book: LicenseBook) -> list[ModelRecord]:
    catalog = folder / "catalog"
    if not catalog.is_dir():
        raise RegistryError(f"{folder}: no catalog folder in it, so this is no registry")
    records = []
    for path in sorted(catalog.glob("*.json")):
        entries = read_json(path)
        if not isinstance(entries, list):
            raise RegistryError(f"{path.name}: expected a list of records")
        records += [_record(entry, path.name, number, book) for number, entry in enumerate(entries)]
    return records


def _record(entry: object, file: str, number: int, book: LicenseBook) -> ModelRecord:
    facts: dict[str, Any] = entry if isinstance(entry, dict) else {}
    match facts:
        case {"id": str(model_id), "license": {"id": str(license_id), "category": str(category)} as license_facts}:
            pass
        case _:
            raise RegistryError(f"{file}: record {number}: expected an id and a license with id and category")
    try:
        name, spdx, url = (license_facts.get(k) for k in ("name", "spdx", "url"))
        vague = license_id in ("other", "unknown")
        own = LicenseTerm(name if vague and name else license_id, spdx, name, category, url)
        upstream = tuple(book.term(tag) for tag in license_facts.get("upstream") or ())
        return ModelRecord(
            id=model_id,
            aliases=tuple(map(str, facts.get("aliases") or ())),
            family=facts.get("family"),
            publisher=facts.get("publisher"),
            licenses=(own, *upstream),
            parents=_parents(facts.get("base_model")),
            facts=facts,
        )
    except (TypeError, AttributeError) as error:
        raise RegistryError(f"{file}: record {one_line(model_id)}: a field has the wrong type: {error}") from error


def _parents(base: Any) -> tuple[str, ...]:
    if not base or base.get("relation") not in _INHERITING:
        return ()
    via = base.get("via") or ()
    steps = (via,) if isinstance(via, str) else tuple(via)
    return tuple(str(step) for step in (*steps, base.get("id")) if step)


def verify_catalog(folder: Path) -> tuple[str, ...]:
    """What is wrong with the catalog of a registry folder, one sentence each; empty when nothing is.

    Checks every file against the schema, that records are sorted, that ids and aliases are unique, and that nobody is its own
    ancestor. Parents without a record are allowed: not every ancestor is published.
    """
    import jsonschema

    validator = jsonschema.Draft202012Validator(catalog_schema())
    problems: list[str] = []
    owners: dict[str, str] = {}
    parents: dict[str, tuple[str, ...]] = {}
    for path in sorted((folder / "catalog").glob("*.json")):
        entries = read_json(path)
        faults = [
            f"{path.name}: {'/'.join(map(str, e.absolute_path))}: {one_line(e.message, 160)}"
            for e in validator.iter_errors(entries)
        ]
        problems += faults
        if faults or not isinstance(entries, list):
            continue
        ids = [entry["id"] for entry in entries]
        if ids != sorted(ids):
            problems.append(f"{path.name}: records are not sorted by id")
        for entry in entries:
            for name in (entry["id"], *entry.get("aliases", ())):
                if name.casefold() in owners:
                    problems.append(f"{path.name}: {name} is also in {owners[name.casefold()]}")
                owners[name.casefold()] = path.name
            parents[entry["id"].casefold()] = tuple(p.casefold() for p in _parents(entry["base_model"]))
    return (
        *problems,
        *(f"{model}: is its own ancestor" for model in sorted(parents) if _reaches_itself(model, parents)),
    )


def _reaches_itself(model: str, parents: Mapping[str, tuple[str, ...]]) -> bool:
    seen: set[str] = set()
    waiting = list(parents.get(model, ()))
    while waiting:
        current = waiting.pop()
        if current == model:
            return True
        if current not in seen:
            seen.add(current)
            waiting += parents.get(current, ())
    return False
