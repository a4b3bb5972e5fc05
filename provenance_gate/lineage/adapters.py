"""An adapter against a base: whether its low-rank pairs fit the base's modules, and what that says. No tensor is read here.

Fit is necessary, never sufficient: every model of one architecture and size fits alike. That the pairs move with the base's
neurons (`alignment.adapter_ties`) does have a null that holds for independent bases, and is reported with its p-value. But it
can be forged at no cost, and an adapter holds nothing that is executed without a base: so the score stays NotMeasured and the
relation UNDECIDED, whatever plain comparison made of its factors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from provenance_gate.alignment.adapter_ties import AdapterTies
from provenance_gate.artifact.adapter import Adapter, AdapterConfig, AdapterModule, is_adapter_part, split_path
from provenance_gate.artifact.interface import Artifact, CanonicalTensor, NotMeasured, Role, StoredTensor, TensorKey
from provenance_gate.artifact.roles import name_tensors
from provenance_gate.errors import one_line
from provenance_gate.fingerprint.interface import Evidence, Fingerprint, SignalValue
from provenance_gate.lineage.interface import Lineage, Relation

TEST: Final = "names and shapes of the adapter's modules in the base"
TIES_TEST: Final = "permutation of neurons and head dimensions within blocks, between the adapter's pairs and the base"
SIGNIFICANT: Final = 1e-6
"""The false-positive rate at which a dependence counts as shown (DESIGN 3.4)."""
ABSENT: Final = NotMeasured("an adapter holds no base weights")

_SHOWN: Final = 3
_MAX_CANDIDATES: Final = 64
_STACKS: Final = frozenset({"encoder", "decoder", "vision_model", "vision_tower", "visual"})
_HEADS: Final = frozenset({"lm_head", "embed_out", "output"})
_OF_WEIGHTS: Final = ("eas", "end", "lep", "nlf", "wvc", "weight_correlation", "neuron_match")
"""Signals that compare an adapter's factors as if they were a model's matrices."""

Shape = tuple[int, int]


@dataclass(frozen=True, slots=True)
class AdapterFit:
    """How an adapter fits one base.

    Attributes
    ----------
    modules, fitting
        Pairs of the adapter, and those of the shape of the base's module of that path.
    misfits
        The first few that do not fit, each with the reason.
    wrong_ranks, uncovered
        Pairs of another rank than the config says; modules of the base that the config names and the adapter has no pair
        for, as when the base has more layers.
    saved, unread
        Whole tensors beside the pairs; pairs that are not checked.
    by_role
        The base has other names (GGUF), so that modules were matched by what they do.
    """

    modules: int
    fitting: int
    misfits: tuple[str, ...] = ()
    wrong_ranks: int = 0
    uncovered: int = 0
    saved: int = 0
    unread: int = 0
    by_role: bool = False

    @property
    def fits(self) -> bool:
        """Whether a loader could put every pair on this base."""
        return self.fitting == self.modules and not self.wrong_ranks and not self.uncovered


def with_adapter(lineage: Lineage, fit: AdapterFit | NotMeasured, ties: AdapterTies | NotMeasured = ABSENT) -> Lineage:
    """`lineage` of an adapter against a full model: undecided, with what the shapes say, and its ties to the base's neurons where
    they were measured. Never call it for a base that is an adapter, too: two adapters are compared as plain models are.
    """
    tied = isinstance(ties, AdapterTies) and isinstance(fit, AdapterFit) and fit.fits
    signals = {
        name: Evidence(name, ABSENT) if name in _OF_WEIGHTS else evidence for name, evidence in lineage.signals.items()
    }
    return replace(
        lineage,
        score=ABSENT,
        relation=Relation.UNDECIDED,
        kinds=("adapter",) if isinstance(fit, AdapterFit) and fit.fits else (),
        p_value=ties.p_value if tied and isinstance(ties, AdapterTies) else ABSENT,
        test=TIES_TEST if tied else TEST,
        inheritance=ABSENT,
        components={},
        layers=(),
        signals=signals,
        identity_score=ABSENT,
        reason=_reason(fit, one_line(lineage.base.id, 120), ties),
        tier=2 if tied else 0,
    )


def is_adapter(fingerprint: Fingerprint) -> bool:
    """Whether a fingerprint is one of an adapter: its sampled matrices are parts of one, or tables outside of the layers."""
    value = fingerprint.signals.get("weight_correlation")
    table = value.facts.get("tensors") if isinstance(value, SignalValue) else None
    entries = [e for e in table if isinstance(e, dict)] if isinstance(table, list) else []
    parts = [e for e in entries if e.get("role") == Role.OTHER.value and is_adapter_part(str(e.get("part")))]
    tables = [e for e in entries if e.get("role") in (Role.EMBEDDING.value, Role.HEAD.value)]
    return bool(parts) and len(parts) + len(tables) == len(entries)


def fit_adapter(adapter: Adapter, base: Artifact) -> AdapterFit | NotMeasured:
    """How the pairs fit the matrices of `base`; NotMeasured when its tensors cannot be told apart by name."""
    if adapter.unread_type:
        return NotMeasured(f"adapters of type {adapter.unread_type} are recognized, but only LoRA pairs are read")
    if not base.stored:
        return NotMeasured("the base has no readable weights")
    places = _Places(base, adapter.config)
    found = {m.path: places.shape_of(m) for m in adapter.modules}
    by_role = False
    if not places.know_any(adapter.modules):
        if base.roles_from != "names":
            return NotMeasured("the names of the base's tensors do not tell its modules")
        # Other names are another architecture, where equal roles and shapes say nothing; but GGUF renames all of them.
        by_role = any(t.name.startswith("blk.") for t in base.stored)
        found = _shapes_by_role(adapter.modules, base) if by_role else found
    misfits = []
    for module in adapter.modules:
        shape, wanted = found.get(module.path), _wanted(module)
        if shape != wanted:
            there = f"is {shape[0]} x {shape[1]} in the base" if shape else "has no single counterpart in the base"
            misfits.append(f"{one_line(module.path, 80)} of {wanted[0]} x {wanted[1]} {there}")
    wrong = _wrong_ranks(adapter)
    return AdapterFit(
        modules=len(adapter.modules),
        fitting=len(adapter.modules) - len(misfits),
        misfits=(*misfits, *wrong)[:_SHOWN],
        wrong_ranks=len(wrong),
        uncovered=0 if by_role or misfits else places.uncovered(adapter),
        saved=len(adapter.saved),
        unread=adapter.unread,
        by_role=by_role,
    )


def _reason(fit: AdapterFit | NotMeasured, base: str, ties: AdapterTies | NotMeasured) -> str:
    if isinstance(fit, NotMeasured):
        return f"an adapter holds no base weights, and whether it fits {base} is not known: {fit.reason}"
    counts = f"{fit.fitting} of {fit.modules} modules"
    beside = [f"{fit.saved} whole tensors of its own"] if fit.saved else []
    beside += [f"{fit.unread} pairs that were not checked"] if fit.unread else []
    also = f" (beside {' and '.join(beside)})" if beside else ""
    if fit.fits and isinstance(ties, AdapterTies) and ties.p_value <= SIGNIFICANT:
        return (
            f"an adapter holds no base weights: it fits {counts} of {base}{also}, and its pairs move with the neurons of {base} "
            f"(p = {ties.p_value:.0e} for an independent base), as those of an adapter do that was trained on it or on a "
            "relative; that can be forged, so it decides nothing"
        )
    if fit.fits:
        return (
            f"an adapter holds no base weights: it fits {counts} of {base}{also}; that it was trained on it cannot be shown "
            "from the adapter alone"
        )
    faults = [f"{counts} fit {base}{also}", *fit.misfits]
    if fit.wrong_ranks:
        faults.append(f"{fit.wrong_ranks} pairs have another rank than adapter_config.json says")
    if fit.uncovered:
        faults.append(f"{fit.uncovered} modules of the base that adapter_config.json targets have no pair")
    return f"does not fit: {'; '.join(faults)}"


def _wanted(module: AdapterModule) -> Shape:
    """The shape of the base's matrix: (out, in); (vocabulary, width) of an embedding."""
    shape = module.out_features, module.in_features
    return shape[::-1] if module.embedding else shape


