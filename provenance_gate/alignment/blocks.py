"""The parts of an artifact that are traced: feed-forward blocks, experts, attention layers, each with its norm gain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.interface import Artifact, CanonicalTensor, NotMeasured, Role

Array = NDArray[np.float32]

FFN_NORMS = ("pre_feedforward_layernorm", "post_attention_layernorm", "ffn_norm", "ln_2", "ln_mlp", "2", "1")
"""Parts of norms that stand before a feed-forward block, first hit wins; else the one before attention (parallel blocks)."""
ATTENTION_NORMS = ("input_layernorm", "attention_norm", "ln_1", "ln_attn", "0")
_READERS = {
    Role.FFN_DOWN: (Role.FFN_GATE, Role.FFN_UP),
    Role.EXPERT_DOWN: (Role.EXPERT_GATE, Role.EXPERT_UP),
}
_ONE_PLUS = ("gemma",)
"""Model types whose norms multiply by one plus the stored gain."""


@dataclass(frozen=True, slots=True)
class Block:
    """One feed-forward block or expert. `gate` is None in blocks without one; `gain` is folded into the reading matrices."""

    stack: str
    layer: int
    part: str
    gate: CanonicalTensor | None
    up: CanonicalTensor
    down: CanonicalTensor
    gain: Array | None

    @property
    def width(self) -> int:
        """Neurons."""
        return self.up.shape[0]

    @property
    def hidden(self) -> int:
        return self.up.shape[1]


@dataclass(frozen=True, slots=True)
class Attention:
    """The attention of one layer, cut into `heads` query heads and `groups` key-value heads."""

    stack: str
    layer: int
    q: CanonicalTensor
    k: CanonicalTensor
    v: CanonicalTensor
    o: CanonicalTensor
    gain: Array | None
    heads: int
    groups: int


def feed_forward_blocks(artifact: Artifact) -> tuple[Block, ...]:
    """All blocks with an up and a down matrix of fitting shapes, ordered by stack, layer and expert."""
    tensors, gains = {t.key: t for t in artifact.canonical}, _Gains(artifact)
    found: dict[tuple[str, int, int, str], Block] = {}
    for key, down in tensors.items():
        roles = _READERS.get(key.role)
        if roles is None or key.layer is None:
            continue
        gate, up = (tensors.get(replace(key, role=role)) for role in roles)
        if up is None or not _fits(gate, up, down):
            continue
        order = -1 if key.expert is None else key.expert
        gain = gains.before_feed_forward(key.stack, key.layer)
        found[key.stack, key.layer, order, key.part] = Block(key.stack, key.layer, key.part, gate, up, down, gain)
    return tuple(found[place] for place in sorted(found))


def attention_layers(artifact: Artifact) -> Mapping[tuple[str, int], Attention]:
    """Attention by (stack, layer), where the number of heads that config.json states fits the shapes."""
    config = artifact.config
    heads = None if isinstance(config, NotMeasured) else config.num_attention_heads
    if not heads:
        return {}
    tensors, gains = {t.key: t for t in artifact.canonical}, _Gains(artifact)
    found = {}
    for key, o in tensors.items():
        if key.role is not Role.ATTENTION_O or key.layer is None or key.part or len(o.shape) != 2:
            continue
        q, k, v = (tensors.get(replace(key, role=r)) for r in (Role.ATTENTION_Q, Role.ATTENTION_K, Role.ATTENTION_V))
        if q is None or k is None or v is None or q.shape[0] % heads or o.shape[1] != q.shape[0]:
            continue
        width = q.shape[0] // heads
        groups, rest = divmod(k.shape[0], width) if width else (0, 1)
        if rest or not groups or heads % groups or v.shape != k.shape or q.shape[1] != k.shape[1]:
            continue
        gain = gains.before_attention(key.stack, key.layer)
        found[key.stack, key.layer] = Attention(key.stack, key.layer, q, k, v, o, gain, heads, groups)
    return found


def _fits(gate: CanonicalTensor | None, up: CanonicalTensor, down: CanonicalTensor) -> bool:
    shapes = [t.shape for t in (gate, up, down) if t is not None]
    if any(len(s) != 2 or not s[0] or not s[1] for s in shapes):
        return False
    return down.shape == up.shape[::-1] and (gate is None or gate.shape == up.shape)


class _Gains:
    """The norm gains of one artifact by layer."""

    def __init__(self, artifact: Artifact) -> None:
        self._norms: dict[tuple[str, int], dict[str, CanonicalTensor]] = {}
        for tensor in artifact.canonical:
            key = tensor.key
            if key.role is Role.NORM and key.layer is not None and len(tensor.shape) == 1:
                self._norms.setdefault((key.stack, key.layer), {})[key.part] = tensor
        config = artifact.config
        model_type = "" if isinstance(config, NotMeasured) else config.model_type or ""
        self._one_plus = model_type.startswith(_ONE_PLUS)

    def before_attention(self, stack: str, layer: int) -> Array | None:
        return self._first(stack, layer, ATTENTION_NORMS)

    def before_feed_forward(self, stack: str, layer: int) -> Array | None:
        return self._first(stack, layer, (*FFN_NORMS, *ATTENTION_NORMS))

    def _first(self, stack: str, layer: int, parts: tuple[str, ...]) -> Array | None:
        norms = self._norms.get((stack, layer), {})
        if "output" in norms:
            return None  # after the residual sum, as in BERT: the gain is part of the stream itself
        found = next((norms[part] for part in parts if part in norms), None)
        if found is None:
            return None
        gain = found.read_rows(0, found.shape[0])
        return gain + np.float32(1.0) if self._one_plus else gain
