"""CycloneDX ML-BOM, 1.6 or 1.7 (CONVENTIONS 1). What does not validate is not returned.

The body is built as plain JSON values: cyclonedx-python-lib 11.12 has no classes for model cards, compositions, declarations or
citations. It serves as the validator.
"""

from __future__ import annotations

import json

from provenance_gate.errors import UsageError
from provenance_gate.report.cyclonedx.document import build_bom
from provenance_gate.report.cyclonedx.validate import VERSIONS, validate_bom
from provenance_gate.report.interface import Report, ReportOptions


def render(report: Report, options: ReportOptions) -> str:
    """The BOM as JSON text with a line end.

    Raises
    ------
    UsageError
        `options.bom_version` is none that this format writes.
    ReportError
        The BOM breaks the schema or refers to something that it does not hold; the message has the first fault.
    """
    if options.bom_version not in VERSIONS:
        raise UsageError(f"BOM version {options.bom_version!r} is not one of {', '.join(VERSIONS)}")
    body = build_bom(report, options)
    validate_bom(body)
    return json.dumps(body, indent=2, ensure_ascii=True, allow_nan=False) + "\n"
