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


_GGUF_PARTS = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
_GGUF_OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_GGUF_LAYER = re.compile(r"blk\.([0-9]{1,5})\.([a-z_]+)\.(weight|bias)")


def hugging_face_name(name: str) -> str:
    """The name that a tensor of a GGUF file has in its Hugging Face checkpoint (Llama's kin); other names as they are.

    The reference system reads no GGUF: with these names its signals have values for such files that fit the original's.
    """
    found = _GGUF_LAYER.fullmatch(name)
    if found and found.group(2) in _GGUF_PARTS:
        return f"model.layers.{found.group(1)}.{_GGUF_PARTS[found.group(2)]}.{found.group(3)}"
    outside = _GGUF_OUTSIDE.get(name.removesuffix(".weight"))
    return f"{outside}.weight" if outside and name.endswith(".weight") else name


def layer_of(name: str) -> int | None:
    """The layer number in a tensor name, or None."""
    found = _LAYER.search(hugging_face_name(name))
    return int(found.group(1)) if found else None


def is_projection(name: str) -> bool:
    """Whether a name is that of an attention or feed-forward projection: the first keyword that hits decides."""
    lowered = hugging_face_name(name).lower()
    return any(keyword in lowered for keywords in _PROJECTIONS for keyword in keywords)


def is_norm(name: str) -> bool:
    """Whether a name is that of a normalization gain or bias."""
    lowered = hugging_face_name(name).lower()
    return any(keyword in lowered for keyword in _NORMS)
