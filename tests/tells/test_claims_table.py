from __future__ import annotations

from pathlib import Path

import pytest

from provenance_gate.lineage.interface import Lineage, Relation
from provenance_gate.tells.claims_table import TOPICS, check_claims
from provenance_gate.tells.interface import ClaimCheck, KnownModel, Side, Standing
from provenance_gate.tells.scripts import SCRIPT_OF, Scripts, token_scripts
from tests import models as tiny
from tests.policy.build import lineage
from tests.tells.build import BASE, bpe, case, known, side, words, write

AGREES, CONTRADICTS, OPEN = Standing.AGREES, Standing.CONTRADICTS, Standing.CANNOT_BE_SEEN


def rows(ours: Path, topic: str, *bases: tuple[Side, Lineage], models: tuple[KnownModel, ...] = ()) -> list[ClaimCheck]:
    found = check_claims(case(ours, *bases, known=models))
    assert {row.topic for row in found} <= set(TOPICS)
    return [row for row in found if row.topic == topic]


def base(tmp_path: Path, relation: Relation, score: float, *, declared: bool = False) -> tuple[Side, Lineage]:
    folder = write(tmp_path / "base")
    return side(folder, BASE), lineage(score, relation, base=BASE, declared=declared)


@pytest.mark.parametrize(
    "relation, score, standing",
    [(Relation.DERIVED, 0.99, CONTRADICTS), (Relation.INDEPENDENT, 0.02, OPEN), (Relation.UNDECIDED, 0.5, OPEN)],
)
def test_trained_from_scratch_is_contradicted_by_a_base_and_never_confirmed(
    tmp_path: Path, relation: Relation, score: float, standing: Standing
) -> None:
    ours = write(tmp_path / "own", card="# X\n\nTrained from scratch.\n")
    (row,) = rows(ours, "trained from scratch", base(tmp_path, relation, score))
    assert row.standing is standing and row.source == "README.md:3"


@pytest.mark.parametrize(
    "relation, score, standing",
    [(Relation.DERIVED, 0.99, AGREES), (Relation.INDEPENDENT, 0.02, CONTRADICTS), (Relation.UNDECIDED, 0.5, OPEN)],
)
def test_a_declared_base_stands_as_the_weights_show(
    tmp_path: Path, relation: Relation, score: float, standing: Standing
) -> None:
    ours = write(tmp_path / "own", card=tiny.card(BASE))
    (row,) = rows(ours, "base", base(tmp_path, relation, score, declared=True))
    assert row.standing is standing and row.claim.startswith(BASE)


def test_a_declared_base_that_is_not_at_hand_cannot_be_seen(tmp_path: Path) -> None:
    (row,) = rows(write(tmp_path / "own", card=tiny.card(BASE)), "base")
    assert row.standing is OPEN


def test_an_undeclared_base_contradicts_the_silence(tmp_path: Path) -> None:
    (row,) = rows(write(tmp_path / "own"), "base", base(tmp_path, Relation.DERIVED, 0.99))
    assert row.standing is CONTRADICTS and row.claim == "no base declared"


def test_models_of_a_merge_recipe_are_claims(tmp_path: Path) -> None:
    recipe = f"merge_method: linear\nmodels:\n- model: {BASE}\n- model: acme/other\n"
    found = rows(write(tmp_path / "own", files={"mergekit_config.yml": recipe}), "base")
    assert [(r.claim, r.source.partition(":")[0]) for r in found] == [
        (f"{BASE} (merge)", "mergekit_config.yml"),
        ("acme/other (merge)", "mergekit_config.yml"),
    ]


@pytest.mark.parametrize("limit, standing", [(131072, AGREES), (8192, CONTRADICTS)])
def test_claimed_context_against_the_config(tmp_path: Path, limit: int, standing: Standing) -> None:
    ours = write(tmp_path / "own", card="# X\n\n128k context\n", config={"max_position_embeddings": limit})
    (row,) = rows(ours, "context length")
    assert row.standing is standing


@pytest.mark.parametrize("sentence, standing", [("quantized to 4-bit", CONTRADICTS), ("unquantized", AGREES)])
def test_claimed_quantization_against_plain_tensors(tmp_path: Path, sentence: str, standing: Standing) -> None:
    (row,) = rows(write(tmp_path / "own", card=f"# X\n\nThe model is {sentence}.\n"), "quantization")
    assert row.standing is standing


