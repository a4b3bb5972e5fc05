"""Tell 14: local models on the CPU (with the extra), endpoints on this machine, and what is refused."""

from __future__ import annotations

import json
import shutil
import socket
import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.errors import UsageError
from provenance_gate.tells import generation, greedy
from provenance_gate.tells.decoding import Continuation, Decoded, Endpoint, Settings, load_prompts
from provenance_gate.tells.endpoint import KEY_VARIABLE
from provenance_gate.tells.generation import Generation, Run, parts_at
from provenance_gate.tells.interface import Case, TellResult, TellStatus
from provenance_gate.tells.plaintokenizer import PlainTokenizer, plain_tokenizer
from tests import models as tiny
from tests.tells import weights
from tests.tells.serving import echo, other, served

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PROMPTS = load_prompts()
SHORT = Settings(new_tokens=8)
KEY = "sk-secret-of-the-vendor"


@pytest.fixture(scope="module")
def nothing(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A vendor that gives no weights: only the base is at hand."""
    path = weights.folder(tmp_path_factory.mktemp("m") / "ours", tiny.llama(1))
    return weights.case(path, path)


def compared(case: Case, ours: Endpoint, base: Endpoint, settings: Settings = SHORT) -> TellResult:
    return Generation(Run(ours, base, PROMPTS, settings=settings)).measure(case)


def test_both_domains_hold_fifty_prompts_and_a_file_may_take_their_place(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("Eins\n\n  Zwei \n", "utf-8")

    assert [len(set(load_prompts(d))) for d in ("general", "code")] == [50, 50]
    assert load_prompts(str(tmp_path / "p.txt")) == ("Eins", "Zwei")


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xff\xfe", b"x" * 3000, b"a\n" * 1001, b"a" * (2 << 20)])
def test_prompt_files_that_are_empty_too_long_or_no_text_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "p.txt").write_bytes(data)

    with pytest.raises(UsageError, match="prompts"):
        load_prompts(str(tmp_path / "p.txt"))


@pytest.mark.parametrize(
    "numbers", [{"new_tokens": 0}, {"new_tokens": 99999}, {"dtype": "int4"}, {"threads": 0}, {"timeout": 0.0}]
)
def test_settings_out_of_range_are_refused(numbers: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="generation"):
        Settings(**numbers)


@pytest.mark.parametrize(
    ("ours", "base", "at"),
    [((1, 2, 3), (1, 2, 3), None), ((1, 2, 3), (1, 5, 3), 1), ((1, 2), (1, 2, 3), 2), ((), (1,), 0)],
)
def test_continuations_part_at_the_first_difference(
    ours: tuple[int, ...], base: tuple[int, ...], at: int | None
) -> None:
    assert parts_at(Continuation(ours, None), Continuation(base, None), by_ids=True) == at


def test_unless_asked_for_nothing_is_decoded(nothing: Case) -> None:
    found = Generation().measure(nothing)

    assert found.status is TellStatus.NOT_MEASURED and "not asked for" in found.seen


def test_without_the_extra_it_is_not_measured_and_the_extra_is_named(
    nothing: Case, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(greedy.importlib.util, "find_spec", lambda name: None)

    found = Generation(Run(tmp_path, tmp_path, PROMPTS)).measure(nothing)

    assert found.status is TellStatus.NOT_MEASURED and "provenance-gate[generation]" in found.seen


def test_an_endpoint_against_itself_agrees_on_every_prompt(nothing: Case) -> None:
    with served(echo) as server:
        place = Endpoint(server.url, "m")
        found = compared(nothing, place, place)

    assert found.status is TellStatus.FIRED and found.numbers["equal"] == found.numbers["prompts"] == 50
    assert found.numbers["compared"] == "characters"
    path, _, body = server.asked[0]
    assert path == "/v1/completions" and body["temperature"] == 0 and body["max_tokens"] == 8


def test_another_model_behind_an_endpoint_does_not_fire_and_the_places_are_given(nothing: Case) -> None:
    with served(echo) as first, served(other) as second:
        found = compared(nothing, Endpoint(first.url, "a"), Endpoint(second.url, "b"))

    assert found.status is TellStatus.QUIET and found.numbers["equal"] == 0
    positions, examples = found.numbers["parts_at"], found.numbers["examples"]
    assert isinstance(positions, list) and len(positions) == 50 and isinstance(examples, list) and len(examples) == 5


def test_a_chat_endpoint_is_asked_as_a_user(nothing: Case) -> None:
    def chat(body: Mapping[str, Any]) -> tuple[int, bytes]:
        return 200, json.dumps({"choices": [{"message": {"content": body["messages"][0]["content"]}}]}).encode()

    with served(chat) as server:
        place = Endpoint(f"{server.url}/", "m", chat=True)
        found = compared(nothing, place, place)

    assert found.status is TellStatus.FIRED and server.asked[0][0] == "/v1/chat/completions"


def test_the_key_comes_from_the_environment_and_shows_nowhere(nothing: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    with served(echo) as server:
        place = Endpoint(server.url, "m")
        found = compared(nothing, place, place)

    assert server.asked[0][1]["Authorization"] == f"Bearer {KEY}"
    assert KEY not in repr(found)


def test_a_key_that_is_no_header_is_not_quoted(nothing: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, f"{KEY}\nX: 1")
    with served(echo) as server:
        found = compared(nothing, Endpoint(server.url, "m"), Endpoint(server.url, "m"))

    assert found.status is TellStatus.NOT_MEASURED and KEY not in repr(found) and not server.asked


def test_few_prompts_do_not_fire(nothing: Case) -> None:
    with served(echo) as server:
        place = Endpoint(server.url, "m")
        found = Generation(Run(place, place, PROMPTS[:5], settings=SHORT)).measure(nothing)

    assert found.status is TellStatus.QUIET and found.numbers["share_equal"] == 1.0


def test_texts_are_shown_as_one_printable_line(nothing: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = iter(("\x1b[31m\n" + "x" * 999, "harmless"))

    def decoded(*_: object) -> Decoded:
        return Decoded((Continuation(None, next(hostile)),) * len(PROMPTS), "")

    monkeypatch.setattr(generation, "decode_remote", decoded)
    found = compared(nothing, Endpoint("", ""), Endpoint("", ""))

    examples = found.numbers["examples"]
    assert isinstance(examples, list) and isinstance(examples[0], dict)
    assert str(examples[0]["ours"]).isprintable() and len(str(examples[0]["ours"])) < 300


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"normalizer": {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 9}}, "Replace"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": ""}}, "Precompiled"),
        ({"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}] * 9}}, "9 parts"),
        (
            {"normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "a" * 8}] * 3}},
            "times as long",
        ),
        ({"decoder": {"type": "Sequence", "decoders": 5}}, "decoder"),
        ({"model": {"type": "BPE"}}, "tokenizer.json"),
    ],
)
def test_tokenizers_that_could_multiply_text_are_not_used(
    tmp_path: Path, change: Mapping[str, object], word: str
) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps({**tiny.tokenizer(), **change}))

    found = plain_tokenizer(tmp_path / "tokenizer.json")

    assert isinstance(found, NotMeasured) and word in found.reason


def test_a_plain_tokenizer_encodes_and_its_digest_is_that_of_its_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(tiny.tokenizer()))
    (tmp_path / "b.json").write_text(json.dumps({**tiny.tokenizer(), "truncation": {"max_length": 1, "stride": 0}}))
    (tmp_path / "c.json").write_text(json.dumps(tiny.tokenizer(150)))

    first, second, third = (plain_tokenizer(tmp_path / f"{n}.json") for n in "abc")

    assert all(isinstance(t, PlainTokenizer) for t in (first, second, third))
    assert (
        isinstance(first, PlainTokenizer) and isinstance(second, PlainTokenizer) and isinstance(third, PlainTokenizer)
    )
    assert first.encode("the word20 of") == second.encode("the word20 of") and len(first.encode("the of")) == 2
    assert first.vocabulary == second.vocabulary != third.vocabulary


def test_only_one_file_of_the_tells_imports_torch() -> None:
    folder = Path(greedy.__file__).parent
    holders = {
        p.name for p in folder.glob("*.py") if "import torch" in p.read_text() or "import transformers" in p.read_text()
    }

    assert holders == {"greedy.py"}
    assert "torch" not in generation.__dict__ and "torch" not in greedy.__dict__


@pytest.fixture
def extra() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")


@lru_cache
def example(name: str) -> Decoded | NotMeasured:
    artifact = weights.side(EXAMPLES / name).artifact
    assert artifact is not None
    return greedy.decode_local(EXAMPLES / name, artifact, PROMPTS, SHORT)


def decoded_example(name: str, monkeypatch: pytest.MonkeyPatch) -> TellResult:
    """Each model of the examples is decoded once for all tests, but the base against itself anew."""
    first, second = example(name), example("base")
    if name == "base":
        second = example.__wrapped__(name)
    answers = iter((first, second))
    monkeypatch.setattr(greedy, "decode_local", lambda *_: next(answers))
    case = weights.case(EXAMPLES / name, EXAMPLES / "base")
    return Generation(Run(EXAMPLES / name, EXAMPLES / "base", PROMPTS, settings=SHORT)).measure(case)


@pytest.mark.usefixtures("extra")
def test_a_model_against_itself_continues_all_fifty_prompts_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    found = decoded_example("base", monkeypatch)

    assert found.status is TellStatus.FIRED and found.numbers["equal"] == 50
    assert found.numbers["compared"] == "tokens" and found.numbers["parts_at"] == [None] * 50
    record = found.numbers["ours"]
    assert isinstance(record, dict) and {"torch", "transformers", "dtype", "threads", "seed"} <= set(record)


@pytest.mark.usefixtures("extra")
@pytest.mark.parametrize("name", ["fine-tune", "impostor"])
def test_a_fine_tune_and_an_independent_model_part_early(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = decoded_example(name, monkeypatch)

    assert found.status is TellStatus.QUIET and float(str(found.numbers["share_equal"])) <= 0.1


@pytest.mark.usefixtures("extra")
def test_a_vendor_that_serves_the_base_is_recognized_by_its_text() -> None:
    local = example("base")
    assert isinstance(local, Decoded)
    texts = dict(zip(PROMPTS, (c.text for c in local.continuations), strict=True))

    def reply(body: Mapping[str, Any]) -> tuple[int, bytes]:
        return 200, json.dumps({"choices": [{"text": texts[body["prompt"]]}]}).encode()

    case = weights.case(EXAMPLES / "base", EXAMPLES / "base")
    with served(reply) as server:
        place = Endpoint(server.url, "own-12b")
        found = Generation(Run(place, EXAMPLES / "base", PROMPTS, settings=SHORT)).measure(case)

    assert found.status is TellStatus.FIRED and found.numbers["equal"] == 50
    assert found.numbers["compared"] == "characters"


@pytest.mark.usefixtures("extra")
def test_decoding_opens_no_connection_and_runs_no_code_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = tmp_path / "ours"
    shutil.copytree(EXAMPLES / "base", ours)
    config = json.loads((ours / "config.json").read_text())
    config |= {"auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}, "_name_or_path": "a/b"}
    (ours / "config.json").write_text(json.dumps(config))
    (ours / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    (ours / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "a/b", "peft_type": "LORA"}))

    def refuse(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    artifact = weights.side(EXAMPLES / "base").artifact
    assert artifact is not None
    found = greedy.decode_local(ours, artifact, PROMPTS[:2], SHORT)

    whole = example("base")
    assert isinstance(found, Decoded) and isinstance(whole, Decoded)
    assert found.continuations == whole.continuations[:2]
    assert not (tmp_path / "ran").exists() and "evil" not in sys.modules


@pytest.mark.usefixtures("extra")
@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"num_hidden_layers": 100_000}, "more than the weights"),
        ({"hidden_size": 65_536, "intermediate_size": 262_144}, "larger than its weights"),
        ({"vocab_size": 2**30}, "larger than its weights"),
        ({"num_hidden_layers": 9}, "lack"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantized"),
        ({"vision_config": {}}, "section"),
        ({"model_type": "no-such-model"}, "model_type"),
        ({"model_type": ["llama"]}, "model_type"),
        ({"hidden_act": "no-such-act"}, "cannot run"),
        ({"hidden_size": "wide"}, "cannot run"),
    ],
)
def test_configs_that_ask_for_more_or_other_than_the_weights_are_not_run(
    tmp_path: Path, change: Mapping[str, object], word: str
) -> None:
    ours = tmp_path / "ours"
    shutil.copytree(EXAMPLES / "base", ours)
    config = {**json.loads((ours / "config.json").read_text()), **change}
    (ours / "config.json").write_text(json.dumps(config))
    artifact = weights.side(EXAMPLES / "base").artifact
    assert artifact is not None

    found = greedy.decode_local(ours, artifact, PROMPTS[:1], SHORT)

    assert isinstance(found, NotMeasured) and word in found.reason
