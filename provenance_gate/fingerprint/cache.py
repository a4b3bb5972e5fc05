"""Fingerprints of models whose content is known before they are read: a commit of the hub, or files with computed digests.

An entry is an ordinary fingerprint file called by its key, which also stands inside it, in ``__metadata__`` beside the
fingerprint: the container ignores other entries there, so one reader serves both and a renamed entry is still found out.

Rules
-----
- Nothing here may fail or change a result: what cannot be believed is removed and measured anew, silently.
- An entry is believed only as a regular file of this user, writable by nobody else, in a folder of which the same holds, with
  the key that was asked for, a digest that fits, and every signal. The digest is no signature: whoever can write as this user
  can forge an entry, as he could replace this program.
- Only whole fingerprints are kept: no spot checks, nothing measured without reading weights.
- What measuring took is kept with the entry and counted again when it is used: a report says the same, whether the entry was
  there or not.
- Whose model it is does not come from here: entries hold no name, files or claims, and `measure_cached` puts in those of the
  artifact at hand.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

from provenance_gate._version import __version__
from provenance_gate.artifact.digests import manifest_sha256
from provenance_gate.artifact.interface import Artifact, Claims, FileRecord, NotMeasured
from provenance_gate.artifact.ranges import ReadCounter
from provenance_gate.artifact.sources.interface import Options, Store
from provenance_gate.errors import ProvenanceGateError
from provenance_gate.fingerprint.container import fingerprint_bytes, load_fingerprint
from provenance_gate.fingerprint.interface import METHOD, Fingerprint, SignalKind, SignalValue, Subject
from provenance_gate.fingerprint.measure import measure
from provenance_gate.fingerprint.observe import EXACT_LIMIT, Progress
from provenance_gate.fingerprint.plan import SamplingPlan
from provenance_gate.fingerprint.signals import SIGNALS

Cost = tuple[int, int]
"""Bytes and requests."""
LIMIT = 2 << 30
"""Bytes of all entries together."""
LARGEST_ENTRY = 256 << 20
"""Bytes; about 10 MB are expected for a 7B model (DESIGN 3.2)."""
CACHE_KEY = "provenance_gate_cache_key"
"""The key of ``__metadata__`` under which an entry tells its own."""
COST_KEY = "provenance_gate_cache_cost"
"""The key under which an entry tells what measuring took: bytes and requests."""
_KEY = re.compile(r"[0-9a-f]{64}")
_COST = re.compile(r"([0-9]{1,18}) ([0-9]{1,7})")
_ENTRY = re.compile(r"[0-9a-f]{64}\.safetensors")
_PARTIAL = re.compile(r"\.[0-9a-f]{64}\.\w+\.part")
_STALE = 3600.0
"""Seconds after which an unfinished entry counts as left behind by a crash."""
_FREE = (0, 0)
_NOBODY = Subject("", (), Claims((), ()))
_WEIGHT_SIGNALS = frozenset(s.name for s in SIGNALS if s.kind is SignalKind.WEIGHTS)
_ALL_SIGNALS = frozenset(s.name for s in SIGNALS)
_UNBELIEVABLE = (
    ProvenanceGateError,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    RecursionError,
)
"""What the readers of a forged entry may raise."""


def default_folder() -> Path | None:
    """``$XDG_CACHE_HOME/provenance-gate/fingerprints``, else below ``~/.cache``; None where there is no home folder."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    try:
        # A relative path is invalid by the XDG specification, and would lie in whatever folder is being checked.
        root = Path(given) if Path(given).is_absolute() else Path.home() / ".cache"
    except RuntimeError:
        return None
    return root / "provenance-gate" / "fingerprints"


@functools.cache
def reader_version() -> str:
    """Digest of the code that measures and the versions of what it computes with: a changed reader finds no old entries."""
    import numpy
    import tokenizers

    digest = hashlib.sha256(f"{__version__}\n{numpy.__version__}\n{tokenizers.__version__}\n".encode())
    package = Path(str(resources.files("provenance_gate")))
    with suppress(OSError):
        for room in ("artifact", "fingerprint"):
            for path in sorted((package / room).rglob("*.py")):
                source = hashlib.sha256(path.read_bytes()).hexdigest()
                digest.update(f"{path.relative_to(package).as_posix()} {source}\n".encode())
    return digest.hexdigest()


