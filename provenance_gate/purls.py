"""What a model is called by machines: its package URL."""

from __future__ import annotations

from urllib.parse import quote

from provenance_gate.artifact.load import OpenedArtifact
from provenance_gate.errors import one_line


def purl_of(opened: OpenedArtifact, digest: str) -> str:
    """Of a hub model by its commit (purl's type huggingface), of any other by the digest of its files (hex)."""
    if opened.store.location.startswith("hf://"):
        repository, _, commit = opened.store.location.removeprefix("hf://").rpartition("@")
        return (
            f"pkg:huggingface/{quote('/'.join(repository.split('/')[:2]), safe='/')}@{quote(commit.lower(), safe='')}"
        )
    name = quote(one_line(opened.artifact.name), safe="")
    return f"pkg:generic/{name}@{digest[:12]}?checksum=sha256:{digest}"
