"""Git LFS pointers in place of files: one line that says what is missing and what to do, never a verdict."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.numpy import save_file

from provenance_gate.artifact.digests import digest_files
from provenance_gate.artifact.interface import WeightFormat
from provenance_gate.artifact.inventory import list_files
from provenance_gate.cli import main
from tests.models import llama, write_model

OID = "4d7a" * 16
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{OID}\nsize 5000000000\n"
WEIGHTS = "a Git LFS pointer, the weights are not here; run `git lfs pull`"
SMALL = "a Git LFS pointer, the file is not here; run `git lfs pull`"


def refused(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr of a check that ends with exit 3."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(["check", str(path), "--offline"])
    captured = capsys.readouterr()
    assert stopped.value.code == 3 and captured.out == ""
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1, captured.err
    return lines[0]


@pytest.mark.parametrize(
    "name", ["model.safetensors", "pytorch_model.bin", "model-Q4_K_M.gguf", "consolidated.00.pth", "weights.bin"]
)
def test_weights_that_were_not_fetched_are_exit_3(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_model(tmp_path / "m", llama(1))
    (folder / "model.safetensors").unlink()
    (folder / name).write_text(POINTER)
    assert refused(folder, capsys).endswith(f"{name}: {WEIGHTS}")
    assert refused(folder / name, capsys).endswith(f"{name}: {WEIGHTS}")


@pytest.mark.parametrize("name", ["model-00002-of-00002.safetensors", "model-00001-of-00002.safetensors"])
def test_one_shard_that_was_not_fetched_refuses_the_whole(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_model(tmp_path / "m", llama(1), shards=2)
    (folder / name).write_text(POINTER)
    assert refused(folder, capsys).endswith(f"{name}: {WEIGHTS}")


def test_another_format_that_was_not_fetched_refuses_the_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_model(tmp_path / "m", llama(1))
    (folder / "pytorch_model.bin").write_text(POINTER)
    assert refused(folder, capsys).endswith(f"pytorch_model.bin: {WEIGHTS}")


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_model.bin", "adapter_config.json"])
def test_an_adapter_that_was_not_fetched_is_exit_3(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    (tmp_path / name).write_text(POINTER)
    assert refused(tmp_path, capsys).endswith(f"{name}: {SMALL if name.endswith('json') else WEIGHTS}")


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "README.md",
        "model.safetensors.index.json",
        "quantize_config.json",
        "params.json",
        "mergekit_config.yml",
    ],
)
def test_a_small_file_that_was_not_fetched_is_exit_3(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_model(tmp_path / "m", llama(1), shards=2)
    (folder / name).write_text(POINTER)
    assert refused(folder, capsys).endswith(f"{name}: {SMALL}")


def test_the_inventory_has_the_digest_that_the_pointer_states(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_text(POINTER)
    (record,) = digest_files(tmp_path, list_files(tmp_path))
    assert (record.format, record.sha256, record.declared) == (WeightFormat.LFS_POINTER, OID, True)


def test_fetched_weights_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_model(tmp_path / "m", llama(1))
    save_file(llama(1), folder / "model.safetensors")
    with pytest.raises(SystemExit) as stopped:
        main(["check", str(folder), "--offline"])
    assert stopped.value.code in (0, 1) and "LFS" not in capsys.readouterr().err