def identity_of_hub(store: Store, options: Options) -> str | None:
    """Endpoint, repository, folder and commit of a model that is read from the hub, else None.

    A snapshot in the hub's cache folder has a commit, too, but its files may have been edited since. The endpoint belongs to it:
    what one hub serves for a commit says nothing about another.
    """
    from provenance_gate.artifact.sources.hub import HubStore, endpoint_of

    return f"hub {endpoint_of(options)} {store.location}" if isinstance(store, HubStore) else None


def identity_of_files(files: Sequence[FileRecord]) -> str | None:
    """The digest of all files, or None where one has no digest, or one that was stated and not computed."""
    manifest = manifest_sha256(files)
    if not files or isinstance(manifest, NotMeasured) or any(f.declared for f in files):
        return None
    return f"files {manifest}"


class FingerprintCache:
    """A folder of fingerprints by key. Safe under parallel jobs and crashes; errors of the file system are misses.

    Parameters
    ----------
    folder
        Made when needed, with mode 0700. Not used when it belongs to another user or others may write to it; files in it that
        are not entries are never touched.
    limit
        Bytes of all entries; the least recently used ones go.
    """

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        self.folder, self.limit = folder, limit

    @staticmethod
    def key(
        identity: str, *, exact: bool, plan: SamplingPlan | None = None, method: str = METHOD, reader: str | None = None
    ) -> str:
        """SHA-256 hex over all that decides the values: what is measured (`identity_of_hub`, `identity_of_files`), and how.

        Raises ValueError for an empty identity.
        """
        if not identity:
            raise ValueError("an empty identity stands for no content")
        plan = plan or SamplingPlan()
        # JSON with escapes: no choice of strings makes two lists one, whatever they hold.
        parts = [identity, exact, method, plan.seed, plan.version, reader if reader is not None else reader_version()]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def load(self, key: str) -> Fingerprint | None:
        """The entry, or None. Its subject is empty: the caller puts in that of the model at hand (see `measure_cached`).

        Raises ValueError when `key` is not 64 hex digits.
        """
        found = self.load_with_cost(key)
        return None if found is None else found[0]

    def load_with_cost(self, key: str) -> tuple[Fingerprint, Cost] | None:
        """As `load`, with what measuring it took."""
        path = self._path(key)
        if not self._is_ours_alone() or not _exists(path):
            return None
        found = _believed(path, key, min(self.limit, LARGEST_ENTRY))
        with suppress(OSError):
            if found is None:
                path.unlink(missing_ok=True)
            else:
                os.utime(path)
        return found

    def store(self, key: str, fingerprint: Fingerprint, cost: Cost = _FREE) -> None:
        """Keep it and what it cost, without its subject, if it is whole. Raises ValueError when `key` is not 64 hex digits."""
        path = self._path(key)
        if not is_whole(fingerprint):
            return
        try:
            data = _with_key(fingerprint_bytes(replace(fingerprint, subject=_NOBODY)), key, cost)
        except (TypeError, ValueError):
            return
        if len(data) > min(self.limit, LARGEST_ENTRY):
            return
        with suppress(OSError, ValueError):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._is_ours_alone():
            return
        with suppress(OSError):
            _write(path, data)
        self._evict()

    def clear(self) -> None:
        """Remove all entries, and what crashes left behind."""
        for path, _ in (*self._listed(_ENTRY), *self._listed(_PARTIAL)):
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError("expected 64 hex digits as the key of a fingerprint")
        return self.folder / f"{key}.safetensors"

    def _is_ours_alone(self) -> bool:
        try:
            status = self.folder.stat()
        except (OSError, ValueError):
            return False
        return stat.S_ISDIR(status.st_mode) and _is_private(status)

    def _listed(self, pattern: re.Pattern[str]) -> Iterator[tuple[Path, os.stat_result]]:
        with suppress(OSError, ValueError), os.scandir(self.folder) as listing:
            for entry in listing:
                if not pattern.fullmatch(entry.name):
                    continue
                # A parallel job may have removed it meanwhile.
                with suppress(OSError):
                    yield Path(entry.path), entry.stat(follow_symlinks=False)

    def _evict(self) -> None:
        now = time.time()
        gone = [path for path, status in self._listed(_PARTIAL) if now - status.st_mtime > _STALE]
        # A time in the future (a clock that was wrong) does not make an entry stay for ever.
        entries = sorted((-min(s.st_mtime, now), p.name, p, s.st_size) for p, s in self._listed(_ENTRY))
        total = 0
        for _, _, path, size in entries:
            total += size
            if total > self.limit:
                gone.append(path)
        for path in gone:
            with suppress(OSError):
                path.unlink(missing_ok=True)


