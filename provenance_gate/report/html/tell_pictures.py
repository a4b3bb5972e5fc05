"""Pictures of what tells measured, from their `numbers`. What is not there in the expected form is not drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from provenance_gate.fingerprint.interface import Json
from provenance_gate.report.html.charts import MOST_LISTED, Grid, dots, heat_map, histogram
from provenance_gate.report.html.frame import folded, table
from provenance_gate.report.html.markup import Markup, join
from provenance_gate.tells.interface import TellResult

MOST_MOVED = 50
MOST_EXAMPLES = 20
MOST_PARENTS = 3


def cosine_histogram(tell: TellResult | None) -> Markup | None:
    """Cosines of the embedding rows of shared tokens, over [-1, 1], and the tokens that moved farthest."""
    if tell is None:
        return None
    counts = [c for c in _list(tell.numbers.get("histogram")) if isinstance(c, int) and c >= 0]
    if not counts or not any(counts):
        return None
    edges = [-1 + 2 * i / len(counts) for i in range(len(counts) + 1)]
    picture = histogram("Tokens by the cosine of their two embedding rows, -1 to 1.", tell.seen, edges, counts)
    moved = [m for m in _list(tell.numbers.get("moved")) if isinstance(m, Mapping)][:MOST_MOVED]
    if not moved:
        return picture
    rows = [(str(m.get("id", "")), str(m.get("token", "")), _figure(m.get("cosine"))) for m in moved]
    return join(
        [picture, folded("Tokens that moved farthest", table("moved tokens", ("id", "token", "cosine"), rows, (0, 2)))]
    )


def norm_p_values(tell: TellResult | None) -> Markup | None:
    """p-values of the Kolmogorov-Smirnov test, one a norm vector, in the order of the layers."""
    if tell is None:
        return None
    vectors = [v for v in _list(tell.numbers.get("vectors")) if isinstance(v, Mapping)]
    values = [_number(v.get("ks_p_value")) if not v.get("constant") else None for v in vectors]
    if not any(v is not None for v in values):
        return None
    order = sorted(range(len(vectors)), key=lambda i: (_layer(vectors[i]), str(vectors[i].get("place", ""))))
    labels = [_norm_label(vectors[i]) for i in order]
    picture = dots(
        "p-value of the Kolmogorov-Smirnov test for each norm vector, by layer. Near 1: distributed as the base's.",
        tell.seen,
        labels,
        [values[i] for i in order],
    )
    rows = [
        (
            str(vectors[i].get("place", "")),
            "yes" if vectors[i].get("bit_equal") else "no",
            "yes" if vectors[i].get("same_values") else "no",
            _figure(vectors[i].get("ks_p_value")),
        )
        for i in order[:MOST_LISTED]
    ]
    headings = ("vector", "bit-equal", "same values", "p-value")
    return join([picture, folded("Every norm vector", table("norm vectors", headings, rows, (3,)))])


def change_maps(tell: TellResult | None) -> Sequence[Markup]:
    """For each of the nearest parents how far every layer is from it, and how alike, by role."""
    if tell is None:
        return ()
    found: list[Markup] = []
    for parent in _list(tell.numbers.get("parents"))[:MOST_PARENTS]:
        if isinstance(parent, Mapping):
            found += _maps_of(parent)
    return found


def _maps_of(parent: Mapping[str, Json]) -> list[Markup]:
    name, roles = str(parent.get("name", "")), [str(r) for r in _list(parent.get("roles"))]
    layers = [str(layer) for layer in _list(parent.get("layers"))]
    aligned = " Rows as stored: what was reordered or rotated looks far away here." if parent.get("aligned") else ""
    maps = []
    for key, high, what in (
        ("change", 1.5, f"Relative change against {name}: 0 is untouched, about 1.4 is unrelated."),
        ("correlation", 1.0, f"Correlation with {name}: 1 is untouched, 0 is unrelated."),
    ):
        by_layer = [[_number(v) for v in _list(row)] for row in _list(parent.get(key))]
        if len(by_layer) != len(layers) or any(len(row) != len(roles) for row in by_layer):
            continue
        if not any(v is not None for row in by_layer for v in row):
            continue
        values = [[row[r] for row in by_layer] for r in range(len(roles))]
        maps.append(
            heat_map(what + aligned, _in_words(what, values), Grid(roles, layers, values, 0.0, high), row_name="role")
        )
    return maps


def _in_words(what: str, values: Sequence[Sequence[float | None]]) -> str:
    """The text alternative: what is drawn, and its range."""
    known = [v for row in values for v in row if v is not None]
    return f"{what} Over layers and roles from {min(known):.3g} to {max(known):.3g}."


def partings(tell: TellResult) -> Markup | None:
    """Prompts whose continuations part, with both texts and the position; None where a tell has none."""
    examples = [e for e in _list(tell.numbers.get("examples")) if isinstance(e, Mapping)][:MOST_EXAMPLES]
    if not examples:
        return None
    rows = [[str(e.get(key, "")) for key in ("prompt", "ours", "base", "parts_at")] for e in examples]
    return table(f"continuations compared by tell {tell.id}", ("prompt", "artifact", "base", "part at"), rows, (3,))


def diff_lines(tell: TellResult | None) -> Sequence[str]:
    """The unified diff of two chat templates, as lines."""
    if tell is None:
        return ()
    return [str(line) for line in _list(tell.numbers.get("template_diff"))][:200]


def _list(value: Json) -> Sequence[Json]:
    return value if isinstance(value, list) else []


def _number(value: Json) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _figure(value: Json) -> str:
    number = _number(value)
    return "none" if number is None else f"{number:.4g}"


def _layer(value: Mapping[str, Json]) -> int:
    """-1 for what lies outside of the layers."""
    layer = value.get("layer")
    return layer if isinstance(layer, int) else -1


def _norm_label(vector: Mapping[str, Json]) -> str:
    layer = _layer(vector)
    return "out" if layer < 0 else str(layer)
