"""Values that rules look at, with everything but the matter of a test filled in."""

from __future__ import annotations

from pathlib import PurePosixPath

from provenance_gate.artifact.interface import (
    Artifact,
    BaseClaim,
    Claims,
    ClaimSource,
    FileKind,
    FileRecord,
    LicenseClaim,
    NotMeasured,
    WeightFormat,
)
from provenance_gate.lineage.interface import (
    Ancestor,
    BaseRef,
    ComponentEvidence,
    LicenseTerm,
    Lineage,
    Relation,
    Standing,
)
from provenance_gate.policy.interface import Subject

BASE = "acme/base"
APACHE = LicenseTerm("apache-2.0", "Apache-2.0", None, "permissive")
NON_COMMERCIAL = LicenseTerm("cc-by-nc-4.0", "CC-BY-NC-4.0", None, "non-commercial")


def source(line: int = 3, field: str = "base_model") -> ClaimSource:
    return ClaimSource(PurePosixPath("README.md"), line, field)


def claim(base: str = BASE) -> BaseClaim:
    return BaseClaim(base, "finetune", None, source())


def artifact(
    *bases: str,
    formats: tuple[tuple[str, WeightFormat], ...] = (("model.safetensors", WeightFormat.SAFETENSORS),),
    name: str = "child",
) -> Artifact:
    files = tuple(FileRecord(PurePosixPath(path), 1, FileKind.WEIGHTS, kind) for path, kind in formats)
    claims = Claims(tuple(claim(b) for b in bases), (LicenseClaim("apache-2.0", None, None, source(2, "license")),))
    absent = NotMeasured("not needed")
    return Artifact(name, files, claims, absent, absent, (), (), "names")


def lineage(
    score: float | NotMeasured = 0.99,
    relation: Relation = Relation.DERIVED,
    *,
    base: str = BASE,
    declared: bool = True,
    components: dict[str, Relation] | None = None,
) -> Lineage:
    return Lineage(
        base=BaseRef(base, "somewhere"),
        score=score,
        relation=relation,
        kinds=(),
        p_value=1e-9,
        test="permutation",
        inheritance=0.5,
        components={k: ComponentEvidence(v, 0.5, 1e-9) for k, v in (components or {}).items()},
        layers=(),
        signals={},
        identity_score=0.5,
        claims=(claim(base),) if declared else (),
        reason="because",
        tier=2,
    )


def itself(*licenses: LicenseTerm) -> Ancestor:
    return Ancestor("child", Standing.SELF, Standing.SELF, False, ("child",), licenses or (APACHE,), None, None)


def ancestor(
    *licenses: LicenseTerm,
    model: str = BASE,
    rests_on: Standing = Standing.SHOWN,
    declared: bool = True,
    path: tuple[str, ...] | None = None,
    publisher: str | None = "Acme",
    family: str | None = "acme--base",
) -> Ancestor:
    return Ancestor(
        model, rests_on, rests_on, declared, path or ("child", model), licenses, publisher, family, "catalog"
    )


def subject(
    of: Artifact | None = None, lineages: tuple[Lineage, ...] = (), ancestry: tuple[Ancestor, ...] = ()
) -> Subject:
    return Subject(of or artifact(), lineages, ancestry or (itself(),))
