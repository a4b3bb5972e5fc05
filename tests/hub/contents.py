"""What the loopback hub serves: bytes, or models of any size whose bytes are a function of their offset, never stored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Content(Protocol):
    """Bytes that can be read anywhere."""

    @property
    def size(self) -> int: ...
    @property
    def sha256(self) -> str: ...
    def read(self, start: int, size: int) -> bytes: ...


@dataclass(frozen=True)
class Bytes:
    """Content that is held."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def blob_id(self) -> str:
        return hashlib.sha1(b"blob %d\0" % len(self.data) + self.data, usedforsecurity=False).hexdigest()

    def read(self, start: int, size: int) -> bytes:
        return self.data[start : start + size]


@dataclass(frozen=True)
class Generated:
    """A safetensors file of bfloat16 tensors; each value is a hash of seed and place, +-(2^-6 to 2^-5).

    `sha256` is made up: nobody can afford to compute it, and no reader of ranges can check it.
    """

    header: bytes
    data_size: int
    seed: int

    @property
    def size(self) -> int:
        return len(self.header) + self.data_size

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.header + self.seed.to_bytes(8, "little")).hexdigest()

    def read(self, start: int, size: int) -> bytes:
        size = max(0, min(size, self.size - start))
        head = self.header[start : start + size]
        if len(head) == size:
            return head
        first = max(0, start - len(self.header))
        last = first + size - len(head)
        values = bfloat16_values(first // 2, -(-last // 2) - first // 2, self.seed)
        return head + values.tobytes()[first % 2 :][: size - len(head)]


def bfloat16_values(first: int, count: int, seed: int) -> NDArray[np.uint16]:
    """The values [first, first + count) of a generated file, as bits."""
    return bfloat16_at(np.arange(first, first + count, dtype=np.uint64), seed)


def bfloat16_at(places: NDArray[np.uint64], seed: int) -> NDArray[np.uint16]:
    """The values at some places of a generated file, as bits."""
    at = places + np.uint64(seed << 44)
    at = (at ^ (at >> np.uint64(31))) * np.uint64(0x9E3779B97F4A7C15)
    at = (at ^ (at >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (at >> np.uint64(40)).astype(np.uint16)
    found: NDArray[np.uint16] = (bits & np.uint16(0x807F)) | np.uint16(0x3C80)
    return found


@dataclass(frozen=True)
class Shape:
    """A Llama."""

    layers: int
    hidden: int
    feed_forward: int
    heads: int
    groups: int
    vocabulary: int

    def tensors(self) -> list[tuple[str, tuple[int, ...]]]:
        """Names and shapes in the order in which transformers writes them: by name."""
        narrow = self.hidden // self.heads * self.groups
        found: list[tuple[str, tuple[int, ...]]] = [
            ("model.embed_tokens.weight", (self.vocabulary, self.hidden)),
            ("model.norm.weight", (self.hidden,)),
            ("lm_head.weight", (self.vocabulary, self.hidden)),
        ]
        for layer in range(self.layers):
            at = f"model.layers.{layer}."
            found += [
                (f"{at}input_layernorm.weight", (self.hidden,)),
                (f"{at}mlp.down_proj.weight", (self.hidden, self.feed_forward)),
                (f"{at}mlp.gate_proj.weight", (self.feed_forward, self.hidden)),
                (f"{at}mlp.up_proj.weight", (self.feed_forward, self.hidden)),
                (f"{at}post_attention_layernorm.weight", (self.hidden,)),
                (f"{at}self_attn.k_proj.weight", (narrow, self.hidden)),
                (f"{at}self_attn.o_proj.weight", (self.hidden, self.hidden)),
                (f"{at}self_attn.q_proj.weight", (self.hidden, self.hidden)),
                (f"{at}self_attn.v_proj.weight", (narrow, self.hidden)),
            ]
        return sorted(found)

    def config(self) -> dict[str, object]:
        """config.json."""
        return {
            "model_type": "llama",
            "architectures": ["LlamaForCausalLM"],
            "hidden_size": self.hidden,
            "intermediate_size": self.feed_forward,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.groups,
            "vocab_size": self.vocabulary,
            "max_position_embeddings": 8192,
            "hidden_act": "silu",
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
        }


@dataclass(frozen=True)
class Mixture(Shape):
    """A Qwen3-MoE: in each layer `experts` feed-forward blocks of width `wide`."""

    experts: int = 128
    wide: int = 1536

    def tensors(self) -> list[tuple[str, tuple[int, ...]]]:
        found: list[tuple[str, tuple[int, ...]]] = []
        for name, extents in super().tensors():
            layer, mlp, kind = name.partition("mlp.")
            if not mlp:
                found.append((name, extents))
                continue
            down = kind.startswith("down")
            shape = (self.hidden, self.wide) if down else (self.wide, self.hidden)
            found += [(f"{layer}mlp.experts.{expert}.{kind}", shape) for expert in range(self.experts)]
            found += [(f"{layer}mlp.gate.weight", (self.experts, self.hidden))] if down else []
        return sorted(found)

    def config(self) -> dict[str, object]:
        facts = super().config() | {"num_experts": self.experts, "moe_intermediate_size": self.wide}
        return facts | {"model_type": "qwen3_moe", "architectures": ["Qwen3MoeForCausalLM"]}


LLAMA_8B = Shape(32, 4096, 14336, 32, 8, 128256)
LLAMA_70B = Shape(80, 8192, 28672, 64, 8, 128256)
LLAMA_405B = Shape(126, 16384, 53248, 128, 8, 128256)
QWEN_30B = Mixture(48, 2048, 6144, 32, 4, 151936, 128, 768)
QWEN_235B = Mixture(94, 4096, 12288, 64, 4, 151936, 128, 1536)
TINY = Shape(2, 64, 192, 4, 2, 160)


_SHARD = 5_000_000_000


def _shards(shape: Shape, shard_size: int) -> list[list[tuple[str, tuple[int, ...], int]]]:
    """Name, extents and bytes of the tensors in each shard."""
    groups: list[list[tuple[str, tuple[int, ...], int]]] = [[]]
    used = 0
    for name, extents in shape.tensors():
        size = 2 * int(np.prod(extents, dtype=np.int64))
        if groups[-1] and used + size > shard_size:
            groups.append([])
            used = 0
        groups[-1].append((name, extents, size))
        used += size
    return groups


Values = Callable[[NDArray[np.int64]], NDArray[np.uint16]]
"""The bits of a tensor's values at flat places."""


def places(shape: Shape, seed: int) -> Iterator[tuple[str, tuple[int, ...], Values]]:
    """The tensors of `generated_model(shape, seed)`: name, extents, and the bits of their values at flat places."""
    for number, group in enumerate(_shards(shape, _SHARD), 1):
        first = 0
        for name, extents, size in group:
            yield name, extents, lambda at, f=first, n=number: bfloat16_at((at + f).astype(np.uint64), seed * 1000 + n)
            first += size // 2


def generated_model(shape: Shape, seed: int = 1, shard_size: int = _SHARD) -> dict[str, Content]:
    """Files of a model: shards of at most `shard_size` bytes with an index, and config.json."""
    groups = _shards(shape, shard_size)
    files: dict[str, Content] = {"config.json": Bytes(json.dumps(shape.config()).encode())}
    weight_map: dict[str, str] = {}
    for number, group in enumerate(groups, 1):
        shard = "model.safetensors" if len(groups) == 1 else f"model-{number:05}-of-{len(groups):05}.safetensors"
        files[shard] = _shard(group, seed * 1000 + number)
        weight_map |= {name: shard for name, _, _ in group}
    if len(groups) > 1:
        index = {"metadata": {"total_size": sum(s for g in groups for _, _, s in g)}, "weight_map": weight_map}
        files["model.safetensors.index.json"] = Bytes(json.dumps(index).encode())
    return files


def _shard(group: Sequence[tuple[str, tuple[int, ...], int]], seed: int) -> Generated:
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, extents, size in group:
        entries[name] = {"dtype": "BF16", "shape": list(extents), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return Generated(len(text).to_bytes(8, "little") + text, at, seed)


@dataclass
class Repository:
    """A model on the loopback hub.

    Attributes
    ----------
    lfs
        Paths kept in LFS: by default all safetensors and everything over 10 MB.
    refs
        Branches and tags to commits.
    """

    files: Mapping[str, Content]
    commit: str = "c" * 40
    refs: dict[str, str] = field(default_factory=dict)
    private: bool = False
    gated: bool = False
    lfs: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.refs.setdefault("main", self.commit)
        if not self.lfs:
            large = (p for p, c in self.files.items() if p.endswith(".safetensors") or c.size > 10_000_000)
            self.lfs = frozenset(large)

    def at(self, revision: str) -> str | None:
        """The commit of a revision."""
        return self.commit if revision == self.commit else self.refs.get(revision)
