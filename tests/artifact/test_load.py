"""A path to an artifact: what opens, what is refused, and that shards do not matter."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from provenance_gate.artifact.interface import Artifact, FileKind, ModelConfig, NotMeasured
from provenance_gate.artifact.load import NoModelError, open_artifact
from provenance_gate.errors import ArtifactError, MalformedFileError, PathEscapeError

from . import layouts
from .build import Array, save, save_model, save_shards, values

CARD = "---\nbase_model: org/base\nlicense: mit\n---\n# Model\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = layouts.llama()
    return save_model(tmp_path / "my-model", model.tensors, model.config)


def contents(artifact: Artifact) -> dict[str, Array]:
    return {str(t.key): t.read_rows(0, t.shape[0]) for t in artifact.canonical}


def refused(folder: Path, error: type[ArtifactError], *words: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        open_artifact(folder)
    assert type(caught.value) is error
    assert str(caught.value).isprintable()
    for word in words:
        assert word in str(caught.value)


def test_a_model_folder_opens_with_all_that_it_says(folder: Path) -> None:
    (folder / "README.md").write_text(CARD)
    opened = open_artifact(folder)
    artifact = opened.artifact
    assert (artifact.name, opened.store.location, artifact.roles_from) == ("my-model", str(folder), "names")
    assert [str(f.path) for f in artifact.files] == ["README.md", "config.json", "model.safetensors"]
    assert isinstance(artifact.config, ModelConfig)
    assert artifact.config.num_attention_heads == layouts.HEADS
    assert [b.id for b in artifact.claims.bases] == ["org/base"]
    assert [c.id for c in artifact.claims.licenses] == ["mit"]
    assert [t.name for t in artifact.stored] == sorted(layouts.llama().tensors)
    assert artifact.parameters == layouts.llama().numbers.used
    assert artifact.weight_bytes == artifact.parameters * 4
    assert artifact.notes == ()


def test_opening_reads_headers_only(folder: Path) -> None:
    opened = open_artifact(folder)
    size = (folder / "model.safetensors").stat().st_size
    assert opened.counter.bytes_read == size - opened.artifact.weight_bytes


def test_the_name_is_the_users_or_the_last_part_of_the_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_artifact(folder, "other").artifact.name == "other"
    monkeypatch.chdir(folder)
    assert open_artifact(Path()).artifact.name == "my-model"


@pytest.mark.parametrize("count", [1, 2, 5])
def test_shards_hold_the_same_model_as_one_file(tmp_path: Path, folder: Path, count: int) -> None:
    model = layouts.llama()
    names = sorted(model.tensors, reverse=True)
    shards = [{n: model.tensors[n] for n in names[i::count]} for i in range(count)]
    sharded = open_artifact(save_shards(tmp_path / "sharded", shards)).artifact
    single = open_artifact(folder).artifact
    assert [t.name for t in sharded.stored] == [t.name for t in single.stored]
    assert [t.key for t in sharded.canonical] == [t.key for t in single.canonical]
    for key, array in contents(single).items():
        np.testing.assert_array_equal(contents(sharded)[key], array)


def test_a_single_file_opens_without_config(folder: Path) -> None:
    opened = open_artifact(folder / "model.safetensors")
    assert opened.artifact.name == "model.safetensors"
    assert opened.artifact.config == NotMeasured("no config.json")
    assert opened.artifact.tokenizer == NotMeasured("no tokenizer.json")
    for tensor in opened.artifact.stored:
        np.testing.assert_array_equal(values(tensor), layouts.llama().tensors[tensor.name])


def test_an_adapter_folder_opens_with_its_base_as_a_claim(tmp_path: Path) -> None:
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    other = name.replace("lora_A", "lora_B")
    save(
        tmp_path / "adapter_model.safetensors", {name: np.ones((2, 8), np.float32), other: np.ones((8, 2), np.float32)}
    )
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base", "r": 2}')
    artifact = open_artifact(tmp_path).artifact
    assert [t.name for t in artifact.stored] == [name, other]
    assert [(b.id, b.relation) for b in artifact.claims.bases] == [("org/base", "adapter")]
    assert artifact.roles_from == "none"


@pytest.mark.parametrize("name", ["config.json", "adapter_config.json"])
def test_a_config_alone_opens_without_tensors(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{}")
    artifact = open_artifact(tmp_path).artifact
    assert (artifact.stored, artifact.canonical, artifact.weight_bytes) == ((), (), 0)


def test_weights_of_a_format_that_is_not_read_are_listed_with_a_note(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"\x08\x07")
    (tmp_path / "m.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    artifact = open_artifact(tmp_path).artifact
    assert artifact.stored == ()
    assert [f.kind for f in artifact.files] == [FileKind.WEIGHTS] * 2
    assert artifact.notes == ("weights in hdf5, onnx are listed but not read",)


def test_every_kind_of_merge_file_is_a_claim(folder: Path) -> None:
    (folder / "mergekit_config.yml").write_text("models:\n  - model: org/one\n")
    (folder / "mergekit_moe_config.yml").write_text("experts:\n  - source_model: org/two\n")
    assert [b.id for b in open_artifact(folder).artifact.claims.bases] == ["org/one", "org/two"]


def test_generation_config_fills_in_token_ids(folder: Path) -> None:
    (folder / "generation_config.json").write_text('{"bos_token_id": 1, "eos_token_id": [2, 3]}')
    config = open_artifact(folder).artifact.config
    assert isinstance(config, ModelConfig)
    assert (config.bos_token_id, config.eos_token_id) == (1, 2)


def test_a_missing_tokenizer_is_not_measured(folder: Path) -> None:
    assert open_artifact(folder).artifact.tokenizer == NotMeasured("no tokenizer.json")


# What is refused


def test_a_folder_without_a_model_is_refused_with_a_hint(tmp_path: Path) -> None:
    refused(tmp_path, NoModelError, str(tmp_path), "no model here")
    (tmp_path / "README.md").write_text(CARD)
    save(tmp_path / "below" / "model.safetensors", {"w": np.zeros(1, np.float32)})
    refused(tmp_path, NoModelError, "--recursive")


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "none", ArtifactError, "none", "No such file")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[]", "expected an object, found a list"),
        ('{"hidden_size": NaN}', "NaN"),
        ('{"hidden_size": "8"}', "hidden_size"),
        ('{"hidden_size": -1}', "hidden_size"),
        ('{"a": 1, "a": 2}', "twice"),
        ("", "not JSON"),
        ('{"a": ' + "[" * 100_000, "nested"),
    ],
)
def test_a_config_that_is_no_config_is_refused_by_name(folder: Path, text: str, word: str) -> None:
    (folder / "config.json").write_text(text)
    refused(folder, MalformedFileError, "config.json", word)


@pytest.mark.parametrize(
    "card",
    [
        "a: &a [x]\nb: &b [*a, *a, *a]\nc: [*b, *b, *b]\n",
        "base_model: !!python/object/apply:os.system [id]\n",
        "base_model: !x y\n",
        "base_model: [" * 50_000,
        "license: mit\nlicense: apache-2.0\n",
        "base_model: {a: b}\n",
        "base_model: 3\n",
        "base_model: a: b\n",
    ],
)
def test_a_card_that_would_explode_or_run_is_refused_by_name(folder: Path, card: str) -> None:
    (folder / "README.md").write_text(f"---\n{card}---\n")
    with pytest.raises(ArtifactError, match=r"^README\.md:[0-9]+:") as caught:
        open_artifact(folder)
    assert len(str(caught.value)) <= 600


@pytest.mark.parametrize("name", ["adapter_config.json", "generation_config.json", "tokenizer.json"])
@pytest.mark.parametrize("text", ["[]", "{", '{"a": NaN}', "\ud800".encode("utf-8", "surrogatepass")])
def test_every_json_file_that_is_read_must_be_sound(folder: Path, name: str, text: str | bytes) -> None:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    refused(folder, MalformedFileError, name)


@pytest.mark.parametrize("name", ["config.json", "README.md", "adapter_config.json", "mergekit_config.yml"])
def test_small_files_that_are_large_are_refused_unread(folder: Path, name: str) -> None:
    with (folder / name).open("wb") as file:
        file.truncate(1 << 40)
    refused(folder, MalformedFileError, name, "expected at most")


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "secret.json").write_text(json.dumps({"api_key": "x"}))
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("../secret.json")
    refused(folder, PathEscapeError, "config.json")
