"""Meta's and Mistral's own checkpoints (``consolidated``) as Hugging Face has them: other names, other rows of q and k.

Their rotary embedding turns neighboring rows of a head, that of transformers its halves. So the conversion moves row
``2 i + p`` of a head to ``p * half + i`` (transformers, ``convert_llama_weights_to_hf``, `permute`), as llama.cpp's undoes.
The number of heads stands in params.json or config.json and must fit the shapes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from provenance_gate.artifact.interface import ModelConfig, NotMeasured, StoredTensor
from provenance_gate.errors import MalformedFileError, one_line

PARAMS: Final = "params.json"

_OUTSIDE: Final = {
    "tok_embeddings.weight": "model.embed_tokens.weight",
    "output.weight": "lm_head.weight",
    "norm.weight": "model.norm.weight",
}
_INSIDE: Final = {
    "attention.wq": "self_attn.q_proj",
    "attention.wk": "self_attn.k_proj",
    "attention.wv": "self_attn.v_proj",
    "attention.wo": "self_attn.o_proj",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
    "feed_forward.gate": "block_sparse_moe.gate",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
_LAYER: Final = re.compile(r"layers\.(0|[1-9][0-9]{0,4})\.(.+)\.(weight|bias)")
_EXPERT: Final = re.compile(r"feed_forward\.experts\.((?:0|[1-9][0-9]{0,4})\.w[123])")
_TURNED: Final = ("attention.wq", "attention.wk")
_MAX_HEADS: Final = 1 << 16


def heads_of(params: Mapping[str, object], config: ModelConfig | NotMeasured) -> int | None:
    """Query heads as params.json has them, else config.json. Raises MalformedFileError for a wrong type."""
    heads = params.get("n_heads")
    if heads is None:
        return None if isinstance(config, NotMeasured) else config.num_attention_heads
    if isinstance(heads, bool) or not isinstance(heads, int) or not 0 < heads <= _MAX_HEADS:
        raise MalformedFileError(f"{PARAMS}: n_heads: expected an integer from 1 to {_MAX_HEADS}")
    return heads


def is_native(tensors: Sequence[StoredTensor]) -> bool:
    """Whether the names are those of Meta's and Mistral's own code."""
    return any((m := _LAYER.fullmatch(t.name)) and m[2] == _TURNED[0] for t in tensors)


def with_hub_names(
    tensors: Sequence[StoredTensor], heads: int | None
) -> tuple[tuple[StoredTensor, ...], tuple[str, ...]]:
    """`tensors` sorted by their Hugging Face names, rows of q and k in its order, and a note.

    Without `heads`, or where they do not fit, the rows stay as they are and the note says so. Raises MalformedFileError when two
    tensors would have one name.
    """
    widths = {
        m[1]: t.shape[0] // heads
        for t in tensors
        if heads and t.shape and (m := _LAYER.fullmatch(t.name)) and m[2] == _TURNED[0] and not t.shape[0] % heads
    }
    named: dict[str, StoredTensor] = {}
    left = 0
    for tensor in tensors:
        found = _LAYER.fullmatch(tensor.name)
        name = _OUTSIDE.get(tensor.name, tensor.name)
        changed = tensor
        if found and (inside := _inside(found[2])):
            name = f"model.layers.{found[1]}.{inside}.{found[3]}"
            if found[2] in _TURNED:
                turned = _turned(tensor, widths.get(found[1]))
                left += turned is None
                changed = turned or tensor
        if name in named:
            raise MalformedFileError(
                f"{tensor.path}: tensor {one_line(tensor.name, 80)!r} is {one_line(name, 80)!r} twice"
            )
        named[name] = replace(changed, name=name)
    notes = ["tensors named by Meta's and Mistral's own code are read under their Hugging Face names"]
    if left:
        notes.append(f"the rows of {left} q and k tensors stay in the order of that code: no number of heads fits them")
    return tuple(named[name] for name in sorted(named)), tuple(notes)


def _inside(path: str) -> str | None:
    expert = _EXPERT.fullmatch(path)
    return f"block_sparse_moe.experts.{expert[1]}" if expert else _INSIDE.get(path)


def _turned(tensor: StoredTensor, width: int | None) -> StoredTensor | None:
    """The tensor with its rows in the other order; None when heads of `width` rows do not fit."""
    if not width or width % 2 or len(tensor.shape) not in (1, 2) or tensor.shape[0] % width:
        return None
    if not tensor.size:
        return tensor
    from provenance_gate.artifact.gguf.readers import RotaryOrderReader  # few models need it

    columns = tensor.shape[1] if len(tensor.shape) == 2 else 1
    return replace(tensor, reader=RotaryOrderReader(tensor.reader, tensor.size, columns, width // 2))
