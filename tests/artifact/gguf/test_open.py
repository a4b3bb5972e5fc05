"""Whole models: split files, config, claims, notes."""

from __future__ import annotations

import re
import tracemalloc
from pathlib import PurePosixPath

import numpy as np
import pytest

from provenance_gate.artifact.gguf import open_gguf
from provenance_gate.artifact.interface import BaseClaim, ModelConfig, NotMeasured
from provenance_gate.errors import ArtifactError, MalformedFileError

from .build import ARRAY, Bytes, Typed, gguf, opened, permuted, values

ONE = {"a": np.arange(4, dtype="f4")}
TWO = {"b": np.arange(6, dtype="f4").reshape(2, 3)}


def parts(count: int = 2, total: int = 2, **changes: object) -> tuple[bytes, bytes]:
    def at(number: int) -> dict[str, object]:
        return {"split.no": Typed(2, number), "split.count": Typed(2, count), "split.tensors.count": Typed(5, total)}

    return gguf(ONE, {"general.architecture": "llama", **at(0)}), gguf(TWO, {**at(1), **changes})


NAMES = ("m-00001-of-00002.gguf", "m-00002-of-00002.gguf")


def config_of(architecture: str, metadata: dict[str, object] | None = None, **tensors: object) -> ModelConfig:
    given = {"token_embd.weight": np.zeros((4, 2), "f4"), **tensors}
    keys = {key if "." in key else f"{architecture}.{key}": value for key, value in (metadata or {}).items()}
    model = opened(gguf(given, {"general.architecture": architecture} | keys))  # type: ignore[arg-type]
    assert isinstance(model.config, ModelConfig)
    return model.config


# Split files


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_parts_of_a_split_file_are_one_model(order: tuple[int, int]) -> None:
    files = parts()
    model = opened(*(files[n] for n in order), names=[NAMES[n] for n in order])
    assert [(t.name, str(t.path), t.shape) for t in model.tensors] == [("a", NAMES[0], (4,)), ("b", NAMES[1], (2, 3))]
    assert values(model.tensors[1]).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert isinstance(model.config, ModelConfig)
    assert model.config.model_type == "llama"


def test_a_missing_part_is_an_error() -> None:
    first, second = parts()
    with pytest.raises(ArtifactError, match="part 2 of 2 is missing"):
        opened(first, names=NAMES[:1])
    with pytest.raises(ArtifactError, match="part 1 of 2 is missing"):
        opened(second, names=NAMES[1:])


def test_a_part_that_comes_twice_is_an_error() -> None:
    first, _ = parts()
    with pytest.raises(ArtifactError, match="2 files for part 1"):
        opened(first, first, names=["x.gguf", "y.gguf"])


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"split.count": 3}, "split.count"),
        ({"split.no": 2}, "split.no"),
        ({"split.no": "x"}, "split.no"),
        ({"split.count": Typed(5, -1)}, "split.count"),
    ],
)
def test_parts_that_disagree_are_refused(change: dict[str, object], word: str) -> None:
    with pytest.raises(MalformedFileError, match=word):
        opened(*parts(**change), names=["x.gguf", "y.gguf"])  # type: ignore[arg-type]


def test_a_count_of_tensors_that_is_not_kept_is_refused() -> None:
    with pytest.raises(MalformedFileError, match=r"split\.tensors\.count: 3, but the parts hold 2"):
        opened(*parts(total=3), names=NAMES)


def test_a_name_that_says_another_part_is_refused() -> None:
    with pytest.raises(MalformedFileError, match=r"split\.no"):
        opened(*parts(), names=NAMES[::-1])


def test_files_of_different_models_are_refused() -> None:
    with pytest.raises(ArtifactError, match="part 1 of 1"):
        opened(gguf(ONE), gguf(TWO))


def test_a_tensor_in_two_parts_is_refused() -> None:
    meta = [{"split.no": n, "split.count": 2} for n in (0, 1)]
    with pytest.raises(MalformedFileError, match=r"'a' is in m-00001-of-00002\.gguf too"):
        opened(*(gguf(ONE, dict(m)) for m in meta), names=NAMES)


def test_the_tensors_of_all_parts_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("provenance_gate.artifact.gguf.open.MAX_TENSORS", 2)
    assert len(opened(*parts(), names=NAMES).tensors) == 2
    monkeypatch.setattr("provenance_gate.artifact.gguf.open.MAX_TENSORS", 1)
    with pytest.raises(
        MalformedFileError, match=r"00002-of-00002\.gguf: tensor count: 2 with the parts before, at most 1"
    ):
        opened(*parts(), names=NAMES)


