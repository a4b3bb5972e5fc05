"""The command line: arguments, streams and exit codes. It decides nothing.

Exit codes: 0 pass; 1 the policy failed; 2 usage, or policy unreadable; 3 artifact or registry could not be read or measured.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from provenance_gate._version import __version__
from provenance_gate.errors import PolicyError, ProvenanceGateError, ReportError, UsageError, one_line
from provenance_gate.terminal import Terminal

if TYPE_CHECKING:
    from provenance_gate.gate import Reading
    from provenance_gate.report.interface import ReportOptions

HELP = """Check from the weights where a machine-learning model comes from.

Start here:

  provenance-gate compare ./model ./base     derived from that one?

  provenance-gate check ./model --base ORG/NAME=./base --bom bom.json

  provenance-gate policy init                a policy to start from

Exit codes: 0 pass; 1 the policy failed; 2 usage, or policy unreadable; 3 a model could not be read.
"""

app = typer.Typer(
    help=HELP, no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
)
policy_app = typer.Typer(help="Write, check and explain policies.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(policy_app, name="policy")


class Severities(str, Enum):
    """Choices of --fail-on."""

    error = "error"
    warning = "warning"
    note = "note"
    never = "never"


class BomVersion(str, Enum):
    """Choices of --bom-version."""

    v1_6 = "1.6"
    v1_7 = "1.7"


class ShortFormat(str, Enum):
    """Choices of --format where only two make sense."""

    human = "human"
    json = "json"


Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write the result here instead of to stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notes on stderr.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="More detail in the human report.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback when something breaks.")]
NoColor = Annotated[bool, typer.Option("--no-color", help="No color, as NO_COLOR=1 does.")]
Jobs = Annotated[int | None, typer.Option("--jobs", "-j", min=1, max=256, help="Threads; default: one per core.")]
Exact = Annotated[bool, typer.Option("--exact", help="Read every byte of the weights, also above 512 MiB.")]
MaxTier = Annotated[
    int,
    typer.Option("--max-tier", min=0, max=4, help="1: metadata and tokenizer only; 2: sampled rows; 4: whole files."),
]
Offline = Annotated[bool, typer.Option("--offline", help="Never use the network. (This version never does.)")]


def _reading(jobs: int | None, exact: bool, max_tier: int, terminal: Terminal) -> Reading:
    from provenance_gate.gate import Reading

    return Reading(
        exact=True if exact else None,
        max_tier=max_tier,
        jobs=jobs or os.cpu_count() or 2,
        progress=terminal.progress,
    )


@app.command()
def check(
    artifacts: Annotated[
        list[str], typer.Argument(metavar="ARTIFACT...", help="Model folders or weight files.", show_default=False)
    ],
    policy: Annotated[
        str, typer.Option("--policy", "-p", help="A policy file, or builtin:baseline, builtin:release, builtin:strict.")
    ] = "builtin:baseline",
    policy_sha256: Annotated[
        str | None,
        typer.Option(
            "--policy-sha256",
            help="Refuse any other policy than the one with this digest (see policy explain).",
            show_default=False,
        ),
    ] = None,
    base: Annotated[
        list[str] | None,
        typer.Option(
            "--base",
            "-b",
            metavar="[ID=]SOURCE",
            help="Weights or fingerprint file of a base; repeatable.",
            show_default=False,
        ),
    ] = None,
    registry: Annotated[
        list[Path] | None,
        typer.Option(
            "--registry", help="Folder with a further catalog of base models; repeatable.", show_default=False
        ),
    ] = None,
    report: Annotated[
        list[str] | None,
        typer.Option(
            "--report",
            metavar="FORMAT=FILE",
            help="Also write a report: human, json or cyclonedx; repeatable.",
            show_default=False,
        ),
    ] = None,
    bom: Annotated[
        Path | None, typer.Option("--bom", help="Short for --report cyclonedx=FILE.", show_default=False)
    ] = None,
    bom_version: Annotated[BomVersion, typer.Option("--bom-version", help="CycloneDX version.")] = BomVersion.v1_6,
    reproducible: Annotated[
        bool, typer.Option("--reproducible", help="BOM without serial number and timestamp.")
    ] = False,
    output_format: Annotated[
        str, typer.Option("--format", "-f", help="Format on stdout: human, json or cyclonedx.")
    ] = "human",
    output: Output = None,
    fail_on: Annotated[
        Severities, typer.Option("--fail-on", help="Least severity that fails the run.")
    ] = Severities.error,
    strict: Annotated[bool, typer.Option("--strict", help="Short for --fail-on warning.")] = False,
    exit_zero: Annotated[
        bool, typer.Option("--exit-zero", help="Exit 0 where it would be 1. Never hides 2 or 3.")
    ] = False,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Check every model folder below the given paths.")
    ] = False,
    allow_empty: Annotated[bool, typer.Option("--allow-empty", help="Exit 0 when there is no model at all.")] = False,
    exact: Exact = False,
    max_tier: MaxTier = 4,
    jobs: Jobs = None,
    offline: Offline = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> None:
    """The gate: test the claims of a model release against its weights, and judge by policy."""
    from provenance_gate.artifact.load import NoModelError
    from provenance_gate.gate import BaseOption, Gate, find_artifacts
    from provenance_gate.policy.interface import FailOn
    from provenance_gate.policy.load import load_policy
    from provenance_gate.report import find_format

    reports = [_report_option(r) for r in report or ()] + ([("cyclonedx", bom)] if bom else [])
    for name in (output_format, *(name for name, _ in reports)):
        find_format(name)
    terminal = Terminal(quiet=quiet, no_color=no_color)
    loaded = load_policy(policy)
    if policy_sha256 is not None and policy_sha256.lower() != loaded.sha256:
        raise PolicyError(f"has sha256 {loaded.sha256}, expected {one_line(policy_sha256, 80)}", file=loaded.file)
    gate = Gate(
        policy=loaded,
        bases=[BaseOption.parse(b) for b in base or ()],
        registries=registry or (),
        reading=_reading(jobs, exact, max_tier, terminal),
        fail_on=FailOn.WARNING if strict else FailOn(fail_on.value),
    )
    try:
        found = gate.run(find_artifacts(artifacts, recursive=recursive), timestamp=_timestamp())
    except NoModelError as error:
        if not allow_empty:
            raise
        terminal.note(f"{error}; nothing to check")
        return
    finally:
        terminal.close()
    options = _options(
        terminal, verbose=verbose, bom_version=bom_version.value, reproducible=reproducible, to_file=output is not None
    )
    # All are rendered before any is written: a report that may not be written leaves none behind half done.
    rendered = [(path, find_format(name).render(found, _plain(options))) for name, path in reports]
    text = find_format(output_format).render(found, options)
    for path, content in rendered:
        _write(path, content)
    _print_or_write(text, output)
    raise typer.Exit(0 if exit_zero else found.exit_code)


@app.command()
def compare(
    artifact: Annotated[str, typer.Argument(help="A model folder, weight file or fingerprint file.")],
    base: Annotated[str, typer.Argument(help="[ID=]SOURCE: the model that it may come from.")],
    output_format: Annotated[ShortFormat, typer.Option("--format", "-f", help="Format on stdout.")] = ShortFormat.human,
    output: Output = None,
    exact: Exact = False,
    max_tier: MaxTier = 4,
    jobs: Jobs = None,
    offline: Offline = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> None:
    """One lineage with all signals. Informs: exit 0 whatever it finds."""
    from provenance_gate import gate

    terminal = Terminal(quiet=quiet, no_color=no_color)
    try:
        subject, ref, lineage = gate.compare(artifact, base, _reading(jobs, exact, max_tier, terminal))
    finally:
        terminal.close()
    if output_format is ShortFormat.json:
        from provenance_gate.report.json_report import render_compare as render_json

        text = render_json(subject, ref, lineage)
    else:
        from provenance_gate.report.human import render_compare

        text = render_compare(subject, ref, lineage, _options(terminal, verbose=verbose, to_file=output is not None))
    _print_or_write(text, output)


@app.command()
def fingerprint(
    artifact: Annotated[str, typer.Argument(help="A model folder or weight file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write (.safetensors).", show_default=False)],
    exact: Exact = False,
    jobs: Jobs = None,
    offline: Offline = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Keep what is needed to recognize a model without its weights: one file, a few MB."""
    from provenance_gate import gate
    from provenance_gate.fingerprint.container import save_fingerprint

    terminal = Terminal(quiet=quiet, no_color=False)
    try:
        found = gate.fingerprint(artifact, _reading(jobs, exact, 4, terminal))
    finally:
        terminal.close()
    save_fingerprint(found, output)
    terminal.note(f"wrote {output} ({output.stat().st_size:,} bytes)")


