"""Artifact to fingerprint, and two fingerprints to evidence: the two loops over all signals."""

from __future__ import annotations

from provenance_gate.artifact.interface import Artifact, NotMeasured
from provenance_gate.errors import FingerprintError, UndefinedSignalError, one_line
from provenance_gate.fingerprint.interface import (
    METHOD,
    Evidence,
    Fingerprint,
    Signal,
    SignalKind,
    SignalResult,
    SignalValue,
    Subject,
)
from provenance_gate.fingerprint.observe import Observations, Progress, observe
from provenance_gate.fingerprint.plan import SamplingPlan
from provenance_gate.fingerprint.signals import SIGNALS

IMPORTED_METHOD = "model-provenance-kit/"
"""What the method of an imported fingerprint begins with; its version follows."""
_AGREED_METHOD = f"{IMPORTED_METHOD}1."
"""The versions whose exact values agree with ours to 1e-3 (docs/registry.md)."""


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
    """Evidence of one signal; absent on either side, or measured otherwise, is absent evidence with the reason.

    Fingerprints of different methods are not comparable, but for one imported from the reference system: there each signal
    is comparable by itself, when both sides hold it by the same parameters and neither value was sampled.
    """
    ours = artifact.signals.get(signal.name, NotMeasured("the fingerprint does not hold this signal"))
    theirs = base.signals.get(signal.name, NotMeasured("the fingerprint does not hold this signal"))
    imported = any(f.method.startswith(_AGREED_METHOD) for f in (artifact, base))
    agreed = all(f.method == METHOD or f.method.startswith(_AGREED_METHOD) for f in (artifact, base))
    if artifact.method != base.method and not (imported and agreed):
        return Evidence(signal.name, NotMeasured(f"measured by {artifact.method} and {base.method}: not comparable"))
    if isinstance(ours, NotMeasured):
        return Evidence(signal.name, NotMeasured(f"artifact: {ours.reason}"))
    if isinstance(theirs, NotMeasured):
        return Evidence(signal.name, NotMeasured(f"base: {theirs.reason}"))
    if ours.parameters != theirs.parameters:
        keys = {
            k
            for p in (ours.parameters, theirs.parameters)
            for k in p
            if ours.parameters.get(k) != theirs.parameters.get(k)
        }
        differing = one_line(", ".join(sorted(keys)), 80)
        return Evidence(signal.name, NotMeasured(f"measured differently, by another {differing}: not comparable"))
    if imported and "sampled" in (ours.method, theirs.method):
        return Evidence(signal.name, NotMeasured(_measured_differently(ours, theirs)))
    try:
        return signal.compare(ours, theirs)
    except UndefinedSignalError as error:
        return Evidence(signal.name, NotMeasured(str(error)))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        # A stored value with a sound digest may still have been written by something else than `measure`.
        raise FingerprintError(f"{signal.name}: a stored value is not of the expected form: {error!r}") from error


def _measured_differently(artifact: SignalValue, base: SignalValue) -> str:
    sides = ((artifact, "artifact"), (base, "base"))
    said = ", ".join(f"{side}: {'some rows' if value.method == 'sampled' else 'every value'}" for value, side in sides)
    return f"measured differently ({said}): not comparable; --exact reads every value"
