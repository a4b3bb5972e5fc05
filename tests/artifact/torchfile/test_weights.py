"""Which checkpoints of a folder are the model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from provenance_gate.artifact.interface import StoredTensor
from provenance_gate.artifact.inventory import list_files
from provenance_gate.artifact.sources import LocalStore
from provenance_gate.artifact.torchfile.weights import open_torch_weights
from provenance_gate.errors import ArtifactError, MalformedFileError, PathEscapeError, UnsafeFormatError

from .build import SIX, legacy, mapping, modern, name, several, tensor, text

FIRST, SECOND = "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"
INDEX = "pytorch_model.bin.index.json"


def save(path: Path, *names: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(modern(mapping({n: tensor() for n in names})))


def halves(folder: Path, weight_map: Mapping[str, object] | None = None) -> None:
    save(folder / FIRST, "a")
    save(folder / SECOND, "b")
    if weight_map is not None:
        (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))


def read(root: Path) -> tuple[tuple[StoredTensor, ...], tuple[str, ...]]:
    return open_torch_weights(LocalStore(root), list_files(root))


def refused(root: Path, error: type[ArtifactError], *words: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        read(root)
    assert type(caught.value) is error, caught.value
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("file", ["pytorch_model.bin", "model.pth", "model.pt", "consolidated.00.pth", "anything.pt"])
def test_a_single_checkpoint_is_the_model(tmp_path: Path, file: str) -> None:
    save(tmp_path / file, "b", "a")
    tensors, notes = read(tmp_path)
    assert [(t.name, str(t.path)) for t in tensors] == [("a", file), ("b", file)]
    assert notes == ()
    assert tensors[0].reader.read(0, 6).tolist() == [0, 1, 2, 3, 4, 5]
    assert len(read(tmp_path / file)[0]) == 2


def test_a_folder_without_checkpoints_gives_nothing(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert read(tmp_path) == ((), ())


def test_only_what_trainers_write_beside_a_model_is_no_model(tmp_path: Path) -> None:
    for file in ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "adapter_model.bin"):
        (tmp_path / file).write_bytes(b"\x80\x02cos\nsystem\n)R.")
    assert read(tmp_path) == ((), ())


def test_trainer_files_beside_the_model_are_passed_over_with_a_note(tmp_path: Path) -> None:
    save(tmp_path / "pytorch_model.bin", "a")
    (tmp_path / "training_args.bin").write_bytes(b"\x80\x02cos\nsystem\n)R.")
    tensors, notes = read(tmp_path)
    assert [t.name for t in tensors] == ["a"]
    assert "training_args.bin" in notes[0]


@pytest.mark.parametrize("index", [None, {"a": FIRST, "b": SECOND}])
def test_shards_are_joined(tmp_path: Path, index: Mapping[str, object] | None) -> None:
    halves(tmp_path, index)
    assert [(t.name, str(t.path)) for t in read(tmp_path)[0]] == [("a", FIRST), ("b", SECOND)]


def test_both_layouts_may_meet_in_one_model(tmp_path: Path) -> None:
    halves(tmp_path)
    old = several(text("storage"), name("torch", "FloatStorage"), text("0"), text("cpu"), b"K\x06", b"N") + b"Q"
    (tmp_path / SECOND).write_bytes(legacy(mapping({"b": tensor(old)})))
    assert [t.name for t in read(tmp_path)[0]] == ["a", "b"]


@pytest.mark.parametrize("gone", [FIRST, SECOND])
@pytest.mark.parametrize("index", [None, {"a": FIRST, "b": SECOND}])
def test_a_missing_shard_is_noticed(tmp_path: Path, gone: str, index: Mapping[str, object] | None) -> None:
    halves(tmp_path, index)
    (tmp_path / gone).unlink()
    refused(tmp_path, ArtifactError, gone, "missing")


@pytest.mark.parametrize(
    ("index", "error", "word"),
    [
        ({"a": SECOND, "b": FIRST}, MalformedFileError, "'a'"),
        ({"a": FIRST, "b": SECOND, "ghost": SECOND}, MalformedFileError, "'ghost'"),
        ({"a": FIRST, "b": "../" + SECOND}, PathEscapeError, "not the name of a file"),
        ({"a": FIRST, "b": "/etc/passwd"}, PathEscapeError, "not the name of a file"),
        ({"a": FIRST, "b": 1}, MalformedFileError, "file name"),
        ({"a": FIRST, "b": "model.safetensors"}, ArtifactError, "not a PyTorch file"),
        ({}, MalformedFileError, "weight_map"),
        (None, MalformedFileError, "weight_map"),
    ],
)
def test_an_index_that_lies_is_refused(tmp_path: Path, index: object, error: type[ArtifactError], word: str) -> None:
    halves(tmp_path)
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": index}))
    refused(tmp_path, error, INDEX, word)


def test_an_index_beside_a_single_file_of_other_weights_is_refused(tmp_path: Path) -> None:
    halves(tmp_path, {"a": FIRST, "b": SECOND})
    save(tmp_path / "pytorch_model.bin", "a")
    refused(tmp_path, ArtifactError, INDEX, "remove one of the two")


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    halves(tmp_path)
    save(tmp_path / SECOND, "a", "b")
    refused(tmp_path, MalformedFileError, "'a'", FIRST, SECOND)


def test_slices_for_several_gpus_are_refused_by_name(tmp_path: Path) -> None:
    for number in range(2):
        save(tmp_path / f"consolidated.{number:02d}.pth", "a", "b")
    refused(tmp_path, ArtifactError, "consolidated.01.pth", "tensor parallel")


def test_consolidated_parts_of_different_tensors_are_joined(tmp_path: Path) -> None:
    save(tmp_path / "consolidated.00.pth", "a")
    save(tmp_path / "consolidated.01.pth", "b")
    assert [t.name for t in read(tmp_path)[0]] == ["a", "b"]


def test_the_hugging_face_layout_comes_first(tmp_path: Path) -> None:
    save(tmp_path / "pytorch_model.bin", "a")
    save(tmp_path / "consolidated.00.pth", "b")
    tensors, notes = read(tmp_path)
    assert [t.name for t in tensors] == ["a"]
    assert "consolidated.00.pth" in notes[0]


@pytest.mark.parametrize(("one", "other"), [("x.pt", "y.pt"), ("model.pth", "model.pt")])
def test_two_checkpoints_that_could_be_the_model_are_refused(tmp_path: Path, one: str, other: str) -> None:
    save(tmp_path / one, "a")
    save(tmp_path / other, "b")
    refused(tmp_path, ArtifactError, one, other)


def test_weights_in_a_subfolder_are_not_the_model(tmp_path: Path) -> None:
    save(tmp_path / "unet" / "pytorch_model.bin", "a")
    assert read(tmp_path) == ((), ())


def test_a_git_lfs_pointer_is_no_weights(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_text(
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 1\n"
    )
    refused(tmp_path, ArtifactError, "Git LFS pointer", "git lfs pull")


def test_a_payload_in_one_shard_refuses_the_model(tmp_path: Path) -> None:
    halves(tmp_path)
    (tmp_path / SECOND).write_bytes(modern(mapping({"b": name("os", "system") + b")R"}), {"0": SIX}))
    refused(tmp_path, UnsafeFormatError, SECOND, "calls os.system", "nothing was executed")
