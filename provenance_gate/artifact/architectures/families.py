"""Names as Hugging Face checkpoints have them. To add an architecture, add one `Architecture` to `FAMILIES`."""

from __future__ import annotations

from provenance_gate.artifact.architectures.table import (
    DOWN,
    GATE,
    NORM,
    UP,
    X_DOWN,
    X_GATE,
    X_UP,
    Architecture,
    Entry,
    K,
    Layout,
    O,
    Q,
    V,
    matrices,
    norms,
)
from provenance_gate.artifact.interface import Role

_LLAMA = Architecture(
    "llama",
    "decoder",
    (
        Entry("embed_tokens", (Role.EMBEDDING,)),
        Entry("lm_head", (Role.HEAD,)),
        *matrices("layers.{L}.self_attn.", {"q_proj": Q, "k_proj": K, "v_proj": V, "o_proj": O, "dense": O}),
        Entry("layers.{L}.self_attn.qkv_proj", (Q, K, V)),
        Entry("layers.{L}.self_attn.W_pack", (Q, K, V)),
        *matrices("layers.{L}.mlp.", {"gate_proj": GATE, "up_proj": UP, "down_proj": DOWN, "fc1": UP, "fc2": DOWN}),
        *matrices("layers.{L}.mlp.", {"c_fc": UP, "c_proj": DOWN}),
        Entry("layers.{L}.self_attn.out_proj", (O,)),
        *matrices("layers.{L}.feed_forward.", {"w1": GATE, "w3": UP, "w2": DOWN}),
        Entry("layers.{L}.shared_mlp.input_linear", (GATE, UP)),
        Entry("layers.{L}.shared_mlp.output_linear", (DOWN,)),
        Entry("layers.{L}.block_sparse_moe.input_linear", (X_GATE, X_UP), Layout.STACKED),
        Entry("layers.{L}.block_sparse_moe.output_linear", (X_DOWN,), Layout.STACKED),
        Entry("layers.{L}.block_sparse_moe.router.layer", (Role.ROUTER,)),
        Entry("layers.{L}.mlp.gate_up_proj", (GATE, UP)),
        Entry("layers.{L}.mlp.gate", (Role.ROUTER,)),
        Entry("layers.{L}.block_sparse_moe.gate", (Role.ROUTER,)),
        *matrices("layers.{L}.block_sparse_moe.experts.{E}.", {"w1": X_GATE, "w3": X_UP, "w2": X_DOWN}),
        *matrices("layers.{L}.mlp.experts.{E}.", {"gate_proj": X_GATE, "up_proj": X_UP, "down_proj": X_DOWN}),
        Entry("layers.{L}.mlp.experts.gate_up_proj", (X_GATE, X_UP), Layout.STACKED),
        Entry("layers.{L}.mlp.experts.down_proj", (X_DOWN,), Layout.STACKED),
        *matrices("layers.{L}.mlp.shared_expert.", {"gate_proj": GATE, "up_proj": UP, "down_proj": DOWN}),
        *matrices("layers.{L}.mlp.shared_experts.", {"gate_proj": GATE, "up_proj": UP, "down_proj": DOWN}),
        *norms(
            "layers.{L}.",
            (
                "input_layernorm",
                "post_attention_layernorm",
                "pre_feedforward_layernorm",
                "post_feedforward_layernorm",
                "self_attn.q_norm",
                "self_attn.k_norm",
                "self_attn.q_layernorm",
                "self_attn.k_layernorm",
                "self_attn.query_layernorm",
                "self_attn.key_layernorm",
                "post_self_attn_layernorm",
                "post_mlp_layernorm",
                "operator_norm",
                "ffn_norm",
            ),
        ),
        *norms("", ("model.norm", "language_model.norm", "norm", "model.final_layernorm")),
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
        *matrices("layers.{L}.feed_forward.", {"w1": GATE, "w3": UP, "w2": DOWN}),
        *norms("layers.{L}.", ("attention_norm", "ffn_norm")),
        *norms("", ("model.norm",)),
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
        *matrices("h.{L}.", {"attn.c_proj": O, "mlp.c_fc": UP, "mlp.c_proj": DOWN}, Layout.COLUMNS),
        *norms("h.{L}.", ("ln_1", "ln_2")),
        *norms("", ("ln_f",)),
    ),
)

_GPT_NEOX = Architecture(
    "gpt_neox",
    "decoder",
    (
        Entry("embed_in", (Role.EMBEDDING,)),
        Entry("embed_out", (Role.HEAD,)),
        Entry("layers.{L}.attention.query_key_value", (Q, K, V), Layout.PER_HEAD),
        *matrices("layers.{L}.", {"attention.dense": O, "mlp.dense_h_to_4h": UP, "mlp.dense_4h_to_h": DOWN}),
        *norms("layers.{L}.", ("input_layernorm", "post_attention_layernorm")),
        *norms("", ("final_layer_norm",)),
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
        *matrices("h.{L}.", {"self_attention.dense": O, "mlp.dense_h_to_4h": UP, "mlp.dense_4h_to_h": DOWN}),
        *norms("h.{L}.", ("input_layernorm", "post_attention_layernorm", "ln_attn", "ln_mlp")),
        *norms("", ("word_embeddings_layernorm", "ln_f")),
    ),
)

