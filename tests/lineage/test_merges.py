"""Mixing weights, layer maps and SLERP, on merges made by the published formulas."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import TypeAlias

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.artifact.load import open_artifact
from provenance_gate.fingerprint.interface import Fingerprint, SignalValue
from provenance_gate.fingerprint.measure import measure
from provenance_gate.fingerprint.plan import SamplingPlan
from provenance_gate.lineage.merges import Merge, Parent
from provenance_gate.lineage.merges.analyze import analyze_merge
from provenance_gate.lineage.merges.config import merge_yaml
from tests.models import LAYERS, Tensors, changed, llama, noisy, write_model

Made: TypeAlias = Callable[..., Fingerprint]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Measures a model once; the list keeps it, so that its id stays its own."""
    seen: dict[int, tuple[Tensors, Fingerprint]] = {}

    def made(tensors: Tensors, **options: object) -> Fingerprint:
        if id(tensors) not in seen or options:
            depth = len({n.split(".")[2] for n in tensors if n.startswith("model.layers.")}) or LAYERS
            folder = write_model(tmp_path_factory.mktemp("model"), tensors, layers=depth)
            result = measure(open_artifact(folder).artifact, exact=False, **options)  # type: ignore[arg-type]
            if options:
                return result
            seen[id(tensors)] = (tensors, result)
        return seen[id(tensors)][1]

    return made


@cache
def family(count: int, share: float = 0.03) -> tuple[Tensors, ...]:
    """A base and fine-tunes of it."""
    base = llama(1)
    return base, *(noisy(base, share, seed=10 + k) for k in range(count))


@cache
def strangers(count: int) -> tuple[Tensors, ...]:
    return tuple(llama(20 + k) for k in range(count))


def mixed(models: Sequence[Tensors], weights: Sequence[float]) -> Tensors:
    return {
        n: np.sum([w * m[n].astype(np.float64) for w, m in zip(weights, models, strict=True)], axis=0).astype(
            np.float32
        )
        for n in models[0]
    }


def to_bf16(tensors: Tensors) -> Tensors:
    """Rounded to bf16, to nearest even, kept as float32."""

    def rounded(v: NDArray[np.float32]) -> NDArray[np.float32]:
        bits = v.astype(np.float32).view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)

    return {n: rounded(v) for n, v in tensors.items()}


def to_int8(tensors: Tensors) -> Tensors:
    """Rounded to 255 levels a row."""

    def rounded(v: NDArray[np.float32]) -> NDArray[np.float32]:
        step = np.abs(v).max(axis=1, keepdims=True) / 127
        return np.round(v / step) * step

    return changed(tensors, rounded)


def slerp(a: NDArray[np.float32], b: NDArray[np.float32], t: float) -> NDArray[np.float32]:
    """mergekit's, on flattened tensors."""
    x, y = (v.astype(np.float64).reshape(-1) for v in (a, b))
    dot = float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)))
    if abs(dot) > 0.9995:
        return ((1 - t) * x + t * y).reshape(a.shape).astype(np.float32)
    theta = math.acos(dot)
    s0, s1 = math.sin((1 - t) * theta) / math.sin(theta), math.sin(t * theta) / math.sin(theta)
    return (s0 * x + s1 * y).reshape(a.shape).astype(np.float32)


def with_layers(sources: Sequence[tuple[Tensors, int]], rest: Tensors) -> Tensors:
    found = {n: v for n, v in rest.items() if not n.startswith("model.layers.")}
    for new, (model, old) in enumerate(sources):
        at = f"model.layers.{old}."
        found |= {f"model.layers.{new}.{n.removeprefix(at)}": v for n, v in model.items() if n.startswith(at)}
    return found


def found(measured: Made, artifact: Tensors, *candidates: Tensors) -> Merge:
    """Candidates are called a, b, c, ... in order."""
    parents = [Parent("abcdefgh"[i], measured(c)) for i, c in enumerate(candidates)]
    merge = analyze_merge(measured(artifact), parents)
    assert isinstance(merge, Merge), merge
    assert all(math.isfinite(v) for v in (*merge.weights.values(), *merge.parameters.values(), merge.residual))
    assert yaml.safe_load(merge_yaml(merge)) == dict(merge.mergekit)
    return merge


