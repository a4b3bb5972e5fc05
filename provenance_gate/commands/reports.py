"""The report files of a run: which are wanted, in what order they are rendered, and how a run that broke leaves word."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from provenance_gate.commands.common import FILE, write_text
from provenance_gate.errors import ReportError, UsageError
from provenance_gate.report import FORMATS, find_format

if TYPE_CHECKING:
    from provenance_gate.report.interface import Report, ReportOptions

Command = TypeVar("Command", bound=Callable[..., Any])

SHORT = {"bom": "cyclonedx", "vsa": "intoto", "checksums": "checksums"}
_LAST = ("intoto", "vsa-predicate")


def report_file_options(command: Command) -> Command:
    """`--report` and its short forms."""
    names = ", ".join(report_format.name for report_format in FORMATS)
    options = (
        click.option(
            "--report",
            "reports",
            multiple=True,
            metavar="FORMAT=FILE",
            help=f"Also write a report; repeatable. Formats: {names}.",
        ),
        *(
            click.option(f"--{name}", type=FILE, help=f"Short for --report {report_format}=FILE.")
            for name, report_format in SHORT.items()
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def wanted_reports(reports: Sequence[str], short: Mapping[str, Path | None]) -> list[tuple[str, Path]]:
    """(format, file) pairs of `--report` and of the short forms, by option name. Raises UsageError for one that is neither."""
    wanted = []
    for text in reports:
        name, separator, path = text.partition("=")
        if not separator or not name or not path:
            raise UsageError(f"--report {text!r}: expected FORMAT=FILE")
        wanted.append((name, Path(path)))
    wanted += [(SHORT[option], path) for option, path in short.items() if path is not None]
    for name, _ in wanted:
        find_format(name)
    return wanted


def render_reports(
    report: Report, wanted: Sequence[tuple[str, Path]], options: ReportOptions
) -> list[tuple[Path, str]]:
    """All texts, before any is written: a report that may not be written leaves none behind half done.

    Verification summaries come last: they name the other files by digest.
    """
    rendered = [(path, find_format(name).render(report, options)) for name, path in wanted if name not in _LAST]
    digests = tuple((path.name, sha256(text.encode()).hexdigest()) for path, text in rendered)
    options = replace(options, written=digests)
    return rendered + [(path, find_format(name).render(report, options)) for name, path in wanted if name in _LAST]


def write_reports(rendered: Sequence[tuple[Path, str]]) -> None:
    for path, text in rendered:
        write_text(path, text)


def write_broken(wanted: Sequence[tuple[str, Path]], message: str) -> None:
    """Of a run that could not judge: JUnit alone has a word for that. A file that cannot be written hides no first error."""
    from provenance_gate.report.junit import render_error

    for name, path in wanted:
        if name == "junit":
            try:
                write_text(path, render_error(message))
            except ReportError:
                continue
