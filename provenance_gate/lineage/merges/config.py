"""A merge in the form of a mergekit configuration, so that it can be compared with the one that was published."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import yaml

from provenance_gate.fingerprint.interface import Json
from provenance_gate.lineage.merges.interface import Merge, Mixture

DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64"}
_FILTERS = {"attention": "self_attn", "feed_forward": "mlp"}
_EVEN = 0.03
"""Values by layer that spread less than this are written as one."""


def merge_yaml(merge: Merge) -> str:
    """The configuration as YAML, keys in mergekit's usual order; "{}" where the recipe is no merge."""
    return yaml.safe_dump(dict(merge.mergekit), sort_keys=False, default_flow_style=None, width=100)


def configuration(
    recipe: str,
    parents: Sequence[str],
    base: str | None,
    parameters: Mapping[str, float],
    mixtures: Sequence[Mixture],
    dtype: str,
) -> dict[str, Json]:
    """The structure for a recipe of mergekit; empty for others. `parents` as in `Mixture.weights`."""
    ending: dict[str, Json] = {"dtype": DTYPES[dtype]} if dtype in DTYPES else {}
    decoder = max(((m.stack for m in mixtures if m.layer is not None)), default="")
    layers = [m for m in mixtures if m.layer is not None and m.stack == decoder]
    if recipe == "passthrough":
        return {"slices": _slices(layers), "merge_method": "passthrough", **ending}
    if recipe == "slerp" and base is not None:
        other = next(p for p in parents if p != base)
        depth = len({m.layer for m in layers})
        sources: list[Json] = [{"model": p, "layer_range": [0, depth]} for p in (base, other)]
        t = _by_layer(mixtures, layers, lambda m: m.t, parameters.get("t", 0.5))
        return {
            "slices": [{"sources": sources}],
            "merge_method": "slerp",
            "base_model": base,
            "parameters": {"t": t},
            **ending,
        }
    if recipe not in ("linear", "task_arithmetic", "ties", "dare_linear", "dare_ties"):
        return {}
    models: list[Json] = [] if base is None or recipe == "linear" else [{"model": base}]
    for index, parent in enumerate(parents):
        overall = parameters.get(f"weight:{parent}", 0.0)
        wanted: dict[str, Json] = {"weight": _by_layer(mixtures, layers, lambda m, i=index: m.weights[i], overall)}  # type: ignore[misc]
        if f"density:{parent}" in parameters:
            wanted["density"] = round(parameters[f"density:{parent}"], 3)
        models.append({"model": parent, "parameters": wanted})
    found: dict[str, Json] = {"models": models, "merge_method": recipe}
    if base is not None:
        found["base_model"] = base
    numbers: dict[str, Json] = {"normalize": bool(parameters.get("normalize", 0.0))}
    if "lambda" in parameters and abs(parameters["lambda"] - 1.0) > _EVEN:
        numbers["lambda"] = round(parameters["lambda"], 3)
    return {**found, "parameters": numbers, **ending}


def _by_layer(
    mixtures: Sequence[Mixture], layers: Sequence[Mixture], value: Callable[[Mixture], float | None], overall: float
) -> Json:
    """One number where all layers agree, else a list by layer for attention and for mlp, and one number for the rest."""
    lists: dict[str, list[float]] = {}
    for name in _FILTERS:
        found = [value(m) for m in sorted(layers, key=lambda m: m.layer or 0) if m.component == name]
        if found and all(v is not None for v in found):
            lists[name] = [round(v, 3) for v in found if v is not None]
    flat = [v for values in lists.values() for v in values]
    if not flat or max(flat) - min(flat) <= _EVEN:
        return round(overall, 3)
    outside = [v for m in mixtures if m.layer is None and (v := value(m)) is not None]
    rest = sum(outside) / len(outside) if outside else overall
    if len(lists) == 2 and all(abs(a - b) <= _EVEN for a, b in zip(*lists.values(), strict=False)):
        return [*lists["attention"]]
    found_filters: list[Json] = [
        {"filter": _FILTERS[n], "value": values[0] if max(values) - min(values) <= _EVEN else [*values]}
        for n, values in lists.items()
    ]
    return [*found_filters, {"value": round(rest, 3)}]


def _slices(layers: Sequence[Mixture]) -> list[Json]:
    """Runs of consecutive layers of one source, in order."""
    runs: list[tuple[str, int, int]] = []
    for number in sorted({m.layer for m in layers if m.layer is not None}):
        here = [m for m in layers if m.layer == number and m.sources]
        if not here:
            continue
        source, layer = here[-1].sources[0]
        if layer is None:
            continue
        if runs and runs[-1][0] == source and runs[-1][2] == layer:
            runs[-1] = (source, runs[-1][1], layer + 1)
        else:
            runs.append((source, layer, layer + 1))
    return [{"sources": [{"model": s, "layer_range": [a, b]}]} for s, a, b in runs]