PolicyArgument = Annotated[str, typer.Argument(metavar="POLICY", help="A policy file, or builtin:NAME.")]


@policy_app.command("init")
def policy_init(
    path: Annotated[Path, typer.Argument(help="File to write.")] = Path("provenance-policy.yaml"),
    debug: Debug = False,
) -> None:
    """Write a commented policy to start from. Never overwrites."""
    from provenance_gate.policy.explain import STARTER

    title = "".join(c if c.isalnum() or c in "-_" else "-" for c in path.stem) or "policy"
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(STARTER.format(name=path, title=title))
    except FileExistsError as error:
        raise UsageError(f"{path} exists; give another name") from error
    except OSError as error:
        raise ReportError(f"{path}: {error.strerror}") from error
    typer.echo(
        f"wrote {path}\nnext:  provenance-gate check MODEL --policy {path} --base ORG/NAME=PATH --bom bom.cdx.json"
    )


@policy_app.command("validate")
def policy_validate(policy: PolicyArgument, debug: Debug = False) -> None:
    """Check a policy and all that it extends."""
    from provenance_gate.policy.load import load_policy

    loaded = load_policy(policy)
    typer.echo(
        f"{one_line(policy)}: valid, {len(loaded.rules)} rules, {len(loaded.waivers)} waivers, sha256 {loaded.sha256}"
    )


