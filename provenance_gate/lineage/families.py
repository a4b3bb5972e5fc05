"""Matches of one artifact as family trees: who lies between the artifact and whom.

A fine-tune adds a change that knows nothing of earlier changes, so along a line of descent squared distances add up. The
minimum spanning tree over such distances is the tree of descent itself when every branching model is among the nodes
(Buneman 1971, "The recovery of trees from measures of dissimilarity"). Siblings that were trained on the same data learn
partly the same, and one of them can come out between the base and the other. Weights give the tree no arrows: those come
from records, and where there are none the root stays open.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

UNRELATED = 0.05
"""Shares of variance below this make no edge; unrelated models stay below 0.01."""
FURTHER_ON = 0.6
"""A model is a step between its recorded ancestor and the artifact when at most this share of the distance from that ancestor is
left from it. On the benchmark's fit split half is left from a true step, 0.66 and more from siblings trained on the same data."""
CLOSEST = 1e-9
"""Distances below this are rounding; copies of one model."""


@dataclass(frozen=True, slots=True)
class Family:
    """One tree. Ids of models; the artifact itself is not among them.

    Attributes
    ----------
    nearest
        The match next to the artifact.
    line
        From the root to the nearest, as the tree runs; only the nearest when no root is known.
    root
        The member from which records lead to all others that they know, or None when they do not say.
    relatives
        Other members: siblings and their like, nearest to the artifact first.
    unclear
        Those of the relatives that are nearer than `nearest`, and descend from it by the records: siblings that learned the
        same, or steps before a longer one.
    """

    nearest: str
    line: tuple[str, ...]
    root: str | None
    relatives: tuple[str, ...]
    unclear: tuple[str, ...] = ()


def families(
    shares: Mapping[str, float],
    between: Callable[[str, str], float | None],
    parents: Callable[[str], Sequence[str] | None],
) -> tuple[Family, ...]:
    """The matches by tree, the family with the nearest match first.

    Parameters
    ----------
    shares
        By id of a match, the share of the artifact's variance that it explains, in [0, 1].
    between
        The same between two matches; None when it could not be measured.
    parents
        All recorded ancestors of an id; None when there is no record of it.
    """
    ids = sorted(shares, key=lambda i: (-shares[i], i))
    links = {(a, b): _distance(between(a, b)) for n, a in enumerate(ids) for b in ids[n + 1 :]}
    found = []
    for group in _groups(ids, links):
        away = {a: _distance(shares[a]) or math.inf for a in group}
        found.append(_family(group, away, _spanning_tree(group, away, links), parents))
    return tuple(found)


def _distance(share: float | None) -> float | None:
    """-ln of the share: additive along a line of descent. None below the level of unrelated models."""
    if share is None or share < UNRELATED:
        return None
    return max(-math.log(min(share, 1.0)), CLOSEST)


def _groups(ids: Sequence[str], links: Mapping[tuple[str, str], float | None]) -> list[list[str]]:
    """Connected components, members in the order of `ids`."""
    left, groups = list(ids), []
    while left:
        group, waiting = [left[0]], [left.pop(0)]
        while waiting:
            one = waiting.pop()
            near = [b for b in left if links.get((one, b), links.get((b, one))) is not None]
            group += near
            waiting += near
            left = [b for b in left if b not in near]
        groups.append(sorted(group, key=ids.index))
    return groups


def _spanning_tree(
    group: Sequence[str], to_artifact: Mapping[str, float], links: Mapping[tuple[str, str], float | None]
) -> dict[str, str | None]:
    """Each member's neighbor on its way to the artifact (None: the artifact itself), by Prim's algorithm from the artifact."""
    best: dict[str, tuple[float, str | None]] = {a: (to_artifact[a], None) for a in group}
    tree: dict[str, str | None] = {}
    while best:
        one = min(best, key=lambda a: (best[a][0], group.index(a)))
        tree[one] = best.pop(one)[1]
        for other, (distance, _) in best.items():
            link = links.get((one, other), links.get((other, one)))
            if link is not None and link < distance:
                best[other] = (link, one)
    return tree


def _family(
    group: Sequence[str],
    away: Mapping[str, float],
    tree: Mapping[str, str | None],
    parents: Callable[[str], Sequence[str] | None],
) -> Family:
    recorded = {a: parents(a) for a in group}
    # A model with a record that names no ancestor within the family is where the known part of the family starts.
    roots = [a for a in group if recorded[a] is not None and not set(recorded[a] or ()) & set(group)]
    root = roots[0] if len(roots) == 1 else None
    first = next(a for a in group if tree[a] is None)
    line = [first]
    if root is not None:
        upward = [root]
        while (step := tree[upward[-1]]) is not None:
            upward.append(step)
        line = upward
    unclear: list[str] = []
    while len(line) > 1 and line[-2] in (recorded[line[-1]] or ()) and away[line[-1]] > FURTHER_ON * away[line[-2]]:
        unclear.append(line.pop())
    return Family(line[-1], tuple(line), root, tuple(a for a in group if a not in line), tuple(unclear))
