"""What several commands share: their options, and the way from options to values and files."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from provenance_gate.errors import ReportError
from provenance_gate.terminal import Terminal

if TYPE_CHECKING:
    from provenance_gate.reading import Reading
    from provenance_gate.registry.layers import Registries
    from provenance_gate.report.interface import ReportOptions

Command = TypeVar("Command", bound=Callable[..., Any])

FILE = click.Path(path_type=Path)


def reading_options(command: Command) -> Command:
    """Options of every command that reads models."""
    options = (
        click.option("--exact", is_flag=True, help="Read every byte of the weights, also above 512 MiB."),
        click.option(
            "--max-tier",
            type=click.IntRange(0, 4),
            default=4,
            show_default=True,
            help="1: metadata and tokenizer only; 2: sampled rows; 3: disguises too; 4: whole files.",
        ),
        click.option("-j", "--jobs", type=click.IntRange(1, 256), help="Threads; default: one per core."),
        click.option(
            "--offline", is_flag=True, help="No connection: hub models come from the hub's cache folder, or not."
        ),
        click.option(
            "--cache-dir", type=FILE, help="Cache folder of hub files; default: huggingface_hub's (HF_HUB_CACHE)."
        ),
        click.option("--no-cache", is_flag=True, help="Measure hub models anew, and keep no fingerprint of them."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def registry_options(command: Command) -> Command:
    """Options of every command that looks models up."""
    options = (
        click.option(
            "--registry",
            "registries",
            multiple=True,
            metavar="PLACE",
            help="Folder or URL of a further registry: catalog and fingerprints of known models. Repeatable.",
        ),
        click.option(
            "--registry-key",
            "registry_keys",
            multiple=True,
            type=FILE,
            help="Ed25519 public key (PEM); every --registry must be signed by one of them. Repeatable.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def output_options(command: Command) -> Command:
    """Options of every command that prints a report."""
    options = (
        click.option("-o", "--output", type=FILE, help="Write the result here instead of to stdout."),
        click.option("-q", "--quiet", is_flag=True, help="No progress, no notes on stderr."),
        click.option("-v", "--verbose", is_flag=True, help="More detail in the human report."),
        click.option("--no-color", is_flag=True, help="No color, as NO_COLOR=1 does."),
    )
    for option in reversed(options):
        command = option(command)
    return command


debug_option = click.option("--debug", is_flag=True, help="Show a traceback when something breaks.")


def open_terminal(common: dict[str, Any]) -> Terminal:
    return Terminal(quiet=common["quiet"], no_color=common.get("no_color", False))


def reading_of(common: dict[str, Any], terminal: Terminal) -> Reading:
    from provenance_gate.artifact.sources.interface import Options
    from provenance_gate.fingerprint.cache import FingerprintCache, default_folder
    from provenance_gate.reading import Reading

    hub_files, kept = common["cache_dir"], None if common["no_cache"] else default_folder()
    return Reading(
        remote=Options(offline=True if common["offline"] else None, cache_dir=str(hub_files) if hub_files else None),
        cache=FingerprintCache(kept) if kept else None,
        exact=True if common["exact"] else None,
        max_tier=common["max_tier"],
        jobs=common["jobs"] or os.cpu_count() or 2,
        progress=terminal.progress,
    )


def report_options(terminal: Terminal | None, **form: Any) -> ReportOptions:
    """For a terminal, or (None) for a file: no color, 100 columns."""
    from provenance_gate.report.interface import ReportOptions

    if terminal is None:
        return ReportOptions(**form)
    return ReportOptions(color=terminal.color, width=terminal.width, **form)


def registries_of(common: dict[str, Any], reading: Reading, *, skip_damaged: bool | None = None) -> Registries:
    """The shipped registry and those of the command line. Nothing is read before the first question."""
    from provenance_gate.registry.layers import open_registries

    return open_registries(
        common["registries"],
        keys=common["registry_keys"],
        skip_damaged=common.get("skip_damaged", False) if skip_damaged is None else skip_damaged,
        options=reading.remote,
    )


def print_or_write(text: str, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        write_text(output, text)


def write_text(path: Path, text: str) -> None:
    """Through a file beside it, so that a reader never sees half a report."""
    partial = path.with_name(f"{path.name}.part")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise ReportError(f"{path}: {error.strerror}") from error
