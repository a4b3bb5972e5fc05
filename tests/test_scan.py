"""`scan` and the search in `check`, through the command line, on registries made on disk."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

import provenance_gate
from provenance_gate.artifact.load import open_artifact
from provenance_gate.building import add
from provenance_gate.cli import main
from provenance_gate.fingerprint.plan import SamplingPlan
from provenance_gate.reading import Reading
from provenance_gate.registry.layers import open_registries
from provenance_gate.registry.records import Given
from provenance_gate.report.json_report import load_schema
from tests.disguises import all_together, reorder_neurons
from tests.models import Tensors, llama, noisy, write_model
from tests.test_fabrications import wide, write_wide


def further(tensors: Tensors, share: float, seed: int) -> Tensors:
    """A fine-tune: an independent change of every matrix."""
    return noisy(tensors, share, seed)


BASE, OTHER = llama(1), llama(2)
INSTRUCT = further(BASE, 0.1, 11)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with two strangers, a child of one of them, and three bystanders."""
    folder = tmp_path_factory.mktemp("scan")
    models = {
        "org/base": (BASE, (), "cc-by-nc-4.0"),
        "org/instruct": (INSTRUCT, ("org/base",), "apache-2.0"),
        "org/other": (OTHER, (), "mit"),
        **{f"org/bystander-{i}": (llama(50 + i), (), "mit") for i in range(3)},
    }
    for name, (tensors, parents, license_id) in models.items():
        source = write_model(folder / name, tensors, license_id=license_id)
        add(str(folder / "registry"), str(source), Given(name, license_id, parents, str(source)), Reading())
    return folder


def run(arguments: list[str], capsys: pytest.CaptureFixture[str], code: int = 0) -> str:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    printed = capsys.readouterr()
    assert end.value.code == code, printed.err + printed.out
    return printed.out


