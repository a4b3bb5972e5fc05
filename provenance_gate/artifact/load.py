"""A path to an `Artifact`: the one place where the readers of this room are put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from provenance_gate.artifact.adapter import Adapter, read_adapter
from provenance_gate.artifact.canonical import canonical_tensors
from provenance_gate.artifact.claims import CLAIM_FILES, read_claims
from provenance_gate.artifact.config import parse_config, with_generation_config
from provenance_gate.artifact.interface import (
    Artifact,
    Claims,
    FileRecord,
    ModelConfig,
    NotMeasured,
    TokenizerFacts,
    WeightFormat,
)
from provenance_gate.artifact.inventory import not_a_pointer
from provenance_gate.artifact.jsonfile import load_json_object
from provenance_gate.artifact.nativenames import PARAMS
from provenance_gate.artifact.quantized import SETTINGS_FILES, find_quantization
from provenance_gate.artifact.ranges import ReadCounter
from provenance_gate.artifact.sources.interface import Store
from provenance_gate.artifact.sources.local import LocalStore
from provenance_gate.artifact.tokenizer import parse_tokenizer
from provenance_gate.artifact.weights import Beside, OtherWeights, read_others, read_weights
from provenance_gate.errors import ArtifactError

_SMALL = 4 << 20
_TOKENIZER = 64 << 20
_TOKENIZER_CONFIG = 16 << 20
_NOT_LOOKED_FOR = NotMeasured("no adapter was looked for")


class NoModelError(ArtifactError):
    """There is nothing here that is a model: no weights, no adapter, no config."""


@dataclass(frozen=True, slots=True)
class OtherFormat:
    """The model in other files, or why it cannot be read from them. `name`: the format, or a file's name where several sets of
    one format lie side by side.
    """

    format: WeightFormat
    name: str
    artifact: Artifact | NotMeasured


@dataclass(frozen=True, slots=True)
class OpenedArtifact:
    """An artifact with where it lies and what was read of its weights so far.

    `open_others` opens the further files that hold the same model.
    """

    artifact: Artifact
    store: Store
    open_others: Callable[[], tuple[OtherFormat, ...]] = tuple
    adapter: Adapter | NotMeasured = _NOT_LOOKED_FOR

    @property
    def others(self) -> tuple[OtherFormat, ...]:
        """The same model in further files beside those that were read, to be compared with it. Opens them each time."""
        return self.open_others()

    @property
    def counter(self) -> ReadCounter:
        """What was read of the store so far."""
        return self.store.counter


def open_artifact(source: Path | Store, name: str | None = None) -> OpenedArtifact:
    """Open a model folder or a single weight file, wherever it lies.

    Parameters
    ----------
    source
        A local path, or what `sources.open_store` made of the user's argument.
    name
        What reports call it; by default the store's name.

    Raises
    ------
    NoModelError
        No weights, adapter or config at the root.
    ArtifactError
        A file breaks the rules of its format, leads out of the folder, or cannot be read.
    """
    store = LocalStore(source) if isinstance(source, Path) else source
    files = store.files()
    at_root = {str(f.path): f for f in files if len(f.path.parts) == 1}
    if not any(f.format for f in at_root.values()) and not {"config.json", "adapter_config.json"} & at_root.keys():
        raise NoModelError(
            f"{store.location}: no model here: no weight file and no config.json (use --recursive for models below it)"
        )
    config = _config(store, at_root)
    claims = read_claims({p: _small(store, at_root[str(p)]) for p in CLAIM_FILES if str(p) in at_root})
    tokenizer = _tokenizer(store, at_root, config)
    beside = Beside(*_quantization(store, at_root), _object(store, at_root, PARAMS), config)
    weights = read_weights(store, files, beside)
    if weights.gguf is not None:
        # Beside a GGUF file config.json, tokenizer.json and the card are what other tools read, so they come first.
        config = weights.gguf.config if isinstance(config, NotMeasured) else config
        tokenizer = weights.gguf.tokenizer if isinstance(tokenizer, NotMeasured) else tokenizer
        claims = _joined(claims, weights.gguf.claims)
    canonical, roles_from, role_notes = canonical_tensors(weights.tensors, config)
    artifact = Artifact(
        name=name or store.name,
        files=files,
        claims=claims,
        config=config,
        tokenizer=tokenizer,
        stored=weights.tensors,
        canonical=canonical,
        roles_from=roles_from,
        notes=(*weights.notes, *role_notes),
    )
    settings = at_root.get("adapter_config.json")
    adapter = read_adapter(artifact, None if settings is None else _small(store, settings))

    def others() -> tuple[OtherFormat, ...]:
        return tuple(_other(o, artifact, config) for o in read_others(store, files, weights, beside))

    return OpenedArtifact(artifact, store, others, adapter)


def _small(store: Store, record: FileRecord, limit: int = _SMALL) -> bytes:
    return not_a_pointer(store.read_small(record, limit), str(record.path))


def _other(other: OtherWeights, artifact: Artifact, config: ModelConfig | NotMeasured) -> OtherFormat:
    if isinstance(other.weights, NotMeasured):
        return OtherFormat(other.format, other.name, other.weights)
    tensors = other.weights.tensors
    canonical, roles_from, notes = canonical_tensors(tensors, config)
    return OtherFormat(
        other.format,
        other.name,
        replace(artifact, stored=tensors, canonical=canonical, roles_from=roles_from, notes=notes),
    )


def _config(store: Store, at_root: dict[str, FileRecord]) -> ModelConfig | NotMeasured:
    if "config.json" not in at_root:
        return NotMeasured("no config.json")
    config = parse_config(_small(store, at_root["config.json"]))
    generation = at_root.get("generation_config.json")
    return config if generation is None else with_generation_config(config, _small(store, generation))


def _tokenizer(
    store: Store, at_root: dict[str, FileRecord], config: ModelConfig | NotMeasured
) -> TokenizerFacts | NotMeasured:
    if "tokenizer.json" not in at_root:
        return NotMeasured("no tokenizer.json")
    settings = at_root.get("tokenizer_config.json")
    return parse_tokenizer(
        _small(store, at_root["tokenizer.json"], _TOKENIZER),
        None if settings is None else _small(store, settings, _TOKENIZER_CONFIG),
        None if isinstance(config, NotMeasured) else config,
    )


def _quantization(store: Store, at_root: dict[str, FileRecord]) -> tuple[object, str]:
    """What the artifact says of its quantization, of any type, and the file that says so."""
    found = find_quantization(_object(store, at_root, "config.json"))
    if found is not None:
        return found, "config.json"
    return next(((_object(store, at_root, n), n) for n in SETTINGS_FILES if n in at_root), (None, "config.json"))


def _object(store: Store, at_root: dict[str, FileRecord], name: str) -> dict[str, object]:
    """The object of a small JSON file at the root; empty when there is no such file."""
    return load_json_object(_small(store, at_root[name]), name) if name in at_root else {}


def _joined(first: Claims, second: Claims) -> Claims:
    """Both, each base and license once."""
    bases = {c.id.casefold() for c in first.bases}
    licenses = {c.id.casefold() for c in first.licenses}
    return Claims(
        (*first.bases, *(c for c in second.bases if c.id.casefold() not in bases)),
        (*first.licenses, *(c for c in second.licenses if c.id.casefold() not in licenses)),
    )
