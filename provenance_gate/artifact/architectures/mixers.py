"""Names of what mixes tokens beside plain attention: latent attention, state-space models, linear attention, convolutions.

They count as attention: a reader (`in_proj` and its kin) as `attention_v`, the writer (`out_proj`) as `attention_o`, each under
a part of its own, so that no head is looked for in them. Short filters, decays and time steps are biases: they hold their
place, but strangers agree in them (A_log starts as log 1, 2, 3 ... in every model), so they enter no correlation.
"""

from __future__ import annotations

from collections.abc import Iterable

from provenance_gate.artifact.architectures.table import Entry, K, O, Q, V, norms
from provenance_gate.artifact.interface import Role

MIXER = "mixer"
"""Part of the matrix that writes a mixer's output; `lineage/layers.py` knows it by this name."""

_READERS = (
    *("in_proj", "in_proj_qkv", "in_proj_qkvz", "in_proj_z", "in_proj_ba", "in_proj_a", "in_proj_b"),
    *("x_proj", "dt_proj", "x_proj_weight", "dt_proj_weight"),
    *("a_proj", "b_proj", "g_proj", "f_a_proj", "f_b_proj", "g_a_proj", "g_b_proj"),
    *("linear_x", "linear_y", "igate_preact", "fgate_preact", "ogate_preact"),
)
_WRITERS = ("out_proj", "o_proj", "linear_out")
_SMALL = (
    *("conv1d", "conv_1d", "conv", "q_conv1d", "k_conv1d", "v_conv1d"),
    *("A_log", "D", "dt_bias", "dt_proj_bias"),
    *(
        "rg_lru.input_gate_weight",
        "rg_lru.input_gate_bias",
        "rg_lru.recurrent_gate_weight",
        "rg_lru.recurrent_gate_bias",
    ),
    "rg_lru.recurrent_param",
)
_NORMS = ("norm", "o_norm", "dt_layernorm", "b_layernorm", "c_layernorm", "multihead_norm")


def mixer(path: str) -> tuple[Entry, ...]:
    """One line for each tensor that a mixer below `path` may have."""
    return (
        *(Entry(path + name, (V,), part=f"{MIXER}.{name}") for name in _READERS),
        *(Entry(path + name, (O,), part=MIXER) for name in _WRITERS),
        *(Entry(path + name, (role,), part=MIXER) for name, role in (("q_proj", Q), ("k_proj", K), ("v_proj", V))),
        *(Entry(path + name, (role,), part=MIXER) for name, role in (("q", Q), ("k", K), ("v", V))),
        *small(path, _SMALL),
        *(Entry(path + name, (Role.NORM,), part=f"{MIXER}.{name}") for name in _NORMS),
    )


def small(path: str, names: Iterable[str]) -> tuple[Entry, ...]:
    """One line for each tensor below `path` that holds its place and enters no correlation."""
    return tuple(Entry(path + name, (Role.BIAS,), part=f"{MIXER}.{name}") for name in names)


def latent_attention(path: str) -> tuple[Entry, ...]:
    """Multi-head latent attention (DeepSeek V2 and later, Kimi K2, MiniCPM3), with the index of the sparse form.

    A query and a key-value pair go through a narrow matrix ("a") and a wide one ("b"); `kv_b_proj` holds keys and values by head.
    """
    return (
        Entry(path + "q_a_proj", (Q,), part="a"),
        Entry(path + "q_b_proj", (Q,), part="b"),
        Entry(path + "kv_a_proj_with_mqa", (K,), part="a"),
        Entry(path + "kv_b_proj", (V,), part="b"),
        Entry(path + "indexer.wq_b", (Q,), part="indexer.b"),
        Entry(path + "indexer.wk", (K,), part="indexer"),
        Entry(path + "indexer.weights_proj", (Q,), part="indexer.weights"),
        Entry(path + "indexer.k_norm", (Role.NORM,), part="indexer.k_norm"),
        *norms(path, ("q_a_layernorm", "kv_a_layernorm")),
    )


def gated_attention(path: str) -> tuple[Entry, ...]:
    """What some attention blocks have beside q, k, v and o: output gates, delta-rule gates, filters, sinks."""
    gates = ("gate_proj", "output_gate", "a_proj", "b_proj", "g_proj", "f_a_proj", "f_b_proj", "g_a_proj", "g_b_proj")
    filters = ("q_conv1d", "k_conv1d", "v_conv1d", "A_log", "dt_bias", "sinks", "attention_sink_bias")
    lambdas = ("lambda_q1", "lambda_q2", "lambda_k1", "lambda_k2")
    decays = ("diagonal_decay", "key_decay", "query_decay", "slope_rate")
    return (
        *(Entry(path + name, (V,), part=f"{MIXER}.{name}") for name in gates),
        *small(path, (*filters, *lambdas, *decays)),
        *(Entry(path + name, (Role.NORM,), part=f"{MIXER}.{name}") for name in ("norm", "o_norm", "attn_sub_norm")),
    )
