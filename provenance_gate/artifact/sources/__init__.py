"""Where models come from: local paths, the Hugging Face Hub, HTTP addresses, and remote file systems."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from provenance_gate.artifact.sources.interface import Options, Store
from provenance_gate.artifact.sources.local import LocalStore
from provenance_gate.errors import ArtifactError, UnreachableError, UsageError, one_line

__all__ = ["HubId", "LocalStore", "Options", "Store", "open_hub", "open_store", "parse_hub_id"]

_PART = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_-])?")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+/-]{0,199}")
_OTHER_KINDS = frozenset({"datasets", "spaces", "buckets", "kernels"})


@dataclass(frozen=True, slots=True)
class HubId:
    """A model on the hub. `revision` None: its main branch; `folder` "": the whole repository."""

    repo_id: str
    revision: str | None = None
    folder: str = ""


def parse_hub_id(source: str) -> HubId:
    """``[hf://]org/name[/folder][@revision]``; ``hf://name`` for old repositories without an organization.

    Raises
    ------
    UsageError
        Anything else, and repositories that hold no models.
    """
    explicit = source.startswith("hf://")
    text, at, revision = source.removeprefix("hf://").partition("@")
    parts = text.split("/")
    shown = one_line(repr(source), 120)
    expected = f"{shown}: expected hf://org/name, hf://org/name@revision or hf://org/name/folder@revision"
    if explicit and parts[0] in _OTHER_KINDS:
        raise UsageError(f"{shown}: a repository of {parts[0]}, expected one of a model")
    if not explicit and len(parts) != 2:
        raise UsageError(expected)
    repository, folder = parts[:2], parts[2:]
    if not all(_is_legal(part) for part in repository) or len("/".join(repository)) > 96:
        raise UsageError(expected)
    if any(part in ("", ".", "..") or not part.isprintable() or "\\" in part for part in folder) or len(folder) > 8:
        raise UsageError(expected)
    revision = revision.replace("%2F", "/").replace("%2f", "/")
    if at and (not _REVISION.fullmatch(revision) or ".." in revision or "//" in revision or revision[-1] in "/."):
        raise UsageError(f"{shown}: not a branch, tag or commit behind the @")
    return HubId("/".join(repository), revision or None, "/".join(folder))


def _is_legal(part: str) -> bool:
    return bool(_PART.fullmatch(part)) and "--" not in part and ".." not in part and not part.endswith(".git")


def open_store(source: str, options: Options | None = None) -> Store:
    """The place that `source` names.

    Parameters
    ----------
    source
        A local path, ``hf://org/name@revision``, ``org/name``, or a URL. A local path that exists wins over a hub id of the
        same spelling.

    Raises
    ------
    UsageError
        A spelling that names nothing, ``file://``, or a missing package.
    UnreachableError
        A remote place gives no answer, or offline mode keeps us from asking.
    RefusedError
        A remote place answers that there is no such model, or that we may not have it.
    ArtifactError
        Nothing there, or an answer that breaks the rules.
    """
    options = options or Options()
    scheme, mark, _ = source.partition("://")
    if not mark:
        path = Path(source)
        if "\0" not in source and path.exists():
            return LocalStore(path)
        try:
            found = parse_hub_id(source)
        except UsageError:
            raise ArtifactError(f"{one_line(repr(source), 200)}: no such file or folder") from None
        return _open_hub(found, options, "; there is no such local path either")
    if scheme == "hf":
        return _open_hub(parse_hub_id(source), options)
    if scheme in ("file", "local"):
        raise UsageError(f"{one_line(repr(source), 200)}: local models are named by their path, without {scheme}://")
    from provenance_gate.artifact.sources.hub_cache import is_offline

    if is_offline(options.offline) and scheme != "memory":
        raise UnreachableError(f"{one_line(scheme, 20)}://: not reached: offline mode is enabled")
    if scheme in ("http", "https"):
        from provenance_gate.artifact.sources.http_store import HttpStore

        return HttpStore(source, options=options)
    from provenance_gate.artifact.sources.fsspec_store import FsspecStore

    return FsspecStore(source, options)


def open_hub(source: str, options: Options | None = None) -> Store:
    """A model of the hub, never a local path: for ids that an artifact claims. Raises what `open_store` raises."""
    return _open_hub(parse_hub_id(source), options or Options())


def _open_hub(found: HubId, options: Options, hint: str = "") -> Store:
    from provenance_gate.artifact.sources.hub import HubStore
    from provenance_gate.artifact.sources.hub_cache import is_offline, snapshot

    try:
        if not is_offline(options.offline):
            return HubStore(found.repo_id, found.revision, found.folder, options)
        commit, path = snapshot(found.repo_id, found.revision, options.cache_dir)
    except ArtifactError as error:
        raise type(error)(f"{error}{hint}") from error
    name = f"{found.repo_id}/{found.folder}" if found.folder else found.repo_id
    return LocalStore(path / found.folder, name=name, location=f"hf://{name}@{commit}")
