"""``index.json``: the digests of a registry's files, and its entries, one a line and sorted by id.

Bytes are a function of the content, so that a signature over them holds and two branches that add entries merge line by line.
Every declared size and name is checked here; what `schemas/index.schema.json` refuses, `parse_index` refuses, too.
"""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from provenance_gate.artifact.interface import Sha256
from provenance_gate.artifact.jsonfile import kind_of, load_json_object
from provenance_gate.errors import FingerprintError, MalformedFileError, RegistryError, one_line
from provenance_gate.fingerprint.compact import Sketch
from provenance_gate.registry.damage import Damage
from provenance_gate.registry.interface import Entry, StoredFingerprint
from provenance_gate.registry.sketches import read_sketch

INDEX, SIGNATURE, LICENSES = "index.json", "index.json.sig", "licenses.json"
MAX_INDEX_BYTES = 128 << 20
"""About 90,000 entries; millions belong into a compact index."""
MAX_FILE_BYTES = 64 << 20
"""Of a catalog file: a thousand times the largest that ships."""
MAX_OBJECT_BYTES = 256 << 20
"""Of a stored fingerprint; about 10 MB are expected for a 7B model."""
_VERSION = 1
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+@:-]{0,199}")
_FILE = re.compile(r"licenses\.json|catalog/[A-Za-z0-9][A-Za-z0-9._+-]{0,100}\.json")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_METHOD = re.compile(r"[\x21-\x7e]{1,100}")
_SOURCE = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]{1,2000}")
_FIELDS = frozenset({"id", "aliases", "source", "fingerprint", "sketch", "record"})
_STORED = frozenset({"sha256", "size", "method"})

RawEntry = Mapping[str, Any]
"""An entry as it stands in the index, checked."""


@dataclass(frozen=True, slots=True)
class FileDigest:
    """Size in bytes and SHA-256 of a file of the registry."""

    sha256: Sha256
    size: int


@dataclass(frozen=True, slots=True)
class Index:
    """What the file says.

    Attributes
    ----------
    files
        Every catalog file and ``licenses.json`` by name; None when the index does not say.
    entries
        As stored, sorted by id whatever its case.
    sketches
        Those of `entries` that this version can compare, by id in lower case.
    """

    files: Mapping[str, FileDigest] | None
    entries: tuple[RawEntry, ...]
    sketches: Mapping[str, Sketch] = field(default_factory=dict)


EMPTY = Index(None, ())


