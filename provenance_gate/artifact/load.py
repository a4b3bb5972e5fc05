"""A path to an `Artifact`: the one place where the readers of this room are put together."""

from __future__ import annotations

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
from provenance_gate.artifact.jsonfile import load_json_object
from provenance_gate.artifact.quantized import find_quantization
from provenance_gate.artifact.ranges import ReadCounter
from provenance_gate.artifact.sources.interface import Store
from provenance_gate.artifact.sources.local import LocalStore
from provenance_gate.artifact.tokenizer import parse_tokenizer
from provenance_gate.artifact.weights import OtherWeights, read_others, read_weights
from provenance_gate.errors import ArtifactError

_SMALL = 4 << 20
_TOKENIZER = 64 << 20
_NOT_LOOKED_FOR = NotMeasured("no adapter was looked for")


class NoModelError(ArtifactError):
    """There is nothing here that is a model: no weights, no adapter, no config."""


@dataclass(frozen=True, slots=True)
class OtherFormat:
    """The model in another format, or why it cannot be read."""

    format: WeightFormat
    artifact: Artifact | NotMeasured


@dataclass(frozen=True, slots=True)
class OpenedArtifact:
    """An artifact with where it lies and what was read of its weights so far.

    `others`: the same model in further formats beside the one that was read, to be compared with it.
    """

    artifact: Artifact
    store: Store
    others: tuple[OtherFormat, ...] = ()
    adapter: Adapter | NotMeasured = _NOT_LOOKED_FOR

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
    claims = read_claims({p: store.read_small(at_root[str(p)], _SMALL) for p in CLAIM_FILES if str(p) in at_root})
    tokenizer = _tokenizer(store, at_root, config)
    quantization = _quantization(store, at_root)
    weights = read_weights(store, files, quantization)
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
    others = read_others(store, files, weights, quantization)
    settings = at_root.get("adapter_config.json")
    adapter = read_adapter(artifact, None if settings is None else store.read_small(settings, _SMALL))
    return OpenedArtifact(artifact, store, tuple(_other(o, artifact, config) for o in others), adapter)


def _other(other: OtherWeights, artifact: Artifact, config: ModelConfig | NotMeasured) -> OtherFormat:
    if isinstance(other.weights, NotMeasured):
        return OtherFormat(other.format, other.weights)
    tensors = other.weights.tensors
    canonical, roles_from, notes = canonical_tensors(tensors, config)
    return OtherFormat(
        other.format, replace(artifact, stored=tensors, canonical=canonical, roles_from=roles_from, notes=notes)
    )


def _config(store: Store, at_root: dict[str, FileRecord]) -> ModelConfig | NotMeasured:
    if "config.json" not in at_root:
        return NotMeasured("no config.json")
    config = parse_config(store.read_small(at_root["config.json"], _SMALL))
    generation = at_root.get("generation_config.json")
    return config if generation is None else with_generation_config(config, store.read_small(generation, _SMALL))


def _tokenizer(
    store: Store, at_root: dict[str, FileRecord], config: ModelConfig | NotMeasured
) -> TokenizerFacts | NotMeasured:
    if "tokenizer.json" not in at_root:
        return NotMeasured("no tokenizer.json")
    settings = at_root.get("tokenizer_config.json")
    return parse_tokenizer(
        store.read_small(at_root["tokenizer.json"], _TOKENIZER),
        None if settings is None else store.read_small(settings, _TOKENIZER),
        None if isinstance(config, NotMeasured) else config,
    )


def _quantization(store: Store, at_root: dict[str, FileRecord]) -> object:
    """`quantization_config` as config.json has it, of any type."""
    if "config.json" not in at_root:
        return None
    return find_quantization(load_json_object(store.read_small(at_root["config.json"], _SMALL), "config.json"))


def _joined(first: Claims, second: Claims) -> Claims:
    """Both, each base and license once."""
    bases = {c.id.casefold() for c in first.bases}
    licenses = {c.id.casefold() for c in first.licenses}
    return Claims(
        (*first.bases, *(c for c in second.bases if c.id.casefold() not in bases)),
        (*first.licenses, *(c for c in second.licenses if c.id.casefold() not in licenses)),
    )
