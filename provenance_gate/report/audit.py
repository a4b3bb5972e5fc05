"""The record of one audit: what `auditing` hands to the reports. It decides nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from provenance_gate.artifact.interface import Artifact, NotMeasured
from provenance_gate.fingerprint.interface import Subject
from provenance_gate.lineage.interface import Ancestor, Lineage
from provenance_gate.lineage.merges.interface import Merge
from provenance_gate.report.interface import NominatedOnly, ReadingCost
from provenance_gate.tells.cluster import Cluster
from provenance_gate.tells.interface import ClaimCheck, TellResult, Withheld
from provenance_gate.tells.verdict import AuditVerdict

READER = (
    "This report says what the files and weights show. Whether a license was broken, or somebody meant to mislead, is not for "
    "a tool to say: that conclusion is the reader's."
)


@dataclass(frozen=True, slots=True)
class Audit:
    """What `audit` found.

    Attributes
    ----------
    command
        The arguments that give the same report again, the program's name first; empty strings of the user are not in it.
    digest, purl
        Of the files, as `check` has them; NotMeasured and "" where the artifact came as a fingerprint.
    lineages
        To every model that was compared, the likeliest first.
    untested
        By id, why a declared base could not be read.
    nominated
        Models that something else than weights points to and that were not compared.
    tells
        Always all fourteen, by id.
    withheld
        What a publisher usually gives and this one did not.
    cluster
        What the first seven tells say together.
    stored, records
        How many stored fingerprints and catalog records were searched.
    """

    tool_version: str
    command: tuple[str, ...]
    artifact: Artifact | Subject
    digest: str | NotMeasured
    purl: str
    verdict: AuditVerdict
    lineages: Sequence[Lineage]
    untested: Mapping[str, str]
    nominated: Sequence[NominatedOnly]
    merge: Merge | NotMeasured
    ancestry: Sequence[Ancestor]
    tells: Sequence[TellResult]
    withheld: Sequence[Withheld]
    cluster: Cluster
    claims: Sequence[ClaimCheck]
    stored: int
    records: int
    damaged: Sequence[str]
    cost: ReadingCost
