"""Tell 6: `transformers_version` and `torch_dtype` against the claimed stack and dates."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.errors import one_line
from provenance_gate.fingerprint.interface import Json
from provenance_gate.tells.card import Card, read_card
from provenance_gate.tells.documents import CONFIG
from provenance_gate.tells.interface import Case, TellGroup, TellResult
from provenance_gate.tells.public import PublicModel, config_facts, disclosed, public_models
from provenance_gate.tells.wording import answer, not_measured

DEVELOPMENT: Final = 0.4
"""A development version ("4.43.0.dev0") that a base at hand has, too: few ever ran one; loading and saving would have
replaced it."""
TOO_OLD: Final = 0.3
"""A config written with a library two years older than the claimed date was most likely carried over. Pinned environments
exist."""
PRECISION: Final = 0.2
"""Trained in one precision by the card, saved in another by the config; conversions do that as well."""
SAME_VERSION: Final = 0.15
"""Equal to a base's version: what an unchanged config shows, and chance for whoever worked in the same months."""
FRAMEWORK: Final = 0.1
"""A claim of another framework beside a file that transformers wrote: converted models show the same."""

_YEARS: Final = (
    ((5, 0), 2026),
    ((4, 48), 2025),
    ((4, 37), 2024),
    ((4, 26), 2023),
    ((4, 16), 2022),
    ((4, 2), 2021),
    ((3, 0), 2020),
)
"""The first minor version that was released in each year. From 5 on the year is only a lower bound."""
_EARLIEST: Final = 2020
_VERSION: Final = re.compile(r"(\d{1,3})\.(\d{1,4})(\S{0,40})", re.ASCII)
_UNRELEASED: Final = re.compile(r"dev|rc|\+")
_LAG: Final = 2
_SPELLED: Final = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32", "fp8": "float8_e4m3fn"}
_FULL: Final = frozenset({"bfloat16", "float16", "float32"})

Contradiction = tuple[float, str, str | None]
"""Strength, sentence, base."""


class StackStory:
    """Fires when the version of transformers in config.json is a base's own (more so when it is a development version),
    when it is two years older than the date that the card claims, when the claimed training precision is not
    `torch_dtype`, or when the card claims a framework that writes no such file.
    """

    id: Final = 6
    name: Final = "stack-story"
    group: Final = TellGroup.CONFIG
    title: Final = "Versions do not fit the claimed stack and dates"

    def measure(self, case: Case) -> TellResult:
        """The strongest of the contradictions; all of them in the numbers."""
        expected = "a library version and dtype that the claimed training would have written, and not a base's"
        reproduce = f"jq '.transformers_version, .torch_dtype, .dtype' {CONFIG}, beside the same of the base"
        facts = config_facts(case.ours)
        if isinstance(facts, NotMeasured):
            return not_measured(self, facts.reason, expected, reproduce)
        version, dtype = facts.get("transformers_version"), facts.get("torch_dtype")
        if not isinstance(version, str) and not isinstance(dtype, str):
            return not_measured(
                self, f"{CONFIG} states neither transformers_version nor torch_dtype", expected, reproduce
            )
        version = version if isinstance(version, str) else None
        dtype = dtype if isinstance(dtype, str) else None
        card = read_card(case.ours)
        models = public_models(case)
        found = sorted(
            (
                *_of_bases(version, models),
                *(() if isinstance(card, NotMeasured) else _against_card(version, dtype, card)),
            ),
            key=lambda c: -c[0],
        )
        written = None if version is None else year_of(version)
        numbers: dict[str, Json] = {
            "transformers_version": None if version is None else one_line(version, 60),
            "torch_dtype": None if dtype is None else one_line(dtype, 60),
            "released_in": written,
            "found": [sentence for _, sentence, _ in found],
        }
        shown = ", ".join(
            f"{k} {one_line(v, 40)}" for k, v in (("transformers_version", version), ("torch_dtype", dtype)) if v
        )
        if not found:
            claims = "the card claims nothing against it" if isinstance(card, Card) else "no card claims anything"
            seen = f"{CONFIG} has {shown}; {claims}"
            return answer(self, seen=seen, expected=expected, reproduce=reproduce, numbers=numbers)
        strength, sentence, base = found[0]
        pointed = [m for m in models if m.id == base]
        return answer(
            self,
            seen=sentence,
            expected=expected,
            reproduce=reproduce,
            strength=strength,
            base=base,
            numbers={**numbers, "disclosed": disclosed(case, pointed)},
        )


def year_of(version: str) -> int | None:
    """The year in which a version of transformers was released; None where it is none, or older than 3.0."""
    match = _VERSION.match(version)
    if match is None:
        return None
    number = int(match.group(1)), int(match.group(2))
    year = next((year for first, year in _YEARS if number >= first), None)
    # Candidates of 5.0 came out at the end of 2025.
    return 2025 if number == (5, 0) and _UNRELEASED.search(match.group(3)) else year


def _of_bases(version: str | None, models: tuple[PublicModel, ...]) -> Iterator[Contradiction]:
    if version is None:
        return
    for model in models:
        if model.side is None or model.config.get("transformers_version") != version:
            continue
        unreleased = _UNRELEASED.search(version) is not None
        kind = "the development version" if unreleased else "the version"
        sentence = f"transformers_version {one_line(version, 40)} is {kind} in the config of {one_line(model.id, 120)}"
        yield (DEVELOPMENT if unreleased else SAME_VERSION), sentence, model.id
        return


def _against_card(version: str | None, dtype: str | None, card: Card) -> Iterator[Contradiction]:
    written = None if version is None else year_of(version)
    if card.years and written is not None and written >= _EARLIEST:
        claimed = max(card.years, key=lambda y: y.value)
        if claimed.value - written >= _LAG and not version_is_open(version):
            used = f"transformers {one_line(version or '', 40)} of {written}"
            sentence = f'{claimed.source} says "{claimed.text}", but {CONFIG} was written with {used}'
            yield TOO_OLD, sentence, None
    for said in card.precisions[:1]:
        meant = _SPELLED.get(said.word, said.word)
        if dtype in _FULL and meant in _FULL and meant != dtype:
            yield PRECISION, f'{said.source} says "{said.text}", but {CONFIG} has torch_dtype {dtype}', None
    for said in card.frameworks[:1]:
        if version is not None:
            yield FRAMEWORK, f'{said.source} says "{said.text}", but {CONFIG} was written by transformers', None


def version_is_open(version: str | None) -> bool:
    """Whether the year of a version is only a lower bound: series that are still released."""
    match = _VERSION.match(version or "")
    return match is None or int(match.group(1)) >= 5
