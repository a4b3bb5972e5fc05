"""The packages of the extras `signing` (keys) and `model-signing`, imported when they are needed and not before."""

from __future__ import annotations

import importlib
from typing import Any

from provenance_gate.errors import ProvenanceGateError


class MissingLibraryError(ProvenanceGateError):
    """A package of an extra is not installed. Exit code 3: the policy is fine, it cannot be evaluated here."""


def library(module: str) -> Any:
    """An imported module of `cryptography`, `model_signing` or what that brings along. Raises MissingLibraryError."""
    package = module.partition(".")[0]
    extra = "signing" if package == "cryptography" else "model-signing"
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingLibraryError(
            f"checking the signature needs {package}, which is not installed: pip install 'provenance-gate[{extra}]'"
        ) from error
