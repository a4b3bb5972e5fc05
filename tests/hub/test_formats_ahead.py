"""Of every format it is known beforehand which bytes some rows need, so that they are fetched side by side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from provenance_gate.artifact.interface import Lies, Role
from provenance_gate.artifact.load import OpenedArtifact
from provenance_gate.artifact.sources import Options
from provenance_gate.artifact.sources.ahead import Rows
from provenance_gate.artifact.sources.coalesce import PrefetchedSource, prefetch
from provenance_gate.fingerprint.measure import measure
from tests.formats import QUANTIZERS, gptq_in_activation_order, write_gguf, write_quantized, write_torch
from tests.models import Tensors, llama, write_model

from .server import LoopbackHub
from .test_remote_model import remote, uploaded

Write = Callable[[Path, Tensors], Path]
FORMATS: dict[str, Write] = {
    "safetensors": write_model,
    "torch": write_torch,
    **{f"gguf {kind}": lambda f, t, k=kind: write_gguf(f, t, k) for kind in ("F16", "Q8_0", "Q4_0")},  # type: ignore[misc]
    **{name: lambda f, t, q=quantizer: write_quantized(f, t, q) for name, quantizer in QUANTIZERS.items()},  # type: ignore[misc]
    "gptq act-order": lambda f, t: write_quantized(f, t, gptq_in_activation_order),
}


def opened(hub: LoopbackHub, options: Options, place: Path, name: str) -> OpenedArtifact:
    hub.add("org/model", uploaded(FORMATS[name](place / "model", llama(1))))
    return remote(options)


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_is_left_to_fetch_when_rows_are_read(
    hub: LoopbackHub, options: Options, tmp_path: Path, name: str
) -> None:
    found = opened(hub, options, tmp_path, name)
    looked_at = 0
    for tensor in found.artifact.canonical:
        if tensor.key.layer != 1 or len(tensor.shape) != 2:
            continue
        height, width = tensor.shape
        across = tensor.lies is not Lies.ROWS
        rows = Rows(tensor, 3, min(height, 40), range(width) if across else None)
        places = rows.places()
        assert places
        prefetch(places)
        before = found.counter.requests
        block = tensor.read_block(range(3, min(height, 40)), range(width)) if across else tensor.read_rows(3, rows.stop)
        assert block.shape == (rows.stop - 3, width)
        assert found.counter.requests == before, f"{tensor.key} needed more than was foreseen"
        for source, _ in places:
            assert isinstance(source, PrefetchedSource)
            source.cache.clear()
        looked_at += 1
    assert looked_at == 7


@pytest.mark.parametrize("name", FORMATS)
def test_a_model_takes_no_request_for_each_row(hub: LoopbackHub, options: Options, tmp_path: Path, name: str) -> None:
    found = opened(hub, options, tmp_path, name)
    before = found.counter.requests
    measure(found.artifact, exact=False)
    assert found.counter.requests - before <= 12


def test_what_lies_nearby_is_not_foreseen(tmp_path: Path) -> None:
    from provenance_gate.artifact.load import open_artifact

    for name in ("gptq", "nf4", "fp8"):
        artifact = open_artifact(FORMATS[name](tmp_path / name, llama(1))).artifact
        down = next(t for t in artifact.canonical if t.key.role is Role.FFN_DOWN)
        assert not [p for p in Rows(down, 0, 4, range(32)).places() if isinstance(p[0], PrefetchedSource)]
