"""How the reference system reads tensor names. Kept as it is, so that its signals keep their values."""

from __future__ import annotations

import re

_LAYER = re.compile(r"(?:layers?|h|block)\.([0-9]{1,5})\.")

_PROJECTIONS = (
    ("q_proj", "query"),
    ("k_proj", "key"),
    ("v_proj", "value"),
    ("o_proj", "dense", "out_proj"),
    ("gate_proj", "gate"),
    ("up_proj", "fc1", "dense_h_to_4h", "wi_0"),
    ("down_proj", "fc2", "dense_4h_to_h", "wi_1", "wo"),
)

_NORMS = ("layernorm", "rmsnorm", "post_attention", "ln_", "norm")


def layer_of(name: str) -> int | None:
    """The layer number in a tensor name, or None."""
    found = _LAYER.search(name)
    return int(found.group(1)) if found else None


def is_projection(name: str) -> bool:
    """Whether a name is that of an attention or feed-forward projection: the first keyword that hits decides."""
    lowered = name.lower()
    return any(keyword in lowered for keywords in _PROJECTIONS for keyword in keywords)


def is_norm(name: str) -> bool:
    """Whether a name is that of a normalization gain or bias."""
    lowered = name.lower()
    return any(keyword in lowered for keyword in _NORMS)
