"""The catalog: what it loads, what it refuses, how folders are layered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from provenance_gate.data import data_dir
from provenance_gate.errors import RegistryError
from provenance_gate.registry.catalog import Catalog, verify_catalog
from tests.registry.build import license_facts, record, write_registry

SHIPPED = data_dir("fingerprints")


def stored_records() -> list[dict[str, Any]]:
    files = sorted((SHIPPED / "catalog").glob("*.json"))
    return [entry for file in files for entry in json.loads(file.read_text(encoding="utf-8"))]


def test_every_stored_record_is_loaded_with_all_its_facts() -> None:
    catalog = Catalog([SHIPPED])
    stored = stored_records()
    assert len(stored) == len(catalog.records()) == 273
    for facts in stored:
        found = catalog.find(facts["id"].upper())
        assert found is not None
        assert found.facts == facts
        assert (found.family, found.publisher) == (facts["family"], facts["publisher"])
        assert found.licenses[0].category == facts["license"]["category"]
        assert found.licenses[0].spdx == facts["license"]["spdx"]


def test_every_alias_leads_to_its_record() -> None:
    catalog = Catalog([SHIPPED])
    for facts in stored_records():
        for alias in facts.get("aliases", ()):
            found = catalog.find(alias.swapcase())
            assert found is not None
            assert found.id == facts["id"]


def test_shipped_data_has_no_problems() -> None:
    assert verify_catalog(SHIPPED) == ()


def test_each_family_has_one_file_in_the_house_layout() -> None:
    for file in (SHIPPED / "catalog").glob("*.json"):
        text = file.read_text(encoding="utf-8")
        entries = json.loads(text)
        assert {entry["family"] for entry in entries} == {file.stem}
        assert text in {json.dumps(entries, indent=2, ensure_ascii=ascii_only) + "\n" for ascii_only in (True, False)}


def test_an_unknown_model_has_no_record() -> None:
    assert Catalog([SHIPPED]).find("acme/never-heard-of") is None


def test_upstream_terms_stand_beside_the_license_of_a_model() -> None:
    distilled = Catalog([SHIPPED]).find("deepseek-ai/DeepSeek-R1-Distill-Llama-8B")
    assert distilled is not None
    assert [term.id.casefold() for term in distilled.licenses] == ["mit", "llama3.1"]


def test_a_teacher_is_no_parent() -> None:
    distilled = Catalog([SHIPPED]).find("deepseek-ai/DeepSeek-R1-Distill-Llama-8B")
    assert distilled is not None
    assert "deepseek-ai/DeepSeek-R1" not in distilled.parents
    assert "meta-llama/Llama-3.1-8B" in distilled.parents


def test_a_distilled_model_has_no_parents(tmp_path: Path) -> None:
    base = {"id": "acme/big", "relation": "distill"}
    found = Catalog([write_registry(tmp_path, record("acme/small", base_model=base))]).find("acme/small")
    assert found is not None
    assert found.parents == ()


def test_a_parent_that_was_never_named_is_none(tmp_path: Path) -> None:
    base = {"id": None, "relation": "finetune", "description": "not published"}
    found = Catalog([write_registry(tmp_path, record("acme/a", base_model=base))]).find("acme/a")
    assert found is not None
    assert found.parents == ()


def test_a_later_folder_replaces_a_record_and_keeps_the_others(tmp_path: Path) -> None:
    one = write_registry(tmp_path / "one", record("acme/a", publisher="First"), record("acme/b"))
    two = write_registry(tmp_path / "two", record("ACME/A", publisher="Second"))
    catalog = Catalog([one, two])
    replaced = catalog.find("acme/a")
    assert replaced is not None
    assert replaced.publisher == "Second"
    assert catalog.find("acme/b") is not None
    assert len(catalog.records()) == 2


def test_a_license_called_other_goes_by_its_name(tmp_path: Path) -> None:
    facts = license_facts(id="other", name="acme-1.0", spdx="LicenseRef-Acme", category="research-only")
    found = Catalog([write_registry(tmp_path, record("acme/a", license=facts))]).find("acme/a")
    assert found is not None
    assert (found.licenses[0].id, found.licenses[0].category) == ("acme-1.0", "research-only")


def test_a_folder_without_catalog_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="no catalog folder"):
        Catalog([tmp_path]).find("acme/a")


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b'{"id": "acme/a"}',
        b'[{"id": "acme/a", "id": "acme/b"}]',
        b"\xff",
        b"[1]",
        b"[NaN]",
        b'[{"id": 1}]',
        b"[{}]",
    ],
)
def test_a_malformed_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "acme.json").write_bytes(content)
    with pytest.raises(RegistryError, match=r"acme\.json"):
        Catalog([tmp_path]).find("acme/a")


@pytest.mark.parametrize("field", ["license", "id"])
def test_a_record_without_a_needed_field_is_refused(tmp_path: Path, field: str) -> None:
    facts = record("acme/a")
    del facts[field]
    with pytest.raises(RegistryError, match=r"acme--base\.json: record"):
        Catalog([write_registry(tmp_path, facts)]).find("acme/a")


@pytest.mark.parametrize(
    ("records", "problem"),
    [
        ((record("acme/b"), record("acme/a")), "not sorted"),
        ((record("acme/a"), record("acme/b", aliases=["ACME/A"])), "is also in"),
        ((record("acme/a", base_model={"id": "acme/a", "relation": "finetune"}),), "its own ancestor"),
        (
            (
                record("acme/a", base_model={"id": "acme/B", "relation": "finetune"}),
                record("acme/b", base_model={"id": "acme/A", "relation": "merge"}),
            ),
            "its own ancestor",
        ),
        ((record("acme/a", params="many"),), "params"),
        ((record("acme/a", surprise=1),), "surprise"),
        ((record("acme/a", license=license_facts(category="fine")),), "category"),
    ],
)
def test_verify_names_the_problem(tmp_path: Path, records: tuple[Any, ...], problem: str) -> None:
    assert any(problem in found for found in verify_catalog(write_registry(tmp_path, *records)))


def test_verify_allows_a_parent_without_a_record(tmp_path: Path) -> None:
    base = {"id": "acme/unpublished", "relation": "finetune"}
    assert verify_catalog(write_registry(tmp_path, record("acme/a", base_model=base))) == ()
