"""Registry folders that lie about types, names and steps."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from provenance_gate.data import data_dir
from provenance_gate.errors import RegistryError
from provenance_gate.registry.catalog import Catalog, verify_catalog
from tests.registry.build import license_facts, record, write_registry


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"family": ["a"]}, "family"),
        ({"publisher": {"a": 1}}, "publisher"),
        ({"aliases": "gpt2"}, "aliases"),
        ({"aliases": [1]}, "aliases"),
        ({"license": license_facts(category="fine")}, "category"),
        ({"license": license_facts(spdx=1)}, "spdx"),
        ({"license": license_facts(upstream="llama2")}, "upstream"),
        ({"base_model": "acme/b"}, "base_model"),
        ({"base_model": {"id": ["acme/b"], "relation": "finetune"}}, "id"),
        ({"base_model": {"id": "acme/b", "relation": "prune"}}, "relation"),
        ({"base_model": {"id": "acme/b", "relation": "finetune", "via": "acme/c"}}, "via"),
        ({"base_model": {"id": "acme/b", "relation": "distill", "inherits_weights": 1}}, "inherits_weights"),
    ],
)
def test_a_field_of_the_wrong_type_is_refused_by_file_record_and_field(
    tmp_path: Path, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(RegistryError, match=rf"acme--base\.json: record acme/a: .*{field}"):
        Catalog([write_registry(tmp_path, record("acme/a", **changes))]).find("acme/a")


def test_an_alias_never_hides_a_record(tmp_path: Path) -> None:
    own = write_registry(tmp_path, record("zzz/free", aliases=["meta-llama/Llama-3.1-8B"]))
    found = Catalog([data_dir("fingerprints"), own]).find("meta-llama/llama-3.1-8b")
    assert found is not None
    assert found.id == "meta-llama/Llama-3.1-8B"


def test_aliases_of_a_replaced_record_are_gone(tmp_path: Path) -> None:
    one = write_registry(tmp_path / "one", record("acme/a", aliases=["old"]))
    two = write_registry(tmp_path / "two", record("acme/a"))
    assert Catalog([one, two]).find("old") is None
    assert len(Catalog([one, two]).records()) == 1


def test_one_id_twice_in_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="twice"):
        Catalog([write_registry(tmp_path, record("acme/a"), record("ACME/a"))]).find("acme/a")


def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    folder = write_registry(tmp_path, record("acme/a"))
    os.mkfifo(folder / "catalog" / "pipe.json")
    with pytest.raises(RegistryError, match=r"pipe\.json"):
        Catalog([folder]).find("acme/a")


def test_published_steps_are_listed_from_the_model_to_its_base() -> None:
    found = Catalog([data_dir("fingerprints")]).find("allenai/OLMo-2-0425-1B-Instruct")
    assert found is not None
    assert found.via == ("allenai/OLMo-2-0425-1B-DPO", "allenai/OLMo-2-0425-1B-SFT")
    assert found.parents == ("allenai/OLMo-2-0425-1B",)


def test_a_pruned_then_distilled_model_inherits_weights() -> None:
    found = Catalog([data_dir("fingerprints")]).find("nvidia/Llama-3.1-Minitron-4B-Width-Base")
    assert found is not None
    assert found.parents == ("meta-llama/Llama-3.1-8B",)


def test_verify_names_unknown_licenses_and_an_empty_catalog(tmp_path: Path) -> None:
    facts = license_facts(id="acme-7.0", upstream=["acme-8.0"])
    problems = verify_catalog(write_registry(tmp_path / "one", record("acme/a", license=facts)))
    assert [p.rsplit(": ", 1)[1] for p in problems] == ["license acme-7.0 is unknown", "license acme-8.0 is unknown"]
    (tmp_path / "two" / "catalog").mkdir(parents=True)
    assert verify_catalog(tmp_path / "two") != ()
