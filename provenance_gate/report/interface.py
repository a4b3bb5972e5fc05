"""The record of a run, and what a report format is: a function from `Report` to text. It decides nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from provenance_gate.artifact.interface import Artifact, NotMeasured
from provenance_gate.fingerprint.interface import Subject
from provenance_gate.lineage.families import Family
from provenance_gate.lineage.interface import ONE_BASE, Ancestor, Lineage
from provenance_gate.lineage.merges.interface import Merge
from provenance_gate.policy.interface import FailOn, Finding, Policy, Verdict

SIGNALS = (
    "mfi",
    "tfv",
    "voa",
    "eas",
    "end",
    "nlf",
    "lep",
    "wvc",
    "content_identity",
    "weight_correlation",
    "neuron_match",
)
"""The signals that every report of a lineage names, measured or not (DESIGN 4)."""


@dataclass(frozen=True, slots=True)
class ReadingCost:
    """What measuring took. `weight_bytes` is the size of all weights, `bytes_read` what was read of them."""

    weight_bytes: int
    bytes_read: int
    requests: int


@dataclass(frozen=True, slots=True)
class ArtifactResult:
    """One artifact's part of the report. `digest` is the manifest SHA-256 (over sorted `sha256  path` lines), `source` what it
    was opened from, as the user wrote it.
    """

    artifact: Artifact
    digest: str
    purl: str
    lineages: Sequence[Lineage]
    ancestry: Sequence[Ancestor]
    findings: Sequence[Finding]
    verdict: Verdict
    cost: ReadingCost
    merge: Merge | NotMeasured = ONE_BASE
    source: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """One run. `timestamp` is passed in (SOURCE_DATE_EPOCH) or None; nothing here reads a clock. `fail_on` is what the verdict
    was reached with.
    """

    tool_version: str
    policy: Policy
    results: Sequence[ArtifactResult]
    verdict: Verdict
    exit_code: int
    timestamp: datetime | None = None
    fail_on: FailOn = FailOn.ERROR


@dataclass(frozen=True, slots=True)
class NominatedOnly:
    """A model that something else than weights points to. It was not measured, and is no match."""

    id: str
    reasons: tuple[str, ...]
    absent: str


@dataclass(frozen=True, slots=True)
class Scan:
    """What `scan` found.

    Attributes
    ----------
    matches
        Models that the artifact descends from by its weights, the nearest first.
    unclear
        Related models below the least score: grafts, a shared start, evidence that does not decide.
    contradicted
        Bases that the artifact declares and that its weights are independent of.
    nominated
        Models that were not measured, the likeliest first.
    reasons
        Why a model was looked at, by id.
    families
        The matches as trees.
    stored, records
        How many stored fingerprints and catalog records were searched.
    damaged
        Entries that could not be read, where that was allowed.
    """

    artifact: Artifact | Subject
    matches: Sequence[Lineage]
    unclear: Sequence[Lineage]
    contradicted: Sequence[Lineage]
    nominated: Sequence[NominatedOnly]
    reasons: Mapping[str, str]
    families: Sequence[Family]
    merge: Merge | NotMeasured
    ancestry: Sequence[Ancestor]
    stored: int
    records: int
    damaged: Sequence[str]
    cost: ReadingCost


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What the user may choose about the form. `color`, `width` and `verbose` serve the human report, the rest the BOM.

    Attributes
    ----------
    bom_version
        "1.6" or "1.7".
    reproducible
        Leave out serial number and timestamp.
    release_name, release_version
        What `metadata.component` of the BOM is called; empty: taken from the artifact when there is only one.
    organization
        Who runs the gate; named as the assessor. Empty: not said.
    attestation_url
        Where the verdict file of the same run will lie; empty: no such file.
    repository_paths
        Where artifacts (their folders, by source) and policy files (by name) lie, relative to the root of the repository.
    now
        When the run was, for the one format that cannot do without a time; a report's own `timestamp` goes before it.
    written
        File names and SHA-256 (hex) of the other reports of the run, for the verification summary.
    """

    color: bool = False
    width: int = 100
    verbose: bool = False
    bom_version: str = "1.6"
    reproducible: bool = False
    release_name: str = ""
    release_version: str = ""
    organization: str = ""
    attestation_url: str = ""
    repository_paths: Mapping[str, str] = field(default_factory=dict)
    now: datetime | None = None
    written: tuple[tuple[str, str], ...] = ()


class ReportFormat(Protocol):
    """What a file in `report/` offers."""

    @property
    def name(self) -> str: ...
    def render(self, report: Report, options: ReportOptions) -> str: ...
