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

    print_or_write(json.dumps(schema(), indent=2) + "\n", output)


@policy_group.command("explain")
@click.argument("policy")
@debug_option
def policy_explain(policy: str, **_: Any) -> None:
    """Say in plain words what a policy would check. POLICY is a file, or builtin:NAME."""
    from provenance_gate.policy.explain import explain
    from provenance_gate.policy.load import load_policy

    click.echo(explain(load_policy(policy)), nl=False)
