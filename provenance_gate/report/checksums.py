"""Digests of all files as `sha256sum --check` reads them.

Names are relative to the artifact's folder; with several artifacts each is below its name. A name with a backslash, line feed or
carriage return is escaped as GNU coreutils do, with a backslash before the digest. A name that is not UTF-8 cannot stand in
a text file: it is written with escapes, so that checking it fails instead of passing over it.
"""

from __future__ import annotations

from collections.abc import Iterator

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.errors import ReportError, one_line
from provenance_gate.report.findings import labels
from provenance_gate.report.interface import Report, ReportOptions

_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}


def render(report: Report, options: ReportOptions) -> str:
    """One line per file, sorted by name.

    Raises
    ------
    ReportError
        A file has no digest.
    """
    return "".join(f"{_line(name, digest)}\n" for name, digest, _ in sorted(gated_files(report)))


def gated_files(report: Report) -> Iterator[tuple[str, str, bool]]:
    """Name, SHA-256 (hex) and whether the digest is only declared, of every file of every artifact; no name twice."""
    several = len(report.results) > 1
    for result, label in zip(report.results, labels(report), strict=True):
        for record in result.artifact.files:
            name = f"{label}/{record.path}" if several else str(record.path)
            if isinstance(record.sha256, NotMeasured):
                raise ReportError(f"{one_line(name)}: no digest: {record.sha256.reason}")
            yield name, record.sha256, record.declared


def _line(name: str, digest: str) -> str:
    name = name.encode("utf-8", "backslashreplace").decode("utf-8")
    escaped = "".join(_ESCAPES.get(c, c) for c in name)
    return f"{'' if escaped == name else chr(92)}{digest}  {escaped}"