def check_weights(merge: Merge, expected: dict[str, float], error: float = 0.02) -> None:
    """Overall and in every layer; candidates that are not named have none."""
    for name, weight in merge.weights.items():
        assert weight == pytest.approx(expected.get(name, 0.0), abs=error), merge
    for mixture in merge.mixtures:
        by_name = dict(zip(merge.parents, mixture.weights, strict=True))
        assert by_name == pytest.approx({n: expected.get(n, 0.0) for n in by_name}, abs=error), merge


KINDS = [family, strangers]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("rounded", "weights"), [(to_bf16, (0.7, 0.3)), (dict, (0.5, 0.3, 0.2)), (dict, (0.8, 0.5)), (to_bf16, (0.8, 0.5))]
)
def test_weights_of_a_linear_mix(
    measured: Made,
    kind: Callable[[int], tuple[Tensors, ...]],
    rounded: Callable[[Tensors], Tensors],
    weights: Sequence[float],
) -> None:
    rest, *models = kind(3) if kind is family else kind(4)
    merge = found(measured, rounded(mixed(models, (*weights, 0.0)[:3])), *models, rest)
    expected = dict(zip("abc", weights, strict=False))
    assert (merge.recipe, merge.base) == ("linear", None)
    assert set(merge.parents) == set(expected)
    check_weights(merge, expected)
    assert merge.parameters["normalize"] == float(sum(weights) == 1.0)
    assert merge.residual < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_an_integer_format_blurs_weights_and_no_more(
    measured: Made, kind: Callable[[int], tuple[Tensors, ...]]
) -> None:
    base, a, b, *_ = kind(3) if kind is family else kind(4)
    merge = found(measured, to_int8(mixed([a, b], [0.7, 0.3])), a, b, base)
    assert merge.recipe == "linear"
    check_weights(merge, {"a": 0.7, "b": 0.3})


@pytest.mark.parametrize("share", [0.003, 0.01])
def test_changes_below_the_steps_of_bf16(measured: Made, share: float) -> None:
    """Values that differ by one step would pull the weights to the greater one."""
    base, *tuned = (to_bf16(m) for m in family(3, share))
    parents = [Parent("abcd"[i], labeled_bf16(measured(m))) for i, m in enumerate((*tuned, base))]
    artifact = to_bf16(mixed(tuned[:2], [0.6, 0.4]))
    merge = analyze_merge(labeled_bf16(measured(artifact)), parents)
    assert isinstance(merge, Merge) and merge.recipe == "linear"
    check_weights(merge, {"a": 0.6, "b": 0.4})
    tuning = analyze_merge(labeled_bf16(measured(to_bf16(noisy(base, share, 99)))), parents)
    assert isinstance(tuning, Merge) and (tuning.recipe, tuning.parents) == ("single", ("d",))


def labeled_bf16(fingerprint: Fingerprint) -> Fingerprint:
    """As if the values, which are bf16 already, had been stored as such."""
    value = fingerprint.signals["weight_correlation"]
    assert isinstance(value, SignalValue)
    table = [{**t, "dtype": "BF16"} for t in value.facts["tensors"]]  # type: ignore[dict-item, union-attr]
    relabeled = replace(value, facts={**value.facts, "tensors": table})
    return replace(fingerprint, signals={**fingerprint.signals, "weight_correlation": relabeled})


def test_integer_codes_without_scales(measured: Made) -> None:
    base, a, b = family(3)[:3]
    codes = {
        n: np.round(v / np.abs(v).max(axis=1, keepdims=True) * 127).astype(np.int8) if v.ndim == 2 else v
        for n, v in mixed([a, b], [0.7, 0.3]).items()
    }
    merge = found(measured, codes, a, b, base)  # type: ignore[arg-type]
    assert merge.recipe == "linear"
    check_weights(merge, {"a": 0.7, "b": 0.3})


