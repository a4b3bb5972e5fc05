"""Tell 12: how far is each layer from one or several parents, and was the body put together from more than one?

Distances are `changes.py`'s, mixing weights those of the merge analysis (`lineage.merges`); this file says what they amount to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.errors import one_line
from provenance_gate.fingerprint.interface import Json
from provenance_gate.lineage.interface import Lineage
from provenance_gate.lineage.merges import Merge, Parent
from provenance_gate.lineage.merges.analyze import analyze_merge
from provenance_gate.lineage.merges.interface import REPORTED
from provenance_gate.tells.changes import Changes, measure_changes
from provenance_gate.tells.interface import Case, Side, TellGroup, TellResult
from provenance_gate.tells.public import names_disclosed
from provenance_gate.tells.wording import answer, not_measured

MOST_PARENTS = 6
NEAR = 0.32
"""Correlation from which a layer counts as the parent's, trained further or not: `docs/tells.md` has the ROC."""
SHARE = 1 / 3
"""Share of the layers that must be near one of the parents for the tell to fire, as a lineage asks for (docs/lineage.md)."""
LEAN = 0.8
"""A layer leans to a parent when it is at most this share as far from it as from the next."""
EXPLAINED = 0.25
"""Share of the distance from the nearest parent that a mix may leave unexplained and still be called a merge, see there."""
SAME = 2.0**-8
"""Relative change that rounding to bfloat16 alone gives, at most."""
NO_MERGE = frozenset({"single", "unknown"})
REPRODUCE = "for every matrix of both models: numpy.linalg.norm(a - b) / numpy.linalg.norm(b), by layer"
EXPECTED = "layers of a model of its own are as far from the base's as random ones: relative change 1.4, correlation 0"


@dataclass(frozen=True, slots=True)
class MergeCall:
    """Whether the body is called a merge, from what, and why or why not."""

    called: bool
    reason: str
    merge: Merge | None = None

    def numbers(self) -> dict[str, Json]:
        """For JSON and pictures: weights overall, and by layer and component."""
        if self.merge is None:
            return {"called": False, "reason": self.reason}
        mixtures: list[Json] = [
            {
                "component": m.component,
                "stack": m.stack,
                "layer": m.layer,
                "sources": [[name, layer] for name, layer in m.sources],
                "weights": dict(zip(self.merge.parents, m.weights, strict=True)),
                "t": m.t,
                "residual": m.residual,
            }
            for m in self.merge.mixtures
        ]
        return {
            "called": self.called,
            "reason": self.reason,
            "recipe": self.merge.recipe,
            "parents": list(self.merge.parents),
            "base": self.merge.base,
            "weights": dict(self.merge.weights),
            "unexplained": self.merge.parameters.get("change_left"),
            "mixtures": mixtures,
        }


def call_merge(merge: Merge | NotMeasured, changes: Sequence[Changes] = ()) -> MergeCall:
    """A merge: a recipe that mixes two or more parents in the layers and leaves little of the distance from the nearest one.

    `changes`: from each parent; a body that is one parent's to rounding is no merge, whatever was done to the tables.
    """
    if isinstance(merge, NotMeasured):
        return MergeCall(False, merge.reason)
    left = merge.parameters.get("change_left", 1.0)
    if merge.recipe in NO_MERGE:
        return MergeCall(False, merge.reason, merge)
    body = [m for m in merge.mixtures if m.layer is not None]
    # What is mixed outside of the layers only (a vocabulary in another order, say) makes no merge.
    parts = np.array([m.weights for m in body]).reshape(len(body), len(merge.parents)).sum(axis=0) / max(1, len(body))
    used = {name for name, part in zip(merge.parents, parts, strict=True) if part >= REPORTED}
    if merge.recipe == "passthrough":
        used = {name for m in body for name, _ in m.sources[:1]}
        if len(used) < 2:
            return MergeCall(False, f"layers of one parent, in another number or order: {merge.reason}", merge)
    if len(used) + (merge.base is not None and bool(used)) < 2:
        return MergeCall(False, f"one parent alone: {merge.reason}", merge)
    if left > EXPLAINED:
        reason = (
            f"{merge.recipe} is the nearest recipe, and leaves {left:.0%} of the distance unexplained: {merge.reason}"
        )
        return MergeCall(False, reason, merge)
    if any(float(c.layer_change.max()) <= SAME for c in changes):
        return MergeCall(False, f"all layers are one parent's: {merge.reason}", merge)
    return MergeCall(True, merge.reason, merge)


