"""How rules about ancestors read `Subject.ancestry`.

A rule about licenses or origins says more than that a name was found: a violation counts as shown when weights and catalog
lead to it (`is_shown`), and stays undecided when any step is a claim that was not tested or a test that did not decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from provenance_gate.artifact.interface import ClaimSource
from provenance_gate.lineage.interface import Ancestor, Standing
from provenance_gate.policy.interface import Outcome, Status, Subject
from provenance_gate.policy.wording import same_id, shown

_SHOWN = frozenset({Standing.SELF, Standing.SHOWN, Standing.CATALOG})

_WEIGHT: Mapping[Status, int] = {Status.FAIL: 0, Status.UNDECIDED: 1, Status.WAIVED: 2, Status.PASS: 3}


def is_shown(node: Ancestor) -> bool:
    """Whether no step on the way to this node is only a claim or an undecided test."""
    return node.rests_on in _SHOWN


def route(node: Ancestor) -> str:
    """The path from the artifact to this node, in words."""
    return " -> ".join(shown(step) for step in node.path)


def nearest_base(node: Ancestor) -> str:
    """The first model on the path after the artifact: the one whose weights a user can bring."""
    return node.path[1] if len(node.path) > 1 else node.id


def claim_of(node: Ancestor, subject: Subject) -> ClaimSource | None:
    """The line of the artifact that leads to this node, when it declares one."""
    base = nearest_base(node)
    return next((claim.source for claim in subject.artifact.claims.bases if same_id(claim.id, base)), None)


def one_per_key(outcomes: Iterable[Outcome]) -> tuple[Outcome, ...]:
    """The gravest outcome of each key, in the order in which keys appear: several paths may lead to one node."""
    gravest: dict[str, Outcome] = {}
    for outcome in outcomes:
        known = gravest.get(outcome.key)
        if known is None or _WEIGHT[outcome.status] < _WEIGHT[known.status]:
            gravest[outcome.key] = outcome
    return tuple(gravest.values())
