"""Models on the hub through the real client library: what is listed, read, pinned, and said when it fails."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from provenance_gate.artifact.interface import FileKind, FileRecord, NotMeasured, WeightFormat
from provenance_gate.artifact.sources import Options, open_hub, open_store
from provenance_gate.artifact.sources.http import WITHIN, HttpClient
from provenance_gate.artifact.sources.hub import HubStore
from provenance_gate.artifact.sources.listing import HEAD, LARGEST_UNDECLARED
from provenance_gate.artifact.sources.retry import Retry
from provenance_gate.errors import ArtifactError, ChangedFileError, MalformedFileError, RefusedError, UnreachableError

from .contents import LLAMA_8B, TINY, Bytes, Content, Repository, generated_model
from .server import TOKEN, LoopbackHub

if TYPE_CHECKING:
    from .conftest import Waits

Opener = Callable[..., HubStore]
FILES: dict[str, Content] = {
    **generated_model(TINY),
    "README.md": Bytes(b"---\nlicense: mit\n---\n"),
    "tokenizer.json": Bytes(json.dumps({"model": "x" * 200_000}).encode()),
    "onnx/model.onnx": Bytes(b"\x08\x07onnx"),
    "extra/hidden.txt": Bytes(b"\x80\x04\x95pickle"),
}
COMMIT = "c" * 40


@pytest.fixture
def served(hub: LoopbackHub) -> LoopbackHub:
    hub.add("org/model", Repository(FILES, refs={"refs/pr/1": "e" * 40, "v1.0": COMMIT}))
    return hub


def record_of(store: HubStore, path: str) -> FileRecord:
    return next(f for f in store.files() if str(f.path) == path)


def refused(open_it: Callable[[], object], error: type[ArtifactError], *words: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        open_it()
    assert type(caught.value) is error
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


# Listing


def test_all_pages_of_the_tree_are_listed_with_kinds_by_first_bytes(served: LoopbackHub, store: Opener) -> None:
    found = {str(f.path): (f.size, f.kind, f.format) for f in store().files()}
    assert found == {
        "README.md": (FILES["README.md"].size, FileKind.CARD, None),
        "config.json": (FILES["config.json"].size, FileKind.CONFIG, None),
        "extra/hidden.txt": (9, FileKind.WEIGHTS, WeightFormat.PICKLE),
        "model.safetensors": (FILES["model.safetensors"].size, FileKind.WEIGHTS, WeightFormat.SAFETENSORS),
        "onnx/model.onnx": (6, FileKind.WEIGHTS, WeightFormat.ONNX),
        "tokenizer.json": (FILES["tokenizer.json"].size, FileKind.TOKENIZER, None),
    }
    assert sum("/tree/" in s.path for s in served.seen) == 3


def test_files_are_sorted_and_headers_are_at_hand_after_the_listing(served: LoopbackHub, store: Opener) -> None:
    opened = store()
    files = opened.files()
    assert [str(f.path) for f in files] == sorted(FILES)
    before = len(served.seen)
    source = opened.open(record_of(opened, "model.safetensors"))
    length = int.from_bytes(source.read(0, 8), "little")
    assert source.read(8, length) == FILES["model.safetensors"].read(8, length)
    assert opened.read_small(record_of(opened, "config.json"), 4096) == FILES["config.json"].read(0, 4096)
    assert len(served.seen) == before


def test_the_branch_is_resolved_once_and_everything_names_the_commit(served: LoopbackHub, store: Opener) -> None:
    opened = store()
    assert (opened.commit, opened.location, opened.name) == (COMMIT, f"hf://org/model@{COMMIT}", "org/model")
    opened.files()
    first, *later = served.seen
    assert first.path.startswith("/api/models/org/model?")
    assert all(COMMIT in s.path for s in later if s.origin == "hub")


def test_a_branch_that_moves_meanwhile_is_a_changed_file(served: LoopbackHub, store: Opener) -> None:
    opened = store()
    record = record_of(opened, "tokenizer.json")
    # A hub that answers for another commit than it was asked for.
    served.fail(origin="hub", path="/resolve", times=9, change=lambda s, h, b: (s, {**h, "X-Repo-Commit": "d" * 40}, b))
    refused(lambda: opened.read_small(record, 1 << 20), ChangedFileError, "tokenizer.json", "d" * 40)


@pytest.mark.parametrize("revision", ["v1.0", "main", COMMIT])
def test_branch_tag_and_commit_are_revisions(served: LoopbackHub, store: Opener, revision: str) -> None:
    assert store("org/model", revision).commit == COMMIT


def test_a_pull_request_is_a_revision(served: LoopbackHub, store: Opener) -> None:
    served.repositories["org/model"].commit = "e" * 40
    assert store("org/model", "refs/pr/1").commit == "e" * 40


def test_a_folder_is_a_model_of_its_own(hub: LoopbackHub, store: Opener) -> None:
    hub.add(
        "org/many", Repository({f"{at}/{p}": c for at in ("a", "ab", "b") for p, c in generated_model(TINY).items()})
    )
    opened = store("org/many", None, "a")
    assert [str(f.path) for f in opened.files()] == ["config.json", "model.safetensors"]
    assert opened.location == f"hf://org/many/a@{COMMIT}"
    assert opened.open(record_of(opened, "model.safetensors")).read(0, 1)
    assert all("/resolve/" not in s.path or "/a/" in s.path for s in hub.seen)
    refused(lambda: store("org/many", None, "c"), ArtifactError, "no files below c")


# Digests


def test_digests_of_lfs_files_are_those_the_hub_states_and_no_byte_is_read(served: LoopbackHub, store: Opener) -> None:
    opened = store()
    files = opened.files()
    before = opened.counter.bytes_read
    digests = {str(f.path): f.sha256 for f in opened.digests(files)}
    assert digests == {p: c.sha256 for p, c in FILES.items()}
    assert opened.declared_sha256(record_of(opened, "model.safetensors")) == FILES["model.safetensors"].sha256
    assert opened.declared_sha256(record_of(opened, "config.json")) is None
    assert opened.counter.bytes_read - before <= FILES["tokenizer.json"].size + HEAD


def test_a_large_file_without_a_stated_digest_is_not_downloaded_for_one(hub: LoopbackHub, store: Opener) -> None:
    repository = hub.add("org/model", Repository(generated_model(LLAMA_8B)))
    repository.lfs = frozenset({"none"})
    opened = store()
    for record in opened.digests(opened.files()):
        if record.size < LARGEST_UNDECLARED:
            assert isinstance(record.sha256, str)
            continue
        assert isinstance(record.sha256, NotMeasured)
        assert "the hub states no SHA-256; --exact" in record.sha256.reason
    assert opened.counter.bytes_read < 1_000_000


def test_a_file_that_is_not_what_the_hub_lists_is_refused(served: LoopbackHub, store: Opener) -> None:
    opened = store()
    config = record_of(opened, "config.json")
    files = opened.files()
    forged: dict[str, Content] = {
        **FILES,
        "config.json": Bytes(b"{}".ljust(config.size)),
        "tokenizer.json": Bytes(b" " * FILES["tokenizer.json"].size),
    }
    served.add("org/model", replace(served.repositories["org/model"], files=forged))
    fresh = HubStore("org/model", None, "", Options(token=False), HttpClient(Retry(tries=1)))
    fresh._listing = opened._listing
    refused(lambda: fresh.read_small(config, 4096), ChangedFileError, "config.json", "git blob id")
    refused(lambda: fresh.digests(files), ChangedFileError, "git blob id")


def test_a_small_lfs_file_is_compared_with_its_sha256(hub: LoopbackHub, store: Opener) -> None:
    hub.add("org/model", Repository({"tokenizer.json": Bytes(b"{}")}, lfs=frozenset({"tokenizer.json"})))
    opened = store()
    record = record_of(opened, "tokenizer.json")
    opened._listing[record.path] = replace(opened._listing[record.path], sha256="0" * 64)  # type: ignore[arg-type]
    refused(lambda: opened.read_small(record, 10), ChangedFileError, "SHA-256", "0" * 64)
    hub_says = hashlib.sha256(b"{}").hexdigest()
    opened._listing[record.path] = replace(opened._listing[record.path], sha256=hub_says)  # type: ignore[arg-type]
    assert opened.read_small(record, 10) == b"{}"


def test_a_file_larger_than_the_limit_is_not_read(served: LoopbackHub, store: Opener) -> None:
    opened = store()
    record = record_of(opened, "tokenizer.json")
    refused(lambda: opened.read_small(record, 1000), MalformedFileError, "expected at most 1,000")


# Refusals


def test_refusals_say_what_to_do(served: LoopbackHub, store: Opener) -> None:
    refused(lambda: store("org/none"), RefusedError, "hf://org/none", "no such repository, or it is private")
    refused(lambda: store("org/model", "v9"), RefusedError, "hf://org/model@v9", "no such revision")
    served.repositories["org/model"].gated = True
    refused(lambda: store().files(), RefusedError, "answers 401", "access to this repository must be granted")


def test_a_token_opens_private_and_gated_repositories(
    served: LoopbackHub, client: HttpClient, options: Options
) -> None:
    served.add("org/secret", Repository(generated_model(TINY), private=True, gated=True))
    refused(lambda: HubStore("org/secret", options=options, client=client), RefusedError, "private")
    opened = HubStore("org/secret", options=replace(options, token=TOKEN), client=client)
    assert len(opened.files()) == 2
    assert all("authorization" not in s.headers for s in served.seen if s.origin == "storage")
    assert TOKEN not in repr(opened.files())


def test_no_token_of_the_environment_is_sent_when_it_is_unwanted(
    served: LoopbackHub, store: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    store().files()
    assert all("authorization" not in s.headers for s in served.seen)


@pytest.mark.parametrize("path", ["/api/models/org/model?", "/tree/"])
@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_hub_is_asked_again(served: LoopbackHub, store: Opener, waits: Waits, path: str, status: int) -> None:
    served.fail(origin="hub", path=path, status=status, headers={"Retry-After": "1"} if status == 429 else {})
    assert len(store().files()) == len(FILES)


def test_a_hub_that_stays_away_ends_in_one_line(served: LoopbackHub, store: Opener) -> None:
    served.fail(origin="hub", status=502, times=1000)
    refused(store, UnreachableError, "hf://org/model", "answers 502", "given up after")


def test_a_hub_that_takes_too_long_ends_in_bounded_time(served: LoopbackHub, options: Options) -> None:
    served.fail(origin="hub", path="/tree/", wait=0.7, times=1000)
    client = HttpClient(Retry(tries=1, total=0.5), timeout=0.2)
    began = time.monotonic()
    refused(lambda: HubStore("org/model", options=options, client=client), UnreachableError, "given up after 1 try")
    assert time.monotonic() - began < 10
    # Left alone, the library would find the hub gone, and close the session of the next test.
    for thread in threading.enumerate():
        if thread.name == WITHIN:
            thread.join(30)


def test_offline_nothing_is_asked(served: LoopbackHub, options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(
        lambda: open_store("org/model", replace(options, offline=True)),
        UnreachableError,
        "offline",
        "no such local path",
    )
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    refused(
        lambda: open_hub("hf://org/model@v1.0", options), UnreachableError, "offline", "does not hold revision v1.0"
    )
    refused(lambda: open_store("https://127.0.0.1:9/m.gguf", options), UnreachableError, "offline")
    assert served.seen == []


# The hub's cache


def test_files_in_the_cache_are_not_fetched(served: LoopbackHub, store: Opener, options: Options) -> None:
    cached(Path(str(options.cache_dir)), FILES)
    opened = store()
    files = opened.files()
    assert {str(f.path): f.sha256 for f in opened.digests(files)} == {p: c.sha256 for p, c in FILES.items()}
    source = opened.open(record_of(opened, "model.safetensors"))
    assert source.read(1000, 77) == FILES["model.safetensors"].read(1000, 77)
    assert served.ranges() == []


def test_a_cached_file_called_by_another_digest_is_not_used(
    served: LoopbackHub, store: Opener, options: Options
) -> None:
    cached(Path(str(options.cache_dir)), {"README.md": Bytes(b"other".ljust(FILES["README.md"].size))})
    assert store().read_small(record_of(store(), "README.md"), 100) == FILES["README.md"].read(0, 100)


@pytest.mark.parametrize("revision", [None, "main", COMMIT])
def test_offline_the_snapshot_in_the_cache_is_the_model(
    served: LoopbackHub, options: Options, revision: str | None
) -> None:
    cached(Path(str(options.cache_dir)), FILES)
    spelled = f"org/model@{revision}" if revision else "org/model"
    opened = open_store(spelled, replace(options, offline=True))
    assert (opened.name, opened.location) == ("org/model", f"hf://org/model@{COMMIT}")
    assert [str(f.path) for f in opened.files()] == sorted(FILES)
    assert served.seen == []


@pytest.mark.parametrize("ref", [b"", b"main", b"../../..", b"\xff" * 40, b"c" * 39, b"d" * 40])
def test_a_cache_whose_reference_leads_nowhere_does_not_hold_the_model(options: Options, ref: bytes) -> None:
    folder = cached(Path(str(options.cache_dir)), FILES)
    (folder / "refs" / "main").write_bytes(ref)
    refused(
        lambda: open_hub("org/model", replace(options, offline=True)), UnreachableError, "does not hold revision main"
    )


def cached(root: Path, files: dict[str, Content]) -> Path:
    """The layout of the hub's download folder, links and all."""
    folder = root / "models--org--model"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    (folder / "blobs").mkdir()
    for path, content in files.items():
        true = FILES[path]
        name = true.sha256 if path.endswith(".safetensors") or not isinstance(content, Bytes) else content.blob_id
        (folder / "blobs" / name).write_bytes(content.read(0, content.size))
        link = folder / "snapshots" / COMMIT / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(Path(*[".."] * (2 + path.count("/")), "blobs", name))
    return folder
