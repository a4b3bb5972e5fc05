"""How a tensor that stacks the matrices of all experts of a layer holds them: told by shapes and neighbors.

Three layouts share the names ``experts.gate_up_proj`` and ``experts.down_proj``, with h the model's width and f an expert's:

- (experts, 2 f, h) and (experts, h, f), gate above up: Mixtral, Qwen3-MoE and their kin in transformers 5, Granite;
- (experts, h, 2 f) and (experts, f, h), gate left of up: Llama 4 (`Llama4TextExperts`);
- the same with gate and up in turn, column by column: GPT-OSS (`GptOssExperts`); its MXFP4 form (`gate_up_proj_blocks`) is
  turned, with gate and up in turn row by row.

The two shapes together leave one orientation: of (experts, a, b) beside (experts, c, d) the first asks for ``a = 2 d`` and
``b = c``, the second for ``b = 2 c`` and ``a = d``, and both only of nothing. That gate and up alternate no shape tells: GPT-OSS
is known by biases of the experts. Its one kin with biases and gate left of up is known by the model_type alone: OpenAI's privacy
filter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from provenance_gate.artifact.interface import ModelConfig, NotMeasured, StoredTensor
from provenance_gate.artifact.roles import Layout, NamedTensor

_BIAS: Final = "_bias"
_SIDE_BY_SIDE: Final = frozenset({"openai_privacy_filter"})
_PACKED: Final = frozenset({"MXFP4"})
"""Packed along the inputs, hence (experts, out, in) whatever the shapes are."""


@dataclass(frozen=True, slots=True)
class ExpertStack:
    """`turned`: each expert is stored (in, out); `alternating`: rows of gate and up alternate."""

    turned: bool = False
    alternating: bool = False


def expert_stacks(
    named: Sequence[NamedTensor], stored: Sequence[StoredTensor], config: ModelConfig | NotMeasured
) -> Mapping[str, ExpertStack]:
    """The layout of each stacked tensor by its name; one that is not listed is (experts, out, in), part above part."""
    stacked = [n for n in named if n.entry.layout is Layout.STACKED and len(n.stored.shape) == 3]
    if not stacked:
        return {}
    names = {t.name for t in stored}
    apart = not isinstance(config, NotMeasured) and config.model_type in _SIDE_BY_SIDE
    down = {_place(n): n.stored for n in stacked if len(n.entry.roles) == 1}
    found: dict[str, ExpertStack] = {}
    for item in stacked:
        if len(item.entry.roles) != 2:
            continue
        partner = down.get(_place(item))
        turned = partner is not None and _is_turned(item.stored, partner)
        found[item.stored.name] = ExpertStack(turned, not apart and item.stored.name + _BIAS in names)
        if partner is not None:
            found[partner.name] = ExpertStack(turned)
    return found


def _place(item: NamedTensor) -> tuple[str, str, int | None, str]:
    return item.prefix, item.stack, item.layer, item.entry.template.rpartition(".")[0]


def _is_turned(both: StoredTensor, down: StoredTensor) -> bool:
    if _PACKED & {both.dtype, down.dtype}:
        return False
    _, a, b = both.shape
    _, c, d = down.shape
    return a == d and b == 2 * c
