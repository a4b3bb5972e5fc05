"""Facts about known base models, from the ``catalog`` folders of one or more registries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from provenance_gate.errors import RegistryError, one_line
from provenance_gate.lineage.interface import LicenseTerm
from provenance_gate.registry.licenses import CATEGORIES, LicenseBook, load_licenses, read_json, shipped_licenses

_INHERITING = frozenset({"finetune", "merge", "quantized", "adapter", "continued-pretraining"})
_RELATIONS = _INHERITING | {"distill"}
"""A distilled model learns from outputs only, unless its record says `inherits_weights` (pruned first, then distilled)."""


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """One model of the catalog.

    Attributes
    ----------
    licenses
        Its own license, then the terms of ancestors that stay attached to it (`upstream`).
    parents
        Ids whose weights it inherits; empty when trained from scratch or unknown.
    via
        Published steps between this model and its parent, the nearest to this model first.
    facts
        The whole record as stored.
    """

    id: str
    aliases: tuple[str, ...]
    family: str | None
    publisher: str | None
    licenses: tuple[LicenseTerm, ...]
    parents: tuple[str, ...]
    via: tuple[str, ...]
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
        return tuple(sorted({r.id: r for r in self._loaded().values()}.values(), key=lambda r: r.id))

    def _loaded(self) -> dict[str, ModelRecord]:
        if self._records is None:
            book = self._licenses()
            by_id: dict[str, ModelRecord] = {}
            for folder in self._folders:
                by_id.update(_read_folder(folder, book))
            # An alias never hides a record: otherwise one line in a registry could give a known model other parents.
            aliases = {alias.casefold(): record for record in by_id.values() for alias in record.aliases}
            self._records = {**aliases, **by_id}
        return self._records


def catalog_schema() -> dict[str, Any]:
    """JSON Schema of one catalog file."""
    schema = read_json(Path(str(resources.files(__package__).joinpath("schemas/catalog.schema.json"))))
    if not isinstance(schema, dict):
        raise RegistryError("catalog.schema.json: expected an object")
    return schema


def _read_folder(folder: Path, book: LicenseBook) -> dict[str, ModelRecord]:
    catalog = folder / "catalog"
    if not catalog.is_dir():
        raise RegistryError(f"{folder}: no catalog folder in it, so this is no registry")
    records: dict[str, ModelRecord] = {}
    for path in sorted(catalog.glob("*.json")):
        entries = read_json(path)
        if not isinstance(entries, list):
            raise RegistryError(f"{path.name}: expected a list of records")
        for number, entry in enumerate(entries):
            record = _record(entry, path.name, number, book)
            if record.id.casefold() in records:
                raise RegistryError(f"{path.name}: record {record.id}: the folder holds this id twice")
            records[record.id.casefold()] = record
    return records


def _record(entry: object, file: str, number: int, book: LicenseBook) -> ModelRecord:
    if not isinstance(entry, dict):
        raise RegistryError(f"{file}: record {number}: expected an object")
    model_id = entry.get("id")
    if not isinstance(model_id, str) or not model_id:
        raise RegistryError(f"{file}: record {number}: id: expected a string that is not empty")
    where = f"{file}: record {one_line(model_id, 120)}"
    parents, via = _parents(entry.get("base_model"), where)
    return ModelRecord(
        id=model_id,
        aliases=_texts(entry, "aliases", where),
        family=_text(entry, "family", where),
        publisher=_text(entry, "publisher", where),
        licenses=_licenses(entry.get("license"), where, book),
        parents=parents,
        via=via,
        facts=entry,
    )


def _licenses(facts: object, where: str, book: LicenseBook) -> tuple[LicenseTerm, ...]:
    where = f"{where}: license"
    if not isinstance(facts, dict):
        raise RegistryError(f"{where}: expected an object")
    license_id, name = _text(facts, "id", where), _text(facts, "name", where)
    category = _text(facts, "category", where)
    if not license_id:
        raise RegistryError(f"{where}: id: expected a string that is not empty")
    if category not in CATEGORIES:
        raise RegistryError(f"{where}: category: found {category!r}, expected one of {', '.join(CATEGORIES)}")
    vague = license_id.casefold() in ("other", "unknown")
    spdx, url = _text(facts, "spdx", where), _text(facts, "url", where)
    # A tag that stands for other terms elsewhere (an amended Apache 2.0 text tagged apache-2.0) must not pass for them.
    known = book.term(license_id).spdx
    misleading = bool(spdx and known and not known.startswith("LicenseRef-") and spdx != known)
    own = LicenseTerm(
        spdx if misleading and spdx else name if vague and name else license_id, spdx, name, category, url
    )
    upstream = (book.term(tag) for tag in _texts(facts, "upstream", where))
    same = (own.id.casefold(), own.spdx)
    return (own, *(term for term in upstream if (term.id.casefold(), term.spdx) != same))


def _parents(base: object, where: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(parents, via) of a `base_model`. Stored steps run from the base to the model; a walk upward needs the reverse."""
    if base is None:
        return (), ()
    where = f"{where}: base_model"
    if not isinstance(base, dict):
        raise RegistryError(f"{where}: expected an object or null")
    relation, inherits = _text(base, "relation", where), base.get("inherits_weights", False)
    if relation not in _RELATIONS:
        raise RegistryError(f"{where}: relation: found {relation!r}, expected one of {', '.join(sorted(_RELATIONS))}")
    if not isinstance(inherits, bool):
        raise RegistryError(f"{where}: inherits_weights: expected true or false")
    parent, via = _text(base, "id", where), _texts(base, "via", where)
    if relation not in _INHERITING and not inherits:
        return (), ()
    return ((parent,) if parent else ()), tuple(reversed(via))


