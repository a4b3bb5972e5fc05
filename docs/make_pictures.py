"""The pictures of the README: what the commands print, as SVG that refers to nothing outside of itself.

``python docs/make_pictures.py`` renews them, from the root of the repository; a test fails where one shows another text than the
command prints.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from html import unescape
from io import StringIO
from math import ceil
from pathlib import Path
from shlex import split
from typing import Final

from click.testing import CliRunner
from markdown_it import MarkdownIt
from rich.console import Console
from rich.text import Text

from provenance_gate.cli import app

DOCS: Final = Path(__file__).resolve().parent
GATE: Final = (
    "provenance-gate check examples/impostor --policy examples/policy.yaml \\\n"
    "    --base provenance-gate-examples/base=examples/base"
)
TERMINAL: Final[Mapping[str, str]] = {
    "check.svg": GATE,
    "scan.svg": "provenance-gate scan examples/fine-tune --registry examples/registry --offline",
}
SUMMARY: Final[Mapping[str, str]] = {"summary.svg": f"{GATE} --format markdown"}

_COLUMNS: Final = 100
_STYLE: Final = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace;
  font-size: {char_height}px; line-height: {line_height}px;
}}
.{unique_id}-title {{ font-size: 18px; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""

_WIDTH: Final = 900
_TEXT: Final = _WIDTH - 32
_LETTER: Final = 7.6
"""Pixels that a letter of the summary takes at most, on average. Where fonts are narrower, some room stays empty below."""
_SHARES: Final[Mapping[int, Sequence[float]]] = {3: (0.14, 0.34, 0.52), 5: (0.34, 0.17, 0.12, 0.12, 0.25)}
_PAGE: Final = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<rect x="0.5" y="0.5" width="{inner_width}" height="{inner_height}" rx="6" fill="#ffffff" stroke="#d0d7de"/>
<foreignObject x="16" y="16" width="{text_width}" height="{text_height}">
<div xmlns="http://www.w3.org/1999/xhtml" class="summary">
<style>
.summary {{ font: 14px/20px system-ui, 'Segoe UI', Helvetica, Arial, sans-serif; color: #1f2328; }}
.summary h2 {{ font-size: 20px; line-height: 26px; margin: 0 0 12px; padding-bottom: 6px; border-bottom: 1px solid #d0d7de; }}
.summary p, .summary ul, .summary table {{ margin: 0 0 14px; }}
.summary ul {{ padding-left: 24px; }}
.summary table {{ border-collapse: collapse; table-layout: fixed; width: 100%; }}
.summary th, .summary td {{ border: 1px solid #d0d7de; padding: 6px 10px; text-align: left; overflow-wrap: anywhere; }}
.summary sub {{ font-size: 11px; }}
</style>
{body}</div>
</foreignObject>
</svg>
"""


def output(command: str, *, color: bool = False) -> str:
    """What a command of `provenance-gate` prints, 100 columns wide, when it is run in the root of the repository."""
    words = split(command.replace("\\\n", " "))[1:]
    environment = {"FORCE_COLOR": "1" if color else None, "NO_COLOR": None if color else "1", "HF_HUB_OFFLINE": "1"}
    before = Path.cwd()
    os.chdir(DOCS.parent)
    try:
        result = CliRunner().invoke(app, words, env=environment, standalone_mode=False)
    finally:
        os.chdir(before)
    if result.exception is not None:
        raise result.exception
    return result.stdout


def terminal_picture(name: str, command: str) -> str:
    """The command and what it prints, as a window of a terminal."""
    console = Console(
        record=True, width=_COLUMNS, file=StringIO(), force_terminal=True, legacy_windows=False, _environ={}
    )
    console.print(Text(f"$ {command}\n", style="bold"))
    for line in output(command, color=True).rstrip("\n").split("\n"):
        console.print(Text.from_ansi(line))
    return console.export_svg(title="", code_format=_STYLE, unique_id=name.removesuffix(".svg"))


def summary_picture(command: str) -> str:
    """The Markdown report as a forge shows it: text that the browser lays out within the picture."""
    parser = MarkdownIt("commonmark").enable("table")
    markdown = output(command)
    height = _height(markdown) + 32
    body = _with_widths(parser.render(markdown))
    return _PAGE.format(
        width=_WIDTH,
        height=height,
        inner_width=_WIDTH - 1,
        inner_height=height - 1,
        text_width=_TEXT,
        text_height=height - 32,
        body=body,
    )


def _with_widths(body: str) -> str:
    """Tables whose columns have a fixed share of the width, so that the height can be told without a browser."""
    parts = body.split("<table>\n")
    for n, part in enumerate(parts[1:], 1):
        shares = _SHARES[part.split("</thead>")[0].count("<th>")]
        columns = "".join(f'<col style="width: {share:.0%}"/>' for share in shares)
        parts[n] = f"<table>\n<colgroup>{columns}</colgroup>\n{part}"
    return "".join(parts)


def _height(markdown: str) -> int:
    """Pixels of the laid out text, rather too many than too few."""
    height = 0
    for block in markdown.rstrip("\n").split("\n\n"):
        for line in block.split("\n"):
            if line.startswith("## "):
                height += 26 + 7 - 2
            elif line.startswith("| ---"):
                continue
            elif line.startswith("| "):
                cells = line.removeprefix("| ").removesuffix(" |").split(" | ")
                wide = zip(cells, _SHARES[len(cells)], strict=True)
                height += 20 * max(_lines(cell, _TEXT * share - 21) for cell, share in wide) + 13
            else:
                height += 20 * _lines(line, _TEXT - 24)
        height += 14
    return height


def _lines(text: str, width: float) -> int:
    """Lines that a text takes in a box of `width` pixels."""
    letters = sum(character.isprintable() for character in unescape(text))
    return max(1, ceil(letters * _LETTER / width))


def main() -> None:
    """Write all pictures."""
    for name, command in TERMINAL.items():
        (DOCS / name).write_text(terminal_picture(name, command), encoding="utf-8")
    for name, command in SUMMARY.items():
        (DOCS / name).write_text(summary_picture(command), encoding="utf-8")


if __name__ == "__main__":
    main()
