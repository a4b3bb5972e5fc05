"""Two models whose names say nothing: roles from shapes and order."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from provenance_gate.artifact.interface import Role, TensorKey
from provenance_gate.fingerprint.permutation import pair_statistics
from provenance_gate.fingerprint.plan import SamplingPlan
from provenance_gate.fingerprint.rows import KeptRows
from provenance_gate.lineage.components import aligned_pairs, body_coverage, weighted_correlation
from provenance_gate.lineage.layers import LayerAlignment, align_layers, layer_writers
from provenance_gate.lineage.matching import match_rows
from provenance_gate.lineage.shapes import place_by_shapes
from tests.models import FEED_FORWARD, HIDDEN, LAYERS, Tensors, llama, noisy

UNKNOWN = {
    "self_attn.q_proj": "alpha",
    "self_attn.k_proj": "beta",
    "self_attn.v_proj": "gamma2",
    "self_attn.o_proj": "delta",
    "mlp.gate_proj": "epsilon",
    "mlp.up_proj": "zeta",
    "mlp.down_proj": "eta",
}
STYLES = pytest.mark.parametrize("style", ["names", "order", "transposed", "transposed order"])
Shapes = Mapping[str, tuple[int, ...]]


def renamed(tensors: Tensors, style: str, seed: int = 0, prefix: str = "") -> Tensors:
    """Under names that no table knows; "order": numbered through in random order; "transposed": matrices stored (in, out)."""
    found: Tensors = {}
    for name, values in tensors.items():
        if values.ndim < 2:
            continue
        layered = re.match(r"model\.layers\.(\d+)\.(.*)\.weight", name)
        known = f"blk.{layered[1]}.{UNKNOWN[layered[2]]}" if layered else name.replace("_", "").replace("model.", "")
        found[f"{prefix}{known}.kernel"] = np.ascontiguousarray(values.T) if "transposed" in style else values
    if "order" not in style:
        return found
    shuffled = list(found)
    np.random.default_rng(seed).shuffle(shuffled)
    return {f"t{n}": found[name] for n, name in enumerate(shuffled)}


def rows(tensors: Mapping[str, NDArray[np.float32]]) -> dict[TensorKey, KeptRows]:
    found = {}
    for name, values in tensors.items():
        key = TensorKey(Role.OTHER, "", None, name)
        wanted = SamplingPlan().rows(Role.OTHER, values.shape)
        found[key] = KeptRows(
            key, (values.shape[0], values.shape[1]), "F32", wanted.start, values[wanted.start : wanted.stop]
        )
    return found


def blank(shapes: Shapes) -> dict[TensorKey, KeptRows]:
    return rows({name: np.ones(shape, np.float32) for name, shape in shapes.items()})


def falls(shapes: Shapes) -> set[str]:
    """Names of the matrices that are taken for feed-forward outputs."""
    unnamed = blank(shapes)
    placed = place_by_shapes(unnamed, unnamed)
    if placed is None:
        return set()
    columns = {k.part for k in placed.artifact if k.role is Role.FFN_DOWN}
    return {re.sub(r"\d+", "#", name) for name in shapes if re.sub(r"^.*?\d+", "", name, count=1) in columns}


def layered(**shapes: tuple[int, int]) -> dict[str, tuple[int, ...]]:
    return {f"b.{n}.{name}": shape for n in range(4) for name, shape in shapes.items()}


def aligned(artifact: Tensors, base: Tensors) -> tuple[LayerAlignment, float, float]:
    """The alignment, the mean correlation of the body, its coverage."""
    matched, base_rows = match_rows(rows(artifact), rows(base), (True, True))
    assert matched.roles_from.startswith("roles from shapes and order")
    alignment = align_layers(matched.rows, base_rows, matched.log10_tried)
    assert alignment is not None
    pairs = aligned_pairs(matched.rows, base_rows, alignment)
    correlation = weighted_correlation([p for p in pairs if p.ours.key.role is not Role.OTHER])
    assert correlation is not None
    return alignment, correlation, body_coverage(matched.rows, pairs)


@STYLES
def test_a_child_of_unknown_names_is_seen(style: str) -> None:
    base = llama(1)
    alignment, correlation, coverage = aligned(renamed(noisy(base, 0.3), style, 1), renamed(base, style, 2))
    assert alignment.test.log10_p < -20
    assert len(alignment.dependent) == alignment.total == LAYERS
    assert correlation > 0.9
    assert coverage > 0.99


@STYLES
def test_a_stranger_of_unknown_names_is_not(style: str) -> None:
    alignment, correlation, coverage = aligned(renamed(llama(2), style, 1), renamed(llama(1), style, 2))
    assert alignment.test.log10_p > -2
    assert not alignment.dependent
    assert abs(correlation) < 0.05
    assert coverage > 0.99


def test_a_prefix_more_changes_nothing() -> None:
    base = llama(1)
    plain = aligned(renamed(noisy(base, 0.3), "names"), renamed(base, "names"))
    assert aligned(renamed(noisy(base, 0.3), "names", prefix="wrapped.model."), renamed(base, "names")) == plain


def test_dropped_layers_keep_their_counterparts() -> None:
    base = renamed(llama(1), "names")
    kept = {k.replace("blk.3", "blk.1"): v for k, v in base.items() if not k.startswith(("blk.1", "blk.2"))}
    alignment, correlation, _ = aligned(kept, base)
    assert alignment.mapping == {("decoder", 0): ("decoder", 0), ("decoder", 1): ("decoder", 3)}
    assert correlation > 0.99


def test_a_child_named_otherwise_than_its_base_is_found_by_shapes() -> None:
    base = llama(1)
    other = {k.replace("blk", "cell").replace("a.kernel", "a.matrix"): v for k, v in renamed(base, "names").items()}
    alignment, correlation, _ = aligned(other, renamed(base, "names"))
    assert alignment.test.log10_p < -20
    assert correlation > 0.99


@pytest.mark.parametrize("common", [False, True], ids=["own basis", "common basis"])
@STYLES
def test_strangers_give_a_standard_normal_z(style: str, common: bool) -> None:
    """Also where embeddings were borrowed: then all residual dimensions mean the same in both models."""
    scores: list[float] = []
    for seed in range(25):
        rng = np.random.default_rng([seed, common])
        basis = np.exp(0.8 * rng.standard_normal(HIDDEN)), 3 * rng.standard_normal(HIDDEN)
        models = [llama(10_000 + 2 * seed + side) for side in (0, 1)]
        if common:
            models = [{k: _in_basis(v, *basis, rng) for k, v in model.items()} for model in models]
        placed = place_by_shapes(rows(renamed(models[0], style, 1)), rows(renamed(models[1], style, 2)))
        assert placed is not None
        ours, theirs = layer_writers(placed.artifact), layer_writers(placed.base)
        scores += pair_statistics(list(ours.values()), list(theirs.values())).z.ravel().tolist()
    assert len(scores) == 25 * LAYERS**2
    assert abs(np.mean(scores)) < 0.15
    assert 0.88 < np.std(scores) < 1.12
    assert max(scores) < 5


def _in_basis(
    values: NDArray[np.float32], scale: NDArray[np.float64], direction: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Residual dimensions of unequal size, and a direction that all neurons share."""
    if values.ndim < 2 or HIDDEN not in values.shape:
        return values
    turned = values.shape[1] == HIDDEN
    matrix = values if turned else values.T
    matrix = matrix * scale + rng.standard_normal((len(matrix), 1)) ** 2 * direction / 8
    return np.ascontiguousarray(matrix if turned else matrix.T, np.float32)


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ({"q": (64, 64), "kv": (32, 64), "w": (192, 64), "v": (192, 64), "o": (64, 192)}, {"b.#.o"}),
        ({"q": (64, 64), "w": (64, 192), "v": (64, 192), "o": (192, 64)}, {"b.#.o"}),
        ({"q": (64, 64), "w": (256, 64), "o": (64, 256)}, {"b.#.o"}),
        ({"qkv": (192, 64), "a": (64, 64), "w": (256, 64), "o": (64, 256)}, {"b.#.o"}),
        ({"qkv": (128, 64), "a": (64, 64), "w": (352, 64), "o": (64, 176)}, {"b.#.o"}),
        # Queries wider than the model: a (128 x 64) pair beside the gated block.
        ({"q": (128, 64), "a": (64, 128), "w": (192, 64), "v": (192, 64), "o": (64, 192)}, {"b.#.o"}),
        # Attention alone, or a block that attention could be.
        ({"q": (128, 64), "k": (32, 64), "v": (32, 64), "a": (64, 128)}, set()),
        ({"qkv": (192, 64), "a": (64, 64)}, set()),
        ({"q": (64, 64), "k": (64, 64), "v": (64, 64), "a": (64, 64)}, set()),
    ],
)
def test_the_block_that_falls_once_is_the_feed_forward_one(
    shapes: dict[str, tuple[int, int]], expected: set[str]
) -> None:
    assert falls(layered(**shapes)) == expected


