"""Reports as the gate would hand them over, built from the interfaces' own values."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timezone
from hashlib import sha256
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.interface import (
    Artifact,
    BaseClaim,
    Claims,
    ClaimSource,
    FileKind,
    FileRecord,
    LicenseClaim,
    ModelConfig,
    NotMeasured,
    Sha256,
    StoredTensor,
    WeightFormat,
)
from provenance_gate.fingerprint.interface import Evidence
from provenance_gate.lineage.interface import (
    Ancestor,
    BaseRef,
    ComponentEvidence,
    LayerMatch,
    LicenseTerm,
    Lineage,
    Relation,
    Standing,
)
from provenance_gate.policy.interface import (
    Finding,
    Policy,
    RuleConfig,
    Severity,
    Status,
    Undecided,
    Verdict,
    Waiver,
)
from provenance_gate.report.interface import ArtifactResult, ReadingCost, Report

COMMIT = "5f2c9d0e8b7a6c5d4e3f2a1b0c9d8e7f6a5b4c3d"
BASE_COMMIT = "d04e592bb4f6aa9cfee91e2e20afa771667e1d4b"
BASE = "meta-llama/Llama-3.1-8B"
ROOT = "meta-llama/Llama-3-8B"
BASE_PURL = f"pkg:huggingface/{BASE}@{BASE_COMMIT}"
PURL = f"pkg:huggingface/acme/support-bot-8b@{COMMIT}"
TIMESTAMP = datetime(2026, 1, 15, 10, 0, tzinfo=timezone.utc)
HOSTILE = "\x1b[31mevil\x1b[0m\r\n[red]x[/red] \u202egnp.exe ]]> %0A \"'\u2028`|\udc80 <script>"

WAIVER = Waiver(
    rule="no-restricted-license",
    artifact="acme/*",
    reason="Accepted by legal",
    approved_by="legal@acme.example",
    expires=date(2026, 6, 30),
    ticket="LEGAL-42",
    file="policies/release.yaml",
    line=30,
)
LLAMA = LicenseTerm("llama3.1", None, "Llama 3.1", "open-with-use-restrictions", "https://llama.example/license")
LLAMA3 = LicenseTerm("llama3", "LicenseRef-llama3", "Llama 3", "open-with-use-restrictions")
APACHE = LicenseTerm("apache-2.0", "Apache-2.0", None, "permissive")


class NoReader:
    """A reader for tensors that no test of this room reads."""

    def read(self, start: int, count: int) -> NDArray[np.float32]:
        raise AssertionError("a report reads no weights")


def digest(text: str) -> Sha256:
    return Sha256(sha256(text.encode("utf-8", "backslashreplace")).hexdigest())


def file(path: str, kind: FileKind, weights: WeightFormat | None = None, size: int = 100) -> FileRecord:
    return FileRecord(PurePosixPath(path), size, kind, weights, digest(path))


FILES = (
    file("LICENSE", FileKind.LICENSE),
    file("README.md", FileKind.CARD),
    file("config.json", FileKind.CONFIG),
    file("model.safetensors", FileKind.WEIGHTS, WeightFormat.SAFETENSORS, 16_000_000_000),
    file("model.sig", FileKind.OTHER),
)


def claim(model: str = BASE, relation: str | None = "finetune", line: int = 3) -> BaseClaim:
    return BaseClaim(model, relation, BASE_COMMIT, ClaimSource(PurePosixPath("README.md"), line, "base_model"))


def license_claim(
    license_id: str, name: str | None = None, path: str = "README.md", link: str | None = None
) -> LicenseClaim:
    return LicenseClaim(license_id, name, link, ClaimSource(PurePosixPath(path), 2, "license"))


def artifact(
    name: str = "acme/support-bot-8b",
    bases: tuple[BaseClaim, ...] = (),
    licenses: tuple[LicenseClaim, ...] = (),
    files: tuple[FileRecord, ...] = FILES,
    notes: tuple[str, ...] = (),
) -> Artifact:
    tensor = StoredTensor("w", "BF16", (8_030_000_000,), 16_060_000_000, PurePosixPath("model.safetensors"), NoReader())
    return Artifact(
        name=name,
        files=files,
        claims=Claims(bases, licenses),
        config=ModelConfig("llama", ("LlamaForCausalLM",), 4096, num_attention_heads=32, vocab_size=128256),
        tokenizer=NotMeasured("no tokenizer.json"),
        stored=(tensor,),
        canonical=(),
        roles_from="names",
        notes=notes,
    )


def derived(base: str = BASE, claims: tuple[BaseClaim, ...] = (), kinds: tuple[str, ...] = ("fine-tuned",)) -> Lineage:
    signals = {
        "mfi": Evidence("mfi", 1.0, "facts", "1 within one family"),
        "voa": Evidence("voa", 0.99, "facts", "0.1 to 0.4"),
        "eas": Evidence("eas", 0.98123456789, "exact", "-0.2 to 0.3", detail={"anchors": 64}),
        "end": Evidence("end", 0.97, "sampled", "0.2 to 0.9", 0.01),
        "nlf": Evidence("nlf", NotMeasured("no norm gains in any shard")),
        "content_identity": Evidence("content_identity", 0.125, "exact", "0"),
        "weight_correlation": Evidence("weight_correlation", 0.96, "sampled", "under 0.01", detail={"z": 76.25}),
        "neuron_match": Evidence("neuron_match", 1.0, "sampled", "under 0.06"),
    }
    return Lineage(
        base=BaseRef(base, f"hf://{base}", BASE_COMMIT),
        score=0.98,
        relation=Relation.DERIVED,
        kinds=kinds,
        p_value=1.23456e-300,
        test="permutation of FFN neurons",
        inheritance=0.97,
        components={
            "attention": ComponentEvidence(Relation.DERIVED, 0.96, NotMeasured("no null of its own")),
            "embeddings": ComponentEvidence(Relation.DERIVED, 0.99, 1e-12),
        },
        layers=tuple(LayerMatch("decoder", layer, layer, 0.96) for layer in range(12)),
        signals=signals,
        identity_score=0.96,
        claims=claims,
        reason="The feed-forward weights depend on the base.",
        tier=2,
    )


def independent(base: str = BASE, claims: tuple[BaseClaim, ...] = ()) -> Lineage:
    return replace(
        derived(base, claims, ()),
        score=0.02,
        relation=Relation.INDEPENDENT,
        p_value=0.42,
        inheritance=0.001,
        components={"attention": ComponentEvidence(Relation.INDEPENDENT, 0.003, NotMeasured("no null of its own"))},
        layers=(LayerMatch("decoder", 0, None, 0.003),),
        reason="No dependence was seen, and the test could have seen a correlation of 0.05.",
    )


def undecided(base: str = BASE, claims: tuple[BaseClaim, ...] = ()) -> Lineage:
    absent = NotMeasured("the adapter holds no base weights")
    return replace(
        derived(base, claims, ()),
        score=absent,
        relation=Relation.UNDECIDED,
        p_value=absent,
        inheritance=absent,
        identity_score=absent,
        components={},
        layers=(),
        signals={},
        reason="No weights could be compared.",
    )


def ancestor(
    model: str,
    path: tuple[str, ...],
    standing: Standing = Standing.SHOWN,
    licenses: tuple[LicenseTerm, ...] = (LLAMA,),
    declared: bool = True,
    rests_on: Standing | None = None,
) -> Ancestor:
    publisher = "Acme Corp" if standing is Standing.SELF else "Meta"
    return Ancestor(model, standing, rests_on or standing, declared, path, licenses, publisher, "llama", "catalog")


def ancestry(name: str = "acme/support-bot-8b", standing: Standing = Standing.SHOWN) -> tuple[Ancestor, ...]:
    return (
        ancestor(name, (name,), Standing.SELF, (APACHE,)),
        ancestor(BASE, (name, BASE), standing),
        ancestor(ROOT, (name, BASE, ROOT), Standing.CATALOG, (LLAMA3,), False, standing),
    )


def finding(
    number: str = "PG201",
    rule_id: str = "declared-base-is-real",
    status: Status = Status.PASS,
    message: str = "The weights show that the model derives from the declared base.",
    remedy: str = "",
    waiver: Waiver | None = None,
    severity: Severity = Severity.ERROR,
    key: str = BASE,
) -> Finding:
    return Finding(
        rule_id=rule_id,
        number=number,
        kind={"PG201": "declared-base", "PG101": "license"}.get(number, "tells"),
        title={"PG201": "Declared bases are shown by the weights", "PG101": "No denied license"}.get(number, "Tells"),
        severity=severity,
        status=status,
        message=message,
        remedy=remedy,
        evidence=(("score", "0.98"), ("p-value", "1.23e-300")),
        key=key,
        fingerprint=digest(f"{number} {key}"),
        location=ClaimSource(PurePosixPath("README.md"), 3, "base_model"),
        policy_file="policies/release.yaml",
        policy_line=7,
        waiver=waiver,
    )


def policy() -> Policy:
    rules = (
        RuleConfig("declared-base-is-real", "declared-base", Severity.ERROR, Undecided.FAIL, {}, "p.yaml", 5),
        RuleConfig("no-restricted-license", "license", Severity.ERROR, Undecided.FAIL, {}, "p.yaml", 9),
    )
    return Policy("release", "policies/release.yaml", digest("policy"), rules, (WAIVER,))


def result(
    subject: Artifact,
    lineages: tuple[Lineage, ...],
    nodes: tuple[Ancestor, ...],
    findings: tuple[Finding, ...],
    verdict: Verdict,
    purl: str = PURL,
) -> ArtifactResult:
    cost = ReadingCost(16_060_000_000, 12_300_000, 34)
    return ArtifactResult(subject, digest(subject.name), purl, lineages, nodes, findings, verdict, cost)


def report(*results: ArtifactResult, verdict: Verdict | None = None, timestamp: datetime | None = TIMESTAMP) -> Report:
    worst = verdict or results[0].verdict
    return Report("0.1.0", policy(), results, worst, 0 if worst is Verdict.PASS else 1, timestamp)


LICENSE_PASS = finding("PG101", "no-restricted-license", message="No ancestor is under a denied license.", key="")


def passing_result() -> ArtifactResult:
    bases = (claim(),)
    subject = artifact(bases=bases, licenses=(license_claim("apache-2.0"),))
    return result(subject, (derived(claims=bases),), ancestry(), (finding(), LICENSE_PASS), Verdict.PASS)


def passing() -> Report:
    return report(passing_result())


def impostor_result() -> ArtifactResult:
    bases = (claim(relation=None),)
    subject = artifact("vendor/own-12b", bases, (license_claim("other", "Vendor EULA", link="LICENSE"),))
    failed = finding(
        status=Status.FAIL,
        message="The declared base is not in the weights: score 0.02, asked for 0.7.",
        remedy="Correct base_model in README.md, or supply the weights that derive from it.",
    )
    return result(
        subject,
        (independent(claims=bases), derived("Qwen/Qwen2-7B")),
        (ancestor("vendor/own-12b", ("vendor/own-12b",), Standing.SELF, ()),),
        (failed, LICENSE_PASS),
        Verdict.FAIL,
        f"pkg:generic/own-12b@1?checksum=sha256:{digest('own')}",
    )


def impostor() -> Report:
    return report(impostor_result())


def waived() -> Report:
    bases = (claim(),)
    subject = artifact(bases=bases, licenses=(license_claim("apache-2.0"),))
    license_finding = finding(
        "PG101",
        "no-restricted-license",
        Status.WAIVED,
        "An ancestor carries llama3.1.",
        "Ask legal.",
        WAIVER,
        key="llama3.1",
    )
    return report(result(subject, (derived(claims=bases),), ancestry(), (finding(), license_finding), Verdict.PASS))


def undecided_report() -> Report:
    bases = (claim(),)
    subject = artifact(bases=bases)
    open_finding = finding(
        status=Status.UNDECIDED,
        message="No weights of the declared base were at hand.",
        remedy="Give them with --base.",
    )
    return report(
        result(
            subject,
            (undecided(claims=bases),),
            ancestry(standing=Standing.UNDECIDED),
            (open_finding, LICENSE_PASS),
            Verdict.UNDECIDED,
        )
    )


def adapter() -> Report:
    bases = (claim(relation="adapter"),)
    subject = artifact("acme/lora", bases, files=(file("adapter_config.json", FileKind.CONFIG),))
    return report(result(subject, (undecided(claims=bases),), ancestry("acme/lora"), (LICENSE_PASS,), Verdict.PASS))


def two_artifacts() -> Report:
    return report(passing_result(), impostor_result(), verdict=Verdict.FAIL)


def same_twice() -> Report:
    return report(passing_result(), passing_result())


def hostile() -> Report:
    bases = (
        BaseClaim(HOSTILE, HOSTILE, HOSTILE, ClaimSource(PurePosixPath(HOSTILE), 3, HOSTILE)),
        BaseClaim("", None, None, ClaimSource(PurePosixPath("README.md"), 4, "base_model")),
    )
    licenses = (
        license_claim(HOSTILE, HOSTILE, link="javascript:alert(1)"),
        license_claim("openrail", link="http://[broken"),
        license_claim("", link="https://ok.example/a b"),
    )
    subject = artifact(
        HOSTILE, bases, licenses, (file(HOSTILE, FileKind.CARD), file("w.bin", FileKind.OTHER)), (HOSTILE,)
    )
    lineage = replace(
        derived(HOSTILE, bases[:1], (HOSTILE,)),
        test=HOSTILE,
        reason=HOSTILE,
        components={HOSTILE: ComponentEvidence(Relation.PARTIAL, float("nan"), NotMeasured(HOSTILE))},
        layers=(LayerMatch(HOSTILE, 0, 0, 0.5),),
        signals={"eas": Evidence("eas", float("inf"), HOSTILE, HOSTILE, detail={HOSTILE: [float("nan"), HOSTILE]})},
    )
    failed = finding(status=Status.FAIL, message=HOSTILE, remedy=HOSTILE, key=HOSTILE)
    nodes = (ancestor(HOSTILE, ("a", HOSTILE), licenses=(LicenseTerm(HOSTILE, None, None, "unknown", HOSTILE),)),)
    return report(result(subject, (lineage,), nodes, (failed,), Verdict.FAIL, f"pkg:generic/{HOSTILE}"))


REPORTS = {
    "passing": passing,
    "impostor": impostor,
    "waived": waived,
    "undecided": undecided_report,
    "adapter": adapter,
    "two artifacts": two_artifacts,
    "same twice": same_twice,
    "hostile": hostile,
}
