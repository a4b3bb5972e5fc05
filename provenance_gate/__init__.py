"""Check from the weights where a machine-learning model comes from.

The functions return the same values as the command line prints::

    import provenance_gate as pg

    lineage = pg.compare("./model", "./base")
    report = pg.check("./model", policy="builtin:release", bases=["org/name=./base"])
    prints = pg.fingerprint("./model")

Importing the package is cheap: the numeric libraries come with the first call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from provenance_gate._version import __version__
from provenance_gate.errors import ArtifactError, PolicyError, ProvenanceGateError, UsageError

if TYPE_CHECKING:
    from provenance_gate.artifact.interface import NotMeasured
    from provenance_gate.fingerprint.interface import Fingerprint
    from provenance_gate.lineage.interface import Lineage
    from provenance_gate.lineage.merges import Merge
    from provenance_gate.report.audit import Audit
    from provenance_gate.report.interface import Report, Scan

__all__ = [
    "ArtifactError",
    "PolicyError",
    "ProvenanceGateError",
    "UsageError",
    "__version__",
    "audit",
    "check",
    "compare",
    "fingerprint",
    "merge",
    "scan",
]


def check(
    artifacts: str | Sequence[str],
    *,
    policy: str = "builtin:baseline",
    bases: Sequence[str] = (),
    registries: Sequence[str] = (),
    exact: bool | None = None,
) -> Report:
    """Run the gate.

    Parameters
    ----------
    artifacts
        One or more model folders or files.
    policy
        A policy file, or ``builtin:NAME``.
    bases
        ``[ID=]SOURCE`` as for ``--base``: weights or fingerprint files.
    registries
        Folders or URLs of further registries.
    exact
        Read every byte; None: only of weights up to 512 MiB.

    Raises
    ------
    ProvenanceGateError
        Its `exit_code` says what the command line would return.
    """
    from provenance_gate.gate import Gate
    from provenance_gate.policy.load import load_policy
    from provenance_gate.reading import BaseOption, Reading
    from provenance_gate.registry.layers import open_registries

    sources = [artifacts] if isinstance(artifacts, str) else list(artifacts)
    gate = Gate(
        load_policy(policy), [BaseOption.parse(b) for b in bases], open_registries(registries), Reading(exact=exact)
    )
    return gate.run(sources)


def compare(artifact: str, base: str, *, exact: bool | None = None) -> Lineage:
    """One lineage of `artifact` to `base` (``[ID=]SOURCE``), with all signals. Raises ProvenanceGateError."""
    from provenance_gate import reading

    return reading.compare(artifact, base, reading.Reading(exact=exact)).lineage


def scan(
    artifact: str,
    *,
    registries: Sequence[str] = (),
    top: int = 10,
    min_score: float = 0.70,
    offline: bool | None = None,
    exact: bool | None = None,
) -> Scan:
    """Ranked lineages of `artifact` against the shipped catalog and `registries`. Raises ProvenanceGateError."""
    from provenance_gate.artifact.sources.interface import Options
    from provenance_gate.reading import Reading
    from provenance_gate.registry.layers import open_registries
    from provenance_gate.scanning import scan as search

    reading = Reading(exact=exact, remote=Options(offline=offline))
    known = open_registries(registries, options=reading.remote)
    return search(artifact, known, reading, top=top, min_score=min_score)


def audit(
    artifact: str,
    *,
    bases: Sequence[str] = (),
    registries: Sequence[str] = (),
    offline: bool | None = None,
    exact: bool | None = None,
) -> Audit:
    """The fourteen tells, claims against evidence, and what the weights show of `artifact`. Raises ProvenanceGateError.

    `bases` (``[ID=]SOURCE``) are suspects; with none, known models of the shipped catalog and of `registries` are searched.
    """
    from provenance_gate.artifact.sources.interface import Options
    from provenance_gate.auditing import audit as look
    from provenance_gate.reading import Reading
    from provenance_gate.registry.layers import open_registries

    reading = Reading(exact=exact, remote=Options(offline=offline))
    return look(artifact, bases, open_registries(registries, options=reading.remote), reading)


def merge(artifact: str, bases: Sequence[str], *, exact: bool | None = None) -> Merge | NotMeasured:
    """How `artifact` was mixed from two or more `bases` (``[ID=]SOURCE``). Raises ProvenanceGateError."""
    from provenance_gate import reading

    if len(bases) < 2:
        raise UsageError("merge: give at least two bases")
    return reading.compare(artifact, bases[0], reading.Reading(exact=exact), bases[1:]).merge


def fingerprint(artifact: str, *, exact: bool | None = None) -> Fingerprint:
    """All signals of a model, as they would stand in a fingerprint file. Raises ProvenanceGateError."""
    from provenance_gate import reading

    return reading.fingerprint(artifact, reading.Reading(exact=exact))
