"""The rows of CONVENTIONS section 1."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from provenance_gate.artifact.interface import FileKind, NotMeasured
from provenance_gate.errors import UsageError
from provenance_gate.lineage.interface import LicenseTerm, Relation, Standing
from provenance_gate.policy.interface import RuleConfig, Severity, Status, Undecided, Verdict
from provenance_gate.report.cyclonedx import render
from provenance_gate.report.interface import Report, ReportOptions

from . import build

VERSIONS = {"1.6": SchemaVersion.V1_6, "1.7": SchemaVersion.V1_7}
LINEAGE = "provenance-gate:lineage:"


def bom(report: Report, **options: Any) -> dict[str, Any]:
    return json.loads(render(report, ReportOptions(**options)))


def model(report: Report, **options: Any) -> dict[str, Any]:
    return bom(report, **options)["components"][0]


def ancestors(report: Report) -> list[dict[str, Any]]:
    return model(report)["pedigree"]["ancestors"]


def values(component: dict[str, Any], name: str) -> list[str]:
    return [p["value"] for p in component["properties"] if p["name"] == name]


def only_result(report: Report, **changes: Any) -> Report:
    return replace(report, results=(replace(report.results[0], **changes),))


def only_artifact(report: Report, **changes: Any) -> Report:
    return only_result(report, artifact=replace(report.results[0].artifact, **changes))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", build.REPORTS)
def test_every_report_gives_a_bom_that_the_library_accepts_and_repeats_it(name: str, version: str) -> None:
    options = ReportOptions(bom_version=version)
    text = render(build.REPORTS[name](), options)
    assert JsonStrictValidator(VERSIONS[version]).validate_str(text) is None
    assert json.loads(text)["specVersion"] == version
    assert text == render(build.REPORTS[name](), options)
    assert text.isascii()


@pytest.mark.parametrize("name", build.REPORTS)
def test_no_string_of_any_bom_holds_a_control_character(name: str) -> None:
    assert all(text.isprintable() for text in strings(bom(build.REPORTS[name]())))


def test_default_is_1_6_without_citations() -> None:
    body = bom(build.passing())
    assert body["specVersion"] == "1.6"
    assert "citations" not in body


def test_1_7_cites_the_gate_for_what_the_gate_concludes() -> None:
    (citation,) = bom(build.passing(), bom_version="1.7")["citations"]
    assert citation["attributedTo"] == "tool:provenance-gate"
    assert citation["timestamp"] == "2026-01-15T10:00:00Z"
    assert citation["pointers"] == [
        "/components/0/licenses/1",
        "/components/0/licenses/2",
        "/components/0/pedigree/ancestors/0/evidence",
    ]


def test_1_7_without_a_time_has_no_citations_because_they_require_one() -> None:
    assert "citations" not in bom(replace(build.passing(), timestamp=None), bom_version="1.7")


def test_another_version_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"1\.6, 1\.7"):
        render(build.passing(), ReportOptions(bom_version="1.5"))


def test_serial_number_follows_the_content() -> None:
    first, second = bom(build.passing()), bom(build.impostor())
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-.*", first["serialNumber"])
    assert first["serialNumber"] != second["serialNumber"]


def test_reproducible_leaves_out_serial_number_and_time_and_says_so() -> None:
    body = bom(build.passing(), reproducible=True)
    assert "serialNumber" not in body
    assert "timestamp" not in body["metadata"]
    assert values(body["metadata"], "cdx:reproducible") == ["true"]
    later = replace(build.passing(), timestamp=build.TIMESTAMP + timedelta(days=1))
    assert body == bom(later, reproducible=True)


def test_a_time_without_zone_is_utc_and_another_zone_is_turned() -> None:
    naive = replace(build.passing(), timestamp=datetime(2026, 1, 15, 10, 0))
    turned = replace(build.passing(), timestamp=build.TIMESTAMP.astimezone(timezone(timedelta(hours=5))))
    assert bom(naive) == bom(turned) == bom(build.passing())


def test_the_release_is_metadata_component_and_the_model_is_the_first_component() -> None:
    body = bom(build.passing(), release_name="acme/support-bot", release_version="2026.1")
    release, first = body["metadata"]["component"], body["components"][0]
    assert (release["type"], release["name"], release["version"]) == ("application", "acme/support-bot", "2026.1")
    assert first["type"] == "machine-learning-model"
    assert (first["group"], first["name"], first["version"]) == ("acme", "support-bot-8b", build.COMMIT)
    assert first["purl"] == first["bom-ref"] == build.PURL
    assert first["supplier"] == {"name": "Acme Corp"}
    assert body["dependencies"] == [{"ref": "subject:release", "dependsOn": [build.PURL]}]


def test_a_release_without_a_name_takes_that_of_its_only_model() -> None:
    assert bom(build.passing())["metadata"]["component"]["name"] == "acme/support-bot-8b"
    assert bom(build.two_artifacts())["metadata"]["component"]["name"] == "release"


def test_a_model_off_the_hub_has_a_generic_purl_with_its_checksum() -> None:
    first = model(build.impostor())
    assert first["purl"].startswith("pkg:generic/own-12b@1?checksum=sha256:")
    assert (first["name"], first["version"]) == ("own-12b", "1")
    assert "group" not in first
    assert "distribution" not in {reference["type"] for reference in first["externalReferences"]}


def test_files_are_nested_with_their_sha256_and_the_manifest_digest_is_a_property() -> None:
    first = model(build.passing())
    assert [nested["name"] for nested in first["components"]] == [str(record.path) for record in build.FILES]
    assert all(nested["type"] == "file" for nested in first["components"])
    assert first["components"][3]["hashes"] == [{"alg": "SHA-256", "content": build.digest("model.safetensors")}]
    assert values(first, "provenance-gate:digest:manifest-sha256") == [build.passing().results[0].digest]
    assert "hashes" not in first


def test_a_model_of_one_file_carries_its_hash_itself() -> None:
    report = only_artifact(build.passing(), files=(build.file("model.gguf", FileKind.WEIGHTS),))
    assert model(report)["hashes"] == [{"alg": "SHA-256", "content": build.digest("model.gguf")}]


def test_the_inventory_is_complete_only_when_every_file_has_a_digest() -> None:
    assert bom(build.passing())["compositions"] == [{"aggregate": "complete", "assemblies": [build.PURL]}]
    unread = (*build.FILES[1:], replace(build.FILES[0], sha256=NotMeasured("too large")))
    body = bom(only_artifact(build.passing(), files=unread))
    assert body["compositions"] == [{"aggregate": "incomplete", "assemblies": [build.PURL]}]
    assert values(body["components"][0]["components"][-1], "provenance-gate:digest:absent") == ["too large"]


def test_licenses_are_declared_then_concluded_as_spdx_id_or_name() -> None:
    licenses = [entry["license"] for entry in model(build.passing())["licenses"]]
    assert [(entry.get("id"), entry.get("name"), entry["acknowledgement"]) for entry in licenses] == [
        ("Apache-2.0", None, "declared"),
        (None, "llama3.1", "concluded"),
        (None, "llama3", "concluded"),
    ]


def test_nothing_is_concluded_from_ancestors_that_the_weights_do_not_show() -> None:
    assert "licenses" not in model(build.undecided_report())


@pytest.mark.parametrize(
    ("hub_id", "field", "spelling"),
    [
        ("mit", "id", "MIT"),
        ("CC-BY-NC-4.0", "id", "CC-BY-NC-4.0"),
        ("gemma", "name", "gemma"),
        ("openrail", "name", "openrail"),
        ("other", "name", "other"),
        ("LicenseRef-acme", "name", "LicenseRef-acme"),
        ("MIT AND Apache-2.0", "name", "MIT AND Apache-2.0"),
    ],
)
def test_a_hub_license_is_folded_to_spdx_or_kept_as_name(hub_id: str, field: str, spelling: str) -> None:
    claims = replace(build.artifact().claims, licenses=(build.license_claim(hub_id),))
    report = only_result(only_artifact(build.passing(), claims=claims), ancestry=(), lineages=())
    assert model(report)["licenses"] == [{"license": {field: spelling, "acknowledgement": "declared"}}]


def test_a_license_found_in_a_license_file_is_evidence() -> None:
    licenses = (build.license_claim("apache-2.0"), build.license_claim("mit", path="LICENSE"))
    claims = replace(build.passing().results[0].artifact.claims, licenses=licenses)
    first = model(only_artifact(build.passing(), claims=claims))
    assert first["evidence"]["licenses"] == [{"license": {"id": "MIT", "acknowledgement": "declared"}}]
    assert "MIT" not in {entry["license"].get("id") for entry in first["licenses"]}


def test_other_keeps_the_name_that_the_publisher_gives_and_a_bad_link_is_dropped() -> None:
    (declared,) = model(build.impostor())["licenses"]
    assert declared["license"]["url"] == "LICENSE"
    assert values(declared["license"], "provenance-gate:license:name") == ["Vendor EULA"]
    assert "javascript" not in render(build.hostile(), ReportOptions())


def test_a_shown_parent_is_an_ancestor_with_evidence_of_each_tier() -> None:
    (parent,) = ancestors(build.passing())
    assert parent["bom-ref"] == f"ancestor:1:{build.BASE_PURL}"
    assert (parent["purl"], parent["group"], parent["name"]) == (build.BASE_PURL, "meta-llama", "Llama-3.1-8B")
    assert parent["licenses"][0]["license"]["name"] == "llama3.1"
    (identity,) = parent["evidence"]["identity"]
    assert identity["field"] == "purl"
    assert identity["concludedValue"] == build.BASE_PURL
    assert identity["confidence"] == 0.98
    assert identity["tools"] == ["tool:provenance-gate"]
    techniques = {method["technique"]: method for method in identity["methods"]}
    assert set(techniques) == {"manifest-analysis", "other", "binary-analysis", "hash-comparison"}
    assert techniques["other"]["value"].startswith("tokenizer:")
    assert techniques["manifest-analysis"]["value"].startswith("config:")
    assert techniques["binary-analysis"]["confidence"] == 0.98
    assert values(parent, f"{LINEAGE}relation") == ["finetune"]
    assert values(parent, f"{LINEAGE}status") == ["verified"]
    assert values(parent, f"{LINEAGE}source") == ["declared"]
    assert "README.md" in model(build.passing())["pedigree"]["notes"]


def test_grandparents_are_the_ancestors_own_ancestors() -> None:
    (parent,) = ancestors(build.passing())
    (grandparent,) = parent["pedigree"]["ancestors"]
    assert grandparent["purl"] == f"pkg:huggingface/{build.ROOT}"
    assert grandparent["bom-ref"].startswith("ancestor:1.1:")
    assert grandparent["licenses"][0]["license"]["name"] == "llama3"
    assert values(grandparent, f"{LINEAGE}source") == ["catalog"]


def test_a_false_claim_is_contradicted_and_the_real_parent_is_detected_after_it() -> None:
    false, real = ancestors(build.impostor())
    assert values(false, f"{LINEAGE}status") == ["contradicted"]
    assert values(false, f"{LINEAGE}relation") == ["unknown"]
    assert "concludedValue" not in false["evidence"]["identity"][0]
    assert false["evidence"]["identity"][0]["confidence"] == 0.02
    assert values(real, f"{LINEAGE}source") == ["detected"]
    assert values(real, f"{LINEAGE}status") == ["verified"]
    assert values(real, f"{LINEAGE}relation") == ["finetune"]
    assert real["purl"].startswith("pkg:huggingface/Qwen/Qwen2-7B@")


@pytest.mark.parametrize(
    ("relation", "status"),
    [
        (Relation.IDENTICAL, "verified"),
        (Relation.REFORMATTED, "verified"),
        (Relation.DERIVED, "verified"),
        (Relation.PARTIAL, "contradicted"),
        (Relation.INDEPENDENT, "contradicted"),
        (Relation.SHARED_INITIALIZATION, "undecided"),
        (Relation.UNDECIDED, "undecided"),
    ],
)
def test_status_says_what_the_weights_say_of_a_claim(relation: Relation, status: str) -> None:
    lineage = replace(build.passing().results[0].lineages[0], relation=relation)
    (parent,) = ancestors(only_result(build.passing(), lineages=(lineage,), ancestry=()))
    assert values(parent, f"{LINEAGE}status") == [status]


def test_a_claim_that_nothing_tested_is_declared_only() -> None:
    (parent,) = ancestors(only_result(build.passing(), lineages=(), ancestry=()))
    assert values(parent, f"{LINEAGE}status") == ["declared-only"]
    assert "evidence" not in parent


def test_a_claim_without_relation_takes_it_from_the_kinds_and_an_unknown_word_is_not_passed_on() -> None:
    for claimed in (None, "distilled-by-magic"):
        bases = (build.claim(relation=claimed),)
        lineages = (build.derived(claims=bases, kinds=("merged", "fine-tuned")),)
        subject = build.artifact(bases=bases)
        (parent,) = ancestors(only_result(build.passing(), artifact=subject, lineages=lineages))
        assert values(parent, f"{LINEAGE}relation") == ["merge"]


def test_merge_parents_stay_in_declared_order() -> None:
    bases = tuple(build.claim(f"org/{name}", "merge") for name in ("z", "a", "m"))
    lineages = tuple(build.derived(f"org/{name}") for name in ("hidden", "m", "a", "z"))
    report = only_result(build.passing(), artifact=build.artifact(bases=bases), lineages=lineages, ancestry=())
    assert [parent["name"] for parent in ancestors(report)] == ["z", "a", "m", "hidden"]


def test_a_tested_grandparent_is_nested_with_its_evidence_and_not_listed_twice() -> None:
    bases = (build.claim(),)
    report = only_result(build.passing(), lineages=(build.derived(claims=bases), build.derived(build.ROOT)))
    (parent,) = ancestors(report)
    (grandparent,) = parent["pedigree"]["ancestors"]
    assert grandparent["evidence"]["identity"][0]["confidence"] == 0.98


def test_a_base_that_was_tested_and_is_neither_claimed_nor_shown_is_no_ancestor() -> None:
    lineages = (*build.passing().results[0].lineages, build.independent("org/stranger"))
    first = model(only_result(build.passing(), lineages=lineages))
    assert len(first["pedigree"]["ancestors"]) == 1
    assert any(value.startswith("org/stranger: independent") for value in values(first, f"{LINEAGE}tested"))


def test_lineage_is_mirrored_into_properties_but_a_refuted_claim_is_not_called_an_ancestor() -> None:
    assert values(model(build.passing()), f"{LINEAGE}ancestor") == [build.BASE_PURL]
    assert values(model(build.passing()), f"{LINEAGE}verified") == [build.BASE_PURL]
    impostor = model(build.impostor())
    assert values(impostor, f"{LINEAGE}contradicted") == [build.BASE_PURL]
    assert build.BASE_PURL not in values(impostor, f"{LINEAGE}ancestor")


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("passing", "passed"),
        ("waived", "passed-with-waivers"),
        ("impostor", "failed"),
        ("undecided", "undecided"),
    ],
)
def test_the_verdict_is_a_property(name: str, word: str) -> None:
    body = bom(build.REPORTS[name]())
    assert values(body["components"][0], "provenance-gate:verdict") == [word]
    assert values(body["metadata"], "provenance-gate:verdict") == [word]


def test_the_model_card_uses_registered_names_only_and_files_have_none() -> None:
    first = model(build.passing())
    assert first["modelCard"] == {
        "modelParameters": {
            "task": "text-generation",
            "architectureFamily": "transformer",
            "modelArchitecture": "LlamaForCausalLM",
        },
        "properties": [
            {"name": "cdx:ai-ml:model:hyperparameter:vocab_size", "value": "128256"},
            {"name": "cdx:ai-ml:model:parameter:count", "value": "8.03B"},
        ],
    }
    assert not any("modelCard" in nested for nested in first["components"])


@pytest.mark.parametrize(
    ("count", "text"), [(8_000_000_000, "8B"), (1_700_000, "1.7M"), (1_200_000_000_000, "1.2T"), (3_100, "0.0031M")]
)
def test_parameters_are_counted_in_millions_billions_trillions(count: int, text: str) -> None:
    tensor = replace(build.artifact().stored[0], shape=(count,))
    first = model(only_artifact(build.passing(), stored=(tensor,)))
    assert values(first["modelCard"], "cdx:ai-ml:model:parameter:count") == [text]


def test_own_properties_have_our_prefix_and_cdx_ones_are_registered() -> None:
    names = {node["name"] for node in objects(bom(build.waived(), reproducible=True)) if {"name", "value"} == set(node)}
    assert {name for name in names if not name.startswith("provenance-gate:")} == {
        "cdx:ai-ml:model:hyperparameter:vocab_size",
        "cdx:ai-ml:model:parameter:count",
        "cdx:reproducible",
    }


def test_only_an_adapter_depends_on_its_base() -> None:
    body = bom(build.adapter())
    (base,) = body["components"][0]["pedigree"]["ancestors"]
    assert {"ref": body["components"][0]["bom-ref"], "dependsOn": [base["bom-ref"]]} in body["dependencies"]
    assert [edge["ref"] for edge in bom(build.passing())["dependencies"]] == ["subject:release"]


def test_the_policy_is_a_standard_with_all_its_rules() -> None:
    (standard,) = bom(build.waived())["definitions"]["standards"]
    assert standard["name"] == "release"
    assert standard["version"] == f"sha256:{build.policy().sha256}"
    assert [rule["bom-ref"] for rule in standard["requirements"]] == ["rule:PG201", "rule:PG101"]
    assert standard["requirements"][1]["title"] == "No denied license"


def test_two_rules_of_one_number_and_a_rule_without_answer_each_have_a_requirement() -> None:
    rules = (
        *build.policy().rules,
        RuleConfig("second", "license", Severity.NOTE, Undecided.WARN, {}, "p.yaml", 20),
        RuleConfig("silent", "tells", Severity.NOTE, Undecided.WARN, {}, "p.yaml", 24),
    )
    findings = (*build.passing().results[0].findings, build.finding("PG101", "second", key="other"))
    report = replace(only_result(build.passing(), findings=findings), policy=replace(build.policy(), rules=rules))
    (standard,) = bom(report)["definitions"]["standards"]
    assert [rule["bom-ref"] for rule in standard["requirements"]] == [
        "rule:PG201",
        "rule:PG101:no-restricted-license",
        "rule:PG101:second",
        "rule:silent",
    ]


def test_a_pass_is_a_claim_with_conformance_1() -> None:
    declared = bom(build.passing())["declarations"]
    (attestation,) = declared["attestations"]
    first = attestation["map"][0]
    assert first["requirement"] == "rule:PG201"
    assert first["conformance"]["score"] == 1
    assert "counterClaims" not in first
    claim = next(claim for claim in declared["claims"] if claim["bom-ref"] == first["claims"][0])
    assert claim["target"] == build.PURL
    (evidence,) = [item for item in declared["evidence"] if item["bom-ref"] in claim["evidence"]]
    assert evidence["description"] == "score: 0.98; p-value: 1.23e-300"


def test_a_failure_is_a_counter_claim_with_conformance_0() -> None:
    first = bom(build.impostor())["declarations"]["attestations"][0]["map"][0]
    assert first["conformance"]["score"] == 0
    assert first["counterClaims"]
    assert "claims" not in first
    assert "mitigationStrategies" not in first["conformance"]


def test_an_undecided_rule_has_no_conformance_score() -> None:
    first = bom(build.undecided_report())["declarations"]["attestations"][0]["map"][0]
    assert first["conformance"] == {"rationale": "undecided: No weights of the declared base were at hand."}
    assert "claims" not in first
    assert "counterClaims" not in first


def test_a_waiver_is_evidence_with_expiry_and_author_linked_from_conformance() -> None:
    declared = bom(build.waived())["declarations"]
    entry = declared["attestations"][0]["map"][1]
    assert entry["conformance"]["score"] == 0
    assert entry["conformance"]["mitigationStrategies"] == ["waiver:LEGAL-42"]
    (waiver,) = [item for item in declared["evidence"] if item["bom-ref"] == "waiver:LEGAL-42"]
    assert waiver["propertyName"] == "provenance-gate:waiver"
    assert waiver["expires"] == "2026-06-30T23:59:59Z"
    assert waiver["author"] == {"name": "legal@acme.example"}
    assert waiver["description"] == "Accepted by legal (LEGAL-42)"


def test_a_waiver_used_twice_is_written_once_and_two_without_ticket_stay_apart() -> None:
    second = replace(build.WAIVER, ticket=None)
    third = replace(second, artifact="other/*")
    findings = tuple(
        build.finding("PG101", "no-restricted-license", Status.WAIVED, "m", "r", waiver, key=str(index))
        for index, waiver in enumerate((build.WAIVER, build.WAIVER, second, third))
    )
    declared = bom(only_result(build.waived(), findings=findings))["declarations"]
    assert declared["attestations"][0]["map"][0]["conformance"]["mitigationStrategies"] == [
        "waiver:LEGAL-42",
        "waiver:no-restricted-license:2026-06-30",
        "waiver:no-restricted-license:2026-06-30#2",
    ]


def test_the_assessor_is_the_organization_that_runs_the_gate() -> None:
    (assessor,) = bom(build.passing(), organization="Acme Corp")["declarations"]["assessors"]
    assert assessor == {"bom-ref": "assessor:gate", "thirdParty": False, "organization": {"name": "Acme Corp"}}


def test_signature_verdict_card_and_distribution_are_external_references() -> None:
    references = model(build.passing(), attestation_url="provenance-gate.vsa.json")["externalReferences"]
    assert {reference["type"]: reference["url"] for reference in references} == {
        "attestation": "provenance-gate.vsa.json",
        "digital-signature": "./model.sig",
        "distribution": f"https://huggingface.co/acme/support-bot-8b/tree/{build.COMMIT}",
        "model-card": "./README.md",
    }


def test_a_mirror_is_where_the_distribution_points() -> None:
    purl = f"{build.PURL}?repository_url=https://hub.acme.example"
    (reference,) = [
        reference
        for reference in model(only_result(build.passing(), purl=purl))["externalReferences"]
        if reference["type"] == "distribution"
    ]
    assert reference["url"] == f"https://hub.acme.example/acme/support-bot-8b/tree/{build.COMMIT}"


def test_several_artifacts_are_each_a_model_of_the_one_release() -> None:
    body = bom(build.two_artifacts())
    refs = [component["bom-ref"] for component in body["components"]]
    assert len(refs) == 2
    assert body["dependencies"][0] == {"ref": "subject:release", "dependsOn": sorted(refs)}
    assert [attestation["summary"] for attestation in body["declarations"]["attestations"]] == [
        "acme/support-bot-8b: 2 passed",
        "vendor/own-12b: 1 passed, 1 failed",
    ]


def test_the_same_model_twice_still_has_refs_of_its_own() -> None:
    refs = [component["bom-ref"] for component in bom(build.same_twice())["components"]]
    assert refs == [build.PURL, f"{build.PURL}#2"]


def test_a_catalog_license_that_is_a_license_ref_is_named_as_the_hub_does() -> None:
    nodes = (
        build.ancestor(build.BASE, ("a", build.BASE), licenses=(LicenseTerm("gemma", "LicenseRef-gemma", "G", "x"),)),
    )
    licenses = model(only_result(build.passing(), ancestry=nodes))["licenses"]
    assert licenses[-1]["license"]["name"] == "gemma"


def test_an_ancestor_known_to_the_graph_alone_is_listed() -> None:
    nodes = (build.ancestor("org/seen", ("a", "org/seen"), Standing.SHOWN, declared=False),)
    listed = ancestors(only_result(build.passing(), artifact=build.artifact(), lineages=(), ancestry=nodes))
    assert [parent["name"] for parent in listed] == ["seen"]
    assert values(listed[0], f"{LINEAGE}source") == ["detected"]


def test_a_report_without_findings_or_files_is_still_valid() -> None:
    report = only_result(only_artifact(build.passing(), files=()), findings=(), verdict=Verdict.UNDECIDED)
    body = bom(report)
    assert body["declarations"]["attestations"][0]["summary"].endswith("no findings")
    assert body["compositions"][0]["aggregate"] == "incomplete"


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from strings(item)


def objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects(item)