def measure_cached(
    artifact: Artifact,
    identity: str | None,
    cache: FingerprintCache | None,
    *,
    exact: bool | None = None,
    jobs: int = 2,
    progress: Progress | None = None,
    max_tier: int = 4,
    counter: ReadCounter | None = None,
) -> Fingerprint:
    """`measure`, or what it gave before for the same content; the subject is always that of `artifact`.

    Parameters
    ----------
    identity
        What the artifact's bytes are known to be. None: not known, measured anew and not kept.
    cache
        None: no cache.
    counter
        Of the artifact's reads. What an entry cost when it was measured is added to it; nothing else may read meanwhile.
    """
    whole = max_tier >= 4 and (artifact.weight_bytes <= EXACT_LIMIT if exact is None else exact)
    if cache is None or not identity or max_tier < 2:
        return measure(artifact, exact=exact, jobs=jobs, progress=progress, max_tier=max_tier)
    key = cache.key(identity, exact=whole)
    found = cache.load_with_cost(key)
    if found is not None and found[0].parameters == artifact.parameters:
        _count(counter, found[1])
        return replace(found[0], subject=Subject(artifact.name, artifact.files, artifact.claims))
    before = _counted(counter)
    measured = measure(artifact, exact=whole, jobs=jobs, progress=progress, max_tier=max_tier)
    after = _counted(counter)
    cache.store(key, measured, (after[0] - before[0], after[1] - before[1]))
    return measured


def _counted(counter: ReadCounter | None) -> Cost:
    return _FREE if counter is None else (counter.bytes_read, counter.requests)


def _count(counter: ReadCounter | None, cost: Cost) -> None:
    """Reads that were made when the entry was measured."""
    if counter is not None and cost[1]:
        counter.add(cost[0])
        for _ in range(cost[1] - 1):
            counter.add(0)


def is_whole(fingerprint: Fingerprint) -> bool:
    """Whether it holds every signal of this version, and weights were read for it."""
    measured = {name for name, value in fingerprint.signals.items() if isinstance(value, SignalValue)}
    return (
        fingerprint.method == METHOD
        and fingerprint.signals.keys() == _ALL_SIGNALS
        and not measured.isdisjoint(_WEIGHT_SIGNALS)
    )


def _exists(path: Path) -> bool:
    try:
        path.lstat()
    except OSError:
        return False
    return True


def _believed(path: Path, key: str, largest: int) -> tuple[Fingerprint, Cost] | None:
    """The entry, if nothing speaks against it. What lies there is looked at before it is opened: opening a pipe would hang."""
    from safetensors import SafetensorError, safe_open

    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or not _is_private(status) or status.st_size > largest:
            return None
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
        cost = _COST.fullmatch(metadata.get(COST_KEY, ""))
        if metadata.get(CACHE_KEY) != key or cost is None:
            return None
        found = load_fingerprint(path)
    except (*_UNBELIEVABLE, SafetensorError):
        return None
    return (replace(found, subject=_NOBODY), (int(cost[1]), int(cost[2]))) if is_whole(found) else None


def _is_private(status: os.stat_result) -> bool:
    """Whether only this user can have written it. Windows has no such mode; there the profile's own rights guard it."""
    if not hasattr(os, "geteuid"):
        return True
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _with_key(data: bytes, key: str, cost: Cost = _FREE) -> bytes:
    """A safetensors file with two more entries in its metadata. Offsets count from the end of the header: no array moves."""
    size = int.from_bytes(data[:8], "little")
    header: dict[str, Any] = json.loads(data[8 : 8 + size])
    header["__metadata__"] |= {CACHE_KEY: key, COST_KEY: f"{cost[0]} {cost[1]}"}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all. Not forced to the disk: what a loss of power cuts is found out when it is read."""
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=".part", dir=path.parent)
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
