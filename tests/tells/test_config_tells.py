"""Tells 2 to 6, each on the artifact that fires and the nearest one that does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from provenance_gate.tells import equal_shape, public_architecture, rope_story, stack_story, vocabulary_story
from provenance_gate.tells.interface import TellStatus
from tests import models as tiny
from tests.tells.build import BASE, candidate, case, known, write

FIRED, QUIET, NOT_MEASURED = TellStatus.FIRED, TellStatus.QUIET, TellStatus.NOT_MEASURED
SHAPE = {k: v for k, v in tiny.config().items() if k.endswith("_size") or k.startswith("num_")}
ARCHITECTURE = public_architecture.PublicArchitecture()


def test_a_public_class_contradicts_the_claim_of_an_own_architecture(tmp_path: Path) -> None:
    result = ARCHITECTURE.measure(case(write(tmp_path / "own", card="# X\n\nBased on our proprietary architecture.\n")))
    assert (result.status, result.strength) == (FIRED, public_architecture.OWN_ARCHITECTURE)
    assert "README.md:3" in result.seen and "LlamaForCausalLM" in result.seen


def test_a_public_class_without_such_a_claim_is_quiet(tmp_path: Path) -> None:
    result = ARCHITECTURE.measure(
        case(write(tmp_path / "own", card="# X\n\nA Llama.\n"), known=[known(config=tiny.config())])
    )
    assert result.status is QUIET and result.numbers["known_models_with_it"] == 1


def test_trained_from_scratch_in_a_public_class_is_a_weak_sign(tmp_path: Path) -> None:
    result = ARCHITECTURE.measure(case(write(tmp_path / "own", card="# X\n\nTrained from scratch.\n")))
    assert (result.status, result.strength) == (FIRED, public_architecture.OWN_MODEL)


def test_code_of_its_own_answers_the_claim(tmp_path: Path) -> None:
    card = "# X\n\nOur own architecture.\n"
    files = {"modeling_own.py": "x = 1\n"}
    assert ARCHITECTURE.measure(case(write(tmp_path / "own", card=card, files=files))).status is QUIET


def test_a_class_that_nobody_defines_fires(tmp_path: Path) -> None:
    folder = write(tmp_path / "own", config={"architectures": ["OwnForCausalLM"]})
    result = ARCHITECTURE.measure(case(folder))
    assert (result.status, result.strength) == (FIRED, public_architecture.NO_CODE)
    assert result.numbers["tensor_names_are_public"] is True


def test_a_class_of_a_candidate_base_counts_as_public(tmp_path: Path) -> None:
    config = {"architectures": ["OwnForCausalLM"]}
    base = candidate(write(tmp_path / "base", config=config))
    assert ARCHITECTURE.measure(case(write(tmp_path / "own", config=config), base)).status is QUIET


SHAPES = equal_shape.EqualShape()


def test_the_shape_of_one_family_points_to_it(tmp_path: Path) -> None:
    result = SHAPES.measure(case(write(tmp_path / "own"), known=[known(config=SHAPE)]))
    assert (result.status, result.base, result.strength) == (FIRED, BASE, equal_shape.ONE_FAMILY)


def test_a_shape_of_several_families_says_how_many_and_points_to_none(tmp_path: Path) -> None:
    others = [known(f"org{i}/m", family=f"org{i}--m", config=SHAPE) for i in range(3)]
    result = SHAPES.measure(case(write(tmp_path / "own"), known=others))
    assert (result.base, result.strength) == (None, equal_shape.SEVERAL_FAMILIES)
    assert (result.numbers["models_in_all"], result.numbers["families"]) == (3, 3)
    assert "2 other known models (of 3 families in all)" in result.seen


@pytest.mark.parametrize("key", ["hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads"])
def test_one_size_that_differs_is_another_shape(tmp_path: Path, key: str) -> None:
    result = SHAPES.measure(case(write(tmp_path / "own"), known=[known(config={**SHAPE, key: 1})]))
    assert result.status is QUIET and result.numbers["depth_differs"] == []


def test_a_model_that_differs_in_depth_alone_is_mentioned(tmp_path: Path) -> None:
    result = SHAPES.measure(case(write(tmp_path / "own"), known=[known(config={**SHAPE, "num_hidden_layers": 99})]))
    assert result.status is QUIET and result.numbers["depth_differs"] == [BASE] and "depth alone" in result.seen


def test_without_a_config_the_tensors_tell_the_shape(tmp_path: Path) -> None:
    folder = write(tmp_path / "own", without=["config.json"])
    result = SHAPES.measure(case(folder, known=[known(config=SHAPE)]))
    assert (result.status, result.strength) == (FIRED, equal_shape.NO_CONFIG)
    assert result.numbers["from_tensors"] is True
    other = SHAPES.measure(case(folder, known=[known(config={**SHAPE, "intermediate_size": 7})]))
    assert other.status is QUIET


def test_a_config_that_leaves_out_key_value_heads_has_as_many_as_heads(tmp_path: Path) -> None:
    folder = write(tmp_path / "own", config={"num_key_value_heads": None, "num_attention_heads": 2})
    theirs = {**SHAPE, "num_attention_heads": 2, "num_key_value_heads": 2}
    assert SHAPES.measure(case(folder, known=[known(config=theirs)])).status is FIRED
    assert SHAPES.measure(case(folder, known=[known(config={**theirs, "num_key_value_heads": 1})])).status is QUIET


def test_a_leftover_in_the_config_is_no_disclosure(tmp_path: Path) -> None:
    leftover = SHAPES.measure(case(write(tmp_path / "a", config={"_name_or_path": BASE}), known=[known(config=SHAPE)]))
    declared = SHAPES.measure(case(write(tmp_path / "b", card=tiny.card(BASE)), known=[known(config=SHAPE)]))
    assert (leftover.numbers["disclosed"], declared.numbers["disclosed"]) == (False, True)


def test_a_declared_alias_discloses_the_model(tmp_path: Path) -> None:
    model = known(config=SHAPE, aliases=("old/base",))
    result = SHAPES.measure(case(write(tmp_path / "own", card=tiny.card("Old/Base")), known=[model]))
    assert result.numbers["disclosed"] is True


def test_with_nothing_to_compare_it_is_not_measured(tmp_path: Path) -> None:
    assert SHAPES.measure(case(write(tmp_path / "own"))).status is NOT_MEASURED


ROPE = rope_story.RopeStory()


def test_a_context_beyond_the_configs_reach_contradicts_the_card(tmp_path: Path) -> None:
    card = "# X\n\nIt has a 128k context.\n"
    result = ROPE.measure(case(write(tmp_path / "own", card=card, config={"max_position_embeddings": 8192})))
    assert (result.status, result.strength) == (FIRED, rope_story.CONTRADICTION)
    assert "128k context" in result.seen and "8,192" in result.seen


@pytest.mark.parametrize(
    "config",
    [
        {"max_position_embeddings": 131072, "rope_theta": 3e5},
        {"max_position_embeddings": 8192, "rope_scaling": {"rope_type": "yarn", "factor": 16.0}},
        {"max_position_embeddings": 128000, "rope_theta": 3e5},
    ],
)
def test_a_context_within_reach_is_quiet(tmp_path: Path, config: dict[str, object]) -> None:
    assert ROPE.measure(case(write(tmp_path / "own", card="# X\n\n128k context.\n", config=config))).status is QUIET


def test_base_and_limit_of_a_known_model_point_to_it(tmp_path: Path) -> None:
    setting = {"rope_theta": 5e5, "max_position_embeddings": 8192}
    result = ROPE.measure(case(write(tmp_path / "own", config=setting), known=[known(config=setting)]))
    assert (result.status, result.base, result.strength) == (FIRED, BASE, rope_story.SAME_SETTING)
    other = ROPE.measure(
        case(write(tmp_path / "b", config=setting), known=[known(config={**setting, "rope_theta": 4e5})])
    )
    assert other.status is QUIET


def test_a_setting_of_several_families_says_less(tmp_path: Path) -> None:
    setting = {"rope_theta": 5e5, "max_position_embeddings": 8192}
    others = [known(f"org{i}/m", family=f"org{i}--m", config=setting) for i in range(2)]
    result = ROPE.measure(case(write(tmp_path / "own", config=setting), known=others))
    assert (result.base, result.strength) == (None, rope_story.COMMON_SETTING)


def test_the_default_base_is_everybodys(tmp_path: Path) -> None:
    setting = {"rope_theta": 1e4, "max_position_embeddings": 8192}
    assert ROPE.measure(case(write(tmp_path / "own", config=setting), known=[known(config=setting)])).status is QUIET


@pytest.mark.parametrize("original, fires", [(8192, True), (4096, False)])
def test_scaling_that_starts_from_a_known_models_limit_points_to_it(tmp_path: Path, original: int, fires: bool) -> None:
    scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": original}
    config = {"rope_theta": 5e5, "max_position_embeddings": 32768, "rope_scaling": scaling}
    theirs = {"rope_theta": 5e5, "max_position_embeddings": 8192}
    result = ROPE.measure(case(write(tmp_path / "own", config=config), known=[known(config=theirs)]))
    assert (result.status is FIRED) is fires
    assert result.base == (BASE if fires else None)


@pytest.mark.parametrize("limit, fires", [(32768, True), (16384, False)])
def test_a_long_limit_at_the_default_base_is_a_weak_sign(tmp_path: Path, limit: int, fires: bool) -> None:
    config = {"rope_theta": 1e4, "max_position_embeddings": limit}
    result = ROPE.measure(case(write(tmp_path / "own", config=config)))
    assert result.strength == (rope_story.UNREACHED if fires else 0.0)


VOCABULARY = vocabulary_story.VocabularyStory()
IDS = {"vocab_size": 32000, "bos_token_id": 1, "eos_token_id": 2}


def test_rows_and_ids_of_a_known_model_point_to_it(tmp_path: Path) -> None:
    result = VOCABULARY.measure(case(write(tmp_path / "own", config=IDS), known=[known(config=IDS)]))
    assert (result.status, result.base, result.strength) == (FIRED, BASE, vocabulary_story.ONE_FAMILY)


@pytest.mark.parametrize("key", ["vocab_size", "bos_token_id", "eos_token_id"])
def test_a_vocabulary_that_grew_or_has_other_ids_is_quiet(tmp_path: Path, key: str) -> None:
    theirs = {**IDS, key: IDS[key] + 8}
    assert VOCABULARY.measure(case(write(tmp_path / "own", config=IDS), known=[known(config=theirs)])).status is QUIET


def test_the_claim_of_a_new_vocabulary_makes_it_stronger(tmp_path: Path) -> None:
    folder = write(tmp_path / "own", config=IDS, card="# X\n\nWith an extended vocabulary for medicine.\n")
    result = VOCABULARY.measure(case(folder, known=[known(config=IDS)]))
    assert result.strength == vocabulary_story.AGAINST_A_CLAIM and "extended vocabulary" in result.seen


def test_tiny_vocabularies_are_equal_by_nature(tmp_path: Path) -> None:
    small = {**IDS, "vocab_size": 256}
    assert VOCABULARY.measure(case(write(tmp_path / "own", config=small), known=[known(config=small)])).status is QUIET


def test_encoders_are_compared_by_padding_unknown_and_mask(tmp_path: Path) -> None:
    words = {**tiny.tokenizer()}
    files = {"tokenizer.json": words, "tokenizer_config.json": {"pad_token": "0", "unk_token": "1", "mask_token": "2"}}
    folder = write(tmp_path / "own", config={"vocab_size": 30522}, files=files)
    ids = {"pad": 0, "unk": 1, "mask": 2}
    theirs = known(config={"vocab_size": 30522}, tokenizer={"special_ids": ids})
    assert VOCABULARY.measure(case(folder, known=[theirs])).base == BASE
    theirs = known(config={"vocab_size": 30522}, tokenizer={"special_ids": {**ids, "mask": 103}})
    assert VOCABULARY.measure(case(folder, known=[theirs])).status is QUIET


STACK = stack_story.StackStory()


@pytest.mark.parametrize(
    "ours, theirs, strength",
    [
        ("4.43.0.dev0", "4.43.0.dev0", stack_story.DEVELOPMENT),
        ("4.43.1", "4.43.1", stack_story.SAME_VERSION),
        ("4.43.1", "4.43.0", 0.0),
    ],
)
def test_a_version_that_the_base_has_too(tmp_path: Path, ours: str, theirs: str, strength: float) -> None:
    base = candidate(write(tmp_path / "base", config={"transformers_version": theirs}))
    result = STACK.measure(case(write(tmp_path / "own", config={"transformers_version": ours}), base))
    assert result.strength == strength and result.base == (BASE if strength else None)


@pytest.mark.parametrize(
    "version, fires", [("4.28.0", True), ("4.37.2", True), ("4.45.0", True), ("4.48.1", False), ("5.1.0", False)]
)
def test_a_library_two_years_older_than_the_claimed_training(tmp_path: Path, version: str, fires: bool) -> None:
    card = "# X\n\nTrained in March 2026.\n"
    result = STACK.measure(case(write(tmp_path / "own", card=card, config={"transformers_version": version})))
    assert result.strength == (stack_story.TOO_OLD if fires else 0.0)


@pytest.mark.parametrize("dtype, fires", [("float16", True), ("bfloat16", False)])
def test_the_claimed_precision_against_torch_dtype(tmp_path: Path, dtype: str, fires: bool) -> None:
    card = "# X\n\nThe model was trained on our cluster in bf16.\n"
    result = STACK.measure(case(write(tmp_path / "own", card=card, config={"torch_dtype": dtype})))
    assert result.strength == (stack_story.PRECISION if fires else 0.0)


def test_another_framework_beside_a_file_of_transformers_is_weak(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "own", card="# X\n\nTrained with Megatron-LM.\n", config={"transformers_version": "4.43.1"}
    )
    assert STACK.measure(case(folder)).strength == stack_story.FRAMEWORK


@pytest.mark.parametrize(
    "version, year",
    [("4.36.2", 2023), ("4.37.0", 2024), ("4.47.1", 2024), ("4.48.0", 2025), ("5.0.0rc1", 2025), ("x", None)],
)
def test_versions_have_years(version: str, year: int | None) -> None:
    assert stack_story.year_of(version) == year


def test_a_config_that_says_nothing_of_the_stack_is_not_measured(tmp_path: Path) -> None:
    assert STACK.measure(case(write(tmp_path / "own"))).status is NOT_MEASURED
