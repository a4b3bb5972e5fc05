"""The license book: lookups, case, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from provenance_gate.data import data_dir
from provenance_gate.errors import RegistryError
from provenance_gate.registry.catalog import Catalog
from provenance_gate.registry.licenses import CATEGORIES, load_licenses, shipped_licenses

ENTRY: dict[str, Any] = {"id": "acme-1.0", "spdx": None, "name": None, "category": "proprietary", "url": None}

# The NVIDIA Minitron license is an earlier text under the same name; WeDLM is tagged apache-2.0 beside a text that is not.
DIFFERS = {"LicenseRef-NVIDIA-Open-Model", "LicenseRef-WeDLM"}


def write_book(folder: Path, *entries: Any) -> Path:
    path = folder / "licenses.json"
    path.write_text(json.dumps(list(entries)), encoding="utf-8")
    return path


def test_every_license_of_the_catalog_is_known_whatever_its_case() -> None:
    book = shipped_licenses()
    for record in Catalog([data_dir("fingerprints")]).records():
        facts = record.facts["license"]
        term = book.term(facts["id"].swapcase(), facts["name"])
        if facts["spdx"] not in DIFFERS:
            assert (term.spdx, term.category) == (facts["spdx"], facts["category"])
        assert book.term(facts["spdx"].upper()).category == facts["category"]
        for tag in facts.get("upstream", ()):
            assert book.term(tag).category != "unknown"


@pytest.mark.parametrize(
    ("license_id", "category"),
    [
        ("Apache-2.0", "permissive"),
        ("bsd-3-clause", "permissive"),
        ("agpl-3.0", "copyleft"),
        ("cc-by-sa-4.0", "copyleft"),
        ("cc-by-nc-4.0", "non-commercial"),
        ("cc-by-nc-nd-4.0", "non-commercial"),
        ("openrail++", "open-with-use-restrictions"),
        ("creativeml-openrail-m", "open-with-use-restrictions"),
        ("LLAMA3.1", "open-with-use-restrictions"),
        ("gemma", "open-with-use-restrictions"),
        ("fair-noncommercial-research-license", "non-commercial"),
        ("apple-amlr", "research-only"),
        ("unknown", "unknown"),
        ("other", "unknown"),
        ("cc", "unknown"),
    ],
)
def test_hub_tags_have_their_category(license_id: str, category: str) -> None:
    assert shipped_licenses().term(license_id).category == category


@pytest.mark.parametrize(
    ("name", "category"),
    [("qwen-research", "non-commercial"), ("MNPL", "non-commercial"), ("mrl", "research-only")],
)
def test_other_is_looked_up_by_its_name(name: str, category: str) -> None:
    assert shipped_licenses().term("other", name).category == category


def test_a_name_beside_a_known_id_decides_nothing() -> None:
    assert shipped_licenses().term("cc-by-nc-4.0", "mit").category == "non-commercial"


def test_an_unknown_id_is_unknown() -> None:
    term = shipped_licenses().term("acme-7.0")
    assert (term.id, term.spdx, term.category) == ("acme-7.0", None, "unknown")


def test_shipped_categories_are_the_accepted_ones() -> None:
    assert {term.category for term in shipped_licenses().terms.values()} <= set(CATEGORIES)


def test_a_book_of_ones_own_is_read(tmp_path: Path) -> None:
    assert load_licenses(write_book(tmp_path, ENTRY)).term("ACME-1.0").category == "proprietary"


@pytest.mark.parametrize(
    "entry",
    [1, {"id": "acme-1.0"}, {**ENTRY, "category": "fine"}, {**ENTRY, "spdx": 1}, {**ENTRY, "id": None}],
)
def test_a_malformed_book_is_refused_by_name(tmp_path: Path, entry: Any) -> None:
    with pytest.raises(RegistryError, match=r"licenses\.json"):
        load_licenses(write_book(tmp_path, entry))


def test_a_missing_book_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"licenses\.json"):
        load_licenses(tmp_path / "licenses.json")


def test_a_tag_over_amended_terms_does_not_pass_for_the_plain_license() -> None:
    catalog = Catalog([data_dir("fingerprints")])
    amended = [r for r in catalog.records() if r.facts["license"]["spdx"] == "LicenseRef-WeDLM"]
    assert amended
    for record in amended:
        assert record.facts["license"]["id"] == "apache-2.0"
        assert record.licenses[0].id == "LicenseRef-WeDLM"
