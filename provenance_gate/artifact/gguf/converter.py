"""What llama.cpp's converter changes on the way from a checkpoint to GGUF, undone while reading.

- Rows of q and k (weights and biases) of architectures whose rotary pairs llama.cpp wants side by side: `ROTARY_ORDER`.
  The heads come from the metadata and must fit the shape.
- Norm gains that a model applies as one plus the stored value: the converter stores the sum: `ONE_PLUS`.
- Phi-3 and its kin keep gate and up of the feed-forward in one matrix, which the file calls ``ffn_up``: it is named
  ``ffn_gate_up`` here, so that the roles are right: `FUSED_GATE_UP`.

Fused q, k and v of GPT-2, GPT-NeoX, BLOOM, MPT and Falcon need nothing: the converter stores them one after the other, each in
the order that the parts of the original have. Source: llama.cpp, the converter's ``modify_tensors`` of each model class.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np

from provenance_gate.artifact.gguf.metadata import Metadata
from provenance_gate.artifact.gguf.readers import RotaryOrderReader, ShiftedReader
from provenance_gate.artifact.interface import TensorReader
from provenance_gate.errors import one_line

ROTARY_ORDER: Final = frozenset(
    {
        "llama",
        "llama-embed",
        "mistral3",
        "deci",
        "arcee",
        "smollm3",
        "granite",
        "granitemoe",
        "granitehybrid",
        "internlm2",
        "minicpm",
        "olmo",
        "arctic",
        "deepseek",
        "baichuan",
        "xverse",
        "bailingmoe",
        "chameleon",
        "llada",
    }
)
ONE_PLUS: Final = frozenset(
    {"gemma", "gemma2", "gemma3", "gemma-embedding", "nemotron", "qwen3next", "qwen35", "qwen35moe"}
)
FUSED_GATE_UP: Final = frozenset({"phi3", "chatglm", "glm4"})
_ROTARY: Final = re.compile(r"blk\.(0|[1-9][0-9]{0,4})\.attn_([qk])\.(?:weight|bias)")
_FUSED: Final = re.compile(r"(blk\.(?:0|[1-9][0-9]{0,4})\.)ffn_up(\.(?:weight|bias))")


@dataclass(frozen=True, slots=True)
class Original:
    """A tensor as the checkpoint had it. `note` says why something was left as it is, "" when nothing was."""

    name: str
    reader: TensorReader
    note: str = ""


def undo(
    architecture: str,
    metadata: Metadata,
    name: str,
    shape: tuple[int, ...],
    reader: TensorReader,
    gated: frozenset[str],
) -> Original:
    """The tensor `name` without the converter's changes.

    Parameters
    ----------
    architecture
        ``general.architecture``, also the prefix of the keys.
    shape
        Row-major.
    gated
        Names of all ``ffn_gate`` tensors: a layer that has one does not keep its gate inside ``ffn_up``.
    """
    rotary = _ROTARY.fullmatch(name) if architecture in ROTARY_ORDER else None
    if rotary is not None:
        return _in_original_order(architecture, metadata, name, shape, reader, rotary)
    if architecture in ONE_PLUS and name.endswith("norm.weight") and not name.endswith("ssm_norm.weight"):
        return Original(name, ShiftedReader(reader, 1.0))
    fused = _FUSED.fullmatch(name) if architecture in FUSED_GATE_UP else None
    if fused is not None and f"{fused[1]}ffn_gate{fused[2]}" not in gated:
        return Original(f"{fused[1]}ffn_gate_up{fused[2]}", reader)
    return Original(name, reader)


def _in_original_order(
    architecture: str,
    metadata: Metadata,
    name: str,
    shape: tuple[int, ...],
    reader: TensorReader,
    found: re.Match[str],
) -> Original:
    layer, which = int(found[1]), found[2]
    key = f"{architecture}.attention.head_count"
    heads = _of_layer(metadata, key, layer)
    if which == "k":
        heads = _of_layer(metadata, f"{key}_kv", layer) if f"{key}_kv" in metadata.entries else heads
    width = metadata.integer(f"{architecture}.attention.key_length")
    rows = shape[0] if shape else 0
    fits = len(shape) in (1, 2) and heads and rows and not rows % (2 * heads) and width in (None, rows // heads)
    if not heads or not fits:
        note = f"{one_line(name, 80)}: its rows do not fit the number of heads; left in the order of llama.cpp"
        return Original(name, reader, note)
    count = int(np.prod(shape, dtype=np.int64))
    if not count:
        return Original(name, reader)
    columns = shape[1] if len(shape) == 2 else 1
    return Original(name, RotaryOrderReader(reader, count, columns, rows // heads // 2))


def _of_layer(metadata: Metadata, key: str, layer: int) -> int | None:
    value = metadata.integers(key)
    if isinstance(value, np.ndarray):
        return int(value[layer]) if layer < len(value) else None
    return value
