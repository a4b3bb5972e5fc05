"""`audit`: the fourteen tells and the forensics, for people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from provenance_gate.errors import UsageError

if TYPE_CHECKING:
    from provenance_gate.auditing import Decoding


@click.command()
@click.argument("artifact")
@click.option(
    "-b",
    "--base",
    "bases",
    multiple=True,
    metavar="[ID=]SOURCE",
    help="Weights or fingerprint file of a suspected base; repeatable. Without one, known models are searched.",
)
@registry_options
@click.option(
    "--skip-damaged", is_flag=True, help="Leave out entries of registries that cannot be believed, and list them."
)
@click.option("--html", type=FILE, help="Also write the report as one self-contained page.")
@click.option(
    "-f",
    "--format",
    "output_format",
    type=click.Choice(["human", "json", "html"]),
    default="human",
    show_default=True,
    help="Format on stdout.",
)
@click.option(
    "--generate",
    metavar="PROMPTS",
    help="Also let both models continue prompts (extra: generation): general, code, or a file with one a line.",
)
@click.option(
    "--new-tokens", type=click.IntRange(1, 1024), default=32, show_default=True, help="Tokens after each prompt."
)
@click.option(
    "--endpoint",
    metavar="URL",
    help="Ask the artifact at an OpenAI-compatible endpoint (key: PROVENANCE_GATE_API_KEY).",
)
@click.option(
    "--endpoint-model", metavar="NAME", help="What the endpoint calls the model; default: the artifact's name."
)
@click.option("--endpoint-chat", is_flag=True, help="Ask as a user in a chat, not for completions.")
@reading_options
@output_options
@debug_option
def audit(
    artifact: str,
    bases: tuple[str, ...],
    html: Path | None,
    output_format: str,
    output: Path | None,
    verbose: bool,
    **common: Any,
) -> None:
    """Is this a known model with the serial numbers filed off? Informs: exit 0 whatever it finds.

    Looks for fourteen known tells in config, tokenizer and weights, holds the publisher's claims against the files, and says in
    one sentence whether the weights show descent. Tells raise suspicion; only weights decide.

    \b
    provenance-gate audit ./vendor-model --base org/name=./suspected-base --html audit.html
    provenance-gate audit ./vendor-model --registry ./our-models
    """
    from provenance_gate import auditing

    decoding = _decoding(artifact, common)
    terminal = open_terminal(common)
    try:
        reading = reading_of(common, terminal)
        known = registries_of(common, reading)
        command = _command(artifact, bases, common)
        found = auditing.audit(artifact, bases, known, reading, decoding=decoding, command=command)
    finally:
        terminal.close()
    if output_format == "json":
        from provenance_gate.report.audit_json import render_audit as render_json

        text = render_json(found)
    elif output_format == "html":
        from provenance_gate.report.html.audit_page import render_audit as render_html

        text = render_html(found)
    else:
        from provenance_gate.report.audit_human import render_audit

        text = render_audit(found, report_options(None if output else terminal, verbose=verbose))
    if html is not None:
        from provenance_gate.report.html.audit_page import render_audit as render_html

        write_text(html, render_html(found))
    print_or_write(text, output)


def _decoding(artifact: str, common: dict[str, Any]) -> Decoding | None:
    """What tell 14 is to do; None where nobody asked."""
    from provenance_gate.auditing import Decoding
    from provenance_gate.tells.decoding import Endpoint, Settings, load_prompts

    url, prompts = common["endpoint"], common["generate"]
    if url is None and (common["endpoint_model"] is not None or common["endpoint_chat"]):
        raise UsageError("--endpoint-model and --endpoint-chat say more of an --endpoint, and none is given")
    if url is None and prompts is None:
        return None
    source = prompts or "general"
    settings = Settings(new_tokens=common["new_tokens"], threads=common["jobs"] or 1)
    name = common["endpoint_model"] or Path(artifact).name
    endpoint = None if url is None else Endpoint(url, name, common["endpoint_chat"])
    return Decoding(load_prompts(source), source, settings, endpoint)


def _command(artifact: str, bases: tuple[str, ...], common: dict[str, Any]) -> tuple[str, ...]:
    """What a reader types to get the report again: all that changes what is found, nothing of where it goes."""
    registries = (part for place in common["registries"] for part in ("--registry", place))
    keys = (part for key in common["registry_keys"] for part in ("--registry-key", str(key)))
    given = (part for base in bases for part in ("--base", base))
    flags = [
        f"--{name.replace('_', '-')}" for name in ("exact", "offline", "skip_damaged", "endpoint_chat") if common[name]
    ]
    tier = [] if common["max_tier"] == 4 else ["--max-tier", str(common["max_tier"])]
    for name in ("generate", "endpoint", "endpoint_model"):
        flags += [f"--{name.replace('_', '-')}", common[name]] if common[name] is not None else []
    asked = common["generate"] is not None or common["endpoint"] is not None
    flags += ["--new-tokens", str(common["new_tokens"])] if asked else []
    return ("provenance-gate", "audit", artifact, *given, *registries, *keys, *flags, *tier)
