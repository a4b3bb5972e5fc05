"""Small models of each layout, written from known matrices.

Each function stores matrices the way its implementation in transformers does and says what reading them back must give. All
numbers of one model differ, so one element out of place shows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from .build import Array, Numbers

HIDDEN, WIDE, VOCABULARY, LAYERS = 8, 12, 10, 2
HEADS, GROUPS, HEAD = 4, 2, 2


@dataclass
class Layout:
    """`tensors` as stored; `expected` by the text form of the canonical key (`stack/layer/role/part`)."""

    config: dict[str, object]
    tensors: dict[str, Array] = field(default_factory=dict)
    expected: dict[str, Array] = field(default_factory=dict)
    numbers: Numbers = field(default_factory=Numbers)

    def plain(self, name: str, key: str, *shape: int) -> Array:
        """A tensor that is stored as it is read."""
        array = self.numbers(*shape)
        self.tensors[name] = self.expected[key] = array
        return array

    def turned(self, name: str, key: str, rows: int, columns: int) -> None:
        """A matrix stored (in, out), as Conv1D does."""
        array = self.numbers(rows, columns)
        self.expected[key] = array
        self.tensors[name] = array.T

    def known(self, key: str, *shape: int) -> Array:
        """A part of a fused tensor, which the caller stores."""
        self.expected[key] = self.numbers(*shape)
        return self.expected[key]

    def norm(self, name: str, at: str, part: str, *, bias: bool = False) -> None:
        self.plain(f"{name}.weight", f"{at}/norm/{part}", HIDDEN)
        if bias:
            self.plain(f"{name}.bias", f"{at}/bias/norm:{part}", HIDDEN)

    def qkv(self, at: str, heads: int = HEADS, groups: int = HEADS, part: str = "") -> tuple[Array, Array, Array]:
        q, k, v = (
            self.known(f"{at}/attention_{role}/{part}", rows * HEAD, HIDDEN)
            for role, rows in (("q", heads), ("k", groups), ("v", groups))
        )
        return q, k, v

    def qkv_bias(self, at: str, heads: int = HEADS, groups: int = HEADS) -> tuple[Array, Array, Array]:
        q, k, v = (
            self.known(f"{at}/bias/attention_{role}:", rows * HEAD)
            for role, rows in (("q", heads), ("k", groups), ("v", groups))
        )
        return q, k, v


def _by_group(q: Array, k: Array, v: Array, groups: int) -> Array:
    """Rows as [query heads of the group, its k, its v], group by group."""
    parts = [np.split(each, groups) for each in (q, k, v)]
    return np.concatenate([np.concatenate(group) for group in zip(*parts, strict=True)])


def _llama_frame(model_type: str, prefix: str = "model.") -> Layout:
    model = Layout({"model_type": model_type, "num_attention_heads": HEADS, "num_key_value_heads": GROUPS})
    model.plain(f"{prefix}embed_tokens.weight", "decoder/-/embedding/", VOCABULARY, HIDDEN)
    model.plain("lm_head.weight", "decoder/-/head/", VOCABULARY, HIDDEN)
    model.norm(f"{prefix}norm", "decoder/-", "norm")
    for layer in range(LAYERS):
        for part in ("input_layernorm", "post_attention_layernorm"):
            model.norm(f"{prefix}layers.{layer}.{part}", f"decoder/{layer}", part)
    return model


def _llama_attention(model: Layout, prefix: str = "model.") -> None:
    for layer in range(LAYERS):
        at, key = f"{prefix}layers.{layer}.self_attn.", f"decoder/{layer}/attention_"
        for role, rows in (("q", HEADS), ("k", GROUPS), ("v", GROUPS)):
            model.plain(f"{at}{role}_proj.weight", f"{key}{role}/", rows * HEAD, HIDDEN)
        model.plain(f"{at}o_proj.weight", f"{key}o/", HIDDEN, HEADS * HEAD)


def _llama_mlp(model: Layout, prefix: str = "model.") -> None:
    for layer in range(LAYERS):
        at, key = f"{prefix}layers.{layer}.mlp.", f"decoder/{layer}/ffn_"
        model.plain(f"{at}gate_proj.weight", f"{key}gate/", WIDE, HIDDEN)
        model.plain(f"{at}up_proj.weight", f"{key}up/", WIDE, HIDDEN)
        model.plain(f"{at}down_proj.weight", f"{key}down/", HIDDEN, WIDE)


def llama(prefix: str = "model.") -> Layout:
    model = _llama_frame("llama", prefix)
    _llama_attention(model, prefix)
    _llama_mlp(model, prefix)
    return model


def qwen2_with_bias() -> Layout:
    model = llama()
    for layer in range(LAYERS):
        for role, rows in (("q", HEADS), ("k", GROUPS), ("v", GROUPS)):
            model.plain(
                f"model.layers.{layer}.self_attn.{role}_proj.bias",
                f"decoder/{layer}/bias/attention_{role}:",
                rows * HEAD,
            )
    return model


def phi3() -> Layout:
    model = _llama_frame("phi3")
    for layer in range(LAYERS):
        at, key = f"model.layers.{layer}.", f"decoder/{layer}"
        model.tensors[f"{at}self_attn.qkv_proj.weight"] = np.concatenate(model.qkv(key, HEADS, GROUPS))
        model.plain(f"{at}self_attn.o_proj.weight", f"{key}/attention_o/", HIDDEN, HEADS * HEAD)
        model.tensors[f"{at}mlp.gate_up_proj.weight"] = np.concatenate(
            [model.known(f"{key}/ffn_gate/", WIDE, HIDDEN), model.known(f"{key}/ffn_up/", WIDE, HIDDEN)]
        )
        model.plain(f"{at}mlp.down_proj.weight", f"{key}/ffn_down/", HIDDEN, WIDE)
    return model


def mixtral() -> Layout:
    model = _llama_frame("mixtral")
    _llama_attention(model)
    for layer in range(LAYERS):
        at, key = f"model.layers.{layer}.block_sparse_moe.", f"decoder/{layer}"
        model.plain(f"{at}gate.weight", f"{key}/router/", 3, HIDDEN)
        for expert in range(3):
            model.plain(f"{at}experts.{expert}.w1.weight", f"{key}/expert_gate/{expert}", WIDE, HIDDEN)
            model.plain(f"{at}experts.{expert}.w3.weight", f"{key}/expert_up/{expert}", WIDE, HIDDEN)
            model.plain(f"{at}experts.{expert}.w2.weight", f"{key}/expert_down/{expert}", HIDDEN, WIDE)
    return model


def mixtral_stacked() -> Layout:
    """As transformers 5 saves it: experts in one tensor, gate above up."""
    model = _llama_frame("mixtral")
    _llama_attention(model)
    for layer in range(LAYERS):
        at, key = f"model.layers.{layer}.mlp.", f"decoder/{layer}"
        model.plain(f"{at}gate.weight", f"{key}/router/", 3, HIDDEN)
        both = [
            [
                model.known(f"{key}/expert_gate/{expert}", WIDE, HIDDEN),
                model.known(f"{key}/expert_up/{expert}", WIDE, HIDDEN),
            ]
            for expert in range(3)
        ]
        model.tensors[f"{at}experts.gate_up_proj"] = np.stack([np.concatenate(pair) for pair in both])
        model.tensors[f"{at}experts.down_proj"] = np.stack(
            [model.known(f"{key}/expert_down/{expert}", HIDDEN, WIDE) for expert in range(3)]
        )
    return model


def internlm2() -> Layout:
    model = Layout({"model_type": "internlm2", "num_attention_heads": HEADS, "num_key_value_heads": GROUPS})
    model.plain("model.tok_embeddings.weight", "decoder/-/embedding/", VOCABULARY, HIDDEN)
    model.plain("output.weight", "decoder/-/head/", VOCABULARY, HIDDEN)
    model.norm("model.norm", "decoder/-", "norm")
    for layer in range(LAYERS):
        at, key = f"model.layers.{layer}.", f"decoder/{layer}"
        model.tensors[f"{at}attention.wqkv.weight"] = _by_group(*model.qkv(key, HEADS, GROUPS), GROUPS)
        model.plain(f"{at}attention.wo.weight", f"{key}/attention_o/", HIDDEN, HEADS * HEAD)
        for name, role in (("w1", "gate"), ("w3", "up")):
            model.plain(f"{at}feed_forward.{name}.weight", f"{key}/ffn_{role}/", WIDE, HIDDEN)
        model.plain(f"{at}feed_forward.w2.weight", f"{key}/ffn_down/", HIDDEN, WIDE)
        for part in ("attention_norm", "ffn_norm"):
            model.norm(f"{at}{part}", key, part)
    return model


def gpt2() -> Layout:
    model = Layout({"model_type": "gpt2", "n_head": HEADS, "n_embd": HIDDEN})
    model.plain("wte.weight", "decoder/-/embedding/", VOCABULARY, HIDDEN)
    model.plain("wpe.weight", "decoder/-/position/", 6, HIDDEN)
    model.norm("ln_f", "decoder/-", "ln_f", bias=True)
    for layer in range(LAYERS):
        at, key = f"h.{layer}.", f"decoder/{layer}"
        for part in ("ln_1", "ln_2"):
            model.norm(f"{at}{part}", key, part, bias=True)
        model.tensors[f"{at}attn.c_attn.weight"] = np.concatenate([m.T for m in model.qkv(key)], axis=1)
        model.tensors[f"{at}attn.c_attn.bias"] = np.concatenate(model.qkv_bias(key))
        for name, role, rows, columns in (
            ("attn.c_proj", "attention_o", HIDDEN, HIDDEN),
            ("mlp.c_fc", "ffn_up", WIDE, HIDDEN),
            ("mlp.c_proj", "ffn_down", HIDDEN, WIDE),
        ):
            model.turned(f"{at}{name}.weight", f"{key}/{role}/", rows, columns)
            model.plain(f"{at}{name}.bias", f"{key}/bias/{role}:", rows)
        # The causal mask, which old files carry.
        model.tensors[f"{at}attn.bias"] = model.numbers(1, 1, 6, 6)
        model.expected[f"/-/other/{at}attn.bias"] = model.tensors[f"{at}attn.bias"].reshape(6, 6)
    return model


def _dense_layer(model: Layout, at: str, key: str, names: dict[str, tuple[str, int, int]]) -> None:
    for name, (role, rows, columns) in names.items():
        model.plain(f"{at}{name}.weight", f"{key}/{role}/", rows, columns)
        model.plain(f"{at}{name}.bias", f"{key}/bias/{role}:", rows)


def gpt_neox() -> Layout:
    model = Layout({"model_type": "gpt_neox", "num_attention_heads": HEADS})
    model.plain("gpt_neox.embed_in.weight", "decoder/-/embedding/", VOCABULARY, HIDDEN)
    model.plain("embed_out.weight", "decoder/-/head/", VOCABULARY, HIDDEN)
    model.norm("gpt_neox.final_layer_norm", "decoder/-", "final_layer_norm", bias=True)
    for layer in range(LAYERS):
        at, key = f"gpt_neox.layers.{layer}.", f"decoder/{layer}"
        for part in ("input_layernorm", "post_attention_layernorm"):
            model.norm(f"{at}{part}", key, part, bias=True)
        # GPTNeoXAttention views the output as (heads, 3 * head size).
        heads = [each.reshape(HEADS, HEAD, HIDDEN) for each in model.qkv(key)]
        biases = [each.reshape(HEADS, HEAD) for each in model.qkv_bias(key)]
        model.tensors[f"{at}attention.query_key_value.weight"] = np.stack(heads, axis=1).reshape(-1, HIDDEN)
        model.tensors[f"{at}attention.query_key_value.bias"] = np.stack(biases, axis=1).reshape(-1)
        _dense_layer(
            model,
            at,
            key,
            {
                "attention.dense": ("attention_o", HIDDEN, HIDDEN),
                "mlp.dense_h_to_4h": ("ffn_up", WIDE, HIDDEN),
                "mlp.dense_4h_to_h": ("ffn_down", HIDDEN, WIDE),
            },
        )
    return model


def _falcon(groups: int) -> Layout:
    model = Layout({"model_type": "falcon", "num_attention_heads": HEADS})
    model.plain("transformer.word_embeddings.weight", "decoder/-/embedding/", VOCABULARY, HIDDEN)
    model.plain("lm_head.weight", "decoder/-/head/", VOCABULARY, HIDDEN)
    model.norm("transformer.ln_f", "decoder/-", "ln_f", bias=True)
    for layer in range(LAYERS):
        at, key = f"transformer.h.{layer}.", f"decoder/{layer}"
        model.norm(f"{at}input_layernorm", key, "input_layernorm", bias=True)
        model.tensors[f"{at}self_attention.query_key_value.weight"] = _by_group(*model.qkv(key, HEADS, groups), groups)
        model.plain(f"{at}self_attention.dense.weight", f"{key}/attention_o/", HIDDEN, HIDDEN)
        model.plain(f"{at}mlp.dense_h_to_4h.weight", f"{key}/ffn_up/", WIDE, HIDDEN)
        model.plain(f"{at}mlp.dense_4h_to_h.weight", f"{key}/ffn_down/", HIDDEN, WIDE)
    return model


def falcon_multi_query() -> Layout:
    return _falcon(1)


def falcon_grouped() -> Layout:
    return _falcon(GROUPS)


def bloom() -> Layout:
    return _falcon(HEADS)


_BERT_LAYER = {
    "attention.self.query": ("attention_q", HIDDEN, HIDDEN),
    "attention.self.key": ("attention_k", HIDDEN, HIDDEN),
    "attention.self.value": ("attention_v", HIDDEN, HIDDEN),
    "attention.output.dense": ("attention_o", HIDDEN, HIDDEN),
    "intermediate.dense": ("ffn_up", WIDE, HIDDEN),
    "output.dense": ("ffn_down", HIDDEN, WIDE),
}


def _bert_body(model: Layout, prefix: str) -> None:
    model.plain(f"{prefix}embeddings.word_embeddings.weight", "encoder/-/embedding/", VOCABULARY, HIDDEN)
    model.plain(f"{prefix}embeddings.position_embeddings.weight", "encoder/-/position/", 6, HIDDEN)
    model.plain(f"{prefix}embeddings.token_type_embeddings.weight", "encoder/-/position/token_type", 2, HIDDEN)
    model.norm(f"{prefix}embeddings.LayerNorm", "encoder/-", "embeddings", bias=True)
    for layer in range(LAYERS):
        at, key = f"{prefix}encoder.layer.{layer}.", f"encoder/{layer}"
        _dense_layer(model, at, key, _BERT_LAYER)
        model.norm(f"{at}attention.output.LayerNorm", key, "attention", bias=True)
        model.norm(f"{at}output.LayerNorm", key, "output", bias=True)


def bert(prefix: str = "bert.") -> Layout:
    model = Layout({"model_type": "bert", "num_attention_heads": HEADS})
    _bert_body(model, prefix)
    _dense_layer(model, prefix, "encoder/-", {"pooler.dense": ("head", HIDDEN, HIDDEN)})
    # The pooler is told from other heads by its part.
    model.expected["encoder/-/head/pooler"] = model.expected.pop("encoder/-/head/")
    model.expected["encoder/-/bias/head:pooler"] = model.expected.pop("encoder/-/bias/head:")
    model.plain("cls.predictions.transform.dense.weight", "encoder/-/head/transform", HIDDEN, HIDDEN)
    model.norm("cls.predictions.transform.LayerNorm", "encoder/-", "head", bias=True)
    model.plain("cls.predictions.decoder.weight", "encoder/-/head/", VOCABULARY, HIDDEN)
    model.plain("cls.predictions.bias", "/-/other/cls.predictions.bias", VOCABULARY)
    return model


def bert_with_tensorflow_norms() -> Layout:
    model = bert()
    for name in [n for n in model.tensors if "LayerNorm" in n]:
        other = name.replace(".weight", ".gamma").replace(".bias", ".beta")
        model.tensors[other] = model.tensors.pop(name)
    return model


def roberta() -> Layout:
    model = Layout({"model_type": "roberta", "num_attention_heads": HEADS})
    _bert_body(model, "roberta.")
    model.plain("lm_head.decoder.weight", "encoder/-/head/", VOCABULARY, HIDDEN)
    model.plain("lm_head.dense.weight", "encoder/-/head/transform", HIDDEN, HIDDEN)
    model.plain("lm_head.dense.bias", "encoder/-/bias/head:transform", HIDDEN)
    model.norm("lm_head.layer_norm", "encoder/-", "head", bias=True)
    model.plain("lm_head.bias", "/-/other/lm_head.bias", VOCABULARY)
    return model


def distilbert() -> Layout:
    model = Layout({"model_type": "distilbert", "n_heads": HEADS, "dim": HIDDEN})
    model.plain("distilbert.embeddings.word_embeddings.weight", "encoder/-/embedding/", VOCABULARY, HIDDEN)
    model.plain("distilbert.embeddings.position_embeddings.weight", "encoder/-/position/", 6, HIDDEN)
    model.norm("distilbert.embeddings.LayerNorm", "encoder/-", "embeddings", bias=True)
    for layer in range(LAYERS):
        at, key = f"distilbert.transformer.layer.{layer}.", f"encoder/{layer}"
        _dense_layer(
            model,
            at,
            key,
            {
                **{f"attention.{r}_lin": (f"attention_{r}", HIDDEN, HIDDEN) for r in "qkv"},
                "attention.out_lin": ("attention_o", HIDDEN, HIDDEN),
                "ffn.lin1": ("ffn_up", WIDE, HIDDEN),
                "ffn.lin2": ("ffn_down", HIDDEN, WIDE),
            },
        )
        model.norm(f"{at}sa_layer_norm", key, "attention", bias=True)
        model.norm(f"{at}output_layer_norm", key, "output", bias=True)
    model.plain("vocab_transform.weight", "encoder/-/head/transform", HIDDEN, HIDDEN)
    model.norm("vocab_layer_norm", "encoder/-", "head", bias=True)
    model.plain("vocab_projector.weight", "encoder/-/head/", VOCABULARY, HIDDEN)
    return model


def t5() -> Layout:
    model = Layout({"model_type": "t5", "num_heads": HEADS, "d_model": HIDDEN})
    model.plain("shared.weight", "encoder/-/embedding/", VOCABULARY, HIDDEN)
    model.plain("lm_head.weight", "encoder/-/head/", VOCABULARY, HIDDEN)
    for stack in ("encoder", "decoder"):
        model.norm(f"{stack}.final_layer_norm", f"{stack}/-", "final")
        for layer in range(LAYERS):
            at, key = f"{stack}.block.{layer}.layer.", f"{stack}/{layer}"
            attentions = [("0.SelfAttention", "")] + ([("1.EncDecAttention", "cross")] if stack == "decoder" else [])
            for name, part in attentions:
                for role in "qkvo":
                    model.plain(f"{at}{name}.{role}.weight", f"{key}/attention_{role}/{part}", HIDDEN, HIDDEN)
            last = len(attentions)
            for name, role in (("wi_0", "gate"), ("wi_1", "up")):
                model.plain(f"{at}{last}.DenseReluDense.{name}.weight", f"{key}/ffn_{role}/", WIDE, HIDDEN)
            model.plain(f"{at}{last}.DenseReluDense.wo.weight", f"{key}/ffn_down/", HIDDEN, WIDE)
            for number in range(last + 1):
                model.norm(f"{at}{number}.layer_norm", key, str(number))
        model.plain(
            f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight", f"{stack}/0/position/", 4, HEADS
        )
    return model


ALL: tuple[Callable[[], Layout], ...] = (
    llama,
    qwen2_with_bias,
    phi3,
    mixtral,
    mixtral_stacked,
    internlm2,
    gpt2,
    gpt_neox,
    falcon_multi_query,
    falcon_grouped,
    bloom,
    bert,
    bert_with_tensorflow_norms,
    roberta,
    distilbert,
    t5,
)
