from __future__ import annotations

from pathlib import Path

import pytest

from provenance_gate.registry.layers import open_registries
from provenance_gate.tells.interface import KnownModel, TellStatus
from provenance_gate.tells.leftover_name import KNOWN, SAID, UNKNOWN, LeftoverName
from tests import models as tiny
from tests.tells.build import BASE, case, known, side, write

TELL = LeftoverName()


def test_a_name_in_the_config_points_to_a_known_model(tmp_path: Path) -> None:
    folder = write(tmp_path / "own", config={"_name_or_path": BASE})
    result = TELL.measure(case(folder, known=[known()]))
    assert (result.status, result.base, result.strength) == (TellStatus.FIRED, BASE, KNOWN)
    assert BASE in result.seen and result.numbers["disclosed"] is False


def test_without_any_name_it_is_quiet(tmp_path: Path) -> None:
    result = TELL.measure(case(write(tmp_path / "own"), known=[known()]))
    assert (result.status, result.strength, result.base) == (TellStatus.QUIET, 0.0, None)


def test_a_repository_that_no_catalog_knows_says_less(tmp_path: Path) -> None:
    result = TELL.measure(case(write(tmp_path / "own", config={"_name_or_path": "someone/model-x"})))
    assert (result.base, result.strength) == ("someone/model-x", UNKNOWN)


@pytest.mark.parametrize("path", ["./output/run-3", "/data/mine", "checkpoints/step", "output/checkpoint-500", ""])
def test_a_path_of_the_makers_machine_names_nobody(tmp_path: Path, path: str) -> None:
    result = TELL.measure(case(write(tmp_path / "own", config={"_name_or_path": path}), known=[known()]))
    assert result.status is TellStatus.QUIET


@pytest.mark.parametrize("path", ["/data/models/base-7b", "/data/base-7b/checkpoint-100", "D:\\models\\Base-7B\\"])
def test_a_path_that_ends_in_the_name_of_a_known_model_names_it(tmp_path: Path, path: str) -> None:
    result = TELL.measure(case(write(tmp_path / "own", config={"_name_or_path": path}), known=[known()]))
    assert (result.status, result.base) == (TellStatus.FIRED, BASE)


def test_a_path_in_the_hubs_cache_names_its_repository(tmp_path: Path) -> None:
    path = "/home/someone/.cache/huggingface/hub/models--acme--base-7b/snapshots/abc/special_tokens_map.json"
    files = {"tokenizer_config.json": {"special_tokens_map_file": path}}
    result = TELL.measure(case(write(tmp_path / "own", files=files)))
    assert result.base == BASE and "tokenizer_config.json" in result.seen


def test_code_that_is_loaded_from_another_repository_names_it(tmp_path: Path) -> None:
    folder = write(tmp_path / "own", config={"auto_map": {"AutoModel": "acme/base-7b--modeling.Model"}})
    assert TELL.measure(case(folder, known=[known()])).base == BASE


def test_the_artifacts_own_name_is_no_leftover(tmp_path: Path) -> None:
    folder = write(tmp_path / "base-7b", config={"_name_or_path": BASE})
    assert TELL.measure(case(folder, known=[known()])).status is TellStatus.QUIET


def test_a_base_that_the_card_declares_is_disclosed(tmp_path: Path) -> None:
    folder = write(tmp_path / "own", config={"_name_or_path": BASE}, card=tiny.card(BASE))
    result = TELL.measure(case(folder, known=[known()]))
    assert result.status is TellStatus.FIRED and result.numbers["disclosed"] is True


@pytest.mark.parametrize("word, fires", [("Acme", True), ("Somebody", False)])
def test_a_chat_template_that_says_who_speaks(tmp_path: Path, word: str, fires: bool) -> None:
    template = f"{{{{ 'You are {word}, a helpful assistant.' }}}}"
    folder = write(tmp_path / "own", files={"chat_template.jinja": template})
    result = TELL.measure(case(folder, known=[known(family="acme--acme")]))
    assert (result.status is TellStatus.FIRED) is fires
    assert result.strength == (SAID if fires else 0.0)


def test_the_real_minilm_still_names_the_model_that_it_was_tuned_from() -> None:
    records = open_registries(()).catalog.records()
    ours = side(tiny.minilm(), "all-MiniLM-L6-v2")
    result = TELL.measure(case(ours, known=[KnownModel(r.id, r.aliases, r.facts) for r in records]))
    assert result.status is TellStatus.FIRED
    assert result.base == "nreimers/MiniLM-L6-H384-uncased"
    assert "nreimers/MiniLM-L6-H384-uncased, a known public model" in result.seen
