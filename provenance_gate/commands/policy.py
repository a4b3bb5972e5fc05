"""`policy`: write, check and explain policies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from provenance_gate.commands.common import FILE, debug_option, print_or_write
from provenance_gate.errors import ReportError, UsageError, one_line


@click.group("policy")
def policy_group() -> None:
    """Write, check and explain policies."""


@policy_group.command("init")
@click.argument("path", type=FILE, default=Path("provenance-policy.yaml"))
@debug_option
def policy_init(path: Path, **_: Any) -> None:
    """Write a commented policy to start from (default: provenance-policy.yaml), and show how the pipeline at hand runs it.

    Asks nothing and never overwrites. A .github folder, .gitlab-ci.yml and .pre-commit-config.yaml of the repository say which
    pipelines there are, and so do the variables GITHUB_ACTIONS and GITLAB_CI.
    """
    import os

    from provenance_gate.commands import forges
    from provenance_gate.policy.explain import starter

    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(starter(str(path)))
    except FileExistsError as error:
        raise UsageError(f"{path} exists; give another name") from error
    except OSError as error:
        raise ReportError(f"{path}: {error.strerror}") from error
    root = forges.repository(path)
    click.echo(f"wrote {one_line(str(path))}\n")
    click.echo(forges.advice(forges.detect(root, os.environ), forges.name_within(root, path)), nl=False)


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

    print_or_write(json.dumps(schema(), indent=2) + "\n", output)


@policy_group.command("reference")
@click.option("-o", "--output", type=FILE, help="Write it here instead of to stdout.")
@debug_option
def policy_reference(output: Path | None, **_: Any) -> None:
    """Print the reference of the policy language: every key, rule and builtin policy, as Markdown."""
    from provenance_gate.policy.reference import reference

    print_or_write(reference(), output)


@policy_group.command("explain")
@click.argument("policy")
@debug_option
def policy_explain(policy: str, **_: Any) -> None:
    """Say in plain words what a policy would check. POLICY is a file, or builtin:NAME."""
    from provenance_gate.policy.explain import explain
    from provenance_gate.policy.load import load_policy

    click.echo(explain(load_policy(policy)), nl=False)
