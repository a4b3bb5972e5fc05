"""The checksum file, as `sha256sum --check` and as the manifest digest has it."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from provenance_gate.artifact.digests import digest_files, manifest_sha256
from provenance_gate.artifact.interface import FileKind, FileRecord, NotMeasured
from provenance_gate.errors import ReportError
from provenance_gate.report import checksums
from provenance_gate.report.interface import Report, ReportOptions

from . import build

NAMES = (
    "README.md",
    "sub/model.safetensors",
    "back\\slash",
    "line\nfeed",
    "carriage\rreturn",
    " space ",
    "é 漢",
    "*star",
)


def report_of(*records: FileRecord) -> Report:
    subject = build.artifact(files=records)
    return build.report(build.result(subject, (), (), (build.finding(),), build.Verdict.PASS))


def written(root: Path, names: tuple[str, ...] = NAMES) -> Report:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    records = [FileRecord(PurePosixPath(n), len(n.encode()), FileKind.OTHER) for n in names]
    return report_of(*digest_files(root, records))


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs GNU coreutils")
def test_sha256sum_finds_every_file_and_sees_a_changed_one(tmp_path: Path) -> None:
    report = written(tmp_path / "model")
    sums = tmp_path / "sums"
    sums.write_bytes(checksums.render(report, ReportOptions()).encode())
    command = ["sha256sum", "--check", "--strict", "--quiet", str(sums)]
    assert subprocess.run(command, cwd=tmp_path / "model", check=False).returncode == 0
    (tmp_path / "model" / "line\nfeed").write_bytes(b"changed")
    assert subprocess.run(command, cwd=tmp_path / "model", check=False, capture_output=True).returncode == 1


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs GNU coreutils")
def test_lines_are_those_that_sha256sum_writes(tmp_path: Path) -> None:
    report = written(tmp_path)
    ours = checksums.render(report, ReportOptions()).encode().splitlines(keepends=True)
    theirs = subprocess.run(["sha256sum", *NAMES], cwd=tmp_path, check=True, capture_output=True).stdout
    assert sorted(ours) == sorted(theirs.splitlines(keepends=True))


def test_the_digest_of_the_file_is_that_of_the_artifact() -> None:
    report = build.passing()
    text = checksums.render(report, ReportOptions())
    assert hashlib.sha256(text.encode()).hexdigest() == manifest_sha256(report.results[0].artifact.files)


def test_files_of_several_artifacts_stand_below_their_names() -> None:
    names = [line[66:] for line in checksums.render(build.two_artifacts(), ReportOptions()).splitlines()]
    assert len(names) == len(set(names)) == 10
    assert "acme/support-bot-8b/README.md" in names and "vendor/own-12b/README.md" in names


def test_a_name_that_is_not_utf8_is_escaped_rather_than_left_out() -> None:
    record = replace(build.file("x", FileKind.OTHER), path=PurePosixPath("bad\udc80"))
    text = checksums.render(report_of(record), ReportOptions())
    assert text.startswith("\\") and text.endswith("  bad\\\\udc80\n")


def test_a_file_without_a_digest_is_an_error() -> None:
    record = replace(build.file("model.bin", FileKind.WEIGHTS), sha256=NotMeasured("too large"))
    with pytest.raises(ReportError, match=r"model\.bin: no digest: too large"):
        checksums.render(report_of(record), ReportOptions())
