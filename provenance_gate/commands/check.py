"""`check`: the gate."""

from __future__ import annotations

import os
from datetime import datetime, timezone
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
    write_text,
)
from provenance_gate.errors import PolicyError, UsageError, one_line


@click.command()
@click.argument("artifacts", metavar="ARTIFACT...", nargs=-1, required=True)
@click.option(
    "-p",
    "--policy",
    default="builtin:baseline",
    show_default=True,
    help="A policy file, or builtin:baseline, builtin:metadata, builtin:release, builtin:strict.",
)
@click.option("--policy-sha256", help="Refuse any policy but the one with this digest (see policy explain).")
@click.option(
    "-b",
    "--base",
    "bases",
    multiple=True,
    metavar="[ID=]SOURCE",
    help="Weights or fingerprint file of a base; repeatable.",
)
@registry_options
@click.option(
    "--report",
    "reports",
    multiple=True,
    metavar="FORMAT=FILE",
    help="Also write a report: human, json or cyclonedx; repeatable.",
)
@click.option("--bom", type=FILE, help="Short for --report cyclonedx=FILE.")
@click.option(
    "--bom-version", type=click.Choice(["1.6", "1.7"]), default="1.6", show_default=True, help="CycloneDX version."
)
@click.option("--reproducible", is_flag=True, help="BOM without serial number and timestamp.")
@click.option(
    "-f", "--format", "output_format", default="human", show_default=True, help="On stdout: human, json or cyclonedx."
)
@click.option(
    "--fail-on",
    type=click.Choice(["error", "warning", "note", "never"]),
    default="error",
    show_default=True,
    help="Least severity that fails the run.",
)
@click.option("--strict", is_flag=True, help="Short for --fail-on warning.")
@click.option("--exit-zero", is_flag=True, help="Exit 0 where it would be 1. Never hides 2 or 3.")
@click.option("-r", "--recursive", is_flag=True, help="Check every model folder below the given paths.")
@click.option("--changed", is_flag=True, help="The arguments are changed files: check each model that holds one of them, once.")
@click.option("--allow-empty", is_flag=True, help="Exit 0 when there is no model at all.")
@reading_options
@output_options
@debug_option
def check(
    artifacts: tuple[str, ...],
    policy: str,
    policy_sha256: str | None,
    bases: tuple[str, ...],
    reports: tuple[str, ...],
    bom: Path | None,
    bom_version: str,
    reproducible: bool,
    output_format: str,
    fail_on: str,
    strict: bool,
    exit_zero: bool,
    recursive: bool,
    changed: bool,
    allow_empty: bool,
    output: Path | None,
    verbose: bool,
    **common: Any,
) -> int:
    """The gate: test what a model release claims against its weights, and judge by policy."""
    from provenance_gate.artifact.load import NoModelError
    from provenance_gate.commands.changed import models_of_changed
    from provenance_gate.gate import Gate, find_artifacts
    from provenance_gate.policy.interface import FailOn
    from provenance_gate.policy.load import load_policy
    from provenance_gate.reading import BaseOption
    from provenance_gate.report import find_format

    wanted = [_report_option(r) for r in reports] + ([("cyclonedx", bom)] if bom else [])
    for name in (output_format, *(name for name, _ in wanted)):
        find_format(name)
    terminal = open_terminal(common)
    loaded = load_policy(policy)
    if policy_sha256 is not None and policy_sha256.lower() != loaded.sha256:
        raise PolicyError(f"has sha256 {loaded.sha256}, expected {one_line(policy_sha256, 80)}", file=loaded.file)
    if changed:
        artifacts, recursive = models_of_changed(artifacts), False
        if not artifacts:
            terminal.note("no model holds any of the changed files; nothing to check")
            terminal.close()
            return 0
    if loaded.registries.signed and common["registries"] and not common["registry_keys"]:
        raise UsageError("the policy asks for signed registries: give the public key with --registry-key")
    reading = reading_of(common, terminal)
    gate = Gate(
        policy=loaded,
        bases=[BaseOption.parse(b) for b in bases],
        registries=registries_of(common, reading, skip_damaged=loaded.registries.skip_damaged),
        reading=reading,
        fail_on=FailOn.WARNING if strict else FailOn(fail_on),
    )
    try:
        found = gate.run(find_artifacts(artifacts, recursive=recursive), timestamp=_timestamp())
    except NoModelError as error:
        if not allow_empty:
            raise
        terminal.note(f"{error}; nothing to check")
        return 0
    finally:
        terminal.close()
    form = {"verbose": verbose, "bom_version": bom_version, "reproducible": reproducible}
    # All are rendered before any is written: a report that may not be written leaves none behind half done.
    rendered = [(path, find_format(name).render(found, report_options(None, **form))) for name, path in wanted]
    text = find_format(output_format).render(found, report_options(None if output else terminal, **form))
    for path, content in rendered:
        write_text(path, content)
    print_or_write(text, output)
    return 0 if exit_zero else found.exit_code


def _report_option(text: str) -> tuple[str, Path]:
    name, separator, path = text.partition("=")
    if not separator or not name or not path:
        raise UsageError(f"--report {text!r}: expected FORMAT=FILE")
    return name, Path(path)


def _timestamp() -> datetime | None:
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if not epoch:
        return None
    try:
        return datetime.fromtimestamp(int(epoch), timezone.utc)
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(f"SOURCE_DATE_EPOCH={epoch!r}: expected seconds since 1970") from error
