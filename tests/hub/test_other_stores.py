"""Single files at HTTP addresses, and remote file systems through fsspec."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from provenance_gate.artifact.interface import WeightFormat
from provenance_gate.artifact.sources import Options, open_store
from provenance_gate.artifact.sources.fsspec_store import FsspecStore
from provenance_gate.artifact.sources.http import HttpClient
from provenance_gate.artifact.sources.http_store import HttpStore, public_url
from provenance_gate.errors import ArtifactError, ChangedFileError, MalformedFileError, UsageError

from .contents import TINY, Bytes, Repository, generated_model
from .server import LoopbackHub

fsspec = pytest.importorskip("fsspec")

MODEL = {p: c.read(0, c.size) for p, c in generated_model(TINY).items()}
WEIGHTS = "model.safetensors"
ONLINE = Options(offline=False)


# Files at an address


@pytest.fixture
def address(hub: LoopbackHub) -> str:
    hub.add("org/model", Repository(generated_model(TINY) | {"notes.txt": Bytes(b"x" * 100)}))
    return f"{hub.url}/org/model/resolve/main/"


def test_a_weight_file_at_an_address_is_read_by_ranges(address: str, client: HttpClient, hub: LoopbackHub) -> None:
    opened = HttpStore(f"{address}{WEIGHTS}?download=true&token=secret", client)
    (record,) = opened.files()
    assert (str(record.path), record.size, record.format) == (WEIGHTS, len(MODEL[WEIGHTS]), WeightFormat.SAFETENSORS)
    source = opened.open(record)
    assert source.read(100_001, 999) == MODEL[WEIGHTS][100_001:101_000]
    assert (opened.name, opened.location) == (WEIGHTS, f"{address}{WEIGHTS}")
    assert opened.read_small(record, 1 << 24) == MODEL[WEIGHTS]
    with pytest.raises(MalformedFileError):
        opened.read_small(record, 10)


def test_the_digest_of_a_file_at_an_address_is_computed(address: str, client: HttpClient) -> None:
    opened = HttpStore(f"{address}{WEIGHTS}", client)
    counted: list[int] = []
    (record,) = opened.digests(opened.files(), progress=counted.append)
    assert record.sha256 == __import__("hashlib").sha256(MODEL[WEIGHTS]).hexdigest()
    assert sum(counted) == len(MODEL[WEIGHTS])


def test_an_address_of_something_else_is_refused(address: str, client: HttpClient) -> None:
    with pytest.raises(ArtifactError, match="those of a weight file"):
        HttpStore(f"{address}notes.txt", client)
    with pytest.raises(ArtifactError, match="answers 404"):
        HttpStore(f"{address}none.safetensors", client)
    for bad in ("%2e%2e", "a%2Fb", "a%0Ab.gguf", "%00"):
        with pytest.raises((ArtifactError, UsageError)):
            HttpStore(f"{address}{bad}", client)


def test_an_address_is_shown_without_its_secrets() -> None:
    assert public_url("https://user:pw@host:443/a/b.gguf?sig=x#y") == "https://host/a/b.gguf"
    assert public_url("s3://key:pw@bucket/a") == "s3://bucket/a"
    with pytest.raises(UsageError):
        public_url("http://[::1/x")


# fsspec


@pytest.fixture
def memory() -> Iterator[Any]:
    system = fsspec.filesystem("memory")
    for path, data in {**MODEL, "sub/notes.txt": b"hello", "sub/hidden.dat": b"\x80\x04\x95x"}.items():
        system.pipe_file(f"/models/mine/{path}", data)
    yield system
    system.rm("/models", recursive=True)


def test_a_folder_of_a_file_system_is_a_model(memory: Any) -> None:
    opened = open_store("memory://models/mine", ONLINE)
    files = {str(f.path): f for f in opened.files()}
    assert {p: f.format for p, f in files.items()} == {
        "config.json": None,
        WEIGHTS: WeightFormat.SAFETENSORS,
        "sub/hidden.dat": WeightFormat.PICKLE,
        "sub/notes.txt": None,
    }
    assert (opened.name, opened.location) == ("mine", "memory://models/mine")
    source = opened.open(files[WEIGHTS])
    for start, size in [(0, 8), (70_000, 1000), (len(MODEL[WEIGHTS]) - 1, 1), (3, 0)]:
        assert source.read(start, size) == MODEL[WEIGHTS][start : start + size]
    with pytest.raises(ArtifactError, match="ends at byte"):
        source.read(len(MODEL[WEIGHTS]), 1)
    assert opened.read_small(files["config.json"], 4096) == MODEL["config.json"]
    digests = {str(f.path): f.sha256 for f in opened.digests(list(files.values()))}
    assert digests[WEIGHTS] == __import__("hashlib").sha256(MODEL[WEIGHTS]).hexdigest()


def test_a_single_file_of_a_file_system_is_a_model(memory: Any) -> None:
    opened = open_store(f"memory://models/mine/{WEIGHTS}", ONLINE)
    (record,) = opened.files()
    assert (str(record.path), record.format) == (WEIGHTS, WeightFormat.SAFETENSORS)
    assert opened.open(record).read(90_000, 5) == MODEL[WEIGHTS][90_000:90_005]


def test_a_file_that_shrinks_or_is_replaced_is_a_changed_file(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = FsspecStore("memory://models/mine")
    record = next(f for f in opened.files() if str(f.path) == WEIGHTS)
    source = opened.open(record)
    memory.pipe_file(f"/models/mine/{WEIGHTS}", MODEL[WEIGHTS][:100_000])
    with pytest.raises(ChangedFileError, match="not there any more"):
        source.read(99_999, 100)
    memory.pipe_file(f"/models/mine/{WEIGHTS}", MODEL[WEIGHTS][::-1])
    monkeypatch.setattr("provenance_gate.artifact.sources.fsspec_store.RECHECK", 0.0)
    with pytest.raises(ChangedFileError, match="changed while it was read"):
        source.read(99_999, 100)


def test_nothing_there_is_said_in_one_line(memory: Any) -> None:
    for url in ("memory://models/none", "memory://models/mine/none.gguf"):
        with pytest.raises(ArtifactError, match="no such file or folder"):
            open_store(url, ONLINE)
    memory.makedirs("/models/empty")
    with pytest.raises(ArtifactError, match="no files"):
        open_store("memory://models/empty", ONLINE)


class Lying:
    """A file system with the listing that a test gives it."""

    def __init__(self, *entries: dict[str, object]) -> None:
        self.entries = entries

    def info(self, path: str) -> dict[str, object]:
        return {"name": path, "type": "directory"}

    def ls(self, path: str, detail: bool) -> list[dict[str, object]]:
        return list(self.entries)

    def cat_file(self, path: str, start: int, end: int) -> bytes:
        raise RuntimeError("broken\nin two lines")


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "/etc/passwd", "type": "file", "size": 1},
        {"name": "bucket/m/../../x", "type": "file", "size": 1},
        {"name": "bucket/m/a\x1b[2J", "type": "file", "size": 1},
        {"name": "bucket/mine", "type": "file", "size": 1},
        {"name": "bucket/m/a", "type": "file", "size": -1},
        {"name": "bucket/m/a", "type": "file", "size": None},
        {"name": "bucket/m/a", "type": "file"},
        {"name": "bucket/m/a", "type": "file", "size": 5},
        {"type": "file", "size": 5},
        {"name": "bucket/m/a", "type": "directory"},
    ],
)
def test_a_listing_that_breaks_the_rules_is_refused(monkeypatch: pytest.MonkeyPatch, entry: dict[str, object]) -> None:
    monkeypatch.setattr(
        "provenance_gate.artifact.sources.fsspec_store._file_system", lambda url: (Lying(entry), "bucket/m")
    )
    with pytest.raises(ArtifactError) as caught:
        FsspecStore("memory://bucket/m").files()
    assert str(caught.value).isprintable()
