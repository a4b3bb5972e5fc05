"""Files that the public gguf package wrote, with its own quantizers, read back."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest

from provenance_gate.artifact.gguf import open_gguf
from provenance_gate.artifact.interface import ModelConfig, TokenizerFacts
from provenance_gate.artifact.ranges import LocalFile, ReadCounter

from .build import values

gguf: Any = pytest.importorskip("gguf")
QUANTIZED = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "BF16", "F16", "F32")


def test_a_file_of_the_package_is_read(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    rng = np.random.default_rng(0)
    matrices = {f"t.{kind}": rng.standard_normal((6, 64)).astype(np.float32) for kind in QUANTIZED}
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(2)
    writer.add_embedding_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv([2, 2])
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_license("mit")
    writer.add_base_model_count(1)
    writer.add_base_model_repo_url(0, "https://huggingface.co/a/b")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(["a", "b", "ab", "<|end|>"])
    writer.add_token_types([1, 1, 1, 3])
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(3)
    expected = {}
    for name, matrix in matrices.items():
        kind = getattr(gguf.GGMLQuantizationType, name[2:])
        raw = gguf.quants.quantize(matrix, kind)
        expected[name] = gguf.quants.dequantize(raw, kind)
        writer.add_tensor(name, raw, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    model = open_gguf([(LocalFile(path, path.name, ReadCounter()), PurePosixPath(path.name))])
    assert {t.name: t.dtype for t in model.tensors} == {name: name[2:] for name in matrices}
    for tensor in model.tensors:
        assert tensor.shape == (6, 64)
        np.testing.assert_array_equal(values(tensor), expected[tensor.name])
        np.testing.assert_allclose(values(tensor), matrices[tensor.name], atol=0.5)
    assert isinstance(model.config, ModelConfig)
    assert (model.config.num_key_value_heads, model.config.rope_theta, model.config.vocab_size) == (2, 10000.0, 4)
    assert isinstance(model.tokenizer, TokenizerFacts)
    assert (model.tokenizer.num_merges, model.tokenizer.special_ids["eos"]) == (1, 3)
    assert [b.id for b in model.claims.bases] == ["a/b"]
    assert [c.id for c in model.claims.licenses] == ["mit"]
    assert model.notes == ()


def test_split_files_of_the_package_are_read(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama", split_max_tensors=2)
    matrices = {f"t{n}": np.full((2, 4), n, np.float32) for n in range(5)}
    for name, matrix in matrices.items():
        writer.add_tensor(name, matrix)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    files = sorted(tmp_path.iterdir())
    assert len(files) == 3
    model = open_gguf([(LocalFile(f, f.name, ReadCounter()), PurePosixPath(f.name)) for f in files])
    assert {t.name: values(t)[0, 0] for t in model.tensors} == {f"t{n}": float(n) for n in range(5)}
