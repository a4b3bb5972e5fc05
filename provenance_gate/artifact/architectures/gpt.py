"""Names of GPT-2 and its kin: one module of attention and one of feed-forward a block, mostly with fused q, k and v."""

from __future__ import annotations

from provenance_gate.artifact.architectures.table import (
    DOWN,
    GATE,
    UP,
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

GPT2 = Architecture(
    "gpt2",
    "decoder",
    (
        Entry("wte", (Role.EMBEDDING,)),
        Entry("wpe", (Role.POSITION,)),
        Entry("lm_head", (Role.HEAD,)),
        Entry("h.{L}.attn.c_attn", (Q, K, V), Layout.COLUMNS),
        *matrices("h.{L}.", {"attn.c_proj": O, "mlp.c_fc": UP, "mlp.c_proj": DOWN}, Layout.COLUMNS),
        *matrices("h.{L}.mlp.", {"w1": UP, "w2": GATE}),
        *matrices("h.{L}.attn.attention.", {"q_proj": Q, "k_proj": K, "v_proj": V, "out_proj": O}),
        *norms("h.{L}.", ("ln_1", "ln_2")),
        *norms("", ("ln_f",)),
    ),
)


GPT_NEOX = Architecture(
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


BLOOM_FALCON = Architecture(
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


GPTJ = Architecture(
    "gptj",
    "decoder",
    (
        Entry("wte", (Role.EMBEDDING,)),
        Entry("lm_head", (Role.HEAD,)),
        *matrices("h.{L}.attn.", {"q_proj": Q, "k_proj": K, "v_proj": V, "out_proj": O}),
        # CodeGen: four blocks of query, value and key rows, one per core that it was trained on.
        Entry("h.{L}.attn.qkv_proj", (Q,), part="qkv"),
        *matrices("h.{L}.mlp.", {"fc_in": UP, "fc_out": DOWN}),
        *norms("h.{L}.", ("ln_1",)),
        *norms("", ("ln_f",)),
    ),
)


MPT = Architecture(
    "mpt",
    "decoder",
    (
        Entry("wte", (Role.EMBEDDING,)),
        Entry("lm_head", (Role.HEAD,)),
        Entry("blocks.{L}.attn.Wqkv", (Q, K, V)),
        *matrices("blocks.{L}.", {"attn.out_proj": O, "ffn.up_proj": UP, "ffn.down_proj": DOWN}),
        *norms("blocks.{L}.", ("norm_1", "norm_2")),
        *norms("", ("norm_f",)),
    ),
)


PERSIMMON = Architecture(
    "persimmon",
    "decoder",
    (
        Entry("embed_tokens", (Role.EMBEDDING,)),
        Entry("lm_head", (Role.HEAD,)),
        Entry("layers.{L}.self_attn.query_key_value", (Q, K, V), Layout.PER_HEAD),
        *matrices("layers.{L}.", {"self_attn.dense": O, "mlp.dense_h_to_4h": UP, "mlp.dense_4h_to_h": DOWN}),
        *norms("layers.{L}.", ("input_layernorm", "post_attention_layernorm")),
        *norms("layers.{L}.self_attn.", ("q_layernorm", "k_layernorm")),
        *norms("", ("final_layernorm",)),
    ),
)
