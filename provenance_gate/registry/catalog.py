"""Facts about known base models, from the catalogs of one or more registries, and from records in their indexes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

from provenance_gate.artifact.jsonfile import load_json
from provenance_gate.data import data_dir
from provenance_gate.errors import MalformedFileError, RegistryError, one_line
from provenance_gate.lineage.interface import LicenseTerm
from provenance_gate.registry.damage import Damage
from provenance_gate.registry.folder import FolderRegistry
from provenance_gate.registry.index import INDEX, LICENSES
from provenance_gate.registry.licenses import (
    CATEGORIES,
    LicenseBook,
    load_licenses,
    parse_licenses,
    read_json,
    shipped_licenses,
)
from provenance_gate.registry.place import LocalPlace, Place

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


class Layer(Protocol):
    """What a registry gives to the catalog; `folder.FolderRegistry` is one."""

    @property
    def place(self) -> Place: ...
    @property
    def damage(self) -> Damage:
        """Told of each file and record that cannot be believed."""
        ...

    def catalog_files(self) -> Iterable[tuple[str, bytes]]:
        """What messages call it, and bytes, of every file of the catalog."""
        ...

    def inline_records(self) -> Iterable[tuple[str, str, Mapping[str, Any]]]:
        """Where it stands, id of the entry, and record."""
        ...

    def licenses_file(self) -> bytes | None:
        """Further license ids, or others for known ids."""
        ...


MAX_ANCESTORS = 64
"""Ancestors that are followed; real lines of descent have a handful."""


class Catalog:
    """Records by id and alias; a later layer replaces records of an earlier one. Files are read at the first question.

    Parameters
    ----------
    layers
        Registry folders, or registries that are open.
    licenses
        The book below the registries' own ones.
    """

    def __init__(self, layers: Sequence[Path | Layer], licenses: Callable[[], LicenseBook] = shipped_licenses) -> None:
        self._layers: tuple[Layer, ...] = tuple(
            FolderRegistry(LocalPlace(layer)) if isinstance(layer, Path) else layer for layer in layers
        )
        self._licenses = licenses
        self._book: LicenseBook | None = None
        self._records: dict[str, ModelRecord] | None = None

    def find(self, model_id: str) -> ModelRecord | None:
        """The record of an id or alias, whatever its case. Raises RegistryError when a layer cannot be read."""
        return self._loaded().get(model_id.casefold())

    def ancestors(self, model_id: str) -> tuple[str, ...] | None:
        """Every ancestor that records lead to, the nearest first, by the ids of their records; None without a record."""
        record = self.find(model_id)
        if record is None:
            return None
        seen: dict[str, None] = {}
        waiting = [*record.via, *record.parents]
        while waiting and len(seen) < MAX_ANCESTORS:
            name = waiting.pop(0)
            facts = self.find(name)
            name = facts.id if facts else name
            if name not in seen:
                seen[name] = None
                waiting += [*facts.via, *facts.parents] if facts else []
        return tuple(seen)

    def records(self) -> tuple[ModelRecord, ...]:
        """All records, sorted by id."""
        return tuple(sorted({r.id: r for r in self._loaded().values()}.values(), key=lambda r: r.id))

    def licenses(self) -> LicenseBook:
        """All known terms; those of a later layer replace those of an earlier one."""
        if self._book is None:
            terms = dict(self._licenses().terms)
            for layer in self._layers:
                terms.update(_own_terms(layer))
            self._book = LicenseBook(terms)
        return self._book

    def _loaded(self) -> dict[str, ModelRecord]:
        if self._records is None:
            book = self.licenses()
            by_id: dict[str, ModelRecord] = {}
            for layer in self._layers:
                by_id.update(_read_layer(layer, book))
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


def check_record(record: Mapping[str, Any], where: str, book: LicenseBook) -> None:
    """Raises RegistryError when a catalog would refuse the record; the message starts with `where`."""
    _record(record, where, 0, book)


def _own_terms(layer: Layer) -> Mapping[str, LicenseTerm]:
    if layer.place.folder == data_dir("fingerprints"):
        return {}
    data, file = layer.licenses_file(), f"{layer.place.location}: {LICENSES}"
    if data is None:
        return {}
    try:
        return parse_licenses(load_json(data, file), file).terms
    except (MalformedFileError, RegistryError) as error:
        layer.damage.report(str(error), error)
        return {}


def _read_layer(layer: Layer, book: LicenseBook) -> dict[str, ModelRecord]:
    records: dict[str, ModelRecord] = {}

    def add(entry: object, file: str, number: int, model_id: str | None = None) -> None:
        try:
            record = _record(entry, file, number, book)
        except RegistryError as error:
            return layer.damage.report(str(error), error)
        shown = f"{file}: record {one_line(record.id, 120)}"
        if model_id is not None and model_id.casefold() != record.id.casefold():
            return layer.damage.report(f"{shown}: in the entry of {model_id}")
        if record.id.casefold() in records:
            return layer.damage.report(f"{shown}: the registry holds this id twice")
        records[record.id.casefold()] = record
        return None

    for file, data in layer.catalog_files():
        try:
            entries = load_json(data, file)
        except MalformedFileError as error:
            layer.damage.report(str(error), error)
            continue
        if not isinstance(entries, list):
            layer.damage.report(f"{file}: expected a list of records")
            continue
        for number, entry in enumerate(entries):
            add(entry, file, number)
    for number, (file, model_id, entry) in enumerate(layer.inline_records()):
        add(entry, file, number, model_id)
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
    parent, others = _text(base, "id", where), _texts(base, "others", where)
    via = _texts(base, "via", where)
    if relation not in _INHERITING and not inherits:
        return (), ()
    return (*((parent,) if parent else ()), *others), tuple(reversed(via))


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


def verify_catalog(folder: Path, inline: Sequence[tuple[str, Mapping[str, Any]]] = ()) -> tuple[str, ...]:
    """What is wrong with the catalog of a registry folder, one sentence each; empty when nothing is.

    Checks every file against the schema, that there is one (or an index instead), that records are sorted, that ids and aliases
    are unique, that license ids are known, and that nobody is its own ancestor. Parents without a record are allowed: not every
    ancestor is published. `inline`: entry id and record of the index, checked along.
    """
    import jsonschema

    validator = jsonschema.Draft202012Validator(catalog_schema())
    problems: list[str] = []
    files: list[tuple[str, object]] = []
    for path in sorted((folder / "catalog").glob("*.json")):
        files.append((path.name, read_json(path)))
    if not files and not inline and not (folder / INDEX).is_file():
        problems.append(f"{folder}: no catalog files")
    files += [(INDEX, [record]) for _, record in inline]
    known = _known_licenses(folder)
    owners: dict[str, str] = {}
    ancestors: dict[str, tuple[str, ...]] = {}
    for name, entries in files:
        faults = [
            f"{name}: {'/'.join(map(str, e.absolute_path))}: {one_line(e.message, 160)}"
            for e in validator.iter_errors(entries)
        ]
        problems += faults
        if faults or not isinstance(entries, list):
            continue
        ids = [entry["id"] for entry in entries]
        if ids != sorted(ids):
            problems.append(f"{name}: records are not sorted by id")
        for entry in entries:
            for own in (entry["id"], *entry.get("aliases", ())):
                if own.casefold() in owners:
                    problems.append(f"{name}: {own} is also in {owners[own.casefold()]}")
                owners[own.casefold()] = name
            where = f"{name}: {entry['id']}"
            tags = (entry["license"]["id"], *entry["license"].get("upstream", ()))
            problems += [f"{where}: license {tag} is unknown" for tag in tags if tag.casefold() not in known]
            parents, via = _parents(entry["base_model"], where)
            ancestors[entry["id"].casefold()] = tuple(p.casefold() for p in (*via, *parents))
    return (
        *problems,
        *(f"{model}: is its own ancestor" for model in sorted(ancestors) if _reaches_itself(model, ancestors)),
    )


def _known_licenses(folder: Path) -> frozenset[str]:
    own = folder / LICENSES
    further = load_licenses(own).terms if own.is_file() else {}
    return frozenset(shipped_licenses().terms) | frozenset(further)


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
