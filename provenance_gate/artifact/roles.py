"""Which tensor of a transformer a name stands for: one declarative table.

To add an architecture, add one `Architecture` to `ARCHITECTURES`. A template is the module path without ``.weight`` or
``.bias``; ``{L}`` is a layer number, ``{E}`` an expert number, ``{S}`` the word encoder or decoder. Any prefix may stand in
front (``model.``, ``bert.``, ``base_model.model.``). The architecture is chosen by what the names fit best, never by
what config.json says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache

from provenance_gate.artifact.interface import Role, StoredTensor, TensorKey

Q, K, V, O = Role.ATTENTION_Q, Role.ATTENTION_K, Role.ATTENTION_V, Role.ATTENTION_O  # noqa: E741
GATE, UP, DOWN = Role.FFN_GATE, Role.FFN_UP, Role.FFN_DOWN
X_GATE, X_UP, X_DOWN = Role.EXPERT_GATE, Role.EXPERT_UP, Role.EXPERT_DOWN
NORM = Role.NORM


class Layout(str, Enum):
    """How a stored matrix holds its canonical parts.

    ROWS: (out, in), several parts one after the other. COLUMNS: (in, out), as Conv1D stores it. PER_HEAD: (out, in), the
    rows of each head hold its q, k and v. PER_GROUP: the rows of each key-value head hold its query heads, then k, then v.
    STACKED: (experts, out, in).
    """

    ROWS = "rows"
    COLUMNS = "columns"
    PER_HEAD = "per_head"
    PER_GROUP = "per_group"
    STACKED = "stacked"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the table: a template and the roles of the parts that it holds, in stored order."""

    template: str
    roles: tuple[Role, ...]
    layout: Layout = Layout.ROWS
    part: str = ""


@dataclass(frozen=True, slots=True)
class Architecture:
    """Names of one family of implementations. `stack` is what a tensor belongs to when its name does not say."""

    name: str
    stack: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class NamedTensor:
    """A stored tensor with the table's entry for it. `suffix` is "weight", "bias" or "" (a bare parameter); `prefix` is what
    stands in front of the template.
    """

    stored: StoredTensor
    entry: Entry
    stack: str
    layer: int | None
    expert: int | None
    suffix: str
    prefix: str

    def key(self, role: Role) -> TensorKey:
        """The key of this tensor's part with `role`."""
        part = self.entry.part
        if self.expert is not None:
            part = f"{self.expert}"
        if self.suffix == "bias":
            return TensorKey(Role.BIAS, self.stack, self.layer, f"{role.value}:{part}")
        return TensorKey(role, self.stack, self.layer, part)


def _matrices(path: str, names: Mapping[str, Role], layout: Layout = Layout.ROWS, part: str = "") -> tuple[Entry, ...]:
    return tuple(Entry(path + name, (role,), layout, part) for name, role in names.items())


def _norms(path: str, names: Iterable[str]) -> tuple[Entry, ...]:
    return tuple(Entry(path + name, (NORM,), part=name.rpartition(".")[2]) for name in names)


_LLAMA = Architecture(
    "llama",
    "decoder",
    (
        Entry("embed_tokens", (Role.EMBEDDING,)),
        Entry("lm_head", (Role.HEAD,)),
        *_matrices("layers.{L}.self_attn.", {"q_proj": Q, "k_proj": K, "v_proj": V, "o_proj": O, "dense": O}),
        Entry("layers.{L}.self_attn.qkv_proj", (Q, K, V)),
        Entry("layers.{L}.self_attn.W_pack", (Q, K, V)),
        *_matrices("layers.{L}.mlp.", {"gate_proj": GATE, "up_proj": UP, "down_proj": DOWN, "fc1": UP, "fc2": DOWN}),
        Entry("layers.{L}.mlp.gate_up_proj", (GATE, UP)),
        Entry("layers.{L}.mlp.gate", (Role.ROUTER,)),
        Entry("layers.{L}.block_sparse_moe.gate", (Role.ROUTER,)),
        *_matrices("layers.{L}.block_sparse_moe.experts.{E}.", {"w1": X_GATE, "w3": X_UP, "w2": X_DOWN}),
        *_matrices("layers.{L}.mlp.experts.{E}.", {"gate_proj": X_GATE, "up_proj": X_UP, "down_proj": X_DOWN}),
        Entry("layers.{L}.mlp.experts.gate_up_proj", (X_GATE, X_UP), Layout.STACKED),
        Entry("layers.{L}.mlp.experts.down_proj", (X_DOWN,), Layout.STACKED),
        *_matrices("layers.{L}.mlp.shared_expert.", {"gate_proj": GATE, "up_proj": UP, "down_proj": DOWN}),
        *_matrices("layers.{L}.mlp.shared_experts.", {"gate_proj": GATE, "up_proj": UP, "down_proj": DOWN}),
        *_norms(
            "layers.{L}.",
            (
                "input_layernorm",
                "post_attention_layernorm",
                "pre_feedforward_layernorm",
                "post_feedforward_layernorm",
                "self_attn.q_norm",
                "self_attn.k_norm",
            ),
        ),
        *_norms("", ("model.norm", "language_model.norm", "norm", "model.final_layernorm")),
    ),
)

