"""The gate: the one place where the order of the rooms is written.

artifact -> fingerprint -> (registry) -> lineage -> policy -> report
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timezone
from pathlib import Path
from urllib.parse import quote

from provenance_gate._version import __version__
from provenance_gate.artifact.digests import manifest_sha256
from provenance_gate.artifact.interface import Claims, NotMeasured
from provenance_gate.artifact.inventory import find_model_folders
from provenance_gate.artifact.load import NoModelError, OpenedArtifact, open_artifact
from provenance_gate.artifact.sources import open_store
from provenance_gate.data import data_dir
from provenance_gate.errors import ArtifactError, UsageError, one_line
from provenance_gate.fingerprint.interface import Fingerprint
from provenance_gate.fingerprint.measure import measure
from provenance_gate.fingerprint.spot import measure_spot
from provenance_gate.lineage.ancestry import Sources, ancestry
from provenance_gate.lineage.compare import compare as compare_fingerprints
from provenance_gate.lineage.interface import INDEPENDENT_SCORE, BaseRef, Lineage, Relation
from provenance_gate.lineage.parents import mixed
from provenance_gate.policy import evaluate as policy_room
from provenance_gate.policy import interface as policy_types
from provenance_gate.policy.interface import FailOn, Policy, Verdict
from provenance_gate.reading import (
    BaseOption,
    Model,
    Reading,
    base_ref,
    claims_of,
    is_alone,
    is_far,
    is_local,
    lineage_of,
    measure_opened,
    read_model,
    with_digests,
)
from provenance_gate.registry.catalog import Catalog
from provenance_gate.registry.licenses import shipped_licenses
from provenance_gate.report.interface import ArtifactResult, ReadingCost, Report

SPOT_SHARE = 0.5
"""Least share of the inheritance in the standard rows that the spot-check rows must show. Both estimate the same share of
variance from different rows of the same matrices; in honest models they differ by a few percent."""
SAMPLED_ROWS = 2
"""Below this tier no weights are read, of further formats neither."""
_DESCENT = frozenset({Relation.IDENTICAL, Relation.REFORMATTED, Relation.DERIVED})


def confirmed(lineage: Lineage, spot: Lineage) -> Lineage:
    """A descent seen in the standard rows, if rows that nobody could foresee show it too; else PARTIAL, and no pass."""
    match lineage.inheritance, spot.inheritance:
        case float(standard), float(other) if other >= SPOT_SHARE * standard and spot.relation in _DESCENT:
            return lineage
    score = min(spot.score, INDEPENDENT_SCORE) if isinstance(spot.score, float) else INDEPENDENT_SCORE
    reason = f"the standard rows come from the base, rows chosen by the artifact's digest do not: {spot.reason}"
    return replace(spot, score=score, relation=Relation.PARTIAL, kinds=(), reason=reason)


@dataclass(slots=True)
class Gate:
    """One run of `check` over one or more artifacts. Bases are read once.

    Attributes
    ----------
    today
        Decides which waivers are valid (UTC).
    """

    policy: Policy
    bases: Sequence[BaseOption] = ()
    registries: Sequence[Path] = ()
    reading: Reading = field(default_factory=Reading)
    fail_on: FailOn = FailOn.ERROR
    today: date = field(default_factory=lambda: datetime.now(timezone.utc).date())
    _models: dict[str, Model] = field(default_factory=dict)

    def run(self, sources: Sequence[str], *, timestamp: datetime | None = None) -> Report:
        """Check all artifacts; the worst verdict decides. Raises what the rooms raise; nothing is passed over."""
        if not sources:
            raise UsageError("no artifact to check")
        catalog = Catalog([data_dir("fingerprints"), *self.registries])
        results = tuple(self._check(source, catalog) for source in sources)
        verdicts = {r.verdict for r in results}
        worst = next(v for v in (Verdict.FAIL, Verdict.UNDECIDED, Verdict.PASS) if v in verdicts)
        return Report(__version__, self.policy, results, worst, 0 if worst is Verdict.PASS else 1, timestamp)

    def _check(self, source: str, catalog: Catalog) -> ArtifactResult:
        opened = open_artifact(open_store(source, self.reading.remote))
        with ThreadPoolExecutor(max_workers=1) as pool:
            hashing = pool.submit(with_digests, opened, self.reading)
            ours = measure_opened(opened, self.reading)
            artifact = hashing.result()
        digest = manifest_sha256(artifact.files)
        if isinstance(digest, NotMeasured):
            raise ArtifactError(f"{source}: {digest.reason}")
        lineages = [self._lineage(option, ours, opened, digest) for option in self.bases]
        measured = [self._model(option.source).fingerprint for option in self.bases]
        with_weights, merge = mixed(ours, lineages, measured)
        lineages = list(with_weights)
        lineages.sort(
            key=lambda x: (isinstance(x.score, NotMeasured), -x.score if isinstance(x.score, float) else 0.0, x.base.id)
        )
        nodes = ancestry(artifact.name, artifact.claims, lineages, self._sources(catalog, lineages))
        subject = policy_types.Subject(artifact, lineages, nodes, formats=self._formats(opened, ours))
        findings = policy_room.evaluate(self.policy, subject, self.today)
        return ArtifactResult(
            artifact=artifact,
            digest=digest,
            purl=_purl(opened, digest),
            lineages=tuple(lineages),
            merge=merge,
            ancestry=nodes,
            findings=findings,
            verdict=policy_room.verdict(findings, self.fail_on),
            cost=ReadingCost(artifact.weight_bytes, opened.counter.bytes_read, opened.counter.requests),
        )

    def _formats(self, opened: OpenedArtifact, ours: Fingerprint) -> tuple[policy_types.FormatAgreement, ...]:
        """Each further format of the model against the one that was measured, row by row."""
        found = []
        for other in opened.others:
            agreement: Lineage | NotMeasured
            if isinstance(other.artifact, NotMeasured):
                agreement = other.artifact
            elif self.reading.max_tier < SAMPLED_ROWS:
                continue
            else:
                rows = measure(other.artifact, exact=self.reading.exact, jobs=self.reading.jobs)
                ref = BaseRef(opened.artifact.name, opened.store.location)
                agreement = compare_fingerprints(rows, ours, ref)
            found.append(policy_types.FormatAgreement(other.format.value, agreement))
        return tuple(found)

    def _look_again(self, opened: OpenedArtifact, seed: str, *, few: bool) -> Model:
        steps = self.reading.steps(f"confirming {opened.artifact.name}")
        return Model(measure_spot(opened.artifact, seed, few=few, jobs=self.reading.jobs, progress=steps), opened)

    def _model(self, source: str) -> Model:
        if source not in self._models:
            self._models[source] = read_model(source, self.reading)
        return self._models[source]

    def _lineage(self, option: BaseOption, ours: Fingerprint, opened: OpenedArtifact, digest: str) -> Lineage:
        base = self._model(option.source)
        claims = opened.artifact.claims.bases
        ref = base_ref(option, base, claims, alone=is_alone(self.bases))
        named = claims_of(ref.id, claims)
        model = Model(ours, opened)
        lineage = lineage_of(model, base, ref, named, self.reading)
        if lineage.relation not in _DESCENT or base.opened is None:
            return lineage
        # Everybody can compute the standard plan and prepare just those rows. These rows move with any byte of the artifact.
        # Every matrix once more, but of large remote models only some, unless their layers do not stand at equal places.
        in_order = all(m.layer == m.base_layer for m in lineage.layers)
        few = in_order and (is_far(opened) or is_far(base.opened))
        again, other = (self._look_again(m, digest, few=few) for m in (opened, base.opened))
        spot = lineage_of(again, other, ref, named, self.reading, digest)
        return confirmed(lineage, spot)

    def _sources(self, catalog: Catalog, lineages: Sequence[Lineage]) -> Sources:
        cards: dict[str, Claims] = {}
        for lineage in lineages:
            claims = self._model(lineage.base.source).fingerprint.subject.claims
            cards.setdefault(lineage.base.id, claims)
        return Sources(catalog.find, shipped_licenses().term, cards)


def _purl(opened: OpenedArtifact, digest: str) -> str:
    """Of a hub model by its commit (purl's type huggingface), of any other by the digest of its files."""
    if opened.store.location.startswith("hf://"):
        repository, _, commit = opened.store.location.removeprefix("hf://").rpartition("@")
        return (
            f"pkg:huggingface/{quote('/'.join(repository.split('/')[:2]), safe='/')}@{quote(commit.lower(), safe='')}"
        )
    name = quote(one_line(opened.artifact.name), safe="")
    return f"pkg:generic/{name}@{digest[:12]}?checksum=sha256:{digest}"


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
