"""What the tells say together, what was withheld, and the list of all."""

from __future__ import annotations

from pathlib import Path

import pytest

from provenance_gate.tells.cluster import STRONG, cluster
from provenance_gate.tells.every import TELLS
from provenance_gate.tells.interface import NAMES, TellGroup, TellResult, TellStatus
from provenance_gate.tells.withheld import withheld
from provenance_gate.tells.wording import answer
from tests import models as tiny
from tests.tells.build import case, known, stored_side, write

LONG = "# X\n\n" + "A model that does something useful for somebody. " * 8 + "\n"


def result(
    number: int, status: TellStatus = TellStatus.FIRED, base: str | None = "acme/a", hidden: bool = True
) -> TellResult:
    fired = status is TellStatus.FIRED
    return TellResult(
        number, NAMES[number], TellGroup.CONFIG, "", status, "", "", 0.5 * fired, "", base, {"disclosed": not hidden}
    )


@pytest.mark.parametrize("fired, strong", [(STRONG, True), (STRONG - 1, False), (0, False)])
def test_three_of_the_first_seven_are_a_strong_hint(fired: int, strong: bool) -> None:
    quiet = [result(n, TellStatus.QUIET) for n in range(fired + 1, 8)]
    found = cluster([*(result(n) for n in range(1, fired + 1)), *quiet])
    assert found.strong is strong and len(found.hidden) == fired
    assert ("strong hint" in found.text) is strong


def test_later_tells_do_not_add_to_the_first_seven() -> None:
    found = cluster([result(1), result(2), *(result(n) for n in range(8, 12))])
    assert not found.strong and found.bases == (("acme/a", 6),)


def test_tells_that_point_to_a_declared_base_hide_nothing() -> None:
    found = cluster([result(n, hidden=False) for n in range(1, 6)])
    assert not found.strong and found.hidden == () and found.fired == (1, 2, 3, 4, 5)
    assert "declares itself" in found.text


def test_what_was_not_measured_is_said() -> None:
    found = cluster([result(n, TellStatus.NOT_MEASURED) for n in range(1, 8)])
    assert found.not_measured == tuple(range(1, 8)) and "None of the first seven tells could be measured" in found.text
    assert "2 could not be measured" in cluster([result(1), *(result(n, TellStatus.NOT_MEASURED) for n in (2, 3))]).text


def test_every_tell_has_the_word_that_policies_rely_on() -> None:
    assert {t.id: t.name for t in TELLS} == NAMES
    assert [t.id for t in TELLS] == sorted(NAMES)


def test_a_complete_model_withholds_nothing(tmp_path: Path) -> None:
    assert withheld(case(write(tmp_path / "own", card=LONG))) == ()


@pytest.mark.parametrize(
    "files, what",
    [
        (("config.json",), "config"),
        (("tokenizer.json", "tokenizer_config.json"), "tokenizer"),
        (("README.md",), "card"),
        (("model.safetensors",), "weights"),
    ],
)
def test_each_missing_part_is_a_finding(tmp_path: Path, files: tuple[str, ...], what: str) -> None:
    found = withheld(case(write(tmp_path / "own", card=LONG, without=files)))
    assert [f.what for f in found] == [what]


def test_a_card_that_says_nothing_is_none(tmp_path: Path) -> None:
    assert [f.what for f in withheld(case(write(tmp_path / "own", card="# X\n")))] == ["card"]
    assert withheld(case(write(tmp_path / "b", card=tiny.card("acme/base")))) == ()


def test_an_endpoint_in_place_of_weights_is_named(tmp_path: Path) -> None:
    card = LONG + "Use it at https://api.vendor.example/v1/chat/completions today.\n"
    (found,) = withheld(case(write(tmp_path / "own", card=card, without=["model.safetensors"])))
    assert found.what == "weights" and "https://api.vendor.example/v1/chat/completions" in found.seen
    assert 14 not in found.tells


def test_a_tokenizer_in_another_form_is_not_called_missing(tmp_path: Path) -> None:
    folder = write(tmp_path / "own", card=LONG, without=["tokenizer.json"], files={"tokenizer.model": "x"})
    (found,) = withheld(case(folder))
    assert "tokenizer.model" in found.seen and "not read here" in found.seen


def test_every_tell_answers_to_a_bare_fingerprint(tmp_path: Path) -> None:
    ours = stored_side(write(tmp_path / "own"), "own")
    for tell in TELLS[:10]:
        found = tell.measure(case(ours, known=[known()]))
        assert found.id == tell.id and found.seen and found.expected and found.reproduce
        assert found.status is not TellStatus.FIRED


def test_every_sentence_is_printable_and_short() -> None:
    found = answer(TELLS[0], seen="a\x1b[2J\u202e" + "b" * 900, expected="\n", reproduce="\r", base="x\u200b/y")
    assert all(text.isprintable() for text in (found.seen, found.expected, found.reproduce, found.base or ""))
    assert len(found.seen) < 600


HOSTILE: dict[str, object] = {
    "chat_template.jinja": "{{ ''.__class__.__mro__ }}\x1b[2J\u202e" * 50,
    "special_tokens_map.json": '{"bos_token": {"content": 7}, "eos_token": ["x"], "a_token": "\\u001b[31m"}',
    "quantize_config.json": '{"model_name_or_path": "evil\\u202e/na\\u001bme"}',
    "generation_config.json": '{"_name_or_path": "a/b\\n<script>alert(1)</script>"}',
}


def test_hostile_documents_are_neither_rendered_nor_printed(tmp_path: Path) -> None:
    folder = write(tmp_path / "own", card="# <b>12B parameters</b> trained from scratch\x1b[0m\n", files=HOSTILE)
    for tell in TELLS[:10]:
        found = tell.measure(case(folder, known=[known()]))
        for text in (found.seen, found.expected, found.reproduce, found.base or "", *_strings(found.numbers)):
            assert text.isprintable(), (tell.id, text)


@pytest.mark.parametrize("content", ["[", "[1]", '{"a": NaN}', '{"a": 1, "a": 2}', "\udcff", ""])
def test_a_malformed_document_is_never_quiet_evidence(tmp_path: Path, content: str) -> None:
    folder = write(tmp_path / "own")
    (folder / "special_tokens_map.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    for tell in TELLS[:10]:
        assert tell.measure(case(folder, known=[known()])).seen


def _strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [s for k, v in value.items() for s in (*_strings(k), *_strings(v))]
    return [s for v in value for s in _strings(v)] if isinstance(value, list | tuple) else []
