"""What a policy is once read, and what a rule answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import Enum
from pathlib import PurePosixPath
from typing import Any, Protocol

from provenance_gate.artifact.interface import Artifact, ClaimSource, NotMeasured
from provenance_gate.lineage.interface import Ancestor, Lineage
from provenance_gate.signing.interface import Verification
from provenance_gate.tells.interface import TellResult


class Severity(str, Enum):
    """How much a finding weighs."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Status(str, Enum):
    """A finding's answer."""

    PASS = "pass"
    FAIL = "fail"
    UNDECIDED = "undecided"
    WAIVED = "waived"


class Undecided(str, Enum):
    """What an undecided rule of level error means."""

    FAIL = "fail"
    WARN = "warn"
    PASS = "pass"


class FailOn(str, Enum):
    """The least severity that fails a run (`--fail-on`)."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"
    NEVER = "never"


class Verdict(str, Enum):
    """The answer of a whole run."""

    PASS = "pass"
    FAIL = "fail"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class RuleConfig:
    """One entry under `rules:`. `kind` is the value of `rule:`; `options` its remaining keys, checked by the schema.

    `file`, `line` are where it stands (the file it was taken from when it came by `extends`).
    """

    id: str
    kind: str
    severity: Severity
    undecided: Undecided
    options: Mapping[str, Any]
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class Waiver:
    """A dated exception.

    `rule` is a rule id of the policy or a rule number (PG101); `artifact` a glob over the names of the artifact
    (`Subject.names`); `expires` the last valid day, UTC.
    """

    rule: str
    artifact: str
    reason: str
    approved_by: str
    expires: date
    ticket: str | None
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class RegistryDemands:
    """What a policy asks of registries: may a damaged entry be left out, and must they be signed."""

    skip_damaged: bool = False
    signed: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules in the order of the file, inherited ones first; never empty.

    `sha256` covers the bytes of the file and of all it extends (`policy.load` has the construction). `file` is the source
    as the user wrote it, ``builtin:NAME`` for a policy of the package.
    """

    name: str
    file: str
    sha256: str
    rules: tuple[RuleConfig, ...]
    waivers: tuple[Waiver, ...]
    undecided: Undecided = Undecided.FAIL
    registries: RegistryDemands = RegistryDemands()


@dataclass(frozen=True, slots=True)
class FormatAgreement:
    """The artifact in a further format, against the one that was measured: their lineage, or why there is none."""

    format: str
    lineage: Lineage | NotMeasured


@dataclass(frozen=True, slots=True)
class Subject:
    """All that a rule may look at.

    `names` are further names that a waiver may match (hub id, purl without version). They come from the command line,
    never from the artifact's files: a model must not be able to name itself into a waiver. `formats`: further formats of the
    model in the same folder. `untested`: by id, why a declared base could not be read. `searched`: how many stored
    fingerprints were searched for bases that nobody named; those that came out related are among `lineages`. `documents`:
    texts of the card and of license and notice files, bounded; one that was not read is not in it. `tells`: those that a
    rule of the policy counts.
    `verifications`: by rule id, what was found out about signatures before the rules ran; `rule_id`: the rule that looks.
    """

    artifact: Artifact
    lineages: Sequence[Lineage]
    ancestry: Sequence[Ancestor]
    names: Sequence[str] = ()
    formats: Sequence[FormatAgreement] = ()
    untested: Mapping[str, str] = field(default_factory=dict)
    searched: int = 0
    documents: Mapping[PurePosixPath, str] = field(default_factory=dict)
    tells: Sequence[TellResult] = ()
    verifications: Mapping[str, Sequence[Verification]] = field(default_factory=dict)
    rule_id: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One answer of a rule: PASS, FAIL or UNDECIDED.

    Attributes
    ----------
    key
        Names the matter (a base id, a license id, a file), so that two runs give one finding the same fingerprint. No numbers.
    message
        One sentence: what was found against what was asked.
    remedy
        One sentence: what to do about it. Empty for PASS.
    evidence
        Short (name, value) pairs that the message rests on.
    location
        The line in the artifact that made the claim, when there is one.
    """

    status: Status
    key: str
    message: str
    remedy: str = ""
    evidence: tuple[tuple[str, str], ...] = ()
    location: ClaimSource | None = None


class Rule(Protocol):
    """What a file in `rules/` offers. `number` (PG101) is never reused; `schema` is the JSON Schema of the options."""

    @property
    def kind(self) -> str: ...
    @property
    def number(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def schema(self) -> Mapping[str, Any]: ...
    def explain(self, options: Mapping[str, Any]) -> str:
        """What the rule with these options checks, in one plain sentence."""
        ...

    def evaluate(self, options: Mapping[str, Any], subject: Subject) -> Sequence[Outcome]:
        """At least one outcome; several when the rule speaks about several bases, licenses or files."""
        ...


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule's answer about one artifact, with severity and waiver applied.

    `fingerprint` is SHA-256 hex over rule number, artifact name and outcome key: no score, message, line or time.
    Status and severity are left out too: who keeps accepted findings by fingerprint compares their status as well.
    `undecided` is the rule's own setting; `policy.evaluate.counts` reads it.
    """

    rule_id: str
    number: str
    kind: str
    title: str
    severity: Severity
    status: Status
    message: str
    remedy: str
    evidence: tuple[tuple[str, str], ...]
    key: str
    fingerprint: str
    location: ClaimSource | None
    policy_file: str
    policy_line: int
    waiver: Waiver | None = None
    undecided: Undecided = Undecided.FAIL
