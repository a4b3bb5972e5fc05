"""`compare`: one lineage, all signals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from provenance_gate.commands.common import (
    debug_option,
    open_terminal,
    output_options,
    print_or_write,
    reading_of,
    reading_options,
    report_options,
)


@click.command()
@click.argument("artifact")
@click.argument("base", metavar="[ID=]BASE")
@click.option(
    "-b",
    "--base",
    "others",
    metavar="[ID=]SOURCE",
    multiple=True,
    help="A further candidate parent; with one or more, how the artifact was mixed from all of them. Repeatable.",
)
@click.option(
    "-f",
    "--format",
    "output_format",
    type=click.Choice(["human", "json"]),
    default="human",
    show_default=True,
    help="Format on stdout.",
)
@reading_options
@output_options
@debug_option
def compare(
    artifact: str,
    base: str,
    others: tuple[str, ...],
    output_format: str,
    output: Path | None,
    verbose: bool,
    **common: Any,
) -> None:
    """One lineage with all signals. Informs: exit 0 whatever it finds.

    ARTIFACT and BASE are model folders, weight files (safetensors, GGUF, PyTorch), fingerprint files, hub models (org/name or
    hf://org/name@revision) or URLs. A local path that exists wins over a hub model of the same spelling.
    """
    from provenance_gate import reading

    terminal = open_terminal(common)
    try:
        found = reading.compare(artifact, base, reading_of(common, terminal), others)
    finally:
        terminal.close()
    if output_format == "json":
        from provenance_gate.report.json_report import render_compare as render_json

        text = render_json(found.artifact, found.base, found.lineage, found.merge)
    else:
        from provenance_gate.report.human import render_compare

        options = report_options(None if output else terminal, verbose=verbose)
        text = render_compare(found.artifact, found.base, found.lineage, options, found.merge)
    print_or_write(text, output)
