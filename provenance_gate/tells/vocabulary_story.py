"""Tell 5: the vocabulary did not grow, and the special ids are those of a public model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.fingerprint.interface import Json
from provenance_gate.tells.card import read_card
from provenance_gate.tells.interface import Case, TellGroup, TellResult
from provenance_gate.tells.public import (
    config_facts,
    disclosed,
    listed,
    pointed_at,
    public_models,
    shared_by,
    tokenizer_facts,
)
from provenance_gate.tells.wording import answer, not_measured, number

ONE_FAMILY: Final = 0.35
"""Rows and ids that one family alone has; an own model on that family's tokenizer shows them as well, and that is honest."""
SEVERAL_FAMILIES: Final = 0.15
"""68 of the 152 models with a config in the shipped catalog share rows and ids with a model of another family and no recorded
common ancestor: tokenizers are taken over."""
AGAINST_A_CLAIM: Final = 0.5
"""The card speaks of a new or extended vocabulary, and it has exactly the rows and ids of a public one."""

_ENCODER: Final = ("pad", "unk", "mask")
_LEAST: Final = 1000
"""Smaller vocabularies (bytes, characters) are equal by nature."""


class VocabularyStory:
    """`vocab_size` (the rows of the embedding), bos and eos id are equal to a known model's; eos must be stated on both
    sides, bos on both or neither.
    """

    id: Final = 5
    name: Final = "vocabulary-story"
    group: Final = TellGroup.CONFIG
    title: Final = "The vocabulary did not grow and special ids are equal"

    def measure(self, case: Case) -> TellResult:
        """FIRED when a known model has the same rows and ids."""
        expected = "a vocabulary of its own size, or special tokens at ids of its own"
        reproduce = "jq '.vocab_size, .bos_token_id, .eos_token_id' config.json generation_config.json"
        facts = config_facts(case.ours)
        if isinstance(facts, NotMeasured) or not isinstance(size := facts.get("vocab_size"), int):
            reason = facts.reason if isinstance(facts, NotMeasured) else "config.json states no vocab_size"
            return not_measured(self, reason, expected, reproduce)
        tokens = tokenizer_facts(case.ours)
        mine = _Ids.of(facts, {} if isinstance(tokens, NotMeasured) else tokens)
        if mine is None:
            return not_measured(self, "neither config nor tokenizer states special ids", expected, reproduce)
        models = [(m, _Ids.of(m.config, m.tokenizer, mine.names)) for m in public_models(case)]
        comparable = [(m, ids) for m, ids in models if ids is not None]
        if not comparable:
            return not_measured(self, "no base and no catalog to compare with", expected, reproduce)
        equal = [m for m, ids in comparable if ids == mine and size >= _LEAST]
        numbers: dict[str, Json] = {
            "vocab_size": size,
            "special_ids": dict(zip(mine.names, mine.values, strict=True)),
            "tokens": None if isinstance(tokens, NotMeasured) else tokens.get("vocab_size"),
            "compared": len(comparable),
        }
        ids = ", ".join(f"{name} {number(value)}" for name, value in zip(mine.names, mine.values, strict=True))
        shown = f"{number(size)} rows, {ids}"
        if not equal:
            seen = f"config.json has {shown}: none of {len(comparable)} known models has these"
            return answer(self, seen=seen, expected=expected, reproduce=reproduce, numbers=numbers)
        card = read_card(case.ours)
        claims = () if isinstance(card, NotMeasured) else card.new_vocabulary
        strength = ONE_FAMILY if len({m.family for m in equal}) == 1 else SEVERAL_FAMILIES
        seen = f"config.json has {shown}: those of {listed(equal)}"
        if claims:
            strength = AGAINST_A_CLAIM
            seen += f', although {claims[0].source} says "{claims[0].text}"'
        elif disclosed(case, equal):
            seen += "; the artifact declares one of them"
        return answer(
            self,
            seen=seen,
            expected=expected,
            reproduce=reproduce,
            strength=strength,
            base=pointed_at(equal),
            numbers={**numbers, **shared_by(case, equal), "claim": claims[0].text if claims else None},
        )


@dataclass(frozen=True, slots=True)
class _Ids:
    """Rows of the embedding, and the ids of some special tokens."""

    size: int
    names: tuple[str, ...]
    values: tuple[Json, ...]

    @staticmethod
    def of(
        config: Mapping[str, Any], tokenizer: Mapping[str, Any], names: tuple[str, ...] | None = None
    ) -> _Ids | None:
        """bos and eos of the config; where it has no eos (encoders), padding, unknown and mask token of the tokenizer."""
        size = config.get("vocab_size")
        found = {"bos": _first(config.get("bos_token_id")), "eos": _first(config.get("eos_token_id"))}
        if (names is None and found["eos"] is None) or names == _ENCODER:
            ids = tokenizer.get("special_ids")
            found = {name: _first(ids.get(name)) for name in _ENCODER} if isinstance(ids, Mapping) else {}
        known = sum(isinstance(value, int) for value in found.values())
        least = 2 if tuple(found) == _ENCODER else 1
        if not isinstance(size, int) or known < least or ("eos" in found and found["eos"] is None):
            return None
        return _Ids(size, tuple(found), tuple(found.values()))


def _first(ids: Any) -> Json:
    """The id, or the first of several."""
    value = ids[0] if isinstance(ids, list) and ids else ids
    return value if isinstance(value, int) and not isinstance(value, bool) else None
