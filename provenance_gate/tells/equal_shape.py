"""Tell 3: width, feed-forward size, heads, key-value heads and depth are those of a public model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from provenance_gate.artifact.interface import Artifact, NotMeasured, Role
from provenance_gate.fingerprint.interface import Json
from provenance_gate.tells.interface import Case, TellGroup, TellResult
from provenance_gate.tells.public import (
    PublicModel,
    config_facts,
    disclosed,
    listed,
    pointed_at,
    public_models,
    shared_by,
)
from provenance_gate.tells.wording import answer, not_measured, number

ONE_FAMILY: Final = 0.5
"""Five sizes that one family alone has are rarely chosen again by chance; copying a shape to train own weights in it is
honest, and done (OpenLLaMA has LLaMA's)."""
SEVERAL_FAMILIES: Final = 0.25
"""4096 x 11008 with 32 heads in 32 layers is a habit of the field. 48 of the 152 models with a config in the shipped catalog
share their shape with a model of another family and no recorded common ancestor."""
NO_CONFIG: Final = 0.3
"""From tensors alone: width, feed-forward size and depth, without heads."""

_SIZES: Final = (
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "num_hidden_layers",
)
_SEEN_IN_TENSORS: Final = ("hidden_size", "intermediate_size", "num_hidden_layers")
_WORDS: Final = {
    "hidden_size": "width",
    "intermediate_size": "feed-forward size",
    "num_attention_heads": "heads",
    "num_key_value_heads": "key-value heads",
    "num_hidden_layers": "layers",
}
_LEAST: Final = 3
"""Sizes that must be known on both sides, width among them."""


class EqualShape:
    """All sizes that both sides state are equal: at least three of them, width and depth included. Without a config, the
    sizes are read from the tensors' shapes. A public model that differs in depth alone is mentioned and does not fire.
    """

    id: Final = 3
    name: Final = "equal-shape"
    group: Final = TellGroup.CONFIG
    title: Final = "The shape is that of a public model"

    def measure(self, case: Case) -> TellResult:
        """FIRED when a known model or a base at hand has the same sizes."""
        expected = "a combination of width, feed-forward size, heads and depth that no known model has"
        reproduce = (
            "jq '{hidden_size, intermediate_size, num_attention_heads, num_key_value_heads, num_hidden_layers}' *.json"
        )
        models = public_models(case)
        facts = config_facts(case.ours)
        names: tuple[str, ...] = _SIZES
        from_tensors = False
        if isinstance(facts, NotMeasured) or not isinstance(facts.get("hidden_size"), int):
            facts = {} if case.ours.artifact is None else _sizes_of(case.ours.artifact)
            names, from_tensors = _SEEN_IN_TENSORS, True
        ours = _shape(facts, names)
        if "hidden_size" not in ours or "num_hidden_layers" not in ours or len(ours) < _LEAST:
            reason = "neither config nor tensors say width, depth and a third size"
            return not_measured(self, reason, expected, reproduce)
        comparable = [m for m in models if m.config]
        if not comparable:
            return not_measured(self, "no base and no catalog to compare with", expected, reproduce)
        equal = [m for m in comparable if _agree(ours, _shape(m.config, names), ())]
        near = [
            m for m in comparable if m not in equal and _agree(ours, _shape(m.config, names), ("num_hidden_layers",))
        ]
        shape = ", ".join(f"{_WORDS[k]} {number(v)}" for k, v in ours.items())
        where = "the tensors have" if from_tensors else "config.json has"
        numbers: dict[str, Json] = {"sizes": dict(ours), "compared": len(comparable), "from_tensors": from_tensors}
        if not equal:
            beside = f"; {listed(near)} differ in depth alone" if near else ""
            seen = f"{where} {shape}: no other of {len(comparable)} known models has these{beside}"
            return answer(
                self,
                seen=seen,
                expected=expected,
                reproduce=reproduce,
                numbers={**numbers, "depth_differs": [m.id for m in near[:20]]},
            )
        one_family = len({m.family for m in equal}) == 1
        openly = "; the artifact declares one of them" if disclosed(case, equal) else ""
        return answer(
            self,
            seen=f"{where} {shape}: those of {listed(equal)}{openly}",
            expected=expected,
            reproduce=reproduce,
            strength=NO_CONFIG if from_tensors else ONE_FAMILY if one_family else SEVERAL_FAMILIES,
            base=pointed_at(equal),
            numbers={**numbers, **shared_by(case, equal)},
        )


def _shape(facts: Mapping[str, Any], names: Iterable[str]) -> dict[str, int]:
    shape = {k: v for k in names if isinstance(v := facts.get(k), int) and not isinstance(v, bool) and v > 0}
    # A config without key-value heads has as many as heads.
    if "num_attention_heads" in shape and "num_key_value_heads" in names:
        shape.setdefault("num_key_value_heads", shape["num_attention_heads"])
    return shape


def _agree(ours: Mapping[str, int], theirs: Mapping[str, int], but: Iterable[str]) -> bool:
    common = [k for k in ours if k in theirs]
    if "hidden_size" not in common or "num_hidden_layers" not in common or len(common) < _LEAST:
        return False
    return all((ours[k] == theirs[k]) is (k not in but) for k in common)


def _sizes_of(artifact: Artifact) -> dict[str, int]:
    """Width from the embedding or the output of the feed-forward blocks, their width, and the number of layers of the
    decoder."""
    sizes: dict[str, int] = {}
    downs = [t for t in artifact.canonical if t.key.role in (Role.FFN_DOWN, Role.EXPERT_DOWN) and len(t.shape) == 2]
    if downs:
        sizes["hidden_size"], sizes["intermediate_size"] = downs[0].shape
        stack = downs[0].key.stack
        sizes["num_hidden_layers"] = len({t.key.layer for t in downs if t.key.stack == stack})
    return sizes


def equal_shapes(case: Case, models: Iterable[PublicModel]) -> list[PublicModel]:
    """The models with the sizes of our config; empty where it does not state them."""
    facts = config_facts(case.ours)
    ours = {} if isinstance(facts, NotMeasured) else _shape(facts, _SIZES)
    return [m for m in models if m.config and _agree(ours, _shape(m.config, _SIZES), ())]