def test_weights_that_change_by_layer(measured: Made) -> None:
    base, a, b = family(3)[:3]
    shares = {n: (0.2, 0.4, 0.6, 0.8)[int(n.split(".")[2])] if ".layers." in n else 0.5 for n in a}
    merge = found(measured, {n: (shares[n] * a[n] + (1 - shares[n]) * b[n]).astype(np.float32) for n in a}, a, b, base)
    for mixture in merge.mixtures:
        want = 0.5 if mixture.layer is None else 0.2 + 0.2 * mixture.layer
        assert dict(zip(merge.parents, mixture.weights, strict=True))["a"] == pytest.approx(want, abs=0.02)
    models = {m["model"]: m["parameters"]["weight"] for m in merge.mergekit["models"]}  # type: ignore[index, union-attr, call-overload]
    assert models["a"] == pytest.approx([0.2, 0.4, 0.6, 0.8], abs=0.02)


def gradient(name: str) -> float:
    if ".layers." not in name:
        return 0.45
    layer = int(name.split(".")[2])
    return (0.0, 0.3, 0.7, 1.0)[layer] if "self_attn" in name else (0.8, 0.6, 0.4, 0.2)[layer]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rounded", [dict, to_bf16])
def test_slerp_by_layer_and_filter(
    measured: Made, kind: Callable[[int], tuple[Tensors, ...]], rounded: Callable[[Tensors], Tensors]
) -> None:
    c, a, b, *_ = kind(3) if kind is family else kind(4)
    if kind is family:
        a, b = noisy(a, 0.05, seed=7), noisy(b, 0.05, seed=8)
    artifact = rounded({n: slerp(a[n], b[n], gradient(n)) if a[n].ndim == 2 else a[n] for n in a})
    merge = found(measured, artifact, a, b, c)
    assert merge.recipe == "slerp", merge
    for mixture in merge.mixtures:
        part = "self_attn" if mixture.component == "attention" else "mlp"
        want = 0.45 if mixture.layer is None else gradient(f"model.layers.{mixture.layer}.{part}")
        assert mixture.t == pytest.approx(want, abs=0.02)
    assert merge.mergekit["base_model"] == "a"
    first, second, rest = merge.mergekit["parameters"]["t"]  # type: ignore[index, call-overload]
    assert first["value"] == pytest.approx([0.0, 0.3, 0.7, 1.0], abs=0.02)  # type: ignore[index, call-overload]
    assert second["filter"] == "mlp"  # type: ignore[index, call-overload]
    assert rest["value"] == pytest.approx(0.45, abs=0.02)  # type: ignore[index, call-overload]


def test_slerp_at_a_tiny_angle_is_called_linear_with_both_readings(measured: Made) -> None:
    base = family(3)[0]
    a, b = noisy(base, 0.01, seed=31), noisy(base, 0.01, seed=32)
    merge = found(measured, {n: slerp(a[n], b[n], 0.3) for n in a}, a, b, base)
    assert merge.recipe == "linear" and "SLERP" in merge.reason
    check_weights(merge, {"a": 0.7, "b": 0.3})
    assert merge.parameters["t"] == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_passthrough_gives_the_layer_map(measured: Made, kind: Callable[[int], tuple[Tensors, ...]]) -> None:
    a, b, c, *_ = kind(4)
    plan = [("a", 0), ("a", 1), ("a", 2), ("b", 1), ("b", 2), ("b", 3)]
    merge = found(measured, with_layers([({"a": a, "b": b}[m], n) for m, n in plan], a), a, b, c)
    assert merge.recipe == "passthrough"
    for component in ("attention", "feed_forward"):
        assert [m.sources for m in merge.mixtures if m.component == component] == [(p,) for p in plan]
    ranges = [s["sources"][0] for s in merge.mergekit["slices"]]  # type: ignore[index, union-attr, call-overload]
    assert ranges == [{"model": "a", "layer_range": [0, 3]}, {"model": "b", "layer_range": [1, 4]}]