_INTERNLM2 = Architecture(
    "internlm2",
    "decoder",
    (
        Entry("tok_embeddings", (Role.EMBEDDING,)),
        Entry("output", (Role.HEAD,)),
        Entry("layers.{L}.attention.wqkv", (Q, K, V), Layout.PER_GROUP),
        Entry("layers.{L}.attention.wo", (O,)),
        *_matrices("layers.{L}.feed_forward.", {"w1": GATE, "w3": UP, "w2": DOWN}),
        *_norms("layers.{L}.", ("attention_norm", "ffn_norm")),
        *_norms("", ("model.norm",)),
    ),
)

_GPT2 = Architecture(
    "gpt2",
    "decoder",
    (
        Entry("wte", (Role.EMBEDDING,)),
        Entry("wpe", (Role.POSITION,)),
        Entry("lm_head", (Role.HEAD,)),
        Entry("h.{L}.attn.c_attn", (Q, K, V), Layout.COLUMNS),
        *_matrices("h.{L}.", {"attn.c_proj": O, "mlp.c_fc": UP, "mlp.c_proj": DOWN}, Layout.COLUMNS),
        *_norms("h.{L}.", ("ln_1", "ln_2")),
        *_norms("", ("ln_f",)),
    ),
)

_GPT_NEOX = Architecture(
    "gpt_neox",
    "decoder",
    (
        Entry("embed_in", (Role.EMBEDDING,)),
        Entry("embed_out", (Role.HEAD,)),
        Entry("layers.{L}.attention.query_key_value", (Q, K, V), Layout.PER_HEAD),
        *_matrices("layers.{L}.", {"attention.dense": O, "mlp.dense_h_to_4h": UP, "mlp.dense_4h_to_h": DOWN}),
        *_norms("layers.{L}.", ("input_layernorm", "post_attention_layernorm")),
        *_norms("", ("final_layer_norm",)),
    ),
)

_BLOOM_FALCON = Architecture(
    "bloom_falcon",
    "decoder",
    (
        Entry("word_embeddings", (Role.EMBEDDING,)),
        Entry("lm_head", (Role.HEAD,)),
        # BLOOM has one k and v per query head, Falcon one per group: with equal counts the two layouts are the same.
        Entry("h.{L}.self_attention.query_key_value", (Q, K, V), Layout.PER_GROUP),
        *_matrices("h.{L}.", {"self_attention.dense": O, "mlp.dense_h_to_4h": UP, "mlp.dense_4h_to_h": DOWN}),
        *_norms("h.{L}.", ("input_layernorm", "post_attention_layernorm", "ln_attn", "ln_mlp")),
        *_norms("", ("word_embeddings_layernorm", "ln_f")),
    ),
)

_BERT = Architecture(
    "bert",
    "encoder",
    (
        Entry("embeddings.word_embeddings", (Role.EMBEDDING,)),
        Entry("embeddings.position_embeddings", (Role.POSITION,)),
        Entry("embeddings.token_type_embeddings", (Role.POSITION,), part="token_type"),
        *_matrices("encoder.layer.{L}.attention.self.", {"query": Q, "key": K, "value": V}),
        *_matrices("encoder.layer.{L}.", {"attention.output.dense": O, "intermediate.dense": UP, "output.dense": DOWN}),
        Entry("encoder.layer.{L}.attention.output.LayerNorm", (NORM,), part="attention"),
        Entry("encoder.layer.{L}.output.LayerNorm", (NORM,), part="output"),
        Entry("embeddings.LayerNorm", (NORM,), part="embeddings"),
        Entry("cls.predictions.decoder", (Role.HEAD,)),
        Entry("cls.predictions.transform.dense", (Role.HEAD,), part="transform"),
        Entry("cls.predictions.transform.LayerNorm", (NORM,), part="head"),
        Entry("lm_head.decoder", (Role.HEAD,)),
        Entry("lm_head.dense", (Role.HEAD,), part="transform"),
        Entry("lm_head.layer_norm", (NORM,), part="head"),
        Entry("pooler.dense", (Role.HEAD,), part="pooler"),
    ),
)

