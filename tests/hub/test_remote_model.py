"""A model on the hub measured as if it lay on disk: the same values, few requests, few bytes, any fault one clear error."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.artifact.load import OpenedArtifact, open_artifact
from provenance_gate.artifact.sources import HubId, LocalStore, Options, open_hub, open_store
from provenance_gate.errors import ArtifactError, ChangedFileError
from provenance_gate.fingerprint.interface import Fingerprint
from provenance_gate.fingerprint.measure import measure
from provenance_gate.fingerprint.observe import observe
from provenance_gate.reading import BaseOption, Reading, compare, read_model, with_digests
from tests.models import llama, noisy, tokenizer, write_model

from .contents import LLAMA_8B, LLAMA_70B, Bytes, Content, Repository, Shape, generated_model
from .server import LoopbackHub


def uploaded(folder: Path) -> Repository:
    return Repository({str(p.relative_to(folder)): Bytes(p.read_bytes()) for p in folder.rglob("*") if p.is_file()})


def norms(fingerprint: Fingerprint) -> object:
    signal = fingerprint.signals["nlf"]
    assert not isinstance(signal, NotMeasured)
    return signal.arrays["vector"]


def large(shape: Shape, seed: int = 1) -> Mapping[str, Content]:
    return generated_model(shape, seed) | {
        "tokenizer.json": Bytes(json.dumps(tokenizer(shape.vocabulary)).encode()),
        "README.md": Bytes(b"---\nlicense: apache-2.0\n---\n"),
    }


def remote(options: Options, repo_id: str = "org/model") -> OpenedArtifact:
    return open_artifact(open_hub(repo_id, options))


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("exact", [False, True])
def test_a_model_on_the_hub_has_the_fingerprint_of_the_same_model_on_disk(
    hub: LoopbackHub, options: Options, tmp_path: Path, shards: int, exact: bool
) -> None:
    folder = write_model(tmp_path / "m", llama(1), shards=shards)
    hub.add("org/model", uploaded(folder))
    local, far = open_artifact(folder), remote(options)
    ours, theirs = measure(far.artifact, exact=exact), measure(local.artifact, exact=exact)
    assert ours.signals.keys() == theirs.signals.keys()
    for name, signal in ours.signals.items():
        other = theirs.signals[name]
        if isinstance(signal, NotMeasured) or isinstance(other, NotMeasured):
            assert signal == other
            continue
        assert signal.arrays.keys() == other.arrays.keys()
        for key, array in signal.arrays.items():
            assert np.array_equal(array, other.arrays[key])
    assert far.artifact.claims == local.artifact.claims
    assert far.artifact.config == local.artifact.config
    assert (far.artifact.name, far.store.location) == ("org/model", f"hf://org/model@{'c' * 40}")


def test_digests_of_weights_are_marked_as_stated_by_the_hub(hub: LoopbackHub, options: Options, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", llama(1))
    hub.add("org/model", uploaded(folder))
    far = {str(f.path): f for f in with_digests(remote(options), Reading()).files}
    near = {str(f.path): f for f in with_digests(open_artifact(folder), Reading()).files}
    assert {p: f.sha256 for p, f in far.items()} == {p: f.sha256 for p, f in near.items()}
    assert [p for p, f in far.items() if f.declared] == ["model.safetensors"]
    assert not any(f.declared for f in near.values())


@pytest.mark.parametrize(("shape", "requests", "share"), [(LLAMA_8B, 400, 0.001), (LLAMA_70B, 900, 0.0005)])
def test_a_large_model_is_measured_with_few_requests_and_bytes(
    hub: LoopbackHub, options: Options, shape: Shape, requests: int, share: float
) -> None:
    hub.page = 1000
    hub.add("org/model", Repository(large(shape)))
    opened = remote(options)
    measure(opened.artifact, exact=False)
    print(shape, len(hub.seen), hub.bytes_sent)
    assert 7 * shape.layers <= len(hub.seen) <= requests
    assert hub.bytes_sent <= share * opened.artifact.weight_bytes
    assert opened.counter.requests == len(hub.seen)
    assert opened.counter.bytes_read <= hub.bytes_sent


def test_sampled_rows_of_a_large_model_are_its_rows(hub: LoopbackHub, options: Options) -> None:
    files = large(LLAMA_8B)
    hub.add("org/model", Repository(files))
    opened = remote(options)
    found = observe(opened.artifact, exact=False)
    tensors = {t.name: t for t in opened.artifact.stored}
    for rows in list(found.rows.values())[::40]:
        tensor = tensors[rows.stored_name]
        content = files[str(tensor.path)]
        begin = tensor.reader.begin + 2 * rows.first * rows.shape[1]  # type: ignore[attr-defined]
        raw = content.read(begin, 2 * rows.values.size)
        expected = (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4").reshape(rows.values.shape)
        assert np.array_equal(rows.values, expected)


def test_two_models_of_the_hub_are_compared(hub: LoopbackHub, options: Options, tmp_path: Path) -> None:
    base = llama(1)
    hub.add("org/base", uploaded(write_model(tmp_path / "base", base)))
    hub.add("me/child", uploaded(write_model(tmp_path / "child", noisy(base, 0.1), base="org/base")))
    found = compare("me/child", "hf://org/base", Reading(remote=options))
    assert found.base.id == "org/base"
    assert isinstance(found.lineage.score, float)
    assert found.lineage.score >= 0.7


def test_a_model_at_an_address_or_in_a_file_system_is_read_alike(
    hub: LoopbackHub, options: Options, tmp_path: Path
) -> None:
    fsspec = pytest.importorskip("fsspec")
    folder = write_model(tmp_path / "m", llama(1))
    hub.add("org/model", uploaded(folder))
    system = fsspec.filesystem("memory")
    for path in folder.iterdir():
        system.pipe_file(f"/remote-test/m/{path.name}", path.read_bytes())
    near = norms(measure(open_artifact(folder).artifact))
    for source in ("memory://remote-test/m", f"{hub.url}/org/model/resolve/main/model.safetensors"):
        model = read_model(source, Reading(remote=replace(options, offline=False)))
        assert np.array_equal(norms(model.fingerprint), near)
    system.rm("/remote-test", recursive=True)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"status": 403}, ArtifactError),
        ({"status": 404}, ArtifactError),
        ({"change": lambda s, h, b: (s, {**h, "ETag": '"x"'}, b)}, ChangedFileError),
        ({"change": lambda s, h, b: (s, {**h, "Content-Range": "bytes 0-1/2"}, b)}, ChangedFileError),
        ({"ignore_range": True}, ArtifactError),
    ],
)
def test_a_fault_in_the_middle_of_measuring_is_one_error(
    hub: LoopbackHub, options: Options, fault: dict[str, object], error: type[ArtifactError]
) -> None:
    hub.add("org/model", Repository(large(LLAMA_8B)))
    opened = remote(options)
    hub.fail(origin="storage", times=1 << 20, after=100, **fault)
    with pytest.raises(error) as caught:
        measure(opened.artifact, exact=False)
    assert str(caught.value).startswith("model-0000")


def test_a_cut_shard_on_the_hub_is_refused(hub: LoopbackHub, options: Options, tmp_path: Path) -> None:
    repository = uploaded(write_model(tmp_path / "m", llama(1)))
    cut = repository.files["model.safetensors"].read(0, 100_000)
    hub.add("org/model", replace(repository, files={**repository.files, "model.safetensors": Bytes(cut)}))
    with pytest.raises(ArtifactError, match=r"^model\.safetensors: .*is the file cut"):
        remote(options)


def test_an_address_with_an_equals_sign_is_no_id_of_a_base() -> None:
    assert BaseOption.parse("https://host/m.gguf?sig=x") == BaseOption(None, "https://host/m.gguf?sig=x")
    assert BaseOption.parse("org/base=https://host/m?s=x") == BaseOption("org/base", "https://host/m?s=x")
    assert HubId("org/name").revision is None


def test_a_local_folder_stays_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path / "org" / "name", llama(1))
    monkeypatch.chdir(tmp_path)
    assert isinstance(open_store("org/name"), LocalStore)
    assert open_artifact(Path("org/name")).artifact.name == "name"
