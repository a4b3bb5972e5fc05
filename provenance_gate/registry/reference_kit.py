"""Import of the database that the reference system (cisco-ai-defense/model-provenance-kit) publishes.

::

    catalog/manifest.json                            the families
    catalog/by-family/*.json                         their assets
    features/base/by-family/*/*_features.json        config, tokenizer, layout of the signals, digest of the parquet file
    features/deep-signals/by-family/*/*.parquet      the signals of the weights, downloaded apart

Each asset becomes a `Fingerprint` whose method names the reference system, so that `compare_signal` compares only what was
measured alike. It holds no sampled rows, so no relation to an imported base can ever be `derived`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from provenance_gate.artifact.interface import Claims
from provenance_gate.artifact.jsonfile import load_json_object
from provenance_gate.errors import MalformedFileError, RegistryError, one_line
from provenance_gate.fingerprint.interface import Fingerprint, SignalResult, Subject
from provenance_gate.fingerprint.measure import IMPORTED_METHOD
from provenance_gate.registry.reference_features import Features, deep_signals_ref, mfi_value, reading_of, tfv_value
from provenance_gate.registry.reference_parquet import read_deep_signals
from provenance_gate.registry.reference_signals import NEVER_STORED, stored_names, weight_signals, without_weights

PUBLISHED_VERSION = "1.0.0"
"""Of the database as published: its manifest states none."""
MAX_JSON_BYTES = 8 << 20
MAX_FAMILIES = 10_000
MAX_ASSETS = 100_000
"""More base models than the hub has; the published database has some 150."""

_HUB = re.compile(
    r"(?:https?://(?:www\.)?(?:huggingface\.co|hf\.co)/|hf://)?"
    r"([A-Za-z0-9][\w.-]{0,95}(?:/[A-Za-z0-9][\w.-]{0,95})?)/?",
    re.ASCII,
)
_VERSION = re.compile(r"[0-9]{1,4}(?:\.[0-9]{1,4}){1,2}")


@dataclass(frozen=True, slots=True)
class Imported:
    """One asset of the database.

    Attributes
    ----------
    id
        Hub id where the asset's address has one, else the database's own name of the asset.
    source
        Address of the weights, ``hf://org/name`` where they lie on the hub; None when the database names none.
    fingerprint
        None when the asset is broken and broken ones are skipped.
    record
        What the database knows in the form of a catalog record, with a license that is unknown: for ids that no catalog has,
        since it would hide the facts of one that a person has reviewed.
    problems
        One sentence for each thing that is missing, doubtful or broken.
    """

    id: str
    source: str | None
    fingerprint: Fingerprint | None
    record: Mapping[str, Any] | None
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Asset:
    names: tuple[str, ...]
    id: str
    source: str | None
    family: str
    publisher: str
    facts: Features


def import_reference(folder: Path, ids: Sequence[str] = (), *, skip_broken: bool = False) -> Iterator[Imported]:
    """The assets of a database, in its order, one at a time.

    Parameters
    ----------
    folder
        The database: it holds ``catalog`` and ``features``.
    ids
        Hub ids, asset ids or model ids to read, whatever their case; all when empty.
    skip_broken
        Report a broken asset in `problems` and go on. A broken catalog is an error in any case.

    Raises
    ------
    RegistryError
        Naming file and field: the folder is no such database, an id is not in it, or an asset is broken: a value of the wrong
        type or out of range, a path that leads out of the folder, a digest that does not fit, a place of a signal that is
        named twice or not at all, NaN, a size beyond the limits; or pyarrow is not installed.
    """
    manifest = _json(folder, "catalog/manifest.json")
    method = IMPORTED_METHOD + _version(manifest)
    for asset in _chosen(list(_assets(folder, manifest)), ids, folder):
        try:
            yield _imported(folder, asset, method)
        except RegistryError as error:
            if not skip_broken:
                raise
            yield Imported(asset.id, asset.source, None, None, (str(error),))


def _version(manifest: Features) -> str:
    for key in ("provenancekit_version", "kit_version", "version"):
        said = manifest.text(key)
        if said is not None:
            if not _VERSION.fullmatch(said):
                raise manifest.error(key, "a version such as 1.0.0")
            return said
    return PUBLISHED_VERSION


def _assets(folder: Path, manifest: Features) -> Iterator[_Asset]:
    shards = manifest.objects("shards", MAX_FAMILIES)
    if not shards:
        raise manifest.error("shards", "a list of families")
    seen: set[str] = set()
    hub_ids: set[str] = set()
    for shard in shards:
        path = _required(shard, "shard_path")
        family = _json(folder, path)
        about = family.part("family")
        name = about.text("family_id") or shard.text("family_id") or PurePosixPath(path).stem
        for facts in family.objects("assets", MAX_ASSETS):
            asset_id = _required(facts, "asset_id")
            if asset_id in seen:
                raise RegistryError(f"{facts.where}: asset_id: {one_line(asset_id, 120)} is there twice")
            seen.add(asset_id)
            if len(seen) > MAX_ASSETS:
                raise RegistryError(f"{facts.where}: more than {MAX_ASSETS:,} assets")
            hub_id, source = _address(facts.text("source_uri"))
            # Two assets of one repository (its formats) are two fingerprints; an id is given once.
            known = hub_id is None or hub_id.casefold() in hub_ids
            hub_ids |= {(hub_id or asset_id).casefold()}
            names = tuple(n for n in (asset_id, facts.text("model_id"), facts.text("canonical_name"), hub_id) if n)
            shown = asset_id if known else hub_id
            publisher = about.text("publisher") or ""
            yield _Asset(names, shown or asset_id, source, name, publisher, facts)


def _address(uri: str | None) -> tuple[str | None, str | None]:
    """Hub id and source of an address."""
    if not uri:
        return None, None
    found = _HUB.fullmatch(uri)
    if found:
        return found.group(1), f"hf://{found.group(1)}"
    # Anything else that a loader could be sent to is left for a person to add: local paths say nothing elsewhere.
    return None, uri if re.fullmatch(r"https://[!-~]+", uri) else None


def _chosen(assets: Sequence[_Asset], ids: Sequence[str], folder: Path) -> Iterator[_Asset]:
    wanted = {i.casefold(): i for i in ids}
    known = {name.casefold() for asset in assets for name in (*asset.names, asset.id)}
    unknown = [i for folded, i in wanted.items() if folded not in known]
    if unknown:
        raise RegistryError(
            f"{folder}: catalog: {one_line(unknown[0], 120)} is not in it, among {len(assets):,} assets"
        )
    for asset in assets:
        if not wanted or any(name.casefold() in wanted for name in (*asset.names, asset.id)):
            yield asset


def _imported(folder: Path, asset: _Asset, method: str) -> Imported:
    features = _json(folder, _required(asset.facts, "feature_path"))
    stated = features.text("asset_id")
    if stated is not None and stated != asset.facts.text("asset_id"):
        raise features.error("asset_id", f"{asset.facts.text('asset_id')}, as in the catalog")
    mfi, problems = mfi_value(features.part("mfi"))
    weights, more = _weights(folder, asset, features)
    signals = {"mfi": mfi, "tfv": tfv_value(features.part("tfv")), **weights, **NEVER_STORED}
    # Nobody counts the parameters there: 0, as nothing but the comparison of tensors, which are absent, asks for them.
    fingerprint = Fingerprint(Subject(asset.id, (), Claims((), ())), signals, 0, method)
    return Imported(asset.id, asset.source, fingerprint, _record(asset, features), (*problems, *more))


def _weights(folder: Path, asset: _Asset, features: Features) -> tuple[dict[str, SignalResult], tuple[str, ...]]:
    ref = deep_signals_ref(features)
    if ref is None:
        problem = f"{features.where}: artifact_refs: no deep signals"
        return without_weights("the database holds no deep signals of this model"), (problem,)
    name = one_line(ref.path, 200)
    path = _inside(folder, ref.path, f"{features.where}: artifact_refs")
    if not path.exists():
        return without_weights("the deep signals of the database were not downloaded"), (f"{name}: not there",)
    if not path.is_file():
        raise RegistryError(f"{name}: expected a file")
    reading = reading_of(asset.facts.text("param_bucket"), features.part("mfi"))
    lines = read_deep_signals(path, name, ref.sha256, stored_names(reading))
    problems = () if ref.sha256 else (f"{features.where}: artifact_refs: no checksum; {name} was read unchecked",)
    return weight_signals(lines, features.part("signals"), reading, name), problems


def _record(asset: _Asset, features: Features) -> Mapping[str, Any]:
    mfi = features.part("mfi")
    facts = ("model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")
    config = {key: mfi.text(key) if key == "model_type" else mfi.integer(key) for key in facts}
    return {
        "id": asset.id,
        "family": asset.family,
        "publisher": asset.publisher,
        "released": None,
        "license": {
            "id": "unknown",
            "name": None,
            "spdx": None,
            "url": None,
            "category": "unknown",
            "commercial_use": None,
            "conditions": None,
        },
        "base_model": None,
        "config": config,
        "tokenizer": None,
        "params": None,
        "sources": [uri] if (uri := asset.facts.text("source_uri")) else [],
        "note": "imported from the fingerprint database of model-provenance-kit",
    }


def _required(facts: Features, key: str) -> str:
    value = facts.text(key)
    if not value:
        raise facts.error(key, "a string that is not empty")
    return value


def _json(folder: Path, name: str) -> Features:
    shown = one_line(name, 200)
    path = _inside(folder, name, shown)
    try:
        # Looked at before it is opened: a named pipe would never end.
        if path.exists() and (not path.is_file() or path.stat().st_size > MAX_JSON_BYTES):
            raise RegistryError(f"{shown}: expected a file of at most {MAX_JSON_BYTES:,} bytes")
        data = path.read_bytes()
    except OSError as error:
        raise RegistryError(f"{folder}: {shown}: {error.strerror}") from error
    try:
        return Features(load_json_object(data, shown), shown)
    except MalformedFileError as error:
        raise RegistryError(str(error)) from error


def _inside(folder: Path, name: str, where: str) -> Path:
    """`name` below the folder. Raises RegistryError when it, or a link on its way, leads out."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or re.search(r"[\\:\x00]", name):
        raise RegistryError(f"{where}: {one_line(name, 120)!r} leads out of the database")
    try:
        root = folder.resolve()
        path = root.joinpath(*parts).resolve()
    except (OSError, RuntimeError) as error:
        raise RegistryError(f"{where}: {one_line(name, 120)!r} cannot be resolved") from error
    if not path.is_relative_to(root):
        raise RegistryError(f"{where}: {one_line(name, 120)!r} leads out of the database")
    return path
