"""Artifact to fingerprint, and two fingerprints to evidence: the two loops over all signals."""

from __future__ import annotations

from provenance_gate.artifact.interface import Artifact, NotMeasured
from provenance_gate.errors import FingerprintError, UndefinedSignalError
from provenance_gate.fingerprint.interface import Evidence, Fingerprint, Signal, SignalKind, SignalResult, Subject
from provenance_gate.fingerprint.observe import Observations, Progress, observe
from provenance_gate.fingerprint.plan import SamplingPlan
from provenance_gate.fingerprint.signals import SIGNALS


def measure(
    artifact: Artifact,
    plan: SamplingPlan | None = None,
    *,
    exact: bool | None = None,
    jobs: int = 2,
    progress: Progress | None = None,
    max_tier: int = 4,
) -> Fingerprint:
    """All signals of `artifact`. Parameters and errors as `observe`; no weights are read when `max_tier` is below 2."""
    if max_tier < 2:
        absent = NotMeasured(f"weights are not read up to tier {max_tier}")
        observations = Observations(artifact, plan or SamplingPlan(), {}, {}, absent, {})
    else:
        absent = None
        exact = False if max_tier < 4 else exact
        observations = observe(artifact, plan, exact=exact, jobs=jobs, progress=progress)
    signals = {
        signal.name: absent if absent and signal.kind is SignalKind.WEIGHTS else _measure_one(signal, observations)
        for signal in SIGNALS
    }
    subject = Subject(artifact.name, artifact.files, artifact.claims)
    return Fingerprint(subject, signals, artifact.parameters)


def _measure_one(signal: Signal, observations: Observations) -> SignalResult:
    try:
        return signal.measure(observations)
    except UndefinedSignalError as error:
        return NotMeasured(str(error))


def compare_signal(signal: Signal, artifact: Fingerprint, base: Fingerprint) -> Evidence:
    """Evidence of one signal; absent on either side, or measured otherwise, is absent evidence with the reason."""
    ours = artifact.signals.get(signal.name, NotMeasured("the fingerprint does not hold this signal"))
    theirs = base.signals.get(signal.name, NotMeasured("the fingerprint does not hold this signal"))
    if artifact.method != base.method:
        return Evidence(signal.name, NotMeasured(f"measured by {artifact.method} and {base.method}: not comparable"))
    if isinstance(ours, NotMeasured):
        return Evidence(signal.name, NotMeasured(f"artifact: {ours.reason}"))
    if isinstance(theirs, NotMeasured):
        return Evidence(signal.name, NotMeasured(f"base: {theirs.reason}"))
    if ours.parameters != theirs.parameters:
        return Evidence(signal.name, NotMeasured("measured with different parameters: not comparable"))
    try:
        return signal.compare(ours, theirs)
    except UndefinedSignalError as error:
        return Evidence(signal.name, NotMeasured(str(error)))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        # A stored value with a sound digest may still have been written by something else than `measure`.
        raise FingerprintError(f"{signal.name}: a stored value is not of the expected form: {error!r}") from error
