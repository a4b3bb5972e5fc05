"""Stage 1 of a search: which known models are worth a look, and why. Nominates; weights decide later.

Reasons, from strong to weak: equal content, agreeing sketches, a claim of the artifact, equal shape, equal tokenizer. All but
the first two are text that an editor changes, so none of them ever makes a match.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from provenance_gate.artifact.interface import Claims
from provenance_gate.errors import one_line
from provenance_gate.fingerprint.interface import Fingerprint, Json, SignalValue
from provenance_gate.registry.catalog import ModelRecord

LEAST_VOCABULARY = 1000


class Ground(IntEnum):
    """Why a model is nominated; a smaller number comes first."""

    CONTENT = 0
    SKETCH = 1
    CLAIM = 2
    SHAPE_AND_DEPTH = 3
    GEOMETRY = 4
    SHAPE = 5
    TOKENIZER = 6
    STORED = 7


@dataclass(frozen=True, slots=True)
class Reason:
    """One ground, in words; `strength` orders reasons of one ground, higher first."""

    ground: Ground
    text: str
    strength: float = 0.0


@dataclass(frozen=True, slots=True)
class Nominee:
    """A known model and the reasons for it, strongest first; never empty."""

    id: str
    reasons: tuple[Reason, ...]

    @property
    def rank(self) -> tuple[int, float, str]:
        """Sorts nominees, best first."""
        best = self.reasons[0]
        return (int(best.ground), -best.strength - 0.1 * (len(self.reasons) - 1), self.id)


@dataclass(slots=True)
class Nominations:
    """Reasons collected by model, whatever the case of its id."""

    _reasons: dict[str, list[Reason]] = field(default_factory=dict)
    _ids: dict[str, str] = field(default_factory=dict)

    def add(self, model_id: str, reason: Reason) -> None:
        key = model_id.casefold()
        self._ids.setdefault(key, model_id)
        self._reasons.setdefault(key, []).append(reason)

    def ranked(self) -> tuple[Nominee, ...]:
        """Best first."""
        found = (Nominee(self._ids[k], tuple(sorted(r, key=_order))) for k, r in self._reasons.items())
        return tuple(sorted(found, key=lambda n: n.rank))


def _order(reason: Reason) -> tuple[int, float, str]:
    return int(reason.ground), -reason.strength, reason.text


def nominate_by_claims(claims: Claims, known: Iterable[ModelRecord], into: Nominations) -> None:
    """Models that the artifact names itself, also by an alias."""
    names = {name.casefold(): r.id for r in known for name in (r.id, *r.aliases)}
    for claim in claims.bases:
        model_id = names.get(claim.id.casefold(), claim.id)
        where = f"{claim.source.path}:{claim.source.line}"
        into.add(model_id, Reason(Ground.CLAIM, f"declared in {where} ({claim.source.field})"))


def nominate_by_facts(ours: Fingerprint, known: Sequence[ModelRecord], into: Nominations) -> None:
    """Models of equal shape or equal tokenizer, as far as their records say."""
    config, tokenizer = _facts(ours, "mfi"), _facts(ours, "tfv")
    shape = _shape(config)
    alike = [r for r in known if shape is not None and shape == _shape(_part(r, "config"))]
    for record in alike:
        theirs = _part(record, "config")
        same_depth = theirs.get("num_hidden_layers") == config.get("num_hidden_layers")
        agreeing = sum(
            config.get(k) is not None and config.get(k) == theirs.get(k)
            for k in (
                "num_hidden_layers",
                "vocab_size",
                "model_type",
                "rope_theta",
                "max_position_embeddings",
                "hidden_act",
            )
        )
        others = len(alike) - 1
        shared = f", as {others} other known models have" if others else ", as no other known model has"
        depth = "width, feed-forward size, heads and depth" if same_depth else "width, feed-forward size and heads"
        ground = Ground.SHAPE_AND_DEPTH if same_depth else Ground.SHAPE
        into.add(record.id, Reason(ground, f"equal {depth}{shared}", float(agreeing)))
    for record in known:
        if _same_tokenizer(tokenizer, _part(record, "tokenizer")):
            size = tokenizer["vocab_size"]
            into.add(record.id, Reason(Ground.TOKENIZER, f"a tokenizer of the same size ({size} tokens) and merges"))


def _facts(ours: Fingerprint, signal: str) -> Mapping[str, Json]:
    value = ours.signals.get(signal)
    return value.facts if isinstance(value, SignalValue) else {}


def _part(record: ModelRecord, name: str) -> Mapping[str, Json]:
    part = record.facts.get(name)
    return part if isinstance(part, Mapping) else {}


def _shape(facts: Mapping[str, Json]) -> tuple[Json, ...] | None:
    """Width, feed-forward size and heads; None without a width.

    A config that leaves out the heads of keys and values has as many as attention heads; one that leaves out the feed-forward
    size has the default of its architecture, which equals the default of its copies.
    """
    width, heads, groups = (facts.get(k) for k in ("hidden_size", "num_attention_heads", "num_key_value_heads"))
    if width is None or heads is None:
        return None
    return width, facts.get("intermediate_size"), heads, heads if groups is None else groups


def _same_tokenizer(ours: Mapping[str, Json], theirs: Mapping[str, Json]) -> bool:
    size, merges = ours.get("vocab_size"), ours.get("num_merges")
    if not isinstance(size, int) or size < LEAST_VOCABULARY:
        return False
    return size == theirs.get("vocab_size") and bool(merges) and merges == theirs.get("num_merges")


def shown_reasons(nominee: Nominee, limit: int = 3) -> str:
    """The first reasons in one printable line."""
    return one_line("; ".join(r.text for r in nominee.reasons[:limit]))
