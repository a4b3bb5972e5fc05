"""The command line: arguments, streams and exit codes. It decides nothing.

Exit codes: 0 pass; 1 the policy failed; 2 usage, or policy unreadable; 3 artifact or registry could not be read or measured.
Modules that do work are imported by the command that needs them: `--help` answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from provenance_gate._version import __version__
from provenance_gate.errors import PolicyError, ProvenanceGateError, ReportError, UsageError, one_line
from provenance_gate.options import FILE, debug_option, output_options, reading_options
from provenance_gate.terminal import Terminal

if TYPE_CHECKING:
    from provenance_gate.reading import Reading
    from provenance_gate.report.interface import ReportOptions


_BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
"""Set to 1 before numpy is imported: idle threads of BLAS spin, which made comparisons on a busy machine ten times as long.
Where there is much to multiply, whole blocks are worked on in parallel instead."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="provenance-gate %(version)s")
def app() -> None:
    """Check from the weights where a machine-learning model comes from.

    \b
    Start here:
      provenance-gate compare ./model ./base       is this model derived from that one?
      provenance-gate check ./model --base ORG/NAME=./base --bom bom.cdx.json
                                                   the gate: policy, verdict, ML-BOM
      provenance-gate policy init                  a commented policy to start from

    \b
    Exit codes: 0 pass; 1 the policy failed; 2 usage, or policy unreadable;
    3 a model could not be read.
    """