def _wrong_ranks(adapter: Adapter) -> list[str]:
    config = adapter.config
    if isinstance(config, NotMeasured):
        return []
    if not config.rank_pattern:
        return [] if config.r is None else [_of_rank(m) for m in adapter.modules if m.rank != config.r]
    return [_of_rank(m) for m in adapter.modules if (ranks := config.ranks(m.path)) and m.rank not in ranks]


def _of_rank(module: AdapterModule) -> str:
    return f"{one_line(module.path, 80)} has rank {module.rank}"


class _Places:
    """The matrices of a base by the tail of their path, turned to (out, in)."""

    def __init__(self, base: Artifact, config: AdapterConfig | NotMeasured) -> None:
        turned = not isinstance(config, NotMeasured) and config.fan_in_fan_out
        views: dict[str, Shape] = {}
        for view in base.canonical:
            if view.key.role not in (Role.OTHER, Role.BIAS) and len(view.shape) == len(view.stored.shape) == 2:
                views[view.stored.name] = views.get(view.stored.name, (0, 0))[0] + view.shape[0], view.shape[1]
        self._by_tail: dict[tuple[str, ...], list[tuple[tuple[str, ...], Shape]]] = {}
        for tensor in base.stored:
            if len(tensor.shape) == 2 and tensor.name.endswith(".weight"):
                prefix, tail = split_path(tensor.name.removesuffix(".weight"))
                rows, columns = tensor.shape
                shape = views.get(tensor.name, (columns, rows) if turned else (rows, columns))
                self._by_tail.setdefault(tail, []).append((prefix, shape))
        self._tied = _tied(base.canonical)

    def know_any(self, modules: Sequence[AdapterModule]) -> bool:
        """Whether the base has a matrix whose path ends like that of any of the modules."""
        return any(split_path(m.path)[1] in self._by_tail for m in modules)

    def shape_of(self, module: AdapterModule) -> Shape | None:
        """The shape of the one matrix whose path ends most like the module's; None when there is none, or several."""
        prefix, tail = split_path(module.path)
        candidates = self._by_tail.get(tail, [])
        if not candidates and tail[-1] in _HEADS:
            return self._tied
        if len(candidates) > _MAX_CANDIDATES:
            return None
        alike = [(_common_end(prefix, p), s) for p, s in candidates if _STACKS & {*p} == _STACKS & {*prefix}]
        best = max((count for count, _ in alike), default=0)
        shapes = {s for count, s in alike if count == best}
        return shapes.pop() if len(shapes) == 1 else None

    def uncovered(self, adapter: Adapter) -> int:
        """Matrices of the base that lie like the adapter's modules in other layers, and that its config targets."""
        config = adapter.config
        if isinstance(config, NotMeasured) or config.narrowed or not isinstance(config.target_modules, tuple):
            return 0
        targets = set(config.target_modules)
        split = [split_path(m.path) for m in adapter.modules]
        covered = {(frozenset(_STACKS & {*prefix}), tail) for prefix, tail in split}
        like = {(stacks, tail[0], tail[2:]) for stacks, tail in covered if len(tail) > 2}
        return sum(
            (stacks := frozenset(_STACKS & {*prefix}), tail) not in covered
            and (stacks, tail[0], tail[2:]) in like
            and any(".".join(tail[n:]) in targets for n in range(2, len(tail)))
            for tail, places in self._by_tail.items()
            if 2 < len(tail) <= 16
            for prefix, _ in places
        )


