"""Names of Llama and its many kin, InternLM 2 and ChatGLM."""

from __future__ import annotations

from dataclasses import replace

from provenance_gate.artifact.architectures.mixers import gated_attention, latent_attention, mixer
from provenance_gate.artifact.architectures.table import (
    DOWN,
    GATE,
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

_ATTENTION = {"q_proj": Q, "k_proj": K, "v_proj": V, "o_proj": O}
_GATED = {"gate_proj": GATE, "up_proj": UP, "down_proj": DOWN}
_GATED_EXPERT = {"gate_proj": X_GATE, "up_proj": X_UP, "down_proj": X_DOWN}
_DENSE = (
    *("mlp.shared_expert", "mlp.shared_experts", "mlp.shared_mlp", "feed_forward", "feed_forward.shared_expert", "ffn"),
    *(
        "block_sparse_moe",
        "block_sparse_moe.shared_experts",
        "shared_transformer.feed_forward",
        "shared_transf.feed_forward",
    ),
)
"""Where Llama kin keep dense feed-forward blocks beside `mlp`; a shared expert is one that every token visits."""
_ROUTERS = (
    *("mlp.router", "mlp.router.gate", "mlp.router.layer", "mlp.router.classifier", "mlp.gate.wg"),
    *("feed_forward.gate", "feed_forward.router"),
)
_ROUTER_BIASES = (
    *("mlp.gate.e_score_correction_bias", "mlp.e_score_correction_bias", "mlp.router.e_score_correction_bias"),
    *("block_sparse_moe.gate.e_score_correction_bias", "block_sparse_moe.e_score_correction_bias"),
    *("mlp.moe_statics.e_score_correction_bias", "mlp.expert_bias", "feed_forward.expert_bias"),
)
_MIXERS = ("mamba", "mamba_decoder.mamba", "linear_attn", "gla", "conv")
"""Where hybrids keep what mixes tokens in their layers without attention."""
_LOW_RANK = (
    *("laurel.linear_left", "laurel.linear_right", "per_layer_input_gate", "per_layer_projection"),
    *("altup.modality_router", "altup.prediction_coefs", "altup.correction_coefs"),
)

LLAMA = Architecture(
    "llama",
    "decoder",
    (
        Entry("embed_tokens", (Role.EMBEDDING,)),
        Entry("lm_head", (Role.HEAD,)),
        *matrices("layers.{L}.self_attn.", {**_ATTENTION, "dense": O}),
        Entry("layers.{L}.self_attn.qkv_proj", (Q, K, V)),
        Entry("layers.{L}.self_attn.W_pack", (Q, K, V)),
        *matrices("layers.{L}.mlp.", {"gate_proj": GATE, "up_proj": UP, "down_proj": DOWN, "fc1": UP, "fc2": DOWN}),
        *matrices("layers.{L}.mlp.", {"c_fc": UP, "c_proj": DOWN}),
        Entry("layers.{L}.self_attn.out_proj", (O,)),
        *matrices("layers.{L}.feed_forward.", {"w1": GATE, "w3": UP, "w2": DOWN}),
        *latent_attention("layers.{L}.self_attn."),
        *gated_attention("layers.{L}.self_attn."),
        *matrices("layers.{L}.cross_attn.", _ATTENTION, part="cross"),
        # Bolmo: recurrent stacks over bytes before and behind the body.
        *(replace(e, template=e.template.replace("layers", "{T}.layers")) for e in mixer("layers.{L}.xlstm.")),
        *matrices("{T}.layers.{L}.mlp.", _GATED),
        *norms("{T}.layers.{L}.", ("pre_xlstm_layernorm", "pre_feedforward_layernorm")),
        Entry("local_encoder.byte_embedding", (Role.EMBEDDING,)),
        Entry("local_encoder.subword_embedding", (Role.EMBEDDING,), part="subword"),
        # Gemma 3n: a low-rank path beside the block, and embeddings of its own for every layer.
        *(Entry(f"layers.{{L}}.{name}", (UP,), part=name) for name in _LOW_RANK),
        # JetMoE: experts of attention, too.
        Entry("layers.{L}.self_attention.experts.input_linear", (Q,), Layout.STACKED),
        Entry("layers.{L}.self_attention.experts.output_linear", (O,), Layout.STACKED),
        Entry("layers.{L}.self_attention.experts.router.layer", (Role.ROUTER,), part="attention"),
        Entry("layers.{L}.self_attention.kv_proj", (K, V)),
        *(e for name in _MIXERS for e in mixer(f"layers.{{L}}.{name}.")),
        Entry("layers.{L}.shared_mlp.input_linear", (GATE, UP)),
        Entry("layers.{L}.shared_mlp.output_linear", (DOWN,)),
        Entry("layers.{L}.block_sparse_moe.input_linear", (X_GATE, X_UP), Layout.STACKED),
        Entry("layers.{L}.block_sparse_moe.output_linear", (X_DOWN,), Layout.STACKED),
        Entry("layers.{L}.block_sparse_moe.router.layer", (Role.ROUTER,)),
        Entry("layers.{L}.mlp.gate_up_proj", (GATE, UP)),
        Entry("layers.{L}.mlp.gate", (Role.ROUTER,)),
        Entry("layers.{L}.block_sparse_moe.gate", (Role.ROUTER,)),
        *matrices("layers.{L}.", dict.fromkeys(_ROUTERS, Role.ROUTER)),
        Entry("layers.{L}.mlp.shared_expert_gate", (Role.ROUTER,), part="shared"),
        *(Entry(f"layers.{{L}}.{name}", (Role.BIAS,), part=name) for name in _ROUTER_BIASES),
        *matrices("layers.{L}.block_sparse_moe.experts.{E}.", {"w1": X_GATE, "w3": X_UP, "w2": X_DOWN}),
        *matrices("layers.{L}.mlp.experts.{E}.", {"gate_proj": X_GATE, "up_proj": X_UP, "down_proj": X_DOWN}),
        Entry("layers.{L}.mlp.experts.gate_up_proj", (X_GATE, X_UP), Layout.STACKED),
        Entry("layers.{L}.mlp.experts.down_proj", (X_DOWN,), Layout.STACKED),
        *(e for name in _DENSE for e in matrices(f"layers.{{L}}.{name}.", _GATED)),
        *matrices("layers.{L}.mlps.{E}.", _GATED),
        Entry("layers.{L}.ffn.gate_up_proj", (GATE, UP)),
        Entry("layers.{L}.shared_transformer.feed_forward.gate_up_proj", (GATE, UP)),
        *matrices("layers.{L}.feed_forward.experts.{E}.", {"w1": X_GATE, "w3": X_UP, "w2": X_DOWN}),
        *matrices("layers.{L}.feed_forward.experts.{E}.", _GATED_EXPERT),
        Entry("layers.{L}.feed_forward.experts.gate_up_proj", (X_GATE, X_UP), Layout.STACKED),
        Entry("layers.{L}.feed_forward.experts.down_proj", (X_DOWN,), Layout.STACKED),
        Entry("layers.{L}.mlp.input_linear", (X_GATE, X_UP), Layout.STACKED),
        Entry("layers.{L}.mlp.output_linear", (X_DOWN,), Layout.STACKED),
        *matrices("layers.{L}.shared_transformer.self_attn.", _ATTENTION),
        *matrices("layers.{L}.shared_transf.self_attn.", _ATTENTION),
        *matrices("layers.{L}.", {"linear": O}, part="shared_transformer"),
        *latent_attention("layers.{L}.self_attn.{E}."),
        Entry("layers.{L}.self_attn.{E}.o_proj", (O,)),
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
                "attention_layernorm",
                "feedforward_layernorm",
                "attention_layer_norm",
                "feedforward_layer_norm",
                "pre_mlp_layernorm",
                "pre_ff_layernorm",
                "pre_ffn_layernorm",
                "pre_self_attn_layernorm",
                "pre_cross_attn_layernorm",
                "post_cross_attn_layernorm",
                "mlp.ffn_sub_norm",
            ),
        ),
        *norms("", ("model.norm", "language_model.norm", "norm", "model.final_layernorm")),
    ),
)

INTERNLM2 = Architecture(
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


CHATGLM = Architecture(
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
