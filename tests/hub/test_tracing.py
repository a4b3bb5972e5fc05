"""Tracing a remote model: the rows that it reads one by one arrive in few requests, and are the rows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from provenance_gate.alignment.frames import Basis
from provenance_gate.alignment.interface import Trace
from provenance_gate.alignment.tokens import shared_embeddings
from provenance_gate.alignment.trace import trace
from provenance_gate.artifact.interface import CanonicalTensor, NotMeasured, Role
from provenance_gate.artifact.load import OpenedArtifact, open_artifact
from provenance_gate.artifact.sources import Options, open_hub
from provenance_gate.artifact.sources import ahead as ahead_module
from provenance_gate.artifact.sources.ahead import blocks
from provenance_gate.errors import ArtifactError
from tests.models import tokenizer

from .contents import Bytes, Content, Repository, Shape, generated_model
from .server import LoopbackHub

SHAPE = Shape(3, 512, 1024, 8, 4, 2000)


def files(seed: int) -> dict[str, Content]:
    return {**generated_model(SHAPE, seed), "tokenizer.json": Bytes(json.dumps(tokenizer(SHAPE.vocabulary)).encode())}


def written(folder: Path, seed: int) -> OpenedArtifact:
    folder.mkdir()
    for path, content in files(seed).items():
        (folder / path).write_bytes(content.read(0, content.size))
    return open_artifact(folder)


@pytest.fixture
def pair(hub: LoopbackHub, options: Options) -> tuple[OpenedArtifact, OpenedArtifact]:
    for name, seed in (("org/a", 1), ("org/b", 2)):
        hub.add(name, Repository(files(seed)))
    return tuple(open_artifact(open_hub(i, replace(options, offline=False))) for i in ("org/a", "org/b"))  # type: ignore[return-value]


def tensor(opened: OpenedArtifact, role: Role) -> CanonicalTensor:
    return next(t for t in opened.artifact.canonical if t.key.role is role)


def test_a_trace_of_remote_models_is_that_of_local_ones_in_few_requests(
    hub: LoopbackHub, pair: tuple[OpenedArtifact, OpenedArtifact], tmp_path: Path
) -> None:
    near = [written(tmp_path / name, seed).artifact for name, seed in (("a", 1), ("b", 2))]
    before = len(hub.seen)
    far = trace(*(m.artifact for m in pair))
    assert isinstance(far, Trace)
    assert far == trace(*near)
    # Row by row it takes 512 for the embeddings and 64 a layer for each model's output matrix.
    assert len(hub.seen) - before < 150


def test_embedding_rows_come_together_and_in_the_order_that_was_asked_for(
    hub: LoopbackHub, pair: tuple[OpenedArtifact, OpenedArtifact], tmp_path: Path
) -> None:
    shared = shared_embeddings(*(m.artifact for m in pair))
    assert not isinstance(shared, NotMeasured)
    before = len(hub.seen)
    x, y = shared.rows(256)
    assert len(hub.seen) - before <= 8
    for found, seed, ids in ((x, 1, shared.our_ids), (y, 2, shared.their_ids)):
        table = tensor(written(tmp_path / str(seed), seed), Role.EMBEDDING)
        chosen = np.unique(np.linspace(0, shared.count - 1, 256).astype(np.int64))
        assert np.array_equal(found, np.concatenate([table.read_rows(int(i), int(i) + 1) for i in ids[chosen]]))


def test_single_rows_of_an_output_matrix_come_together(
    hub: LoopbackHub, pair: tuple[OpenedArtifact, OpenedArtifact]
) -> None:
    matrix = tensor(pair[0], Role.ATTENTION_O)
    index = np.arange(0, 512, 8)
    basis = Basis(index, np.ones(len(index), np.float32), None)
    before = len(hub.seen)
    found = basis.of_columns(matrix, slice(None), len(index))
    assert len(hub.seen) - before <= 2
    assert np.array_equal(found, matrix.read_rows(0, 512)[index].T)


@pytest.mark.parametrize("step", [1, 7, 100, 512, 1000])
@pytest.mark.parametrize(("first", "stop"), [(0, 512), (3, 460), (511, 512), (5, 5)])
def test_blocks_are_the_rows_in_order(
    pair: tuple[OpenedArtifact, OpenedArtifact], monkeypatch: pytest.MonkeyPatch, step: int, first: int, stop: int
) -> None:
    monkeypatch.setattr(ahead_module, "LARGEST", 20_000)
    if step < 7 and stop - first > 100:
        first = stop - 20
    matrix = tensor(pair[0], Role.ATTENTION_Q)
    found = list(blocks(matrix, first, stop, step))
    assert [len(b) for b in found] == [min(step, stop - at) for at in range(first, stop, step)]
    if found:
        assert np.array_equal(np.concatenate(found), matrix.read_rows(first, stop))


def test_a_block_that_cannot_be_fetched_is_one_error(
    hub: LoopbackHub, pair: tuple[OpenedArtifact, OpenedArtifact]
) -> None:
    hub.fail(origin="storage", status=404, times=1000)
    with pytest.raises(ArtifactError, match=r"^model\.safetensors: "):
        list(blocks(tensor(pair[0], Role.FFN_UP), 0, 1024, 1024))
