"""A folder that holds its model several times: which files are measured, and that all others are compared with them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import provenance_gate
from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.artifact.load import OpenedArtifact, open_artifact
from provenance_gate.errors import ArtifactError
from provenance_gate.gate import Gate
from provenance_gate.lineage.interface import Relation
from provenance_gate.policy.interface import Status
from provenance_gate.policy.load import load_policy
from provenance_gate.reading import Reading
from tests.artifact.gguf import build as gguf_file
from tests.formats import native, torch_bytes, write_gguf, write_torch
from tests.models import HEADS, Tensors, config, llama, noisy, write_model, write_shards


def rule(folder: Path) -> tuple[Status, str]:
    """What the rule on several formats says."""
    report = provenance_gate.check(str(folder))
    found = [f for f in report.results[0].findings if f.rule_id == "formats-agree"]
    worst = next((f for f in found if f.status is not Status.PASS), found[0])
    return worst.status, worst.message


def names(opened: OpenedArtifact) -> list[str]:
    return [other.name for other in opened.others]


def measured(opened: OpenedArtifact) -> set[str]:
    return {str(t.path) for t in opened.artifact.stored}


def gguf_folder(folder: Path, kinds: Mapping[str, tuple[str, Tensors]]) -> Path:
    """GGUF files by name, each of a kind and of its tensors."""
    folder.mkdir()
    for number, (name, (kind, tensors)) in enumerate(kinds.items()):
        made = write_gguf(folder.parent / f"made{number}", tensors, kind)
        shutil.move(made / "model.gguf", folder / name)
    return folder


QUANTIZED = {"m-Q4_0.gguf": ("Q4_0", llama(1)), "m-F16.gguf": ("F16", llama(1)), "m-Q8_0.gguf": ("Q8_0", llama(1))}
CLIP = gguf_file.gguf({"v.patch": np.ones((4, 4), np.float32)}, {"general.architecture": "clip"})


def test_the_most_precise_gguf_is_measured_and_the_others_agree_with_it(tmp_path: Path) -> None:
    folder = gguf_folder(tmp_path / "m", QUANTIZED)
    (folder / "mmproj-m-F16.gguf").write_bytes(CLIP)
    opened = open_artifact(folder)
    assert measured(opened) == {"m-F16.gguf"} and names(opened) == ["m-Q8_0.gguf", "m-Q4_0.gguf"]
    assert any("measured is m-F16.gguf" in note and "m-Q4_0.gguf" in note for note in opened.artifact.notes)
    assert rule(folder)[0] is Status.PASS


def test_one_gguf_of_another_model_among_the_quantizations_fails_by_name(tmp_path: Path) -> None:
    folder = gguf_folder(tmp_path / "m", {**QUANTIZED, "m-Q4_0.gguf": ("Q4_0", llama(2))})
    status, _ = rule(folder)
    assert status is Status.FAIL
    other = next(o for o in open_artifact(folder).others if o.name == "m-Q4_0.gguf")
    assert not isinstance(other.artifact, NotMeasured)


def test_a_child_among_the_quantizations_fails_too(tmp_path: Path) -> None:
    folder = gguf_folder(tmp_path / "m", {**QUANTIZED, "m-Q8_0.gguf": ("Q8_0", noisy(llama(1), 0.3))})
    assert rule(folder)[0] is Status.FAIL


def test_of_two_files_of_one_size_the_first_by_name_is_measured(tmp_path: Path) -> None:
    kinds = {name: ("Q8_0", llama(1)) for name in ("b.gguf", "a.gguf", "c.gguf")}
    assert measured(open_artifact(gguf_folder(tmp_path / "m", kinds))) == {"a.gguf"}


def test_a_model_does_not_hide_behind_the_name_of_a_projector(tmp_path: Path) -> None:
    folder = gguf_folder(tmp_path / "m", {"m.gguf": ("Q8_0", llama(1)), "mmproj-m.gguf": ("F16", llama(2))})
    opened = open_artifact(folder)
    assert measured(opened) == {"m.gguf"} and names(opened) == ["mmproj-m.gguf"]
    assert rule(folder)[0] is Status.FAIL


@pytest.mark.parametrize("name", ["mmproj-m.gguf", "vision.gguf"])
def test_a_projector_is_no_model_whatever_its_name(tmp_path: Path, name: str) -> None:
    folder = gguf_folder(tmp_path / "m", {"m.gguf": ("Q8_0", llama(1))})
    (folder / name).write_bytes(CLIP + bytes(1 << 20) if name == "vision.gguf" else CLIP)
    opened = open_artifact(folder)
    assert measured(opened) == {"m.gguf"} and names(opened) == []


def test_a_lora_in_gguf_beside_a_model_is_no_second_model(tmp_path: Path) -> None:
    folder = gguf_folder(tmp_path / "m", {"m.gguf": ("Q8_0", llama(1))})
    pair = {f"blk.0.attn_q.weight.lora_{part}": np.ones((4, 4), np.float32) for part in "ab"}
    (folder / "adapter.gguf").write_bytes(gguf_file.gguf(pair, {"general.architecture": "llama"}))
    assert names(open_artifact(folder)) == []


def split(folder: Path, name: str, tensors: Mapping[str, np.ndarray], metadata: dict[str, object]) -> None:
    """Two parts as gguf-split names and numbers them."""
    keys = sorted(tensors)
    for number in (0, 1):
        more = {"split.no": number, "split.count": 2, "split.tensors.count": len(keys)}
        part = {k: tensors[k] for k in keys[number::2]}
        path = folder / f"{name}-{number + 1:05d}-of-00002.gguf"
        path.write_bytes(gguf_file.gguf(part, {**metadata, **more} if number == 0 else more))


def test_a_split_gguf_beside_a_single_one_is_a_further_copy(tmp_path: Path) -> None:
    folder = gguf_folder(tmp_path / "m", {"m-F16.gguf": ("F16", llama(1))})
    single = open_artifact(folder / "m-F16.gguf").artifact
    tensors = {t.name: t.reader.read(0, t.size).reshape(t.shape) for t in single.stored}
    heads = {"llama.attention.head_count": HEADS, "llama.attention.head_count_kv": 2, "llama.block_count": 4}
    for name, value in tensors.items():
        if ".attn_q." in name or ".attn_k." in name:
            tensors[name] = gguf_file.permuted(value, HEADS if ".attn_q." in name else 2)
    split(folder, "m-f32", tensors, {"general.architecture": "llama", **heads})
    opened = open_artifact(folder)
    assert measured(opened) == {"m-f32-00001-of-00002.gguf", "m-f32-00002-of-00002.gguf"}
    assert names(opened) == ["m-F16.gguf"]
    assert rule(folder)[0] is Status.PASS
    (folder / "m-f32-00002-of-00002.gguf").unlink()
    with pytest.raises(ArtifactError, match="part 2 of 2 is missing"):
        open_artifact(folder)


def test_folders_without_end_are_refused(tmp_path: Path) -> None:
    folder = gguf_folder(tmp_path / "m", {"m.gguf": ("Q8_0", llama(1))})
    for number in range(64):
        (folder / f"x{number}.gguf").write_bytes(b"GGUF")
    with pytest.raises(ArtifactError, match="65 sets of gguf weights in one folder, expected at most 64"):
        open_artifact(folder)


# Safetensors


def half(tensors: Tensors) -> dict[str, np.ndarray]:
    return {k: v.astype(np.float16) for k, v in tensors.items()}


VARIANTS = (
    ["model.fp16.safetensors"],
    ["pytorch_model.safetensors"],
    ["model.fp16-00001-of-00002.safetensors", "model.fp16-00002-of-00002.safetensors"],
    ["model-00001-of-00002.fp16.safetensors", "model-00002-of-00002.fp16.safetensors"],
    ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
)


@pytest.mark.parametrize("files", VARIANTS, ids=lambda f: f[0])
def test_a_variant_beside_the_model_is_compared(tmp_path: Path, files: list[str]) -> None:
    for seed, expected in ((1, Status.PASS), (2, Status.FAIL)):
        folder = write_model(tmp_path / f"m{seed}", llama(1))
        tensors = half(llama(seed))
        keys = sorted(tensors)
        for number, name in enumerate(files):
            save_file({k: tensors[k] for k in keys[number :: len(files)]}, folder / name)
        opened = open_artifact(folder)
        assert measured(opened) == {"model.safetensors"} and names(opened) == files[:1]
        assert rule(folder)[0] is expected


def test_of_variants_alone_the_most_precise_is_measured(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", llama(1))
    (folder / "model.safetensors").rename(folder / "model.fp32.safetensors")
    save_file(half(llama(1)), folder / "model.fp16.safetensors")
    opened = open_artifact(folder)
    assert measured(opened) == {"model.fp32.safetensors"} and names(opened) == ["model.fp16.safetensors"]
    assert rule(folder)[0] is Status.PASS


def test_shards_of_another_export_left_behind_are_told(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", llama(1), shards=2)
    save_file(half(llama(1)), folder / "model-00001-of-00003.safetensors")
    status, message = rule(folder)
    assert status is Status.FAIL and "model-00002-of-00003.safetensors: missing" in message


def test_files_that_no_loader_looks_for_are_named_and_not_compared(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", llama(1))
    save_file(llama(2), folder / "other.safetensors")
    opened = open_artifact(folder)
    assert names(opened) == []
    assert any("not read" in n and "other.safetensors" in n for n in opened.artifact.notes)


def test_nothing_further_is_opened_until_it_is_asked_for(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", llama(1))
    (folder / "model.fp16.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{broken}")
    (other,) = open_artifact(folder).others
    assert isinstance(other.artifact, NotMeasured) and "model.fp16.safetensors" in other.artifact.reason


# Mistral's layout


@pytest.mark.parametrize("shards", [1, 2])
def test_the_consolidated_layout_beside_the_shards_is_the_same_model(tmp_path: Path, shards: int) -> None:
    for seed, expected in ((1, Status.PASS), (2, Status.FAIL)):
        folder = write_model(tmp_path / f"m{seed}", llama(1), shards=shards)
        save_file(native(llama(seed)), folder / "consolidated.safetensors")
        assert names(open_artifact(folder)) == ["consolidated.safetensors"]
        assert rule(folder)[0] is expected


def test_the_consolidated_layout_alone_is_its_hugging_face_form(tmp_path: Path) -> None:
    base = write_model(tmp_path / "base", llama(1))
    folder = tmp_path / "m"
    folder.mkdir()
    save_file(native(llama(1)), folder / "consolidated.safetensors")
    for params, relation in (({"n_heads": HEADS}, Relation.IDENTICAL), ({}, Relation.DERIVED)):
        (folder / "params.json").write_text(json.dumps(params))
        lineage = provenance_gate.compare(str(folder), str(base))
        assert lineage.relation is relation, (params, lineage.reason)
    notes = open_artifact(folder).artifact.notes
    assert any("the rows of 8 q and k tensors stay in the order of that code" in n for n in notes)


@pytest.mark.parametrize("heads", [0, -1, 1.5, True, "4", 10**9])
def test_a_number_of_heads_that_is_none_is_one_line(tmp_path: Path, heads: object) -> None:
    save_file(native(llama(1)), tmp_path / "consolidated.safetensors")
    (tmp_path / "params.json").write_text(json.dumps({"n_heads": heads}))
    with pytest.raises(ArtifactError, match=r"^params\.json: n_heads: expected an integer from 1"):
        open_artifact(tmp_path)


@pytest.mark.parametrize("heads", [3, 64, 65536])
def test_heads_that_do_not_fit_leave_the_rows_as_they_are(tmp_path: Path, heads: int) -> None:
    save_file(native(llama(1)), tmp_path / "consolidated.safetensors")
    (tmp_path / "params.json").write_text(json.dumps({"n_heads": heads}))
    opened = open_artifact(tmp_path).artifact
    assert any("no number of heads fits them" in n for n in opened.notes)


# PyTorch


@pytest.mark.parametrize(
    "files",
    [
        ["pytorch_model.fp16.bin"],
        ["pytorch_model.fp16-00001-of-00002.bin", "pytorch_model.fp16-00002-of-00002.bin"],
        ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"],
    ],
    ids=lambda f: f[0],
)
@pytest.mark.parametrize("main", ["pytorch_model.bin", "model.safetensors"])
def test_a_variant_of_a_checkpoint_is_compared(tmp_path: Path, files: list[str], main: str) -> None:
    for seed, expected in ((1, Status.PASS), (2, Status.FAIL)):
        folder = write_torch(tmp_path / f"m{seed}", llama(1))
        if main == "model.safetensors":
            (folder / "pytorch_model.bin").unlink()
            write_shards(folder, llama(1), 1)
        tensors = llama(seed)
        keys = sorted(tensors)
        for number, name in enumerate(files):
            (folder / name).write_bytes(torch_bytes({k: tensors[k] for k in keys[number :: len(files)]}))
        assert measured(open_artifact(folder)) == {main}
        assert rule(folder)[0] is expected


def test_a_variant_of_a_checkpoint_alone_is_the_model(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config()))
    (folder / "pytorch_model.fp16.bin").write_bytes(torch_bytes(llama(1)))
    assert measured(open_artifact(folder)) == {"pytorch_model.fp16.bin"}


def test_two_formats_are_undecided_while_no_weights_are_read(tmp_path: Path) -> None:
    """Below the tier that reads rows nobody knows whether the copies are one model: no pass."""
    folder = write_model(tmp_path / "m", llama(1))
    save_file(llama(2), folder / "model.fp16.safetensors")
    gate = Gate(load_policy("builtin:baseline"), reading=Reading(max_tier=1))
    (found,) = [f for f in gate.run([str(folder)]).results[0].findings if f.number == "PG302"]
    assert found.status is Status.UNDECIDED
