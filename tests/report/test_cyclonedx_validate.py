import json
from collections.abc import Callable
from typing import Any

import pytest

from provenance_gate.errors import ReportError
from provenance_gate.report.cyclonedx import render
from provenance_gate.report.cyclonedx.identifiers import file_url, is_safe_url, model_purl, parse_purl, repair_purl
from provenance_gate.report.cyclonedx.validate import validate_bom
from provenance_gate.report.interface import ReportOptions

from . import build


def body(version: str = "1.7") -> dict[str, Any]:
    return json.loads(render(build.waived(), ReportOptions(bom_version=version)))


def put(*path: Any) -> Callable[[dict[str, Any]], None]:
    """A change: the last of `path` is written where the others lead."""

    def change(target: Any) -> None:
        *way, last, value = path
        for step in way:
            target = target[step]
        target[last] = value

    return change


FAULTS = {
    "a field the schema does not know": (put("surprise", 1), "surprise"),
    "a version we do not write": (put("specVersion", "1.5"), "specVersion"),
    "an id that is not SPDX": (
        put("components", 0, "licenses", 0, "license", {"id": "llama3.1"}),
        "/components/0/licenses",
    ),
    "a repeated bom-ref": (put("components", 0, "components", 1, "bom-ref", "file:LICENSE"), "already that of"),
    "a dangling dependency": (put("dependencies", 0, "dependsOn", ["pkg:generic/x"]), "pkg:generic/x"),
    "a dangling dependency subject": (put("dependencies", 0, "ref", "nobody"), "nobody"),
    "a dangling assembly": (put("compositions", 0, "assemblies", ["nobody"]), "/compositions/0/assemblies"),
    "a dangling assessor": (put("declarations", "attestations", 0, "assessor", "claim:x"), "no assessor"),
    "a dangling requirement": (
        put("declarations", "attestations", 0, "map", 0, "requirement", "assessor:gate"),
        "no requirement",
    ),
    "a dangling claim": (put("declarations", "attestations", 0, "map", 0, "claims", ["waiver:LEGAL-42"]), "no claim"),
    "a dangling counter claim": (put("declarations", "attestations", 0, "map", 1, "counterClaims", ["x"]), "no claim"),
    "a dangling mitigation": (
        put("declarations", "attestations", 0, "map", 1, "conformance", "mitigationStrategies", ["x"]),
        "no evidence",
    ),
    "a dangling target": (put("declarations", "claims", 0, "target", "x"), "/declarations/claims/0/target"),
    "dangling claim evidence": (put("declarations", "claims", 0, "evidence", ["rule:PG101"]), "no evidence"),
    "a dangling tool": (
        put("components", 0, "pedigree", "ancestors", 0, "evidence", "identity", 0, "tools", ["tool:x"]),
        "tool:x",
    ),
    "a citation of nobody": (put("citations", 0, "attributedTo", "nobody"), "nobody"),
    "a citation of nothing": (put("citations", 0, "pointers", ["/components/7"]), "leads nowhere"),
    "a model card on a file": (put("components", 0, "components", 0, "modelCard", {}), "modelCard"),
    "a model card on the release": (put("metadata", "component", "modelCard", {}), "modelCard"),
    "a malformed address": (put("components", 0, "externalReferences", 0, "url", "http://[x"), "malformed"),
    "an address that runs code": (
        put("components", 0, "externalReferences", 0, "url", "javascript:alert(1)"),
        "malformed",
    ),
    "a malformed license address": (
        put("components", 0, "licenses", 1, "license", "url", "https://a.example/b c"),
        "malformed",
    ),
    "a malformed purl": (put("components", 0, "purl", "huggingface/acme/x"), "purl"),
    "a malformed time": (put("metadata", "timestamp", "yesterday"), "timestamp"),
    "a malformed expiry": (put("declarations", "evidence", 1, "expires", "2026-13-01T00:00:00Z"), "expires"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_doctored_body_is_refused_with_its_fault(name: str) -> None:
    change, message = FAULTS[name]
    doctored = body()
    validate_bom(doctored)
    change(doctored)
    with pytest.raises(ReportError) as caught:
        validate_bom(doctored)
    assert message in str(caught.value)
    assert caught.value.exit_code == 3


def test_files_beyond_the_first_part_are_checked_too() -> None:
    doctored = body()
    files = [{"type": "file", "bom-ref": f"f{number}", "name": "x"} for number in range(450)]
    doctored["components"][0]["components"] = files
    validate_bom(doctored)
    files[449]["bom-ref"] = "f0"
    with pytest.raises(ReportError, match="already that of"):
        validate_bom(doctored)
    files[449] = {"type": "file", "bom-ref": "f449", "name": 7}
    with pytest.raises(ReportError, match=r"components\[400:\]/components/49/name"):
        validate_bom(doctored)


def test_citations_under_1_6_are_refused() -> None:
    doctored = body("1.6")
    doctored["citations"] = body("1.7")["citations"]
    with pytest.raises(ReportError, match="citations"):
        validate_bom(doctored)


def test_a_purl_that_is_none_stops_the_report() -> None:
    report = build.passing()
    result = build.result(build.artifact(), (), (), (), report.verdict, "not a purl")
    with pytest.raises(ReportError, match="purl"):
        render(build.report(result), ReportOptions())


@pytest.mark.parametrize(
    ("model", "revision", "purl"),
    [
        ("org/name", None, "pkg:huggingface/org/name"),
        ("org/name", "main", "pkg:huggingface/org/name"),
        ("Org/Na.me-1_b", "A" * 40, f"pkg:huggingface/Org/Na.me-1_b@{'a' * 40}"),
        ("gpt2", None, "pkg:generic/gpt2"),
        ("./bases/llama", None, "pkg:generic/.%2Fbases%2Fllama"),
        ("a/b/c", None, "pkg:generic/a%2Fb%2Fc"),
        ("", None, "pkg:generic/unnamed"),
        ("evil name@1?x=y#z", None, "pkg:generic/evil%20name%401%3Fx%3Dy%23z"),
    ],
)
def test_an_id_becomes_a_purl_whatever_it_holds(model: str, revision: str | None, purl: str) -> None:
    assert model_purl(model, revision) == purl
    assert parse_purl(purl) is not None


@pytest.mark.parametrize("purl", [build.PURL, f"pkg:generic/a@1?checksum=sha256:{'0' * 64}", "pkg:generic/a%20b"])
def test_a_valid_purl_is_left_alone(purl: str) -> None:
    assert repair_purl(purl) == purl


def test_a_stray_percent_sign_in_a_purl_is_escaped() -> None:
    assert repair_purl("pkg:generic/50%") == "pkg:generic/50%25"
    assert parse_purl("pkg:generic/50%") is None


@pytest.mark.parametrize(
    "url",
    ["https://a.example/b?c=d#e", "http://[::1]:80/", "LICENSE", "./a%20b", "urn:uuid:1", "https://bücher.example/ü"],
)
def test_well_formed_addresses_are_kept(url: str) -> None:
    assert is_safe_url(url)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "a b",
            "http://",
            "https:///x",
            "http://[x",
            "http://a:99999/",
            "javascript:alert(1)",
            "data:text/html,x",
        ),
        *("//evil.example/x", "a\nb", "a%zz", "<x>", "file:///etc/passwd", "\u202eabc", "a\u2028b", "urn:"),
    ],
)
def test_other_addresses_are_refused(url: str) -> None:
    assert not is_safe_url(url)


@pytest.mark.parametrize("path", ["README.md", "a b/%41", build.HOSTILE, "javascript:alert(1)", "/etc/passwd"])
def test_a_file_of_the_artifact_is_a_relative_reference(path: str) -> None:
    assert is_safe_url(file_url(path))
    assert file_url(path).startswith("./")
