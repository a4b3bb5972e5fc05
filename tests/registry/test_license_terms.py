"""What licenses ask, as data: the shipped book against its schema, and what the loader refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from provenance_gate.data import data_dir
from provenance_gate.errors import RegistryError
from provenance_gate.lineage.interface import ConditionKind, Derivatives
from provenance_gate.registry.catalog import Catalog, catalog_schema
from provenance_gate.registry.licenses import CATEGORIES, licenses_schema, load_licenses, shipped_licenses

SHIPPED = data_dir("fingerprints") / "licenses.json"
ENTRY: dict[str, Any] = {"id": "acme-1.0", "spdx": None, "name": None, "category": "copyleft", "url": None}
TERMS: dict[str, Any] = {
    **ENTRY,
    "derivatives": "same-terms",
    "conditions": [{"kind": "license-copy"}],
    "confidence": "recalled",
    "sources": [],
}


def stored() -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads(SHIPPED.read_text(encoding="utf-8"))
    return entries


def load(folder: Path, *entries: Any):  # type: ignore[no-untyped-def]
    path = folder / "licenses.json"
    path.write_text(json.dumps(list(entries)), encoding="utf-8")
    return load_licenses(path)


def is_valid(*entries: Any) -> bool:
    return Draft202012Validator(licenses_schema()).is_valid(list(entries))


def test_the_shipped_book_follows_its_schema_and_the_house_layout() -> None:
    Draft202012Validator.check_schema(licenses_schema())
    Draft202012Validator(licenses_schema()).validate(stored())
    assert SHIPPED.read_text(encoding="utf-8") == json.dumps(stored(), indent=2, ensure_ascii=False) + "\n"


def test_categories_are_the_same_in_both_schemas_and_the_loader() -> None:
    of_licenses = licenses_schema()["$defs"]["category"]["enum"]
    of_catalog = catalog_schema()["items"]["properties"]["license"]["properties"]["category"]["enum"]
    assert tuple(of_licenses) == tuple(of_catalog) == CATEGORIES


def test_kinds_of_conditions_are_the_same_in_schema_and_code() -> None:
    kinds = [
        kind
        for shape in licenses_schema()["$defs"]["condition"]["oneOf"]
        for kind in shape["properties"]["kind"]["enum"]
    ]
    assert sorted(kinds) == sorted(k.value for k in ConditionKind)


def test_every_statement_about_terms_has_a_page_or_is_marked_as_recalled() -> None:
    for entry in stored():
        if "confidence" in entry:
            assert entry["sources"] or entry["confidence"] == "recalled", entry["id"]


def test_every_license_of_the_catalog_has_terms_or_is_known_to_have_none() -> None:
    book = shipped_licenses()
    without = {
        term.spdx
        for record in Catalog([data_dir("fingerprints")]).records()
        for term in record.licenses
        if book.term(term.spdx or term.id).confidence is None
    }
    assert without == {"LicenseRef-NVIDIA-Open-Model"}


def test_what_later_terms_accept_is_known_by_name() -> None:
    known = {spelling.casefold() for e in stored() for spelling in (e["id"], e["spdx"]) if spelling}
    older = {"cc-by-sa-2.5", "cc-by-nc-sa-2.5"}
    for entry in stored():
        assert {i.casefold() for i in entry.get("also_under", ())} <= known | older, entry["id"]


def test_two_spellings_of_one_license_have_the_same_terms() -> None:
    book = shipped_licenses()
    one, other = book.term("llama3.1"), book.term("LicenseRef-scancode-llama-3.1-license-2024")
    assert one.conditions == other.conditions != ()
    assert one.derivatives is other.derivatives is Derivatives.SAME_TERMS
    for entry in stored():
        if entry["spdx"] and not entry["spdx"].startswith("LicenseRef-"):
            twin = book.term(entry["spdx"])
            assert (twin.derivatives, twin.conditions) == (
                book.term(entry["id"]).derivatives,
                book.term(entry["id"]).conditions,
            )


@pytest.mark.parametrize(
    ("license_id", "kind", "text"),
    [
        ("llama3", ConditionKind.NAME_PREFIX, "Llama 3"),
        ("llama3.2", ConditionKind.NAME_PREFIX, "Llama"),
        ("llama3", ConditionKind.DISPLAY, "Built with Meta Llama 3"),
        ("llama4", ConditionKind.DISPLAY, "Built with Llama"),
        ("exaone", ConditionKind.NAME_PREFIX, "EXAONE"),
        (
            "gemma",
            ConditionKind.NOTICE_FILE,
            "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms",
        ),
        ("qwen", ConditionKind.DISPLAY, "Improved using Qwen"),
    ],
)
def test_texts_are_those_of_the_license(license_id: str, kind: ConditionKind, text: str) -> None:
    conditions = shipped_licenses().term(license_id).conditions
    assert text in [t for c in conditions if c.kind is kind for t in c.texts]


@pytest.mark.parametrize(("license_id", "limit"), [("llama2", 700_000_000), ("qwen", 100_000_000)])
def test_limits_are_those_of_the_license(license_id: str, limit: int) -> None:
    conditions = shipped_licenses().term(license_id).conditions
    assert [c.limit for c in conditions if c.kind is ConditionKind.USER_LIMIT] == [limit]


def test_only_early_llama_licenses_forbid_training_other_models() -> None:
    book = shipped_licenses()
    for license_id, forbids in (("llama2", True), ("llama3", True), ("llama3.1", False), ("llama4", False)):
        kinds = {c.kind for c in book.term(license_id).conditions}
        assert (ConditionKind.OUTPUT_TRAINING in kinds) is forbids


def test_an_entry_without_terms_says_what_its_category_says(tmp_path: Path) -> None:
    term = load(tmp_path, ENTRY).term("acme-1.0")
    assert (term.commercial_use, term.derivatives, term.confidence) == ("yes", None, None)
    assert shipped_licenses().term("never-heard-of").commercial_use is None


def test_terms_are_read(tmp_path: Path) -> None:
    assert is_valid(TERMS)
    term = load(tmp_path, TERMS).term("ACME-1.0")
    assert (term.derivatives, term.confidence) == (Derivatives.SAME_TERMS, "recalled")
    assert [c.kind for c in term.conditions] == [ConditionKind.LICENSE_COPY]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"derivatives": "some"}, "derivatives"),
        ({"commercial_use": "maybe"}, "commercial_use"),
        ({"confidence": "sure"}, "confidence"),
        ({"also_under": "mit"}, "also_under"),
        ({"also_under": [""]}, "also_under"),
        ({"conditions": {}}, "conditions"),
        ({"conditions": [{"kind": "license-copy"}] * 33}, "conditions"),
        ({"conditions": ["license-copy"]}, "condition 0"),
        ({"conditions": [{}]}, "kind"),
        ({"conditions": [{"kind": "wish"}]}, "kind"),
        ({"conditions": [{"kind": "name-prefix"}]}, "texts"),
        ({"conditions": [{"kind": "license-copy", "texts": ["x"]}]}, "texts"),
        ({"conditions": [{"kind": "notice-file", "texts": ["x" * 501]}]}, "texts"),
        ({"conditions": [{"kind": "acceptable-use", "url": "javascript:alert(1)"}]}, "url"),
        ({"conditions": [{"kind": "user-limit"}]}, "limit"),
        ({"conditions": [{"kind": "user-limit", "limit": 0}]}, "limit"),
        ({"conditions": [{"kind": "user-limit", "limit": True}]}, "limit"),
        ({"conditions": [{"kind": "license-copy", "limit": 3}]}, "limit"),
    ],
)
def test_a_malformed_statement_is_refused_by_file_entry_and_field(
    tmp_path: Path, change: dict[str, Any], field: str
) -> None:
    assert not is_valid({**TERMS, **change})
    with pytest.raises(RegistryError, match=rf"licenses\.json: acme-1\.0: .*{field}"):
        load(tmp_path, {**TERMS, **change})


@pytest.mark.parametrize("other", ["nobody", "acme-2.0"])
def test_same_as_must_lead_to_an_entry_of_its_own(tmp_path: Path, other: str) -> None:
    entries = [{**ENTRY, "same_as": other}, {**ENTRY, "id": "acme-2.0", "same_as": "acme-1.0"}]
    with pytest.raises(RegistryError, match="same_as"):
        load(tmp_path, *entries)


def test_a_hostile_id_stays_on_one_line(tmp_path: Path) -> None:
    with pytest.raises(RegistryError) as caught:
        load(tmp_path, {**ENTRY, "id": "evil\x1b[31m\n", "category": "fine\n"})
    assert str(caught.value).isprintable()