@cache
def partly_tuned(count: int) -> tuple[Tensors, ...]:
    """A base and fine-tunes of its attention only."""
    base, *tuned = family(count)
    return base, *({n: v if "self_attn" in n else base[n] for n, v in t.items()} for t in tuned)


@pytest.mark.parametrize("rounded", [dict, to_bf16])
def test_matrices_that_no_fine_tune_touched_do_not_count(measured: Made, rounded: Callable[[Tensors], Tensors]) -> None:
    base, a, b, c = (rounded(m) for m in partly_tuned(3))
    check_weights(found(measured, rounded(mixed([a, b], [0.7, 0.3])), a, b, c, base), {"a": 0.7, "b": 0.3})
    merge = found(measured, rounded(mixed([a, b, base], [0.8, 0.7, -0.5])), a, b, c, base)
    assert (merge.recipe, merge.base) == ("task_arithmetic", "d")
    assert merge.parameters["weight:a"] == pytest.approx(0.8, abs=0.02)
    merge = found(measured, c, a, b, base)
    assert (merge.recipe, merge.parents) == ("single", ("c",))


def test_a_model_stacked_upon_itself(measured: Made) -> None:
    base, a, b = family(3)[:3]
    order = [0, 1, 2, 1, 2, 3]
    merge = found(measured, to_bf16(with_layers([(a, n) for n in order], a)), a, b, base)
    assert (merge.recipe, merge.parents) == ("passthrough", ("a",))
    assert [m.sources[0][1] for m in merge.mixtures if m.component == "attention"] == order


@pytest.mark.parametrize("factors", [(0.7, 0.6), (0.3, 0.4), (1.2, 0.5)])
@pytest.mark.parametrize("rounded", [dict, to_bf16])
def test_task_arithmetic(measured: Made, factors: tuple[float, float], rounded: Callable[[Tensors], Tensors]) -> None:
    base, a, b, c = family(3)
    one, two = factors
    merge = found(measured, rounded(mixed([a, b, base], [one, two, 1 - one - two])), a, b, c, base)
    assert (merge.recipe, merge.base) == ("task_arithmetic", "d")
    assert merge.parameters["weight:a"] == pytest.approx(one, abs=0.02)
    assert merge.parameters["weight:b"] == pytest.approx(two, abs=0.02)
    assert merge.weights["c"] < 0.02
    assert merge.mergekit["base_model"] == "d"


def test_an_exaggerated_fine_tune(measured: Made) -> None:
    base, a = family(3)[:2]
    merge = found(measured, mixed([a, base], [1.4, -0.4]), a, base)
    assert (merge.recipe, merge.base) == ("task_arithmetic", "b")
    assert merge.parameters["weight:a"] == pytest.approx(1.4, abs=0.02)


@pytest.mark.parametrize("share", [0.01, 0.3])
def test_siblings_of_a_fine_tune_get_no_weight(measured: Made, share: float) -> None:
    base, a, b, c = family(3)
    merge = found(measured, to_bf16(noisy(base, share, seed=99)), a, b, c, base)
    assert (merge.recipe, merge.parents) == ("single", ("d",))
    check_weights(merge, {"d": 1.0}, 0.02)


def test_siblings_that_resemble_each_other_are_not_a_mix(measured: Made) -> None:
    """Changes of fine-tunes on like data have a cosine above zero."""
    base, a, b = family(3)[:3]
    own = noisy(base, 0.03, seed=99)
    artifact = {n: (own[n] + 0.2 * (a[n] - base[n])).astype(np.float32) for n in base}
    merge = found(measured, artifact, a, b, base)
    assert merge.recipe == "single"
    assert merge.weights["a"] < 0.02 and merge.weights["b"] < 0.02


def test_siblings_without_their_base_are_no_mix(measured: Made) -> None:
    base, a, b, c = family(3)
    merge = found(measured, noisy(base, 0.03, seed=99), a, b, c)
    assert merge.recipe == "unknown"
    assert merge.mergekit == {} and merge_yaml(merge) == "{}\n"


