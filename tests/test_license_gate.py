"""License conflicts and obligations on real folders, through the command line, against the shipped catalog."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from provenance_gate.cli import main
from provenance_gate.report.cyclonedx.validate import validate_bom
from tests.models import FEED_FORWARD, HIDDEN, LAYERS, Tensors, card, llama, noisy, write_model
from tests.registry.build import license_facts, record, write_registry

POLICY = """\
version: 1
name: licenses
rules:
  - id: compatible
    rule: license-conflict
  - id: met
    rule: license-obligations
"""


@dataclass
class Run:
    code: int
    report: Mapping[str, Any]

    def of(self, number: str) -> list[Mapping[str, Any]]:
        return [f for f in self.report["findings"] if f["number"] == number]

    def statuses(self, number: str = "PG103") -> set[str]:
        return {f["status"] for f in self.of(number)}

    def messages(self, number: str = "PG103") -> str:
        return " | ".join(f["message"] for f in self.of(number))


@pytest.fixture
def check(tmp_path: Path, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY, encoding="utf-8")

    def call(*arguments: object) -> Run:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main(["check", *(str(a) for a in arguments), "--policy", str(policy), "--offline", "-f", "json"])
        captured = capsys.readouterr()
        assert isinstance(stopped.value.code, int)
        assert captured.out, captured.err
        return Run(stopped.value.code, json.loads(captured.out))

    return call


@pytest.fixture(scope="module")
def weights() -> Tensors:
    return llama(1)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, weights: Tensors) -> Path:
    return write_model(tmp_path_factory.mktemp("weights") / "base", weights, license_id=None)


def licensed(license_id: str, category: str, spdx: str | None = None) -> dict[str, Any]:
    return license_facts(id=license_id, spdx=spdx, category=category)


def finetune_of(model_id: str) -> dict[str, Any]:
    return {"id": model_id, "relation": "finetune"}


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """acme/chat <- beta/step <- gamma/root, by three publishers; the root is under CC BY-NC."""
    non_commercial = licensed("cc-by-nc-4.0", "non-commercial", "CC-BY-NC-4.0")
    return write_registry(
        tmp_path / "registry",
        record("acme/chat", publisher="Acme", base_model=finetune_of("beta/step")),
        record("beta/step", publisher="Beta", base_model=finetune_of("gamma/root")),
        record("gamma/root", publisher="Gamma", license=non_commercial),
        record("gamma/open", publisher="Gamma", base_model=finetune_of("gamma/root")),
    )


def child(folder: Path, weights: Tensors, base_id: str, license_id: str | None, **files: str) -> Path:
    write_model(folder, noisy(weights, 0.1), base=base_id, license_id=license_id)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_a_permissive_license_over_a_non_commercial_ancestor_two_catalog_steps_up_fails_with_the_path(
    check, tmp_path: Path, weights: Tensors, base: Path, registry: Path
) -> None:  # type: ignore[no-untyped-def]
    model = child(tmp_path / "child", weights, "acme/chat", "apache-2.0")
    found = check(model, "--base", f"acme/chat={base}", "--registry", registry)
    assert found.code == 1
    assert found.statuses() == {"fail"}
    assert "child -> acme/chat -> beta/step -> gamma/root" in found.messages()
    assert "forbids commercial use" in found.messages()


def test_the_same_ancestry_under_a_non_commercial_license_passes(
    check, tmp_path: Path, weights: Tensors, base: Path, registry: Path
) -> None:  # type: ignore[no-untyped-def]
    model = child(tmp_path / "child", weights, "acme/chat", "cc-by-nc-4.0")
    found = check(model, "--base", f"acme/chat={base}", "--registry", registry)
    assert found.statuses() == {"pass"}


def test_an_untested_claim_leaves_the_conflict_undecided(
    check, tmp_path: Path, weights: Tensors, registry: Path
) -> None:  # type: ignore[no-untyped-def]
    model = child(tmp_path / "child", weights, "acme/chat", "apache-2.0")
    found = check(model, "--registry", registry)
    assert found.statuses() == {"undecided"}
    assert "declared, not tested" in found.messages()


def test_a_claim_that_the_weights_contradict_brings_no_terms(check, tmp_path: Path, base: Path, registry: Path) -> None:  # type: ignore[no-untyped-def]
    stranger = write_model(tmp_path / "stranger", llama(2), base="acme/chat", license_id="apache-2.0")
    found = check(stranger, "--base", f"acme/chat={base}", "--registry", registry)
    assert found.statuses() == {"pass"}


def test_a_successor_that_the_publisher_itself_released_anew_frees_from_the_old_terms(
    check, tmp_path: Path, weights: Tensors, base: Path, registry: Path
) -> None:  # type: ignore[no-untyped-def]
    model = child(tmp_path / "child", weights, "gamma/open", "apache-2.0")
    found = check(model, "--base", f"gamma/open={base}", "--registry", registry)
    assert found.statuses() == {"pass"}


def adapter(folder: Path, base_id: str, license_id: str | None) -> Path:
    rng = np.random.default_rng(3)
    tensors: dict[str, NDArray[np.float32]] = {}
    for layer in range(LAYERS):
        at = f"base_model.model.model.layers.{layer}.mlp.down_proj"
        tensors[f"{at}.lora_A.weight"] = rng.standard_normal((4, FEED_FORWARD)).astype(np.float32)
        tensors[f"{at}.lora_B.weight"] = rng.standard_normal((HIDDEN, 4)).astype(np.float32)
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["down_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps({**settings, "base_model_name_or_path": base_id}))
    (folder / "README.md").write_text(card(None, license_id))
    return folder


@pytest.mark.parametrize("tested", [False, True])
def test_what_an_adapter_says_of_its_base_counts_against_it(
    check, tmp_path: Path, base: Path, registry: Path, tested: bool
) -> None:  # type: ignore[no-untyped-def]
    model = adapter(tmp_path / "adapter", "beta/step", "apache-2.0")
    bases = ["--base", f"beta/step={base}"] if tested else []
    found = check(model, *bases, "--registry", registry)
    assert found.statuses() == {"fail"}
    assert "adapter -> beta/step -> gamma/root" in found.messages()


def test_an_adapter_of_a_base_that_allows_it_passes(check, tmp_path: Path, registry: Path) -> None:  # type: ignore[no-untyped-def]
    model = adapter(tmp_path / "adapter", "beta/step", "cc-by-nc-4.0")
    assert check(model, "--registry", registry).statuses() == {"pass"}


def merged(tmp_path: Path, first: str, second: str, own: str) -> tuple[Path, list[str]]:
    one, other = llama(1), llama(2)
    mixed = {name: ((one[name] + other[name]) / 2).astype(np.float32) for name in one}
    folder = write_model(tmp_path / "merge", mixed, license_id=own)
    text = f"---\nlicense: {own}\nbase_model:\n- acme/one\n- acme/other\nbase_model_relation: merge\n---\n"
    (folder / "README.md").write_text(text)
    bases = [
        "--base",
        f"acme/one={write_model(tmp_path / 'one', one, license_id=first)}",
        "--base",
        f"acme/other={write_model(tmp_path / 'other', other, license_id=second)}",
    ]
    return folder, bases


def test_a_merge_whose_parents_exclude_each_other_fails_whatever_its_license(check, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder, bases = merged(tmp_path, "llama3.1", "gpl-3.0", "llama3.1")
    found = check(folder, *bases)
    assert "fail" in found.statuses()
    assert "no license fits both acme/one (llama3.1) and acme/other (gpl-3.0)" in found.messages()
    assert "merge -> acme/one and merge -> acme/other" in found.messages()


def test_a_merge_of_parents_under_one_license_passes(check, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder, bases = merged(tmp_path, "llama3.1", "llama3.1", "llama3.1")
    assert check(folder, *bases).statuses() == {"pass"}


def test_a_model_without_a_license_over_one_that_demands_its_own_fails(
    check, tmp_path: Path, weights: Tensors, base: Path
) -> None:  # type: ignore[no-untyped-def]
    silent = child(tmp_path / "silent", weights, "meta-llama/Llama-3.1-8B", None)
    found = check(silent, "--base", f"meta-llama/Llama-3.1-8B={base}")
    assert found.statuses() == {"fail"}
    assert "no license is stated" in found.messages()


LLAMA = "meta-llama/Llama-3.1-8B"


def test_llama_conditions_are_met_by_name_license_and_notice(
    check, tmp_path: Path, weights: Tensors, base: Path
) -> None:  # type: ignore[no-untyped-def]
    words = "Llama 3.1 is licensed under the Llama 3.1 Community License,\n Copyright (C) Meta Platforms, Inc."
    notice = f"{words} All Rights Reserved."
    files = {"license.TXT": "Llama 3.1 Community License ...", "Notice.txt": f"# Notice\n{notice}\n"}
    model = child(tmp_path / "llama-acme", weights, LLAMA, "llama3.1", **files)
    found = check(model, "--base", f"{LLAMA}={base}")
    assert found.code == 0
    assert found.statuses("PG104") == {"pass"}
    evidence = {e["name"]: e["value"] for f in found.of("PG104") for e in f["evidence"]}
    assert evidence["user-limit"].startswith("a license of its own above 700,000,000 monthly active users")
    assert evidence["notice-file"].endswith("(seen)")
    assert '"Built with Llama"' in evidence["display"]


def test_each_llama_condition_that_is_not_met_is_a_finding_of_its_own(
    check, tmp_path: Path, weights: Tensors, base: Path
) -> None:  # type: ignore[no-untyped-def]
    model = child(tmp_path / "support-bot", weights, LLAMA, "llama3.1", LICENSE="")
    found = check(model, "--base", f"{LLAMA}={base}")
    failed = {f["key"].split(": ")[1]: f for f in found.of("PG104") if f["status"] == "fail"}
    assert set(failed) == {"name-prefix", "notice-file", "license-copy"}
    assert "is called support-bot" in failed["name-prefix"]["message"]
    assert failed["notice-file"]["remedy"].endswith("Copyright © Meta Platforms, Inc. All Rights Reserved.")


def test_a_notice_with_other_words_is_not_the_one_that_was_asked_for(
    check, tmp_path: Path, weights: Tensors, base: Path
) -> None:  # type: ignore[no-untyped-def]
    model = child(tmp_path / "llama-acme", weights, LLAMA, "llama3.1", LICENSE="x", NOTICE="All rights reserved.")
    found = check(model, "--base", f"{LLAMA}={base}")
    (failed,) = [f for f in found.of("PG104") if f["status"] == "fail"]
    assert failed["key"].startswith("llama3.1: notice-file")
    (model / "README.md").write_text((model / "README.md").read_text() + "\nbuilt with  LLAMA\n")
    found = check(model, "--base", f"{LLAMA}={base}")
    evidence = {e["name"]: e["value"] for f in found.of("PG104") for e in f["evidence"]}
    assert evidence["display"].endswith("(seen)")


def test_a_license_text_that_is_too_long_is_not_read(check, tmp_path: Path, weights: Tensors, base: Path) -> None:  # type: ignore[no-untyped-def]
    model = child(tmp_path / "llama-acme", weights, LLAMA, "llama3.1", LICENSE="x", NOTICE="y" * 300_000)
    assert check(model, "--base", f"{LLAMA}={base}").statuses("PG104") == {"pass"}


def test_conditions_of_a_base_that_was_not_tested_are_undecided(check, tmp_path: Path, weights: Tensors) -> None:  # type: ignore[no-untyped-def]
    model = child(tmp_path / "support-bot", weights, LLAMA, "llama3.1")
    assert check(model).statuses("PG104") == {"undecided", "pass"}


def test_graph_and_pedigree_name_every_step(
    check, tmp_path: Path, weights: Tensors, base: Path, registry: Path
) -> None:  # type: ignore[no-untyped-def]
    model = child(tmp_path / "child", weights, "acme/chat", "apache-2.0")
    bom = tmp_path / "bom.cdx.json"
    found = check(model, "--base", f"acme/chat={base}", "--registry", registry, "--bom", bom)
    graph = found.report["artifacts"][0]["graph"]
    assert [(n["id"], n["role"]) for n in graph["nodes"]] == [
        ("child", "artifact"),
        ("acme/chat", "base"),
        ("beta/step", "ancestor"),
        ("gamma/root", "ancestor"),
    ]
    edges = [(e["child"], e["parent"], e["kind"]) for e in graph["edges"]]
    assert edges == [
        (None, "acme/chat", "detected"),
        (None, "acme/chat", "declared"),
        ("acme/chat", "beta/step", "cataloged"),
        ("beta/step", "gamma/root", "cataloged"),
    ]
    detected = graph["edges"][0]["evidence"]
    assert detected["relation"] == "derived" and detected["score"] > 0.7 and detected["p_value"] < 1e-6
    assert graph["edges"][1]["evidence"]["source"] == {"path": "README.md", "line": 3, "field": "base_model"}
    assert graph["edges"][3]["evidence"]["record"] == "beta/step"
    body = json.loads(bom.read_text(encoding="utf-8"))
    validate_bom(body)
    names, node = [], body["components"][0]
    while ancestors := node.get("pedigree", {}).get("ancestors"):
        (node,) = ancestors
        names.append(f"{node['group']}/{node['name']}")
    assert names == ["acme/chat", "beta/step", "gamma/root"]
    assert node["licenses"][0]["license"]["id"] == "CC-BY-NC-4.0"
    facts = {p["name"]: p["value"] for p in node["properties"]}
    assert facts["provenance-gate:lineage:relation"] == "finetune"


def test_two_runs_write_the_same_graph(check, tmp_path: Path, weights: Tensors, base: Path, registry: Path) -> None:  # type: ignore[no-untyped-def]
    model = child(tmp_path / "child", weights, "acme/chat", "apache-2.0")
    runs = [check(model, "--base", f"acme/chat={base}", "--registry", registry) for _ in range(2)]
    assert runs[0].report["artifacts"] == runs[1].report["artifacts"]
