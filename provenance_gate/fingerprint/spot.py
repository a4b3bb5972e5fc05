"""A second look at a model: few matrices, read where nobody could foresee."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from hashlib import blake2b

from provenance_gate.artifact.interface import Artifact, CanonicalTensor, NotMeasured, Role, TensorKey
from provenance_gate.errors import UndefinedSignalError
from provenance_gate.fingerprint.interface import Fingerprint, SignalResult, Subject
from provenance_gate.fingerprint.observe import Progress, observe
from provenance_gate.fingerprint.plan import SamplingPlan
from provenance_gate.fingerprint.signals.weight_correlation import WeightCorrelation

BOTH_UP_TO = 16
"""Layers up to which every output matrix is read; of deeper models the attention's or the feed-forward's in each layer, as the
seed chooses, so that a remote model costs one request a layer."""
_WRITERS = (Role.FFN_DOWN, Role.ATTENTION_O, Role.EXPERT_DOWN)


def measure_spot(artifact: Artifact, seed: str, *, jobs: int = 2, progress: Progress | None = None) -> Fingerprint:
    """The weight correlation alone, over rows that `seed` chooses, of output-writing matrices (of all where none is named).

    Raises ArtifactError when a tensor cannot be read as declared.
    """
    reduced = replace(artifact, canonical=_chosen(artifact, seed))
    observations = observe(reduced, SamplingPlan(seed), exact=False, jobs=jobs, progress=progress)
    value: SignalResult
    try:
        value = WeightCorrelation().measure(observations)
    except UndefinedSignalError as error:
        value = NotMeasured(str(error))
    subject = Subject(artifact.name, artifact.files, artifact.claims)
    return Fingerprint(subject, {WeightCorrelation.name: value}, artifact.parameters)


def _chosen(artifact: Artifact, seed: str) -> tuple[CanonicalTensor, ...]:
    layers: dict[tuple[str, int], list[CanonicalTensor]] = defaultdict(list)
    for tensor in artifact.canonical:
        if tensor.key.role in _WRITERS and tensor.key.layer is not None:
            layers[tensor.key.stack, tensor.key.layer].append(tensor)
    if not layers:
        return artifact.canonical
    if len(layers) <= BOTH_UP_TO:
        return tuple(t for found in layers.values() for t in found)
    return tuple(t for found in layers.values() for t in found if _is_chosen(t.key, found, seed))


def _is_chosen(key: TensorKey, beside: list[CanonicalTensor], seed: str) -> bool:
    attention = blake2b(f"{seed}:{key.stack}:{key.layer}".encode(), digest_size=1).digest()[0] % 2 == 0
    both = len({t.key.role is Role.ATTENTION_O for t in beside}) == 2
    return not both or (key.role is Role.ATTENTION_O) is attention
