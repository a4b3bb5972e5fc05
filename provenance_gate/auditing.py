"""`audit`: is this a public model with the serial numbers filed off? Tells, claims against evidence, and what the weights show.

artifact -> fingerprint -> bases, given or searched for -> lineages -> tells and claims -> verdict. The verdict rests on the
lineages; nothing here judges a policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from provenance_gate._version import __version__
from provenance_gate.artifact.digests import manifest_sha256
from provenance_gate.artifact.interface import Claims, NotMeasured
from provenance_gate.candidates import Candidates
from provenance_gate.cases import case_of, measure_tells
from provenance_gate.confirming import confirm, confirmed_lineage
from provenance_gate.errors import ArtifactError
from provenance_gate.lineage.ancestry import Sources, ancestry
from provenance_gate.lineage.interface import ONE_BASE, Lineage
from provenance_gate.lineage.merges.interface import Merge
from provenance_gate.lineage.parents import is_mix, mixed
from provenance_gate.purls import purl_of
from provenance_gate.reading import BaseOption, Model, Reading, claims_of, is_local, read_model, with_digests
from provenance_gate.registry.layers import Registries, open_registries
from provenance_gate.report.audit import Audit
from provenance_gate.report.interface import NominatedOnly, ReadingCost
from provenance_gate.scanning import MOST_IN_TREE, family_trees
from provenance_gate.searching import (
    DESCENT,
    LEAST_SHARE,
    MOST_READ,
    NOTHING_SEARCHED,
    Found,
    Search,
    Searcher,
    relatives_of,
    with_kin,
)
from provenance_gate.tells.claims_table import check_claims
from provenance_gate.tells.cluster import cluster
from provenance_gate.tells.decoding import Endpoint, Settings
from provenance_gate.tells.every import TELLS
from provenance_gate.tells.generation import Generation, Run
from provenance_gate.tells.interface import Case, Tell
from provenance_gate.tells.verdict import conclude
from provenance_gate.tells.withheld import withheld

SAMPLED_ROWS = 2
"""Below this tier no weights are read, and nobody is searched for."""
MOST_NOMINATED = 10


@dataclass(frozen=True, slots=True)
class Decoding:
    """That both models are to continue `prompts`, which came from `source` (a domain or a file).

    `endpoint`: where the artifact answers when its weights are not given; None: it is run here, as the base is.
    """

    prompts: tuple[str, ...]
    source: str
    settings: Settings = field(default_factory=Settings)
    endpoint: Endpoint | None = None


@dataclass(frozen=True, slots=True)
class _Compared:
    lineage: Lineage
    base: Model


def audit(
    source: str,
    bases: Sequence[str] = (),
    registries: Registries | None = None,
    reading: Reading | None = None,
    *,
    tells: Sequence[Tell] = TELLS,
    decoding: Decoding | None = None,
    command: Sequence[str] = (),
) -> Audit:
    """Audit the model at `source`.

    Parameters
    ----------
    bases
        ``[ID=]SOURCE`` of suspected bases. Bases that the artifact declares are compared, too; with none given, known models
        that config, tokenizer or sketches point to as well, at most `MOST_READ` of them read from where they lie.
    registries
        Known models: the shipped catalog alone when None.
    decoding
        What tell 14 is to decode; it does nothing unasked.
    command
        What gives the same report again, for the reader; written from the arguments when empty.

    Raises
    ------
    ArtifactError, RegistryError
        The artifact, a given base or a registry cannot be read.
    UsageError
        A base that cannot be parsed, an endpoint that may not be used.
    """
    reading = reading or Reading()
    options = [BaseOption.parse(text) for text in bases]
    searcher = Searcher(registries or open_registries(()), reading)
    ours = read_model(source, reading)
    ours, digest = _with_digest(ours, reading)
    claims = ours.fingerprint.subject.claims
    tested, untested = Candidates(options, searcher, reading).of(claims)
    seed = digest if isinstance(digest, str) else ""
    compared = [
        _Compared(confirmed_lineage(ours, c.model, c.ref, claims_of(c.ref.id, claims.bases), reading, seed), c.model)
        for c in tested
    ]
    search = _search(searcher, ours, compared, given=bool(options))
    found = relatives_of(search)
    compared += [_Compared(confirm(f.lineage, ours, f.base, reading, seed), f.base) for f in found]
    lineages, merge = mixed(ours.fingerprint, [c.lineage for c in compared], [c.base.fingerprint for c in compared])
    if tested:
        known = searcher.registries.catalog
        lineages = with_kin(lineages, [c.base.fingerprint for c in compared], len(tested), merge, known)
    else:
        lineages = _with_relatives(lineages, found, merge, searcher.registries)
    # Of models that a search turned up only a real mix is worth a line; who names several bases wants to know in any case.
    merge = merge if len(tested) > 1 or is_mix(merge) else ONE_BASE
    compared = sorted((_Compared(x, c.base) for x, c in zip(lineages, compared, strict=True)), key=_likeliest_first)
    lineages = tuple(c.lineage for c in compared)
    subject = ours.fingerprint.subject
    case = case_of(ours, [(c.lineage, c.base) for c in compared], searcher.registries)
    if decoding is not None:
        tells = [t if t.id != Generation.id else _generation(decoding, source, case) for t in tells]
    results = measure_tells(case, tells)
    checks = tuple(check_claims(case))
    nominated = tuple(
        NominatedOnly(u.nominee.id, tuple(r.text for r in u.nominee.reasons), u.absent.reason)
        for u in search.unmeasured
    )[:MOST_NOMINATED]
    untested = dict(sorted(untested.items()))
    opened = ours.opened
    return Audit(
        tool_version=__version__,
        command=tuple(command) or ("provenance-gate", "audit", source, *(f"--base={b}" for b in bases)),
        artifact=opened.artifact if opened else subject,
        digest=digest,
        purl=purl_of(opened, digest) if opened and isinstance(digest, str) else "",
        verdict=conclude(
            subject.name,
            lineages,
            merge,
            results,
            checks,
            declared=claims.bases,
            untested=untested,
            nominated=[n.id for n in nominated],
        ),
        lineages=lineages,
        untested=untested,
        nominated=nominated,
        merge=merge,
        ancestry=ancestry(subject.name, claims, lineages, _sources(searcher.registries, compared)),
        tells=results,
        withheld=withheld(case),
        cluster=cluster(results),
        claims=checks,
        stored=search.stored,
        records=search.records,
        damaged=tuple(searcher.registries.damaged),
        cost=ReadingCost(
            opened.artifact.weight_bytes if opened else 0,
            opened.counter.bytes_read if opened else 0,
            opened.counter.requests if opened else 0,
        ),
    )


def _with_digest(ours: Model, reading: Reading) -> tuple[Model, str | NotMeasured]:
    """The model with the digests of its files, and the digest of all of them."""
    if ours.opened is None:
        return ours, NotMeasured("the artifact came as a fingerprint file")
    artifact = with_digests(ours.opened, reading)
    digest = manifest_sha256(artifact.files)
    if isinstance(digest, NotMeasured):
        raise ArtifactError(f"{artifact.name}: {digest.reason}")
    return Model(ours.fingerprint, replace(ours.opened, artifact=artifact)), digest


def _search(searcher: Searcher, ours: Model, compared: Sequence[_Compared], *, given: bool) -> Search:
    """Bases that nobody named. Weights of nominees are read only where nobody named a base."""
    if searcher.reading.max_tier < SAMPLED_ROWS:
        return NOTHING_SEARCHED
    settled = given or any(c.lineage.relation in DESCENT for c in compared)
    return searcher.search(ours, known=[c.lineage.base.id for c in compared], read=0 if settled else MOST_READ)


def _with_relatives(
    lineages: Sequence[Lineage], found: Sequence[Found], merge: Merge | NotMeasured, registries: Registries
) -> tuple[Lineage, ...]:
    """Siblings and the like marked as kin of the nearest model of their family, as records and weights tell them apart."""
    by_id = {x.base.id: x for x in lineages}
    near = [replace(f, lineage=by_id[f.lineage.base.id]) for f in found if by_id[f.lineage.base.id].relation in DESCENT]
    trees = family_trees(near[:MOST_IN_TREE], registries.catalog)
    nearest = {i: tree.nearest for tree in trees for i in tree.relatives}

    def is_parent(lineage: Lineage) -> bool:
        weight = lineage.mixing_weight
        return is_mix(merge) and isinstance(weight, float) and weight >= LEAST_SHARE

    return tuple(
        replace(x, kin_of=nearest[x.base.id]) if x.base.id in nearest and not is_parent(x) else x for x in lineages
    )


def _likeliest_first(compared: _Compared) -> tuple[bool, bool, float, float, str]:
    lineage = compared.lineage
    score = lineage.score if isinstance(lineage.score, float) else -1.0
    share = lineage.inheritance if isinstance(lineage.inheritance, float) else 0.0
    return lineage.relation not in DESCENT, lineage.kin_of is not None, -score, -share, lineage.base.id


def _generation(decoding: Decoding, source: str, case: Case) -> Generation:
    """Tell 14 for the likeliest base. Only what lies in a local folder can be run; the tell says so of anything else."""
    base = case.bases[0][1].base.source if case.bases else ""
    ours = decoding.endpoint or _folder(source)
    return Generation(Run(ours, _folder(base), decoding.prompts, decoding.source, decoding.settings))


def _folder(source: str) -> Path:
    path = Path(source)
    return path.parent if is_local(source) and path.is_file() else path


def _sources(registries: Registries, compared: Sequence[_Compared]) -> Sources:
    cards: dict[str, Claims] = {}
    for one in compared:
        cards.setdefault(one.lineage.base.id, one.base.fingerprint.subject.claims)
    return Sources(registries.catalog.find, registries.catalog.licenses().term, cards)