_DISTILBERT = Architecture(
    "distilbert",
    "encoder",
    (
        Entry("embeddings.word_embeddings", (Role.EMBEDDING,)),
        Entry("embeddings.position_embeddings", (Role.POSITION,)),
        *_matrices("transformer.layer.{L}.attention.", {"q_lin": Q, "k_lin": K, "v_lin": V, "out_lin": O}),
        *_matrices("transformer.layer.{L}.ffn.", {"lin1": UP, "lin2": DOWN}),
        Entry("transformer.layer.{L}.sa_layer_norm", (NORM,), part="attention"),
        Entry("transformer.layer.{L}.output_layer_norm", (NORM,), part="output"),
        Entry("embeddings.LayerNorm", (NORM,), part="embeddings"),
        Entry("vocab_projector", (Role.HEAD,)),
        Entry("vocab_transform", (Role.HEAD,), part="transform"),
        Entry("vocab_layer_norm", (NORM,), part="head"),
    ),
)

_ATTENTION_T5 = {"q": Q, "k": K, "v": V, "o": O}
_FFN_T5 = {"wi": UP, "wi_0": GATE, "wi_1": UP, "wo": DOWN}

_T5 = Architecture(
    "t5",
    "encoder",
    (
        Entry("shared", (Role.EMBEDDING,)),
        Entry("{S}.embed_tokens", (Role.EMBEDDING,), part="stack"),
        Entry("lm_head", (Role.HEAD,)),
        *_matrices("{S}.block.{L}.layer.0.SelfAttention.", _ATTENTION_T5),
        *_matrices("{S}.block.{L}.layer.1.EncDecAttention.", _ATTENTION_T5, part="cross"),
        *_matrices("{S}.block.{L}.layer.1.DenseReluDense.", _FFN_T5),
        *_matrices("{S}.block.{L}.layer.2.DenseReluDense.", _FFN_T5),
        Entry("{S}.block.{L}.layer.0.SelfAttention.relative_attention_bias", (Role.POSITION,)),
        Entry("{S}.block.{L}.layer.0.layer_norm", (NORM,), part="0"),
        Entry("{S}.block.{L}.layer.1.layer_norm", (NORM,), part="1"),
        Entry("{S}.block.{L}.layer.2.layer_norm", (NORM,), part="2"),
        Entry("{S}.final_layer_norm", (NORM,), part="final"),
    ),
)

_GGUF_SHARED = (
    Entry("token_embd", (Role.EMBEDDING,)),
    Entry("position_embd", (Role.POSITION,)),
    Entry("token_types", (Role.POSITION,), part="token_type"),
    Entry("output", (Role.HEAD,)),
    *_matrices("blk.{L}.", {"attn_q": Q, "attn_k": K, "attn_v": V, "attn_output": O}),
    *_matrices("blk.{L}.", {"ffn_gate": GATE, "ffn_up": UP, "ffn_down": DOWN, "ffn_gate_inp": Role.ROUTER}),
    *_matrices("blk.{L}.", {"ffn_gate_shexp": GATE, "ffn_up_shexp": UP, "ffn_down_shexp": DOWN}),
    *_matrices("blk.{L}.", {"ffn_gate_exps": X_GATE, "ffn_up_exps": X_UP, "ffn_down_exps": X_DOWN}, Layout.STACKED),
    Entry("blk.{L}.attn_qkv", (Q, K, V)),
    Entry("blk.{L}.ffn_gate_up", (GATE, UP)),
    Entry("blk.{L}.ffn_gate_up_exps", (X_GATE, X_UP), Layout.STACKED),
    Entry("blk.{L}.attn_q_norm", (NORM,), part="q_norm"),
    Entry("blk.{L}.attn_k_norm", (NORM,), part="k_norm"),
    Entry("output_norm", (NORM,), part="norm"),
)

_GGUF = Architecture(
    "gguf",
    "decoder",
    (
        *_GGUF_SHARED,
        Entry("blk.{L}.attn_norm", (NORM,), part="input_layernorm"),
        Entry("blk.{L}.ffn_norm", (NORM,), part="post_attention_layernorm"),
        Entry("token_embd_norm", (NORM,), part="word_embeddings_layernorm"),
    ),
)

