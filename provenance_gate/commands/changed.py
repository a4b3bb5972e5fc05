"""From changed files to the models that they belong to: what a pre-commit hook is given, and what it has to check."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path

from provenance_gate.artifact.inventory import MAX_DEPTH
from provenance_gate.errors import ArtifactError, one_line

_WEIGHTS = (".safetensors", ".gguf", ".bin", ".pt", ".pth")
_MODEL_WORDS = (b'"model_type"', b'"architectures"')
_CONFIG_BYTES = 1 << 20


def models_of_changed(files: Sequence[str]) -> tuple[str, ...]:
    """The model folders that the files lie in, each once, sorted; empty when they are no part of a model.

    A file belongs to the nearest folder above it that is a model folder: one with an adapter_config.json, a GGUF file, or a
    config.json that stands beside weights or names a model type. So a card can be checked before weights are there, and the
    config.json or README.md of anything else is left alone. For relative paths no folder above the working folder is looked at.

    Raises
    ------
    ArtifactError
        A folder cannot be read.
    """
    known: dict[Path, bool] = {}
    found = set()
    for file in files:
        for folder in list(Path(file).parents)[: MAX_DEPTH + 1]:
            if folder not in known:
                known[folder] = _is_model(folder)
            if known[folder]:
                found.add(str(folder))
                break
    return tuple(sorted(found))


def _is_model(folder: Path) -> bool:
    try:
        names = {entry.name.lower() for entry in folder.iterdir()}
    except (FileNotFoundError, NotADirectoryError):
        # A deleted file may have been the last of its folder.
        return False
    except OSError as error:
        raise ArtifactError(f"{one_line(str(folder))}: {error.strerror}") from error
    if "adapter_config.json" in names or any(name.endswith(".gguf") for name in names):
        return True
    if "config.json" not in names:
        return False
    return any(name.endswith(_WEIGHTS) for name in names) or _names_a_model(folder / "config.json")


def _names_a_model(config: Path) -> bool:
    try:
        # A pipe in its place would be waited for.
        if not stat.S_ISREG(config.stat().st_mode):
            return False
        with config.open("rb") as file:
            data = file.read(_CONFIG_BYTES)
    except OSError:
        return False
    return any(word in data for word in _MODEL_WORDS)
