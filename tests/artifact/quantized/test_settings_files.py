"""quantize_config.json and quant_config.json of old exports: read where shapes leave a choice, believed nowhere else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from provenance_gate.artifact.interface import Artifact
from provenance_gate.artifact.load import open_artifact
from provenance_gate.errors import MalformedFileError

from ..build import save
from . import build
from .build import Array

OLD = {"bits": 4, "group_size": 96, "damp_percent": 0.01, "desc_act": False, "sym": True, "true_sequential": True}


def ambiguous() -> tuple[dict[str, Array], Array]:
    """192 inputs in two groups: 96 and 96, or 128 and 64. The values are those of 96."""
    parts, values = build.gptq(np.random.default_rng(0), 32, 192, 2, 4, index=[n // 96 for n in range(192)])
    return {k: v for k, v in parts.items() if isinstance(v, np.ndarray) and k != "m.g_idx"}, values


def folder(path: Path, **files: object) -> Path:
    parts, _ = ambiguous()
    save(path / "gptq_model-4bit-96g.safetensors", parts)
    for name, content in files.items():
        (path / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def values(artifact: Artifact) -> Array:
    (tensor,) = artifact.stored
    return tensor.reader.read(0, tensor.size).reshape(tensor.shape)


def test_without_it_the_usual_size_of_a_group_is_taken(tmp_path: Path) -> None:
    got = values(open_artifact(folder(tmp_path, config={})).artifact)
    assert not np.array_equal(got, ambiguous()[1])
    np.testing.assert_array_equal(got[:, :96], ambiguous()[1][:, :96])


@pytest.mark.parametrize(
    ("file", "content"),
    [("quantize_config", OLD), ("quant_config", {"w_bit": 4, "q_group_size": 96, "version": "GEMM"})],
)
def test_the_group_size_of_an_old_export_is_found(tmp_path: Path, file: str, content: object) -> None:
    artifact = open_artifact(folder(tmp_path, config={}, **{file: content})).artifact
    np.testing.assert_array_equal(values(artifact), ambiguous()[1])
    assert not any("says" in note for note in artifact.notes)


def test_it_is_not_believed_against_the_shapes(tmp_path: Path) -> None:
    wrong = {"bits": 8, "group_size": 32, "quant_method": "awq"}
    artifact = open_artifact(folder(tmp_path, quantize_config=wrong)).artifact
    notes = "; ".join(artifact.notes)
    assert artifact.stored[0].dtype == "GPTQ4"
    for said in ("8 bits, the shapes 4", "groups of 32, the shapes 128", "quant_method awq, the tensors are GPTQ4"):
        assert f"quantize_config.json says {said}" in notes


def test_config_json_comes_first(tmp_path: Path) -> None:
    first = {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 96}}
    artifact = open_artifact(folder(tmp_path, config=first, quantize_config={**OLD, "group_size": 128})).artifact
    np.testing.assert_array_equal(values(artifact), ambiguous()[1])


@pytest.mark.parametrize("old", [False, True])
def test_the_version_of_the_zero_points_is_found(tmp_path: Path, old: bool) -> None:
    form = "gptq" if old else "gptq_v2"
    got = values(open_artifact(folder(tmp_path, quantize_config={**OLD, "checkpoint_format": form})).artifact)
    assert np.array_equal(got, ambiguous()[1]) is old


@pytest.mark.parametrize("content", ["[1]", "{", '{"bits": 4, "bits": 8}', "[" * 100_000, '{"bits": NaN}'])
def test_a_file_that_is_no_object_is_refused_by_name(tmp_path: Path, content: str) -> None:
    with pytest.raises(MalformedFileError, match=r"^quantize_config\.json: "):
        open_artifact(folder(tmp_path, quantize_config=content))


def test_a_file_without_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MalformedFileError, match=r"^quantize_config\.json: .* expected at most"):
        open_artifact(folder(tmp_path, quantize_config=json.dumps({"bits": 4}) + " " * (5 << 20)))


@pytest.mark.parametrize("content", [{}, {"bits": "4", "group_size": -1}, {"bits": True}, {"group_size": 2**80}])
def test_fields_of_no_use_are_as_if_they_were_not_there(tmp_path: Path, content: object) -> None:
    assert open_artifact(folder(tmp_path, quantize_config=content)).artifact.stored[0].dtype == "GPTQ4"