def index_schema() -> dict[str, Any]:
    """JSON Schema of the file."""
    text = resources.files(__package__).joinpath("schemas/index.schema.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def is_model_id(text: str) -> bool:
    """Whether an id can stand in an index: 1 to 200 ASCII letters, digits and ``._/+@:-``, a letter or digit first."""
    return _ID.fullmatch(text) is not None


def parse_index(data: bytes, where: str, damage: Damage) -> Index:
    """Read the file.

    Parameters
    ----------
    where
        What messages call it.
    damage
        Told of each entry that cannot be believed.

    Raises
    ------
    RegistryError
        The file as a whole is damaged, whatever `damage` says.
    """
    with _no_collection():
        return _parsed(data, where, damage)


def _parsed(data: bytes, where: str, damage: Damage) -> Index:
    try:
        content = load_json_object(data, where)
    except MalformedFileError as error:
        raise RegistryError(str(error)) from error
    _known(content, {"version", "files", "entries"}, where)
    version = content.get("version")
    if version != _VERSION or isinstance(version, bool):
        raise RegistryError(f"{where}: version: found {one_line(repr(version), 40)}, expected {_VERSION}")
    entries = content.get("entries")
    if not isinstance(entries, list):
        raise RegistryError(f"{where}: entries: expected a list, found {kind_of(entries)}")
    files = _files(content["files"], where) if "files" in content else None
    kept: dict[str, RawEntry] = {}
    sketches: dict[str, Sketch] = {}
    for number, entry in enumerate(entries):
        try:
            key, sketch = _checked(entry, where, number)
        except RegistryError as error:
            damage.report(str(error), error)
            continue
        if key in kept:
            damage.report(f"{where}: entry {entry['id']}: the index holds this id twice")
            continue
        kept[key] = entry
        if sketch is not None:
            sketches[key] = sketch
    return Index(files, tuple(kept[key] for key in sorted(kept)), sketches)


@contextmanager
def _no_collection() -> Iterator[None]:
    """No search for cycles: JSON makes none, and with many thousands of new objects each search costs more than the last."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def index_bytes(index: Index) -> bytes:
    """The file. Equal content gives equal bytes; entries sorted by id whatever its case."""
    head: dict[str, Any] = {"version": _VERSION}
    lines = [f'{{"version":{head["version"]}']
    if index.files is not None:
        listed = [f"{_dumps(n)}:{_dumps({'sha256': f.sha256, 'size': f.size})}" for n, f in sorted(index.files.items())]
        lines.append(_block('"files":{', listed, "}"))
    entries = [_dumps(_lean(e)) for e in sorted(index.entries, key=lambda e: str(e["id"]).casefold())]
    lines.append(_block('"entries":[', entries, "]"))
    return (",\n".join(lines) + "}\n").encode("ascii")


def entries_of(index: Index, registry: str) -> tuple[Entry, ...]:
    """The typed form of the entries; `registry` is the location that they name."""
    with _no_collection():
        return tuple(
            Entry(
                id=raw["id"],
                aliases=tuple(raw.get("aliases") or ()),
                source=raw.get("source"),
                fingerprint=None if raw.get("fingerprint") is None else StoredFingerprint(**raw["fingerprint"]),
                sketch=index.sketches.get(raw["id"].casefold()),
                record=raw.get("record"),
                registry=registry,
            )
            for raw in index.entries
        )


def object_name(sha256: str) -> str:
    """Where a fingerprint of this digest lies, relative to the registry."""
    return f"objects/{sha256[:2]}/{sha256}"


def _checked(entry: object, where: str, number: int) -> tuple[str, Sketch | None]:
    """Key and sketch of an entry that is as the schema says. Raises RegistryError."""
    if not isinstance(entry, dict):
        raise RegistryError(f"{where}: entry {number}: expected an object, found {kind_of(entry)}")
    model_id = entry.get("id")
    if not isinstance(model_id, str) or not _ID.fullmatch(model_id):
        raise RegistryError(f"{where}: entry {number}: id: found {one_line(repr(model_id), 120)}, expected a model id")
    if not entry.keys() <= _FIELDS:
        _known(entry, _FIELDS, f"{where}: entry {model_id}")
    sketch = None
    for name, value in entry.items():
        if value is None and name != "aliases":
            continue
        if name == "sketch":
            try:
                sketch = read_sketch(value)
            except FingerprintError as error:
                raise RegistryError(f"{where}: entry {model_id}: {error}") from error
        elif name != "id" and (fault := _FAULTS[name](value)) is not None:
            raise RegistryError(f"{where}: entry {model_id}: {name}: {fault}")
    return model_id.casefold(), sketch


def _aliases_fault(aliases: object) -> str | None:
    if isinstance(aliases, list) and all(isinstance(a, str) and _ID.fullmatch(a) for a in aliases):
        return None
    return "expected a list of model ids"


def _source_fault(source: object) -> str | None:
    return None if isinstance(source, str) and _SOURCE.fullmatch(source) else "expected an address on one line, or null"


def _record_fault(record: object) -> str | None:
    return None if isinstance(record, dict) else f"expected an object or null, found {kind_of(record)}"


def _stored_fault(stored: object) -> str | None:
    if not isinstance(stored, dict) or stored.keys() != _STORED:
        return "expected sha256, size and method, or null"
    sha256, size, method = stored["sha256"], stored["size"], stored["method"]
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        return "sha256: expected 64 hex digits in lower case"
    if type(size) is not int or not 0 < size <= MAX_OBJECT_BYTES:
        return f"size: found {one_line(repr(size), 40)}, expected 1 to {MAX_OBJECT_BYTES:,} bytes"
    if not isinstance(method, str) or not _METHOD.fullmatch(method):
        return "method: expected 1 to 100 printable characters"
    return None


_FAULTS: Mapping[str, Callable[[object], str | None]] = {
    "aliases": _aliases_fault,
    "source": _source_fault,
    "record": _record_fault,
    "fingerprint": _stored_fault,
}
"""By field: from a value what is wrong with it, None when nothing is. None is no value of any but `aliases`."""


def _files(files: object, where: str) -> Mapping[str, FileDigest]:
    if not isinstance(files, dict):
        raise RegistryError(f"{where}: files: expected an object, found {kind_of(files)}")
    found: dict[str, FileDigest] = {}
    for name, facts in files.items():
        at = f"{where}: files: {one_line(name, 120)}"
        if not _FILE.fullmatch(name):
            raise RegistryError(f"{at}: expected licenses.json or catalog/NAME.json")
        match facts:
            case {"sha256": str(sha256), "size": int(size)} if len(facts) == 2:
                pass
            case _:
                raise RegistryError(f"{at}: expected sha256 and size")
        if not _SHA256.fullmatch(sha256) or isinstance(size, bool) or not 0 < size <= MAX_FILE_BYTES:
            raise RegistryError(f"{at}: expected 64 hex digits, and 1 to {MAX_FILE_BYTES:,} bytes")
        found[name] = FileDigest(Sha256(sha256), size)
    return found


def _known(content: Mapping[str, object], names: Iterable[str], where: str) -> None:
    unknown = sorted(set(content) - set(names))
    if unknown:
        raise RegistryError(f"{where}: unknown field {one_line(repr(unknown[0]), 80)}")


def _lean(entry: RawEntry) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if value is not None and not (name == "aliases" and not value)}


def _block(head: str, lines: list[str], tail: str) -> str:
    return head + ("\n" + ",\n".join(lines) + "\n" if lines else "") + tail


def _dumps(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
