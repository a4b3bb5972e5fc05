"""Names of models whose stack, encoder or decoder, stands in the name: T5, BART, OPT, Marian, T5Gemma; and XGLM, of that line."""

from __future__ import annotations

from dataclasses import replace

from provenance_gate.artifact.architectures.llama import LLAMA
from provenance_gate.artifact.architectures.table import (
    DOWN,
    GATE,
    NORM,
    UP,
    Architecture,
    Entry,
    K,
    O,
    Q,
    V,
    matrices,
    norms,
)
from provenance_gate.artifact.interface import Role

_ATTENTION_T5 = {"q": Q, "k": K, "v": V, "o": O}
_FFN_T5 = {"wi": UP, "wi_0": GATE, "wi_1": UP, "wo": DOWN}

T5 = Architecture(
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


# OPT, BART and Marian: the stack stands in the name.
BART = Architecture(
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


# BART without the word for the stack.
XGLM = Architecture(
    "xglm",
    "decoder",
    (
        Entry("embed_tokens", (Role.EMBEDDING,)),
        Entry("lm_head", (Role.HEAD,)),
        *(
            replace(e, template=e.template.removeprefix("{S}."))
            for e in BART.entries
            if e.template.startswith(("{S}.layers", "{S}.layer_norm"))
        ),
    ),
)


# The layers of Llama twice, under the name of their stack.
T5GEMMA = Architecture(
    "t5gemma",
    "decoder",
    (
        *(
            replace(e, template=e.template.replace("layers.{L}", "{S}.layers.{L}"))
            for e in LLAMA.entries
            if "{T}" not in e.template
        ),
        Entry("encoder.embed_tokens", (Role.EMBEDDING,), part="encoder"),
        Entry("lm_head.out_proj", (Role.HEAD,)),
        Entry("{S}.norm", (NORM,), part="final"),
    ),
)
