"""Tells 8 to 10, each on the artifact that fires and the nearest one that does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenance_gate.tells import known_tokenizer, merge_order, special_tokens
from provenance_gate.tells.interface import TellStatus
from provenance_gate.tells.merge_order import common_prefix
from provenance_gate.tells.special_tokens import edit_distance
from tests.policy.build import lineage
from tests.tells.build import BASE, bpe, candidate, case, known, side, stored_side, words, write

FIRED, QUIET, NOT_MEASURED = TellStatus.FIRED, TellStatus.QUIET, TellStatus.NOT_MEASURED
KNOWN, ORDER, SPECIAL = known_tokenizer.KnownTokenizer(), merge_order.MergeOrder(), special_tokens.SpecialTokens()
ONE, OTHER = bpe(words(1)), bpe(words(2))
TEMPLATE = "{% for message in messages %}\n<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}\n"


def test_the_very_file_of_a_base_fires(tmp_path: Path) -> None:
    base = candidate(write(tmp_path / "base", files={"tokenizer.json": ONE}))
    result = KNOWN.measure(case(write(tmp_path / "own", files={"tokenizer.json": ONE}), base))
    assert (result.status, result.base, result.strength) == (FIRED, BASE, known_tokenizer.SAME_FILE)


def test_another_tokenizer_is_quiet(tmp_path: Path) -> None:
    base = candidate(write(tmp_path / "base", files={"tokenizer.json": ONE}))
    result = KNOWN.measure(case(write(tmp_path / "own", files={"tokenizer.json": OTHER}), base))
    assert result.status is QUIET and result.base is None


def test_a_reformatted_file_has_the_same_vocabulary(tmp_path: Path) -> None:
    base = candidate(write(tmp_path / "base", files={"tokenizer.json": json.dumps(ONE, indent=2)}))
    result = KNOWN.measure(case(write(tmp_path / "own", files={"tokenizer.json": json.dumps(ONE)}), base))
    assert result.strength == known_tokenizer.SAME_VOCABULARY


def test_a_stored_base_is_compared_by_its_digests(tmp_path: Path) -> None:
    stored = stored_side(write(tmp_path / "base", files={"tokenizer.json": json.dumps(ONE, indent=2)}), BASE)
    ours = side(write(tmp_path / "own", files={"tokenizer.json": ONE}))
    pair = stored, lineage(base=BASE, declared=False)
    assert KNOWN.measure(case(ours, pair)).strength == known_tokenizer.SAME_VOCABULARY
    assert ORDER.measure(case(ours, pair)).numbers["common"] == len(ONE["model"]["merges"])  # type: ignore[index]


def catalog_facts(tokenizer: dict[str, object], **more: object) -> dict[str, object]:
    from hashlib import sha256

    rules = [" ".join(r) for r in tokenizer["model"]["merges"]]  # type: ignore[index]
    first = sha256("\n".join(rules[:50]).encode()).hexdigest()
    return {"vocab_size": 1200, "num_merges": len(rules), "merge_rule_hash": first, **more}


def test_a_catalog_knows_size_and_first_merges(tmp_path: Path) -> None:
    ours = side(write(tmp_path / "own", files={"tokenizer.json": ONE}))
    result = KNOWN.measure(case(ours, known=[known(tokenizer=catalog_facts(ONE))]))
    assert (result.base, result.strength) == (BASE, known_tokenizer.SAME_COUNTS)
    other = KNOWN.measure(case(ours, known=[known(tokenizer=catalog_facts(ONE, vocab_size=1300))]))
    assert other.status is QUIET
    assert ORDER.measure(case(ours, known=[known(tokenizer=catalog_facts(ONE))])).strength == merge_order.FIRST_ONLY
    assert ORDER.measure(case(ours, known=[known(tokenizer=catalog_facts(OTHER))])).status is QUIET


def extended(tokenizer: dict[str, object], keep: int) -> dict[str, object]:
    """The same with its merges from `keep` on in reverse order."""
    changed = json.loads(json.dumps(tokenizer))
    rules = changed["model"]["merges"]
    changed["model"]["merges"] = rules[:keep] + rules[keep:][::-1]
    return changed  # type: ignore[no-any-return]


@pytest.mark.parametrize("keep, fires", [(200, True), (50, True), (49, False), (0, False)])
def test_a_common_prefix_of_fifty_rules_fires_and_says_where_it_ends(tmp_path: Path, keep: int, fires: bool) -> None:
    base = candidate(write(tmp_path / "base", files={"tokenizer.json": ONE}))
    # The file of the artifact need not be a working tokenizer for its merges to be read.
    ours = side(write(tmp_path / "own", files={"tokenizer.json": ONE}))
    documents = {
        p: json.dumps(extended(ONE, keep)).encode() if p.name == "tokenizer.json" else d
        for p, d in ours.documents.items()
    }
    facts = ours.artifact.tokenizer  # type: ignore[union-attr]
    from dataclasses import replace

    other = replace(facts, merges_sha256="0" * 64, first_merges_sha256="0" * 64)  # type: ignore[type-var]
    ours = replace(ours, documents=documents, artifact=replace(ours.artifact, tokenizer=other))  # type: ignore[type-var]
    result = ORDER.measure(case(ours, base))
    assert (result.status is FIRED) is fires
    assert result.numbers["common"] == keep
    if fires:
        assert f"after {keep} rules" in result.seen


def test_independent_merges_part_at_once(tmp_path: Path) -> None:
    base = candidate(write(tmp_path / "base", files={"tokenizer.json": ONE}))
    result = ORDER.measure(case(write(tmp_path / "own", files={"tokenizer.json": OTHER}), base))
    assert result.status is QUIET and int(str(result.numbers["common"])) < 10


def test_leading_runs_of_spaces_do_not_count() -> None:
    rules = ["Ġ " + "Ġ" * n for n in range(1, 80)]
    assert sum(merge_order._has_letter(r) for r in rules) == 0 and merge_order._has_letter("Ġ t")


def test_a_tokenizer_without_merges_is_not_measured(tmp_path: Path) -> None:
    base = candidate(write(tmp_path / "base"))
    assert ORDER.measure(case(write(tmp_path / "own"), base)).status is NOT_MEASURED


@pytest.mark.parametrize("one, other, length", [("abc", "abd", 2), ("", "abc", 0), ("abc", "abcdef", 3), ("x", "y", 0)])
def test_common_prefixes(one: str, other: str, length: int) -> None:
    assert common_prefix(one, other).common == length == common_prefix(other, one).common


def special(tmp_path: Path, mine: str, theirs: str, **tokens: str) -> object:
    shared = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    base = candidate(write(tmp_path / "base", files={"chat_template.jinja": theirs, "special_tokens_map.json": shared}))
    files = {"chat_template.jinja": mine, "special_tokens_map.json": {**shared, **tokens}}
    return SPECIAL.measure(case(write(tmp_path / "own", files=files), base))


def test_an_equal_template_fires(tmp_path: Path) -> None:
    result = special(tmp_path, TEMPLATE, TEMPLATE)
    assert result.strength == special_tokens.SAME_TEMPLATE and result.numbers["template_diff"] == []  # type: ignore[attr-defined]


def test_an_edited_template_is_shown_as_a_diff(tmp_path: Path) -> None:
    result = special(tmp_path, TEMPLATE.replace("im_start", "own_start"), TEMPLATE)
    numbers = result.numbers  # type: ignore[attr-defined]
    assert result.strength == special_tokens.NEAR_TEMPLATE  # type: ignore[attr-defined]
    # "im" to "own": one character put in, two replaced.
    assert (numbers["template_distance"], numbers["template_unit"]) == (3, "characters")
    assert any(line.startswith("-<|im_start|>") for line in numbers["template_diff"])
    assert any(line.startswith("+<|own_start|>") for line in numbers["template_diff"])


def test_a_template_of_its_own_leaves_only_the_tokens(tmp_path: Path) -> None:
    mine = "{%- set out = namespace(text='') -%}{%- for m in conversation -%}[{{ m.speaker | upper }}] {{ m.says }}{%- endfor -%}"
    same = special(tmp_path / "a", mine, TEMPLATE)
    assert same.strength == special_tokens.SAME_TOKENS  # type: ignore[attr-defined]
    other = special(tmp_path / "b", mine, TEMPLATE, pad_token="<unused>")
    assert other.status is QUIET and other.numbers["tokens_that_differ"] == [["pad_token", "<unused>", "<pad>"]]  # type: ignore[attr-defined]


def test_trivial_templates_are_equal_by_nature(tmp_path: Path) -> None:
    result = special(tmp_path, "{{ messages }}", "{{ messages }}", pad_token="<unused>")
    assert result.status is QUIET  # type: ignore[attr-defined]


def test_without_a_base_at_hand_it_is_not_measured(tmp_path: Path) -> None:
    assert SPECIAL.measure(case(write(tmp_path / "own"), known=[known()])).status is NOT_MEASURED


def plain_distance(a: str, b: str) -> int:
    table = [[i + j if 0 in (i, j) else 0 for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + (a[i - 1] != b[j - 1]))
    return table[-1][-1]


@given(st.text(alphabet="ab\n", max_size=20), st.text(alphabet="ab\n", max_size=20))
def test_the_edit_distance_is_that_of_the_textbook(a: str, b: str) -> None:
    assert edit_distance(a, b) == (plain_distance(a, b), max(len(a), len(b)))


def test_long_templates_are_counted_in_lines() -> None:
    one = "".join(f"line {i} of many\n" for i in range(800))
    assert edit_distance(one, one.replace("line 7 of", "line x of")) == (1, 800)
