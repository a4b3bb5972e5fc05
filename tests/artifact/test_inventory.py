"""Which files an artifact has, and which folders and names are refused."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from provenance_gate.artifact.interface import FileKind, FileRecord, NotMeasured, WeightFormat, weight_formats
from provenance_gate.artifact.inventory import (
    MAX_DEPTH,
    find_model_folders,
    list_files,
    parse_lfs_pointer,
    read_small,
)
from provenance_gate.errors import ArtifactError, MalformedFileError, PathEscapeError

from .build import save

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0a' * 32}\nsize 4096\n".encode()
PICKLE = pickle.dumps({"weight": [1.0]}, protocol=2)


def torch_zip() -> bytes:
    """The container of torch.save: a zip whose first member is a pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", PICKLE)
        archive.writestr("archive/data/0", b"\0" * 8)
    return buffer.getvalue()


def record_of(folder: Path, name: str, content: bytes) -> FileRecord:
    (folder / name).write_bytes(content)
    (record,) = (r for r in list_files(folder) if str(r.path) == name)
    return record


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("README.md", FileKind.CARD),
        ("readme.MD", FileKind.CARD),
        ("LICENSE", FileKind.LICENSE),
        ("licence.txt", FileKind.LICENSE),
        ("NOTICE", FileKind.LICENSE),
        ("USE_POLICY.md", FileKind.LICENSE),
        ("model.safetensors.index.json", FileKind.INDEX),
        ("pytorch_model.bin.index.json", FileKind.INDEX),
        ("tokenizer.json", FileKind.TOKENIZER),
        ("tokenizer_config.json", FileKind.TOKENIZER),
        ("vocab.txt", FileKind.TOKENIZER),
        ("merges.txt", FileKind.TOKENIZER),
        ("special_tokens_map.json", FileKind.TOKENIZER),
        ("config.json", FileKind.CONFIG),
        ("mergekit_config.yml", FileKind.CONFIG),
        ("modeling_custom.py", FileKind.OTHER),
        ("logo.png", FileKind.OTHER),
    ],
)
def test_kinds_follow_from_names(tmp_path: Path, name: str, kind: FileKind) -> None:
    record = record_of(tmp_path, name, b"x")
    assert (record.kind, record.format, record.size) == (kind, None, 1)
    assert isinstance(record.sha256, NotMeasured)


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("pytorch_model.bin", torch_zip(), WeightFormat.PICKLE),
        ("pytorch_model-00001-of-00002.bin", b"", WeightFormat.PICKLE),
        ("training_args.bin", PICKLE, WeightFormat.PICKLE),
        ("any.bin", PICKLE, WeightFormat.PICKLE),
        ("any.bin", torch_zip(), WeightFormat.PICKLE),
        ("model.pt", b"x", WeightFormat.PICKLE),
        ("model.CKPT", b"x", WeightFormat.PICKLE),
        ("model.safetensors", PICKLE, WeightFormat.PICKLE),
        ("model.safetensors", torch_zip(), WeightFormat.PICKLE),
        ("notes.txt", PICKLE, WeightFormat.PICKLE),
        ("notes.txt", torch_zip(), WeightFormat.PICKLE),
        ("config.json", pickle.dumps([1], protocol=5), WeightFormat.PICKLE),
        ("model.gguf", b"GGUF\3\0\0\0", WeightFormat.GGUF),
        ("ggml-model.bin", b"GGUF\3\0\0\0", WeightFormat.GGUF),
        ("model.onnx", b"\x08\x07", WeightFormat.ONNX),
        ("tf_model.h5", b"\x89HDF\r\n\x1a\n", WeightFormat.HDF5),
        ("weights.dat", b"\x89HDF\r\n\x1a\n", WeightFormat.HDF5),
        ("arrays.npz", b"PK\x05\x06", WeightFormat.NUMPY),
        ("flax_model.msgpack", b"\x81", WeightFormat.MSGPACK),
        ("model.tflite", b"\0", WeightFormat.TFLITE),
        ("model.safetensors", POINTER, WeightFormat.LFS_POINTER),
        ("pytorch_model.bin", POINTER, WeightFormat.LFS_POINTER),
    ],
)
def test_first_bytes_outweigh_the_suffix(tmp_path: Path, name: str, content: bytes, found: WeightFormat) -> None:
    record = record_of(tmp_path, name, content)
    assert (record.format, record.kind) == (found, FileKind.WEIGHTS)


