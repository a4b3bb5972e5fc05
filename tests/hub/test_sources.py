"""Which place a spelling names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenance_gate.artifact.inventory import list_files
from provenance_gate.artifact.sources import HubId, LocalStore, Options, open_hub, open_store, parse_hub_id
from provenance_gate.artifact.sources.hub import HubStore
from provenance_gate.errors import ArtifactError, ProvenanceGateError, UsageError

from .contents import TINY, Repository, generated_model
from .server import LoopbackHub

OFFLINE = Options(offline=True, cache_dir="/nonexistent")


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("org/name", HubId("org/name")),
        ("org/name@v1", HubId("org/name", "v1")),
        ("hf://org/name", HubId("org/name")),
        ("hf://org/name@main", HubId("org/name", "main")),
        ("hf://org/name@refs/pr/3", HubId("org/name", "refs/pr/3")),
        ("hf://org/name@refs%2Fpr%2F3", HubId("org/name", "refs/pr/3")),
        ("hf://org/name/sub@v1.0", HubId("org/name", "v1.0", "sub")),
        ("hf://org/name/a/b c", HubId("org/name", None, "a/b c")),
        ("hf://gpt2", HubId("gpt2")),
        ("hf://Qwen/Qwen2.5-7B_x", HubId("Qwen/Qwen2.5-7B_x")),
    ],
)
def test_a_hub_id_has_a_revision_and_a_folder(source: str, found: HubId) -> None:
    assert parse_hub_id(source) == found


@pytest.mark.parametrize(
    "source",
    [
        "",
        "name",
        "a/b/c",
        "hf://",
        "hf:///",
        "hf://org/",
        "hf:///name",
        "hf://org/name/",
        "hf://org/name/../x",
        "hf://org/name//x",
        "hf://org/name/a\\b",
        "hf://org/name/a\x1b",
        "hf://org/name@",
        "hf://org/name@../../x",
        "hf://org/name@-x",
        "hf://org/name@a b",
        "hf://org/name@a//b",
        "hf://org/name@a/",
        "hf://org/name@a@b",
        "hf://org/name@a?x=1",
        "hf://org/na me",
        "hf://org/-name",
        "hf://org/name.",
        "hf://org/name.git",
        "hf://org/a--b",
        "hf://org/a..b",
        "hf://./name",
        "hf://../name",
        "hf://o%2Fg/name",
        "hf://org/" + "n" * 97,
        "hf://datasets/org/name",
        "hf://spaces/org/name",
        "hf://user:secret@huggingface.co/org/name",
    ],
)
def test_anything_else_is_no_hub_id(source: str) -> None:
    with pytest.raises(UsageError):
        parse_hub_id(source)


@given(st.text(max_size=30) | st.text(alphabet="hf:/@.ab-%", max_size=20))
def test_any_text_is_a_hub_id_or_refused_and_an_id_is_safe_in_an_address(source: str) -> None:
    try:
        found = parse_hub_id(source)
    except UsageError:
        return
    assert all(c.isascii() and (c.isalnum() or c in "._-/") for c in found.repo_id)
    assert ".." not in (found.revision or "")
    assert ".." not in found.folder.split("/")


def test_a_local_path_wins_over_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "org" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert isinstance(open_store("org/name"), LocalStore)
    with pytest.raises(ArtifactError, match="offline"):
        open_store("hf://org/name", OFFLINE)
    with pytest.raises(ArtifactError, match="offline"):
        open_hub("org/name", OFFLINE)


@pytest.mark.parametrize("source", ["./none", "none", "/no/such/path", "a/b/c", "../x", "a\0b", "org/na me"])
def test_what_is_neither_a_path_nor_an_id_is_no_such_file(source: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArtifactError, match="no such file or folder"):
        open_store(source)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("file:///etc/passwd", "without file://"),
        ("local://x", "without local://"),
        ("reference://x", "cannot be read; expected a local path or one of hf://"),
        ("zip://x::s3://y", "chain"),
        ("simplecache::s3://y", "chain"),
        ("s3://bucket::file://x", "chain"),
        ("s3://", "expected one address"),
        ("://x", "cannot be read"),
        ("data://x", "cannot be read"),
        ("python://x\x1b[2J", "not an address"),
        ("https://127.0.0.1:9/", "not of a folder or page"),
    ],
)
def test_a_protocol_that_could_do_more_than_move_bytes_is_refused(source: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_store(source, Options(offline=False))
    assert words in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_missing_package_is_named() -> None:
    pytest.importorskip("fsspec")
    extra = r"pip install 'provenance-gate\[{}\]'"
    for protocol, package, words in [
        ("s3", "s3fs", extra.format("s3")),
        ("gs", "gcsfs", extra.format("gcs")),
        ("oss", "ossfs", "pip install ossfs"),
    ]:
        try:
            __import__(package)
        except ImportError:
            with pytest.raises(UsageError, match=words):
                open_store(f"{protocol}://bucket/model", Options(offline=False))


def test_secrets_in_an_address_are_not_shown() -> None:
    with pytest.raises(ProvenanceGateError) as caught:
        open_store("s4://user:secret@host/path?sig=secret", Options(offline=False))
    assert "secret" not in str(caught.value)


def test_a_hub_that_does_not_know_the_id_says_that_there_is_no_path_either(hub: LoopbackHub, options: Options) -> None:
    with pytest.raises(ArtifactError, match=r"no such repository.*there is no such local path either"):
        open_store("org/none", options)


def test_a_hub_id_opens_the_hub(hub: LoopbackHub, options: Options) -> None:
    hub.add("org/model", Repository(generated_model(TINY)))
    opened = open_store("org/model", options)
    assert isinstance(opened, HubStore)
    assert len(opened.files()) == 2


def test_a_local_store_reads_what_the_inventory_lists(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b"{}")
    (tmp_path / "model.safetensors").write_bytes(b"x" * 100)
    opened = open_store(str(tmp_path))
    files = opened.files()
    assert files == list_files(tmp_path)
    assert (opened.name, opened.location) == (tmp_path.name, str(tmp_path))
    assert opened.read_small(files[0], 10) == b"{}"
    assert opened.open(files[1]).read(5, 10) == b"x" * 10
    assert all(isinstance(f.sha256, str) for f in opened.digests(files))
    single = open_store(str(tmp_path / "model.safetensors"))
    assert single.open(single.files()[0]).read(0, 3) == b"xxx"
    assert single.counter.bytes_read == 3


def test_local_models_are_opened_without_loading_the_client_libraries(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b"{}")
    code = (
        "import sys; from provenance_gate.artifact.sources import open_store; open_store(sys.argv[1]).files();"
        "print([m for m in ('huggingface_hub', 'fsspec', 'requests', 'httpx', 'httpx2') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
