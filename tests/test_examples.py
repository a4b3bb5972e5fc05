"""The three trained examples: what a stranger sees first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import provenance_gate as pg
from provenance_gate.building import add
from provenance_gate.lineage.interface import Relation
from provenance_gate.policy.interface import Status, Verdict
from provenance_gate.reading import Reading
from provenance_gate.registry.records import Given

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
BASE = f"provenance-gate-examples/base={EXAMPLES / 'base'}"


def test_the_fine_tune_is_shown_to_derive_from_the_base() -> None:
    lineage = pg.compare(str(EXAMPLES / "fine-tune"), BASE)
    assert isinstance(lineage.score, float) and lineage.score >= 0.95
    assert lineage.relation is Relation.DERIVED
    assert lineage.claims


def test_the_impostor_is_independent_although_its_metadata_is_equal() -> None:
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (EXAMPLES / "impostor" / name).read_bytes() == (EXAMPLES / "base" / name).read_bytes()
    lineage = pg.compare(str(EXAMPLES / "impostor"), BASE)
    assert isinstance(lineage.score, float) and lineage.score <= 0.30
    assert lineage.relation is Relation.INDEPENDENT
    assert lineage.signals["mfi"].value == lineage.signals["voa"].value == 1.0


@pytest.mark.parametrize(("name", "verdict"), [("fine-tune", Verdict.PASS), ("impostor", Verdict.FAIL)])
def test_the_gate_tells_them_apart(name: str, verdict: Verdict) -> None:
    report = pg.check(str(EXAMPLES / name), policy=str(EXAMPLES / "policy.yaml"), bases=[BASE])
    assert report.verdict is verdict
    failed = [f.rule_id for f in report.results[0].findings if f.status is Status.FAIL]
    assert failed == ([] if verdict is Verdict.PASS else ["declared-base-is-real"])


def test_the_examples_stay_small() -> None:
    assert sum(f.stat().st_size for f in EXAMPLES.rglob("*") if f.is_file()) < 6_000_000


def test_configs_are_what_they_say() -> None:
    config = json.loads((EXAMPLES / "base" / "config.json").read_text())
    assert config["model_type"] == "llama"


def test_the_registry_of_the_examples_finds_the_base_that_is_not_named() -> None:
    found = pg.scan(str(EXAMPLES / "fine-tune"), registries=[str(EXAMPLES / "registry")], offline=True)
    assert [m.base.id for m in found.matches] == ["provenance-gate-examples/base"]
    assert [family.root for family in found.families] == ["provenance-gate-examples/base"]


def test_the_registry_says_nothing_good_about_the_impostor() -> None:
    found = pg.scan(str(EXAMPLES / "impostor"), registries=[str(EXAMPLES / "registry")], offline=True)
    assert not found.matches
    assert [m.base.id for m in found.contradicted] == ["provenance-gate-examples/base"]


def test_the_registry_holds_the_fingerprint_of_the_base_as_it_is_measured_today(tmp_path: Path) -> None:
    add(str(tmp_path), str(EXAMPLES / "base"), Given("provenance-gate-examples/base"), Reading())
    stored, fresh = (p / "index.json" for p in (EXAMPLES / "registry", tmp_path))
    assert stored.read_bytes() == fresh.read_bytes()