@pytest.mark.parametrize(
    ("name", "content"), [("openvino_model.bin", b"\0\0"), ("data.zip", b"PK\x03\x04zip"), ("tokenizer.json", POINTER)]
)
def test_files_that_only_look_like_weights_are_none(tmp_path: Path, name: str, content: bytes) -> None:
    assert record_of(tmp_path, name, content).format is None


def test_a_safetensors_file_whose_length_looks_like_a_pickle_is_safetensors(tmp_path: Path) -> None:
    header = b"{" + b" " * (0x0280 - 2) + b"}"
    assert len(header) == 0x0280
    content = len(header).to_bytes(8, "little") + header
    assert content.startswith(b"\x80\x02")
    assert record_of(tmp_path, "model.safetensors", content).format is WeightFormat.SAFETENSORS


def test_formats_are_listed_once_each(tmp_path: Path) -> None:
    for name in ("b.safetensors", "a.safetensors"):
        save(tmp_path / name, {"w": np.zeros(1, np.float32)})
    (tmp_path / "c.pt").write_bytes(PICKLE)
    assert weight_formats(list_files(tmp_path)) == (WeightFormat.PICKLE, WeightFormat.SAFETENSORS)


def test_files_are_sorted_by_path_with_those_of_subfolders(tmp_path: Path) -> None:
    for name in ("b/x.txt", "a.txt", "b.txt", "b/a/y.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    found = [(str(r.path), r.size) for r in list_files(tmp_path)]
    assert found == [("a.txt", 5), ("b.txt", 5), ("b/a/y.txt", 9), ("b/x.txt", 7)]


@pytest.mark.parametrize("name", [".git", ".cache", "__pycache__", ".ipynb_checkpoints"])
def test_folders_of_tools_are_passed_over(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "x.safetensors").write_text("x")
    assert list_files(tmp_path) == ()


def test_a_file_called_git_is_a_file(tmp_path: Path) -> None:
    assert record_of(tmp_path, ".git", b"gitdir: x").kind is FileKind.OTHER


def test_a_single_file_is_its_own_inventory(tmp_path: Path) -> None:
    path = save(tmp_path / "adapter_model.safetensors", {"w": np.zeros(1, np.float32)})
    (record,) = list_files(path)
    assert record.path == PurePosixPath("adapter_model.safetensors")
    assert record.format is WeightFormat.SAFETENSORS
    assert read_small(path, record, 10_000) == path.read_bytes()


# Links


def test_a_link_out_of_the_folder_is_an_escape_that_names_link_and_target(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").symlink_to("../secret")
    with pytest.raises(PathEscapeError, match=r"^config\.json: .*secret"):
        list_files(tmp_path / "model")


def test_a_link_to_a_neighbor_whose_name_begins_alike_is_an_escape(tmp_path: Path) -> None:
    for name in ("model", "model-private"):
        (tmp_path / name).mkdir()
    (tmp_path / "model-private" / "x").write_text("x")
    (tmp_path / "model" / "x").symlink_to("../model-private/x")
    with pytest.raises(PathEscapeError):
        list_files(tmp_path / "model")


def test_a_chain_of_links_is_followed_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "b").symlink_to("../secret")
    (tmp_path / "model" / "a").symlink_to("b")
    with pytest.raises(PathEscapeError, match=r"^a: "):
        list_files(tmp_path / "model")


def test_a_link_within_the_folder_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "config.json").write_text("{}")
    (tmp_path / "config.json").symlink_to("real/config.json")
    assert [(str(r.path), r.size) for r in list_files(tmp_path)] == [("config.json", 2), ("real/config.json", 2)]