def test_experts_of_a_layer_are_tested_together() -> None:
    shapes = layered(q=(64, 64))
    for n in range(4):
        for e in range(3):
            shapes |= {f"b.{n}.x.{e}.w": (48, 64), f"b.{n}.x.{e}.v": (48, 64), f"b.{n}.x.{e}.o": (64, 48)}
    placed = place_by_shapes(blank(shapes), blank(shapes))
    assert placed is not None
    writers = layer_writers(placed.artifact)
    assert sorted(writers) == [("decoder", n) for n in range(4)]
    assert {w.shape for w in writers.values()} == {(3, 64, 48)}


def test_a_vision_tower_is_not_the_body() -> None:
    shapes = layered(q=(64, 64), w=(192, 64), v=(192, 64), o=(64, 192))
    tower = {f"vision.b.{n}.{k}": s for n in range(9) for k, s in (("rise", (512, 128)), ("fall", (128, 512)))}
    assert falls(shapes | tower) == {"b.#.o"}


def test_two_shapes_of_blocks_are_not_compared() -> None:
    ours = blank(layered(q=(64, 64), w=(192, 64), v=(192, 64), o=(64, 192)))
    theirs = blank(layered(q=(64, 64), w=(224, 64), v=(224, 64), o=(64, 224)))
    assert place_by_shapes(ours, theirs) is None
    assert place_by_shapes({}, {}) is None


