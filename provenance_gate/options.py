"""Options that several commands of the command line share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

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