def test_many_parts_with_long_lists_take_the_memory_of_one() -> None:
    names = [f"m-{n + 1:05}-of-00012.gguf" for n in range(12)]
    data = [gguf(None, {"split.no": n, "split.count": 12, "scores": Typed(ARRAY, [0] * 60_000, 12)}) for n in range(12)]
    tracemalloc.start()
    model = opened(*data, names=names)
    assert tracemalloc.get_traced_memory()[1] < 4 * 8 * 60_000
    tracemalloc.stop()
    assert model.tensors == ()


def test_no_file_is_an_error() -> None:
    with pytest.raises(ArtifactError, match="no GGUF file"):
        open_gguf([])


# Config


def test_facts_of_a_llama() -> None:
    found = config_of(
        "llama",
        {
            "block_count": 2, "embedding_length": 64, "feed_forward_length": 192, "attention.head_count": 4,
            "attention.head_count_kv": 2, "vocab_size": 160, "context_length": 128, "rope.freq_base": 500000.0,
            "llama.attention.head_count": 4, "llama.attention.head_count_kv": 2, "llama.rope.freq_base": 500000.0,
            "llama.attention.layer_norm_rms_epsilon": 1e-5, "llama.attention.key_length": 16,
            "llama.rope.scaling.type": "yarn", "general.file_type": 0,
            "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2**32 - 1,
        },
    )  # fmt: skip
    assert found == ModelConfig(
        model_type="llama",
        hidden_size=64,
        intermediate_size=192,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        vocab_size=160,
        max_position_embeddings=128,
        hidden_act="silu",
        norm_type="rmsnorm",
        position_type="rotary",
        rope_theta=500000.0,
        rope_scaling_type="yarn",
        tie_word_embeddings=True,
        bos_token_id=1,
        torch_dtype="float32",
    )


@pytest.mark.parametrize(
    ("architecture", "model_type"),
    [("qwen2", "qwen2"), ("qwen2moe", "qwen2_moe"), ("gptneox", "gpt_neox"), ("phi2", "phi"), ("gemma2", "gemma2"),
     ("command-r", "cohere"), ("starcoder", "gpt_bigcode"), ("bert", "bert"), ("someone-new", "someone-new")],
)  # fmt: skip
def test_model_types_are_those_of_transformers(architecture: str, model_type: str) -> None:
    assert config_of(architecture).model_type == model_type


def test_a_llama_with_experts_is_a_mixtral() -> None:
    found = config_of("llama", {"expert_count": 8})
    assert (found.model_type, found.num_experts) == ("mixtral", 8)
    assert config_of("llama", {"expert_count": 0}).num_experts is None


def test_heads_per_layer_count_when_they_agree() -> None:
    key = "llama.attention.head_count_kv"
    assert config_of("llama", {key: [2, 2, 2]}).num_key_value_heads == 2
    assert config_of("llama", {key: [2, 4, 2]}).num_key_value_heads is None


def test_a_head_of_its_own_and_quantized_tensors_are_seen() -> None:
    q8 = ("Q8_0", (1, 32), bytes(34))
    found = config_of("llama", {"general.file_type": 7}, **{"output.weight": q8})
    assert (found.tie_word_embeddings, found.quant_method, found.torch_dtype) == (False, "gguf", None)


def test_without_architecture_there_is_no_config() -> None:
    assert opened(gguf(ONE)).config == NotMeasured("no general.architecture in the GGUF metadata")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("general.architecture", 3),
        ("llama.block_count", "two"),
        ("llama.block_count", Typed(10, 2**31)),
        ("llama.block_count", True),
        ("llama.block_count", 2.0),
        ("llama.embedding_length", Typed(5, -1)),
        ("llama.attention.head_count", Typed(ARRAY, [1, -1], 5)),
        ("llama.attention.head_count", [1.5]),
        ("llama.attention.head_count", ["4"]),
        ("llama.attention.head_count_kv", Typed(ARRAY, [2**40], 10)),
        ("llama.rope.freq_base", "x"),
        ("llama.rope.freq_base", float("nan")),
        ("llama.rope.freq_base", float("inf")),
        ("llama.rope.freq_base", -1.0),
        ("llama.rope.scaling.type", 1),
        ("general.file_type", "Q8"),
        ("general.type", 1),
    ],
)
def test_facts_of_the_wrong_type_are_refused(key: str, value: object) -> None:
    with pytest.raises(MalformedFileError, match=rf"^m\.gguf: {re.escape(key)}: expected"):
        opened(gguf(ONE, {"general.architecture": "llama", key: value}))