_BERT = Architecture(
    "bert",
    "encoder",
    (
        Entry("embeddings.word_embeddings", (Role.EMBEDDING,)),
        Entry("embeddings.position_embeddings", (Role.POSITION,)),
        Entry("embeddings.token_type_embeddings", (Role.POSITION,), part="token_type"),
        *matrices("encoder.layer.{L}.attention.self.", {"query": Q, "key": K, "value": V}),
        *matrices("encoder.layer.{L}.", {"attention.output.dense": O, "intermediate.dense": UP, "output.dense": DOWN}),
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
        *matrices("transformer.layer.{L}.attention.", {"q_lin": Q, "k_lin": K, "v_lin": V, "out_lin": O}),
        *matrices("transformer.layer.{L}.ffn.", {"lin1": UP, "lin2": DOWN}),
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
        *matrices("{S}.block.{L}.layer.0.SelfAttention.", _ATTENTION_T5),
        *matrices("{S}.block.{L}.layer.1.EncDecAttention.", _ATTENTION_T5, part="cross"),
        *matrices("{S}.block.{L}.layer.1.DenseReluDense.", _FFN_T5),
        *matrices("{S}.block.{L}.layer.2.DenseReluDense.", _FFN_T5),
        Entry("{S}.block.{L}.layer.0.SelfAttention.relative_attention_bias", (Role.POSITION,)),
        Entry("{S}.block.{L}.layer.0.layer_norm", (NORM,), part="0"),
        Entry("{S}.block.{L}.layer.1.layer_norm", (NORM,), part="1"),
        Entry("{S}.block.{L}.layer.2.layer_norm", (NORM,), part="2"),
        Entry("{S}.final_layer_norm", (NORM,), part="final"),
    ),
)

_CHATGLM = Architecture(
    "chatglm",
    "decoder",
    (
        Entry("embedding.word_embeddings", (Role.EMBEDDING,)),
        Entry("output_layer", (Role.HEAD,)),
        Entry("encoder.layers.{L}.self_attention.query_key_value", (Q, K, V)),
        Entry("encoder.layers.{L}.self_attention.dense", (O,)),
        Entry("encoder.layers.{L}.mlp.dense_h_to_4h", (GATE, UP)),
        Entry("encoder.layers.{L}.mlp.dense_4h_to_h", (DOWN,)),
        *norms("encoder.layers.{L}.", ("input_layernorm", "post_attention_layernorm")),
        *norms("", ("encoder.final_layernorm",)),
    ),
)

_GPTJ = Architecture(
    "gptj",
    "decoder",
    (
        Entry("wte", (Role.EMBEDDING,)),
        Entry("lm_head", (Role.HEAD,)),
        *matrices("h.{L}.attn.", {"q_proj": Q, "k_proj": K, "v_proj": V, "out_proj": O}),
        *matrices("h.{L}.mlp.", {"fc_in": UP, "fc_out": DOWN}),
        *norms("h.{L}.", ("ln_1",)),
        *norms("", ("ln_f",)),
    ),
)

# OPT, BART and Marian: the stack stands in the name.
_BART = Architecture(
    "bart",
    "decoder",
    (
        Entry("shared", (Role.EMBEDDING,)),
        Entry("decoder.embed_tokens", (Role.EMBEDDING,), part="decoder"),
        Entry("encoder.embed_tokens", (Role.EMBEDDING,), part="encoder"),
        Entry("{S}.embed_positions", (Role.POSITION,)),
        Entry("lm_head", (Role.HEAD,)),
        *matrices("{S}.layers.{L}.self_attn.", {"q_proj": Q, "k_proj": K, "v_proj": V, "out_proj": O}),
        *matrices("{S}.layers.{L}.encoder_attn.", {"q_proj": Q, "k_proj": K, "v_proj": V, "out_proj": O}, part="cross"),
        *matrices("{S}.layers.{L}.", {"fc1": UP, "fc2": DOWN}),
        *norms("{S}.layers.{L}.", ("self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm")),
        *norms("{S}.", ("layernorm_embedding", "layer_norm", "final_layer_norm")),
    ),
)

# Hybrids of attention, feed-forward and state-space layers; the last are kept as other.
_NEMOTRON_H = Architecture(
    "nemotron_h",
    "decoder",
    (
        Entry("backbone.embeddings", (Role.EMBEDDING,)),
        Entry("lm_head", (Role.HEAD,)),
        *matrices("layers.{L}.mixer.", {"q_proj": Q, "k_proj": K, "v_proj": V, "o_proj": O}),
        *matrices("layers.{L}.mixer.", {"up_proj": UP, "down_proj": DOWN}),
        *norms("layers.{L}.", ("norm",)),
        *norms("", ("backbone.norm_f",)),
    ),
)

FAMILIES: tuple[Architecture, ...] = (
    _LLAMA,
    _INTERNLM2,
    _GPT2,
    _GPT_NEOX,
    _BLOOM_FALCON,
    _BERT,
    _DISTILBERT,
    _T5,
    _CHATGLM,
    _GPTJ,
    _BART,
    _NEMOTRON_H,
)
