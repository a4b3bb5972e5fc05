"""A folder or file on disk as a store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from provenance_gate.artifact.digests import digest_files
from provenance_gate.artifact.interface import FileRecord
from provenance_gate.artifact.inventory import list_files, read_small
from provenance_gate.artifact.ranges import LocalFile, RangeSource, ReadCounter
from provenance_gate.artifact.sources.interface import Progress
from provenance_gate.errors import one_line


class LocalStore:
    """A `Store` over a folder or a single file. A snapshot folder of the hub's cache is a folder like any other."""

    def __init__(
        self, root: Path, counter: ReadCounter | None = None, *, name: str | None = None, location: str | None = None
    ) -> None:
        self.root = root
        self.counter = counter or ReadCounter()
        self._name, self._location = name, location

    @property
    def name(self) -> str:
        """Last part of the resolved path, unless it was given."""
        return self._name or self.root.resolve().name

    @property
    def location(self) -> str:
        """The path as the user wrote it, unless it was given."""
        return self._location or str(self.root)

    def files(self) -> tuple[FileRecord, ...]:
        """See `inventory.list_files`."""
        return list_files(self.root)

    def read_small(self, record: FileRecord, limit: int) -> bytes:
        """See `inventory.read_small`."""
        return read_small(self.root, record, limit)

    def open(self, record: FileRecord) -> RangeSource:
        """The file by positioned reads."""
        path = self.root / record.path if self.root.is_dir() else self.root
        return LocalFile(path, one_line(str(record.path)), self.counter)

    def digests(
        self, files: Sequence[FileRecord], jobs: int = 2, progress: Progress | None = None, *, whole: bool = True
    ) -> tuple[FileRecord, ...]:
        """See `digests.digest_files`. Files on disk are always read whole."""
        return digest_files(self.root, files, jobs, progress)

    def forget(self) -> None:
        """Nothing is fetched ahead."""
