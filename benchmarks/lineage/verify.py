"""Whether every disguise keeps the function of every trained base (torch)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.lineage import bases, trained
from benchmarks.lineage.anatomy import close_up, open_up
from benchmarks.lineage.disguises import Disguise, disguise, disguises_for
from benchmarks.lineage.networks import logits
from benchmarks.lineage.store import Checkpoint, load

LIMIT = 1e-3
"""Of the largest logit."""


def print_errors(cache: Path) -> None:
    """The largest change of a logit under each disguise; raises AssertionError above `LIMIT`."""
    print("| Base | Disguise | largest change of a logit | largest logit |")
    print("| --- | --- | --- | --- |")
    for name in (*trained.FULL, *trained.OTHERS):
        folder = bases.path(cache, name)
        if not folder.exists():
            continue
        model = load(folder)
        ids = np.random.default_rng(0).integers(0, len(open_up(model).tensors["embed.weight"]), (2, 64))
        expected = _logits(model, ids)
        changes: dict[str, Disguise] = {**disguises_for(model), "all": disguise}
        for kind, change in changes.items():
            after = close_up(change(open_up(model), np.random.default_rng(1)))
            place = trained.renumber(model.tokenizer, after.tokenizer).astype(np.int64)
            error = float(np.abs(_logits(after, place[ids])[..., place] - expected).max())
            print(f"| {name} | {kind} | {error:.1e} | {np.abs(expected).max():.1f} |")
            assert error < LIMIT * np.abs(expected).max(), f"{kind} changes {name}"


def _logits(model: Checkpoint, ids: NDArray[np.int64]) -> NDArray[np.float32]:
    with torch.no_grad():
        weights = {n: torch.from_numpy(v) for n, v in model.tensors.items()}
        found: NDArray[np.float32] = logits(weights, model.config, torch.from_numpy(ids))[0].numpy()
    return found
