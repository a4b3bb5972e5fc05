"""The same input gives the same bytes, whatever the folder, the time zone, the locale, the hash seed or the number of threads."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from provenance_gate.report import FORMATS

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
ORDINARY = {"TZ": "UTC", "LANG": "C.UTF-8", "PYTHONHASHSEED": "1"}
OTHER = {"TZ": "Asia/Tokyo", "LANG": "de_DE.UTF-8", "PYTHONHASHSEED": "77", "COLUMNS": "60"}


def run(place: Path, environment: dict[str, str], jobs: int) -> dict[str, bytes]:
    """Everything that check, scan, audit and fingerprint write, by file name."""
    for name in ("fine-tune", "base", "registry"):
        shutil.copytree(EXAMPLES / name, place / name)
    (place / "out").mkdir()
    base = ["--base", "provenance-gate-examples/base=base"]
    known = ["--registry", "registry", "--offline", "-j", str(jobs)]
    reports = [x for f in FORMATS for x in ("--report", f"{f.name}=out/{f.name}")]
    commands = (
        ["check", "fine-tune", "--policy", "builtin:release", *base, *known, "--reproducible", *reports],
        ["scan", "fine-tune", *known, "--format", "json", "-o", "out/scan.json"],
        ["audit", "fine-tune", *base, *known, "--format", "json", "-o", "out/audit.json"],
        ["fingerprint", "fine-tune", "-o", "out/fingerprint", "-j", str(jobs)],
    )
    variables = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000", "XDG_CACHE_HOME": str(place / "cache"), **environment}
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", "provenance_gate", *command],
            cwd=place,
            env=variables,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
    return {p.name: p.read_bytes() for p in sorted((place / "out").iterdir())}


def test_two_runs_in_different_surroundings_give_equal_bytes(tmp_path: Path) -> None:
    first = run(tmp_path / "one", ORDINARY, 1)
    second = run(tmp_path / "a longer name" / "two", OTHER, 3)
    assert len(first) == len(FORMATS) + 3
    assert {name for name in first if first[name] != second[name]} == set()
    assert all(first.values()), "an empty report"
