"""Report formats. A new one is a file in this folder and a line in `FORMATS`.

The module of a format is imported when it first renders: what parses arguments needs the names only, and rich or the
CycloneDX library would cost it more than it does itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from provenance_gate.errors import UsageError

if TYPE_CHECKING:
    from provenance_gate.report.interface import Report, ReportFormat, ReportOptions


@dataclass(frozen=True, slots=True)
class LazyFormat:
    """A `ReportFormat` whose code is `function` of `module` in this package, called with a report and options."""

    name: str
    module: str
    function: str = "render"

    def render(self, report: Report, options: ReportOptions) -> str:
        """The report as text in this format."""
        render = getattr(import_module(f"{__name__}.{self.module}"), self.function)
        text: str = render(report, options)
        return text


FORMATS: tuple[ReportFormat, ...] = (
    LazyFormat("human", "human", "render_check"),
    LazyFormat("json", "json_report"),
    LazyFormat("cyclonedx", "cyclonedx"),
    LazyFormat("sarif", "sarif"),
    LazyFormat("junit", "junit"),
    LazyFormat("codequality", "codequality"),
    LazyFormat("markdown", "markdown"),
    LazyFormat("github", "github"),
    LazyFormat("intoto", "intoto"),
    LazyFormat("vsa-predicate", "intoto", "render_predicate"),
    LazyFormat("checksums", "checksums"),
    LazyFormat("html", "html"),
)


def find_format(name: str) -> ReportFormat:
    """The format called `name`.

    Raises
    ------
    UsageError
        There is none; the message lists those that are.
    """
    for report_format in FORMATS:
        if report_format.name == name:
            return report_format
    raise UsageError(f"unknown report format {name!r}; choose one of {', '.join(f.name for f in FORMATS)}")
