"""How far two models were read: what the sampling plan passed over, and what may be concluded in spite of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from provenance_gate.artifact.interface import COMPONENT_OF_ROLE, Component, Role, TensorKey
from provenance_gate.fingerprint.interface import SignalValue
from provenance_gate.fingerprint.signals.weight_correlation import rows_of, unread_of
from provenance_gate.lineage.layers import Place

_OUTPUT = (Role.FFN_DOWN, Role.EXPERT_DOWN)


@dataclass(frozen=True, slots=True)
class Reach:
    """What was read of the artifact and its base. All is read unless matrices are stored turned (`SamplingPlan.passed_over`).

    Attributes
    ----------
    passed
        Matrices of the base that were passed over: they are no counterparts that lack.
    depths
        Layers with matrices, read or not, of both.
    writing
        Layers with output matrices, read or not, of both.
    read
        Layers of which output matrices were read, of both.
    chosen
        Whether a seed chose what was read.
    attention
        Whether attention matrices were passed over.
    """

    passed: frozenset[TensorKey]
    depths: tuple[int, int]
    writing: tuple[int, int]
    read: tuple[int, int]
    chosen: bool
    attention: bool

    @property
    def thinned(self) -> bool:
        """Whether the output matrices of some layers were passed over."""
        return self.read != self.writing

    @property
    def blind(self) -> bool:
        """Whether the layers that correspond may be just those that were passed over."""
        return self.thinned and self.depths[0] != self.depths[1]

    def share(self, dependent: int, total: int) -> float:
        """Share of the layers that depend on the base, of `total` tested ones.

        Of layers that a seed chose a third of the whole model must be among those that were looked at: a third of half of them is
        found by trying seeds.
        """
        if self.thinned and self.chosen:
            return dependent / max(1, self.writing[0])
        if self.thinned and self.read[0] == self.writing[0]:
            total = round(total * self.read[1] / self.writing[1])
        return min(1.0, dependent / max(1, total))


def reach_of(ours: SignalValue, theirs: SignalValue, keys: tuple[Iterable[TensorKey], Iterable[TensorKey]]) -> Reach:
    """Of two fingerprints' rows; `keys` are those of the rows once they are matched. Raises FingerprintError."""
    over = unread_of(ours), unread_of(theirs)
    depths = _layers(keys[0]), _layers(keys[1])
    if not any(over):
        return Reach(frozenset(), depths, depths, depths, chosen=False, attention=False)
    held = rows_of(ours).keys(), rows_of(theirs).keys()
    written = [[k for k in h if k.role in _OUTPUT] for h in held]
    lost = [[k for k in o if k.role in _OUTPUT] for o in over]
    return Reach(
        over[1],
        (_layers(held[0] | over[0]), _layers(held[1] | over[1])),
        (_layers([*written[0], *lost[0]]), _layers([*written[1], *lost[1]])),
        (_layers(written[0]), _layers(written[1])),
        chosen=bool(ours.parameters.get("seed")),
        attention=any(COMPONENT_OF_ROLE.get(k.role) is Component.ATTENTION for k in over[0] | over[1]),
    )


def _layers(keys: Iterable[TensorKey]) -> int:
    places: set[Place] = {(k.stack, k.layer) for k in keys if k.layer is not None}
    return len(places)