def scanned(artifact: Path, place: Path, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    arguments = ["scan", str(artifact), "--registry", str(place / "registry"), "--offline", "--format", "json", *more]
    found: dict[str, Any] = json.loads(run(arguments, capsys))
    jsonschema.Draft202012Validator(load_schema("scan")).validate(found)
    return found


def checked(artifact: Path, place: Path, capsys: pytest.CaptureFixture[str], code: int, *more: str) -> dict[str, Any]:
    arguments = ["check", str(artifact), "--registry", str(place / "registry"), "--offline", "--format", "json", *more]
    found: dict[str, Any] = json.loads(run(arguments, capsys, code))
    return found


def answers(found: dict[str, Any]) -> dict[str, str]:
    return {f["number"]: f["status"] for f in found["findings"]}


def matches(found: dict[str, Any]) -> list[str]:
    return [m["base"]["id"] for m in found["matches"]]


def test_a_fine_tune_finds_its_base_unasked(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = scanned(write_model(tmp_path / "m", further(OTHER, 0.1, 3)), place, capsys)
    assert matches(found) == ["org/other"]
    assert found["roots"] == ["org/other"]
    assert found["searched"]["fingerprints"] == 6


def test_the_second_hop_names_the_nearest_and_the_root(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = scanned(write_model(tmp_path / "m", further(INSTRUCT, 0.1, 3)), place, capsys)
    assert matches(found) == ["org/instruct", "org/base"]
    (family,) = found["families"]
    assert (family["nearest"], family["root"]) == ("org/instruct", "org/base")
    assert family["line"] == ["org/base", "org/instruct"]


def test_a_sibling_of_a_known_fine_tune_descends_from_their_base(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = scanned(write_model(tmp_path / "m", further(BASE, 0.1, 3)), place, capsys)
    assert matches(found)[0] == "org/base"
    assert found["families"][0]["relatives"] == ["org/instruct"]
    assert {a["id"] for a in found["ancestry"]} >= {"org/base"}
    assert "org/instruct" not in {a["id"] for a in found["ancestry"]}


def test_a_merge_of_strangers_lists_both_roots(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mixed = {k: (0.6 * v + 0.4 * OTHER[k]).astype(np.float32) for k, v in BASE.items()}
    found = scanned(write_model(tmp_path / "m", mixed), place, capsys)
    assert matches(found)[:2] == ["org/base", "org/other"]
    assert set(found["roots"]) == {"org/base", "org/other"}
    assert found["merge"]["recipe"] == "linear"


def test_a_stranger_matches_nobody(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = scanned(write_model(tmp_path / "m", llama(99)), place, capsys)
    assert found["matches"] == found["families"] == []


def test_a_stranger_with_the_tokenizer_config_and_card_of_a_base_matches_nobody(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = scanned(write_model(tmp_path / "m", llama(99), base="org/base"), place, capsys)
    assert found["matches"] == []


def test_a_disguise_is_undone_where_the_weights_are_within_reach(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = scanned(write_model(tmp_path / "m", reorder_neurons(BASE, np.random.default_rng(5))), place, capsys)
    assert "org/base" in matches(found)


def test_a_claim_that_nobody_can_measure_is_nominated_and_no_match(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = scanned(write_model(tmp_path / "m", llama(99), base="acme/secret"), place, capsys)
    (nominee,) = [n for n in found["nominated"] if n["id"] == "acme/secret"]
    assert nominee["status"] == "nominated, not measured"
    assert "offline" in nominee["not_measured"]


def test_an_index_nominates_and_never_matches(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index = tmp_path / "known.index"
    run(["registry", "export", str(place / "registry"), str(index)], capsys)
    artifact = write_model(tmp_path / "m", further(OTHER, 0.1, 3))
    found = json.loads(run(["scan", str(artifact), "--index", str(index), "--offline", "--format", "json"], capsys))
    assert found["matches"] == []
    assert found["nominated"][0]["id"] == "org/other"
    assert "sketches agree" in found["nominated"][0]["reasons"][0]


def test_an_index_that_was_cut_is_refused(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index = tmp_path / "known.index"
    run(["registry", "export", str(place / "registry"), str(index)], capsys)
    index.write_bytes(index.read_bytes()[:-7])
    artifact = write_model(tmp_path / "m", OTHER)
    assert run(["scan", str(artifact), "--index", str(index), "--offline"], capsys, 3) == ""


def test_a_damaged_fingerprint_ends_the_run_unless_the_policy_allows_to_skip_it(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = tmp_path / "registry"
    shutil.copytree(place / "registry", registry)
    entries = {e.id: e for e in open_registries([str(registry)]).entries()}
    stored = entries["org/bystander-0"].fingerprint
    assert stored is not None
    (damaged,) = registry.rglob(stored.sha256)
    damaged.write_bytes(b"\0" * stored.size)
    artifact = write_model(tmp_path / "m", further(OTHER, 0.1, 3), base="org/other")
    arguments = ["check", str(artifact), "--registry", str(registry), "--offline"]
    run(arguments, capsys, 3)
    policy = tmp_path / "policy.yaml"
    policy.write_text("version: 1\nextends: builtin:baseline\nregistries: {damaged: skip}\n")
    run([*arguments, "--policy", str(policy)], capsys, 0)
    strict = tmp_path / "strict.yaml"
    strict.write_text("version: 1\nextends: policy.yaml\nregistries: {damaged: fail}\n")
    run([*arguments, "--policy", str(strict)], capsys, 3)


def test_a_policy_may_ask_for_signed_registries(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("version: 1\nextends: builtin:baseline\nregistries: {signed: true}\n")
    artifact = write_model(tmp_path / "m", further(OTHER, 0.1, 3), base="org/other")
    arguments = ["check", str(artifact), "--registry", str(place / "registry"), "--offline", "--policy", str(policy)]
    run(arguments, capsys, 2)
    key = tmp_path / "key.pem"
    key.write_text("no key")
    run([*arguments, "--registry-key", str(key)], capsys, 3)


def test_the_license_of_the_root_comes_along(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = scanned(write_model(tmp_path / "m", further(INSTRUCT, 0.1, 3)), place, capsys)
    terms = {a["id"]: [t["id"] for t in a["licenses"]] for a in found["ancestry"]}
    assert terms["org/base"] == ["CC-BY-NC-4.0"]


def test_the_least_score_of_a_match_is_the_users(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = write_model(tmp_path / "m", further(OTHER, 0.1, 3))
    found = scanned(artifact, place, capsys, "--min-score", "1.0")
    assert found["matches"] == []
    assert [m["base"]["id"] for m in found["unclear"]] == ["org/other"]


def test_top_limits_the_list(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = scanned(write_model(tmp_path / "m", further(INSTRUCT, 0.1, 3)), place, capsys, "--top", "1")
    assert matches(found) == ["org/instruct"]


def test_a_person_reads_the_answer_in_the_first_line(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = write_model(tmp_path / "vendor", further(INSTRUCT, 0.1, 3))
    text = run(["scan", str(artifact), "--registry", str(place / "registry"), "--offline"], capsys)
    assert text.splitlines()[0] == "vendor comes from org/instruct, whose root is org/base"
    assert "└─ vendor (this artifact)" in text


def test_the_same_scan_gives_the_same_bytes(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    artifact = write_model(tmp_path / "m", further(INSTRUCT, 0.1, 3))
    assert scanned(artifact, place, capsys) == scanned(artifact, place, capsys)


def test_python_gives_the_same_values(place: Path, tmp_path: Path) -> None:
    artifact = write_model(tmp_path / "m", further(OTHER, 0.1, 3))
    found = provenance_gate.scan(str(artifact), registries=[str(place / "registry")], offline=True)
    assert [m.base.id for m in found.matches] == ["org/other"]


def test_check_takes_a_declared_base_from_the_registry(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = write_model(tmp_path / "m", further(OTHER, 0.1, 3), base="org/other")
    assert answers(checked(artifact, place, capsys, 0)) | {"PG302": ""} == {
        "PG201": "pass",
        "PG202": "pass",
        "PG301": "pass",
        "PG302": "",
    }


def test_rows_grafted_where_the_plan_looks_do_not_pass_for_a_base_of_the_registry(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everybody can read which rows a fingerprint holds; the weights that the entry points to tell."""
    base, graft = write_wide(tmp_path / "base", wide(1)), wide(2)
    for tensor in open_artifact(base).artifact.canonical:
        if tensor.key.layer is not None and len(tensor.shape) == 2:
            rows = SamplingPlan().rows(tensor.key.role, tensor.shape)
            graft[tensor.stored.name][rows.start : rows.stop] = wide(1)[tensor.stored.name][rows.start : rows.stop]
    add(str(tmp_path / "registry"), str(base), Given("org/base", "mit", (), str(base)), Reading())
    found = checked(write_wide(tmp_path / "m", graft, "org/base"), tmp_path, capsys, 1)
    assert answers(found)["PG201"] == "fail"


def test_check_finds_a_base_that_nobody_declares(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = checked(write_model(tmp_path / "m", further(OTHER, 0.1, 3)), place, capsys, 1)
    assert answers(found)["PG202"] == "fail"
    assert [x["base"]["id"] for x in found["lineages"]] == ["org/other"]


def test_check_passes_the_children_of_a_declared_base(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """org/instruct is a sibling of the artifact, and no undeclared base of it."""
    found = checked(write_model(tmp_path / "m", further(BASE, 0.1, 3), base="org/base"), place, capsys, 0)
    assert answers(found)["PG202"] == "pass"
    kin = {x["base"]["id"]: x.get("kin_of") for x in found["lineages"]}
    assert kin == {"org/base": None, "org/instruct": "org/base"}
    assert "org/instruct" in next(f["message"] for f in found["findings"] if f["number"] == "PG202")


def test_a_base_behind_a_renamed_copy_of_it_is_not_excused_as_a_relative(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody knows the declared model, so what lies behind it could be its ancestor: laundering by one more upload."""
    renamed = write_model(tmp_path / "renamed", further(OTHER, 0.05, 7))
    artifact = write_model(tmp_path / "m", further(further(OTHER, 0.05, 7), 0.02, 8), base="evil/renamed")
    found = checked(artifact, place, capsys, 1, "--base", f"evil/renamed={renamed}")
    assert answers(found)["PG201"] == "pass"
    assert answers(found)["PG202"] == "fail"


def test_a_relative_is_no_ancestor_in_the_bom(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bom = tmp_path / "bom.json"
    checked(write_model(tmp_path / "m", further(BASE, 0.1, 3), base="org/base"), place, capsys, 0, "--bom", str(bom))
    model = json.loads(bom.read_text())["components"][0]
    assert [a["name"] for a in model["pedigree"]["ancestors"]] == ["base"]
    ancestors = [p["value"] for p in model["properties"] if p["name"] == "provenance-gate:lineage:ancestor"]
    assert ancestors == ["pkg:huggingface/org/base"]


def test_check_sees_an_undeclared_step_between_the_artifact_and_its_declared_base(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = checked(write_model(tmp_path / "m", further(INSTRUCT, 0.1, 3), base="org/base"), place, capsys, 1)
    assert answers(found)["PG202"] == "fail"


def test_the_license_of_an_undeclared_ancestor_is_inherited(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = write_model(tmp_path / "m", further(INSTRUCT, 0.1, 3))
    found = checked(artifact, place, capsys, 1, "--policy", "builtin:release")
    failed = [f for f in found["findings"] if f["number"] == "PG101" and f["status"] == "fail"]
    assert any("org/base is under CC-BY-NC-4.0" in f["message"] for f in failed)


def test_a_released_model_is_no_base_of_itself(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert answers(checked(place / "org" / "other", place, capsys, 0))["PG202"] == "pass"


def test_a_copy_under_the_same_name_and_a_license_of_its_own_is_not_let_off(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = write_model(tmp_path / "base", BASE, license_id="mit")
    assert answers(checked(copy, place, capsys, 1))["PG202"] == "fail"


def test_a_copy_under_another_name_is_not_let_off(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answers(checked(write_model(tmp_path / "ours", OTHER), place, capsys, 1))["PG202"] == "fail"


def test_two_tiers_of_metadata_search_nothing(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = checked(write_model(tmp_path / "m", further(OTHER, 0.1, 3)), place, capsys, 0, "--max-tier", "1")
    assert found["lineages"] == []


def test_the_schemas_of_scan_check_and_compare_say_the_same_of_shared_parts() -> None:
    scan, *others = (load_schema(name)["$defs"] for name in ("scan", "check", "compare"))
    for other in others:
        assert {k: v for k, v in scan.items() if k in other} == {k: v for k, v in other.items() if k in scan}


def stored_only(place: Path, tmp_path: Path) -> Path:
    """The registry, with no place to read weights from."""
    for name in ("org/base", "org/other"):
        add(str(tmp_path / "stored"), str(place / name), Given(name, "mit", (), "elsewhere://x"), Reading())
    return tmp_path / "stored"


def test_a_disguise_that_stored_rows_cannot_undo_is_nominated_and_undecided(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = stored_only(place, tmp_path)
    artifact = write_model(tmp_path / "m", all_together(BASE, np.random.default_rng(5)))
    arguments = [str(artifact), "--registry", str(registry), "--offline", "--format", "json"]
    found = json.loads(run(["scan", *arguments], capsys))
    assert found["matches"] == []
    assert found["nominated"][0]["id"] == "org/base"
    assert "only the weights" in found["nominated"][0]["not_measured"]
    judged = json.loads(run(["check", *arguments], capsys, 1))
    assert answers(judged)["PG202"] == "undecided"


def test_a_stranger_is_not_undecided_for_want_of_weights(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = stored_only(place, tmp_path)
    artifact = write_model(tmp_path / "m", llama(99))
    arguments = ["check", str(artifact), "--registry", str(registry), "--offline", "--format", "json"]
    assert answers(json.loads(run(arguments, capsys)))["PG202"] == "pass"
