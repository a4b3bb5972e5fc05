"""A path to an `Artifact`: the one place where the readers of this room are put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from provenance_gate.artifact.canonical import canonical_tensors
from provenance_gate.artifact.claims import CLAIM_FILES, read_claims
from provenance_gate.artifact.config import parse_config, with_generation_config
from provenance_gate.artifact.interface import (
    Artifact,
    FileKind,
    FileRecord,
    ModelConfig,
    NotMeasured,
    TokenizerFacts,
    WeightFormat,
)
from provenance_gate.artifact.inventory import list_files, read_small
from provenance_gate.artifact.ranges import ReadCounter
from provenance_gate.artifact.safetensors_format import open_weights
from provenance_gate.artifact.tokenizer import parse_tokenizer
from provenance_gate.errors import ArtifactError

_SMALL = 4 << 20
_TOKENIZER = 64 << 20


class NoModelError(ArtifactError):
    """There is nothing here that is a model: no weights, no adapter, no config."""


@dataclass(frozen=True, slots=True)
class OpenedArtifact:
    """An artifact with where it lies and what was read of its weights so far."""

    artifact: Artifact
    root: Path
    counter: ReadCounter


def open_artifact(path: Path, name: str | None = None) -> OpenedArtifact:
    """Open a model folder or a single weight file.

    Parameters
    ----------
    name
        What reports call it; by default the last part of the path.

    Raises
    ------
    NoModelError
        No weights, adapter or config at the root.
    ArtifactError
        A file breaks the rules of its format, leads out of the folder, or cannot be read.
    """
    files = list_files(path)
    at_root = {str(f.path): f for f in files if len(f.path.parts) == 1}
    if not any(f.format for f in at_root.values()) and not {"config.json", "adapter_config.json"} & at_root.keys():
        raise NoModelError(
            f"{path}: no model here: no weight file and no config.json (use --recursive for models below it)"
        )
    counter = ReadCounter()
    config = _config(path, at_root)
    stored, notes = open_weights(path, files, counter)
    canonical, roles_from, role_notes = canonical_tensors(stored, config)
    artifact = Artifact(
        name=name or path.resolve().name,
        files=files,
        claims=read_claims({p: read_small(path, at_root[str(p)], _SMALL) for p in CLAIM_FILES if str(p) in at_root}),
        config=config,
        tokenizer=_tokenizer(path, at_root, config),
        stored=stored,
        canonical=canonical,
        roles_from=roles_from,
        notes=(*notes, *role_notes, *_unread(files)),
    )
    return OpenedArtifact(artifact, path, counter)


def _config(path: Path, at_root: dict[str, FileRecord]) -> ModelConfig | NotMeasured:
    if "config.json" not in at_root:
        return NotMeasured("no config.json")
    config = parse_config(read_small(path, at_root["config.json"], _SMALL))
    generation = at_root.get("generation_config.json")
    return config if generation is None else with_generation_config(config, read_small(path, generation, _SMALL))


def _tokenizer(
    path: Path, at_root: dict[str, FileRecord], config: ModelConfig | NotMeasured
) -> TokenizerFacts | NotMeasured:
    if "tokenizer.json" not in at_root:
        return NotMeasured("no tokenizer.json")
    settings = at_root.get("tokenizer_config.json")
    return parse_tokenizer(
        read_small(path, at_root["tokenizer.json"], _TOKENIZER),
        None if settings is None else read_small(path, settings, _TOKENIZER),
        None if isinstance(config, NotMeasured) else config,
    )


def _unread(files: Sequence[FileRecord]) -> tuple[str, ...]:
    other = sorted({f.format.value for f in files if f.kind is FileKind.WEIGHTS and f.format and f.format not in _READ})
    return (f"weights in {', '.join(other)} are listed but not read by this version",) if other else ()


_READ = (WeightFormat.SAFETENSORS,)
