"""The null of neuron matching, simulated: strangers that share a basis, and what they share beyond it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from provenance_gate.alignment.interface import FrameFacts, FrameKind, NeuronTrace, Trace
from provenance_gate.alignment.neurons import Neurons, match_neurons
from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.lineage.traced import BLOCK_SHARE, STRANGER_SHARE, stranger_log10_p

HIDDEN, WIDTH, PROBES = 64, 256, 64


def block(rng: np.random.Generator, spread: np.ndarray, link: float, features: np.ndarray, learned: float) -> Neurons:
    """Gate and up rows with the spectrum `spread` in a basis that all models share, correlated by `link` within a neuron;
    a `learned` share of the neurons reads one of the directions that every model of the language finds.
    """
    gate = rng.standard_normal((WIDTH, HIDDEN)) * spread
    up = link * gate + np.sqrt(1 - link**2) * rng.standard_normal((WIDTH, HIDDEN)) * spread
    some = rng.random(WIDTH) < learned
    gate[some] += features[rng.integers(len(features), size=some.sum())]
    up[some] += features[rng.integers(len(features), size=some.sum())]
    place: Any = SimpleNamespace(stack="decoder", layer=0, part="", width=WIDTH)
    return Neurons(place, gate.astype(np.float32), up.astype(np.float32), np.arange(WIDTH), True)


def probed(neurons: Neurons) -> Neurons:
    return replace(
        neurons, first=neurons.first[:PROBES], second=neurons.second[:PROBES], places=neurons.places[:PROBES]
    )


def as_trace(blocks: list[NeuronTrace]) -> Trace:
    frame = FrameFacts(FrameKind.SAME, 100, NotMeasured("simulated"))
    return Trace(frame, tuple(blocks), (), len(blocks), len(blocks), HIDDEN, HIDDEN, 1)


@pytest.mark.parametrize(("link", "learned"), [(0.0, 0.0), (0.4, 0.0), (0.0, 0.5), (0.4, 0.5)])
def test_strangers_that_share_basis_spectrum_and_features_stay_below_the_calibrated_share(
    link: float, learned: float
) -> None:
    rng = np.random.default_rng(int(10 * link + 100 * learned))
    spread = np.linspace(2.0, 0.5, HIDDEN)
    features = 2.0 * rng.standard_normal((64, HIDDEN)) * spread
    shares, p_values, correlations = [], [], []
    for _ in range(60):
        theirs = [block(rng, spread, link, features, learned) for _ in range(4)]
        ours = [probed(block(rng, spread, link, features, learned)) for _ in range(4)]
        found = [match_neurons(a, b) for a, b in zip(ours, theirs, strict=True)]
        traces = [t for t in found if t is not None]
        shares += [t.share for t in traces]
        correlations += [t.correlation for t in traces]
        p_values.append(stranger_log10_p(as_trace(traces), [t for t in traces if t.share >= BLOCK_SHARE]))
    assert max(shares) < STRANGER_SHARE
    assert min(p_values) == 0.0
    if not link and not learned:
        assert np.mean(shares) < 2.0 / WIDTH
        assert abs(np.mean(correlations)) < 0.01, "coordinates that the matching did not use are not lifted by it"


def test_the_bound_holds_for_a_stranger_at_the_calibrated_share() -> None:
    """Blocks whose neurons are found with exactly the share of the null: the p-value is at most 1e-2 in 1 of 100."""
    rng = np.random.default_rng(1)
    low = 0
    for _ in range(3000):
        blocks = [
            NeuronTrace("decoder", i, "", "decoder", i, "", PROBES, int(k), 0.5, 0.5, 0.0, 1, WIDTH, WIDTH)
            for i, k in enumerate(rng.binomial(PROBES, STRANGER_SHARE, 4))
        ]
        chosen = [b for b in blocks if b.share >= BLOCK_SHARE]
        low += stranger_log10_p(as_trace(blocks), chosen) <= -2.0
    assert low / 3000 <= 0.01


def test_descent_reaches_any_p_value() -> None:
    rng = np.random.default_rng(2)
    spread = np.ones(HIDDEN)
    theirs = block(rng, spread, 0.0, np.zeros((1, HIDDEN)), 0.0)
    noisy = replace(theirs, first=theirs.first + 0.5 * rng.standard_normal(theirs.first.shape).astype(np.float32))
    found = match_neurons(probed(noisy), theirs)
    assert found is not None and found.share > 0.9
    assert stranger_log10_p(as_trace([found] * 4), [found] * 4) < -6
