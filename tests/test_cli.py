"""The command line: exit codes, streams, files. Runs the real entry point."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from provenance_gate import __version__
from provenance_gate.cli import main
from tests.models import Tensors, llama, noisy, tokenizer, write_model

BASE_ID = "acme/base"


class Outcome:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main([str(a) for a in arguments])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        code = stopped.value.code
        assert isinstance(code, int)
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="module")
def base_tensors() -> Tensors:
    return llama(1)


@pytest.fixture
def base(tmp_path: Path, base_tensors: Tensors) -> Path:
    return write_model(tmp_path / "base", base_tensors)


@pytest.fixture
def child(tmp_path: Path, base_tensors: Tensors) -> Path:
    return write_model(tmp_path / "child", noisy(base_tensors, 0.1), base=BASE_ID)


@pytest.fixture
def impostor(tmp_path: Path) -> Path:
    return write_model(tmp_path / "impostor", llama(2), base=BASE_ID)


def one_error_line(outcome: Outcome) -> str:
    lines = outcome.err.strip().splitlines()
    assert len(lines) == 1, outcome.err
    assert lines[0].startswith("provenance-gate: error: ")
    return lines[0]


def test_help_teaches_and_version_is_told(run) -> None:  # type: ignore[no-untyped-def]
    helped = run("--help")
    assert helped.code == 0
    for command in ("check", "compare", "fingerprint", "policy", "Exit codes"):
        assert command in helped.out
    assert run("--version").out == f"provenance-gate {__version__}\n"


def test_help_does_not_import_the_numeric_stack() -> None:
    heavy = ("numpy", "rich", "tokenizers", "jsonschema", "yaml")
    code = f"import sys, provenance_gate.cli; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_true_child_passes_and_gets_a_bom(run, child: Path, base: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    bom = tmp_path / "bom.json"
    found = run("check", child, "--base", f"{BASE_ID}={base}", "--policy", "builtin:release", "--bom", bom)
    assert found.code == 0, found.out
    assert found.out.startswith("PASS")
    text = bom.read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    model = json.loads(text)["components"][0]
    (ancestor,) = model["pedigree"]["ancestors"]
    assert ancestor["name"] == "base"
    assert ancestor["evidence"]["identity"]
    assert model["licenses"][0]["license"]["id"] == "Apache-2.0"


@pytest.mark.parametrize(("version", "schema"), [("1.6", SchemaVersion.V1_6), ("1.7", SchemaVersion.V1_7)])
def test_both_bom_versions_are_valid(
    run, impostor: Path, base: Path, tmp_path: Path, version: str, schema: SchemaVersion
) -> None:  # type: ignore[no-untyped-def]
    bom = tmp_path / "bom.json"
    run("check", impostor, "--base", f"{BASE_ID}={base}", "--report", f"cyclonedx={bom}", "--bom-version", version)
    assert JsonStrictValidator(schema).validate_str(bom.read_text()) is None


def test_an_impostor_fails_with_rule_score_p_value_and_claim(run, impostor: Path, base: Path) -> None:  # type: ignore[no-untyped-def]
    found = run("check", impostor, "--base", f"{BASE_ID}={base}")
    assert found.code == 1
    assert found.out.startswith("FAIL")
    for word in ("declared-base-is-real", "PG201", "score 0.0", "p-value", "independent", BASE_ID, "README.md:3"):
        assert word in found.out, word


def test_a_declared_base_without_weights_is_undecided_and_fails(run, child: Path) -> None:  # type: ignore[no-untyped-def]
    found = run("check", child)
    assert found.code == 1
    assert found.out.startswith("UNDECIDED")
    assert f"--base {BASE_ID}=PATH" in found.out


def test_a_single_base_without_id_answers_the_only_claim(run, child: Path, base: Path) -> None:  # type: ignore[no-untyped-def]
    assert run("check", child, "--base", base).code == 0


def test_an_undeclared_base_is_found(run, tmp_path: Path, base_tensors: Tensors, base: Path) -> None:  # type: ignore[no-untyped-def]
    hidden = write_model(tmp_path / "own-model", noisy(base_tensors, 0.2))
    found = run("check", hidden, "--base", f"{BASE_ID}={base}")
    assert found.code == 1
    assert "no-hidden-ancestors" in found.out


def test_a_fingerprint_file_stands_in_for_the_base(run, child: Path, base: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    kept = tmp_path / "base.fp.safetensors"
    assert run("fingerprint", base, "-o", kept).code == 0
    assert run("check", child, "--base", f"{BASE_ID}={kept}").code == 0
    found = run("compare", kept, base, "--format", "json")
    assert json.loads(found.out)["lineage"]["relation"] == "identical"


def test_rows_prepared_for_the_standard_plan_do_not_pass(run, tmp_path: Path, base_tensors: Tensors) -> None:  # type: ignore[no-untyped-def]
    """An attacker copies exactly the rows that the standard plan reads into independent weights."""
    import numpy as np

    from provenance_gate.artifact.load import open_artifact
    from provenance_gate.fingerprint.plan import SamplingPlan

    rng = np.random.default_rng(5)
    big = {
        k: rng.standard_normal((v.shape[0] * 4, v.shape[1] * 4), np.float32)
        if v.ndim == 2
        else np.ones(256, np.float32)
        for k, v in base_tensors.items()
    }
    forged = {k: rng.standard_normal(v.shape, np.float32) if v.ndim == 2 else v for k, v in big.items()}
    base = write_model(tmp_path / "big", big, with_tokenizer=False)
    for tensor in open_artifact(base).artifact.canonical:
        if len(tensor.shape) == 2:
            rows = SamplingPlan().rows(tensor.key.role, tensor.shape)
            forged[tensor.stored.name][rows.start : rows.stop] = big[tensor.stored.name][rows.start : rows.stop]
    artifact = write_model(tmp_path / "forged", forged, base=BASE_ID, with_tokenizer=False)
    compared = json.loads(run("compare", artifact, base, "--format", "json").out)
    assert compared["lineage"]["relation"] == "derived"  # what the attack buys from a comparison without digests
    assert run("check", artifact, "--base", f"{BASE_ID}={base}").code == 1


def test_compare_prints_every_signal_and_exits_zero_whatever_it_finds(run, impostor: Path, base: Path) -> None:  # type: ignore[no-untyped-def]
    found = run("compare", impostor, base, "--format", "json")
    assert found.code == 0
    lineage = json.loads(found.out)["lineage"]
    assert lineage["relation"] == "independent"
    assert sorted(lineage["signals"]) == sorted(
        [
            "mfi",
            "tfv",
            "voa",
            "eas",
            "end",
            "nlf",
            "lep",
            "wvc",
            "content_identity",
            "weight_correlation",
            "neuron_match",
        ]
    )
    assert lineage["signals"]["neuron_match"]["value"] < 0.1


def test_two_runs_write_the_same_bytes(run, child: Path, base: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    texts = []
    for number, jobs in enumerate((1, 4)):
        bom, report = tmp_path / f"{number}.bom", tmp_path / f"{number}.json"
        run("check", child, "--base", base, "--bom", bom, "--report", f"json={report}", "--jobs", jobs)
        texts.append((bom.read_bytes(), report.read_bytes()))
    assert texts[0] == texts[1]


def test_the_json_report_fits_its_schema(run, child: Path, base: Path) -> None:  # type: ignore[no-untyped-def]
    import jsonschema

    from provenance_gate.report.json_report import load_schema

    found = run("check", child, "--base", base, "--format", "json")
    report = json.loads(found.out)
    jsonschema.validate(report, load_schema("check"))
    assert report["verdict"] == "pass"


def test_several_artifacts_are_one_run_and_the_worst_decides(run, child: Path, impostor: Path, base: Path) -> None:  # type: ignore[no-untyped-def]
    found = run("check", child, impostor, "--base", f"{BASE_ID}={base}", "--format", "json")
    assert found.code == 1
    assert [a["verdict"] for a in json.loads(found.out)["artifacts"]] == ["pass", "fail"]


def test_recursive_finds_the_models_below(run, tmp_path: Path, child: Path, base: Path) -> None:  # type: ignore[no-untyped-def]
    assert run("check", tmp_path, "--base", f"{BASE_ID}={base}").code == 3
    found = run("check", tmp_path, "--recursive", "--base", f"{BASE_ID}={base}", "--format", "json")
    assert [a["name"] for a in json.loads(found.out)["artifacts"]] == ["base", "child"]


def test_exit_zero_hides_a_failure_but_no_error(run, impostor: Path, base: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert run("check", impostor, "--base", base, "--exit-zero").code == 0
    assert run("check", tmp_path / "absent", "--exit-zero").code == 3
    assert run("check", impostor, "--policy", "absent.yaml", "--exit-zero").code == 2


def test_nothing_to_check(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "notes.txt").write_text("no model")
    found = run("check", tmp_path)
    assert found.code == 3
    assert "no model" in one_error_line(found)
    assert run("check", tmp_path, "--allow-empty").code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("check",),
        ("check", "{child}", "--format", "xml"),
        ("check", "{child}", "--report", "json"),
        ("check", "{child}", "--base", "=x"),
        ("check", "{child}", "--policy", "builtin:nothing"),
        ("check", "{child}", "--policy-sha256", "0" * 64),
        ("check", "{child}", "--max-tier", "9"),
        ("nonsense",),
        ("compare", "{child}"),
    ],
)
def test_wrong_usage_is_exit_two(run, child: Path, arguments: tuple[str, ...]) -> None:  # type: ignore[no-untyped-def]
    found = run(*(a.format(child=child) for a in arguments))
    assert found.code == 2
    assert found.err


@pytest.mark.parametrize(
    "policy",
    [
        "- list",
        "version: 1\nrules: [{id: a, rule: nope}]",
        "a: &x [*x]",
        "version: !!python/object:os.system x",
        "a: b: c",
        "\0",
    ],
)
def test_a_broken_policy_is_exit_two_in_one_line(run, child: Path, tmp_path: Path, policy: str) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "policy.yaml"
    path.write_text(policy)
    found = run("check", child, "--policy", path)
    assert found.code == 2
    assert "policy.yaml" in one_error_line(found)


def _cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _huge_header(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((2**63).to_bytes(8, "little") + b"{}")


def _overlap(folder: Path) -> None:
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    header = json.dumps({"a": entry, "b": {**entry, "data_offsets": [4, 12]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(12))


def _climbing_shard(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../x.safetensors"}}))


def _link_out(folder: Path) -> None:
    (folder / "extra.txt").symlink_to("/etc/hostname")


def _config_list(folder: Path) -> None:
    (folder / "config.json").write_text("[]")


def _alias_bomb(folder: Path) -> None:
    (folder / "README.md").write_text("---\na: &a [x, x]\nb: &b [*a, *a]\nbase_model: *b\n---\n")


def _yaml_tag(folder: Path) -> None:
    (folder / "README.md").write_text("---\nbase_model: !!python/object/apply:os.system [id]\n---\n")


def _fifo(folder: Path) -> None:
    os.mkfifo(folder / "model-2.safetensors")


def _lfs(folder: Path) -> None:
    oid = "0" * 64
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 12\n"
    (folder / "model.safetensors").write_text(text)


def _tokenizer_list(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("[1, 2]")


HOSTILE = [
    _cut, _huge_header, _overlap, _climbing_shard, _link_out, _config_list, _alias_bomb, _yaml_tag, _fifo, _lfs, _tokenizer_list,
]  # fmt: skip


@pytest.mark.parametrize("damage", HOSTILE)
def test_a_hostile_artifact_is_exit_three_in_one_line(run, child: Path, base: Path, damage) -> None:  # type: ignore[no-untyped-def]
    damage(child)
    found = run("check", child, "--base", base)
    assert found.code == 3
    one_error_line(found)
    assert run("compare", child, base).code == 3


def test_nan_weights_never_pass(run, tmp_path: Path, base_tensors: Tensors, base: Path) -> None:  # type: ignore[no-untyped-def]
    import numpy as np

    broken = {k: np.full_like(v, np.nan) for k, v in base_tensors.items()}
    found = run("check", write_model(tmp_path / "nan", broken, base=BASE_ID), "--base", base)
    assert found.code == 1
    assert "NaN" in found.out


def test_a_pickle_in_disguise_is_refused_and_not_read(run, child: Path, base: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    import pickle

    class Payload:
        def __reduce__(self) -> tuple[object, ...]:
            return os.system, (f"touch {tmp_path / 'executed'}",)

    (child / "extra.safetensors").write_bytes(pickle.dumps(Payload()))
    (child / "pytorch_model.bin").write_bytes(pickle.dumps(Payload()))
    found = run("check", child, "--base", base)
    assert found.code == 1
    assert "pickle" in found.out
    assert not (tmp_path / "executed").exists()


def test_names_from_an_artifact_reach_no_terminal_raw(run, tmp_path: Path, base_tensors: Tensors, base: Path) -> None:  # type: ignore[no-untyped-def]
    folder = write_model(tmp_path / "\x1b[31mred\u202e", base_tensors)
    (folder / "README.md").write_text(
        '---\nlicense: "a\\e[31mb"\nbase_model: "acme/\\u202ebase"\n---\n', encoding="utf-8"
    )
    found = run("check", folder, "--base", base)
    assert "\x1b" not in found.out + found.err
    assert "\u202e" not in found.out + found.err


def test_policy_commands(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    assert run("policy", "init").code == 0
    assert run("policy", "init").code == 2
    valid = run("policy", "validate", "provenance-policy.yaml")
    assert valid.code == 0
    assert "valid" in valid.out
    digest = valid.out.split("sha256 ")[1].strip()
    explained = run("policy", "explain", "provenance-policy.yaml")
    assert digest in explained.out
    assert "0.70" in explained.out
    schema = json.loads(run("policy", "schema").out)
    assert schema["title"] == "provenance-gate policy"


def test_a_pinned_policy_is_accepted(run, child: Path, base: Path) -> None:  # type: ignore[no-untyped-def]
    from provenance_gate.policy.load import load_policy

    digest = load_policy("builtin:baseline").sha256
    assert run("check", child, "--base", base, "--policy-sha256", digest).code == 0


def test_metadata_alone_never_passes(run, child: Path, base: Path) -> None:  # type: ignore[no-untyped-def]
    found = run("check", child, "--base", base, "--max-tier", "1")
    assert found.code == 1
    assert "not read up to tier 1" in found.out


def test_output_goes_to_the_file(run, child: Path, base: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    found = run("check", child, "--base", base, "-f", "json", "-o", tmp_path / "r.json")
    assert found.out == ""
    assert json.loads((tmp_path / "r.json").read_text())["verdict"] == "pass"
    assert run("check", child, "--base", base, "-o", tmp_path / "no" / "r.json").code == 3


def test_a_license_in_the_ancestry_fails_a_release(run, tmp_path: Path, base_tensors: Tensors, child: Path) -> None:  # type: ignore[no-untyped-def]
    base = write_model(tmp_path / "base", base_tensors, license_id="cc-by-nc-4.0")
    found = run("check", child, "--base", f"{BASE_ID}={base}", "--policy", "builtin:release")
    assert found.code == 1
    assert "cc-by-nc-4.0" in found.out.lower()


def test_source_date_epoch_is_the_only_clock(
    run, child: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    run("check", child, "--base", base, "--bom", tmp_path / "b.json")
    assert json.loads((tmp_path / "b.json").read_text())["metadata"]["timestamp"].startswith("2023-11-14T22:13:20")
    run("check", child, "--base", base, "--bom", tmp_path / "b.json", "--reproducible")
    body = json.loads((tmp_path / "b.json").read_text())
    assert "timestamp" not in body["metadata"] and "serialNumber" not in body
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    assert run("check", child).code == 2


def test_a_repaired_tokenizer_is_only_reported(run, child: Path, base: Path) -> None:  # type: ignore[no-untyped-def]
    (child / "tokenizer.json").write_text(json.dumps(tokenizer(120)))
    assert run("check", child, "--base", base).code == 0
