"""The pages: self-contained, inert whatever an artifact says, and readable by people and by machines that read to people."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.errors import one_line
from provenance_gate.fingerprint.interface import Json
from provenance_gate.lineage.interface import LayerMatch
from provenance_gate.lineage.merges.interface import Merge, Mixture
from provenance_gate.report import find_format
from provenance_gate.report.html import render
from provenance_gate.report.html.audit_page import render_audit
from provenance_gate.report.html.charts import MOST_COLUMNS, Grid, dots, heat_map, histogram, shares
from provenance_gate.report.html.frame import page
from provenance_gate.report.html.lineage_parts import mix_section
from provenance_gate.report.html.markup import Markup, tag, text
from provenance_gate.report.html.style import STYLE
from provenance_gate.report.interface import ReportOptions

from . import build, pages
from .pages import Parsed

HARMLESS = re.compile(
    "html|head|meta|title|style|body|main|section|div|h[123]|p|ul|ol|li|strong|span|table|thead|tbody|tr|th|td|pre|details|summary"
    "|figure|figcaption|svg|rect|line|circle|text"
)
CHECKS = {
    "passing": build.passing,
    "impostor": build.impostor,
    "waived": build.waived,
    "undecided": build.undecided_report,
    "several": lambda: build.report(build.passing_result(), build.impostor_result()),
}


def all_pages() -> dict[str, str]:
    found = {name: render(make(), ReportOptions()) for name, make in CHECKS.items()}
    return found | {"audit": render_audit(pages.audit()), "hostile": render_audit(pages.audit(build.HOSTILE))}


@pytest.mark.parametrize("name", [*CHECKS, "audit", "hostile"])
def test_a_page_holds_only_harmless_elements_and_loads_nothing(name: str) -> None:
    content = all_pages()[name]
    parsed = Parsed.of(content)
    assert [e for e in parsed.elements if not HARMLESS.fullmatch(e)] == []
    assert parsed.elements.count("style") == parsed.elements.count("title") == 1
    loading = {"src", "href", "srcset", "action", "style", "data", "background", "poster", "formaction", "xlink:href"}
    assert not [a for a in parsed.attributes if a[1] in loading or a[1].startswith("on")]
    assert "url(" not in STYLE and "@import" not in STYLE


def test_the_policy_of_the_page_allows_its_own_style_sheet_and_nothing_else() -> None:
    content = all_pages()["audit"]
    policy = next(
        v for t, n, v in Parsed.of(content).attributes if t == "meta" and n == "content" and "default-src" in v
    )
    style = re.search(r"<style>(.*?)</style>", content, re.DOTALL)
    assert style is not None
    digest = b64encode(sha256(style[1].encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    # What stands before the policy is not bound by it.
    assert content.index("Content-Security-Policy") < content.index("<style>")


@given(st.text(max_size=60))
def test_any_string_comes_back_as_one_line_of_the_same_text(value: str) -> None:
    parsed = Parsed.of(tag("p", value, title=value).html)
    assert parsed.elements == ["p"]
    assert parsed.text == one_line(value, 2000)
    assert parsed.attributes == [("p", "title", one_line(value, 2000))]


def test_hostile_names_show_as_text() -> None:
    content = all_pages()["hostile"]
    assert "<script" not in content and "<b>" not in content
    shown = Parsed.of(content).text
    assert one_line(build.HOSTILE, 2000) in shown
    assert not re.search(r"[\u202e\u2028\x1b\ud800-\udfff]", content)


def test_a_page_is_the_same_in_every_run() -> None:
    assert all_pages() == all_pages()


def test_a_page_can_be_written_as_utf_8() -> None:
    for content in all_pages().values():
        content.encode("utf-8")


def test_the_page_of_a_check_says_verdict_findings_remedy_and_how_to_reproduce() -> None:
    shown = Parsed.of(render(build.impostor(), ReportOptions())).text
    assert "vendor/own-12b, policy release: 1 failed, 1 passed" in shown
    assert "The declared base is not in the weights: score 0.02, asked for 0.7." in shown
    assert "Correct base_model in README.md" in shown
    assert "provenance-gate check vendor/own-12b --policy policies/release.yaml" in shown
    assert build.impostor_result().digest in shown


def test_a_waiver_is_shown_with_owner_and_date() -> None:
    shown = Parsed.of(render(build.waived(), ReportOptions())).text
    assert "Waived until 2026-06-30 by legal@acme.example" in shown


def test_the_tree_shows_ancestors_within_each_other_and_what_the_weights_contradict() -> None:
    shown = Parsed.of(render(build.passing(), ReportOptions())).text
    assert shown.index("acme/support-bot-8b (this artifact)") < shown.index(
        "meta-llama/Llama-3.1-8B: shown by the weights"
    )
    assert "acme/support-bot-8b → meta-llama/Llama-3.1-8B → meta-llama/Llama-3-8B" in shown
    contradicted = Parsed.of(render(build.impostor(), ReportOptions())).text
    assert "meta-llama/Llama-3.1-8B: declared, and the weights contradict it (score 0.02)" in contradicted


def test_the_bom_excerpt_has_the_pedigree_and_no_files() -> None:
    shown = Parsed.of(render(build.passing(), ReportOptions())).text
    assert '"pedigree": {' in shown and '"type": "machine-learning-model"' in shown
    assert "model.sig" not in shown


def test_every_tell_is_on_the_page_of_an_audit_with_its_answer() -> None:
    shown = Parsed.of(render_audit(pages.audit())).text
    for i in range(1, 15):
        assert f" {i}. Title {i}" in shown
    assert "-You are Qwen" in shown
    assert "a <b>" in shown


def test_pictures_have_a_text_alternative_and_their_numbers_in_a_table() -> None:
    parsed = Parsed.of(render_audit(pages.audit()))
    pictures = [a for a in parsed.attributes if a[0] == "svg" and a[1] == "role"]
    labels = [v for t, n, v in parsed.attributes if t == "svg" and n == "aria-label"]
    # Layers, two maps by role, the histogram, norm vectors; the key of a legend is hidden from readers aloud.
    assert len(pictures) == len(labels) == 5 and all(labels)
    assert "0.9 to 1500" in parsed.text.replace("\n", "")
    assert "decoder/0/norm" in parsed.text


def test_numbers_of_an_unexpected_form_are_not_drawn() -> None:
    odd = pages.audit()
    numbers: dict[str, Json] = {"histogram": "x", "parents": [1, {"layers": [1]}], "vectors": {"a": 1}, "moved": 3}
    tells = [replace(t, numbers=numbers) for t in odd.tells]
    parsed = Parsed.of(render_audit(replace(odd, tells=tells)))
    assert len([a for a in parsed.attributes if a[0] == "svg" and a[1] == "role"]) == 1


def test_an_artifact_that_came_as_a_fingerprint_has_a_page_without_a_bom() -> None:
    shown = Parsed.of(render_audit(replace(pages.audit(), digest=NotMeasured("came as a fingerprint")))).text
    assert "came as a fingerprint" in shown and "ML-BOM" not in shown


def test_a_merge_is_drawn_by_layer_with_its_parents_named() -> None:
    mixtures = tuple(Mixture("attention", "decoder", i, (("a", i), ("b", i)), (0.6, 0.4), 0.0, None) for i in range(3))
    merge = Merge(("a", "b"), {"a": 0.6, "b": 0.4}, None, "linear", {}, 0.0, mixtures, "a mix", {})
    section = mix_section(merge)
    assert section is not None
    parsed = Parsed.of(section.html)
    assert parsed.elements.count("rect") == 2 + 2 * 3
    assert "linear: a 0.600, b 0.400" in parsed.text
    assert mix_section(NotMeasured("one base")) is None


def test_a_heat_map_of_a_thousand_layers_stays_bounded() -> None:
    columns = [str(i) for i in range(1000)]
    grid = Grid(["a"], columns, [[0.5] * 1000], 0.0, 1.0)
    parsed = Parsed.of(heat_map("Caption.", "says", grid).html)
    assert parsed.elements.count("rect") == MOST_COLUMNS


def test_a_value_that_is_absent_is_no_dark_or_light_cell() -> None:
    grid = Grid(["a"], ["0", "1", "2"], [[None, 0.0, 1.0]], 0.0, 1.0)
    parsed = Parsed.of(heat_map("Caption.", "says", grid).html)
    assert [v for t, n, v in parsed.attributes if t == "rect" and n == "class"] == ["none", "cell h0", "cell h10"]
    assert "none" in parsed.texts


def test_charts_of_nothing_are_pages_still() -> None:
    for chart in (
        heat_map("c", "s", Grid([], [], [], 0.0, 1.0)),
        histogram("c", "s", [0.0], []),
        dots("c", "s", [], []),
        shares("c", "s", [], [], []),
    ):
        Parsed.of(chart.html)


def test_values_that_are_not_finite_are_not_drawn() -> None:
    grid = Grid(["a"], ["0"], [[float("nan")]], 0.0, 1.0)
    assert "nan" not in heat_map("c", "s", grid).html


def test_layers_without_a_counterpart_are_counted() -> None:
    lineage = replace(build.derived(), layers=(LayerMatch("decoder", 0, 0, 0.9), LayerMatch("decoder", 1, None, 0.0)))
    found = replace(build.passing_result(), lineages=(lineage,))
    shown = Parsed.of(render(build.report(found), ReportOptions())).text
    assert "1 of 2 layers correspond to a layer of meta-llama/Llama-3.1-8B" in shown


def test_markup_is_not_made_inert_twice() -> None:
    assert tag("p", text("a & b"), "c & d").html == "<p>a &amp; bc &amp; d</p>"
    assert page("t", Markup("<p>x</p>")).startswith("<!doctype html>\n<html")


def test_html_is_a_format_of_check() -> None:
    assert find_format("html").render(build.passing(), ReportOptions()) == render(build.passing(), ReportOptions())