def _common_end(one: Sequence[str], other: Sequence[str]) -> int:
    pairs = zip(reversed(one), reversed(other), strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _tied(canonical: Sequence[CanonicalTensor]) -> Shape | None:
    """The shape of a head that is the embedding table; None when the base has a head of its own."""
    if any(t.key.role is Role.HEAD for t in canonical):
        return None
    tables = {(t.shape[0], t.shape[1]) for t in canonical if t.key.role is Role.EMBEDDING and len(t.shape) == 2}
    return tables.pop() if len(tables) == 1 else None


def _shapes_by_role(modules: Sequence[AdapterModule], base: Artifact) -> dict[str, Shape | None]:
    """Shapes of the base's matrices of the same role and layer, by module path."""
    there: Mapping[TensorKey, tuple[int, ...]] = {t.key: t.shape for t in base.canonical}
    stand_ins = [StoredTensor(f"{m.path}.weight", "F32", _wanted(m), 0, m.a.path, m.a.reader) for m in modules]
    _, named = name_tensors(stand_ins)
    found: dict[str, Shape | None] = {}
    for item in named:
        shapes = [there.get(item.key(role), ()) for role in item.entry.roles]
        if all(len(s) == 2 for s in shapes) and len({s[1] for s in shapes}) == 1:
            found[item.stored.name.removesuffix(".weight")] = sum(s[0] for s in shapes), shapes[0][1]
    if not any(t.key.role is Role.HEAD for t in base.canonical):
        tied = _tied(base.canonical)
        found.update((m.path, tied) for m in modules if m.path.rpartition(".")[2] in _HEADS)
    return found
