"""A page of text of fixed width, written with rich.

Strings become `rich.text.Text` after `one_line`, never markup, and nothing of the environment or the terminal is asked, so that
equal input gives equal bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from io import StringIO
from typing import TYPE_CHECKING

from provenance_gate.errors import one_line
from provenance_gate.report.interface import ReportOptions

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

_TEXT_LIMIT = 2000
_HEIGHT = 25
_STYLE = {
    "PASS": "bold green",
    "FAIL": "bold red",
    "UNDECIDED": "bold yellow",
    "pass": "green",
    "waived": "cyan",
}


class Page:
    """Lines and tables of a fixed width. Rich is imported here: loading it costs as much as a small check."""

    def __init__(self, options: ReportOptions) -> None:
        from rich.console import Console

        self._out = StringIO()
        # All is said here, height included, so that no variable of the environment changes the bytes.
        self._console: Console = Console(
            file=self._out,
            width=options.width,
            height=_HEIGHT,
            force_terminal=options.color,
            color_system="standard" if options.color else None,
            no_color=not options.color,
            highlight=False,
            markup=False,
            emoji=False,
            legacy_windows=False,
            _environ={},
        )

    def text(self) -> str:
        """All that was written, without spaces at the ends of lines."""
        return "\n".join(line.rstrip() for line in self._out.getvalue().splitlines()).rstrip("\n") + "\n"

    def blank(self) -> None:
        self._out.write("\n")

    def section(self, title: str) -> None:
        self.blank()
        self.line(title, style="bold")

    def headline(self, verdict: str, rest: str) -> None:
        from rich.text import Text

        self._print(Text.assemble((verdict, _STYLE[verdict]), f"  {clean(rest)}"))

    def line(self, text: str, *, style: str = "", indent: int = 0) -> None:
        from rich.padding import Padding
        from rich.text import Text

        self._print(Padding(Text(clean(text), style=style), (0, 0, 0, indent)))

    def table(self, headings: Sequence[str], rows: Iterable[Sequence[str]], *, answers: int | None = None) -> None:
        """A table whose cells wrap. The last column takes the room that is left; column `answers` is colored by its word."""
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table: Table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
        for heading in headings:
            table.add_column(heading, overflow="fold")
        for row in rows:
            styles = [
                _STYLE.get(cell.split(" ")[0], "") if column == answers else "" for column, cell in enumerate(row)
            ]
            table.add_row(*(Text(clean(cell), style=style) for cell, style in zip(row, styles, strict=True)))
        self._print(table)

    def _print(self, what: RenderableType) -> None:
        self._console.print(what, overflow="fold")


def clean(text: str) -> str:
    """`text` as one printable line that no build server takes for a command.

    GitHub acts on ``::name::`` where a line starts, which wrapping can bring about anywhere, and on ``##[name]`` in any place;
    Azure Pipelines on ``##vso[...]``.
    """
    return one_line(text, _TEXT_LIMIT).replace("::", ":\\u003a").replace("##", "#\\u0023")