@pytest.mark.parametrize(
    "claim, standing",
    # The tiny Llama has 217,664 elements, 20,480 of them in embeddings and head.
    [("0.2M", AGREES), ("0.31M", AGREES), ("0.32M", CONTRADICTS), ("12B", CONTRADICTS), ("0.1M", CONTRADICTS)],
)
def test_claimed_parameters_against_the_tensors(tmp_path: Path, claim: str, standing: Standing) -> None:
    (row,) = rows(write(tmp_path / "own", card=f"# X\n\nIt has {claim} parameters.\n"), "parameter count")
    assert row.standing is standing and "20,480 of them" in row.shown


def test_the_models_name_is_a_claim_of_its_size(tmp_path: Path) -> None:
    (row,) = rows(write(tmp_path / "acme-12b"), "parameter count")
    assert (row.claim, row.source, row.standing) == ("12b", "its name", CONTRADICTS)


@pytest.mark.parametrize(
    "terms, standing",
    [
        ({"id": "apache-2.0", "category": "permissive"}, AGREES),
        ({"id": "mit", "category": "permissive"}, AGREES),
        ({"id": "llama3", "category": "open-with-use-restrictions"}, CONTRADICTS),
        (None, OPEN),
    ],
)
def test_the_stated_license_against_the_bases(
    tmp_path: Path, terms: dict[str, object] | None, standing: Standing
) -> None:
    shown = base(tmp_path, Relation.DERIVED, 0.99)
    (row,) = rows(write(tmp_path / "own"), "license", shown, models=(known(license_=terms),))
    assert row.standing is standing


def test_a_license_without_a_shown_base_cannot_be_judged(tmp_path: Path) -> None:
    terms = {"id": "llama3", "category": "open-with-use-restrictions"}
    (row,) = rows(
        write(tmp_path / "own"), "license", base(tmp_path, Relation.INDEPENDENT, 0.01), models=(known(license_=terms),)
    )
    assert row.standing is OPEN


def word_level(letters: str, count: int) -> dict[str, object]:
    found = tiny.tokenizer()
    vocabulary = {f"{c}{d}": i for i, (c, d) in enumerate((c, d) for c in letters for d in letters)}
    found["model"] = {"type": "WordLevel", "vocab": dict(list(vocabulary.items())[:count]), "unk_token": letters[0] * 2}
    return found


@pytest.mark.parametrize("count, standing", [(80, AGREES), (10, CONTRADICTS)])
def test_a_claimed_language_needs_tokens_in_its_script(tmp_path: Path, count: int, standing: Standing) -> None:
    files = {"tokenizer.json": word_level("бвгджзклмн", count)}
    (row,) = rows(write(tmp_path / "own", card="---\nlanguage: [ru]\n---\n# X\n", files=files), "languages")
    assert row.standing is standing and f"{count} tokens" in row.shown


def test_byte_level_tokens_are_read_as_the_text_they_stand_for(tmp_path: Path) -> None:
    russian = words(3).translate(str.maketrans("abcdefghijklmnoprstuvz", "абцдефгхийклмнопрстувз"))
    found = token_scripts(side(write(tmp_path / "own", files={"tokenizer.json": bpe(russian)})))
    assert isinstance(found, Scripts) and found.spells_bytes
    assert found.tokens["CYRILLIC"] > 100 > found.tokens.get("LATIN", 0)


def test_what_bytes_can_spell_is_not_contradicted(tmp_path: Path) -> None:
    ours = write(tmp_path / "own", card="---\nlanguage: [th, en]\n---\n", files={"tokenizer.json": bpe(words(1))})
    found = {row.claim: row for row in rows(ours, "languages")}
    assert found["th"].standing is OPEN and "byte by byte" in found["th"].shown
    assert found["en"].standing is OPEN and "Latin letters" in found["en"].shown


def test_an_extended_vocabulary_that_is_the_bases_contradicts(tmp_path: Path) -> None:
    card = "# X\n\nWe use an extended vocabulary.\n"
    ours = write(tmp_path / "own", card=card)
    (row,) = rows(ours, "vocabulary", base(tmp_path, Relation.DERIVED, 0.99))
    assert row.standing is CONTRADICTS
    other = write(tmp_path / "b", card=card, files={"tokenizer.json": tiny.tokenizer(170)})
    (row,) = rows(other, "vocabulary", base(tmp_path, Relation.DERIVED, 0.99))
    assert row.standing is AGREES


def test_nobody_claims_nothing(tmp_path: Path) -> None:
    assert check_claims(case(write(tmp_path / "own", without=["README.md"]))) == ()


def test_languages_have_scripts_as_unicode_names_them() -> None:
    assert SCRIPT_OF["zh"] == "CJK" and SCRIPT_OF["hi"] == "DEVANAGARI" and set(SCRIPT_OF.values()) >= {"LATIN", "THAI"}
