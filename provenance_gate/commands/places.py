"""Where files lie in the repository that a command runs in."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def repository_root(start: Path) -> Path | None:
    """The nearest folder from `start` upwards that holds `.git` (a folder, or a file as in worktrees); None: no repository."""
    start = start.resolve()
    return next((folder for folder in (start, *start.parents) if (folder / ".git").exists()), None)


def repository_paths(sources: Iterable[str], start: Path | None = None) -> dict[str, str]:
    """Local paths as they are called from the root of the repository, with slashes and links resolved.

    Parameters
    ----------
    sources
        Folders and files as the user wrote them; a file stands for itself. Hub ids and URLs name nothing local.
    start
        Where relative paths start; default: the current folder. Outside of a repository its root is this folder.

    Returns
    -------
    dict
        Only what exists inside of the repository, by source. The root itself is ".".
    """
    start = Path.cwd() if start is None else start
    root = (repository_root(start) or start).resolve()
    found: dict[str, str] = {}
    for source in sources:
        try:
            path = (start / source).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):
            continue
        if path == root or root in path.parents:
            found[source] = path.relative_to(root).as_posix()
    return found


def model_folders(sources: Iterable[str], start: Path | None = None) -> dict[str, str]:
    """Like `repository_paths`, with the folder of a file in place of the file: what paths inside of an artifact start from."""
    start = Path.cwd() if start is None else start
    folders: dict[str, str] = {}
    for source in sources:
        path = start / source
        folder = os.fspath(path.parent) if path.is_file() else source
        found = repository_paths([folder], start)
        if folder in found:
            folders[source] = found[folder]
    return folders
