"""Tells: known signs that a model is another one with the serial numbers filed off.

One tell proves nothing: config files and tokenizers are shared by honest models, too. Three or more of the first seven
are a strong hint. Weights decide, and the verdict of an audit rests on the lineage, never on a count of tells.

A tell is a file in this room with a `measure` from a `Case` to a `TellResult`. What it cannot look at is NOT_MEASURED
with the reason, never quiet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, Final, Protocol

from provenance_gate.artifact.interface import Artifact
from provenance_gate.fingerprint.interface import Fingerprint, Json
from provenance_gate.lineage.interface import Lineage

NAMES: Final[Mapping[int, str]] = MappingProxyType(
    {
        1: "leftover-name",
        2: "public-architecture",
        3: "equal-shape",
        4: "rope-story",
        5: "vocabulary-story",
        6: "stack-story",
        7: "quantization-story",
        8: "known-tokenizer",
        9: "merge-order",
        10: "special-tokens",
        11: "embedding-cosine",
        12: "layer-delta",
        13: "norm-vectors",
        14: "generation",
    }
)
"""All fourteen; policies and reports rely on the words."""


class TellStatus(str, Enum):
    """What a tell answers."""

    FIRED = "fired"
    QUIET = "quiet"
    NOT_MEASURED = "not_measured"


class TellGroup(str, Enum):
    """What a tell looks at."""

    CONFIG = "config"
    TOKENIZER = "tokenizer"
    WEIGHTS = "weights"
    BEHAVIOR = "behavior"


@dataclass(frozen=True, slots=True)
class KnownModel:
    """What is known of a public model from a catalog: its id, its other names, and its record as stored."""

    id: str
    aliases: tuple[str, ...]
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two models. `artifact` None: only a fingerprint of it is at hand.

    `documents`: small text files by path (card, config.json, tokenizer files, chat template), as the files hold them;
    bounded, and hostile like everything else of an artifact.
    """

    name: str
    fingerprint: Fingerprint
    artifact: Artifact | None
    documents: Mapping[PurePosixPath, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Case:
    """What an audit looks at.

    Attributes
    ----------
    bases
        Candidate bases with the lineage to each, the likeliest first; empty when nobody named or nominated one.
    known
        Public models by catalog.
    """

    ours: Side
    bases: Sequence[tuple[Side, Lineage]] = ()
    known: Sequence[KnownModel] = ()


@dataclass(frozen=True, slots=True)
class TellResult:
    """The answer of one tell.

    Attributes
    ----------
    id, name
        1 to 14, and a stable word ("leftover-name").
    seen, expected
        What was found, and what a model of its own making would show; a sentence each, safe to print.
    strength
        In [0, 1]: how much it says by itself; 0 unless it fired.
    reproduce
        How to check it by hand, in one line.
    base
        The public model that it points to, if any.
    numbers
        Everything measured, for JSON and pictures.
    """

    id: int
    name: str
    group: TellGroup
    title: str
    status: TellStatus
    seen: str
    expected: str
    strength: float = 0.0
    reproduce: str = ""
    base: str | None = None
    numbers: Mapping[str, Json] = field(default_factory=dict)


class Tell(Protocol):
    """What a file in this room offers."""

    @property
    def id(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def group(self) -> TellGroup: ...
    @property
    def title(self) -> str: ...
    def measure(self, case: Case) -> TellResult: ...


class Standing(str, Enum):
    """How a claim stands against the files."""

    AGREES = "agrees"
    CONTRADICTS = "contradicts"
    CANNOT_BE_SEEN = "cannot be seen"


@dataclass(frozen=True, slots=True)
class ClaimCheck:
    """One thing that the card, the config, a file name or a recipe says, and what the files show."""

    topic: str
    claim: str
    source: str
    shown: str
    standing: Standing


@dataclass(frozen=True, slots=True)
class Withheld:
    """Something that a delivered model usually brings and this one does not. A finding of its own, never a tell.

    Attributes
    ----------
    what
        One of config, tokenizer, card, weights.
    seen
        What is there instead, in a sentence, safe to print.
    consequence
        What cannot be said without it.
    tells
        Ids of the tells that it silences, wholly or in part.
    reproduce
        How to check it by hand, in one line.
    """

    what: str
    seen: str
    consequence: str
    tells: tuple[int, ...]
    reproduce: str
