"""`scan`: which known models an artifact comes from, without a base being named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.lineage.ancestry import Sources, ancestry
from provenance_gate.lineage.families import Family, families
from provenance_gate.lineage.interface import DERIVED_SCORE, Lineage, Relation
from provenance_gate.lineage.parents import is_mix, mixed
from provenance_gate.reading import Model, Reading, read_model
from provenance_gate.registry.catalog import Catalog
from provenance_gate.registry.compact_index import CompactIndex
from provenance_gate.registry.layers import Registries
from provenance_gate.registry.nominate import shown_reasons
from provenance_gate.report.interface import NominatedOnly, ReadingCost, Scan
from provenance_gate.searching import DESCENT, Found, Searcher, Unmeasured, is_related, share_between, unsettled

TOP = 10
MOST_IN_TREE = 12
"""Matches whose family tree is drawn; every pair of them is compared."""


def scan(
    source: str,
    registries: Registries,
    reading: Reading | None = None,
    *,
    indexes: Sequence[Path] = (),
    top: int = TOP,
    min_score: float = DERIVED_SCORE,
) -> Scan:
    """Ranked lineages of the model at `source` against everything that `registries` hold.

    Parameters
    ----------
    indexes
        Files of compact indexes; what they nominate is looked for on the hub by its id.
    top
        Most matches, and most models that are nominated only, to report.
    min_score
        Least lineage score of a match, in [0, 1]; related models below it are reported as unclear.

    Raises
    ------
    ArtifactError, RegistryError
        The artifact or a registry cannot be read.
    """
    reading = reading or Reading()
    searcher = Searcher(registries, reading, tuple(CompactIndex.open(path) for path in indexes))
    return scan_model(read_model(source, reading), searcher, top=top, min_score=min_score)


def scan_model(ours: Model, searcher: Searcher, *, top: int = TOP, min_score: float = DERIVED_SCORE) -> Scan:
    """The same for a model that was read already."""
    registries = searcher.registries
    search = searcher.search(ours)
    related = [f for f in search.found if is_related(f.lineage)]
    open_ones = [u for f in search.found if (u := unsettled(f)) is not None]
    lineages, merge = mixed(ours.fingerprint, [f.lineage for f in related], [f.base.fingerprint for f in related])
    related = [replace(f, lineage=x) for f, x in zip(related, lineages, strict=True)]
    if not is_mix(merge):
        merge = merge if isinstance(merge, NotMeasured) else NotMeasured(f"no mix: {merge.reason}")
        related = [replace(f, lineage=replace(f.lineage, mixing_weight=merge)) for f in related]
    matches = sorted((f for f in related if _is_match(f.lineage, min_score)), key=_nearest_first)
    unclear = sorted((f for f in related if not _is_match(f.lineage, min_score)), key=_nearest_first)
    trees = family_trees(matches[:MOST_IN_TREE], registries.catalog)
    subject = ours.fingerprint.subject
    cards = {f.lineage.base.id: f.base.fingerprint.subject.claims for f in related}
    if not is_mix(merge):
        nearest = {tree.nearest for tree in trees}
        matches.sort(key=lambda f: f.lineage.base.id not in nearest)
    near = [f.lineage for f in matches if _is_ancestor(f.lineage, trees)]
    denied = [f.lineage for f in search.found if f.lineage.claims and f.lineage.relation is Relation.INDEPENDENT]
    nodes = ancestry(
        subject.name,
        subject.claims,
        [*near, *denied],
        Sources(registries.catalog.find, registries.catalog.licenses().term, cards),
    )
    cost = ours.opened.counter if ours.opened else None
    weight_bytes = ours.opened.artifact.weight_bytes if ours.opened else 0
    return Scan(
        artifact=ours.opened.artifact if ours.opened else subject,
        matches=tuple(f.lineage for f in matches[:top]),
        unclear=tuple(f.lineage for f in unclear[:top]),
        contradicted=tuple(denied[:top]),
        nominated=tuple([*map(_open, open_ones), *map(_nominated, search.unmeasured)][:top]),
        reasons={f.lineage.base.id: shown_reasons(f.nominee) for f in related},
        families=trees,
        merge=merge,
        ancestry=nodes,
        stored=search.stored,
        records=search.records,
        damaged=tuple(registries.damaged),
        cost=ReadingCost(weight_bytes, cost.bytes_read if cost else 0, cost.requests if cost else 0),
    )


def _is_match(lineage: Lineage, min_score: float) -> bool:
    return lineage.relation in DESCENT and isinstance(lineage.score, float) and lineage.score >= min_score


def _nearest_first(found: Found) -> tuple[float, float, str]:
    """By the share of the mix where there is one, else by the share of variance that the base explains."""
    lineage = found.lineage
    weight = lineage.mixing_weight if isinstance(lineage.mixing_weight, float) else 0.0
    share = lineage.inheritance if isinstance(lineage.inheritance, float) else 0.0
    return -round(weight, 3), -share, lineage.base.id


def family_trees(matches: Sequence[Found], catalog: Catalog) -> tuple[Family, ...]:
    """The matches as trees; records say where the roots are."""
    by_id = {f.lineage.base.id: f for f in matches}
    shares = {i: s for i, f in by_id.items() if isinstance(s := f.lineage.inheritance, float)}
    return families(
        shares,
        lambda a, b: share_between(by_id[a].base.fingerprint, by_id[b].base.fingerprint),
        lambda a: recorded_ancestors(a, by_id, catalog),
    )


def recorded_ancestors(model_id: str, known: Mapping[str, Found], catalog: Catalog) -> tuple[str, ...] | None:
    """All ancestors that records lead to, spelled as in `known` where they are among them; None without a record."""
    found = catalog.ancestors(model_id)
    spelled = {i.casefold(): i for i in known}
    return None if found is None else tuple(spelled.get(name.casefold(), name) for name in found)


def _is_ancestor(lineage: Lineage, trees: Sequence[Family]) -> bool:
    """Not one of the siblings and other relatives; what could be a step in between counts, and so does a parent of a mix."""
    relatives = {i for tree in trees for i in tree.relatives if i not in tree.unclear}
    mixed_in = isinstance(lineage.mixing_weight, float) and lineage.mixing_weight >= 0.1
    return lineage.base.id not in relatives or mixed_in


def _open(found: Found) -> NominatedOnly:
    return NominatedOnly(found.nominee.id, tuple(r.text for r in found.nominee.reasons), found.lineage.reason)


def _nominated(unmeasured: Unmeasured) -> NominatedOnly:
    nominee = unmeasured.nominee
    return NominatedOnly(nominee.id, tuple(r.text for r in nominee.reasons), unmeasured.absent.reason)