@pytest.mark.parametrize(
    "name", ["b.{n}.{k}", "{k}.{n}", "t{n}{k}", "b.0{n}.{k}", "b.99999999{n}.{k}", "{k}\n{n}", "{k}.\u0661{n}"]
)
def test_numbers_of_any_kind_end_in_some_order(name: str) -> None:
    shapes = {"q": (64, 64), "w": (192, 64), "v": (192, 64), "o": (64, 192)}
    unnamed = blank({name.format(n=n, k=k): s for n in range(4) for k, s in shapes.items()})
    placed = place_by_shapes(unnamed, unnamed)
    assert placed is not None
    assert len(placed.artifact) == len(unnamed)
    assert sum(k.role is Role.FFN_DOWN for k in placed.artifact) == 4


def test_thousands_of_equal_matrices_are_placed_in_bounded_time() -> None:
    one = np.random.default_rng(0).standard_normal((48, 64)).astype(np.float32)
    many = {f"t{n}": one.T if n % 3 == 0 else one for n in range(3000)} | {f"q{n}": one[:32] for n in range(900)}
    started = time.monotonic()
    matched, base_rows = match_rows(rows(many), rows(many), (True, True))
    assert align_layers(matched.rows, base_rows) is not None
    assert time.monotonic() - started < 15


def test_one_side_with_names_is_matched_by_content() -> None:
    base = llama(1)
    known = {}
    for key, kept in rows({k: v for k, v in base.items() if v.ndim == 2}).items():
        role = Role.FFN_DOWN if "down_proj" in key.part else Role.ATTENTION_Q
        place = TensorKey(role, "decoder", int(key.part.split(".")[2]) if "layers" in key.part else None, key.part)
        known[place] = KeptRows(place, kept.shape, kept.dtype, kept.first, kept.values)
    matched, _ = match_rows(rows(renamed(base, "order")), known, (True, False))
    assert matched.roles_from == "roles by content"
    assert matched.rows.keys() == known.keys()
    assert matched.log10_tried > 0
    assert FEED_FORWARD in {r.shape[1] for k, r in matched.rows.items() if k.role is Role.FFN_DOWN}


@pytest.mark.parametrize("style", ["names", "order"])
def test_a_base_beside_a_second_body_does_not_cover_the_artifact(style: str) -> None:
    base = llama(1)
    both = renamed(base, "names") | renamed(llama(2), "names", prefix="run.")
    ours = {f"t{n}": v for n, v in enumerate(both.values())} if style == "order" else both
    matched, _ = match_rows(rows(ours), rows(renamed(base, style)), (True, True))
    assert matched.unmatched >= 0.4
    small = {f"run.{n}.x": np.ones((48, 40), np.float32) * n for n in range(100)}
    matched, _ = match_rows(rows(renamed(base, "names") | small), rows(renamed(base, "names")), (True, True))
    assert matched.unmatched > 0.3


def test_matrices_beside_a_named_body_are_not_matched() -> None:
    base = rows(renamed(llama(1), "names"))
    matched, base_rows = match_rows(base, base, (False, False))
    assert (matched.rows, base_rows, matched.roles_from) == (base, base, "")
