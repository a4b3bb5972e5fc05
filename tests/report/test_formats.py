import json
import subprocess
import sys

import pytest

from provenance_gate.errors import UsageError
from provenance_gate.report import FORMATS, find_format
from provenance_gate.report.interface import ReportOptions

from . import build


def test_formats_have_distinct_names_and_each_renders_text() -> None:
    names = [report_format.name for report_format in FORMATS]
    assert names[:3] == ["human", "json", "cyclonedx"] and len(set(names)) == len(names)
    texts = [report_format.render(build.passing(), ReportOptions()) for report_format in FORMATS]
    assert texts[0].startswith("PASS")
    assert json.loads(texts[1])["verdict"] == "pass"
    assert json.loads(texts[2])["bomFormat"] == "CycloneDX"


def test_an_unknown_format_is_a_usage_error_that_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="human, json, cyclonedx"):
        find_format("pdf")


def test_importing_the_room_brings_no_heavy_library() -> None:
    code = (
        "import sys, provenance_gate.report; "
        "print([m for m in ('rich', 'cyclonedx', 'numpy', 'jsonschema') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