# The converter's changes


def rotary(
    metadata: dict[str, object], rows: int = 8, name: str = "blk.1.attn_k.weight"
) -> tuple[bool, tuple[str, ...]]:
    """Whether the rows came back in their order, and the notes."""
    original = np.arange(rows * 4, dtype=np.float32).reshape(rows, 4)
    model = opened(gguf({name: permuted(original, 2)}, {"general.architecture": "llama", **metadata}))
    return np.array_equal(values(model.tensors[0]), original), model.notes


HEADS, GROUPS = "llama.attention.head_count", "llama.attention.head_count_kv"


@pytest.mark.parametrize(
    "metadata",
    [{HEADS: 2}, {HEADS: 4, GROUPS: 2}, {HEADS: 4, GROUPS: [1, 2]}, {HEADS: 2, "llama.attention.key_length": 4}],
)
def test_heads_that_fit_are_used(metadata: dict[str, object]) -> None:
    assert rotary(metadata) == (True, ())


@pytest.mark.parametrize(
    "metadata",
    [{}, {HEADS: 3}, {HEADS: 8}, {HEADS: 0}, {HEADS: 4, GROUPS: [2]}, {HEADS: 2, "llama.attention.key_length": 8},
     {HEADS: 2**31 - 1}],
)  # fmt: skip
def test_heads_that_do_not_fit_leave_the_rows_and_a_note(metadata: dict[str, object]) -> None:
    came_back, notes = rotary(metadata)
    assert not came_back
    assert len(notes) == 1
    assert "blk.1.attn_k.weight" in notes[0]


def test_biases_are_permuted_too() -> None:
    bias = np.arange(8, dtype=np.float32)
    model = opened(gguf({"blk.0.attn_q.bias": permuted(bias, 2)}, {"general.architecture": "llama", HEADS: 2}))
    assert values(model.tensors[0]).tolist() == bias.tolist()


def test_many_rows_left_are_one_note() -> None:
    tensors = {f"blk.{n}.attn_q.weight": np.zeros((8, 4), "f4") for n in range(9)}
    notes = opened(gguf(tensors, {"general.architecture": "llama"})).notes
    assert len(notes) == 4
    assert notes[3].startswith("6 more tensors")


def test_fused_gate_and_up_are_named_so() -> None:
    up = {"blk.0.ffn_up.weight": np.zeros((8, 4), "f4")}
    assert [t.name for t in opened(gguf(up, {"general.architecture": "phi3"})).tensors] == ["blk.0.ffn_gate_up.weight"]
    gated = up | {"blk.0.ffn_gate.weight": np.zeros((8, 4), "f4")}
    assert "blk.0.ffn_up.weight" in {t.name for t in opened(gguf(gated, {"general.architecture": "phi3"})).tensors}
    both = up | {"blk.0.ffn_gate_up.weight": np.zeros((8, 4), "f4")}
    with pytest.raises(MalformedFileError, match="ffn_"):
        opened(gguf(both, {"general.architecture": "phi3"}))


@pytest.mark.parametrize("name", ["blk.0.attn_norm.weight", "output_norm.weight", "blk.3.attn_q_norm.weight"])
def test_norms_of_gemma_lose_the_one(name: str) -> None:
    model = opened(gguf({name: np.array([1.5, 0.0], "f4")}, {"general.architecture": "gemma2"}))
    assert values(model.tensors[0]).tolist() == [0.5, -1.0]


@pytest.mark.parametrize(
    ("architecture", "name"),
    [("llama", "output_norm.weight"), ("gemma4", "output_norm.weight"), ("qwen35", "blk.0.ssm_norm.weight"),
     ("nemotron", "output_norm.bias"), ("gemma", "token_embd.weight")],
)  # fmt: skip
def test_other_vectors_keep_theirs(architecture: str, name: str) -> None:
    model = opened(gguf({name: np.array([1.5, 0.0], "f4")}, {"general.architecture": architecture}))
    assert values(model.tensors[0]).tolist() == [1.5, 0.0]


# Notes


def test_types_that_are_not_read_are_noted() -> None:
    model = opened(gguf({"a": ("Q8_K", (2, 256), bytes(584)), **TWO}))
    assert model.notes == ("tensors of types that are listed but not read by this version: Q8_K (1)",)
    assert [(t.dtype, t.nbytes) for t in model.tensors] == [("Q8_K", 584), ("F32", 24)]