@app.command()
@click.argument("artifacts", metavar="ARTIFACT...", nargs=-1, required=True)
@click.option(
    "-p",
    "--policy",
    default="builtin:baseline",
    show_default=True,
    help="A policy file, or builtin:baseline, builtin:release, builtin:strict.",
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
@click.option(
    "--registry",
    "registries",
    multiple=True,
    type=FILE,
    help="Folder with a further catalog of base models; repeatable.",
)
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
@click.option("--allow-empty", is_flag=True, help="Exit 0 when there is no model at all.")
@reading_options
@output_options
@debug_option
def check(
    artifacts: tuple[str, ...],
    policy: str,
    policy_sha256: str | None,
    bases: tuple[str, ...],
    registries: tuple[Path, ...],
    reports: tuple[str, ...],
    bom: Path | None,
    bom_version: str,
    reproducible: bool,
    output_format: str,
    fail_on: str,
    strict: bool,
    exit_zero: bool,
    recursive: bool,
    allow_empty: bool,
    output: Path | None,
    verbose: bool,
    **common: Any,
) -> int:
    """The gate: test what a model release claims against its weights, and judge by policy."""
    from provenance_gate.artifact.load import NoModelError
    from provenance_gate.gate import Gate, find_artifacts
    from provenance_gate.policy.interface import FailOn
    from provenance_gate.policy.load import load_policy
    from provenance_gate.reading import BaseOption
    from provenance_gate.report import find_format

    wanted = [_report_option(r) for r in reports] + ([("cyclonedx", bom)] if bom else [])
    for name in (output_format, *(name for name, _ in wanted)):
        find_format(name)
    terminal = _terminal(common)
    loaded = load_policy(policy)
    if policy_sha256 is not None and policy_sha256.lower() != loaded.sha256:
        raise PolicyError(f"has sha256 {loaded.sha256}, expected {one_line(policy_sha256, 80)}", file=loaded.file)
    gate = Gate(
        policy=loaded,
        bases=[BaseOption.parse(b) for b in bases],
        registries=registries,
        reading=_reading(common, terminal),
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
    rendered = [(path, find_format(name).render(found, _options(None, **form))) for name, path in wanted]
    text = find_format(output_format).render(found, _options(None if output else terminal, **form))
    for path, content in rendered:
        _write(path, content)
    _print_or_write(text, output)
    return 0 if exit_zero else found.exit_code


@app.command()
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

    terminal = _terminal(common)
    try:
        found = reading.compare(artifact, base, _reading(common, terminal), others)
    finally:
        terminal.close()
    if output_format == "json":
        from provenance_gate.report.json_report import render_compare as render_json

        text = render_json(found.artifact, found.base, found.lineage, found.merge)
    else:
        from provenance_gate.report.human import render_compare

        options = _options(None if output else terminal, verbose=verbose)
        text = render_compare(found.artifact, found.base, found.lineage, options, found.merge)
    _print_or_write(text, output)


@app.command()
@click.argument("artifact")
@click.option("-o", "--output", type=FILE, required=True, help="File to write (.safetensors).")
@reading_options
@click.option("-q", "--quiet", is_flag=True, help="No progress, no notes on stderr.")
@debug_option
def fingerprint(artifact: str, output: Path, **common: Any) -> None:
    """Keep what is needed to recognize a model without its weights: one file, a few MB."""
    from provenance_gate import reading
    from provenance_gate.fingerprint.container import save_fingerprint

    terminal = _terminal(common)
    try:
        found = reading.fingerprint(artifact, _reading(common, terminal))
    finally:
        terminal.close()
    save_fingerprint(found, output)
    terminal.note(f"wrote {output} ({output.stat().st_size:,} bytes)")


@app.group("policy")
def policy_group() -> None:
    """Write, check and explain policies."""


@policy_group.command("init")
@click.argument("path", type=FILE, default=Path("provenance-policy.yaml"))
@debug_option
def policy_init(path: Path, **_: Any) -> None:
    """Write a commented policy to start from (default: provenance-policy.yaml). Never overwrites."""
    from provenance_gate.policy.explain import STARTER

    title = "".join(c if c.isalnum() or c in "-_" else "-" for c in path.stem) or "policy"
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(STARTER.format(name=path, title=title))
    except FileExistsError as error:
        raise UsageError(f"{path} exists; give another name") from error
    except OSError as error:
        raise ReportError(f"{path}: {error.strerror}") from error
    click.echo(
        f"wrote {path}\nnext:  provenance-gate check MODEL --policy {path} --base ORG/NAME=PATH --bom bom.cdx.json"
    )


@policy_group.command("validate")
@click.argument("policy")
@debug_option
def policy_validate(policy: str, **_: Any) -> None:
    """Check a policy and all that it extends. POLICY is a file, or builtin:NAME."""
    from provenance_gate.policy.load import load_policy

    loaded = load_policy(policy)
    counts = f"{len(loaded.rules)} rules, {len(loaded.waivers)} waivers"
    click.echo(f"{one_line(policy)}: valid, {counts}, sha256 {loaded.sha256}")


@policy_group.command("schema")
@click.option("-o", "--output", type=FILE, help="Write it here instead of to stdout.")
@debug_option
def policy_schema(output: Path | None, **_: Any) -> None:
    """Print the JSON Schema of policies, for editors."""
    import json

    from provenance_gate.policy.schema import policy_schema as schema

    _print_or_write(json.dumps(schema(), indent=2) + "\n", output)


@policy_group.command("explain")
@click.argument("policy")
@debug_option
def policy_explain(policy: str, **_: Any) -> None:
    """Say in plain words what a policy would check. POLICY is a file, or builtin:NAME."""
    from provenance_gate.policy.explain import explain
    from provenance_gate.policy.load import load_policy

    click.echo(explain(load_policy(policy)), nl=False)


def _terminal(common: dict[str, Any]) -> Terminal:
    return Terminal(quiet=common["quiet"], no_color=common.get("no_color", False))


def _reading(common: dict[str, Any], terminal: Terminal) -> Reading:
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


def _options(terminal: Terminal | None, **form: Any) -> ReportOptions:
    """For a terminal, or (None) for a file: no color, 100 columns."""
    from provenance_gate.report.interface import ReportOptions

    if terminal is None:
        return ReportOptions(**form)
    return ReportOptions(color=terminal.color, width=terminal.width, **form)


def _print_or_write(text: str, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        _write(output, text)


def _write(path: Path, text: str) -> None:
    """Through a file beside it, so that a reader never sees half a report."""
    partial = path.with_name(f"{path.name}.part")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise ReportError(f"{path}: {error.strerror}") from error


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: run, and turn every error into one line and an exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    for library in _BLAS_THREADS:
        os.environ.setdefault(library, "1")
    try:
        code = app.main(args=given, prog_name="provenance-gate", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except ProvenanceGateError as error:
        code = _fail(str(error), error.exit_code, debug=debug)
    except BrokenPipeError:
        # The reader of stdout went away: nothing was judged for it to see. Keep Python's own flush at exit quiet.
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
        code = 3
    except (click.Abort, KeyboardInterrupt):
        code = _fail("interrupted", 130, debug=False)
    except Exception as error:  # noqa: BLE001  Python's own exit code for a crash is 1, which would read as "policy failed".
        text = f"internal error: {type(error).__name__}: {one_line(str(error))}; --debug shows where"
        code = _fail(text, 3, debug=debug)
    raise SystemExit(code or 0)


def _fail(message: str, code: int, *, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exc()
    sys.stderr.write(f"provenance-gate: error: {message}\n")
    return code


if __name__ == "__main__":
    main()
