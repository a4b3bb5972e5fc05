"""`audit` on the worked example and on models made on disk: the verdict rests on weights, whatever the tells say."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from threading import Thread
from typing import Any

import jsonschema
import numpy as np
import pytest

import provenance_gate as pg
from provenance_gate import auditing, cases
from provenance_gate.artifact.sources.interface import Options
from provenance_gate.building import add
from provenance_gate.cli import main
from provenance_gate.errors import ChangedFileError, MalformedFileError, UndefinedSignalError
from provenance_gate.reading import Reading, read_model
from provenance_gate.registry.layers import open_registries
from provenance_gate.registry.records import Given
from provenance_gate.report.audit import Audit
from provenance_gate.report.json_report import load_schema
from provenance_gate.tells.every import TELLS
from provenance_gate.tells.interface import Case, Standing, TellGroup, TellResult, TellStatus
from provenance_gate.tells.verdict import Answer
from tests.disguises import reorder_neurons
from tests.hub.server import loopback_hub
from tests.hub.test_remote_model import uploaded
from tests.models import llama, noisy, tokenizer, write_model
from tests.report import build

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
BASE = f"provenance-gate-examples/base={EXAMPLES / 'base'}"
FINE_TUNE = f"provenance-gate-examples/fine-tune={EXAMPLES / 'fine-tune'}"
IMPOSTOR = f"provenance-gate-examples/impostor={EXAMPLES / 'impostor'}"
WEIGHT_TELLS = (11, 12, 13)
OFFLINE = Reading(remote=Options(offline=True))


def audited(name: str, *bases: str) -> Audit:
    return auditing.audit(str(EXAMPLES / name), bases, open_registries((str(EXAMPLES / "registry"),)), OFFLINE)


def fired(audit: Audit) -> list[int]:
    return [t.id for t in audit.tells if t.status is TellStatus.FIRED]


def run(arguments: Sequence[str], capsys: pytest.CaptureFixture[str], code: int = 0) -> str:
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    printed = capsys.readouterr()
    assert end.value.code == code, printed.err + printed.out
    return printed.out if code == 0 else printed.err


@pytest.fixture
def answering() -> Iterator[tuple[str, list[bytes]]]:
    """A server that answers every prompt alike, and what it was asked."""
    asked: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"choices": [{"text": "same"}]}')

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1", asked
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def in_house() -> Audit:
    return audited("audit/in-house", BASE)


def test_the_disguised_copy_of_the_worked_example_is_named(in_house: Audit) -> None:
    assert in_house.verdict.answer is Answer.DERIVED
    assert in_house.verdict.bases == ("provenance-gate-examples/base",)
    assert in_house.verdict.sentence == (
        "in-house is derived from provenance-gate-examples/base (disguised) by its weights, and its publisher does not say so."
    )
    assert len(in_house.verdict.why) == 3
    assert len(fired(in_house)) >= 8
    assert set(WEIGHT_TELLS) <= set(fired(in_house))
    assert in_house.cluster.strong


def test_the_claims_of_the_disguised_copy_are_contradicted(in_house: Audit) -> None:
    against = [c.topic for c in in_house.claims if c.standing is Standing.CONTRADICTS]
    assert len(against) >= 3, in_house.claims


def test_a_stranger_with_the_metadata_of_a_base_is_not_derived_although_config_tells_fire() -> None:
    found = audited("impostor", BASE)
    assert found.verdict.answer is Answer.NOT_DERIVED
    assert not set(fired(found)) & set(WEIGHT_TELLS)
    assert [t for t in found.tells if t.status is TellStatus.FIRED and t.group is TellGroup.CONFIG]
    assert found.verdict.sentence == (
        "impostor is not derived from provenance-gate-examples/base (declared by its publisher): "
        "its weights are independent of it."
    )


def test_an_honest_fine_tune_is_derived_as_declared() -> None:
    found = audited("fine-tune", BASE)
    assert found.verdict.answer is Answer.DERIVED
    assert found.verdict.sentence.endswith("by its weights, as its publisher declares.")
    assert not found.cluster.strong
    assert [c for c in found.claims if c.standing is Standing.CONTRADICTS] == []


def test_a_merge_names_both_parents_and_the_one_that_is_kept_quiet() -> None:
    found = audited("audit/merge", FINE_TUNE, IMPOSTOR)
    assert found.verdict.bases == ("provenance-gate-examples/fine-tune", "provenance-gate-examples/impostor")
    assert "is a mix (slerp) of" in found.verdict.sentence
    assert found.verdict.sentence.endswith("and its publisher does not declare provenance-gate-examples/impostor.")
    assert {n.id for n in found.ancestry} >= set(found.verdict.bases)


def test_the_base_is_found_where_nobody_names_it() -> None:
    found = audited("fine-tune")
    assert found.verdict.bases == ("provenance-gate-examples/base",)
    assert found.stored == 1 and found.records > 100


def test_a_stored_fingerprint_alone_does_not_see_through_a_disguise_and_the_answer_says_so() -> None:
    found = audited("audit/in-house")
    assert found.verdict.answer is Answer.NOT_SHOWN
    assert "is not shown: partial" in found.verdict.sentence


def test_the_model_files_of_the_example_are_what_its_script_makes(tmp_path: Path) -> None:
    script = EXAMPLES / "audit" / "make_audit_examples.py"
    names: dict[str, Any] = {"__name__": "made", "__file__": str(script)}
    exec(compile(script.read_text("utf-8"), str(script), "exec"), names)
    names["make_audit_examples"](EXAMPLES, tmp_path)
    made = {str(p.relative_to(tmp_path)): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert len(made) == 12
    assert all((EXAMPLES / "audit" / name).read_bytes() == content for name, content in made.items())


def test_json_has_all_fourteen_tells_and_fits_its_schema(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "audit.html"
    arguments = ["audit", str(EXAMPLES / "audit/in-house"), "--base", BASE, "--offline", "--format", "json"]
    text = run([*arguments, "--html", str(page)], capsys)
    found = json.loads(text)
    jsonschema.Draft202012Validator(load_schema("audit")).validate(found)
    assert [t["id"] for t in found["tells"]] == list(range(1, 15))
    assert found["verdict"]["answer"] == "derived"
    assert found["command"][:2] == ["provenance-gate", "audit"] and "--offline" in found["command"]
    assert found["lineages"][0]["base"]["id"] == "provenance-gate-examples/base"
    assert page.read_text("utf-8").startswith("<!doctype html>")
    assert run([*arguments, "--html", str(page)], capsys) == text


def test_the_text_begins_with_the_verdict_and_fits_the_width(capsys: pytest.CaptureFixture[str]) -> None:
    text = run(["audit", str(EXAMPLES / "audit/in-house"), "--base", BASE, "--offline", "--verbose"], capsys)
    lines = text.splitlines()
    assert lines[0].startswith("in-house is derived from provenance-gate-examples/base")
    assert max(map(len, lines)) <= 100
    for heading in ("The fourteen tells", "Claims against evidence", "Weights", "Licenses that come along"):
        assert heading in lines
    assert "that conclusion is the reader's" in " ".join(lines)


def test_html_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    text = run(["audit", str(EXAMPLES / "fine-tune"), "--base", BASE, "--offline", "--format", "html"], capsys)
    assert "Audit of fine-tune" in text and text.endswith("</html>\n")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["audit", "no/such/folder/here"], 3, "no/such"),
        (["audit", str(EXAMPLES / "base"), "--base", "=x"], 2, "ID=SOURCE"),
        (["audit", str(EXAMPLES / "base"), "--base", "x=no/such/folder/here"], 3, "no/such"),
    ],
)
def test_what_cannot_be_read_ends_in_one_line(
    arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = run([*arguments, "--offline"], capsys, code)
    assert words in said and len(said.splitlines()) == 1


def test_a_fingerprint_file_can_be_audited(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored = tmp_path / "model.fp.safetensors"
    run(["fingerprint", str(EXAMPLES / "fine-tune"), "-o", str(stored)], capsys)
    text = run(["audit", str(stored), "--base", BASE, "--offline", "--format", "json"], capsys)
    found = json.loads(text)
    jsonschema.Draft202012Validator(load_schema("audit")).validate(found)
    assert found["digest"] is None and "fingerprint" in found["digest_reason"]
    assert found["verdict"]["answer"] == "derived"
    page = run(["audit", str(stored), "--base", BASE, "--offline", "--format", "html"], capsys)
    assert "ML-BOM" not in page


def test_without_weights_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "audit",
        str(EXAMPLES / "impostor"),
        "--base",
        BASE,
        "--offline",
        "--max-tier",
        "1",
        "--format",
        "json",
    ]
    found = json.loads(run(arguments, capsys))
    assert found["verdict"]["answer"] == "not shown"
    assert "--max-tier" in found["command"]


def test_a_sibling_found_by_searching_is_no_parent(tmp_path: Path) -> None:
    base = llama(1)
    for name, tensors, parents in (
        ("org/base", base, ()),
        ("org/sibling", noisy(base, 0.1, 11), ("org/base",)),
        ("org/other", llama(2), ()),
    ):
        source = write_model(tmp_path / name, tensors)
        add(str(tmp_path / "registry"), str(source), Given(name, "mit", parents, str(source)), Reading())
    known = open_registries((str(tmp_path / "registry"),), shipped=False)
    found = auditing.audit(str(write_model(tmp_path / "child", noisy(base, 0.1, 3))), (), known, OFFLINE)
    assert found.verdict.bases == ("org/base",)
    assert "org/sibling" not in {n.id for n in found.ancestry}
    assert next(x.kin_of for x in found.lineages if x.base.id == "org/sibling") == "org/base"


def test_a_disguise_is_undone_where_a_registry_knows_the_source(tmp_path: Path) -> None:
    base = llama(1)
    source = write_model(tmp_path / "base", base)
    add(str(tmp_path / "registry"), str(source), Given("org/base", "mit", (), str(source)), Reading())
    known = open_registries((str(tmp_path / "registry"),), shipped=False)
    disguised = write_model(tmp_path / "m", reorder_neurons(base, np.random.default_rng(5)))
    assert auditing.audit(str(disguised), (), known, OFFLINE).verdict.bases == ("org/base",)


def test_a_hub_model_is_audited_by_ranges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with loopback_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.add("org/base", uploaded(write_model(tmp_path / "base", llama(1))))
        hub.add("vendor/own", uploaded(write_model(tmp_path / "own", noisy(llama(1), 0.1, 3))))
        arguments = ["audit", "hf://vendor/own", "--base", "hf://org/base", "--format", "json", "--no-cache"]
        found = json.loads(run(arguments, capsys))
    assert found["verdict"]["bases"] == ["org/base"]
    assert found["tells"][2]["base"] == "org/base", found["tells"][2]["seen"]


def test_an_equal_tokenizer_is_held_once_and_others_within_a_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, same = (read_model(str(write_model(tmp_path / n, llama(1))), OFFLINE) for n in ("ours", "same"))
    other = write_model(tmp_path / "other", llama(2))
    (other / "tokenizer.json").write_text(json.dumps(tokenizer(170)))
    size = (other / "tokenizer.json").stat().st_size
    compared = [(build.derived(), same), (build.independent(), read_model(str(other), OFFLINE))]
    name = PurePosixPath("tokenizer.json")
    for budget, held in ((size, True), (size - 1, False)):
        monkeypatch.setattr(cases, "TOKENIZER_BYTES", budget)
        case = cases.case_of(ours, compared, open_registries((), shipped=False))
        assert case.bases[0][0].documents[name] is case.ours.documents[name]
        assert (name in case.bases[1][0].documents) is held


class _Broken:
    id, name, group, title = 1, "broken", TellGroup.CONFIG, "A tell that cannot look"

    def __init__(self, error: Exception) -> None:
        self.error = error

    def measure(self, case: Case) -> TellResult:
        raise self.error


@pytest.mark.parametrize("error", [UndefinedSignalError("no value"), MalformedFileError("config.json: broken")])
def test_a_tell_that_cannot_look_is_not_measured_with_the_reason(tmp_path: Path, error: Exception) -> None:
    model = write_model(tmp_path / "m", llama(1))
    found = auditing.audit(
        str(model), (), open_registries((), shipped=False), OFFLINE, tells=[_Broken(error), *TELLS[1:]]
    )
    assert (found.tells[0].status, found.tells[0].seen) == (TellStatus.NOT_MEASURED, str(error))


def test_a_file_that_changes_meanwhile_ends_the_audit(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", llama(1))
    with pytest.raises(ChangedFileError):
        auditing.audit(
            str(model), (), open_registries((), shipped=False), OFFLINE, tells=[_Broken(ChangedFileError("w: changed"))]
        )


def test_decoding_is_done_only_when_it_is_asked_for(in_house: Audit, capsys: pytest.CaptureFixture[str]) -> None:
    assert in_house.tells[13].status is TellStatus.NOT_MEASURED and "not asked for" in in_house.tells[13].seen
    arguments = ["audit", str(EXAMPLES / "fine-tune"), "--base", BASE, "--offline", "--format", "json"]
    said = run([*arguments, "--generate", "no-such-file"], capsys, 2)
    assert "no-such-file" in said
    assert "--endpoint" in run([*arguments, "--endpoint-chat"], capsys, 2)


def test_a_vendor_without_weights_is_asked_at_an_endpoint(
    answering: tuple[str, list[bytes]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, asked = answering
    vendor = write_model(tmp_path / "vendor", llama(1))
    for file in vendor.glob("*.safetensors"):
        file.unlink()
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("one\n\ntwo\n")
    arguments = ["audit", str(vendor), "--base", BASE, "--offline", "--format", "json", "--endpoint", url]
    found = json.loads(run([*arguments, "--generate", str(prompts), "--new-tokens", "4"], capsys))
    jsonschema.Draft202012Validator(load_schema("audit")).validate(found)
    assert [json.loads(body)["prompt"] for body in asked] == ["one", "two"]
    assert json.loads(asked[0])["model"] == "vendor"
    # The base is run here, which needs the extra.
    assert found["tells"][13]["status"] != "fired"
    assert found["verdict"]["answer"] == "not shown"
    assert "weights" in [w["what"] for w in found["withheld"]]
    assert found["command"][-6:] == ["--generate", str(prompts), "--endpoint", url, "--new-tokens", "4"]


def test_the_python_function_gives_the_same_values() -> None:
    found = pg.audit(str(EXAMPLES / "audit/in-house"), bases=[BASE], offline=True)
    assert found.verdict.answer is Answer.DERIVED