# Gemma and OLMo 2: llama.cpp's ffn_norm is another norm than that of Llama, so it has another part.
_GGUF_POST_NORM = Architecture(
    "gguf_post_norm",
    "decoder",
    (
        *_GGUF_SHARED,
        Entry("blk.{L}.attn_norm", (NORM,), part="input_layernorm"),
        Entry("blk.{L}.post_attention_norm", (NORM,), part="post_attention_layernorm"),
        Entry("blk.{L}.ffn_norm", (NORM,), part="pre_feedforward_layernorm"),
        Entry("blk.{L}.post_ffw_norm", (NORM,), part="post_feedforward_layernorm"),
    ),
)

_GGUF_ENCODER = Architecture(
    "gguf_encoder",
    "encoder",
    (
        *_GGUF_SHARED,
        Entry("blk.{L}.attn_output_norm", (NORM,), part="attention"),
        Entry("blk.{L}.layer_output_norm", (NORM,), part="output"),
        Entry("token_embd_norm", (NORM,), part="embeddings"),
    ),
)

ARCHITECTURES: tuple[Architecture, ...] = (
    _LLAMA,
    _INTERNLM2,
    _GPT2,
    _GPT_NEOX,
    _BLOOM_FALCON,
    _BERT,
    _DISTILBERT,
    _T5,
    _GGUF,
    _GGUF_POST_NORM,
    _GGUF_ENCODER,
)

_SUFFIX = r"(?:\.(?P<suffix>weight|bias|gamma|beta))?"
_GROUPS = {
    # One spelling per number: "01" beside "1" would be a second tensor for the same place.
    "{L}": r"(?P<layer>0|[1-9][0-9]{0,4})",
    "{E}": r"(?P<expert>0|[1-9][0-9]{0,4})",
    "{S}": r"(?P<stack>encoder|decoder)",
}


@cache
def _pattern(template: str) -> re.Pattern[str]:
    source = re.escape(template).replace(r"\{", "{").replace(r"\}", "}")
    for mark, group in _GROUPS.items():
        source = source.replace(mark, group)
    return re.compile(rf"(?P<prefix>(?:[^\n]*\.)?){source}{_SUFFIX}")


def _literal_end(template: str) -> str:
    """The last path element of a template: a cheap look-up key before any pattern runs."""
    return template.rpartition(".")[2]


def name_tensors(stored: Sequence[StoredTensor]) -> tuple[Architecture | None, tuple[NamedTensor, ...]]:
    """The architecture whose table names most parameters of `stored`, and the tensors that it names.

    Returns (None, ()) when no table names a single attention or feed-forward matrix: the caller then has shapes only.
    """
    best: tuple[Architecture | None, tuple[NamedTensor, ...]] = (None, ())
    best_size = 0
    for architecture in ARCHITECTURES:
        named = _named_by(architecture, stored)
        size = sum(n.stored.size for n in named if n.layer is not None)
        if size > best_size:
            best, best_size = (architecture, named), size
    return best


def _named_by(architecture: Architecture, stored: Sequence[StoredTensor]) -> tuple[NamedTensor, ...]:
    by_end: dict[str, list[Entry]] = {}
    for entry in architecture.entries:
        by_end.setdefault(_literal_end(entry.template), []).append(entry)
    named = (_name_one(architecture, tensor, by_end) for tensor in stored)
    return tuple(n for n in named if n is not None)


_TENSORFLOW_NORM = {"gamma": "weight", "beta": "bias"}


def _name_one(
    architecture: Architecture, tensor: StoredTensor, by_end: Mapping[str, list[Entry]]
) -> NamedTensor | None:
    head, _, last = tensor.name.rpartition(".")
    ends = (head.rpartition(".")[2], last) if last in ("weight", "bias", "gamma", "beta") else (last,)
    # Longest template first: `attention.output.dense` before `output.dense`.
    entries = sorted((e for end in ends for e in by_end.get(end, ())), key=lambda e: -len(e.template))
    for entry in entries:
        found = _pattern(entry.template).fullmatch(tensor.name)
        if found:
            groups = found.groupdict()
            layer, expert, suffix = groups.get("layer"), groups.get("expert"), groups.get("suffix") or ""
            return NamedTensor(
                stored=tensor,
                entry=entry,
                stack=groups.get("stack") or architecture.stack,
                layer=None if layer is None else int(layer),
                expert=None if expert is None else int(expert),
                suffix=_TENSORFLOW_NORM.get(suffix, suffix),
                prefix=groups["prefix"],
            )
    return None
