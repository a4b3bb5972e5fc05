"""Stage 1 of a search: what records alone point to."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from provenance_gate.artifact.interface import BaseClaim, Claims, ClaimSource
from provenance_gate.data import data_dir
from provenance_gate.fingerprint.interface import Fingerprint, SignalValue, Subject
from provenance_gate.registry.catalog import ModelRecord
from provenance_gate.registry.layers import open_registries
from provenance_gate.registry.nominate import (
    Ground,
    Nominations,
    Nominee,
    Reason,
    nominate_by_claims,
    nominate_by_facts,
    shown_reasons,
)

RECORDS = open_registries(()).catalog.records()
WITH_CONFIG = [r for r in RECORDS if r.facts.get("config") and r.facts["config"].get("num_attention_heads")]


def fingerprint_of(record: ModelRecord, **changes: object) -> Fingerprint:
    """What measuring the model's config and tokenizer would keep of them."""
    config = {**(record.facts.get("config") or {}), **changes}
    tokenizer = record.facts.get("tokenizer") or {}
    signals = {
        "mfi": SignalValue("facts", facts=config),
        "tfv": SignalValue("facts", facts={k: tokenizer.get(k) for k in ("vocab_size", "num_merges")}),
    }
    return Fingerprint(Subject("artifact", (), Claims()), signals, 0)


def nominated(ours: Fingerprint, records: tuple[ModelRecord, ...] = RECORDS) -> tuple[Nominee, ...]:
    into = Nominations()
    nominate_by_facts(ours, records, into)
    return into.ranked()


def claim(model_id: str) -> Claims:
    return Claims((BaseClaim(model_id, None, None, ClaimSource(PurePosixPath("README.md"), 3, "base_model")),), ())


def test_the_catalog_is_there() -> None:
    assert (data_dir("fingerprints") / "catalog").is_dir()
    assert len(WITH_CONFIG) > 100


@pytest.mark.parametrize("record", WITH_CONFIG, ids=lambda r: r.id)
def test_a_model_of_the_catalog_is_nominated_by_its_own_config(record: ModelRecord) -> None:
    found = nominated(fingerprint_of(record))
    best = found[0].reasons[0]
    itself = next(n for n in found if n.id == record.id)
    assert itself.reasons[0].ground is Ground.SHAPE_AND_DEPTH
    assert itself.reasons[0].strength == best.strength, "nothing fits better than the model itself"


def test_dropped_layers_still_nominate() -> None:
    record = next(r for r in WITH_CONFIG if r.id == "meta-llama/Llama-2-13b-hf")
    found = nominated(fingerprint_of(record, num_hidden_layers=20))
    itself = next(n for n in found if n.id == record.id)
    assert itself.reasons[0].ground is Ground.SHAPE


def test_how_many_models_share_a_shape_is_said() -> None:
    record = next(r for r in WITH_CONFIG if r.id == "meta-llama/Llama-2-13b-hf")
    itself = next(n for n in nominated(fingerprint_of(record)) if n.id == record.id)
    assert "other known models have" in shown_reasons(itself)


def test_another_width_nominates_nobody_by_shape() -> None:
    record = next(r for r in WITH_CONFIG if r.id == "meta-llama/Llama-2-13b-hf")
    found = nominated(fingerprint_of(record, hidden_size=5121))
    assert all(n.reasons[0].ground is Ground.TOKENIZER for n in found)


def test_a_model_without_config_and_tokenizer_nominates_nobody() -> None:
    assert nominated(Fingerprint(Subject("bare", (), Claims()), {}, 0)) == ()


def test_a_tiny_vocabulary_says_nothing() -> None:
    tiny = Fingerprint(
        Subject("tiny", (), Claims()),
        {"tfv": SignalValue("facts", facts={"vocab_size": 256, "num_merges": 10})},
        0,
    )
    assert nominated(tiny) == ()


def test_a_claim_by_alias_nominates_the_record() -> None:
    record = next(r for r in RECORDS if r.aliases)
    into = Nominations()
    nominate_by_claims(claim(record.aliases[0].upper()), RECORDS, into)
    assert [n.id for n in into.ranked()] == [record.id]


def test_a_claim_that_nobody_knows_is_nominated_as_it_stands() -> None:
    into = Nominations()
    nominate_by_claims(claim("acme/secret"), RECORDS, into)
    (found,) = into.ranked()
    assert (found.id, found.reasons[0].ground) == ("acme/secret", Ground.CLAIM)


def test_strong_grounds_come_before_weak_ones() -> None:
    into = Nominations()
    into.add("a/tokenizer", Reason(Ground.TOKENIZER, "x"))
    into.add("b/sketch", Reason(Ground.SKETCH, "x", 12.0))
    into.add("c/sketch", Reason(Ground.SKETCH, "x", 40.0))
    into.add("d/claim", Reason(Ground.CLAIM, "x"))
    assert [n.id for n in into.ranked()] == ["c/sketch", "b/sketch", "d/claim", "a/tokenizer"]


def test_reasons_are_one_printable_line() -> None:
    nominee = Nominee("x", (Reason(Ground.CLAIM, "declared in evil\x1b[31m\nfile"),))
    assert "\x1b" not in shown_reasons(nominee)
    assert "\n" not in shown_reasons(nominee)
