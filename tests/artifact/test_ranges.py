"""Positioned reads of local files."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from provenance_gate.artifact.ranges import LocalFile, ReadCounter
from provenance_gate.errors import ArtifactError, ChangedFileError

CONTENT = bytes(range(256)) * 4


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "shard.bin"
    path.write_bytes(CONTENT)
    return path


def opened(path: Path, counter: ReadCounter | None = None) -> LocalFile:
    return LocalFile(path, path.name, counter or ReadCounter())


@pytest.mark.parametrize(("start", "size"), [(0, 1), (0, 1024), (1023, 1), (100, 300)])
def test_a_read_gives_exactly_the_bytes_asked_for(path: Path, start: int, size: int) -> None:
    assert opened(path).read(start, size) == CONTENT[start : start + size]


def test_size_is_that_of_the_file(path: Path) -> None:
    assert opened(path).size == 1024


@pytest.mark.parametrize(("start", "size", "end"), [(1000, 25, 1024), (0, 1025, 1024), (1024, 1, 1024)])
def test_a_read_past_the_end_names_the_file_and_both_ends(path: Path, start: int, size: int, end: int) -> None:
    with pytest.raises(ArtifactError, match=rf"^shard\.bin: ends at byte {end}, expected {start + size}$"):
        opened(path).read(start, size)


def test_bytes_and_requests_are_counted_over_all_sources(path: Path, tmp_path: Path) -> None:
    counter = ReadCounter()
    other = tmp_path / "other.bin"
    other.write_bytes(b"abc")
    opened(path, counter).read(0, 10)
    opened(path, counter).read(5, 0)
    opened(other, counter).read(1, 2)
    assert (counter.bytes_read, counter.requests) == (12, 2)


def test_a_failed_read_is_not_counted(path: Path) -> None:
    counter = ReadCounter()
    with pytest.raises(ArtifactError):
        opened(path, counter).read(1000, 100)
    assert (counter.bytes_read, counter.requests) == (0, 0)


def test_threads_share_a_source_and_its_counter(path: Path) -> None:
    counter = ReadCounter()
    source = opened(path, counter)
    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lambda n: source.read(n * 4, 4), range(256)))
    assert b"".join(parts) == CONTENT
    assert (counter.bytes_read, counter.requests) == (1024, 256)


def test_a_file_that_shrank_is_noticed(path: Path) -> None:
    source = opened(path)
    os.truncate(path, 10)
    with pytest.raises(ChangedFileError, match=r"^shard\.bin: changed while it was read$"):
        source.read(0, 4)


def test_a_file_that_was_written_again_is_noticed(path: Path) -> None:
    source = opened(path)
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(1, 1))
    with pytest.raises(ChangedFileError):
        source.read(0, 4)


def test_another_file_under_the_same_name_is_noticed(path: Path, tmp_path: Path) -> None:
    source = opened(path)
    status = path.stat()
    other = tmp_path / "other"
    other.write_bytes(CONTENT[::-1])
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)
    with pytest.raises(ChangedFileError):
        source.read(0, 4)


def test_a_file_that_is_gone_is_an_artifact_error(path: Path) -> None:
    source = opened(path)
    path.unlink()
    with pytest.raises(ArtifactError, match=r"^shard\.bin: "):
        source.read(0, 4)


def test_a_missing_file_a_folder_and_a_pipe_are_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, message in (
        (tmp_path / "none", "none: "),
        (tmp_path, "not a regular file"),
        (pipe, "not a regular file"),
    ):
        with pytest.raises(ArtifactError, match=message):
            opened(path)


def test_a_pipe_put_in_the_place_of_the_file_does_not_hold_the_reader(path: Path) -> None:
    source = opened(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ChangedFileError):
        source.read(0, 4)