def _text(facts: Mapping[str, object], key: str, where: str) -> str | None:
    value = facts.get(key)
    if value is None or isinstance(value, str):
        return value
    raise RegistryError(f"{where}: {key}: expected a string or null")


def _texts(facts: Mapping[str, object], key: str, where: str) -> tuple[str, ...]:
    value = facts.get(key, [])
    if not isinstance(value, list):
        raise RegistryError(f"{where}: {key}: expected a list")
    texts = tuple(item for item in value if isinstance(item, str) and item)
    if len(texts) != len(value):
        raise RegistryError(f"{where}: {key}: expected strings that are not empty")
    return texts


def verify_catalog(folder: Path) -> tuple[str, ...]:
    """What is wrong with the catalog of a registry folder, one sentence each; empty when nothing is.

    Checks every file against the schema, that there is one, that records are sorted, that ids and aliases are unique, that
    license ids are known, and that nobody is its own ancestor. Parents without a record are allowed: not every ancestor is
    published.
    """
    import jsonschema

    validator = jsonschema.Draft202012Validator(catalog_schema())
    problems: list[str] = []
    owners: dict[str, str] = {}
    ancestors: dict[str, tuple[str, ...]] = {}
    own_book = folder / "licenses.json"
    book = load_licenses(own_book) if own_book.is_file() else shipped_licenses()
    paths = sorted((folder / "catalog").glob("*.json"))
    if not paths:
        problems.append(f"{folder}: no catalog files")
    for path in paths:
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
            where = f"{path.name}: {entry['id']}"
            tags = (entry["license"]["id"], *entry["license"].get("upstream", ()))
            problems += [f"{where}: license {tag} is unknown" for tag in tags if tag.casefold() not in book.terms]
            parents, via = _parents(entry["base_model"], where)
            ancestors[entry["id"].casefold()] = tuple(p.casefold() for p in (*via, *parents))
    return (
        *problems,
        *(f"{model}: is its own ancestor" for model in sorted(ancestors) if _reaches_itself(model, ancestors)),
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
