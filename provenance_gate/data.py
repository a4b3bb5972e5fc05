"""Where the files that come with the package lie.

A wheel carries them in ``provenance_gate/_data/KIND``; in a checkout, also an editable install, they are the folder KIND
beside the package.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

from provenance_gate.errors import ProvenanceGateError, UsageError

DataKind: TypeAlias = Literal["policies", "fingerprints"]

_PACKAGE = Path(__file__).resolve().parent


def data_dir(kind: DataKind) -> Path:
    """The folder of one kind of shipped file. Raises ProvenanceGateError when the installation lacks it."""
    installed = _PACKAGE / "_data" / kind
    if installed.is_dir():
        return installed
    checkout = _PACKAGE.parent
    # Without pyproject.toml the parent is site-packages, where a folder of that name would be someone else's.
    if (checkout / "pyproject.toml").is_file() and (checkout / kind).is_dir():
        return checkout / kind
    raise ProvenanceGateError(f"the installation has no {kind} folder: install provenance-gate again")


def data_file(kind: DataKind, name: str) -> Path:
    """The shipped file `name` of one kind. Raises UsageError, naming the files there are, when it is none of them."""
    folder = data_dir(kind)
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    if name not in names:
        raise UsageError(f"no file {name!r} among the {kind} of the package; accepted: {', '.join(names)}")
    return folder / name
