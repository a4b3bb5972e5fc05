"""Matrices packed along their inputs (GPTQ, AWQ) on a hub: windows of them, and no more, are fetched."""

from __future__ import annotations

import numpy as np
import pytest

from provenance_gate.artifact.interface import Role
from provenance_gate.artifact.sources import Options
from provenance_gate.fingerprint.measure import measure
from provenance_gate.fingerprint.observe import observe
from provenance_gate.lineage.compare import compare
from provenance_gate.lineage.interface import BaseRef, Relation

from .contents import LLAMA_8B, Repository, Shape, generated_model
from .packed import KINDS, packed_model
from .server import LoopbackHub
from .test_remote_model import remote

BASE = BaseRef("org/base", None, "test")
SMALL = Shape(4, 256, 1024, 4, 2, 512)


@pytest.mark.parametrize(("kind", "share"), [("gptq", 0.004), ("awq", 0.004), ("gptq act-order", 0.006)])
def test_a_large_packed_model_is_told_from_a_small_share_of_its_bytes(
    hub: LoopbackHub, options: Options, kind: str, share: float
) -> None:
    hub.page = 1000
    hub.add("org/model", Repository(packed_model(LLAMA_8B, kind)))
    opened = remote(options)
    found = measure(opened.artifact, exact=False)
    assert len(hub.seen) <= 400
    assert hub.bytes_sent <= share * opened.artifact.weight_bytes
    hub.add("org/model", Repository(generated_model(LLAMA_8B)))
    base = measure(remote(options).artifact, exact=False)
    lineage = compare(found, base, BASE)
    assert (lineage.relation, lineage.score) == (Relation.REFORMATTED, 1.0)
    hub.add("org/model", Repository(generated_model(LLAMA_8B, seed=2)))
    stranger = compare(found, measure(remote(options).artifact, exact=False), BASE)
    assert stranger.relation is Relation.INDEPENDENT


@pytest.mark.parametrize("kind", KINDS)
def test_requests_for_windows_go_out_side_by_side(hub: LoopbackHub, options: Options, kind: str) -> None:
    """What a window needs is known beforehand, but for the groups of scales that an index names."""
    hub.add("org/model", Repository(packed_model(SMALL, kind)))
    opened = remote(options)
    before = opened.counter.requests
    observe(opened.artifact, exact=False)
    assert opened.counter.requests - before < 30


@pytest.mark.parametrize("kind", KINDS)
def test_windows_hold_the_values_of_the_base(hub: LoopbackHub, options: Options, kind: str) -> None:
    hub.add("org/model", Repository(packed_model(LLAMA_8B, kind)))
    packed = observe(remote(options).artifact, exact=False)
    hub.add("org/model", Repository(generated_model(LLAMA_8B)))
    plain = observe(remote(options).artifact, exact=False)
    cut = [r for r in packed.rows.values() if r.window is not None]
    assert {r.key.role for r in cut} >= {Role.FFN_DOWN, Role.ATTENTION_O, Role.FFN_UP}
    for rows in cut:
        whole = plain.rows[rows.key].values
        count = min(len(whole), len(rows.values))
        expected = whole[:count, rows.window.start : rows.window.stop]  # type: ignore[union-attr]
        assert float(np.abs(rows.values[:count] - expected).max()) <= 2.0**-5 / 14 * 1.01
