"""The gate: the one place where the order of the rooms is written.

artifact -> fingerprint -> (registry) -> lineage -> policy -> report
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timezone
from pathlib import Path

from provenance_gate._version import __version__
from provenance_gate.artifact.digests import manifest_sha256
from provenance_gate.artifact.documents import read_documents
from provenance_gate.artifact.interface import Artifact, Claims, NotMeasured
from provenance_gate.artifact.inventory import find_model_folders
from provenance_gate.artifact.load import NoModelError, OpenedArtifact, open_artifact
from provenance_gate.artifact.sources import LocalStore, open_store
from provenance_gate.candidates import Candidate, Candidates
from provenance_gate.confirming import confirmed_lineage
from provenance_gate.errors import ArtifactError, UsageError
from provenance_gate.fingerprint.interface import Fingerprint
from provenance_gate.fingerprint.measure import measure
from provenance_gate.lineage.ancestry import Sources, ancestry
from provenance_gate.lineage.compare import compare as compare_fingerprints
from provenance_gate.lineage.interface import ONE_BASE, BaseRef, Lineage, Relation
from provenance_gate.lineage.parents import is_mix, mixed
from provenance_gate.policy import evaluate as policy_room
from provenance_gate.policy import interface as policy_types
from provenance_gate.policy.baseline import Baseline, apply_baseline
from provenance_gate.policy.interface import FailOn, Policy, Verdict
from provenance_gate.purls import purl_of
from provenance_gate.reading import (
    BaseOption,
    Model,
    Reading,
    claims_of,
    is_local,
    measure_opened,
    with_digests,
)
from provenance_gate.registry.catalog import Catalog
from provenance_gate.registry.layers import Registries, open_registries
from provenance_gate.report.interface import ArtifactResult, ReadingCost, Report
from provenance_gate.searching import NOTHING_SEARCHED, Search, Searcher, relatives_of, with_kin
from provenance_gate.signing.interface import Material
from provenance_gate.signing.verify import check_signers, verify_rules
from provenance_gate.telling import tells_for

SAMPLED_ROWS = 2
"""Below this tier no weights are read, of further formats neither."""


@dataclass(slots=True)
class Gate:
    """One run of `check` over one or more artifacts. Bases and registries are read once.

    Attributes
    ----------
    registries
        Open registries, the shipped one among them; None: the shipped one alone.
    today
        Decides which waivers are valid (UTC).
    baseline
        Findings that were accepted before; None: none.
    """

    policy: Policy
    bases: Sequence[BaseOption] = ()
    registries: Registries | None = None
    reading: Reading = field(default_factory=Reading)
    fail_on: FailOn = FailOn.ERROR
    today: date = field(default_factory=lambda: datetime.now(timezone.utc).date())
    baseline: Baseline | None = None

    def run(self, sources: Sequence[str], *, timestamp: datetime | None = None) -> Report:
        """Check all artifacts; the worst verdict decides. Raises what the rooms raise; nothing is passed over."""
        if not sources:
            raise UsageError("no artifact to check")
        check_signers(self.policy.rules)
        searcher = Searcher(self.registries or open_registries(()), self.reading)
        candidates = Candidates(self.bases, searcher, self.reading)
        results = self._accepted(tuple(self._check(source, candidates) for source in sources))
        verdicts = {r.verdict for r in results}
        worst = next(v for v in (Verdict.FAIL, Verdict.UNDECIDED, Verdict.PASS) if v in verdicts)
        code = 0 if worst is Verdict.PASS else 1
        return Report(__version__, self.policy, results, worst, code, timestamp, self.fail_on)

    def _accepted(self, results: tuple[ArtifactResult, ...]) -> tuple[ArtifactResult, ...]:
        if self.baseline is None:
            return results
        judged = apply_baseline(self.baseline, [(r.artifact.name, r.findings) for r in results])
        return tuple(
            replace(r, findings=f, verdict=policy_room.verdict(f, self.fail_on))
            for r, f in zip(results, judged, strict=True)
        )

    def _check(self, source: str, candidates: Candidates) -> ArtifactResult:
        opened = open_artifact(open_store(source, self.reading.remote))
        with ThreadPoolExecutor(max_workers=1) as pool:
            hashing = pool.submit(with_digests, opened, self.reading)
            if not isinstance(opened.store, LocalStore):
                # One after the other: what measuring cost is told from what hashing did.
                hashing.result()
            ours = Model(measure_opened(opened, self.reading), opened)
            artifact = hashing.result()
        digest = manifest_sha256(artifact.files)
        if isinstance(digest, NotMeasured):
            raise ArtifactError(f"{source}: {digest.reason}")
        # Below sampled rows no rule can rest on a base: none is looked up that nobody gave.
        asked = self.bases or self.reading.max_tier >= SAMPLED_ROWS
        tested, untested = candidates.of(artifact.claims) if asked else ((), {})
        models = [one.model for one in tested]
        compared = [(self._lineage(one, ours, digest), one.model.fingerprint) for one in tested]
        search = self._search(candidates.searcher, ours, compared)
        models += [one.base for one in search.found]
        compared += [(one.lineage, one.base.fingerprint) for one in search.found]
        lineages, merge = mixed(ours.fingerprint, [x for x, _ in compared], [f for _, f in compared])
        catalog = candidates.searcher.registries.catalog
        lineages = with_kin(lineages, [f for _, f in compared], len(tested), merge, catalog)
        # Of models that a search turned up only a real mix is worth a line; who names several bases wants to know in any case.
        merge = merge if len(tested) > 1 or is_mix(merge) else ONE_BASE
        ranked = sorted(zip(lineages, models, strict=True), key=lambda pair: _by_score(pair[0]))
        lineages = tuple(lineage for lineage, _ in ranked)
        nodes = ancestry(artifact.name, artifact.claims, lineages, _facts_of(candidates.searcher.registries, compared))
        subject = policy_types.Subject(
            artifact,
            lineages,
            nodes,
            formats=self._formats(opened, ours.fingerprint),
            untested=untested,
            searched=search.stored,
            documents=read_documents(opened.store, artifact.files),
            tells=tells_for(
                self.policy,
                Model(ours.fingerprint, replace(opened, artifact=artifact)),
                ranked,
                candidates.searcher.registries,
            ),
            verifications=verify_rules(
                self.policy.rules,
                Material(artifact.name, opened.store, artifact.files),
                _materials(tested, untested, compared),
                offline=self.reading.remote.offline,
            ),
        )
        findings = policy_room.evaluate(self.policy, subject, self.today)
        return ArtifactResult(
            artifact=artifact,
            digest=digest,
            purl=purl_of(opened, digest),
            lineages=lineages,
            merge=merge,
            ancestry=nodes,
            findings=findings,
            verdict=policy_room.verdict(findings, self.fail_on),
            cost=ReadingCost(artifact.weight_bytes, opened.counter.bytes_read, opened.counter.requests),
            source=source,
        )

    def _search(self, searcher: Searcher, ours: Model, compared: Sequence[tuple[Lineage, Fingerprint]]) -> Search:
        """Bases that nobody named, among the stored fingerprints only: a gate reads no weights that nobody claimed."""
        if self.reading.max_tier < SAMPLED_ROWS:
            return NOTHING_SEARCHED
        search = searcher.search(ours, known=[x.base.id for x, _ in compared], read=0)
        catalog = searcher.registries.catalog
        return replace(search, found=tuple(f for f in relatives_of(search) if not _is_itself(f.lineage, ours, catalog)))

    def _formats(self, opened: OpenedArtifact, ours: Fingerprint) -> tuple[policy_types.FormatAgreement, ...]:
        """Each further format of the model against the one that was measured, row by row."""
        found = []
        for other in opened.others:
            agreement: Lineage | NotMeasured
            if isinstance(other.artifact, NotMeasured):
                agreement = other.artifact
            else:
                agreement = self._agreement(other.artifact, ours, BaseRef(opened.artifact.name, opened.store.location))
            found.append(policy_types.FormatAgreement(other.name, agreement))
        return tuple(found)

    def _agreement(self, other: Artifact, ours: Fingerprint, ref: BaseRef) -> Lineage | NotMeasured:
        try:
            reading = self.reading
            rows = measure(other, exact=reading.exact, jobs=reading.jobs, max_tier=reading.max_tier)
        except ArtifactError as error:
            # One copy in a packing without a reader says nothing of the model that was measured.
            return NotMeasured(str(error))
        return compare_fingerprints(rows, ours, ref)

    def _lineage(self, candidate: Candidate, ours: Model, digest: str) -> Lineage:
        base, ref = candidate.model, candidate.ref
        named = claims_of(ref.id, ours.fingerprint.subject.claims.bases)
        return confirmed_lineage(ours, base, ref, named, self.reading, digest)


def _materials(
    tested: Sequence[Candidate], untested: Iterable[str], compared: Sequence[tuple[Lineage, Fingerprint]]
) -> list[Material]:
    """The bases that are claimed or seen, with their files where they are at hand."""
    found = []
    for one, (lineage, _) in zip(tested, compared, strict=False):
        if lineage.claims or lineage.relation is not Relation.INDEPENDENT:
            opened = one.model.opened
            at_hand = (None, ()) if opened is None else (opened.store, opened.artifact.files)
            found.append(Material(one.ref.id, *at_hand))
    stored = [x.base.id for x, _ in compared[len(tested) :] if x.relation is not Relation.INDEPENDENT]
    found += [Material(base, None, ()) for base in (*stored, *untested)]
    return found


def _by_score(lineage: Lineage) -> tuple[bool, float, str]:
    score = lineage.score
    return isinstance(score, NotMeasured), -score if isinstance(score, float) else 0.0, lineage.base.id


def _is_itself(lineage: Lineage, ours: Model, catalog: Catalog) -> bool:
    """Whether a stored model is the artifact under its own name and license: a released model is no base of itself.

    Under another license it is a copy: a folder can be called anything.
    """
    name, claims = ours.fingerprint.subject.name.casefold(), ours.fingerprint.subject.claims
    own = name in (lineage.base.id.casefold(), lineage.base.id.rpartition("/")[2].casefold())
    record = catalog.find(lineage.base.id)
    stated = {catalog.licenses().term(c.id, c.name).id.casefold() for c in claims.licenses}
    same_terms = record is None or {term.id.casefold() for term in record.licenses} <= stated
    return own and same_terms and lineage.relation in (Relation.IDENTICAL, Relation.REFORMATTED)


def _facts_of(registries: Registries, compared: Sequence[tuple[Lineage, Fingerprint]]) -> Sources:
    cards: dict[str, Claims] = {}
    for lineage, fingerprint in compared:
        cards.setdefault(lineage.base.id, fingerprint.subject.claims)
    return Sources(registries.catalog.find, registries.catalog.licenses().term, cards)


def find_artifacts(paths: Sequence[str], *, recursive: bool) -> tuple[str, ...]:
    """The artifacts to check. With `recursive` every model folder below each path; raises NoModelError when there is none."""
    if not recursive:
        return tuple(paths)
    found: list[str] = []
    for path in paths:
        folder = is_local(path) and Path(path).is_dir()
        found += [str(p) for p in find_model_folders(Path(path))] if folder else [path]
    if not found:
        raise NoModelError(f"no model folder below {', '.join(paths)}")
    return tuple(found)