def parents_of(case: Case) -> list[tuple[Side, Lineage]]:
    """The candidates that are looked at: the likeliest ones, each name once."""
    found: dict[str, tuple[Side, Lineage]] = {}
    for side, lineage in case.bases:
        if len(found) < MOST_PARENTS:
            found.setdefault(side.name, (side, lineage))
    return list(found.values())


class LayerDelta:
    """Fires where the body is some parent's, copied, trained further or mixed: see `docs/tells.md`, section 12."""

    id = 12
    name = "layer-delta"
    group = TellGroup.WEIGHTS
    title = "Distance by layer, and merges"

    def measure(self, case: Case) -> TellResult:
        """Against the likeliest bases together."""
        parents = parents_of(case)
        if not parents:
            return not_measured(self, "no base is at hand or nominated to compare with", EXPECTED, REPRODUCE)
        ours = case.ours.fingerprint
        found = [(side, measure_changes(ours, side.fingerprint, lineage)) for side, lineage in parents]
        measured = [(side, c) for side, c in found if isinstance(c, Changes)]
        if not measured:
            reasons = [f"{one_line(s.name)}: {c.reason}" for s, c in found if isinstance(c, NotMeasured)]
            return not_measured(self, "; ".join(reasons), EXPECTED, REPRODUCE)
        # The nearest parent first.
        measured.sort(key=lambda m: (-float(m[1].related(NEAR).mean()), float(m[1].layer_change.mean())))
        nearest, changes = measured[0]
        near = changes.related(NEAR)
        fired = float(near.mean()) >= SHARE
        call = (
            MergeCall(False, "one candidate parent: a merge needs two")
            if len(parents) < 2
            else _call(case, parents, [c for _, c in measured])
        )
        numbers: dict[str, Json] = {
            "parents": [{"name": s.name, **c.numbers()} for s, c in measured],
            "leans": _leans(measured),
            "merge": call.numbers(),
            "layers_near": int(near.sum()),
            "layers": len(near),
        }
        shown = fired or call.called
        numbers["disclosed"] = shown and names_disclosed(case, [nearest.name])
        return answer(
            self,
            seen=_seen(nearest, changes, call),
            expected=EXPECTED,
            reproduce=REPRODUCE,
            strength=_strength(changes) if shown else 0.0,
            base=nearest.name if shown else None,
            numbers=numbers,
        )


def _call(case: Case, parents: Sequence[tuple[Side, Lineage]], changes: Sequence[Changes]) -> MergeCall:
    merge = analyze_merge(case.ours.fingerprint, [Parent(s.name, s.fingerprint) for s, _ in parents])
    return call_merge(merge, changes)


def _strength(changes: Changes) -> float:
    """Mean correlation of the layers: how much of the body is the parent's; a tenth at least."""
    return float(np.clip(np.mean(changes.layer_correlation), 0.1, 1.0))


def _seen(nearest: Side, changes: Changes, call: MergeCall) -> str:
    near = int(changes.related(NEAR).sum())
    middle = float(np.median(changes.layer_change))
    how = "after alignment" if changes.aligned else "as stored"
    text = (
        f"{near} of {len(changes.places)} layers are near those of {one_line(nearest.name)} ({how}; median relative change "
        f"{middle:.3f}, correlation {float(np.median(changes.layer_correlation)):.3f})"
    )
    if call.called and call.merge is not None:
        shares = ", ".join(f"{one_line(p)} {call.merge.weights.get(p, 0.0):.2f}" for p in call.merge.parents)
        text += f"; a merge ({call.merge.recipe}) of {shares}"
    return text


def _leans(measured: Sequence[tuple[Side, Changes]]) -> list[Json]:
    """Per layer of the artifact the parent that it is nearest to, null where two are about as near or none is near."""
    by_place: dict[tuple[str, int], list[tuple[float, str]]] = {}
    for side, changes in measured:
        for i, place in enumerate(changes.places):
            if changes.layer_correlation[i] >= NEAR:
                by_place.setdefault(place, []).append((float(changes.layer_change[i]), side.name))
    places = sorted({p for _, c in measured for p in c.places})
    found: list[Json] = []
    for stack, layer in places:
        order = sorted(by_place.get((stack, layer), []))
        clear = bool(order) and (len(order) == 1 or order[0][0] <= LEAN * order[1][0])
        found.append({"stack": stack, "layer": layer, "toward": order[0][1] if clear else None})
    return found
