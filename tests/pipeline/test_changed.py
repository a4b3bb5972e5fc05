"""From changed files to models: what a commit hook hands over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from provenance_gate.commands.changed import models_of_changed


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    files = {
        "README.md": "# A repository",
        "config.json": '{"port": 80}',
        "app/config.json": '{"port": 80}',
        "models/one/README.md": "# One",
        "models/one/config.json": '{"model_type": "llama"}',
        "models/one/tokenizer/tokenizer.json": "{}",
        "models/two/config.json": "{}",
        "models/two/model.safetensors": "",
        "models/adapter/adapter_config.json": "{}",
        "models/quantized/model-Q4_0.gguf": "",
    }
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("files", "models"),
    [
        (["README.md", "config.json", "app/config.json"], []),
        (["models/README.md", "models/gone/README.md"], []),
        (["models/one/README.md"], ["models/one"]),
        (["models/one/tokenizer/tokenizer.json"], ["models/one"]),
        (["models/two/config.json", "models/adapter/README.md"], ["models/adapter", "models/two"]),
        (["models/quantized/README.md", "README.md"], ["models/quantized"]),
        ([f"models/one/file-{n}.json" for n in range(40)], ["models/one"]),
    ],
)
def test_a_file_belongs_to_the_nearest_model_above_it(files: list[str], models: list[str]) -> None:
    assert models_of_changed(files) == tuple(str(Path(m)) for m in models)


def test_a_model_at_the_root_of_the_repository_is_found(repository: Path) -> None:
    (repository / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    assert models_of_changed(["README.md", "docs/usage/config.json"]) == (".",)


def test_a_pipe_in_place_of_a_config_is_not_waited_for(repository: Path) -> None:
    (repository / "models/pipe").mkdir()
    os.mkfifo(repository / "models/pipe/config.json")
    assert models_of_changed(["models/pipe/README.md"]) == ()


def test_a_path_of_a_thousand_folders_is_no_work() -> None:
    assert models_of_changed(["a/" * 1000 + "README.md"]) == ()
