"""What is kept of a model so that it can be recognized without it.

A `Fingerprint` maps signal names to `SignalValue` or `NotMeasured`. A signal is one file in `signals/`, with `measure`
(`Observations` to value) beside `compare` (two values to `Evidence`). Two values whose method or parameters differ are not
comparable, and the evidence says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from numpy.typing import NDArray

from provenance_gate.artifact.interface import Claims, FileRecord, NotMeasured

if TYPE_CHECKING:
    from provenance_gate.fingerprint.observe import Observations

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

METHOD = "provenance-gate-fingerprint/1"
"""Name and version of the way of measuring. It changes whenever a stored value would."""


class SignalKind(str, Enum):
    """What a signal looks at. Only WEIGHTS can ever support derivation."""

    METADATA = "metadata"
    TOKENIZER = "tokenizer"
    WEIGHTS = "weights"


@dataclass(frozen=True, slots=True)
class SignalValue:
    """One measured signal.

    `method` says how ("exact", "sampled", "facts"); `parameters` every number that can change the value; `facts` the JSON
    part; `arrays` the numeric part by name.
    """

    method: str
    parameters: Mapping[str, Json] = field(default_factory=dict)
    facts: Mapping[str, Json] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)


SignalResult: TypeAlias = SignalValue | NotMeasured


@dataclass(frozen=True, slots=True)
class Evidence:
    """The comparison of one signal.

    Attributes
    ----------
    value
        In the signal's own unit and range (its docstring), or why it is absent.
    method
        "exact", "sampled" or "facts".
    null_level
        What unrelated models show, in words a reader can use.
    standard_error
        Of a sampled value; None where the value is exact.
    detail
        Further numbers, sorted by key in every report.
    """

    signal: str
    value: float | NotMeasured
    method: str = ""
    null_level: str = ""
    standard_error: float | None = None
    detail: Mapping[str, Json] = field(default_factory=dict)


class Signal(Protocol):
    """What a file in `signals/` offers."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> SignalKind: ...
    def measure(self, observations: Observations) -> SignalResult: ...
    def compare(self, artifact: SignalValue, base: SignalValue) -> Evidence: ...


@dataclass(frozen=True, slots=True)
class Subject:
    """Which model was measured. Everything in here may differ between two copies of one model; nothing else may."""

    name: str
    files: tuple[FileRecord, ...]
    claims: Claims


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """All signals of one artifact."""

    subject: Subject
    signals: Mapping[str, SignalResult]
    parameters: int
    method: str = METHOD