def test_adapters_are_noted() -> None:
    assert opened(gguf(ONE, {"general.type": "adapter"})).notes == ("general.type is 'adapter', not a model",)
    assert opened(gguf(ONE, {"general.type": "model"})).notes == ()


# Claims


def bases(metadata: dict[str, object], quantized: bool = False) -> list[tuple[str, str | None, str | None, str]]:
    tensors = {"a": ("Q8_0", (1, 32), bytes(34))} if quantized else ONE
    found: tuple[BaseClaim, ...] = opened(gguf(tensors, metadata)).claims.bases  # type: ignore[arg-type]
    return [(b.id, b.relation, b.revision, b.source.field) for b in found]


BASE = "general.base_model.0."


@pytest.mark.parametrize(
    ("fields", "claimed", "field"),
    [
        ({"repo_url": "https://huggingface.co/meta-llama/Llama-3.1-8B"}, "meta-llama/Llama-3.1-8B", "repo_url"),
        ({"repo_url": "https://huggingface.co/a/b/", "name": "C", "organization": "D"}, "a/b", "repo_url"),
        ({"url": "https://hf.co/a/b"}, "a/b", "url"),
        ({"name": "Llama 3.1 8B", "organization": "Meta Llama"}, "Meta-Llama/Llama-3.1-8B", "name"),
        ({"name": "Llama 3.1 8B"}, "Llama 3.1 8B", "name"),
        ({"repo_url": "https://example.com/x"}, "https://example.com/x", "repo_url"),
        ({"repo_url": "https://huggingface.co/datasets/a/b", "name": "x"}, "x", "name"),
    ],
)
def test_bases_are_claimed(fields: dict[str, str], claimed: str, field: str) -> None:
    metadata: dict[str, object] = {"general.base_model.count": 1, **{BASE + k: v for k, v in fields.items()}}
    assert bases(metadata) == [(claimed, None, None, BASE + field)]


def test_several_bases_and_the_source() -> None:
    metadata: dict[str, object] = {
        "general.base_model.count": 3,
        "general.base_model.0.repo_url": "https://huggingface.co/a/b",
        "general.base_model.1.repo_url": "https://huggingface.co/A/B",
        "general.base_model.2.name": "",
        "general.source.repo_url": "https://huggingface.co/c/d/tree/main",
    }
    wanted = [
        ("a/b", None, None, "general.base_model.0.repo_url"),
        ("c/d", "quantized", "main", "general.source.repo_url"),
    ]
    assert bases(metadata, quantized=True) == wanted
    assert bases(metadata)[1][1] is None
    assert bases({"general.base_model.0.name": "uncounted"}) == []


def test_licenses_are_claimed() -> None:
    def licenses(metadata: dict[str, object]) -> list[tuple[str, str | None, str | None]]:
        return [(c.id, c.name, c.link) for c in opened(gguf(ONE, metadata)).claims.licenses]

    assert licenses({"general.license": "apache-2.0"}) == [("apache-2.0", None, None)]
    more: dict[str, object] = {"general.license.name": "llama3", "general.license.link": "LICENSE"}
    assert licenses({"general.license": "other", **more}) == [("other", "llama3", "LICENSE")]
    assert licenses(more) == [("other", "llama3", "LICENSE")]
    assert licenses({}) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (BASE + "repo_url", 3),
        (BASE + "repo_url", "x" * 3000),
        (BASE + "name", "a\nb"),
        (BASE + "name", "x" * 201),
        ("general.base_model.count", 101),
        ("general.base_model.count", "1"),
        ("general.license", "mit\x1b[2J"),
        ("general.license", 7),
        ("general.license.link", ["x"]),
        ("general.source.url", "\u202e"),
    ],
)
def test_claims_that_do_not_print_or_end_are_refused(key: str, value: object) -> None:
    with pytest.raises(MalformedFileError, match=r"^m\.gguf: general\."):
        opened(gguf(ONE, {"general.base_model.count": 1, key: value}))


def test_opening_reads_no_tensor() -> None:
    data = gguf({"a": np.zeros(2**21, "f4")}, {"general.architecture": "llama"})
    source = Bytes(data)
    model = open_gguf([(source, PurePosixPath("m.gguf"))])
    assert sum(size for _, size in source.reads) <= 1 << 20
    source.reads.clear()
    model.tensors[0].reader.read(100, 10)
    assert [size for _, size in source.reads] == [40]
