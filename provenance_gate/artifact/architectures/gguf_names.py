"""Names as llama.cpp's GGUF files have them."""

from __future__ import annotations

from provenance_gate.artifact.architectures.mixers import MIXER
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

_READERS = {"ssm_in": "in_proj", "ssm_x": "x_proj", "ssm_dt": "dt_proj", "shortconv.in_proj": "in_proj"}
# llama.cpp stores -exp(A_log) as ssm_a, so that one is left to `other`.
_SMALL = {"ssm_conv1d": "conv1d", "ssm_d": "D", "shortconv.conv": "conv"}

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
    Entry("blk.{L}.ffn_gate_inp_shexp", (Role.ROUTER,), part="shared"),
    Entry("blk.{L}.attn_q_a", (Q,), part="a"),
    Entry("blk.{L}.attn_q_b", (Q,), part="b"),
    Entry("blk.{L}.attn_kv_a_mqa", (K,), part="a"),
    Entry("blk.{L}.attn_kv_b", (V,), part="b"),
    # Newer files hold the two halves of kv_b by head, the keys turned.
    Entry("blk.{L}.attn_k_b", (K,), part="k_b"),
    Entry("blk.{L}.attn_v_b", (V,), part="v_b"),
    Entry("blk.{L}.attn_q_a_norm", (NORM,), part="q_a_layernorm"),
    Entry("blk.{L}.attn_kv_a_norm", (NORM,), part="kv_a_layernorm"),
    *(Entry(f"blk.{{L}}.{ours}", (V,), part=f"{MIXER}.{theirs}") for ours, theirs in _READERS.items()),
    Entry("blk.{L}.shortconv.out_proj", (O,), part=MIXER),
    Entry("blk.{L}.ssm_out", (O,), part=MIXER),
    *(Entry(f"blk.{{L}}.{ours}", (Role.BIAS,), part=f"{MIXER}.{theirs}") for ours, theirs in _SMALL.items()),
    Entry("blk.{L}.ssm_norm", (NORM,), part=f"{MIXER}.norm"),
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
