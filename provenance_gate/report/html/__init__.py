"""Reports as one self-contained page: no script, no address, a content-security policy that allows its own style sheet only.

`check_page` is the format ``html`` of `check`, `audit_page` the page of `audit`.
"""

from __future__ import annotations

from provenance_gate.report.interface import Report, ReportOptions


def render(report: Report, options: ReportOptions) -> str:
    """The page of one `check`. Imported when it is asked for: it needs the BOM's code."""
    from provenance_gate.report.html.check_page import render as render_check

    return render_check(report, options)
