"""That the loopback hub is a hub to the real client library, and that our readers take what the library leaves behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_download, hf_hub_url, snapshot_download
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

from provenance_gate.artifact.sources import Options, open_store

from .contents import TINY, Bytes, Repository, generated_model
from .server import TOKEN, LoopbackHub

COMMIT = "c" * 40
MODEL = {p: Bytes(c.read(0, c.size)) for p, c in generated_model(TINY).items()}
FILES = {**MODEL, "README.md": Bytes(b"# x"), "sub/notes.txt": Bytes(b"notes")}


@pytest.fixture
def served(hub: LoopbackHub) -> LoopbackHub:
    hub.add("org/model", Repository(FILES))
    return hub


def test_model_info_and_tree_say_the_same(served: LoopbackHub) -> None:
    api = HfApi(endpoint=served.url, token=False)
    info = api.model_info("org/model", files_metadata=True)
    tree = {e.path: e for e in api.list_repo_tree("org/model", recursive=True) if hasattr(e, "size")}
    assert info.sha == COMMIT
    assert {s.rfilename for s in info.siblings or ()} == set(FILES) == set(tree)
    for sibling in info.siblings or ():
        entry = tree[sibling.rfilename]
        content = FILES[sibling.rfilename]
        assert sibling.size == entry.size == content.size
        assert sibling.blob_id == entry.blob_id
        digests = [None if x.lfs is None else x.lfs.sha256 for x in (sibling, entry)]
        assert digests == [content.sha256 if sibling.rfilename.endswith("safetensors") else None] * 2


@pytest.mark.parametrize("path", FILES)
def test_metadata_of_a_file_has_commit_tag_and_size(served: LoopbackHub, path: str) -> None:
    url = hf_hub_url("org/model", path, endpoint=served.url)
    found = get_hf_file_metadata(url, token=False)
    content = FILES[path]
    etag = content.sha256 if path.endswith(".safetensors") else content.blob_id
    assert (found.commit_hash, found.etag, found.size) == (COMMIT, etag, content.size)


def test_the_library_downloads_what_is_served(served: LoopbackHub, tmp_path: Path) -> None:
    for path, content in FILES.items():
        got = hf_hub_download("org/model", path, endpoint=served.url, cache_dir=tmp_path, token=False)
        assert Path(got).read_bytes() == content.read(0, content.size)


def test_refusals_are_the_errors_of_the_library(served: LoopbackHub) -> None:
    served.add("org/gated", Repository(FILES, gated=True))
    api = HfApi(endpoint=served.url, token=False)
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("org/none")
    with pytest.raises(RevisionNotFoundError):
        api.model_info("org/model", revision="v9")
    url = hf_hub_url("org/gated", "config.json", endpoint=served.url)
    with pytest.raises(GatedRepoError):
        get_hf_file_metadata(url, token=False)
    assert get_hf_file_metadata(url, token=TOKEN).size == FILES["config.json"].size


def test_a_snapshot_that_the_library_downloaded_is_read_offline_and_online(
    served: LoopbackHub, options: Options
) -> None:
    cache = str(options.cache_dir)
    folder = snapshot_download("org/model", endpoint=served.url, cache_dir=cache, token=False)
    served.seen.clear()
    found = []
    for source in (folder, "hf://org/model"):
        opened = open_store(source, replace(options, offline=True))
        files = opened.files()
        assert [str(f.path) for f in files] == sorted(FILES)
        found.append([f.sha256 for f in opened.digests(files)])
    assert found[0] == found[1] == [FILES[p].sha256 for p in sorted(FILES)]
    assert served.seen == []
    online = open_store("hf://org/model", options)
    weights = next(f for f in online.files() if str(f.path) == "model.safetensors")
    assert online.open(weights).read(12_345, 77) == FILES["model.safetensors"].read(12_345, 77)
    assert served.ranges() == [], "what the cache holds is not fetched"
