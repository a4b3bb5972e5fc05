"""The component of one artifact: identity, files, licenses, pedigree, model card, and the flat copy of its lineage."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from provenance_gate.artifact.interface import Artifact, FileKind, FileRecord, ModelConfig, NotMeasured
from provenance_gate.lineage.interface import Lineage, Standing
from provenance_gate.policy.interface import Finding, Status, Verdict
from provenance_gate.report.cyclonedx.identifiers import (
    Body,
    PurlParts,
    Refs,
    clean,
    file_url,
    is_safe_url,
    parse_purl,
    properties,
    repair_purl,
)
from provenance_gate.report.cyclonedx.licenses import concluded_licenses, declared_licenses, found_licenses
from provenance_gate.report.cyclonedx.pedigree import Parent, ancestor_component, collect_parents, pedigree_notes
from provenance_gate.report.interface import ArtifactResult, ReportOptions

_TASK_OF_ARCHITECTURE = (
    ("ForCausalLM", "text-generation"),
    ("LMHeadModel", "text-generation"),
    ("ForMaskedLM", "fill-mask"),
    ("ForSequenceClassification", "text-classification"),
    ("ForTokenClassification", "token-classification"),
    ("ForQuestionAnswering", "question-answering"),
    ("ForImageClassification", "image-classification"),
)
"""Classes that do one task only. `ForConditionalGeneration` is left out: speech, vision and text models share it."""

_SIGNATURE_SUFFIXES = (".sig", ".sigstore", ".sigstore.json", ".asc")
_VERDICT = {Verdict.PASS: "passed", Verdict.FAIL: "failed", Verdict.UNDECIDED: "undecided"}


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One artifact in the BOM: its component, the bom-refs that other parts need, and where the gate's own words stand."""

    component: Body
    ref: str
    parents: tuple[Parent, ...]
    is_complete: bool
    concluded: tuple[int, ...]


def model_entry(
    result: ArtifactResult, options: ReportOptions, refs: Refs, *, file_prefix: str, first_ancestor: int
) -> ModelEntry:
    """The component of `result`. Its bom-ref is the purl; files and ancestors get theirs from `refs`."""
    artifact = result.artifact
    purl = repair_purl(result.purl)
    parts = parse_purl(purl)
    ref = refs.take(purl)
    component: Body = {"type": "machine-learning-model", "bom-ref": ref}
    supplier = next((node.publisher for node in result.ancestry if node.standing is Standing.SELF), None)
    if supplier:
        component["supplier"] = {"name": clean(supplier)}
    component |= _naming(artifact, parts)
    if len(artifact.files) == 1:
        component |= _hashes(artifact.files[0])
    declared, concluded = declared_licenses(artifact), concluded_licenses(result.ancestry)
    if declared or concluded:
        component["licenses"] = declared + concluded
    component["purl"] = purl
    parents = tuple(collect_parents(result))
    if parents:
        component["pedigree"] = {
            "ancestors": [
                ancestor_component(parent, str(number), refs)
                for number, parent in enumerate(parents, start=first_ancestor)
            ],
            "notes": pedigree_notes(parents),
        }
    references = _external_references(artifact, parts, options)
    if references:
        component["externalReferences"] = references
    if artifact.files:
        component["components"] = [_file(record, refs, file_prefix) for record in artifact.files]
    found = found_licenses(artifact)
    if found:
        component["evidence"] = {"licenses": found}
    card = _model_card(artifact)
    if card:
        component["modelCard"] = card
    component["properties"] = properties(_facts(result, parents))
    return ModelEntry(
        component=component,
        ref=ref,
        parents=parents,
        is_complete=bool(artifact.files) and not any(isinstance(f.sha256, NotMeasured) for f in artifact.files),
        concluded=tuple(range(len(declared), len(declared) + len(concluded))),
    )


def verdict_word(verdict: Verdict, findings: Iterable[Finding]) -> str:
    """passed, passed-with-waivers, failed or undecided."""
    waived = verdict is Verdict.PASS and any(finding.status is Status.WAIVED for finding in findings)
    return "passed-with-waivers" if waived else _VERDICT[verdict]


def _naming(artifact: Artifact, parts: PurlParts | None) -> Body:
    naming: Body = {}
    if parts is not None and parts.group:
        naming["group"] = parts.group
    naming["name"] = (parts.name if parts is not None else "") or clean(artifact.name) or "unnamed"
    if parts is not None and parts.version:
        naming["version"] = parts.version
    return naming


