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
)
from provenance_gate.commands.places import model_folders, repository_paths
from provenance_gate.commands.reports import (
    render_reports,
    report_file_options,
    wanted_reports,
    write_broken,
    write_reports,
)
from provenance_gate.commands.settings import refuse_loosened, settings_option
from provenance_gate.errors import PolicyError, ProvenanceGateError, UsageError, one_line


@click.command()
@settings_option
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
@report_file_options
@click.option(
    "--bom-version", type=click.Choice(["1.6", "1.7"]), default="1.6", show_default=True, help="CycloneDX version."
)
@click.option("--reproducible", is_flag=True, help="BOM without serial number and timestamp, no clock read.")
@click.option(
    "-f", "--format", "output_format", default="human", show_default=True, help="On stdout: any format of --report."
)
@click.option("--baseline", type=FILE, help="Accept the findings of this file; only new ones count.")
@click.option("--write-baseline", type=FILE, help="Write what is open now to a new file for --baseline.")
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
@click.option(
    "--changed", is_flag=True, help="The arguments are changed files: check each model that holds one of them, once."
)
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
    vsa: Path | None,
    checksums: Path | None,
    baseline: Path | None,
    write_baseline: Path | None,
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
    from provenance_gate.policy import baseline as baselines
    from provenance_gate.policy.interface import FailOn
    from provenance_gate.policy.load import load_policy
    from provenance_gate.reading import BaseOption
    from provenance_gate.report import find_format

    wanted = wanted_reports(reports, {"bom": bom, "vsa": vsa, "checksums": checksums})
    find_format(output_format)
    timestamp = _timestamp()
    now = timestamp or (None if reproducible else datetime.now(timezone.utc))
    if now is None and {output_format, *(name for name, _ in wanted)} & {"intoto", "vsa-predicate"}:
        raise UsageError("--reproducible with a verification summary needs a time: set SOURCE_DATE_EPOCH")
    if write_baseline is not None and write_baseline.exists():
        raise UsageError(f"{write_baseline} exists: a baseline is never overwritten; remove it first")
    if policy_sha256 is not None:
        refuse_loosened(click.get_current_context())
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
        baseline=None if baseline is None else baselines.load_baseline(baseline),
    )
    try:
        found = gate.run(find_artifacts(artifacts, recursive=recursive), timestamp=timestamp)
    except NoModelError as error:
        if not allow_empty:
            write_broken(wanted, str(error))
            raise
        terminal.note(f"{error}; nothing to check")
        return 0
    except ProvenanceGateError as error:
        write_broken(wanted, str(error))
        raise
    finally:
        terminal.close()
    policies = {file for r in found.results for file in (f.policy_file for f in r.findings)} | {loaded.file}
    form: dict[str, Any] = {
        "verbose": verbose,
        "bom_version": bom_version,
        "reproducible": reproducible,
        "now": now,
        "repository_paths": repository_paths(sorted(policies)) | model_folders([r.source for r in found.results]),
    }
    rendered = render_reports(found, wanted, report_options(None, **form))
    text = find_format(output_format).render(found, report_options(None if output else terminal, **form))
    write_reports(rendered)
    if write_baseline is not None:
        count = baselines.write_baseline(write_baseline, [(r.artifact.name, r.findings) for r in found.results])
        terminal.note(f"wrote {write_baseline}: {count} accepted findings")
    print_or_write(text, output)
    return 0 if exit_zero else found.exit_code


def _timestamp() -> datetime | None:
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if not epoch:
        return None
    try:
        return datetime.fromtimestamp(int(epoch), timezone.utc)
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(f"SOURCE_DATE_EPOCH={epoch!r}: expected seconds since 1970") from error
