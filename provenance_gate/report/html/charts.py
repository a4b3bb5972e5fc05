"""Pictures as inline SVG, with a sentence that says what they show and the numbers beside them in a table.

Written by hand rather than by a plotting library: four simple forms are wanted whose colors follow the reader's scheme and whose
text is text. matplotlib turns text into outlines and sets ``style`` attributes, which a strict content-security policy refuses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from provenance_gate.report.html.frame import folded, table
from provenance_gate.report.html.markup import Markup, tag
from provenance_gate.report.html.style import SERIES, STEPS

WIDTH = 720.0
LEFT = 120.0
"""Room for the names of rows, in the units of the picture."""
MOST_COLUMNS, MOST_ROWS = 256, 64
"""What is drawn of a very deep model; the table has the rest, up to `MOST_LISTED` rows."""
MOST_LISTED = 512
_LABEL = 18


@dataclass(frozen=True, slots=True)
class Grid:
    """Values by row and column; None where there is none. `low` and `high` are the ends of the color scale."""

    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[float | None]]
    low: float
    high: float


def heat_map(caption: str, says: str, grid: Grid, *, row_name: str = "part", column_name: str = "layer") -> Markup:
    """Cells in eleven shades; one without a value is an empty, dashed box.

    Parameters
    ----------
    caption
        What is shown, with unit and scale.
    says
        What a reader sees in it: the text alternative.
    """
    columns, rows = min(len(grid.columns), MOST_COLUMNS), min(len(grid.rows), MOST_ROWS)
    cell = max(2.0, min(56.0, (WIDTH - LEFT) / max(1, columns)))
    height = 16.0
    marks = []
    for r in range(rows):
        top = 18 + r * height
        marks.append(tag("text", _short(grid.rows[r]), x=LEFT - 6, y=top + 12, text_anchor="end"))
        for c in range(columns):
            marks.append(_cell(grid, grid.values[r][c], LEFT + c * cell, top, cell, height))
    every = max(1, math.ceil(26.0 / cell))
    for c in range(0, columns, every):
        label = _short(grid.columns[c], 6)
        marks.append(tag("text", label, x=LEFT + (c + 0.5) * cell, y=12, text_anchor="middle", class_="tick"))
    picture = _svg(says, LEFT + columns * cell + 2, 22 + rows * height, marks)
    listed = [
        [grid.columns[c], *(_figure(grid.values[r][c]) for r in range(len(grid.rows)))]
        for c in range(min(len(grid.columns), MOST_LISTED))
    ]
    numbers = table(f"{caption}: numbers", [column_name, *grid.rows], listed, range(1, len(grid.rows) + 1))
    scale = f"{caption} Light is {grid.low:g}, dark is {grid.high:g}; a dashed box has no value. Rows: {row_name}."
    return tag("figure", picture, tag("figcaption", scale), folded("Numbers", numbers))


def histogram(caption: str, says: str, edges: Sequence[float], counts: Sequence[int]) -> Markup:
    """Bars over `edges` (one more than `counts`), on a linear scale."""
    high, left, base, tall = max([1, *counts]), 46.0, 140.0, 120.0
    width = (WIDTH - left) / max(1, len(counts))
    marks = [
        tag("line", x1=left, y1=base, x2=WIDTH, y2=base, class_="axis"),
        tag("text", str(high), x=left - 6, y=base - tall + 8, text_anchor="end", class_="tick"),
        tag("text", "0", x=left - 6, y=base, text_anchor="end", class_="tick"),
    ]
    for i, count in enumerate(counts):
        size = tall * count / high
        # A bar of one among thousands would be too low to be seen.
        size = max(size, 1.0) if count else 0.0
        marks.append(tag("rect", x=left + i * width + 1, y=base - size, width=width - 2, height=size, class_="bar"))
    every = max(1, len(edges) // 10)
    for i in range(0, len(edges), every):
        anchor = "end" if i == len(edges) - 1 else "middle"
        marks.append(tag("text", f"{edges[i]:.3g}", x=left + i * width, y=base + 16, text_anchor=anchor, class_="tick"))
    rows = [[f"{edges[i]:.4g} to {edges[i + 1]:.4g}", str(count)] for i, count in enumerate(counts)]
    numbers = table(f"{caption}: numbers", ["from and to", "count"], rows, (1,))
    return tag("figure", _svg(says, WIDTH, base + 24, marks), tag("figcaption", caption), folded("Numbers", numbers))


def dots(
    caption: str, says: str, labels: Sequence[str], values: Sequence[float | None], *, mark: float | None = None
) -> Markup:
    """One dot a label on a scale from 0 to 1, with a dashed line at `mark`; a dot of no value is not drawn."""
    left, base, tall = 46.0, 140.0, 120.0
    shown = min(len(labels), MOST_COLUMNS)
    step = (WIDTH - left) / max(1, shown)
    marks = [tag("line", x1=left, y1=base, x2=WIDTH, y2=base, class_="axis")]
    for level in (0.0, 0.5, 1.0):
        y = base - tall * level
        marks.append(tag("text", f"{level:g}", x=left - 6, y=y + 4, text_anchor="end", class_="tick"))
    if mark is not None:
        y = base - tall * mark
        marks.append(tag("line", x1=left, y1=y, x2=WIDTH, y2=y, class_="mark"))
    for i in range(shown):
        value = values[i]
        if value is not None:
            y = base - tall * min(max(value, 0.0), 1.0)
            marks.append(tag("circle", cx=left + (i + 0.5) * step, cy=y, r=min(4.0, step / 2), class_="bar"))
    every = max(1, math.ceil(30.0 / step))
    for i in range(0, shown, every):
        x = left + (i + 0.5) * step
        marks.append(tag("text", _short(labels[i], 8), x=x, y=base + 16, text_anchor="middle", class_="tick"))
    rows = [[label, _figure(value)] for label, value in zip(labels[:MOST_LISTED], values, strict=False)]
    numbers = table(f"{caption}: numbers", ["where", "value"], rows, (1,))
    return tag("figure", _svg(says, WIDTH, base + 24, marks), tag("figcaption", caption), folded("Numbers", numbers))


def shares(
    caption: str, says: str, labels: Sequence[str], names: Sequence[str], values: Sequence[Sequence[float]]
) -> Markup:
    """A bar of parts for each label: `values[label][name]`, at least 0, drawn in proportion to the largest sum."""
    shown = min(len(labels), MOST_ROWS)
    most = max([1.0, *(sum(v) for v in values[:shown])])
    height, room = 14.0, WIDTH - LEFT
    marks = []
    for r in range(shown):
        top, x = r * (height + 2), LEFT
        marks.append(tag("text", _short(labels[r]), x=LEFT - 6, y=top + 11, text_anchor="end"))
        for position, value in enumerate(values[r]):
            width = room * value / most
            if width > 0:
                marks.append(tag("rect", x=x, y=top, width=width, height=height, class_=_series(position)))
                x += width
    legend = [tag("span", _key(position), " ", name, class_="legend") for position, name in enumerate(names)]
    rows = [[labels[r], *(f"{v:.3f}" for v in values[r])] for r in range(min(len(labels), MOST_LISTED))]
    numbers = table(f"{caption}: numbers", ["where", *names], rows, range(1, len(names) + 1))
    picture = _svg(says, WIDTH, shown * (height + 2), marks)
    return tag("figure", tag("p", *legend), picture, tag("figcaption", caption), folded("Numbers", numbers))


def _cell(grid: Grid, value: float | None, x: float, y: float, width: float, height: float) -> Markup:
    if value is None or not math.isfinite(value):
        return tag("rect", x=x, y=y, width=width, height=height, class_="none")
    span = grid.high - grid.low
    share = 0.5 if span <= 0 else (value - grid.low) / span
    step = round(STEPS * min(max(share, 0.0), 1.0))
    return tag("rect", x=x, y=y, width=width, height=height, class_=f"cell h{step}")


def _key(position: int) -> Markup:
    square = tag("rect", x=0.0, y=0.0, width=10.0, height=10.0, class_=_series(position))
    return tag("svg", square, viewBox="0 0 10 10", width=10.0, height=10.0, class_="key", aria_hidden="true")


def _series(position: int) -> str:
    return f"s{min(position + 1, SERIES)}"


def _svg(says: str, width: float, height: float, marks: Sequence[Markup]) -> Markup:
    return tag("svg", *marks, viewBox=f"0 0 {width:g} {height:g}", width=width, role="img", aria_label=says)


def _short(label: str, limit: int = _LABEL) -> str:
    return label if len(label) <= limit else f"{label[: limit - 1]}…"


def _figure(value: float | None) -> str:
    return "none" if value is None or not math.isfinite(value) else f"{value:.4g}"
