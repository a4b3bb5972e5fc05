"""Names as llama.cpp's GGUF files have them."""

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
)
from provenance_gate.artifact.interface import Role

_GGUF_SHARED = (
    Entry("token_embd", (Role.EMBEDDING,)),
    Entry("position_embd", (Role.POSITION,)),
    Entry("token_types", (Role.POSITION,), part="token_type"),
    Entry("output", (Role.HEAD,)),
    *matrices("blk.{L}.", {"attn_q": Q, "attn_k": K, "attn_v": V, "attn_output": O}),
    *matrices("blk.{L}.", {"ffn_gate": GATE, "ffn_up": UP, "ffn_down": DOWN, "ffn_gate_inp": Role.ROUTER}),
    *matrices("blk.{L}.", {"ffn_gate_shexp": GATE, "ffn_up_shexp": UP, "ffn_down_shexp": DOWN}),
    *matrices("blk.{L}.", {"ffn_gate_exps": X_GATE, "ffn_up_exps": X_UP, "ffn_down_exps": X_DOWN}, Layout.STACKED),
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

GGUF: tuple[Architecture, ...] = (_GGUF, _GGUF_POST_NORM, _GGUF_ENCODER)
