"""`scan`: which known models an artifact comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from provenance_gate.commands.common import (
    FILE,
    debug_option,
    open_terminal,
    output_options,
    print_or_write,
    reading_of,
    reading_options,
    registries_of,
    registry_options,
    report_options,
)


@click.command()
@click.argument("artifact")
@registry_options
@click.option(
    "--index",
    "indexes",
    multiple=True,
    type=FILE,
    help="Compact index (registry export): sketches of further hub models, which nominate. Repeatable.",
)
@click.option(
    "--skip-damaged", is_flag=True, help="Leave out entries of registries that cannot be believed, and list them."
)
@click.option(
    "--top", type=click.IntRange(1, 1000), default=10, show_default=True, help="Most matches and nominees to report."
)
@click.option(
    "--min-score",
    type=click.FloatRange(0.0, 1.0),
    default=0.70,
    show_default=True,
    help="Least lineage score of a match.",
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
def scan(
    artifact: str,
    indexes: tuple[Path, ...],
    top: int,
    min_score: float,
    output_format: str,
    output: Path | None,
    verbose: bool,
    **common: Any,
) -> None:
    """What is this model, and which licenses come with it? Informs: exit 0 whatever it finds.

    Known models are the shipped catalog and every --registry. Their config, tokenizer and sketches nominate; only weights make a
    match: the stored fingerprint of a model, or, without --offline, the weights on the hub, read by ranges.

    \b
    provenance-gate scan ./model
    provenance-gate scan hf://org/name --registry ./our-models --format json
    """
    from provenance_gate import scanning

    terminal = open_terminal(common)
    try:
        reading = reading_of(common, terminal)
        known = registries_of(common, reading)
        found = scanning.scan(artifact, known, reading, indexes=indexes, top=top, min_score=min_score)
    finally:
        terminal.close()
    if output_format == "json":
        from provenance_gate.report.scan_json import render_scan as render_json

        text = render_json(found)
    else:
        from provenance_gate.report.scan_human import render_scan

        text = render_scan(found, report_options(None if output else terminal, verbose=verbose))
    print_or_write(text, output)
