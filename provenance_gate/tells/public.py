"""The public models that a case can be compared with: bases at hand and records of the catalog, under one form.

Also what the artifact discloses: a fact that it shares with a base it names openly hides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from provenance_gate.artifact.claims import CONFIG
from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.errors import one_line
from provenance_gate.fingerprint.interface import Json, SignalValue
from provenance_gate.tells.interface import Case, KnownModel, Side

MAX_NAMED: Final = 20
"""Ids listed in numbers; the count says how many there are."""

_NOTHING: Final[Mapping[str, Any]] = {}


@dataclass(frozen=True, slots=True)
class PublicModel:
    """One public model.

    Attributes
    ----------
    config, tokenizer
        Facts under the names of `ModelConfig` and of a catalog's tokenizer record; empty where nothing is known.
    side
        The model itself (or its fingerprint) when it is a candidate base at hand.
    """

    id: str
    names: tuple[str, ...]
    family: str
    config: Mapping[str, Any]
    tokenizer: Mapping[str, Any]
    side: Side | None = None
    released: str | None = None


def public_models(case: Case) -> tuple[PublicModel, ...]:
    """Candidate bases first, in their order, then the catalog; each model once."""
    known = {name.casefold(): k for k in case.known for name in (*k.aliases, k.id)}
    models = []
    seen: set[str] = set()
    for side, lineage in case.bases:
        record = known.get(lineage.base.id.casefold())
        models.append(_of_base(side, lineage.base.id, record))
        seen |= {name.casefold() for name in models[-1].names}
    models += [_of_record(k) for k in case.known if k.id.casefold() not in seen]
    return tuple(models)


def _of_base(side: Side, model_id: str, record: KnownModel | None) -> PublicModel:
    of_record = None if record is None else _of_record(record)
    config = config_facts(side)
    tokenizer = tokenizer_facts(side)
    return PublicModel(
        id=model_id,
        names=tuple(dict.fromkeys((model_id, *(of_record.names if of_record else ())))),
        family=of_record.family if of_record else model_id,
        config=(of_record.config if of_record else _NOTHING) if isinstance(config, NotMeasured) else config,
        tokenizer=(of_record.tokenizer if of_record else _NOTHING) if isinstance(tokenizer, NotMeasured) else tokenizer,
        side=side,
        released=of_record.released if of_record else None,
    )


def _of_record(record: KnownModel) -> PublicModel:
    family, released = record.facts.get("family"), record.facts.get("released")
    return PublicModel(
        id=record.id,
        names=(record.id, *record.aliases),
        family=family if isinstance(family, str) else record.id,
        config=_part(record.facts, "config"),
        tokenizer=_part(record.facts, "tokenizer"),
        released=released if isinstance(released, str) else None,
    )


def _part(facts: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = facts.get(name)
    return part if isinstance(part, Mapping) else _NOTHING


def config_facts(side: Side) -> Mapping[str, Any] | NotMeasured:
    """Facts of the config, under the names of `ModelConfig`; from the fingerprint where no artifact is at hand."""
    if side.artifact is not None:
        config = side.artifact.config
        return config if isinstance(config, NotMeasured) else asdict(config)
    value = side.fingerprint.signals.get("mfi")
    return value.facts if isinstance(value, SignalValue) else NotMeasured("the fingerprint has no config facts")


def tokenizer_facts(side: Side) -> Mapping[str, Any] | NotMeasured:
    """vocab_size, num_merges, merges_sha256, first_merges_sha256, special_ids, script_shares; vocabulary_sha256 where
    known."""
    mfi = side.fingerprint.signals.get("mfi")
    vocabulary = mfi.facts.get("tokenizer") if isinstance(mfi, SignalValue) else None
    if side.artifact is not None:
        facts = side.artifact.tokenizer
        if isinstance(facts, NotMeasured):
            return facts
        return {
            "vocab_size": facts.vocab_size,
            "num_merges": facts.num_merges,
            "merges_sha256": str(facts.merges_sha256),
            "first_merges_sha256": str(facts.first_merges_sha256),
            "special_ids": dict(facts.special_ids),
            "script_shares": dict(facts.script_shares),
            "vocabulary_sha256": str(facts.vocabulary_sha256),
        }
    value = side.fingerprint.signals.get("tfv")
    if not isinstance(value, SignalValue):
        return NotMeasured("the fingerprint has no tokenizer facts")
    return {**value.facts, "vocabulary_sha256": vocabulary}


def disclosed(case: Case, models: Iterable[PublicModel]) -> bool:
    """Whether one of `models` is what the artifact openly says it is, or comes from.

    `_name_or_path` of config.json is no disclosure: saving writes it, nobody says it.
    """
    openly = {c.id.casefold() for c in case.ours.fingerprint.subject.claims.bases if c.source.path != CONFIG}
    own = case.ours.name.rpartition("/")[2].casefold()
    for model in models:
        names = {name.casefold() for name in model.names}
        if names & openly or own in {name.rpartition("/")[2] for name in names}:
            return True
    return False


def pointed_at(models: Sequence[PublicModel]) -> str | None:
    """The one model that `models` point to: a base at hand, else the only one of its family; None where it is open."""
    at_hand = [m for m in models if m.side is not None]
    if at_hand:
        return at_hand[0].id
    return models[0].id if len({m.family for m in models}) == 1 else None


def listed(models: Sequence[PublicModel]) -> str:
    """The models in words: the first one and how many more there are, of how many families."""
    first, more = one_line(models[0].id, 120), len(models) - 1
    if not more:
        return first
    families = len({m.family for m in models})
    of = "all of one family" if families == 1 else f"of {families} families in all"
    return f"{first} and {more} other known model{'s' if more > 1 else ''} ({of})"


def shared_by(case: Case, models: Sequence[PublicModel]) -> dict[str, Json]:
    """What numbers say about models that share a fact with ours."""
    return {
        "models": [one_line(m.id, 200) for m in models[:MAX_NAMED]],
        "models_in_all": len(models),
        "families": len({m.family for m in models}),
        "known": len(case.known),
        "disclosed": disclosed(case, models),
    }


def names_disclosed(case: Case, names: Iterable[str]) -> bool:
    """Whether each of `names` is one that the artifact openly declares, or its own."""
    openly = {c.id.casefold() for c in case.ours.fingerprint.subject.claims.bases if c.source.path != CONFIG}
    own = case.ours.name.rpartition("/")[2].casefold()
    found = [name.casefold() for name in names]
    return bool(found) and all(name in openly or name.rpartition("/")[2] == own for name in found)
