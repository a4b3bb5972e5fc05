"""Adapters of other types than LoRA, by the names that PEFT gives their parts. They are recognized and not read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from provenance_gate.artifact.interface import StoredTensor

_TYPE_OF_PART: Final[Mapping[str, str]] = {
    **dict.fromkeys(("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"), "LoHa"),
    **dict.fromkeys(("lokr_w1", "lokr_w2", "lokr_w1_a", "lokr_w1_b", "lokr_w2_a", "lokr_w2_b", "lokr_t2"), "LoKr"),
    **dict.fromkeys(("lora_E", "ranknum"), "AdaLoRA"),
    **dict.fromkeys(("vera_lambda_b", "vera_lambda_d", "vera_A", "vera_B"), "VeRA"),
    **dict.fromkeys(("oft_r", "oft_s", "oft_R"), "OFT"),
    **dict.fromkeys(("boft_R", "boft_s", "boft_P"), "BOFT"),
    **dict.fromkeys(("ln_tuning_layers",), "LN tuning"),
    **dict.fromkeys(("hra_u",), "HRA"),
    **dict.fromkeys(("vblora_logits_A", "vblora_logits_B", "vblora_vector_bank"), "VB-LoRA"),
    **dict.fromkeys(("fourierft_spectrum",), "FourierFT"),
    **dict.fromkeys(("bone_block", "miss_block"), "MiSS"),
    **dict.fromkeys(("randlora_lambda", "randlora_gamma"), "RandLoRA"),
    "lora_A": "AdaLoRA",
    "lora_B": "AdaLoRA",
    "ia3_l": "IA3",
    "prompt_embeddings": "prompt tuning",
    "adaption_prompt": "LLaMA-Adapter",
}
_TAILS: Final = 3
"""The part is one of the last elements of a name: behind it stand at most the adapter's name and ``weight``."""


def other_parts(stored: Sequence[StoredTensor]) -> tuple[str, list[StoredTensor]]:
    """The type that most of the tensors belong to, and all tensors that are parts of a known type; "" and none without any."""
    found = [(kind, t) for t in stored if (kind := type_of_part(t.name))]
    if not found:
        return "", []
    kinds = Counter(kind for kind, _ in found)
    return min(kinds, key=lambda k: (-kinds[k], k)), [t for _, t in found]


def type_of_part(name: str) -> str:
    """The type of adapter that has parts of this name, "" for none."""
    return next((_TYPE_OF_PART[e] for e in name.split(".")[-_TAILS:] if e in _TYPE_OF_PART), "")