def test_a_folder_reached_through_a_link_is_read(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_text("x")
    (tmp_path / "real" / "b").symlink_to("a")
    (tmp_path / "link").symlink_to("real")
    assert [str(r.path) for r in list_files(tmp_path / "link")] == ["a", "b"]


def test_a_link_to_a_folder_is_refused_even_within(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "again").symlink_to(".")
    with pytest.raises(PathEscapeError, match=r"^again: "):
        list_files(tmp_path)


@pytest.mark.parametrize("target", ["nowhere", "loop"])
def test_a_broken_link_and_a_circle_of_links_are_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "loop").symlink_to(target)
    with pytest.raises(ArtifactError, match=r"^loop: a link that leads nowhere$"):
        list_files(tmp_path)


def hub_cache(root: Path, target: str = "../../blobs/abc") -> Path:
    """The layout of the hub's download folder."""
    model = root / "models--org--name"
    (model / "blobs").mkdir(parents=True)
    (model / "blobs" / "abc").write_text("{}")
    snapshot = model / "snapshots" / ("f" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").symlink_to(target)
    return snapshot


def test_a_snapshot_of_the_hub_cache_may_link_to_its_blobs(tmp_path: Path) -> None:
    (record,) = list_files(hub_cache(tmp_path))
    assert (str(record.path), record.size) == ("config.json", 2)


def test_a_snapshot_of_the_hub_cache_may_not_link_beyond_the_cache(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    with pytest.raises(PathEscapeError):
        list_files(hub_cache(tmp_path / "hub", "../../../../secret"))


def test_a_snapshot_of_the_hub_cache_may_not_link_to_another_model(tmp_path: Path) -> None:
    other = tmp_path / "models--org--other" / "blobs"
    other.mkdir(parents=True)
    (other / "abc").write_text("{}")
    with pytest.raises(PathEscapeError):
        list_files(hub_cache(tmp_path, "../../../models--org--other/blobs/abc"))


def test_a_snapshot_of_the_hub_cache_may_not_link_to_what_lies_beside_the_blobs(tmp_path: Path) -> None:
    snapshot = hub_cache(tmp_path, "../../refs/main")
    (snapshot.parent.parent / "refs").mkdir()
    (snapshot.parent.parent / "refs" / "main").write_text("f" * 40)
    with pytest.raises(PathEscapeError):
        list_files(snapshot)


def test_a_folder_in_a_snapshot_of_the_hub_cache_may_link_to_the_blobs(tmp_path: Path) -> None:
    snapshot = hub_cache(tmp_path)
    (snapshot / "sub").mkdir()
    (snapshot / "sub" / "config.json").symlink_to("../../../blobs/abc")
    assert [str(r.path) for r in list_files(snapshot / "sub")] == ["config.json"]


# What is no file


def test_a_pipe_in_the_folder_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(ArtifactError, match=r"^model\.safetensors: a pipe"):
        list_files(tmp_path)


def test_a_link_to_a_pipe_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    os.mkfifo(tmp_path / ".git" / "pipe")
    (tmp_path / "config.json").symlink_to(".git/pipe")
    with pytest.raises(ArtifactError, match=r"^config\.json: a pipe"):
        list_files(tmp_path)


def test_a_pipe_or_nothing_as_the_artifact_itself_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArtifactError, match="neither a folder nor a regular file"):
        list_files(tmp_path / "pipe")
    with pytest.raises(ArtifactError, match="No such file"):
        list_files(tmp_path / "none")
    with pytest.raises(ArtifactError, match="null"):
        list_files(Path("a\0b"))


@pytest.mark.parametrize("name", [b"caf\xe9.txt", b"a\nb", b"\x1b[2J", b"\x7f"])
def test_a_name_without_a_plain_form_is_refused_in_one_printable_line(tmp_path: Path, name: bytes) -> None:
    path = os.fsencode(tmp_path) + b"/" + name
    with open(path, "wb"):  # noqa: PTH123
        pass
    for root in (tmp_path, Path(os.fsdecode(path))):
        with pytest.raises(ArtifactError, match="the file name is not UTF-8") as caught:
            list_files(root)
        assert str(caught.value).isprintable()


def test_folders_may_nest_to_the_limit_and_no_deeper(tmp_path: Path) -> None:
    deepest = tmp_path.joinpath(*["d"] * MAX_DEPTH)
    deepest.mkdir(parents=True)
    (deepest / "x").write_text("x")
    assert len(list_files(tmp_path)) == 1
    (deepest / "d").mkdir()
    with pytest.raises(ArtifactError, match=f"deeper than {MAX_DEPTH}"):
        list_files(tmp_path)


def test_more_files_than_the_limit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("provenance_gate.artifact.inventory.MAX_FILES", 3)
    for number in range(3):
        (tmp_path / f"{number}").write_text("x")
    assert len(list_files(tmp_path)) == 3
    (tmp_path / "3").write_text("x")
    with pytest.raises(ArtifactError, match="more than 3 files"):
        list_files(tmp_path)


# Small files and pointers


def test_a_small_file_larger_than_its_limit_is_refused_by_name(tmp_path: Path) -> None:
    record = record_of(tmp_path, "config.json", b"x" * 11)
    with pytest.raises(MalformedFileError, match=r"^config\.json: 11 bytes, expected at most 10$"):
        read_small(tmp_path, record, 10)
    assert read_small(tmp_path, record, 11) == b"x" * 11


def test_a_small_file_that_grew_or_went_is_refused(tmp_path: Path) -> None:
    record = record_of(tmp_path, "config.json", b"x")
    (tmp_path / "config.json").write_bytes(b"x" * 11)
    with pytest.raises(MalformedFileError, match=r"^config\.json: grew past 10 bytes"):
        read_small(tmp_path, record, 10)
    (tmp_path / "config.json").unlink()
    with pytest.raises(ArtifactError, match=r"^config\.json: "):
        read_small(tmp_path, record, 10)


def test_a_pointer_tells_digest_and_size() -> None:
    pointer = parse_lfs_pointer(POINTER, "model.safetensors")
    assert (pointer.sha256, pointer.size) == ("0a" * 32, 4096)


@pytest.mark.parametrize(
    "text",
    [
        "version https://git-lfs.github.com/spec/v1\n",
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0A' * 32}\nsize 1\n",
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0a' * 31}\nsize 1\n",
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0a' * 32}\nsize -1\n",
        f"version https://git-lfs.github.com/spec/v1\noid md5:{'0a' * 16}\nsize 1\n",
    ],
)
def test_a_pointer_without_oid_or_size_is_refused(text: str) -> None:
    with pytest.raises(MalformedFileError, match=r"^w\.bin: .*oid and size"):
        parse_lfs_pointer(text.encode(), "w.bin")


# Model folders


def test_model_folders_are_found_and_not_searched_further(tmp_path: Path) -> None:
    for name in (
        "b/full/config.json",
        "b/full/model.safetensors",
        "b/full/unet/config.json",
        "b/full/unet/model.safetensors",
        "a/adapter/adapter_config.json",
        "a/quantized/x.Q4.GGUF",
        "a/torch/config.json",
        "a/torch/pytorch_model.bin",
        "a/config-only/config.json",
        "a/weights-only/model.safetensors",
        ".git/config.json",
        ".git/model.safetensors",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    found = [p.relative_to(tmp_path).as_posix() for p in find_model_folders(tmp_path)]
    assert found == ["a/adapter", "a/quantized", "a/torch", "b/full"]
    assert find_model_folders(tmp_path / "b" / "full") == (tmp_path / "b" / "full",)


def test_links_are_not_searched_for_models(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "adapter_config.json").write_text("{}")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to("../out")
    (tmp_path / "in" / "self").symlink_to(".")
    assert find_model_folders(tmp_path / "in") == ()


def test_searching_what_is_no_folder_is_an_artifact_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        find_model_folders(tmp_path / "none")