def test_a_copy_is_single(measured: Made) -> None:
    base, a, b = family(3)[:3]
    merge = found(measured, a, a, b, base)
    assert (merge.recipe, merge.parents, merge.residual) == ("single", ("a",), pytest.approx(0.0, abs=1e-9))


def test_a_missing_parent_shows_as_residual(measured: Made) -> None:
    a, b, other, _ = strangers(4)
    merge = found(measured, mixed([a, other], [0.7, 0.3]), a, b)
    assert merge.weights["a"] == pytest.approx(0.7, abs=0.02)
    assert merge.weights["b"] < 0.02
    assert merge.residual == pytest.approx(0.09 / 0.58, abs=0.02)
    assert "missing" in merge.reason
    whole = found(measured, mixed([a, other], [0.7, 0.3]), a, b, other)
    check_weights(whole, {"a": 0.7, "c": 0.3})


def test_a_missing_sibling_shows_in_the_change(measured: Made) -> None:
    base, a, b, c = family(3)
    merge = found(measured, mixed([a, c], [0.7, 0.3]), a, b, base)
    assert merge.weights["a"] == pytest.approx(0.7, abs=0.02)
    assert merge.weights["b"] < 0.02
    assert "missing" in merge.reason


def test_strangers_have_no_weight(measured: Made) -> None:
    a, b, c, other = strangers(4)
    merge = found(measured, other, a, b, c)
    assert (merge.recipe, merge.parents) == ("unknown", ())
    assert merge.residual == pytest.approx(1.0)


def test_another_vocabulary_leaves_embeddings_out(measured: Made) -> None:
    base, a, b = family(3)[:3]
    longer = {n: v[:96] if "embed" in n or "lm_head" in n else v for n, v in mixed([a, b], [0.6, 0.4]).items()}
    merge = found(measured, longer, a, b, base)
    assert {m.component for m in merge.mixtures} == {"attention", "feed_forward"}
    check_weights(merge, {"a": 0.6, "b": 0.4})


def test_a_candidate_of_other_shape_is_left_out(measured: Made) -> None:
    base, a, b = family(3)[:3]
    other = changed(base, lambda v: np.concatenate([v, v], axis=1))
    merge = found(measured, mixed([a, b], [0.6, 0.4]), other, a, b)
    check_weights(merge, {"b": 0.6, "c": 0.4})


def test_the_same_candidate_twice_counts_once(measured: Made) -> None:
    base, a, b = family(3)[:3]
    merge = found(measured, mixed([a, b], [0.6, 0.4]), a, b, dict(a), base)
    assert merge.weights["a"] + merge.weights["c"] == pytest.approx(0.6, abs=0.02)
    assert merge.weights["b"] == pytest.approx(0.4, abs=0.02)


@pytest.mark.parametrize("fill", [0.0, 1.0, np.nan])
def test_constant_weights_are_not_measured(measured: Made, fill: float) -> None:
    base, a, b = family(3)[:3]
    flat = measured(changed(base, lambda v: np.full_like(v, fill)))
    result = analyze_merge(flat, [Parent("a", measured(a)), Parent("b", measured(b))])
    assert isinstance(result, NotMeasured)
    merge = analyze_merge(measured(a), [Parent("flat", flat), Parent("a", measured(a))])
    assert isinstance(merge, Merge) and merge.weights["a"] == pytest.approx(1.0)


def test_what_cannot_be_compared_is_not_measured(measured: Made) -> None:
    base, a = family(3)[:2]
    ours, theirs = measured(base), measured(a)
    tiny = measured({"only.weight": np.arange(16, dtype=np.float32).reshape(4, 4)})
    moved = measured(base, plan=SamplingPlan("other"))
    for candidates in ((), (Parent("a", theirs),), (Parent("a", theirs), Parent("a", ours))):
        assert isinstance(analyze_merge(ours, candidates), NotMeasured)
    for artifact in (tiny, moved):
        result = analyze_merge(artifact, [Parent("a", theirs), Parent("b", ours)])
        assert isinstance(result, NotMeasured) and result.reason
