from dataclasses import replace

import pytest
from rich.cells import cell_len

from provenance_gate.lineage.interface import LayerMatch
from provenance_gate.report.human import render_check, render_compare
from provenance_gate.report.interface import ReportOptions

from . import build

WIDTHS = (60, 100, 140)


@pytest.mark.parametrize("name", build.REPORTS)
@pytest.mark.parametrize("width", WIDTHS)
def test_text_fits_the_width_and_holds_no_control_character(name: str, width: int) -> None:
    text = render_check(build.REPORTS[name](), ReportOptions(width=width, verbose=True))
    assert_plain(text, width)
    assert text == render_check(build.REPORTS[name](), ReportOptions(width=width, verbose=True))


@pytest.mark.parametrize(
    ("name", "first_line"),
    [
        ("passing", "PASS  acme/support-bot-8b, policy release: 2 passed"),
        ("impostor", "FAIL  vendor/own-12b, policy release: 1 failed, 1 passed"),
        ("undecided", "UNDECIDED  acme/support-bot-8b, policy release: 1 undecided, 1 passed"),
        ("two artifacts", "FAIL  2 artifacts, policy release: 1 failed, 3 passed"),
    ],
)
def test_the_first_line_is_the_verdict(name: str, first_line: str) -> None:
    assert render_check(build.REPORTS[name](), ReportOptions()).splitlines()[0] == first_line


def test_a_failure_says_rule_answer_reason_and_what_to_do() -> None:
    text = render_check(build.impostor(), ReportOptions(width=140))
    (row,) = [line for line in text.splitlines() if "PG201 declared-base-is-real  " in line]
    assert "FAIL" in row
    assert "not in the weights" in row
    assert "What to do" in text
    assert "Correct base_model in README.md" in text
    assert text.index("PG201") < text.index("PG101")


def test_lineage_lines_give_score_relation_p_value_inheritance_components_and_cost() -> None:
    text = render_check(build.passing(), ReportOptions(width=140))
    assert "meta-llama/Llama-3.1-8B: derived (fine-tuned), score 0.98, declared in README.md:3 (base_model)" in text
    assert "p-value 1.23e-300 (permutation of FFN neurons), inheritance 0.97" in text
    assert "components: attention derived, embeddings derived" in text
    assert "Read 12.3 MB of 16.1 GB of weights (0.077 %), 34 requests." in text
    assert "What to do" not in text


def test_a_waived_finding_shows_who_why_and_until_when() -> None:
    text = " ".join(render_check(build.waived(), ReportOptions(width=200)).split())
    assert "Waived until 2026-06-30 by legal@acme.example: Accepted by legal (LEGAL-42)" in text


def test_what_was_not_measured_is_said_with_its_reason() -> None:
    text = render_check(build.undecided_report(), ReportOptions(width=140))
    assert "score not measured (the adapter holds no base weights)" in text


def test_verbose_adds_ancestry_and_evidence() -> None:
    short = render_check(build.passing(), ReportOptions())
    long = render_check(build.passing(), ReportOptions(verbose=True))
    assert "Ancestry" not in short
    assert "meta-llama/Llama-3-8B: catalog, llama3" in " ".join(long.split())
    assert "score 0.98, p-value 1.23e-300" in long


def test_color_only_repeats_what_words_say() -> None:
    plain = render_check(build.impostor(), ReportOptions())
    colored = render_check(build.impostor(), ReportOptions(color=True))
    assert "\x1b[" not in plain
    assert "\x1b[1;31mFAIL" in colored


def test_markup_of_an_artifact_is_text() -> None:
    text = "".join(render_check(build.hostile(), ReportOptions(width=400)).split())
    assert "[red]x[/red]" in text
    assert "\\u001b[31mevil" in text
    assert "\\u202e" in text


def test_compare_leads_with_score_and_relation_and_lists_every_signal() -> None:
    lineage = build.derived(claims=(build.claim(),))
    text = render_compare(build.artifact(), lineage.base, lineage, ReportOptions())
    assert_plain(text, 100)
    assert text.splitlines()[0] == "Score 0.98: derived (fine-tuned)"
    assert "decoder: 12 of 12 layers map in order" in text
    signals = [line.split()[0] for line in text[text.index("Signals") :].splitlines()[3:] if line[:1].isalpha()]
    assert signals[:3] == ["mfi", "tfv", "voa"]
    assert {"eas", "content_identity", "neuron_match"} <= set(signals)
    assert "no norm gains in any shard" in text
    assert "not compared in this run" in text
    assert "under 0.01" in text


@pytest.mark.parametrize(
    ("base_layers", "summary"),
    [
        ((0, 2, 5), "3 of 3 layers map to a layer of the base, in rising order"),
        ((0, 1, 1), "3 of 3 layers map to a layer of the base, in rising order, 1 repeated"),
        ((2, None, 0), "2 of 3 layers map to a layer of the base, out of order"),
        ((None, None, None), "none of 3 layers comes from the base"),
    ],
)
def test_layers_are_summed_up_in_a_line(base_layers: tuple[int | None, ...], summary: str) -> None:
    layers = tuple(LayerMatch("decoder", index, base, 0.5) for index, base in enumerate(base_layers))
    lineage = replace(build.derived(), layers=layers)
    text = render_compare(build.artifact(), lineage.base, lineage, ReportOptions(verbose=True))
    assert f"decoder: {summary}\n" in text


def test_compare_of_a_hostile_artifact_is_plain_text() -> None:
    hostile = build.hostile().results[0]
    lineage = hostile.lineages[0]
    assert_plain(render_compare(hostile.artifact, lineage.base, lineage, ReportOptions(width=80, verbose=True)), 80)


def assert_plain(text: str, width: int) -> None:
    assert text.endswith("\n")
    for line in text.splitlines():
        assert cell_len(line) <= width
        assert line == line.rstrip()
        assert line.isprintable()


def test_wrapping_brings_no_command_of_a_build_server_to_the_start_of_a_line() -> None:
    for fill in range(100):
        text = f"{'x' * fill} ::stop-commands::token ##[add-mask]a ##vso[task.setvariable variable=PATH]b"
        report = build.report(replace(build.impostor_result(), findings=(replace(build.finding(), message=text),)))
        shown = render_check(report, ReportOptions())
        assert "##" not in shown and not any(line.lstrip().startswith("::") for line in shown.splitlines())