def _file(record: FileRecord, refs: Refs, prefix: str) -> Body:
    path = str(record.path)
    component: Body = {"type": "file", "bom-ref": refs.take(prefix + path), "name": clean(path), **_hashes(record)}
    facts = [("provenance-gate:file:kind", record.kind.value), ("provenance-gate:file:size", str(record.size))]
    if record.format is not None:
        facts.append(("provenance-gate:file:format", record.format.value))
    if isinstance(record.sha256, NotMeasured):
        facts.append(("provenance-gate:digest:absent", record.sha256.reason))
    if record.declared:
        facts.append(("provenance-gate:digest:origin", "stated by the hub or a Git LFS pointer, not computed"))
    component["properties"] = properties(facts)
    return component


def _hashes(record: FileRecord) -> Body:
    match record.sha256:
        case NotMeasured():
            return {}
        case digest:
            return {"hashes": [{"alg": "SHA-256", "content": digest}]}


def _external_references(artifact: Artifact, parts: PurlParts | None, options: ReportOptions) -> list[Body]:
    found = []
    if parts is not None and parts.type == "huggingface":
        site = (parts.repository_url or "https://huggingface.co").rstrip("/")
        tree = f"/tree/{parts.version}" if parts.version else ""
        found.append(("distribution", f"{site}/{parts.group}/{parts.name}{tree}"))
    for record in artifact.files:
        path = str(record.path)
        if record.kind is FileKind.CARD:
            found.append(("model-card", file_url(path)))
        elif path.endswith(_SIGNATURE_SUFFIXES):
            found.append(("digital-signature", file_url(path)))
    if options.attestation_url:
        found.append(("attestation", options.attestation_url))
    return [{"type": kind, "url": url} for kind, url in sorted(set(found)) if is_safe_url(url)]


def _model_card(artifact: Artifact) -> Body:
    card: Body = {}
    facts = []
    if artifact.parameters > 0:
        facts.append(("cdx:ai-ml:model:parameter:count", _count(artifact.parameters)))
    match artifact.config:
        case NotMeasured():
            pass
        case config:
            parameters = _model_parameters(config)
            if parameters:
                card["modelParameters"] = parameters
            if config.vocab_size is not None:
                facts.append(("cdx:ai-ml:model:hyperparameter:vocab_size", str(config.vocab_size)))
    if facts:
        card["properties"] = properties(facts)
    return card


def _model_parameters(config: ModelConfig) -> Body:
    parameters: Body = {}
    architecture = config.architectures[0] if config.architectures else ""
    task = next((task for suffix, task in _TASK_OF_ARCHITECTURE if architecture.endswith(suffix)), None)
    if task is not None:
        parameters["task"] = task
    if config.num_attention_heads is not None:
        parameters["architectureFamily"] = "transformer"
    if architecture:
        parameters["modelArchitecture"] = clean(architecture)
    return parameters


def _count(parameters: int) -> str:
    """The taxonomy's spelling: a number and M, B or T."""
    for size, letter in ((10**12, "T"), (10**9, "B")):
        if parameters >= size:
            return f"{float(f'{parameters / size:.3g}'):g}{letter}"
    return f"{float(f'{parameters / 10**6:.3g}'):.12f}".rstrip("0").rstrip(".") + "M"


def _facts(result: ArtifactResult, parents: tuple[Parent, ...]) -> list[tuple[str, str]]:
    facts = [
        ("provenance-gate:verdict", verdict_word(result.verdict, result.findings)),
        ("provenance-gate:artifact", result.artifact.name),
        ("provenance-gate:weights:size", str(result.cost.weight_bytes)),
        ("provenance-gate:weights:read", str(result.cost.bytes_read)),
    ]
    if result.digest:
        facts.append(("provenance-gate:digest:manifest-sha256", result.digest))
    facts += [("provenance-gate:note", note) for note in result.artifact.notes]
    for parent in parents:
        # A refuted claim is no ancestor; readers of flat properties see only the name.
        if parent.status != "contradicted":
            facts.append(("provenance-gate:lineage:ancestor", parent.purl))
        facts.append((f"provenance-gate:lineage:{parent.status}", parent.purl))
        facts.append(("provenance-gate:lineage:summary", _parent_summary(parent)))
    facts += [("provenance-gate:lineage:tested", _lineage_summary(lineage)) for lineage in result.lineages]
    return facts


def _parent_summary(parent: Parent) -> str:
    return f"{parent.purl} relation={parent.relation} status={parent.status} source={parent.source}"


def _lineage_summary(lineage: Lineage) -> str:
    score = "not measured" if isinstance(lineage.score, NotMeasured) else f"{lineage.score:.3g}"
    p_value = "not measured" if isinstance(lineage.p_value, NotMeasured) else f"{lineage.p_value:.3g}"
    return f"{lineage.base.id}: {lineage.relation.value}, score {score}, p-value {p_value}"
