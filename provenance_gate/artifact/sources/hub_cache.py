"""The download cache of huggingface_hub: single files for an online model, whole snapshots offline.

``<cache>/models--org--name/refs/<revision>`` holds a commit, ``snapshots/<commit>/`` links into ``blobs/``, whose files are
called by their content: the SHA-256 of LFS files, the git blob id of others.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from provenance_gate.errors import UnreachableError, one_line

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


def cached_file(repo_id: str, commit: str, path: str, content: str | None, cache_dir: str | None) -> Path | None:
    """Where the cache holds this file, if the blob's name says that it is this content; `path` relative to the repository."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo_id, path, cache_dir=cache_dir, revision=commit)
    if not isinstance(found, str) or content is None:
        return None
    blob = Path(found).resolve()
    held = blob.name == content and blob.parent == (_folder(repo_id, cache_dir) / "blobs").resolve() and blob.is_file()
    return blob if held else None


def snapshot(repo_id: str, revision: str | None, cache_dir: str | None) -> tuple[str, Path]:
    """Commit and folder of a model in the cache.

    Raises
    ------
    UnreachableError
        The cache does not hold this revision, and the hub may not be asked.
    """
    folder, wanted = _folder(repo_id, cache_dir), revision or "main"
    missing = f"hf://{repo_id}: offline, and the hub's cache does not hold revision {one_line(wanted, 80)}"
    commit = wanted
    if not _COMMIT.fullmatch(wanted):
        ref = folder / "refs" / wanted
        if not ref.resolve().is_relative_to((folder / "refs").resolve()):
            raise UnreachableError(missing)
        try:
            with ref.open("rb") as file:
                commit = file.read(128).decode("ascii").strip()
        except (OSError, ValueError) as error:
            raise UnreachableError(missing) from error
    path = folder / "snapshots" / commit
    if not _COMMIT.fullmatch(commit) or not path.is_dir():
        raise UnreachableError(missing)
    return commit, path


def is_offline(offline: bool | None) -> bool:
    """As given, else HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) as it is now, or as huggingface_hub was started."""
    if offline is not None:
        return offline
    value = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    if value.upper() in ("1", "ON", "YES", "TRUE"):
        return True
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _folder(repo_id: str, cache_dir: str | None) -> Path:
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(cache_dir or constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo_id, repo_type="model")
