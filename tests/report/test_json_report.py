import json
from dataclasses import replace

import pytest
from jsonschema import Draft202012Validator

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.fingerprint.interface import Evidence, Subject
from provenance_gate.report.interface import SIGNALS
from provenance_gate.report.json_report import (
    compare_to_json,
    lineage_to_json,
    load_schema,
    match_to_json,
    render_check,
    render_compare,
)

from . import build


@pytest.mark.parametrize("name", build.REPORTS)
def test_every_report_follows_the_schema_and_repeats_byte_for_byte(name: str) -> None:
    text = render_check(build.REPORTS[name]())
    Draft202012Validator(load_schema("check")).validate(json.loads(text))
    assert text == render_check(build.REPORTS[name]())
    assert text.isascii()
    assert text.endswith("}\n")


@pytest.mark.parametrize("name", build.REPORTS)
def test_every_lineage_has_all_eleven_signals_and_a_reason_for_each_absent_one(name: str) -> None:
    for lineage in json.loads(render_check(build.REPORTS[name]()))["lineages"]:
        assert len(SIGNALS) == 11
        assert set(SIGNALS) <= set(lineage["signals"])
        assert all(s["value"] is not None or s["reason"] for s in lineage["signals"].values())


@pytest.mark.parametrize("name", ["check", "compare"])
def test_the_shipped_schemas_are_schemas(name: str) -> None:
    Draft202012Validator.check_schema(load_schema(name))


def test_the_shared_definitions_of_both_schemas_are_equal() -> None:
    check, compare = load_schema("check")["$defs"], load_schema("compare")["$defs"]
    shared = (set(check) & set(compare)) - {"lineage"}
    assert shared
    assert all(check[name] == compare[name] for name in shared)
    extra = set(check["lineage"]["properties"]) - set(compare["lineage"]["properties"])
    assert extra == {"artifact", "base"}


@pytest.mark.parametrize("lineage", [build.derived(), build.independent(), build.undecided()])
def test_compare_has_the_four_fields_of_the_contract(lineage) -> None:
    text = render_compare(build.artifact(), lineage.base, lineage)
    body = json.loads(text)
    Draft202012Validator(load_schema("compare")).validate(body)
    assert set(body) == {"schema", "artifact", "base", "lineage"}
    assert body["base"] == {"id": build.BASE, "source": f"hf://{build.BASE}", "revision": build.BASE_COMMIT}


def test_compare_takes_the_subject_of_a_fingerprint() -> None:
    artifact = build.artifact()
    lineage = build.derived()
    body = compare_to_json(Subject(artifact.name, artifact.files, artifact.claims), lineage.base, lineage)
    Draft202012Validator(load_schema("compare")).validate(body)
    assert "parameters" not in body["artifact"]


def test_a_lineage_has_the_fields_of_the_contract() -> None:
    body = lineage_to_json(build.derived())
    assert set(body) == {
        *("score", "relation", "kinds", "p_value", "test", "inheritance", "components", "layers"),
        *("signals", "identity_score", "claims", "reason", "tier"),
    }
    assert set(match_to_json(build.derived())) == {"base", *body}


def test_an_absent_score_is_null_beside_its_reason() -> None:
    body = lineage_to_json(build.undecided())
    assert body["score"] is None
    assert body["score_reason"] == "the adapter holds no base weights"
    assert "score_reason" not in lineage_to_json(build.derived())


def test_numbers_keep_six_digits_and_a_p_value_three() -> None:
    body = lineage_to_json(build.derived())
    assert body["signals"]["eas"]["value"] == 0.981235
    assert body["p_value"] == 1.23e-300


def test_a_number_that_is_not_finite_is_null_with_a_reason() -> None:
    lineage = replace(
        build.derived(), score=float("nan"), signals={"eas": Evidence("eas", 1.0, detail={"z": float("inf")})}
    )
    text = render_compare(build.artifact(), lineage.base, lineage)
    assert "NaN" not in text
    assert "Infinity" not in text
    body = json.loads(text)["lineage"]
    assert body["score"] is None
    assert "finite" in body["score_reason"]
    assert body["signals"]["eas"]["detail"] == {"z": None}


def test_findings_and_lineages_name_their_artifact_in_the_flat_lists() -> None:
    body = json.loads(render_check(build.two_artifacts()))
    assert [artifact["name"] for artifact in body["artifacts"]] == ["acme/support-bot-8b", "vendor/own-12b"]
    assert {finding["artifact"] for finding in body["findings"]} == {"acme/support-bot-8b", "vendor/own-12b"}
    assert body["lineages"] == [lineage for artifact in body["artifacts"] for lineage in artifact["lineages"]]
    assert body["verdict"] == "fail"
    assert body["exit_code"] == 1


def test_a_waived_finding_stays_with_who_why_and_until_when() -> None:
    body = json.loads(render_check(build.waived()))
    (waiver,) = [finding["waiver"] for finding in body["findings"] if finding["waiver"]]
    assert (waiver["approved_by"], waiver["expires"], waiver["reason"]) == (
        "legal@acme.example",
        "2026-06-30",
        "Accepted by legal",
    )


def test_a_missing_digest_is_null_with_a_reason() -> None:
    record = replace(build.FILES[0], sha256=NotMeasured("digests were not asked for"))
    body = compare_to_json(build.artifact(files=(record,)), build.derived().base, build.derived())
    assert body["artifact"]["files"][0]["sha256"] is None
    assert body["artifact"]["files"][0]["sha256_reason"] == "digests were not asked for"
