"""MFI, metadata family identification: do two config files describe the same architecture?

Nominates only. Any text editor makes this 1.0.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256

from provenance_gate.artifact.interface import ModelConfig, NotMeasured, TokenizerFacts
from provenance_gate.fingerprint.interface import Evidence, Json, SignalKind, SignalResult, SignalValue
from provenance_gate.fingerprint.observe import Observations

ARCHITECTURE = (
    "model_type",
    "architectures",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "intermediate_size",
    "vocab_size",
    "max_position_embeddings",
)
_FAMILY = ("model_type", "attention", "hidden_act", "norm_type", "tokenizer", "rope_hundreds", "rope_scaling_type")


class MetadataFamily:
    """Score in [0, 1] in three tiers (reference definition).

    1.0 when the hash of nine architecture facts is equal; 0.9 when the family facts, width and depth are; else a weighted
    share of eleven soft agreements. Unrelated models: anything up to 1.0, two models of one size class share their config.
    """

    name = "mfi"
    kind = SignalKind.METADATA

    def measure(self, observations: Observations) -> SignalResult:
        """Facts of config.json, and the digest of the vocabulary."""
        config = observations.artifact.config
        if isinstance(config, NotMeasured):
            return NotMeasured(config.reason)
        return SignalValue("facts", facts=mfi_facts(config, observations.artifact.tokenizer))

    def compare(self, artifact: SignalValue, base: SignalValue) -> Evidence:
        """Tier and score."""
        a, b = artifact.facts, base.facts
        if a["architecture_sha256"] == b["architecture_sha256"] or _same_as_imported(a, b):
            tier, score = 1, 1.0
        elif all(a[k] == b[k] for k in (*_FAMILY, "hidden_size", "num_hidden_layers")):
            tier, score = 2, 0.9
        else:
            tier, score = 3, _soft_score(a, b)
        return Evidence(self.name, score, "facts", "up to 1.0: a config file proves nothing", detail={"tier": tier})


def mfi_facts(config: ModelConfig, tokenizer: TokenizerFacts | NotMeasured) -> dict[str, Json]:
    """What is compared of a config."""
    facts: dict[str, Json] = {
        "model_type": config.model_type,
        "architectures": list(config.architectures),
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "num_key_value_heads": config.num_key_value_heads,
        "intermediate_size": config.intermediate_size,
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_position_embeddings,
    }
    theta = config.rope_theta
    return facts | {
        "architecture_sha256": architecture_sha256(facts),
        "attention": _attention_style(config),
        "attention_bias": config.attention_bias,
        "bos_token_id": config.bos_token_id,
        "eos_token_id": config.eos_token_id,
        "hidden_act": config.hidden_act,
        "norm_type": config.norm_type,
        "position_type": config.position_type,
        "qk_norm": config.qk_norm,
        "rope_hundreds": None if theta is None else round(theta / 100.0),
        "rope_scaling_type": config.rope_scaling_type,
        "rope_theta": theta,
        "tokenizer": None if isinstance(tokenizer, NotMeasured) else str(tokenizer.vocabulary_sha256),
    }


def architecture_sha256(facts: Mapping[str, Json]) -> str:
    """Digest of the nine facts of tier 1."""
    text = json.dumps([facts[k] for k in ARCHITECTURE], separators=(",", ":"))
    return sha256(text.encode()).hexdigest()


def _same_as_imported(a: Mapping[str, Json], b: Mapping[str, Json]) -> bool:
    """Tier 1 where one side was imported from the reference system: it stores what its library fills in where a config names
    no key-value heads, and no limit of positions where ours finds one.
    """
    if not (a.get("imported") or b.get("imported")):
        return False
    optional = "max_position_embeddings"
    return (
        all(a[k] == b[k] for k in ARCHITECTURE if k not in (optional, "num_key_value_heads"))
        and (a[optional] == b[optional] or None in (a[optional], b[optional]))
        and _key_value_heads(a) == _key_value_heads(b)
    )


def _key_value_heads(facts: Mapping[str, Json]) -> Json:
    said = facts["num_key_value_heads"]
    return facts["num_attention_heads"] if said is None else said


def _attention_style(config: ModelConfig) -> str | None:
    heads, groups = config.num_attention_heads, config.num_key_value_heads
    if not heads:
        return None
    if groups is None or groups == heads:
        return "MHA"
    return "MQA" if groups == 1 else "GQA"


def _near(a: Json, b: Json) -> float | None:
    """1.0 within 10 % of the larger, else 0.0; None unless both are numbers."""
    if not isinstance(a, (int, float)) or not isinstance(b, (int, float)) or max(abs(a), abs(b)) == 0:
        return None
    return 1.0 if abs(a - b) <= 0.1 * max(abs(a), abs(b)) else 0.0


def _ratio(a: Json, b: Json) -> float | None:
    if not isinstance(a, (int, float)) or not isinstance(b, (int, float)) or max(abs(a), abs(b)) == 0:
        return None
    return min(abs(a), abs(b)) / max(abs(a), abs(b))


def _equal(a: Json, b: Json) -> float | None:
    """Both absent counts as equal; one absent is left out."""
    if (a is None) != (b is None):
        return None
    return 1.0 if a == b else 0.0


def _soft_score(a: Mapping[str, Json], b: Mapping[str, Json]) -> float:
    theta = 1.0 if a["rope_theta"] is None and b["rope_theta"] is None else _ratio(a["rope_theta"], b["rope_theta"])
    parts = (
        (1.0, _equal(a["bos_token_id"], b["bos_token_id"])),
        (1.0, _equal(a["eos_token_id"], b["eos_token_id"])),
        (1.8, _near(a["hidden_size"], b["hidden_size"])),
        (1.5, _equal(a["qk_norm"], b["qk_norm"])),
        (1.5, _near(a["num_hidden_layers"], b["num_hidden_layers"])),
        (1.5, _ratio(a["vocab_size"], b["vocab_size"])),
        (1.5, _equal(a["attention"], b["attention"])),
        (1.2, theta),
        (0.5, _equal(a["norm_type"], b["norm_type"])),
        (0.4, _equal(a["position_type"], b["position_type"])),
        (0.4, _equal(a["attention_bias"], b["attention_bias"])),
        (0.1, _equal(a["model_type"], b["model_type"])),
    )
    weight = sum(w for w, score in parts if score is not None)
    return sum(w * score for w, score in parts if score is not None) / weight if weight else 0.0
