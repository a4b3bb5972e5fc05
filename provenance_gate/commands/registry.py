"""`registry`: look into catalogs and stored fingerprints, fill them, check them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from provenance_gate.commands.common import (
    FILE,
    debug_option,
    open_terminal,
    print_or_write,
    reading_of,
    reading_options,
    registries_of,
    registry_options,
    report_options,
)
from provenance_gate.errors import UsageError, one_line

if TYPE_CHECKING:
    from provenance_gate.artifact.sources.interface import Options
    from provenance_gate.building import Built
    from provenance_gate.terminal import Terminal

format_option = click.option(
    "-f",
    "--format",
    "output_format",
    type=click.Choice(["human", "json"]),
    default="human",
    show_default=True,
    help="Format on stdout.",
)
key_option = click.option(
    "--registry-key",
    "registry_keys",
    multiple=True,
    type=FILE,
    help="Ed25519 public key (PEM); the index must be signed by one of them. Repeatable.",
)
offline_option = click.option("--offline", is_flag=True, help="No connection; remote registries are not reached.")
skip_option = click.option(
    "--skip-damaged", is_flag=True, help="Leave out what cannot be believed, and list it on stderr."
)
quiet_option = click.option("-q", "--quiet", is_flag=True, help="No progress, no notes on stderr.")
no_color_option = click.option("--no-color", is_flag=True, help="No color, as NO_COLOR=1 does.")
output_option = click.option("-o", "--output", type=FILE, help="Write the result here instead of to stdout.")


@click.group("registry")
def registry_group() -> None:
    """Known models: facts, licenses and fingerprints, to compare artifacts with.

    A registry is a folder, or the same folder behind a URL (https://, s3:// and its kin, hf://org/name). The one that
    comes with the package is always there; those that --registry names lie above it, and the later one wins where two
    know the same id.

    \b
    Start here:
      provenance-gate registry info meta-llama/Llama-3.1-8B     parents, licenses, obligations
      provenance-gate registry add ./registry ./model --id acme/base-7b
                                                                keep a fingerprint of your own base
      provenance-gate check ./child --registry ./registry       ... and use it
    """


@registry_group.command("list")
@registry_options
@skip_option
@format_option
@output_option
@offline_option
@quiet_option
@no_color_option
@debug_option
def registry_list(output_format: str, output: Path | None, **common: Any) -> None:
    """List the models that are known, with license, parents and what is stored."""
    from provenance_gate.commands.registry_view import list_models, render_list

    _show(common, output_format, output, list_models, render_list)


@registry_group.command("info")
@click.argument("model_id", metavar="ID")
@registry_options
@skip_option
@format_option
@output_option
@offline_option
@quiet_option
@no_color_option
@debug_option
def registry_info(model_id: str, output_format: str, output: Path | None, **common: Any) -> None:
    """Show all that is known of one model.

    Facts, parents to the roots, what its licenses ask, and what is stored. ID is a model id or another name of it, in
    any case.
    """
    from provenance_gate.commands.registry_view import describe, render_description

    _show(common, output_format, output, lambda registries: describe(registries, model_id), render_description)


@registry_group.command("add")
@click.argument("registry")
@click.argument("source")
@click.option("--id", "model_id", help="Id of the model, as artifacts name their base; default: the model's own name.")
@click.option("--license", "license_id", help="License id (hub or SPDX spelling); default: what the model's card says.")
@click.option("--parent", "parents", multiple=True, help="Id of the model that it was made from; repeatable.")
@click.option("--source", "address", help="Where its weights lie for others (URL); default: SOURCE if that is one.")
@reading_options
@quiet_option
@debug_option
def registry_add(
    registry: str,
    source: str,
    model_id: str | None,
    license_id: str | None,
    parents: tuple[str, ...],
    address: str | None,
    **common: Any,
) -> None:
    """Put a model into a local registry.

    REGISTRY is a folder, made when it is missing. SOURCE is an artifact (a folder, a file, a hub model, a URL) or a
    fingerprint file. Its fingerprint is stored, a few MB, not its weights. License and parents come from its card where
    no catalog knows the model. A model of the same id is replaced.
    """
    from provenance_gate import building
    from provenance_gate.registry.records import Given

    terminal = open_terminal(common)
    try:
        given = Given(model_id, license_id, parents, address)
        done = building.add(registry, source, given, reading_of(common, terminal))
    finally:
        terminal.close()
    stored = done.entry.fingerprint
    size = f"fingerprint of {stored.size:,} bytes" if stored else "no fingerprint"
    record = "" if done.entry.record is None else "; license and parents as its card or the options say"
    click.echo(f"{'replaced' if done.replaced else 'added'} {done.entry.id}: {size}{record}")
    _note_signature(terminal, registry, unsigned=done.unsigned)


@registry_group.command("build")
@click.argument("registry")
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--catalog", "whole", is_flag=True, help="Every model of the catalogs, the shipped one and REGISTRY's.")
@reading_options
@quiet_option
@debug_option
def registry_build(registry: str, ids: tuple[str, ...], whole: bool, **common: Any) -> int:
    """Store fingerprints of hub models.

    Weights are read by ranges: a fraction of a percent of large ones. ID is org/name, org/name@revision or hf://...
    Several models are read at once (--jobs). What is stored at its newest commit is skipped, so that a run that was
    broken off goes on where it stopped. A model that cannot be read stops no other one; a summary names it at the end,
    and the exit code is 3.
    """
    from provenance_gate import building

    if not ids and not whole:
        raise UsageError("registry build: give the ids of hub models, or --catalog")
    terminal = open_terminal(common)
    try:
        wanted = (*ids, *(building.catalog_ids(registry) if whole else ()))
        reading = reading_of(common, terminal)
        built = building.build(registry, wanted, reading, jobs=common["jobs"] or 4)
    finally:
        terminal.close()
    return _summary(terminal, registry, built)


@registry_group.command("import")
@click.argument("registry")
@click.argument("folder", type=FILE)
@click.argument("ids", metavar="[ID]...", nargs=-1)
@quiet_option
@debug_option
def registry_import(registry: str, folder: Path, ids: tuple[str, ...], **common: Any) -> int:
    """Store what model-provenance-kit publishes.

    FOLDER holds its `catalog` and `features`. Its fingerprints are marked with their method: only signals that were
    measured alike are compared with them, and none of them can show that a model derives from another. Needs the extra
    `parquet`.
    """
    from provenance_gate import building

    terminal = open_terminal(common)
    try:
        built = building.import_kit(registry, folder, ids, terminal.progress)
    finally:
        terminal.close()
    return _summary(terminal, registry, built)


@registry_group.command("export")
@click.argument("registry")
@click.argument("file", type=FILE)
@key_option
@offline_option
@debug_option
def registry_export(registry: str, file: Path, registry_keys: tuple[Path, ...], **common: Any) -> None:
    """Write the sketches as one compact index.

    Half a kilobyte a model, for registries of many thousands.
    """
    from provenance_gate import building

    count = building.export([registry], file, keys=registry_keys, options=_remote(common))
    click.echo(f"wrote {one_line(str(file))}: {count:,} sketches, {file.stat().st_size:,} bytes")


@registry_group.command("index")
@click.argument("registry")
@quiet_option
@debug_option
def registry_index(registry: str, **common: Any) -> None:
    """Write the index anew after catalog files were edited.

    The index states the digest of every catalog file, and files that differ from it are refused: review them first.
    """
    from provenance_gate import building

    done = building.reindex(registry)
    sketches = f", {len(done.sketched):,} sketches made" if done.sketched else ""
    click.echo(f"{one_line(registry)}: index written{sketches}")
    _note_signature(open_terminal(common), registry, unsigned=done.unsigned)


@registry_group.command("verify")
@click.argument("registries", metavar="[REGISTRY]...", nargs=-1)
@key_option
@offline_option
@output_option
@quiet_option
@no_color_option
@debug_option
def registry_verify(
    registries: tuple[str, ...], registry_keys: tuple[Path, ...], output: Path | None, **common: Any
) -> int:
    """Check registries: exit 3 when anything is wrong.

    By default the one that comes with the package. Checks index, signature (with --registry-key) and catalog, and every
    stored fingerprint byte by byte. Files that no entry refers to are noted, and are no fault.
    """
    from provenance_gate.commands.registry_view import render_verification
    from provenance_gate.data import data_dir
    from provenance_gate.registry.verifying import verify_registry

    terminal = open_terminal(common)
    try:
        found = [
            verify_registry(
                location,
                keys=registry_keys,
                options=_remote(common),
                progress=lambda done, of: terminal.progress("checking", done, of),
            )
            for location in (registries or (str(data_dir("fingerprints")),))
        ]
    finally:
        terminal.close()
    print_or_write(render_verification(found, report_options(None if output else terminal)), output)
    return 3 if any(one.problems for one in found) else 0


def _show(common: dict[str, Any], output_format: str, output: Path | None, gather: Any, render: Any) -> None:
    from provenance_gate.reading import Reading

    terminal = open_terminal(common)
    found = gather(registries_of(common, Reading(remote=_remote(common))))
    for sentence in found["damaged"]:
        terminal.note(f"left out: {sentence}")
    if output_format == "json":
        import json

        text = json.dumps(found, indent=2, sort_keys=True) + "\n"
    else:
        text = render(found, report_options(None if output else terminal))
    print_or_write(text, output)


def _remote(common: dict[str, Any]) -> Options:
    from provenance_gate.artifact.sources.interface import Options

    return Options(offline=True if common["offline"] else None)


def _summary(terminal: Terminal, registry: str, built: Built) -> int:
    """Say what was done, what failed and why. The exit code."""
    for note in built.notes:
        terminal.note(f"note: {one_line(note, 600)}")
    click.echo(f"{len(built.added):,} stored, {len(built.skipped):,} stored before, {len(built.failures):,} failed")
    for failure in built.failures:
        click.echo(f"  {one_line(failure.id, 120)}: {one_line(failure.reason, 400)}")
    _note_signature(terminal, registry, unsigned=built.unsigned)
    return 3 if built.failures else 0


def _note_signature(terminal: Terminal, registry: str, *, unsigned: bool) -> None:
    if unsigned:
        terminal.note(
            f"the signature of {one_line(registry, 120)} was taken away, since the index changed. Sign it again:\n"
            "  openssl pkeyutl -sign -rawin -inkey key.pem -in index.json -out index.json.sig"
        )
