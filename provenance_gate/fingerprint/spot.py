"""A second look at a model, at rows that nobody could foresee."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from hashlib import blake2b

from provenance_gate.artifact.interface import Artifact, CanonicalTensor, Lies, NotMeasured, Role
from provenance_gate.errors import UndefinedSignalError
from provenance_gate.fingerprint.interface import Fingerprint, SignalResult, Subject
from provenance_gate.fingerprint.observe import Progress, observe
from provenance_gate.fingerprint.plan import SamplingPlan
from provenance_gate.fingerprint.signals.weight_correlation import WeightCorrelation

_DOWN = (Role.FFN_DOWN, Role.EXPERT_DOWN)
_READERS = (Role.ATTENTION_Q, Role.ATTENTION_K, Role.ATTENTION_V, Role.ATTENTION_O, Role.FFN_GATE, Role.FFN_UP)


def measure_spot(
    artifact: Artifact,
    seed: str,
    *,
    few: bool = False,
    tall: bool = False,
    jobs: int = 2,
    progress: Progress | None = None,
) -> Fingerprint:
    """The weight correlation alone, over rows that `seed` chooses.

    Parameters
    ----------
    few
        Of each layer only the output matrices of its feed-forward block, and in about half of the layers one more matrix;
        which layers and which matrix is as hard to foresee as the rows. For remote models, where each matrix is a request.
        Both models must have the same layers.
    tall
        As in `SamplingPlan`; alike for both models. `has_windows` of either calls for it.

    Raises
    ------
    ArtifactError
        A tensor cannot be read as declared.
    """
    reduced = replace(artifact, canonical=_few(artifact, seed)) if few else artifact
    observations = observe(reduced, SamplingPlan(seed, tall=tall), exact=False, jobs=jobs, progress=progress)
    value: SignalResult
    try:
        value = WeightCorrelation().measure(observations)
    except UndefinedSignalError as error:
        value = NotMeasured(str(error))
    subject = Subject(artifact.name, artifact.files, artifact.claims)
    return Fingerprint(subject, {WeightCorrelation.name: value}, artifact.parameters)


def has_windows(artifact: Artifact) -> bool:
    """Whether some of its matrices do not lie in rows, so that a spot check reads windows of them."""
    return any(t.lies is not Lies.ROWS for t in artifact.canonical)


def _few(artifact: Artifact, seed: str) -> tuple[CanonicalTensor, ...]:
    layers: dict[tuple[str, int], list[CanonicalTensor]] = defaultdict(list)
    for tensor in artifact.canonical:
        if tensor.key.layer is not None:
            layers[tensor.key.stack, tensor.key.layer].append(tensor)
    chosen = []
    for (stack, layer), tensors in layers.items():
        chosen += [t for t in tensors if t.key.role in _DOWN]
        number = int.from_bytes(blake2b(f"{seed}:{stack}:{layer}".encode(), digest_size=4).digest(), "big")
        others = [t for role in _READERS for t in tensors if t.key.role is role]
        if others and number % 2 == 0:
            chosen.append(others[number // 2 % len(others)])
    return tuple(chosen) or artifact.canonical