@policy_app.command("schema")
def policy_schema(output: Output = None, debug: Debug = False) -> None:
    """Print the JSON Schema of policies, for editors."""
    import json

    from provenance_gate.policy.schema import policy_schema as schema

    _print_or_write(json.dumps(schema(), indent=2) + "\n", output)


@policy_app.command("explain")
def policy_explain(policy: PolicyArgument, debug: Debug = False) -> None:
    """Say in plain words what a policy would check."""
    from provenance_gate.policy.explain import explain
    from provenance_gate.policy.load import load_policy

    typer.echo(explain(load_policy(policy)), nl=False)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"provenance-gate {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


_root.__doc__ = HELP


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


def _options(terminal: Terminal, *, to_file: bool, **chosen: Any) -> ReportOptions:
    from provenance_gate.report.interface import ReportOptions

    return ReportOptions(color=terminal.color and not to_file, width=terminal.width if not to_file else 100, **chosen)


def _plain(options: ReportOptions) -> ReportOptions:
    from dataclasses import replace

    return replace(options, color=False, width=100)


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
    try:
        code = app(args=given, prog_name="provenance-gate", standalone_mode=False)
    except ProvenanceGateError as error:
        code = _fail(str(error), error.exit_code, debug="--debug" in given)
    except BrokenPipeError:
        # The reader of stdout went away: nothing was judged for it to see. Keep Python's own flush at exit quiet.
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
        code = 3
    except KeyboardInterrupt:
        code = _fail("interrupted", 130, debug=False)
    except Exception as error:  # noqa: BLE001  Python's own exit code for a crash is 1, which would read as "policy failed".
        code = _usage(error)
        if code is None:
            text = f"internal error: {type(error).__name__}: {one_line(str(error))}; --debug shows where"
            code = _fail(text, 3, debug="--debug" in given)
    raise SystemExit(code or 0)


def _usage(error: Exception) -> int | None:
    """The exit code of an error that the argument parser raised and can show by itself; None for any other."""
    show, code = getattr(error, "show", None), getattr(error, "exit_code", None)
    if not callable(show) or not isinstance(code, int):
        return None
    show()
    return code


def _fail(message: str, code: int, *, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exc()
    sys.stderr.write(f"provenance-gate: error: {message}\n")
    return code


if __name__ == "__main__":
    main()
