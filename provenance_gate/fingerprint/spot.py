"""A second look at a model, at rows that nobody could foresee."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from provenance_gate.artifact.interface import Artifact, CanonicalTensor, Lies, NotMeasured, Role
from provenance_gate.errors import UndefinedSignalError
from provenance_gate.fingerprint.interface import Fingerprint, SignalResult, Subject
from provenance_gate.fingerprint.observe import Progress, observe
from provenance_gate.fingerprint.plan import SamplingPlan
from provenance_gate.fingerprint.signals.weight_correlation import WeightCorrelation

_EXPERTS = (Role.EXPERT_GATE, Role.EXPERT_UP, Role.EXPERT_DOWN)
_DOWN = (Role.FFN_DOWN, Role.EXPERT_DOWN)
_READERS = (Role.ATTENTION_Q, Role.ATTENTION_K, Role.ATTENTION_V, Role.ATTENTION_O, Role.FFN_GATE, Role.FFN_UP)


def measure_spot(
    artifact: Artifact,
    seed: str,
    *,
    few: bool = False,
    tall: bool = False,
    experts: frozenset[int] | None = None,
    jobs: int = 2,
    progress: Progress | None = None,
) -> Fingerprint:
    """The weight correlation alone, over rows that `seed` chooses.

    Parameters
    ----------
    few
        Of each layer only the output matrices of its feed-forward block, and in half of the layers, with `tall` in all, one more
        matrix; which layers and which matrix is as hard to foresee as the rows. For remote models, where each matrix is a
        request. Both models must have the same layers.
    tall
        As in `SamplingPlan`; alike for both models. `has_windows` of either calls for it.
    experts
        Numbers of the experts that both models have, of which some are read; None: of all.

    Raises
    ------
    ArtifactError
        A tensor cannot be read as declared.
    """
    plan = SamplingPlan(seed, tall=tall)
    shared = _without_other_experts(artifact, experts)
    reduced = replace(shared, canonical=_few(shared, plan)) if few else shared
    observations = observe(reduced, plan, exact=False, jobs=jobs, progress=progress)
    value: SignalResult
    try:
        value = WeightCorrelation().measure(observations)
    except UndefinedSignalError as error:
        value = NotMeasured(str(error))
    subject = Subject(artifact.name, artifact.files, artifact.claims)
    return Fingerprint(subject, {WeightCorrelation.name: value}, artifact.parameters)


def expert_numbers(artifact: Artifact) -> frozenset[int]:
    """Of all layers."""
    return frozenset(n for t in artifact.canonical if (n := t.key.expert) is not None and t.key.role in _EXPERTS)


def _without_other_experts(artifact: Artifact, experts: frozenset[int] | None) -> Artifact:
    if experts is None:
        return artifact
    kept = tuple(t for t in artifact.canonical if t.key.role not in _EXPERTS or t.key.expert in experts)
    return replace(artifact, canonical=kept)


def has_windows(artifact: Artifact) -> bool:
    """Whether some of its matrices do not lie in rows, so that a spot check reads windows of them."""
    return any(t.lies is not Lies.ROWS for t in artifact.canonical)


def _few(artifact: Artifact, plan: SamplingPlan) -> tuple[CanonicalTensor, ...]:
    layers: dict[str, dict[int, list[CanonicalTensor]]] = defaultdict(lambda: defaultdict(list))
    for tensor in artifact.canonical:
        if tensor.key.layer is not None:
            layers[tensor.key.stack][tensor.key.layer].append(tensor)
    chosen = []
    for stack in layers.values():
        chosen += [t for tensors in stack.values() for t in tensors if t.key.role in _DOWN]
        # In turn, so that each kind of matrix is among them whatever the seed.
        turns = plan.shuffled("turn", range(len(_READERS)))
        for n, layer in enumerate(plan.shuffled("layer", stack)):
            if n % 2 and not plan.tall:
                continue
            others = [t for at in turns for t in stack[layer] if t.key.role is _READERS[at]]
            # Every other one may be passed over where windows are dear, so either half has all kinds.
            chosen += others[(n + n % 2 * 5) // 2 % len(others) :][:1] if others else []
    return tuple(chosen) or artifact.canonical
