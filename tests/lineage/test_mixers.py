"""Layers of state-space models: what may be permuted in them, and what may not."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from provenance_gate.artifact.architectures.mixers import MIXER
from provenance_gate.artifact.interface import Role, TensorKey
from provenance_gate.fingerprint.plan import SamplingPlan
from provenance_gate.fingerprint.rows import KeptRows
from provenance_gate.lineage.layers import LayerAlignment, align_layers, layer_writers, mixer_writers

HIDDEN, INNER, STATE, LAYERS, HEADS = 64, 128, 8, 4, 4
Model = dict[TensorKey, NDArray[np.float32]]


def key(role: Role, layer: int, name: str = "") -> TensorKey:
    return TensorKey(role, "decoder", layer, f"{MIXER}.{name}" if name else MIXER)


def state_space(seed: int, heads: int, heads_differ: bool = False) -> Model:
    """Mamba for no heads, else Mamba 2. `heads_differ`: each head writes along a direction of its own, the same in all models."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(99).standard_normal((HIDDEN, max(1, heads)))
    model: dict[TensorKey, NDArray[np.float64]] = {}
    for layer in range(LAYERS):
        filtered = INNER + (2 * STATE if heads else 0)
        writer = rng.standard_normal((HIDDEN, INNER))
        if heads_differ:
            writer += np.repeat(directions, INNER // heads, axis=1)
        model |= {
            key(Role.ATTENTION_V, layer, "in_proj"): rng.standard_normal((INNER + filtered + heads, HIDDEN)),
            key(Role.BIAS, layer, "conv1d"): rng.standard_normal((filtered, 4)),
            key(Role.ATTENTION_O, layer): writer,
        }
        if not heads:
            model[key(Role.ATTENTION_V, layer, "x_proj")] = rng.standard_normal((4 + 2 * STATE, INNER))
    return {k: v.astype(np.float32) for k, v in model.items()}


def rows(model: Mapping[TensorKey, NDArray[np.float32]]) -> dict[TensorKey, KeptRows]:
    found = {}
    for place, values in model.items():
        wanted = SamplingPlan().rows(place.role, values.shape)
        shape = values.shape[0], values.shape[1]
        found[place] = KeptRows(place, shape, "F32", wanted.start, values[wanted.start : wanted.stop])
    return found


def aligned(artifact: Model, base: Model) -> LayerAlignment:
    found = align_layers(rows(artifact), rows(base))
    assert found is not None
    return found


def test_channels_of_mamba_are_one_stratum_and_those_of_mamba_2_one_a_head() -> None:
    assert {w.shape for w in mixer_writers(rows(state_space(1, 0))).values()} == {(1, HIDDEN, INNER)}
    assert {w.shape for w in mixer_writers(rows(state_space(1, HEADS))).values()} == {(HEADS, HIDDEN, INNER // HEADS)}


@pytest.mark.parametrize("heads", [0, HEADS])
def test_a_child_is_seen_and_a_stranger_is_not(heads: int) -> None:
    base = state_space(1, heads)
    rng = np.random.default_rng(0)
    child = {k: (v + 0.3 * rng.standard_normal(v.shape)).astype(np.float32) for k, v in base.items()}
    found = aligned(child, base)
    assert found.test.log10_p < -20
    assert len(found.dependent) == LAYERS
    stranger = aligned(state_space(2, heads), base)
    assert stranger.test.log10_p > -2
    assert not stranger.dependent


def test_what_heads_have_in_common_between_strangers_is_no_dependence() -> None:
    ours, theirs = state_space(1, HEADS, heads_differ=True), state_space(2, HEADS, heads_differ=True)
    assert aligned(ours, theirs).test.log10_p > -2
    # The same columns in one stratum: heads would be permuted, which no training does.
    places = [key(Role.ATTENTION_V, layer, "x_proj") for layer in range(LAYERS)]
    for model in (ours, theirs):
        for place in places:
            inputs = key(Role.ATTENTION_V, place.layer or 0, "in_proj")
            filters = key(Role.BIAS, place.layer or 0, "conv1d")
            model[place] = np.ones((4, INNER), np.float32)
            model[inputs], model[filters] = model[inputs][: 2 * INNER], model[filters][:INNER]
    assert {w.shape[0] for w in mixer_writers(rows(ours)).values()} == {1}
    assert aligned(ours, theirs).test.log10_p < -6


@pytest.mark.parametrize("missing", ["in_proj", "conv1d", "x_proj"])
def test_a_mixer_whose_channels_cannot_be_told_is_left_out(missing: str) -> None:
    model = {k: v for k, v in state_space(1, 0).items() if not k.part.endswith(missing)}
    assert mixer_writers(rows(model)) == {}


def test_short_convolutions_and_linear_attention_are_left_out() -> None:
    wide = {
        k: np.ones((3 * INNER, HIDDEN), np.float32) if "in_proj" in k.part else v for k, v in state_space(1, 0).items()
    }
    assert mixer_writers(rows(wide)) == {}


def test_a_feed_forward_block_is_tested_before_the_mixer_of_its_layer() -> None:
    model = state_space(1, 0)
    down = TensorKey(Role.FFN_DOWN, "decoder", 0)
    model[down] = np.ones((HIDDEN, 96), np.float32)
    assert {place: w.shape for place, w in layer_writers(rows(model)).items()}["decoder", 0] == (1, HIDDEN, 96)
