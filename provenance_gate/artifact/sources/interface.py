"""What a place that holds a model must offer. A `Store` opens nothing by itself and trusts no size that it is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from provenance_gate.artifact.interface import FileRecord
from provenance_gate.artifact.ranges import RangeSource, ReadCounter
from provenance_gate.artifact.sources.retry import Silence
from provenance_gate.errors import UsageError

Progress = Callable[[int], None]
"""Called with the number of bytes hashed since the last call."""


class Store(Protocol):
    """A model folder, or a single file, wherever it lies. One state of it: what changes meanwhile is a ChangedFileError."""

    @property
    def name(self) -> str:
        """What reports call the model."""
        ...

    @property
    def location(self) -> str:
        """Where it lies, pinned as far as the place allows (``hf://org/name@<commit>``), and free of secrets."""
        ...

    @property
    def counter(self) -> ReadCounter:
        """Bytes and requests of everything that was read through this store."""
        ...

    def files(self) -> tuple[FileRecord, ...]:
        """Every file, sorted by path. Raises ArtifactError, PathEscapeError."""
        ...

    def read_small(self, record: FileRecord, limit: int) -> bytes:
        """The whole of a file. Raises MalformedFileError when it is larger than `limit` bytes."""
        ...

    def open(self, record: FileRecord) -> RangeSource:
        """The file, to be read by ranges."""
        ...

    def digests(
        self, files: Sequence[FileRecord], jobs: int = 2, progress: Progress | None = None, *, whole: bool = False
    ) -> tuple[FileRecord, ...]:
        """`files` with their SHA-256. A place that states digests itself is believed, and the record says so.

        Large remote files of which nobody states a digest keep a NotMeasured one, unless `whole` asks to read them.
        """
        ...

    def forget(self) -> None:
        """Drop what was fetched ahead: what is read next costs the same, whatever was read before."""
        ...


@dataclass(frozen=True, slots=True)
class Options:
    """How remote sources are reached. None: what huggingface_hub's environment variables and stored login say.

    Attributes
    ----------
    offline
        No connection at all; hub models come from the hub's cache folder.
    token
        For the hub only, never sent to another host. False: none, even when one is stored.
    endpoint
        Address of the hub, for mirrors.
    cache_dir
        The hub's cache folder.
    tries
        Requests in all for one piece of work, the first included; None: 5.
    timeout
        Seconds, 0 < timeout: in all until a place answers at all, and until the next bytes arrive. None: 30 in all, and
        HF_HUB_DOWNLOAD_TIMEOUT for the next bytes.
    silence
        Places that gave no answer. Shared by the copies that `dataclasses.replace` makes: a dead hub costs one wait in a run.
    """

    offline: bool | None = None
    token: str | bool | None = None
    endpoint: str | None = None
    cache_dir: str | None = None
    tries: int | None = None
    timeout: float | None = None
    silence: Silence = field(default_factory=Silence, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.tries is not None and self.tries < 1:
            raise UsageError(f"tries: {self.tries}, expected 1 or more")
        if self.timeout is not None and not 0.0 < self.timeout < 86_400.0:
            raise UsageError(f"timeout: {self.timeout}, expected more than 0 seconds and less than a day")
