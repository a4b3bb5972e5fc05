"""Tell 4: claimed context against `rope_theta`, `rope_scaling` and `max_position_embeddings`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.fingerprint.interface import Json
from provenance_gate.tells.card import read_card
from provenance_gate.tells.documents import CONFIG, json_document
from provenance_gate.tells.interface import Case, TellGroup, TellResult
from provenance_gate.tells.public import config_facts, listed, pointed_at, public_models, shared_by
from provenance_gate.tells.wording import answer, not_measured, number

CONTRADICTION: Final = 0.4
"""The card promises more positions than the config lets the model have: the numbers describe another model than the card."""
STRETCHED: Final = 0.3
"""Scaling that starts from a length which a known model has; also what an honest long-context fine-tune shows."""
SAME_SETTING: Final = 0.25
"""Base, limit and scaling that one family alone has."""
COMMON_SETTING: Final = 0.1
"""The same of several families. Both are chosen from few round numbers: 60 of the 152 models with a config in the shipped catalog
share theirs with a model of another family and no recorded common ancestor."""
UNREACHED: Final = 0.2
"""A long limit with the default base and no scaling: 7 of the 92 models of the shipped catalog with such a limit
have that, some with a sliding window, some because the limit was written into the config of a shorter model."""
USUAL_THETA: Final = 10_000.0
"""The default of libraries since RoFormer: equal to everybody's."""
LONG: Final = 32_768
TOLERANCE: Final = 1.05
"""128k is 128,000 or 131,072."""


class RopeStory:
    """Fires when the card claims more context than limit and scaling give; when base, limit and scaling are a known
    model's and the base is not the default; when scaling starts from the limit of a known model of the same base; or when
    a long limit has the default base and no scaling.
    """

    id: Final = 4
    name: Final = "rope-story"
    group: Final = TellGroup.CONFIG
    title: Final = "The context length does not fit the positions' setting"

    def measure(self, case: Case) -> TellResult:
        """The first of the four that holds; they stand in the order of their strength."""
        expected = "a base, scaling and limit that give the claimed context, chosen for this model"
        reproduce = f"jq '.rope_theta, .rope_scaling, .rope_parameters, .max_position_embeddings' {CONFIG}"
        facts = config_facts(case.ours)
        if isinstance(facts, NotMeasured):
            return not_measured(self, facts.reason, expected, reproduce)
        limit, theta, kind = (facts.get(k) for k in ("max_position_embeddings", "rope_theta", "rope_scaling_type"))
        if not isinstance(limit, int) or limit == 0:
            return not_measured(self, f"{CONFIG} states no limit of positions", expected, reproduce)
        scaling = scaling_of(case)
        reach = reach_of(limit, scaling)
        claimed = claimed_context(case)
        numbers: dict[str, Json] = {
            "max_position_embeddings": limit,
            "rope_theta": theta,
            "rope_scaling_type": kind,
            "factor": scaling.get("factor"),
            "original_max_position_embeddings": scaling.get("original"),
            "reach": reach,
            "claimed_context": claimed[0] if claimed else None,
        }
        if claimed and claimed[0] > reach * TOLERANCE:
            seen = f'{claimed[2]} says "{claimed[1]}", but {CONFIG} gives {number(reach)} positions'
            return answer(
                self, seen=seen, expected=expected, reproduce=reproduce, strength=CONTRADICTION, numbers=numbers
            )
        models = public_models(case)
        mine = _setting(facts, scaling.get("original"))
        same = [m for m in models if mine is not None and mine == _setting(m.config, _original(m.config))]
        if same:
            base_text = f"base {number(theta)}, limit {number(limit)}" + (f", scaling {kind}" if kind else "")
            return answer(
                self,
                seen=f"{CONFIG} has {base_text}: those of {listed(same)}",
                expected=expected,
                reproduce=reproduce,
                strength=SAME_SETTING if len({m.family for m in same}) == 1 else COMMON_SETTING,
                base=pointed_at(same),
                numbers={**numbers, **shared_by(case, same)},
            )
        original = scaling.get("original")
        start = [m for m in models if original and m.config.get("max_position_embeddings") == original]
        start = [m for m in start if theta is not None and m.config.get("rope_theta") == theta]
        if start:
            seen = f"{CONFIG} stretches {number(original)} positions, the limit of {listed(start)}, to {number(reach)}"
            return answer(
                self,
                seen=seen,
                expected=expected,
                reproduce=reproduce,
                strength=STRETCHED,
                base=pointed_at(start),
                numbers={**numbers, **shared_by(case, start)},
            )
        if limit >= LONG and kind is None and isinstance(theta, float | int) and 0 < theta <= USUAL_THETA:
            seen = f"{CONFIG} gives {number(limit)} positions at the default base {number(theta)} without scaling"
            return answer(self, seen=seen, expected=expected, reproduce=reproduce, strength=UNREACHED, numbers=numbers)
        shown = "no rotary base" if theta is None else f"base {number(theta)}"
        seen = f"{CONFIG} gives {number(reach)} positions with {shown}" + (f" and scaling {kind}" if kind else "")
        return answer(self, seen=seen, expected=expected, reproduce=reproduce, numbers=numbers)


def scaling_of(case: Case) -> dict[str, float]:
    """`factor` and `original` (positions before scaling) of config.json, where it states them."""
    settings = json_document(case.ours, CONFIG)
    if isinstance(settings, NotMeasured):
        return {}
    inner = settings.get("text_config")
    found: dict[str, float] = {}
    for level in (settings, inner if isinstance(inner, Mapping) else {}):
        for key in ("rope_scaling", "rope_parameters"):
            block = level.get(key)
            if not isinstance(block, Mapping):
                continue
            for name, names in {"factor": ("factor",), "original": ("original_max_position_embeddings",)}.items():
                value = next((block[n] for n in names if n in block), level.get(names[0]))
                if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 2.0**31:
                    found.setdefault(name, float(value))
    return found


def reach_of(limit: int, scaling: Mapping[str, float]) -> float:
    """Positions that limit and scaling give: some configs state the limit before scaling, some after it."""
    factor, original = scaling.get("factor"), scaling.get("original")
    if factor is None or factor <= 1.0:
        return float(limit)
    return max(float(limit), factor * (original if original is not None else limit))


def claimed_context(case: Case) -> tuple[float, str, str] | None:
    """The longest context that the card claims, with its words and place."""
    card = read_card(case.ours)
    if isinstance(card, NotMeasured) or not card.contexts:
        return None
    longest = max(card.contexts, key=lambda c: c.value)
    return longest.value, longest.text, longest.source


def _setting(facts: Mapping[str, Any], original: float | None) -> tuple[object, ...] | None:
    """What is compared with known models; None where it is the default of everybody or not stated."""
    theta, limit = facts.get("rope_theta"), facts.get("max_position_embeddings")
    if not isinstance(theta, int | float) or not limit or theta == USUAL_THETA:
        return None
    return float(theta), limit, original


def _original(config: Mapping[str, Any]) -> float | None:
    block = config.get("rope_scaling")
    value = block.get("original_max_position_embeddings") if isinstance(block, Mapping) else None
    return float(value) if isinstance(value, int | float) else None
