"""`fingerprint`: keep what is needed to recognize a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from provenance_gate.commands.common import FILE, debug_option, open_terminal, reading_of, reading_options


@click.command()
@click.argument("artifact")
@click.option("-o", "--output", type=FILE, required=True, help="File to write (.safetensors).")
@reading_options
@click.option("-q", "--quiet", is_flag=True, help="No progress, no notes on stderr.")
@debug_option
def fingerprint(artifact: str, output: Path, **common: Any) -> None:
    """Keep what is needed to recognize a model without its weights: one file, a few MB."""
    from provenance_gate import reading
    from provenance_gate.fingerprint.container import save_fingerprint

    terminal = open_terminal(common)
    try:
        found = reading.fingerprint(artifact, reading_of(common, terminal))
    finally:
        terminal.close()
    save_fingerprint(found, output)
    terminal.note(f"wrote {output} ({output.stat().st_size:,} bytes)")
