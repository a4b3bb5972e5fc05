"""The pages in a real browser: no console message, no request, no wider than the screen, and what axe-core says of them.

Skipped where playwright or Chromium is missing; ``PROVENANCE_GATE_CHROMIUM`` names a browser, ``PROVENANCE_GATE_AXE`` the file
``axe.min.js`` of axe-core.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provenance_gate.report.html import render
from provenance_gate.report.html.audit_page import render_audit
from provenance_gate.report.interface import ReportOptions

from . import build, pages

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = os.environ.get("PROVENANCE_GATE_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
AXE = os.environ.get("PROVENANCE_GATE_AXE")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-sync",
)
WIDTHS = (1280, 390)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium")
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield started
        started.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    contents = {
        "check": render(build.impostor(), ReportOptions()),
        "audit": render_audit(pages.audit()),
        "hostile": render_audit(pages.audit('<script>alert(1)</script><img src=x onerror=alert(1)>"' + build.HOSTILE)),
    }
    for name, content in contents.items():
        (folder / f"{name}.html").write_text(content, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in contents}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["check", "audit", "hostile"])
def test_a_page_opens_without_a_message_or_a_request(
    browser: Any, written: dict[str, Path], name: str, width: int
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900})
    page = context.new_page()
    messages: list[str] = []
    requests: list[str] = []
    page.on("console", lambda m: messages.append(m.text))
    page.on("pageerror", lambda e: messages.append(str(e)))
    page.on("dialog", lambda d: (messages.append("a dialog"), d.dismiss()))
    page.on("request", lambda r: requests.append(r.url))
    page.goto(written[name].as_uri())
    assert messages == []
    assert requests == [written[name].as_uri()]
    assert page.evaluate("document.scripts.length + document.images.length") == 0
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    # The style sheet is applied: its digest is the one that the policy allows.
    assert page.evaluate("getComputedStyle(document.querySelector('.verdict')).borderLeftWidth") == "8px"
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["check", "audit", "hostile"])
def test_axe_has_no_serious_finding(browser: Any, written: dict[str, Path], name: str, width: int, scheme: str) -> None:
    if AXE is None:
        pytest.skip("PROVENANCE_GATE_AXE is not set")
    # The page's own policy would refuse the checker.
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    page.goto(written[name].as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    page.evaluate(Path(AXE).read_text("utf-8"))
    found = page.evaluate("axe.run()")
    serious = [(v["id"], v["nodes"][0]["html"]) for v in found["violations"] if v["impact"] in ("serious", "critical")]
    assert serious == []
    assert len(found["passes"]) > 20
    context.close()
