"""Names of models built from recurrent blocks: Mamba, Mamba 2, Nemotron-H, RWKV, xLSTM, RecurrentGemma."""

from __future__ import annotations

from provenance_gate.artifact.architectures.mixers import MIXER, mixer, small
from provenance_gate.artifact.architectures.table import (
    DOWN,
    GATE,
    UP,
    X_DOWN,
    X_UP,
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

# Attention, feed-forward and state-space layers share one module name.
_NEMOTRON_H = Architecture(
    "nemotron_h",
    "decoder",
    (
        Entry("backbone.embeddings", (Role.EMBEDDING,)),
        Entry("backbone.embedding", (Role.EMBEDDING,)),
        Entry("lm_head", (Role.HEAD,)),
        *(e for e in mixer("layers.{L}.mixer.") if not e.template.endswith(("q_proj", "k_proj", "v_proj", ".o_proj"))),
        *matrices("layers.{L}.mixer.", {"q_proj": Q, "k_proj": K, "v_proj": V, "o_proj": O}),
        *matrices("layers.{L}.mixer.", {"up_proj": UP, "down_proj": DOWN, "gate": Role.ROUTER}),
        *matrices("layers.{L}.mixer.shared_experts.", {"up_proj": UP, "down_proj": DOWN}),
        *matrices("layers.{L}.mixer.experts.{E}.", {"up_proj": X_UP, "down_proj": X_DOWN}),
        Entry("layers.{L}.mixer.gate.e_score_correction_bias", (Role.BIAS,), part="mixer.gate"),
        *norms("layers.{L}.", ("norm",)),
        *norms("", ("backbone.norm_f",)),
    ),
)

_RWKV = Architecture(
    "rwkv",
    "decoder",
    (
        Entry("rwkv.embeddings", (Role.EMBEDDING,)),
        Entry("head", (Role.HEAD,)),
        *matrices("blocks.{L}.attention.", {"receptance": Q, "key": K, "value": V, "output": O}, part=MIXER),
        *matrices("blocks.{L}.feed_forward.", {"key": UP, "value": DOWN}),
        Entry("blocks.{L}.feed_forward.receptance", (GATE,), part="receptance"),
        *small("blocks.{L}.attention.", ("time_decay", "time_first", "time_mix_key", "time_mix_value")),
        *small("blocks.{L}.attention.", ("time_mix_receptance",)),
        Entry("blocks.{L}.feed_forward.time_mix_key", (Role.BIAS,), part="time_mix_key"),
        Entry("blocks.{L}.feed_forward.time_mix_receptance", (Role.BIAS,), part="time_mix_receptance"),
        *norms("blocks.{L}.", ("ln1", "ln2", "pre_ln")),
        *norms("", ("rwkv.ln_out",)),
    ),
)

_XLSTM = Architecture(
    "xlstm",
    "decoder",
    (
        Entry("backbone.embeddings", (Role.EMBEDDING,)),
        Entry("lm_head", (Role.HEAD,)),
        *mixer("blocks.{L}.mlstm_layer."),
        *matrices("blocks.{L}.ffn.", {"proj_up_gate": GATE, "proj_up": UP, "proj_down": DOWN}),
        *norms("blocks.{L}.", ("norm_mlstm", "norm_ffn")),
        *norms("", ("backbone.out_norm",)),
    ),
)

_RECURRENT_GEMMA = Architecture(
    "recurrent_gemma",
    "decoder",
    (
        Entry("embed_tokens", (Role.EMBEDDING,)),
        Entry("lm_head", (Role.HEAD,)),
        *(
            e
            for e in mixer("layers.{L}.temporal_block.")
            if not e.template.endswith(("q_proj", "k_proj", "v_proj", ".o_proj"))
        ),
        *matrices("layers.{L}.temporal_block.", {"q_proj": Q, "k_proj": K, "v_proj": V, "o_proj": O}),
        *matrices("layers.{L}.mlp_block.", {"gate_proj": GATE, "up_proj": UP, "down_proj": DOWN}),
        *norms("layers.{L}.", ("temporal_pre_norm", "channel_pre_norm")),
        *norms("", ("final_norm",)),
    ),
)

RECURRENT: tuple[Architecture, ...] = (_NEMOTRON_H, _RWKV, _XLSTM, _RECURRENT_GEMMA)
