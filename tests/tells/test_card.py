from __future__ import annotations

import time
from pathlib import PurePosixPath
from types import SimpleNamespace
from typing import Any

import pytest

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.tells.card import Card, read_card, sizes_in_name


def read(text: str) -> Card:
    side: Any = SimpleNamespace(documents={PurePosixPath("README.md"): text.encode()})
    card = read_card(side)
    assert isinstance(card, Card)
    return card


@pytest.mark.parametrize(
    "text, value, most",
    [
        ("A model with 12B parameters.", 12e9, 12e9),
        ("a 12 billion parameter model", 12e9, 12e9),
        ("our 7.6B language model", 7.6e9, 7.6e9),
        ("Parameters: 350M", 350e6, 350e6),
        ("an 8x7B model", 7e9, 56e9),
        ("# Acme-12B-Chat", 12e9, 12e9),
        ("| Parameters | 1.5B |", 1.5e9, 1.5e9),
    ],
)
def test_parameter_counts_are_recognized(text: str, value: float, most: float) -> None:
    said = read(text).parameters[0]
    assert (said.value, said.most) == (pytest.approx(value), pytest.approx(most))


@pytest.mark.parametrize("text", ["Trained on 12B tokens.", "better than Llama-70B", "on 8 GPUs", "12 bottles"])
def test_other_numbers_are_no_parameter_counts(text: str) -> None:
    assert read(text).parameters == ()


@pytest.mark.parametrize(
    "text, tokens",
    [
        ("128k context", 128_000),
        ("a 32,768-token context window", 32_768),
        ("Context length: 131072", 131_072),
        ("context window of up to 1M tokens", 1_000_000),
        ("supports a context length of 8K", 8_000),
        ("sequence length is 512", 512),
    ],
)
def test_context_lengths_are_recognized(text: str, tokens: int) -> None:
    assert [said.value for said in read(text).contexts] == [tokens]


@pytest.mark.parametrize("text", ["in this context", "12 contexts", "Context length matters."])
def test_other_contexts_are_none(text: str) -> None:
    assert read(text).contexts == ()


@pytest.mark.parametrize(
    "text, kind",
    [
        ("It was trained from scratch on our data.", "scratch"),
        ("built entirely from the ground up", "scratch"),
        ("uses a novel hybrid architecture", "own_architecture"),
        ("our own large language model", "own_model"),
        ("with an extended vocabulary", "new_vocabulary"),
        ("the vocabulary was extended", "new_vocabulary"),
        ("Weights in full precision.", "unquantized"),
        ("trained on TPUs with JAX", "frameworks"),
        ("pre-trained in bfloat16", "precisions"),
        ("Released on 2024-06-01", "years"),
    ],
)
def test_plain_phrases_are_recognized(text: str, kind: str) -> None:
    assert len(getattr(read(text), kind)) == 1


@pytest.mark.parametrize(
    "text", ["It was not trained from scratch.", "Rather than trained from scratch, it", "isn't trained from scratch"]
)
def test_what_is_denied_is_not_claimed(text: str) -> None:
    assert read(text).scratch == ()


def test_code_and_front_matter_are_no_prose() -> None:
    card = read("---\ntitle: trained from scratch\n---\n```\ntrained from scratch\n```\n# X\n")
    assert card.scratch == ()


def test_lines_are_counted_from_the_top_of_the_file() -> None:
    assert read("---\nlicense: mit\n---\n\n# X\n\nTrained from scratch.\n").scratch[0].source == "README.md:7"


def test_languages_and_tags_come_from_the_front_matter() -> None:
    card = read("---\nlanguage:\n- en\n- zh\ntags:\n- awq\n- 4-bit\n- text\n---\n")
    assert [said.word for said in card.languages] == ["en", "zh"]
    assert [said.word for said in card.quantizations] == ["awq", "4-bit"]


@pytest.mark.parametrize(
    "name, sizes",
    [
        ("acme-12b-chat", [12e9]),
        ("Mixtral-8x7B-v0.1", [56e9]),
        ("Qwen3-30B-A3B", [30e9]),
        ("opt-350m", [350e6]),
        ("model-00001-of-00002", []),
        ("acme-q4_k_m.gguf", []),
    ],
)
def test_sizes_in_names(name: str, sizes: list[float]) -> None:
    assert [said.most for said in sizes_in_name(name, "its name")] == sizes


def test_a_broken_front_matter_is_not_measured() -> None:
    side: Any = SimpleNamespace(documents={PurePosixPath("README.md"): b"---\nlicense: [\n---\n"})
    found = read_card(side)
    assert isinstance(found, NotMeasured) and found.reason.startswith("README.md:")


@pytest.mark.parametrize(
    "line",
    [
        "trained " * 250,
        "9" * 2000,
        "1," * 1000,
        "proprietary " * 160,
        "quantized " + "a " * 900,
        "context length " * 130,
        "not " * 500,
        "trained from " * 150,
    ],
)
def test_a_hostile_card_takes_bounded_time(line: str) -> None:
    start = time.perf_counter()
    card = read((line + "\n") * 100)
    assert time.perf_counter() - start < 2.0
    assert all(len(getattr(card, kind)) <= 20 for kind in Card.__dataclass_fields__)


def test_what_is_shown_is_printable() -> None:
    said = read("trained from scratch \x1b[31m\u202e our own\u202e model").scratch[0]
    assert said.text.isprintable()
