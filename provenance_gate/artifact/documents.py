"""Texts that a publisher ships beside the weights: the card, licenses, notices. Claims, never evidence of descent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Final

from provenance_gate.artifact.interface import FileKind, FileRecord
from provenance_gate.artifact.sources.interface import Store

MAX_DOCUMENT: Final = 256 << 10
"""Bytes. The longest license text in wide use, GPL 3.0, has 35 kB."""
MAX_DOCUMENTS: Final = 16


def read_documents(store: Store, files: Iterable[FileRecord]) -> Mapping[PurePosixPath, str]:
    """The texts at the root, by path; at most `MAX_DOCUMENTS`, those over `MAX_DOCUMENT` bytes left out.

    Bytes that are no UTF-8 become replacement characters: a notice in another encoding is still a notice. Raises
    ArtifactError when a file cannot be read.
    """
    wanted = [
        f
        for f in files
        if f.kind in (FileKind.CARD, FileKind.LICENSE) and len(f.path.parts) == 1 and 0 < f.size <= MAX_DOCUMENT
    ]
    return {
        f.path: store.read_small(f, MAX_DOCUMENT).decode("utf-8", "replace")
        for f in sorted(wanted, key=lambda f: (f.kind is not FileKind.CARD, f.path))[:MAX_DOCUMENTS]
    }
